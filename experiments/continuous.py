"""Continuous sources: certified R(D) with moving reproduction points, and derivatives of the solver."""

from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import xarray

from experiments.runner import Check, Checkpoint, Claim, without_checkpoint
from experiments.shared.lattice import lattice
from rdsim import limits
from rdsim.limits import closed_forms, continuous_rate_distortion

CLAIMS = ("C7", "C8")
C7, C8 = map(Claim, CLAIMS)
SOURCES = ("Gaussian", "two Gaussians", "three in the plane")
QUANTITIES = ("Lagrangian", "distortion", "rate")
# Mixture of two Gaussians of standard deviation s: s, D, R(D) in bits; the Shannon lower bound is
# tight.
TIGHT = ((0.25, 0.01, 2.321793), (0.25, 0.05, 1.160830), (1.0, 0.5, 0.985944154))
# The same with standard deviation 1/4 at slope 2 nats: D and R of the best two points, by adaptive
# integrals.
TWO_POINTS = (0.0674096520, 0.9823791318)
_SHAPE = (4, 5)
_STEP = 1e-4


@dataclass(frozen=True)
class Config:
    """What is computed."""

    points: int = 100
    """Source points along the line."""
    plane_points: int = 26
    """Source points along each axis of the plane."""
    tolerance: float = 1e-9
    """Gap asked for on the line, bits."""
    plane_tolerance: float = 1e-7
    """Gap asked for in the plane, bits."""
    gaussian: tuple[float, ...] = (0.97, 0.8, 0.6, 0.4, 0.25, 0.15, 0.1)
    """Distortions of the Gaussian."""
    mixture_slopes: int = 28
    """Points along the curve of the two Gaussians."""
    plane_slopes: tuple[float, ...] = (0.4, 0.5, 0.7, 1.0, 1.5, 2.2, 3.2)
    """Slopes in the plane, bits per unit of squared error."""
    tight: int = len(TIGHT)
    """How many of the known values are checked."""
    tables: int = 40
    """Random sources whose derivatives are compared with finite differences."""


SMOKE = Config(
    points=80,
    plane_points=20,
    plane_tolerance=1e-6,
    gaussian=(0.8,),
    mixture_slopes=2,
    plane_slopes=(0.5,),
    tight=1,
    tables=2,
)
QUICK = Config()
FULL = Config(points=300, plane_points=32, mixture_slopes=120, tables=400)


def run(
    config: Config, key: jax.Array, checkpoint: Checkpoint = without_checkpoint
) -> xarray.Dataset:
    """Compute the curves, the known values and the derivatives."""
    curves = [
        checkpoint(name.replace(" ", "-"), _curve, config, name, _slopes(config, name))
        for name in SOURCES
    ]
    known = checkpoint("known-values", _known, config)
    derivatives = checkpoint("derivatives", _derivatives, config, key)
    size = max(len(curve["slope"]) for curve in curves)
    bits = {"units": "bits"}
    fields = (
        ("slope", {"units": "bits per unit of squared error"}),
        ("distortion", {"long_name": "mean squared error", "units": "1"}),
        ("rate", bits),
        ("gap", {"long_name": "proved gap", **bits}),
    )
    return xarray.Dataset(
        {
            **{
                name: (
                    ("source", "point"),
                    np.stack([_padded(curve[name], size) for curve in curves]),
                    attributes,
                )
                for name, attributes in fields
            },
            "atom": (("mixture_point", "k"), curves[1]["atoms"], {"units": "1"}),
            "weight": (("mixture_point", "k"), curves[1]["weights"], {"units": "1"}),
            "tolerance": ("source", [curve["tolerance"] for curve in curves], bits),
            "known_rate": ("known", known["rate"], bits),
            "known_distortion": ("known", known["distortion"], {"units": "1"}),
            "two_points": ("coordinate", known["two_points"]),
            "derivative": (("table", "slope_index", "quantity"), derivatives["analytic"]),
            "difference": (("table", "slope_index", "quantity"), derivatives["measured"]),
            "smooth": (("table", "slope_index"), derivatives["smooth"]),
        },
        coords={
            "source": list(SOURCES),
            "quantity": list(QUANTITIES),
            "coordinate": ["distortion", "rate"],
        },
    )


def _padded(values: np.ndarray, size: int) -> np.ndarray:
    return np.pad(values, (0, size - len(values)), constant_values=np.nan)


def _slopes(config: Config, name: str) -> np.ndarray:
    if name == SOURCES[0]:
        return 1 / (2 * np.log(2) * np.array(config.gaussian))
    if name == SOURCES[1]:
        return np.geomspace(0.5, 20.0, config.mixture_slopes)
    return np.array(config.plane_slopes)


def _lattice(config: Config, name: str) -> tuple[np.ndarray, np.ndarray]:
    if name == SOURCES[0]:
        return lattice([1.0], [0.0], 1.0, config.points, tail=7.0)
    if name == SOURCES[1]:
        return lattice([0.5, 0.5], [-1.0, 1.0], 0.0625, config.points, tail=7.0)
    means = [[-1.0, 0.0], [1.0, 0.0], [0.0, 1.5]]
    return lattice([0.3, 0.3, 0.4], means, [[0.16, 0.16]], config.plane_points, tail=6.0)


def _curve(config: Config, name: str, slopes: np.ndarray) -> dict[str, np.ndarray]:
    tolerance = config.plane_tolerance if name == SOURCES[2] else config.tolerance
    curve = continuous_rate_distortion(*_lattice(config, name), slopes, tolerance=tolerance)
    fields = ("slope", "distortion", "rate", "gap", "atoms", "weights", "tolerance")
    return {field: np.asarray(getattr(curve, field)) for field in fields}


def _known(config: Config) -> dict[str, np.ndarray]:
    found = []
    for deviation, D, _ in TIGHT[: config.tight]:
        source = lattice([0.5, 0.5], [-1.0, 1.0], deviation**2, config.points, tail=7.0)
        curve = continuous_rate_distortion(*source, [1 / (2 * np.log(2) * D)])
        found.append((float(curve.distortion[0]), float(curve.lower(D))))
    two = _curve(config, SOURCES[1], np.array([2 / np.log(2)]))
    return {
        "distortion": np.array(found)[:, 0],
        "rate": np.array(found)[:, 1],
        "two_points": np.array([two["distortion"][0], two["rate"][0]]),
    }


def _values(p: Any, d: Any, slopes: Any) -> jax.Array:
    """Lagrangian, distortion and rate, shape (S, 3)."""
    curve = limits.rate_distortion_curve(p, d, slopes, tolerance=1e-12, method="dense")
    lagrangian = curve.rate.value + curve.slope * curve.distortion
    return jnp.stack([lagrangian, curve.distortion, curve.rate.value], axis=1)


@jax.jit
def _along(p: Any, d: Any, slopes: Any, toward: Any, direction: Any) -> jax.Array:
    """Derivative of the values along one direction in (p, d, s)."""
    return jax.jvp(_values, (p, d, slopes), (toward, direction, slopes))[1]


@jax.jit
def _moved(p: Any, d: Any, slopes: Any) -> tuple[jax.Array, jax.Array]:
    curve = limits.rate_distortion_curve(p, d, slopes, tolerance=1e-12, method="dense")
    return _values(p, d, slopes), curve.output_marginal > 0


def _derivatives(config: Config, key: jax.Array) -> dict[str, np.ndarray]:
    """Compare with extrapolated central differences, unless the support changes nearby."""
    slopes = jnp.array([1.0, 4.0, 12.0])
    analytic, measured, smooth = [], [], []
    for number in range(config.tables):
        keys = jax.random.split(jax.random.fold_in(key, number), 4)
        p = jax.random.dirichlet(keys[0], jnp.full(_SHAPE[0], 2.0))
        toward = jax.random.dirichlet(keys[1], jnp.ones(_SHAPE[0])) - p
        d = jax.random.uniform(keys[2], _SHAPE, minval=0.1)
        direction = jax.random.uniform(keys[3], _SHAPE, minval=-1.0)
        at = partial(_at, p, d, slopes, toward, direction)
        ends = {step: at(step * _STEP) for step in (-2, -1, 1, 2)}
        near = (ends[1][0] - ends[-1][0]) / (2 * _STEP)
        far = (ends[2][0] - ends[-2][0]) / (4 * _STEP)
        analytic.append(np.asarray(_along(p, d, slopes, toward, direction)))
        measured.append(np.asarray((4 * near - far) / 3))
        smooth.append(np.asarray(jnp.all(ends[2][1] == ends[-2][1], axis=1)))
    return {
        "analytic": np.stack(analytic),
        "measured": np.stack(measured),
        "smooth": np.stack(smooth),
    }


def _at(
    p: Any, d: Any, slopes: Any, toward: Any, direction: Any, t: float
) -> tuple[jax.Array, jax.Array]:
    return _moved(p + t * toward, d + t * direction, slopes * (1 + t))


def checks(dataset: xarray.Dataset) -> list[Check]:
    """Check the closed form, known values, proved gaps and derivatives."""
    gaussian = dataset.sel(source=SOURCES[0])
    exact = np.asarray(
        closed_forms.gaussian(1.0, distortion=gaussian.distortion.dropna("point").values)
    )
    error = np.max(np.abs(gaussian.rate.dropna("point").values - exact))
    found = [
        C7.closed_form.at_most("largest error on the Gaussian, bits", error, 2e-9),
        *(
            C7.exact.at_most(
                f"largest proved gap, {name}, bits",
                dataset.gap.sel(source=name).max(),
                dataset.tolerance.sel(source=name),
            )
            for name in dataset.source.values
        ),
    ]
    for rate, (deviation, D, expected) in zip(dataset.known_rate.values, TIGHT, strict=False):
        statement = f"R({D:g}) of two Gaussians of deviation {deviation:g}, bits"
        found.append(C7.closed_form.close(statement, rate, expected, 1e-6))
    for name, expected in zip(("distortion", "rate"), TWO_POINTS, strict=True):
        measured = dataset.two_points.sel(coordinate=name)
        statement = f"{name} of the best two points at slope 2 nats"
        found.append(C7.exact.close(statement, measured, expected, 1e-8))
    off = abs(dataset.derivative - dataset.difference) / np.maximum(abs(dataset.difference), 0.1)
    found += [
        C8.property_test.at_most(
            f"largest difference of the {name}'s derivatives, relative",
            off.sel(quantity=name).where(dataset.smooth).max(),
            1e-6,
        )
        for name in dataset.quantity.values
    ]
    share = float(dataset.smooth.mean())
    found.append(C8.property_test.inside("share of points compared", share, 0.5, 1.0))
    return found
