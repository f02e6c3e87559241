r"""R(D) under squared error with reproductions anywhere in space, certified (C7).

The source is a quadrature: points with weights. For any $\nu \ge 0$ on them

$$R(D) \ge \sum_y p_y \log_2 \frac{\nu_y}{p_y} - s D - \log_2 \max_u c(u), \qquad
  c(u) = \sum_y \nu_y 2^{-s |y-u|^2},$$

the dual of C5 with u running over the whole line or plane. An output distribution with atoms v and
weights q has $\nu_y = p_y / Z_y$, $Z_y = \sum_j q_j 2^{-s |y-v_j|^2}$, which makes the first two terms
its Lagrangian. The dual that is used is lowered a little where that c exceeds one, which costs next
to nothing in the tails. The maximum is bounded rigorously, so the gap is that to the best
reproduction of the quadrature source by any points at all; `dual` lets anyone check it. What the
quadrature itself adds to a continuous source is stated by `Quadrature`.
"""

import math
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from rdsim import validation
from rdsim.information import LN2, entropy
from rdsim.limits._curve import RateCurve, achieved
from rdsim.limits._supporting_lines import Points
from rdsim.limits.rate_distortion.mixtures import TooManyCellsError, solve_atoms
from rdsim.number_types import ArrayLike
from rdsim.results import result
from rdsim.threads import one_blas_thread
from rdsim.transformations import on_host


@result
class ContinuousRateDistortion(RateCurve):
    r"""Certified points of R(D) of a quadrature source over continuous reproductions.

    Attributes:
        slope: s, bits per unit of squared error, shape (S,).
        distortion: $D = E |Y - U|^2$, shape (S,).
        rate: R(D) of the points there, bits, shape (S,); the upper bound is achieved, the lower is
            proved by the dual.
        atoms: reproduction points, shape (S, k) or (S, k, d); rows are padded with copies of
            their first atom.
        weights: their probabilities, shape (S, k); zero where padded.
        dual: $\nu$, shape (S, N), which proves the gap; zero where the source has no weight.
        points: of the source, shape (N,) or (N, d).
        source: their weights, shape (N,).

    """

    atoms: Float[Array, "s k *d"]
    weights: Float[Array, "s k"]
    dual: Float[Array, "s n"]
    points: Float[Array, " n *d"]
    source: Float[Array, " n"]

    @property
    def minimum_distortion(self) -> Float[Array, ""]:
        """Zero: every point may be its own reproduction."""
        return jnp.zeros(())

    @property
    def maximum_distortion(self) -> Float[Array, ""]:
        """Variance of the source (summed over axes), from which on the rate is zero."""
        points = self.points.reshape(self.source.size, -1)
        return jnp.sum(self.source @ (points - self.source @ points) ** 2)

    def _solve(self, slopes: np.ndarray, tolerance: float) -> Points:
        points, p = np.asarray(self.points), np.asarray(self.source)
        try:
            found = [
                _lossless(points, p) if np.isinf(s) else _solve(points, p, s, tolerance)[:3]
                for s in slopes.tolist()
            ]
        except TooManyCellsError as error:
            raise ValueError(f"the curve is too steep there for its points: {error}") from error
        distortion, rate, gap = np.array(found).T
        return Points(slopes, distortion, rate - gap, rate)


@on_host
@validation.needs_float64
def continuous_rate_distortion(
    points: ArrayLike, weights: ArrayLike, slopes: ArrayLike, *, tolerance: float = 1e-9
) -> ContinuousRateDistortion:
    r"""Compute certified points of R(D) under squared error, reproductions anywhere.

    $$R(D) = \min_{P_{U|Y}: E |Y-U|^2 \le D} I(Y;U), \quad U \in R^d.$$

    Host code, one slope after the other: it cannot be traced. The cost grows with the range of the
    points in kernel widths $1/\sqrt{2 s \ln 2}$, to the power d.

    Args:
        points: of the source, shape (N,), or (N, d) with d = 1 or 2.
        weights: pmf, shape (N,); zeros allowed.
        slopes: s >= 0, finite, shape (S,), bits per unit of squared error. Slope 0 is the mean.
        tolerance: proved gap to reach, bits; from about 1e-11 on.

    Returns:
        The points of the curve. Where the gap stayed above the tolerance `converged` is False; the
        bounds hold all the same.

    Raises:
        TypeError: if an argument is traced.
        ValueError: also if a slope is so steep that the points span too many kernel widths.

    References:
        Rose (1994), IEEE Trans. Inf. Theory 40(6), on discrete optimal reproductions; Lindsay
        (1983), Ann. Statist. 11, for the mixture problem; Blahut (1972) for the bound.

    """
    y = validation.interval("points", points, low=-1e100, high=1e100)
    if y.ndim not in (1, 2) or (y.ndim == 2 and y.shape[1] not in (1, 2)):
        raise ValueError(f"points must have shape (N,), (N, 1) or (N, 2), got {y.shape}")
    p = validation.pmf("weights", weights)
    if p.shape[0] != y.shape[0]:
        raise ValueError(f"weights must have shape ({y.shape[0]},), one a point, got {p.shape}")
    slope = validation.interval("slopes", slopes, low=0.0, high=math.inf, open_high=True, ndim=1)
    target = validation.tolerance(tolerance)
    found = []
    for s in np.asarray(slope).tolist():
        try:
            found.append(_solve(np.asarray(y), np.asarray(p), s, float(target)))
        except TooManyCellsError as error:
            raise ValueError(
                f"slopes must be gentle enough for the range of the points, got {s!r}: {error}"
            ) from error
    size = max((len(one.weights) for one in found), default=1)

    def stack(rows: list[Any], shape: tuple[int, ...]) -> Array:
        return jnp.asarray(np.array(rows, float).reshape(len(found), *shape))

    return ContinuousRateDistortion(
        slope=slope,
        distortion=stack([one.distortion for one in found], ()),
        rate=achieved(
            stack([one.rate for one in found], ()), stack([one.gap for one in found], ()), target
        ),
        atoms=stack([_repeat_first(one.atoms, size) for one in found], (size, *y.shape[1:])),
        weights=stack(
            [np.pad(one.weights, (0, size - len(one.weights))) for one in found], (size,)
        ),
        dual=stack([one.dual for one in found], (p.size,)),
        points=y,
        source=p,
    )


class _Point(NamedTuple):
    """What is known at one slope; rates in bits."""

    distortion: float
    rate: float
    gap: float
    atoms: np.ndarray
    weights: np.ndarray
    dual: np.ndarray


def _repeat_first(atoms: np.ndarray, size: int) -> np.ndarray:
    return np.concatenate([atoms, np.repeat(atoms[:1], size - len(atoms), axis=0)])


def _lossless(points: np.ndarray, p: np.ndarray) -> tuple[float, float, float]:
    """The end at D = 0, where equal points are one letter: its rate is their entropy."""
    _, letter = np.unique(points, axis=0, return_inverse=True)
    rate = float(entropy(jnp.asarray(np.bincount(letter.ravel(), weights=p))))
    return 0.0, rate, 4 * np.finfo(float).eps * (len(p) + rate)


def _solve(points: np.ndarray, p: np.ndarray, slope: float, tolerance: float) -> _Point:
    """Solve one slope in units of the kernel's standard deviation, centred."""
    used, dual = p > 0, p.copy()
    y, p = points.reshape(len(p), -1)[used], p[used]
    mean = p @ y
    # 2^(-s |y-u|^2) = e^(-|z-v|^2/2) with z = sqrt(2 s ln 2) y: a unit Gaussian kernel in these
    # units. Centring keeps the digits of distances between points that are far from the origin.
    scale = math.sqrt(2 * slope * LN2)
    if scale == 0:
        variance = float(np.sum(p @ (y - mean) ** 2))
        return _Point(variance, 0.0, 0.0, mean.reshape(1, *points.shape[1:]), np.ones(1), dual)
    with one_blas_thread():
        atoms = solve_atoms(scale * (y - mean), p, tolerance * LN2)
    dual[used] = atoms.dual
    # Rounding of the N terms of the Lagrangian.
    rounding = 4 * np.finfo(float).eps * (math.sqrt(len(p)) + abs(atoms.lagrangian))
    return _Point(
        distortion=2 * atoms.energy / scale**2,
        rate=max(atoms.lagrangian - atoms.energy, 0.0) / LN2,
        gap=(atoms.excess + rounding) / LN2,
        atoms=(mean + atoms.places / scale).reshape(-1, *points.shape[1:]),
        weights=atoms.weights,
        dual=dual,
    )
