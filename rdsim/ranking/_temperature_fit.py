r"""Temperatures of least cross-entropy on a sample: projected Newton steps, and a bound on what they leave.

`temperature.fit_temperatures` has the formulas.
"""

from functools import partial
from typing import Final, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from rdsim.information import LN2, log_from_zero
from rdsim.ranking.codewords import relative_to_target
from rdsim.results import result

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
def newton_fit(
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
