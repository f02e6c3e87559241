"""Sets of regions and words: cross-attention beside a dual encoder of the means, at equal bits.

Each pair shares latent Gaussian parts, which its regions and its words show noisily in two random orders. An item
is stored as a set of quantized regions, in no order, or as one quantized vector of its mean. Who knew the orders had
Gaussian pairs of all coordinates, so that the converse of those (C27) holds here too.
"""

from dataclasses import dataclass
from typing import Any, Final

import jax
import jax.numpy as jnp
import numpy as np
import scipy.stats
import xarray

from experiments.runner import Check, Checkpoint, Claim, without_checkpoint
from experiments.shared import family_points
from rdsim import limits, sources
from rdsim.learning import DualEncoderFamily, RegionAttentionFamily, array_pairs

CLAIMS = ("C27",)
C27 = Claim("C27")
CONCATENATED: Final = "sets, concatenated"
AVERAGED: Final = "sets, averaged"
MEANS: Final = "means"


@dataclass(frozen=True)
class Config:
    """What is computed."""

    parts: int = 4
    """Latent parts of a pair, and regions, and words."""
    dimension: int = 4
    """Coordinates of each."""
    noise: float = 0.3
    """Variance of the noise of regions and of words; parts have variance one."""
    bits: tuple[int, ...] = (8, 16, 32)
    """Bits stored for an item."""
    seeds: int = 1
    """Fits of every family, and databases."""
    steps: int = 200
    """Training steps of every fit."""
    training: int = 2048
    """Pairs that are learned from."""
    log2_size: int = 9
    """log2 of the database size; every item is looked for once."""
    confidence: float = 0.95
    """Confidence of each interval."""

    @property
    def families(self) -> dict[str, Any]:
        """The families compared."""
        return {
            CONCATENATED: RegionAttentionFamily(regions=self.parts),
            AVERAGED: RegionAttentionFamily(regions=self.parts, joined="averaged"),
            MEANS: DualEncoderFamily(quantizer="product"),
        }


SMOKE = Config(bits=(8, 32), steps=150, training=1024)
QUICK = Config()
FULL = Config(bits=(8, 16, 32, 64), seeds=5, steps=1500, training=8192, log2_size=11)


def part_pairs(
    config: Config, key: jax.Array, number: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Draw words (N, M, d) and regions (N, R, d) of common parts, and which region each word shows, (N, M)."""
    generator = np.random.default_rng(np.asarray(jax.random.key_data(key)))
    shape = (number, config.parts, config.dimension)
    turn = scipy.stats.ortho_group.rvs(config.dimension, random_state=0)
    common = generator.normal(size=shape)
    noise = np.sqrt(config.noise)
    regions, words = (
        common @ map_ + noise * generator.normal(size=shape)
        for map_ in (np.eye(config.dimension), turn)
    )
    orders = [
        generator.permuted(np.tile(np.arange(config.parts), (number, 1)), axis=1) for _ in range(2)
    ]
    regions, words = (
        np.take_along_axis(side, order[..., None], axis=1)
        for side, order in zip((regions, words), orders, strict=True)
    )
    place = np.argsort(orders[0], axis=1)
    return words, regions, np.take_along_axis(place, orders[1], axis=1)


def run(
    config: Config, key: jax.Array, checkpoint: Checkpoint = without_checkpoint
) -> xarray.Dataset:
    """Fit the families, rank a database with each, and look at what the words of its pairs attend to."""
    measured = family_points.over_seeds(checkpoint, _measured, config, key)
    example = {name: measured.pop(name)[..., 0] for name in ("alpha", "beta", "match")}
    right = measured.pop("right")
    one = {"units": "1"}
    return xarray.Dataset(
        {
            **{name: (("family", "bits", "seed"), value, one) for name, value in measured.items()},
            "alpha": (("region", "word"), example["alpha"], one),
            "beta": (("region", "word"), example["beta"], one),
            "match": ("word", example["match"], one),
            "right": ("seed", right, one),
            "converse": ("bits", checkpoint("converse", _converse, config)["mrr"], one),
        },
        coords={
            "family": list(config.families),
            "bits": ("bits", list(config.bits), {"units": "bits per item"}),
            "seed": np.arange(config.seeds),
            "region": 1 + np.arange(config.parts),
            "word": 1 + np.arange(config.parts),
        },
        attrs={"log2_size": config.log2_size, "training": config.training, "parts": config.parts},
    )


def _measured(config: Config, key: jax.Array) -> dict[str, np.ndarray]:
    """MRR of the families, (families, bits), and the attention in pairs, stored at the most bits."""
    sample_key, test_key, pair_key, fit_key = jax.random.split(key, 4)
    words, regions, _ = part_pairs(config, sample_key, config.training)
    new_words, new_regions, match = part_pairs(config, test_key, 2**config.log2_size)
    rows, found = [], []
    for name, family in config.families.items():
        means = name == MEANS
        pairs = array_pairs(
            pair_key, _side(words, means, whole=False), _side(regions, means, whole=True)
        )
        test = _side(new_words, means, whole=False), _side(new_regions, means, whole=True)
        row: dict[str, np.ndarray] = {}
        for kind, steps in (("", config.steps), ("untrained_", 0)):
            systems = family_points.systems(fit_key, family, pairs, config.bits, steps)
            point = family_points.intervals(
                family_points.ranked(fit_key, systems, *test, config.confidence)
            )
            row |= {f"{kind}{field}": value for field, value in point.items()}
            if name == CONCATENATED and not kind:
                found = systems
        rows.append(row)
    return family_points.stacked(rows) | _attention(found[-1], new_words, new_regions, match)


def _side(sets: np.ndarray, means: bool, *, whole: bool) -> np.ndarray:
    """Sets as their means, as they are, or one after the other in a row."""
    if means:
        return np.asarray(sets.mean(axis=1))
    return sets.reshape(len(sets), -1) if whole else sets


def _attention(
    system: Any, words: np.ndarray, regions: np.ndarray, match: np.ndarray
) -> dict[str, np.ndarray]:
    """Attention of the first pair, and the share of words that attend most to the region they show."""
    model = system[1].scores.module(system[1].parameters[0])

    def of_one(query: Any, item: Any) -> Any:
        alpha, beta = model.attention(query[None], model.embed_items(item[None]))
        return alpha[0, 0], beta[0, 0]

    flat = jnp.asarray(regions.reshape(len(regions), -1))
    alpha, beta = (np.asarray(part) for part in jax.jit(jax.vmap(of_one))(jnp.asarray(words), flat))
    return {
        "alpha": alpha[0],
        "beta": beta[0],
        "match": 1 + match[0],
        "right": np.mean(alpha.argmax(axis=1) == match),
    }


def _converse(config: Config) -> dict[str, np.ndarray]:
    """Largest MRR that codewords of so many bits under one encoder leave, if the orders were known."""
    eye = np.eye(config.parts * config.dimension)
    source = sources.vector_gaussian((1 + config.noise) * eye, (1 + config.noise) * eye, eye)
    bound = limits.retrieval_converse(
        source, float(config.log2_size), "reciprocal_rank", bits=np.array(config.bits, float)
    )
    return {"mrr": np.asarray(1 - bound.loss)}


def checks(dataset: xarray.Dataset) -> list[Check]:
    """No family beats the converse; each beats a random ranking and its start; attention finds the parts."""
    most = dataset.isel(bits=-1)
    sets = most.sel(family=[CONCATENATED, AVERAGED])
    return [
        C27.monte_carlo.at_most(
            "MRR by which a family's interval lies above the converse of its bits, orders known",
            (dataset.lower - dataset.converse).max(),
            0.0,
        ),
        C27.monte_carlo.at_most(
            "MRR by which a random ranking lies above a family's interval at the most bits",
            family_points.random_order_mrr(dataset.attrs["log2_size"]) - most.lower.min(),
            0.0,
        ),
        C27.monte_carlo.at_most(
            "MRR by which an untrained start's interval reaches above that of the trained family at the most "
            "bits",
            (most.untrained_upper - most.lower).max(),
            0.0,
        ),
        C27.monte_carlo.at_most(
            "MRR by which the interval of the means reaches above that of sets of regions, at the most bits",
            (most.upper.sel(family=MEANS) - sets.lower).max(),
            0.0,
        ),
        C27.monte_carlo.inside(
            "share of words that attend most to the region of their own part, unlike a random choice",
            dataset.right.min(),
            1.2 / dataset.attrs["parts"],
            1.0,
        ),
    ]
