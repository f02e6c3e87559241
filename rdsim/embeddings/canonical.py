r"""Canonical variables of queries and items: coordinates that are correlated in pairs alone.

Canonical correlation analysis finds them from covariances of the pairs (Hotelling 1936; Vinod 1976 for the ridge):

$$(\Sigma_x + r_x I)^{-1/2} \Sigma_{xy} (\Sigma_y + r_y I)^{-1/2} = U \,\mathrm{diag}(\rho)\, V^T.$$

Wide vectors with few pairs are fitted too closely. Two things help: only the leading principal axes of each side
enter, as many as rank held-back pairs best, and so with the ridge. Where queries and items were trained to lie
together, both sides may also share their axes: with the pooled covariance in the place of both, and
$(\Sigma_{xy} + \Sigma_{yx})/2$ in that of $\Sigma_{xy}$, there is half as much to estimate. The correlations are then
measured on pairs that were not fitted to: only these count.
"""

import dataclasses
from typing import Final

import numpy as np
from jaxtyping import Float

from rdsim.embeddings.data.task import RetrievalTask
from rdsim.embeddings.spaces import (
    MOST_PAIRS,
    Similarity,
    Space,
    paired,
    uncompressed_gains,
    unit,
)
from rdsim.threads import blas_threads_for

RIDGES: Final = (1e-3, 1e-2, 1e-1, 1.0, 10.0)
"""Ridges tried, relative to the mean variance of a coordinate; towards infinity the axes are those of partial least
squares."""
MOST_DIRECTIONS: Final = 512
_FEWEST_DIRECTIONS: Final = 8
CANONICAL: Final = "canonical"
SHARED: Final = "shared canonical"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Canonical:
    """Variables of queries and items, of variance one in the sample, correlated in pairs alone.

    Attributes:
        name: "canonical", or "shared canonical", where both sides have the same axes.
        correlations: between them on pairs not fitted to, at least 0, shape (k,).
        ridge: that was chosen, relative to the mean variance of a coordinate.
        query_centre: shape (d_x,).
        item_centre: shape (d_y,).
        query_map: shape (d_x, k).
        item_map: shape (d_y, k).
        unit_first: whether vectors are scaled to length one first, as where the cosine compares them.

    """

    name: str
    correlations: Float[np.ndarray, " k"]
    ridge: float
    query_centre: Float[np.ndarray, " dx"]
    item_centre: Float[np.ndarray, " dy"]
    query_map: Float[np.ndarray, "dx k"]
    item_map: Float[np.ndarray, "dy k"]
    unit_first: bool

    @property
    def information(self) -> float:
        """Bits that held-out pairs share by these correlations, of Gaussian pairs."""
        return float(-0.5 * np.log2(1 - self.correlations**2).sum())

    def of_queries(self, points: Float[np.ndarray, "n dx"]) -> Float[np.ndarray, "n k"]:
        """Variables of queries as they are given."""
        return np.asarray((self._scaled(points) - self.query_centre) @ self.query_map)

    def of_items(self, points: Float[np.ndarray, "n dy"]) -> Float[np.ndarray, "n k"]:
        """Variables of items as they are given."""
        return np.asarray((self._scaled(points) - self.item_centre) @ self.item_map)

    def _scaled(self, points: np.ndarray) -> np.ndarray:
        return unit(points) if self.unit_first else points

    def space(self) -> Space:
        """Both sides weighted with the roots of the correlations, compared by the cosine.

        So an inner product weights each coordinate with its correlation, as the log-likelihood of
        a Gaussian pair does where correlations are small.
        """
        weight = np.sqrt(self.correlations)
        return Space(
            name=self.name,
            similarity="cosine",
            query_centre=self.query_centre,
            item_centre=self.item_centre,
            query_map=self.query_map * weight,
            item_map=self.item_map * weight,
            unit_first=self.unit_first,
        )

    def measured(self, task: RetrievalTask) -> Float[np.ndarray, " k"]:
        """Correlations of the canonical variables on the pairs of another task."""
        x, y = paired(task, MOST_PAIRS)
        u, v = self.of_queries(x), self.of_items(y)
        u, v = u - u.mean(axis=0), v - v.mean(axis=0)
        scale = np.sqrt((u**2).mean(axis=0) * (v**2).mean(axis=0))
        return np.asarray((u * v).mean(axis=0) / np.where(scale > 0, scale, 1.0))


def variables(
    fit: RetrievalTask, validate: RetrievalTask, similarity: Similarity
) -> list[Canonical]:
    """Fit canonical variables, and those of shared axes where queries and items have equal dimensions.

    The ridge is chosen first, with all principal axes, and then the number of axes, a power of two.
    """
    x, y = paired(fit, MOST_PAIRS)
    if len(x) < 2:
        raise ValueError(f"pairs to fit to must be at least 2, got {len(x)}")
    unit_first = similarity == "cosine"
    if unit_first:
        x, y = unit(x), unit(y)
    centres = x.mean(axis=0), y.mean(axis=0)
    x, y = x - centres[0], y - centres[1]
    moments = _Moments(x.T @ x / len(x), y.T @ y / len(y), x.T @ y / len(x))
    most = min(x.shape[1], y.shape[1], len(x) - 1, MOST_DIRECTIONS)
    names = (CANONICAL, SHARED) if x.shape[1] == y.shape[1] else (CANONICAL,)
    found = []
    for name in names:
        bases = moments.bases(shared=name == SHARED)

        def tried(
            ridge: float, axes: int, name: str = name, bases: "_Bases" = bases
        ) -> tuple[tuple[float, float], Canonical]:
            maps = [part[:, :most] for part in bases.maps(ridge, axes, moments)]
            one = _with_correlations(name, ridge, centres, maps, unit_first, validate)
            quality = float(uncompressed_gains(one.space(), validate).mean())
            # Where all rank perfectly, the held-out correlations decide.
            return (quality, one.information), one

        width = min(x.shape[1], y.shape[1])
        best = max((tried(ridge, width) for ridge in RIDGES), key=lambda pair: pair[0])
        fewer = [axes for axes in 2 ** np.arange(3, 12) if _FEWEST_DIRECTIONS <= axes < width]
        found.append(
            max(
                [best, *(tried(best[1].ridge, int(axes)) for axes in fewer)],
                key=lambda pair: pair[0],
            )[1]
        )
    return found


@dataclasses.dataclass(frozen=True)
class _Moments:
    """Second moments of centred pairs."""

    query: Float[np.ndarray, "dx dx"]
    item: Float[np.ndarray, "dy dy"]
    cross: Float[np.ndarray, "dx dy"]

    def bases(self, *, shared: bool) -> "_Bases":
        """Find principal axes by falling variance: of each side, or of both together."""
        if shared:
            values, axes = np.linalg.eigh((self.query + self.item) / 2)
            cross = axes.T @ ((self.cross + self.cross.T) / 2) @ axes
            return _Bases((values[::-1],) * 2, (axes[:, ::-1],) * 2, cross[::-1, ::-1], shared)
        (query, axes_x), (item, axes_y) = np.linalg.eigh(self.query), np.linalg.eigh(self.item)
        axes_x, axes_y = axes_x[:, ::-1], axes_y[:, ::-1]
        cross = axes_x.T @ self.cross @ axes_y
        return _Bases((query[::-1], item[::-1]), (axes_x, axes_y), cross, shared)


@dataclasses.dataclass(frozen=True)
class _Bases:
    """Principal axes of both sides, and the cross-covariance on them."""

    values: tuple[np.ndarray, np.ndarray]
    axes: tuple[np.ndarray, np.ndarray]
    cross: np.ndarray
    shared: bool

    def maps(self, ridge: float, count: int, moments: _Moments) -> tuple[np.ndarray, np.ndarray]:
        """Take both sides to variables of variance one by falling correlation, of so many axes."""
        tiny = np.finfo(float).tiny
        roots = [
            1 / np.sqrt(np.maximum(v[:count], 0) + ridge * max(float(v.mean()), tiny))
            for v in self.values
        ]
        whitened = roots[0][:, None] * self.cross[:count, :count] * roots[1]
        with blas_threads_for(whitened.size):
            if self.shared:
                # Directions of negative correlation come last.
                _, vectors = np.linalg.eigh(whitened)
                sides = [vectors[:, ::-1]] * 2
            else:
                left, _, right = np.linalg.svd(whitened, full_matrices=False)
                sides = [left, right.T]
        first, second = (
            axes[:, :count] @ (root[:, None] * side)
            for axes, root, side in zip(self.axes, roots, sides, strict=True)
        )
        return _of_variance_one(first, moments.query), _of_variance_one(second, moments.item)


def _of_variance_one(maps: np.ndarray, moment: np.ndarray) -> np.ndarray:
    """Scale columns so that the variables have variance one in the sample."""
    variance = np.einsum("ij,ij->j", maps, moment @ maps)
    return np.asarray(maps / np.sqrt(np.maximum(variance, 1e-24)))


def _with_correlations(
    name: str,
    ridge: float,
    centres: tuple[np.ndarray, np.ndarray],
    maps: list[np.ndarray],
    unit_first: bool,
    validate: RetrievalTask,
) -> Canonical:
    one = Canonical(
        name=name,
        correlations=np.zeros(maps[0].shape[1]),
        ridge=ridge,
        query_centre=centres[0],
        item_centre=centres[1],
        query_map=maps[0],
        item_map=maps[1],
        unit_first=unit_first,
    )
    # Below one, so that no likelihood is infinite.
    return dataclasses.replace(one, correlations=np.clip(one.measured(validate), 0.0, 1 - 1e-6))
