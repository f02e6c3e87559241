"""Learned families: what systems of the literature achieve on one source, beside the frontier.

Every family learns from the same number of pairs of a Gaussian mixture in the plane with two query
modalities of unequal noise, stores an item at a few bits, and is measured alike: its bits exactly,
its MRR by the distribution of the rank. Distances are to the outer bound (the tightest of the rank converse, of one
codebook of as many codewords and of items stored whole), in points of MRR and in bits, and to the entropy-weighted code ranked by the
information density.
"""

from dataclasses import dataclass

import jax
import numpy as np
import xarray

from experiments.runner import Check, Checkpoint, Claim, without_checkpoint
from experiments.shared import family_points
from experiments.shared.circle import Circle, mixture_on_circle
from rdsim import limits
from rdsim.codes import fit_item_code
from rdsim.learning import FAMILIES, fit_family, operating_point, stacked_systems, with_hamming
from rdsim.learning.families.pairs import System
from rdsim.learning.stacking import padded_code
from rdsim.simulation import RunOptions, density_decoder, simulate_item_code, whole_items
from rdsim.sources import GaussianMixtureSource

CLAIMS = ("C4", "C17", "C27")
C4, C17, C27 = map(Claim, CLAIMS)
KNOWN = "entropy-weighted"
TASKS, RETRIEVAL = "multi-task", "InfoNCE, k-means"
"""The same encoders and quantizer, trained for classes beside retrieval, and for retrieval alone."""
HAMMING = {
    "hashing, pairs": "hashing, pairs, Hamming",
    "hashing, classes": "hashing, classes, Hamming",
}
"""The same trained hashes, with the query hashed to as many bits as an item, as is usual in practice."""


@dataclass(frozen=True)
class Config(Circle):
    """What is computed."""

    noise: tuple[float, ...] = (0.02, 0.5)
    """Noise variances of the query modalities."""
    families: tuple[str, ...] = (
        "InfoNCE, k-means",
        "InfoNCE, product",
        "triplet, k-means",
        "CCA",
        "deep CCA",
        "hashing, pairs",
        "hashing, classes",
        "shared latent",
        "adversarial",
        "cross-attention",
        "distilled",
        "early fusion",
        "intermediate fusion",
        "late fusion",
        "multi-task",
    )
    """The families compared; the study `families` has the others."""
    bits: tuple[int, ...] = (2, 4, 6)
    """Bits per item that systems are fitted for."""
    seeds: int = 1
    """Fits of every family."""
    steps: int = 300
    """Optimisation steps of a fit."""
    training: int = 1536
    """Pairs that a family learns from."""
    codewords: int = 96
    """Codewords that the entropy-weighted quantizer starts from."""
    trials: int = 4096
    """Trials of the simulation of one system."""
    log2_sizes: tuple[int, ...] = (5, 10)
    """log2 of the database sizes."""
    cells: int = 96
    """Cells along each axis, into which the item's distribution is cut."""
    points: int = 65
    """Points along the rate of the outer bound."""


SMOKE = Config(
    families=("CCA", "hashing, pairs"),
    bits=(2,),
    steps=50,
    training=256,
    codewords=16,
    trials=2048,
    log2_sizes=(5,),
    cells=32,
    points=9,
)
QUICK = Config()
FULL = Config(
    families=tuple(FAMILIES),
    bits=tuple(range(1, 7)),
    seeds=2,
    steps=1000,
    training=3072,
    codewords=128,
    trials=16384,
    points=257,
)


def run(
    config: Config, key: jax.Array, checkpoint: Checkpoint = without_checkpoint
) -> xarray.Dataset:
    """Fit every family, measure every system, and bound them all."""
    trial_key, fit_key = jax.random.split(key)
    measured = [
        checkpoint(
            f"systems-{seed}", _measured, config, jax.random.fold_in(fit_key, seed), trial_key
        )
        for seed in range(config.seeds)
    ]
    names = _names(config)
    points = {name: np.stack([part[name] for part in measured], axis=2) for name in measured[0]}
    bound = checkpoint("bound", _bounds, config, trial_key, points["information"], points["words"])
    return _dataset(config, names, points, bound)


def _measured(config: Config, fit_key: jax.Array, trial_key: jax.Array) -> dict[str, np.ndarray]:
    """Bits and losses of every system of one seed, shapes (families, bits, ...), KNOWN last."""
    source = mixture_on_circle(config, config.noise)
    schedule = family_points.schedule(config.steps)
    fitted = {
        name: fit_family(
            _key_of(fit_key, name),
            name,
            source,
            bits=config.bits,
            schedule=schedule,
            training=config.training,
        )
        for name in config.families
    }
    fitted[KNOWN] = _best_known(_key_of(fit_key, KNOWN), config, source)
    for name in HAMMING.keys() & fitted.keys():
        fitted[HAMMING[name]] = [with_hamming(system) for system in fitted[name]]
    names = _names(config)
    systems = [system for name in names for system in fitted[name]]
    found = [
        operating_point(
            trial_key,
            source,
            *system,
            config.log2_sizes,
            trials=config.trials,
            cells=config.cells,
            run=RunOptions(block=128),
        )
        for system in stacked_systems(systems)
    ]
    shape = (len(names), len(config.bits))
    losses = [point.losses["reciprocal_rank"] for point in found]
    return {
        "information": np.reshape([point.information for point in found], shape),
        "entropy": np.reshape([point.index_entropy for point in found], shape),
        "words": np.reshape([np.sum(np.asarray(p.output_marginal) > 0) for p in found], shape),
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


def _best_known(key: jax.Array, config: Config, source: GaussianMixtureSource) -> list[System]:
    """Fit the entropy-weighted code at each number of bits, ranked by the information density."""
    item_key, start_key = jax.random.split(key)
    items = source.sample(item_key, (config.training,))[1]
    cells = source.discretise_item(config.cells // 2)
    fitted = [
        fit_item_code(start_key, KNOWN, items, b, initial_codewords=config.codewords)
        for b in config.bits
    ]
    codes = [padded_code(code, config.codewords) for code in fitted]
    return [(code, density_decoder(source, code, cells)) for code in codes]


def _bounds(
    config: Config, key: jax.Array, information: np.ndarray, words: np.ndarray
) -> dict[str, np.ndarray]:
    """Least losses at grid rates, at the systems' bits, of whole items, and of hashed queries."""
    source = mixture_on_circle(config, config.noise)
    grid = np.linspace(0.0, float(information.max()) + 1, config.points)
    rates = np.concatenate([grid, information.ravel()])
    sizes = np.array(config.log2_sizes, float)
    lower = np.asarray(limits.mixture_loss_bound(source, sizes, "reciprocal_rank", rate=rates))
    # A query of b bits has at most b bits of information about the item.
    query_bits = np.array(config.bits, float)[:, None]
    hashed = limits.rank_loss(sizes, "reciprocal_rank", rate=query_bits)
    # Any code of two codewords: only the loss of whole items is used.
    nothing = fit_item_code(key, "k-means VQ", source.item_means, 1)
    whole = simulate_item_code(
        key,
        source,
        nothing,
        {"whole": whole_items(source)},
        (0.5, 0.5),
        config.log2_sizes,
        ("reciprocal_rank",),
        trials=config.trials,
        run=RunOptions(block=128),
    ).estimates["whole"]["reciprocal_rank"]
    return {
        "rate": grid,
        "converse": lower[: grid.size],
        "at_systems": lower[grid.size :].reshape(*information.shape, -1),
        "codebook_at_systems": np.asarray(
            limits.codebook_loss(sizes, "reciprocal_rank", bits=np.log2(words))
        ),
        "hashed_query": np.asarray(hashed.lower),
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
            "words": (system, points["words"], {"units": "codewords"}),
            "codebook_at_system": (where, bound["codebook_at_systems"], one),
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
    outer = np.maximum(outer, dataset.codebook_at_system)
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
    """Loss of the entropy-weighted code at the systems' bits, time-shared with its neighbours."""
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
    """Bits that the converse requires for a system's loss, interpolated between grid rates."""
    rate = dataset.rate.values[::-1]
    needed = [
        np.interp(
            dataset.loss.sel(log2_size=size), dataset.converse.sel(log2_size=size)[::-1], rate
        )
        for size in dataset.log2_size.values
    ]
    return xarray.DataArray(np.stack(needed, axis=-1), dims=dataset.loss.dims)


def checks(dataset: xarray.Dataset) -> list[Check]:
    """Check that no family beats a bound, and that none beats the best known code."""
    learned = dataset.drop_sel(family=KNOWN)
    hashes = [name for name in HAMMING.values() if name in learned.family.values]
    found = [
        C27.monte_carlo.at_most(
            "MRR by which a system's interval lies above the converse of one codebook of as many codewords",
            (dataset.codebook_at_system - dataset.loss_upper).max(),
            0.0,
        ),
        C4.monte_carlo.at_most(
            "MRR by which a learned system's interval lies above the outer bound at its bits",
            (learned.outer - learned.loss_upper).max(),
            0.0,
        ),
        C4.monte_carlo.at_most(
            "MRR by which a system's interval lies above items stored whole",
            (dataset.whole_lower - dataset.loss_upper).max(),
            0.0,
        ),
        C17.monte_carlo.at_most(
            "MRR by which a learned system's interval lies above the entropy-weighted code "
            "ranked by the information density, at the same bits, charged I(U;Y)",
            -(learned.loss_upper - learned.loss + learned.points_from_known / 100).min(),
            0.0,
        ),
    ]
    if {TASKS, RETRIEVAL} <= set(learned.family.values):
        most = learned.isel(bits=-1, log2_size=-1).mean("seed")
        both, alone = most.sel(family=TASKS), most.sel(family=RETRIEVAL)
        found.append(
            C17.monte_carlo.at_most(
                "MRR by which learning classes beside retrieval costs, interval to interval, at the most bits "
                "in the largest database",
                both.loss_lower - alone.loss_upper,
                0.0,
            )
        )
    if hashes:
        found.append(
            C4.monte_carlo.at_most(
                "MRR by which a hashed query's interval lies above the rank converse at its bits",
                (learned.hashed_query - learned.loss_upper.sel(family=hashes)).max(),
                0.0,
            )
        )
    return found
