"""The information bottleneck beside embo and dit: time, and by how much a point is below others.

The objective at slope s is L = I(U;X) - s I(U;Y). The constant encoder has L = 0, so a returned L
below zero is worse than to store nothing.
"""

import dataclasses
import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from benchmarks._rows import LATE, Row, Side, compare
from rdsim import limits
from rdsim.limits.bottleneck.discrete import InformationBottleneck

TITLE = "Information bottleneck"


@dataclass(frozen=True)
class Config:
    """What is timed."""

    letters: int = 3
    """Letters of the described side; up to three the library proves its points."""
    other_letters: int = 4
    """Letters of the other side."""
    joints: int = 6
    """Random joint distributions, from nearly independent to nearly deterministic."""
    slopes: tuple[float, ...] = (0.02, 0.1, 0.3, 0.5, 0.7, 0.9)
    """s, bits about X per bit about Y; one over the beta of the peers."""
    restarts: int = 5
    """Random starts of the peers."""
    iterations: int = 200
    """Most steps of the peers, from each start."""
    repeats: int = 1
    """Turns."""
    limit: float = 45.0
    """Seconds that a peer has."""
    large_letters: int = 64
    """Letters of both sides of a joint at which nothing is proved but the bounds."""
    large_slopes: int = 32
    """Slopes there, evenly spaced in (0, 1)."""


SMOKE = Config(
    joints=1,
    slopes=(0.3, 0.9),
    restarts=2,
    iterations=50,
    limit=20.0,
    large_letters=6,
    large_slopes=2,
)
FULL = Config()


def run(config: Config) -> list[Row]:
    """Compare all sides on the same joints and slopes: small ones, and a large one."""
    slopes = (np.arange(config.large_slopes) + 0.5) / config.large_slopes
    large = dataclasses.replace(
        config,
        letters=config.large_letters,
        other_letters=config.large_letters,
        joints=1,
        slopes=tuple(slopes.tolist()),
    )
    return _compared(config, random_joints(config), "rdsim, proved") + _compared(
        large, [random_joints(dataclasses.replace(large, joints=3))[1]], "rdsim"
    )


def _compared(config: Config, joints: list[np.ndarray], name: str) -> list[Row]:
    """Time all sides. What is missing is measured from the best value that is known."""
    ours = _ours(joints, config)
    known = np.array([np.asarray(one.relevance - one.slope * one.complexity) for one in ours])
    gap = np.array([np.asarray(one.gap) for one in ours])
    proved = not any(np.any(one.local) for one in ours)
    best, reference = (known + gap, "proved optimum") if proved else (known, "best known")

    def describe(found: np.ndarray) -> tuple[str, dict[str, float]]:
        values, rates = found
        late = int(np.isnan(values).sum())
        missing, worst = float(np.nanmax(best - values)), float(np.nanmin(values))
        worse = int((values < -1e-9).sum())
        words = f"at most {missing:.1e} bits below the {reference}"
        if worse:
            words += (
                f"; {worse} of {values.size - late} points worse than the constant encoder, "
                f"by up to {-worst:.2g} bits"
            )
        negative = float(np.nanmin(rates))
        if negative < -1e-9:
            words += f"; rates down to {negative:.2g} bits"
        if late:
            words += f"; {late} of {values.size} points left at the limit of {config.limit:g} s"
        return words, {
            "missing_bits": missing,
            "proved_gap_bits": float(gap.max()),
            "least_objective_bits": worst,
            "least_rate_bits": negative,
            "points_below_constant": float(worse),
            LATE: float(late),
        }

    def side(name: str, call: Callable[[], np.ndarray], package: str) -> Side:
        return Side(name, call, describe, compiles=False, package=package)

    return compare(
        f"{len(joints)} joints of {config.other_letters} x {config.letters}, "
        f"{len(config.slopes)} slopes",
        [
            Side(name, lambda: _values(_ours(joints, config)), describe, compiles=False),
            side(f"embo, {config.restarts} starts", lambda: _embo(joints, config), "embo"),
            side("embo, as documented", lambda: _embo(joints, config, documented=True), "embo"),
            side(f"dit, {config.restarts} starts", lambda: _dit(joints, config), "dit"),
        ],
        config.repeats,
    )


def random_joints(config: Config) -> list[np.ndarray]:
    """Joint distributions P(x, y), rows x, of rising dependence."""
    generator = np.random.default_rng(3)
    found = []
    for strength in np.linspace(0.05, 0.95, config.joints):
        noise = generator.dirichlet(np.ones(config.other_letters), config.letters).T
        exact = np.eye(config.other_letters)[:, : config.letters]
        channel = (1 - strength) * noise + strength * exact
        found.append(channel * generator.dirichlet(np.full(config.letters, 2.0)))
    return found


def _ours(joints: list[np.ndarray], config: Config) -> list[InformationBottleneck]:
    return [
        limits.information_bottleneck(joint, config.slopes, compress="columns") for joint in joints
    ]


def _values(found: list[InformationBottleneck]) -> np.ndarray:
    values = [one.relevance - one.slope * one.complexity for one in found]
    return np.array([values, [one.complexity for one in found]])


def _each(
    joints: list[np.ndarray],
    config: Config,
    point: Callable[[np.ndarray, float], tuple[float, float]],
) -> np.ndarray:
    """Objective, and rate as reported, of each joint and slope; NaN from where the time is over."""
    np.random.seed(0)  # noqa: NPY002
    start = time.perf_counter()
    found = [
        [
            point(joint, slope) if time.perf_counter() - start < config.limit else (np.nan, np.nan)
            for slope in config.slopes
        ]
        for joint in joints
    ]
    return np.moveaxis(np.array(found), -1, 0)


def _embo(joints: list[np.ndarray], config: Config, *, documented: bool = False) -> np.ndarray:
    """Run embo's search for one beta, without its pool of processes; it describes its X, our Y.

    Its exponent takes a divergence in bits for one in nats, so that its beta is ln 2 of the usual
    one. As documented is the usual beta, 1/s, with its own starts, steps and tolerance.
    """
    import embo

    scale = 1.0 if documented else math.log(2)
    effort = (3, 100) if documented else (config.restarts, config.iterations)
    tolerance = 1e-3 if documented else 1e-9

    def point(joint: np.ndarray, slope: float) -> tuple[float, float]:
        px, py = joint.sum(axis=0), joint.sum(axis=1)
        complexity, relevance, _, _ = embo.InformationBottleneck.beta_iter(
            1, scale / slope, px, py, joint / px, px.size, *effort, rtol=tolerance
        )
        return relevance - slope * complexity, complexity

    return _each(joints, config, point)


def _dit(joints: list[np.ndarray], config: Config) -> np.ndarray:
    """Run dit's Blahut-Arimoto; it describes the first axis of its joint, our Y."""
    from dit.rate_distortion.blahut_arimoto import blahut_arimoto_ib

    def point(joint: np.ndarray, slope: float) -> tuple[float, float]:
        result, encoded = blahut_arimoto_ib(
            joint.T, 1 / slope, max_iters=config.iterations, restarts=config.restarts
        )
        # Axes of the joint distribution: Y, X, T.
        relevance, complexity = information(encoded.sum(axis=0)), information(encoded.sum(axis=1))
        return relevance - slope * complexity, float(result.rate)

    return _each(joints, config, point)


def information(joint: np.ndarray) -> float:
    """Mutual information in bits of a table, scaled to sum to one."""
    joint = joint / joint.sum()
    product = joint.sum(axis=1, keepdims=True) * joint.sum(axis=0)
    inside = joint > 0
    return float(np.sum(joint[inside] * np.log2(joint[inside] / product[inside])))
