r"""Temperatures of the modalities: fitted on samples, known from the noise, or set by a rule.

The decoder ranks codewords by $\sum_k s_k(x_k,u)/\tau_k$. A common factor of the temperatures changes
no ranking; it matters only where the scores meet a prior, as in the likelihood they are fitted by.
"""

from functools import partial
from typing import Final, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from rdsim import validation
from rdsim.information import LN2
from rdsim.number_types import ArrayLike
from rdsim.ranking.codewords import above_target, codeword_index, codeword_scores
from rdsim.results import result
from rdsim.transformations import A_STOPPING_RULE, not_differentiable

TOLERANCE: Final = 1e-10
"""Gap asked for by default, in bits."""
_FITTED: Final = "the fit takes as many Newton steps as it needs"
_MOST_STEPS: Final = 100
_DETERMINED: Final = (
    1e-13  # least eigenvalue of the curvature, relative to the largest, that counts
)
_SUFFICIENT: Final = 1e-4  # share of the promised decrease that a step must keep (Armijo)


@result
class FittedTemperatures:
    r"""Temperatures of least cross-entropy on a sample, with certificate and errors.

    Attributes:
        temperature: tau in units of the scores a nat, positive, shape (m,); infinite for a modality
            that the sample leaves out.
        inverse_temperature: 1/tau, shape (m,), zero for a modality left out.
        cross_entropy: mean of $-\log_2 P_\tau(u|x)$ over the sample in bits, at most that of the prior.
        gap: bits by which the cross-entropy may exceed the least one, proved up to rounding;
            infinite if nothing was proved, as where one temperature goes to zero (the scores tell
            all targets) or the sample does not determine the temperatures.
        covariance: sandwich estimate $H^{-1} J H^{-1} / N$ of the covariance of 1/tau over samples,
            H the curvature and J the covariance of the gradient, shape (m, m); valid whether or not
            the model holds. Zero for a modality left out.
        converged: whether the gap is within the tolerance.
        steps: Newton steps taken.

    """

    temperature: Float[Array, " m"]
    inverse_temperature: Float[Array, " m"]
    cross_entropy: Float[Array, ""]
    gap: Float[Array, ""]
    covariance: Float[Array, "m m"]
    converged: Bool[Array, ""]
    steps: Int[Array, ""]

    @property
    def log_covariance(self) -> Float[Array, "m m"]:
        r"""Covariance of $\ln \tau$ to first order, shape (m, m), which gives errors of ratios.

        $$\mathrm{Cov}(\ln\tau_j, \ln\tau_k) = \mathrm{Cov}(1/\tau_j, 1/\tau_k)\, \tau_j \tau_k,$$

        infinite for a modality left out.
        """
        weight = self.inverse_temperature
        scale = weight[:, None] * weight[None, :]
        return jnp.where(scale > 0, self.covariance / jnp.where(scale > 0, scale, 1.0), jnp.inf)


@not_differentiable(scores=_FITTED, competitor=_FITTED, tolerance=A_STOPPING_RULE)
@validation.needs_float64
def fit_temperatures(
    scores: ArrayLike,
    target: ArrayLike,
    competitor: ArrayLike,
    *,
    shared: bool = False,
    tolerance: ArrayLike = TOLERANCE,
) -> FittedTemperatures:
    r"""Fit the temperatures under which the sample's codewords are most likely.

    $$\min_{\tau > 0} -\frac1N \sum_i \log_2 P_\tau(u_i|x_i), \quad
    P_\tau(u|x) = \frac{q_u \exp \sum_k s_k(x_k,u)/\tau_k}
                       {\sum_{u'} q_{u'} \exp \sum_k s_k(x_k,u')/\tau_k},$$

    convex in the weights $w_k = 1/\tau_k \ge 0$, by a projected Newton method. The prior q makes the
    fused score an estimate of the information density. In a direction h the third derivative is
    at most S(h) times the second, S the spread of the scores, so that with
    $\lambda^2 = \hat g^T H^{-1} \hat g$, $\hat g$ the gradient less its part that the bound holds, and
    $c = \sum_k S_k \sqrt{(H^{-1})_{kk}}$, the minimum is no further below than
    $(x + (1-x) \ln(1-x))/c^2$, $x = \lambda c < 1$: the gap.

    Args:
        scores: s_k of every codeword, modality and sample, finite, shape (N, m, K).
        target: codeword of each sample's item, integers in [0, K), shape (N,).
        competitor: q, the pmf of a competitor's codeword, shape (K,), positive at every target.
        shared: whether all modalities have one temperature.
        tolerance: gap asked for, in bits.

    Returns:
        The temperatures; `converged` says whether they are certified, nothing is warned of.

    Raises:
        ValueError: if a shape does not fit, a score is not finite, a target is out of range or has no
            mass, or the competitor is not a pmf.
        TypeError: if the targets are not integers.

    References:
        Bach (2010), Self-concordant analysis for logistic regression, Electron. J. Statist. 4, for
        the bound on the third derivative; Bertsekas (1982), SIAM J. Control Optim. 20, for projected
        Newton steps; White (1982), Econometrica 50, for the covariance.

    """
    mass = validation.pmf("competitor", competitor)
    table = validation.interval(
        "scores", codeword_scores("scores", scores, mass.size), open_low=True, ndim=3
    )
    index = codeword_index("target", target, mass.size)
    if index.shape != table.shape[:1] or 0 in table.shape:
        raise ValueError(
            "scores must have shape (N, m, K) and target (N,), N and m at least 1, "
            f"got {table.shape} and {index.shape}"
        )
    if not validation.is_traced(mass, index) and (np.asarray(mass)[np.asarray(index)] == 0).any():
        raise ValueError("competitor must be positive at every target, got a target without mass")
    wanted = validation.tolerance(tolerance)
    return _fit(table, index, mass, wanted, bool(shared))


def bayes_temperatures(
    query_noise: ArrayLike, quantisation_variance: ArrayLike = 0.0
) -> Float[Array, " m"]:
    r"""Compute the optimal temperatures of squared distances under Gaussian noise.

    $$\tau_k = n_k \Big(1 + \delta \sum_j \frac{1}{n_j}\Big)$$

    for $s_k = -\tfrac12\|x_k-u\|^2$ and queries $x_k = y + N(0, n_k I)$ of an item
    $y = u + N(0, \delta I)$: with them the fused score differs from $\ln p(x|u)$ by no more than a
    number that all codewords share. What the codewords leave of the item is noise common to all
    modalities; it scales all temperatures alike, and their ratios remain those of the variances.

    Args:
        query_noise: n, noise variance of each modality's coordinates, positive, shape (m,).
        quantisation_variance: delta, variance of each coordinate of an item about its codeword.

    Returns:
        tau, shape (m,).

    Raises:
        ValueError: if a variance is out of range.

    """
    noise = validation.interval(
        "query_noise", query_noise, low=0.0, open_low=True, open_high=True, ndim=1
    )
    left = validation.interval(
        "quantisation_variance", quantisation_variance, low=0.0, open_high=True, ndim=0
    )
    return noise * (1 + left * jnp.sum(1 / noise))


def entropy_gap_temperatures(entropy_gap: ArrayLike, *, floor: ArrayLike) -> Float[Array, " m"]:
    r"""Set temperatures by the rule of the inverse square root of an entropy gap.

    $$\tau_k = \max(\Delta H_k, \text{floor})^{-1/2}$$

    The rule needs the floor: balanced modalities have no gap, and it diverges. Which entropy the gap
    is of is the caller's choice, and the reverse gap reverses the ranking of the modalities. Without
    a prior only ratios of temperatures matter, and where one modality has no gap theirs is set by
    the floor.

    Args:
        entropy_gap: Delta H of each modality, bits, non-negative, shape (m,).
        floor: least gap that counts, bits, positive.

    Returns:
        tau, shape (m,).

    Raises:
        ValueError: if a gap is negative or not finite, or the floor not positive.

    """
    gap = validation.interval("entropy_gap", entropy_gap, low=0.0, open_high=True, ndim=1)
    least = validation.interval("floor", floor, low=0.0, open_low=True, open_high=True, ndim=0)
    return 1 / jnp.sqrt(jnp.maximum(gap, least))


class _Point(NamedTuple):
    """Weights, what is known of the cross-entropy there, and the step that comes next."""

    weight: Float[Array, " m"]
    each: Float[Array, "n m"]
    gradient: Float[Array, " m"]
    curvature: Float[Array, "m m"]
    step: Float[Array, " m"]
    gap: Float[Array, ""]
    steps: Int[Array, ""]


@partial(jax.jit, static_argnames="shared")
def _fit(
    scores: Float[Array, "n m k"],
    target: Int[Array, " n"],
    competitor: Float[Array, " k"],
    tolerance: Float[Array, ""],
    shared: bool,
) -> FittedTemperatures:
    modalities = scores.shape[1]
    samples = scores.shape[0]
    present = competitor > 0
    # Codewords that no item has get no weight, whatever they score.
    excess = jnp.where(present, above_target(scores, target), 0.0)
    if shared:
        excess = jnp.sum(excess, axis=1, keepdims=True)
    log_prior = jnp.where(present, jnp.log(jnp.where(present, competitor, 1.0)), -jnp.inf)
    spread = jnp.max(
        jnp.max(jnp.where(present, excess, -jnp.inf), axis=-1)
        - jnp.min(jnp.where(present, excess, jnp.inf), axis=-1),
        axis=0,
    )
    # In units of its largest spread a modality's weight is of order one; without spread it has none.
    tells = spread > 0
    unit = jnp.where(tells, spread, 1.0)
    excess = excess / unit[:, None]

    def value(weight: Float[Array, " m"]) -> Float[Array, ""]:
        logits = jnp.einsum("m,nmk->nk", weight, excess) + log_prior
        top = jnp.max(logits, axis=-1)
        total = jnp.sum(jnp.exp(logits - top[:, None]), axis=-1)
        return jnp.mean(top + jnp.log(total) - log_prior[target])

    def derivatives(weight: Float[Array, " m"]) -> tuple[Array, Array]:
        """Gradient of each sample, and the curvature of their mean."""
        logits = jnp.einsum("m,nmk->nk", weight, excess) + log_prior
        posterior = jax.nn.softmax(logits, axis=-1)
        each = jnp.einsum("nk,nmk->nm", posterior, excess)
        centred = excess - each[..., None]
        return each, jnp.einsum("nk,nmk,njk->mj", posterior, centred, centred) / samples

    def search(point: _Point) -> Array:
        """Weights after the first of the halved steps, bounded by zero, that descends enough."""
        now = value(point.weight)
        rounding = 4 * jnp.finfo(float).eps * (1 + jnp.abs(now))

        def moved(share: Array) -> Array:
            return jnp.maximum(point.weight + share * point.step, 0.0)

        def too_long(share: Array) -> Array:
            there = moved(share)
            promised = _SUFFICIENT * jnp.sum(point.gradient * (there - point.weight))
            return (value(there) > now + promised + rounding) & (share > 1e-12)

        return moved(jax.lax.while_loop(too_long, lambda share: share / 2, jnp.asarray(1.0)))

    def advance(point: _Point) -> _Point:
        weight = search(point)
        each, curvature = derivatives(weight)
        gradient = jnp.mean(each, axis=0)
        free = tells & ((weight > 0) | (gradient < 0))
        descent = jnp.where(free, gradient, 0.0)
        return _Point(
            weight=weight,
            each=each,
            gradient=gradient,
            curvature=curvature,
            step=-_inverse(curvature, free)[0] @ descent,
            gap=_gap(curvature, descent, tells),
            steps=point.steps + 1,
        )

    def unfinished(point: _Point) -> Array:
        # The weights are only as exact as the root of the gap; a step or two more cost little.
        return (point.gap > 1e-8 * tolerance * LN2) & (point.steps < _MOST_STEPS)

    nothing = jnp.zeros(unit.size)
    start = _Point(
        weight=nothing,
        each=jnp.zeros((samples, unit.size)),
        gradient=nothing,
        curvature=jnp.zeros((unit.size, unit.size)),
        step=nothing,
        gap=jnp.asarray(jnp.inf),
        steps=jnp.asarray(-1),
    )
    end = jax.lax.while_loop(unfinished, advance, start)
    free = tells & (end.weight > 0)
    # At the minimum the gradients of the free weights average to zero.
    influence = end.each @ _inverse(end.curvature, free)[0]
    covariance = influence.T @ influence / samples**2
    found = end.weight / unit
    covariance = covariance / unit[:, None] / unit
    if shared:
        found = jnp.broadcast_to(found, (modalities,))
        covariance = jnp.broadcast_to(covariance, (modalities, modalities))
    return FittedTemperatures(
        temperature=jnp.where(found > 0, 1 / jnp.where(found > 0, found, 1.0), jnp.inf),
        inverse_temperature=found,
        cross_entropy=value(end.weight) / LN2,
        gap=end.gap / LN2,
        covariance=covariance,
        converged=end.gap / LN2 <= tolerance,
        steps=end.steps,
    )


def _inverse(
    curvature: Float[Array, "m m"], kept: Bool[Array, " m"]
) -> tuple[Float[Array, "m m"], Bool[Array, ""]]:
    """Inverse on the kept weights by Gauss's sweeps, zero elsewhere, and whether it is determined.

    What the weights before it leave of a weight's curvature is its pivot. A weight left with nothing
    is not determined; it is passed over.
    """
    table = jnp.where(kept[:, None] & kept, curvature, 0.0)
    least = _DETERMINED * jnp.diag(table)

    def sweep(k: Array, state: tuple[Array, Array]) -> tuple[Array, Array]:
        table, swept = state
        pivot = table[k, k]
        useful = kept[k] & (pivot > least[k])
        column = jnp.where(useful, table[:, k] / jnp.where(useful, pivot, 1.0), 0.0)
        reduced = table - jnp.outer(column, table[k])
        reduced = reduced.at[:, k].set(column).at[k].set(column).at[k, k].set(-1 / pivot)
        return jnp.where(useful, reduced, table), swept.at[k].set(useful)

    start = (table, jnp.zeros_like(kept))
    table, swept = jax.lax.fori_loop(0, kept.size, sweep, start)
    return jnp.where(swept[:, None] & swept, -table, 0.0), jnp.all(swept == kept)


def _gap(
    curvature: Float[Array, "m m"], gradient: Float[Array, " m"], tells: Bool[Array, " m"]
) -> Float[Array, ""]:
    """Nats by which the value may exceed the minimum (the scores' spreads are one)."""
    inverse, determined = _inverse(curvature, tells)
    slope = jnp.sqrt(jnp.maximum(gradient @ inverse @ gradient, 0.0))
    spread = jnp.sum(jnp.sqrt(jnp.maximum(jnp.diag(inverse), 0.0)))
    x = slope * spread
    small = x < 1e-3
    inside = jnp.where(small | (x >= 1), 0.5, x)
    large = (inside + (1 - inside) * jnp.log1p(-inside)) / jnp.where(small, 1.0, spread**2)
    # x^2/2 + x^3/6 + x^4/12 + ... <= x^2/2 (1 + x/3 + x^2) below 1e-3.
    bound = jnp.where(small, 0.5 * slope**2 * (1 + x / 3 + x**2), large)
    return jnp.where(determined & (x < 1), bound, jnp.inf)
