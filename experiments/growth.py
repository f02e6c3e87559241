"""Growth: how the retrieval error of a learned code falls with samples and grows with modalities.

Items of eight letters are stored by a test channel and queried through K binary modalities of
random channels. A code learned from N samples is evaluated exactly on the true distribution; one
trial uses the same source and samples for all numbers of samples, modalities and entropy differences.
"""

from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import xarray

from experiments.runner import Check, Checkpoint, Claim, without_checkpoint
from rdsim.finite_sample import (
    LearnedRetrieval,
    PowerLaw,
    fit_exponent,
    learned_retrieval,
)
from rdsim.information import mutual_information

CLAIMS = ("C22",)
C22 = Claim("C22")
LETTERS = 8
MODALITIES = 8
"""Modalities in the table of queries of every setting, so that all have one compiled shape; unused
ones are switched off."""
QUANTITIES = ("excess", "divergence", "variation", "best_error", "lagrangian_excess")


@dataclass(frozen=True)
class Config:
    """What is measured."""

    trials: int = 200
    """Random sources, each with its samples."""
    samples: tuple[int, ...] = (100, 300, 1000, 3000, 10000)
    """Training samples, at the middle number of modalities and with no entropy difference."""
    modalities: tuple[int, ...] = (1, 2, 3, 4, 5, 6, 7, 8)
    """Query modalities, at the middle number of samples and with no entropy difference."""
    skews: tuple[float, ...] = (0.1, 0.2, 0.4, 0.6, 0.8, 1.0)
    """Fraction of the squared signal that is moved from half of the modalities to the other
    half."""
    middle_samples: int = 1000
    """Samples at which the other quantities are varied."""
    middle_modalities: int = 4
    """Modalities at which the other quantities are varied."""
    amplitude: float = 0.35
    """Probabilities of a one are 1/2 plus this times a uniform number in (-1, 1), for each
    letter."""
    slope: float = 6.0
    """Slope of the test channel under Hamming distortion, bits."""
    log2_size: float = 4.0
    """log2 of the number of items."""


SMOKE = Config(
    trials=40,
    samples=(100, 300, 1000),
    modalities=(1, 2, 4, 8),
    skews=(0.2, 0.5, 1.0),
    middle_samples=300,
)
QUICK = Config()
FULL = Config(trials=3000)


def run(
    config: Config, key: jax.Array, checkpoint: Checkpoint = without_checkpoint
) -> xarray.Dataset:
    """Measure every trial and fit the exponents."""
    measure, resample = jax.random.split(key)
    settings = _settings(config)
    trials = checkpoint("trials", _measured, config, measure)
    parts = {
        axis: {
            name: values[:, [row[0] == axis for row in settings]] for name, values in trials.items()
        }
        for axis in ("samples", "modalities", "skew")
    }
    variables: dict[str, Any] = {}
    for axis, found in parts.items():
        for name in QUANTITIES:
            values = found[name]
            units = "1" if name in ("excess", "variation", "best_error") else "bits"
            variables[f"{name}_{axis}"] = (axis, values.mean(axis=0), {"units": units})
            error = values.std(axis=0, ddof=1) / np.sqrt(len(values))
            variables[f"{name}_{axis}_error"] = (axis, error, {"units": units})
    difference = parts["skew"]["difference"].mean(axis=0)
    variables["entropy_difference"] = (
        "skew",
        difference,
        {"units": "bits", "long_name": "entropy difference"},
    )
    total = parts["skew"]["total"].mean(axis=0)
    variables["total_information"] = ("skew", total, {"units": "bits"})
    factors = {
        "samples": np.array(config.samples, float),
        "modalities": np.array(config.modalities, float),
        "skew": difference,
    }
    names = ("excess", "divergence")
    fits = [
        [fit_exponent(resample, factors[axis], found[name]) for axis, found in parts.items()]
        for name in names
    ]
    for field in ("exponent", "lower", "upper", "coefficient", "chi_square"):
        variables[f"fit_{field}"] = (("quantity", "axis"), _field(fits, field))
    variables["fit_degrees_of_freedom"] = (
        ("quantity", "axis"),
        _field(fits, "degrees_of_freedom"),
    )
    variables["smallest_excess"] = min(float(found["excess"].min()) for found in parts.values())
    variables["bound_violation"] = max(
        float((found["excess"] - found["variation"]).max()) for found in parts.values()
    )
    variables["pinsker_violation"] = max(
        float((found["variation"] - found["divergence_bound"]).max()) for found in parts.values()
    )
    return xarray.Dataset(
        variables,
        coords={
            "samples": list(config.samples),
            "modalities": list(config.modalities),
            "skew": list(config.skews),
            "quantity": list(names),
            "axis": list(parts),
        },
        attrs={
            "trials": config.trials,
            "middle_samples": config.middle_samples,
            "middle_modalities": config.middle_modalities,
            "log2_size": config.log2_size,
        },
    )


def _field(fits: list[list[PowerLaw]], field: str) -> np.ndarray:
    return np.array([[float(getattr(fit, field)) for fit in row] for row in fits])


def _settings(config: Config) -> list[tuple[str, int, int, float]]:
    """Axis, samples, modalities and skew of every setting."""
    n, k = config.middle_samples, config.middle_modalities
    return [
        *(("samples", number, k, 0.0) for number in config.samples),
        *(("modalities", n, number, 0.0) for number in config.modalities),
        *(("skew", n, k, skew) for skew in config.skews),
    ]


def _measured(config: Config, key: jax.Array) -> dict[str, np.ndarray]:
    """Every quantity of every trial, shape (trials, settings)."""
    _, samples, modalities, skews = zip(*_settings(config), strict=True)
    # Strong and weak modalities alternate; the sum of their squared amplitudes is constant.
    side = np.where(np.arange(MODALITIES) % 2 == 0, 1.0, -1.0)
    found, difference, total = _trials(
        jax.random.split(key, config.trials),
        jnp.asarray(samples),
        jnp.asarray(config.amplitude * np.sqrt(1 + np.outer(skews, side))),
        jnp.asarray(np.arange(MODALITIES) < np.array(modalities)[:, None]),
        config.slope,
        config.log2_size,
        max(samples),
    )
    arrays = {name: np.asarray(getattr(found, name)) for name in (*QUANTITIES, "divergence_bound")}
    return {**arrays, "difference": np.asarray(difference), "total": np.asarray(total)}


@partial(jax.jit, static_argnames=("slope", "log2_size", "most"))
def _trials(
    keys: jax.Array,
    numbers: jax.Array,
    amplitudes: jax.Array,
    active: jax.Array,
    slope: float,
    log2_size: float,
    most: int,
) -> tuple[LearnedRetrieval, jax.Array, jax.Array]:
    p = jnp.full(LETTERS, 1 / LETTERS)
    d = 1 - jnp.eye(LETTERS)

    def trial(key: jax.Array) -> tuple[LearnedRetrieval, jax.Array, jax.Array]:
        of_source, of_items, of_queries = jax.random.split(key, 3)
        pattern = jax.random.uniform(of_source, (MODALITIES, LETTERS), minval=-1.0)
        y = jax.random.randint(of_items, (most,), 0, LETTERS)
        v = jax.random.uniform(of_queries, (MODALITIES, most))

        def setting(
            values: tuple[jax.Array, jax.Array, jax.Array],
        ) -> tuple[LearnedRetrieval, jax.Array, jax.Array]:
            number, amplitude, used = values
            one = 0.5 + amplitude[:, None] * pattern
            counted = (y[:, None] == jnp.arange(LETTERS)) & (jnp.arange(most) < number)[:, None]
            items = counted.astype(float)
            ones = (v < one[:, y]).astype(float) @ items
            n = items.sum(axis=0)
            channels = jnp.stack([1 - one, one], axis=-1)
            counts = jnp.stack([n - ones, ones], axis=-1)
            learned = learned_retrieval(
                p, channels, n, counts, d, slope=slope, log2_size=log2_size, active=used
            )
            information = jax.vmap(lambda c: mutual_information(p[:, None] * c))(channels)
            strong = jnp.arange(MODALITIES) % 2 == 0
            difference = jnp.sum(information * used * jnp.where(strong, 1.0, -1.0)) / (
                used.sum() / 2
            )
            return learned, difference, jnp.sum(information * used)

        return jax.lax.map(setting, (numbers, amplitudes, active))

    # lax.map, not vmap: the solver inside takes different numbers of steps.
    return jax.lax.map(trial, keys)


def checks(dataset: xarray.Dataset) -> list[Check]:
    """Check that the bounds hold in every trial, and where the growth is sub-linear and where not."""

    def fit(quantity: str, axis: str, field: str) -> float:
        return float(dataset[f"fit_{field}"].sel(quantity=quantity, axis=axis))

    # Width of an exponent's bootstrap interval, for checks of exact linearity.
    divergence = max(
        fit("divergence", "modalities", "upper") - fit("divergence", "modalities", "exponent"),
        fit("divergence", "modalities", "exponent") - fit("divergence", "modalities", "lower"),
    )
    return [
        C22.exact.at_most(
            "largest amount by which a learned decoder beats the best one of the same descriptions",
            -dataset.smallest_excess,
            1e-12,
        ),
        C22.exact.at_most(
            "largest amount by which an excess error exceeds its bound in variation",
            dataset.bound_violation,
            0.0,
        ),
        C22.exact.at_most(
            "largest amount by which the bound in variation exceeds the one in divergence",
            dataset.pinsker_violation,
            1e-12,
        ),
        C22.monte_carlo.at_most(
            "exponent of the excess error in N, upper end: below the -1/2 of the bound",
            fit("excess", "samples", "upper"),
            -0.5,
        ),
        C22.monte_carlo.at_most(
            "exponent of the excess error in K, upper end: sub-linear",
            fit("excess", "modalities", "upper"),
            1.0,
        ),
        C22.monte_carlo.at_most(
            "exponent of the excess error in the entropy difference, upper end: sub-linear",
            fit("excess", "skew", "upper"),
            1.0,
        ),
        C22.monte_carlo.close(
            "exponent in K of the divergence that learning costs: linear, not sub-linear",
            fit("divergence", "modalities", "exponent"),
            1.0,
            0.05 + 2 * divergence,
        ),
    ]
