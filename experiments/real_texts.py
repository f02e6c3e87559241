"""Real texts: words of WordNet as queries for their definitions, predicted at other sizes and by a twin."""

import math
from dataclasses import dataclass
from typing import Final

import jax
import numpy as np
import xarray

from experiments.runner import Check, Checkpoint, Claim, without_checkpoint
from experiments.shared import word_vectors, wordnet
from rdsim import codes, finite_sample, limits, ranking

CLAIMS = ("C1", "C27")
C1, C27 = map(Claim, CLAIMS)
LOSS: Final = "reciprocal_rank"
_ROUNDING: Final = 1e-6
"""Scores of unit vectors in float32 that differ by less are equal but for their rounding."""
_AT_ONCE: Final = 4096  # items whose scores are held in memory at a time


@dataclass(frozen=True)
class Config:
    """What is computed."""

    pairs: int | None = 40_000
    """Pairs of the largest database, drawn at random; all 117,659 by default of the full preset."""
    fitted: int = 2500
    """Pairs of the database on which predictions and twin are fitted; all of its queries are used."""
    bits: tuple[int, ...] = (16, 32, 64, 128)
    """Bits of the product quantizers, trained on definitions that the smaller database does not hold."""
    trained: int = 5000
    """Definitions they are trained on, at most."""


SMOKE = Config(pairs=3000, fitted=200, bits=(8,), trained=400)
QUICK = Config()
FULL = Config(pairs=None, fitted=5000, bits=(8, 16, 32, 64, 128, 256), trained=20_000)


def run(
    config: Config, key: jax.Array, checkpoint: Checkpoint = without_checkpoint
) -> xarray.Dataset:
    """Measure the smaller and the larger database, predict the one from the other, and make the twin."""
    try:
        words, definitions = wordnet.pairs()
        vectors = word_vectors.load()
    except word_vectors.MissingDataError as error:
        return xarray.Dataset(attrs={"skipped": str(error)})
    generator = np.random.default_rng(np.asarray(jax.random.key_data(key)))
    drawn = generator.permutation(len(words))[: config.pairs]
    embedded = checkpoint(
        "vectors",
        _embedded,
        vectors,
        [words[i] for i in drawn],
        [definitions[i] for i in drawn],
    )
    queries, items = embedded["queries"], embedded["items"]
    large = checkpoint("ranks", _ranks, queries[: config.fitted], items)
    return _study(config, key, queries, items, large, checkpoint)


def _embedded(
    vectors: word_vectors.WordVectors, words: list[str], definitions: list[str]
) -> dict[str, np.ndarray]:
    return {"queries": vectors.embed(words), "items": vectors.embed(definitions)}


def _ranks(queries: np.ndarray, items: np.ndarray) -> dict[str, np.ndarray]:
    """Count the items ahead of and level with the target of every query, which is the item of its row."""
    own = np.sum(queries * items[: len(queries)], axis=1)[:, None]
    ahead, tied = (np.zeros(len(queries), np.int64) for _ in range(2))
    for start in range(0, len(items), _AT_ONCE):
        above = queries @ items[start : start + _AT_ONCE].T - own
        ahead += np.sum(above > _ROUNDING, axis=1)
        tied += np.sum(np.abs(above) <= _ROUNDING, axis=1)
    return {"ahead": ahead, "tied": tied}


def _study(
    config: Config,
    key: jax.Array,
    queries: np.ndarray,
    items: np.ndarray,
    large: dict[str, np.ndarray],
    checkpoint: Checkpoint,
) -> xarray.Dataset:
    """Compare all sizes and rates."""
    M, M_large = config.fitted, len(items)
    small = _ranks(queries[:M], items[:M])
    log2_size = np.append(np.arange(3.0, math.log2(M_large)), math.log2(M_large))
    beyond = np.append(log2_size, np.arange(math.ceil(log2_size[-1]) + 1, 31.0))
    predicted = finite_sample.predict_quality(
        small["ahead"], LOSS, competitors=M - 1, tied=small["tied"], log2_size=beyond
    )
    gains = np.stack(
        [
            1
            - ranking.subset_loss(
                large["ahead"],
                LOSS,
                competitors=M_large - 1,
                sampled=round(2**size) - 1,
                tied=large["tied"],
            )
            for size in log2_size
        ]
    )
    dimension = finite_sample.effective_dimension(items[:M])
    twin = finite_sample.fit_isotropic_twin(
        small["ahead"], LOSS, competitors=M - 1, tied=small["tied"], dimension=dimension
    )
    here = math.log2(M)
    stored = [
        checkpoint(f"bits-{bits}", _stored, config, key, queries, items, bits)
        for bits in config.bits
    ]
    bits = np.array(config.bits, float)
    one, unit = {"units": "1"}, {"units": "bits"}
    return xarray.Dataset(
        {
            "measured": ("log2_size", gains.mean(axis=1), one),
            "measured_error": ("log2_size", gains.std(axis=1) / math.sqrt(gains.shape[1]), one),
            **{
                name: ("predicted_log2_size", getattr(predicted, name), one)
                for name in ("value", "lower", "upper")
            },
            "twin_quality": (
                "predicted_log2_size",
                [1 - float(twin.loss(math.inf, log2_size=size)) for size in beyond],
                one,
            ),
            "candidate_prediction": (
                ("candidate", "predicted_log2_size"),
                predicted.predictions,
                one,
            ),
            "candidate_weight": ("candidate", predicted.weight, one),
            **{
                f"code_{name}": ("bits", [part[name] for part in stored], one) for name in stored[0]
            },
            "twin_code": ("bits", 1 - twin.loss(bits, log2_size=here), one),
            "twin_converse": ("bits", 1 - twin.converse(bits, log2_size=here), one),
            # Every item is the target of one query.
            "codebook_converse": (
                "bits",
                1 - np.asarray(limits.codebook_loss(here, LOSS, bits=bits, items="given")),
                one,
            ),
            "whole": ((), twin.quality, one),
        },
        coords={
            "log2_size": ("log2_size", log2_size, unit),
            "predicted_log2_size": ("predicted_log2_size", beyond, unit),
            "candidate": np.array(predicted.candidates),
            "bits": ("bits", bits, {"units": "bits per item"}),
        },
        attrs={
            "fitted": M,
            "largest": M_large,
            "dimension": dimension,
            "method": predicted.method[-1],
        },
    )


def _stored(
    config: Config,
    key: jax.Array,
    queries: np.ndarray,
    items: np.ndarray,
    bits: int,
) -> dict[str, float]:
    """MRR of a product quantizer in the smaller database, with its standard error."""
    M = config.fitted
    code = codes.long_product_quantizer(
        jax.random.fold_in(key, bits), items[M : M + config.trained], bits, starts=1
    )
    digits = code.store(key, items[:M])
    found = ranking.pair_ranks(code.query_features(queries[:M]), digits, code.item_features)
    gains = found.reciprocal_ranks()
    return {"mrr": float(gains.mean()), "error": float(gains.std() / math.sqrt(M))}


def checks(dataset: xarray.Dataset) -> list[Check]:
    """Check that the band holds what was measured, that the twin obeys its converse and that the items do not."""
    if "skipped" in dataset.attrs:
        return [
            Claim(claim).exact.at_most("skipped: the data are missing", 0, 0) for claim in CLAIMS
        ]
    above = dataset.sel(log2_size=dataset.log2_size > math.log2(dataset.attrs["fitted"]) + 1e-9)
    band = dataset.sel(predicted_log2_size=above.log2_size.values)
    # The band holds the expected quality; what is measured has an error of its own.
    slack = 2 * above.measured_error.values
    outside = np.maximum(
        band.lower.values - slack - above.measured.values,
        above.measured.values - slack - band.upper.values,
    )
    last = band.isel(predicted_log2_size=-1)
    factor = dataset.attrs["largest"] / dataset.attrs["fitted"]
    found = [
        C1.monte_carlo.at_most(
            "measured MRR of larger databases outside the band predicted from the smaller one, largest",
            outside.max(),
            0.0,
        ),
        C1.monte_carlo.inside(
            f"measured MRR at {factor:.0f} times the fitted size, in the predicted band",
            above.measured.values[-1],
            float(last.lower) - slack[-1],
            float(last.upper) + slack[-1],
        ),
        C27.closed_form.at_most(
            "MRR of random codes for the isotropic twin above its converse, largest",
            (dataset.twin_code - dataset.twin_converse).max(),
            1e-3,
        ),
        C27.exact.at_most(
            "MRR of a product quantizer above the converse of one codebook of as many bits, largest",
            (dataset.code_mrr - dataset.codebook_converse).max(),
            1e-9,
        ),
    ]
    few = dataset.sel(bits=(dataset.bits >= 16) & (dataset.bits <= 64))
    if few.sizes["bits"]:
        # The converse is a theorem for isotropic items alone: a real code above it refutes that model of them.
        found.append(
            C27.monte_carlo.at_most(
                "the isotropic twin is no model of the items: its converse less the lower end of a product "
                "quantizer's MRR (three standard errors), least over 16 to 64 bits",
                (few.twin_converse - (few.code_mrr - 3 * few.code_error)).min(),
                0.0,
            )
        )
    return found
