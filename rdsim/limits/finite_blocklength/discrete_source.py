r"""Any discrete memoryless source under any letter distortion, exactly, by types.

- Upper bound (Kostina and Verdu 2012, random coding): codewords i.i.d. from the optimal output
  marginal q*, $\epsilon = E (1 - P(Y^n))^M$ with P the probability of the ball around $Y^n$.
- Lower bound (their converse by hypothesis testing): for any distribution Q of a block,
  $M \ge \beta_{1-\epsilon}(p^n, Q) / \max_{u^n} Q(\text{ball around } u^n)$, with
  $\beta_{1-\epsilon}$ the least Q of a set of probability 1-eps. Here Q is i.i.d. of letters
  $Q_y \propto p_y 2^{j(y,D)}$, under which every reproduction letter is equally useful. For a
  binary source it is uniform, and this is the converse of `binary_hamming`. It is never below
  their converse by tilted information, $\epsilon \ge P[\sum_i j(y_i) \ge \log_2 M + \gamma] - 2^{-\gamma}$.

Letters that behave alike are one class, so that the cost is set by the number of classes: one for a
uniform source under Hamming distortion, whatever its alphabet.
"""

import math
from fractions import Fraction
from typing import Final

import jax
import jax.numpy as jnp
import numpy as np
import scipy

from rdsim import validation
from rdsim.information import LN2
from rdsim.limits.finite_blocklength import letter_counts
from rdsim.limits.finite_blocklength.codebook_size import random_coding_log2_codewords
from rdsim.limits.finite_blocklength.letter_counts import Distances
from rdsim.limits.finite_blocklength.result import (
    ROUNDING,
    FiniteBlocklength,
    finite_blocklength,
    grid,
    steps_within,
)
from rdsim.limits.finite_blocklength.tilted import Tilted, tilted
from rdsim.number_types import ArrayLike
from rdsim.sources.sequence_types import compositions, log_multinomial
from rdsim.transformations import on_host

_ALIKE: Final = 1e-9
"""Letters whose probabilities differ by less are one class; the bounds are taken on the safe side."""
_LARGEST_DENOMINATOR: Final = 1000
"""Largest denominator of the fractions among which a common step of the distortions is looked for."""
_FINEST: Final = 10_000  # most lattice steps in the largest distortion
_STEPS_IN_D: Final = 32  # lattice steps in D where distortions have no common step


@on_host
@validation.needs_float64
def discrete(
    p: ArrayLike,
    distortions: ArrayLike,
    *,
    distortion: ArrayLike,
    excess_probability: ArrayLike,
    block_lengths: ArrayLike,
    step: ArrayLike | None = None,
) -> FiniteBlocklength:
    r"""Bound the least rate that keeps n letters within distortion D except with a given probability.

    $$\frac{1}{n} \log_2 \frac{\beta_{1-\epsilon}(p^n, Q^n)}{\max_{u^n} Q^n[d(Y^n, u^n) \le D]}
      \;\le\; R(n, D, \epsilon) \;\le\; \frac{1}{n} \log_2 M, \qquad
      E \big(1 - q^{*n}[d(Y^n, U^n) \le D]\big)^M = \epsilon.$$

    The upper bound is the least over two codebooks, of i.i.d. letters from $q^*$ and uniform ones
    (as long as its types can be summed too), and over the code that has all blocks as codewords if it serves every block.

    Both are sums over the types of n letters, $\binom{n+m-1}{m-1}$ of them for m classes of letters:
    n = 1000 takes milliseconds for m = 2 and seconds for m = 3; n = 100 does for m = 4.

    Args:
        p: source pmf, shape (|Y|,).
        distortions: d(y,u) >= 0, shape (|Y|, |U|); inf forbids a pair.
        distortion: D strictly between D_min and D_max, a scalar.
        excess_probability: in (0, 1), shape (...).
        block_lengths: n, integers in 1..5000, broadcast against it.
        step: distortions are counted in multiples of this. By default the largest number of which
            all are multiples, and without one D/32. Where they are not multiples they are rounded
            up for the upper bound and down for the lower one: both hold, and are looser by at most
            step times the slope of R(D), in bits per letter.

    Returns:
        Bounds and approximation, bits per letter, the broadcast shape.

    Raises:
        ValueError: if the types of a block length are too many to be summed (the message counts them;
            see `discrete_second_order`).

    """
    lengths, eps = grid(block_lengths, excess_probability)
    if step is not None:
        step = validation.positive("step", step, ndim=0)
    source = tilted(p, distortions, distortion)
    step = _lattice_step(source) if step is None else float(step)
    flat_n, flat_eps = np.ravel(np.asarray(lengths)), np.ravel(np.asarray(eps))
    distinct, index = np.unique(flat_n, return_inverse=True)
    # All block lengths are checked before the first is computed.
    radii = [_checked_radius(source, int(n), step) for n in distinct]
    lower, upper = np.empty(flat_n.size), np.empty(flat_n.size)
    for i, (n, radius) in enumerate(zip(distinct, radii, strict=True)):
        here = index == i
        lower[here] = _testing_log2_codewords(source, int(n), step, flat_eps[here])
        upper[here] = _coding_log2_codewords(source, int(n), radius, step, flat_eps[here])
    approximation = source.second_order()
    return finite_blocklength(approximation, lengths, eps, log2_lower=lower, log2_upper=upper)


def _lattice_step(source: Tilted) -> float:
    """The largest step of which all distortions are multiples, from their fractions; D/32 if none."""
    d = np.asarray(source.distortions)[np.asarray(source.p) > 0]
    finite = d[np.isfinite(d) & (d > 0)]
    # The greatest common divisor of rational numbers: over their common denominator, that of the
    # numerators.
    fractions = [Fraction(x).limit_denominator(_LARGEST_DENOMINATOR) for x in np.unique(finite)]
    common = math.lcm(*(x.denominator for x in fractions))
    unit = math.gcd(*(int(x * common) for x in fractions)) / common
    fits = unit > 0 and np.all(np.abs(finite / unit - np.round(finite / unit)) < ROUNDING)
    if fits and finite.max() <= _FINEST * unit:
        return unit
    return source.distortion / _STEPS_IN_D


def _checked_radius(source: Tilted, n: int, step: float) -> int:
    """Lattice steps in n D, for a block length whose types are not too many to be summed."""
    radius = int(steps_within(n, source.distortion, step))
    d = np.asarray(source.distortions)[np.asarray(source.p) > 0]
    letters = _distances(np.ceil(d / step - ROUNDING), np.asarray(source.output_marginal), radius)
    merged = letters._replace(masses=_merged_rows(letters.masses, np.minimum)[0])
    tests = len(_tilted_classes(source)[0])
    classes = max(len(merged.masses), tests)
    types = scipy.special.comb(n + classes - 1, classes - 1)
    if _too_large(n, radius, merged) or types > letter_counts.MEMORY_LIMIT / tests:
        raise ValueError(
            f"block_lengths: n = {n} letters of {classes} classes have "
            f"{types:.3g} types, {radius} lattice steps each, too many to be summed; take a "
            "shorter block, a larger step, or discrete_second_order"
        )
    return radius


def _distances(steps: np.ndarray, weights: np.ndarray, radius: int) -> Distances:
    """Distances of each row's letter to a random column; those beyond the radius are dropped."""
    near = steps <= radius
    offsets = np.unique(steps[near]).astype(int)
    masses = np.stack([np.where(near & (steps == k), weights, 0.0).sum(axis=1) for k in offsets], 1)
    return Distances(offsets, masses)


def _merged_rows(masses: np.ndarray, safe: np.ufunc) -> tuple[np.ndarray, np.ndarray]:
    """Join rows that are alike, keeping the safe side of each entry; and the class of each row."""
    found: list[np.ndarray] = []
    label = np.empty(len(masses), int)
    for index, row in enumerate(masses):
        alike = [k for k, other in enumerate(found) if np.max(np.abs(other - row)) < _ALIKE]
        if alike:
            label[index] = alike[0]
            found[alike[0]] = safe(found[alike[0]], row)
        else:
            label[index] = len(found)
            found.append(row)
    return np.stack(found), label


def _too_large(n: int, radius: int, distances: Distances) -> bool:
    return (
        letter_counts.work(n, radius, distances) > letter_counts.WORK_LIMIT
        or letter_counts.memory(n, radius, distances) > letter_counts.MEMORY_LIMIT
    )


def _coding_log2_codewords(
    source: Tilted, n: int, radius: int, step: float, eps: np.ndarray
) -> np.ndarray:
    """log2 M of the best code that is known: of random codewords from q* or fair ones, or of all blocks as codewords."""
    used = np.asarray(source.p) > 0
    p, d = np.asarray(source.p)[used], np.asarray(source.distortions)[used]
    # Rounded up for a code, so that what is counted as within the distance truly is; integers up
    # to rounding stay as they are. The converse rounds down for the same reason.
    steps = np.ceil(d / step - ROUNDING)
    letters = d.shape[1]
    every_block = n * math.log2(letters) if n * steps.min(axis=1).max() <= radius else math.inf
    best = np.full(eps.size, every_block)
    for q in (np.asarray(source.output_marginal), np.full(letters, 1 / letters)):
        letters = _distances(steps, q, radius)
        masses, label = _merged_rows(letters.masses, np.minimum)
        classes = letters._replace(masses=masses)
        if _too_large(n, radius, classes):
            continue  # never q*, whose size was checked
        counts, log_ball = letter_counts.balls(n, radius, classes, source.slope * step * LN2)
        log_p = np.log(np.bincount(label, weights=p))
        log_weight = log_multinomial(counts) + counts @ log_p
        found = [_padded_log2_codewords(log_weight, log_ball, each) for each in eps]
        best = np.minimum(best, found)
    return best


def _padded_log2_codewords(log_weight: np.ndarray, log_ball: np.ndarray, eps: float) -> float:
    """Solve for log2 M after padding the cases to a power of two, so that few shapes are compiled."""
    padding = (0, (1 << max(len(log_weight) - 1, 255).bit_length()) - len(log_weight))
    weight = np.pad(log_weight, padding, constant_values=-np.inf)
    ball = np.pad(log_ball, padding, constant_values=-np.inf)
    return float(_log2_codewords(jnp.asarray(weight), jnp.asarray(ball), jnp.asarray(eps)))


_log2_codewords = jax.jit(random_coding_log2_codewords)


def _tilted_classes(source: Tilted) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Classes of letters of one tilted information: that, their probability, the class of each letter."""
    used = np.asarray(source.p) > 0
    information = np.asarray(source.information)[used]
    levels, label = _merged_rows(information[:, None], np.minimum)
    return levels[:, 0], np.bincount(label, weights=np.asarray(source.p)[used]), label


def _testing_log2_codewords(source: Tilted, n: int, step: float, eps: np.ndarray) -> np.ndarray:
    """log2 M below which hypothesis testing rules every code out: beta over the largest ball under Q."""
    levels, masses, label = _tilted_classes(source)
    used = np.asarray(source.p) > 0
    auxiliary = np.asarray(source.p)[used] * np.exp2(levels[label])
    total = auxiliary.sum()
    counts = compositions(n, len(levels))
    log_p = log_multinomial(counts) + counts @ np.log(masses)
    # Q of a type: P times 2^(sum of tilted information), over the normalisation of Q to the power
    # n.
    log_q = log_p + (counts @ levels) * LN2 - n * math.log(total)
    log_ball = _largest_ball(source, n, step, auxiliary / total)
    log_beta = np.array([_log_beta(counts @ levels, log_p, log_q, each) for each in eps])
    return np.maximum((log_beta - log_ball) / LN2, 0.0)


def _log_beta(information: np.ndarray, log_p: np.ndarray, log_q: np.ndarray, eps: float) -> float:
    """Ln of the least Q of a set of probability 1 - eps (the lemma of Neyman and Pearson 1933).

    The set leaves out the blocks of largest tilted information, up to probability eps; the type at the
    edge is taken in part.
    """
    order = np.argsort(-information, kind="stable")
    log_p, log_q = log_p[order], log_q[order]
    p = np.exp(log_p)
    out = np.cumsum(p)
    before = out - p
    # Types before the edge are left out, the one in which the left-out probability reaches eps is
    # taken in part, and all beyond it are taken.
    taken = np.clip((out - eps) / np.maximum(p, 1e-300), 0.0, 1.0)
    taken = np.where(before >= eps, 1.0, taken)
    return float(scipy.special.logsumexp(log_q, b=taken)) if taken.any() else -math.inf


def _largest_ball(source: Tilted, n: int, step: float, auxiliary: np.ndarray) -> float:
    """Ln of the largest Q of a ball around a reproduction codeword, or a bound above it.

    Chernoff's bound on every letter always holds; the exact probability is summed where that is quick.
    """
    d = np.asarray(source.distortions)[np.asarray(source.p) > 0]
    # Chernoff's (Markov's) bound: P[sum d <= nD] <= prod E 2^{s(D - d)}, maximised over the
    # reproduction letter.
    exponent = np.where(np.isinf(d), -np.inf, source.slope * LN2 * (source.distortion - d))
    log_ball = n * float(np.max(scipy.special.logsumexp(exponent, axis=0, b=auxiliary[:, None])))
    log_ball = min(log_ball, 0.0)
    radius = int(steps_within(n, source.distortion, step))
    columns = _distances(np.floor(d.T / step + ROUNDING), auxiliary, radius)
    merged = Distances(columns.offsets, _undominated(_merged_rows(columns.masses, np.maximum)[0]))
    if _too_large(n, radius, merged):
        return log_ball
    # Products that fall below the least float are counted by `underflow`, since this must be an
    # upper bound.
    tilt = source.slope * step * LN2
    _, exact = letter_counts.balls(n, radius, merged, tilt, underflow=letter_counts.UNDERFLOW)
    return min(log_ball, float(exact.max()))


def _undominated(masses: np.ndarray) -> np.ndarray:
    """Drop reproduction letters that another dominates: at every distance it covers at least as much."""
    within = np.cumsum(masses, axis=1)
    undominated = [
        index
        for index, row in enumerate(within)
        if not any(
            np.all(other >= row) and (np.any(other > row) or rival < index)
            for rival, other in enumerate(within)
            if rival != index
        )
    ]
    return masses[undominated]
