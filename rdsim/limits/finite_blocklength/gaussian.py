r"""A Gaussian letter under squared error: spheres covered by spheres.

For unit variance, with the energy $z = \|y\|^2 / n$ of the block, $n z \sim \chi^2_n$:

- lower bound, the converse (Kostina and Verdu 2012, on the Gaussian source): M balls of radius $\sqrt{nD}$
  must hold a volume of probability 1 - eps, at least the ball of radius $\sqrt{n} r$, $P[z > r^2] = \epsilon$, so
  $M \ge (r / \sqrt{D})^n$;
- upper bound, random coding (there too, here with the full area of the cap): codewords uniform on the sphere
  of radius $\sqrt{n(1-D)}$; a block of energy z is served by the cap around it,
  $P(z) = \tfrac12 I_{1-c^2}\left(\tfrac{n-1}{2}, \tfrac12\right)$ for
  $c = \frac{1 + z - 2D}{2 \sqrt{z(1-D)}} \ge 0$, and $\epsilon = E (1 - P(z))^M$. No codeword serves a
  block with $\sqrt z > \sqrt{1-D} + \sqrt D$ or $\sqrt z < \sqrt{1-D} - \sqrt D$: where these are
  more probable than eps the sphere code is infeasible, however large.
"""

import math
from typing import Final

import jax
import jax.numpy as jnp
import numpy as np
import scipy
from jaxtyping import Array, Float

from rdsim import validation
from rdsim.information import LN2
from rdsim.limits.finite_blocklength.codebook_size import random_coding_log2_codewords
from rdsim.limits.finite_blocklength.result import FiniteBlocklength, finite_blocklength, grid
from rdsim.limits.finite_blocklength.second_order import SecondOrder, second_order
from rdsim.number_types import ArrayLike
from rdsim.sources.sphere import caps
from rdsim.transformations import on_host

LEAST_DISTORTION: Final = 1e-12
"""Least distortion over the variance: below it, energies that a codeword serves are one in float64."""
_NODES: Final = 64  # Gauss-Legendre nodes of a panel of energies
_PANELS: Final = 64  # panels of energies
_IGNORED: Final = 1e-40  # probability of the energies to either side that are counted as failures


@on_host
@validation.needs_float64
def gaussian_mse(
    variance: ArrayLike,
    *,
    distortion: ArrayLike,
    excess_probability: ArrayLike,
    block_lengths: ArrayLike,
) -> FiniteBlocklength:
    r"""Bound the least rate that keeps the squared error of n Gaussian letters within n D.

    $$\frac1n \log_2 M \ge \frac12 \log_2 \frac{r^2}{D}, \quad P[\chi^2_n > n r^2] = \epsilon;
      \qquad E (1 - P(\chi^2_n / n))^M = \epsilon$$

    for unit variance: the first is the lower bound, the second the average of random sphere codes.

    Args:
        variance: sigma^2 > 0, a scalar.
        distortion: D in (0, sigma^2), squared error a letter, a scalar.
        excess_probability: in (0, 1), shape (...).
        block_lengths: n, integers in 1..5000, broadcast against it. For longer blocks see
            `gaussian_mse_second_order`.

    Returns:
        Bounds and approximation, bits per letter, the broadcast shape. Short sphere codes are infeasible
        (n <= 20 at D = sigma^2/4 and eps = 0.01): the upper bound is inf, and `feasible` False; a code
        exists, but not of this kind.

    References:
        Sakrison (1968), "A geometric treatment of the source encoding of a Gaussian random variable".

    """
    D = _checked_distortion(variance, distortion)
    if D < LEAST_DISTORTION:
        raise ValueError(
            f"distortion must be at least {LEAST_DISTORTION:g} of the variance, got {D!r} of it: "
            "nearer to zero the energies that a sphere of codewords serves are one in float64"
        )
    n, eps = grid(block_lengths, excess_probability)
    energy = scipy.special.chdtri(np.asarray(n), np.asarray(eps)) / np.asarray(n)
    lower = np.maximum(0.5 * np.asarray(n) * np.log2(energy / D), 0.0)
    cases = [_sphere_cases(int(length), D) for length in np.ravel(np.asarray(n))]
    log_weight = jnp.asarray(np.stack([weight for weight, _ in cases]))
    log_ball = jnp.asarray(np.stack([ball for _, ball in cases]))
    upper = _sphere_codes(log_weight, log_ball, eps.ravel())
    return finite_blocklength(_gaussian_second_order(D), n, eps, log2_lower=lower, log2_upper=upper)


@on_host
@validation.needs_float64
def gaussian_mse_second_order(variance: ArrayLike, *, distortion: ArrayLike) -> SecondOrder:
    r"""Approximate the same rate at any block length.

    $$R(D) = \tfrac12 \log_2 \frac{\sigma^2}{D}, \qquad V = \tfrac12 \log_2^2 e.$$

    Its methods are `rate` and `excess_probability`; the arguments are those of `gaussian_mse`.
    """
    return _gaussian_second_order(_checked_distortion(variance, distortion))


def _checked_distortion(variance: ArrayLike, distortion: ArrayLike) -> float:
    """Return the distortion of unit variance."""
    variance = float(validation.positive("variance", variance, ndim=0))
    D = validation.interval(
        "distortion", distortion, low=0.0, high=variance, open_low=True, open_high=True, ndim=0
    )
    return float(D) / variance


def _gaussian_second_order(D: float) -> SecondOrder:
    return second_order(-0.5 * math.log2(D), 0.5 / LN2**2)


def _sphere_cases(n: int, D: float) -> tuple[np.ndarray, np.ndarray]:
    """Ln of the weights of a block's energies, and ln of the probability that a codeword serves each.

    The Gauss-Legendre rule on panels of an angle, which makes nodes dense at the ends: there the cap
    shrinks to a point. The last case holds what no codeword serves.
    """
    inner, outer = (math.sqrt(1 - D) - math.sqrt(D)) ** 2, (math.sqrt(1 - D) + math.sqrt(D)) ** 2
    # Energies that matter: those a codeword can serve at all, less tails of probability 1e-40,
    # which count as failures, on the safe side.
    low = max(inner, scipy.special.gammaincinv(n / 2, _IGNORED) * 2 / n)
    high = min(outer, scipy.special.chdtri(n, _IGNORED) / n)
    below = scipy.special.gammainc(n / 2, n * low / 2)
    if D > 0.5 and low == inner:  # blocks so near the origin are served by every codeword
        below = 0.0
    lost = below + scipy.special.gammaincc(n / 2, n * high / 2)
    x, w = np.polynomial.legendre.leggauss(_NODES)
    edges = np.linspace(0.0, np.pi / 2, _PANELS + 1)
    half = np.diff(edges)[:, None] / 2
    angle = (edges[:-1, None] + half * (1 + x)).ravel()
    z = low + (high - low) * np.sin(angle) ** 2
    # dz = (high - low) sin(2 angle) d angle.
    log_width = np.log((half * w).ravel() * (high - low) * np.sin(2 * angle))
    a = 0.5 * n
    log_density = a * math.log(a) + (a - 1) * np.log(z) - a * z - scipy.special.gammaln(a)
    log_lost = math.log(max(lost, 1e-320))
    return np.append(log_density + log_width, log_lost), np.append(_log_cap(n, z, D), -np.inf)


@jax.jit
def _sphere_codes(
    log_weight: Float[Array, "b i"], log_ball: Float[Array, "b i"], eps: Float[Array, " b"]
) -> Float[Array, " b"]:
    """log2 M of the sphere code, one n after the other."""
    return jax.lax.map(
        lambda case: random_coding_log2_codewords(*case), (log_weight, log_ball, eps)
    )


def _log_cap(n: int, z: np.ndarray, D: float) -> np.ndarray:
    r"""$\ln P(z)$, the fraction of the sphere within $\sqrt{nD}$ of a block of energy z."""
    # The law of cosines for the triangle of origin, block and codeword: radii sqrt(z) and sqrt(1
    # - D), opposite side sqrt(D).
    cosine = (1 + z - 2 * D) / (2 * np.sqrt(z * (1 - D)))
    inside = np.abs(cosine) < 1
    psi = 0.5 * np.log((1 - cosine) / (1 + cosine), where=inside, out=np.zeros_like(z))
    log_cap = caps.log_cap(n, psi) if n > 1 else -LN2  # in one dimension the sphere is two points
    return np.where(inside, log_cap, np.where(cosine > 0, -np.inf, 0.0))
