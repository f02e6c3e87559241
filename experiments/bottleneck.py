"""Information bottleneck: certified points, a concave envelope, and slow iterations."""

from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
import xarray

from experiments.runner import Check, Checkpoint, Claim, without_checkpoint
from rdsim import limits, sources
from rdsim.limits import bottleneck_at, information_bottleneck

CLAIMS = ("C5", "C10", "C11")
C5, C10, C11 = map(Claim, CLAIMS)
CROSSOVER, ERASURE = 0.1, 0.4
ASYMMETRIC = ((0.6, 0.1), (0.06, 0.24))
TERNARY = ((0.25, 0.05, 0.02), (0.03, 0.2, 0.1), (0.02, 0.05, 0.28))
CORRELATIONS = (0.9, 0.6, 0.3)
GAUSSIANS = ("scalar", "vector")
BIAS, DISTORTION = 0.3, 0.1


@dataclass(frozen=True)
class Config:
    """What is computed."""

    joints: tuple[str, ...] = ("DSBS", "erasure", "asymmetric", "ternary")
    """Discrete sources."""
    points: int = 15
    """Certified rates of each discrete source, inside (0, 1) times H(Y)."""
    slopes: int = 24
    """Slopes whose supporting lines bound each curve from above."""
    line: int = 121
    """Points along closed forms, and along the envelope."""
    envelope_slope: float = 0.3
    """Slope of the envelope that is shown, bits about X per bit about Y."""
    iterations: int = 2000
    """Steps of plain Blahut-Arimoto."""


SMOKE = Config(joints=("DSBS", "erasure", "asymmetric"), points=3, slopes=4, line=9, iterations=60)
QUICK = Config()
FULL = Config(points=41, slopes=96, line=401, iterations=20000)


def joint_of(name: str) -> np.ndarray:
    """Return P(x,y) of a discrete source of this study."""
    if name == "DSBS":
        return np.asarray(sources.dsbs(CROSSOVER).joint)
    if name == "erasure":
        return np.vstack([(1 - ERASURE) * np.eye(2) / 2, np.full(2, ERASURE / 2)])
    return np.array(ASYMMETRIC if name == "asymmetric" else TERNARY)


def _entropy(p: np.ndarray) -> float:
    return float(-np.sum(p[p > 0] * np.log2(p[p > 0])))


def run(
    config: Config,
    key: jax.Array,  # noqa: ARG001
    checkpoint: Checkpoint = without_checkpoint,
) -> xarray.Dataset:
    """Compute the curves, the envelope of one slope and the gaps of plain Blahut-Arimoto."""
    curves = [checkpoint(f"curve-{name}", _curve, config, name) for name in config.joints]
    gaussian = checkpoint("gaussian", _gaussian, config)
    shown = checkpoint("envelope", _envelope, config)
    slow = checkpoint("iterations", _iterations, config)
    bits = {"units": "bits"}
    return xarray.Dataset(
        {
            **{
                name: (("joint", "point"), np.stack([c[name] for c in curves]), bits)
                for name in ("rate", "value", "lower", "upper", "closed_form")
            },
            **{
                name: (("joint", "sample"), np.stack([c[name] for c in curves]), bits)
                for name in ("line_rate", "line", "dual")
            },
            "entropy": ("joint", [c["entropy"] for c in curves], bits),
            "information": ("joint", [c["information"] for c in curves], bits),
            "relabelled": ("joint", [c["relabelled"] for c in curves], bits),
            "gaussian_rate": ("sample", gaussian["rate"], bits),
            "gaussian": (("gaussian_source", "sample"), gaussian["value"], bits),
            "gaussian_back": (("gaussian_source", "sample"), gaussian["back"], bits),
            "objective": ("posterior", shown["objective"], bits),
            "concave_envelope": ("posterior", shown["envelope"], bits),
            "atom": ("description", shown["atom"], {"units": "1"}),
            "weight": ("description", shown["weight"], {"units": "1"}),
            "iteration_gap": (("problem", "step"), slow["gap"], {"units": "nats"}),
            "iteration_prediction": (("problem", "step"), slow["prediction"], {"units": "nats"}),
            "iteration_distortion": (("problem", "step"), slow["distortion"], {"units": "1"}),
        },
        coords={
            "joint": list(config.joints),
            "gaussian_source": list(GAUSSIANS),
            "posterior": ("posterior", shown["posterior"], {"long_name": "P(Y=0)"}),
            "step": np.arange(config.iterations + 1),
            "problem": ["inside", "transition"],
        },
        attrs={"marginal": shown["marginal"].item(), "envelope_slope": config.envelope_slope},
    )


def _curve(config: Config, name: str) -> dict[str, Any]:
    joint = joint_of(name)
    py = joint.sum(axis=0)
    entropy = _entropy(py)
    information = entropy + _entropy(joint.sum(axis=1)) - _entropy(joint.ravel())
    rate = entropy * np.linspace(0, 1, config.points + 2)[1:-1]
    found = bottleneck_at(joint, rate, compress="columns")
    line_rate = entropy * np.linspace(0, 1.15, config.line)
    known = {
        "DSBS": lambda r: limits.bottleneck_dsbs(CROSSOVER, rate=r),
        "erasure": lambda r: limits.bottleneck_erasure(py, ERASURE, rate=r),
    }
    closed_form = known.get(name, lambda r: np.full(np.shape(r), np.nan))
    curve = information_bottleneck(
        joint, np.linspace(0, 1, config.slopes + 2)[1:-1], compress="columns"
    )
    middle = config.points // 2
    return {
        "rate": rate,
        "value": np.asarray(found.value),
        "lower": np.asarray(found.lower),
        "upper": np.asarray(found.upper),
        "closed_form": np.asarray(closed_form(rate)),
        "line_rate": line_rate,
        "line": np.asarray(closed_form(line_rate)),
        "dual": np.asarray(curve.upper(line_rate)),
        "entropy": entropy,
        "information": information,
        "relabelled": abs(
            float(
                bottleneck_at(joint[::-1, ::-1], rate[middle], compress="columns").value
                - found.value[middle]
            )
        ),
    }


def _gaussian(config: Config) -> dict[str, np.ndarray]:
    rate = np.linspace(0, 4, config.line)
    value = [
        limits.bottleneck_gaussian(CORRELATIONS[0], rate=rate),
        limits.bottleneck_vector_gaussian(CORRELATIONS, rate=rate),
    ]
    back = [
        limits.bottleneck_gaussian_rate(CORRELATIONS[0], relevance=value[0]),
        limits.bottleneck_vector_gaussian_rate(CORRELATIONS, relevance=value[1]),
    ]
    return {"rate": rate, "value": np.stack(value), "back": np.stack(back)}


def _envelope(config: Config) -> dict[str, np.ndarray]:
    """H(X) - H(X|pi) less slope times H(Y) - H(Y|pi) at every posterior pi, and its concave envelope."""
    joint, s = joint_of("asymmetric"), config.envelope_slope
    px, py = joint.sum(axis=1), joint.sum(axis=0)

    def objective(posterior: np.ndarray) -> np.ndarray:
        pi = np.stack([posterior, 1 - posterior], axis=1)
        images = pi @ (joint / py).T
        to_x = np.array([_entropy(px) - _entropy(p) for p in images])
        return to_x - s * np.array([_entropy(py) - _entropy(p) for p in pi])

    posterior = np.linspace(0, 1, config.line)
    found = information_bottleneck(joint, [s], compress="columns")
    encoder = np.asarray(found.encoder[0])[:, :2]
    weight = py @ encoder
    atom = encoder[0] * py[0] / weight
    order = np.argsort(atom)
    low, high = atom[order]
    heights = objective(np.array([low, high]))
    chord = heights[0] + (posterior - low) / (high - low) * (heights[1] - heights[0])
    inside = (posterior > low) & (posterior < high)
    values = objective(posterior)
    return {
        "posterior": posterior,
        "objective": values,
        "envelope": np.where(inside, chord, values),
        "atom": atom[order],
        "weight": weight[order],
        "marginal": py[0],
    }


def _iterations(config: Config) -> dict[str, np.ndarray]:
    """Lagrangian of plain Blahut-Arimoto less its optimum, for a biased coin under Hamming error.

    Inside the curve both letters are used; at the transition one is about to appear.
    """
    p = np.array([BIAS, 1 - BIAS])
    gaps, predictions, distortions = [], [], []
    steps = np.arange(config.iterations + 1)
    for slope in (np.log((1 - DISTORTION) / DISTORTION), np.log((1 - BIAS) / BIAS)):
        kernel = np.exp(-slope * (1 - np.eye(2)))
        optimal = DISTORTION if slope > 1 else BIAS
        q_best = (BIAS - optimal) / (1 - 2 * optimal)
        best = np.array([q_best, 1 - q_best])
        q, gap, distortion = np.full(2, 0.5), [], []
        for _ in steps:
            Z = kernel @ q
            # F(q) - F(q*) as the logarithm of a ratio near one, so that no digits cancel.
            gap.append(-np.sum(p * np.log1p(kernel @ (q - best) / (kernel @ best))))
            channel = q * kernel / Z[:, None]
            distortion.append(np.sum(p[:, None] * channel * (1 - np.eye(2))))
            q = p @ channel
        distortions.append(distortion)
        gaps.append(gap)
        if q_best > 0:
            factor = _step_factor(optimal, best)
            # The Lagrangian is quadratic in the error, and each step multiplies the error by the
            # factor.
            predictions.append(gap[10] * factor ** (2.0 * (steps - 10)))
        else:
            ratio = kernel[:, 0] / kernel[:, 1]
            spread = p @ (ratio - 1) ** 2
            predictions.append(1 / (2 * spread * np.maximum(steps, 1) ** 2))
    return {
        "gap": np.maximum(gaps, 0.0),
        "prediction": np.array(predictions),
        "distortion": np.array(distortions),
    }


def _step_factor(crossover: float, output: np.ndarray) -> float:
    """One minus the squared canonical correlation of (Y, U)."""
    channel = np.array([[1 - crossover, crossover], [crossover, 1 - crossover]])
    joint = channel * output
    normal = joint / np.sqrt(np.outer(joint.sum(axis=1), output))
    return 1 - np.linalg.svd(normal, compute_uv=False)[1] ** 2


def checks(dataset: xarray.Dataset) -> list[Check]:
    """Check closed forms and inverses, certificates, shape, and the speed of the iteration."""
    known = dataset.sel(joint=["DSBS", "erasure"])
    outside = np.maximum(known.lower - known.closed_form, known.closed_form - known.upper).max()
    ends = np.zeros((len(dataset.joint), 1))
    rate, value = (
        np.concatenate([ends, dataset[name], dataset[end].values[:, None]], axis=1)
        for name, end in (("rate", "entropy"), ("value", "information"))
    )
    slopes = np.diff(value, axis=1) / np.diff(rate, axis=1)
    simple = np.minimum(dataset.rate, dataset.information)
    back = abs(dataset.gaussian_back - dataset.gaussian_rate).max()
    dual = (known.line - known.dual).max()
    point = limits.bottleneck_vector_gaussian_point(CORRELATIONS, slope=0.25)
    inside = dataset.iteration_distortion.sel(problem="inside")
    errors = abs(inside - DISTORTION).values
    transition = dataset.sel(problem="transition", step=dataset.step[-1])
    return [
        C10.closed_form.close(
            "IB(0.5) of the DSBS with crossover 0.1, bits",
            limits.bottleneck_dsbs(CROSSOVER, rate=0.5),
            0.3026841347,
            1e-10,
        ),
        C10.closed_form.close(
            "relevance of the vector Gaussian at beta = 4, bits",
            limits.bottleneck_vector_gaussian(CORRELATIONS, rate=point.complexity),
            1.104854934,
            1e-9,
        ),
        C10.closed_form.at_most(
            "largest error of the Gaussians' rates, inverted and back, bits", back, 1e-9
        ),
        C10.exact.at_most(
            "largest distance by which closed forms lie outside certified bounds, bits",
            outside,
            1e-13,
        ),
        C10.exact.at_most(
            "largest excess of closed forms over the supporting lines, bits", dual, 1e-13
        ),
        C11.exact.close(
            "IB(0.4) of the asymmetric pair, bits",
            bottleneck_at(joint_of("asymmetric"), 0.4, compress="columns").value,
            0.1514494,
            5e-8,
        ),
        C11.exact.at_most(
            "largest certified gap, bits", (dataset.upper - dataset.lower).max(), 1e-9
        ),
        C11.exact.at_most(
            "largest excess over min(R, I(X;Y)), bits", (dataset.upper - simple).max(), 1e-12
        ),
        C11.exact.at_most("steepest fall of a curve", -slopes.min(), 1e-7),
        C11.exact.at_most("largest rise of its slope", np.diff(slopes).max(), 1e-7),
        C11.exact.at_most(
            "largest change when the letters are relabelled, bits", dataset.relabelled.max(), 1e-9
        ),
        C5.closed_form.close(
            "factor by which plain Blahut-Arimoto shrinks its error, Bernoulli(0.3), D = 0.1",
            errors[18] / errors[17],
            3 / 7,
            1e-5,
        ),
        C5.closed_form.close(
            "its gap at a transition after t steps, over 1 / (2 t^2 chi-square of the new letter)",
            transition.iteration_gap / transition.iteration_prediction,
            1.0,
            # The next term is of order (ln t)/t.
            2.5 * np.log(float(dataset.step[-1])) / float(dataset.step[-1]),
        ),
    ]
