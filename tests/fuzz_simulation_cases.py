"""Simulation and finite samples: a small call of each public function, with junk for its arguments."""

import math
from typing import Any, Final

import jax
import numpy as np
from fuzz_cases import HAMMING, HAMMING_2, ITEMS, JOINT, MIXTURE, PMF, RANDOM, VQ
from fuzz_junk import (
    HUGE,
    UNRELATED,
    Argument,
    Call,
    anywhere,
    array,
    count,
    distribution,
    key,
    loss,
    losses,
    number,
    one_of,
    points,
    positive,
    table,
    thing,
)
from fuzz_objects import (
    CHANNEL,
    DECODER,
    DISCRETE,
    GAUSSIAN,
    GRID,
    LINE_CODE,
    SAMPLES,
    SQUARE,
    checkpoint,
    options,
    products,
)


def share(key: Any, arguments: Any) -> Any:
    return jax.random.uniform(key) * arguments


CHANNELS: Final = np.stack([CHANNEL, CHANNEL])
COUNTS: Final = np.array([[[3.0, 1.0], [2.0, 4.0]]] * 2)
BATCHES: Final = -1 - np.random.default_rng(3).random((3, 4, 4))
SIZES: Final = np.array([10.0, 20.0, 40.0, 80.0])
MEANS: Final = np.array([1.0, 2.1, 3.9, 8.2])
TRIALS: Final = MEANS * (1 + 0.1 * np.random.default_rng(5).random((12, 4)))


def to_a_width() -> Call:
    """The other way to stop a run of trials."""
    return {
        "target_width": positive(0.5, 0.0),
        "cap": count(4, 0, 1),
        "run": options(),
    }


CASES: Final[dict[str, Call]] = {
    "simulation.density_decoder": {
        "source": thing(MIXTURE, GAUSSIAN, DISCRETE),
        "code": thing(VQ, LINE_CODE, MIXTURE),
        "item": thing(GRID, ITEMS, MIXTURE),
        "modalities": Argument([0], ("x", [], [0, 0], [1], [-1], [0.5], object(), 1j)),
    },
    "simulation.importance_loss": {
        "key": key(),
        "joint": distribution(JOINT),
        "encoder": distribution(CHANNEL),
        "n": count(2, 0),
        "log2_size": positive(4.0, 0.0, math.inf),
        "loss": loss("error"),
        "trials": count(4, 0, 1),
        "run": options(),
        "confidence": positive(0.9, 0.0, 1.0, math.inf),
    },
    "simulation.importance_tail": {
        "key": key(),
        "values": array([[0.0, 1.0]]),
        "probabilities": distribution([[0.7, 0.3]]),
        "counts": Argument([5], (*UNRELATED, [1.5], [-1], [math.nan], [2, 3])),
        "threshold": number(4.0),
        "trials": count(4, 0, 1),
        "run": options(),
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
        "run": options(),
    },
    "simulation.run_trials to a width": {
        "trial": Argument(share, (*UNRELATED, 3)),
        "key": key(),
        "arguments": Argument(0.5, ("x", object())),
        **to_a_width(),
    },
    "simulation.simulate_database": {
        "key": key(),
        "joint": distribution(JOINT),
        "test_channel": distribution(CHANNEL),
        "n": count(2, 0),
        "log2_size": positive(2.0, 0.0, math.inf, 64.0),
        "losses": losses("error"),
        "scores": points(SQUARE[:2, :2]),
        "codebook_size": count(2, 0),
        "distortions": points(HAMMING_2),
        "trials": count(2, 0),
        "confidence": positive(0.9, 0.0, 1.0, math.inf),
        "run": options(),
    },
    "simulation.simulate_database to a width": {
        "key": key(),
        "joint": distribution(JOINT),
        "test_channel": distribution(CHANNEL),
        "n": count(2, 0),
        "log2_size": positive(2.0, 0.0, math.inf, 64.0),
        **to_a_width(),
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
        "run": options(),
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
        "competitor": distribution(np.full(4, 0.25)),
        "log2_size": positive(4.0, 0.0, math.inf),
        "losses": losses("error"),
        "modalities": Argument([0], ("x", [], [0, 0], [1], [-1], [0.5], object(), 1j)),
        "run": options(),
        "confidence": positive(0.9, 0.0, 1.0, math.inf),
        "trials": count(2, 0),
    },
    "simulation.simulate_item_code to a width": {
        "key": key(),
        "source": thing(MIXTURE, GAUSSIAN, DISCRETE),
        "code": thing(VQ, LINE_CODE, MIXTURE),
        "decoders": Argument({"own": DECODER}, ("x", [], {}, 3, {"own": 3}, {"own": products})),
        "competitor": distribution(np.full(4, 0.25)),
        "log2_size": positive(4.0, 0.0, math.inf),
        "losses": losses("error"),
        **to_a_width(),
    },
    "simulation.simulate_shared_codebook": {
        "key": key(),
        "joint": distribution(JOINT),
        "test_channel": distribution(CHANNEL),
        "distortions": points(HAMMING_2),
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
        "max_codewords": count(8, 0),
    },
    "finite_sample.decoder_information": {
        "log_ratios": points(SAMPLES),
        "bounds": Argument((-9.0, 9.0), ("x", [], 3.0, (9.0, -9.0), (math.nan, 9.0), (0.0, 0.1))),
        "confidence": positive(0.9, 0.0, 1.0, math.inf),
    },
    "finite_sample.excess_distribution": {
        "p": distribution(PMF),
        "distortions": table(HAMMING),
        "slope": positive(2.0, 0.0, math.inf),
    },
    "finite_sample.fit_exponent": {
        "key": key(),
        "x": anywhere(points(SIZES, -SIZES, 0 * SIZES), "axis"),
        "y": points(MEANS, -MEANS, 0 * MEANS),
        "y_error": points(0.1 * MEANS, -MEANS, 0 * MEANS),
        "resamples": count(100, 0, 1),
        "confidence": positive(0.9, 0.0, 1.0, math.inf),
    },
    "finite_sample.fit_exponent of trials": {
        "key": key(),
        "x": anywhere(points(SIZES, -SIZES, 0 * SIZES), "axis"),
        "y": points(TRIALS, -TRIALS, 0 * TRIALS),
        "resamples": count(100, 0, 1),
        "confidence": positive(0.9, 0.0, 1.0, math.inf),
    },
    "finite_sample.learned_retrieval": {
        "p": distribution([0.5, 0.5]),
        "channels": distribution(CHANNELS),
        "item_counts": points([4.0, 6.0], [-4.0, 6.0], [4.0, 7.0]),
        "query_counts": points(COUNTS, -COUNTS, COUNTS[:1]),
        "distortions": table(HAMMING_2),
        "slope": positive(2.0, 0.0, math.inf),
        "log2_size": positive(4.0, 0.0, math.inf, [2.0, 3.0]),
        "active": Argument([True, False], ("x", [], [True], [[True, False]], object(), 1j)),
    },
    "finite_sample.plug_in_excess": {
        "key": key(),
        "p": distribution(PMF),
        "distortions": table(HAMMING),
        "slope": positive(2.0, 0.0, math.inf),
        "samples": Argument([10], (*UNRELATED, [1.5], [0], [-1], [math.nan], [HUGE])),
        "replications": count(4, 0, 1),
        "tolerance": positive(1e-9, 0.0),
        "block": count(4, 0),
        "devices": Argument(jax.devices(), ("x", [], 3, object(), [None])),
    },
}
