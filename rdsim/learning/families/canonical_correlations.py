r"""Canonical correlation analysis in closed form.

With whitened covariances,

$$\Sigma_x^{-1/2} \Sigma_{xy} \Sigma_y^{-1/2} = U \,\mathrm{diag}(\rho)\, V^T, \quad
    A = \Sigma_x^{-1/2} U, \quad B = \Sigma_y^{-1/2} V,$$

the variables $A^T(x - \bar x)$ and $B^T(y - \bar y)$ are white, and correlated by $\rho_i$ in pairs
alone.
"""

from typing import Any, NamedTuple

import jax
import numpy as np
import scipy
from jaxtyping import Array, Float

from rdsim import validation
from rdsim.namespaces import namespace_of
from rdsim.number_types import ArrayLike, Integer
from rdsim.results import result
from rdsim.transformations import on_host


@result
class CanonicalCorrelations:
    """Canonical variables of two sets of numbers.

    Attributes:
        correlations: rho, decreasing, in [0, 1], shape (k,).
        map_x: A, shape (dx, k).
        map_y: B, shape (dy, k); the entry of each column that is largest in size is positive.
        mean_x: shape (dx,).
        mean_y: shape (dy,).

    """

    correlations: Float[Array, " k"]
    map_x: Float[Array, "dx k"]
    map_y: Float[Array, "dy k"]
    mean_x: Float[Array, " dx"]
    mean_y: Float[Array, " dy"]

    def variables_x(self, x: ArrayLike) -> Float[Array, "... k"]:
        """Canonical variables of x, shape (..., dx)."""
        return (_last_axis("x", x, self.mean_x.shape[0]) - self.mean_x) @ self.map_x

    def variables_y(self, y: ArrayLike) -> Float[Array, "... k"]:
        """Canonical variables of y, shape (..., dy)."""
        return (_last_axis("y", y, self.mean_y.shape[0]) - self.mean_y) @ self.map_y


@on_host
@validation.needs_float64
def canonical_correlation_analysis(
    x: ArrayLike, y: ArrayLike, dimension: Integer, *, regularisation: ArrayLike = 0.0
) -> CanonicalCorrelations:
    r"""Find the linear maps under which two sets of numbers are most correlated.

    Covariances are those of the sample, with divisor N, and a ridge: $\Sigma_x + rI$,
    $\Sigma_y + rI$. With r = 0 the correlations are those between the canonical variables; with
    r > 0 they are shrunk.

    Args:
        x: sample, shape (N, dx).
        y: of the same pairs, shape (N, dy).
        dimension: k, number of canonical variables, 1 to min(dx, dy).
        regularisation: r, at least 0, in squared units of the data.

    Returns:
        Correlations and maps.

    Raises:
        ValueError: also if a covariance with its ridge is singular to rounding, its columns standardised.

    References:
        Hotelling (1936), "Relations between two sets of variates"; Vinod (1976) for the ridge.

    """
    left = validation.coordinates("x", x, ndim=2)
    right = validation.coordinates("y", y, ndim=2)
    number, width = left.shape[0], min(left.shape[1], right.shape[1])
    if right.shape[0] != number or number < 2 or width == 0:
        raise ValueError(
            "x and y must have shapes (N, dx) and (N, dy) with N >= 2, got "
            f"{left.shape} and {right.shape}"
        )
    size = validation.integer("dimension", dimension, low=1, high=width)
    ridge = validation.non_negative("regularisation", regularisation, ndim=0)
    standard_x = _standardised("x", np.asarray(left), float(ridge))
    standard_y = _standardised("y", np.asarray(right), float(ridge))
    return _analysed(standard_x, standard_y, size)


def deviations(points: Float[np.ndarray, "n d"]) -> Float[np.ndarray, " d"]:
    """Standard deviation of each column, and zero where it is constant but for rounding.

    Columns are scaled first, for the squares of tiny numbers are zero.
    """
    mean = points.mean(axis=0)
    centred = points - mean
    largest = np.abs(centred).max(axis=0)
    # The mean of equal numbers is off by a few units in the last place.
    varies = largest > 4 * np.finfo(float).eps * np.abs(mean)
    scaled = centred / np.where(varies, largest, 1.0)
    return np.asarray(np.where(varies, largest * np.sqrt(np.mean(scaled**2, axis=0)), 0.0))


class _Standardised(NamedTuple):
    """A sample of mean zero in units in which every variance with its ridge is one."""

    points: Float[np.ndarray, "n d"]
    mean: Float[np.ndarray, " d"]
    unit: Float[np.ndarray, " d"]
    ridge: Float[np.ndarray, "d d"]


def _standardised(name: str, points: np.ndarray, ridge: float) -> _Standardised:
    """Choose units for each column, so that rank and digits do not depend on those of the data."""
    mean = points.mean(axis=0)
    unit = np.hypot(deviations(points), np.sqrt(ridge))
    if (unit == 0).any():
        raise ValueError(
            f"{name} must have a covariance of full rank, or regularisation be positive; got a "
            f"constant column {int(np.argmin(unit))} ({int((unit == 0).sum())} such columns)"
        )
    scaled = (points - mean) / unit
    penalty = np.diag((np.sqrt(ridge) / unit) ** 2)
    # No eigenvalue exceeds the trace, the number of columns: with so much of a ridge the condition
    # number is at most about 1e9, and no decomposition is needed to see it.
    sure = np.diag(penalty).min() > 1e-9 * len(unit)
    eigenvalues = (
        np.ones(2) if sure else np.linalg.eigvalsh(scaled.T @ scaled / len(scaled) + penalty)
    )
    if eigenvalues[0] <= 1e-12 * eigenvalues[-1]:
        raise ValueError(
            f"{name} must have a covariance of full rank, or regularisation be positive; got "
            f"eigenvalues from {eigenvalues[0]:.3g} to {eigenvalues[-1]:.3g} with standardised columns"
        )
    return _Standardised(scaled, mean, unit, penalty)


def _analysed(x: _Standardised, y: _Standardised, size: int) -> CanonicalCorrelations:
    """By NumPy, whose LAPACK is also JAX's: the compiler would take longer than most analyses."""
    covariance_x, covariance_y, cross = centred_covariances(x.points, y.points)
    white, root_x, root_y = whitened_cross_covariance(
        covariance_x + x.ridge, covariance_y + y.ridge, cross, 0.0
    )
    left, correlations, right = np.linalg.svd(white, full_matrices=False)
    solve = scipy.linalg.solve_triangular
    map_x = solve(root_x, left, lower=True, trans=1) / x.unit[:, None]
    map_y = solve(root_y, right.T, lower=True, trans=1) / y.unit[:, None]
    top = np.argmax(np.abs(map_y), axis=0)
    sign = np.where(map_y[top, np.arange(map_y.shape[1])] < 0, -1.0, 1.0)
    return CanonicalCorrelations(
        correlations=jax.device_put(np.minimum(correlations[:size], 1.0)),
        map_x=jax.device_put((map_x * sign)[:, :size]),
        map_y=jax.device_put((map_y * sign)[:, :size]),
        mean_x=jax.device_put(x.mean),
        mean_y=jax.device_put(y.mean),
    )


def _last_axis(name: str, value: ArrayLike, size: int) -> Float[Array, "... d"]:
    points = validation.coordinates(name, value)
    if points.ndim == 0 or points.shape[-1] != size:
        raise ValueError(f"{name} must have shape (..., {size}), got {points.shape}")
    return points


def centred_covariances(
    x: Float[Any, "n dx"], y: Float[Any, "n dy"]
) -> tuple[Float[Any, "dx dx"], Float[Any, "dy dy"], Float[Any, "dx dy"]]:
    """Covariances of x, of y and between them, of samples of mean zero."""
    number = x.shape[0]
    return x.T @ x / number, y.T @ y / number, x.T @ y / number


def whitened_cross_covariance(
    covariance_x: Float[Any, "dx dx"],
    covariance_y: Float[Any, "dy dy"],
    cross: Float[Any, "dx dy"],
    ridge: Any,
) -> tuple[Float[Any, "dx dy"], Float[Any, "dx dx"], Float[Any, "dy dy"]]:
    r"""Cross-covariance of the whitened pair, $L_x^{-1} \Sigma_{xy} L_y^{-T}$, and the L.

    Its singular values are the canonical correlations, for Cholesky roots L as for symmetric ones.
    """
    xp = namespace_of(cross)
    solve = (scipy if xp is np else jax.scipy).linalg.solve_triangular
    roots = [
        xp.linalg.cholesky(covariance + ridge * xp.eye(covariance.shape[0], dtype=cross.dtype))
        for covariance in (covariance_x, covariance_y)
    ]
    half = solve(roots[0], cross, lower=True)
    return solve(roots[1], half.T, lower=True).T, roots[0], roots[1]
