"""Learned retrieval codes: one letter an item, trained on the exact loss, above the converse of C26."""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import xarray

from experiments.runner import Check, Checkpoint, Claim, without_checkpoint
from rdsim import limits, sources
from rdsim.information import binary_capacity
from rdsim.learning import Schedule, discrete_code, train, whole_data
from rdsim.learning.stochastic import retrieval_objective
from rdsim.ranking import scored_loss

CLAIMS = ("C4", "C12", "C26")
C4, C12, C26 = map(Claim, CLAIMS)
CROSSOVER = 0.1
LOSS = "reciprocal_rank"
WITHIN = 0.05
"""Bits per item within which a learned code of few codewords should reach the inner bound, which has
dozens."""
SEARCHED = 0.001
"""Bits by which the inner bound may miss the best single channel, used for every item, of this
source."""


@dataclass(frozen=True)
class Config:
    """What is trained."""

    log2_sizes: tuple[int, ...] = (1, 4, 10)
    """log2 of the database sizes."""
    multipliers: tuple[float, ...] = (0.35, 0.6, 0.9, 1.4, 2.5)
    """Lagrange multipliers of the loss, bits per unit, as multiples of one bit over the range of
    the loss."""
    seeds: int = 2
    """Runs of each."""
    codewords: int = 4
    """K of every code."""
    hidden: int = 16
    """Width of the hidden layer of either encoder."""
    steps: int = 600
    """Steps of the optimiser."""
    line: int = 21
    """Points along the bounds."""


SMOKE = Config(log2_sizes=(4,), multipliers=(0.9,), seeds=1, steps=150, line=5)
QUICK = Config()
FULL = Config(
    log2_sizes=(1, 2, 4, 7, 10, 15, 20),
    multipliers=tuple(np.geomspace(0.25, 4.0, 9).tolist()),
    codewords=8,
    steps=1500,
    line=201,
)


def run(
    config: Config, key: jax.Array, checkpoint: Checkpoint = without_checkpoint
) -> xarray.Dataset:
    """Train codes of all sizes, multipliers and seeds together; compute the bounds around them."""
    bounds = [checkpoint(f"bounds-{size}", _bounds, config, size) for size in config.log2_sizes]
    ranges = np.array([part["range"].item() for part in bounds])
    codes = checkpoint("codes", _trained, config, ranges, key)
    at = [
        _around(size, codes["loss"][place], bounds[place])
        for place, size in enumerate(config.log2_sizes)
    ]
    runs, line = ("log2_size", "multiplier", "seed"), ("log2_size", "sample")
    bits, loss = {"units": "bits"}, {"long_name": "expected reciprocal-rank loss", "units": "1"}
    return xarray.Dataset(
        {
            "rate": (runs, codes["rate"], bits),
            "relevance": (runs, codes["relevance"], bits),
            "index_entropy": (runs, codes["index_entropy"], bits),
            "loss": (runs, codes["loss"], loss),
            "learned_loss": (runs, codes["learned_loss"], loss),
            "outer_at": (runs, np.stack([part["outer"] for part in at]), bits),
            "inner_at": (runs, np.stack([part["inner"] for part in at]), bits),
            "rank_rate": (runs, np.stack([part["rank_rate"] for part in at]), bits),
            **{
                name: (line, np.stack([part[name] for part in bounds]), units)
                for name, units in (
                    ("line_loss", loss),
                    ("inner", bits),
                    ("outer", bits),
                    ("any_data", bits),
                    ("bottleneck_loss", loss),
                    ("bottleneck_rate", bits),
                )
            },
        },
        coords={
            "log2_size": ("log2_size", list(config.log2_sizes), {"units": "bits"}),
            "multiplier": ("multiplier", list(config.multipliers), {"units": "bits"}),
            "seed": np.arange(config.seeds),
        },
        attrs={"within": WITHIN, "crossover": CROSSOVER},
    )


def _bounds(config: Config, size: int) -> dict[str, Any]:
    """Compute both bounds along the loss, and the bottleneck's own code, a binary channel."""
    source = sources.dsbs(CROSSOVER)
    found = limits.retrieval_bounds(source, size, LOSS, n=1)
    loss = np.linspace(float(found.vertex_loss[0]), float(found.zero_rate_loss), config.line)
    noise = np.linspace(0, 0.5, config.line)
    channels = np.stack([1 - noise, noise, noise, 1 - noise], axis=1).reshape(-1, 2, 2)
    through = [np.asarray(source.joint @ channel) for channel in channels]
    return {
        "range": loss[-1] - loss[0],
        "line_loss": loss,
        "inner": np.interp(loss, found.vertex_loss, found.vertex_bits),
        "outer": _outer(loss, size),
        "any_data": _rank_rate(loss, size),
        "bottleneck_loss": np.array([float(scored_loss(table, size, LOSS)) for table in through]),
        "bottleneck_rate": np.asarray(binary_capacity(jnp.asarray(1 - 2 * noise))),
        "vertex_loss": np.asarray(found.vertex_loss),
        "vertex_bits": np.asarray(found.vertex_bits),
    }


def _outer(loss: np.ndarray, size: int) -> np.ndarray:
    """Bits that every encoder needs at these losses, joint ones too (C26)."""
    curve = limits.retrieval_curve(
        sources.dsbs(CROSSOVER), float(size), LOSS, np.geomspace(0.01, 1.0, 7), encoder="joint"
    )
    # Certified from below, C26 may fall short of C4 by its gap where the two are close.
    return np.maximum(curve.rate_at(loss).lower, _rank_rate(loss, size))


def _rank_rate(loss: np.ndarray, size: int) -> np.ndarray:
    """The weaker converse that holds for any data (C4)."""
    needed = limits.rank_rate(float(size), LOSS, distortion=loss).lower
    return np.asarray(limits.bottleneck_dsbs_rate(CROSSOVER, relevance=jnp.maximum(needed, 0.0)))


def _around(size: int, loss: np.ndarray, found: dict[str, np.ndarray]) -> dict[str, Any]:
    """Return the bounds at the losses of the learned codes."""
    return {
        "outer": _outer(loss, size),
        "inner": np.interp(loss, found["vertex_loss"], found["vertex_bits"]),
        "rank_rate": np.asarray(limits.rank_rate(float(size), LOSS, distortion=loss).lower),
    }


def _trained(config: Config, ranges: np.ndarray, key: jax.Array) -> dict[str, np.ndarray]:
    source = sources.dsbs(CROSSOVER)
    shape = (len(config.log2_sizes), len(config.multipliers), config.seeds)
    multiplier, size, width = (
        np.broadcast_to(part, shape).ravel()
        for part in (
            np.array(config.multipliers)[:, None],
            np.array(config.log2_sizes, float)[:, None, None],
            ranges[:, None, None],
        )
    )
    learner = retrieval_objective.RetrievalCodeLearner(
        letters=(2, 2), codewords=config.codewords, hidden=(config.hidden,), rank_loss=LOSS
    )
    trained = train(
        key,
        learner,
        whole_data,
        source,
        source,
        {"slope": jnp.asarray(multiplier / width), "log2_size": jnp.asarray(size)},
        schedule=Schedule(
            steps=config.steps,
            evaluate_every=max(config.steps // 10, 1),
            learning_rate=3e-2,
        ),
    )
    codes = [discrete_code(trained.model(run), source) for run in range(size.size)]
    found = {
        "rate": [code.rate for code in codes],
        "relevance": [code.relevance for code in codes],
        "index_entropy": [code.index_entropy for code in codes],
        "loss": [code.loss(m, LOSS, learned=False) for code, m in zip(codes, size, strict=True)],
        "learned_loss": [code.loss(m, LOSS) for code, m in zip(codes, size, strict=True)],
    }
    return {name: np.array(value, float).reshape(shape) for name, value in found.items()}


def checks(dataset: xarray.Dataset) -> list[Check]:
    """Check the learned codes against both bounds, the converse and their own decoders."""
    above = dataset.rate - dataset.inner_at
    share = (dataset.learned_loss - dataset.loss) / (
        dataset.line_loss.max("sample") - dataset.line_loss.min("sample")
    )
    return [
        C12.exact.at_most(
            "bits above the inner bound, best seed, worst size and multiplier",
            above.min("seed").max(),
            WITHIN,
        ),
        C12.exact.at_most(
            "bits above the inner bound, worst seed, size and multiplier", above.max(), WITHIN
        ),
        C12.exact.at_most(
            "bits by which a learned code lies below the inner bound", -above.min(), SEARCHED
        ),
        C26.exact.at_most(
            "bits by which a learned code lies below the converse for every encoder",
            (dataset.outer_at - dataset.rate).max(),
            1e-9,
        ),
        C4.exact.at_most(
            "rank rate of the learned codes' losses less their I(X;U), bits",
            (dataset.rank_rate - dataset.relevance).max(),
            1e-9,
        ),
        C12.exact.at_most(
            "loss of the learned scores above that of the best scores, fraction of the range, "
            "median",
            share.median(),
            0.01,
        ),
        C12.exact.at_most(
            "loss by which learned scores beat the information density", -share.min(), 1e-12
        ),
    ]
