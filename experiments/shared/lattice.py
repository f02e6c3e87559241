r"""Points and weights that stand for a Gaussian mixture on the line or in the plane, by the trapezoid rule.

For a kernel $2^{-s|y-u|^2}$ of variance $v = 1 / (2 s \ln 2)$ a lattice of step t adds about $2 e^{-2 \pi^2 v / t^2} / \ln 2$
bits to R: 1e-12 where t is below $\sqrt v / 1.2$.
"""

from typing import Any, Final

import numpy as np

_NEGLIGIBLE: Final = 1e-16
"""Total probability of the points in the plane that are left out, the least probable ones."""


def lattice(
    weights: Any, means: Any, variances: Any, count: int, *, tail: float
) -> tuple[np.ndarray, np.ndarray]:
    """Cut a mixture with axis-parallel components into the points of a lattice.

    Args:
        weights: of the components, shape (k,), summing to one.
        means: shape (k,) on the line, (k, 2) in the plane.
        variances: broadcast with the means.
        count: points along each axis; the step must stay below the narrowest standard deviation.
        tail: standard deviations covered beyond the outermost components.

    Returns:
        Points, shape (N,) or (N, 2), and their probabilities.

    """
    w, mean = np.asarray(weights, float), np.asarray(means, float)
    deviation = np.sqrt(np.broadcast_to(variances, mean.shape))
    flat = mean.ndim == 1
    mean, deviation = (x.reshape(len(w), -1) for x in (mean, deviation))
    low, high = (mean - tail * deviation).min(axis=0), (mean + tail * deviation).max(axis=0)
    axes = np.linspace(low, high, count)
    assert np.all((high - low) / (count - 1) <= deviation.min(axis=0)), "the lattice is too coarse"
    # Every component is normalised on its own, so that the weights of the mixture are exact.
    density = np.exp(-(((axes[:, None] - mean) / deviation) ** 2) / 2)  # (count, k, d)
    density = density / density.sum(axis=0)
    if flat:
        points, p = axes[:, 0], density[:, :, 0] @ w
    else:
        p = np.einsum("ik,jk,k->ij", density[:, :, 0], density[:, :, 1], w).ravel()
        grid = np.meshgrid(axes[:, 0], axes[:, 1], indexing="ij")
        points = np.stack([x.ravel() for x in grid], axis=1)
        order = np.argsort(p)
        keep = np.ones(len(p), bool)
        keep[order[np.cumsum(p[order]) < _NEGLIGIBLE]] = False
        points, p = points[keep], p[keep]
    return points, p / p.sum()
