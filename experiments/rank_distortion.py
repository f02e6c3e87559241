"""Rank-distortion function: bits needed to rank a uniform target, for four losses over M."""

from dataclasses import dataclass

import jax
import numpy as np
import scipy.special
import xarray

from experiments.runner import Check, Checkpoint, Claim, without_checkpoint
from rdsim import limits
from rdsim.ranking import Loss

CLAIMS = ("C2",)
C2 = Claim("C2")
LOSSES: dict[str, Loss] = {
    "error": "error",
    "reciprocal rank": "reciprocal_rank",
    "miss at 10": ("miss", 10),
    "DCG": "dcg",
}


@dataclass(frozen=True)
class Config:
    """What is computed."""

    log2_sizes: tuple[int, ...] = (6, 10, 20, 100, 1000)
    """log2 of the database sizes."""
    points: int = 61
    """Points along the loss, from 0 to 1."""


SMOKE = Config(log2_sizes=(6,), points=7)
QUICK = Config()
FULL = Config(log2_sizes=(6, 10, 20, 40, 100, 300, 1000), points=401)


def run(
    config: Config,
    key: jax.Array,  # noqa: ARG001
    checkpoint: Checkpoint = without_checkpoint,
) -> xarray.Dataset:
    """Compute R(D; M) of every loss and size, its certificate and its inverse."""
    loss = np.linspace(0.0, 1.0, config.points)
    parts = [checkpoint(name.replace(" ", "-"), _curves, config, name, loss) for name in LOSSES]
    dims = ("loss_name", "log2_size", "loss")
    bits = {"long_name": "rank-distortion function", "units": "bits"}
    return xarray.Dataset(
        {
            name: (dims, np.stack([part[name] for part in parts]), attributes)
            for name, attributes in (("rate", bits), ("gap", bits), ("loss_back", {"units": "1"}))
        },
        coords={
            "loss_name": list(LOSSES),
            "log2_size": ("log2_size", list(config.log2_sizes), {"units": "bits"}),
            "loss": ("loss", loss, {"long_name": "expected loss", "units": "1"}),
        },
    )


def _curves(config: Config, name: str, loss: np.ndarray) -> dict[str, np.ndarray]:
    sizes = np.array(config.log2_sizes, float)[:, None]
    rate = limits.rank_rate(sizes, LOSSES[name], distortion=loss)
    back = limits.rank_loss(sizes, LOSSES[name], rate=rate.value)
    return {
        "rate": np.asarray(rate.value),
        "gap": np.asarray(rate.gap),
        "loss_back": np.asarray(back.value),
    }


def checks(dataset: xarray.Dataset) -> list[Check]:
    """Check certificate, inverse, Fano's closed form and independently computed values."""
    inside = (dataset.rate > 1e-6) & (dataset.loss > 0)
    back = abs(dataset.loss_back - dataset.loss).where(inside).max()
    size, loss = dataset.log2_size.astype(float), dataset.loss
    entropy = (scipy.special.entr(loss) + scipy.special.entr(1 - loss)) / np.log(2)
    others = size + np.log1p(-np.exp2(-size)) / np.log(2)
    fano = np.maximum(size - entropy - loss * others, 0.0).where(loss <= 1 - np.exp2(-size), 0.0)
    difference = abs(dataset.rate.sel(loss_name="error") - fano).max()
    anchors = (
        (
            limits.rank_rate(np.log2(10), "reciprocal_rank", distortion=0.1),
            "R(0.1; 10), reciprocal rank",
            2.315187258,
        ),
        (
            limits.rank_rate(np.log2(1000), "reciprocal_rank", distortion=0.5),
            "R(0.5; 1000), reciprocal rank",
            3.921215365,
        ),
        (
            limits.rank_loss(np.log2(1000), "reciprocal_rank", rate=4.0),
            "least loss at 4 bits, M = 1000",
            1 - 0.507852082,
        ),
    )
    return [
        C2.exact.at_most("largest certified gap, bits", dataset.gap.max(), 1e-9),
        C2.exact.at_most("largest error of loss to rate and back", back, 1e-9),
        C2.closed_form.at_most("largest difference from Fano's form, bits", difference, 1e-9),
        *(
            C2.closed_form.close(statement, limit.value, expected, 1e-9)
            for limit, statement, expected in anchors
        ),
    ]
