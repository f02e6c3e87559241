"""Spaces in which queries meet items, and vectors stored there uncompressed.

Modalities sit in different cones (the modality gap); taking each one's mean away often ranks better
(Liang et al. 2022, NeurIPS). Spaces by canonical correlations are fitted in `canonical`.
"""

import dataclasses
import math
from collections.abc import Sequence
from typing import Final, Literal

import numpy as np
from jaxtyping import Float, Int

from rdsim.embeddings.data.task import RetrievalTask
from rdsim.embeddings.data.vectors import Vectors, evenly_spread
from rdsim.embeddings.quality import variance_of_mean
from rdsim.embeddings.ranks import Stored, streamed_ranks
from rdsim.ranking.metrics.single_target import tied_gain

Similarity = Literal["cosine", "inner product", "L2"]
SIMILARITIES: Final = ("cosine", "inner product", "L2")
MOST_PAIRS: Final = 50_000
"""Most pairs that covariances are taken from."""
_VALIDATED: Final = 2000
"""Most queries on which a space is chosen."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Space:
    """How queries and items are taken to one space, and compared there.

    Attributes:
        name: "as given", "centred", "canonical" or "shared canonical".
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


def paired(task: RetrievalTask, most: int) -> tuple[np.ndarray, np.ndarray]:
    """Queries and targets of the first pairs of a task, side by side, in float64."""
    chosen = evenly_spread(len(task.targets.query), most)
    queries = task.queries.rows(task.targets.query[chosen]).astype(float)
    return queries, task.items.rows(task.targets.item[chosen]).astype(float)


def mean_of(vectors: Vectors) -> Float[np.ndarray, " d"]:
    """Mean of at most `MOST_PAIRS` rows, evenly spread, in float64."""
    rows = vectors.rows(evenly_spread(len(vectors), MOST_PAIRS))
    return np.asarray(rows.mean(axis=0, dtype=float))


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


def stored_vectors(space: Space, items: Vectors, first: np.ndarray) -> Stored:
    """Items stored as they are; `first` names for each item the first that equals it."""
    rows, label, times = np.unique(first, return_inverse=True, return_counts=True)

    def features(codes: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        points = space.items(items.rows(rows[codes]))
        return points, space.bias(points)

    return Stored(features=features, label=label.reshape(-1), multiplicity=times)


def uncompressed_gains(space: Space, task: RetrievalTask) -> Float[np.ndarray, " t"]:
    """Reciprocal ranks of the targets of a small task, those of its first queries."""
    targets = task.targets
    some = targets.query < _VALIDATED
    ranks = streamed_ranks(
        space.queries(task.queries.rows(slice(0, _VALIDATED))),
        stored_vectors(space, task.items, task.first_copy),
        targets.query[some],
        targets.item[some],
    )
    return np.asarray(tied_gain(ranks.ahead, ranks.tied, "reciprocal_rank"))


def simplest(
    gains: Float[np.ndarray, "s t"], group: Int[np.ndarray, " t"], order: Sequence[int]
) -> int:
    """Choose among spaces by their gains on the same targets: the first in order that is not clearly worse than the best.

    That is one whose mean is below the best by at most one standard error of the difference, groups being independent
    (Breiman et al. 1984, "Classification and regression trees", 3.4.3): on few pairs the best is the best by chance.
    """
    lost = gains[int(np.argmax(gains.mean(axis=1)))] - gains
    error = [math.sqrt(variance_of_mean(one - one.mean(), group)) for one in lost]
    return next(i for i in order if lost[i].mean() <= error[i])
