"""The public functions that compute long: a small call of each, with junk for every argument."""

import math
from typing import Any, Final

import jax
import numpy as np
from flax import nnx
from fuzz_junk import (
    HUGE,
    UNRELATED,
    Argument,
    Call,
    anywhere,
    array,
    count,
    grid,
    key,
    law,
    loss,
    losses,
    number,
    one_of,
    points,
    positive,
    spoiled,
    table,
    thing,
)
from test_fuzz import HAMMING, HAMMING_2, ITEMS, JOINT, KEY, MIXTURE, PMF, RANDOM, VQ

from rdsim import codes, learning, sources
from rdsim.simulation import Decoder


def unchanged(parameters: Any, values: Any) -> Any:
    del parameters
    return values


def flat(parameters: Any, queries: Any) -> Any:
    del parameters
    return queries.reshape(*queries.shape[:-2], -1)


def products(codewords: Any, queries: Any) -> Any:
    return codewords @ queries[0]


def share(key: Any, arguments: Any) -> Any:
    return jax.random.uniform(key) * arguments


CHANNEL: Final = np.array([[0.8, 0.2], [0.3, 0.7]])
CHANNELS: Final = np.stack([CHANNEL, CHANNEL])
COUNTS: Final = np.array([[[3.0, 1.0], [2.0, 4.0]]] * 2)
MULTIMODAL: Final = sources.multimodal([0.5, 0.5], [CHANNEL, CHANNEL])
DISCRETE: Final = sources.discrete(JOINT)
GAUSSIAN: Final = sources.gaussian(0.8)
LINE_CODE: Final = codes.uniform_scalar_quantizer(ITEMS[:, :1], 2)
GRID: Final = MIXTURE.discretise_item(4)
DECODER: Final = Decoder(products, VQ.codewords)
SAMPLES: Final = np.random.default_rng(2).normal(size=40)
BATCHES: Final = -1 - np.random.default_rng(3).random((3, 4, 4))
SCORES: Final = np.random.default_rng(4).normal(size=(6, 2, 3))
TARGET: Final = np.array([0, 1, 2, 0, 1, 0])
SIZES: Final = np.array([10.0, 20.0, 40.0, 80.0])
MEANS: Final = np.array([1.0, 2.1, 3.9, 8.2])
TRIALS: Final = MEANS * (1 + 0.1 * np.random.default_rng(5).random((12, 4)))

SCHEDULE: Final = learning.Schedule(steps=2, check_every=1)
CODE_LEARNER: Final = learning.StochasticCodeLearner(
    item_dimension=2, query_dimension=2, codewords=4, hidden=(4,)
)
PAIR_LEARNER: Final = learning.InfoNCELearner(query_size=2, item_size=2, hidden=(4,))
NEURAL: Final = CODE_LEARNER.build(nnx.Rngs(0))
ENCODER: Final = PAIR_LEARNER.build(nnx.Rngs(0))
HASH: Final = learning.HashLearner(query_size=2, item_size=2, supervised=False).build(nnx.Rngs(0))
LETTERS: Final = learning.letter_table(DISCRETE)
DRAWN: Final = learning.item_pairs(KEY, MIXTURE, 32, 8)
PAIRS: Final = np.random.default_rng(6).normal(size=(64, 3))
SPLIT: Final = learning.split_pairs(KEY, PAIRS, PAIRS[::-1].copy())
RANKS: Final = learning.pair_ranks(PAIRS, PAIRS)
SQUARE: Final = np.random.default_rng(7).normal(size=(4, 4))


def fit(**more: Argument) -> Call:
    """What every family of learned systems takes."""
    return {
        "key": key(),
        "source": thing(MIXTURE, GAUSSIAN, DISCRETE),
        "bits": Argument(
            (2,), (*UNRELATED, 2, (), (0,), (-1,), (1.5,), (math.nan,), ("x",), (None,), (HUGE,))
        ),
        "schedule": thing(
            SCHEDULE,
            learning.Schedule(steps=0),
            learning.Schedule(peak_rate=math.nan),
            learning.Schedule(clip=0.0),
            learning.Schedule(patience=0),
        ),
        "training": count(32, 0, 1),
        **more,
    }


def checkpoint() -> Argument:
    return Argument(None, (3, [], object(), 1j))


def to_a_width() -> Call:
    """The other way to stop a run of trials."""
    return {
        "target_width": positive(0.5, 0.0),
        "cap": count(4, 0, 1),
        "devices": Argument(jax.devices(), ("x", [], 3, object(), [None])),
        "checkpoint": checkpoint(),
    }


# By name, and what more there is to say where one call cannot spoil all arguments.
CASES: Final[dict[str, Call]] = {
    "retrieval.information_density_scores": {
        "source": thing(MULTIMODAL, GAUSSIAN, DISCRETE),
        "queries": anywhere(array([0, 1], [0, 2], [-1, 0], [0.5, 0.0]), "axes"),
        "channel": law(np.eye(2)),
        "modalities": Argument([0, 1], ("x", [], [0, 0], [0, 2], [-1, 0], [0.5, 1], object(), 1j)),
    },
    "retrieval.information_density_scores of a mixture": {
        "source": thing(MIXTURE, GAUSSIAN, DISCRETE, MULTIMODAL),
        "queries": anywhere(points([[0.1, 0.2]]), "axes"),
        "channel": law(np.full((16, 3), 1 / 3)),
        "points": points(GRID.points),
        "masses": law(GRID.masses),
    },
    "retrieval.fit_temperatures": {
        "scores": points(SCORES),
        "target": array(TARGET, TARGET + 1, TARGET - 1, TARGET + 0.5),
        "competitor": law(PMF),
        "tolerance": positive(1e-6, 0.0),
    },
    "retrieval.search_temperatures": {
        "scores": points(SCORES),
        "target": array(TARGET, TARGET + 1, TARGET - 1, TARGET + 0.5),
        "competitor": law(PMF),
        "log2_size": positive(4.0, 0.0, math.inf, 1e300),
        "loss": loss("error"),
        "start": points([1.0, 2.0], [1.0, 0.0], [-1.0, 1.0]),
        "decades": positive(1.0, 0.0, math.inf),
        "points": count(3, 0, 1, 2),
        "rounds": count(1, 0),
    },
    "limits.continuous_rate_distortion": {
        "points": anywhere(points(SAMPLES[:4]), "axis"),
        "weights": law(np.full(4, 0.25)),
        "slopes": grid([1.0], [-1.0], [math.inf]),
        "tolerance": positive(1e-6, 0.0),
    },
    "limits.information_bottleneck": {
        "joint": law(JOINT),
        "slopes": grid([0.5], [-1.0], [0.0], [1.0], [math.inf]),
        "tolerance": positive(1e-6, 0.0),
        "method": one_of("auto"),
        "starts": count(2),
        "key": key(),
    },
    "limits.minimax_rate": {
        "p0": law(PMF),
        "d": table(HAMMING, spoiled(HAMMING, math.inf)),
        "divergence": positive(0.1),
        "distortion": positive(0.3),
        "tolerance": positive(1e-4, 0.0),
    },
    "limits.retrieval_bounds": {
        "source": Argument(
            JOINT, (*UNRELATED, 3, -JOINT, 2 * JOINT, JOINT * math.nan, JOINT[0], MIXTURE)
        ),
        "log2_size": positive(4.0, 0.0, math.inf, [2.0, 3.0]),
        "n": count(2, 0),
        "loss": loss("error"),
        "distortion": grid([0.5], [-0.1], [1.5]),
        "rounds": count(1),
        "levels": count(8, 0),
        "tolerance": positive(1e-6, 0.0),
    },
    "limits.self_consistent": {
        "joint": law(JOINT),
        "slope": positive(2.0, 0.0, math.inf),
        "log2_size": positive(4.0, 0.0, math.inf, [2.0, 3.0]),
        "loss": loss("error"),
        "letters": count(3, 0, 1),
        "starts": count(2, 0),
        "key": key(),
        "damping": positive(0.5, 1.0, math.inf),
        "tolerance": positive(1e-6, 0.0),
        "max_iterations": count(20, 0),
    },
    "limits.successive_refinement": {
        "p": law(PMF),
        "d": table(HAMMING, spoiled(HAMMING, math.inf)),
        "coarse": positive(0.3, 0.1),
        "fine": positive(0.1, 0.3, math.inf),
    },
    "limits.worst_mismatched_rate": {
        "p0": law(PMF),
        "d": table(HAMMING, spoiled(HAMMING, math.inf)),
        "q": law(PMF),
        "divergence": positive(0.1),
        "distortion": positive(0.3),
        "tolerance": positive(1e-4, 0.0),
    },
    "limits.wyner_ziv_at": {
        "joint": law(JOINT),
        "d": table(HAMMING_2),
        "distortion": anywhere(positive(0.1), "none"),
        "tolerance": positive(1e-4, 0.0),
    },
    "limits.finite_blocklength.discrete": {
        "p": law(PMF),
        "d": table(HAMMING),
        "distortion": positive(0.2, [0.1, 0.2]),
        "excess_probability": positive(0.1, 0.0, 1.0, math.inf),
        "block_lengths": Argument([4], (*UNRELATED, [1.5], [0], [-1], [math.nan], [HUGE], "4")),
        "step": positive(1.0, 0.0, math.inf),
    },
    "codes.discrete_ensemble": {
        "code": thing(RANDOM, VQ, MIXTURE),
        "log2_size": positive(4.0, 0.0, math.inf, 1e300),
        "loss": loss("error"),
    },
    "codes.entropy_constrained_quantizer": {
        "key": key(),
        "items": points(ITEMS),
        "words": count(3, 0),
        "slope": positive(1.0, 0.0, math.inf),
        "starts": count(1, 0),
        "iterations": count(3, 0),
    },
    "codes.entropy_constrained_quantizer by rate": {
        "key": key(),
        "items": points(ITEMS),
        "words": count(3, 0),
        "rate": positive(1.0, 0.0, math.inf),
    },
    "codes.entropy_weighted_quantizer by rate": {
        "items": points(ITEMS),
        "rate": positive(1.0, 0.0, math.inf),
    },
    "codes.entropy_weighted_quantizer": {
        "items": points(ITEMS),
        "codewords": points(ITEMS[:5]),
        "slope": positive(1.0, 0.0, math.inf),
        "masses": law(np.full(24, 1 / 24)),
        "distortion": Argument(codes.squared_error, (*UNRELATED, 3, math.nan)),
        "tolerance": positive(1e-4, 0.0),
    },
    "simulation.density_decoder": {
        "source": thing(MIXTURE, GAUSSIAN, DISCRETE),
        "code": thing(VQ, LINE_CODE, MIXTURE),
        "item": thing(GRID, ITEMS, MIXTURE),
        "modalities": Argument([0], ("x", [], [0, 0], [1], [-1], [0.5], object(), 1j)),
    },
    "simulation.importance_loss": {
        "key": key(),
        "joint": law(JOINT),
        "encoder": law(CHANNEL),
        "n": count(2, 0),
        "log2_size": positive(4.0, 0.0, math.inf),
        "loss": loss("error"),
        "trials": count(4, 0, 1),
        "confidence": positive(0.9, 0.0, 1.0, math.inf),
    },
    "simulation.importance_tail": {
        "key": key(),
        "values": array([[0.0, 1.0]]),
        "pmf": law([[0.7, 0.3]]),
        "counts": Argument([5], (*UNRELATED, [1.5], [-1], [math.nan], [2, 3])),
        "threshold": number(4.0),
        "trials": count(4, 0, 1),
        "confidence": positive(0.9, 0.0, 1.0, math.inf),
    },
    "simulation.run_trials": {
        "trial": Argument(share, (*UNRELATED, 3)),
        "key": key(),
        "arguments": Argument(0.5, ("x", object())),
        "trials": count(4, 0),
        "confidence": positive(0.9, 0.0, 1.0, math.inf),
        "bounds": Argument({"value": (0, 1)}, ("x", [1], {"other": (0, 1)}, {"value": (1, 0)}, 3)),
        "settings": one_of("single"),
        "block": count(4, 0),
        "chunk": count(1, 0),
        "devices": Argument(jax.devices(), ("x", [], 3, object(), [None])),
        "checkpoint_seconds": positive(1.0),
    },
    "simulation.run_trials to a width": {
        "trial": Argument(share, (*UNRELATED, 3)),
        "key": key(),
        "arguments": Argument(0.5, ("x", object())),
        **to_a_width(),
    },
    "simulation.simulate_database": {
        "key": key(),
        "joint": law(JOINT),
        "test_channel": law(CHANNEL),
        "n": count(2, 0),
        "log2_size": positive(2.0, 0.0, math.inf, 64.0),
        "losses": losses("error"),
        "scores": points(SQUARE[:2, :2]),
        "words": count(2, 0),
        "distortion": points(HAMMING_2),
        "block": count(2, 0),
        "trials": count(2, 0),
    },
    "simulation.simulate_ensemble": {
        "key": key(),
        "code": thing(RANDOM, VQ, MIXTURE),
        "log2_size": positive(4.0, 0.0, math.inf),
        "losses": Argument("error", (*UNRELATED, 3, [], ["x"], [("miss", 0)], [None])),
        "competitor": one_of("exact"),
        "levels": count(8, 0),
        "trials": count(2, 0),
        "confidence": positive(0.9, 0.0, 1.0, math.inf),
        "block": count(2, 0),
        "chunk": count(1, 0),
    },
    "simulation.simulate_ensemble to a width": {
        "key": key(),
        "code": thing(RANDOM, VQ, MIXTURE),
        "log2_size": positive(4.0, 0.0, math.inf),
        **to_a_width(),
    },
    "simulation.simulate_item_code": {
        "key": key(),
        "source": thing(MIXTURE, GAUSSIAN, DISCRETE),
        "code": thing(VQ, LINE_CODE, MIXTURE),
        "decoders": Argument({"own": DECODER}, ("x", [], {}, 3, {"own": 3}, {"own": products})),
        "competitor": law(np.full(4, 0.25)),
        "log2_size": positive(4.0, 0.0, math.inf),
        "losses": losses("error"),
        "modalities": Argument([0], ("x", [], [0, 0], [1], [-1], [0.5], object(), 1j)),
        "trials": count(2, 0),
    },
    "simulation.simulate_shared_codebook": {
        "key": key(),
        "joint": law(JOINT),
        "test_channel": law(CHANNEL),
        "distortion": points(HAMMING_2),
        "n": count(2, 0),
        "rate": positive(1.0, math.inf, 1e300),
        "log2_size": positive(2.0, 0.0, math.inf, 64.0),
        "queries": count(2, 0, 1),
        "codebooks": count(1, 0),
        "slope": positive(1.0),
        "memory_budget": count(2**20, 0),
        "checkpoint": checkpoint(),
        "checkpoint_seconds": positive(1.0),
    },
    "finite_sample.continuous_sandwich": {
        "samples": anywhere(points(SAMPLES), "axis"),
        "slopes": array([1.0], [0.0], [-1.0], [math.inf]),
        "box": Argument((-9.0, 9.0), ("x", [], 3.0, (9.0, -9.0), (math.nan, 9.0), (0.0, 0.1), 1j)),
        "confidence": positive(0.9, 0.0, 1.0, math.inf),
        "training_share": positive(0.5, 0.0, 1.0, math.inf),
        "max_atoms": count(8, 0),
    },
    "finite_sample.decoder_information": {
        "log_ratios": points(SAMPLES),
        "bounds": Argument((-9.0, 9.0), ("x", [], 3.0, (9.0, -9.0), (math.nan, 9.0), (0.0, 0.1))),
        "confidence": positive(0.9, 0.0, 1.0, math.inf),
    },
    "finite_sample.excess_law": {
        "p": law(PMF),
        "d": table(HAMMING),
        "slope": positive(2.0, 0.0, math.inf),
        "resolution": positive(1e-6, 0.0, 1.0),
    },
    "finite_sample.fit_exponent": {
        "x": anywhere(points(SIZES, -SIZES, 0 * SIZES), "axis"),
        "y": points(MEANS, -MEANS, 0 * MEANS),
        "y_error": points(0.1 * MEANS, -MEANS, 0 * MEANS),
        "key": key(),
        "resamples": count(100, 0, 1),
        "confidence": positive(0.9, 0.0, 1.0, math.inf),
    },
    "finite_sample.fit_exponent_of_trials": {
        "x": anywhere(points(SIZES, -SIZES, 0 * SIZES), "axis"),
        "trials": points(TRIALS, -TRIALS, 0 * TRIALS),
        "key": key(),
        "resamples": count(100, 0, 1),
        "confidence": positive(0.9, 0.0, 1.0, math.inf),
    },
    "finite_sample.learned_retrieval": {
        "py": law([0.5, 0.5]),
        "channels": law(CHANNELS),
        "item_counts": points([4.0, 6.0], [-4.0, 6.0], [4.0, 7.0]),
        "query_counts": points(COUNTS, -COUNTS, COUNTS[:1]),
        "d": table(HAMMING_2),
        "slope": positive(2.0, 0.0, math.inf),
        "log2_size": positive(4.0, 0.0, math.inf, [2.0, 3.0]),
        "active": Argument([True, False], ("x", [], [True], [[True, False]], object(), 1j)),
    },
    "finite_sample.leave_one_out_information": {
        "log_densities": points(BATCHES),
        "bounds": Argument((-9.0, 9.0), ("x", [], 3.0, (9.0, -9.0), (math.nan, 9.0), (0.0, 0.1))),
        "confidence": positive(0.9, 0.0, 1.0, math.inf),
    },
    "finite_sample.plug_in_excess": {
        "key": key(),
        "p": law(PMF),
        "d": table(HAMMING),
        "slope": positive(2.0, 0.0, math.inf),
        "samples": Argument([10], (*UNRELATED, [1.5], [0], [-1], [math.nan], [HUGE])),
        "replications": count(4, 0, 1),
        "tolerance": positive(1e-9, 0.0),
        "block": count(4, 0),
        "devices": Argument(jax.devices(), ("x", [], 3, object(), [None])),
    },
    "learning.canonical_systems": {
        "key": key(),
        "embed_items": thing((unchanged, None), unchanged, (unchanged,), (3, None)),
        "embed_queries": thing((flat, None), flat, (flat,), (3, None)),
        "sample": thing(DRAWN.sample[:2], DRAWN.sample[0], (DRAWN.sample[0], math.nan)),
        "bits": fit()["bits"],
        "regularisation": positive(0.1, math.inf),
    },
    "learning.contrastive_information": {
        "query_features": points(PAIRS, PAIRS[:-1]),
        "item_features": points(PAIRS, PAIRS[:-1]),
        "confidence": positive(0.9, 0.0, 1.0, math.inf),
    },
    "learning.discrete_code": {
        "model": thing(NEURAL, ENCODER, VQ),
        "source": thing(DISCRETE, MIXTURE, sources.discrete(np.full((3, 2), 1 / 6))),
    },
    "learning.distillation_loss": {
        "student": points(SQUARE),
        "teacher": points(SQUARE),
        "temperature": positive(2.0, 0.0, math.inf),
    },
    "learning.draw_batch": {
        "key": key(),
        "sample": thing(DRAWN.sample, DRAWN.sample[:2], DRAWN.sample[0]),
    },
    "learning.embedded_code": {
        "embed": Argument(unchanged, (*UNRELATED, 3)),
        "parameters": Argument(None, ()),
        "code": thing(VQ, MIXTURE),
        "items": points(ITEMS),
    },
    "learning.embedding_gap": {
        "key": key(),
        "pairs": thing(SPLIT, PAIRS, (PAIRS, PAIRS)),
        "bits": Argument([2], (*UNRELATED, [], [0], [-1], [1.5], [math.nan], [3, 2], [HUGE])),
        "cutoffs": Argument((1,), (*UNRELATED, 3, (0,), (-1,), (1.5,), (HUGE,), (math.nan,))),
        "most_queries": count(8, 0, 1),
        "slope": positive(0.01, math.inf),
        "schedule": fit()["schedule"],
        "confidence": positive(0.9, 0.0, 1.0, math.inf),
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
    "learning.gaussian_code_point": {
        "source": thing(GAUSSIAN, MIXTURE, DISCRETE),
        "code": thing(LINE_CODE, VQ, MIXTURE),
        "cells": count(8, 0, 1),
        "tolerance": positive(1e-3, 0.0),
    },
    "learning.gaussian_code_points": {
        "source": thing(GAUSSIAN, MIXTURE, DISCRETE),
        "codes": Argument([LINE_CODE], (*UNRELATED[:2], 3, LINE_CODE, [VQ], [MIXTURE], [None])),
        "cells": count(8, 0, 1),
        "tolerance": positive(1e-3, 0.0),
    },
    "learning.group_words": {"bits": count(6, 0), "group_bits": count(4, 0)},
    "learning.hashing_system": {
        "model": thing(HASH, NEURAL, VQ),
        "items": points(ITEMS),
        "bits": count(2, 0, 9),
    },
    "learning.info_nce_loss": {"scores": points(SQUARE, SQUARE[:2])},
    "learning.information_bounds": {
        "model": thing(NEURAL, ENCODER, VQ),
        "batch": thing(LETTERS, LETTERS[0], DRAWN.sample),
        "chosen": points(np.full((4, 4), 0.25)),
    },
    "learning.item_pairs": {
        "key": key(),
        "source": thing(MIXTURE, GAUSSIAN, DISCRETE),
        "training": count(4, 0, 1),
        "held_out": count(4, 0, 1),
    },
    "learning.learned_decoder": {
        "model": thing(NEURAL, ENCODER, VQ),
        "modalities": Argument([0], ("x", [], [0, 0], [1], [-1], [0.5], object(), 1j)),
    },
    "learning.letter_table": {"source": thing(DISCRETE, MIXTURE)},
    "learning.log_overlap": {
        "mean": anywhere(points([0.0, 1.0]), "axes", "axis", "number"),
        "precision": anywhere(
            points([2.0, 3.0], [-1.0, 2.0], [0.5, 2.0]), "axes", "axis", "number"
        ),
        "other_mean": anywhere(points([0.0, 1.0]), "axes", "axis", "number"),
        "other_precision": anywhere(
            points([2.0, 3.0], [-1.0, 2.0], [0.0, 2.0]), "axes", "axis", "number"
        ),
    },
    "learning.long_hyperplane_hash": {"key": key(), "items": points(ITEMS), "bits": count(3, 0)},
    "learning.long_product_quantizer": {
        "key": key(),
        "items": points(ITEMS),
        "bits": count(3, 0),
        "starts": count(1, 0),
        "iterations": count(3, 0),
    },
    "learning.neural_item_code": {
        "model": thing(NEURAL, ENCODER, VQ),
        "items": points(ITEMS),
        "masses": law(np.full(24, 1 / 24)),
    },
    "learning.operating_point": {
        "key": key(),
        "source": thing(MIXTURE, GAUSSIAN, DISCRETE),
        "code": thing(VQ, LINE_CODE, MIXTURE),
        "decoder": thing(DECODER, products),
        "log2_size": positive(4.0, 0.0, math.inf),
        "losses": losses("error"),
        "trials": count(2, 0),
        "cells": count(8, 0, 1),
        "modalities": Argument([0], ("x", [], [0, 0], [1], [-1], [0.5], object(), 1j)),
    },
    "learning.pair_ranks": {
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
    "learning.product_of_experts": {
        "means": anywhere(points(SQUARE), "axes"),
        "precisions": anywhere(points(np.ones((4, 4)), -np.ones((4, 4))), "axes"),
    },
    "learning.quantize_embeddings": {
        "key": key(),
        "embeddings": points(ITEMS),
        "bits": count(2, 0, 13),
        "quantizer": one_of("k-means"),
    },
    "learning.quantized_system": {
        "key": key(),
        "embed_items": thing((unchanged, None), unchanged, (unchanged,), (3, None)),
        "embed_queries": thing((flat, None), flat, (flat,), (3, None)),
        "items": points(ITEMS),
        "bits": count(2, 0, 13),
        "quantizer": one_of("k-means"),
        "comparison": one_of("distance"),
    },
    "learning.quantized_systems": {
        "key": key(),
        "model": thing(ENCODER, NEURAL, VQ),
        "items": points(ITEMS),
        "bits": fit()["bits"],
        "quantizer": one_of("k-means"),
        "comparison": one_of("distance"),
    },
    "learning.recalls": {"ranks": thing(RANKS, PAIRS), "k": count(3, 0)},
    "learning.reciprocal_ranks": {"ranks": thing(RANKS, PAIRS)},
    "learning.rotated_hash": {"key": key(), "items": points(ITEMS), "bits": count(2, 0, 3)},
    "learning.shared_space": {
        "queries": points(PAIRS),
        "items": points(PAIRS),
        "validate": thing((PAIRS, PAIRS), PAIRS, (PAIRS,), (PAIRS, PAIRS[:-1]), (PAIRS, 3)),
    },
    "learning.sign_code": {"bits": count(3, 0, 9), "coordinates": count(3, 0, 2)},
    "learning.split_pairs": {
        "key": key(),
        "queries": points(PAIRS),
        "items": points(PAIRS),
        "held_out": positive(0.5, 0.0, 1.0, math.inf),
    },
    "learning.total_correlation": {
        "x": points(PAIRS),
        "y": points(PAIRS[::-1]),
        "ridge": positive(0.1, math.inf),
    },
    "learning.train": {
        "key": key(),
        "learner": thing(CODE_LEARNER, ENCODER),
        "draw": Argument(learning.whole_table, (*UNRELATED, 3)),
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
    **{
        f"learning.{name}": fit()
        for name in (
            "fit_cca",
            "fit_cross_attention",
            "fit_deep_cca",
            "fit_distillation",
            "fit_early_fusion",
            "fit_info_nce_product",
            "fit_intermediate_fusion",
            "fit_late_fusion",
            "fit_shared_latent",
            "fit_supervised_hashing",
            "fit_triplet",
            "fit_unsupervised_hashing",
        )
    },
    "learning.fit_adversarial": fit(strength=positive(1.0, math.inf)),
    "learning.fit_info_nce": fit(quantizer=one_of("k-means")),
}

# Takes a second at most, so that what may be valid is tried too.
AFFORDABLE: Final = (
    "finite_sample.decoder_information",
    "finite_sample.fit_exponent",
    "finite_sample.fit_exponent_of_trials",
    "finite_sample.leave_one_out_information",
    "learning.contrastive_information",
    "learning.distillation_loss",
    "learning.info_nce_loss",
    "learning.log_overlap",
    "learning.product_of_experts",
    "learning.total_correlation",
    "learning.triplet_loss",
)
