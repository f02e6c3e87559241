"""Temperatures: reciprocal rank against the ratio of two modalities' temperatures, and the rules.

Items of a Gaussian mixture in the plane, stored as one of K codewords, are queried through two
modalities of unequal noise. Codewords are ranked by the sum of squared distances, each divided by
its modality's temperature. Ratios over decades, fitted temperatures, rules, averaged cosines and
the optimal score are compared on the same queries; their losses are exact for every database size.
"""

from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import xarray

from experiments.runner import Check, Checkpoint, Claim, without_checkpoint
from rdsim.codes import vector_quantizer
from rdsim.ranking import (
    averaged_cosine,
    bayes_temperatures,
    codeword_loss,
    cosine,
    entropy_difference_temperatures,
    expected_loss,
    fit_temperatures,
    fuse,
    information_density_scores,
    negative_squared_distance,
)
from rdsim.simulation import RunOptions, run_trials
from rdsim.sources import DiscretisedItem, GaussianMixtureSource, gaussian_mixture
from rdsim.sources.tables import draw_letters

CLAIMS = ("C17",)
C17 = Claim("C17")
LOSS = "reciprocal_rank"
RULES = (
    "fitted",
    "noise variances",
    "one for all",
    "difference to the worst",
    "difference to the best",
)
_OF_CODE = ("codewords", "channel", "competitor", "cosine_temperature")
DECODERS = (*RULES, "cosines, fitted", "averaged cosine", "information density")


@dataclass(frozen=True)
class Config:
    """What is computed."""

    class_means: tuple[tuple[float, float], ...] = ((2.0, 1.0), (-2.0, 1.5), (0.5, -2.0))
    """Centres of the classes of items."""
    item_variance: float = 0.5
    """Variance of each coordinate of an item in its class."""
    query_noise: tuple[float, float] = (0.1, 0.8)
    """Noise variance of the two query modalities."""
    codewords: tuple[int, ...] = (4, 16, 64, 256)
    """Numbers of codewords; the last codebook is the one of the sweep."""
    log2_sizes: tuple[int, ...] = (6, 10, 20)
    """log2 of the database sizes."""
    ratios: int = 33
    """Ratios of the temperatures, over four decades."""
    training: int = 4000
    """Samples that codebooks and temperatures are fitted on."""
    queries: int = 4000
    """New queries, the same for every decoder."""
    cells: int = 40
    """Cells of the item along each axis; the items are their points, so that all distributions are
    exact."""
    floor: float = 0.1
    """Least entropy difference in bits."""


SMOKE = Config(codewords=(32,), log2_sizes=(6,), ratios=9, training=1000, queries=1024, cells=20)
QUICK = Config()
FULL = Config(codewords=(4, 16, 64, 256, 512), ratios=65, training=20000, queries=20000, cells=64)


def run(
    config: Config, key: jax.Array, checkpoint: Checkpoint = without_checkpoint
) -> xarray.Dataset:
    """Fit codebooks and temperatures, and evaluate all decoders on the same queries."""
    fits = [
        checkpoint(f"fit-{count}", _fitted, config, jax.random.fold_in(key, count), count)
        for count in config.codewords
    ]
    sweep = checkpoint("sweep", _sweep, config, jax.random.fold_in(key, 0), fits[-1])
    labels = [f"ratio {ratio:.4g}" for ratio in _ratios(config)]
    units = {"units": "1"}
    dims = ("decoder", "log2_size", "end")
    return xarray.Dataset(
        {
            "mrr": (dims, sweep["part"], {"long_name": "mean reciprocal rank", **units}),
            "above_fitted": (
                dims,
                sweep["above_fitted"],
                {"long_name": "mean reciprocal rank above the fitted's", **units},
            ),
            "below_optimal": (
                dims,
                sweep["below_optimal"],
                {"long_name": "mean reciprocal rank below the optimal score's", **units},
            ),
            "cosine_gain": (
                dims[1:],
                sweep["cosine_gain"],
                {"long_name": "mean reciprocal rank that temperatures add to cosines", **units},
            ),
            "rule_ratio": ("rule", sweep["rule_ratio"], {"units": "1"}),
            "temperature": (
                ("codewords", "modality"),
                np.stack([fit["temperature"] for fit in fits]),
                {"long_name": "fitted temperature", "units": "variance"},
            ),
            "log_error": (
                ("codewords", "modality"),
                np.stack([fit["log_error"] for fit in fits]),
                {"long_name": "standard error of its logarithm", "units": "nats"},
            ),
            "log_ratio_error": (
                "codewords",
                np.stack([fit["log_ratio_error"] for fit in fits]),
                {"units": "nats"},
            ),
            "theory": (
                ("codewords", "modality"),
                np.stack([fit["theory"] for fit in fits]),
                {"long_name": "optimal temperature for a Gaussian cell", "units": "variance"},
            ),
            "fit_gap": ("codewords", np.stack([fit["gap"] for fit in fits]), {"units": "bits"}),
        },
        coords={
            "ratio": ("ratio", _ratios(config), {"long_name": "τ₂/τ₁", "units": "1"}),
            "log2_size": list(config.log2_sizes),
            "decoder": [*labels, *DECODERS],
            "rule": list(RULES),
            "codewords": list(config.codewords),
            "query_noise": ("modality", list(config.query_noise), {"units": "variance"}),
            "end": ["mean", "lower", "upper"],
        },
        attrs={"queries": config.queries, "floor": config.floor},
    )


def _ratios(config: Config) -> np.ndarray:
    return np.geomspace(0.1, 1000.0, config.ratios)


def _source(config: Config) -> GaussianMixtureSource:
    means = np.array(config.class_means)
    weights = np.full(len(means), 1 / len(means))
    return gaussian_mixture(weights, means, config.item_variance, query_noise=config.query_noise)


def _fitted(config: Config, key: jax.Array, count: int) -> dict[str, Any]:
    """Fit codebook and temperatures on training samples; the code's output marginal is exact."""
    source = _source(config)
    item = source.discretise_item(config.cells)
    key_sample, key_code = jax.random.split(key)
    drawn, queries = _sample(key_sample, source, item, (config.training,))
    code = vector_quantizer(key_code, item.points[drawn], count, starts=1)
    channel = code.channel(item.points)
    index = jnp.argmax(channel, axis=-1)
    competitor = item.masses @ channel
    scores = negative_squared_distance(queries, code.codewords)
    fit = fit_temperatures(scores, index[drawn], competitor)
    angles = fit_temperatures(cosine(queries, code.codewords), index[drawn], competitor)
    spread = item.masses @ jnp.mean((item.points - code.codewords[index]) ** 2, axis=-1)
    covariance = np.asarray(fit.log_covariance)
    return {
        "codewords": code.codewords,
        "channel": channel,
        "competitor": competitor,
        "temperature": fit.temperature,
        "log_error": np.sqrt(np.diag(covariance)),
        "log_ratio_error": np.sqrt(covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1]),
        "cosine_temperature": angles.temperature,
        "gap": jnp.maximum(fit.gap, angles.gap),
        "theory": bayes_temperatures(config.query_noise, spread),
    }


@partial(jax.jit, static_argnames="shape")
def _sample(
    key: jax.Array, source: GaussianMixtureSource, item: DiscretisedItem, shape: tuple[int, ...]
) -> tuple[jax.Array, jax.Array]:
    """Items drawn from the cells, and their queries: with the default gains, item plus noise."""
    key_item, key_noise = jax.random.split(key)
    drawn = draw_letters(key_item, item.masses, shape)
    spread = jnp.sqrt(source.query_noise)[:, None]
    noise = jax.random.normal(key_noise, (*shape, spread.size, item.points.shape[-1]))
    return drawn, item.points[drawn][..., None, :] + spread * noise


def _sweep(config: Config, key: jax.Array, fit: dict[str, Any]) -> dict[str, np.ndarray]:
    """Evaluate all decoders on the same new queries, for the codebook and temperatures fitted."""
    sizes = np.array(config.log2_sizes, float)
    source = _source(config)
    # H(Y|X_k), up to the entropy of the item, which cancels in the differences.
    equivocation = -np.array([source.mutual_information(k, tolerance=1e-3).value for k in range(2)])
    worse, better = equivocation - equivocation.min(), equivocation.max() - equivocation
    rules = np.stack(
        [
            fit["temperature"],
            bayes_temperatures(config.query_noise),
            np.ones(2),
            entropy_difference_temperatures(better, floor=config.floor),
            entropy_difference_temperatures(worse, floor=config.floor),
        ]
    )
    swept = np.stack([np.ones(config.ratios), _ratios(config)], axis=-1)
    # The largest reciprocal rank of any decoder: that with the codeword of the target first, when
    # it is the rarest one. Fractions of it lie in [0, 1], so that intervals are in proportion to
    # it.
    most = 1 - np.asarray(
        expected_loss(sizes, LOSS, log_a=-np.inf, log_e=np.log(fit["competitor"].min()))
    )
    item = source.discretise_item(config.cells)
    arguments = {
        "source": source,
        "item": item,
        "temperatures": np.concatenate([swept, rules]),
        "sizes": sizes,
        "most": most * (1 + 1e-9),
        **{name: fit[name] for name in _OF_CODE},
    }
    result = run_trials(
        key,
        _trial,
        arguments,
        trials=config.queries,
        bounds=dict.fromkeys(("above_fitted", "below_optimal", "cosine_gain"), (-1.0, 1.0)),
        run=RunOptions(block=16),
    )
    found = {
        name: np.stack([part.mean, part.lower, part.upper], axis=-1) * most[:, None]
        for name, part in result.estimates.items()
    }
    return {**found, "rule_ratio": rules[:, 1] / rules[:, 0]}


def _trial(key: jax.Array, fixed: dict[str, Any]) -> dict[str, jax.Array]:
    """One query: reciprocal ranks of all decoders at all sizes, as fractions of the largest one."""
    item = fixed["item"]
    drawn, query = _sample(key, fixed["source"], item, ())
    target = jnp.argmax(fixed["channel"][drawn])
    distance = negative_squared_distance(query, fixed["codewords"])
    optimal = information_density_scores(
        fixed["source"], query, fixed["channel"], points=item.points, masses=item.masses
    )
    scores = jnp.concatenate(
        [
            jax.vmap(lambda temperature: fuse(distance, temperature))(fixed["temperatures"]),
            fuse(cosine(query, fixed["codewords"]), fixed["cosine_temperature"])[None],
            averaged_cosine(query, fixed["codewords"])[None],
            optimal[None],
        ]
    )
    targets = jnp.broadcast_to(target, scores.shape[:1])
    loss = codeword_loss(scores, targets, fixed["competitor"], fixed["sizes"], LOSS)
    part = (1 - loss) / fixed["most"]
    return {
        "part": part,
        "above_fitted": part - part[-len(DECODERS)],
        "below_optimal": part[-1] - part,
        "cosine_gain": part[-3] - part[-2],
    }


def checks(dataset: xarray.Dataset) -> list[Check]:
    """Check the fitted temperatures against the sweep, the variances, the fixed and the optimum."""
    swept = dataset.above_fitted.isel(decoder=slice(None, -len(DECODERS)))
    finest = dataset.isel(codewords=-1)
    ratio = finest.temperature[1] / finest.temperature[0]
    noise = dataset.query_noise[1] / dataset.query_noise[0]
    # With far fewer codewords than items, reciprocal ranks differ by less than their intervals.
    small = dataset.sel(log2_size=dataset.log2_size <= 10)
    rivals = small.above_fitted.sel(decoder=["one for all", "averaged cosine"])
    return [
        C17.exact.at_most("largest certified gap of a fit, bits", dataset.fit_gap.max(), 1e-10),
        C17.monte_carlo.at_most(
            "fraction of the fitted temperatures' MRR by which some ratio of the sweep surely "
            "exceeds it",
            (swept.sel(end="lower") / dataset.mrr.sel(decoder="fitted", end="mean")).max(),
            0.01,
        ),
        C17.monte_carlo.close(
            "logarithm of the fitted ratio of temperatures, and that of the noise variances",
            np.log(ratio),
            np.log(noise),
            5 * finest.log_ratio_error,
        ),
        C17.monte_carlo.at_most(
            "MRR of one temperature for all, or averaged cosines, above the fitted, M up to 2^10",
            rivals.sel(end="upper").max(),
            0.0,
        ),
        C17.monte_carlo.at_most(
            "MRR of averaged cosines above that of cosines with fitted temperatures, M up to 2^10",
            -small.cosine_gain.sel(end="lower").min(),
            0.0,
        ),
        C17.monte_carlo.at_most(
            "MRR by which some decoder surely exceeds the optimal score",
            -dataset.below_optimal.sel(end="upper").min(),
            0.0,
        ),
    ]
