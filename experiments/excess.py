"""Excess of learned codes: its distribution against the number of samples, beside chi-square.

Every replication's code is solved to a certified suboptimality. Where a condition of the limit
distribution fails (a tied letter, dependent columns, a support that still changes), the study shows
what happens instead.
"""

from dataclasses import dataclass

import jax
import numpy as np
import xarray

from experiments.runner import Check, Checkpoint, Claim, without_checkpoint
from experiments.shared.random_sources import Source, padded, random_source
from rdsim import finite_sample

CLAIMS = ("C18",)
C18 = Claim("C18")
BINS = np.linspace(0.0, 20.0, 41)
FALSE_ALARM = 1e-4
CRITICAL = np.log2(3.0)
"""Slope at which the third letter of (0.5, 0.3, 0.2) under Hamming distortion is just unused."""
COIN_AT_1000 = 0.501072
"""N times the mean excess of the coin at N = 1000, nats: an exact sum over the number of ones."""


@dataclass(frozen=True)
class Config:
    """What is computed."""

    samples: tuple[int, ...] = (100, 300, 1000, 3000, 10_000, 30_000, 100_000, 1_000_000)
    """Numbers of samples N."""
    replications: int = 4096
    """Learned codes for each source and N."""
    random_sources: int = 20
    """Random sources of eight letters, drawn without selection."""
    random_replications: int = 4096
    """Learned codes for each of them."""
    deviations: float = 5.0
    """Standard errors that every margin of the support must have at a random source's own N."""


SMOKE = Config(
    samples=(1000, 1_000_000), replications=512, random_sources=3, random_replications=256
)
QUICK = Config()
FULL = Config(replications=100_000, random_replications=100_000)


def sources() -> dict[str, Source]:
    """Two sources that meet the claim's conditions, then three that violate one or nearly do."""
    ternary = np.array([0.5, 0.3, 0.2]), 1 - np.eye(3)
    coin = np.array([0.7, 0.3]), 1 - np.eye(2)
    twice = np.concatenate([coin[1], coin[1][:, :1]], axis=1)
    return {
        "coin": (*padded(*coin), np.log2(9.0)),
        "8 x 8": random_source(16),
        "tied letter": (*padded(*ternary), CRITICAL),
        "nearly tied": (*padded(*ternary), CRITICAL + 0.05),
        "same letter twice": (*padded(coin[0], twice), np.log2(9.0)),
    }


def run(
    config: Config, key: jax.Array, checkpoint: Checkpoint = without_checkpoint
) -> xarray.Dataset:
    """Measure the excess of every named source at every N, and of random sources at two N."""
    named = sources()
    parts = [
        checkpoint(f"source-{i}", _named, config, jax.random.fold_in(key, i), source)
        for i, source in enumerate(named.values())
    ]
    randoms = [
        checkpoint(f"random-{seed}", _random, config, jax.random.fold_in(key, 1000 + seed), seed)
        for seed in range(config.random_sources)
    ]
    nats = {"units": "nats"}
    scaled = {"long_name": "2 N excess", "units": "nats"}
    plain = {"units": "1"}
    grid = ("source", "samples")
    units = {
        "mean": (grid, nats),
        "lower": (grid, nats),
        "upper": (grid, nats),
        "predicted": (grid, nats),
        "variance": (grid, {"long_name": "variance of 2 N excess", "units": "nats^2"}),
        "predicted_variance": ("source", {"units": "nats^2"}),
        "distance": (grid, {"long_name": "Kolmogorov distance", "units": "1"}),
        "same_support": (grid, plain),
        "gap": (grid, nats),
        "histogram": (("source", "bin"), {"long_name": "density at the largest N", **plain}),
        "limit_density": (
            ("source", "bin"),
            {"long_name": "density of the limit distribution", **plain},
        ),
        "conditions_hold": ("source", plain),
    }
    variables = {
        name: (dims, np.stack([part[name] for part in parts]), attrs)
        for name, (dims, attrs) in units.items()
    }
    stages = ("random_source", "stage")
    random_units = {
        "random_samples": (stages, {"long_name": "samples", "units": "1"}),
        "random_mean": (stages, scaled),
        "random_lower": (stages, scaled),
        "random_upper": (stages, scaled),
        "random_gap": (stages, nats),
        "random_degrees": ("random_source", {"long_name": "active letters less one", **plain}),
        "random_holds": ("random_source", plain),
    }
    variables |= {
        name: (dims, np.stack([part[name] for part in randoms]), attrs)
        for name, (dims, attrs) in random_units.items()
    }
    return xarray.Dataset(
        variables,
        coords={
            "source": list(named),
            "samples": list(config.samples),
            "bin": ("bin", (BINS[:-1] + BINS[1:]) / 2, scaled),
            "random_source": np.arange(config.random_sources),
            "stage": ["N = 1000", "N at which margins are wide"],
        },
        attrs={
            "replications": config.replications,
            "random_replications": config.random_replications,
            "deviations": config.deviations,
        },
    )


def _named(config: Config, key: jax.Array, source: Source) -> dict[str, np.ndarray]:
    p, d, slope = source
    limit = finite_sample.excess_distribution(p, d, slope)
    found = finite_sample.plug_in_excess(
        key, p, d, slope, samples=list(config.samples), replications=config.replications
    )
    N = np.array(config.samples, float)
    values = 2 * N[:, None] * np.asarray(found.excess)
    interval = found.mean(confidence=1 - FALSE_ALARM)
    width = BINS[1] - BINS[0]
    return {
        "mean": np.asarray(interval.mean),
        "lower": np.asarray(interval.lower),
        "upper": np.asarray(interval.upper),
        "predicted": np.asarray(limit.mean(N)),
        "variance": values.var(axis=1, ddof=1),
        "predicted_variance": 4 * np.asarray(limit.variance(1)),
        "distance": np.array([limit.kolmogorov_distance(row) for row in values]),
        "same_support": np.asarray(found.same_support.mean(axis=1)),
        "gap": _suboptimality(found),
        "histogram": np.histogram(values[-1], BINS)[0] / (values.shape[1] * width),
        "limit_density": np.diff(limit.cdf(BINS)) / width,
        "conditions_hold": np.asarray(limit.holds),
    }


def _suboptimality(found: finite_sample.PlugInExcess) -> np.ndarray:
    """Certified suboptimality in nats at every N: of the worst code, plus that of the true optimum."""
    return np.asarray(found.suboptimality.max(axis=1)) + float(found.optimum_suboptimality)


def _random(config: Config, key: jax.Array, seed: int) -> dict[str, np.ndarray]:
    p, d, slope = random_source(seed)
    limit = finite_sample.excess_distribution(p, d, slope)
    sizes = [1000, int(max(1000, np.ceil(limit.samples_needed(config.deviations))))]
    found = finite_sample.plug_in_excess(
        key, p, d, slope, samples=sizes, replications=config.random_replications
    )
    # All random sources' intervals hold together with probability 1 - FALSE_ALARM.
    interval = found.mean(confidence=1 - FALSE_ALARM / config.random_sources)
    twice = 2 * np.array(sizes)
    return {
        "random_samples": np.array(sizes),
        "random_mean": twice * np.asarray(interval.mean),
        "random_lower": twice * np.asarray(interval.lower),
        "random_upper": twice * np.asarray(interval.upper),
        "random_gap": _suboptimality(found),
        "random_degrees": np.asarray(limit.degrees[-1]),
        "random_holds": np.asarray(limit.holds),
    }


def checks(dataset: xarray.Dataset) -> list[Check]:
    """Compare means, distributions and certificates with the claim."""
    last = dataset.isel(samples=-1)
    allowed = np.sqrt(np.log(2 / FALSE_ALARM) / (2 * dataset.replications))
    coin = dataset.sel(source="coin", samples=1000)
    tied = last.sel(source="tied letter")
    wide = dataset.isel(stage=1)
    outside = (wide.random_lower > wide.random_degrees) | (wide.random_upper < wide.random_degrees)
    early = dataset.isel(stage=0).where(wide.random_samples == 1000, drop=True)
    early_outside = (early.random_lower > early.random_degrees) | (
        early.random_upper < early.random_degrees
    )
    return [
        C18.monte_carlo.at_most(
            "random sources whose mean of 2N excess misses |A| - 1, N >= 1000 and wide margins",
            (outside | ~wide.random_holds.astype(bool)).sum(),
            0,
        ),
        C18.monte_carlo.at_most(
            "the same at N = 1000, of the sources whose margins are wide there",
            early_outside.sum(),
            0,
        ),
        C18.monte_carlo.at_most(
            "Kolmogorov distance of 2N excess from its limit, largest N, worst source",
            last.distance.max(),
            allowed,
        ),
        C18.exact.close(
            "N times the mean excess of the coin at N = 1000, nats",
            1000 * coin["mean"],
            COIN_AT_1000,
            1000 * (coin.upper - coin.lower) / 2,
        ),
        C18.monte_carlo.close(
            "mean of 2N excess with a tied letter: half of each chi-square",
            2 * tied.samples * tied["mean"],
            1.5,
            tied.samples * (tied.upper - tied.lower),
        ),
        C18.exact.at_most(
            "largest certified suboptimality of a learned code, nats",
            max(float(dataset.gap.max()), float(dataset.random_gap.max())),
            1e-12,
        ),
    ]
