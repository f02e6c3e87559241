r"""The rate of one codebook for the worst source of a divergence ball (C24).

$$\sup_{P:\, D(P \| P_0) \le \delta} R(P,q,D) = \sup_{s \ge 0} \Bigl[ \sup_P E_P[-\log_2 Z_Y(s)] - s D \Bigr],
\qquad Z_y(s) = \sum_u q_u 2^{-s d(y,u)}.$$

The inner supremum is a problem of one dual variable (`_divergence_ball`); the outer one, over the slope, is not
concave and is certified by branch and bound.
"""

from typing import Final, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from rdsim import validation
from rdsim.certified import Certified
from rdsim.limits.shift._divergence_ball import largest_mean
from rdsim.limits.shift.mismatch import check_codebook, mismatched_rate, tilted
from rdsim.number_types import ArrayLike
from rdsim.transformations import on_host

_CELLS: Final = 64  # cells of slopes that are bounded at a time


_ROUNDS: Final = 60  # most rounds of branch and bound, each of which halves the cells that are left


ROUNDING: Final = 1e-12  # relative rounding of a mean distortion


@on_host
@validation.needs_float64
def worst_mismatched_rate(
    p: ArrayLike,
    distortions: ArrayLike,
    codebook: ArrayLike,
    divergence: ArrayLike,
    *,
    distortion: ArrayLike,
    tolerance: ArrayLike = 1e-6,
) -> Certified:
    r"""Compute the rate of a codebook in the worst case over a divergence ball.

    $$\max_{P:\, D(P\|P_0) \le \delta} R(P,q,D).$$

    The arguments are those of `minimax_rate`, D of any size, and `codebook`, q, the distribution of a
    codeword letter, shape (|U|,).

    Returns:
        Bits, a scalar between its bounds; inf where some source in the ball cannot meet D with q.

    """
    p0, d, q = check_codebook(p, distortions, codebook, finite=True)
    delta = validation.interval("divergence", divergence, low=0.0, ndim=0)
    D = validation.interval("distortion", distortion, low=0.0, ndim=0)
    target = validation.tolerance(tolerance)
    ball = Ball(np.asarray(p0), np.asarray(d), delta, D)
    worst, P, _ = worst_source(np.asarray(q), ball, 0.5 * float(target))
    upper = jnp.asarray(worst)
    lower = mismatched_rate(P, d, q, D).lower if np.isfinite(worst) else upper
    return Certified(value=upper, lower=jnp.minimum(lower, upper), upper=upper, tolerance=target)


class Ball(NamedTuple):
    """The sources within divergence delta of p, under distortions d, and the distortion D allowed."""

    p: np.ndarray
    d: np.ndarray
    delta: Float[Array, ""]
    D: Float[Array, ""]


@jax.jit
def _bound_cells(
    q: Float[Array, " u"],
    d: Float[Array, "y u"],
    p: Float[Array, " y"],
    ball: Float[Array, "2"],
    edges: Float[Array, "k 2"],
) -> tuple[Float[Array, " k"], Float[Array, " k"], Float[Array, "k y"]]:
    r"""Bound the rate on each cell of slopes; its value at the middle, and the hardest source there.

    $-\log_2 Z_y(s)$ is concave in s, so that it lies below its tangent; the supremum over the ball
    of the tangents is convex in s, so that it is largest at an end of the cell.
    """
    delta, D = ball
    least = jnp.min(jnp.where(q > 0, d, jnp.inf), axis=1)
    e = d - least[:, None]
    middle = edges.mean(axis=1)
    # At the middle of each cell: -log2 Z_y and its derivative in s, the mean distortion of the
    # tilted channel.
    cost, mean = jax.vmap(lambda s: tilted(e, q, s))(middle)
    cost, mean = cost + middle[:, None] * least, mean + least
    value, P = largest_mean(cost, p, delta)
    ends = [
        largest_mean(cost + mean * (edge - middle)[:, None], p, delta)[0] - edge * D
        for edge in edges.T
    ]
    # A value that a source of the ball has, so that the largest of them is a lower bound of the
    # supremum.
    inside = jnp.sum(P * cost, axis=1) - middle * D
    return jnp.maximum(*ends), jnp.minimum(inside, value - middle * D), P


def worst_source(q: np.ndarray, ball: Ball, tolerance: float) -> tuple[float, np.ndarray, float]:
    """Certify the supremum over the ball of R(P,q,D); and a pair (P, s) that nearly reaches it.

    Branch and bound over the slope: a cell is dropped once its bound is within the tolerance of the best
    value found, and the others are halved. The supremum is at most the largest bound of a dropped cell.
    """
    p, d, delta, D = ball
    q_, d_, p_, pair = jnp.asarray(q), jnp.asarray(d), jnp.asarray(p), jnp.stack([delta, D])
    # Some source of the ball does not reach D with the letters of q, whatever the rate.
    least = np.where(q > 0, d, np.inf).min(axis=1)
    needed = float(largest_mean(jnp.asarray(least)[None], p_, delta)[0][0])
    if needed * (1 - ROUNDING) > float(D):
        return np.inf, p, 0.0
    # Where all codewords are equally far from every letter, slopes have no scale, and no bit is of use.
    unit = float((d - least[:, None]).max()) or 1.0
    # Slopes over 22 octaves about one bit per unit of the largest excess distortion.
    grid = np.concatenate([[0.0], np.geomspace(2.0**-10, 2.0**12, _CELLS)]) / unit
    # Beyond the grid: the nearest letters alone, whose cost falls with s from there on.
    nearest = -np.log2(np.where(d == least[:, None], q, 0.0).sum(axis=1))
    tail = nearest + grid[-1] * least
    dropped = float(largest_mean(jnp.asarray(tail)[None], p_, delta)[0][0] - grid[-1] * D)
    cells = np.column_stack([grid[:-1], grid[1:]])
    best, hardest, slope = -np.inf, p, 0.0
    for _ in range(_ROUNDS):
        # Always the same number of cells, repeated if they are fewer: one compilation.
        padded = jnp.asarray(cells[np.arange(_CELLS) % len(cells)])
        found = jax.device_get(_bound_cells(q_, d_, p_, pair, padded))
        bounds, values, sources = (array[: len(cells)] for array in found)
        top = int(np.argmax(values))
        if values[top] > best:
            best, hardest, slope = float(values[top]), sources[top], float(cells[top].mean())
        # A cell is dropped when its bound is within the tolerance of the best value; its bound is
        # remembered.
        keep = bounds > best + tolerance
        dropped = max(dropped, float(bounds[~keep].max(initial=-np.inf)))
        if not keep.any() or 2 * keep.sum() > _CELLS:
            dropped = max(dropped, float(bounds.max()) if keep.any() else -np.inf)
            break
        cells = cells[keep]
        middle = cells.mean(axis=1)
        cells = np.concatenate(
            [np.column_stack([cells[:, 0], middle]), np.column_stack([middle, cells[:, 1]])]
        )
    else:
        dropped = max(dropped, float(bounds.max()))
    # At slope zero the value is zero for every source; sums of logarithms may end a rounding below it.
    return max(dropped, best, 0.0), hardest, slope
