"""Long tail: bits needed to rank a target with a Zipf prior, against the converse by entropies."""

import itertools
from dataclasses import dataclass

import jax
import numpy as np
import xarray

from experiments.runner import Check, Checkpoint, Claim, without_checkpoint
from rdsim import limits
from rdsim.limits import rank_rate_prior, rank_rate_prior_curve, ranking_codebook
from rdsim.ranking import Loss
from rdsim.sources import zipf_prior

CLAIMS = ("C3",)
C3 = Claim("C3")
LOSSES: dict[str, Loss] = {"reciprocal rank": "reciprocal_rank", "error": "error"}
BRUTE_FORCE_ITEMS = 5
CODEBOOK_EXPONENT = 1.0


@dataclass(frozen=True)
class Config:
    """What is computed."""

    sizes: tuple[int, ...] = (100, 10_000)
    """Numbers of items."""
    exponents: tuple[float, ...] = (0.0, 0.5, 1.0, 1.5)
    """Exponents of the Zipf priors; 0 is the uniform prior."""
    slopes: int = 49
    """Points along each curve."""
    codebook_slope: float = 9.0
    """Slope of the codebook that is written out, bits per unit of loss."""


SMOKE = Config(sizes=(50,), exponents=(0.0, 1.0), slopes=9)
QUICK = Config()
FULL = Config(sizes=(100, 10_000, 1_000_000), exponents=(0.0, 0.5, 1.0, 1.5, 2.0), slopes=121)


def run(
    config: Config, key: jax.Array, checkpoint: Checkpoint = without_checkpoint
) -> xarray.Dataset:
    """Compute R(D) of every loss, size and exponent, its bound, a codebook and a brute force."""
    parts = [
        [
            checkpoint(f"{name.replace(' ', '-')}-{size}", _curves, config, name, size)
            for size in config.sizes
        ]
        for name in LOSSES
    ]
    book = checkpoint("codebook", _codebook, config)
    brute = checkpoint("brute-force", _brute_force, key)
    dims = ("loss_name", "size", "exponent", "point")
    fields = {
        "distortion": {"long_name": "expected loss", "units": "1"},
        "rate": {"long_name": "rate", "units": "bits"},
        "gap": {"long_name": "certified gap", "units": "bits"},
        "bound": {"long_name": "H(p) - max H(q)", "units": "bits"},
        "blocks": {"long_name": "blocks of pooled ranks", "units": "1"},
        "majorised": {"long_name": "whether Gibbs majorises the prior", "units": "1"},
    }
    return xarray.Dataset(
        {
            **{
                name: (dims, np.array([[part[name] for part in row] for row in parts]), attributes)
                for name, attributes in fields.items()
            },
            "codebook_gap": ("size", book["gap"], {"units": "bits"}),
            "codebook_rankings": ("size", book["rankings"], {"units": "1"}),
            "brute_force_error": ("loss_name", brute["error"], {"units": "bits"}),
        },
        coords={
            "loss_name": list(LOSSES),
            "size": list(config.sizes),
            "exponent": list(config.exponents),
            "slope": ("point", _slopes(config), {"units": "bits per unit of loss"}),
        },
    )


def _slopes(config: Config) -> np.ndarray:
    return np.geomspace(1.0, 48.0, config.slopes)


def _curves(config: Config, name: str, size: int) -> dict[str, np.ndarray]:
    curves = [
        rank_rate_prior_curve(zipf_prior(size, exponent=exponent).p, _slopes(config), LOSSES[name])
        for exponent in config.exponents
    ]
    fields = ("distortion", "rate", "gap", "entropy_bound", "blocks", "majorised")
    arrays = {
        field: np.stack([np.asarray(getattr(curve, field), float) for curve in curves])
        for field in fields
    }
    arrays["bound"] = arrays.pop("entropy_bound")
    return arrays


def _codebook(config: Config) -> dict[str, np.ndarray]:
    """Construct the codebooks for Zipf priors and the reciprocal rank, one for each size."""
    books = [
        ranking_codebook(
            zipf_prior(size, exponent=CODEBOOK_EXPONENT).p,
            config.codebook_slope,
            "reciprocal_rank",
        )
        for size in config.sizes
    ]
    return {
        "gap": np.array([float(book.gap) for book in books]),
        "rankings": np.array([book.probability.size for book in books]),
    }


def _brute_force(key: jax.Array) -> dict[str, np.ndarray]:
    """Largest distance from the certified solver on all rankings of a few items, random priors."""
    rank = np.array(list(itertools.permutations(range(1, BRUTE_FORCE_ITEMS + 1))), float).T
    distortions = {"reciprocal rank": 1 - 1 / rank, "error": (rank > 1).astype(float)}
    priors = np.asarray(jax.random.dirichlet(key, np.ones(BRUTE_FORCE_ITEMS), (4,)))
    errors = []
    for name, loss in LOSSES.items():
        error = 0.0
        for prior in priors:
            brute = limits.rate_distortion_curve(
                prior, distortions[name], [1.0, 3.0, 9.0], method="dense"
            )
            ours = rank_rate_prior(prior, loss, distortion=np.clip(brute.distortion, 0.0, 1.0))
            error = max(error, float(np.max(np.abs(ours.value - brute.rate))))
        errors.append(error)
    return {"error": np.array(errors)}


def checks(dataset: xarray.Dataset) -> list[Check]:
    """Check certificate, converse, equality exactly where the prior is majorised, and brute force."""
    excess = dataset.rate - dataset.bound
    majorised = dataset.majorised > 0
    where_met, elsewhere = abs(excess).where(majorised).max(), excess.where(~majorised).max()
    anchor = rank_rate_prior([0.4, 0.3, 0.2, 0.1], "reciprocal_rank", distortion=0.191846983)
    found = [
        C3.exact.at_most("largest certified gap, bits", dataset.gap.max(), 1e-9),
        C3.exact.at_most("largest excess of the bound over the rate, bits", (-excess).max(), 1e-9),
        C3.exact.at_most("largest distance from the bound where majorised, bits", where_met, 1e-9),
        C3.exact.inside(
            "largest distance from the bound where not majorised, bits",
            elsewhere,
            0.1,
            np.log2(dataset["size"].values.max()),
        ),
        C3.exact.close("rate of (.4, .3, .2, .1) at D = 0.1918, bits", anchor, 0.466327085, 4e-9),
    ]
    for name in dataset.loss_name.values:
        statement = f"largest distance from all 120 rankings of 5 items, {name}, bits"
        error = dataset.brute_force_error.sel(loss_name=name)
        found.append(C3.exact.at_most(statement, error, 2e-9))
    for size in dataset["size"].values:
        statement = f"certified gap of a codebook over {size} items, bits"
        gap = dataset.codebook_gap.sel(size=size)
        found.append(C3.exact.at_most(statement, gap, 1e-9))
    return found
