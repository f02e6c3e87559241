r"""Spaces in which queries meet items: as given, centred by modality, and by canonical correlations.

Modalities sit in different cones (the modality gap); taking each one's mean away often ranks better
(Liang et al. 2022, NeurIPS). Canonical correlation analysis finds, from covariances of the pairs alone,

$$(\Sigma_x + r_x I)^{-1/2} \Sigma_{xy} (\Sigma_y + r_y I)^{-1/2} = U \,\mathrm{diag}(\rho)\, V^T,$$

maps under which the coordinates of the two are correlated in pairs alone (Hotelling 1936; Vinod 1976 for the
ridge). The correlations are then measured again on pairs that were not fitted to: only these count.
"""

import dataclasses
from typing import Final, Literal

import numpy as np
from jaxtyping import Float

from rdsim.embeddings.data.task import RetrievalTask
from rdsim.embeddings.data.vectors import Vectors
from rdsim.embeddings.ranks import Stored, streamed_ranks
from rdsim.ranking.metrics.single_target import tied_gain

Similarity = Literal["cosine", "inner product", "L2"]
SIMILARITIES: Final = ("cosine", "inner product", "L2")
RIDGES: Final = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
"""Ridges tried, relative to the mean variance of a coordinate."""
MOST_DIRECTIONS: Final = 512
MOST_PAIRS: Final = 50_000
"""Most pairs that covariances are taken from."""
_VALIDATED: Final = 2000
"""Most queries on which a space is chosen."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Space:
    """How queries and items are taken to one space, and compared there.

    Attributes:
        name: "as given", "centred" or "canonical".
        similarity: there.
        query_centre: subtracted from queries, shape (d_x,).
        item_centre: subtracted from items, shape (d_y,).
        query_map: then multiplied, shape (d_x, e); None for the identity.
        item_map: shape (d_y, e).
        unit_first: whether vectors are scaled to length one before all else.

    """

    name: str
    similarity: Similarity
    query_centre: Float[np.ndarray, " dx"]
    item_centre: Float[np.ndarray, " dy"]
    query_map: Float[np.ndarray, "dx e"] | None = None
    item_map: Float[np.ndarray, "dy e"] | None = None
    unit_first: bool = False

    def queries(self, points: Float[np.ndarray, "n dx"]) -> Float[np.ndarray, "n e"]:
        """Take queries there."""
        return self._taken(points, self.query_centre, self.query_map)

    def items(self, points: Float[np.ndarray, "n dy"]) -> Float[np.ndarray, "n e"]:
        """Take items there."""
        return self._taken(points, self.item_centre, self.item_map)

    def bias(self, items: Float[np.ndarray, "n e"]) -> Float[np.ndarray, " n"] | None:
        """Return what is added to the inner products with items: for L2, minus half the squared length."""
        if self.similarity != "L2":
            return None
        return -0.5 * np.einsum("ij,ij->i", items, items, dtype=float)

    def _taken(
        self, points: np.ndarray, centre: np.ndarray, linear: np.ndarray | None
    ) -> np.ndarray:
        there = points = unit(points) if self.unit_first else points
        if linear is not None:
            # In float64, so that a vector's features do not depend on those beside it.
            there = ((points - centre) @ linear).astype(points.dtype, copy=False)
        elif self.name != "as given":
            there = points - centre.astype(points.dtype)
        return unit(there) if self.similarity == "cosine" else there


def unit(points: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "n d"]:
    """Scale rows to length one; a row of zeros stays."""
    if points.dtype == np.float32:
        # Squares of float32 neither overflow nor underflow in float64.
        length = np.sqrt(np.einsum("ij,ij->i", points, points, dtype=float))
        return np.asarray(points / np.where(length > 0, length, 1.0).astype(np.float32)[:, None])
    # Scaled first: the squares of tiny numbers are zero, and those of huge ones infinite.
    largest = np.abs(points).max(axis=1, keepdims=True)
    scaled = points / np.where(largest > 0, largest, 1.0)
    return np.asarray(
        scaled / np.where(largest > 0, np.linalg.norm(scaled, axis=1, keepdims=True), 1.0)
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Canonical:
    """Variables of queries and items, of variance one in the sample, correlated in pairs alone.

    Attributes:
        name: "canonical"; or "principal axes", those of the items with both sides on the same axes: of few
            pairs these are found better, where queries and items were trained to lie together.
        correlations: between them on pairs not fitted to, at least 0, shape (k,).
        ridge: that was chosen, relative.
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


def paired(task: RetrievalTask, most: int) -> tuple[np.ndarray, np.ndarray]:
    """Queries and targets of the first pairs of a task, side by side, in float64."""
    # Evenly spread over all pairs, so that no part of the data is left out.
    count = len(task.targets.query)
    chosen = np.unique(np.linspace(0, count - 1, min(count, most)).astype(int))
    queries = task.queries.rows(task.targets.query[chosen]).astype(float)
    return queries, task.items.rows(task.targets.item[chosen]).astype(float)


def mean_of(vectors: Vectors, most: int = MOST_PAIRS) -> Float[np.ndarray, " d"]:
    """Mean of at most so many rows, evenly spread, in float64."""
    rows = np.unique(np.linspace(0, len(vectors) - 1, min(len(vectors), most)).astype(int))
    return np.asarray(vectors.rows(rows).mean(axis=0, dtype=float))


def plain_spaces(fit: RetrievalTask, similarity: Similarity) -> list[Space]:
    """Return the vectors as given and centred by modality; no space where the dimensions of the modalities differ."""
    width = fit.queries.shape[1]
    if width != fit.items.shape[1]:
        return []
    zero = np.zeros(width)
    return [
        Space(name="as given", similarity=similarity, query_centre=zero, item_centre=zero),
        Space(
            name="centred",
            similarity=similarity,
            query_centre=mean_of(fit.queries),
            item_centre=mean_of(fit.items),
        ),
    ]


def variables(
    fit: RetrievalTask, validate: RetrievalTask, similarity: Similarity
) -> list[Canonical]:
    """Fit canonical variables at the ridge that ranks held-back pairs best, and principal axes.

    Few bits go to a few coordinates, which canonical variables choose best; for many bits many axes are
    needed, and of few pairs principal axes are found better. There are none where queries and items have
    different dimensions.
    """
    x, y = paired(fit, MOST_PAIRS)
    if len(x) < 2:
        raise ValueError(f"pairs to fit to must be at least 2, got {len(x)}")
    unit_first = similarity == "cosine"
    if unit_first:
        x, y = unit(x), unit(y)
    centre_x, centre_y = x.mean(axis=0), y.mean(axis=0)
    x, y = x - centre_x, y - centre_y
    values_x, axes_x = np.linalg.eigh(x.T @ x / len(x))
    values_y, axes_y = np.linalg.eigh(y.T @ y / len(y))
    cross = axes_x.T @ (x.T @ y / len(x)) @ axes_y
    size = min(x.shape[1], y.shape[1], len(x) - 1, MOST_DIRECTIONS)
    found = []
    for ridge in RIDGES:
        root_x, root_y = (
            1 / np.sqrt(np.maximum(v, 0) + ridge * max(float(v.mean()), np.finfo(float).tiny))
            for v in (values_x, values_y)
        )
        left, _, right = np.linalg.svd(root_x[:, None] * cross * root_y, full_matrices=False)
        maps = [
            axes @ _of_variance_one(root[:, None] * part[:, :size], np.maximum(values, 0))
            for axes, values, root, part in (
                (axes_x, values_x, root_x, left),
                (axes_y, values_y, root_y, right.T),
            )
        ]
        one = _with_correlations(
            "canonical", ridge, (centre_x, centre_y), maps, unit_first, validate
        )
        found.append((uncompressed_quality(one.space(), validate), one))
    best = [max(found, key=lambda pair: pair[0])[1]]
    if x.shape[1] == y.shape[1]:
        falling = np.eye(len(values_y))[:, ::-1][:, :size]
        shared = axes_y @ falling
        inner = axes_x.T @ shared
        maps = [
            axes_x @ _of_variance_one(inner, np.maximum(values_x, 0)),
            axes_y @ _of_variance_one(falling, np.maximum(values_y, 0)),
        ]
        best.append(
            _with_correlations(
                "principal axes", 0.0, (centre_x, centre_y), maps, unit_first, validate
            )
        )
    return best


def _of_variance_one(part: np.ndarray, variances: np.ndarray) -> np.ndarray:
    """Scale columns so that they take coordinates of those variances to variables of variance one."""
    return np.asarray(part / np.sqrt(np.maximum(variances @ part**2, 1e-24)))


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


def stored_vectors(space: Space, items: Vectors, first: np.ndarray) -> Stored:
    """Items stored as they are; `first` names for each item the first that equals it."""
    rows, label, times = np.unique(first, return_inverse=True, return_counts=True)

    def features(codes: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        points = space.items(items.rows(rows[codes]))
        return points, space.bias(points)

    return Stored(features=features, label=label.reshape(-1), multiplicity=times)


def uncompressed_quality(space: Space, task: RetrievalTask) -> float:
    """Mean reciprocal rank of the pairs of a small task."""
    targets = task.targets
    some = targets.query < _VALIDATED
    ranks = streamed_ranks(
        space.queries(task.queries.rows(slice(0, _VALIDATED))),
        stored_vectors(space, task.items, task.first_copy),
        targets.query[some],
        targets.item[some],
    )
    return float(tied_gain(ranks.ahead, ranks.tied, "reciprocal_rank").mean())
