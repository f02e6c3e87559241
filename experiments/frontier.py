"""Frontier: bits per item against retrieval loss, the rank converse and exact random codes.

For the doubly symmetric binary source: no system that stores B bits per item has a loss below the
converse, and random codes of n letters come this close to it.
"""

from dataclasses import dataclass

import jax
import numpy as np
import xarray

from experiments.runner import Check, Checkpoint, without_checkpoint
from rdsim import codes, limits

CLAIMS = ("C4",)
LOSSES = ("reciprocal_rank", "error")


@dataclass(frozen=True)
class Config:
    """What is computed."""

    crossover: float = 0.1
    """Probability that a query bit differs from the item's."""
    block_lengths: tuple[int, ...] = (32, 64, 128, 256)
    """Letters in an item."""
    log2_sizes: tuple[int, ...] = (10, 20, 40)
    """log2 of the database sizes."""
    rates: int = 33
    """Points along the rate of the random codes, from 0 to 1 bit per letter."""
    losses: int = 49
    """Points along the loss of the converse."""


SMOKE = Config(block_lengths=(32,), log2_sizes=(10,), rates=5, losses=7)
QUICK = Config()
FULL = Config(block_lengths=(32, 64, 128, 256, 512, 1024), rates=129, losses=199)


def run(
    config: Config,
    key: jax.Array,  # noqa: ARG001
    checkpoint: Checkpoint = without_checkpoint,
) -> xarray.Dataset:
    """Compute the loss of random codes and the converse for every block length and size."""
    rates = np.linspace(0.0, 1.0, config.rates)
    loss_grid = np.linspace(0.0, 1.0, config.losses + 1)[:-1]
    cells = [
        checkpoint(f"block-{n}", _block, config, n, rates, loss_grid) for n in config.block_lengths
    ]
    code, at_code, curve = (
        np.stack([part[name] for part in cells])
        for name in ("loss", "converse_at_code", "converse")
    )
    bits = {"long_name": "bits per item", "units": "bits"}
    dims = ("block_length", "loss_name", "log2_size")
    return xarray.Dataset(
        {
            "code_loss": ((*dims, "rate"), code, {"units": "1"}),
            "code_bits": (("block_length", "rate"), np.outer(config.block_lengths, rates), bits),
            "converse_at_code": ((*dims, "rate"), at_code, bits),
            "converse_bits": ((*dims, "loss"), curve, bits),
        },
        coords={
            "block_length": list(config.block_lengths),
            "loss_name": list(LOSSES),
            "log2_size": list(config.log2_sizes),
            "rate": ("rate", rates, {"units": "bits per letter"}),
            "loss": ("loss", loss_grid, {"units": "1"}),
        },
        attrs={"crossover": config.crossover},
    )


def _block(
    config: Config, n: int, rates: np.ndarray, loss_grid: np.ndarray
) -> dict[str, np.ndarray]:
    sizes = np.array(config.log2_sizes, float)[:, None]
    grid = np.broadcast_to(loss_grid, (sizes.size, loss_grid.size))
    loss, converse = [], []
    for name in LOSSES:
        found = np.asarray(codes.dsbs_ensemble(config.crossover, sizes, name, n=n, rate=rates))
        both = np.concatenate([found, grid], axis=1)
        loss.append(found)
        converse.append(_converse(config, n, both, sizes, name))
    at_code, curve = np.split(np.stack(converse), [rates.size], axis=-1)
    return {"loss": np.stack(loss), "converse_at_code": at_code, "converse": curve}


def _converse(config: Config, n: int, loss: np.ndarray, sizes: np.ndarray, name: str) -> np.ndarray:
    """Least bits per item, n IB^{-1}(R_rho(D; M)/n), from the certified lower bound on R_rho."""
    needed = limits.rank_rate(sizes, name, distortion=loss).lower / n
    return np.asarray(n * limits.bottleneck_dsbs_rate(config.crossover, relevance=needed))


def checks(dataset: xarray.Dataset) -> list[Check]:
    """Check that no code lies beyond the converse, and that there are points at which both exist."""
    excess = (dataset.converse_at_code - dataset.code_bits).max()
    return [
        Check.at_most(
            "C4", "bits by which a random code beats the converse", "exact", excess, 1e-9
        ),
    ]
