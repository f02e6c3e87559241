r"""Query and item as directions: points of the sphere $S^{n-1}$ whose dependence is that of their angle.

The item is uniform. The density of the query decreases with the angle from its item: that of von Mises and
Fisher, $P(x|y) \propto e^{\kappa x \cdot y}$, or that of the directions of two normal vectors whose
coordinates have a correlation $\rho$. The latter is a mixture of the former: given the lengths of both
vectors $\kappa = \rho |x||y|/(1-\rho^2) = \rho q$, and q has the density

$$\frac{(1-\rho^2)^{n/2}}{2^{n-2}\Gamma(n/2)^2}\, q^{n-1} K_0(q)\, {}_0F_1(\tfrac n2; \tfrac14 \rho^2 q^2).$$
"""

import functools
import math
from collections.abc import Callable
from dataclasses import field
from typing import Final

import jax
import jax.numpy as jnp
import numpy as np
import scipy
from jaxtyping import Array, Float, Key

from rdsim import validation
from rdsim.information import LN2
from rdsim.number_types import ArrayLike, Integer
from rdsim.results import result
from rdsim.sources.sphere import caps
from rdsim.sources.sphere.caps import Reals
from rdsim.transformations import on_host

MAX_DIMENSION: Final = 20_000
"""Largest dimension n: ln sin^n is rounded n times as coarsely as a float64."""
MAX_CONCENTRATION: Final = 1e7
"""Exponents of this size are rounded to 1e-9."""
MAX_CORRELATION: Final = 1 - 1e-4
"""Largest correlation rho: the density of the angle narrows like sqrt(1 - rho)."""
_VON_MISES_FISHER: Final = "von_mises_fisher"
_NORMAL: Final = "projected_normal"
_LEFT_OUT: Final = -36.0
"""An integral is cut where its density has fallen below e^-36 of its maximum."""
_STEP: Final = 0.25
"""Step in ln q of the trapezoidal rule: for K_0 its error is e^(-2 pi^2/step), far below rounding."""
_WIDE: Final = 0.75
"""Step in standard deviations where the density is nearly normal: the error is then e^(-2 pi^2/step^2)."""


@result
class SphericalSource:
    """Directions X (query) and Y (item) in n dimensions, uniform, likelier the nearer they are.

    Attributes:
        parameter: the concentration, or the correlation of the normal coordinates.
        dimension: n, of the space; the sphere is of dimension n - 1.
        kind: "von_mises_fisher" or "projected_normal".

    """

    parameter: Float[Array, ""]
    dimension: int = field(metadata={"static": True})
    kind: str = field(metadata={"static": True})

    @on_host
    @validation.needs_float64
    def angle_density(self, angle: ArrayLike) -> Float[Array, "..."]:
        """Compute the density of the angle in [0, pi] between query and item, radians, any shape."""
        theta = np.asarray(validation.interval("angle", angle, low=0.0, high=math.pi), float)
        with np.errstate(divide="ignore"):
            psi = np.clip(np.log(np.tan(theta / 2)), -700.0, 700.0)
        log_density = caps.log_measure(self.dimension, psi) - caps.log_sine(psi)
        return jnp.asarray(np.exp(log_density + self._log_ratio(psi)))

    @property
    @validation.needs_float64
    def mutual_information(self) -> Float[Array, ""]:
        """I(X;Y) in bits: the mean log of the density of the query against that of a uniform one."""
        low, high = _support(self)
        psi = np.linspace(low, high, 16 * _cells(self, low, high) + 1)
        log_ratio = self._log_ratio(psi)
        density = np.exp(caps.log_measure(self.dimension, psi) + log_ratio)
        return jnp.asarray(max(float(density @ log_ratio / density.sum()), 0.0) / LN2)

    def _log_ratio(self, psi: Reals) -> Reals:
        """Ln of the density of the query at places from its item, against that of a uniform one."""
        return caps.log_dependence(
            self.dimension, *self.mixture(), np.asarray(psi), np.asarray(-np.inf)
        )

    def mixture(self) -> tuple[Reals, Reals]:
        """Return ln of the concentrations of which the density is a mixture, and of their probabilities."""
        if self.kind == _VON_MISES_FISHER:
            return np.log(np.maximum(np.asarray(self.parameter, float), 1e-300))[None], np.zeros(1)
        return _normal_mixture(self.dimension, float(self.parameter))

    def sample(
        self, key: Key[Array, ""], shape: tuple[int, ...] = ()
    ) -> tuple[Float[Array, "... n"], Float[Array, "... n"]]:
        """Independent pairs of unit vectors x and y, each of shape (*shape, n)."""
        validation.prng_key("key", key)
        draw = _sample_mises if self.kind == _VON_MISES_FISHER else _sample_normal
        return draw(key, self.parameter, self.dimension, tuple(shape))


def spherical(dimension: Integer, *, concentration: ArrayLike) -> SphericalSource:
    r"""Make a uniform direction as item and one near it as query: $P(x|y) \propto e^{\kappa x \cdot y}$.

    Args:
        dimension: n >= 2, of the space, at most 20000.
        concentration: kappa in [0, 1e7], a scalar.

    Returns:
        The source.

    References:
        Fisher (1953), Proc. R. Soc. A 217; Mardia and Jupp (2000), "Directional Statistics".

    """
    n = validation.integer("dimension", dimension, low=2, high=MAX_DIMENSION)
    kappa = validation.interval(
        "concentration", concentration, low=0.0, high=MAX_CONCENTRATION, ndim=0
    )
    return SphericalSource(parameter=kappa, dimension=n, kind=_VON_MISES_FISHER)


def projected_normal(dimension: Integer, *, correlation: ArrayLike) -> SphericalSource:
    r"""Make the directions of two standard normal vectors whose coordinates have a correlation.

    These are normalised embeddings: what is left of an isotropic Gaussian pair if only directions are kept.

    Args:
        dimension: n >= 2, of the space, at most 20000.
        correlation: rho in [0, 0.9999], a scalar.

    Returns:
        The source.

    References:
        Fisher (1915), Biometrika 10, for the density of the angle.

    """
    n = validation.integer("dimension", dimension, low=2, high=MAX_DIMENSION)
    rho = validation.interval("correlation", correlation, low=0.0, high=MAX_CORRELATION, ndim=0)
    return SphericalSource(parameter=rho, dimension=n, kind=_NORMAL)


def _support(source: SphericalSource) -> tuple[float, float]:
    """Places between which all of the density of the angle lies but e^-36."""

    def log_density(psi: Reals) -> Reals:
        return caps.log_measure(source.dimension, psi) + source._log_ratio(psi)

    return _where_positive(log_density, -40.0, 40.0)


def _cells(source: SphericalSource, low: float, high: float) -> int:
    """Cells of the support, narrower than a quarter of a standard deviation of the angle."""
    return math.ceil(6 * (high - low) * max(1.0, 0.25 * math.sqrt(source.dimension)))


def _where_positive(
    log_density: Callable[[Reals], Reals], low: float, high: float
) -> tuple[float, float]:
    """Ends of the interval where a log-density, which has one mode, is within e^-36 of its largest value."""

    def height(x: float) -> float:
        return float(log_density(np.asarray(x)))

    grid = np.linspace(low, high, 801)
    middle = int(log_density(grid).argmax())
    step = grid[1] - grid[0]
    ends = grid[middle] - step, grid[middle] + step
    mode = scipy.optimize.minimize_scalar(lambda x: -height(x), bounds=ends, method="bounded").x
    cut = height(mode) + _LEFT_OUT

    def end(far: float) -> float:
        if height(far) >= cut:
            return far
        return float(scipy.optimize.brentq(lambda x: height(x) - cut, mode, far, rtol=1e-4))

    return end(low), end(high)


@functools.lru_cache(maxsize=256)
def _normal_mixture(n: int, rho: float) -> tuple[Reals, Reals]:
    """Concentrations of a projected normal pair and their probabilities, by the trapezoidal rule in ln q."""
    if rho == 0:
        return np.array([-600.0]), np.zeros(1)
    scale = (
        0.5 * n * (math.log1p(-rho) + math.log1p(rho))
        - (n - 2) * LN2
        - 2 * scipy.special.gammaln(n / 2)
    )

    def log_density(log_q: Reals) -> Reals:
        q = np.exp(log_q)
        decay = np.log(scipy.special.kve(0, q)) - q
        return np.asarray(n * log_q + decay + caps.log_bessel(n / 2, math.log(rho) + log_q) + scale)

    low, high = _where_positive(log_density, -40.0, 20.0)
    width = (high - low) / (2 * math.sqrt(-2 * _LEFT_OUT))  # a standard deviation, if it is normal
    cells = math.ceil((high - low) / min(_STEP, _WIDE * width))
    # The trapezoidal rule in ln q, with ends at which the density has fallen to e^-36 of its peak.
    log_q = np.linspace(low, high, cells + 1)
    log_weight = log_density(log_q) + math.log((high - low) / cells)
    return math.log(rho) + log_q, log_weight - np.logaddexp.reduce(log_weight)


@functools.partial(jax.jit, static_argnames=("n", "shape"))
def _sample_normal(
    key: Key[Array, ""], rho: Float[Array, ""], n: int, shape: tuple[int, ...]
) -> tuple[Float[Array, "... n"], Float[Array, "... n"]]:
    key_x, key_y = jax.random.split(key)
    y = jax.random.normal(key_y, (*shape, n))
    x = rho * y + jnp.sqrt((1 - rho) * (1 + rho)) * jax.random.normal(key_x, (*shape, n))
    return _unit(x), _unit(y)


@functools.partial(jax.jit, static_argnames=("n", "shape"))
def _sample_mises(
    key: Key[Array, ""], kappa: Float[Array, ""], n: int, shape: tuple[int, ...]
) -> tuple[Float[Array, "... n"], Float[Array, "... n"]]:
    """Draw the cosine by Wood's (1994) rejection from a transformed beta distribution, then the side."""
    key_y, key_side, key_cosine = jax.random.split(key, 3)
    y = _unit(jax.random.normal(key_y, (*shape, n)))
    half = 0.5 * (n - 1)
    # Wood's b = (-2 kappa + sqrt(4 kappa^2 + (n-1)^2)) / (n-1), written without the difference that cancels; the
    # envelope touches the density at x0, where ln of their ratio has its maximum.
    b = (n - 1) / (2 * kappa + jnp.sqrt(4 * kappa**2 + (n - 1) ** 2))
    x0 = (1 - b) / (1 + b)
    most = kappa * x0 + (n - 1) * jnp.log1p(-(x0**2))

    def one(key: Array) -> Array:
        def draw(state: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
            key, _, _ = state
            key, key_beta, key_accept = jax.random.split(key, 3)
            z = jax.random.beta(key_beta, half, half)
            w = (1 - (1 + b) * z) / (1 - (1 - b) * z)
            log_ratio = kappa * w + (n - 1) * jnp.log1p(-x0 * w) - most
            return key, w, log_ratio >= jnp.log(jax.random.uniform(key_accept))

        return jax.lax.while_loop(
            lambda state: ~state[2], draw, (key, jnp.zeros(()), jnp.asarray(False))
        )[1]

    count = math.prod(shape)
    cosine = jax.vmap(one)(jax.random.split(key_cosine, count)).reshape(*shape, 1)
    # A uniform direction orthogonal to y: a normal vector less its component along y, scaled to length one.
    side = jax.random.normal(key_side, (*shape, n))
    side = _unit(side - jnp.sum(side * y, axis=-1, keepdims=True) * y)
    return cosine * y + jnp.sqrt((1 - cosine) * (1 + cosine)) * side, y


def _unit(vectors: Float[Array, "... n"]) -> Float[Array, "... n"]:
    return vectors / jnp.linalg.norm(vectors, axis=-1, keepdims=True)
