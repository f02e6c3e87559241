r"""From above: codewords and weights fitted to one half of the samples, and what they achieve on the other.

The channel $Q(u|y) \propto q_u 2^{-s|y-u|^2}$ achieves the mean distortion and at most the mean rate of every source,
whatever the weights q are; means over samples that were not fitted have confidence intervals.
"""

import math
from typing import Final

import jax
import jax.numpy as jnp
import numpy as np
import scipy
from jaxtyping import Array, Float

from rdsim.finite_sample.information_estimate import bernstein

_CODEWORD_SPACING: Final = 0.5
"""Distance of neighbouring codewords, in standard deviations of the kernel at the steepest slope;
it grows where there would be too many."""


_UNIFORM_WEIGHT: Final = 0.01
"""Weight of the uniform distribution that is mixed into q: the least q_u bounds the losses."""


_FIT_STEPS: Final = 200
"""Steps of Blahut-Arimoto that fit the weights."""


_BOX_STEPS: Final = {1: 400, 2: 60}
"""Cells along each axis in which the farthest point of a box is looked for, by dimension."""


def grid_codewords(y: np.ndarray, width: float, most: int) -> np.ndarray:
    """Centres of the occupied cells of a grid, coarse enough not to be too many, shape (k, d)."""
    spacing = _CODEWORD_SPACING * width
    while True:
        cells = np.unique(np.floor((y - y.min(axis=0)) / spacing), axis=0)
        if len(cells) <= most:
            return y.min(axis=0) + spacing * (cells + 0.5)
        # Ten per cent at a time, never much coarser than it has to be.
        spacing *= 1.1


def fitted_weights(y: np.ndarray, codewords: np.ndarray, slope: np.ndarray) -> np.ndarray:
    """Weights fitted to the training samples, mixed with a little of the uniform distribution."""
    q = np.asarray(_blahut_arimoto(jnp.asarray(squared_errors(y, codewords)), jnp.asarray(slope)))
    q = (1 - _UNIFORM_WEIGHT) * q / q.sum(axis=1, keepdims=True)
    return q + _UNIFORM_WEIGHT / len(codewords)


@jax.jit
def _blahut_arimoto(d: Float[Array, "n k"], slopes: Float[Array, " s"]) -> Float[Array, "s k"]:
    r"""A fixed number of Blahut-Arimoto steps $q_u \leftarrow q_u c_u$, at every slope.

    Any weights give bounds. An optimum would fit the tails of the training samples too closely.
    """

    def one(s: Float[Array, ""]) -> Float[Array, " k"]:
        # Rows are shifted by their least distortion, which cancels in K / (K q) and keeps steep slopes from
        # underflowing.
        K = jnp.exp2(-s * (d - jnp.min(d, axis=1, keepdims=True)))

        def step(_: Array, q: Float[Array, " k"]) -> Float[Array, " k"]:
            return q * jnp.mean(K / (K @ q)[:, None], axis=0)

        return jax.lax.fori_loop(0, _FIT_STEPS, step, jnp.full(d.shape[1], 1 / d.shape[1]))

    return jax.lax.map(one, slopes)


def squared_errors(y: np.ndarray, u: np.ndarray) -> np.ndarray:
    return np.square(y[:, None] - u).sum(axis=-1)


def log2_z(d: np.ndarray, q: np.ndarray, s: float) -> np.ndarray:
    """Log2 of Z for every row of squared errors; at most zero."""
    exponent = np.log2(q) - s * d
    # A sum of powers of two relative to the largest (log-sum-exp); Z is at most one, and rounding may lift it above.
    peak = exponent.max(axis=1)
    return np.minimum(peak + np.log2(np.exp2(exponent - peak[:, None]).sum(axis=1)), 0.0)


def achieved_point(
    y: np.ndarray,
    codewords: np.ndarray,
    q: np.ndarray,
    s: float,
    risk: float,
    box: np.ndarray | None,
) -> dict[str, float]:
    """The achieved point and its upper confidence bounds, each with half of the risk."""
    d = squared_errors(y, codewords)
    log_z = log2_z(d, q, s)
    # Mean distortion under Q(.|y), whose weights are the terms of Z, and then the rate -log2 Z - s delta (head of
    # `continuous`).
    delta = (np.exp2(np.log2(q) - s * d - log_z[:, None]) * d).sum(axis=1)
    rate = np.maximum(-log_z - s * delta, 0.0)
    largest_rate = math.log2(1 / q.min())
    if box is None:
        standard_error = delta.std(ddof=1) / math.sqrt(len(y))
        distortion_upper = delta.mean() - scipy.special.ndtri(risk / 2) * standard_error
    else:
        # s delta(y) <= -log2 Z(y) <= s |y-u|^2 + log2(1/q_u) for every u.
        distortion_upper = upper_mean(
            delta, _largest_squared_error(codewords, box) + largest_rate / s, risk / 2
        )
    return {
        "distortion": delta.mean(),
        "rate": rate.mean(),
        "distortion_upper": distortion_upper,
        "rate_upper": upper_mean(rate, largest_rate, risk / 2),
    }


def _largest_squared_error(codewords: np.ndarray, box: np.ndarray) -> float:
    """Upper bound on the squared distance from any point of the box to its nearest codeword.

    In every cell of a grid it is at most the distance from the cell's centre plus half its
    diagonal.
    """
    steps = _BOX_STEPS[box.shape[1]]
    half = (box[1] - box[0]) / (2 * steps)
    axes = [low + h * (2 * np.arange(steps) + 1) for low, h in zip(box[0], half, strict=True)]
    centres = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, box.shape[1])
    nearest = np.array([squared_errors(row[None], codewords).min() for row in centres])
    return float((math.sqrt(nearest.max()) + math.sqrt((half**2).sum())) ** 2)


def upper_mean(losses: np.ndarray, most: float, risk: float) -> float:
    """Upper confidence bound of the mean of losses in [0, most]."""
    if most <= 0:  # a single codeword: its rate is zero
        return 0.0
    return bernstein(losses, 0.0, most, 2 * risk)[2]
