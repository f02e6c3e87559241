"""Stamps: pictures, spoken words and texts in four languages as queries for one another, their codes, and other database sizes."""

import math
from dataclasses import dataclass
from typing import Final

import jax
import numpy as np
import xarray

from experiments.runner import Check, Checkpoint, Claim, without_checkpoint
from experiments.shared import predictions, sounds, stamps, word_vectors
from experiments.shared.family_points import random_order_mrr
from experiments.shared.ngrams import hashed_ngrams
from rdsim import codes, limits, ranking
from rdsim.embeddings import measure_embeddings, retrieval_task
from rdsim.embeddings.canonical import variables

CLAIMS = ("C1", "C4", "C27", "C29")
C4, C27, C29 = Claim("C4"), Claim("C27"), Claim("C29")
LOSS: Final = "reciprocal_rank"
PICTURE: Final = "picture"
PAIRS: Final = {
    "picture → English": ((PICTURE,), "en"),
    "Spanish → English": (("es",), "en"),
    "picture + Spanish → English": ((PICTURE, "es"), "en"),
    "Russian + Spanish → English": (("ru", "es"), "en"),
    "German → French": (("de",), "fr"),
    "spoken → written Spanish": (("spoken es",), "es"),
    "spoken → written French": (("spoken fr",), "fr"),
    "spoken Spanish → picture": (("spoken es",), PICTURE),
}
"""Modalities of the query, and that of the item."""
SPOKEN: Final = ("es", "fr")
"""Languages whose recordings are queries."""
READ_OUT: Final = ("spoken → written Spanish", "spoken → written French")
"""Recordings as queries for the very words that they say."""
SINGLE: Final = "Spanish → English"
FUSED: Final = tuple(name for name, (query, _) in PAIRS.items() if len(query) == 2)
CODES: Final = ("product quantizer", "hash")
WORDS: Final = ("de", "es", "fr")
"""Languages whose texts are queries by word vectors, as those of their English targets are."""
SYSTEMS: Final = ("as given", "centred", "rotated PQ", "transform code, shared")
WORD_BITS: Final = 64
"""Bits of these codes, both in the shared canonical space."""
LANGUAGES: Final = ("de", "es", "fr", "ru")
_WEIGHTS: Final = (0.25, 0.5, 1.0)  # of the first of two modalities, one of which is chosen
_SIDE: Final = 32  # pixels of a picture
_COARSE: Final = 8  # pixels of a picture whose places matter
_LEVELS: Final = 4  # of a channel in the histogram of colours
_TIMES: Final = 8  # equal parts of a recording, about as many as a short description has syllables

Points = dict[str, np.ndarray]
"""Features of each modality, with a row a stamp."""


@dataclass(frozen=True)
class Config:
    """What is computed."""

    bits: tuple[int, ...] = (2, 4, 8, 16, 32, 64)
    """Bits stored per item, at most the coordinates of a picture."""
    features: int = 2048
    """Hashed n-grams of a text."""
    picture_features: int = 64
    """Principal axes of a picture, half of them those of its colours."""
    stamps: int | None = None
    """Most stamps, the first ones of the package; all by default."""
    splits: int = 1
    """Random halves: pairs that everything is fitted to, and pairs that are ranked."""


SMOKE = Config(bits=(2, 8), features=512, picture_features=16, stamps=560)
QUICK = Config()
FULL = Config(splits=10)


def run(
    config: Config, key: jax.Array, checkpoint: Checkpoint = without_checkpoint
) -> xarray.Dataset:
    """Fit spaces and codes to one half of the stamps; rank the other half, and predict it from its quarters."""
    try:
        found = stamps.stamps(LANGUAGES, spoken=SPOKEN)[: config.stamps]
        vectors = word_vectors.load()
    except word_vectors.MissingDataError as error:
        return xarray.Dataset(attrs={"skipped": str(error)})
    points, left_out = checkpoint("features", _features, config, found, vectors), ""
    try:
        sounds.require_decoder()
        points |= checkpoint("recordings", _recordings, found)
    except word_vectors.MissingDataError as error:
        left_out = str(error)
    splits = [
        checkpoint(f"split-{index}", _split, config, jax.random.fold_in(key, index), points)
        for index in range(config.splits)
    ]
    numbers = {name: np.stack([split[name] for split in splits]) for name in splits[0]}
    dataset = _dataset(config, numbers, list(_pairs(points)), len(found) - len(found) // 2)
    return dataset.assign_attrs(left_out=left_out)


def _features(
    config: Config, found: list[stamps.Stamp], vectors: word_vectors.WordVectors
) -> Points:
    """Features that are the same for every split: nothing is fitted here."""
    shown = stamps.pixels([stamp.picture for stamp in found], _SIDE)
    block = _SIDE // _COARSE
    coarse = shown.reshape(-1, _COARSE, block, _COARSE, block, 3).mean(axis=(2, 4)) / 255
    texts = {
        language: [stamp.texts[language] for stamp in found]
        for language in (stamps.ENGLISH, *LANGUAGES)
    }
    return {
        "colours": stamps.colour_histograms(shown, _LEVELS),
        "coarse": coarse.reshape(len(found), -1),
        stamps.ENGLISH: vectors.embed(texts[stamps.ENGLISH]),
        **{language: hashed_ngrams(texts[language], config.features) for language in LANGUAGES},
        **{_by_words(language): vectors.embed(texts[language]) for language in WORDS},
    }


def _recordings(found: list[stamps.Stamp]) -> Points:
    """Features of what is said in a stamp."""
    recordings = [stamp.spoken() for stamp in found]
    return {
        f"spoken {language}": sounds.spoken_features([one[language] for one in recordings], _TIMES)
        for language in SPOKEN
    }


def _pairs(points: Points) -> dict[str, tuple[tuple[str, ...], str]]:
    """Return the pairs of modalities that there are features of."""
    there = {*points, PICTURE}
    return {name: pair for name, pair in PAIRS.items() if there.issuperset((*pair[0], pair[1]))}


def _by_words(language: str) -> str:
    """Name the modality of a language by word vectors."""
    return f"{language} by words"


def principal(points: np.ndarray, fitted: np.ndarray, most: int | None = None) -> np.ndarray:
    """Coordinates on the principal axes of the fitted rows, in units in which their total variance is one.

    With all axes nothing is lost for ridge-penalised canonical correlations, whose maps lie in the span of
    the fitted rows; there are then fewer coordinates than rows.
    """
    centred = points - points[fitted].mean(axis=0, dtype=float)
    _, scale, axes = np.linalg.svd(centred[fitted], full_matrices=False)
    found = centred @ axes[: (scale > 1e-6 * scale[0]).sum()][:most].T
    return np.asarray(found / math.sqrt(np.mean(np.sum(found[fitted] ** 2, axis=1))))


def _split(config: Config, key: jax.Array, points: Points) -> dict[str, np.ndarray]:
    """Measure all pairs of modalities on one split; the first axis is that of the pairs."""
    count = len(points["colours"])
    order = np.random.default_rng(np.asarray(jax.random.key_data(key))).permutation(count)
    # Maps are fitted to four tenths of all stamps and chosen on one tenth; the other half is ranked.
    fitted, chosen, ranked = np.split(order, [count * 2 // 5, count // 2])
    axes = dict.fromkeys(("colours", "coarse"), config.picture_features // 2)
    by_words = [_by_words(language) for language in WORDS]
    modalities = {
        name: principal(rows, fitted, axes.get(name))
        for name, rows in points.items()
        if name not in by_words
    }
    modalities[PICTURE] = np.hstack([modalities["colours"], modalities["coarse"]])
    parts, gains = [], {}
    for index, (name, (query, target)) in enumerate(_pairs(points).items()):
        queries, items, training = _embedded(
            [modalities[m] for m in query], modalities[target], fitted, chosen, ranked
        )
        whole = ranking.pair_ranks(queries, items)
        gains[name] = whole.reciprocal_ranks()
        stored = _stored(config, jax.random.fold_in(key, index), queries, items, training)
        error = gains[name].std() / math.sqrt(len(ranked))
        parts.append(
            {
                "whole": gains[name].mean(),
                "whole_error": error,
                **stored,
                **_bands(queries, items, whole),
            }
        )
    extra = np.stack([gains[name] - gains[SINGLE] for name in FUSED])
    return {
        **{name: np.stack([part[name] for part in parts]) for name in parts[0]},
        "words": _words(key, points, np.concatenate([fitted, chosen]), ranked),
        "fusion_gain": extra.mean(axis=1),
        "fusion_error": extra.std(axis=1) / math.sqrt(len(ranked)),
    }


def _words(key: jax.Array, points: Points, fitted: np.ndarray, ranked: np.ndarray) -> np.ndarray:
    """MRR by word vectors of every language and each of `SYSTEMS`, shape (languages, systems)."""
    found = []
    for language in WORDS:
        fit, rank = (
            retrieval_task(points[_by_words(language)][rows], points[stamps.ENGLISH][rows])
            for rows in (fitted, ranked)
        )
        report = measure_embeddings(
            key, rank, (WORD_BITS,), systems=SYSTEMS[2:], fit=fit, space="shared canonical"
        )
        mrr = dict(zip(report.lines, report.values("mrr"), strict=True))
        found.append([mrr[name] for name in SYSTEMS])
    return np.array(found)


def _embedded(
    modalities: list[np.ndarray],
    targets: np.ndarray,
    fitted: np.ndarray,
    chosen: np.ndarray,
    ranked: np.ndarray,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Queries and items that are ranked, and items to train codes on, in a space of canonical correlations.

    Two modalities are set side by side. The weight of the first and the penalty are those under which the
    chosen pairs rank best.
    """
    best, found = -math.inf, None
    for weight in _WEIGHTS if len(modalities) == 2 else (1.0,):
        first, *others = modalities
        x = principal(np.hstack([weight * first, *others]), fitted)
        held_back = x[chosen], targets[chosen]
        canonical, *_ = variables(
            retrieval_task(x[fitted], targets[fitted]), retrieval_task(*held_back), "inner product"
        )
        space = canonical.space()
        ranks = ranking.pair_ranks(space.queries(held_back[0]), space.items(held_back[1]))
        quality = float(ranks.reciprocal_ranks().mean())
        if quality > best:
            training = space.items(targets[np.concatenate([fitted, chosen])])
            best, found = (
                quality,
                (space.queries(x[ranked]), space.items(targets[ranked]), training),
            )
    assert found is not None
    return found


def _stored(
    config: Config, key: jax.Array, queries: np.ndarray, items: np.ndarray, training: np.ndarray
) -> dict[str, np.ndarray]:
    """MRR of every code, its standard error, and the entropy of the code."""
    makers = (codes.long_product_quantizer, codes.rotated_hash)
    shape = len(CODES), len(config.bits)
    mrr, error, entropy = np.zeros(shape), np.zeros(shape), np.zeros(shape)
    for place in np.ndindex(shape):
        bits = config.bits[place[1]]
        # Signs are no more than the coordinates, of which the space may have few: the hash then stays as it is.
        most = bits if place[0] == 0 else min(bits, training.shape[1])
        code = makers[place[0]](jax.random.fold_in(key, bits), training, most)
        ranks = ranking.pair_ranks(
            code.query_features(queries), code.store(key, items), code.item_features
        )
        gain = ranks.reciprocal_ranks()
        mrr[place], error[place] = gain.mean(), gain.std() / math.sqrt(len(gain))
        entropy[place] = ranks.code_bits
    return {"code_mrr": mrr, "code_error": error, "code_entropy": entropy}


def _bands(
    queries: np.ndarray, items: np.ndarray, whole: ranking.PairRanks
) -> dict[str, np.ndarray]:
    """MRR at many sizes, predicted from each quarter and measured."""
    rows = [predictions.quarter(number, len(items)) for number in range(predictions.PARTS)]
    return predictions.bands([ranking.pair_ranks(queries[r], items[r]) for r in rows], whole)


def _dataset(
    config: Config, numbers: dict[str, np.ndarray], pairs: list[str], M: int
) -> xarray.Dataset:
    """Name all axes, and add the converse for any code and any data."""
    measured_at, predicted_at = predictions.log2_sizes(M)
    bits = np.array(config.bits, float)
    stored, predicted = ("pair", "code", "bits"), ("pair", "quarter", "predicted_log2_size")
    axes = {
        **dict.fromkeys(("whole", "whole_error"), ("pair",)),
        **dict.fromkeys(("code_mrr", "code_error", "code_entropy"), stored),
        **dict.fromkeys(("value", "lower", "upper"), predicted),
        "measured": ("pair", "quarter", "measured_log2_size"),
        **dict.fromkeys(("fusion_gain", "fusion_error"), ("fused",)),
        "words": ("language", "system"),
    }
    one, unit = {"units": "1"}, {"units": "bits"}
    best = 1 - np.asarray(limits.rank_loss(math.log2(M), LOSS, rate=bits).lower)
    codebook = 1 - np.asarray(limits.codebook_loss(math.log2(M), LOSS, bits=bits, items="given"))
    return xarray.Dataset(
        {
            **{
                name: (("split", *dims), numbers[name], unit if name == "code_entropy" else one)
                for name, dims in axes.items()
            },
            "converse": ("bits", best, one),
            "codebook_converse": ("bits", codebook, one),
            "random_order": ((), random_order_mrr(math.log2(M)), one),
        },
        coords={
            "pair": pairs,
            "fused": list(FUSED),
            "code": list(CODES),
            "language": list(WORDS),
            "system": list(SYSTEMS),
            "bits": ("bits", bits, {"units": "bits per item"}),
            "measured_log2_size": ("measured_log2_size", measured_at, unit),
            "predicted_log2_size": ("predicted_log2_size", predicted_at, unit),
        },
        attrs={"database": M, "part": M // predictions.PARTS},
    )


def checks(dataset: xarray.Dataset) -> list[Check]:
    """Check that no code beats the converse, that bands hold what was measured, and what helps few real texts."""
    if "skipped" in dataset.attrs:
        return [
            Claim(claim).exact.at_most("skipped: the data are missing", 0, 0) for claim in CLAIMS
        ]
    size = math.log2(dataset.attrs["database"])
    needed = limits.rank_rate(size, LOSS, distortion=1 - dataset.code_mrr.values).lower
    by_words = dict(zip(SYSTEMS, dataset.words.mean(("split", "language")).values, strict=True))
    return [
        C4.exact.at_most(
            "rank rate of the measured MRR less the entropy of the stored codes, largest, bits",
            np.max(np.asarray(needed) - dataset.code_entropy.values),
            1e-9,
        ),
        C4.exact.at_most(
            "measured MRR less the converse at the stored bits, largest",
            (dataset.code_mrr - dataset.converse).max(),
            1e-9,
        ),
        C27.exact.at_most(
            "measured MRR less the converse of one codebook of as many bits, largest",
            (dataset.code_mrr - dataset.codebook_converse).max(),
            1e-9,
        ),
        predictions.coverage(dataset, 0.9),
        C29.monte_carlo.at_most(
            "texts by word vectors, mean over languages: MRR as given less that of vectors centred by language",
            by_words["as given"] - by_words["centred"],
            0.0,
        ),
        C29.monte_carlo.at_most(
            f"the same texts at {WORD_BITS} bits in one space: MRR of the product quantizer less that of the water-filled "
            "transform code",
            by_words["rotated PQ"] - by_words["transform code, shared"],
            0.0,
        ),
        *_read_out(dataset),
    ]


def _read_out(dataset: xarray.Dataset) -> list[Check]:
    """Check that recordings find the words that they say, where there is a decoder."""
    if dataset.attrs["left_out"]:
        return []
    heard = dataset.sel(pair=list(READ_OUT)).mean("split")
    return [
        C4.monte_carlo.at_most(
            "MRR of a random ranking less that of recordings as queries for the words that they say, less three "
            "standard errors of one half, largest",
            (dataset.random_order - (heard.whole - 3 * heard.whole_error)).max(),
            0.0,
        )
    ]
