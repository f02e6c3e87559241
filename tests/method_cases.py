"""One call of each public method that takes real numbers: class, how it is made, method, arguments.

The object is made by the call of the fuzz tests that stands beside it.
"""

from typing import Any, Final

import numpy as np
from fuzz_cases import ITEMS, KEY

POINTS: Final = ITEMS[:4] + 0.01
SPACE: Final = np.random.default_rng(3).normal(size=(4, 3))
TARGETS: Final = {"rate_at": {"distortion": 0.2}, "distortion_at": {"rate": 0.4}}
"""Both ways in which every curve of a rate is asked."""
SINGLE: Final = POINTS.astype(np.float32)

METHODS: Final[dict[str, tuple[str, dict[str, dict[str, Any]]]]] = {
    "codes.CommonCode": (
        "codes.common_code",
        {"channel": {"items": POINTS}, "encode": {"key": KEY, "items": POINTS}},
    ),
    "codes.EntropyWeightedQuantizer": (
        "codes.entropy_constrained_quantizer",
        {"channel": {"items": POINTS}, "encode": {"key": KEY, "items": POINTS}},
    ),
    "codes.HyperplaneHash": (
        "codes.hyperplane_hashing",
        {
            "hash": {"points": POINTS},
            "channel": {"items": POINTS},
            "encode": {"key": KEY, "items": POINTS},
        },
    ),
    "codes.BinaryHash": (
        "codes.long_hyperplane_hash",
        {
            "store": {"key": KEY, "items": POINTS},
            "query_features": {"queries": POINTS},
            "hamming_features": {"queries": POINTS},
        },
    ),
    "codes.ProductQuantizer": (
        "codes.product_quantizer",
        {
            "channel": {"items": POINTS},
            "encode": {"key": KEY, "items": POINTS},
            "store": {"key": KEY, "items": POINTS},
            "query_features": {"queries": POINTS},
        },
    ),
    "codes.ScalarQuantizer": (
        "codes.uniform_scalar_quantizer",
        {"channel": {"items": POINTS}, "encode": {"key": KEY, "items": POINTS}},
    ),
    "codes.VectorQuantizer": (
        "codes.vector_quantizer",
        {"channel": {"items": POINTS}, "encode": {"key": KEY, "items": POINTS}},
    ),
    "finite_sample.ExcessDistribution": (
        "finite_sample.excess_distribution",
        {
            "mean": {"samples": 100.0},
            "variance": {"samples": 100.0},
            "cdf": {"scaled": [0.5, 2.0]},
            "upper_quantile": {"level": 0.1},
            "kolmogorov_distance": {"scaled": [0.5, 2.0]},
            "samples_needed": {"deviations": 4.0},
        },
    ),
    "finite_sample.IsotropicTwin": (
        "finite_sample.fit_isotropic_twin",
        {
            "loss": {"bits": 4.0, "log2_size": 9.0},
            "converse": {"bits": 4.0, "log2_size": 9.0},
        },
    ),
    "finite_sample.PlugInExcess": ("finite_sample.plug_in_excess", {"mean": {"confidence": 0.9}}),
    "finite_sample.PlugInRate": ("finite_sample.plug_in_rate", {"interval": {"confidence": 0.9}}),
    "finite_sample.RateSandwich": (
        "finite_sample.continuous_sandwich",
        {"lower": {"distortion": 0.3}, "upper": {"distortion": 0.3}},
    ),
    "learning.CanonicalCorrelations": (
        "learning.canonical_correlation_analysis",
        {"variables_x": {"x": POINTS}, "variables_y": {"y": POINTS}},
    ),
    "learning.DiscreteCode": (
        "learning.discrete_code",
        {"loss": {"log2_size": 4.0, "loss": "error"}},
    ),
    "learning.EmbeddedCode": (
        "learning.embedded_code",
        {
            "channel": {"items": POINTS},
            "encode": {"key": KEY, "items": POINTS},
            "embedding": {"items": POINTS},
        },
    ),
    "learning.StackedCode": (
        "learning.stacked_systems",
        {"channel": {"items": POINTS}, "encode": {"key": KEY, "items": POINTS}},
    ),
    "learning.NeuralItemCode": (
        "learning.neural_item_code",
        {"channel": {"items": SINGLE}, "encode": {"key": KEY, "items": SINGLE}},
    ),
    "learning.ProductCode": (
        "learning.product_codes",
        {
            "channel": {"items": SPACE},
            "store": {"key": KEY, "items": SPACE},
            "query_features": {"queries": SPACE},
            "rate": {"items": SPACE},
        },
    ),
    "limits.ConditionalCurve": (
        "limits.conditional_rate_distortion",
        {"rate_at": {"distortion": 0.2}},
    ),
    "limits.Curve": (
        "limits.rate_distortion_curve",
        {"lower": {"at": 0.2}, "upper": {"at": 0.2}},
    ),
    "limits.RateCurve": (
        "limits.rate_distortion_curve",
        TARGETS,
    ),
    "limits.RateDistortionCurve": (
        "limits.rate_distortion_curve",
        TARGETS,
    ),
    "limits.RankPriorCurve": (
        "limits.rank_rate_prior_curve",
        TARGETS,
    ),
    "limits.RankingCodebook": (
        "limits.ranking_codebook",
        TARGETS,
    ),
    "limits.ItemCurve": (
        "limits.joint_retrieval_curve",
        {"loss_at": {"rate": 0.3}},
    ),
    "limits.RetrievalCurve": (
        "limits.retrieval_curve",
        {
            "test_channel": {"slope": 0.1},
        },
    ),
    "limits.finite_blocklength.SecondOrder": (
        "limits.finite_blocklength.binary_hamming_second_order",
        {
            "rate": {"block_length": 50.0, "excess_probability": 0.1},
            "excess_probability": {"block_length": 50.0, "rate": 0.5},
        },
    ),
    "simulation.Estimate": ("simulation.empirical_bernstein", {"covers": {"value": 0.3}}),
    "simulation.RareEstimate": ("simulation.importance_loss", {"covers": {"log_value": -3.0}}),
    "simulation.SharedCodebookRanks": (
        "simulation.simulate_shared_codebook",
        {
            "estimate": {"loss": "dcg", "confidence": 0.9},
            "given_codebook": {"loss": "dcg", "confidence": 0.9},
        },
    ),
    "simulation.SimulatedRanks": (
        "simulation.simulate_dsbs",
        {"estimate": {"loss": "dcg", "confidence": 0.9}},
    ),
    "sources.GaussianMixtureSource": (
        "sources.gaussian_mixture",
        {
            "information_density": {"queries": [[0.3, -0.2]], "item": [0.5, 0.1]},
            "item_entropy": {"tolerance": 1e-6},
            "log_density_item": {"item": [0.5, 0.1]},
            "log_density_joint": {"queries": [[0.3, -0.2]], "item": [0.5, 0.1]},
            "log_density_query": {"queries": [[0.3, -0.2]]},
            "mutual_information": {"tolerance": 1e-6},
        },
    ),
    "sources.SphericalSource": (
        "sources.spherical",
        {"angle_density": {"angle": [0.3, 1.0]}},
    ),
}

NETWORK: Final = (
    "a network of float32, or how it is trained; its loss is differentiated in training"
)
INTERFACE: Final = "says what methods a code has"
EXEMPT_CLASSES: Final = {
    "codes.ItemCode": INTERFACE,
    "embeddings.EmbeddingReport": "holds what was measured; its methods choose among its lines",
    "embeddings.System": "says at which numbers of bits a code is fitted",
    "embeddings.Vectors": "rows of files on the host, chosen by their numbers",
    "codes.StoredCode": INTERFACE,
    "learning.DualEncoderFamily": "its learner is a field, the function that makes what is trained, and no method",
    **{
        f"learning.{name}": NETWORK
        for name in (
            "ContrastiveLearner",
            "DualEncoder",
            "ItemPairs",
            "Learner",
            "NeuralCode",
            "RetrievalCodeLearner",
            "StochasticCodeLearner",
        )
    },
}
