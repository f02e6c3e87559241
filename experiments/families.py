"""Families of learned codes on pairs of many dimensions, at up to hundreds of bits, beside the converse.

The Gaussian pairs are a twin of real embeddings: canonical correlations that fall slowly. Of the bent ones
the items are mapped so that linear analysis no longer sees half of what there is, and no limit changes
(`family_pairs.bent`). The full preset adds real pairs: halves of digits, emoji and their names, words and their
definitions, where this machine has them. Every family learns from the same pairs, stores each item of a database of others in as many bits, and is
ranked alike; intervals are those over queries, one database a seed. No code of so many bits per item has a larger MRR than the converse of
codewords of fixed length under one encoder (C27), on real pairs than the rank converse (C4). `untrained` is the same family at its first
parameters. Losses follow from the key; the CPU seconds are measured on the machine at hand: those of the first pairs with what is
compiled on the way, those of others without, where their shapes are the same. Seeds are fitted one after the other by the
same programs: side by side in one, a run takes as long.
"""

import dataclasses
import time
from dataclasses import dataclass
from typing import Any, Final

import jax
import numpy as np
import xarray

from experiments.runner import Check, Checkpoint, Claim, without_checkpoint
from experiments.shared import family_points
from experiments.shared.family_pairs import (
    REAL,
    SYNTHETIC,
    falling_correlations,
    known_pairs,
    missing,
)
from rdsim import limits
from rdsim.learning import FAMILIES, array_pairs

CLAIMS = ("C4", "C27")
C4, C27 = map(Claim, CLAIMS)
CLOSED: Final = ("CCA", "kernel CCA", "random hyperplanes")
"""Families that are computed, not trained."""
REFERENCE: Final = "CCA"
"""The optimal linear maps of Gaussian pairs, behind a product quantizer."""
GAUSSIAN, BENT = SYNTHETIC

ANALYSED: Final = "deep CCA"
"""Its start is good: the canonical variables of random features."""
HASH: Final = "hashing, pairs"
PLANES: Final = "random hyperplanes"


@dataclass(frozen=True)
class Config:
    """What is computed."""

    dimension: int = 16
    """Coordinates of a query and of an item."""
    strongest: float = 0.95
    """Largest canonical correlation; the i-th is it times i^-decay."""
    decay: float = 0.35
    bend: float = 1.5
    """How strongly bent items are bent."""
    pairs: tuple[str, ...] = SYNTHETIC
    """What families are compared on."""
    families: tuple[str, ...] = (
        "CCA",
        "kernel CCA",
        "metric",
        "deep CCA",
        "InfoNCE, product",
        "hashing, pairs",
        "random hyperplanes",
        "finite scalar quantization",
        "generation",
    )
    """The families compared; those that need classes or several query modalities have none here."""
    bits: tuple[int, ...] = (8, 32)
    """Bits per item."""
    seeds: int = 1
    """Fits of every family, and databases."""
    steps: int = 300
    """Optimisation steps of a fit."""
    patience: int = family_points.PATIENCE
    """Evaluations, one in ten steps, without a lower held-out loss that end a fit."""
    training: int = 4096
    """Pairs that a family learns from."""
    log2_size: int = 10
    """log2 of the database size; every item is looked for once."""
    confidence: float = 0.95
    """Confidence level of one interval."""


SMOKE = Config(
    dimension=4,
    strongest=0.98,
    bend=1.0,
    families=("CCA", "metric", "deep CCA"),
    bits=(4, 16),
    seeds=1,
    steps=200,
    training=512,
    log2_size=10,
)
QUICK = Config()
FULL = Config(
    families=(
        *Config.families,
        "residual quantization",
        "InfoNCE, k-means",
        "triplet, k-means",
        "shared latent",
        "adversarial",
        "cross-attention",
        "distilled",
        "early fusion",
        "graph network",
        "unpaired translation",
    ),
    pairs=(*SYNTHETIC, *REAL),
    bits=(8, 32, 128),
    seeds=2,
    # On real pairs most families have their best state within a hundred steps: longer fits cost time alone.
    patience=10,
    training=8192,
)


def run(
    config: Config, key: jax.Array, checkpoint: Checkpoint = without_checkpoint
) -> xarray.Dataset:
    """Fit every family, rank a database with it, and bound them all."""
    lacking = {pairs: why for pairs in config.pairs if (why := missing(pairs))}
    config = dataclasses.replace(
        config, pairs=tuple(pairs for pairs in config.pairs if pairs not in lacking)
    )
    measured = [
        [
            checkpoint(f"{pairs}-{seed}", _measured, config, pairs, jax.random.fold_in(key, seed))
            for seed in range(config.seeds)
        ]
        for pairs in config.pairs
    ]
    sizes = [part[0]["size"] for part in measured]
    converse = checkpoint("converse", _converses, config, np.array(sizes))
    where = ("pairs", "family", "bits", "seed")
    one, bits = {"units": "1"}, {"units": "bits per item"}
    units = {"code_bits": bits, "seconds": {"units": "s"}}
    dims = {"seconds": ("pairs", "family", "seed")}
    return xarray.Dataset(
        {
            **{
                name: (
                    dims.get(name, where),
                    np.stack(
                        [np.stack([seed[name] for seed in part], axis=-1) for part in measured]
                    ),
                    units.get(name, one),
                )
                for name in (*_FIELDS, "seconds")
            },
            "size": ("pairs", sizes, one),
            **{name: (("pairs", "bits"), values, one) for name, values in converse.items()},
        },
        coords={
            "pairs": list(config.pairs),
            "family": list(config.families),
            "bits": ("bits", list(config.bits), bits),
            "seed": np.arange(config.seeds),
        },
        attrs={
            "training": config.training,
            "steps": config.steps,
            "confidence": config.confidence,
            "left_out": "; ".join(lacking.values()),
        },
    )


def _measured(config: Config, name: str, key: jax.Array) -> dict[str, np.ndarray]:
    """MRR of every family at every number of bits, trained and untrained, with the seconds of fitting."""
    data_key, fit_key, code_key = jax.random.split(key, 3)
    split = known_pairs(
        data_key,
        name,
        config,
        falling_correlations(config.dimension, config.strongest, config.decay),
    )
    pairs = array_pairs(jax.random.fold_in(data_key, 1), *split.training)
    found: dict[str, list[Any]] = {"seconds": [], "code_bits": []}
    rows = []
    for family in config.families:
        row: dict[str, np.ndarray] = {}
        for kind, steps in (("", config.steps), ("untrained_", 0)):
            if not kind or family not in CLOSED:
                began = time.process_time()
                systems = family_points.systems(
                    fit_key, FAMILIES[family], pairs, config.bits, steps, config.patience
                )
                seconds = time.process_time() - began
                measured = family_points.ranked(
                    code_key, systems, *split.database, config.confidence
                )
            if not kind:
                found["seconds"].append(seconds)
                found["code_bits"].append([float(point.code_bits) for point in measured])
            row |= {f"{kind}{n}": v for n, v in family_points.intervals(measured).items()}
        rows.append(row)
    sized = {"size": np.array(len(split.database[1]))}
    return (
        family_points.stacked(rows)
        | {field: np.array(values) for field, values in found.items()}
        | sized
    )


_FIELDS: Final = (
    "code_bits",
    *(f"{kind}{field}" for kind in ("", "untrained_") for field in family_points.FIELDS),
)


def _converses(config: Config, sizes: np.ndarray) -> dict[str, np.ndarray]:
    """Largest MRR that codewords of so many bits leave: the best converse known, and that of ranks."""
    bits = np.array(config.bits, float)
    bound = limits.rank_loss(np.log2(sizes)[:, None], "reciprocal_rank", rate=bits)
    ranks = 1 - np.asarray(bound.lower)
    best = ranks.copy()
    drawn = [name in SYNTHETIC for name in config.pairs]
    if any(drawn):
        # The bending of items can be undone, so that it changes no limit.
        fixed = limits.retrieval_converse(
            falling_correlations(config.dimension, config.strongest, config.decay),
            float(config.log2_size),
            "reciprocal_rank",
            bits=bits,
        )
        best[drawn] = 1 - np.asarray(fixed.loss)
    return {"converse": best, "rank_converse": ranks}


def checks(dataset: xarray.Dataset) -> list[Check]:
    """No family beats a converse; each beats a random ranking and its start; what is better than what."""
    trained = [name for name in dataset.family.values if name not in CLOSED]
    chance = xarray.DataArray(
        [family_points.random_order_mrr(np.log2(size)) for size in dataset["size"].values],
        dims="pairs",
    )
    most = dataset.isel(bits=-1)
    learned = most.sel(family=trained)
    found = [
        Claim(claim).monte_carlo.at_most(
            f"MRR by which a family's interval lies above the {name} of its bits",
            (dataset.lower - dataset[variable]).max(),
            0.0,
        )
        for claim, name, variable in (
            ("C4", "rank converse", "rank_converse"),
            ("C27", "converse", "converse"),
        )
    ]
    drawn = [name for name in dataset.pairs.values if name in SYNTHETIC]
    read = [name for name in dataset.pairs.values if name in REAL]
    seen = family_points.lower_over_seeds(most, dataset["size"], dataset.attrs["confidence"])
    if drawn:
        found += [
            C27.monte_carlo.at_most(
                "MRR by which a random ranking lies above a family's interval over the queries of all seeds, on "
                "synthetic pairs at the most bits",
                (chance - seen).sel(pairs=drawn).max(),
                0.0,
            ),
            C27.monte_carlo.at_most(
                "MRR by which an untrained start lies above the trained family on synthetic pairs at the most "
                "bits, mean over seeds",
                (learned.untrained_mrr - learned.mrr).sel(pairs=drawn).mean("seed").max(),
                0.0,
            ),
        ]
    if read:
        # A few hundred real pairs do not show of every family that it is better than a random ranking, and their
        # databases overlap from seed to seed: the intervals are those of single seeds.
        found += [
            C4.monte_carlo.at_most(
                "MRR by which a random ranking lies above the best family's interval on real pairs at the most bits, in any seed",
                (chance - most.lower.max("family")).sel(pairs=read).max(),
                0.0,
            ),
            C4.monte_carlo.at_most(
                "MRR by which an untrained start's interval lies above that of the trained family on real pairs at "
                "the most bits, in any seed",
                (learned.untrained_lower - learned.upper).sel(pairs=read).max(),
                0.0,
            ),
        ]
    return found + _comparisons(most.mean("seed"), trained)


def _comparisons(means: xarray.Dataset, trained: list[str]) -> list[Check]:
    """Say which family is better than which at the most bits."""
    found = []
    if REFERENCE in means.family.values:
        linear, others = means.sel(family=REFERENCE), means.sel(family=trained)
        above = (others.lower - linear.upper).max("family")
        if GAUSSIAN in means.pairs.values:
            unlike = [name for name in trained if name != ANALYSED]
            rest = means.sel(pairs=GAUSSIAN, family=unlike)
            found.append(
                C27.monte_carlo.at_most(
                    "MRR by which an untrained start's interval reaches above that of the trained "
                    "family on Gaussian pairs at the most bits, deep CCA aside",
                    (rest.untrained_upper - rest.lower).max(),
                    0.0,
                )
            )
            found.append(
                C27.monte_carlo.at_most(
                    "MRR by which a trained family's interval lies above that of linear CCA, optimal "
                    "for Gaussian pairs, at the most bits",
                    above.sel(pairs=GAUSSIAN),
                    0.0,
                )
            )
        if BENT in means.pairs.values:
            best = (others.mrr.max("family") - linear.mrr).sel(pairs=BENT)
            found.append(
                C27.monte_carlo.at_most(
                    "MRR by which linear CCA is above the best trained family on bent pairs, at the "
                    "most bits",
                    -best,
                    0.0,
                )
            )
    if {HASH, PLANES} <= set(means.family.values) and GAUSSIAN in means.pairs.values:
        mrr = means.mrr.sel(pairs=GAUSSIAN)
        found.append(
            C27.monte_carlo.at_most(
                "MRR by which hashes by random hyperplanes of CCA's variables lie above hashes trained to find "
                "the item, on Gaussian pairs at the most bits",
                mrr.sel(family=PLANES) - mrr.sel(family=HASH),
                0.0,
            )
        )
    return found
