"""Distribution shift: the cost of a codebook designed for another source, or for a whole ball."""

from dataclasses import dataclass

import jax
import numpy as np
import xarray

from experiments.runner import Check, Checkpoint, Claim, without_checkpoint
from rdsim.limits import closed_forms, minimax_rate, redundancy, worst_mismatched_rate

CLAIMS = ("C24",)
C24 = Claim("C24")
HAMMING = 1 - np.eye(2)


@dataclass(frozen=True)
class Config:
    """What is computed, for a binary source under Hamming distortion."""

    source: float = 0.3
    """Probability of a one at which the codebook is used, and centre of the ball."""
    designs: tuple[float, ...] = (0.2, 0.25, 0.4, 0.5)
    """Probabilities of a one for which codebooks were designed."""
    distortions: int = 41
    """Points along the distortion, up to 0.19."""
    minimax_distortion: float = 0.1
    """Distortion of the minimax problem."""
    radii: tuple[float, ...] = (0.0, 0.003, 0.01, 0.03, 0.06, 0.1, 0.15)
    """Radii of the ball, bits."""
    tolerance: float = 1e-5
    """Gap asked for of the minimax rate, bits."""


SMOKE = Config(distortions=4, radii=(0.0, 0.03))
QUICK = Config()
FULL = Config(distortions=161, radii=tuple(np.linspace(0, 0.2, 41)))


def designed(probability: float, D: np.ndarray) -> np.ndarray:
    """Optimal output marginal of a binary source, one row for each distortion."""
    one = np.clip((probability - D) / (1 - 2 * D), 0.0, 1.0)
    return np.stack([1 - one, one], axis=-1)


def run(
    config: Config,
    key: jax.Array,  # noqa: ARG001
    checkpoint: Checkpoint = without_checkpoint,
) -> xarray.Dataset:
    """Compute the redundancies and the minimax rates."""
    D = np.linspace(0.005, 0.19, config.distortions)
    loss = checkpoint("redundancy", _redundancy, config, D)
    ball = [
        checkpoint(f"ball-{index}", _ball, config, radius)
        for index, radius in enumerate(config.radii)
    ]
    bits = {"units": "bits"}
    return xarray.Dataset(
        {
            "redundancy": (("design", "distortion"), loss["upper"], bits),
            "redundancy_lower": (("design", "distortion"), loss["lower"], bits),
            "uniform_exact": ("distortion", loss["uniform"], bits),
            **{
                name: ("radius", np.stack([part[name] for part in ball]), bits)
                for name in ("minimax", "minimax_lower", "largest_rate", "centre", "exact")
            },
        },
        coords={
            "design": list(config.designs),
            "distortion": D,
            "radius": ("radius", list(config.radii), bits),
        },
        attrs={
            "source": config.source,
            "minimax_distortion": config.minimax_distortion,
            "tolerance": config.tolerance,
        },
    )


def _redundancy(config: Config, D: np.ndarray) -> dict[str, np.ndarray]:
    p = np.array([1 - config.source, config.source])
    bounds = [
        [redundancy(p, HAMMING, q, x) for q, x in zip(designed(probability, D), D, strict=True)]
        for probability in config.designs
    ]
    uniform = closed_forms.uniform_hamming(2, distortion=D) - closed_forms.bernoulli_hamming(
        config.source, distortion=D
    )
    return {
        "upper": np.array([[float(b.upper) for b in row] for row in bounds]),
        "lower": np.array([[float(b.lower) for b in row] for row in bounds]),
        "uniform": np.asarray(uniform),
    }


def _ball(config: Config, radius: float) -> dict[str, np.ndarray]:
    p, D = config.source, config.minimax_distortion
    found = minimax_rate([1 - p, p], HAMMING, radius, distortion=D, tolerance=config.tolerance)
    # The hardest binary source is the one nearest to the fair coin.
    grid = np.linspace(p, 0.5, 200001)
    divergence = grid * np.log2(grid / p) + (1 - grid) * np.log2((1 - grid) / (1 - p))
    hardest = grid[divergence <= radius].max()
    made = designed(p, np.array(D))
    centre = worst_mismatched_rate(
        [1 - p, p], HAMMING, made, radius, distortion=D, tolerance=config.tolerance
    )
    return {
        "minimax": np.asarray(found.rate.upper),
        "minimax_lower": np.asarray(found.rate.lower),
        "largest_rate": np.asarray(found.largest_rate),
        "centre": np.asarray(centre.value),
        "exact": np.asarray(closed_forms.bernoulli_hamming(hardest, distortion=D)),
    }


def checks(dataset: xarray.Dataset) -> list[Check]:
    """Check the redundancies and the minimax bounds."""
    gap = (dataset.redundancy - dataset.redundancy_lower).max()
    tolerance = dataset.attrs["tolerance"]
    found = [
        C24.exact.at_most("largest certified gap of a redundancy, bits", gap, 1e-8),
        C24.exact.at_most(
            "gap of the minimax rate, bits",
            (dataset.minimax - dataset.minimax_lower).max(),
            tolerance,
        ),
        C24.closed_form.at_most(
            "distance of the minimax rate from R(D) of the hardest source in the ball, bits",
            np.abs(dataset.minimax - dataset.exact).max(),
            2 * tolerance,
        ),
    ]
    found.append(
        C24.exact.at_most(
            "minimax codebook's worst case above that of the codebook of the centre, bits",
            (dataset.minimax - dataset.centre).max(),
            tolerance,
        )
    )
    found.append(
        C24.exact.at_most(
            "binary minimax rate above the largest R(P,D) met in the ball, bits",
            (dataset.minimax - dataset.largest_rate).max(),
            20 * tolerance,
        )
    )
    if 0.5 in dataset.design.values:
        error = np.abs(dataset.redundancy.sel(design=0.5) - dataset.uniform_exact).max()
        found.append(
            C24.closed_form.at_most(
                "distance of the redundancy of a uniform codebook from its closed form, bits",
                error,
                1e-8,
            )
        )
    return found
