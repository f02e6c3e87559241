"""Families of learned codes on Gaussian pairs of many dimensions, at up to a hundred bits, beside the converse.

The pairs are a twin of real embeddings: canonical correlations that fall slowly. Every family learns
from the same pairs, stores each item of a fresh database in as many bits, and is ranked alike; intervals are
those over queries, one database a seed. No code of so many bits per item has a larger MRR than the converse of
codewords of fixed length under one encoder (C27). `untrained` is the same family at its first
parameters. Losses follow from the key; the seconds are measured on the machine at hand, with what is
compiled on the way.
"""

import time
from dataclasses import dataclass
from typing import Any, Final

import jax
import numpy as np
import xarray

from experiments.runner import Check, Checkpoint, without_checkpoint
from rdsim import limits, sources
from rdsim.learning.families.catalogue import fit_family
from rdsim.learning.held_out_points import held_out_point
from rdsim.learning.training.schedule import Schedule
from rdsim.sources import GaussianSource

CLAIMS = ("C27",)
CLOSED: Final = ("CCA", "kernel CCA")
"""Families that are computed, not trained."""
REFERENCE: Final = "CCA"
"""The optimal linear maps of Gaussian pairs, behind a product quantizer."""

HASH: Final = "hashing, pairs"
EMBEDDINGS: Final = "InfoNCE, product"


@dataclass(frozen=True)
class Config:
    """What is computed."""

    dimension: int = 16
    """Coordinates of a query and of an item."""
    strongest: float = 0.95
    """Largest canonical correlation; the i-th is it times i^-decay."""
    decay: float = 0.35
    families: tuple[str, ...] = (
        "CCA",
        "kernel CCA",
        "metric",
        "InfoNCE, product",
        "hashing, pairs",
        "residual quantization",
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
    training: int = 4096
    """Pairs that a family learns from."""
    log2_size: int = 10
    """log2 of the database size; every item is looked for once."""
    confidence: float = 0.95
    """Confidence level of one interval."""


SMOKE = Config(
    dimension=4,
    families=("CCA", "metric"),
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
        "InfoNCE, k-means",
        "triplet, k-means",
        "deep CCA",
        "shared latent",
        "adversarial",
        "cross-attention",
        "distilled",
        "early fusion",
    ),
    bits=(8, 16, 32, 64),
    seeds=5,
    steps=2000,
    training=16384,
    log2_size=12,
)


def source_of(config: Config) -> GaussianSource:
    """Gaussian pairs of falling canonical correlations."""
    eye = np.eye(config.dimension)
    correlations = config.strongest * np.arange(1, config.dimension + 1) ** -config.decay
    return sources.vector_gaussian(eye, eye, np.diag(correlations))


def run(
    config: Config, key: jax.Array, checkpoint: Checkpoint = without_checkpoint
) -> xarray.Dataset:
    """Fit every family, rank a database with it, and bound them all."""
    measured = [
        checkpoint(f"seed-{seed}", _measured, config, jax.random.fold_in(key, seed))
        for seed in range(config.seeds)
    ]
    converse = checkpoint("converse", _converse, config)
    where = ("family", "bits", "seed")
    one, bits = {"units": "1"}, {"units": "bits per item"}
    units = {"code_bits": bits, "seconds": {"units": "s"}}
    dims = {"seconds": ("family", "seed")}
    return xarray.Dataset(
        {
            **{
                name: (
                    dims.get(name, where),
                    np.stack([part[name] for part in measured], axis=-1),
                    units.get(name, one),
                )
                for name in measured[0]
            },
            "converse": ("bits", converse["mrr"], one),
        },
        coords={
            "family": list(config.families),
            "bits": ("bits", list(config.bits), bits),
            "seed": np.arange(config.seeds),
        },
        attrs={"log2_size": config.log2_size, "training": config.training, "steps": config.steps},
    )


def _measured(config: Config, key: jax.Array) -> dict[str, np.ndarray]:
    """MRR of every family at every number of bits, trained and untrained, with the seconds of fitting."""
    source = source_of(config)
    data_key, fit_key, code_key = jax.random.split(key, 3)
    queries, items = source.sample(data_key, (2**config.log2_size,))
    found: dict[str, list[Any]] = {name: [] for name in (*_FIELDS, "seconds")}
    for name in config.families:
        plans = {
            "": Schedule(steps=config.steps, evaluate_every=max(1, config.steps // 4)),
            "untrained_": Schedule(steps=0),
        }
        row: dict[str, list[float]] = {field: [] for field in _FIELDS}
        for kind, plan in plans.items():
            began = time.perf_counter()
            systems = fit_family(
                fit_key, name, source, bits=config.bits, schedule=plan, training=config.training
            )
            if not kind:
                found["seconds"].append(time.perf_counter() - began)
            for system in systems:
                point = held_out_point(
                    code_key, system, queries, items, confidence=config.confidence
                )
                loss = point.losses["reciprocal_rank"]
                row[f"{kind}mrr"].append(1 - float(loss.mean))
                row[f"{kind}lower"].append(1 - float(loss.upper))
                row[f"{kind}upper"].append(1 - float(loss.lower))
                if not kind:
                    row["code_bits"].append(float(point.code_bits))
        for field, values in row.items():
            found[field].append(values)
    return {name: np.array(values) for name, values in found.items()}


_FIELDS: Final = (
    *("mrr", "lower", "upper", "code_bits"),
    *("untrained_mrr", "untrained_lower", "untrained_upper"),
)


def _converse(config: Config) -> dict[str, np.ndarray]:
    """Largest MRR of codewords of so many bits under one encoder."""
    bound = limits.retrieval_converse(
        source_of(config),
        float(config.log2_size),
        "reciprocal_rank",
        bits=np.array(config.bits, float),
    )
    return {"mrr": np.asarray(1 - bound.loss)}


def checks(dataset: xarray.Dataset) -> list[Check]:
    """No family beats the converse; each beats chance and its start; what is better than what."""
    trained = [name for name in dataset.family.values if name not in CLOSED]
    size = 2 ** int(dataset.attrs["log2_size"])
    chance = float(np.sum(1 / np.arange(1, size + 1))) / size
    most = dataset.isel(bits=-1)
    learned = most.sel(family=trained)
    found = [
        Check.at_most(
            "C27",
            "MRR by which a family's interval lies above the converse of its bits",
            "Monte Carlo",
            (dataset.lower - dataset.converse).max(),
            0.0,
        ),
        Check.at_most(
            "C27",
            "MRR by which chance lies above a family's interval at the most bits",
            "Monte Carlo",
            chance - most.lower.min(),
            0.0,
        ),
        Check.at_most(
            "C27",
            "MRR by which an untrained start's interval reaches above that of the trained family at "
            "the most bits",
            "Monte Carlo",
            (learned.untrained_upper - learned.lower).mean("seed").max(),
            0.0,
        ),
    ]
    means = most.mean("seed")
    if REFERENCE in dataset.family.values:
        linear = means.sel(family=REFERENCE)
        found.append(
            Check.at_most(
                "C27",
                "MRR by which a trained family's interval lies above that of linear CCA, optimal for "
                "Gaussian pairs, at the most bits",
                "Monte Carlo",
                (means.sel(family=trained).lower - linear.upper).max(),
                0.0,
            )
        )
    if {HASH, EMBEDDINGS} <= set(trained):
        lack = means.sel(family=EMBEDDINGS).mrr - means.sel(family=HASH).mrr
        found.append(
            Check.at_most(
                "C27",
                "MRR that hashes trained to find the item lack of InfoNCE embeddings behind a product "
                "quantizer, at the most bits",
                "Monte Carlo",
                lack,
                0.1,
            )
        )
    return found
