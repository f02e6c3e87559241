r"""Expected discounted gain of a target with many winners, from a table.

The gain at rank r is $1/\log_2(1+r)$. With $z = Mp \ge 45$ and $v = 1/\ln z$ two functions are tabulated,

$$g(v, p) = E \frac{1}{\log_2(2 + B')}, \quad B' \sim \mathrm{Binomial}(M-1, p), \qquad
  c(v, p) = \frac{1}{z} E \sum_{r \le B} \frac{1}{\log_2(1+r)}, \quad B \sim \mathrm{Binomial}(M, p),$$

where $z c = \int_0^z g$ at fixed M. Both are smooth in v down to v = 0, an infinite database, and in p, on
which the k-th power depends with a factor of $z^{-k}$ only: 50 Chebyshev polynomials in v times quartic
ones in p leave an absolute error below 2e-14. The loss, one minus a mean of g, is at least 0.8 here.
"""

import functools
import math
from typing import Any, Final

import numpy as np
import scipy
from jaxtyping import Float
from numpy.polynomial import chebyshev, polynomial

from rdsim.information import LN2
from rdsim.namespaces import fori_loop, namespace_of
from rdsim.ranking.expectations.binomial_sums import CERTAIN

_LARGEST_V: Final = 1 / math.log(CERTAIN)
"""Largest v = 1 / ln z of the table: below z = CERTAIN the loss is a sum."""
_DEGREES: Final = (55, 5)
"""Degrees in v and in p of the Chebyshev polynomials of the table."""
_UNROLLED: Final = 2
"""Steps of Clenshaw's rule that are one pass over the targets."""
_ROWS: Final = 4096  # targets at a time, by some four hundred nodes of the mixture
_ASYMPTOTIC: Final = 36.5
"""ln z from which on c is the asymptotic series of the logarithmic integral, whose least term is e^-36.5."""
_NARROW: Final = 1 / 16
"""Relative length of an interval of z on which the mean of g is taken by nodes; its integrals would cancel."""


def mean_gain(
    log_start: Float[Any, "..."],
    log_ratio: Float[Any, "..."],
    log_M: Float[Any, "..."],
) -> Float[Any, "..."]:
    """Mean of g over z from a start, at least 45, to the start times a ratio.

    Args:
        log_start: ln z at the start, shape (...).
        log_ratio: natural log of the ratio, at least 0, shape (...); zero is the value at the start.
        log_M: natural log of the database size, broadcastable.

    Returns:
        The mean, in (0, 1), shape (...).

    """
    xp = namespace_of(log_start, log_M)
    # What lies farther below the end does not count to all digits, and would overflow.
    log_end, log_ratio = log_start + log_ratio, xp.minimum(log_ratio, 600.0)
    narrow = log_ratio < math.log1p(_NARROW)
    wide = xp.where(narrow, 1.0, log_ratio)
    ends = _looked_up(xp.stack([log_end - wide, log_end]), log_M, 1)
    start_share = xp.exp(-wide)
    by_integral = (ends[1] - start_share * ends[0]) / (1 - start_share)
    # Four Gauss-Legendre nodes: g is all but linear on so short an interval.
    nodes, weights = scipy.special.roots_legendre(4)
    length = xp.expm1(xp.where(narrow, log_ratio, 0.0))
    places = xp.stack([xp.log1p(0.5 * (1 + node) * length) for node in nodes])
    by_nodes = xp.tensordot(0.5 * weights, _looked_up(log_start + places, log_M, 0), axes=1)
    return xp.where(narrow, by_nodes, by_integral)


def _looked_up(log_z: Float[Any, "..."], log_M: Float[Any, "..."], which: int) -> Float[Any, "..."]:
    """Evaluate g (0) or c (1) by Clenshaw's rule in v, whose coefficients are polynomials in p."""
    xp = namespace_of(log_z, log_M)
    table = xp.asarray(_table()[which])
    x = 2 / (_LARGEST_V * xp.maximum(log_z, math.log(CERTAIN))) - 1
    p = xp.exp(xp.minimum(log_z - log_M, 0.0))
    blocks = len(table) // _UNROLLED

    def add(step: Any, sums: tuple[Any, Any]) -> tuple[Any, Any]:
        new, old = sums
        for k in range(_UNROLLED):
            row = table[len(table) - 1 - step * _UNROLLED - k]
            coefficient = row[-1]
            for power in reversed(range(len(row) - 1)):
                coefficient = row[power] + p * coefficient
            new, old = coefficient + 2 * x * new - old, new
        return new, old

    zero = xp.zeros(xp.broadcast_shapes(xp.shape(x), xp.shape(p)))
    new, old = fori_loop(blocks, add, (zero, zero))
    return new - x * old


def gain_without_ties(log_z: Float[np.ndarray, "..."], log_M: float) -> Float[np.ndarray, "..."]:
    r"""Compute $g = E \frac{1}{\log_2(2 + B')}$, $B' \sim \mathrm{Binomial}(M-1, z/M)$, on the host, for any z.

    With the mixture $1/\log_2(1+r) = \int (1-\tau)^{r-1} m(\tau) d\tau$ the expectation under the integral is
    $(1 - p\tau)^{M-1}$. From one subtracted, its complement vanishes for small $\tau$. An infinite database is the
    limit of log_M above 700, where M itself would overflow.

    Args:
        log_z: ln z, at most log_M, shape (...).
        log_M: natural log of the database size.

    Returns:
        The expected gain, in [0, 1], shape (...).

    """
    tau, weights = _mixture()
    flat = np.ravel(log_z)
    # Beyond, g is ln 2 / ln z up to the least term of the series, e^-36.
    found = LN2 / np.maximum(flat, _ASYMPTOTIC)
    (near,) = np.nonzero(flat <= _ASYMPTOTIC)
    for rows in np.array_split(near, -(-near.size // _ROWS) or 1):
        z = np.exp(flat[rows])[:, None]
        p_tau = np.minimum(np.exp(flat[rows] - log_M)[:, None] * tau, 1 - 2.0**-53)
        # (M - 1) ln(1 - p tau), as z tau times a factor near one: M p = z need not be multiplied out.
        factor = np.where(p_tau > 1e-20, np.log1p(-p_tau) / np.maximum(p_tau, 1e-20), -1.0)
        found[rows] = 1 + np.expm1(z * tau * factor * -math.expm1(-log_M)) @ weights
    return np.clip(found, 0.0, 1.0).reshape(np.shape(log_z))


@functools.cache
def _table() -> Float[np.ndarray, "2 v p"]:
    """Coefficients of g and c: Chebyshev in v on (0, 1 / ln 45], powers of p on [0, 1]."""
    sizes = [degree + 1 for degree in _DEGREES]
    x, y = (np.cos(np.pi * (np.arange(size) + 0.5) / size) for size in sizes)
    u = 2 / (_LARGEST_V * (1 + x))
    values = np.array([[_exact(log_z, (1 + place) / 2) for place in y] for log_z in u])
    in_v = chebyshev.chebfit(x, values.reshape(sizes[0], -1), _DEGREES[0]).reshape(values.shape)
    in_p = polynomial.polyfit((1 + y) / 2, np.moveaxis(in_v, 1, 0).reshape(sizes[1], -1), 5)
    coefficients = np.moveaxis(in_p.reshape(sizes[1], sizes[0], 2), (2, 1), (0, 1))
    return np.ascontiguousarray(coefficients)


def _exact(log_z: float, p: float) -> tuple[float, float]:
    r"""Compute g and c at any real M = z/p; c by the mixture of `gain_without_ties`.

    Under the integral the expectation of the sum over ranks is $(1 - (1 - p\tau)^M) / \tau$.
    """
    g = float(gain_without_ties(np.array(log_z), log_z - math.log(p)))
    if log_z > _ASYMPTOTIC:
        terms = np.cumprod(np.concatenate([[1.0], np.arange(1, 30) / log_z]))
        return g, LN2 / log_z * float(terms.sum())
    tau, weights = _mixture()
    M = math.exp(log_z) / p
    log_left = np.log1p(-np.minimum(p * tau, 1 - 2.0**-53))
    y = math.exp(log_z) * tau
    # (y - (1 - (1 - p tau)^M)) / y, where it cancels by its first two terms.
    series = (M - 1) * p * tau / 2 * (1 - (M - 2) * p * tau / 3)
    lost = np.where(y < 1e-5, series, 1 + np.expm1(M * log_left) / y)
    return g, 1 - float(weights @ lost)


@functools.cache
def _mixture() -> tuple[np.ndarray, np.ndarray]:
    r"""Nodes $\tau$ and weights of $1/\log_2(1+r) = \int (1-\tau)^{r-1} m(\tau) d\tau$ (Bernstein's theorem).

    From $1/\ln(1+r) = \int_0^\infty (1+r)^{-s} ds$ and Euler's integral for each power, with
    $\tau = 1 - e^{-x}$: the density in $\ln x$ is $\ln 2 \; e^{-2x} \int_0^\infty x^s/\Gamma(s) ds$.
    Both integrals are trapezoidal sums of functions analytic in a strip, so they converge faster
    than any power of the step. A $\tau$ below $e^{-40} / z$ contributes nothing.
    """
    step, inner_step = 0.2, 0.02
    log_x = np.arange(-(_ASYMPTOTIC + 40.0), math.log(60.0), step)
    log_s = np.arange(-20.0, 5.6, inner_step)
    s = np.exp(log_s)
    log_integrand = -scipy.special.gammaln(s) + log_s
    inner = np.exp(s * log_x[:, None] + log_integrand).sum(axis=1) * inner_step
    x = np.exp(log_x)
    return -np.expm1(-x), step * LN2 * np.exp(-2 * x) * inner
