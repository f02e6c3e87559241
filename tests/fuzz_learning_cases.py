"""Learning: a small call of each public function, with junk for every argument."""

import math
from typing import Any, Final

import jax
import numpy as np
from flax import nnx
from fuzz_cases import ITEMS, KEY, MIXTURE, VQ
from fuzz_junk import (
    HUGE,
    UNRELATED,
    Argument,
    Call,
    anywhere,
    count,
    distribution,
    grid,
    key,
    losses,
    number,
    one_of,
    points,
    positive,
    thing,
)
from fuzz_objects import (
    DECODER,
    DISCRETE,
    GAUSSIAN,
    LINE_CODE,
    SQUARE,
    checkpoint,
    options,
    products,
)

from rdsim import embeddings, learning, sources
from rdsim.learning.families.fusion import FusedEncoder
from rdsim.learning.families.hashing import sign_system
from rdsim.learning.families.stored.embedded_codes import embeddings_of


def unchanged(parameters: Any, values: Any) -> Any:
    del parameters
    return values


def remembered(name: str, function: Any) -> Any:
    del name
    return function()


def unshown(stage: str, done: int, total: int) -> None:
    del stage, done, total


def flat(parameters: Any, queries: Any) -> Any:
    del parameters
    return queries.reshape(*queries.shape[:-2], -1)


SCHEDULE: Final = learning.Schedule(steps=2, evaluate_every=1)
CODE_LEARNER: Final = learning.StochasticCodeLearner(
    item_dimension=2, query_dimension=2, codewords=4, hidden=(4,)
)
PAIR_LEARNER: Final = learning.ContrastiveLearner(
    build=learning.architecture(learning.DualEncoder, query_size=2, item_size=2, hidden=(4,))
)
NEURAL: Final = CODE_LEARNER.build(nnx.Rngs(0))
ENCODER: Final = PAIR_LEARNER.build(nnx.Rngs(0))
HASH: Final = learning.DualEncoder(query_size=2, item_size=2, unit=False, rngs=nnx.Rngs(0))
FUSED: Final = FusedEncoder(fusion="late", modalities=1, size=2, rngs=nnx.Rngs(0))
LETTERS: Final = learning.letter_table(DISCRETE)
DRAWN: Final = learning.item_pairs(KEY, MIXTURE, 32, held_out=8)
PAIRS: Final = np.random.default_rng(6).normal(size=(64, 3))
TASK: Final = embeddings.retrieval_task(PAIRS, PAIRS + 0.1)
REPORT: Final = embeddings.measure_embeddings(jax.random.key(0), TASK, [2], systems=("signs",))


def fit(**more: Argument) -> Call:
    """What every family of learned systems takes."""
    return {
        "key": key(),
        "source": thing(MIXTURE, DISCRETE),
        "bits": Argument(
            (2,), (*UNRELATED, 2, (), (0,), (-1,), (1.5,), (math.nan,), ("x",), (None,), (HUGE,))
        ),
        "schedule": thing(
            SCHEDULE,
            learning.Schedule(steps=-1),
            learning.Schedule(learning_rate=math.nan),
            learning.Schedule(clip=0.0),
            learning.Schedule(patience=0),
        ),
        "training": count(32, 0, 1),
        **more,
    }


CASES: Final[dict[str, Call]] = {
    "embeddings.measure_embeddings": {
        "key": key(),
        "task": thing(TASK, PAIRS, (PAIRS, PAIRS)),
        "bits": Argument([2], (*UNRELATED, [], [0], [-1], [1.5], [math.nan], [3, 2], [HUGE])),
        "similarity": one_of("cosine"),
        "space": one_of("as given"),
        "systems": Argument(("signs",), ("x", 3, {}, object(), ("x",), (None,))),
        "learned": Argument((), (3, object(), (0,), (-1,), (1.5,), (math.nan,))),
        "own": Argument(None, ("x", 3, {}, object())),
        "rescore": Argument(4, ("x", -1, 1.5, math.nan, None, object())),
        "held_out": positive(0.5, 0.0, 1.0, math.inf),
        "folds": Argument(2, ("x", 0, 1, -1, 1.5, math.nan, HUGE, object())),
        "fit": Argument(None, ("x", 3, {}, object())),
        "most_queries": count(8, 0, 1),
        "confidence": positive(0.9, 0.0, 1.0, math.inf),
        "checkpoint": Argument(remembered, ("x", 3, {}, object())),
        "progress": Argument(unshown, ("x", 3, {}, object())),
    },
    "embeddings.own_code": {
        "items": count(64, 0, 1),
        "codes": Argument(np.ones((64, 2), np.int8), ("x", 3, {}, object(), np.ones((3, 2)))),
        "decoded": points(PAIRS, PAIRS[:-1]),
        "scores": Argument(None, ("x", 3, object(), np.ones((3, 2)))),
        "bits": Argument(3, ("x", 0, -1, 1.5, math.nan, object())),
        "name": Argument("mine", ()),
    },
    "embeddings.retrieval_task": {
        "queries": points(PAIRS),
        "items": points(PAIRS),
        "targets": Argument(np.arange(64), ("x", object(), [], [0.5] * 64, [99] * 64, [-2] * 64)),
    },
    "embeddings.with_models": {
        "key": key(),
        "report": thing(REPORT, TASK, PAIRS),
        "checkpoint": Argument(remembered, ("x", 3, {}, object())),
        "progress": Argument(unshown, ("x", 3, {}, object())),
    },
    "embeddings.split_task": {
        "key": key(),
        "task": thing(TASK, PAIRS, (PAIRS, PAIRS)),
        "held_out": positive(0.5, 0.0, 1.0, math.inf),
        "folds": Argument(2, ("x", 0, 1, -1, 1.5, math.nan, HUGE, object())),
    },
    "learning.discrete_code": {
        "model": thing(NEURAL, ENCODER, VQ),
        "source": thing(DISCRETE, MIXTURE, sources.discrete(np.full((3, 2), 1 / 6))),
    },
    "learning.embedded_code": {
        "embed": Argument(unchanged, (*UNRELATED, 3)),
        "parameters": Argument(None, ()),
        "code": thing(VQ, MIXTURE),
        "items": points(ITEMS),
    },
    "learning.exact_point": {"source": thing(DISCRETE, MIXTURE)},
    "learning.fitted_models": {
        "key": key(),
        "learner": thing(PAIR_LEARNER, ENCODER),
        "data": thing(DRAWN, DRAWN.sample),
        "schedule": fit()["schedule"],
        "settings": grid([0.0]),
        "starts": count(1, 0),
    },
    "learning.gaussian_code_points": {
        "source": thing(GAUSSIAN, MIXTURE, DISCRETE),
        "codes": Argument([LINE_CODE], (*UNRELATED[:2], 3, LINE_CODE, [VQ], [MIXTURE], [None])),
        "cells": count(8, 0, 1),
        "tolerance": positive(1e-3, 0.0),
    },
    "learning.info_nce_loss": {"scores": points(SQUARE, SQUARE[:2])},
    "learning.item_pairs": {
        "key": key(),
        "source": thing(MIXTURE, DISCRETE),
        "training": count(4, 0, 1),
        "held_out": count(4, 0, 1),
    },
    "learning.learned_decoder": {
        "model": thing(NEURAL, ENCODER, VQ),
        "modalities": Argument([0], ("x", [], [0, 0], [1], [-1], [0.5], object(), 1j)),
    },
    "learning.letter_table": {"source": thing(DISCRETE, MIXTURE)},
    "codes.long_hyperplane_hash": {"key": key(), "items": points(ITEMS), "bits": count(3, 0)},
    "codes.long_product_quantizer": {
        "key": key(),
        "items": points(ITEMS),
        "bits": count(3, 0),
        "starts": count(1, 0),
        "iterations": count(3, 0),
    },
    "learning.neural_item_code": {
        "model": thing(NEURAL, ENCODER, VQ),
        "items": points(ITEMS),
        "masses": distribution(np.full(24, 1 / 24)),
    },
    "learning.operating_point": {
        "key": key(),
        "source": thing(MIXTURE, GAUSSIAN, DISCRETE),
        "code": thing(VQ, LINE_CODE, MIXTURE),
        "decoder": thing(DECODER, products),
        "log2_size": positive(4.0, 0.0, math.inf),
        "losses": losses("error"),
        "trials": count(2, 0),
        "confidence": positive(0.9, 0.0, 1.0, math.inf),
        "run": options(),
        "cells": count(8, 0, 1),
        "modalities": Argument([0], ("x", [], [0, 0], [1], [-1], [0.5], object(), 1j)),
    },
    "ranking.pair_ranks": {
        "query_features": points(PAIRS, np.vstack([PAIRS, PAIRS]), PAIRS[:, :2]),
        "codes": points(PAIRS),
        "item_features": Argument(None, ("x", 3, {}, object())),
    },
    "learning.product_codes": {
        "key": key(),
        "queries": points(PAIRS),
        "items": points(PAIRS),
        "bits": Argument([2], (*UNRELATED, [], [0], [-1], [1.5], [math.nan], [HUGE])),
        "slope": positive(0.01, math.inf),
        "batch": count(8, 0),
        "hidden": count(4, 0),
        "noise": positive(0.3, math.inf),
        "held_out": positive(0.2, 0.0, 1.0),
        "validate": thing((PAIRS, PAIRS), PAIRS, (PAIRS,), (PAIRS, PAIRS[:-1]), (PAIRS, 3)),
        "schedule": fit()["schedule"],
    },
    "learning.quantized_system": {
        "key": key(),
        "embed_items": Argument((unchanged, None), (*UNRELATED, 3, unchanged, (None, unchanged))),
        "embed_queries": Argument((flat, None), (*UNRELATED, 3, flat, (None, flat))),
        "items": points(ITEMS),
        "bits": count(2, 0, HUGE),
        "quantizer": one_of("product"),
        "comparison": one_of("distance"),
    },
    "codes.rotated_hash": {"key": key(), "items": points(ITEMS), "bits": count(2, 0, 3)},
    "learning.array_pairs": {
        "key": key(),
        "queries": anywhere(points(PAIRS, PAIRS[:-1]), "axes", "axis"),
        "items": points(PAIRS, PAIRS[:-1]),
        "classes": Argument(
            np.arange(64) % 3, ("x", {}, object(), np.zeros(64), np.full(64, -2), np.zeros(3, int))
        ),
        "held_out": count(8, 0, 1, 63),
    },
    "learning.held_out_point": {
        "key": key(),
        "system": thing(sign_system(*embeddings_of(HASH), ITEMS, 2), VQ, (VQ,), (VQ, VQ)),
        "queries": anywhere(points(ITEMS[:4], np.vstack([ITEMS, ITEMS])), "axes", "axis"),
        "items": points(ITEMS),
        "losses": losses("error"),
        "confidence": positive(0.9, 0.0, 1.0, math.inf),
    },
    "learning.streamed_codes": {
        "key": key(),
        "batches": points(np.stack([PAIRS, PAIRS + 1.0])),
        "codebook_size": count(4, 0, 65),
        "policy": one_of("grown"),
        "growth": count(2, 0, 65),
    },
    "learning.stacked_systems": {
        "systems": thing(
            (sign_system(*embeddings_of(HASH), ITEMS, 2),),
            VQ,
            [VQ],
            [(VQ, VQ)],
            [(VQ, DECODER)],
            [],
        ),
    },
    "learning.with_hamming": {
        "system": thing(
            sign_system(*embeddings_of(HASH), ITEMS, 2), VQ, (VQ,), (VQ, VQ), (VQ, DECODER)
        ),
    },
    "learning.train": {
        "key": key(),
        "learner": thing(CODE_LEARNER, ENCODER),
        "draw": Argument(learning.whole_data, (*UNRELATED, 3)),
        "data": Argument(LETTERS, ()),
        "held_out": Argument(LETTERS, ()),
        "settings": Argument(np.array([0.5]), ("x", None, [], {}, object(), 0.5, {"a": [1, 2]})),
        "schedule": fit()["schedule"],
        "observe": Argument(learning.exact_point(DISCRETE), ("x", 3, [], {}, object())),
        "checkpoint": checkpoint(),
    },
    "learning.triplet_loss": {
        "scores": points(SQUARE, SQUARE[:2]),
        "margin": number(0.1, math.inf, -math.inf),
        "hardest": Argument(True, ()),
    },
    "learning.fit_family": fit(family=Argument("CCA", ("x", "cca", 3, {}, object(), None))),
    "learning.stored_systems": {
        "key": key(),
        "model": thing(FUSED, ENCODER, VQ),
        "items": points(ITEMS),
        "bits": fit()["bits"],
    },
}
