"""MRR of a family of learned codes in a fresh database, trained and untrained, with intervals over queries."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import jax
import numpy as np

from rdsim.learning.families.pairs import ItemPairs
from rdsim.learning.held_out_points import held_out_point
from rdsim.learning.training.schedule import Schedule

FIELDS: Final = ("mrr", "lower", "upper")
_EVALUATIONS: Final = 4
"""Along a training."""


def systems(
    key: jax.Array,
    family: Callable[..., list[Any]],
    pairs: ItemPairs,
    bits: tuple[int, ...],
    steps: int,
) -> list[Any]:
    """Fit a family in so many steps; none leaves it at its start."""
    plan = Schedule(steps=steps, evaluate_every=max(1, steps // _EVALUATIONS))
    return family(jax.random.split(key, 3), pairs, bits, plan)


def points(
    key: jax.Array, found: list[Any], queries: Any, items: Any, confidence: float
) -> dict[str, np.ndarray]:
    """MRR of systems with the ends of its interval, each of shape (systems,)."""
    losses = [
        held_out_point(key, system, queries, items, confidence=confidence).losses["reciprocal_rank"]
        for system in found
    ]
    return {
        name: np.array([1 - float(getattr(loss, end)) for loss in losses])
        for name, end in zip(FIELDS, ("mean", "upper", "lower"), strict=True)
    }


def stacked(parts: Sequence[Mapping[str, np.ndarray]], axis: int = 0) -> dict[str, np.ndarray]:
    """Stack arrays of the same names."""
    return {name: np.stack([part[name] for part in parts], axis=axis) for name in parts[0]}


def chance(log2_size: float) -> float:
    """MRR of a random order of M items."""
    size = round(2**log2_size)
    return float(np.sum(1 / np.arange(1, size + 1))) / size
