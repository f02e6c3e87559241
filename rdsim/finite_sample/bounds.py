r"""Bounds on the excess of a plug-in code that hold for every source and every N (C21).

Let $l_q(y) = -\ln \sum_u q_u K_{yu}$ with $K_{yu} = 2^{-s(d(y,u) - \min_u d(y,u))}$, so that
$F(q) = E\, l_q(Y)$ up to a constant, and let the range be $B = s \ln 2\, \max_y (\max_u d(y,u) -
\min_u d(y,u))$ nats. Every $K_{yu}$ and every $Z_y$ lies in $[e^{-B}, 1]$, every $l_q$ in
$[0, B]$, and $g_q = l_q - l_{q^*}$ in $[-B, B]$. The code $q_N$ minimises $F_N$, so that
$F(q_N) - F(q^*) = E\,g_{q_N} \le E\,g_{q_N} - \hat E\,g_{q_N}$. The bounds use the distortions, N
and the number of letters k, nothing of the distribution. An argument outside its range is a
ValueError.
"""

from functools import partial
from typing import Final

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from rdsim import validation
from rdsim.finite_sample.plug_in_optimum import checked_distortions
from rdsim.number_types import ArrayLike
from rdsim.transformations import least

_LEAST_RANGE: Final = 1e-3
"""Nats. Every bound grows with the range B, and loses digits where B is small: a smaller B is
replaced by this one, which keeps the bound valid."""
_GRID: Final = 401
"""Values of the free parameter (epsilon or m) among which the least bound is taken."""


@validation.needs_float64
def uniform_bound(
    distortions: ArrayLike, slope: ArrayLike, *, samples: ArrayLike, violation: ArrayLike = 0.05
) -> Float[Array, "..."]:
    r"""Bound the excess by the largest deviation of $F_N$ from $F$ over all codes.

    With probability at least $1 - \delta$

    $$F(q_N) - F(q^*) \le (e^B - 1)\sqrt{\frac{2\ln k}{N}} + B\sqrt{\frac{2\ln(1/\delta)}{N}}.$$

    Proof. The excess is at most $\Phi = \sup_q (E - \hat E) g_q$. One sample moves $\Phi$ by at
    most $2B/N$, so $\Phi \le E\,\Phi + B\sqrt{2 \ln(1/\delta)/N}$ (McDiarmid). Symmetrisation gives
    $E\,\Phi \le 2 \mathrm{Rad}_N(l_q)$, as $g_q$ and $l_q$ differ by one fixed function. On
    $[e^{-B}, 1]$ the logarithm is $e^B$-Lipschitz, so contraction leaves $e^B$ times the complexity
    of $q \mapsto \sum_u q_u K_{yu}$, which is attained at a letter; less a constant, its values are
    at most $(1 - e^{-B})/2$, so Massart's lemma gives $\mathrm{Rad}_N \le \tfrac12 (e^B - 1)
    \sqrt{2 \ln k / N}$.

    Args:
        distortions: d(y,u), shape (|Y|, k), each finite and >= 0.
        slope: s > 0, bits per unit of distortion, finite.
        samples: N >= 1, any shape.
        violation: $\delta$ in (0, 1), the probability that the bound does not hold.

    Returns:
        Nats (divide by ln 2 for bits), shape of N; never above B, which no excess exceeds.

    References:
        Bartlett and Mendelson (2002), J. Mach. Learn. Res. 3; Ledoux and Talagrand (1991),
        Theorem 4.12; Massart (2000), Ann. Fac. Sci. Toulouse 9(2), Lemma 5.2.

    """
    return _uniform(*_checked(distortions, slope, samples, violation))


@validation.needs_float64
def pac_bayes_bound(
    distortions: ArrayLike, slope: ArrayLike, *, samples: ArrayLike, violation: ArrayLike = 0.05
) -> Float[Array, "..."]:
    r"""Bound the excess by the divergence of the learned code from one chosen before the samples (PAC-Bayes).

    With probability at least $1 - \delta$, for every $\eta$ and $\varepsilon$ in (0, 1) fixed
    beforehand,

    $$F(q_N) - F(q^*) \le \frac{1}{c_\eta}\left(\frac{r + \ln(1/\delta)}{\eta N}
    - \ln(1 - \varepsilon)\right) + \ln(1 + \varepsilon(e^B - 1)),
    \quad c_\eta = \frac{(1 - e^{-\eta B})/\eta - 1 + e^{-B}}{B - 1 + e^{-B}},$$

    $r = (k-1)\ln(1/\varepsilon)$ the rate in nats: the divergence of the learned code, mixed with
    $\varepsilon$ of a random one, from the uniform distribution on all codes. Its mean is at least
    the information between the samples and the mixed code. The least value over a grid of $\eta$
    and $\varepsilon$, which depends on B, k, N and $\delta$ alone, is returned.

    Proof. As $q^*$ is optimal, $E\,e^{-g_q} = \sum_u q_u c^*_u \le 1$. On $[-B, B]$
    $(1 - e^{-\eta g})/\eta \ge c_\eta g + (1 - c_\eta)(1 - e^{-g})$: the quotient that defines
    $c_\eta$, as a function of the end B, falls, because that of the derivatives,
    $1 - (1 - v^\eta)/(1 - v)$ with $v = e^{-g}$, does. Hence
    $c_\eta E\,g_q \le -\tfrac1\eta \ln E\,e^{-\eta g_q}$. By Markov and the variational formula of
    the divergence, with probability $1 - \delta$ for all distributions $\rho$ of codes and a fixed
    one $\pi$, $E_\rho[-\tfrac1\eta \ln E\,e^{-\eta g_q}] \le E_\rho \hat E g_q + (D(\rho\|\pi) +
    \ln(1/\delta))/(\eta N)$. Let $\pi$ be uniform on the simplex and $\rho$ the distribution of
    $(1-\varepsilon) q_N + \varepsilon q'$, $q' \sim \pi$: then $D(\rho\|\pi) = r$ and $\hat E g_q
    \le \hat E g_{q_N} - \ln(1 - \varepsilon) \le -\ln(1 - \varepsilon)$. F is convex, so $E_\rho F$
    is at least F at the mean of $\rho$, where Z is at most $1 - \varepsilon + \varepsilon e^B$
    times that of $q_N$.

    Arguments and result are those of `uniform_bound`.

    References:
        Zhang (2006), Ann. Stat. 34(5), for the exponential inequality; van Erven et al. (2015),
        J. Mach. Learn. Res. 16, for the central condition.

    """
    return _pac_bayes(*_checked(distortions, slope, samples, violation))


@validation.needs_float64
def empirical_bernstein_bound(
    distortions: ArrayLike, slope: ArrayLike, *, samples: ArrayLike, violation: ArrayLike = 0.05
) -> Float[Array, "..."]:
    r"""Bound the excess by empirical variances, which the optimality of the code keeps small.

    With probability at least $1 - \delta$, for every integer m fixed beforehand,

    $$F(q_N) - F(q^*) \le \frac{L}{N-1}\left(\frac{1}{2\kappa} + \frac{14 B}{3}\right)
    + \tau\left(2 + \sqrt{\frac{2L}{N-1}}\right), \quad
    L = \ln\frac{2}{\delta}\binom{m+k-1}{k-1}, \quad
    \kappa = \frac{e^{-B} - 1 + B}{B^2}, \quad \tau = (e^B - 1)\frac{k}{4m}.$$

    The least value over a grid of m, which depends on B, k, N and $\delta$ alone, is returned.

    Proof. Some $\tilde q$ with masses that are multiples of 1/m is within $k/(4m)$ of $q_N$ in
    total variation, so $|g_{\tilde q} - g_{q_N}| \le \tau$ at every letter. The empirical Bernstein
    inequality holds for all such $\tilde q$ at once with probability $1 - \delta$: $E\,g_{\tilde q}
    \le \hat E g_{\tilde q} + \sqrt{2 \hat V L/N} + 14 B L/(3(N-1))$, where $\hat V^{1/2} \le
    \sqrt{N/(N-1)}\,(\sqrt v + \tau)$, $v = \hat E g_{q_N}^2$. As $q_N$ is optimal for the samples,
    $\hat E\,e^{g_{q_N}} = \sum_u q^*_u \hat c_u \le 1$, so $\hat E g_{q_N} \le -\hat E(e^g - 1 - g)
    \le -\kappa v$. The largest value of $-\kappa v + \sqrt{2 v L/(N-1)}$ is $L/(2\kappa(N-1))$.

    Arguments and result are those of `uniform_bound`.

    References:
        Maurer and Pontil (2009), COLT, Theorem 4.

    """
    return _empirical_bernstein(*_checked(distortions, slope, samples, violation))


def _checked(
    distortions: ArrayLike, slope: ArrayLike, samples: ArrayLike, violation: ArrayLike
) -> tuple[Float[Array, ""], int, Float[Array, "..."], Float[Array, ""]]:
    """Range B in nats, number of letters, N and delta."""
    d, s = checked_distortions(distortions, slope)
    N = validation.interval("samples", samples, low=1.0, high=np.inf, open_high=True)
    delta = validation.open_unit("violation", violation)
    # The range B of l_q, in nats: the kernel of a row spans 2^(-s (largest - least distortion)) to one.
    widest = jnp.max(jnp.max(d, axis=1) - jnp.min(d, axis=1))
    return s * jnp.log(2.0) * widest, d.shape[1], N, delta


def _log_expm1(B: Float[Array, ""]) -> Float[Array, ""]:
    """Return ln(e^B - 1), for any B > 0."""
    return B + jnp.log(-jnp.expm1(-B))


@partial(jax.jit, static_argnames="letters")
def _uniform(
    B: Float[Array, ""], letters: int, N: Float[Array, "..."], delta: Float[Array, ""]
) -> Float[Array, "..."]:
    # A single letter leaves one code, and no complexity: where e^B overflows, infinity times ln 1 would be no number.
    complexity = jnp.expm1(B) * jnp.sqrt(2 * jnp.log(float(letters)) / N) if letters > 1 else 0.0
    return jnp.minimum(B, complexity + B * jnp.sqrt(2 * jnp.log(1 / delta) / N))


@partial(jax.jit, static_argnames="letters")
def _pac_bayes(
    B_exact: Float[Array, ""], letters: int, N: Float[Array, "..."], delta: Float[Array, ""]
) -> Float[Array, "..."]:
    B = jnp.maximum(B_exact, _LEAST_RANGE)
    # The bound holds for every eta in (0, 1) and every epsilon that is fixed beforehand: the least over a grid holds
    # too, because neither depends on the samples.
    eta = jnp.linspace(0.02, 0.98, 49)[:, None]
    # c_eta of the docstring; expm1 keeps the digits of both differences, which vanish with B.
    constant = (-jnp.expm1(-eta * B) / eta + jnp.expm1(-B)) / (B + jnp.expm1(-B))

    def at(N: Float[Array, ""]) -> Float[Array, ""]:
        # epsilon matters down to about e^-B/N, below which its part of the bound is smaller than the rate it costs;
        # ten nats to spare.
        log_epsilon = jnp.linspace(-(B + jnp.log(N) + 10), -0.01, _GRID)
        rate = -(letters - 1) * log_epsilon
        learned = (rate + jnp.log(1 / delta)) / (eta * N) - jnp.log(-jnp.expm1(log_epsilon))
        bound = learned / constant + jnp.logaddexp(0.0, log_epsilon + _log_expm1(B))
        return least(bound.ravel())

    found = jax.vmap(at)(N.ravel()).reshape(N.shape)
    return jnp.minimum(B_exact, found)


@partial(jax.jit, static_argnames="letters")
def _empirical_bernstein(
    B_exact: Float[Array, ""], letters: int, N: Float[Array, "..."], delta: Float[Array, ""]
) -> Float[Array, "..."]:
    B = jnp.maximum(B_exact, _LEAST_RANGE)
    # kappa of the docstring: (e^g - 1 - g) / g^2 rises with g, so that its value at -B is the least on [-B, B].
    curvature = (jnp.expm1(-B) + B) / B**2
    steps = jnp.arange(1, letters, dtype=float)[:, None]

    def at(N: Float[Array, ""]) -> Float[Array, ""]:
        log_m = jnp.log(jnp.round(jnp.exp(jnp.linspace(0.0, 35.0, _GRID))))
        # Beyond e^35 = 2^50, rounding m to an integer changes no digit of its logarithm.
        log_m = jnp.concatenate([log_m, 35.0 + jnp.linspace(0.0, B + jnp.log(N), _GRID)])
        # ln of the binomial coefficient (m+k-1 choose k-1), as a sum of k-1 logarithms: m itself goes up to e^(35+B),
        # times N.
        log_codes = jnp.sum(jnp.logaddexp(log_m, jnp.log(steps)) - jnp.log(steps), axis=0)
        L = jnp.log(2 / delta) + log_codes
        tau = jnp.exp(_log_expm1(B) + jnp.log(letters / 4) - log_m)
        per_sample = L / jnp.maximum(N - 1, 1.0)
        bound = per_sample * (1 / (2 * curvature) + 14 * B / 3) + tau * (
            2 + jnp.sqrt(2 * per_sample)
        )
        return jnp.where(N > 1, least(bound), jnp.inf)

    found = jax.vmap(at)(N.ravel()).reshape(N.shape)
    return jnp.minimum(B_exact, found)
