"""How a task is split at random into pairs to fit to and pairs to rank.

A split never divides a group, for a code that saw one caption of an image has seen the image.
"""

import dataclasses
from typing import Final

import numpy as np
from jaxtyping import Array, Key

from rdsim import validation
from rdsim.embeddings.data.task import RetrievalTask, Targets
from rdsim.sources.host_random import permutation
from rdsim.transformations import on_host

LEAST_GROUPS: Final = 20
"""Fewest groups on either side of a split."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Split:
    """A task whose pairs codes are fitted to, and one that is ranked; they share no group.

    Attributes:
        fit: to fit to.
        ranked: whose queries are ranked among its items.
        name: how the two came about.

    """

    fit: RetrievalTask
    ranked: RetrievalTask
    name: str


@on_host
def split_task(
    key: Key[Array, ""], task: RetrievalTask, *, held_out: float = 0.4, folds: int | None = None
) -> tuple[Split, ...]:
    """Split a task at random by groups.

    Args:
        key: PRNG key.
        task: the whole.
        held_out: fraction of the groups that are ranked, 0.05 to 0.95.
        folds: k; each of k parts is ranked by codes fitted to the others. Takes the place of `held_out`.

    Returns:
        One split, or k.

    Raises:
        ValueError: also if a part has fewer than 20 groups with queries.

    """
    validation.prng_key("key", key)
    validation.instance("task", task, RetrievalTask)
    fraction = float(validation.interval("held_out", held_out, low=0.05, high=0.95, ndim=0))
    number = 1 if folds is None else validation.integer("folds", folds, low=2)
    place, asked = _places(key, task)
    part = (place * number).astype(int) if folds else np.where(place < fraction, 0, 1)
    for which in range(max(2, number)):
        if (count := int((asked & (part == which)).sum())) < LEAST_GROUPS:
            option = f"folds={folds}" if folds else f"held_out={fraction:g}"
            copies = (
                f"; {task.copies} items equal an earlier one, and equal items are kept together"
                if task.copies
                else ""
            )
            raise ValueError(
                f"{option} leaves {count} of {int(asked.sum())} groups of queries and their targets "
                f"to one part, at least {LEAST_GROUPS} are needed{copies}"
            )
    name = f"{number} folds of the groups" if folds else f"{fraction:.0%} of the groups held out"
    return tuple(
        Split(fit=_part(task, part != which), ranked=_part(task, part == which), name=name)
        for which in range(number)
    )


def _places(key: Key[Array, ""], task: RetrievalTask) -> tuple[np.ndarray, np.ndarray]:
    """Each group's random place in [0, 1), and which have queries; distractors are placed apart."""
    size = 1 + max(int(task.query_group.max()), int(task.item_group.max()))
    asked = np.zeros(size, bool)
    asked[task.query_group] = True
    order = permutation(key, size)
    place = np.empty(size)
    for kind in (asked, ~asked):
        members = order[kind[order]]
        place[members] = np.arange(len(members)) / max(1, len(members))
    return place, asked


def kept_back(
    key: Key[Array, ""], task: RetrievalTask, fraction: float
) -> tuple[RetrievalTask, RetrievalTask]:
    """Part of a task to fit to, and a fraction of its groups to choose among fits on."""
    place, _ = _places(key, task)
    return _part(task, place >= fraction), _part(task, place < fraction)


def _part(task: RetrievalTask, kept: np.ndarray) -> RetrievalTask:
    """The groups that are kept of a task."""
    queries, items = np.flatnonzero(kept[task.query_group]), np.flatnonzero(kept[task.item_group])
    new_item = _new_rows(items, len(task.items))
    return RetrievalTask(
        queries=task.queries.take(queries),
        items=task.items.take(items),
        targets=_renumbered(task.targets, _new_rows(queries, len(task.queries)), new_item),
        query_group=task.query_group[queries],
        item_group=task.item_group[items],
        # Copies are of one group, so that none is without its first.
        first_copy=new_item[task.first_copy[items]],
        without_target=task.without_target,
    )


def some_queries(key: Key[Array, ""], task: RetrievalTask, most: int) -> RetrievalTask:
    """Keep a random choice of the queries, and every item."""
    if len(task.queries) <= most:
        return task
    kept = np.sort(permutation(key, len(task.queries))[:most])
    new = _new_rows(kept, len(task.queries))
    return dataclasses.replace(
        task,
        queries=task.queries.take(kept),
        query_group=task.query_group[kept],
        targets=_renumbered(task.targets, new, np.arange(len(task.items))),
    )


def _new_rows(kept: np.ndarray, size: int) -> np.ndarray:
    """Number that each of so many rows has among those that are kept; -1 for the others."""
    new = np.full(size, -1)
    new[kept] = np.arange(len(kept))
    return new


def _renumbered(targets: Targets, query: np.ndarray, item: np.ndarray) -> Targets:
    """Targets of the queries that are kept, by the new numbers of queries and items."""
    pairs = np.flatnonzero(query[targets.query] >= 0)
    return Targets(
        query=query[targets.query[pairs]],
        item=item[targets.item[pairs]],
        grade=targets.grade[pairs],
    )
