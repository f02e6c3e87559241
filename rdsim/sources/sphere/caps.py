r"""Caps of the sphere $S^{n-1}$, and how two of them depend on each other, in the log domain.

A place on the sphere is said by its angle $\theta$ to a pole, and the angle by
$\psi = \ln\tan(\theta/2)$, any real number: $\cos\theta = -\tanh\psi$, $\sin\theta = 1/\cosh\psi$. Angles of
$2^{-1000}$ are numbers like any other then. The cap of angle $\theta$ has the probability

$$c_n(\theta) = \tfrac12 I_{\sin^2\theta}\big(\tfrac{n-1}2, \tfrac12\big), \quad \theta \le \pi/2.$$

If a query has density $e^{\kappa \cos\alpha}$ at angle $\alpha$ from its item (von Mises and Fisher), and the item lies
at angle $\tau$ from a pole, then the density of the query's angle $\theta$ from this pole is that of a uniform
query times

$$G_\kappa(\theta, \tau) = e^{\kappa\cos\theta\cos\tau}\,
  \frac{{}_0F_1(\tfrac{n-1}2; \tfrac14(\kappa\sin\theta\sin\tau)^2)}{{}_0F_1(\tfrac n2; \tfrac14\kappa^2)}.$$
"""

import functools
import math
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import numpy as np
import scipy
from numpy.polynomial import Polynomial
from numpy.typing import NDArray

from rdsim.root_finding import bisect_on_host

if TYPE_CHECKING:
    Reals: TypeAlias = NDArray[np.float64]
else:
    # NumPy's functions of arrays without dimensions return scalars of its own.
    Reals = Any

_LARGE_ORDER: Final = 20.0
_TERMS: Final = 12
"""From the order 20 on, Debye's expansion of I_nu with 12 terms is exact to rounding."""
_FAR: Final = 30.0
"""From sqrt(nu^2 + z^2) = 30 on Debye's expansion is exact to rounding at every order above zero."""
_MANY: Final = 512
"""Points from which NumPy evaluates a polynomial of forty terms faster than a compiled loop over points."""
_FRACTIONS: Final = 80
"""Terms of the continued fraction, which is used only where it converges within 40."""
_LEAST_LOG: Final = -600.0
"""ln of the probability of a cap below which the incomplete beta function would come near underflow."""


def cosine(psi: Reals) -> Reals:
    """Cosine of the angle."""
    return np.asarray(-np.tanh(psi))


def log_sine(psi: Reals) -> Reals:
    """Natural log of the sine of the angle."""
    return np.asarray(math.log(2.0) - np.logaddexp(psi, -psi))


def log_measure(n: float | int, psi: Reals) -> Reals:
    r"""Ln of the density of $\psi$ for a uniform direction: $\sin^{n-1}\theta / B(\frac{n-1}2, \frac12)$."""
    return np.asarray((n - 1) * log_sine(psi) - scipy.special.betaln((n - 1) / 2, 0.5))


def log_cap(n: float | int, psi: Reals) -> Reals:
    """Natural log of the probability of the cap of an angle, of any size; n need not be an integer."""
    psi = np.asarray(psi, float)
    half = -np.abs(psi)  # the cap or its complement, whichever is smaller
    log_small = _log_small_cap(n, half)
    return np.asarray(np.where(psi <= 0, log_small, np.log1p(-np.exp(log_small))))


def _log_small_cap(n: float | int, psi: Reals) -> Reals:
    a, x, t = (n - 1) / 2, np.exp(2 * log_sine(psi)), cosine(psi)
    # Near the equator 1 - I is small and known with all its digits.
    near = a * t * t < 0.5
    direct = np.log(np.where(near, 1.0, np.maximum(scipy.special.betainc(a, 0.5, x), 1e-320)))
    around = np.log1p(-scipy.special.betainc(0.5, a, np.where(near, t * t, 0.0)))
    found = np.where(near, around, direct)
    tiny = found < _LEAST_LOG
    if tiny.any():
        found = np.array(found)
        found[tiny] = _log_beta_fraction(a, psi[tiny], x[tiny])
    return np.asarray(found - math.log(2.0))


def _log_beta_fraction(a: float, psi: Reals, x: Reals) -> Reals:
    r"""$\ln I_x(a, \frac12)$ by the continued fraction (DLMF 8.17.22), Lentz's algorithm, for x far below one."""
    b = 0.5
    c, d = np.ones_like(x), 1 / (1 - (a + b) * x / (a + 1))
    value = d
    for m in range(1, _FRACTIONS):
        even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        for term in (even, odd):
            d, c = 1 / (1 + term * d), 1 + term / c
            value = value * d * c
    log_front = (
        2 * a * log_sine(psi) + np.log(cosine(psi)) - math.log(a) - scipy.special.betaln(a, b)
    )
    return np.asarray(log_front + np.log(value))


def angle_of_cap(n: int, log_c: Reals) -> Reals:
    r"""Return $\psi$ of the cap of a probability, by bisection."""
    log_c = np.asarray(log_c, float)
    # For small angles ln c = (n-1)(psi + ln 2) + ln(2^...) up to a constant of the size of ln n.
    low = np.minimum((log_c - 2.0) / (n - 1), 0.0) - 4.0 - math.log(n)
    high = np.full(log_c.shape, 40.0)
    low, high = bisect_on_host(lambda psi: log_cap(n, psi) >= log_c, low, high, steps=64)
    return np.asarray(high)


def log_bessel(b: float, log_z: Reals) -> Reals:
    r"""$\ln {}_0F_1(; b; z^2/4) = \ln[\Gamma(b) (z/2)^{1-b} I_{b-1}(z)]$ for b >= 1/2, which is $\ln\cosh z$ at 1/2.

    Debye's expansion in 1/nu, written so that large terms cancel on paper, serves large orders and, since its terms fall
    with nu^2 + z^2, large arguments; the series of 0F1, whose terms are positive, serves the others. Both are several
    times faster than SciPy's Bessel functions of any order.
    """
    nu = b - 1
    z = np.asarray(np.exp(np.minimum(log_z, 300.0)))
    if b == 0.5:
        return np.asarray(np.abs(z) + np.log1p(np.exp(-2 * np.abs(z))) - math.log(2.0))
    if nu >= _LARGE_ORDER:
        return _log_debye(nu, z)
    near = z * z < _FAR**2 - nu**2
    found = np.empty(z.shape)
    if near.any():
        found[near] = _log_series(b, z[near])
    if not near.all():
        found[~near] = _log_debye(nu, z[~near])
    return found


def _log_series(b: float, z: Reals) -> Reals:
    r"""$\ln \sum_k (z^2/4)^k / (k! (b)_k)$, for z below `_FAR`."""
    # Terms of index 1.2 z + 14 are below 1e-17 of the sum, for b = 1 and the more so for larger b.
    terms = math.ceil(1.2 * float(z.max(initial=0.0))) + 14
    w = z * z / 4
    return np.asarray(np.log1p(w * _polynomial(_coefficients(b)[:terms], w)))


@functools.lru_cache(maxsize=64)
def _coefficients(b: float) -> Reals:
    """Coefficients 1/(k! (b)_k) of the series from k = 1 on, as many as are needed at `_FAR`."""
    k = np.arange(1, math.ceil(1.2 * _FAR) + 15)
    return np.asarray(np.cumprod(1 / (k * (b + k - 1))), float)


def _polynomial(coefficients: Reals, x: Reals) -> Reals:
    """Evaluate a polynomial, the constant first: by NumPy at many points, by SciPy's compiled loop at few."""
    if x.size >= _MANY:
        return np.asarray(np.polynomial.polynomial.polyval(x, coefficients))
    return np.asarray(scipy.interpolate.PPoly(coefficients[::-1, None], np.array([0.0, 1.0]))(x))


def _log_debye(nu: float, z: Reals) -> Reals:
    """Debye's expansion of ln 0F1, for large nu^2 + z^2."""
    if nu == 0:  # by which the expansion divides
        return np.asarray(np.log(scipy.special.i0e(z)) + z)
    root = np.sqrt(1 + (z / nu) ** 2)
    stirling = (
        scipy.special.gammaln(nu + 1) - nu * math.log(nu) + nu - 0.5 * math.log(2 * math.pi * nu)
    )
    height = (z / nu) ** 2 / (root + 1)  # root - 1 without cancellation
    exponent = nu * (height - np.log1p(height / 2))
    inner = _polynomial(_debye(nu), 1 / root)
    return np.asarray(stirling + exponent - 0.5 * np.log(root) + np.log(inner))


@functools.lru_cache(maxsize=64)
def _debye(nu: float) -> Reals:
    """Coefficients of the sum of U_k(p)/nu^k in powers of p (DLMF 10.41.9)."""
    p = Polynomial([0.0, 1.0])
    u = Polynomial([1.0])
    total = Polynomial([1.0])
    for k in range(1, _TERMS + 1):
        u = 0.5 * p**2 * (1 - p**2) * u.deriv() + ((1 - 5 * p**2) * u).integ() / 8
        total = total + u / nu**k
    return np.asarray(total.coef)


def log_dependence(n: int, log_kappa: Reals, log_weight: Reals, theta: Reals, tau: Reals) -> Reals:
    r"""Ln of $\sum_i w_i G_{\kappa_i}(\theta, \tau)$: by how much a query at one place is likelier for an item at another.

    Args:
        n: dimension of the space.
        log_kappa: ln of the concentrations, shape (k,).
        log_weight: ln of their probabilities, shape (k,).
        theta: places psi of the query.
        tau: places psi of the item, broadcast with those of the query.

    """
    product = (cosine(theta) * cosine(tau))[..., None]
    log_sines = (log_sine(theta) + log_sine(tau))[..., None]
    each = np.exp(log_kappa) * product + log_bessel((n - 1) / 2, log_kappa + log_sines)
    scale = log_weight - log_bessel(n / 2, log_kappa)
    if log_kappa.size == 1:
        return np.asarray((each + scale)[..., 0])
    # All terms are finite: SciPy's logsumexp, which looks for infinite ones first, takes several times as long.
    each += scale
    largest = each.max(axis=-1)
    each -= largest[..., None]
    return np.asarray(largest + np.log(np.exp(each).sum(axis=-1)))
