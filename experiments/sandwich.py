"""Retrieval sandwich: bits per item against loss, between the converse and single channels.

The inner bound is the best single channel that was found, used for every item of the database;
encoders that describe items jointly need fewer bits. Outer and inner bounds for three sources over
database sizes, the gap per letter as blocks grow at a fixed (log2 M)/n, and the self-consistent
schemes of single letters beside their bounds.

The outer bound holds for joint encoders of so much information: C4, for items of one letter C26, and for Gaussian items half-spaces of this
notion of rate (C27).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import jax
import numpy as np
import xarray

from experiments.runner import Check, Checkpoint, Claim, without_checkpoint
from rdsim import sources
from rdsim.limits import bottleneck_gaussian_rate, rank_rate, retrieval_bounds, self_consistent
from rdsim.sources import gaussian

CLAIMS = ("C12", "C13", "C27")
C12, C13, C27 = map(Claim, CLAIMS)
LOSS = "reciprocal_rank"
SOURCES: dict[str, Callable[..., sources.DiscreteSource | sources.GaussianSource]] = {
    "DSBS": lambda config: sources.dsbs(config.crossover),
    "erasure pair": lambda config: sources.binary_erasure_pair(config.erasure),
    "Gaussian": lambda config: gaussian(config.correlation),
}


@dataclass(frozen=True)
class Config:
    """What is computed."""

    crossover: float = 0.1
    """Crossover of the doubly symmetric binary source."""
    erasure: float = 0.3
    """Probability that the query letter of the erasure pair is erased."""
    correlation: float = 0.9
    """Correlation of the Gaussian pair."""
    log2_sizes: tuple[int, ...] = (5, 60)
    """log2 of the database sizes."""
    letters_per_bit: tuple[float, ...] = (3.2, 3.2, 0.8)
    """Letters in an item for each bit of log2 M, one number for each source."""
    points: int = 17
    """Points along the loss."""
    density: float = 0.25
    """(log2 M)/n of the growing blocks of the binary source."""
    block_lengths: tuple[int, ...] = (16, 128, 1024)
    """Letters in a growing block."""
    allowed: float = 0.2
    """Loss at which their gap is evaluated."""
    single_log2_size: int = 3
    """log2 of the database size for items of one letter."""
    slopes: tuple[float, ...] = (3.0, 6.0, 12.0, 20.0)
    """Slopes of the self-consistent schemes, bits per unit of loss."""
    starts: int = 6
    """Channels from which each of them is started."""


SMOKE = Config(
    log2_sizes=(20,),
    letters_per_bit=(0.8, 0.2, 0.8),
    points=5,
    block_lengths=(16, 128),
    slopes=(6.0,),
    starts=2,
)
QUICK = Config()
FULL = Config(
    log2_sizes=(5, 10, 20, 40, 60),
    points=65,
    block_lengths=(16, 32, 64, 128, 256, 512, 1024, 2048),
    slopes=(2.0, 3.0, 4.0, 6.0, 9.0, 12.0, 16.0, 20.0, 30.0),
    starts=16,
)


def run(
    config: Config, key: jax.Array, checkpoint: Checkpoint = without_checkpoint
) -> xarray.Dataset:
    """Compute the bounds of all sources and sizes, of growing blocks and of single letters."""
    cells = [
        [
            checkpoint(f"{name}-{size}".replace(" ", "-"), _bounds, config, name, size)
            for size in sizes
        ]
        for name in SOURCES
        for sizes in [config.log2_sizes]
    ]
    curves = {
        part: np.array([[entry[part] for entry in row] for row in cells])
        for part in ("loss", "outer", "inner", "letters")
    }
    known = np.array([_rank_rate_alone(config, size) for size in config.log2_sizes])
    growing = [checkpoint(f"block-{n}", _growing, config, n) for n in config.block_lengths]
    single = checkpoint("single", _single, config, key)
    bits = {"long_name": "bits per item", "units": "bits"}
    loss = {"long_name": "expected loss", "units": "1"}
    dims = ("source", "log2_size", "point")
    return xarray.Dataset(
        {
            "loss": (dims, curves["loss"], loss),
            "outer": (dims, curves["outer"], bits),
            "inner": (dims, curves["inner"], bits),
            "rank_rate": (
                dims[1:],
                known,
                bits | {"long_name": "bits per Gaussian item by C4 alone"},
            ),
            "letters": (dims[:2], curves["letters"], {"units": "letters"}),
            "gap_per_letter": (
                "block_length",
                np.array([entry["gap"] for entry in growing]),
                {"units": "bits per letter"},
            ),
            "single_loss": ("point", single["loss"], loss),
            "single_outer": ("point", single["outer"], bits),
            "single_inner": ("point", single["inner"], bits),
            **{
                name: (("slope", "start"), single[name], {"units": unit})
                for name, unit in (
                    ("fixed_loss", "1"),
                    ("fixed_bits", "bits"),
                    ("residual", "1"),
                    ("fixed_outer", "bits"),
                    ("fixed_inner", "bits"),
                )
            },
        },
        coords={
            "source": list(SOURCES),
            "log2_size": list(config.log2_sizes),
            "block_length": ("block_length", list(config.block_lengths), {"units": "letters"}),
            "slope": ("slope", list(config.slopes), {"units": "bits"}),
        },
        attrs={
            "density": config.density,
            "allowed": config.allowed,
            "single_log2_size": config.single_log2_size,
        },
    )


def _letters(config: Config, name: str, size: int) -> int:
    return math.ceil(size * config.letters_per_bit[list(SOURCES).index(name)])


def _losses(config: Config, size: int) -> np.ndarray:
    """Points inside the unit interval; below the least loss found the bounds are infinite."""
    top = 1.0 - 1e-9 if size > 30 else 1.0
    return top * np.linspace(0.01, 1.0, config.points)


def _rank_rate_alone(config: Config, size: int) -> np.ndarray:
    """What C4 asks of Gaussian items, bits."""
    n = _letters(config, "Gaussian", size)
    relevance = rank_rate(size, LOSS, distortion=_losses(config, size)).lower / n
    return np.asarray(n * bottleneck_gaussian_rate(config.correlation, relevance=relevance))


def _bounds(config: Config, name: str, size: int) -> dict[str, np.ndarray]:
    n, loss = _letters(config, name, size), _losses(config, size)
    bounds = retrieval_bounds(SOURCES[name](config), size, LOSS, n=n, distortion=loss)
    return {
        "loss": loss,
        "outer": np.asarray(bounds.lower),
        "inner": np.asarray(bounds.upper),
        "letters": np.array(n),
    }


def _growing(config: Config, n: int) -> dict[str, np.ndarray]:
    source = sources.dsbs(config.crossover)
    bounds = retrieval_bounds(
        source, config.density * n, LOSS, n=n, distortion=[config.allowed], rounds=0
    )
    return {"gap": np.asarray(bounds.gap[0] / n)}


def _single(config: Config, key: jax.Array) -> dict[str, np.ndarray]:
    source, size = sources.dsbs(config.crossover), config.single_log2_size
    found = [
        self_consistent(key, source.joint, size, LOSS, slope=slope, starts=config.starts)
        for slope in config.slopes
    ]
    fixed = np.array([scheme.distortion for scheme in found])
    least = retrieval_bounds(source, size, LOSS, n=1)
    loss = np.linspace(float(least.vertex_loss[0]), float(least.zero_rate_loss), config.points)
    at = np.concatenate([fixed.ravel(), loss])
    # By rounding a fixed point may lie below the least loss of all, that of the stored letter.
    at = np.clip(at, loss[0], 1.0)
    outer = np.asarray(retrieval_bounds(source, size, LOSS, n=1, distortion=at, rounds=0).lower)
    inner = np.interp(at, least.vertex_loss, least.vertex_bits)
    return {
        "loss": loss,
        "outer": outer[fixed.size :],
        "inner": inner[fixed.size :],
        "fixed_loss": fixed,
        "fixed_bits": np.array([scheme.rate for scheme in found]),
        "residual": np.array([scheme.residual for scheme in found]),
        "fixed_outer": outer[: fixed.size].reshape(fixed.shape),
        "fixed_inner": inner[: fixed.size].reshape(fixed.shape),
    }


def checks(dataset: xarray.Dataset) -> list[Check]:
    """Check the order of the bounds, that the gap shrinks, and the fixed points against both."""
    # Where a random ranking suffices both bounds are zero, and test nothing.
    found = np.isfinite(dataset.inner) & (dataset.inner > 0)
    worst = (dataset.outer - dataset.inner).where(found).max()
    gap = dataset.gap_per_letter
    # By how much half-spaces raise what Gaussian items need, of what C4 asks for, at the largest database.
    largest = dataset.sel(source="Gaussian").isel(log2_size=-1)
    finite = np.isfinite(largest.outer) & (largest.rank_rate > 0)
    raised = (largest.outer / largest.rank_rate).where(finite)
    converged = dataset.residual <= 1e-8
    return [
        C12.exact.at_most("bits by which an achieved point lies below the converse", worst, 1e-9),
        C12.exact.at_most(
            "gap per letter of the longest block over that of the shortest", gap[-1] / gap[0], 0.9
        ),
        C27.exact.at_most(
            "least bits by C4 over those by the tightest converse, Gaussian items",
            1 / raised.max(),
            0.99,
        ),
        C27.exact.at_most(
            "most bits by C4 over those by the tightest converse, Gaussian items",
            1 / raised.min(),
            1 + 1e-9,
        ),
        C13.exact.at_most(
            "least residual of the self-consistent schemes, worst slope",
            dataset.residual.min("start").max(),
            1e-8,
        ),
        C13.exact.at_most(
            "bits by which a self-consistent scheme lies below the converse",
            (dataset.fixed_outer - dataset.fixed_bits).max(),
            1e-9,
        ),
        C13.exact.at_most(
            "bits by which a self-consistent scheme lies below the best channels found",
            (dataset.fixed_inner - dataset.fixed_bits).where(converged).max(),
            1e-3,
        ),
    ]
