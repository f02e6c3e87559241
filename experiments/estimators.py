"""Estimators: R(D) estimated from samples, and how the estimate's error differs from a code's.

The plug-in estimate of a Bernoulli source, exactly, by sums over all binomial counts: it errs by
sqrt(V/N) and is biased, while the code learned from the same counts is within O(1/N). R(D) of a
Gaussian is bounded from both sides by its samples.
"""

from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
import scipy.stats
import xarray

from experiments.runner import Check, Checkpoint, Claim, without_checkpoint
from rdsim.finite_sample import continuous_sandwich, plug_in_rate
from rdsim.limits import closed_forms
from rdsim.limits.finite_blocklength import dispersion

CLAIMS = ("C18",)
C18 = Claim("C18")
LN2 = np.log(2)


@dataclass(frozen=True)
class Config:
    """What is estimated."""

    probability: float = 0.4
    """Probability of a one in the Bernoulli source."""
    distortion: float = 0.11
    """D under Hamming distortion."""
    samples: tuple[int, ...] = (100, 200, 500, 1000, 2000, 5000)
    """N of the Bernoulli source."""
    gaussian_samples: tuple[int, ...] = (1000, 3000, 10000)
    """N of the Gaussian source, training and held out together."""
    gaussian_distortions: tuple[float, ...] = (0.05, 0.1, 0.2, 0.4)
    """D where the slopes of the bounds are those of the Gaussian."""
    repetitions: int = 3
    """Data sets of every number of samples."""


SMOKE = Config(
    samples=(100, 1000),
    gaussian_samples=(500, 2000),
    gaussian_distortions=(0.1, 0.4),
    repetitions=2,
)
QUICK = Config()
FULL = Config(
    samples=(100, 200, 500, 1000, 2000, 5000, 10000, 20000),
    gaussian_samples=(1000, 3000, 10000, 30000),
    repetitions=40,
)


def run(
    config: Config, key: jax.Array, checkpoint: Checkpoint = without_checkpoint
) -> xarray.Dataset:
    """Sum over all counts of the Bernoulli source, and bound the Gaussian's R(D) from samples."""
    exact = [checkpoint(f"bernoulli-{n}", _bernoulli, config, n) for n in config.samples]
    bounds = [
        checkpoint(f"gaussian-{n}", _gaussian, config, n, jax.random.fold_in(key, n))
        for n in config.gaussian_samples
    ]
    p, D = config.probability, config.distortion
    bits = {"units": "bits"}
    variables: dict[str, Any] = {
        name: ("samples", np.array([float(part[name]) for part in exact]), {"units": units})
        for name, units in (
            ("bias", "bits"),
            ("corrected_bias", "bits"),
            ("deviation", "bits"),
            ("code_excess", "nats"),
            ("coverage", "1"),
            ("jackknife_coverage", "1"),
        )
    }
    dims = ("gaussian_samples", "repetition", "distortion")
    for name in ("lower", "upper", "rate", "at"):
        units = bits if name != "at" else {"units": "squared error"}
        variables[name] = (dims, np.stack([part[name] for part in bounds]), units)
    at = variables["at"][1]
    variables["truth_at"] = (dims, np.asarray(closed_forms.gaussian(1.0, distortion=at)), bits)
    truth = np.asarray(closed_forms.gaussian(1.0, distortion=np.array(config.gaussian_distortions)))
    variables["truth"] = ("distortion", truth, bits)
    variables["dispersion"] = float(dispersion([p, 1 - p], 1 - np.eye(2), D))
    return xarray.Dataset(
        variables,
        coords={
            "samples": list(config.samples),
            "gaussian_samples": list(config.gaussian_samples),
            "distortion": list(config.gaussian_distortions),
        },
        attrs={"probability": p, "hamming_distortion": D, "confidence": 0.95},
    )


def _bernoulli(config: Config, n: int) -> dict[str, np.ndarray]:
    """Exact moments and coverage of the estimate, and the code's mean excess, at one N."""
    p, D = config.probability, config.distortion
    counts = scipy.stats.binom(n, p)
    k = np.arange(max(int(counts.ppf(1e-12)), 0), min(int(counts.isf(1e-12)), n) + 1)
    weight = counts.pmf(k) / counts.pmf(k).sum()
    found = plug_in_rate(np.stack([k, n - k], axis=1), 1 - np.eye(2), D)
    truth = float(closed_forms.bernoulli_hamming(p, distortion=D))
    rate = np.asarray(found.rate)
    mean = weight @ rate
    covered = {}
    for error in ("delta", "jackknife"):
        interval = found.interval(confidence=0.95, error=error)
        low, high = interval.lower, interval.upper
        covered[error] = weight @ ((np.asarray(low) <= truth) & (truth <= np.asarray(high)))
    kernel = D / (1 - D)  # 2^(-s): the slope at which the true pmf has distortion D

    def lagrangian(of_one: np.ndarray) -> np.ndarray:
        q = np.clip((of_one - D) / (1 - 2 * D), 0.0, 1.0)
        return -p * np.log(q + (1 - q) * kernel) - (1 - p) * np.log(1 - q + q * kernel)

    return {
        "bias": np.array(mean - truth),
        "corrected_bias": np.array(weight @ np.asarray(found.corrected) - truth),
        "deviation": np.array(np.sqrt(weight @ (rate - mean) ** 2)),
        "code_excess": np.array(weight @ lagrangian(k / n) - lagrangian(np.array(p))),
        "coverage": np.array(covered["delta"]),
        "jackknife_coverage": np.array(covered["jackknife"]),
    }


def _gaussian(config: Config, n: int, key: jax.Array) -> dict[str, np.ndarray]:
    """Bounds from every data set, shape (repetition, distortion)."""
    D = np.array(config.gaussian_distortions)
    rows = []
    for each in jax.random.split(key, config.repetitions):
        y = jax.random.normal(each, (n,))
        rows.append(continuous_sandwich(y, 1 / (2 * LN2 * D), max_codewords=64))
    return {
        "lower": np.stack([np.asarray(row.lower(D)) for row in rows]),
        "upper": np.stack([np.asarray(row.rate.upper) for row in rows]),
        "at": np.stack([np.asarray(row.distortion.upper) for row in rows]),
        "rate": np.stack([np.asarray(row.rate.mean) for row in rows]),
    }


def checks(dataset: xarray.Dataset) -> list[Check]:
    """Compare the estimate's errors with their limits, and the bounds with the Gaussian's R(D)."""
    last = dataset.isel(samples=-1)
    N = int(last.samples)
    repetitions = dataset.sizes["repetition"] * dataset.sizes["gaussian_samples"]
    failed = ((dataset.lower > dataset.truth) | (dataset.upper < dataset.truth_at)).any(
        "distortion"
    )
    width = (dataset.upper - dataset.lower).mean(("repetition", "distortion"))
    return [
        C18.exact.close(
            "N times the bias of the plug-in R(P_N, D), bits",
            N * last.bias,
            -1 / (2 * LN2),
            1 / np.sqrt(N),
        ),
        C18.exact.close(
            "standard deviation of the plug-in R(P_N, D) over sqrt(V/N)",
            last.deviation / np.sqrt(dataset.dispersion / N),
            1.0,
            10 / N,
        ),
        C18.exact.at_most(
            "N times the bias that the jackknife leaves, bits", abs(N * last.corrected_bias), 5 / N
        ),
        C18.exact.close(
            "N times the mean excess of the code learned from the same counts, nats",
            N * last.code_excess,
            0.5,
            5 / N,
        ),
        C18.exact.close(
            "coverage of the 95 % interval at the largest N, allowing for the lattice of counts",
            last.coverage,
            0.95,
            0.6 / np.sqrt(N),
        ),
        # At 95 % each: more failures than five standard deviations above would have a
        # probability below 1e-6.
        C18.monte_carlo.at_most(
            "data sets in which a bound from samples is on the wrong side of the Gaussian R(D)",
            failed.sum(),
            0.05 * repetitions + 5 * np.sqrt(0.05 * repetitions),
        ),
        C18.monte_carlo.at_most(
            "gap between the bounds at the largest number of samples over that at the smallest",
            width[-1] / width[0],
            0.7,
        ),
    ]
