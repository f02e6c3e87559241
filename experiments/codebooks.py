"""Codebooks: one shared by the whole database against one for each item, error and reciprocal rank.

Items of the doubly symmetric binary source. Independent codebooks are exact (the ensemble average);
a shared codebook is simulated: items are streamed past its codewords, and those of each are
counted.
"""

from dataclasses import dataclass

import jax
import numpy as np
import xarray

from experiments.runner import Check, Checkpoint, Claim, without_checkpoint
from rdsim import codes
from rdsim.simulation import simulate_shared_codebook

CLAIMS = ("C14", "C15")
C14, C15 = map(Claim, CLAIMS)
LOSSES = {"error": "error", "reciprocal rank": "reciprocal_rank"}
CONFIDENCE = 0.95
SURE = 1 - 1e-8
"""Coverage of the intervals that checks use: that any of some dozens misses has probability below
1e-6."""
SPARSE = 64
"""Codewords for each item from which on two items rarely share one."""


@dataclass(frozen=True)
class Config:
    """What is computed."""

    block_length: int = 16
    """Letters in an item."""
    crossover: float = 0.05
    """Probability that a query bit differs from the item's."""
    codebook_bits: tuple[int, ...] = (2, 4, 6, 8)
    """log2 of the K codewords in a codebook, which is n times the rate."""
    log2_sizes: tuple[int, ...] = (1, 2, 4, 6, 8, 10)
    """log2 of the database sizes."""
    codebooks: int = 160
    """Codebooks drawn at every point, each with a database of its own."""
    sparse_codebooks: int = 512
    """Codebooks at points with many codewords for each item, where the two schemes are compared."""
    queries: int = 64
    """Queries of every codebook."""


SMOKE = Config(
    block_length=8,
    codebook_bits=(2, 7),
    log2_sizes=(1, 3),
    codebooks=32,
    sparse_codebooks=256,
    queries=16,
)
QUICK = Config()
FULL = Config(
    block_length=24,
    codebook_bits=(2, 4, 6, 8, 10, 12),
    log2_sizes=(1, 2, 4, 6, 8, 10, 12),
    codebooks=1024,
    sparse_codebooks=4096,
)


def run(
    config: Config, key: jax.Array, checkpoint: Checkpoint = without_checkpoint
) -> xarray.Dataset:
    """Compute the exact losses, the simulated ones and the fewest errors that ties allow."""
    parts = [
        [checkpoint(f"bits-{b}-size-{s}", _point, config, key, b, s) for s in config.log2_sizes]
        for b in config.codebook_bits
    ]
    unit = {"units": "1"}
    dims = ("codebook_bits", "log2_size")
    losses = {
        name: ((*dims, "loss_name"), np.stack([[point[name] for point in row] for row in parts]))
        for name in (
            "independent",
            "shared",
            "lower",
            "upper",
            "spread",
            "sure_lower",
            "sure_upper",
        )
    }
    least = np.stack([[point["least_error"] for point in row] for row in parts])
    note = {"long_name": "one minus the fraction of items that can be first", **unit}
    return xarray.Dataset(
        {
            **{name: (*values, unit) for name, values in losses.items()},
            "least_error": (dims, least, note),
        },
        coords={
            "codebook_bits": ("codebook_bits", list(config.codebook_bits), {"units": "bits"}),
            "log2_size": ("log2_size", list(config.log2_sizes), {"units": "bits"}),
            "loss_name": list(LOSSES),
        },
        attrs={
            "block_length": config.block_length,
            "crossover": config.crossover,
            "codebooks": config.codebooks,
            "confidence": CONFIDENCE,
        },
    )


def _point(config: Config, key: jax.Array, bits: int, log2_size: int) -> dict[str, np.ndarray]:
    n, p = config.block_length, config.crossover
    joint = 0.5 * np.array([[1 - p, p], [p, 1 - p]])
    # Any symmetric test channel below 1/2 has uniform codewords and ranks by Hamming distance.
    test_channel = np.array([[0.75, 0.25], [0.25, 0.75]])
    ranks = simulate_shared_codebook(
        jax.random.fold_in(jax.random.fold_in(key, bits), log2_size),
        joint,
        test_channel,
        1.0 - np.eye(2),
        float(log2_size),
        n=n,
        rate=bits / n,
        queries=config.queries,
        codebooks=config.sparse_codebooks if _is_sparse(bits, log2_size) else config.codebooks,
    )
    means = [ranks.loss(loss).mean(axis=1) for loss in LOSSES.values()]
    found = [ranks.estimate(loss, confidence=CONFIDENCE) for loss in LOSSES.values()]
    sure = [ranks.estimate(loss, confidence=SURE) for loss in LOSSES.values()]
    exact = [
        codes.dsbs_ensemble(p, float(log2_size), loss, n=n, rate=bits / n)
        for loss in LOSSES.values()
    ]
    return {
        "independent": np.array(exact),
        "shared": np.array([estimate.mean for estimate in found]),
        "spread": np.array([mean.std(ddof=1) / np.sqrt(mean.size) for mean in means]),
        "lower": np.array([estimate.lower for estimate in found]),
        "upper": np.array([estimate.upper for estimate in found]),
        "sure_lower": np.array([estimate.lower for estimate in sure]),
        "sure_upper": np.array([estimate.upper for estimate in sure]),
        "least_error": 1 - np.asarray(ranks.occupied).mean() / ranks.items,
    }


def _is_sparse(bits: int, log2_size: int) -> bool:
    return bits - log2_size >= np.log2(SPARSE)


def checks(dataset: xarray.Dataset) -> list[Check]:
    """Compare the two schemes where codewords are many, and with the ties where they are few."""
    spare = dataset.codebook_bits - dataset.log2_size
    sparse = spare >= np.log2(SPARSE)
    inside = (dataset.independent >= dataset.sure_lower) & (
        dataset.independent <= dataset.sure_upper
    )
    outside = int((~inside & sparse).sum())
    count = int(sparse.sum()) * dataset.sizes["loss_name"]
    error_upper = dataset.sure_upper.sel(loss_name="error")
    return [
        C14.monte_carlo.at_most(
            f"intervals of the shared codebook (of {count}, {SPARSE} codewords per item or more) "
            "that miss the exact loss of independent ones",
            outside,
            0,
        ),
        C15.monte_carlo.at_most(
            "largest amount by which a shared codebook's error is surely below one minus the "
            "fraction of items that can be first",
            (dataset.least_error - error_upper).max(),
            0,
        ),
    ]
