"""The public functions that compute long: a small call of each, with junk for every argument."""

import math
from typing import Final

import fuzz_learning_cases
import fuzz_simulation_cases
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
    grid,
    key,
    loss,
    one_of,
    points,
    positive,
    spoiled,
    table,
    thing,
)
from fuzz_objects import CHANNEL, DISCRETE, GAUSSIAN, GRID, SAMPLES

from rdsim import codes, sources

MULTIMODAL: Final = sources.multimodal([0.5, 0.5], [CHANNEL, CHANNEL])
SCORES: Final = np.random.default_rng(4).normal(size=(6, 2, 3))
TARGET: Final = np.array([0, 1, 2, 0, 1, 0])


# By name, and what more there is to say where one call cannot spoil all arguments.
CASES: Final[dict[str, Call]] = {
    "ranking.information_density_scores": {
        "source": thing(MULTIMODAL, GAUSSIAN, DISCRETE),
        "queries": anywhere(array([0, 1], [0, 2], [-1, 0], [0.5, 0.0]), "axes"),
        "channel": distribution(np.eye(2)),
        "modalities": Argument([0, 1], ("x", [], [0, 0], [0, 2], [-1, 0], [0.5, 1], object(), 1j)),
    },
    "ranking.information_density_scores of a mixture": {
        "source": thing(MIXTURE, GAUSSIAN, DISCRETE, MULTIMODAL),
        "queries": anywhere(points([[0.1, 0.2]]), "axes"),
        "channel": distribution(np.full((16, 3), 1 / 3)),
        "points": points(GRID.points),
        "masses": distribution(GRID.masses),
    },
    "ranking.fit_temperatures": {
        "scores": points(SCORES),
        "target": array(TARGET, TARGET + 1, TARGET - 1, TARGET + 0.5),
        "competitor": distribution(PMF),
        "tolerance": positive(1e-6, 0.0),
    },
    "limits.continuous_rate_distortion": {
        "points": anywhere(points(SAMPLES[:4]), "axis"),
        "weights": distribution(np.full(4, 0.25)),
        "slopes": grid([1.0], [-1.0], [math.inf]),
        "tolerance": positive(1e-6, 0.0),
    },
    "limits.information_bottleneck": {
        "joint": distribution(JOINT),
        "slopes": grid([0.5], [-1.0], [0.0], [1.0], [math.inf]),
        "compress": one_of("columns"),
        "tolerance": positive(1e-6, 0.0),
        "method": one_of("auto"),
        "starts": count(2),
        "key": key(),
    },
    "limits.joint_retrieval_curve": {
        "source": Argument(
            JOINT, (*UNRELATED, 3, -JOINT, 2 * JOINT, JOINT * math.nan, JOINT[0], MIXTURE)
        ),
        "loss": loss("error"),
        "slopes": grid([0.1], [0.0], [-0.1], [math.inf]),
        "items": count(2, 0, 1),
        "tolerance": positive(1e-4, 0.0),
    },
    "limits.minimax_rate": {
        "p": distribution(PMF),
        "distortions": table(HAMMING, spoiled(HAMMING, math.inf)),
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
    "limits.retrieval_converse": {
        "source": Argument(sources.gaussian(0.8), (*UNRELATED, 3, JOINT, MIXTURE)),
        "log2_size": positive(4.0, 0.0, math.inf),
        "loss": loss("error"),
        "bits": positive(4.0, math.inf),
        "rate": one_of("fixed_length"),
        "encoder": one_of("shared"),
        "letters": Argument(None, (1.5, 0, -1, "two", 3)),
        "tolerance": positive(1e-4, 0.0),
    },
    "limits.retrieval_curve": {
        "source": Argument(
            JOINT, (*UNRELATED, 3, -JOINT, 2 * JOINT, JOINT * math.nan, JOINT[0], MIXTURE)
        ),
        "log2_size": positive(4.0, 0.0, math.inf, [2.0, 3.0]),
        "loss": loss("error"),
        "slopes": grid([0.1], [0.0], [-0.1], [math.inf]),
        "encoder": one_of("shared"),
        "tolerance": positive(1e-4, 0.0),
    },
    "limits.self_consistent": {
        "joint": distribution(JOINT),
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
        "p": distribution(PMF),
        "distortions": table(HAMMING, spoiled(HAMMING, math.inf)),
        "coarse": positive(0.3, 0.1),
        "fine": positive(0.1, 0.3, math.inf),
    },
    "limits.worst_mismatched_rate": {
        "p": distribution(PMF),
        "distortions": table(HAMMING, spoiled(HAMMING, math.inf)),
        "codebook": distribution(PMF),
        "divergence": positive(0.1),
        "distortion": positive(0.3),
        "tolerance": positive(1e-4, 0.0),
    },
    "limits.wyner_ziv_at": {
        "joint": distribution(JOINT),
        "distortions": table(HAMMING_2),
        "distortion": anywhere(positive(0.1), "none"),
        "compress": one_of("rows"),
        "tolerance": positive(1e-4, 0.0),
    },
    "limits.finite_blocklength.discrete": {
        "p": distribution(PMF),
        "distortions": table(HAMMING),
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
        "codebook_size": count(3, 0),
        "slope": positive(1.0, 0.0, math.inf),
        "starts": count(1, 0),
        "iterations": count(3, 0),
    },
    "codes.entropy_weighted_quantizer": {
        "items": points(ITEMS),
        "codewords": points(ITEMS[:5]),
        "slope": positive(1.0, 0.0, math.inf),
        "masses": distribution(np.full(24, 1 / 24)),
        "distortions": Argument(codes.squared_error, (*UNRELATED, 3, math.nan)),
        "tolerance": positive(1e-4, 0.0),
    },
    **fuzz_simulation_cases.CASES,
    **fuzz_learning_cases.CASES,
}

# Takes a second at most, so that what may be valid is tried too.
AFFORDABLE: Final = (
    "finite_sample.decoder_information",
    "finite_sample.fit_exponent",
    "finite_sample.fit_exponent of trials",
    "learning.info_nce_loss",
    "learning.triplet_loss",
)
