r"""Power laws fitted to measured means, with bootstrap intervals of the exponents.

Exponents and coefficient are fitted by weighted least squares of logarithms. A key that is no typed
key is a TypeError; values that are not positive, shapes that do not fit, fewer points than numbers
to fit and factors that do not determine them are ValueErrors.
"""

import dataclasses
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from rdsim import validation
from rdsim.number_types import ArrayLike
from rdsim.results import result
from rdsim.transformations import on_host


@result
class PowerLaw:
    r"""A power law $y = C \prod_j x_j^{b_j}$ fitted to means with errors.

    Attributes:
        exponent: b, shape (F,), or () for one factor.
        lower: lower end of the bootstrap interval of each exponent.
        upper: upper end.
        coefficient: C, shape ().
        chi_square: weighted sum of squared residuals in logarithms, shape (). Far above the
            degrees of freedom, the points follow no power law, and the interval describes them
            only.
        degrees_of_freedom: number of points less that of fitted numbers.
        confidence: of each interval.

    """

    exponent: Float[Array, "..."]
    lower: Float[Array, "..."]
    upper: Float[Array, "..."]
    coefficient: Float[Array, ""]
    chi_square: Float[Array, ""]
    degrees_of_freedom: int = dataclasses.field(metadata={"static": True})
    confidence: float = dataclasses.field(metadata={"static": True})


@on_host
def fit_exponent(
    key: Key[Array, ""],
    x: ArrayLike,
    y: ArrayLike,
    y_error: ArrayLike | None = None,
    *,
    resamples: int = 2000,
    confidence: float = 0.95,
) -> PowerLaw:
    r"""Fit a power law to means by weighted least squares of logarithms.

    $$\min_{a, b} \sum_i \frac{(\ln y_i - a - \sum_j b_j \ln x_{ij})^2}{(\sigma_i / y_i)^2}.$$

    The interval is a bootstrap. With known errors it is parametric: $\ln y_i$ is drawn anew with its error
    $\sigma_i / y_i$, independently for each point. Of trials that each measured all points, whole trials are
    resampled: points measured with common random numbers err together, which independent errors would not keep.

    Args:
        key: PRNG key of the bootstrap.
        x: factors > 0, shape (P,) or (P, F).
        y: means > 0, shape (P,); or, without `y_error`, one row a trial, shape (T, P), T >= 10, with positive
            column means.
        y_error: standard errors > 0, shape (P,), small beside y; None for those of the columns of trials.
        resamples: of the bootstrap, at least 100.
        confidence: in (0, 1).

    Returns:
        The fit.

    Raises:
        ValueError: also if there are too few trials, or if a mean or a resampled mean is not positive.

    References:
        Efron and Tibshirani (1993), "An introduction to the bootstrap", chapter 9.

    """
    validation.prng_key("key", key)
    number = validation.integer("resamples", resamples, low=100)
    if y_error is None:
        trials = _trials(y)
        design, means = _design(x, trials.mean(axis=0), "the column means of y")
        errors = trials.std(axis=0, ddof=1) / math.sqrt(len(trials))
        if not (errors > 0).all():
            raise ValueError(
                f"y must vary in every column of trials, not in {int(np.argmin(errors))}"
            )
        logs = _resampled(key, trials, number)
    else:
        design, means = _design(x, y)
        errors = np.asarray(validation.positive("y_error", y_error, ndim=1))
        if errors.shape != means.shape:
            raise ValueError(f"y_error must have the shape {means.shape} of y, got {errors.shape}")
        noise = np.asarray(jax.random.normal(key, (number, means.size)))
        logs = np.log(means) + errors / means * noise
    return _weighted_fit(x, design, means, errors, logs, confidence)


def _trials(y: Any) -> np.ndarray:
    """One row a trial, checked."""
    trials = np.asarray(validation.coordinates("y", y))
    if trials.ndim != 2 or len(trials) < 10:
        raise ValueError(
            f"y must hold at least 10 trials of all points, shape (T, P), where there is no y_error, got {trials.shape}"
        )
    return trials


def _resampled(key: Key[Array, ""], trials: np.ndarray, number: int) -> np.ndarray:
    """Logs of the means of whole trials that are drawn with replacement (the bootstrap of Efron), shape (number, P)."""
    pick = jax.random.randint(key, (number, len(trials)), 0, len(trials))
    # How often each resample holds each trial; its means are then one matrix product.
    times = np.stack([np.bincount(row, minlength=len(trials)) for row in np.asarray(pick)])
    drawn = times @ trials / len(trials)
    if not (drawn > 0).all():
        raise ValueError("y must hold so many trials that no resampled mean fails to be positive")
    return np.log(drawn)


def _design(x: Any, y: Any, name: str = "y") -> tuple[np.ndarray, np.ndarray]:
    """Columns of the least squares problem (a one, then logarithms of the factors), and the means."""
    factors = np.asarray(validation.positive("x", x))
    means = np.asarray(validation.positive(name, y, ndim=1))
    if factors.ndim not in (1, 2) or len(factors) != means.size:
        raise ValueError(
            f"x must have shape ({means.size},) or ({means.size}, F), got {factors.shape}"
        )
    logs = np.log(factors.reshape(means.size, -1))
    design = np.concatenate([np.ones((means.size, 1)), logs], axis=1)
    if np.linalg.matrix_rank(design) < design.shape[1]:
        raise ValueError(
            f"x must determine a coefficient and {logs.shape[1]} exponents, got {means.size} points"
        )
    return design, means


def _weighted_fit(
    x: Any,
    design: np.ndarray,
    means: np.ndarray,
    errors: np.ndarray,
    drawn: np.ndarray,
    confidence: float,
) -> PowerLaw:
    """The fit of the means, and of every row of drawn log means with the same weights."""
    covered = float(validation.open_unit("confidence", confidence))
    # The error of ln y is that of y divided by y: the weight of a logarithm is the inverse.
    weight = means / errors
    # Weighted least squares by the pseudoinverse of the weighted design: its condition is not squared, as that of the
    # normal equations is.
    inverse = np.linalg.pinv(design * weight[:, None])
    best = inverse @ (weight * np.log(means))
    # All resamples have the same design and weights: one pseudoinverse fits them in one matrix product.
    ends = np.quantile((drawn * weight) @ inverse.T, [(1 - covered) / 2, (1 + covered) / 2], axis=0)
    # One factor given as a vector has a scalar exponent, F factors have F of them.
    shape = np.shape(x)[1:]
    return PowerLaw(
        exponent=jnp.asarray(best[1:].reshape(shape)),
        lower=jnp.asarray(ends[0, 1:].reshape(shape)),
        upper=jnp.asarray(ends[1, 1:].reshape(shape)),
        coefficient=jnp.asarray(math.exp(best[0])),
        chi_square=jnp.asarray(np.sum((weight * (np.log(means) - design @ best)) ** 2)),
        degrees_of_freedom=means.size - design.shape[1],
        confidence=covered,
    )
