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
from rdsim.information import LN2, log_from_zero
from rdsim.number_types import ArrayLike
from rdsim.ranking.codewords import check_sample, relative_to_target
from rdsim.results import result
from rdsim.transformations import A_STOPPING_RULE, not_differentiable

TOLERANCE: Final = 1e-10
"""Gap asked for by default, in bits."""
_FITTED: Final = "the fit takes as many Newton steps as it needs"
_MOST_STEPS: Final = 100
"""Newton steps after which the fit ends without its certificate; some ten are usual."""
_DETERMINED: Final = 1e-13
"""Least pivot of the curvature, relative to its diagonal, of a weight that the sample determines."""
_SUFFICIENT: Final = 1e-4
"""Fraction of the decrease promised by the gradient that a step must keep (Armijo's condition)."""


@result
class FittedTemperatures:
    r"""Temperatures of least cross-entropy on a sample, with certificate and errors.

    Attributes:
        temperature: tau, units of the scores per nat, positive, shape (m,); infinite for a modality
            that the sample leaves out.
        inverse_temperature: 1/tau, shape (m,), zero for a modality left out.
        cross_entropy: mean of $-\log_2 P_\tau(u|x)$ over the sample in bits, at most that of the prior.
        gap: bits by which the cross-entropy may exceed the least one, proved up to rounding;
            infinite if nothing was proved, as where one temperature goes to zero (the scores separate
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
    at most S(h) times the second, S the range of the scores. Let $\hat g$ be the gradient without its
    entries that the bound $w_k \ge 0$ holds back, $\lambda^2 = \hat g^T H^{-1} \hat g$ and
    $c = \sum_k S_k \sqrt{(H^{-1})_{kk}}$. Then the minimum is no further below than
    $(x + (1-x) \ln(1-x))/c^2$, $x = \lambda c < 1$, which bounds the gap between the value and the minimum.

    Args:
        scores: s_k of every codeword, modality and sample, finite, shape (N, m, K).
        target: codeword of each sample's item, integers in [0, K), shape (N,).
        competitor: q, distribution of a competitor's codeword, shape (K,), positive at every target.
        shared: whether all modalities have one temperature.
        tolerance: gap asked for, in bits.

    Returns:
        The temperatures; `converged` says whether they are certified, nothing is warned of.

    References:
        Bach (2010), Self-concordant analysis for logistic regression, Electron. J. Statist. 4, for
        the bound on the third derivative; Bertsekas (1982), SIAM J. Control Optim. 20, for projected
        Newton steps; White (1982), Econometrica 50, for the covariance.

    """
    table, index, mass = check_sample(scores, target, competitor)
    if index.shape != table.shape[:1] or 0 in table.shape:
        raise ValueError(
            "scores must have shape (N, m, K) and target (N,), N and m at least 1, "
            f"got {table.shape} and {index.shape}"
        )
    if not validation.is_traced(mass, index) and (np.asarray(mass)[np.asarray(index)] == 0).any():
        raise ValueError("competitor must be positive at every target, got a target without mass")
    wanted = validation.tolerance(tolerance)
    return _newton_fit(table, index, mass, wanted, bool(shared))


def bayes_temperatures(
    query_noise: ArrayLike, quantisation_variance: ArrayLike = 0.0
) -> Float[Array, " m"]:
    r"""Compute the optimal temperatures of squared distances under Gaussian noise.

    $$\tau_k = n_k \Big(1 + \delta \sum_j \frac{1}{n_j}\Big)$$

    for $s_k = -\tfrac12\|x_k-u\|^2$ and queries $x_k = y + N(0, n_k I)$ of an item
    $y = u + N(0, \delta I)$: with them the fused score differs from $\ln p(x|u)$ by no more than a
    number that all codewords share. The quantisation error of the item is noise common to all
    modalities; it scales all temperatures alike, and their ratios remain those of the variances.

    Args:
        query_noise: n, noise variance of each modality's coordinates, positive, shape (m,).
        quantisation_variance: delta, variance of each coordinate of an item about its codeword.

    Returns:
        tau, shape (m,).

    """
    noise = validation.positive("query_noise", query_noise, ndim=1)
    delta = validation.non_negative("quantisation_variance", quantisation_variance, ndim=0)
    return noise * (1 + delta * jnp.sum(1 / noise))


def entropy_difference_temperatures(
    entropy_difference: ArrayLike, *, floor: ArrayLike
) -> Float[Array, " m"]:
    r"""Set temperatures by the rule of the inverse square root of an entropy difference.

    $$\tau_k = \max(\Delta H_k, \text{floor})^{-1/2}$$

    The rule needs the floor: between balanced modalities there is no difference, and it diverges. Which entropies are
    compared is the caller's choice; the difference taken the other way round reverses the order of the
    temperatures. Without a prior only their ratios matter, and where one difference is zero they are set by
    the floor.

    Args:
        entropy_difference: Delta H of each modality, bits, non-negative, shape (m,).
        floor: least difference that counts, bits, positive.

    Returns:
        tau, shape (m,).

    """
    difference = validation.non_negative("entropy_difference", entropy_difference, ndim=1)
    least = validation.positive("floor", floor, ndim=0)
    return 1 / jnp.sqrt(jnp.maximum(difference, least))


class _Sample(NamedTuple):
    """A sample in the units of the fit: in them a modality's weight is of order one."""

    excess: Float[Array, "n m k"]  # scores less the target's, over the unit
    log_prior: Float[Array, " k"]  # ln q, -inf for a codeword that no item has
    target: Int[Array, " n"]  # codeword of each sample's item
    unit: Float[Array, " m"]  # largest range of a modality's scores over the codewords, or 1
    informative: Bool[Array, " m"]  # whether the scores of a modality differ at all


class _Iterate(NamedTuple):
    """Weights, the derivatives of the cross-entropy there, and the Newton step that comes next."""

    weight: Float[Array, " m"]
    each: Float[Array, "n m"]  # gradient of each sample
    gradient: Float[Array, " m"]  # their mean
    curvature: Float[Array, "m m"]  # Hessian of the mean
    step: Float[Array, " m"]
    gap_nats: Float[Array, ""]
    steps: Int[Array, ""]


@partial(jax.jit, static_argnames="shared")
def _newton_fit(
    scores: Float[Array, "n m k"],
    target: Int[Array, " n"],
    competitor: Float[Array, " k"],
    tolerance: Float[Array, ""],
    shared: bool,
) -> FittedTemperatures:
    """Minimise the cross-entropy by projected Newton steps, and return to the caller's units.

    Invariants: all weights are >= 0, the cross-entropy never rises (Armijo's condition), and `gap_nats` is
    that of the weights it is stored with. The loop ends far below the tolerance, or after `_MOST_STEPS`.
    """
    samples, modalities, _ = scores.shape
    sample = _scaled_sample(scores, target, competitor, shared)

    def unfinished(iterate: _Iterate) -> Array:
        # The weights are only as exact as the square root of the gap; a step or two more cost little.
        return (iterate.gap_nats > 1e-8 * tolerance * LN2) & (iterate.steps < _MOST_STEPS)

    end = jax.lax.while_loop(unfinished, partial(_newton_step, sample), _before_first_step(sample))
    free = sample.informative & (end.weight > 0)
    # Sandwich estimate: at the minimum the gradients of the free weights average to zero.
    influence = end.each @ _swept_inverse(end.curvature, free)[0]
    covariance = influence.T @ influence / samples**2
    found = end.weight / sample.unit
    covariance = covariance / sample.unit[:, None] / sample.unit
    if shared:
        found = jnp.broadcast_to(found, (modalities,))
        covariance = jnp.broadcast_to(covariance, (modalities, modalities))
    return FittedTemperatures(
        temperature=jnp.where(found > 0, 1 / jnp.where(found > 0, found, 1.0), jnp.inf),
        inverse_temperature=found,
        cross_entropy=_cross_entropy(sample, end.weight) / LN2,
        gap=end.gap_nats / LN2,
        covariance=covariance,
        converged=end.gap_nats / LN2 <= tolerance,
        steps=end.steps,
    )


def _scaled_sample(
    scores: Float[Array, "n m k"],
    target: Int[Array, " n"],
    competitor: Float[Array, " k"],
    shared: bool,
) -> _Sample:
    present = competitor > 0
    # Codewords that no item has get no weight, whatever they score.
    excess = jnp.where(present, relative_to_target(scores, target), 0.0)
    if shared:
        excess = jnp.sum(excess, axis=1, keepdims=True)
    width = jnp.max(
        jnp.max(jnp.where(present, excess, -jnp.inf), axis=-1)
        - jnp.min(jnp.where(present, excess, jnp.inf), axis=-1),
        axis=0,
    )
    unit = jnp.where(width > 0, width, 1.0)
    return _Sample(excess / unit[:, None], log_from_zero(competitor), target, unit, width > 0)


def _before_first_step(sample: _Sample) -> _Iterate:
    """Before the first step: no weights, so that the first step of zero length evaluates them."""
    size = sample.unit.size
    nothing = jnp.zeros(size)
    return _Iterate(
        weight=nothing,
        each=jnp.zeros((sample.excess.shape[0], size)),
        gradient=nothing,
        curvature=jnp.zeros((size, size)),
        step=nothing,
        gap_nats=jnp.asarray(jnp.inf),
        steps=jnp.asarray(-1),
    )


def _logits(sample: _Sample, weight: Float[Array, " m"]) -> Float[Array, "n k"]:
    return jnp.einsum("m,nmk->nk", weight, sample.excess) + sample.log_prior


def _cross_entropy(sample: _Sample, weight: Float[Array, " m"]) -> Float[Array, ""]:
    """Mean of -ln P(u|x) over the sample, nats."""
    logits = _logits(sample, weight)
    top = jnp.max(logits, axis=-1)
    total = jnp.sum(jnp.exp(logits - top[:, None]), axis=-1)
    return jnp.mean(top + jnp.log(total) - sample.log_prior[sample.target])


def _newton_step(sample: _Sample, iterate: _Iterate) -> _Iterate:
    """Take the Newton step, then find the derivatives and the next step where it ends."""
    weight = _armijo_search(sample, iterate)
    posterior = jax.nn.softmax(_logits(sample, weight), axis=-1)
    each = jnp.einsum("nk,nmk->nm", posterior, sample.excess)
    centred = sample.excess - each[..., None]
    samples = sample.excess.shape[0]
    curvature = jnp.einsum("nk,nmk,njk->mj", posterior, centred, centred) / samples
    gradient = jnp.mean(each, axis=0)
    # A weight at its bound of zero moves only if the cross-entropy falls with it (Bertsekas).
    free = sample.informative & ((weight > 0) | (gradient < 0))
    descent = jnp.where(free, gradient, 0.0)
    return _Iterate(
        weight=weight,
        each=each,
        gradient=gradient,
        curvature=curvature,
        step=-_swept_inverse(curvature, free)[0] @ descent,
        gap_nats=_certified_gap_nats(curvature, descent, sample.informative),
        steps=iterate.steps + 1,
    )


def _armijo_search(sample: _Sample, iterate: _Iterate) -> Float[Array, " m"]:
    """Halve the step, bounded by zero, until it descends enough (Armijo)."""
    before = _cross_entropy(sample, iterate.weight)
    rounding = 4 * jnp.finfo(float).eps * (1 + jnp.abs(before))

    def weight_after(length: Array) -> Array:
        return jnp.maximum(iterate.weight + length * iterate.step, 0.0)

    def too_long(length: Array) -> Array:
        there = weight_after(length)
        promised = _SUFFICIENT * jnp.sum(iterate.gradient * (there - iterate.weight))
        falls_short = _cross_entropy(sample, there) > before + promised + rounding
        return falls_short & (length > 1e-12)

    length = jax.lax.while_loop(too_long, lambda length: length / 2, jnp.asarray(1.0))
    return weight_after(length)


def _swept_inverse(
    curvature: Float[Array, "m m"], kept: Bool[Array, " m"]
) -> tuple[Float[Array, "m m"], Bool[Array, ""]]:
    """Invert on the kept weights by the sweep operator, zero elsewhere; and whether it is determined.

    The pivot of a weight is its curvature given the weights before it. A weight whose pivot is rounding
    is not determined by the sample, and is skipped.
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


def _certified_gap_nats(
    curvature: Float[Array, "m m"], gradient: Float[Array, " m"], informative: Bool[Array, " m"]
) -> Float[Array, ""]:
    """Nats by which the value may exceed the minimum, as in `fit_temperatures` with all S_k = 1."""
    inverse, determined = _swept_inverse(curvature, informative)
    decrement = jnp.sqrt(jnp.maximum(gradient @ inverse @ gradient, 0.0))
    c = jnp.sum(jnp.sqrt(jnp.maximum(jnp.diag(inverse), 0.0)))
    x = decrement * c
    small = x < 1e-3
    inside = jnp.where(small | (x >= 1), 0.5, x)
    large = (inside + (1 - inside) * jnp.log1p(-inside)) / jnp.where(small, 1.0, c**2)
    # x^2/2 + x^3/6 + x^4/12 + ... <= x^2/2 (1 + x/3 + x^2) below 1e-3.
    bound = jnp.where(small, 0.5 * decrement**2 * (1 + x / 3 + x**2), large)
    return jnp.where(determined & (x < 1), bound, jnp.inf)
