r"""Any discrete memoryless source under any letter distortion, exactly, by types.

- Achievability (Kostina and Verdu 2012, random coding): codewords i.i.d. from the optimal output
  marginal q*, $\epsilon = E (1 - P(Y^n))^M$ with P the probability of the ball around $Y^n$.
- Converse (theirs, by hypothesis testing): for any law Q of a block,
  $M \ge \beta_{1-\epsilon}(p^n, Q) / \max_{u^n} Q(\text{ball around } u^n)$, with
  $\beta_{1-\epsilon}$ the least Q of a set of probability 1-eps. Here Q is i.i.d. of letters
  $Q_y \propto p_y 2^{j(y,D)}$, the law that makes every reproduction letter equally useful. For a
  binary source it is uniform, and this is the converse of `binary_hamming`. It is never below
  their converse by tilted information, $\epsilon \ge P[\sum_i j(y_i) \ge \log_2 M + \gamma] - 2^{-\gamma}$.

Letters that behave alike are one class, so that the cost is set by the number of classes: one for a
uniform source under Hamming distortion, whatever its alphabet.
"""

import math
from fractions import Fraction
from typing import Any, Final

import jax
import jax.numpy as jnp
import numpy as np
from scipy import special

from rdsim import validation
from rdsim.information import LN2
from rdsim.limits.finite_blocklength import letter_counts
from rdsim.limits.finite_blocklength.codebook import random_coding_log2_words
from rdsim.limits.finite_blocklength.letter_counts import Laws
from rdsim.limits.finite_blocklength.result import (
    WHOLE,
    FiniteBlocklength,
    finite_blocklength,
    grid,
    steps_within,
)
from rdsim.limits.finite_blocklength.tilted import Tilted, tilted
from rdsim.number_types import ArrayLike
from rdsim.transformations import on_host

MAX_BLOCK_LENGTH: Final = 5000
_ALIKE: Final = 1e-9
"""Letters whose laws differ by less are one class; the bounds are taken on the safe side."""
_LARGEST_DENOMINATOR: Final = 1000
_FINEST: Final = 10_000  # lattice steps in the largest distortion
_STEPS_IN_D: Final = 32


@on_host
@validation.needs_float64
def discrete(
    p: ArrayLike,
    d: ArrayLike,
    *,
    distortion: ArrayLike,
    excess_probability: ArrayLike,
    block_lengths: ArrayLike,
    step: Any = None,
) -> FiniteBlocklength:
    r"""Bound the least rate that keeps n letters within distortion D but for a given probability.

    $$\frac{1}{n} \log_2 \frac{\beta_{1-\epsilon}(p^n, Q^n)}{\max_{u^n} Q^n[d(Y^n, u^n) \le D]}
      \;\le\; R(n, D, \epsilon) \;\le\; \frac{1}{n} \log_2 M, \qquad
      E \big(1 - q^{*n}[d(Y^n, U^n) \le D]\big)^M = \epsilon.$$

    The achievability is the least over two codebooks, of i.i.d. letters from $q^*$ and uniform ones
    (as long as its types can be summed too), and over the code of all words if it serves every block.

    Both are sums over the types of n letters, $\binom{n+m-1}{m-1}$ of them for m classes of letters:
    n = 1000 takes milliseconds for m = 2 and seconds for m = 3; n = 100 does for m = 4.

    Args:
        p: source pmf, shape (|Y|,).
        d: distortions, shape (|Y|, |U|), each >= 0; inf forbids a pair.
        distortion: D strictly between D_min and D_max, a scalar.
        excess_probability: in (0, 1), shape (...).
        block_lengths: n, integers in 1..5000, broadcast against it.
        step: distortions are counted in multiples of this. By default the largest number of which
            all are multiples, and without one D/32. Where they are not multiples they are rounded
            up for the achievability and down for the converse: both bounds hold, and are looser by
            at most step times the slope of R(D), in bits a letter.

    Returns:
        Converse, achievability and approximation, bits a letter, the broadcast shape.

    Raises:
        ValueError: if an argument lies outside its range, or the types of a block length are too
            many to be summed (the message counts them; see `discrete_second_order`).

    References:
        Kostina and Verdu (2012), IEEE Trans. Inf. Theory 58(6), the general bounds.

    """
    lengths, eps = grid(block_lengths, excess_probability, low=1, high=MAX_BLOCK_LENGTH)
    if step is not None:
        step = validation.interval(
            "step", step, low=0.0, high=math.inf, open_low=True, open_high=True, ndim=0
        )
    source = tilted(p, d, distortion)
    step = _lattice_step(source) if step is None else float(step)
    flat_n, flat_eps = np.ravel(np.asarray(lengths)), np.ravel(np.asarray(eps))
    words, index = np.unique(flat_n, return_inverse=True)
    plans = [_plan(source, int(n), step) for n in words]  # refuses before the first is computed
    converse, achievability = np.empty(flat_n.size), np.empty(flat_n.size)
    for place, (n, radius) in enumerate(zip(words, plans, strict=True)):
        here = index == place
        converse[here] = _converse(source, int(n), step, flat_eps[here])
        achievability[here] = _achievability(source, int(n), radius, step, flat_eps[here])
    return finite_blocklength(source.second_order(), lengths, eps, converse, achievability)


def _lattice_step(source: Tilted) -> float:
    d = np.asarray(source.d)[np.asarray(source.p) > 0]
    finite = d[np.isfinite(d) & (d > 0)]
    fractions = [Fraction(x).limit_denominator(_LARGEST_DENOMINATOR) for x in np.unique(finite)]
    common = math.lcm(*(x.denominator for x in fractions))
    unit = math.gcd(*(int(x * common) for x in fractions)) / common
    whole = unit > 0 and np.all(np.abs(finite / unit - np.round(finite / unit)) < WHOLE)
    if whole and finite.max() <= _FINEST * unit:
        return unit
    return source.distortion / _STEPS_IN_D


def _plan(source: Tilted, n: int, step: float) -> int:
    """The lattice problem of random coding at one block length, refused if it is too large."""
    radius = int(steps_within(n, source.distortion, step))
    used = np.asarray(source.p) > 0
    d = np.asarray(source.d)[used]
    classes = _laws(np.ceil(d / step - WHOLE), np.asarray(source.output_marginal), radius)
    laws = classes._replace(masses=_merged(classes.masses, np.minimum)[0])
    tests = len(_tilted_classes(source)[0])
    types = special.comb(n + max(len(laws.masses), tests) - 1, max(len(laws.masses), tests) - 1)
    if _too_large(n, radius, laws) or types > letter_counts.MEMORY_LIMIT / tests:
        raise ValueError(
            f"block_lengths: n = {n} letters of {max(len(laws.masses), tests)} classes have "
            f"{types:.3g} types, {radius} lattice steps each, too many to be summed; take a "
            "shorter block, a larger step, or discrete_second_order"
        )
    return radius


def _laws(steps: np.ndarray, weights: np.ndarray, radius: int) -> Laws:
    """Laws of the distance of each row's letter to a random column; beyond the radius dropped."""
    near = steps <= radius
    offsets = np.unique(steps[near]).astype(int)
    masses = np.stack([np.where(near & (steps == k), weights, 0.0).sum(axis=1) for k in offsets], 1)
    return Laws(offsets, masses)


def _merged(masses: np.ndarray, safe: np.ufunc) -> tuple[np.ndarray, np.ndarray]:
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


def _too_large(n: int, radius: int, laws: Laws) -> bool:
    return (
        letter_counts.work(n, radius, laws) > letter_counts.WORK_LIMIT
        or letter_counts.memory(n, radius, laws) > letter_counts.MEMORY_LIMIT
    )


def _achievability(source: Tilted, n: int, radius: int, step: float, eps: np.ndarray) -> np.ndarray:
    used = np.asarray(source.p) > 0
    p, d = np.asarray(source.p)[used], np.asarray(source.d)[used]
    steps = np.ceil(d / step - WHOLE)
    letters = d.shape[1]
    every_word = n * math.log2(letters) if n * steps.min(axis=1).max() <= radius else math.inf
    best = np.full(eps.size, every_word)
    for q in (np.asarray(source.output_marginal), np.full(letters, 1 / letters)):
        classes = _laws(steps, q, radius)
        merged, label = _merged(classes.masses, np.minimum)
        laws = classes._replace(masses=merged)
        if _too_large(n, radius, laws):
            continue  # never q*, whose problem was planned
        masses = np.bincount(label, weights=p)
        counts, log_ball = letter_counts.balls(n, radius, laws, source.slope * step * LN2)
        log_weight = letter_counts.log_multiplicity(counts) + counts @ np.log(masses)
        found = [_solve_padded(log_weight, log_ball, each) for each in eps]
        best = np.minimum(best, found)
    return best


def _solve_padded(log_weight: np.ndarray, log_ball: np.ndarray, eps: float) -> float:
    """Pad to a power of two, so that few shapes are compiled."""
    room = (1 << max(len(log_weight) - 1, 255).bit_length()) - len(log_weight)
    weight, ball = (np.pad(x, (0, room), constant_values=-np.inf) for x in (log_weight, log_ball))
    return float(_solve(jnp.asarray(weight), jnp.asarray(ball), jnp.asarray(eps)))


_solve = jax.jit(random_coding_log2_words)


def _tilted_classes(source: Tilted) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Tilted information and mass of each class of letters alike in it, and the letters' class."""
    used = np.asarray(source.p) > 0
    information = np.asarray(source.information)[used]
    levels, label = _merged(information[:, None], np.minimum)
    return levels[:, 0], np.bincount(label, weights=np.asarray(source.p)[used]), label


def _converse(source: Tilted, n: int, step: float, eps: np.ndarray) -> np.ndarray:
    levels, masses, label = _tilted_classes(source)
    used = np.asarray(source.p) > 0
    auxiliary = np.asarray(source.p)[used] * np.exp2(levels[label])
    total = auxiliary.sum()
    counts = letter_counts.compositions(n, len(levels))
    log_p = letter_counts.log_multiplicity(counts) + counts @ np.log(masses)
    log_q = log_p + (counts @ levels) * LN2 - n * math.log(total)
    log_ball = _largest_ball(source, n, step, auxiliary / total)
    log_least = np.array([_least(counts @ levels, log_p, log_q, each) for each in eps])
    return np.maximum((log_least - log_ball) / LN2, 0.0)


def _least(information: np.ndarray, log_p: np.ndarray, log_q: np.ndarray, eps: float) -> float:
    """Ln of the least Q of a set of probability 1 - eps (Neyman and Pearson 1933).

    The set leaves out the largest tilted information, up to probability eps.
    """
    order = np.argsort(-information, kind="stable")
    log_p, log_q = log_p[order], log_q[order]
    p = np.exp(log_p)
    out = np.cumsum(p)
    before = out - p
    share = np.clip((out - eps) / np.maximum(p, 1e-300), 0.0, 1.0)
    share = np.where(before >= eps, 1.0, share)
    return float(special.logsumexp(log_q, b=share)) if share.any() else -math.inf


def _largest_ball(source: Tilted, n: int, step: float, auxiliary: np.ndarray) -> float:
    """Ln of the largest Q of a ball around a reproduction word, or a bound above it.

    Chernoff's bound on every letter always holds; the exact law is summed where that is quick.
    """
    d = np.asarray(source.d)[np.asarray(source.p) > 0]
    exponent = np.where(np.isinf(d), -np.inf, source.slope * LN2 * (source.distortion - d))
    log_ball = n * float(np.max(special.logsumexp(exponent, axis=0, b=auxiliary[:, None])))
    log_ball = min(log_ball, 0.0)
    radius = int(steps_within(n, source.distortion, step))
    columns = _laws(np.floor(d.T / step + WHOLE), auxiliary, radius)
    laws = Laws(columns.offsets, _undominated(_merged(columns.masses, np.maximum)[0]))
    if _too_large(n, radius, laws):
        return log_ball
    tilt = source.slope * step * LN2
    _, exact = letter_counts.balls(n, radius, laws, tilt, underflow=letter_counts.UNDERFLOW)
    return min(log_ball, float(exact.max()))


def _undominated(masses: np.ndarray) -> np.ndarray:
    """Drop reproduction letters that another is never worse than, at every distance."""
    reach = np.cumsum(masses, axis=1)
    kept = [
        index
        for index, row in enumerate(reach)
        if not any(
            np.all(other >= row) and (np.any(other > row) or rival < index)
            for rival, other in enumerate(reach)
            if rival != index
        )
    ]
    return masses[kept]
