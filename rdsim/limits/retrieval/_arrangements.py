r"""Databases and rankings, collapsed by the exchange of items (C26).

Items are independent and alike, so that permuting the items of a database and of its ranking changes
neither probability nor loss. By the convexity of I(Y^M;F) an optimal channel is then invariant, its
output uniform on every orbit of rankings: an orbit is a multiset of M strategies $v_j = (v_{jc})_c$, one
for each item, and a database is known by its type, the numbers $n_y$ of items of each letter. What
C5 needs is the mean over the arrangements of an orbit,

$$K(n, v) = \binom{M}{n}^{-1} P_Y^{-n}\, [z^n] \prod_{j=1}^M \sum_y P_y z_y e^{\kappa \sum_c e_c(y) v_{jc}},$$

a coefficient of a product, multiplied out factor by factor. Where one ranking serves all queries there is
one orbit, and nothing is left to optimise.
"""

import math
from typing import Final, NamedTuple

import numpy as np
import scipy

from rdsim.sources.sequence_types import composition_count, compositions

MOST: Final = 2**18
"""Rankings that are listed at a time, and entries of the table of types by orbits."""
_MOST_TERMS: Final = 2**23
"""Terms of a step of the product: 64 MiB, some tenths of a second."""


class Arrangements(NamedTuple):
    r"""Types of databases, and what the arrangements of every orbit earn.

    Attributes:
        log_p: ln of the probabilities of the types, shape (T,).
        log_mean: ln K, shape (T, O).
        gain: mean of $\sum_j \sum_c e_c(y_j) v_{jc}$ under the tilted arrangements, shape (T, O).

    """

    log_p: np.ndarray
    log_mean: np.ndarray
    gain: np.ndarray


def orbits(rewards: list[np.ndarray]) -> np.ndarray:
    """List the rankings for all classes of queries that differ by more than a permutation of items.

    Args:
        rewards: what the M ranks earn, an array of shape (M,) for every class; they may be equal.

    Returns:
        What the items of each orbit earn, shape (O, M, C).

    Raises:
        ValueError: if too many rankings would have to be listed.

    """
    found = np.zeros((1, rewards[0].size if rewards else 0), np.int64)
    values = []
    # The first class is sorted: its arrangements are never listed, so that it is the one of the most.
    order = sorted(range(len(rewards)), key=lambda c: -_count(rewards[c]))
    for place, c in enumerate(order):
        distinct, index = np.unique(rewards[c], return_inverse=True)
        listed = _count(rewards[c]) if place else 1
        if len(found) * listed > MOST or distinct.size * (found.max(initial=0) + 1.0) > 2.0**62:
            raise ValueError(
                f"items and classes of queries must be so few that at most {MOST} rankings are listed, got "
                f"{rewards[c].size} items and {len(rewards)} classes"
            )
        arranged = np.array(_arrangements(index) if place else [np.sort(index)])
        # A number for each item's strategy; sorted, since items are exchanged.
        joined = found[:, None, :] * distinct.size + arranged
        found = np.unique(np.sort(joined.reshape(-1, index.size), axis=1), axis=0)
        values.append(distinct)
    strategies = np.zeros((*found.shape, len(rewards)))
    for c, distinct in zip(reversed(order), reversed(values), strict=True):
        found, index = np.divmod(found, distinct.size)
        strategies[:, :, c] = distinct[index]
    return strategies


def types_of(letters: int, items: int, rankings: int) -> np.ndarray:
    """List the types, numbers of items of each letter, shape (T, |Y|).

    Raises:
        ValueError: if there are too many for so many orbits of rankings.

    """
    terms = rankings * letters * float(items + 1) ** (letters - 1)
    if terms > _MOST_TERMS or rankings * composition_count(items, letters) > 4 * MOST:
        raise ValueError(
            f"items and letters must be so few that types times rankings are at most {4 * MOST}, got "
            f"{items} items, {letters} letters and {rankings} rankings"
        )
    # Sorted by the numbers of all letters but the first.
    return np.roll(compositions(items, letters), 1, axis=1).astype(int)


def arranged(
    strategies: np.ndarray, direction: np.ndarray, py: np.ndarray, types: np.ndarray, scale: float
) -> Arrangements:
    r"""Multiply the product out, in logarithms, with the mean of the exponent's gain beside it.

    Args:
        strategies: v of the orbits, shape (O, M, C).
        direction: e_c(y), shape (C, |Y|).
        py: P(y) > 0, shape (|Y|,).
        types: shape (T, |Y|).
        scale: kappa.

    """
    count, M, _ = strategies.shape
    letters = py.size
    shape = (count, *(M + 1,) * (letters - 1))
    log_sum, gain = np.full(shape, -np.inf), np.zeros(shape)
    log_sum.reshape(count, -1)[:, 0] = 0.0
    wide = (count, *(1,) * (letters - 1))
    for j in range(M):
        own = strategies[:, j] @ direction  # (O, |Y|)
        terms, gains = [], []
        for y in range(letters):
            before, so_far = log_sum, gain
            if y:  # one item more of letter y: shifted along its axis
                before = np.full(shape, -np.inf)
                so_far = np.zeros(shape)
                to = (slice(None),) * y + (slice(1, None),)
                of = (slice(None),) * y + (slice(None, -1),)
                before[to], so_far[to] = log_sum[of], gain[of]
            terms.append(before + (math.log(py[y]) + scale * own[:, y]).reshape(wide))
            gains.append(so_far + own[:, y].reshape(wide))
        # Log-sum-exp over the letters that item j may have; beside it runs the mean gain,
        # weighted alike.
        top = np.maximum(np.maximum.reduce(terms), -1e300)
        weights = [np.exp(term - top) for term in terms]
        total = sum(weights)
        positive = np.where(total > 0, total, 1.0)
        log_sum = np.where(total > 0, top + np.log(positive), -np.inf)
        gain = sum(weight * each for weight, each in zip(weights, gains, strict=True)) / positive
    # ln of the multinomial probability of each type: dividing by it turns the sum over databases
    # of a type into the mean over the arrangements.
    log_p = (
        scipy.special.gammaln(M + 1)
        - scipy.special.gammaln(types + 1).sum(axis=1)
        + types @ np.log(py)
    )
    at = (slice(None), *types[:, 1:].T)
    ends = (each[at].reshape(count, len(types)).T for each in (log_sum, gain))
    return Arrangements(log_p, next(ends) - log_p[:, None], next(ends))


def _count(values: np.ndarray) -> int:
    """Count the distinct arrangements of numbers that may be equal."""
    _, times = np.unique(values, return_counts=True)
    return math.factorial(values.size) // math.prod(math.factorial(int(k)) for k in times)


def _arrangements(values: np.ndarray) -> list[tuple[int, ...]]:
    """List them."""
    if values.size == 0:
        return [()]
    found = []
    for value in np.unique(values):
        rest = np.delete(values, np.flatnonzero(values == value)[0])
        found += [(int(value), *others) for others in _arrangements(rest)]
    return found
