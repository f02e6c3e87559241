r"""Equiprobable bits seen through an erasure channel: reproduce the bits from those not erased.

The encoder sees each of n fair bits with probability $1-\alpha$. An erased bit is wrong half the
time, whatever the code does. With t bits erased, a of them wrong, and $K = \lfloor nD \rfloor$, a
fair codeword serves the other n-t bits with probability
$P_{t,a} = 2^{-(n-t)} \sum_{j \le K-a} \binom{n-t}{j}$, and no codeword serves a larger fraction.
"""

import jax
import jax.numpy as jnp
import numpy as np
import scipy
from jaxtyping import Array, Float, Int

from rdsim import validation
from rdsim.information import LN2, binary_entropy
from rdsim.limits.finite_blocklength.binary import log_binomials, log_choose
from rdsim.limits.finite_blocklength.codebook_size import (
    covering_log2_codewords,
    random_coding_log2_codewords,
)
from rdsim.limits.finite_blocklength.result import (
    FiniteBlocklength,
    finite_blocklength,
    grid,
    padded_size,
    steps_within,
)
from rdsim.limits.finite_blocklength.second_order import SecondOrder, second_order
from rdsim.number_types import ArrayLike
from rdsim.transformations import on_host


@on_host
@validation.needs_float64
def erased_coin(
    erasure: ArrayLike,
    *,
    distortion: ArrayLike,
    excess_probability: ArrayLike,
    block_lengths: ArrayLike,
) -> FiniteBlocklength:
    r"""Bound the least rate that keeps at most n D of n erased fair coin flips wrong.

    $$\sum_{t,a} w_{t,a} (1 - M P_{t,a})^+ \le \epsilon \le \sum_{t,a} w_{t,a} (1 - P_{t,a})^M,
      \qquad w_{t,a} = \binom{n}{t} \alpha^t (1-\alpha)^{n-t} \binom{t}{a} 2^{-t}:$$

    the left is the lower bound (the converse), the right the average of fair random codes. The upper bound
    counts the code of all $2^n$ blocks as codewords too.

    Args:
        erasure: alpha in [0, 1), a scalar; 0 leaves equiprobable bits.
        distortion: D in (alpha/2, 1/2), fraction of wrong bits, a scalar; without erasures also 0.
        excess_probability: in (0, 1), shape (...).
        block_lengths: n, integers in 1..5000, broadcast against it. For longer blocks see
            `erased_coin_second_order`.

    Returns:
        Bounds and approximation, bits per letter, the broadcast shape. Both bounds are inf where the
        erased bits alone exceed D too often: then no code meets the excess probability.

    """
    alpha, D = _checked_erasures(erasure, distortion)
    n, eps = grid(block_lengths, excess_probability)
    radius = steps_within(n, D)
    lengths, radii = np.ravel(np.asarray(n)), np.ravel(radius)
    size, widest = padded_size(int(lengths.max())), padded_size(int(radii.max()))
    fair = log_binomials(size, widest, -LN2, -LN2)
    lower, upper = _erasure_bounds(
        jnp.asarray(alpha),
        jnp.asarray(fair),
        jnp.asarray(np.minimum(np.logaddexp.accumulate(fair, axis=1), 0.0)),
        jnp.asarray(lengths),
        jnp.asarray(radii),
        jnp.asarray(_log_lost(alpha, lengths, radii)),
        eps.ravel(),
    )
    approximation = _erasure_second_order(alpha, D)
    return finite_blocklength(approximation, n, eps, log2_lower=lower, log2_upper=upper)


@on_host
@validation.needs_float64
def erased_coin_second_order(erasure: ArrayLike, *, distortion: ArrayLike) -> SecondOrder:
    r"""Approximate the same rate at any block length.

    $$R(D) = (1-\alpha)\left(1 - h\left(\frac{D - \alpha/2}{1-\alpha}\right)\right), \quad
      V(D) = \alpha(1-\alpha) \log_2^2 \frac{2^{s/2} + 2^{-s/2}}{2} + \frac{\alpha}{4} s^2, \quad
      s = \log_2 \frac{1 - \alpha/2 - D}{D - \alpha/2}.$$

    Its methods are `rate` and `excess_probability`; the arguments are those of `erased_coin`.
    """
    return _erasure_second_order(*_checked_erasures(erasure, distortion))


def _checked_erasures(erasure: ArrayLike, distortion: ArrayLike) -> tuple[float, float]:
    alpha = float(
        validation.interval("erasure", erasure, low=0.0, high=1.0, open_high=True, ndim=0)
    )
    D = validation.interval(
        "distortion",
        distortion,
        low=alpha / 2,
        high=0.5,
        open_low=alpha > 0,  # at alpha/2 the slope and the dispersion are infinite
        open_high=True,
        ndim=0,
    )
    return alpha, float(D)


def _erasure_second_order(alpha: float, D: float) -> SecondOrder:
    if alpha == 0:
        return second_order(1 - binary_entropy(jnp.asarray(D)), 0.0)
    wrong = (D - alpha / 2) / (1 - alpha)
    slope = np.log2((1 - wrong) / wrong)
    per_bit = np.logaddexp2(slope / 2, -slope / 2) - 1
    rate = (1 - alpha) * (1 - binary_entropy(jnp.asarray(wrong)))
    return second_order(rate, alpha * (1 - alpha) * per_bit**2 + alpha / 4 * slope**2)


def _log_lost(alpha: float, lengths: np.ndarray, radii: np.ndarray) -> np.ndarray:
    """Ln of the probability that more than K erased bits are wrong, so that no codeword serves the block.

    Each bit is erased and wrong with probability alpha/2, independently: a binomial tail.
    """
    with np.errstate(divide="ignore"):
        return np.log(scipy.special.bdtrc(radii, lengths, alpha / 2))


@jax.jit
def _erasure_bounds(
    alpha: Float[Array, ""],
    fair: Float[Array, "t k"],
    few: Float[Array, "t k"],
    lengths: Int[Array, " b"],
    radii: Int[Array, " b"],
    log_lost: Float[Array, " b"],
    eps: Float[Array, " b"],
) -> tuple[Float[Array, " b"], Float[Array, " b"]]:
    """log2 M of both bounds, one n after the other from tables that all n share.

    The tables are those of fair bits: ln of the binomial probabilities, and of their cumulative sums. A
    case is a pair (t, k) of erasures and wrong ones among them; one more holds what is lost.
    """
    t, k = jnp.arange(fair.shape[0]), jnp.arange(fair.shape[1])
    log_erased = jnp.where(t > 0, t * jnp.log(jnp.where(alpha > 0, alpha, 1.0)), 0.0)
    log_erased = jnp.where((t > 0) & (alpha == 0), -jnp.inf, log_erased)

    def bound(arguments: tuple[Array, ...]) -> tuple[Array, Array]:
        n, K, lost, epsilon = arguments
        erased = log_choose(n, t) + log_erased + (n - t) * jnp.log1p(-alpha)
        inside = k <= K
        wrong = jnp.where(inside, fair, -jnp.inf)
        left = jnp.where(inside, K - k, 0)
        log_ball = jnp.where(inside, few[jnp.maximum(n - t, 0)[:, None], left], -jnp.inf)
        # The cases that no codeword serves are one more case, with a ball of probability zero.
        weights = jnp.append((erased[:, None] + wrong).ravel(), lost)
        balls = jnp.append(log_ball.ravel(), -jnp.inf)
        lower = covering_log2_codewords(weights, balls, epsilon)
        random = random_coding_log2_codewords(weights, balls, epsilon)
        # The code with all 2^n blocks as codewords serves what any code can, and beats random ones where n is small.
        return lower, jnp.minimum(random, jnp.where(jnp.isfinite(lower), n, jnp.inf))

    return jax.lax.map(bound, (lengths, radii, log_lost, eps))
