"""The mixture of two or more lengths of codewords, and with it the thresholds, at which the bound of `bounds` is about the least."""

import math
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rdsim.limits.converses._recalls import Reals, Recalls
from rdsim.limits.converses.code_lengths.hulls import parts_of

_TRIED: Final = 2, 8
"""Every second length above R, and every eighth below, makes the pairs among which the best mixture is first sought."""
_PARTS: Final = 0.5 ** np.arange(12)
"""Parts of the way to a better pair of lengths that are tried."""
_FRANK_WOLFE_STEPS: Final = 60
"""Most steps of Frank and Wolfe's method in the search for the best mixture."""
_NEAR: Final = 1e-5
"""Distance of the two sides of the search, as a fraction of all weight, at which it ends: the bound is flat there."""
_APART: Final = 1e-3
"""Distance of the two sides, as a fraction of all weight, at which the search ends where no step is better. Near correlation
one the excess of a codeword has kinks in gamma, at which a mixture of one pair stays while the sides are up to .5 apart."""


class Mixture(NamedTuple):
    """Lengths of codewords, and the probability that an item has each."""

    r: Reals
    mass: Reals


def best_mixture(
    bits: float,
    recalls: Recalls,
    r: Reals,
    log_gamma: Reals,
    excess: Reals,
    start: Mixture,
    tolerance: float,
    *,
    in_q: bool,
) -> Mixture:
    r"""Return a mixture m of lengths, of the code's rate, that about maximises its excess.

    The bound is a saddle point, $\min_\gamma \max_m \sum_j w_j (t_j \gamma_j + \sum_r m_r F_{\gamma_j}(r))$, linear in
    m and convex in the thresholds: so the best thresholds are those of the mixture whose least over thresholds is
    the largest, a concave function of it. It is maximised by the method of Frank and Wolfe: the thresholds of a
    mixture name the pair of lengths of the largest excess at them, and the mixture goes a part of the way there.

    Args:
        bits: R.
        recalls: the shares t and their weights w.
        r: lengths, increasing, shape (r,).
        log_gamma: grid of ln of thresholds.
        excess: $F_\gamma(r)$ on that grid, shape (gamma, r).
        start: a mixture of some of these lengths to begin with, if that is better; or of none.
        tolerance: of the bound, a fraction of all weight.
        in_q: whether mixtures are those of codes of fixed length.

    """
    shares, gamma = np.exp(recalls.log_t), np.exp(log_gamma)
    # F is convex and decreasing in gamma: t gamma + m . F is least where the mixture's fall
    # has come down to t.
    falls = -np.diff(excess, axis=0) / np.diff(gamma)[:, None]

    def thresholds(falling: Reals) -> NDArray[np.intp]:
        """Numbers of the best thresholds, shape (mixtures, shares): F is convex in gamma, and falls by less than t beyond."""
        return np.stack([np.searchsorted(row, -shares) for row in -falling])

    def least_of(at: NDArray[np.intp], excess_at: Reals) -> Reals:
        """The least over thresholds of each mixture, from its excess at the best ones."""
        return np.asarray((shares * gamma[at] + excess_at) @ recalls.weight)

    def highest(mixtures: Reals) -> tuple[float, Reals]:
        """Return the one of these whose least over thresholds is the largest, and that."""
        at = thresholds(mixtures @ falls.T)
        least = least_of(at, np.take_along_axis(mixtures @ excess.T, at, axis=1))
        return float(least.max()), mixtures[int(least.argmax())]

    long, short = np.flatnonzero(r >= bits), np.flatnonzero(r <= bits)
    mass, rest = parts_of(bits, r[long], r[short], in_q=in_q)

    def pair(of_long: int, of_short: int) -> Reals:
        """The mixture of a long and a short length, by their numbers among these."""
        found = np.zeros(r.size)
        found[long[of_long]] += mass[of_long, of_short]
        found[short[of_short]] += rest[of_long, of_short]
        return found

    # A pair has two of the hundreds of lengths: the sums are taken over these two alone.
    # The start: the best pair among a subset of all pairs, found by evaluating every one of
    # them.
    of_long, of_short = np.indices(mass.shape)[:, :: _TRIED[0], :: _TRIED[1]].reshape(2, -1)
    first, second = long[of_long], short[of_short]
    of_first, of_second = mass[of_long, of_short, None], rest[of_long, of_short, None]
    at = thresholds(of_first * falls.T[first] + of_second * falls.T[second])
    each = least_of(
        at, of_first * excess[at, first[:, None]] + of_second * excess[at, second[:, None]]
    )
    best_pair = int(each.argmax())
    least, mixture = float(each[best_pair]), pair(of_long[best_pair], of_short[best_pair])
    if start.r.size:
        before = np.zeros(r.size)
        before[np.searchsorted(r, start.r)] = start.mass
        of_before, _ = highest(before[None])
        if of_before > least:
            least, mixture = of_before, before
    near = max(_NEAR, tolerance / 4) * recalls.weight.sum()
    best, found = math.inf, mixture
    for step in range(_FRANK_WOLFE_STEPS):
        at = thresholds((mixture @ falls.T)[None])[0]
        known = recalls.weight @ excess[at]
        # The linearised problem of Frank and Wolfe: at the thresholds of the mixture the
        # excess is linear in it, and the best vertex is a pair of lengths. Its value bounds
        # the maximum from above, which gives the duality gap.
        chord = mass * known[long][:, None] + rest * known[short]
        bound = float(recalls.weight @ (shares * gamma[at]) + chord.max())
        if bound < best:
            best, found = bound, mixture
        if bound - least <= near:
            break
        goal = pair(*np.unravel_index(chord.argmax(), chord.shape))
        # Line search over a dozen halved step sizes at once.
        higher, ahead = highest(mixture + _PARTS[:, None] * (goal - mixture))
        if higher > least:
            least, mixture = higher, ahead
        elif best - least <= _APART * recalls.weight.sum():
            break
        else:
            # At a kink no part of the way is better. Steps that get shorter spread the mixture over lengths, which
            # smooths its excess.
            mixture = mixture + 2 / (step + 4) * (goal - mixture)
    return Mixture(r[found > 0], found[found > 0])
