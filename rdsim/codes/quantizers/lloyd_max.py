r"""The quantizer of Lloyd and Max on the line, for a Gaussian mixture (exact integrals) or a sample.

Levels u and thresholds a fit each other when every threshold lies midway between its levels and
every level is the mean of its cell,

$$a_i = \frac{u_{i-1} + u_i}{2}, \quad u_i = c_i = \frac{M_1(a_i, a_{i+1})}{M_0(a_i, a_{i+1})}, \quad
  M_k(a, b) = \int_a^b y^k f(y) \, dy.$$

With $\partial c / \partial a = f(a)(c - a) / M_0$ and $\partial c / \partial b = f(b)(b - c) / M_0$
the derivative of the map u -> c is tridiagonal, and Newton's method needs a few steps where
alternating u and a needs thousands.
"""

import dataclasses
from collections.abc import Callable
from typing import Final

import jax.numpy as jnp
import numpy as np
import scipy
from jaxtyping import Array, Bool, Float

from rdsim import validation
from rdsim.number_types import ArrayLike, Integer
from rdsim.results import result
from rdsim.transformations import on_host

MOST_DEVIATIONS: Final = 1e9
"""Largest mean, in the least standard deviation of a component: beyond, float64 merges the levels."""
MAX_LEVELS: Final = 1 << 12
"""Most levels, 12 bits: every start costs time in proportion to them."""
_ITERATIONS: Final = 500
"""Most iterations of a start; Newton's method needs a dozen, Lloyd's steps on a sample may need more."""
_RESIDUAL: Final = 1e-10
"""Largest distance of a level from the mean of its cell that counts as converged, in deviations."""
_GRID: Final = 4001
"""Points a component of the grid that gives the starts."""
_GRID_DEVIATIONS: Final = 9.0
"""Half-width of that grid, in standard deviations of the component."""

_Iteration = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray, float]]
"""From levels to Lloyd's step (to the means of their cells), Newton's step, and the distortion."""


@result
class LloydMax:
    """Levels and thresholds at which each is the best for the other.

    Attributes:
        levels: shape (L,), rising.
        thresholds: midway between the levels, shape (L - 1,).
        distortion: mean squared error of these levels, exact; that of a local optimum, which is
            the global one if the density is log-concave (a Gaussian).
        residual: how far the furthest level lies from the mean of its cell, by the standard
            deviation.

    """

    levels: Float[Array, " l"]
    thresholds: Float[Array, " t"]
    distortion: Float[Array, ""]
    residual: Float[Array, ""]

    @property
    def converged(self) -> Bool[Array, ""]:
        """Whether every level is the mean of its cell, to 1e-10 standard deviations."""
        return self.residual <= _RESIDUAL


@on_host
@validation.needs_float64
def lloyd_max_levels(
    weights: ArrayLike, means: ArrayLike, variances: ArrayLike, levels: Integer
) -> LloydMax:
    r"""Quantize a Gaussian mixture on the line with L levels, by exact integrals.

    $$\min_u E \min_i (Y - u_i)^2, \quad Y \sim \sum_c w_c N(m_c, v_c).$$

    Args:
        weights: w, shape (C,), summing to one.
        means: m, shape (C,).
        variances: v > 0, shape (C,).
        levels: L, 1 to 4096.

    Returns:
        The best local optimum of three starts; the global one for a single Gaussian.

    References:
        Max (1960), IRE Trans. Inf. Theory 6(1); Lloyd (1982), IEEE Trans. Inf. Theory 28(2);
        Fleischer (1964) for the uniqueness under log-concave densities.

    """
    w = np.asarray(validation.pmf("weights", weights))
    m = validation.coordinates("means", means, ndim=1)
    v = validation.interval(
        "variances",
        variances,
        low=0.0,
        high=validation.LARGEST_COORDINATE**2,
        open_low=True,
        ndim=1,
    )
    if m.shape != w.shape or v.shape != w.shape:
        raise ValueError(
            f"means and variances must have the shape of weights, {w.shape}, got {m.shape} and "
            f"{v.shape}"
        )
    least = float(np.sqrt(np.min(np.asarray(v))))
    if np.max(np.abs(np.asarray(m))) > MOST_DEVIATIONS * least:
        raise ValueError(
            f"means must lie within {MOST_DEVIATIONS:g} of the least standard deviation, {least:g}, "
            f"of zero, got {np.asarray(m).tolist()}: float64 does not tell the levels apart"
        )
    count = validation.integer("levels", levels, low=1, high=MAX_LEVELS)
    return _mixture_levels(w, np.asarray(m), np.sqrt(np.asarray(v)), count)


def _mixture_levels(w: np.ndarray, m: np.ndarray, sigma: np.ndarray, count: int) -> LloydMax:
    """Fit levels to a mixture from three starts, which place them by a power of the density."""
    mean = w @ m
    scale = float(np.sqrt(w @ (sigma**2 + (m - mean) ** 2)))
    # The grid is fine about every component, however narrow.
    grid = np.unique(m + sigma * np.linspace(-_GRID_DEVIATIONS, _GRID_DEVIATIONS, _GRID)[:, None])
    density = _density(grid[:, None], w, m, sigma)
    wanted = (np.arange(count) + 0.5) / count

    def levels_by(power: float) -> np.ndarray:
        height = density**power
        cumulative = np.append(0.0, np.cumsum((height[1:] + height[:-1]) * np.diff(grid)))
        return np.interp(wanted, cumulative / cumulative[-1], grid)

    # Fine quantizers place their levels by the cube root of the density (Panter and Dite 1951).
    starts = [levels_by(power) for power in (1 / 3, 1.0, 0.1)]
    return _best_start(starts, lambda u: _mixture_step(u, w, m, sigma), scale)


def _density(y: np.ndarray, w: np.ndarray, m: np.ndarray, sigma: np.ndarray) -> np.ndarray:
    """Density of the mixture at points of shape (..., 1)."""
    z = (y - m) / sigma
    return np.sum(w * np.exp(-(z**2) / 2) / (sigma * np.sqrt(2 * np.pi)), axis=-1)


def _mixture_step(
    u: np.ndarray, w: np.ndarray, m: np.ndarray, sigma: np.ndarray
) -> tuple[np.ndarray, np.ndarray, float]:
    """Lloyd's step, Newton's step and the distortion, from the integrals of the top of this file.

    For component c, with z the edges in its deviations, the integrals of 1, y - u and (y - u)^2 over a
    cell follow from the differences of Phi, phi and z phi at its edges. Newton's step solves
    (I - dc/du) x = c - u, whose matrix is tridiagonal: level i moves its two thresholds by half, and each
    threshold moves the means of the two cells beside it.
    """
    inner = (u[1:] + u[:-1]) / 2
    edges = np.concatenate([[-np.inf], inner, [np.inf]])[:, None]
    z = (edges - m) / sigma
    bell = np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi)
    # Differences of the tail on the side where the cell lies, so that far cells keep their digits.
    right = z[:-1] > 0
    mass = np.where(
        right,
        scipy.special.ndtr(-z[:-1]) - scipy.special.ndtr(-z[1:]),
        scipy.special.ndtr(z[1:]) - scipy.special.ndtr(z[:-1]),
    )
    slope = bell[1:] - bell[:-1]
    tilted = np.where(np.isinf(z), 0.0, np.where(np.isinf(z), 0.0, z) * bell)
    bend = tilted[1:] - tilted[:-1]
    shift = m - u[:, None]
    M0 = mass @ w
    first = (shift * mass - sigma * slope) @ w
    second = ((shift**2 + sigma**2) * mass - 2 * shift * sigma * slope - sigma**2 * bend) @ w
    used = M0 > 0
    # The level of a cell without mass stays where it is.
    move = np.where(used, first / np.where(used, M0, 1.0), 0.0)
    c = u + move
    f = _density(inner[:, None], w, m, sigma)
    inverse = np.where(used, 1 / np.where(used, M0, 1.0), 0.0)
    # dc_i / du_{i-1} and dc_i / du_{i+1}, each through the threshold between the two levels.
    by_left = np.concatenate([[0.0], f * (c[1:] - inner)]) * inverse / 2
    by_right = np.concatenate([f * (inner - c[:-1]), [0.0]]) * inverse / 2
    bands = np.zeros((3, u.size))
    bands[0, 1:] = -by_right[:-1]
    bands[1] = 1 - by_left - by_right
    bands[2, :-1] = -by_left[1:]
    return move, scipy.linalg.solve_banded((1, 1), bands, move), float(second.sum())


def _best_start(starts: list[np.ndarray], step: _Iteration, scale: float) -> LloydMax:
    """Keep the fit of least distortion; the scale is the standard deviation of the whole."""
    found = [_newton_or_lloyd(start, step, scale) for start in starts]
    u, distortion, residual = min(found, key=lambda fit: fit[1])
    return LloydMax(
        levels=jnp.asarray(u, float),
        thresholds=jnp.asarray((u[1:] + u[:-1]) / 2, float),
        distortion=jnp.asarray(distortion, float),
        residual=jnp.asarray(residual, float),
    )


def _newton_or_lloyd(
    u: np.ndarray, step: _Iteration, scale: float
) -> tuple[np.ndarray, float, float]:
    """Take Newton's step where it keeps the order and does not raise the distortion, else Lloyd's.

    Lloyd's step never raises the distortion, so that it falls from one iteration to the next.
    """
    move, newton, distortion = step(u)
    for _ in range(_ITERATIONS):
        if np.max(np.abs(move)) <= _RESIDUAL * scale / 10:
            break
        # Newton's step converges quadratically near an optimum. It is taken only if the levels stay in order and the
        # distortion does not rise by more than rounding; far from an optimum it may do either.
        trial = u + newton
        if np.all(np.diff(trial) > 0):
            after = step(trial)
            if after[2] <= distortion * (1 + 1e-15):
                u, (move, newton, distortion) = trial, after
                continue
        u = u + move
        move, newton, distortion = step(u)
    return u, distortion, float(np.max(np.abs(move))) / scale


def sample_levels(sample: np.ndarray, count: int, name: str = "the sample") -> LloydMax:
    """Fit levels to a sample on the line, shape (N,), by Lloyd's steps from three starts.

    A local optimum. The starts are quantiles of the values, of the distinct values, and even levels.
    """
    if count > 1:
        validation.apart(f"items in {name}", sample[:, None])
    values = np.sort(sample)
    distinct = np.unique(values)
    if distinct.size < count:
        raise ValueError(
            f"bits must not ask for more levels than items are distinct, {distinct.size} in {name}, "
            f"got {count}"
        )
    mean = values.mean()
    values, distinct = values - mean, distinct - mean
    # With the sorted values' cumulative sums, a step costs one binary search a level.
    sums = np.concatenate([[0.0], np.cumsum(values)])
    power = float(np.sum(values**2))

    def step(u: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
        # Nearest-level rule: the thresholds lie midway between levels. Centroid rule: each level moves to
        # the mean of its cell; an empty cell keeps its level.
        inner = np.searchsorted(values, (u[1:] + u[:-1]) / 2)
        ends = np.concatenate([[0], inner, [values.size]])
        number, total = np.diff(ends), np.diff(sums[ends])
        used = number > 0
        move = np.where(used, total / np.maximum(number, 1) - u, 0.0)
        error = power - 2 * float(total @ u) + float(number @ u**2)
        return move, move, error / values.size

    wanted = (np.arange(count) + 0.5) / count
    starts = [np.quantile(values, wanted), np.quantile(distinct, wanted)]
    starts.append(values[0] + (values[-1] - values[0]) * wanted)
    starts = [start for start in starts if np.all(np.diff(start) > 0)] or [
        distinct[np.floor(wanted * distinct.size).astype(int)]
    ]
    scale = float(np.sqrt(power / values.size)) or 1.0
    fitted = _best_start(starts, step, scale)
    return dataclasses.replace(
        fitted, levels=fitted.levels + mean, thresholds=fitted.thresholds + mean
    )
