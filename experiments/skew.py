"""Skew penalty: what unequal entropies cost one common code, and an equal split of a rate."""

from dataclasses import dataclass

import jax
import numpy as np
import xarray

from experiments.runner import Check, Checkpoint, Claim, without_checkpoint
from rdsim.limits import allocation_penalty, common_rate
from rdsim.sources import zipf_prior

CLAIMS = ("C19", "C20")
C19, C20 = map(Claim, CLAIMS)
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
    differences: int = 61
    """Points along the entropy difference of two Gaussian modalities."""
    total_rates: tuple[float, ...] = (2.0, 8.0, 32.0)
    """Bits that the two modalities share."""


SMOKE = Config(items=8, exponents=(1.0, 2.0), losses=11, differences=13, total_rates=(2.0, 8.0))
QUICK = Config()
FULL = Config(items=1024, losses=101, differences=241)


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
            ("bound", {"long_name": "balanced + half the entropy difference", "units": "bits"}),
            ("kappa", {"long_name": "empirical kappa", "units": "1"}),
            ("mean_rate", {"long_name": "mean of the two rates", "units": "bits"}),
            ("both_majorised", {"units": "1"}),
        )
    }
    return xarray.Dataset(
        {
            **along,
            "entropy_difference": (
                "exponent",
                np.stack([pair["entropy_difference"] for pair in pairs]),
                bits,
            ),
            "high_rate": ("difference", allocation["high_rate"], bits),
            "penalty": (("total_rate", "difference"), allocation["penalty"], bits),
        },
        coords={
            "exponent": list(config.exponents),
            "loss": ("loss", loss, {"long_name": "expected loss", "units": "1"}),
            "difference": (
                "difference",
                _differences(config),
                {"long_name": "entropy difference", "units": "bits"},
            ),
            "total_rate": ("total_rate", list(config.total_rates), bits),
        },
        attrs={"items": config.items, "first_exponent": config.first_exponent, "kappa": KAPPA},
    )


def _differences(config: Config) -> np.ndarray:
    return np.geomspace(1e-3, 30.0, config.differences)


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
        "entropy_difference": np.asarray(common.converse.entropy_difference),
    }


def _allocation(config: Config) -> dict[str, np.ndarray]:
    variances = np.stack([4.0 ** _differences(config), np.ones(config.differences)], axis=1)
    penalty = jax.vmap(lambda v: allocation_penalty(v, np.array(config.total_rates)))(variances)
    return {
        "penalty": np.asarray(penalty).T,
        "high_rate": np.asarray(jax.vmap(lambda v: allocation_penalty(v, np.inf))(variances)),
    }


def checks(dataset: xarray.Dataset) -> list[Check]:
    """Check the converse with kappa = 1/2, its equality, and the two regimes of allocation."""
    excess = dataset.rate - dataset.bound
    met = abs(excess).where(dataset.both_majorised > 0).max()
    # At a loss that needs no bits the mean of the rates is zero, and the entropy difference is not.
    free = dataset.isel(loss=-1)
    difference, high = dataset.difference, dataset.high_rate
    quadratic = (abs(high / (LN2 / 2 * difference**2) - 1)).where(difference < 0.02).max()
    linear = abs(high - (difference - 1)).where(difference > 10).max()
    small = difference < dataset.attrs["kappa"] / LN2
    share = (high / (dataset.attrs["kappa"] * difference)).where(small).max()
    over = (dataset.penalty - high).max()
    saturated = dataset.penalty.isel(difference=-1, total_rate=0)
    return [
        C19.exact.at_most("largest certified gap, bits", dataset.rate_gap.max(), 1e-9),
        C19.exact.at_most("excess of the converse over the rate, bits", (-excess).max(), 1e-9),
        C19.exact.at_most("distance from it where both priors are majorised, bits", met, 1e-9),
        C19.exact.inside(
            "smallest empirical kappa of two targets", dataset.kappa.min(), 0.5 - 1e-7, 0.5 + 1e-7
        ),
        C19.exact.at_most(
            "share of the entropy difference by which the rate exceeds the mean of rates, at D = 1",
            ((free.rate - free.mean_rate) / free.entropy_difference).max(),
            0.0,
        ),
        C20.exact.at_most("excess over K/2 log2 AM/GM, bits", over, 1e-9),
        C20.exact.at_most("relative distance from (ln 2 / 2) (ΔH)^2, small ΔH", quadratic, 1e-4),
        C20.exact.at_most("distance from ΔH - 1, large ΔH, bits", linear, 1e-5),
        C20.exact.at_most(
            "penalty as a share of 0.05 x ΔH, for ΔH below 0.05 / ln 2", share, 0.999
        ),
        C20.exact.close(
            "penalty at the smallest rate and largest ΔH: half the rate, bits",
            saturated,
            dataset.total_rate.values[0] / 2,
            1e-6,
        ),
    ]
