"""Missing modalities at test time: padding, prediction and products of experts beside the limit of each set.

An item of Gaussian coordinates is seen in two modalities of unequal noise, each rotated by its own orthogonal matrix.
Encoders are trained on complete pairs, or with gaps; queries then lack a modality. The decoder sees which is there,
the code of fixed length does not, so that no system passes, on average over the sets, the converses of the sets (C27),
weighted by their probabilities as the informations of the stacked source are (C30).
"""

import itertools
from dataclasses import dataclass
from typing import Final

import jax
import numpy as np
import scipy.stats
import xarray

from experiments.runner import Check, Checkpoint, Claim, without_checkpoint
from experiments.shared import family_points
from rdsim import limits, sources
from rdsim.learning import GapFamily, array_pairs

CLAIMS = ("C27", "C30")
C27, C30 = map(Claim, CLAIMS)
FAMILIES: Final = {
    "padding": GapFamily(reading="padding"),
    "prediction": GapFamily(reading="prediction"),
    "experts": GapFamily(reading="experts"),
    "padding, gaps": GapFamily(reading="padding", gaps=True),
    "experts, gaps": GapFamily(reading="experts", gaps=True),
}
"""What is compared; "gaps" are those trained with gaps."""


@dataclass(frozen=True)
class Config:
    """What is computed."""

    dimension: int = 6
    """Coordinates of an item and of each modality."""
    noise: tuple[float, ...] = (0.3, 0.6)
    """Variances of the modalities' noises."""
    presence: float = 0.7
    """Probability of each modality; queries without any are not asked."""
    families: tuple[str, ...] = tuple(FAMILIES)
    """The families compared."""
    bits: int = 16
    """Bits stored for an item."""
    seeds: int = 2
    """Fits of every family, and databases."""
    steps: int = 200
    """Training steps of every fit."""
    training: int = 2048
    """Pairs that are learned from, all complete."""
    log2_size: int = 9
    """log2 of the database size; every item is looked for once."""
    cells: int = 8
    """Cells into which a coordinate is cut, for the stacked source."""
    confidence: float = 0.95
    """Confidence of each interval."""


SMOKE = Config(
    dimension=3,
    families=("prediction", "experts, gaps"),
    bits=8,
    seeds=1,
    steps=120,
    training=1024,
)
QUICK = Config()
FULL = Config(noise=(0.2, 0.4, 0.8), seeds=5, steps=1000, training=8192, log2_size=11, cells=6)


def run(
    config: Config, key: jax.Array, checkpoint: Checkpoint = without_checkpoint
) -> xarray.Dataset:
    """Fit every family, ask for every set of modalities, and bound them all."""
    sets = present_sets(config)
    measured = family_points.over_seeds(checkpoint, _measured, config, key)
    limit = checkpoint("limits", _limits, config)
    one, bits = {"units": "1"}, {"units": "bits"}
    names = ["+".join(str(1 + k) for k in np.flatnonzero(row)) for row in sets]
    return xarray.Dataset(
        {
            **{
                name: (("family", "present", "seed"), value, one)
                for name, value in measured.items()
            },
            "converse": ("present", limit["converse"], one),
            "information": ("present", limit["information"], bits),
            "probability": ("present", probabilities(config), one),
            "stacked": ((), limit["stacked"], bits),
            "averaged": ((), limit["averaged"], bits),
        },
        coords={
            "family": list(config.families),
            "present": names,
            "seed": np.arange(config.seeds),
        },
        attrs={
            "log2_size": config.log2_size,
            "bits": config.bits,
            "training": config.training,
            "confidence": config.confidence,
        },
    )


def present_sets(config: Config) -> np.ndarray:
    """Flags of the sets that are not empty, the complete one first, shape (2^K - 1, K)."""
    rows = itertools.product((1, 0), repeat=len(config.noise))
    return np.array([row for row in rows if any(row)])


def probabilities(config: Config) -> np.ndarray:
    """Probabilities of those sets, given that one is there."""
    sets = present_sets(config)
    weights = np.where(sets == 1, config.presence, 1 - config.presence).prod(axis=1)
    return np.asarray(weights / weights.sum())


def pairs_of(config: Config, key: jax.Array, number: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw complete queries (N, K, d) and items (N, d); the turns of the modalities are always the same."""
    generator = np.random.default_rng(np.asarray(jax.random.key_data(key)))
    count, d = len(config.noise), config.dimension
    turns = scipy.stats.ortho_group.rvs(d, size=count, random_state=0).reshape(count, d, d)
    items = generator.normal(size=(number, d))
    spread = np.sqrt(config.noise)[:, None]
    noise = spread * generator.normal(size=(number, count, d))
    return np.einsum("nd,kde->nke", items, turns) + noise, items


def _measured(config: Config, key: jax.Array) -> dict[str, np.ndarray]:
    """MRR of every family for every set, trained and untrained, (families, sets)."""
    sample_key, test_key, pair_key, fit_key = jax.random.split(key, 4)
    pairs = array_pairs(pair_key, *pairs_of(config, sample_key, config.training))
    queries, items = pairs_of(config, test_key, 2**config.log2_size)
    rows = []
    for name in config.families:
        row: dict[str, np.ndarray] = {}
        for kind, steps in (("", config.steps), ("untrained_", 0)):
            found = family_points.systems(fit_key, FAMILIES[name], pairs, (config.bits,), steps)
            point = family_points.stacked(
                [
                    family_points.intervals(
                        family_points.ranked(
                            fit_key, found, queries * there[:, None], items, config.confidence
                        )
                    )
                    for there in present_sets(config)
                ]
            )
            row |= {f"{kind}{field}": value[:, 0] for field, value in point.items()}
        rows.append(row)
    return family_points.stacked(rows)


def _limits(config: Config) -> dict[str, np.ndarray]:
    """Converse and information of every set, and of a coordinate in cells the stacked information."""
    sets, d = present_sets(config), config.dimension
    # The modalities present have one sufficient statistic, with the noise of their weighted mean.
    noise = 1 / (sets / np.array(config.noise)).sum(axis=1)
    eye = np.eye(d)
    converse = [
        float(
            limits.retrieval_converse(
                sources.vector_gaussian((1 + n) * eye, eye, eye),
                float(config.log2_size),
                "reciprocal_rank",
                bits=float(config.bits),
            ).loss
        )
        for n in noise
    ]
    seen = _coordinate(config)
    probability = probabilities(config)
    presence = np.zeros((2,) * len(config.noise))
    presence[tuple(sets.T)] = probability
    each = [float(seen.mutual_information(tuple(np.flatnonzero(row).tolist()))) for row in sets]
    stacked = sources.with_missing(seen, presence=presence)
    return {
        "converse": 1 - np.array(converse),
        "information": 0.5 * d * np.log2(1 + 1 / noise),
        "stacked": np.asarray(stacked.mutual_information),
        "averaged": np.asarray(probability @ each),
    }


def _coordinate(config: Config) -> sources.MultimodalSource:
    """One coordinate of the item and of the modalities, cut into cells of equal probability."""
    edges = scipy.stats.norm.ppf(np.linspace(0, 1, config.cells + 1))
    middle = scipy.stats.norm.ppf((np.arange(config.cells) + 0.5) / config.cells)
    channels = []
    for n in config.noise:
        below = scipy.stats.norm.cdf((edges * np.sqrt(1 + n) - middle[:, None]) / np.sqrt(n))
        channels.append(np.diff(below, axis=1))
    return sources.multimodal(np.full(config.cells, 1 / config.cells), channels)


def lost(dataset: xarray.Dataset) -> xarray.DataArray:
    """MRR that each family lacks of the converses, on average over the sets that may be present."""
    gap = (dataset.converse - dataset.mrr).mean("seed")
    return (dataset.probability * gap).sum("present")


def checks(dataset: xarray.Dataset) -> list[Check]:
    """No family beats the converse of a set; all beat a random ranking and their start; which loses least."""
    complete = dataset.isel(present=0)
    loss = lost(dataset)
    seen = family_points.lower_over_seeds(
        dataset, 2 ** dataset.attrs["log2_size"], dataset.attrs["confidence"]
    )
    found = [
        C27.monte_carlo.at_most(
            "MRR by which a family's interval lies above the converse of the modalities present",
            (dataset.lower - dataset.converse).max(),
            0.0,
        ),
        C27.monte_carlo.at_most(
            "MRR by which a random ranking lies above a family's interval over the queries of all seeds, for any "
            "modalities present",
            family_points.random_order_mrr(dataset.attrs["log2_size"]) - seen.min(),
            0.0,
        ),
        C27.monte_carlo.at_most(
            "MRR by which an untrained start's interval reaches above that of the trained family, all present",
            (complete.untrained_upper - complete.lower).max(),
            0.0,
        ),
        C30.exact.close(
            "information of the stacked source of a coordinate in cells, bits",
            dataset.stacked,
            dataset.averaged,
            1e-9,
        ),
    ]
    for name in dataset.family.values:
        found.append(
            C30.monte_carlo.inside(
                f"MRR that {name} lacks of the converses, on average over what is present",
                loss.sel(family=name),
                0.0,
                float((dataset.probability * dataset.converse).sum()),
            )
        )
    if {"padding", "padding, gaps"} <= set(dataset.family.values):
        found.append(
            C30.monte_carlo.at_most(
                "MRR by which padding trained on complete pairs lies above padding trained with gaps",
                loss.sel(family="padding, gaps") - loss.sel(family="padding"),
                0.0,
            )
        )
    return found
