"""Jointly Gaussian query and item: scalars and vectors, exact information, cells."""

import math
from typing import Any, Final

import jax
import jax.numpy as jnp
import numpy as np
import scipy
from jaxtyping import Array, Float, Key

from rdsim import validation
from rdsim.information import LN2, log1p
from rdsim.namespaces import namespace_of
from rdsim.number_types import ArrayLike, Integer
from rdsim.results import result
from rdsim.sources import discretisation
from rdsim.sources.discretisation import Discretisation
from rdsim.transformations import on_host, small_on_host

_SYMMETRY: Final = 1e-12
"""Largest difference of mirrored entries of a covariance, relative to its largest entry."""
_SEMIDEFINITE: Final = 1e-12
"""How far the square of the largest canonical correlation may exceed one, by rounding of the
input."""
_ROUNDING: Final = 4 * float(np.finfo(float).eps)
"""For each dimension: a canonical correlation within so much of one is taken for one."""


@result
class GaussianSource:
    """Jointly Gaussian X (query, dx real numbers) and Y (item, dy real numbers) of mean zero.

    Attributes:
        covariance_x: shape (dx, dx), positive definite.
        covariance_y: shape (dy, dy), positive definite.
        cross_covariance: E[X Y'], shape (dx, dy).

    """

    covariance_x: Float[Array, "dx dx"]
    covariance_y: Float[Array, "dy dy"]
    cross_covariance: Float[Array, "dx dy"]

    @property
    def _parts(self) -> tuple[Float[Array, "dx dx"], Float[Array, "dy dy"], Float[Array, "dx dy"]]:
        return self.covariance_x, self.covariance_y, self.cross_covariance

    @property
    @validation.needs_float64
    def canonical_correlations(self) -> Float[Array, " d"]:
        """Canonical correlations in [0, 1], decreasing, shape (min(dx, dy),).

        A correlation within rounding of one (4 units in the last place a dimension) is one.
        """
        return _canonical_correlations(*self._parts)

    @property
    @validation.needs_float64
    def canonical_maps(self) -> tuple[Float[Array, "dx dx"], Float[Array, "dy dy"]]:
        r"""Matrices A, B with X = A S and Y = B T, S and T white.

        S_i and T_i are correlated by the i-th canonical correlation, and all else is independent.
        """
        return _canonical_maps(self)

    @property
    @validation.needs_float64
    def entropy_x(self) -> Float[Array, ""]:
        r"""Differential entropy $h(X) = \tfrac12 \log_2 \det (2 \pi e \Sigma_X)$ in bits."""
        return _entropy(self.covariance_x)

    @property
    @validation.needs_float64
    def entropy_y(self) -> Float[Array, ""]:
        r"""Differential entropy $h(Y) = \tfrac12 \log_2 \det (2 \pi e \Sigma_Y)$ in bits."""
        return _entropy(self.covariance_y)

    @property
    @validation.needs_float64
    def mutual_information(self) -> Float[Array, ""]:
        r"""$I(X;Y) = -\tfrac12 \sum_i \log_2 (1 - \rho_i^2)$ in bits; inf if some $\rho_i = 1$.

        Reference: Gelfand & Yaglom (1957).
        """
        return _mutual_information(*self._parts)

    def sample(
        self, key: Key[Array, ""], shape: tuple[int, ...] = ()
    ) -> tuple[Float[Array, "... dx"], Float[Array, "... dy"]]:
        """Independent pairs, x of shape (*shape, dx) and y of shape (*shape, dy)."""
        validation.prng_key("key", key)
        return _sample(key, self, tuple(shape))

    @on_host
    @validation.needs_float64
    def discretise(self, cells: Integer) -> Discretisation | tuple[Discretisation, ...]:
        r"""Cut every coordinate into cells.

        In canonical coordinates the pair falls apart into independent scalar pairs, whose
        information adds up; a coordinate without a partner carries none.

        Args:
            cells: number of cells of each of x and y, an integer in [2, 2048].

        Returns:
            For scalars one discretisation, in the source's own units. For vectors one for each
            canonical correlation, in that order, of (S_i, T_i) of `canonical_maps`, which have
            variance one. The information loss is exact up to its allowance, infinite where the
            correlation is one.

        """
        size = validation.integer("cells", cells, low=2, high=discretisation.MAX_CELLS)
        correlations = np.asarray(self.canonical_correlations)
        if self.cross_covariance.shape == (1, 1):
            rho = float(np.copysign(correlations[0], self.cross_covariance[0, 0]))
            scales = (self.covariance_x, self.covariance_y)
            return _discretise_pair(rho, size, *(math.sqrt(float(v[0, 0])) for v in scales))
        return tuple(_discretise_pair(float(rho), size, 1.0, 1.0) for rho in correlations)


def gaussian(
    correlation: ArrayLike, *, variance_x: ArrayLike = 1.0, variance_y: ArrayLike = 1.0
) -> GaussianSource:
    """A pair of jointly Gaussian scalars of mean zero.

    Args:
        correlation: in [-1, 1], a scalar.
        variance_x: of the query, positive and finite, a scalar.
        variance_y: of the item, positive and finite, a scalar.

    Returns:
        The source, dx = dy = 1.

    """
    rho = validation.interval("correlation", correlation, low=-1.0, high=1.0, ndim=0)
    var_x = validation.positive("variance_x", variance_x, ndim=0)
    var_y = validation.positive("variance_y", variance_y, ndim=0)
    x, y, cross = _scalar_parts(rho, var_x, var_y)
    return GaussianSource(covariance_x=x, covariance_y=y, cross_covariance=cross)


@small_on_host
def _scalar_parts(rho: Any, variance_x: Any, variance_y: Any) -> tuple[Any, Any, Any]:
    xp = namespace_of(rho, variance_x, variance_y)
    cross = rho * xp.sqrt(variance_x) * xp.sqrt(variance_y)
    return variance_x[None, None], variance_y[None, None], cross[None, None]


def vector_gaussian(
    covariance_x: ArrayLike, covariance_y: ArrayLike, cross_covariance: ArrayLike
) -> GaussianSource:
    """A pair of jointly Gaussian vectors of mean zero.

    Args:
        covariance_x: shape (dx, dx), symmetric, positive definite.
        covariance_y: shape (dy, dy), symmetric, positive definite.
        cross_covariance: E[X Y'], shape (dx, dy), such that the joint covariance is positive
            semidefinite.

    Returns:
        The source. The covariances are symmetrised to the last digit.

    Raises:
        ValueError: also if a covariance is not positive definite (the message gives its smallest eigenvalue), or
            the joint covariance not positive semidefinite.

    """
    cov_x = _covariance("covariance_x", covariance_x)
    cov_y = _covariance("covariance_y", covariance_y)
    cross = _finite("cross_covariance", cross_covariance)
    wanted = (cov_x.shape[0], cov_y.shape[0])
    if cross.shape != wanted:
        raise ValueError(f"cross_covariance must have shape {wanted}, got {cross.shape}")
    source = GaussianSource(covariance_x=cov_x, covariance_y=cov_y, cross_covariance=cross)
    if not validation.is_traced(source):
        largest = float(_singular_values(*map(np.asarray, source._parts))[0])
        if not largest <= math.sqrt(1 + _SEMIDEFINITE):
            joint = np.block(
                [[np.asarray(cov_x), np.asarray(cross)], [np.asarray(cross).T, np.asarray(cov_y)]]
            )
            smallest = float(np.linalg.eigvalsh(joint)[0])
            raise ValueError(
                "cross_covariance must leave the joint covariance positive semidefinite, got a "
                f"largest canonical correlation of {largest!r} and a smallest eigenvalue of "
                f"{smallest!r}"
            )
    return source


def _finite(name: str, value: ArrayLike) -> Float[Array, "a b"]:
    return validation.bounded(name, value, ndim=2)


def _covariance(name: str, value: ArrayLike) -> Float[Array, "d d"]:
    """A symmetric, positive definite matrix, checked, and symmetrised to the last digit."""
    matrix = _finite(name, value)
    if matrix.shape[0] != matrix.shape[1] or matrix.shape[0] == 0:
        raise ValueError(f"{name} must be a square matrix, got shape {matrix.shape}")
    if validation.is_traced(matrix):
        return matrix
    host = np.asarray(matrix)
    asymmetry = float(np.abs(host - host.T).max())
    if asymmetry > _SYMMETRY * float(np.abs(host).max()):
        raise ValueError(f"{name} must be symmetric, got entries that differ by {asymmetry!r}")
    eigenvalues = np.linalg.eigvalsh(host)
    # Compared with the largest eigenvalue: below its rounding the Cholesky factor, which whitens
    # the pair and which everything else rests on, has no correct digit.
    if eigenvalues[0] <= host.shape[0] * np.finfo(float).eps * eigenvalues[-1]:
        raise ValueError(
            f"{name} must be positive definite, got a smallest eigenvalue of "
            f"{float(eigenvalues[0])!r}"
        )
    return jnp.asarray(0.5 * (host + host.T), float)


def _whitened(
    covariance_x: Float[Any, "dx dx"],
    covariance_y: Float[Any, "dy dy"],
    cross_covariance: Float[Any, "dx dy"],
) -> Float[Any, "dx dy"]:
    """Cross-covariance of the whitened pair."""
    xp = namespace_of(cross_covariance)
    solve = (scipy if xp is np else jax.scipy).linalg.solve_triangular
    left = solve(xp.linalg.cholesky(covariance_x), cross_covariance, lower=True)
    return solve(xp.linalg.cholesky(covariance_y), left.T, lower=True).T


def _singular_values(*parts: Any) -> Float[Any, " d"]:
    return namespace_of(*parts).linalg.svd(_whitened(*parts), compute_uv=False)


def _correlations(*parts: Any) -> Float[Any, " d"]:
    """Canonical correlations, those within rounding of one replaced by one."""
    found, dimension = _singular_values(*parts), max(parts[-1].shape)
    return namespace_of(found).where(found >= 1 - _ROUNDING * dimension, 1.0, found)


_canonical_correlations = small_on_host(_correlations)


@small_on_host
def _mutual_information(*parts: Any) -> Float[Any, ""]:
    return _information(_correlations(*parts)).sum()


@jax.jit
def _canonical_maps(source: GaussianSource) -> tuple[Float[Array, "dx dx"], Float[Array, "dy dy"]]:
    left, _, right = jnp.linalg.svd(_whitened(*source._parts), full_matrices=True)
    chol_x, chol_y = (jnp.linalg.cholesky(c) for c in (source.covariance_x, source.covariance_y))
    return chol_x @ left, chol_y @ right.T


@jax.jit
def _entropy(covariance: Float[Array, "d d"]) -> Float[Array, ""]:
    log_determinant = 2 * jnp.sum(jnp.log(jnp.diag(jnp.linalg.cholesky(covariance))))
    return 0.5 * (covariance.shape[0] * math.log(2 * math.pi * math.e) + log_determinant) / LN2


def _information(rho: Float[Any, " d"]) -> Float[Any, " d"]:
    r"""Information of scalar pairs of correlation rho in [0, 1], in bits.

    $-\tfrac12 \ln(1 - \rho^2)$ loses digits near rho = 0 unless log1p takes it, and near one unless
    $1 - \rho^2$ is a product: each formula is used on its own half.
    """
    xp = namespace_of(rho)
    weak = rho < 0.5
    near = log1p(-(xp.where(weak, rho, 0.0) ** 2))
    far = xp.log(xp.where(weak, 1.0, (1 - rho) * (1 + rho)))
    return -0.5 * xp.where(weak, near, far) / LN2


@jax.jit(static_argnames="shape")
def _sample(
    key: Key[Array, ""], source: GaussianSource, shape: tuple[int, ...]
) -> tuple[Float[Array, "... dx"], Float[Array, "... dy"]]:
    """Sample in canonical coordinates, which need no root of a singular joint covariance."""
    key_x, key_y = jax.random.split(key)
    map_x, map_y = _canonical_maps(source)
    dx, dy = source.cross_covariance.shape
    pairs = min(dx, dy)
    rho = jnp.zeros(dx).at[:pairs].set(source.canonical_correlations)
    t = jax.random.normal(key_y, (*shape, dy))
    partner = jnp.zeros((*shape, dx)).at[..., :pairs].set(t[..., :pairs])
    s = rho * partner + jnp.sqrt((1 - rho) * (1 + rho)) * jax.random.normal(key_x, (*shape, dx))
    return s @ map_x.T, t @ map_y.T


def _discretise_pair(rho: float, cells: int, scale_x: float, scale_y: float) -> Discretisation:
    """Cut a scalar pair of correlation rho and standard deviations `scale_x` and `scale_y`."""
    edges = discretisation.normal_edges(cells)
    masses = discretisation.cell_probabilities(edges[:-1], edges[1:])
    points = discretisation.cell_moments(edges) / masses
    with np.errstate(divide="ignore"):  # infinite at a correlation of one
        information = float(_information(np.abs([rho]))[0])
    return discretisation.build(
        discretisation.bivariate_cells(rho, edges, edges),
        edges=(scale_x * edges, scale_y * edges),
        points=(scale_x * points, scale_y * points),
        information_upper=information,
        mean_squared_error=scale_y**2 * (1 - float(masses @ points**2)),
    )
