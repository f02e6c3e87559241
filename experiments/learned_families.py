"""Learned families: what systems of the literature reach on one source, beside the frontier.

Every family learns from the same number of pairs of a Gaussian mixture in the plane with two query
modalities of unequal noise, stores an item at a few bits, and is measured alike: its bits exactly,
its MRR by the rank law. Distances are to the outer bound (the tighter of the rank converse and of
items stored whole), in points of MRR and in bits, and to the entropy-weighted code ranked by the
information density.
"""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import xarray

from experiments.runner import Cell, Check, call
from experiments.shared.circle import mixture_on_circle
from rdsim import limits
from rdsim.codes.catalogue import fit_item_code
from rdsim.codes.stochastic_quantizer import EntropyWeightedQuantizer
from rdsim.codes.vector_quantization import VectorQuantizer
from rdsim.learning.families.adversarial import fit_adversarial
from rdsim.learning.families.cca import fit_cca
from rdsim.learning.families.cross_attention import fit_cross_attention
from rdsim.learning.families.deep_cca import fit_deep_cca
from rdsim.learning.families.distillation import fit_distillation
from rdsim.learning.families.dual_encoder import fit_info_nce, fit_info_nce_product, fit_triplet
from rdsim.learning.families.fusion import (
    fit_early_fusion,
    fit_intermediate_fusion,
    fit_late_fusion,
)
from rdsim.learning.families.hashing import (
    fit_supervised_hashing,
    fit_unsupervised_hashing,
    with_hamming,
)
from rdsim.learning.families.shared_latent import fit_shared_latent
from rdsim.learning.operating_points import operating_point
from rdsim.learning.training.loop import Schedule
from rdsim.limits.bottleneck.gaussian_mixture import mixture_bottleneck_bound
from rdsim.simulation.item_code import Decoder, simulate_item_code
from rdsim.simulation.mixture_decoders import density_decoder, whole_items
from rdsim.sources.mixture import GaussianMixtureSource

CLAIMS = ("C4", "C17")
FAMILIES: tuple[tuple[str, Callable[..., Any]], ...] = (
    ("InfoNCE, k-means", fit_info_nce),
    ("InfoNCE, product", fit_info_nce_product),
    ("triplet, k-means", fit_triplet),
    ("CCA", fit_cca),
    ("deep CCA", fit_deep_cca),
    ("hashing, pairs", fit_unsupervised_hashing),
    ("hashing, classes", fit_supervised_hashing),
    ("shared latent", fit_shared_latent),
    ("adversarial", fit_adversarial),
    ("cross-attention", fit_cross_attention),
    ("distilled", fit_distillation),
    ("early fusion", fit_early_fusion),
    ("intermediate fusion", fit_intermediate_fusion),
    ("late fusion", fit_late_fusion),
)
"""Each family and how it is fitted: (key, source, bits, schedule, training) -> (code, decoder)s."""
KNOWN = "entropy-weighted"
HAMMING = {
    "hashing, pairs": "hashing, pairs, Hamming",
    "hashing, classes": "hashing, classes, Hamming",
}
"""The same trained hashes, with the query hashed to as many bits as an item, as practice does."""


@dataclass(frozen=True)
class Config:
    """What is computed."""

    weights: tuple[float, ...] = (0.3, 0.25, 0.2, 0.12, 0.08, 0.05)
    """Of the classes, whose means lie on a circle."""
    radius: float = 2.0
    """Of that circle."""
    variance: float = 0.25
    """Of each coordinate of an item in its class."""
    noise: tuple[float, ...] = (0.02, 0.5)
    """Noise variances of the query modalities."""
    families: tuple[str, ...] = tuple(name for name, _ in FAMILIES)
    """The families compared."""
    bits: tuple[int, ...] = (2, 4, 6)
    """Bits an item that systems are fitted for."""
    seeds: int = 1
    """Fits of every family."""
    steps: int = 300
    """Of training."""
    training: int = 1536
    """Pairs that a family learns from."""
    atoms: int = 96
    """Codewords that the entropy-weighted quantizer starts from."""
    trials: int = 4096
    """Trials of the simulation of one system."""
    log2_sizes: tuple[int, ...] = (5, 10)
    """log2 of the database sizes."""
    cells: int = 96
    """Cells along an axis of the item's law."""
    points: int = 65
    """Points along the rate of the outer bound."""


SMOKE = Config(
    families=("CCA", "hashing, pairs"),
    bits=(2,),
    steps=50,
    training=256,
    atoms=16,
    trials=2048,
    log2_sizes=(5,),
    cells=32,
    points=9,
)
QUICK = Config()
FULL = Config(
    bits=tuple(range(1, 7)),
    seeds=2,
    steps=1000,
    training=3072,
    atoms=128,
    trials=16384,
    points=257,
)


def run(config: Config, key: jax.Array, cell: Cell = call) -> xarray.Dataset:
    """Fit every family, measure every system, and bound them all."""
    trial_key, fit_key = jax.random.split(key)
    measured = [
        cell(f"systems-{seed}", _measured, config, jax.random.fold_in(fit_key, seed), trial_key)
        for seed in range(config.seeds)
    ]
    names = _names(config)
    points = {name: np.stack([part[name] for part in measured], axis=2) for name in measured[0]}
    bound = cell("bound", _bounds, config, trial_key, points["information"])
    return _dataset(config, names, points, bound)


def _measured(config: Config, fit_key: jax.Array, trial_key: jax.Array) -> dict[str, np.ndarray]:
    """Bits and losses of every system of one seed, shapes (families, bits, ...), KNOWN last."""
    source = mixture_on_circle(config, config.noise)
    schedule = Schedule(
        steps=config.steps,
        check_every=max(1, config.steps // 4),
    )
    fits = dict(FAMILIES) | {KNOWN: _best_known_fit(config)}
    fitted = {
        name: fits[name](_key_of(fit_key, name), source, config.bits, schedule, config.training)
        for name in (*config.families, KNOWN)
    }
    for name in HAMMING.keys() & fitted.keys():
        fitted[HAMMING[name]] = [with_hamming(system) for system in fitted[name]]
    names = _names(config)
    systems = [system for name in names for system in fitted[name]]
    found = [
        operating_point(
            *(trial_key, source, *system, config.log2_sizes),
            trials=config.trials,
            cells=config.cells,
            block=128,
        )
        for system in _menu(systems)
    ]
    shape = (len(names), len(config.bits))
    losses = [point.losses["reciprocal_rank"] for point in found]
    return {
        "information": np.reshape([point.information for point in found], shape),
        "entropy": np.reshape([point.index_entropy for point in found], shape),
        **{
            name: np.reshape([getattr(loss, end) for loss in losses], (*shape, -1))
            for name, end in (("loss", "mean"), ("loss_lower", "lower"), ("loss_upper", "upper"))
        },
    }


def _names(config: Config) -> tuple[str, ...]:
    """Name the systems: the families, hashes again with a hashed query, and the best known code."""
    hamming = (HAMMING[name] for name in config.families if name in HAMMING)
    return (*config.families, *hamming, KNOWN)


def _key_of(key: jax.Array, name: str) -> jax.Array:
    """Make a key that does not depend on which other families there are."""
    return jax.random.fold_in(key, sum(256**i * b for i, b in enumerate(name.encode())) % 2**31)


def _best_known_fit(config: Config) -> Callable[..., Any]:
    def fit(
        key: jax.Array,
        source: GaussianMixtureSource,
        bits: tuple[int, ...],
        schedule: Schedule,
        training: int,
    ) -> list[tuple[Any, Decoder]]:
        del schedule
        item_key, start_key = jax.random.split(key)
        items = source.sample(item_key, (training,))[1]
        law = source.discretise_item(config.cells // 2)
        found = [fit_item_code(KNOWN, start_key, items, b, atoms=config.atoms) for b in bits]
        codes = [_with_words(code, config.atoms) for code in found]
        return [(code, density_decoder(source, code, law)) for code in codes]

    return fit


@jax.tree_util.register_dataclass
@dataclass(frozen=True, kw_only=True)
class _Chosen:
    """One of several codes, those of one kind stacked: each kind is compiled once, for all."""

    kind: jax.Array
    place: jax.Array
    codes: tuple[Any, ...]
    codewords: jax.Array

    def channel(self, items: jax.Array) -> jax.Array:
        """P(u|y) of the chosen code."""
        branches = [
            lambda place, y, kind=kind: _member(kind, place).channel(y) for kind in self.codes
        ]
        return jax.lax.switch(self.kind, branches, self.place, items)

    def encode(self, key: jax.Array, items: jax.Array) -> jax.Array:
        """Draw a codeword of the chosen code for each item."""
        branches = [
            lambda place, k, y, kind=kind: _member(kind, place).encode(k, y).astype(jnp.int32)
            for kind in self.codes
        ]
        return jax.lax.switch(self.kind, branches, self.place, key, items)


@dataclass(frozen=True)
class _ChosenScores:
    """Scores of the chosen decoder."""

    rules: tuple[Callable[..., Any], ...]

    def __call__(
        self, parameters: tuple[jax.Array, jax.Array, tuple[Any, ...]], queries: jax.Array
    ) -> Any:
        """Score the codewords."""
        kind, place, stacked = parameters
        branches = [
            lambda i, x, rule=rule, values=values: rule(_member(values, i), x)
            for rule, values in zip(self.rules, stacked, strict=True)
        ]
        return jax.lax.switch(kind, branches, place, queries)


def _stacked(trees: list[Any]) -> Any:
    return jax.tree.map(lambda *parts: np.stack(parts), *trees)


def _member(stacked: Any, place: jax.Array) -> Any:
    return jax.tree.map(lambda leaf: leaf[place], stacked)


def _menu(systems: list[tuple[Any, Decoder]]) -> list[tuple[_Chosen, Decoder]]:
    """Make all systems choices of one, padded to the most codewords: one compiled program."""
    words = max(code.codewords.shape[0] for code, _ in systems)
    padded = [
        (_with_words(code, words), Decoder(rule.scores, _with_scored(rule.parameters, words)))
        for code, rule in systems
    ]
    kinds: dict[Any, list[int]] = {}
    for index, (code, rule) in enumerate(padded):
        kinds.setdefault((rule.scores, *_shape((code, rule.parameters))), []).append(index)
    groups = [[padded[index] for index in members] for members in kinds.values()]
    codes = tuple(_stacked([code for code, _ in group]) for group in groups)
    parameters = tuple(_stacked([rule.parameters for _, rule in group]) for group in groups)
    scores = _ChosenScores(tuple(rule for rule, *_ in kinds))
    where = {
        index: (jnp.asarray(kind), jnp.asarray(place))
        for kind, members in enumerate(kinds.values())
        for place, index in enumerate(members)
    }
    return [
        (
            _Chosen(kind=kind, place=place, codes=codes, codewords=padded[index][0].codewords),
            Decoder(scores, (kind, place, parameters)),
        )
        for index, (kind, place) in sorted(where.items())
    ]


def _shape(tree: Any) -> tuple[Any, ...]:
    leaves, structure = jax.tree.flatten(tree)
    return structure, tuple((np.shape(leaf), np.asarray(leaf).dtype) for leaf in leaves)


def _with_words(code: Any, words: int) -> Any:
    """The same code with codewords added that are never drawn."""
    points = _with_rows(code.codewords, words)
    if isinstance(code, EntropyWeightedQuantizer):
        marginal = _with_rows(code.output_marginal, words)
        return dataclasses.replace(code, codewords=points, output_marginal=marginal)
    # Every other code stores the nearest of its words; a cube's corners are nearest by their signs.
    inner = code.code.codewords
    nearest = VectorQuantizer(
        codewords=_with_rows(inner, words),
        offsets=_with_rows(np.zeros(len(inner)), words, constant_values=np.inf),
        masses=jnp.zeros(words),
        distortion=jnp.zeros(()),
        converged=jnp.ones((), bool),
        iterations=jnp.zeros((), int),
    )
    return dataclasses.replace(code, code=nearest, codewords=points)


def _with_scored(parameters: Any, words: int) -> Any:
    """Parameters of a decoder, all but the first a row a codeword, with rows that count for nothing.

    No competitor has the codewords added, so that any finite score will do.
    """
    first, *rows = parameters
    return (first, *(_with_rows(row, words, mode="edge") for row in rows))


def _with_rows(values: Any, rows: int, **how: Any) -> Any:
    more = [(0, rows - len(values)), *[(0, 0)] * (np.ndim(values) - 1)]
    return np.pad(values, more, **how)


def _bounds(config: Config, key: jax.Array, information: np.ndarray) -> dict[str, np.ndarray]:
    """Least losses at grid rates and at the systems' bits, of whole items, and at query bits."""
    source = mixture_on_circle(config, config.noise)
    grid = np.linspace(0.0, float(information.max()) + 1, config.points)
    rates = np.concatenate([grid, information.ravel()])
    everything = source.mutual_information(tolerance=1e-6)
    known = jnp.minimum(mixture_bottleneck_bound(source, rates), everything.upper)
    sizes = jnp.asarray(config.log2_sizes, float)
    # A query of so many bits is told no more: one call for all, one compiled program.
    told = jnp.concatenate([known, jnp.asarray(config.bits, float)])
    lower = np.asarray(limits.rank_loss(sizes, "reciprocal_rank", rate=told[:, None]).lower)
    # Any code of two words: only the whole items are looked at.
    nothing = fit_item_code("k-means VQ", key, source.item_means, 1)
    whole = simulate_item_code(
        *(key, source, nothing, {"whole": whole_items(source)}, (0.5, 0.5)),
        *(config.log2_sizes, ("reciprocal_rank",)),
        trials=config.trials,
        block=128,
    ).estimates["whole"]["reciprocal_rank"]
    return {
        "rate": grid,
        "converse": lower[: grid.size],
        "at_systems": lower[grid.size : rates.size].reshape(*information.shape, -1),
        "hashed_query": lower[rates.size :],
        "whole_mean": np.asarray(whole.mean),
        "whole_lower": np.asarray(whole.lower),
    }


def _dataset(
    config: Config,
    names: tuple[str, ...],
    points: dict[str, np.ndarray],
    bound: dict[str, np.ndarray],
) -> xarray.Dataset:
    """Label the numbers, and add the distances."""
    system, where = ("family", "bits", "seed"), ("family", "bits", "seed", "log2_size")
    bits, one = {"units": "bits per item"}, {"units": "1"}
    dataset = xarray.Dataset(
        {
            **{name: (system, points[name], bits) for name in ("information", "entropy")},
            **{name: (where, points[name], one) for name in ("loss", "loss_lower", "loss_upper")},
            "converse": (("rate", "log2_size"), bound["converse"], one),
            "converse_at_system": (where, bound["at_systems"], one),
            "hashed_query": (("bits", "log2_size"), bound["hashed_query"], one),
            "whole_mean": ("log2_size", bound["whole_mean"], one),
            "whole_lower": ("log2_size", bound["whole_lower"], one),
        },
        coords={
            "family": list(names),
            "bits": ("bits", list(config.bits), bits),
            "seed": np.arange(config.seeds),
            "log2_size": list(config.log2_sizes),
            "rate": ("rate", bound["rate"], bits),
        },
        attrs={"trials": config.trials, "training": config.training},
    )
    outer = np.maximum(dataset.converse_at_system, dataset.whole_lower)
    known = _known_loss(dataset)
    needed = _needed_bits(dataset)
    points_of = {"units": "percentage points"}
    return dataset.assign(
        outer=outer.assign_attrs(one),
        points_from_outer=(100 * (dataset.loss - outer)).assign_attrs(points_of),
        points_from_known=(100 * (dataset.loss - known)).assign_attrs(points_of),
        bits_from_converse=(dataset.information - needed).assign_attrs(bits),
    )


def _known_loss(dataset: xarray.Dataset) -> xarray.DataArray:
    """Loss of the entropy-weighted code at the systems' bits, shared in time with its neighbours."""
    known = dataset.sel(family=KNOWN).mean("seed")
    order = np.argsort(known.information.values)
    bits = np.concatenate([[0.0], known.information.values[order]])
    none = dataset.converse.isel(rate=0)
    losses = [
        np.interp(
            dataset.information.values,
            bits,
            np.concatenate([[none.sel(log2_size=size)], known.loss.sel(log2_size=size)[order]]),
        )
        for size in dataset.log2_size.values
    ]
    return xarray.DataArray(np.stack(losses, axis=-1), dims=dataset.loss.dims)


def _needed_bits(dataset: xarray.Dataset) -> xarray.DataArray:
    """Bits below which the converse forbids a system's loss, interpolated between grid rates."""
    rate = dataset.rate.values[::-1]
    needed = [
        np.interp(
            dataset.loss.sel(log2_size=size), dataset.converse.sel(log2_size=size)[::-1], rate
        )
        for size in dataset.log2_size.values
    ]
    return xarray.DataArray(np.stack(needed, axis=-1), dims=dataset.loss.dims)


def checks(dataset: xarray.Dataset) -> list[Check]:
    """Check that no family passes a bound, and that none does better than the best known code."""
    learned = dataset.drop_sel(family=KNOWN)
    hashes = [name for name in HAMMING.values() if name in learned.family.values]
    found = [
        Check.at_most(
            "C4",
            "MRR by which a learned system's interval lies above the outer bound at its bits",
            "Monte Carlo",
            (learned.outer - learned.loss_upper).max(),
            0.0,
        ),
        Check.at_most(
            "C4",
            "MRR by which a system's interval lies above items stored whole",
            "Monte Carlo",
            (dataset.whole_lower - dataset.loss_upper).max(),
            0.0,
        ),
        Check.at_most(
            "C17",
            "MRR by which a learned system's interval lies above the entropy-weighted code ranked by "
            "the information density, at the same bits, charged I(U;Y)",
            "Monte Carlo",
            -(learned.loss_upper - learned.loss + learned.points_from_known / 100).min(),
            0.0,
        ),
    ]
    if hashes:
        found.append(
            Check.at_most(
                "C4",
                "MRR by which a hashed query's interval lies above the rank converse at its bits",
                "Monte Carlo",
                (learned.hashed_query - learned.loss_upper.sel(family=hashes)).max(),
                0.0,
            )
        )
    return found
