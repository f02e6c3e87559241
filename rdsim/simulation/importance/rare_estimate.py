"""The logarithm of a small mean with its confidence interval: that of bounded losses times their known scale."""

import dataclasses
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from rdsim.information import log_from_zero
from rdsim.number_types import ArrayLike
from rdsim.results import result
from rdsim.simulation.engine.trials import on_device
from rdsim.simulation.intervals import Estimate


@result
class RareEstimate:
    """Logarithm of a small mean with its confidence interval, shape (...) of the settings each.

    Attributes:
        log_mean: ln of the estimate; -inf if no trial met the event.
        log_lower: ln of the lower end; -inf while the interval reaches down to zero.
        log_upper: ln of the upper end.
        log_scale: ln of the largest loss that a trial could have had, which is itself a bound.
        tilt: tilt under which the trials were drawn.
        relative_width: (upper - lower) / estimate; inf if no trial met the event.
        trials: independent trials behind each estimate.
        confidence: probability with which an interval covers the mean, one setting at a time.

    """

    log_mean: Float[Array, "..."]
    log_lower: Float[Array, "..."]
    log_upper: Float[Array, "..."]
    log_scale: Float[Array, "..."]
    tilt: Float[Array, "..."]
    relative_width: Float[Array, "..."]
    trials: Int[Array, "..."]
    confidence: float = dataclasses.field(metadata={"static": True})

    def covers(self, log_value: ArrayLike) -> Any:
        """Whether the logarithm of a mean lies inside the interval."""
        value = jnp.asarray(log_value)
        return (self.log_lower <= value) & (value <= self.log_upper)


def rescaled(
    estimate: Estimate,
    log_scale: Float[np.ndarray, " b"],
    tilt: Float[np.ndarray, " b"],
    shape: tuple[int, ...],
) -> RareEstimate:
    """Put the scale back on the mean of losses in [0, 1]; a scale of zero is an event that cannot happen."""
    mean, lower, upper = (np.asarray(x) for x in (estimate.mean, estimate.lower, estimate.upper))
    # An event that was never met has an interval from zero on, of no relative width.
    width = np.where(mean > 0, (upper - lower) / np.where(mean > 0, mean, 1.0), np.inf)

    def shaped(leaf: Any) -> Array:
        return on_device(np.reshape(np.asarray(leaf), shape))

    return RareEstimate(
        # The mean of losses in [0, 1] is an ordinary number, its scale may be e^-10000: only their logarithms are
        # added.
        log_mean=shaped(log_from_zero(mean) + log_scale),
        log_lower=shaped(log_from_zero(lower) + log_scale),
        log_upper=shaped(log_from_zero(upper) + log_scale),
        log_scale=shaped(log_scale),
        tilt=shaped(tilt),
        relative_width=shaped(np.where(log_scale == -np.inf, 0.0, width)),
        trials=shaped(estimate.trials),
        confidence=estimate.confidence,
    )
