"""Tails of a competitor's summed score: convolution, saddlepoint and importance sampling (C15)."""

from dataclasses import dataclass

import jax
import numpy as np
import xarray

from experiments.runner import Check, Checkpoint, Claim, without_checkpoint
from rdsim.ranking import saddlepoint_tail, score_tail
from rdsim.simulation import importance_tail

CLAIMS = ("C15",)
C15 = Claim("C15")
_LN10 = np.log(10.0)
SOURCES = ("DSBS, p = 0.11", "skewed ternary", "no lattice")
_CONFIDENCE = 1 - 1e-8
_HALF_WAY = 0.5


@dataclass(frozen=True)
class Config:
    """What is computed."""

    lengths: tuple[int, ...] = (10, 50, 200, 1000)
    """Letters in a sum, for the error of the saddlepoint."""
    thresholds: int = 8
    """Tails of each source and length, from the mean into tails of 1e-200."""
    shown_length: int = 200
    """Letters of the sums whose tails are drawn and sampled."""
    trials: int = 4000
    """Trials of importance sampling behind one tail."""
    tolerance: float = 5e-3
    """Nats between the bounds of a sum without a lattice."""


SMOKE = Config(lengths=(50,), thresholds=4, shown_length=50, trials=400, tolerance=5e-3)
QUICK = Config()
FULL = Config(
    lengths=(10, 20, 50, 100, 200, 500, 1000), thresholds=24, trials=100_000, tolerance=5e-4
)


def letters(name: str) -> tuple[np.ndarray, np.ndarray]:
    """Return scores and distribution of a competitor's letter, for each of two query letters."""
    if name == SOURCES[0]:
        agree, differ = np.log2(2 * 0.89), np.log2(2 * 0.11)
        unused = [[0.5, 0.5, 0.0], [0.5, 0.5, 0.0]]
        return np.array([[agree, differ, 0.0], [differ, agree, 0.0]]), np.array(unused)
    if name == SOURCES[1]:
        return np.array([[0.0, 1.0, 3.0], [0.0, 2.0, 1.0]]), np.array([[0.85, 0.1, 0.05]] * 2)
    joint = np.array([[0.28, 0.13, 0.07], [0.05, 0.16, 0.31]])
    density = np.log2(joint / np.outer(joint.sum(axis=1), joint.sum(axis=0)))
    return density, np.tile(joint.sum(axis=0), (2, 1))


def run(
    config: Config, key: jax.Array, checkpoint: Checkpoint = without_checkpoint
) -> xarray.Dataset:
    """Compute tails by three methods for every source and length."""
    found = [
        checkpoint(f"tails-{index}", _tails, config, name) for index, name in enumerate(SOURCES)
    ]
    values = {
        name: (
            ("source", "n", "point"),
            np.stack([part[name] for part in found]),
            {"units": units},
        )
        for name, units in (
            ("threshold", "score per letter, as a fraction of the way from mean to maximum"),
            ("lower", "nats"),
            ("upper", "nats"),
            ("saddlepoint", "nats"),
            ("second_order", "nats"),
            ("first_order", "nats"),
        )
    }
    sampled = [
        checkpoint(f"sampled-{index}", _sampled, config, jax.random.fold_in(key, index), name)
        for index, name in enumerate(SOURCES)
    ]
    estimates = {
        f"sampled_{name}": (
            ("source", "point"),
            np.stack([part[name] for part in sampled]),
            {"units": "nats"},
        )
        for name in ("mean", "lower", "upper")
    }
    return xarray.Dataset(
        {**values, **estimates},
        coords={"source": list(SOURCES), "n": list(config.lengths)},
        attrs={"shown_length": config.shown_length, "confidence": _CONFIDENCE},
    )


def _problem(
    config: Config, name: str
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Letter tables, counts (n, 1, kind), thresholds (n, point) and the fractions they were made of."""
    values, probabilities = letters(name)
    n = np.array(config.lengths)[:, None]
    counts = np.stack([n // 2, n - n // 2], axis=-1)
    mean = counts @ (values * probabilities).sum(axis=1)
    top = counts @ np.where(probabilities > 0, values, -np.inf).max(axis=1)
    # Long sums end at 1e-200: the last fraction is where the tail is that small, or 0.9.
    shares = np.linspace(0.05, 0.95, config.thresholds)
    depth = saddlepoint_tail(values, probabilities, counts, mean + shares * (top - mean)).log_tail
    last = np.max(np.where(np.asarray(depth) > -200 * _LN10, shares, 0.0), axis=1)
    share = np.linspace(0.02, np.minimum(last, 0.9), config.thresholds, axis=1)
    return values, probabilities, counts, mean + share * (top - mean), share


def _tails(config: Config, name: str) -> dict[str, np.ndarray]:
    """Tails of sums of all lengths, each lattice compiled once."""
    *sums, share = _problem(config, name)
    exact = score_tail(*sums, tolerance=config.tolerance).log_tail
    approximate = saddlepoint_tail(*sums)
    return {
        "threshold": share,
        "lower": np.asarray(exact.lower),
        "upper": np.asarray(exact.upper),
        "saddlepoint": np.asarray(approximate.log_tail),
        "second_order": np.asarray(approximate.second_order),
        "first_order": np.asarray(approximate.first_order),
    }


def _sampled(config: Config, key: jax.Array, name: str) -> dict[str, np.ndarray]:
    values, probabilities, counts, thresholds, _ = _problem(config, name)
    shown = config.lengths.index(config.shown_length)
    sums = values, probabilities, counts[shown], thresholds[shown]
    found = importance_tail(key, *sums, trials=config.trials, confidence=_CONFIDENCE)
    return {
        "mean": np.asarray(found.log_mean),
        "lower": np.asarray(found.log_lower),
        "upper": np.asarray(found.log_upper),
    }


def relative_error(dataset: xarray.Dataset, method: str) -> xarray.DataArray:
    """Return the largest distance of a method from any tail in the certified interval, relative."""
    return np.expm1(
        np.maximum(np.abs(dataset[method] - dataset.lower), np.abs(dataset[method] - dataset.upper))
    )


def checks(dataset: xarray.Dataset) -> list[Check]:
    """Check the saddlepoint from 50 letters on and the coverage of importance sampling."""
    long = dataset.sel(n=dataset.n[dataset.n >= 50])
    found = []
    for name in dataset.source.values:
        # Near its maximum a sum without a lattice takes few values, which no smooth formula
        # approximates: the one per cent is claimed up to half way to the maximum.
        most = _HALF_WAY if name == SOURCES[2] else 1.0
        error = relative_error(long, "saddlepoint").where(long.threshold <= most).sel(source=name)
        part = "" if most == 1.0 else ", up to half way to the maximum"
        found.append(
            C15.exact.at_most(
                f"largest relative error of the saddlepoint from 50 letters on, {name}{part}",
                error.max(),
                0.01,
            )
        )
        exact = dataset.sel(source=name, n=dataset.attrs["shown_length"])
        covered = (exact.sampled_lower <= exact.upper) & (exact.sampled_upper >= exact.lower)
        found.append(
            C15.monte_carlo.close(
                f"fraction of importance-sampling intervals that cover the exact tail, {name}",
                covered.mean(),
                1.0,
                0.0,
            )
        )
    found.append(
        C15.monte_carlo.at_most(
            "log10 of the deepest tail that was sampled and covered",
            dataset.sampled_mean.min() / _LN10,
            -6.0,
        )
    )
    return found
