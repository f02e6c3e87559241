r"""What a codeword can tell about sequences of letters, of any length n (C27).

Let $P(X^n \in A) = 2^{-n\alpha}$ and $P(Y^n \in B) = 2^{-n\beta}$. By the chain rule, for all $\lambda, \mu \ge 0$,

$$P(X^n \in A, Y^n \in B) \le 2^{-n(c + \lambda\alpha + \mu\beta)}, \qquad
  c = \min_Q D(Q\|P_{XY}) - \lambda D(Q_X\|P_X) - \mu D(Q_Y\|P_Y),$$

which together are the exponent Theta, the lower convex envelope. With $\lambda \le \mu \le 1$ Holder's inequality
sums this over the codewords: those of R bits each recall of a share t of the database at most

$$2^{-n c + R (1 - \mu)}\, t^\lambda,$$

whatever the probabilities of the codewords are, separate encoders included.

For given $Q_Y = b$ the rest, $D(Q\|P_{XY}) - \lambda D(Q_X\|P_X) = (1-\lambda) D(Q_X\|P_X) + D(Q_{Y|X}\|P_{Y|X})$, is convex in Q.
So c is the least of $\psi(b) - \mu D(b\|P_Y)$, a difference of convex functions of the few numbers b, with

$$\psi(b) = \max_f\; f \cdot b - (1-\lambda) \ln E\bigl(E[e^{f(Y)}|X]\bigr)^{1/(1-\lambda)},$$

where every f gives an affine function below psi, a tangent where it is the maximiser. Branch and bound over b
(`rdsim.limits._simplices`) gives c from below. The parts of X and Y may be exchanged.
"""

import functools
import itertools
from typing import Final, NamedTuple

import numpy as np
import scipy

from rdsim.information import LN2
from rdsim.limits._simplices import least_difference
from rdsim.limits.bottleneck._solver import reduced
from rdsim.limits.converses._recalls import Reals, Recalls

MOST_LETTERS: Final = 4
"""Most letters of the smaller alphabet, over whose distributions the search runs."""
_GRID: Final = {1: 1, 2: 200, 3: 36, 4: 12}
"""Steps of a distribution's probabilities on the grid that multipliers are chosen on, by the letters."""
_OTHERS: Final = np.linspace(0.0, 0.98, 50)
"""lambda of the distributions of that grid."""
_MOST_OTHER: Final = 0.99
"""Largest lambda: at one the tangents are not smooth."""
_CUTS: Final = 60
"""Most constraints of the programme that chooses multipliers; some ten are usual."""
_FIRST: Final = 17
_NEXT: Final = 9
_ROUNDS: Final = 13
"""Points on a side of the first square of multipliers and of the later ones, and the number of squares: points of the last are 3e-5
apart. A square reaches two steps of the square before it to each side, for the highest point may lie on an oblique ridge."""
_AGAIN: Final = 3
"""Times that the multipliers are chosen again with the distributions that the search has met."""
_ASCENT: Final = 8
"""Newton steps towards the maximiser f."""
_STEEPEST: Final = 3.0
"""Largest change of f in one step."""
_LARGEST: Final = 500.0
"""Largest f: beyond it exponentials overflow."""
_MOST: Final = 20_000
"""Most simplices of the branch and bound; the bound that holds with so many is returned."""
_TOLERANCE: Final = 1e-4
"""Width in bits, of n c, at which the branch and bound stops."""
_GAINED: Final = 1e-3
"""Bits of the exponent that new multipliers must promise before c is computed for them: they change the recall by 0.07 %."""
_CHOSEN: Final = np.array([0.01, 0.05, 0.15, 0.3, 0.5, 0.7, 0.85, 0.95, 0.99])
"""Multipliers are chosen at the shares of the database by which these parts of all weight are reached."""
_ROUNDING: Final = 1e-12
"""Taken off c, in bits, for its rounding."""


class Powers(NamedTuple):
    """Bounds of the recall at shares t: factor times a power of t, each valid at every t.

    Attributes:
        log_factor: ln of the factors, shape (L,).
        power: lambda, shape (L,).

    """

    log_factor: Reals
    power: Reals

    def at(self, log_t: Reals) -> Reals:
        """The least of the bounds at each share."""
        found = self.log_factor + self.power * log_t[:, None]
        return np.asarray(np.exp(np.minimum(found.min(axis=1), 0.0)))


def constant(joint: Reals, query: float, item: float, tolerance: float) -> tuple[float, Reals]:
    """Bound c from below for multipliers lambda of the query and mu of the item, in bits.

    Args:
        joint: P(x,y), without letters of no mass.
        query: lambda, in [0, 1); at most _MOST_OTHER if the item has the smaller alphabet.
        item: mu, in [0, 1]; at most _MOST_OTHER otherwise.
        tolerance: bits that the bound may lie below c, unless that took too many simplices.

    Returns:
        The bound, and D(Q||P), D(Q_X||P_X), D(Q_Y||P_Y) in bits of the best Q that was met.

    """
    transposed = joint.shape[0] < joint.shape[1]
    table, other, own = (joint.T, item, query) if transposed else (joint, query, item)
    py = table.sum(axis=0)
    bound, best = least_difference(
        py.size,
        lambda b: _tangent(table, other, b),
        lambda b: own * scipy.special.rel_entr(b, py).sum(axis=-1),
        tolerance=tolerance * LN2,
        most=_MOST,
    )
    met = _divergences(table, _nearest(table, other, best[None]))[0]
    # Q = P gives zero.
    return min(bound / LN2, 0.0) - _ROUNDING, met[[0, 2, 1]] if transposed else met


class _Dual:
    """The function of f whose conjugate is psi. Letters are the first axis: sums over few of them are fast then."""

    def __init__(self, table: Reals, other: float) -> None:
        self.px, self.rest = table.sum(axis=1), 1.0 - other
        self.channel = table / self.px[:, None]
        # Products of two entries of a row, by which sums over the queries are products of matrices.
        pairs = self.channel[:, :, None] * self.channel[:, None, :]
        self.pairs = pairs.reshape(len(table), -1).T

    def value(self, f: Reals) -> Reals:
        """Its values at f of shape (|Y|, N)."""
        return self._solved(f)[0]

    def _solved(self, f: Reals) -> tuple[Reals, Reals, Reals, Reals]:
        """Values; e^f; its means given x; and Q(x) over these means; e^f is up to a factor for each column."""
        # ln E(E[e^f|X])^{1/(1-lambda)} in two nested log-sum-exps, each with its largest term
        # taken off: f may be as large as 500, and the power 1/(1-lambda) up to a hundred.
        top = f.max(axis=0)
        weight = np.exp(f - top)
        mean = np.maximum(self.channel @ weight, 1e-300)
        exponent = (np.log(mean) + top) / self.rest + np.log(self.px)[:, None]
        largest = exponent.max(axis=0)
        of_x = np.exp(exponent - largest)
        total = of_x.sum(axis=0)
        return self.rest * (largest + np.log(total)), weight, mean, of_x / (total * mean)

    def joint(self, f: Reals) -> Reals:
        """Q that belongs to f, shape (N, |X|, |Y|)."""
        _, weight, _, each = self._solved(f)
        return np.moveaxis(each[:, None] * self.channel[:, :, None] * weight, -1, 0)

    def derivatives(self, f: Reals) -> tuple[Reals, Reals, Reals]:
        """Values, shape (N,), gradients Q(y), shape (|Y|, N), and Hessians, shape (N, |Y|, |Y|)."""
        value, weight, mean, each = self._solved(f)
        # Q(y) = sum_x Q(x) P(y|x) e^{f(y)} / E[e^f|x], the gradient of the dual. Its derivative
        # has a term for each normalisation: that of a row, with factor 1/(1-lambda) - 1, and that
        # of the whole sum.
        own = weight * (self.channel.T @ each)
        cross = (self.pairs @ (each / mean)).reshape(len(f), *f.shape) * weight[:, None] * weight
        hessian = ((1 / self.rest - 1) * cross - own[:, None] * own / self.rest).transpose(2, 0, 1)
        at = np.arange(len(f))
        hessian[:, at, at] += own.T
        return value, own, hessian


def _tangent(table: Reals, other: float, b: Reals) -> tuple[Reals, Reals]:
    """Affine functions below psi that are near it at b, in nats.

    Newton's step, or where that gains less the step of a fixed point that always gains, for its Hessian is
    at most diag(Q_Y) / (1 - lambda). Points that have arrived are left alone.

    Args:
        table: P(x,y).
        other: lambda.
        b: distributions of Y, shape (N, |Y|).

    Returns:
        Slopes f, shape (N, |Y|), and offsets, shape (N,).

    """
    dual, letters = _Dual(table, other), table.shape[1]
    goal = np.ascontiguousarray(b.T)
    # Start: at lambda = 0 and for independent X and Y the maximiser is f = ln(b/P_Y), and
    # elsewhere near it.
    f = np.clip(np.log(np.maximum(goal, 1e-200) / table.sum(axis=0)[:, None]), -_LARGEST, _LARGEST)
    values, open_ = np.empty(len(b)), np.arange(len(b))
    for step in range(_ASCENT + 1):
        here, aimed = f[:, open_], goal[:, open_]
        value, own, hessian = dual.derivatives(here)
        values[open_] = value
        # The gradient of f . b - dual is b - Q_Y. Any f gives a valid affine bound, so that a
        # loose end of the iteration only costs tightness.
        far = np.abs(aimed - own).max(axis=0) >= 1e-12
        if step == _ASCENT or not far.any():
            break
        open_, here, aimed, own = open_[far], here[:, far], aimed[:, far], own[:, far]
        # Scaled by the roots of its diagonal. The constants, its null space, are taken out.
        scale = np.sqrt(np.maximum(own, 1e-12)).T
        scaled = hessian[far] / scale[:, :, None] / scale[:, None, :]
        scaled += scale[:, :, None] * scale[:, None, :] + 1e-9 * np.eye(letters)
        newton = np.linalg.solve(scaled, ((aimed - own).T / scale)[:, :, None])[:, :, 0] / scale
        fixed = dual.rest * (np.log(np.maximum(aimed, 1e-200)) - np.log(np.maximum(own, 1e-200)))
        steps = np.clip(np.stack([fixed, newton.T], axis=1), -_STEEPEST, _STEEPEST)
        tried = np.clip(here[:, None] + steps, -_LARGEST, _LARGEST)
        reached = dual.value(tried.reshape(letters, -1)).reshape(2, -1)
        reached = (tried * aimed[:, None]).sum(axis=0) - reached
        # The best of staying, the fixed-point step and Newton's step: values never fall.
        gained = np.vstack([(here * aimed).sum(axis=0) - value[far], reached])
        every = np.concatenate([here[:, None], tried], axis=1)
        f[:, open_] = every[:, gained.argmax(axis=0), np.arange(open_.size)]
    return f.T, -values


def _nearest(table: Reals, other: float, b: Reals) -> Reals:
    """Q of the tangents near distributions b, shape (N, |X|, |Y|)."""
    return _Dual(table, other).joint(_tangent(table, other, b)[0].T)


def _divergences(table: Reals, Q: Reals) -> Reals:
    """D(Q||P), D(Q_X||P_X) and D(Q_Y||P_Y) in bits, shape (N, 3)."""
    both = scipy.special.rel_entr(Q, table).sum(axis=(1, 2))
    of_y = scipy.special.rel_entr(Q.sum(axis=1), table.sum(axis=0)).sum(axis=1)
    of_x = scipy.special.rel_entr(Q.sum(axis=2), table.sum(axis=1)).sum(axis=1)
    return np.stack([both, of_x, of_y], axis=1) / LN2


def covered(joint: Reals) -> bool:
    """Whether one of the alphabets has at most MOST_LETTERS letters."""
    return min(joint.shape) <= MOST_LETTERS


def joined(joint: Reals) -> Reals:
    """Drop letters of no mass, and join those of query or item that the other cannot tell apart."""
    for _ in range(2):
        source = reduced(joint)
        joint = (source.channel * source.py).T
    return joint


def fixed_length(joint: Reals, letters: int, bits: Reals, forms: list[Recalls]) -> Reals:
    """Bound means of recalls of codewords of R bits each, separate encoders, shape (bits, forms).

    Each c bounds the recall for every R and every share, so that it is computed only where those before it leave
    more than the tolerance to be gained.

    Args:
        joint: P(x,y) of one letter, `joined` and `covered`.
        letters: n.
        bits: R, of all letters together, shape (bits,).
        forms: means of recalls.

    """
    if joint.shape[0] < joint.shape[1]:
        most_query, most_item = 1.0, _MOST_OTHER
    else:
        most_query, most_item = _MOST_OTHER, 1.0
    met = _on_a_grid(joint.tobytes(), joint.shape)
    cuts: list[int] = []  # rows of `met`: the Q that decide, some ten for all shares together
    known = np.zeros((1, 3))  # a bound in each row: c, lambda and mu; all zero say nothing
    for one in sorted({one for recalls in forms for one in _chosen_shares(recalls)}):
        for R in bits:
            exponents = np.array([-one / LN2, R]) / letters  # alpha and beta
            for _ in range(_AGAIN):
                query, item, hoped = _multipliers(exponents, met, cuts, most_query, most_item)
                most = hoped + np.dot(exponents, [query, item])
                # Known bounds at these exponents, against the most that new multipliers promise:
                # `hoped` is the value over the distributions met, above the true c.
                if (known @ [1.0, *exponents]).max() >= most - _GAINED / letters:
                    break
                c, more = constant(joint, query, item, _TOLERANCE / letters)
                known = np.append(known, [[c, query, item]], axis=0)
                cuts.append(len(met))
                met = np.append(met, more[None], axis=0)
    constants, queries, items = known.T
    found = np.empty((bits.size, len(forms)))
    for i, R in enumerate(bits):
        # 2^(-n c + R (1 - mu)) t^lambda for every row; the row of zeros is 2^R, which is never
        # below one.
        at = Powers(LN2 * (R * (1 - items) - letters * constants), queries)
        found[i] = [recalls.weight @ at.at(recalls.log_t) for recalls in forms]
    return found


def _chosen_shares(recalls: Recalls) -> list[float]:
    """Logs of the shares on which most of the reward depends, for which bounds are chosen."""
    below = np.cumsum(recalls.weight) / max(float(recalls.weight.sum()), 1e-300)
    some = np.unique(np.searchsorted(below, _CHOSEN).clip(0, below.size - 1))
    return [float(one) for one in recalls.log_t[some]]


@functools.lru_cache(maxsize=8)
def _on_a_grid(buffer: bytes, shape: tuple[int, int]) -> Reals:
    """D(Q||P), D(Q_X||P_X) and D(Q_Y||P_Y) of distributions of all kinds, among them P, shape (K, 3)."""
    joint = np.frombuffer(buffer).reshape(shape)
    transposed = joint.shape[0] < joint.shape[1]
    table = joint.T if transposed else joint
    letters = table.shape[1]
    steps = _GRID[letters]
    counts = np.array(list(itertools.product(range(steps + 1), repeat=letters - 1)), float)
    counts = counts.reshape(-1, letters - 1)
    counts = counts[counts.sum(axis=1) <= steps]
    b = np.column_stack([steps - counts.sum(axis=1), counts]) / steps
    found = [_divergences(table, _nearest(table, other, b)) for other in _OTHERS]
    every = np.concatenate([np.zeros((1, 3)), *found])
    return every[:, [0, 2, 1]] if transposed else every


def _multipliers(
    exponents: Reals, met: Reals, cuts: list[int], most_query: float, most_item: float
) -> tuple[float, float, float]:
    """Choose lambda <= mu that maximise c + lambda alpha + mu beta for the Q that were met, by cutting planes.

    The exponents are (alpha, beta), and c of multipliers is taken for the least over the Q that were met. The rows of
    Q that were the least at some multipliers are added to `cuts`, each once.
    """
    query, item, least = 0.0, most_item, 0.0
    for _ in range(_CUTS):
        # Cutting planes (Kelley): the distribution that is worst at the current multipliers joins
        # those over which the next ones are chosen, until they promise no more than the worst of
        # all gives.
        worst = int((met @ [1.0, -query, -item]).argmin())
        if worst not in cuts:
            cuts.append(worst)
        query, item, hoped = _highest(met[cuts], exponents, most_query, most_item)
        least = float((met @ [1.0, -query, -item]).min())
        if hoped <= least + 1e-9:
            break
    return query, item, least


def _highest(
    cuts: Reals, exponents: Reals, most_query: float, most_item: float
) -> tuple[float, float, float]:
    """Find about where the least of some planes is highest, on squares of multipliers that shrink by half; and c there.

    Any multipliers give a bound. A general linear programme takes thirty times as long for three unknowns.
    """
    most = np.array([min(most_query, most_item), most_item])
    middle, reach, steps = most / 2, most / 2, _FIRST
    for _ in range(_ROUNDS):
        sides = (middle - reach)[:, None] + np.arange(steps) * (2 * reach / (steps - 1))[:, None]
        query, item = np.clip(sides, 0.0, most[:, None], out=sides)
        tried: Reals = np.empty((steps, steps, 2))
        tried[..., 0] = query[:, None]
        # Hoelder's inequality needs lambda <= mu: pairs that violate it are moved onto the
        # diagonal.
        np.maximum(item, query[:, None], out=tried[..., 1])
        tried = tried.reshape(-1, 2)
        c = (cuts[:, 0] - tried @ cuts[:, 1:].T).min(axis=1)
        best = int((c + tried @ exponents).argmax())
        middle, reach, steps = tried[best], reach / 2, _NEXT
    return float(middle[0]), float(middle[1]), float(c[best])
