"""Phase transition: random codes identify items up to IB(R) bits per letter.

Error of random codes on the doubly symmetric binary source against (log2 M)/n, exact at every
block length, with direct simulation at short ones.
"""

from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
import xarray

from experiments.runner import Check, Checkpoint, Claim, without_checkpoint
from rdsim import codes, limits, simulation

CLAIMS = ("C9", "C10", "C14")
C9, C10, C14 = map(Claim, CLAIMS)

SIMULATION_CONFIDENCE = 1 - 1e-8
"""Coverage of each simulated interval: that any of some dozens misses has probability below
1e-6."""


@dataclass(frozen=True)
class Config:
    """What is computed."""

    rate: float = 0.5
    """Bits stored for each letter of an item."""
    crossover: float = 0.1
    """Probability that a query bit differs from the item's."""
    block_lengths: tuple[int, ...] = (50, 100, 200, 400, 1000)
    """Letters in a block, exact curves."""
    grid: int = 41
    """Points along (log2 M)/n."""
    largest: float = 0.5
    """Largest (log2 M)/n."""
    simulated_lengths: tuple[int, ...] = (8, 16)
    """Letters in a block, direct simulation."""
    simulated_log2_sizes: tuple[int, ...] = (2, 4, 6)
    """log2 of the simulated database sizes."""
    trials: int = 4000
    """Databases drawn for each simulated point."""


SMOKE = Config(
    block_lengths=(50, 100),
    grid=5,
    simulated_lengths=(8,),
    simulated_log2_sizes=(2, 3),
    trials=500,
)
QUICK = Config()
FULL = Config(
    block_lengths=(50, 100, 200, 400, 1000, 4000),
    grid=161,
    simulated_lengths=(8, 12, 16, 20),
    simulated_log2_sizes=(2, 3, 4, 5, 6, 7),
    trials=100_000,
)


def run(
    config: Config, key: jax.Array, checkpoint: Checkpoint = without_checkpoint
) -> xarray.Dataset:
    """Compute the exact curves, the simulated points and the limit."""
    density = np.linspace(0.0, config.largest, config.grid + 1)[1:]
    limit = float(limits.bottleneck_dsbs(config.crossover, rate=config.rate))
    anchors = limit * np.array([0.9, 1.1])
    everywhere = np.concatenate([density, anchors])
    exact = np.stack(
        [
            checkpoint(f"exact-{n}", _exact, config, n, everywhere)["error"]
            for n in config.block_lengths
        ]
    )
    curves, at_anchors = np.split(exact, [density.size], axis=1)
    simulated = [
        checkpoint(f"simulated-{n}", _simulated, config, key, n) for n in config.simulated_lengths
    ]
    sizes = np.array(config.simulated_log2_sizes, float)
    per_letter = {"units": "bits per letter"}
    probability = {"long_name": "error probability", "units": "1"}
    point = ("simulated_length", "log2_size")
    return xarray.Dataset(
        {
            "error": (("block_length", "density"), curves, probability),
            "anchor_error": (("block_length", "share_of_limit"), at_anchors, probability),
            "limit": ((), limit, {"long_name": "IB(R)", **per_letter}),
            **{
                name: (point, np.stack([cell[name] for cell in simulated]), probability)
                for name in (
                    "simulated_mean",
                    "simulated_lower",
                    "simulated_upper",
                    "simulated_exact",
                )
            },
        },
        coords={
            "block_length": list(config.block_lengths),
            "density": ("density", density, {"long_name": "(log2 M)/n", **per_letter}),
            "share_of_limit": [0.9, 1.1],
            "simulated_length": list(config.simulated_lengths),
            "log2_size": ("log2_size", sizes, {"long_name": "log2 M", "units": "bits"}),
        },
        attrs={"rate": config.rate, "crossover": config.crossover},
    )


def _exact(config: Config, n: int, density: np.ndarray) -> dict[str, np.ndarray]:
    """Exact error where the database has at least two items, NaN elsewhere."""
    log2_size = n * density
    error = codes.dsbs_ensemble(
        config.crossover, np.maximum(log2_size, 1.0), "error", n=n, rate=config.rate
    )
    return {"error": np.where(log2_size >= 1, error, np.nan)}


def _simulated(config: Config, key: jax.Array, n: int) -> dict[str, np.ndarray]:
    sizes = np.array(config.simulated_log2_sizes, float)
    code: dict[str, Any] = {"n": n, "rate": config.rate}
    ranks = simulation.simulate_dsbs(
        jax.random.fold_in(key, n), config.crossover, sizes, **code, trials=config.trials
    )
    exact = codes.dsbs_ensemble(config.crossover, sizes, "error", **code)
    estimate = ranks.estimate("error", confidence=SIMULATION_CONFIDENCE)
    return {
        "simulated_mean": np.asarray(estimate.mean),
        "simulated_lower": np.asarray(estimate.lower),
        "simulated_upper": np.asarray(estimate.upper),
        "simulated_exact": np.asarray(exact),
    }


def checks(dataset: xarray.Dataset) -> list[Check]:
    """Compare simulation with the exact sums, and the transition with IB(R)."""
    exact = dataset.simulated_exact
    outside = int(((exact < dataset.simulated_lower) | (exact > dataset.simulated_upper)).sum())
    below, above = (dataset.anchor_error.sel(share_of_limit=share) for share in (0.9, 1.1))
    found = [
        C14.monte_carlo.at_most(
            f"simulated intervals (of {exact.size}) that miss the exact error", outside, 0
        ),
        C9.exact.at_most(
            "largest rise of the error with n at 0.9 IB(R)", below.diff("block_length").max(), 0
        ),
        C9.exact.at_most(
            "largest fall of the error with n at 1.1 IB(R)", -above.diff("block_length").min(), 0
        ),
    ]
    if (dataset.attrs["rate"], dataset.attrs["crossover"]) == (0.5, 0.1):
        found.append(
            C10.closed_form.close("IB(1/2) at crossover 0.1", dataset.limit, 0.302684135, 1e-9)
        )
        for n, wanted in (
            (100, (0.2569, 0.6109)),
            (400, (0.1367, 0.7922)),
            (1000, (0.0513, 0.9184)),
        ):
            if n not in dataset.block_length:
                continue
            for share, value in zip((0.9, 1.1), wanted, strict=True):
                measured = dataset.anchor_error.sel(block_length=n, share_of_limit=share)
                found.append(
                    C14.exact.close(f"error at n={n}, {share} IB(R)", measured, value, 5e-5)
                )
    return found
