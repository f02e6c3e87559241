"""Rank distribution: one evaluation for every database size, beside simulated databases."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
import xarray

from experiments.runner import Check, Checkpoint, Claim, without_checkpoint
from rdsim import ranking, simulation, sources
from rdsim.information import information_density

CLAIMS = ("C1",)
C1 = Claim("C1")
LOSSES: dict[str, ranking.Loss] = {
    "error": "error",
    "reciprocal rank": "reciprocal_rank",
    "miss at 10": ("miss", 10),
    "DCG": "dcg",
}
SIMULATION_CONFIDENCE = 1 - 1e-8


@dataclass(frozen=True)
class Config:
    """What is computed."""

    letters: int = 12
    """Letters of query and item; the joint distribution is a random table drawn from the key."""
    concentration: float = 0.05
    """Parameter of the Dirichlet distribution of the table; a small one makes the source
    informative."""
    largest: int = 40
    """log2 of the largest database on the exact curve."""
    simulated_log2_sizes: tuple[int, ...] = (1, 3, 5, 7, 9)
    """log2 of the simulated database sizes."""
    trials: int = 2**14
    """Databases drawn for each simulated size; a power of two, which batches divide."""


SMOKE = Config(letters=4, largest=10, simulated_log2_sizes=(1, 3), trials=512)
QUICK = Config()
FULL = Config(simulated_log2_sizes=(1, 3, 5, 7, 9, 11, 13), trials=2**18)


def run(
    config: Config, key: jax.Array, checkpoint: Checkpoint = without_checkpoint
) -> xarray.Dataset:
    """Compute the exact curve over database sizes and the simulated points."""
    exact = checkpoint("exact", _exact, config, key)
    simulated = [
        checkpoint(f"simulated-{s}", _simulated, config, key, s)
        for s in config.simulated_log2_sizes
    ]
    unit = {"units": "1"}
    point = ("loss_name", "simulated_log2_size")
    return xarray.Dataset(
        {
            "loss": (("loss_name", "log2_size"), exact["loss"], unit),
            **{
                name: (point, np.stack([part[name] for part in simulated], axis=1), unit)
                for name in ("mean", "lower", "upper")
            },
            "exact": (point, exact["at_simulated"], unit),
        },
        coords={
            "loss_name": list(LOSSES),
            "log2_size": ("log2_size", exact["log2_size"], {"units": "bits"}),
            "simulated_log2_size": list(config.simulated_log2_sizes),
        },
    )


def _source(config: Config, key: jax.Array) -> sources.DiscreteSource:
    cells = config.letters**2
    table = jax.random.dirichlet(key, jnp.full(cells, config.concentration))
    return sources.discrete(table.reshape(config.letters, config.letters))


def _exact(config: Config, key: jax.Array) -> dict[str, np.ndarray]:
    log2_size = np.linspace(1.0, config.largest, 2 * config.largest - 1)
    everywhere = np.concatenate([log2_size, config.simulated_log2_sizes])
    joint = _source(config, key).joint
    loss = [ranking.scored_loss(joint, everywhere, loss) for loss in LOSSES.values()]
    curve, at_simulated = np.split(np.stack(loss), [log2_size.size], axis=1)
    return {"log2_size": log2_size, "loss": curve, "at_simulated": at_simulated}


def _simulated(config: Config, key: jax.Array, log2_size: int) -> dict[str, np.ndarray]:
    """Draw databases item by item, score the query against each, rank with ties at random."""
    source = _source(config, key)
    scores = information_density(source.joint)
    keys = jax.random.split(jax.random.fold_in(key, log2_size), config.trials)

    def trial(trial_key: jax.Array) -> jax.Array:
        database_key, tie_key = jax.random.split(trial_key)
        x, y = source.sample(database_key, (2**log2_size,))
        return ranking.rank(tie_key, scores[x[0], y], 0)

    batch = max(1, 2**18 // 2**log2_size)
    ranks = simulation.SimulatedRanks(
        ranks=jax.jit(lambda k: jax.lax.map(trial, k, batch_size=batch))(keys)
    )
    estimates = [ranks.estimate(loss, confidence=SIMULATION_CONFIDENCE) for loss in LOSSES.values()]
    return {
        name: np.array([getattr(e, name) for e in estimates]) for name in ("mean", "lower", "upper")
    }


def checks(dataset: xarray.Dataset) -> list[Check]:
    """Check that every simulated interval contains the exact loss, and compare a known value."""
    outside = int(((dataset.exact < dataset.lower) | (dataset.exact > dataset.upper)).sum())
    mrr = 1 - ranking.expected_loss(
        np.log2(1000), "reciprocal_rank", log_a=np.log(0.001), log_e=-np.inf
    )
    statement = f"simulated intervals (of {dataset.exact.size}) that miss the exact loss"
    return [
        C1.monte_carlo.at_most(statement, outside, 0),
        C1.closed_form.close("MRR at M = 1000, p = 0.001", mrr, 0.632304575, 1e-9),
    ]
