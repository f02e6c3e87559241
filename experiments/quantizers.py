"""Quantizers: how often codes that are used today find the target, beside what no code can pass.

Items are Gaussian vectors and queries correlated copies of them. A code stores an item by some bits, and a query
ranks the items by the likelihood of their reproductions. Codes of a fixed length stand below the converse of
one encoder. Storing half of the items well and the others not at all is a code of unequal lengths, which no code
of a fixed length matches at few bits.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import jax
import numpy as np
import scipy.stats
import xarray

from experiments.runner import Check, Checkpoint, Claim, without_checkpoint
from rdsim import codes, limits, sources
from rdsim.cli.messages import needing
from rdsim.ranking.metrics.single_target import tied_loss

CLAIMS = ("C27", "C28")
C27, C28 = map(Claim, CLAIMS)
CONFIDENCE = 0.95
POINTS = 2.0
"""Points of recall within which the paper claims to be of the frontier."""
SURE = 1 - 1e-6
"""Coverage of the intervals that checks use."""
KINDS: Final = {
    "fixed length, one encoder": {"rate": "fixed_length", "encoder": "shared"},
    "unequal lengths": {"rate": "entropy", "encoder": "separate"},
    "information": {"rate": "information", "encoder": "joint"},
}
"""The converses that are drawn, by the notion of rate."""
CHECKED: Final = ("fixed length, one encoder", "unequal lengths")
"""Those that codes are held against; the information is the weaker one for all of them."""


@dataclass(frozen=True)
class Config:
    """What is computed."""

    dimension: int = 64
    """Coordinates of query and item."""
    correlation: float = 0.8
    """Correlation of each coordinate of the query with that of its item."""
    items: int = 50_000
    """Items of a database."""
    codes: tuple[tuple[str, tuple[float, ...]], ...] = (
        ("PQ2x8", (1.0,)),
        ("PQ4x6", (1.0, 0.5)),
        ("PQ4x8", (1.0, 0.5, 0.25)),
        ("PQ8x6", (1.0, 0.5)),
        ("sign", (1.0,)),
    )
    """Codes of at most 64 bits, of faiss by the names of its factory or the sign of each coordinate; and the
    shares of the items, drawn at random, that are stored."""
    databases: int = 12
    """Databases that are drawn."""
    queries: int = 64
    """Queries of each database."""
    training: int = 10_000
    """Items that the codes are fitted to."""
    bits: tuple[int, ...] = (4, 8, 12, 16, 20, 24, 28, 32, 40, 64, 128)
    """Bits along the lines."""
    mixed_bits: tuple[int, ...] = (4, 12, 20, 28)
    """Bits of the random codes that store a share of the items, whose best share is searched."""
    gap_bits: tuple[int, ...] = (8, 16, 32, 64)
    """Bits of the table of gaps between converses and random codes."""
    gap_log10_sizes: tuple[int, ...] = (3, 6, 9)
    """log10 of its numbers of items."""


SMOKE = Config(
    dimension=8,
    items=256,
    codes=(("PQ1x4", (1.0, 0.5)), ("sign", (1.0,))),
    databases=8,
    queries=16,
    training=1024,
    bits=(2, 8, 32),
    mixed_bits=(8,),
    gap_bits=(16,),
    gap_log10_sizes=(3,),
)
QUICK = Config()
FULL = Config(
    codes=(
        *((f"PQ{blocks}x8", (1.0, 0.75, 0.5, 0.25)) for blocks in (1, 2, 4, 8)),
        *((f"{kind}{blocks}x8", (1.0,)) for kind in ("RQ", "LSQ") for blocks in (1, 2, 4, 8)),
        *((name, (1.0, 0.5)) for name in ("PQ4x6", "PQ8x6", "sign")),
    ),
    databases=64,
    queries=256,
    training=100_000,
    mixed_bits=(2, 4, 6, 8, 10, 12, 14, 16, 20, 24, 28, 32),
    bits=(2, 4, 6, 8, 10, 12, 14, 16, 20, 24, 28, 32, 40, 48, 64, 96, 128, 256),
)


class _Stored(NamedTuple):
    """Items as they are stored.

    Attributes:
        code: what is stored of each item as one integer; equal integers are equal codewords.
        points: reproductions, shape (N, dimension).
        bits: stored per item.

    """

    code: np.ndarray
    points: np.ndarray
    bits: float


def run(
    config: Config, key: jax.Array, checkpoint: Checkpoint = without_checkpoint
) -> xarray.Dataset:
    """Fit and try every code, and compute the converses."""
    found = {
        name: checkpoint(name, _tried, config, key, name, shares) for name, shares in config.codes
    }
    whole = checkpoint("whole-items", _tried, config, key, "whole", (1.0,))
    settings = [(name, share) for name, shares in config.codes for share in shares]
    tried = {
        name: np.concatenate([part[name] for part in found.values()])
        for name in ("bits", *_STATISTICS)
    }
    lines = checkpoint("converses", _converses, config, np.array(config.bits, float))
    at_codes = checkpoint("converses-at-the-codes", _at_codes, config, tried["bits"])
    random = checkpoint("random-codewords", _random, config, "random_codewords", config.bits)
    mixed = checkpoint(
        "random-codewords-of-a-share",
        _random,
        config,
        "longer_codewords_at_random",
        config.mixed_bits,
    )
    gaps = checkpoint("gaps", _gaps, config)
    unit, in_bits = {"units": "1"}, {"units": "bits per item"}
    return xarray.Dataset(
        {
            **{name: ("code", tried[name], unit) for name in _STATISTICS},
            "whole_recall": ((), whole["recall"][0], unit),
            "converse": (("kind", "bits"), lines["recall"], unit),
            "rank_rate": ("bits", lines["rank_rate"], unit),
            "code_converse": (("checked_kind", "code"), at_codes["recall"], unit),
            "code_factor": (
                "code",
                tried["recall"] / at_codes["recall"][0],
                {"long_name": "recall@1 over the converse of fixed length", "units": "1"},
            ),
            **{f"random_{name}": ("bits", values, unit) for name, values in random.items()},
            **{f"mixed_{name}": ("mixed_bits", values, unit) for name, values in mixed.items()},
            "gap_before": (
                ("log10_size", "gap_bits"),
                100 * (gaps["rank_rate"] - gaps["random"]),
            ),
            "gap_after": (
                ("log10_size", "gap_bits"),
                100 * (gaps["one_encoder"] - gaps["random"]),
            ),
            # Where fewer points than that lie between random codes and a bound, of all in the table.
            "within_before": ((), (100 * (gaps["rank_rate"] - gaps["random"]) < POINTS).sum()),
            "within_after": ((), (100 * (gaps["one_encoder"] - gaps["random"]) < POINTS).sum()),
            **{
                f"gap_{name}": (("log10_size", "gap_bits"), part, unit)
                for name, part in gaps.items()
            },
        },
        coords={
            "code": [f"{name}, {share:g}" for name, share in settings],
            "mixed_bits": ("mixed_bits", list(config.mixed_bits), in_bits),
            "gap_bits": ("gap_bits", list(config.gap_bits), in_bits),
            "log10_size": list(config.gap_log10_sizes),
            "code_bits": ("code", tried["bits"], in_bits),
            "name": ("code", [name for name, _ in settings]),
            "share": ("code", [share for _, share in settings]),
            "kind": list(KINDS),
            "checked_kind": list(CHECKED),
            "bits": ("bits", list(config.bits), in_bits),
        },
        attrs={
            "items": config.items,
            "dimension": config.dimension,
            "correlation": config.correlation,
            "confidence": CONFIDENCE,
        },
    )


_STATISTICS: Final = ("recall", "lower", "upper", "sure_lower")


def _pair(config: Config) -> sources.GaussianSource:
    eye = np.eye(config.dimension)
    return sources.vector_gaussian(eye, eye, config.correlation * eye)


def _converses(config: Config, bits: np.ndarray) -> dict[str, np.ndarray]:
    """Largest recall@1 that the bounds leave (C27), and what the rank rate alone leaves (C4)."""
    size = math.log2(config.items)
    found = [_bounded(config, size, bits, kind) for kind in KINDS]
    return {"recall": np.stack(found), "rank_rate": _rank_rate(config, size, bits)}


def _at_codes(config: Config, bits: np.ndarray) -> dict[str, np.ndarray]:
    size = math.log2(config.items)
    return {"recall": np.stack([_bounded(config, size, bits, kind) for kind in CHECKED])}


def _bounded(config: Config, size: float | np.ndarray, bits: np.ndarray, kind: str) -> np.ndarray:
    notion = KINDS[kind]
    found = limits.retrieval_converse(
        _pair(config), size, "error", bits=bits, rate=notion["rate"], encoder=notion["encoder"]
    )
    return 1 - np.asarray(found.loss)


def _rank_rate(config: Config, size: float, bits: np.ndarray) -> np.ndarray:
    each = np.full(config.dimension, config.correlation)
    kept = limits.bottleneck_vector_gaussian(each, rate=bits)
    return 1 - np.asarray(limits.rank_loss(size, "error", rate=kept).lower)


def _random(config: Config, code: str, bits: tuple[int, ...]) -> dict[str, np.ndarray]:
    """Recall@1 of random codes for the directions of the items (C28), with the error of quadrature."""
    stored, size = np.array(bits, float), math.log2(config.items)
    loss = codes.sphere_ensemble(_pair(config), size, "error", bits=stored, code=code).loss
    kind = "fixed length, one encoder" if code == "random_codewords" else "unequal lengths"
    return {
        "recall": 1 - np.asarray(loss.value),
        "lower": 1 - np.asarray(loss.upper),
        "converse": _bounded(config, size, stored, kind),
    }


def _gaps(config: Config) -> dict[str, np.ndarray]:
    """Recall@1 left by the rank rate (C4) and by half-spaces (C27), and that of random codes (C28)."""
    bits, sizes = np.array(config.gap_bits, float), np.array(config.gap_log10_sizes) / math.log10(2)
    found = codes.sphere_ensemble(_pair(config), sizes, "error", bits=bits)
    one_encoder = _bounded(config, sizes[:, None], bits, "fixed length, one encoder")
    return {
        "rank_rate": np.stack([_rank_rate(config, size, bits) for size in sizes]),
        "one_encoder": one_encoder,
        "random": 1 - np.asarray(found.loss.value).T,
    }


def _fitted(config: Config, name: str, training: np.ndarray) -> Callable[[np.ndarray], _Stored]:
    """Fit a code, and return the function that stores items by it."""
    if name == "whole":
        return lambda items: _Stored(np.arange(len(items)), items, math.inf)
    if name == "sign":
        mean = np.abs(training).mean(axis=0)

        def signs(items: np.ndarray) -> _Stored:
            positive = items > 0
            points = np.where(positive, mean, -mean)
            return _Stored(_as_integers(np.packbits(positive, axis=1)), points, items.shape[1])

        return signs
    with needing("embeddings"):
        import faiss
    code: Any = faiss.index_factory(config.dimension, name)
    # By default faiss then numbers the codewords of a product quantizer so that near ones differ in few bits, for a
    # filter that is not used here: nearly all of the time of a fit. Which points are codewords is the same.
    if hasattr(code, "do_polysemous_training"):
        code.do_polysemous_training = False
    code.train(training)
    # Indices of few bits are stored in whole bytes by faiss; what is counted is what they need.
    bits = math.prod(int(part) for part in name.lstrip("LPRSQ").split("x"))

    def stored(items: np.ndarray) -> _Stored:
        codes = code.sa_encode(items)
        return _Stored(_as_integers(codes), code.sa_decode(codes), bits)

    return stored


def _as_integers(codes: np.ndarray) -> np.ndarray:
    """Write each row of at most eight bytes as one integer."""
    padded = np.zeros((len(codes), 8), np.uint8)
    padded[:, : codes.shape[1]] = codes
    return padded.view(np.uint64)[:, 0]


def _tried(
    config: Config, key: jax.Array, name: str, shares: tuple[float, ...]
) -> dict[str, np.ndarray]:
    """Recall@1 of a code over all databases, with intervals over them, for each share that is stored."""
    # One stream of random numbers for all codes, so that all get the same items and queries.
    draws = np.random.default_rng(np.asarray(jax.random.key_data(key)))
    store = _fitted(config, name, _normal(draws, config.training, config.dimension))
    means = np.zeros((len(shares), config.databases))
    for database in range(config.databases):
        items = _normal(draws, config.items, config.dimension)
        # Items are independent of their place, so that the first ones may be the targets.
        queries = np.float32(config.correlation) * items[: config.queries]
        queries += np.float32(math.sqrt(1 - config.correlation**2)) * _normal(draws, *queries.shape)
        order = draws.random(config.items)
        stored = store(items)
        error = float(np.mean((items - stored.points) ** 2))
        bits = float(stored.bits)
        for place, share in enumerate(shares):
            means[place, database] = _recall(config, queries, stored, error, order < share)
    middle = means.mean(axis=1)
    deviation = means.std(axis=1, ddof=1) / math.sqrt(config.databases)
    reach, sure = (
        deviation * float(scipy.stats.t.ppf(0.5 + coverage / 2, config.databases - 1))
        for coverage in (CONFIDENCE, SURE)
    )
    kept = np.array(shares)
    return {
        "recall": middle,
        "lower": middle - reach,
        "upper": middle + reach,
        "sure_lower": middle - sure,
        # One flag an item says whether it is stored; its entropy is counted.
        "bits": kept * bits + scipy.stats.entropy([kept, 1 - kept], base=2, axis=0),
    }


def _normal(draws: np.random.Generator, *shape: int) -> np.ndarray:
    return draws.standard_normal(shape, np.float32)


def _recall(
    config: Config, queries: np.ndarray, stored: _Stored, error: float, is_stored: np.ndarray
) -> float:
    r"""Mean recall@1, ties averaged, of the first items as targets of the queries.

    Scores are information densities of the Gaussian model of a reproduction u, by its mean squared
    error D a coordinate: x given u has mean $\rho u$ and variance $v = 1 - \rho^2 (1 - D)$ a coordinate,

    $$s = \tfrac12 |x|^2 - \tfrac{1}{2v} |x - \rho u|^2 - \tfrac{n}{2} \ln v,$$

    and 0 for an item that is not stored. Items of one codeword are scored once, so that they tie.
    """
    _, first, word = np.unique(stored.code[is_stored], return_index=True, return_inverse=True)
    held = np.bincount(word, minlength=len(first)).astype(np.float32)
    words = stored.points[is_stored][first].astype(np.float32)
    variance = 1 - config.correlation**2 * (1 - error)
    rho = config.correlation
    # The terms of s without those of the query alone.
    scores = (rho / variance) * (queries @ words.T) - rho**2 / (2 * variance) * np.sum(
        words**2, axis=1
    )
    alone = (1 - 1 / variance) / 2 * np.sum(queries**2, axis=1) - len(queries[0]) / 2 * math.log(
        variance
    )
    scores = scores.astype(np.float64) + alone[:, None]
    place = np.cumsum(is_stored) - 1
    targets = np.arange(len(queries))
    own = np.where(is_stored[targets], scores[targets, word[np.maximum(place[targets], 0)]], 0.0)[
        :, None
    ]
    unstored = np.sum(~is_stored)
    # Counts stay below 2^24 items, so that float32 adds them exactly.
    ahead, tied = (part.astype(np.float32) @ held for part in (scores > own, scores == own))
    ahead = ahead + unstored * (own[:, 0] < 0)
    tied = tied + unstored * (own[:, 0] == 0)
    return float(np.mean(1 - tied_loss(ahead, tied, "error")))


def checks(dataset: xarray.Dataset) -> list[Check]:
    """Check that no code lies beyond the converse of its notion of rate."""
    fixed = dataset.share == 1
    beyond = dataset.sure_lower - dataset.code_converse
    sure = f"with confidence {SURE:.9g}"
    return [
        C27.monte_carlo.at_most(
            f"recall@1 by which a code of fixed length lies above the converse of one encoder, {sure}",
            beyond.sel(checked_kind="fixed length, one encoder").where(fixed, drop=True).max(),
            0,
        ),
        C27.monte_carlo.at_most(
            f"recall@1 by which any code lies above the converse of unequal lengths, {sure}",
            beyond.sel(checked_kind="unequal lengths").max(),
            0,
        ),
        *(
            C28.exact.at_most(
                f"recall@1 by which random codes {words} lie above the converse of {kind}",
                (dataset[f"{name}_lower"] - dataset[f"{name}_converse"]).max(),
                0,
            )
            for name, words, kind in (
                ("random", "of a fixed length", "one encoder"),
                ("mixed", "for a share of the items", "unequal lengths"),
            )
        ),
        C27.exact.at_most(
            "points of recall@1 between random codes and the bound of half-spaces, largest of the table",
            dataset.gap_after.max(),
            dataset.gap_before.max() + 1e-9,
        ),
    ]
