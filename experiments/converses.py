"""Converses: what no code can pass at few bits, exactly for binary items and by half-spaces for Gaussian pairs."""

import math
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import xarray

from experiments.runner import Check, Checkpoint, Claim, without_checkpoint
from rdsim import limits, sources
from rdsim.ranking import Loss
from rdsim.simulation import intervals

CLAIMS = ("C25", "C26", "C27")
C25, C26, C27 = map(Claim, CLAIMS)
CROSSOVER = 0.1
CORRELATION = 0.8
LETTERS = 64
"""Coordinates of query and item; the half-space bounds are those of any number."""
KINDS: dict[str, dict[str, Any]] = {
    "one encoder": {"rate": "fixed_length", "encoder": "shared"},
    "separate encoders": {"rate": "fixed_length", "encoder": "separate"},
    "bits on average": {"rate": "entropy", "encoder": "separate"},
    "information, joint encoders": {"rate": "information", "encoder": "joint"},
}
KNOWN_LOSSES = (0.3713541667, 0.4072916667)
KNOWN_RATES = (0.193847, 0.081759)
"""Least bits of C26 for 4 items of the DSBS(.1) at these reciprocal-rank losses."""
KNOWN_RECALL = {"separate encoders": 0.168153665, "one encoder": 0.144707741}
"""Recall@1 at correlation .8, 16 bits and 50,000 items."""
GAPS: tuple[tuple[int, Loss, float], ...] = (
    (4, "reciprocal_rank", 0.3713541667),
    (4, "reciprocal_rank", 0.4072916667),
    (4, "error", 0.61875),
    (12, "error", 0.8666917),
)
"""Items, loss and its allowed mean, of a table of bounds for items of one letter of the DSBS."""
CONFIDENCE = 1 - 1e-8


@dataclass(frozen=True)
class Config:
    """What is computed."""

    losses: int = 15
    """Points along the loss of binary items."""
    bits: tuple[int, ...] = (4, 8, 12, 16, 20, 24, 32, 40)
    """Bits stored for a Gaussian item."""
    sizes: tuple[int, ...] = (1000, 50_000)
    """Numbers of Gaussian items M."""
    sign_bits: tuple[int, ...] = (8, 16, 32, 64)
    """Coordinates whose signs are stored, of the simulated code."""
    sign_items: int = 1000
    """Items that the simulated code ranks."""
    trials: int = 3_000
    """Databases that are simulated for each number of signs."""


SMOKE = Config(losses=3, bits=(16,), sizes=(50_000,), sign_bits=(16,), trials=200)
QUICK = Config()
FULL = Config(losses=41, bits=tuple(range(2, 65, 2)), trials=200_000)


def run(
    config: Config, key: jax.Array, checkpoint: Checkpoint = without_checkpoint
) -> xarray.Dataset:
    """Compute the curves of binary items and the bounds of Gaussian ones, and simulate a code."""
    few = checkpoint("four-items", _small, config)
    many = checkpoint("sixteen-items", _binary, config)
    gaps = checkpoint("gaps", _gaps)
    bounds = checkpoint("gaussian", _gaussian, config)
    signs = checkpoint("signs", _signs, config, key)
    unit, bits = {"units": "1"}, {"units": "bits per item"}
    table = ("size", "kind", "bits")
    return xarray.Dataset(
        {
            **{
                name: ("few_loss", values, bits)
                for name, values in few.items()
                if name != "few_loss"
            },
            **{name: ("loss", values, bits) for name, values in many.items() if name != "loss"},
            "recall": (table, bounds["recall"], unit),
            "rank_rate_recall": (("size", "bits"), bounds["rank_rate"], unit),
            **{f"sign_{name}": ("sign_bits", values, unit) for name, values in signs.items()},
            **{f"gap_{name}": ("gap", values, bits) for name, values in gaps.items()},
        },
        coords={
            "few_loss": few["few_loss"],
            "loss": many["loss"],
            "size": ("size", list(config.sizes), {"units": "items"}),
            "kind": list(KINDS),
            "gap": [f"{items} {loss} {allowed}" for items, loss, allowed in GAPS],
            "bits": ("bits", list(config.bits), bits),
            "sign_bits": ("sign_bits", list(config.sign_bits), bits),
        },
        attrs={"sign_items": config.sign_items},
    )


def _small(config: Config) -> dict[str, np.ndarray]:
    """Four binary items, with the optimum of joint encoders."""
    source, loss = sources.dsbs(CROSSOVER), "reciprocal_rank"
    slopes = np.geomspace(0.03, 0.4, 5)
    exact = limits.joint_retrieval_curve(source, loss, slopes, items=4)
    shared = limits.retrieval_curve(source, 2.0, loss, slopes, tolerance=1e-6)
    joint = limits.retrieval_curve(source, 2.0, loss, slopes, encoder="joint", tolerance=1e-6)
    least = float(shared.minimum_loss)
    inside = np.linspace(least, float(shared.maximum_loss), config.losses + 2)[1:-1]
    at = np.unique(np.round(np.append(inside, KNOWN_LOSSES), 10))
    found, converse = exact.rate_at(at), joint.rate_at(at)
    return {
        "few_loss": at,
        "few_exact_lower": np.asarray(found.lower),
        "few_exact": np.asarray(found.upper),
        "few_shared": np.asarray(shared.rate_at(at).upper),
        "few_joint": np.asarray(converse.lower),
        "few_joint_upper": np.asarray(converse.upper),
        "few_rank_rate": _rank_rate(2.0, at),
    }


def _gaps() -> dict[str, np.ndarray]:
    """Bits at single losses: C4, C26, the optimum, and one encoder (C25)."""
    source, slopes = sources.dsbs(CROSSOVER), np.geomspace(0.03, 0.4, 3)
    rows = []
    for items, loss, allowed in GAPS:
        size, at = math.log2(items), np.array([allowed])
        joint = limits.retrieval_curve(source, size, loss, slopes, encoder="joint")
        shared = limits.retrieval_curve(source, size, loss, slopes)
        exact = limits.joint_retrieval_curve(source, loss, slopes, items=items)
        rows.append(
            {
                "rank_rate": _rank_rate(size, at, loss),
                "joint": np.asarray(joint.rate_at(at).lower),
                "optimum": np.asarray(exact.rate_at(at).value),
                "shared": np.asarray(shared.rate_at(at).upper),
            }
        )
    return {name: np.concatenate([row[name] for row in rows]) for name in rows[0]}


def _binary(config: Config) -> dict[str, np.ndarray]:
    """Sixteen binary items: the exact curve of one encoder above the converse for every encoder."""
    source, loss = sources.dsbs(CROSSOVER), "reciprocal_rank"
    slopes = np.geomspace(0.03, 0.4, 5)
    shared = limits.retrieval_curve(source, 4.0, loss, slopes)
    joint = limits.retrieval_curve(source, 4.0, loss, slopes, encoder="joint")
    inside = np.linspace(float(shared.minimum_loss), float(shared.maximum_loss), config.losses + 2)
    at = inside[1:-1]
    upper, lower = shared.rate_at(at), joint.rate_at(at)
    return {
        "loss": at,
        "shared": np.asarray(upper.upper),
        "shared_lower": np.asarray(upper.lower),
        "joint": np.asarray(lower.lower),
        "joint_upper": np.asarray(lower.upper),
        "rank_rate": _rank_rate(4.0, at),
    }


def _rank_rate(log2_size: float, loss: np.ndarray, name: Loss = "reciprocal_rank") -> np.ndarray:
    """The older converse C4: bits whose bottleneck holds the rank rate of the loss."""
    needed = limits.rank_rate(log2_size, name, distortion=loss).lower
    capacity = float(sources.dsbs(CROSSOVER).mutual_information)
    return np.asarray(
        limits.bottleneck_dsbs_rate(CROSSOVER, relevance=jnp.minimum(needed, capacity))
    )


def _gaussian(config: Config) -> dict[str, np.ndarray]:
    """Recall@1 left by every bound, shape (sizes, kinds, bits), and by the rank rate."""
    eye = np.eye(LETTERS)
    pair = sources.vector_gaussian(eye, eye, CORRELATION * eye)
    bits = np.array(config.bits, float)
    log2_size = np.log2(config.sizes)[:, None]
    found = [
        limits.retrieval_converse(pair, log2_size, "error", bits=bits, **k) for k in KINDS.values()
    ]
    kept = limits.bottleneck_vector_gaussian(np.full(LETTERS, CORRELATION), rate=bits)
    return {
        "recall": 1 - np.stack([np.asarray(one.loss) for one in found], axis=1),
        "rank_rate": 1 - np.asarray(limits.rank_loss(log2_size, "error", rate=kept).lower),
    }


def _signs(config: Config, key: jax.Array) -> dict[str, np.ndarray]:
    """Recall@1 of stored signs, ranked by their likelihood, ties averaged exactly, with an interval."""
    found = []
    for place, number in enumerate(config.sign_bits):
        draw = jax.vmap(_one_database, in_axes=(0, None, None))
        keys = jax.random.split(jax.random.fold_in(key, place), config.trials)
        parts = [
            draw(part, number, config.sign_items)
            for part in jnp.array_split(keys, math.ceil(config.trials * number / 2**14))
        ]
        won = np.concatenate([np.asarray(part) for part in parts])
        estimate = intervals.empirical_bernstein(won, confidence=CONFIDENCE)
        found.append([float(estimate.mean), float(estimate.lower), float(estimate.upper)])
    return dict(zip(("mean", "lower", "upper"), np.array(found).T, strict=True))


def _one_database(key: jax.Array, number: int, size: int) -> jax.Array:
    """Draw a query with its target and the signs of all others; return the target's recall@1."""
    first, second, third = jax.random.split(key, 3)
    x = jax.random.normal(first, (number,))
    noise = jax.random.normal(second, (number,))
    others = jax.random.bernoulli(third, shape=(size - 1, number))
    return _recall(x, noise, others)


@jax.jit  # without the draws above, whose programs compile faster alone
def _recall(x: jax.Array, noise: jax.Array, others: jax.Array) -> jax.Array:
    """Recall@1 of the first item among the signs of the others."""
    y = CORRELATION * x + math.sqrt(1 - CORRELATION**2) * noise
    likelihood = jax.scipy.stats.norm.logcdf(
        jnp.stack([x, -x]) * CORRELATION / math.sqrt(1 - CORRELATION**2)
    )
    # Written as the place of the sign's score, so that equal codes have equal scores.
    weight = likelihood[0] - likelihood[1]
    score = jnp.sum(jnp.where(others, weight, 0.0), axis=1)
    own = jnp.sum(jnp.where(y > 0, weight, 0.0))
    tied = jnp.all(others == (y > 0), axis=1)
    better = jnp.sum((score > own) & ~tied)
    return jnp.where(better > 0, 0.0, 1 / (1.0 + jnp.sum(tied)))


def checks(dataset: xarray.Dataset) -> list[Check]:
    """Check the order of the bounds, known values, and that the simulated code lies inside."""
    known = dataset.sel(few_loss=list(KNOWN_LOSSES), method="nearest")
    recall = dataset.recall.sel(size=50_000, bits=16)
    found = [
        C25.exact.at_most(
            "bits by which the converse for every encoder lies above the exact curve of one encoder",
            (dataset.joint - dataset.shared).max(),
            1e-9,
        ),
        C25.exact.at_most(
            "bits by which the optimum of joint encoders of four items lies above the curve of one encoder",
            (dataset.few_exact_lower - dataset.few_shared).max(),
            1e-9,
        ),
        C26.exact.at_most(
            "bits by which the converse lies above the optimum of joint encoders of four items",
            (dataset.few_joint - dataset.few_exact).max(),
            1e-9,
        ),
        C26.exact.at_most(
            "bits by which the rank-rate converse lies above the converse for every encoder",
            (dataset.rank_rate - dataset.joint_upper).max(),
            1e-6,
        ),
        C26.closed_form.at_most(
            "distance of the converse at two losses from its values, bits",
            abs(known.few_joint_upper - np.array(KNOWN_RATES)).max(),
            2e-6,
        ),
        *(
            C27.closed_form.close(
                f"recall@1 at 16 bits and 50,000 items, {kind}", recall.sel(kind=kind), value, 1e-9
            )
            for kind, value in KNOWN_RECALL.items()
        ),
        C27.exact.at_most(
            "recall@1 by which fixed lengths are bounded above bits on average, and those above information",
            (-dataset.recall.diff("kind")).max(),
            1e-3,
        ),
        C26.exact.at_most(
            "bits of the rank rate above the converse for every encoder, or of that above one encoder, table of losses",
            max(
                float((dataset.gap_rank_rate - dataset.gap_joint).max()),
                float((dataset.gap_joint - dataset.gap_shared).max()),
            ),
            1e-6,
        ),
    ]
    if 1000 in dataset["size"] and np.isin(dataset.sign_bits, dataset.bits).any():
        both = np.intersect1d(dataset.sign_bits, dataset.bits)
        bound = dataset.recall.sel(size=1000, kind="one encoder", bits=both).values
        found.append(
            C27.monte_carlo.at_most(
                "lower end of the recall@1 of stored signs above the bound for one encoder",
                (dataset.sign_lower.sel(sign_bits=both).values - bound).max(),
                0.0,
            )
        )
    return found
