"""MRR of a family of learned codes in a fresh database, trained and untrained, with intervals over queries."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import jax
import numpy as np

from rdsim.learning.families.pairs import ItemPairs
from rdsim.learning.held_out_points import HeldOutPoint, held_out_point
from rdsim.learning.training.schedule import Schedule

FIELDS: Final = ("mrr", "lower", "upper")
_EVALUATE_EVERY: Final = 25
"""Steps. Networks learn a thousand real pairs by heart within fifty steps: with four evaluations along a longer
training, the best of them was the start."""
_PATIENCE: Final = 12
"""Evaluations; 300 steps without a lower held-out loss end a training."""
_WEIGHT_DECAY: Final = 0.3
"""Of AdamW. Without it the held-out loss of InfoNCE on Gaussian pairs stays higher; with three times as much it rises."""


def systems(
    key: jax.Array,
    family: Callable[..., list[Any]],
    pairs: ItemPairs,
    bits: tuple[int, ...],
    steps: int,
) -> list[Any]:
    """Fit a family in so many steps; none leaves it at its start."""
    return family(jax.random.split(key, 3), pairs, bits, schedule(steps))


def schedule(steps: int) -> Schedule:
    """How every family is trained, in at most so many steps."""
    return Schedule(
        steps=steps,
        evaluate_every=_EVALUATE_EVERY,
        patience=_PATIENCE,
        weight_decay=_WEIGHT_DECAY,
    )


def ranked(
    key: jax.Array, found: list[Any], queries: Any, items: Any, confidence: float
) -> list[HeldOutPoint]:
    """Store a database with each system, and look for its items."""
    return [held_out_point(key, system, queries, items, confidence=confidence) for system in found]


def intervals(measured: Sequence[HeldOutPoint]) -> dict[str, np.ndarray]:
    """MRR with the ends of its interval, each of shape (systems,)."""
    losses = [point.losses["reciprocal_rank"] for point in measured]
    return {
        name: np.array([1 - float(getattr(loss, end)) for loss in losses])
        for name, end in zip(FIELDS, ("mean", "upper", "lower"), strict=True)
    }


def stacked(parts: Sequence[Mapping[str, np.ndarray]], axis: int = 0) -> dict[str, np.ndarray]:
    """Stack arrays of the same names."""
    return {name: np.stack([part[name] for part in parts], axis=axis) for name in parts[0]}


def random_order_mrr(log2_size: float) -> float:
    """MRR of a random order of M items."""
    size = round(2**log2_size)
    return float(np.sum(1 / np.arange(1, size + 1))) / size
