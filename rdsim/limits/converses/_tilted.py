r"""Converse for unequal canonical correlations: strong modes are shrunk in a reference distribution (C29).

Under the reference P' the coordinates of the item with $\rho_i > r$ have variance
$s_i = \frac{r^2}{1-r^2} \frac{1-\rho_i^2}{\rho_i^2} < 1$, the others one, and Q is the distribution of the
query under P'. Every mode of that pair has correlation at most r, so that half-spaces of correlation r
bound what a region of items tells. With $L = \ln dP_Y/dP'$, for all gamma, lambda > 0 the recall of a
share t is at most $t\gamma$ plus

- information R: $\lambda (R \ln 2 + D) + G_\lambda(\gamma)$, D the mean of L,
  $G_\lambda(\gamma) = \sup_a \{\lambda \ln E\, e^{P(X>a|Y)/\lambda} - \gamma P(X>a)\}$;
- codewords of R bits: $\int_0^\infty 2^R \hat\varphi_\gamma(2^{-R} T(\tau))\, d\tau$,
  $T(\tau) = P'(e^L > \tau)$, $\hat\varphi$ the concave hull of $q F_\gamma(\log_2 1/q)$.

The second is a layer cake: a codeword's region B has mass $\int P'(B, e^L > \tau)\, d\tau$ under P_Y, and the
layers of 2^R disjoint regions share T(tau). Modes given to the decoder for nothing, the strongest ones,
leave a query with the threshold $\gamma e^{-\imath}$, $\imath$ their information density, and the mean of the
bound over it.
"""

import math
from functools import lru_cache
from typing import Final, NamedTuple

import numpy as np
import scipy

from rdsim.information import LN2
from rdsim.limits.converses._information import LEAST_MULTIPLIER, Items, peak
from rdsim.limits.converses._recalls import Reals
from rdsim.limits.converses._tails import Tails
from rdsim.limits.converses.code_lengths import COARSELY, tents
from rdsim.ranking.tails.contour import Complexes, Contour, contour

_LOWEST: Final = -4.0
"""ln of the least threshold gamma: it adds at most e^-4, two per cent, to the recall, also of a list of all items."""
_FINENESS: Final = 0.08
"""Step of the grid of ln gamma; the bound has one line for each gamma."""
_SKIPPED: Final = 4
"""One in so many of these is computed while references are searched."""
_MOST: Final = 400
"""Most thresholds gamma on that grid."""
_REFERENCES: Final = (0.1, 0.16, 0.22, 0.28, 0.35, 0.45, 0.55, 0.7, 0.85, 1.0)
"""Correlations r over the largest one that are tried first; the bound is smooth in r."""
_HALVINGS: Final = 4, 2
"""Times that the distance from the best r to its neighbours is halved, for each number of bits; and where the bound is
computed coarsely."""
_FREE: Final = (0, 1, 2, 3, 4, 8)
"""Numbers of strongest modes that are tried as those given to the decoder."""
_SHARES: Final = (-1.5, 0.0, 1.5, 3.0, 4.5), (0.0, 2.5, 4.5)
"""ln of the shares of the database, against one item, at each of which the best reference has lines on all thresholds; and
coarsely."""
_STEP: Final = 0.1
"""Step of the thresholds a, in standard deviations of X."""
_EXTRA_BITS: Final = np.concatenate(
    [np.arange(0.0, 8.0, 0.125), np.arange(8.0, 20.0, 0.25), np.geomspace(20.0, 80.0, 12)]
)
"""Bits by which a layer exceeds the codeword's R; they are rounded up to this grid."""
_PARTS_OF_LENGTH: Final = 8, 4
"""Parts of the steps of that grid in which codewords are looked at; and coarsely."""
_PARTS_OF_SEARCH: Final = 2
"""The number of these parts while references are searched."""
_LAYERS: Final = 48
"""Ends of layers: their saddlepoints t are equally spaced in the logarithm of the distance from the branch point of K."""
_NATS: Final = 24.0
"""Exponent of the tail at which the layers end; an item beyond counts as found."""
_HIGHEST: Final = 300.0
"""An item whose L exceeds so many nats counts as found."""
_DENSITY: Final = 0.0025
"""Step, in nats, to which the information density of one mode is rounded up."""
_LONGEST: Final = 36.0
"""The information density of one mode exceeds its mean by so many nats with a probability of 1e-16."""
_WEAK: Final = 0.6
_TERMS: Final = 60
"""Modes whose |a s| stays below the first are summed by a series of so many terms, which leaves 1e-15 of a mode."""
_RARE: Final = 1e-13
"""Probability of the ends of a distribution that are cut off; the lower end is counted at a higher value."""
_ROUNDING: Final = 1e-9
"""Added to every mean for the rounding of its integrals."""


class Lines(NamedTuple):
    """Bounds of the recall at shares t: t gamma + height for every gamma.

    Attributes:
        log_gamma: shape (G,).
        height: shape (bits, G).

    """

    log_gamma: Reals
    height: Reals

    def at(self, log_t: Reals) -> Reals:
        """The least of the lines at each share, shape (bits, T)."""
        given = np.exp(log_t[:, None] + self.log_gamma)
        found = [(given + height).min(axis=1) for height in self.height]
        return np.asarray(np.clip(np.stack(found), 0.0, 1.0))


def lines(correlations: Reals, bits: Reals, log_M: float, rate: str, tolerance: float) -> Lines:
    """Bound the recall at every share by the best of the references and free modes.

    They are sought on few thresholds and lengths, at which the bound is looser; whatever they are, it holds.

    Args:
        correlations: canonical, below one, decreasing, shape (d,).
        bits: R > 0, shape (bits,).
        log_M: ln of the largest database, for the range of gamma.
        rate: "fixed_length", for separate encoders, or any other notion, for joint ones too.
        tolerance: from `COARSELY` on the bound is computed coarsely, which loosens it by about 1e-3 where it was compared.

    """
    coarsely = int(tolerance >= COARSELY)
    rho = correlations[correlations > 1e-9]
    count = min(math.ceil((log_M - _LOWEST) / _FINENESS), _MOST)
    log_gamma = np.linspace(log_M, _LOWEST, count + 1)[::-1]
    fixed = rate == "fixed_length"
    # That of all items, the last, is among the few. Bounds of information are computed on all: they cost little.
    few = log_gamma[::-_SKIPPED][::-1] if fixed else log_gamma
    free = [S for S in _FREE if rho.size > S]

    def tilts(ratio: float) -> list[Reals]:
        return [_shrunk(rho[S:], ratio * rho[0]) for S in free]

    rough = _averages(rho, free, few)
    # Heights by the references that were tried at each number of bits.
    found: list[dict[float, Reals]] = [{} for _ in bits]

    def best_at(tried: dict[float, Reals], share: float) -> float:
        """The reference of the least bound at a share of so many items, which is given in ln."""
        # gamma t at t = e^share / M, a list of so many items: the bound of the recall there is
        # the least of gamma t + height over all lines.
        given = np.exp(few - log_M + share)
        return min(tried, key=lambda ratio: float((given + tried[ratio]).min()))

    wanted = {ratio: list(range(bits.size)) for ratio in _REFERENCES}
    for _ in range(_HALVINGS[coarsely] + 1):
        for ratio, places in wanted.items():
            if fixed:
                r = ratio * rho[0]
                heights = _fixed_length(r, bits[places], few, tilts(ratio), rough, _PARTS_OF_SEARCH)
            else:
                places = list(range(bits.size))  # a bound of information costs the same for all
                heights = _information(ratio * rho[0], bits, few, tilts(ratio), rough)
            for place, height in zip(places, heights, strict=True):
                found[place][ratio] = height
        # References are halved about the best at each number of bits.
        wanted = {}
        for place, tried in enumerate(found):
            ratios = sorted(tried)
            best = ratios.index(best_at(tried, 0.0))
            # Both intervals next to the best reference are halved: the bound is smooth in r.
            for left in {max(best - 1, 0), min(best, len(ratios) - 2)}:
                wanted.setdefault(0.5 * (ratios[left] + ratios[left + 1]), []).append(place)
    if not fixed:
        least = np.stack([np.min(list(tried.values()), axis=0) for tried in found])
        # The least over references of lines of one gamma: each is a bound, and so is the least of
        # them.
        return Lines(log_gamma, np.minimum(least, 1.0) + _ROUNDING)
    averages = _averages(rho, free, log_gamma)
    least = np.ones((bits.size, log_gamma.size))
    for place, tried in enumerate(found):
        for ratio in {best_at(tried, share) for share in _SHARES[coarsely]}:
            parts, own = _PARTS_OF_LENGTH[coarsely], bits[[place]]
            heights = _fixed_length(ratio * rho[0], own, log_gamma, tilts(ratio), averages, parts)
            least[place] = np.minimum(least[place], heights[0])
    return Lines(log_gamma, least + _ROUNDING)


def _shrunk(rho: Reals, r: float) -> Reals:
    """Variances s < 1 of the modes that are shrunk to correlation r."""
    strong = rho[rho > r * (1 + 1e-12)]
    return np.asarray(r**2 / ((1 - r) * (1 + r)) * (1 - strong) * (1 + strong) / strong**2)


def _information(
    r: float, bits: Reals, log_gamma: Reals, tilts: list[Reals], averages: list["_Average"]
) -> Reals:
    """The least height over multipliers and free modes, shape (bits, G).

    A geometric grid of multipliers lambda, then points between the best ones and their neighbours. Any lambda gives a
    bound, so that the search can only loosen it.
    """
    # D(r), the divergence of P_Y from the reference P': the price in nats of the tilt, for each
    # number of free modes, on top of the code's own R ln 2.
    nats = np.add.outer([0.5 * np.sum(1 / s - 1 + np.log(s)) for s in tilts], bits * LN2)
    # The bits take between a 30th and two thirds of the recall; other multipliers are never the best.
    least = nats.min(axis=0)
    high = 0.67 / max(float(least.min()), 0.1)
    low = min(max(0.03 / float(least.max()), LEAST_MULTIPLIER), 0.5 * high)
    a = np.arange(-6.0, max(1.0 - float(scipy.special.ndtri_exp(-log_gamma[-1])), 6.0), _STEP)
    shares = np.exp(log_gamma)[:, None] * scipy.special.ndtr(-a)
    items = Items(r, a)
    given = np.exp(log_gamma - log_gamma[-1])  # to one of the M items
    height = np.ones((bits.size, log_gamma.size))
    tried, values = np.empty(0), np.empty((0, bits.size))
    multipliers = np.geomspace(low, high, math.ceil(math.log(high / low) / 0.35) + 1)
    for finely in (False, True):
        if finely:
            # Second pass: three more multipliers, even in the logarithm, in each interval next to
            # the best one of every number of bits.
            order = np.argsort(tried)
            best = values[order].argmin(axis=0)
            middles = np.linspace(np.log(tried[order])[:-1], np.log(tried[order])[1:], 5)[1:-1]
            near = np.unique(np.clip([best - 1, best], 0, tried.size - 2))
            multipliers = np.exp(middles[:, near]).ravel()
        for multiplier in multipliers:
            # U(s) - gamma s over the thresholds, for every gamma; its peak between them is
            # bounded by `peak`.
            above = items.usefulness(float(multiplier)) - shares
            rest = np.minimum(peak(above), 1.0)
            each = [
                multiplier * cost[:, None] + average.of(rest)
                for average, cost in zip(averages, nats, strict=True)
            ]
            least_of_free = np.min(each, axis=0)
            values = np.append(values, [(given + least_of_free).min(axis=1)], axis=0)
            height = np.minimum(height, least_of_free)
        tried = np.append(tried, multipliers)
    return height


def _fixed_length(
    r: float,
    bits: Reals,
    log_gamma: Reals,
    tilts: list[Reals],
    averages: list["_Average"],
    parts: int,
) -> Reals:
    """The least height over free modes, shape (bits, G)."""
    layers = [_cached_layers(s.tobytes()) for s in tilts]
    found = []
    for R in bits:
        hull = _hull(r, R + _EXTRA_BITS, log_gamma, parts)
        heights = [
            average.of(hull @ mass[:-1] + mass[-1])
            for average, mass in zip(averages, layers, strict=True)
        ]
        found.append(np.min(heights, axis=0))
    return np.stack(found)


def _hull(r: float, lengths: Reals, log_gamma: Reals, parts: int = 8) -> Reals:
    r"""$2^L \hat\varphi_\gamma(2^{-L})$ at lengths L, increasing, shape (G, lengths).

    $\varphi(q) = q F_\gamma$ is concave up to some q, convex beyond, and ends at q = 1 in $J = (1-\gamma)^+$. So its hull at
    $2^{-L}$ lies on a chord to there, one junk codeword, from a codeword of $r \ge L$ bits, and is
    $J + (1 - 2^{-L}) \max_r 2^{L-r} (F_\gamma(r) - J)/(1 - 2^{-r})$. The apexes of tents between lengths are
    counted as codewords, see `code_lengths`, and the longest ones as certainty. Codewords are looked at in so many
    parts of each step of the lengths.
    """
    each = (lengths[:-1, None] + np.diff(lengths)[:, None] * (np.arange(parts) / parts)).ravel()
    rows = Tails(r, np.append(each, lengths[-1]))
    excess, edges = rows.excess(log_gamma), rows.edges(log_gamma)
    # The longest codewords are counted as certain to be found, and with them all longer ones: a
    # bound.
    excess[:, -1] = 1.0
    slopes = rows.slopes(log_gamma, edges.at(slice(None, -1)), edges.at(slice(1, None)))
    at, height = tents(rows.r, excess, *slopes, in_q=True)
    junk = np.maximum(-np.expm1(log_gamma), 0.0)[:, None]

    def log2_chord(r: Reals, F: Reals) -> Reals:
        with np.errstate(divide="ignore"):  # where the excess is zero
            return np.asarray(np.log2(np.maximum(F - junk, 0.0)) - r - np.log2(-np.expm1(-r * LN2)))

    # From each length on: its own point, the apex beyond it, and those of all longer ones.
    chord = log2_chord(rows.r, excess)
    chord[:, :-1] = np.maximum(chord[:, :-1], log2_chord(at, height))
    # Suffix maximum over the lengths, in log2, for a length of hundreds of bits; then one value
    # for each length that was asked for.
    best = np.maximum.accumulate(chord[:, ::-1], axis=1)[:, ::-1][:, ::parts]
    hull = junk - np.expm1(-lengths * LN2) * np.exp2(best + lengths)
    # Longer codewords have no smaller excess, and none has more than one.
    return np.asarray(np.minimum(np.maximum.accumulate(hull, axis=1), 1.0))


@lru_cache(maxsize=512)
def _cached_layers(s: bytes) -> Reals:
    """Keep layers: all numbers of bits share them."""
    return _layers(np.frombuffer(s))


def _layers(s: Reals) -> Reals:
    r"""Masses $T d\tau$ of the layers by their extra bits $\log_2 1/T$ on the grid, and of what is beyond it.

    Within a layer of finite thickness T is replaced by its mean, which the concave hull does not
    exceed. P' and P_Y tails of L are one contour integral, with the pole at 0 and at 1: P_Y is P' tilted.
    """
    masses = np.zeros(_EXTRA_BITS.size + 1)
    if s.size == 0:
        masses[0] = 1.0
        return masses
    weight, constant = 0.5 * (1 - s), 0.5 * float(np.log(s).sum())
    # L under P' is a constant plus a weighted sum of chi-squares, so that K(t) has its first
    # branch point where 1 - 2 w t is zero for the largest weight.
    branch = float(0.5 / weight.max())

    def cumulants(t: Reals) -> tuple[Reals, Reals, Reals]:
        """K, K', K'' of L under P' at real t, shape of t."""
        v = 1 - 2 * weight * t[:, None]
        return (
            constant * t - 0.5 * np.log(v).sum(axis=1),
            constant + (weight / v).sum(axis=1),
            (2 * weight**2 / v**2).sum(axis=1),
        )

    # Saddlepoints t from far below the branch point to close to it: the level K'(t) runs from the
    # lowest values of L to the highest. By the Chernoff bound K - t K' is the exponent of the
    # tail of P', and K - (t - 1) K' that of the tail of P_Y.
    u = np.linspace(-9.0, 14.0, 461)
    t = branch - (branch - 0.5) * np.exp(u)[::-1]
    K, level, _ = cumulants(t)
    below = (t < 0) & (K - t * level < -_NATS)
    beyond = ((t > 1) & (K - (t - 1) * level < -_NATS)) | (level > _HIGHEST)
    first = np.flatnonzero(below)[-1] if below.any() else 0
    last = np.flatnonzero(beyond)[0] if beyond.any() else t.size - 1
    ends = math.log(branch - t[first]), math.log(branch - t[last])
    t = branch - np.exp(np.linspace(*ends, _LAYERS))
    K, level, variance = cumulants(t)

    # Both poles see the same path, as far from the branch point.
    both = [contour(t - pole, branch - pole, variance, variance) for pole in (0.0, 1.0)]
    factor = np.exp(_exponent(2 * weight / (1 - 2 * weight * t[:, None]), both[0].shift))

    def tail(pole: float, path: Contour) -> Reals:
        whole = (factor * path.weight / path.z).real.sum(axis=1)
        found = np.exp(K - (t - pole) * level) * whole + path.pole
        return np.asarray(np.clip(found, 0.0, 1.0))

    height = np.exp(level)
    # P'(L > l) and P_Y(L > l), both by the inversion integral on a contour through the
    # saddlepoint.
    reference, true = tail(0.0, both[0]), tail(1.0, both[1])
    # The integral of P'(e^L > tau) over tau beyond h is E'(e^L - h)^+ = P_Y(e^L > h) - h P'(e^L >
    # h). A difference of two such is the layer's mass.
    above = np.maximum(true - height * reference, 0.0)  # the integral of T from here on
    mass = np.maximum(above[:-1] - above[1:], 0.0)
    thickness = np.diff(height)
    # A tail falls, so that its mean over a layer lies between those of the ends; rounding is cut
    # off.
    mean = np.clip(mass / thickness, reference[1:], reference[:-1])
    extra = np.append(0.0, np.log2(1 / np.maximum(mean, 1e-300)))
    # Extra bits are rounded up to the grid: more bits bound more.
    place = np.searchsorted(_EXTRA_BITS, extra - 1e-9)
    np.add.at(masses, place, np.append(height[0], thickness * mean))
    masses[-1] += above[-1]
    return masses


def _exponent(a: Reals, shift: Complexes) -> Complexes:
    r"""$-\tfrac12 \sum_i \ln(1 - a_i s) + a_i s$ at shifts s, shape (T, J), of modes a, shape (T, modes).

    Of many weak modes, with |a s| at most 0.6, the series $\tfrac12 \sum_k p_k s^k / k$ from k = 2 on is summed by
    Horner's rule, $p_k = \sum_i a_i^k$: 60 products in the place of a logarithm a mode. A mode's rest is below
    0.6^61 / 61 / 0.4, some 1e-15.
    """
    most = (a * np.abs(shift).max(axis=1)[:, None]).max(axis=0)
    weak = most <= _WEAK
    if np.count_nonzero(weak) < _TERMS:
        weak[:] = False  # no fewer operations
    found = np.zeros(shift.shape, complex)
    if weak.any():
        part = a[:, weak]
        powers = np.stack([(part**k).sum(axis=1) / k for k in range(2, _TERMS + 1)])
        for power in powers[::-1]:
            found = (found + power[:, None]) * shift
        found = 0.5 * found * shift
    for strong in a[:, ~weak].T:
        ratio = -strong[:, None] * shift
        found -= 0.5 * (np.log1p(ratio) - ratio)
    return found


class _Average(NamedTuple):
    r"""Mean over the information density of free modes, as a kernel on the grid of ln gamma.

    A decreasing convex function of $v = e^{-\imath}$ lies below the chord between neighbours.
    """

    matrix: Reals  # shape (G, G)
    found: (
        Reals  # probability that gamma exp(-i) is below the grid, where the mean is one, shape (G,)
    )

    def of(self, values: Reals) -> Reals:
        """The mean of a function of gamma that decreases and is convex, at most one."""
        return np.asarray(values @ self.matrix.T + self.found)


def _averages(rho: Reals, free: list[int], log_gamma: Reals) -> list[_Average]:
    """One kernel for each number of free modes."""
    step, size = float(log_gamma[1] - log_gamma[0]), log_gamma.size
    found = []
    for S in free:
        shift, probability = _densities(tuple(rho[:S].tolist()))
        # gamma e^-i on the grid of ln gamma: `below` is the grid point under it and `part` the
        # weight of the point over it, linear in gamma itself, in which the function is convex: so
        # the chord lies above it.
        below = np.floor(-shift / step)
        part = np.expm1(-shift - below * step) / math.expm1(step)
        offset = np.concatenate([below, below + 1]).astype(int)
        mass = np.concatenate([(1 - part) * probability, part * probability])
        lowest = int(offset.min())
        kernel = np.bincount(offset - lowest, mass)
        place = np.arange(size)[:, None] + lowest + np.arange(kernel.size)
        # Below the grid the mean is counted as one; above it the last value is taken, for the
        # function decreases.
        certain = np.where(place < 0, kernel, 0.0).sum(axis=1)
        matrix = np.zeros((size, size))
        on_grid = np.where(place < 0, 0.0, kernel)
        np.add.at(matrix, (np.arange(size)[:, None], np.clip(place, 0, size - 1)), on_grid)
        found.append(_Average(matrix, certain))
    return found


@lru_cache(maxsize=64)
def _densities(rho: tuple[float, ...]) -> tuple[Reals, Reals]:
    r"""Values of the information density of some modes, rounded up, and their probabilities.

    $\imath - I = \sum_i \rho_i p_i q_i$ with independent standard normals p and q: the distribution of one
    product is a mean of normal ones, and sums are convolutions on a grid.
    """
    if not rho:
        return np.zeros(1), np.ones(1)
    others, probability = _densities(rho[:-1])
    edges = _DENSITY * np.arange(1, round(_LONGEST / _DENSITY) + 1)
    log_q = np.arange(-14.0, 2.4, 0.16)  # the trapezoidal rule is exact to some 1e-13
    q = np.exp(log_q)
    weight = 0.16 * q * 2 * np.exp(-0.5 * q * q) / math.sqrt(2 * math.pi)
    # P(rho p q > edge) as a mean over q > 0 of normal tails, by symmetry of both signs; the
    # substitution to ln q makes the integrand smooth and rapidly decreasing at both ends, where
    # the trapezoidal rule is exact.
    upper = scipy.special.ndtr(-edges[:, None] / (rho[-1] * q)) @ weight
    tail = np.concatenate([1 - upper[::-1], [0.5], upper])
    # From edge to edge, counted at the upper one; the ends take what is beyond.
    mass = -np.diff(tail)
    mass[0] += 1 - tail[0]
    mass[-1] += tail[-1]
    # The density of a sum of independent products is the convolution of theirs.
    probability = _convolved(probability, mass)
    information = -0.5 * math.log((1 - rho[-1]) * (1 + rho[-1]))
    lowest = float(others[0]) + information + _DENSITY - _LONGEST
    # Rare low values are counted as higher ones, rare high ones are below the rounding.
    below = np.cumsum(probability)
    first, last = np.searchsorted(below, [_RARE, below[-1] - _RARE])
    probability[first] = below[first]
    probability = probability[first : last + 1]
    values = lowest + _DENSITY * np.arange(first, first + probability.size)
    return np.asarray(values, float), np.asarray(probability / probability.sum())


def _convolved(a: Reals, b: Reals) -> Reals:
    size = a.size + b.size - 1
    product = np.fft.rfft(a, size) * np.fft.rfft(b, size)
    return np.maximum(np.fft.irfft(product, size), 0.0)
