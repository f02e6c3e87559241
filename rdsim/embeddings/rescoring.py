r"""Two stages: the N items that a code ranks first are ranked again by the vectors themselves.

The vectors are kept beside the codes, often on disk: the bits of a line are those of its codes, which are all that is
searched. A target among the N stands where the vectors put it among them; any other stays behind all N.
Where a group of ties is cut by N, the items of lower numbers are taken.
"""

from typing import Final

import numpy as np
from jaxtyping import Float, Int

from rdsim.embeddings.progress import RowProgress, without_rows
from rdsim.embeddings.ranks import Stored, TargetRanks

_QUERIES: Final = 1024
_CODES: Final = 1 << 14


def candidates(
    queries: Float[np.ndarray, "q f"],
    stored: Stored,
    count: int,
    progress: RowProgress = without_rows,
) -> Int[np.ndarray, "q n"]:
    """Find the items that score highest by their codes, N of them or all."""
    number = min(count, len(stored.label))
    codes = _best_codes(queries, stored, min(number, len(stored.multiplicity)), progress)
    order = np.argsort(stored.label, kind="stable")
    ends = np.cumsum(stored.multiplicity)
    found = np.empty((len(queries), number), np.int64)
    for row, best in enumerate(codes):
        filled = 0
        for code in best:
            items = order[ends[code] - stored.multiplicity[code] : ends[code]]
            items = items[: number - filled]
            found[row, filled : filled + len(items)] = items
            filled += len(items)
            if filled == number:
                break
    return found


def _best_codes(
    queries: np.ndarray, stored: Stored, count: int, progress: RowProgress
) -> np.ndarray:
    """Distinct codes of the highest scores, falling, the lower number first among equals."""
    small = queries.astype(np.float32)
    scores = np.full((len(queries), 0), 0, np.float32)
    codes = np.zeros((len(queries), 0), np.int64)
    total = len(stored.multiplicity)
    for first in range(0, total, _CODES):
        block = np.arange(first, min(first + _CODES, total))
        features, bias = stored.features(block)
        items = features.astype(np.float32).T
        kept_scores, kept_codes = [], []
        for start in range(0, len(queries), _QUERIES):
            rows = slice(start, start + _QUERIES)
            here = small[rows] @ items
            if bias is not None:
                here += bias.astype(np.float32)
            both = np.concatenate([scores[rows], here], axis=1)
            names = np.concatenate([codes[rows], np.broadcast_to(block, here.shape)], axis=1)
            if both.shape[1] > count:
                place = np.argpartition(-both, count - 1, axis=1)[:, :count]
                both, names = (np.take_along_axis(part, place, axis=1) for part in (both, names))
            kept_scores.append(both)
            kept_codes.append(names)
        scores, codes = np.concatenate(kept_scores), np.concatenate(kept_codes)
        progress(min(first + _CODES, total), total)
    order = np.lexsort((codes, -scores), axis=1)
    return np.asarray(np.take_along_axis(codes, order, axis=1))


def rescored(
    first: TargetRanks,
    chosen: Int[np.ndarray, "q n"],
    queries: Float[np.ndarray, "q e"],
    vectors: Stored,
    query: Int[np.ndarray, " t"],
    item: Int[np.ndarray, " t"],
    progress: RowProgress = without_rows,
) -> TargetRanks:
    """Rank targets after the candidates were ranked again.

    Args:
        first: ranks by the codes.
        chosen: candidates of each query.
        queries: features of the queries for the vectors.
        vectors: the items uncompressed.
        query: row of the query of each pair, rising.
        item: row of the target.
        progress: called with the numbers of queries that are done and of all.

    Returns:
        Ranks of the pairs.

    """
    count = chosen.shape[1]
    # A target that is no candidate ranks behind all candidates. If the list of candidates cuts a group of tied items,
    # those inside it count as ahead.
    ahead = np.maximum(first.ahead, count)
    tied = np.minimum(first.tied, np.maximum(first.ahead + first.tied - count, 1))
    starts = np.searchsorted(query, np.arange(len(chosen) + 1))
    for row, items in enumerate(chosen):
        if row % _QUERIES == 0:
            progress(row, len(chosen))
        pairs = np.arange(starts[row], starts[row + 1])
        place = (items[:, None] == item[pairs]).argmax(axis=0)
        inside = items[place] == item[pairs]
        if not inside.any():
            continue
        features, bias = vectors.features(vectors.label[items])
        scores = features.astype(float) @ queries[row].astype(float)
        scores = scores if bias is None else scores + bias
        own = scores[place[inside]]
        # Scores closer than the rounding of float64 count as tied, as in `ranks`.
        resolution = (2 * features.shape[1] + 8) * 2.0**-53 * float(np.abs(scores).max() + 1)
        ahead[pairs[inside]] = (scores > own[:, None] + resolution).sum(axis=1)
        tied[pairs[inside]] = (np.abs(scores - own[:, None]) <= resolution).sum(axis=1)
    progress(len(chosen), len(chosen))
    return TargetRanks(ahead=ahead, tied=tied, repaired=first.repaired)
