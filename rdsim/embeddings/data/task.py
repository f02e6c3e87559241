r"""Retrieval tasks: the items that are targets of each query, with grades.

Two vectors belong to one *group* if a chain of targets connects them: an image and its five captions, say.
Copies of an item are of one group too. Groups are what splits keep together, and the unit of the confidence intervals.
"""

import dataclasses
import math
from pathlib import Path

import numpy as np
import scipy
from jaxtyping import Float, Int

from rdsim import validation
from rdsim.embeddings.data.formats import READERS, read_table
from rdsim.embeddings.data.vectors import Vectors, as_vectors, first_copies
from rdsim.embeddings.progress import Progress, of_stage, without_progress
from rdsim.number_types import ArrayLike
from rdsim.transformations import on_host


@dataclasses.dataclass(frozen=True, kw_only=True)
class Targets:
    """Pairs of a query and an item that it should find, sorted by query.

    Attributes:
        query: row of the query of each pair, rising, shape (T,).
        item: row of the item, shape (T,).
        grade: how much it is worth to find it, above 0; only ratios within a query matter, shape (T,).

    """

    query: Int[np.ndarray, " t"]
    item: Int[np.ndarray, " t"]
    grade: Float[np.ndarray, " t"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class RetrievalTask:
    """Queries, items and what each query should find.

    Attributes:
        queries: those with a target, in their order, d_x coordinates.
        items: all of them, distractors too, d_y coordinates.
        targets: pairs of rows of the two.
        query_group: number of the group of each query.
        item_group: number of the group of each item.
        first_copy: of each item, the first that equals it.
        without_target: queries that were left out because they have no target.

    """

    queries: Vectors
    items: Vectors
    targets: Targets
    query_group: Int[np.ndarray, " q"]
    item_group: Int[np.ndarray, " m"]
    first_copy: Int[np.ndarray, " m"]
    without_target: int

    @property
    def copies(self) -> int:
        """Count the items that equal an earlier one."""
        return int((self.first_copy != np.arange(len(self.items))).sum())


@on_host
def retrieval_task(
    queries: Vectors | ArrayLike,
    items: Vectors | ArrayLike,
    targets: ArrayLike | None = None,
    *,
    progress: Progress = without_progress,
) -> RetrievalTask:
    """Check queries, items and targets.

    Args:
        queries: shape (Q, d_x); an array or `Vectors`.
        items: shape (M, d_y), M at least 2.
        targets: row of the item of each query, shape (Q,), or of several, shape (Q, k), -1 where there is
            no further one; or triples (query, item, grade), shape (T, 3) of floats, as `read_targets`
            returns them. By default item i is the target of query i.
        progress: called as progress(stage, done, total) while vectors are read.

    Returns:
        The task; queries without a target are counted and left out.

    """
    x, y = (
        as_vectors(name, given, progress=progress)
        for name, given in (("queries", queries), ("items", items))
    )
    if len(y) < 2:
        raise ValueError(f"items must be at least 2, got {len(y)}")
    pairs = _pairs(targets, len(x), len(y))
    used, query = np.unique(pairs.query, return_inverse=True)
    first = first_copies(y, of_stage(progress, "looking for equal items"))
    query_group, item_group = _groups(query, pairs.item, len(used), first)
    return RetrievalTask(
        queries=x.take(used),
        items=y,
        targets=dataclasses.replace(pairs, query=query.reshape(-1)),
        query_group=query_group,
        item_group=item_group,
        first_copy=first,
        without_target=len(x) - len(used),
    )


def _pairs(targets: ArrayLike | None, queries: int, items: int) -> Targets:
    if targets is None:
        if queries != items:
            raise ValueError(
                f"targets must be given where queries and items differ in number, got {queries} "
                f"queries and {items} items"
            )
        targets = np.arange(queries)
    given = np.asarray(validation.numbers("targets", targets))
    if given.dtype.kind == "f":
        query, item, grade = _graded(given)
    else:
        rows = np.asarray(validation.integer_array("targets", given))
        rows = rows[:, None] if rows.ndim == 1 else rows
        if rows.ndim != 2 or len(rows) != queries:
            raise ValueError(
                f"targets must have a row for each of the {queries} queries, got shape {given.shape}"
            )
        query, column = np.nonzero(rows != -1)
        item, grade = rows[query, column], np.ones(len(query))
    for name, row, size in (("queries", query, queries), ("items", item, items)):
        if ((row < 0) | (row >= size)).any():
            wrong = row[(row < 0) | (row >= size)]
            raise ValueError(f"targets must be rows 0 to {size - 1} of the {name}, got {wrong[0]}")
    if not query.size:
        raise ValueError("targets must hold a target of some query, got none")
    # A pair that is given twice is one pair, with the larger grade.
    order = np.lexsort((-grade, item, query))
    query, item, grade = query[order], item[order], grade[order]
    new = np.append(True, (np.diff(query) != 0) | (np.diff(item) != 0))
    return Targets(query=query[new], item=item[new], grade=grade[new])


def _graded(given: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pairs with a positive grade."""
    if given.ndim != 2 or given.shape[1] != 3 or not np.isfinite(given).all():
        raise ValueError(
            "targets must be integers, or finite triples (query, item, grade) of shape (T, 3), got "
            f"{given.dtype} of shape {given.shape}"
        )
    rows = given[given[:, 2] > 0]
    whole = rows[:, :2].astype(np.int64)
    if (whole != rows[:, :2]).any():
        wrong = rows[:, :2][whole != rows[:, :2]][0]
        raise ValueError(f"targets must name queries and items by integers, got {float(wrong)!r}")
    return whole[:, 0], whole[:, 1], rows[:, 2]


def _groups(
    query: np.ndarray, item: np.ndarray, queries: int, first: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Number the connected components of queries and items; copies of an item are connected."""
    size = queries + len(first)
    left = np.concatenate([query, queries + np.arange(len(first))])
    right = np.concatenate([queries + item, queries + first])
    graph = scipy.sparse.coo_array((np.ones(len(left), np.int8), (left, right)), shape=(size, size))
    _, label = scipy.sparse.csgraph.connected_components(graph, directed=False)
    return label[:queries], label[queries:]


def read_targets(path: str | Path, queries: int) -> np.ndarray:
    """Read targets from a file.

    Args:
        path: an array of integers in a file that `read_vectors` knows, shape (Q,) or (Q, k); a .txt file
            with a line for each query, its item rows separated by spaces or commas; or a .tsv (qrels): query, item
            and grade a line, TREC's unused second column of four allowed, a heading too.
        queries: Q, the number of queries.

    Returns:
        What `retrieval_task` takes.

    """
    place = Path(path)
    if place.suffix.lower() in READERS or not place.exists():
        return read_table(path, "targets")
    text = place.read_text(encoding="utf-8-sig").splitlines()
    lines = [(number, line) for number, line in enumerate(text, start=1) if line.strip()]
    if place.suffix.lower() in (".tsv", ".qrels"):
        return _qrels(place, lines)
    rows = [
        [_number(place, number, part, int) for part in line.replace(",", " ").split()]
        for number, line in lines
    ]
    if len(rows) != queries:
        raise ValueError(
            f"targets: {place} must have a line for each of the {queries} queries, got {len(rows)}"
        )
    table = np.full((queries, max(map(len, rows))), -1)
    for row, found in zip(table, rows, strict=True):
        row[: len(found)] = found
    return table


def _qrels(place: Path, lines: list[tuple[int, str]]) -> np.ndarray:
    triples = []
    for number, line in lines:
        parts = line.split("\t") if "\t" in line else line.split()
        if (number, line) == lines[0] and not parts[0].lstrip("-").isdigit():
            continue  # a heading
        if len(parts) not in (3, 4):
            raise ValueError(
                f"targets: {place}, line {number} must hold query, item and grade, got {line!r}"
            )
        try:
            query, item = (_number(place, number, part, int) for part in (parts[0], parts[-2]))
        except ValueError as error:
            raise ValueError(
                f"{error}: queries and items are named by the numbers of their rows in the files of vectors, from 0. For "
                "names, number them in the order of the rows, {name: row for row, name in enumerate(names)}, and write "
                "the numbers in place of the names"
            ) from error
        triples.append([query, item, _number(place, number, parts[-1], float)])
    return np.array(triples, float).reshape(-1, 3)


def _number(place: Path, line: int, text: str, kind: type[int] | type[float]) -> int | float:
    """Read a number in a file of targets."""
    try:
        found = kind(text)
    except ValueError:
        found = math.nan
    if not math.isfinite(found):
        name = "an integer" if kind is int else "a finite number"
        raise ValueError(f"targets: {place}, line {line} must hold {name}, got {text.strip()!r}")
    return found
