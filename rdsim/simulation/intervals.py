"""Confidence intervals that hold at every sample size: exact for counts, Bernstein for losses."""

import dataclasses
import math

import jax.numpy as jnp
import numpy as np
import scipy
from jaxtyping import Array, Bool, Float, Int

from rdsim import validation
from rdsim.number_types import ArrayLike
from rdsim.results import result
from rdsim.transformations import on_host


@result
class Estimate:
    """A Monte Carlo mean with its confidence interval.

    Attributes:
        mean: sample mean, shape (...).
        lower: lower end of the interval, shape (...).
        upper: upper end of the interval, shape (...).
        confidence: probability with which the interval covers the true mean, one setting at a time.
        trials: number of independent trials behind each mean, shape (...).

    """

    mean: Float[Array, "..."]
    lower: Float[Array, "..."]
    upper: Float[Array, "..."]
    trials: Int[Array, "..."]
    confidence: float = dataclasses.field(metadata={"static": True})

    def covers(self, value: ArrayLike) -> Bool[Array, "..."]:
        """Whether a value lies inside the interval."""
        return (self.lower <= jnp.asarray(value)) & (jnp.asarray(value) <= self.upper)


@on_host
def clopper_pearson(
    successes: ArrayLike, trials: ArrayLike, *, confidence: float = 0.95
) -> Estimate:
    r"""Compute the exact interval of a probability from a count.

    The ends are Beta quantiles: $B(\alpha/2; k, N-k+1)$ and $B(1-\alpha/2; k+1, N-k)$.

    Args:
        successes: counts k in 0..N, any shape.
        trials: N >= 1, one integer or an array of them that broadcasts with the counts.
        confidence: coverage 1 - alpha in (0, 1).

    Returns:
        The estimate, shape of the counts.

    References:
        Clopper and Pearson (1934), Biometrika 26.

    """
    if np.ndim(trials) == 0:
        trials = validation.integer("trials", trials, low=1)
    numbers = validation.integer_array("trials", trials)
    validation.interval("trials", numbers, low=1.0)
    most = float(numbers.max())
    count = np.asarray(validation.interval("successes", successes, low=0.0, high=most))
    count, numbers = np.broadcast_arrays(count, numbers)
    if (count > numbers).any():
        raise ValueError("successes must lie in [0, trials], entry by entry")
    alpha = 1 - float(validation.open_unit("confidence", confidence))
    # The ends are quantiles of beta distributions, P(Bin(N, p) >= k) being the incomplete beta function I_p(k, N-k+1).
    # At k = 0 and k = N one end is 0 or 1, and the number computed in its place is not used.
    lower = scipy.special.betaincinv(np.maximum(count, 1), numbers - count + 1, alpha / 2)
    upper = scipy.special.betainccinv(count + 1, np.maximum(numbers - count, 1), alpha / 2)
    return Estimate(
        mean=jnp.asarray(count / numbers, float),
        lower=jnp.asarray(np.where(count == 0, 0.0, lower), float),
        upper=jnp.asarray(np.where(count == numbers, 1.0, upper), float),
        trials=jnp.asarray(numbers, numbers.dtype),
        confidence=float(confidence),
    )


@on_host
def empirical_bernstein(samples: ArrayLike, *, confidence: float = 0.95) -> Estimate:
    r"""Compute an interval for the mean of losses in [0, 1], valid at every sample size.

    $$|\hat\mu - \mu| \le \sqrt{\frac{2 \hat V \ln(4/\alpha)}{N}} + \frac{7 \ln(4/\alpha)}{3(N-1)},$$

    $\hat V$ the unbiased sample variance; each side has probability alpha/2.

    Args:
        samples: losses in [0, 1], shape (..., N), N >= 2 independent trials along the last axis.
        confidence: coverage 1 - alpha in (0, 1).

    Returns:
        The estimate, shape (...).

    References:
        Maurer and Pontil (2009), COLT, Theorem 4.

    """
    array = np.asarray(validation.interval("samples", samples, low=0.0, high=1.0))
    if array.ndim == 0 or array.shape[-1] < 2:
        raise ValueError(f"samples must have at least two trials, got shape {array.shape}")
    return bernstein_of_moments(
        array.mean(axis=-1),
        array.var(axis=-1, ddof=1),
        np.full(array.shape[:-1], array.shape[-1]),
        confidence=confidence,
    )


def bernstein_of_moments(
    mean: np.ndarray | np.floating,
    variance: np.ndarray | np.floating,
    trials: np.ndarray,
    *,
    confidence: float,
    slack: float = 0.0,
) -> Estimate:
    """Compute the interval of empirical_bernstein from sample mean, unbiased variance and N >= 2.

    The slack, a bound on an error of the mean that is not random, widens it at both ends.
    """
    log_term = math.log(4 / (1 - float(validation.open_unit("confidence", confidence))))
    # ln(4/alpha): each side fails with probability alpha/2, and the theorem's ln(2/delta) has delta = alpha/2.
    half = np.sqrt(2 * variance * log_term / trials) + 7 * log_term / (3 * (trials - 1)) + slack
    return Estimate(
        mean=jnp.asarray(mean, float),
        lower=jnp.asarray(np.maximum(mean - half, 0.0), float),
        upper=jnp.asarray(np.minimum(mean + half, 1.0), float),
        trials=jnp.asarray(trials, trials.dtype),
        confidence=float(confidence),
    )
