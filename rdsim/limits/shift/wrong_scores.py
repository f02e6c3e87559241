r"""Decoders made for another distribution: the generalized mutual information (C30).

Codewords drawn i.i.d. from P(u) are ranked by a score q(x,u) that need not be the information density. The
target comes first, in a database of $2^{nR}$ items of n letters with n large, exactly if R is below

$$\mathrm{GMI} = \max_{s \ge 0} E \log_2 \frac{2^{s q(X,U)}}{\sum_{u'} P(u')\, 2^{s q(X,u')}}
  \le I(X;U).$$

It is the mismatched rate of C24 read the other way round: a competitor passes the target where a random codeword
describes the query as well as the target's does, so that the codebook is P(u), the distortion -q(x,u),
and the distortion allowed its mean over the pairs, -E q(X,U). One search serves both.
"""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from rdsim import validation
from rdsim.certified import Certified
from rdsim.information import LN2, log1p
from rdsim.limits.shift.mismatch import mismatched_bounds
from rdsim.number_types import ArrayLike
from rdsim.results import result
from rdsim.transformations import A_STOPPING_RULE, least, not_differentiable


@result
class GeneralizedInformation:
    r"""The growth of a database that a decoder with given scores can serve.

    Attributes:
        information: the generalized mutual information with its bounds, bits per letter.
        scale: the s at which it is attained, bits per unit of score: times s the scores do best as
            information densities. 1/s is the temperature, in units of score a bit, that a fit to many
            pairs finds. 0 where no s > 0 does better than s near zero, inf where every pair that
            occurs has the largest score of its query.

    """

    information: Certified
    scale: Float[Array, "..."]


@not_differentiable(tolerance=A_STOPPING_RULE)
@validation.needs_float64
def generalized_mutual_information(
    joint: ArrayLike, scores: ArrayLike, *, tolerance: ArrayLike = 1e-9
) -> GeneralizedInformation:
    r"""Compute the generalized mutual information of a decoder that ranks codewords by given scores (C30).

    $$\max_{s \ge 0} f(s), \quad f(s) = E\, s q(X,U) - E \log_2 \sum_{u'} P(u')\, 2^{s q(X,u')},$$

    f concave with f(0) = 0. It is I(X;U) for scores that are a multiple of the information density, up to
    a constant of each query; zero if E q(X,U) is no larger than with U independent of X. A factor
    common to all scores changes `scale` alone. A score of -inf rules a codeword out: if no pair that occurs
    has it, codewords it rules out count as $s \downarrow 0$ already; if one has, the target is lost and the
    result is zero. Where every pair that occurs has the largest score of its query, f increases up to
    $-E \log_2 P(q(X,U') = \max_u q(X,u))$, the value returned with `scale` inf.

    Args:
        joint: P(x,u) of query letter and codeword letter, shape (|X|, |U|).
        scores: q(x,u), higher is better, shape (|X|, |U|); -inf for the impossible.
        tolerance: certified gap that counts as converged, bits.

    Returns:
        Bits between certified bounds, and the scale. Derivatives in joint and scores are those of the
        envelope theorem.

    References:
        Kaplan and Shamai (1993), "Information rates and error exponents of compound channels", AEU 47;
        Merhav, Kaplan, Lapidoth and Shamai (1994), IEEE Trans. Inf. Theory 40(6).

    """
    table = validation.pmf("joint", joint, ndim=2)
    q = validation.interval("scores", scores, high=np.inf, open_high=True, ndim=2)
    if q.shape != table.shape:
        raise ValueError(f"scores must have the shape of joint, {table.shape}, got {q.shape}")
    target = validation.tolerance(tolerance)
    # Letters that never occur leave no trace: no codeword is drawn from them, no query has them.
    px, pu = table.sum(axis=1), table.sum(axis=0)
    present = (pu > 0) & jnp.isfinite(q)
    known = jnp.any(present, axis=1, keepdims=True)
    # The largest score of a query; -inf counts only where a query has no other.
    largest = -least(jnp.where(present, -q, jnp.inf))[:, None]
    largest = jnp.where(known, largest, 0.0)
    # The distortion is the largest score of the query less the codeword's: it is not negative,
    # and zero for the best codeword. A constant of each query changes no ranking and no GMI.
    d = jnp.where(present | (pu == 0), largest - jnp.where(jnp.isfinite(q), q, largest), jnp.inf)
    d = jnp.where(known, d, 0.0)
    happens = table > 0
    lost = jnp.any(happens & jnp.isneginf(q))
    # A pair that never occurs has a derivative too: it would move the mean.
    D = jnp.sum(jnp.where(jnp.isfinite(d), table * jnp.where(jnp.isfinite(d), d, 0.0), 0.0))
    lower, upper, scale = mismatched_bounds(px, d, pu, jnp.where(lost, 0.0, D))
    value = Certified(
        value=jnp.where(lost, 0.0, upper),
        lower=jnp.where(lost, 0.0, lower),
        upper=jnp.where(lost, 0.0, upper),
        tolerance=target,
    )
    return GeneralizedInformation(information=value, scale=jnp.where(lost, 0.0, scale))


def generalized_mutual_information_gaussian(
    correlation: ArrayLike, *, assumed: ArrayLike
) -> GeneralizedInformation:
    r"""Compute the generalized mutual information of a Gaussian pair decoded for another correlation (C30).

    Query and codeword letter are standard normal with correlation $\rho$, and codewords are ranked by the density
    of a pair of correlation r, by $q = (r x u - \tfrac12 r^2 u^2)/(1 - r^2)$. With
    $k = 1/r$ and $a = 1 + k^2 - 2 k \rho$,

    $$\mathrm{GMI} = \frac{1}{\ln 2} \Bigl( (v-1) \bigl(k\rho - \tfrac12\bigr)
      + \tfrac12 \ln v - \frac{(v-1)^2 k^2}{2v} \Bigr), \quad
      v = \frac{1 + \sqrt{1 + 4 k^2 a}}{2a},$$

    if $r\rho > 0$, else zero. r = rho gives $I = -\tfrac12 \log_2 (1-\rho^2)$; as r goes to zero the
    scores tend to the inner product, for which it is $\rho^2 / (2 \ln 2)$. Coordinates add up.

    Args:
        correlation: rho in (-1, 1), any shape.
        assumed: r in (-1, 1), any shape that broadcasts; at 0 the scores are zero.

    Returns:
        Bits per letter, exact up to rounding, and the scale in bits a nat of score: 1/ln 2 if r = rho.

    References:
        Lapidoth (1996), "Nearest neighbor decoding for additive non-Gaussian noise channels", IEEE
        Trans. Inf. Theory 42(5), for the method.

    """
    rho, r = validation.broadcast(
        correlation=_open_correlation("correlation", correlation),
        assumed=_open_correlation("assumed", assumed),
    )
    # Scores that rise the wrong way, or not at all, are no better than none: s = 0 is the
    # maximum.
    useful = jnp.sign(r) * jnp.sign(rho) > 0
    # The sign of both is that of the letters.
    rho, r = jnp.where(useful, jnp.abs(rho), 0.5), jnp.where(useful, jnp.abs(r), 0.5)
    # Written in r and w = (v - 1) k, which tends to rho as r goes to zero, where k is infinite. With b = r^2 a and
    # S = r^2 + sqrt(r^4 + 4 b), which is 2 where r is rho, all that follows is a sum of positive terms.
    b = (1 - r) ** 2 + 2 * r * (1 - rho)
    S = r * r + jnp.sqrt(r**4 + 4 * b)
    w = 2 * rho * S / (b * (2 + S))
    growth = r * w  # v - 1
    nats = 2 * w * rho / ((2 + S) * (1 + growth)) + 0.5 * _log_less_share(growth)
    scale = w * (1 - r) * (1 + r) / (r * LN2)
    value = jnp.where(useful, nats / LN2, 0.0)
    return GeneralizedInformation(
        information=Certified(value=value, lower=value, upper=value, tolerance=jnp.zeros(())),
        scale=jnp.where(useful, scale, 0.0),
    )


def _open_correlation(name: str, value: ArrayLike) -> Float[Array, "..."]:
    return validation.interval(name, value, low=-1.0, high=1.0, open_low=True, open_high=True)


def _log_less_share(x: Float[Array, "..."]) -> Float[Array, "..."]:
    r"""$\ln(1+x) - x/(1+x)$ for x >= 0, to relative accuracy: where x is small by its series, the sum of $(k-1)/k\, (-1)^k x^k$."""
    small = x < 0.03
    near, far = jnp.where(small, x, 0.0), jnp.where(small, 1.0, x)
    series = jnp.zeros(x.shape)
    for k in range(12, 1, -1):
        series = series * near + (-1) ** k * (k - 1) / k
    return jnp.where(small, series * near * near, log1p(far) - far / (1 + far))
