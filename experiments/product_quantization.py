"""Product quantization: bits and MRR of product quantizers on Gaussian items, beside the converse.

Items are Gaussian vectors, queries noisy copies of them. A product quantizer stores an item by S
indices of b bits; a query ranks the items by its distance to their codewords, as the common
libraries of vector search do, or by the distance with each coordinate divided by its noise and
quantization error. No system with as many bits per item lies above the rank converse (C4), and no code of
codewords of that length above tilted half-spaces (C29), which take all correlations into account.
"""

from dataclasses import dataclass
from typing import NamedTuple

import jax
import numpy as np
import scipy.stats
import xarray

from experiments.runner import Check, Checkpoint, Claim, without_checkpoint
from rdsim import limits, sources
from rdsim.codes import ProductQuantizer, product_quantizer
from rdsim.codes.assignment import assign
from rdsim.ranking import subset_loss

CLAIMS = ("C4", "C29")
C4, C29 = map(Claim, CLAIMS)
CONFIDENCE = 0.95
SURE = 1 - 1e-9
"""Coverage of the intervals that checks use."""
DECODERS = ("distance", "weighted distance")
KINDS = ("plain", "balanced")
LISTED_BITS = 16
"""Most bits of one product quantizer; with more, the coordinates are divided between two of
them."""


@dataclass(frozen=True)
class Config:
    """What is computed."""

    variances: tuple[float, ...] = tuple(4.0 * 2.0 ** (-i / 2) for i in range(8))
    """Variances of the items' coordinates, which are independent."""
    noise: float = 0.1
    """Variance of each coordinate of the query about its item."""
    codes: tuple[tuple[int, int], ...] = (
        *((1, bits) for bits in (2, 5, 8)),
        *((2, bits) for bits in (2, 4, 6, 8)),
        *((4, bits) for bits in (1, 2, 4, 6, 8)),
    )
    """Subspaces S and bits b of each product quantizer."""
    log2_sizes: tuple[int, ...] = (6, 9, 12)
    """log2 of the database sizes; the largest is drawn, the smaller are subsets of it."""
    databases: int = 32
    """Databases drawn, each of the largest size."""
    queries: int = 64
    """Queries of each database."""
    training: int = 8192
    """Items that the quantizers are fitted to."""
    iterations: int = 20
    """Most steps of k-means."""
    points: int = 129
    """Points along the converse."""


SMOKE = Config(
    codes=((1, 3), (2, 2), (4, 1)),
    log2_sizes=(4, 7),
    databases=16,
    queries=16,
    training=512,
    iterations=5,
    points=9,
)
QUICK = Config()
FULL = Config(
    codes=tuple((s, b) for s in (1, 2, 4) for b in range(1, 9)),
    log2_sizes=(6, 9, 12, 16),
    databases=128,
    queries=128,
    training=32768,
    iterations=50,
    points=513,
)


class _Part(NamedTuple):
    """A quantizer and the coordinates that it stores."""

    columns: np.ndarray
    code: ProductQuantizer


def run(
    config: Config, key: jax.Array, checkpoint: Checkpoint = without_checkpoint
) -> xarray.Dataset:
    """Fit and simulate every code, rank whole items, and compute the converse."""
    settings = [(s, b, kind) for s, b in config.codes for kind in KINDS if kind == "plain" or s > 1]
    found = [
        checkpoint(f"code-{s}x{b}-{kind}", _simulate, config, key, s, b, kind)
        for s, b, kind in settings
    ]
    whole = checkpoint("whole-items", _simulate, config, key, 0, 0, "whole")
    rate = np.linspace(0.0, 1.05 * max(s * b for s, b in config.codes), config.points)
    bits = np.array([float(s * b) for s, b, _ in settings])
    # The curve and the codes' own bits in one call, which is one compiled program.
    frontier = checkpoint("converse", _converse, config, np.concatenate([rate, bits]))["mrr"]
    # The tighter bound takes seconds a size, and is computed at the codes' own bits alone.
    own, place = np.unique(bits, return_inverse=True)
    tight = checkpoint("tilted", _tilted, config, own)["mrr"]
    mrr = {name: np.stack([one[name] for one in found]) for name in _STATISTICS}
    needed = np.asarray(_least_bits(config, mrr["mrr"]))
    per = ("code", "decoder", "log2_size")
    unit, in_bits = {"units": "1"}, {"units": "bits"}
    return xarray.Dataset(
        {
            **{name: (per, values, unit) for name, values in mrr.items()},
            **{f"whole_{name}": ("log2_size", whole[name][0], unit) for name in _STATISTICS},
            "limit": (
                ("code", "log2_size"),
                frontier[rate.size :],
                {"long_name": "largest MRR", **unit},
            ),
            "tight": (("own_bits", "log2_size"), tight, unit),
            "tight_limit": (("code", "log2_size"), tight[place], unit),
            "bits_beyond": (per, bits[:, None, None] - needed, in_bits),
            "least_bits": (per, needed, {"long_name": "bits that this MRR needs", **in_bits}),
            "converse": (("rate", "log2_size"), frontier[: rate.size], unit),
            "distortion": ("code", [one["distortion"] for one in found]),
        },
        coords={
            "bits": ("code", bits, in_bits),
            "subspaces": ("code", [s for s, _, _ in settings]),
            "kind": ("code", [kind for _, _, kind in settings]),
            "decoder": list(DECODERS),
            "log2_size": ("log2_size", list(config.log2_sizes), in_bits),
            "rate": ("rate", rate, in_bits),
            "own_bits": ("own_bits", own, in_bits),
        },
        attrs={
            "dimension": len(config.variances),
            "noise": config.noise,
            "correlations": _correlations(config),
            "databases": config.databases,
            "confidence": CONFIDENCE,
        },
    )


_STATISTICS = ("mrr", "lower", "upper", "sure_lower")


def _correlations(config: Config) -> np.ndarray:
    """Canonical correlations of query and item."""
    variances = np.array(config.variances)
    return np.sqrt(variances / (variances + config.noise))


def _best_mrr(config: Config, bits: np.ndarray) -> np.ndarray:
    """The converse (C4): largest MRR at that many bits per item; the sizes are the last axis."""
    relevance = limits.bottleneck_vector_gaussian(_correlations(config), rate=bits)
    sizes = np.array(config.log2_sizes, float)
    return 1 - np.asarray(limits.rank_loss(sizes, "reciprocal_rank", rate=relevance).lower)


def _tilted(config: Config, bits: np.ndarray) -> dict[str, np.ndarray]:
    """Largest MRR of codes of so many bits each, one encoder (C29); the sizes are the last axis."""
    eye = np.eye(len(config.variances))
    pair = sources.vector_gaussian(eye, eye, np.diag(_correlations(config)))
    sizes = np.array(config.log2_sizes, float)
    found = limits.retrieval_converse(pair, sizes, "reciprocal_rank", bits=bits[:, None])
    return {"mrr": 1 - np.asarray(found.loss)}


def _least_bits(config: Config, mrr: np.ndarray) -> np.ndarray:
    """The inverse of the converse: least bits per item for an MRR; the sizes are the last axis."""
    sizes = np.array(config.log2_sizes, float)
    needed = limits.rank_rate(sizes, "reciprocal_rank", distortion=np.clip(1 - mrr, 0.0, 1.0)).lower
    return np.asarray(
        limits.bottleneck_vector_gaussian_rate(_correlations(config), relevance=needed)
    )


def _converse(config: Config, rate: np.ndarray) -> dict[str, np.ndarray]:
    return {"mrr": _best_mrr(config, rate[:, None])}


def _items(config: Config, key: jax.Array) -> np.ndarray:
    deviation = np.sqrt(np.array(config.variances))
    return deviation * np.asarray(jax.random.normal(key, (config.training, deviation.size), float))


def _fit(config: Config, key: jax.Array, subspaces: int, bits: int, kind: str) -> list[_Part]:
    """Fit a product quantizer, or two of half the coordinates where one could not be listed."""
    items = _items(config, key)
    order = np.arange(items.shape[1])
    halves = [order]
    if subspaces * bits > LISTED_BITS:
        # Alternating strong and weak coordinates make the halves alike where they should be
        # balanced.
        halves = [order[::2], order[1::2]] if kind == "balanced" else list(np.split(order, 2))
    return [
        _Part(
            columns,
            product_quantizer(
                jax.random.fold_in(key, 1 + part),
                items[:, columns],
                subspaces=subspaces // len(halves),
                codebook_size=2**bits,
                rotate=kind == "balanced",
                starts=1,
                iterations=config.iterations,
            ),
        )
        for part, columns in enumerate(halves)
    ]


def _stored(parts: list[_Part], items: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Index of each item among all combinations of codewords, and its reproduction.

    On the host, block by block: databases of many shapes would each be compiled.
    """
    index, points = np.zeros(len(items), np.int64), np.empty_like(items)
    for columns, code in parts:
        rotation, centre = np.asarray(code.rotation), np.asarray(code.centre)
        rotated = (items[:, columns] - centre) @ rotation.T
        stored, first = [], 0
        for book in map(np.asarray, code.codebooks):
            block = rotated[:, first : first + book.shape[1]]
            chosen = assign(block, book)
            index = index * len(book) + chosen
            stored.append(book[chosen])
            first += book.shape[1]
        points[:, columns] = np.concatenate(stored, axis=1) @ rotation + centre
    return index, points


def _simulate(
    config: Config, key: jax.Array, subspaces: int, bits: int, kind: str
) -> dict[str, np.ndarray]:
    """Rank the targets of all databases by every decoder; whole items have no code and one decoder."""
    fit_key, draw_key = jax.random.split(key)
    deviation = np.sqrt(np.array(config.variances))
    others = 2 ** max(config.log2_sizes) - 1
    parts = [] if kind == "whole" else _fit(config, fit_key, subspaces, bits, kind)
    # One stream of random numbers for all codes, so that all get the same items and queries.
    draws = np.random.default_rng(np.asarray(jax.random.key_data(draw_key)))
    shape = (config.databases, others + config.queries, deviation.size)
    weights, error = [np.ones(deviation.size)], np.zeros(deviation.size)
    if parts:
        sample = _items(config, jax.random.fold_in(fit_key, 0))
        error = np.mean((sample - _stored(parts, sample)[1]) ** 2, axis=0)
        weights.append(1 / (config.noise + error))
    means = np.zeros((len(weights), len(config.log2_sizes), config.databases))
    for database in range(config.databases):
        items = deviation * draws.standard_normal(shape[1:])
        noise = draws.standard_normal((config.queries, deviation.size))
        queries = items[others:] + np.sqrt(config.noise) * noise
        uniform = draws.uniform(size=config.queries)
        index, points = _stored(parts, items) if parts else (np.arange(len(items)), items)
        for place, weight in enumerate(weights):
            ahead = _ahead(queries, points, index, weight, others, uniform)
            means[place, :, database] = [
                1
                - subset_loss(
                    ahead, "reciprocal_rank", competitors=others, sampled=2**size - 1
                ).mean()
                for size in config.log2_sizes
            ]
    middle = means.mean(axis=-1)
    spread = means.std(axis=-1, ddof=1) / np.sqrt(config.databases)
    reach, sure = (
        scipy.stats.t.ppf(0.5 + coverage / 2, config.databases - 1)
        for coverage in (CONFIDENCE, SURE)
    )
    return {
        "mrr": middle,
        "lower": middle - reach * spread,
        "upper": middle + reach * spread,
        "sure_lower": middle - sure * spread,
        "distortion": error.sum(),
    }


def _ahead(
    queries: np.ndarray,
    points: np.ndarray,
    index: np.ndarray,
    weight: np.ndarray,
    others: int,
    uniform: np.ndarray,
) -> np.ndarray:
    """Count, for each query, the other items ranked before its target, ties at random.

    Items of one codeword are scored once, so that their scores are the same number.
    """
    _, first, word = np.unique(index, return_index=True, return_inverse=True)
    codewords = points[first] * np.sqrt(weight)
    held = np.bincount(word[:others], minlength=len(codewords)).astype(float)
    target = word[others:]
    score = 2 * (queries * np.sqrt(weight)) @ codewords.T - np.sum(codewords**2, axis=1)
    own = score[np.arange(len(queries)), target]
    better = (score > own[:, None]) @ held
    # With ties broken at random, a uniform number of the tied items is ahead of the target.
    return better + np.floor(uniform * (held[target] + 1))


def checks(dataset: xarray.Dataset) -> list[Check]:
    """Compare every code, and whole items, with the converse at the better end of its interval."""
    correlations = np.atleast_1d(dataset.attrs["correlations"])
    sizes = dataset.log2_size.values.astype(float)
    # Unlimited bits are the last row of the same call, which is one compiled program.
    bits = np.append(dataset.least_bits.values.reshape(-1, sizes.size), [np.inf * sizes], axis=0)
    relevance = limits.bottleneck_vector_gaussian(correlations, rate=bits)
    loss = limits.rank_loss(sizes, "reciprocal_rank", rate=relevance)
    back = 1 - np.asarray(loss.value)[:-1].reshape(dataset.mrr.shape)
    ceiling = 1 - np.asarray(loss.lower)[-1]
    sure = f"with confidence {SURE:.9g}"
    return [
        C4.monte_carlo.at_most(
            "largest amount by which the upper end of the MRR of a product quantizer (of "
            f"{dataset.mrr.size} points) is above the converse at its bits",
            (dataset.upper - dataset.limit).max(),
            0,
        ),
        C29.monte_carlo.at_most(
            "largest amount by which the upper end of the MRR of a product quantizer is above tilted half-spaces",
            (dataset.upper - dataset.tight_limit).max(),
            0,
        ),
        C29.exact.at_most(
            "MRR by which tilted half-spaces lie above the rank converse, codes' bits and sizes",
            (dataset.tight_limit - dataset.limit).max(),
            1e-9,
        ),
        C4.monte_carlo.at_most(
            "largest amount by which the MRR of whole items is above the converse of unlimited "
            f"bits, {sure}",
            (dataset.whole_sure_lower - ceiling).max(),
            0,
        ),
        C4.monte_carlo.at_most(
            "largest amount by which a code's MRR is above that of whole items, ranked "
            f"optimally, {sure}",
            (dataset.sure_lower - 2 * dataset.whole_mrr + dataset.whole_sure_lower).max(),
            0,
        ),
        C4.closed_form.at_most(
            "largest error of MRR to bits by the converse and back",
            abs(back - dataset.mrr.values).max(),
            1e-7,
        ),
    ]
