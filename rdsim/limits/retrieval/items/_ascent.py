r"""Good test channels of few words, where queries are of so many classes that strategies are too many.

With the words sorted by a class of queries, word i takes the quantiles from $E_{i-1}$ to $E_i$ and
earns $\tau_i (H(E_i) - H(E_{i-1}))$, H the integral of omega. What a channel P(u|y) earns less
lambda times its rate is a smooth function of it wherever no two words change places, and
continuous there. It is climbed by a quasi-Newton method from words that lean from the prior
towards letters and towards queries. The result is a local optimum; as a channel it is evaluated exactly, by `_programme.evaluated`.
"""

from typing import Final

import numpy as np
from scipy.optimize import minimize
from scipy.special import softmax

from rdsim.limits.retrieval.items._ranks import Queries, Steps

_WORDS: Final = 64
"""Words of a channel; of more letters than a third of it, three for each."""
_OPTIONS: Final = {"maxiter": 150, "maxcor": 20, "ftol": 1e-10, "gtol": 1e-8}
"""Of the quasi-Newton method at a slope, in nats."""
_LEAST: Final = 1e-9
"""Probability of all words together that every letter has at least: no word is lost."""
_NEAR: Final = 0.98
"""Weight of the letter, or query, in the words that lean to it most."""


def climbed(
    queries: Queries, classes: list[Steps], whole: float, prices: np.ndarray
) -> list[np.ndarray]:
    """Search a channel at every price.

    Args:
        queries: classes of queries, and P(y).
        classes: what each earns by the quantile.
        whole: what is earned whatever the channel is.
        prices: lambda, reward a nat, shape (S,).

    Returns:
        P(u,y) for every price, from the smallest one on, S times the number of starts.

    """
    knots = [np.append(0.0, np.cumsum(steps.length)) for steps in classes]
    heights = [np.append(0.0, np.cumsum(steps.length * steps.slope)) for steps in classes]
    py, e = queries.py, queries.direction
    found = []
    for start in _starts(queries):
        logits = np.log(start / start.sum(axis=0)).T
        for price in np.sort(prices):

            def lost(flat: np.ndarray, price: float = float(price)) -> tuple[float, np.ndarray]:
                free = softmax(flat.reshape(py.size, -1), axis=1)
                channel = (1 - _LEAST) * free + _LEAST / free.shape[1]
                log_channel = np.log(channel)
                joint = py[:, None] * channel  # P(y,u)
                weight = joint.sum(axis=0)
                log_ratio = log_channel - np.log(weight)
                value = whole - price * float(np.sum(joint * log_ratio))
                slope = -price * log_ratio
                for direction, x, y, steps in zip(e, knots, heights, classes, strict=True):
                    tau = (direction @ joint) / weight
                    order = np.argsort(-tau, kind="stable")
                    ends = np.minimum(np.append(0.0, np.cumsum(weight[order])), 1.0)
                    earned = np.diff(np.interp(ends, x, y))
                    cell = np.searchsorted(x, ends[1:], side="right") - 1
                    at_end = steps.slope[np.minimum(cell, steps.slope.size - 1)]
                    sorted_tau = tau[order]
                    mean = earned / weight[order]
                    value += float(sorted_tau @ earned)
                    # More mass of a word moves its own end and all later ones.
                    drop = np.append(sorted_tau[:-1] - sorted_tau[1:], sorted_tau[-1]) * at_end
                    later = np.cumsum(drop[::-1])[::-1]
                    by_word = np.empty((2, order.size))
                    by_word[:, order] = mean, later - sorted_tau * mean
                    slope += direction[:, None] * by_word[0] + by_word[1]
                slope = free * (slope - (free * slope).sum(axis=1, keepdims=True))
                slope *= (1 - _LEAST) * py[:, None]
                # In units of the price: gains of one size at every slope.
                return -value / price, -slope.ravel() / price

            flat = minimize(lost, logits.ravel(), jac=True, method="L-BFGS-B", options=_OPTIONS).x
            free = softmax(flat.reshape(logits.shape), axis=1)
            found.append(py * ((1 - _LEAST) * free + _LEAST / free.shape[1]).T)
    return found


def _starts(queries: Queries) -> list[np.ndarray]:
    """Words P(u,y) that lean from the prior to the letters, and to either end of every class."""
    py, e = queries.py, queries.direction
    words = max(_WORDS, 3 * py.size)
    each = -(-words // py.size)
    lean = _NEAR * np.linspace(1.0, 0.2, each)[:, None]
    letters = [py[y] / each * (lean * np.eye(py.size)[y] + (1 - lean) * py) for y in range(py.size)]
    ends = np.concatenate([e, -e])
    tilted = py * np.exp(3.0 * ends)
    tilted /= tilted.sum(axis=1, keepdims=True)
    each = -(-words // len(ends))
    lean = _NEAR * np.linspace(1.0, 0.0, each)[:, None]
    queries_first = [lean * end + (1 - lean) * py for end in tilted]
    return [np.concatenate(letters), np.concatenate(queries_first)]
