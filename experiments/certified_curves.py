"""Certified R(D): three sources, the gap that was proved, and test channels along a curve."""

import dataclasses
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
import xarray

from experiments.runner import Check, Checkpoint, Claim, without_checkpoint
from rdsim import limits
from rdsim.limits import RateDistortionCurve, closed_forms

CLAIMS = ("C5", "C6")
C5, C6 = map(Claim, CLAIMS)
HAMMING_PMF = (0.5, 0.25, 0.15, 0.1)
SOURCES = ("four letters, Hamming", "random table", "Gaussian, squared error")


@dataclass(frozen=True)
class Config:
    """What is computed."""

    slopes: int = 33
    """Points along each curve."""
    letters: int = 64
    """Letters of the random source and of its reproduction."""
    grid: int = 200
    """Points of the discretised Gaussian on [-5, 5]."""
    heat_map_slopes: tuple[float, ...] = (1.0, 5.0, 50.0)
    """Slopes of the test channels shown, bits per unit of squared error."""
    heat_map_cells: int = 50
    """Cells into which letters are joined on either side of a test channel shown; a divisor of
    grid."""


SMOKE = Config(slopes=3, letters=8, grid=30, heat_map_slopes=(2.0,), heat_map_cells=10)
QUICK = Config()
FULL = Config(slopes=129, letters=256, grid=1000)


def gaussian_grid(points: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the points, the pmf and the squared distances of a unit Gaussian on [-5, 5]."""
    x = np.linspace(-5.0, 5.0, points)
    p = np.exp(-(x**2) / 2)
    return x, p / p.sum(), (x[:, None] - x) ** 2


def run(
    config: Config, key: jax.Array, checkpoint: Checkpoint = without_checkpoint
) -> xarray.Dataset:
    """Compute the curves, the comparison with closed forms and the test channels."""
    grid = checkpoint("gaussian-grid", _gaussian, config)
    curves = [
        *(
            checkpoint(f"curve-{index}", _curve, config, key, name)
            for index, name in enumerate(SOURCES[:2])
        ),
        {name: grid[name] for name in ("slope", "distortion", "rate", "gap", "support")},
    ]
    forms = checkpoint("closed-forms", _closed_forms, config)
    values = {
        name: (("source", "point"), np.stack([curve[name] for curve in curves]), {"units": units})
        for name, units in (
            ("slope", "bits per unit"),
            ("distortion", "1"),
            ("rate", "bits"),
            ("gap", "bits"),
            ("support", "letters"),
        )
    }
    return xarray.Dataset(
        {
            **values,
            "closed_form_error": (
                "problem",
                np.append(forms["error"], grid["error"]),
                {"units": "bits"},
            ),
            "channel": (("shown", "y", "u"), grid["channel"], {"units": "probability of a cell"}),
            "shown_distortion": ("shown", grid["shown_distortion"]),
            "shown_rate": ("shown", grid["shown_rate"], {"units": "bits"}),
        },
        coords={
            "source": list(SOURCES),
            "problem": list(_PROBLEMS),
            "shown": list(config.heat_map_slopes),
            "y": grid["cell_centre"],
            "u": grid["cell_centre"],
        },
    )


def _problem(config: Config, key: jax.Array, name: str) -> tuple[Any, Any, np.ndarray]:
    p: Any
    d: Any
    if name == SOURCES[0]:
        return np.array(HAMMING_PMF), 1 - np.eye(4), np.geomspace(1.6, 20.0, config.slopes)
    pmf_key, distortion_key = jax.random.split(key)
    p = jax.random.dirichlet(pmf_key, np.ones(config.letters))
    d = jax.random.uniform(distortion_key, (config.letters, config.letters))
    return p, d, np.geomspace(3.0, 300.0, config.slopes)


def _curve(config: Config, key: jax.Array, name: str) -> dict[str, np.ndarray]:
    return _points(limits.rate_distortion_curve(*_problem(config, key, name)))


def _points(curve: RateDistortionCurve) -> dict[str, np.ndarray]:
    fields = ("slope", "distortion", "rate", "gap")
    support = np.count_nonzero(np.asarray(curve.output_marginal), axis=1)
    return {**{field: np.asarray(getattr(curve, field)) for field in fields}, "support": support}


def _gaussian(config: Config) -> dict[str, np.ndarray]:
    """Solve the grid once for its curve, its distance from the closed form and its channels."""
    x, p, d = gaussian_grid(config.grid)
    along = np.geomspace(0.75, 72.0, config.slopes)
    curve = limits.rate_distortion_curve(p, d, np.concatenate([along, config.heat_map_slopes]))

    def part(which: np.ndarray) -> RateDistortionCurve:
        fields = ("slope", "distortion", "rate", "output_marginal")
        return dataclasses.replace(curve, **{f: getattr(curve, f)[which] for f in fields})

    drawn, shown = part(np.arange(along.size)), part(np.arange(along.size, curve.slope.size))
    # The grid approximates the line where its step is small compared with the kernel's width.
    fine = (curve.slope >= 1.0) & (curve.slope <= 14.0)
    distances = np.abs(curve.rate - closed_forms.gaussian(1.0, distortion=curve.distortion))
    return {
        **_points(drawn),
        "cell_centre": x.reshape(config.heat_map_cells, -1).mean(axis=1),
        "error": np.max(np.asarray(distances)[np.asarray(fine)]),
        "channel": _between_cells(np.asarray(shown.test_channel()), p, config.heat_map_cells),
        "shown_distortion": np.asarray(shown.distortion),
        "shown_rate": np.asarray(shown.rate),
    }


def _between_cells(channel: np.ndarray, p: np.ndarray, cells: int) -> np.ndarray:
    """Join neighbouring letters, (shown, y, u) -> (shown, cell, cell): P(cell of u | cell of y).

    The reproduction uses few letters, so that a channel between single letters would show thin
    lines.
    """
    joint = (channel * p[:, None]).reshape(len(channel), cells, p.size // cells, cells, -1)
    return joint.sum(axis=(2, 4)) / p.reshape(cells, -1).sum(axis=1)[:, None]


_PROBLEMS = ("Bernoulli(0.3)", "uniform, 8 letters", "four letters", "erasure", "Gaussian grid")


def _closed_forms(config: Config) -> dict[str, np.ndarray]:
    """Largest distance of the solver from each closed form of few letters along a curve."""
    eraser = np.concatenate([np.where(np.eye(4) > 0, 0.0, np.inf), np.ones((4, 1))], axis=1)
    slopes = np.geomspace(0.3, 12.0, config.slopes)
    four = np.array(HAMMING_PMF)
    problems = (
        (
            np.array([0.3, 0.7]),
            1 - np.eye(2),
            slopes,
            lambda D: closed_forms.bernoulli_hamming(0.3, distortion=D),
        ),
        (
            np.full(8, 1 / 8),
            1 - np.eye(8),
            slopes,
            lambda D: closed_forms.uniform_hamming(8, distortion=D),
        ),
        (four, 1 - np.eye(4), slopes, lambda D: closed_forms.hamming(four, distortion=D)),
        (four, eraser, slopes, lambda D: closed_forms.erasure(four, distortion=D)),
    )
    errors = []
    for pmf, distortions, slope, closed_form in problems:
        curve = limits.rate_distortion_curve(pmf, distortions, slope)
        errors.append(np.max(np.abs(curve.rate - closed_form(curve.distortion))))
    return {"error": np.array(errors)}


def checks(dataset: xarray.Dataset) -> list[Check]:
    """Check the certificates and the closed forms."""
    found = [
        C5.exact.at_most(
            f"largest certified gap, {name}, bits", dataset.gap.sel(source=name).max(), 1e-9
        )
        for name in dataset.source.values
    ]
    for name in dataset.problem.values:
        # A grid is another source than the line: its R(D) only has to be close.
        tolerance = 1e-3 if name == "Gaussian grid" else 1e-9
        error = dataset.closed_form_error.sel(problem=name)
        statement = f"largest distance from the closed form, {name}, bits"
        found.append(C6.closed_form.at_most(statement, error, tolerance))
    return found
