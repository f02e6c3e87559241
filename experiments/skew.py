"""Skew penalty: what unequal entropies cost one common code, and an equal split of a rate."""

from dataclasses import dataclass

import jax
import numpy as np
import xarray

from experiments.runner import Check, Checkpoint, without_checkpoint
from rdsim.limits.rank_distortion.skew import common_rate
from rdsim.limits.rate_distortion.allocation import allocation_penalty, allocation_penalty_high_rate
from rdsim.sources.prior import zipf_prior

CLAIMS = ("C19", "C20")
LN2 = np.log(2.0)
KAPPA = 0.05
"""The slope of a line through the origin that the allocation penalty must cross."""


@dataclass(frozen=True)
class Config:
    """What is computed."""

    items: int = 64
    """Items of the two targets, both with a Zipf prior."""
    first_exponent: float = 0.5
    """Exponent of the first target's prior."""
    exponents: tuple[float, ...] = (0.6, 0.75, 1.0, 1.25, 1.5, 2.0, 2.5, 3.0)
    """Exponents of the second target's prior."""
    losses: int = 41
    """Points along the loss, reciprocal rank."""
    gaps: int = 61
    """Points along the entropy gap of two Gaussian modalities."""
    total_rates: tuple[float, ...] = (2.0, 8.0, 32.0)
    """Bits that the two modalities share."""


SMOKE = Config(items=8, exponents=(1.0, 2.0), losses=11, gaps=13, total_rates=(2.0, 8.0))
QUICK = Config()
FULL = Config(items=1024, losses=101, gaps=241)


def run(
    config: Config,
    key: jax.Array,  # noqa: ARG001
    checkpoint: Checkpoint = without_checkpoint,
) -> xarray.Dataset:
    """Compute the rate of a common code beside its converse, and the cost of equal rates."""
    loss = np.linspace(0.0, 1.0, config.losses)
    pairs = [
        checkpoint(f"pair-{index}", _pair, config, exponent, loss)
        for index, exponent in enumerate(config.exponents)
    ]
    allocation = checkpoint("allocation", _allocation, config)
    bits = {"units": "bits"}
    along = {
        name: (("exponent", "loss"), np.stack([pair[name] for pair in pairs]), attributes)
        for name, attributes in (
            ("rate", {"long_name": "max of the two rates", "units": "bits"}),
            ("rate_gap", bits),
            ("bound", {"long_name": "balanced + half the entropy gap", "units": "bits"}),
            ("kappa", {"long_name": "empirical kappa", "units": "1"}),
            ("mean_rate", {"long_name": "mean of the two rates", "units": "bits"}),
            ("both_majorised", {"units": "1"}),
        )
    }
    return xarray.Dataset(
        {
            **along,
            "entropy_gap": ("exponent", np.stack([pair["entropy_gap"] for pair in pairs]), bits),
            "high_rate": ("gap", allocation["high_rate"], bits),
            "penalty": (("total_rate", "gap"), allocation["penalty"], bits),
        },
        coords={
            "exponent": list(config.exponents),
            "loss": ("loss", loss, {"long_name": "expected loss", "units": "1"}),
            "gap": ("gap", _gaps(config), {"long_name": "entropy gap", "units": "bits"}),
            "total_rate": ("total_rate", list(config.total_rates), bits),
        },
        attrs={"items": config.items, "first_exponent": config.first_exponent, "kappa": KAPPA},
    )


def _gaps(config: Config) -> np.ndarray:
    return np.geomspace(1e-3, 30.0, config.gaps)


def _pair(config: Config, exponent: float, loss: np.ndarray) -> dict[str, np.ndarray]:
    priors = np.stack(
        [
            np.asarray(zipf_prior(config.items, exponent=a).p)
            for a in (config.first_exponent, exponent)
        ]
    )
    common = common_rate(priors, "reciprocal_rank", distortion=loss)
    majorised = np.asarray(common.majorised)
    return {
        "rate": np.asarray(common.rate.value),
        "rate_gap": np.asarray(common.rate.gap),
        "bound": np.asarray(common.converse.lower),
        "kappa": np.asarray(common.empirical_kappa),
        "mean_rate": np.asarray(common.rates.value).mean(axis=0),
        "both_majorised": majorised.all(axis=0).astype(float),
        "entropy_gap": np.asarray(common.converse.entropy_gap),
    }


def _allocation(config: Config) -> dict[str, np.ndarray]:
    variances = np.stack([4.0 ** _gaps(config), np.ones(config.gaps)], axis=1)
    penalty = jax.vmap(lambda v: allocation_penalty(v, np.array(config.total_rates)))(variances)
    return {
        "penalty": np.asarray(penalty).T,
        "high_rate": np.asarray(jax.vmap(allocation_penalty_high_rate)(variances)),
    }


def checks(dataset: xarray.Dataset) -> list[Check]:
    """Check the converse with kappa = 1/2, its equality, and the two regimes of allocation."""
    excess = dataset.rate - dataset.bound
    met = abs(excess).where(dataset.both_majorised > 0).max()
    # At a loss that needs no bits the mean of the rates is zero, and the entropy gap is not.
    free = dataset.isel(loss=-1)
    gap, high = dataset.gap, dataset.high_rate
    quadratic = (abs(high / (LN2 / 2 * gap**2) - 1)).where(gap < 0.02).max()
    linear = abs(high - (gap - 1)).where(gap > 10).max()
    small = gap < dataset.attrs["kappa"] / LN2
    share = (high / (dataset.attrs["kappa"] * gap)).where(small).max()
    over = (dataset.penalty - high).max()
    saturated = dataset.penalty.isel(gap=-1, total_rate=0)
    return [
        Check.at_most("C19", "largest certified gap, bits", "exact", dataset.rate_gap.max(), 1e-9),
        Check.at_most(
            "C19", "excess of the converse over the rate, bits", "exact", (-excess).max(), 1e-9
        ),
        Check.at_most(
            "C19", "distance from it where both priors are majorised, bits", "exact", met, 1e-9
        ),
        Check.inside(
            "C19",
            "smallest empirical kappa of two targets",
            "exact",
            dataset.kappa.min(),
            0.5 - 1e-7,
            0.5 + 1e-7,
        ),
        Check.at_most(
            "C19",
            "share of the entropy gap by which the rate exceeds the mean of rates, at D = 1",
            "exact",
            ((free.rate - free.mean_rate) / free.entropy_gap).max(),
            0.0,
        ),
        Check.at_most("C20", "excess over K/2 log2 AM/GM, bits", "exact", over, 1e-9),
        Check.at_most(
            "C20", "relative distance from (ln 2 / 2) gap^2, small gaps", "exact", quadratic, 1e-4
        ),
        Check.at_most("C20", "distance from gap - 1, large gaps, bits", "exact", linear, 1e-5),
        Check.at_most(
            "C20",
            "penalty as a share of 0.05 x gap, for gaps below 0.05 / ln 2",
            "exact",
            share,
            0.999,
        ),
        Check.close(
            "C20",
            "penalty at the smallest rate and largest gap: half the rate, bits",
            "exact",
            saturated,
            dataset.total_rate.values[0] / 2,
            1e-6,
        ),
    ]
