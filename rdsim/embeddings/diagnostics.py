"""Properties of the vectors that a reader should know before the results."""

from typing import Final

import numpy as np

from rdsim.embeddings.data.task import RetrievalTask
from rdsim.embeddings.data.vectors import Vectors, evenly_spread
from rdsim.embeddings.spaces import Similarity, Space, unit

_LOOKED_AT: Final = 20_000
"""Most rows that are looked at, evenly spread."""

MEANING: Final = {
    "modality_gap": "distance between the mean directions of queries and of items, at most 2",
    "query_dimension": "effective dimension of queries as they are compared, (sum of variances)^2 / (sum of their squares)",
    "item_dimension": "effective dimension of items as they are compared",
    "query_norm_spread": "standard deviation of the lengths of queries, by their mean",
    "item_norm_spread": "standard deviation of the lengths of items, by their mean",
    "zero_queries": "fraction of queries that are zero and have no direction",
    "zero_items": "fraction of items that are zero",
    "tied_targets": "fraction of targets that tie with another item, uncompressed",
    "copied_items": "fraction of items that equal an earlier one",
    "fitted_items": "fraction of the ranked items that codes were fitted to",
}


def diagnose(task: RetrievalTask, similarity: Similarity) -> dict[str, float]:
    """Measure everything in `MEANING` that the task alone tells, of vectors that are compared by a similarity."""
    x, y = _sample(task.queries), _sample(task.items)
    found = {}
    if x.shape[1] == y.shape[1]:
        means = [unit(side).mean(axis=0) for side in (x, y)]
        found["modality_gap"] = float(np.linalg.norm(means[0] - means[1]))
    for name, given in (("query", x), ("item", y)):
        # None of these depends on the unit of length, in which squares of squares might overflow.
        side = given / (np.abs(given).max() or 1.0)
        # The cosine compares directions: lengths are no dimension of them.
        compared = unit(side) if similarity == "cosine" else side
        found[f"{name}_dimension"] = _dimension(compared)
        found[f"{name}_norm_spread"] = _length_spread(side)
        plural = {"query": "queries", "item": "items"}[name]
        found[f"zero_{plural}"] = float((given == 0).all(axis=1).mean())
    found["copied_items"] = task.copies / len(task.items)
    return found


def of_directions(items: Vectors, space: Space) -> tuple[float, float]:
    """Return the effective dimension of the directions of items in a space, and the spread of their lengths by its mean.

    The spread is zero where the space compares directions alone.
    """
    there = space.items(_sample(items))
    there = there / (np.abs(there).max() or 1.0)
    spread = 0.0 if space.similarity == "cosine" else _length_spread(there)
    return _dimension(unit(there)), spread


def _dimension(points: np.ndarray) -> float:
    """Participation ratio of the eigenvalues of the covariance."""
    covariance = np.cov(points.T, bias=True).reshape(2 * (points.shape[1],))
    values = np.maximum(np.linalg.eigvalsh(covariance), 0)
    return float(values.sum() ** 2 / max((values**2).sum(), 1e-300))


def _length_spread(points: np.ndarray) -> float:
    length = np.linalg.norm(points, axis=1)
    return float(length.std() / max(length.mean(), 1e-300))


def _sample(vectors: Vectors) -> np.ndarray:
    return vectors.rows(evenly_spread(len(vectors), _LOOKED_AT)).astype(float)
