r"""Continuous sources as weighted points: Gaussian mixtures on a lattice, by the trapezoid rule.

The trapezoid rule converges faster than any power for them. With lattice step t, a component of
standard deviation w is summed, against any reproduction, with a relative error of about
$2 e^{-2 \pi^2 w^2 / t^2}$ (Poisson summation), and a test channel of standard deviation
$1 / \sqrt{2 s \ln 2}$ (a Gaussian kernel of slope s, squared error) likewise.
"""

import dataclasses
import math
from typing import Final

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from rdsim import validation
from rdsim.number_types import ArrayLike

_MAX_POINTS: Final = 100_000
"""Most points of a lattice on the line."""
_MAX_POINTS_AN_AXIS: Final = 300
"""Most points along each axis of a lattice in the plane."""
_KERNELS_PER_STEP: Final = 1.2
r"""Standard deviations of the kernel in a lattice step at the steepest slope that a lattice is
meant for; the relative error $2 e^{-2 \pi^2 \cdot 1.44}$ of the trapezoid rule is then about
1e-12."""
_NEGLIGIBLE: Final = 1e-16
"""Total probability of the lattice points in the plane that are left out, the least probable
ones."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Quadrature:
    """Points and weights that stand for a continuous source.

    Attributes:
        points: shape (N,) on the line, (N, 2) in the plane.
        weights: pmf, shape (N,).
        step: lattice step along each axis, shape (d,).
        truncated_mass: bound on the probability of the source beyond the points, before they
            were rescaled to sum to one.

    """

    points: Float[Array, "..."]
    weights: Float[Array, " n"]
    step: Float[Array, " d"]
    truncated_mass: float

    @property
    def finest_slope(self) -> float:
        """Slope, bits per unit of squared error, up to which the lattice adds about 1e-12 bits."""
        step = float(jnp.max(self.step))
        return 1 / (2 * math.log(2) * (_KERNELS_PER_STEP * step) ** 2)

    def lattice_error(self, slope: ArrayLike) -> Float[Array, "..."]:
        r"""Estimate what the lattice adds to R at a slope: $2 e^{-2 \pi^2 v / t^2} / \ln 2$ bits.

        v is the kernel's variance $1 / (2 s \ln 2)$ and t the step. An estimate, not a bound.

        Args:
            slope: s > 0, bits per unit of squared error, any shape.

        Returns:
            Bits for one axis, the one of the largest step; shape of s.

        """
        slope = validation.interval("slope", slope, low=0.0, open_low=True)
        variance = 1 / (2 * slope * math.log(2))
        return 2 * jnp.exp(-2 * math.pi**2 * variance / jnp.max(self.step) ** 2) / math.log(2)


def gaussian_quadrature(variance: ArrayLike, count: int, *, tail: float = 8.0) -> Quadrature:
    r"""Discretise N(0, v) on the line, or with equal counts a product of two in the plane.

    Args:
        variance: v > 0, a scalar for the line, shape (2,) for the plane.
        count: points along each axis.
        tail: standard deviations covered on either side.

    Returns:
        The quadrature, `count` points on the line, at most count^2 in the plane.

    """
    variance = validation.interval("variance", variance, low=0.0, open_low=True, high=1e300)
    if variance.shape not in ((), (2,)):
        raise ValueError(f"variance must be a scalar or have shape (2,), got {variance.shape}")
    mean = jnp.zeros((1, *variance.shape))
    return mixture_quadrature(
        jnp.ones(1), mean, jnp.broadcast_to(variance, mean.shape), count, tail=tail
    )


@validation.needs_float64
def mixture_quadrature(
    weights: ArrayLike, means: ArrayLike, variances: ArrayLike, count: int, *, tail: float = 8.0
) -> Quadrature:
    r"""Discretise a Gaussian mixture with axis-parallel components by the trapezoid rule.

    Args:
        weights: pmf of the components, shape (k,).
        means: shape (k,) on the line, (k, 2) in the plane.
        variances: > 0, broadcasts with the means; in the plane shape (k, 1) or (k, 2).
        count: points along each axis; the step should stay below the smallest component's
            standard deviation over 1.2, and below that of the kernel over 1.2 (`finest_slope`).
        tail: standard deviations covered beyond the outermost components; 8 leaves 1.3e-15.

    Returns:
        The quadrature. In the plane, corners whose total probability is below 1e-16 are left out.

    Raises:
        ValueError: also if the lattice is too coarse for the narrowest component.

    """
    w = np.asarray(validation.pmf("weights", weights))
    mean = np.asarray(validation.interval("means", means, low=-1e150, high=1e150))
    if mean.shape not in ((len(w),), (len(w), 2)):
        raise ValueError(f"means must have shape ({len(w)},) or ({len(w)}, 2), got {mean.shape}")
    variance = np.asarray(
        validation.interval("variances", variances, low=0.0, open_low=True, high=1e300)
    )
    try:
        deviation = np.sqrt(np.broadcast_to(variance, mean.shape))
    except ValueError as error:
        raise ValueError(
            f"variances must broadcast to the shape of the means, {mean.shape}, "
            f"got {variance.shape}"
        ) from error
    flat = mean.ndim == 1
    count = validation.integer(
        "count", count, low=2, high=_MAX_POINTS if flat else _MAX_POINTS_AN_AXIS
    )
    reach = float(validation.interval("tail", tail, low=1.0, high=37.0, ndim=0))
    mean, deviation = (x.reshape(len(w), -1) for x in (mean, deviation))
    low, high = (mean - reach * deviation).min(axis=0), (mean + reach * deviation).max(axis=0)
    axes = np.linspace(low, high, count)
    step = (high - low) / (count - 1)
    if np.any(step > deviation.min(axis=0)):
        raise ValueError(
            f"count must put the step below the narrowest standard deviation "
            f"{deviation.min():.3g}, got {count}, a step of {step.max():.3g}"
        )
    # Every component is normalised on its own, so that the weights of the mixture are exact.
    density = np.exp(-(((axes[:, None] - mean) / deviation) ** 2) / 2)  # (count, k, d)
    density = density / density.sum(axis=0)
    outside = math.erfc(reach / math.sqrt(2)) * mean.shape[1]
    if flat:
        p = density[:, :, 0] @ w
        points = axes[:, 0]
    else:
        p = np.einsum("ik,jk,k->ij", density[:, :, 0], density[:, :, 1], w).ravel()
        grid = np.meshgrid(axes[:, 0], axes[:, 1], indexing="ij")
        points = np.stack([x.ravel() for x in grid], axis=1)
        order = np.argsort(p)
        left_out = order[np.cumsum(p[order]) < _NEGLIGIBLE]
        keep = np.ones(len(p), bool)
        keep[left_out] = False
        points, p = points[keep], p[keep]
        outside += _NEGLIGIBLE
    return Quadrature(
        points=jnp.asarray(points),
        weights=jnp.asarray(p / p.sum()),
        step=jnp.asarray(step),
        truncated_mass=outside,
    )
