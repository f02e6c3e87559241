"""A code of one's own, judged as the built-in ones are: by what it decodes to, or by its scores."""

import dataclasses
import time
from pathlib import Path
from typing import Any

import numpy as np

from rdsim import validation
from rdsim.embeddings.data.formats import READERS, import_needed, read_table, read_vectors
from rdsim.embeddings.data.task import RetrievalTask
from rdsim.embeddings.data.vectors import Vectors, as_vectors, first_copies
from rdsim.embeddings.progress import Progress, RowProgress, of_stage, without_progress
from rdsim.embeddings.ranks import Stored, streamed_ranks
from rdsim.embeddings.spaces import Space, stored_vectors
from rdsim.embeddings.systems import faiss_codes
from rdsim.embeddings.systems.code import stored_codes
from rdsim.number_types import ArrayLike, Integer
from rdsim.transformations import on_host

_ENTRIES = 1 << 22
"""Most scores that are read at a time: 16 MiB of float32."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class OwnCode:
    """A code of one's own for all items.

    Attributes:
        name: on its line.
        bits: stored per item.
        codes: what is stored, shape (M, w), integers; None if not said: then decoded vectors that are
            equal count as one code.
        decoded: the vector that each code stands for, shape (M, d), compared with queries as the task's
            items are; or None.
        search: of a faiss index, which scores as faiss does, in the place of decoded or scores.
        scores: of queries and items, shape (Q, M), higher is better; or None.

    """

    name: str
    bits: int
    codes: np.ndarray | None = None
    decoded: Vectors | None = None
    scores: Vectors | None = None
    search: faiss_codes.Search | None = None


@on_host
def own_code(
    items: Integer,
    *,
    codes: ArrayLike | None = None,
    decoded: Vectors | ArrayLike | None = None,
    scores: Vectors | ArrayLike | None = None,
    bits: int | None = None,
    name: str = "yours",
    progress: Progress = without_progress,
) -> OwnCode:
    """Check a code of one's own.

    Args:
        items: number of items M.
        codes: shape (M, w), integers.
        decoded: shape (M, d). Decoded vectors or scores must be given, not both.
        scores: shape (Q, M); may be memory-mapped.
        bits: stored per item; by default those of a row of codes.
        name: on its line.
        progress: called as progress(stage, done, total) while decoded vectors or scores are read.

    Raises:
        ValueError: also if neither or both of decoded and scores are given.

    """
    size = validation.integer("items", items, low=2)
    if (decoded is None) == (scores is None):
        raise ValueError("decoded or scores must be given, one of them, for codes of one's own")
    stored = None
    if codes is not None:
        stored = np.asarray(validation.integer_array("codes", codes))
        stored = stored[:, None] if stored.ndim == 1 else stored
        if stored.ndim != 2 or len(stored) != size:
            raise ValueError(f"codes must have a row for each of {size} items, got {stored.shape}")
        bits = 8 * np.asarray(codes).dtype.itemsize * stored.shape[1] if bits is None else bits
    points = None if decoded is None else as_vectors("decoded", decoded, progress=progress)
    if points is not None and len(points) != size:
        raise ValueError(f"decoded must have a row for each of {size} items, got {len(points)}")
    table = None if scores is None else as_vectors("scores", scores, progress=progress)
    if table is not None and table.shape[1] != size:
        raise ValueError(f"scores must have a column for each of {size} items, got {table.shape}")
    if bits is None:
        raise ValueError("bits of your code must be given where its codes are not")
    return OwnCode(
        name=name,
        bits=validation.integer("bits", bits, low=1),
        codes=stored,
        decoded=points,
        scores=table,
    )


def _faiss_file(path: str | Path, items: int) -> OwnCode:
    """Read a faiss index; its search is then exhaustive, and its scores are those of faiss."""
    if not Path(path).is_file():
        raise ValueError(f"codes: there is no file {path}")
    if Path(path).suffix.lower() in READERS:
        raise ValueError(f"codes: {path} is no faiss index: decoded or scores must be given too")
    import_needed("faiss")
    import faiss

    try:
        index = faiss.read_index(str(path))
        search = faiss_codes.search_of(index)
    except RuntimeError as error:
        raise ValueError(
            f"codes: {path} is no faiss index that can be decoded; other codes need their decoded vectors or scores "
            f"beside them ({str(error).splitlines()[-1]})"
        ) from error
    if index.ntotal != items:
        raise ValueError(f"codes: {path} holds {index.ntotal} items, there are {items}")
    of_links = f", {search.links} bits of them links" if search.links else ""
    return OwnCode(name=f"yours ({Path(path).name}{of_links})", bits=search.bits, search=search)


def read_own_code(
    codes: str | Path,
    items: Integer,
    *,
    decoded: str | None = None,
    scores: str | None = None,
    progress: Progress = without_progress,
) -> OwnCode:
    """Read a code of one's own from files: a faiss index, or codes with what they decode to or score.

    Args:
        codes: a faiss index of all items, or a file of codes, a row for each item.
        items: number of items M.
        decoded: file of the vectors that the codes stand for.
        scores: file of the scores of queries and items, shape (Q, M).
        progress: as in `own_code`.

    """
    items = validation.integer("items", items, low=2)
    if decoded is None and scores is None:
        return _faiss_file(codes, items)
    given = None if scores is None else read_vectors(scores, "scores")
    points = None if decoded is None else read_vectors(decoded, "decoded")
    return own_code(
        items,
        codes=read_table(codes, "codes"),
        decoded=points,
        scores=given,
        name=f"yours ({Path(codes).name})",
        progress=progress,
    )


def own_ranks(
    own: OwnCode, ranked: RetrievalTask, space: Space, progress: Progress = without_progress
) -> dict[str, Any]:
    """Rank the targets of a task by a code of one's own."""
    began = time.perf_counter()
    rows = ranked.items.chosen
    if own.scores is not None:
        ahead, tied = _by_scores(own.scores, ranked, of_stage(progress, own.name))
        entropy = float("nan")
        if own.codes is not None:
            entropy = stored_codes(own.codes[rows], lambda codes: (codes, None)).entropy
    else:
        queries = space.queries(ranked.queries.rows(slice(None)))
        if own.search is not None:
            stored, queries = _searched(own.search, rows), own.search.queries(queries)
        else:
            assert own.decoded is not None
            points = own.decoded.take(rows)
            looking = of_stage(progress, f"{own.name}: looking for equal vectors")
            stored = stored_vectors(space, points, first_copies(points, looking))
        entropy = stored.entropy
        found = streamed_ranks(
            queries,
            stored,
            ranked.targets.query,
            ranked.targets.item,
            progress=of_stage(progress, own.name),
        )
        ahead, tied = found.ahead, found.tied
    return {
        "ahead": ahead,
        "tied": tied,
        "bits": own.bits,
        "code_bits": entropy,
        "train": 0.0,
        "encode": 0.0,
        "search": time.perf_counter() - began,
    }


def _searched(search: faiss_codes.Search, rows: np.ndarray) -> Stored:
    """Items of a faiss index, of which those of one vector and one offset are stored alike."""
    vectors, offsets = search.vectors[rows], search.offsets[rows]
    alike = first_copies(Vectors([np.column_stack([first_copies(Vectors([vectors])), offsets])]))
    first, label, times = np.unique(alike, return_inverse=True, return_counts=True)
    return Stored(
        features=lambda chosen: (vectors[first[chosen]], offsets[first[chosen]]),
        label=label.reshape(-1),
        multiplicity=times,
    )


def _by_scores(
    scores: Vectors, ranked: RetrievalTask, progress: RowProgress
) -> tuple[np.ndarray, np.ndarray]:
    """Count above and beside each target in a matrix of scores, some rows at a time."""
    rows, columns = ranked.queries.chosen, ranked.items.chosen
    if scores.shape[0] <= rows.max():
        raise ValueError(f"scores must have a row for each query, got {scores.shape}")
    query, item = ranked.targets.query, ranked.targets.item
    ahead, tied = np.empty(len(query), np.int64), np.empty(len(query), np.int64)
    step = max(1, _ENTRIES // scores.shape[1])
    for start in range(0, len(query), step):
        pairs = slice(start, start + step)
        part = scores.rows(rows[query[pairs]])[:, columns]
        own = np.take_along_axis(part, item[pairs][:, None], axis=1)
        ahead[pairs] = (part > own).sum(axis=1)
        tied[pairs] = (part == own).sum(axis=1)
        progress(min(start + step, len(query)), len(query))
    return ahead, tied
