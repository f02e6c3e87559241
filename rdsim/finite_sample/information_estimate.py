"""An estimate of a bound on information, and its interval: of bounded terms or of any others.

The mean of independent terms in a known range has an empirical Bernstein interval, which holds at every N. Without a
range it has the normal one, which holds as N grows.
"""

import dataclasses
import math
from typing import Final

import jax.numpy as jnp
import numpy as np
import scipy
from jaxtyping import Array, Float, Int

from rdsim import validation
from rdsim.information import LN2
from rdsim.number_types import ArrayLike
from rdsim.results import result
from rdsim.simulation.intervals import bernstein_of_moments

Span = tuple[float, float]
"""Ends of a range, nats."""
_WIDEST: Final = 690.0
"""Most nats between the bounds of a score: e^-690 is still a normal number of float64."""


@result
class InformationEstimate:
    """An estimate of a bound on mutual information, with an interval for that bound.

    Attributes:
        value: the estimate, bits.
        lower: lower confidence limit of the bound, bits; for the sides "lower" and "both" the
            information is not below it.
        upper: upper confidence limit of the bound, bits; for the sides "upper" and "both" the
            information is not above it.
        trials: number of independent terms averaged.
        confidence: of the interval; one end alone fails with half of the remaining probability.
        side: "lower" where the bound lies below the information, "upper" where above, "both" where
            it is the information itself that the interval is for.
        proved: whether the interval holds at every N, or only as N grows.

    """

    value: Float[Array, ""]
    lower: Float[Array, ""]
    upper: Float[Array, ""]
    trials: Int[Array, ""]
    confidence: float = dataclasses.field(metadata={"static": True})
    side: str = dataclasses.field(metadata={"static": True})
    proved: bool = dataclasses.field(metadata={"static": True})


def mean_estimate(
    name: str, values: ArrayLike, span: Span | None, confidence: float, side: str
) -> InformationEstimate:
    """The mean of independent terms in nats with the interval that their range allows, in bits."""
    terms = checked_terms(name, values, span)
    if span is None:
        value = terms.mean()
        # No range is known: the interval of the central limit theorem, with the unbiased variance.
        half = normal_quantile(confidence) * terms.std(ddof=1) / math.sqrt(terms.size)
        lower, upper = value - half, value + half
    else:
        value, lower, upper = bernstein(terms, *span, 1 - checked_confidence(confidence))
    return InformationEstimate(
        value=jnp.asarray(value / LN2),
        lower=jnp.asarray(lower / LN2),
        upper=jnp.asarray(upper / LN2),
        trials=jnp.asarray(terms.size),
        confidence=float(confidence),
        side=side,
        proved=span is not None,
    )


def bernstein(
    terms: np.ndarray, low: float, high: float, risk: float
) -> tuple[float, float, float]:
    """Mean and interval of terms in [low, high], which it misses with probability `risk`."""
    # A term at an end of the range may leave [0, 1] by rounding.
    scaled = np.clip((terms - low) / (high - low), 0.0, 1.0)
    found = bernstein_of_moments(
        scaled.mean(), scaled.var(ddof=1), np.asarray(terms.size), confidence=1 - risk
    )
    lower, upper = (low + (high - low) * float(end) for end in (found.lower, found.upper))
    return float(terms.mean()), lower, upper


def checked_terms(name: str, values: ArrayLike, span: Span | None) -> np.ndarray:
    """Independent terms, at least two, checked."""
    terms = np.asarray(validation.real_array(name, values, ndim=1))
    if terms.size < 2:
        raise ValueError(f"{name} must hold at least two independent terms, got {terms.size}")
    _check_inside(name, terms, span)
    return terms


def square_batches(scores: ArrayLike, span: Span | None) -> np.ndarray:
    """At least two batches of K x K scores, checked."""
    batches = np.asarray(validation.real_array("scores", scores, ndim=3))
    if batches.shape[0] < 2 or batches.shape[1] != batches.shape[2] or batches.shape[1] < 2:
        raise ValueError(
            f"scores must have shape (B, K, K) with B >= 2 and K >= 2, got {batches.shape}"
        )
    _check_inside("scores", batches, span)
    return batches


def _check_inside(name: str, values: np.ndarray, span: Span | None) -> None:
    if span is None:
        validation.coordinates(name, values)
        return
    low, high = span
    # Scores computed by the caller may pass their own bounds by rounding; the terms are clipped where they are used.
    slack = 1e-12 * (high - low)
    validation.interval(name, values, low=low - slack, high=high + slack)


def checked_range(bounds: ArrayLike) -> Span:
    """The two ends of what the caller says of his numbers, checked."""
    ends = np.asarray(validation.coordinates("bounds", bounds))
    if ends.shape != (2,) or not 0 < ends[1] - ends[0] <= _WIDEST:
        raise ValueError(
            f"bounds must be (low, high) with low < high <= low + {_WIDEST:g} nats, got {bounds!r}"
        )
    return float(ends[0]), float(ends[1])


def checked_confidence(confidence: float) -> float:
    """Return the coverage, checked."""
    return float(validation.open_unit("confidence", confidence))


def normal_quantile(confidence: float) -> float:
    """Half width of the two-sided interval of a standard normal variable."""
    return -float(scipy.special.ndtri((1 - checked_confidence(confidence)) / 2))
