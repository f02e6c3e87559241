"""MRR of a family of learned codes in a fresh database, trained and untrained, with intervals over queries."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import jax
import numpy as np
import xarray

from rdsim.files import Checkpoint
from rdsim.learning import HeldOutPoint, ItemPairs, Schedule, held_out_point
from rdsim.ranking.metrics.single_target import tied_loss
from rdsim.simulation.intervals import bernstein_of_moments

FIELDS: Final = ("mrr", "lower", "upper", "variance")
_EVALUATE_EVERY: Final = 10
"""Steps. Networks learn a thousand real pairs by heart within twenty steps: evaluated more rarely, the best state of
some families was their start."""
PATIENCE: Final = 30
"""Evaluations; 300 steps without a lower held-out loss end a training."""
_WEIGHT_DECAY: Final = 0.3
"""Of AdamW. Without it the held-out loss of InfoNCE on Gaussian pairs stays higher; with three times as much it rises."""


def systems(
    key: jax.Array,
    family: Callable[..., list[Any]],
    pairs: ItemPairs,
    bits: tuple[int, ...],
    steps: int,
    patience: int = PATIENCE,
) -> list[Any]:
    """Fit a family in so many steps; none leaves it at its start."""
    return family(jax.random.split(key, 3), pairs, bits, schedule(steps, patience))


def gains(point: HeldOutPoint) -> np.ndarray:
    """Reciprocal rank of every query, shape (Q,)."""
    return np.asarray(1 - tied_loss(point.ahead, point.tied, "reciprocal_rank"))


def schedule(steps: int, patience: int = PATIENCE) -> Schedule:
    """How every family is trained, in at most so many steps; so many evaluations without a lower loss end it."""
    return Schedule(
        steps=steps,
        evaluate_every=_EVALUATE_EVERY,
        patience=patience,
        weight_decay=_WEIGHT_DECAY,
    )


def ranked(
    key: jax.Array, found: list[Any], queries: Any, items: Any, confidence: float
) -> list[HeldOutPoint]:
    """Store a database with each system, and look for its items."""
    return [held_out_point(key, system, queries, items, confidence=confidence) for system in found]


def intervals(measured: Sequence[HeldOutPoint]) -> dict[str, np.ndarray]:
    """MRR with the ends of its interval, and the variance over queries, each of shape (systems,)."""
    losses = [point.losses["reciprocal_rank"] for point in measured]
    return {
        "mrr": np.array([1 - float(loss.mean) for loss in losses]),
        "lower": np.array([1 - float(loss.upper) for loss in losses]),
        "upper": np.array([1 - float(loss.lower) for loss in losses]),
        "variance": np.array([np.var(gains(point), ddof=1) for point in measured]),
    }


def lower_over_seeds(dataset: xarray.Dataset, queries: Any, confidence: float) -> xarray.DataArray:
    """Lower end of the interval of the mean MRR of all seeds, from the queries of all of them.

    The seeds' databases must be independent, so that their queries are one sample of independent numbers, for which
    the empirical Bernstein bound holds whether or not their means are equal (Maurer and Pontil 2009, Theorem 11).

    Args:
        dataset: `mrr` and `variance` with the dimension "seed".
        queries: of one seed, a number or an array by name.
        confidence: of the two-sided interval.

    """
    mean = dataset.mrr.mean("seed")
    # Squares about the common mean are those within the seeds and those between them.
    within = ((queries - 1) * dataset.variance).sum("seed")
    between = (queries * (dataset.mrr - mean) ** 2).sum("seed")
    squares, number = xarray.broadcast(
        within + between, dataset.sizes["seed"] * queries * xarray.ones_like(mean)
    )
    squares, number = (part.transpose(*mean.dims) for part in (squares, number))
    found = bernstein_of_moments(
        mean.values,
        (squares / (number - 1)).values,
        number.values.astype(int),
        confidence=confidence,
    )
    return mean.copy(data=np.asarray(found.lower))


def stacked(parts: Sequence[Mapping[str, np.ndarray]], axis: int = 0) -> dict[str, np.ndarray]:
    """Stack arrays of the same names."""
    return {name: np.stack([part[name] for part in parts], axis=axis) for name in parts[0]}


def over_seeds(
    checkpoint: Checkpoint, measured: Callable[..., Any], config: Any, key: jax.Array
) -> dict[str, np.ndarray]:
    """Measure with each seed of a configuration, part by part; seeds are the last axis."""
    parts = [
        checkpoint(f"seed-{seed}", measured, config, jax.random.fold_in(key, seed))
        for seed in range(config.seeds)
    ]
    return stacked(parts, axis=-1)


def random_order_mrr(log2_size: float) -> float:
    """MRR of a random order of M items."""
    size = round(2**log2_size)
    return float(np.sum(1 / np.arange(1, size + 1))) / size
