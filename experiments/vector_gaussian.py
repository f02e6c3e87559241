"""Gaussian vectors of unequal correlations: test channel, converses and the bits of the modes."""

from dataclasses import dataclass

import jax
import numpy as np
import xarray

from experiments.runner import Check, Checkpoint, Claim, without_checkpoint
from rdsim import codes, limits, sources

CLAIMS = ("C29",)
C29 = Claim("C29")
MODES = 64
CORRELATIONS = 0.95 * np.arange(1, MODES + 1) ** -0.35
KNOWN_BITS = (8, 16, 32, 64)
KNOWN_RANKS = (0.139, 0.231, 0.344, 0.471)
"""Mean reciprocal rank among 2^10 items, by simulated databases to within .01."""
SIMULATION_ERROR = 0.01
KNOWN_SIZE = 1024
CONFIDENCE = 1 - 1e-8


@dataclass(frozen=True)
class Config:
    """What is computed."""

    bits: tuple[int, ...] = (8, 16, 32, 64)
    """Bits stored for an item."""
    sizes: tuple[int, ...] = (KNOWN_SIZE, 10**6)
    """Numbers of items M."""
    queries: int = 512
    """Points over which the channel's loss is averaged."""


SMOKE = Config(bits=(8, 16), sizes=(KNOWN_SIZE,), queries=64)
QUICK = Config()
FULL = Config(bits=(2, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128), queries=8192)


def run(
    config: Config, key: jax.Array, checkpoint: Checkpoint = without_checkpoint
) -> xarray.Dataset:
    """Compute the channel's losses with the bits of its modes, and the converses."""
    channel = checkpoint("channel", _channel, config, key)
    bounds = checkpoint("converse", _converse, config)
    unit, bits = {"units": "1"}, {"units": "bits per item"}
    table = ("size", "bits")
    return xarray.Dataset(
        {
            "rates": (("bits", "mode"), channel.pop("rates"), {"units": "bits"}),
            **{name: (table, values, unit) for name, values in channel.items()},
            **{name: (table, values, unit) for name, values in bounds.items()},
        },
        coords={
            "size": ("size", list(config.sizes), {"units": "items"}),
            "bits": ("bits", list(config.bits), bits),
            "mode": np.arange(1, MODES + 1),
        },
    )


def _source() -> sources.GaussianSource:
    eye = np.eye(MODES)
    return sources.vector_gaussian(eye, eye, np.diag(CORRELATIONS))


def _channel(config: Config, key: jax.Array) -> dict[str, np.ndarray]:
    found = {}
    for name, loss in (("recall", "error"), ("reciprocal_rank", "reciprocal_rank")):
        one = codes.gaussian_test_channel(
            key,
            _source(),
            np.log2(config.sizes),
            loss,
            bits=np.array(config.bits, float),
            queries=config.queries,
            confidence=CONFIDENCE,
        )
        found[name] = 1 - np.asarray(one.loss.value).T
        found[f"{name}_lower"] = 1 - np.asarray(one.loss.upper).T
        found[f"{name}_upper"] = 1 - np.asarray(one.loss.lower).T
        found["rates"] = np.asarray(one.rates)
    return found


def _converse(config: Config) -> dict[str, np.ndarray]:
    """Recall@1 left by every bound, shape (sizes, bits)."""
    bits, log2_size = np.array(config.bits, float), np.log2(config.sizes)[:, None]
    fixed, informed = (
        limits.retrieval_converse(
            _source(), log2_size, "error", bits=bits, rate=rate, encoder=encoder
        )
        for rate, encoder in (("fixed_length", "shared"), ("information", "joint"))
    )
    kept = limits.bottleneck_vector_gaussian(CORRELATIONS, rate=bits)
    return {
        "recall_fixed_length": 1 - np.asarray(fixed.loss),
        "recall_information": 1 - np.asarray(informed.loss),
        "recall_rank_rate": 1 - np.asarray(limits.rank_loss(log2_size, "error", rate=kept).lower),
    }


def checks(dataset: xarray.Dataset) -> list[Check]:
    """Check known values, and that the channel does not pass the bounds of its rate."""
    known = [place for place, b in enumerate(KNOWN_BITS) if b in dataset.bits]
    found = dataset.reciprocal_rank.sel(
        size=KNOWN_SIZE, bits=[KNOWN_BITS[place] for place in known]
    )
    return [
        C29.monte_carlo.at_most(
            "distance of the channel's mean reciprocal rank from simulated databases of 1,024 items",
            abs(found - np.array(KNOWN_RANKS)[known]).max(),
            SIMULATION_ERROR
            + (dataset.reciprocal_rank_upper - dataset.reciprocal_rank_lower).max(),
        ),
        C29.monte_carlo.at_most(
            "recall@1 by which the channel passes the bound for as much information",
            (dataset.recall_lower - dataset.recall_information).max(),
            0.0,
        ),
        C29.exact.at_most(
            "recall@1 by which the tilted bound of information lies above the rank rate",
            (dataset.recall_information - dataset.recall_rank_rate).max(),
            1e-9,
        ),
    ]
