"""Wyner-Ziv: side information at the decoder alone, at both ends and nowhere."""

from dataclasses import dataclass

import jax
import numpy as np
import xarray

from experiments.runner import Check, Checkpoint, Claim, without_checkpoint
from rdsim import limits
from rdsim.limits import closed_forms, conditional_rate_at, wyner_ziv_at, wyner_ziv_dsbs

CLAIMS = ("C6",)
C6 = Claim("C6")
SOURCES = ("DSBS", "random pair")


@dataclass(frozen=True)
class Config:
    """What is computed."""

    crossover: float = 0.25
    """Probability that the side information differs from the letter."""
    points: int = 25
    """Distortions along each curve."""
    sources: tuple[str, ...] = SOURCES
    """Pairs shown; of the first all but the Wyner-Ziv rate is in closed form."""


SMOKE = Config(points=4, sources=SOURCES[:1])
QUICK = Config()
FULL = Config(points=97)


def run(
    config: Config, key: jax.Array, checkpoint: Checkpoint = without_checkpoint
) -> xarray.Dataset:
    """Compute the three rates of a binary pair and of a random one."""
    parts = [
        checkpoint(f"source-{index}", _source, config, key, name)
        for index, name in enumerate(config.sources)
    ]
    closed = np.asarray(wyner_ziv_dsbs(config.crossover, distortion=parts[0]["distortion"]))
    bits = {"units": "bits"}
    fields = ("plain", "wyner_ziv", "wyner_ziv_lower", "conditional")
    return xarray.Dataset(
        {
            "distortion": (("source", "point"), np.stack([part["distortion"] for part in parts])),
            **{
                name: (("source", "point"), np.stack([part[name] for part in parts]), bits)
                for name in fields
            },
            "closed_form": ("point", closed, bits),
        },
        coords={"source": list(config.sources)},
        attrs={"crossover": config.crossover},
    )


def _source(config: Config, key: jax.Array, name: str) -> dict[str, np.ndarray]:
    a = config.crossover
    joint = np.array([[1 - a, a], [a, 1 - a]]) / 2
    d = 1 - np.eye(2)
    if name != SOURCES[0]:
        pair_key, distortion_key = jax.random.split(key)
        joint = np.asarray(jax.random.dirichlet(pair_key, np.ones(12))).reshape(4, 3)
        d = np.asarray(jax.random.uniform(distortion_key, (4, 3)))
    p = joint.sum(axis=1)
    least = float(p @ d.min(axis=1))
    # Denser near the least distortion, where the curves are steep.
    D = least + (float((p @ d).min()) - least) * np.linspace(0.0, 1.0, config.points) ** 2
    coded = wyner_ziv_at(joint, d, D, compress="rows")
    if name == SOURCES[0]:
        plain = closed_forms.uniform_hamming(2, distortion=D)
        conditional = closed_forms.bernoulli_hamming(a, distortion=D)
    else:
        plain = limits.rate_at(p, d, D).upper
        conditional = conditional_rate_at(joint, d, D, compress="rows").lower
    return {
        "distortion": D,
        "plain": np.asarray(plain),
        "wyner_ziv": np.asarray(coded.upper),
        "wyner_ziv_lower": np.asarray(coded.lower),
        "conditional": np.asarray(conditional),
    }


def checks(dataset: xarray.Dataset) -> list[Check]:
    """Check the solver against the closed form, its gap, and the order of the rates."""
    binary = dataset.sel(source=SOURCES[0])
    error = np.abs(binary.wyner_ziv - dataset.closed_form).max()
    gap = (dataset.wyner_ziv - dataset.wyner_ziv_lower).max()
    above = (dataset.wyner_ziv_lower - dataset.plain).max()
    below = (dataset.conditional - dataset.wyner_ziv).max()
    return [
        C6.closed_form.at_most(
            "distance of the Wyner-Ziv solver from the binary closed form, bits", error, 1.1e-9
        ),
        C6.exact.at_most("largest certified gap of Wyner-Ziv, bits", gap, 1e-9),
        C6.exact.at_most(
            "excess of Wyner-Ziv over the rate without side information, bits", above, 1e-9
        ),
        C6.exact.at_most("excess of the conditional rate over Wyner-Ziv, bits", below, 1e-9),
    ]
