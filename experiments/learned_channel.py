"""Learned channels: neural stochastic codes of small sources against the certified bottleneck."""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import xarray

from experiments.runner import Check, Checkpoint, Claim, without_checkpoint
from rdsim import limits, sources
from rdsim.information import inverse_binary_capacity
from rdsim.learning import (
    LetterBatch,
    Schedule,
    discrete_code,
    exact_point,
    letter_table,
    train,
    whole_data,
)
from rdsim.learning.stochastic import bottleneck_objective
from rdsim.limits import information_bottleneck

CLAIMS = ("C10", "C11")
C10, C11 = map(Claim, CLAIMS)
CROSSOVER = 0.1
ASYMMETRIC = ((0.30, 0.04, 0.02), (0.05, 0.22, 0.06), (0.03, 0.06, 0.22))
WITHIN = 0.01
"""Bits within which a learned code should reach the frontier."""
SYSTEMS = {
    "DSBS": ("DSBS", "exact"),
    "asymmetric": ("asymmetric", "exact"),
    "DSBS, Gumbel": ("DSBS", "gumbel"),
    "DSBS, straight-through": ("DSBS", "straight_through"),
}
"""Source and relaxation; exact sums train on the whole table, the others on batches drawn from
it."""


@dataclass(frozen=True)
class Config:
    """What is trained."""

    systems: tuple[str, ...] = ("DSBS", "asymmetric", "DSBS, Gumbel")
    """Names in `SYSTEMS` of the systems that are trained."""
    slopes: int = 6
    """Slopes of each curve."""
    seeds: int = 3
    """Runs at each slope."""
    codewords: int = 4
    """K of every code."""
    hidden: int = 16
    """Width of the hidden layer of either encoder."""
    steps: int = 600
    """Steps of the optimiser."""
    evaluations: int = 24
    """Evaluations along a training."""
    batch: int = 128
    """Pairs in a batch, where training is not on the whole table."""
    line: int = 121
    """Points along closed form and bounds."""


SMOKE = Config(systems=("DSBS",), slopes=3, seeds=2, steps=400, evaluations=4, line=9)
QUICK = Config()
FULL = Config(systems=tuple(SYSTEMS), slopes=24, seeds=5, steps=4000, batch=256, line=401)


def source_of(name: str) -> sources.DiscreteSource:
    """Return a source of this study."""
    return sources.dsbs(CROSSOVER) if name == "DSBS" else sources.discrete(ASYMMETRIC)


def slopes_of(config: Config) -> np.ndarray:
    """Slopes below which both sources have a bottleneck above zero."""
    return np.linspace(0.08, 0.58, config.slopes)


def run(
    config: Config, key: jax.Array, checkpoint: Checkpoint = without_checkpoint
) -> xarray.Dataset:
    """Train every system at all slopes and seeds together; compare exact points with the limit."""
    known = list(SYSTEMS)
    parts = [
        checkpoint(
            f"train-{name.replace(', ', '-')}",
            _trained,
            config,
            name,
            jax.random.fold_in(key, known.index(name)),
        )
        for name in config.systems
    ]
    used = dict.fromkeys(SYSTEMS[name][0] for name in config.systems)
    found = {name: checkpoint(f"limit-{name}", _limit, config, name) for name in used}
    limit = [found[SYSTEMS[name][0]] for name in config.systems]
    bits = {"units": "bits"}
    runs = ("system", "slope", "seed")
    shapes: dict[str, tuple[tuple[str, ...], dict[str, str]]] = {
        **dict.fromkeys(("rate", "relevance", "index_entropy", "objective"), (runs, bits)),
        **dict.fromkeys(("path_rate", "path_relevance"), ((*runs, "evaluation"), bits)),
        "rate_bound": (runs, {"long_name": "I_upper(U;Y) at the best evaluation", **bits}),
        "relevance_bound": (runs, {"long_name": "I_lower(X;U) at the best evaluation", **bits}),
        "best_step": (runs, {"units": "1"}),
    }
    shown = _channels(config, parts, limit)
    return xarray.Dataset(
        {
            **{
                name: (dims, np.stack([part[name] for part in parts]), attributes)
                for name, (dims, attributes) in shapes.items()
            },
            **{
                name: (("system", "slope"), np.stack([part[name] for part in limit]), bits)
                for name in ("limit_rate", "limit_relevance", "gap")
            },
            **{
                name: (("system", "sample"), np.stack([part[name] for part in limit]), bits)
                for name in ("line_rate", "line")
            },
            **{
                name: (("letter", "codeword"), shown[name], {"units": "1"})
                for name in ("exact_channel", "learned_channel")
            },
        },
        coords={
            "system": list(config.systems),
            "slope": ("slope", slopes_of(config), {"long_name": "slope", "units": "1"}),
            "seed": np.arange(config.seeds),
            "step": ("evaluation", parts[0]["steps"], {"long_name": "steps of the optimiser"}),
        },
        attrs={
            "shown_system": str(shown["system"]),
            "shown_slope": float(shown["slope"]),
            "within": WITHIN,
        },
    )


def _trained(config: Config, name: str, key: jax.Array) -> dict[str, Any]:
    source_name, relaxation = SYSTEMS[name]
    source = source_of(source_name)
    queries, items = source.joint.shape
    learner = bottleneck_objective.StochasticCodeLearner(
        item_dimension=items,
        query_dimension=queries,
        codewords=config.codewords,
        hidden=(config.hidden,),
        relaxation=relaxation,
    )
    table = letter_table(source)
    sampled = relaxation != "exact"
    slopes = np.repeat(slopes_of(config), config.seeds)
    trained = train(
        key,
        learner,
        LetterBatch(config.batch) if sampled else whole_data,
        source if sampled else table,
        table,
        jnp.asarray(slopes, jnp.float32),
        schedule=Schedule(
            steps=config.steps,
            evaluate_every=config.steps // config.evaluations,
            learning_rate=2e-2,
        ),
        observe=exact_point(source),
    )
    shape = (config.slopes, config.seeds)
    codes = [discrete_code(trained.model(r), source) for r in range(slopes.size)]
    best = np.nanargmin(trained.held_out, axis=1)
    at_best = {
        bound: trained.recorded[bound][np.arange(slopes.size), best].reshape(shape)
        for bound in ("rate", "relevance")
    }
    rate, relevance = (
        np.array([float(getattr(code, value)) for code in codes]) for value in ("rate", "relevance")
    )
    return {
        "rate": rate.reshape(shape),
        "relevance": relevance.reshape(shape),
        "objective": (relevance - slopes * rate).reshape(shape),
        "index_entropy": np.array([float(code.index_entropy) for code in codes]).reshape(shape),
        "rate_bound": at_best["rate"],
        "relevance_bound": at_best["relevance"],
        "path_rate": trained.observed["rate"].reshape(*shape, -1),
        "path_relevance": trained.observed["relevance"].reshape(*shape, -1),
        "best_step": trained.best_step.reshape(shape),
        "steps": trained.steps,
        "channel": np.stack([code.channel for code in codes]).reshape(*shape, items, -1),
    }


def _limit(config: Config, name: str) -> dict[str, np.ndarray]:
    """Find the bottleneck at every slope, certified or in closed form, and the curve or its bound."""
    source = source_of(name)
    rate = np.linspace(0, float(source.entropy_y), config.line)
    if name == "DSBS":
        point = limits.bottleneck_dsbs_point(CROSSOVER, slope=slopes_of(config))
        noise = 0.5 * (1 - np.asarray(inverse_binary_capacity(point.complexity)))
        encoder = np.stack([1 - noise, noise, noise, 1 - noise], axis=1).reshape(-1, 2, 2)
        return {
            "limit_rate": np.asarray(point.complexity),
            "limit_relevance": np.asarray(point.relevance),
            "gap": np.zeros(noise.size),
            "encoder": encoder,
            "line_rate": rate,
            "line": np.asarray(limits.bottleneck_dsbs(CROSSOVER, rate=rate)),
        }
    found = information_bottleneck(source.joint, slopes_of(config), compress="columns")
    return {
        "limit_rate": np.asarray(found.complexity),
        "limit_relevance": np.asarray(found.relevance),
        "gap": np.asarray(found.gap),
        "encoder": np.asarray(found.encoder),
        "line_rate": rate,
        "line": np.asarray(found.upper(rate)),
    }


def _channels(
    config: Config,
    parts: list[dict[str, np.ndarray]],
    limit: list[dict[str, np.ndarray]],
) -> dict[str, Any]:
    """Match the learned channel of a slope with the exact one; similar codewords are merged."""
    place = min(1, len(config.systems) - 1)
    name = config.systems[place]
    slope = config.slopes // 2
    exact = limit[place]["encoder"][slope]
    best = int(np.argmax(parts[place]["objective"][slope]))
    learned = parts[place]["channel"][slope, best]
    py = np.asarray(source_of(SYSTEMS[name][0]).py)
    used = py @ exact > 0
    exact = exact[:, used]
    posterior, target = (py[:, None] * table / (py @ table) for table in (learned, exact))
    distance = np.abs(posterior[:, :, None] - target[:, None, :]).sum(axis=0)
    merged = learned @ np.eye(exact.shape[1])[distance.argmin(axis=1)]
    return {
        "system": name,
        "slope": slopes_of(config)[slope],
        "exact_channel": exact,
        "learned_channel": merged,
    }


def missing(dataset: xarray.Dataset) -> xarray.DataArray:
    """Return bits about X to the frontier's certified tangent, at least the distance from the frontier."""
    best = dataset.limit_relevance - dataset.slope * dataset.limit_rate
    return best + dataset.gap - dataset.objective


def checks(dataset: xarray.Dataset) -> list[Check]:
    """Check learned points against the frontier from both sides, their bounds and the channel."""
    short = missing(dataset)
    dsbs = dataset.isel(system=[name.startswith("DSBS") for name in dataset.system.values])
    missing_bits = (
        limits.bottleneck_dsbs(CROSSOVER, rate=np.minimum(dsbs.rate, 1.0)) - dsbs.relevance
    )
    excess = dsbs.rate - limits.bottleneck_dsbs_rate(CROSSOVER, relevance=dsbs.relevance)
    summed = [name for name in dataset.system.values if SYSTEMS[str(name)][1] == "exact"]
    drawn = [name for name in dataset.system.values if SYSTEMS[str(name)][1] != "exact"]
    beyond = (dataset.relevance_bound - dataset.relevance).max()
    below = (dataset.rate - dataset.rate_bound).max()
    apart = abs(dataset.learned_channel - dataset.exact_channel).sum("codeword").max() / 2
    found = [
        C10.closed_form.at_most(
            "bits of rate above the DSBS frontier, best seed, worst slope and relaxation",
            excess.min("seed").max(),
            WITHIN,
        ),
        C10.closed_form.at_most(
            "bits of relevance below the DSBS frontier, worst seed, slope and relaxation",
            missing_bits.max(),
            WITHIN,
        ),
        C10.closed_form.at_most(
            "bits by which a learned code lies beyond the DSBS frontier", -missing_bits.min(), 1e-9
        ),
        C11.exact.at_most(
            "bits below the certified tangent, best seed, worst slope, exact sums",
            short.sel(system=summed).min("seed").max(),
            WITHIN,
        ),
        C11.exact.at_most(
            "bits below the certified tangent, worst seed and slope (a local optimum), exact sums",
            short.sel(system=summed).max(),
            0.1,
        ),
        C11.exact.at_most("bits by which a code lies above a tangent", -short.min(), 1e-9),
        C11.exact.at_most("excess of I_lower over the exact I(X;U), float32, bits", beyond, 1e-5),
        C11.exact.at_most("excess of the exact I(U;Y) over I_upper, float32, bits", below, 1e-5),
        C11.exact.at_most(
            "total variation between learned and exact channel, worst letter", apart, 0.05
        ),
    ]
    if drawn:
        found.append(
            C11.exact.at_most(
                "bits below the certified tangent, best seed, worst slope, drawn codewords",
                short.sel(system=drawn).min("seed").max(),
                0.05,
            )
        )
    return found
