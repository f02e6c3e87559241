r"""From below: the line of slope -s under R(D), from a dual variable that is feasible at every reproduction.

$$R(D) \ge E \log_2 \lambda(Y) - s D - \log_2 \sup_u c(u), \qquad c(u) = E\,\lambda(Y)\, 2^{-s|Y-u|^2}.$$

The supremum over all of space is bounded by the vertices of cells that cover the box of the training samples.
"""

import math
from typing import Final

import numpy as np

from rdsim.finite_sample.sandwich._achieved import log2_z, squared_errors, upper_mean
from rdsim.information import LN2
from rdsim.simulation.intervals import bernstein_of_moments

_VERTEX_SPACING: Final = 0.2
"""Distance of neighbouring vertices, in standard deviations of the kernel. The cells' half diagonal
costs $d\\,(0.1)^2 / (2 \\ln 2)$ bits of the lower bound, 0.007 on the line."""


_CAPPED: Final = (0.003, 0.01, 0.03, 0.1, 0.2, 0.35, 0.5)
"""Fractions of the training samples whose dual variable is capped; the best one is used."""


_MAX_VERTICES: Final = 4_000_000
"""Most vertices of the covering cells."""


def best_line(
    fit: np.ndarray, y: np.ndarray, codewords: np.ndarray, q: np.ndarray, s: float, risk: float
) -> dict[str, float]:
    """The line below R(D) at D = 0, and its lower confidence bound.

    The cap is the one that gives the best bound on the training samples, if there were as many of
    them as of those held out.
    """
    log_z = log2_z(squared_errors(fit, codewords), q, s)
    caps = -np.quantile(log_z, _CAPPED)
    lines = [_line_of_cap(fit, fit, codewords, q, s, risk, cap, len(y)) for cap in caps]
    best = caps[np.argmax([line["intercept_lower"] for line in lines])]
    return _line_of_cap(fit, y, codewords, q, s, risk, best, len(y))


def _line_of_cap(
    fit: np.ndarray,
    y: np.ndarray,
    codewords: np.ndarray,
    q: np.ndarray,
    s: float,
    risk: float,
    log_cap: float,
    trials: int,
) -> dict[str, float]:
    r"""The line of one cap $\Lambda$: $E \log_2 \lambda - \log_2 \sup_u c(u)$ on the samples y.

    Half of the error probability is for the mean, half for c at all vertices together.
    """
    low, high = fit.min(axis=0), fit.max(axis=0)
    inside = ((y >= low) & (y <= high)).all(axis=1)
    log_z = log2_z(squared_errors(y, codewords), q, s)
    # Capped inside the box and one outside, so that both means below are of bounded losses, whatever the source.
    log_lambda = np.where(inside, np.minimum(-log_z, log_cap), 0.0)
    dual = np.exp2(log_lambda)
    axes, radius2 = _vertices(low, high, 1 / math.sqrt(2 * s * LN2))
    count = math.prod(len(axis) for axis in axes)
    # 2^(-s |y-u|^2) is a product over the coordinates: one kernel for each axis serves all vertices.
    kernels = [np.exp2(-s * (axis[:, None] - y[:, i]) ** 2) for i, axis in enumerate(axes)]
    # Samples in the box enter by lambda times the kernel, those outside with one in the place of the kernel, which
    # bounds c(u) for reproductions outside the box too (head of `continuous`).
    mean, variance = _vertex_moments(
        kernels, np.where(inside, dual, 0.0), np.where(inside, 0.0, dual)
    )
    cap = 2.0**log_cap
    # All vertices hold together by the union bound: each has the count-th part of half of the risk.
    found = bernstein_of_moments(
        mean / cap,
        variance / cap**2,
        np.full(mean.shape, trials),
        confidence=1 - risk / count,
    )
    worst = cap * float(np.max(np.asarray(found.upper)))
    # log2 lambda lies in [0, log_cap]: the lower bound of its mean is the upper bound of what it falls short of the cap.
    gain = log_cap - upper_mean(log_cap - log_lambda, log_cap, risk / 2)
    return {
        "log_cap": log_cap,
        "intercept": log_lambda.mean() - math.log2(mean.max()),
        "intercept_lower": gain - math.log2(worst) - s * radius2,
    }


def _vertices(low: np.ndarray, high: np.ndarray, width: float) -> tuple[list[np.ndarray], float]:
    """Vertices along each axis of cells that cover the box, and the squared half diagonal."""
    sizes = [max(math.ceil(span / (_VERTEX_SPACING * width)), 1) for span in high - low]
    if math.prod(size + 1 for size in sizes) > _MAX_VERTICES:
        raise ValueError(
            "slopes must be gentle enough for the range of the samples, which spans "
            f"{(high - low).max() / width:.3g} kernel widths"
        )
    axes = [np.linspace(a, b, n + 1) for a, b, n in zip(low, high, sizes, strict=True)]
    half = (high - low) / (2 * np.array(sizes))
    return axes, float((half**2).sum())


def _vertex_moments(
    kernels: list[np.ndarray], inside: np.ndarray, outside: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Mean and unbiased variance of the dual variable times the kernel, at every vertex.

    The kernel factorises over the axes, so all vertices together are one matrix product.
    """
    N = len(inside)
    # On the line the second axis is a single vertex at which every kernel is one.
    across = kernels[1] if len(kernels) == 2 else np.ones((1, N))
    mean = (kernels[0] * inside) @ across.T / N + outside.mean()
    square = (kernels[0] * inside) ** 2 @ (across**2).T / N + (outside**2).mean()
    return mean, np.maximum(square - mean**2, 0.0) * N / (N - 1)
