"""Bounds on the excess of learned codes: how often they fail, and how loose they are.

Three bounds hold for every source and every N; the quantile of the limit distribution, which no
theorem guarantees at finite N, shows that counting violations would reveal a bound that is too low.
"""

from dataclasses import dataclass

import jax
import numpy as np
import xarray

from experiments.runner import Check, Checkpoint, Claim, without_checkpoint
from experiments.shared.random_sources import Source, padded, random_source
from rdsim import finite_sample, simulation

CLAIMS = ("C21",)
C21 = Claim("C21")
BOUNDS = {
    "uniform": finite_sample.uniform_bound,
    "PAC-Bayes": finite_sample.pac_bayes_bound,
    "empirical Bernstein": finite_sample.empirical_bernstein_bound,
}
LIMIT = "limit distribution (no bound)"


@dataclass(frozen=True)
class Config:
    """What is computed."""

    samples: tuple[int, ...] = (10, 100, 1000, 10_000, 100_000, 1_000_000)
    """Numbers of samples N."""
    replications: int = 4096
    """Learned codes for each source and N."""
    violation: float = 0.05
    """Probability delta with which a bound may fail."""
    confidence: float = 0.9999
    """Coverage of each interval of a measured rate of violations."""


SMOKE = Config(samples=(100, 1_000_000), replications=512)
QUICK = Config()
FULL = Config(replications=100_000)


def sources() -> dict[str, Source]:
    """A coin, three letters at Hamming distortion, and random letters at two slopes."""
    p, d, slope = random_source(16)
    return {
        "coin": (np.array([0.7, 0.3]), 1 - np.eye(2), np.log2(9.0)),
        "three letters": (np.array([0.5, 0.3, 0.2]), 1 - np.eye(3), 3.0),
        "8 x 8, low slope": (p, d, slope / 2),
        "8 x 8, high slope": (p, d, slope),
    }


def run(
    config: Config, key: jax.Array, checkpoint: Checkpoint = without_checkpoint
) -> xarray.Dataset:
    """Count violations of every bound for every source and N."""
    named = sources()
    parts = [
        checkpoint(f"source-{i}", _source, config, jax.random.fold_in(key, i), source)
        for i, source in enumerate(named.values())
    ]
    nats, plain = {"units": "nats"}, {"units": "1"}
    grid = ("source", "samples")
    units = {
        "mean": (grid, nats),
        "quantile": (grid, {"long_name": "excess that delta of the codes exceed", **nats}),
        "largest": (grid, {"long_name": "largest excess", **nats}),
        "bound": (("source", "bound_name", "samples"), nats),
        "rate": (("source", "bound_name", "samples"), plain),
        "rate_lower": (("source", "bound_name", "samples"), plain),
        "rate_upper": (("source", "bound_name", "samples"), plain),
        "range": ("source", {"long_name": "range B of the loss", **nats}),
    }
    return xarray.Dataset(
        {
            name: (dims, np.stack([part[name] for part in parts]), attrs)
            for name, (dims, attrs) in units.items()
        },
        coords={
            "source": list(named),
            "bound_name": [*BOUNDS, LIMIT],
            "samples": list(config.samples),
        },
        attrs={
            "replications": config.replications,
            "violation": config.violation,
            "confidence": config.confidence,
        },
    )


def _source(config: Config, key: jax.Array, source: Source) -> dict[str, np.ndarray]:
    p, d, slope = source
    N = np.array(config.samples, float)
    wide = padded(p, d)
    found = finite_sample.plug_in_excess(
        key, *wide, slope, samples=list(config.samples), replications=config.replications
    )
    excess = np.asarray(found.excess)
    limit = finite_sample.excess_distribution(*wide, slope)
    bound = np.stack(
        [
            *(
                np.asarray(f(d, slope, samples=N, violation=config.violation))
                for f in BOUNDS.values()
            ),
            limit.upper_quantile(config.violation) / (2 * N),
        ]
    )
    violated = (excess > bound[:, :, None]).sum(axis=-1)
    rate = simulation.clopper_pearson(violated, config.replications, confidence=config.confidence)
    return {
        "mean": excess.mean(axis=1),
        "quantile": np.quantile(excess, 1 - config.violation, axis=1),
        "largest": excess.max(axis=1),
        "bound": bound,
        "rate": np.asarray(rate.mean),
        "rate_lower": np.asarray(rate.lower),
        "rate_upper": np.asarray(rate.upper),
        "range": slope * np.log(2) * np.ptp(d, axis=1).max(),
    }


def checks(dataset: xarray.Dataset) -> list[Check]:
    """Check that no bound fails too often, that the count could reveal it, and how the bounds decay."""
    limit = dataset.sel(bound_name=LIMIT).isel(samples=-1)
    percent = 100 * dataset.confidence
    found = [
        C21.monte_carlo.at_most(
            f"violations of the {name} bound: upper end of the {percent:g} % interval, worst case",
            dataset.rate_upper.sel(bound_name=name).max(),
            dataset.violation,
        )
        for name in BOUNDS
    ]
    missed = (limit.rate_lower > dataset.violation) | (limit.rate_upper < dataset.violation)
    tightest = dataset.bound.sel(bound_name=list(BOUNDS)).min("bound_name")
    return [
        *found,
        C21.monte_carlo.at_most(
            "sources at the largest N where the limit distribution's quantile is not exceeded "
            "with probability delta",
            missed.sum(),
            0,
        ),
        C21.monte_carlo.at_most(
            "largest excess over the tightest bound, worst case",
            (dataset.largest / tightest).max(),
            1,
        ),
    ]
