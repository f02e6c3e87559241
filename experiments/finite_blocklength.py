"""Finite block length: how much more than R(D) bits a code of n letters needs.

Converse, random coding and the Gaussian approximation for the four sources that Kostina and Verdu
(2012) draw: a fair and a biased coin, a Gaussian letter and an erased coin.
"""

from dataclasses import dataclass
from functools import partial

import jax
import numpy as np
import xarray

from experiments.runner import Check, Checkpoint, Claim, without_checkpoint
from rdsim.limits import finite_blocklength as finite
from rdsim.limits.finite_blocklength.result import steps_within

CLAIMS = ("C16",)
C16 = Claim("C16")

ANCHORS = (100, 500)
REFERENCE = {
    "fair coin": ((0.527910, 0.550088, 0.533303), (0.507946, 0.512381, 0.509050)),
    # Codewords of the optimal bias would need 0.568155 bits at n = 100: fair ones are better there.
    "biased coin": ((0.521110, 0.550088, 0.537701), (0.495779, 0.508429, 0.500849)),
    "Gaussian": ((1.220777, 1.381273, 1.237320), (1.102687, 1.133168, 1.106133)),
    "erased coin": ((0.738264, 0.745217, 0.714870), (0.670109, 0.671439, 0.663207)),
}
"""Converse, achievability and approximation at the anchors, at the settings of `QUICK`."""
_CURVES = {"converse": "lower", "achievability": "upper", "approximation": "approximation"}
"""Variables of the dataset, and the attributes of a result that they hold."""
_WHOLE = "approximation at integer n D"


@dataclass(frozen=True)
class Config:
    """What is computed."""

    points: int = 24
    """Block lengths along each curve, in geometric progression."""
    shortest: int = 10
    """Shortest block length."""
    longest: int = 1000
    """Longest block length."""
    coin_bias: float = 0.4
    """Probability of one of the biased coin."""
    coin_distortion: float = 0.11
    """Fraction of wrong bits of the fair and of the biased coin."""
    gaussian_distortion: float = 0.25
    """Squared error of the Gaussian of unit variance."""
    erasure: float = 0.1
    """Probability that a bit of the erased coin is erased."""
    erased_distortion: float = 0.1
    """Fraction of wrong bits of the erased coin."""
    excess: float = 0.01
    """Excess probability of all but the erased coin."""
    erased_excess: float = 0.1
    """Excess probability of the erased coin."""


SMOKE = Config(points=4, longest=100)
QUICK = Config()
FULL = Config(points=97, longest=4000)


def run(
    config: Config,
    key: jax.Array,  # noqa: ARG001
    checkpoint: Checkpoint = without_checkpoint,
) -> xarray.Dataset:
    """Compute the curves of all four sources."""
    n = np.unique(np.geomspace(config.shortest, config.longest, config.points).astype(int))
    n = np.union1d(n, [anchor for anchor in ANCHORS if anchor <= config.longest])
    curves = {
        name: checkpoint(name.replace(" ", "-"), _curves, config, name, n) for name in REFERENCE
    }
    per_letter = {"units": "bits per letter"}
    return xarray.Dataset(
        {
            **{
                curve: (
                    ("source", "block_length"),
                    np.stack([curves[name][curve] for name in REFERENCE]),
                    per_letter,
                )
                for curve in (*_CURVES, _WHOLE)
            },
            "rate_distortion": (
                "source",
                [float(curves[name]["rate_distortion"]) for name in REFERENCE],
                per_letter,
            ),
            "dispersion": (
                "source",
                [float(curves[name]["dispersion"]) for name in REFERENCE],
                {"units": "bits squared per letter"},
            ),
        },
        coords={
            "source": list(REFERENCE),
            "setting": ("source", [_setting(config, name) for name in REFERENCE]),
            "block_length": ("block_length", n, {"units": "letters"}),
        },
    )


def _setting(config: Config, name: str) -> str:
    return {
        "fair coin": f"fair coin, D = {config.coin_distortion:g}, ε = {config.excess:g}",
        "biased coin": f"coin of bias {config.coin_bias:g}, D = {config.coin_distortion:g}, "
        f"ε = {config.excess:g}",
        "Gaussian": f"Gaussian, D = {config.gaussian_distortion:g}, ε = {config.excess:g}",
        "erased coin": f"erased coin, α = {config.erasure:g}, D = {config.erased_distortion:g}, "
        f"ε = {config.erased_excess:g}",
    }[name]


def _curves(config: Config, name: str, n: np.ndarray) -> dict[str, np.ndarray]:
    D, excess = config.coin_distortion, config.excess
    if name == "Gaussian":
        found = finite.gaussian_mse(
            1.0, distortion=config.gaussian_distortion, excess_probability=excess, block_lengths=n
        )
    elif name == "erased coin":
        alpha, D, excess = config.erasure, config.erased_distortion, config.erased_excess
        found = finite.erased_coin(alpha, distortion=D, excess_probability=excess, block_lengths=n)
        second_order = partial(finite.erased_coin_second_order, alpha)
    else:
        bias = 0.5 if name == "fair coin" else config.coin_bias
        found = finite.binary_hamming(
            bias, distortion=D, excess_probability=excess, block_lengths=n
        )
        second_order = partial(finite.binary_hamming_second_order, bias)
    whole = np.asarray(found.approximation)
    if name != "Gaussian":
        # The distortions that n letters can have: an integer number of wrong bits over n.
        possible = steps_within(n, D) / n
        served = np.isfinite(np.asarray(found.lower))
        whole = np.where(served, 0.0, np.inf)
        whole[served] = [
            second_order(distortion=k).rate(m, excess)
            for k, m in zip(possible[served], n[served], strict=True)
        ]
    single = {name: np.asarray(getattr(found, name)) for name in ("rate_distortion", "dispersion")}
    curves = {name: np.asarray(getattr(found, field)) for name, field in _CURVES.items()}
    return {_WHOLE: whole, **single, **curves}


def checks(dataset: xarray.Dataset) -> list[Check]:
    """Check the order of the bounds, the reference values and the approximation."""
    found = []
    for name in dataset.source.values:
        part = dataset.sel(source=name)
        short = np.log2(part.block_length) / part.block_length
        served = np.isfinite(part.achievability)
        found.append(
            C16.exact.at_most(
                f"largest excess of the converse over the achievability, {name}, bits",
                (part.converse - part.achievability).where(served).max(),
                0.0,
            )
        )
        for curve, most in (("converse", 0.5), ("achievability", 2.5)):
            # The remainder of both bounds is O(log n / n), when n D is rounded to an integer number
            # of wrong bits.
            apart = (abs(part[curve] - part[_WHOLE]) / short).where(served)
            found.append(
                C16.exact.at_most(
                    f"distance of {curve} from {_WHOLE} over (log2 n)/n, n >= 100, {name}",
                    apart.where(part.block_length >= 100).max(),
                    most,
                )
            )
        for index, n in enumerate(ANCHORS):
            if n not in dataset.block_length or part.setting.item() != _setting(QUICK, name):
                continue
            for curve, value in zip(_CURVES, REFERENCE[name][index], strict=True):
                found.append(
                    C16.exact.close(
                        f"{curve} at n={n}, {name}, bits per letter",
                        part[curve].sel(block_length=n),
                        value,
                        6e-7,
                    )
                )
    return found
