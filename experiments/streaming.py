r"""Streaming items: codebooks kept, refitted or grown while the distribution of the items drifts, loss over time.

Batch t is drawn around a centre that moves along a line, $Y = c_t + Z$, and a query is its item with noise,
$X = Y + \sigma W$. A database holds the last batches; a query asks for any of its items, and ranks them by the
distance to what is stored. A kept codebook and a grown one leave an item as it was stored; a refitted one stores the
whole database again at each batch. No system of b bits per item has a larger MRR than the rank converse (C4).
"""

from dataclasses import dataclass
from typing import Final

import jax
import numpy as np
import xarray

from experiments.runner import Check, Checkpoint, Claim, without_checkpoint
from rdsim import limits
from rdsim.learning import streamed_codes
from rdsim.learning.streaming import POLICIES
from rdsim.ranking.metrics.single_target import tied_loss
from rdsim.simulation import empirical_bernstein

CLAIMS = ("C4",)
C4 = Claim("C4")
_FIXED, _REFITTED, _GROWN = POLICIES
_FIELDS: Final = ("mrr", "lower", "upper", "bits", "stored_again")


@dataclass(frozen=True)
class Config:
    """What is computed."""

    dimension: int = 4
    """Coordinates of an item."""
    noise: float = 0.3
    """Standard deviation of a query around its item, where items have 1 around their centre."""
    drift: float = 0.35
    """How far the centre moves from one batch to the next."""
    batches: int = 16
    """Batches."""
    size: int = 256
    """Items of a batch."""
    window: int = 4
    """Batches that a database holds."""
    codewords: int = 64
    """Codewords of a codebook that does not grow."""
    growth: int = 16
    """Codewords that a grown one gains at each batch."""
    seeds: int = 2
    """Streams."""
    confidence: float = 0.99
    """Confidence of each interval."""


SMOKE = Config(batches=6, size=128, codewords=32, seeds=1, drift=1.5)
QUICK = Config()
FULL = Config(dimension=8, batches=64, size=1024, codewords=256, growth=32, seeds=10)


def run(
    config: Config, key: jax.Array, checkpoint: Checkpoint = without_checkpoint
) -> xarray.Dataset:
    """Store streams by every policy, and rank the database at each batch."""
    found = [
        checkpoint(f"stream-{seed}", _stream, config, jax.random.fold_in(key, seed))
        for seed in range(config.seeds)
    ]
    size = config.size * config.window
    values = {name: np.stack([part[name] for part in found], axis=-1) for name in _FIELDS}
    # Until the window is full there is no database of its size.
    batch = np.arange(config.window - 1, config.batches)
    bits = values["bits"][..., 0]
    bound = 1 - np.asarray(
        limits.rank_loss(np.log2(size), "reciprocal_rank", rate=np.unique(bits)).lower
    )
    one, unit = {"units": "1"}, {"units": "bits per item"}
    units = {"bits": unit, "stored_again": {"units": "items"}}
    return xarray.Dataset(
        {
            **{
                name: (("policy", "batch", "seed"), array, units.get(name, one))
                for name, array in values.items()
            },
            "converse": (("policy", "batch"), bound[np.searchsorted(np.unique(bits), bits)], one),
        },
        coords={"policy": list(POLICIES), "batch": batch, "seed": np.arange(config.seeds)},
        attrs={"size": size, "drift": config.drift},
    )


def _stream(config: Config, key: jax.Array) -> dict[str, np.ndarray]:
    """MRR, bits per item and items stored again, each of shape (policies, batches)."""
    generator = np.random.default_rng(np.asarray(jax.random.key_data(key)))
    shape = (config.batches, config.size, config.dimension)
    direction = generator.normal(size=config.dimension)
    direction /= np.linalg.norm(direction)
    centres = config.drift * np.arange(config.batches)[:, None, None] * direction
    items = centres + generator.normal(size=shape)
    queries = items + config.noise * generator.normal(size=shape)
    found: dict[str, list[list[float]]] = {name: [] for name in _FIELDS}
    for policy in POLICIES:
        codes = streamed_codes(key, items, config.codewords, policy, growth=config.growth)
        rows: dict[str, list[float]] = {name: [] for name in _FIELDS}
        for last in range(config.window - 1, config.batches):
            window = range(last - config.window + 1, last + 1)
            used = [codes[last if policy == _REFITTED else t] for t in window]
            stored = [
                np.asarray(code.codewords)[np.asarray(code.encode(key, items[t]))]
                for code, t in zip(used, window, strict=True)
            ]
            asked = queries[window.start : window.stop].reshape(-1, config.dimension)
            gain = empirical_bernstein(
                1 - _losses(asked, np.concatenate(stored)), confidence=config.confidence
            )
            rows["mrr"].append(float(gain.mean))
            rows["lower"].append(float(gain.lower))
            rows["upper"].append(float(gain.upper))
            rows["bits"].append(float(np.log2(len(codes[last].codewords))))
            again = config.size * (config.window - 1) if policy == _REFITTED else 0
            rows["stored_again"].append(float(again))
        for name, row in rows.items():
            found[name].append(row)
    return {name: np.array(values) for name, values in found.items()}


def _losses(queries: np.ndarray, stored: np.ndarray) -> np.ndarray:
    """Reciprocal-rank loss of every query, whose item is that of its row, averaged over ties."""
    codewords, label, count = np.unique(stored, axis=0, return_inverse=True, return_counts=True)
    label = label.reshape(-1)
    score = 2 * queries @ codewords.T - (codewords**2).sum(axis=1)
    own = np.take_along_axis(score, label[:, None], axis=1)
    ahead, tied = (score > own) @ count, (score == own) @ count
    return np.clip(np.asarray(tied_loss(ahead, tied, "reciprocal_rank")), 0.0, 1.0)


def checks(dataset: xarray.Dataset) -> list[Check]:
    """No policy beats the converse of its bits; what the drift costs each of them."""
    mean = dataset.mrr.mean("seed")
    lost = mean.isel(batch=0) - mean.isel(batch=-1)
    return [
        C4.monte_carlo.at_most(
            "MRR by which a policy's interval lies above the rank converse of its bits",
            (dataset.lower - dataset.converse).max(),
            0.0,
        ),
        C4.monte_carlo.at_most(
            "MRR of a kept codebook less half of that of one fitted anew, at the last batch",
            (mean.sel(policy=_FIXED) - 0.5 * mean.sel(policy=_REFITTED)).isel(batch=-1),
            0.0,
        ),
        C4.monte_carlo.at_most(
            "MRR that a codebook fitted anew has lost at the last batch",
            lost.sel(policy=_REFITTED),
            0.05,
        ),
        C4.monte_carlo.at_most(
            "MRR that a grown codebook has lost at the last batch", lost.sel(policy=_GROWN), 0.05
        ),
    ]
