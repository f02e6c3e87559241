"""Both sides compressed: bounds on the identification rate of Gaussian and binary pairs."""

from dataclasses import dataclass

import jax
import numpy as np
import xarray

from experiments.runner import Check, Checkpoint, Claim, without_checkpoint
from rdsim.limits import two_sided_dsbs, two_sided_gaussian

CLAIMS = ("C23",)
C23 = Claim("C23")
SOURCES = ("Gaussian", "DSBS")


@dataclass(frozen=True)
class Config:
    """What is computed."""

    correlation: float = 0.8
    """Correlation of the Gaussian pair."""
    crossover: float = 0.1
    """Crossover probability of the binary pair."""
    points: int = 41
    """Rates along each axis."""
    largest_rates: tuple[float, float] = (3.0, 1.0)
    """Ends of the rate axes, Gaussian and binary, bits per letter."""


SMOKE = Config(points=5)
QUICK = Config()
FULL = Config(points=161)


def run(
    config: Config,
    key: jax.Array,  # noqa: ARG001
    checkpoint: Checkpoint = without_checkpoint,
) -> xarray.Dataset:
    """Compute the bounds over a square of rates for both pairs."""
    parts = [checkpoint(f"source-{index}", _bounds, config, index) for index in range(len(SOURCES))]
    references = checkpoint("references", _references)
    fields = ("long_chain", "lower", "upper")
    bits = {"units": "bits per letter"}
    return xarray.Dataset(
        {
            **{
                name: (
                    ("source", "query", "item"),
                    np.stack([part[name] for part in parts]),
                    bits,
                )
                for name in fields
            },
            "rate": (("source", "query"), np.stack([part["rate"] for part in parts]), bits),
            "reference": ("source", references["long_chain"], bits),
        },
        coords={"source": list(SOURCES)},
        attrs={"correlation": config.correlation, "crossover": config.crossover},
    )


def _bounds(config: Config, index: int) -> dict[str, np.ndarray]:
    rate = np.linspace(0.0, config.largest_rates[index], config.points)
    square = {"query_rate": rate[:, None], "item_rate": rate[None, :]}
    found = (
        two_sided_gaussian(config.correlation, **square)
        if index == 0
        else two_sided_dsbs(config.crossover, **square)
    )
    fields = ("long_chain", "lower", "upper")
    return {"rate": rate, **{name: np.asarray(getattr(found, name)) for name in fields}}


def _references() -> dict[str, np.ndarray]:
    gaussian, binary = (
        two_sided_gaussian(0.8, query_rate=1.0, item_rate=1.0),
        two_sided_dsbs(0.1, query_rate=0.5, item_rate=0.5),
    )
    return {"long_chain": np.array([gaussian.long_chain, binary.long_chain])}


def checks(dataset: xarray.Dataset) -> list[Check]:
    """Check reference values, the order of the bounds, and where they meet."""
    crossed = (dataset.lower - dataset.upper).max()
    alone = (dataset.long_chain - dataset.lower).max()
    binary = dataset.sel(source=SOURCES[1])
    edge = np.abs(binary.upper - binary.lower).isel(query=-1).max()
    # The rate of time-shared chains must be concave along the diagonal.
    diagonal = np.diagonal(binary.lower.values)
    bend = np.diff(diagonal, 2).max()
    return [
        C23.closed_form.close(
            "long chain, Gaussian .8 at one bit each", dataset.reference[0], 0.321928095, 1e-9
        ),
        C23.closed_form.close(
            "long chain, binary .1 at half a bit each", dataset.reference[1], 0.178313011, 1e-9
        ),
        C23.exact.at_most("inner above outer bound, bits", crossed, 0.0),
        C23.exact.at_most("long chain above the time-shared inner bound, bits", alone, 1e-15),
        C23.exact.at_most("gap with the binary query kept whole, bits", edge, 1e-9),
        C23.exact.at_most(
            "upward bend of the binary inner bound on the diagonal, bits", bend, 1e-9
        ),
    ]
