"""Every public function against junk: an error that names an argument, or a valid result, no third.

A case is one call that works. Hypothesis spoils one argument of it at a time. Functions that compute
long are in the other file, with the test that none is forgotten.
"""

import importlib
import inspect
import re
from collections.abc import Iterator
from typing import Any, Final

import hypothesis.strategies as st
import jax
import jaxtyping
import numpy as np
import pytest
from hypothesis import given, settings

from rdsim import codes, sources
from rdsim.certified import Certified

ROOMS: Final = (
    "sources",
    "ranking",
    "limits",
    "limits.closed_forms",
    "limits.finite_blocklength",
    "codes",
    "simulation",
    "finite_sample",
    "learning",
    "embeddings",
)

JOINT = np.array([[0.6, 0.1], [0.06, 0.24]])
PMF = np.array([0.6, 0.3, 0.1])
HAMMING = 1 - np.eye(3)
HAMMING_2 = 1 - np.eye(2)
KEY = jax.random.key(0)
ITEMS = np.random.default_rng(0).normal(size=(24, 2))
MANY = np.random.default_rng(1).normal(size=(48, 2))
SCORES = np.array([[0.1, 0.5, 0.2], [0.3, 0.2, 0.9]])
MIXTURE = sources.gaussian_mixture([0.5, 0.5], [[-1.0, 0.0], [1.0, 0.0]], 0.2, query_noise=[0.1])
CHANNEL = np.array([[0.8, 0.2], [0.3, 0.7]])
PAIR = sources.discrete(JOINT)
VQ = codes.vector_quantizer(KEY, ITEMS, 4, starts=1, iterations=5)
RANDOM = codes.random_code(JOINT, HAMMING_2, n=4, rate=0.5)

# What is called, by room and name; the values of one call that works.
CASES: Final[dict[str, dict[str, Any]]] = {
    "sources.binary_erasure_pair": {"erasure": 0.2},
    "sources.discrete": {"joint": JOINT},
    "sources.dsbs": {"crossover": 0.1},
    "sources.gaussian": {"correlation": 0.8, "variance_x": 1.0, "variance_y": 2.0},
    "sources.gaussian_mixture": {
        "weights": [0.5, 0.5],
        "item_means": [[-1.0, 0.0], [1.0, 0.0]],
        "item_variance": 0.2,
        "gains": 1.0,
        "query_noise": [0.1],
    },
    "sources.gaussian_multimodal": {
        "noise_variances": [0.1, 1.0],
        "common_noise": 0.2,
        "variance": 1.0,
    },
    "sources.multimodal": {"p": [0.5, 0.5], "channels": [CHANNEL, CHANNEL]},
    "sources.projected_normal": {"dimension": 4, "correlation": 0.8},
    "sources.spherical": {"dimension": 4, "concentration": 3.0},
    "sources.symmetric": {"letters": 4, "crossover": 0.1},
    "sources.target_prior": {"p": PMF},
    "sources.vector_gaussian": {
        "covariance_x": np.eye(2),
        "covariance_y": np.eye(2),
        "cross_covariance": 0.5 * np.eye(2),
    },
    "sources.weighted_mean": {"source": MIXTURE, "modalities": [0]},
    "sources.with_changed_queries": {"source": PAIR, "channel": CHANNEL},
    "sources.with_missing": {"source": JOINT, "presence": [0.8]},
    "sources.with_wrong_pairs": {"source": PAIR, "share": 0.1},
    "sources.zipf_prior": {"items": 10, "exponent": 1.0},
    "ranking.average_precision": {"scores": SCORES, "positives": SCORES > 0.4},
    "ranking.both_directions": {
        "scores": SCORES,
        "positives": np.eye(2, 3) > 0,
        "k": (1, 2),
        "without_positives": "skip",
    },
    "ranking.dcg": {"scores": SCORES, "grades": 2 * SCORES, "k": 2, "gain": "exponential"},
    "ranking.graded_ndcg": {"scores": SCORES, "grades": 2 * SCORES, "retrieved": SCORES > 0.1},
    "ranking.map_at_r": {"scores": SCORES, "positives": SCORES > 0.4},
    "ranking.r_precision": {"scores": SCORES, "positives": SCORES > 0.4},
    "ranking.success": {"scores": SCORES, "positives": SCORES > 0.4, "k": 2},
    "ranking.averaged_cosine": {"queries": ITEMS[:1], "codewords": ITEMS[:3]},
    "ranking.bayes_temperatures": {"query_noise": [0.1, 1.0], "quantisation_variance": 0.1},
    "ranking.block_loss": {
        "joint": JOINT,
        "encoder": CHANNEL,
        "n": 2,
        "log2_size": 4.0,
        "loss": "error",
    },
    "ranking.subset_loss": {
        "ahead": [0, 3],
        "loss": "error",
        "competitors": 9,
        "sampled": 4,
        "tied": [1, 2],
    },
    "ranking.codeword_loss": {
        "scores": SCORES,
        "target": np.array([1, 2]),
        "competitor": PMF,
        "log2_size": 4.0,
        "loss": "reciprocal_rank",
    },
    "ranking.cosine": {"queries": ITEMS[:1], "codewords": ITEMS[:3]},
    "ranking.entropy_difference_temperatures": {"entropy_difference": [0.5, 1.0], "floor": 0.1},
    "ranking.expected_loss": {"log_a": -3.0, "log_e": -5.0, "log2_size": 10.0, "loss": "error"},
    "ranking.with_planted_items": {
        "log_a": -3.0,
        "log_e": [-5.0, -6.0],
        "share": 0.2,
        "planted_log_a": -1.0,
        "planted_log_e": -2.0,
    },
    "ranking.fuse": {"scores": SCORES, "temperature": [1.0, 2.0]},
    "ranking.gaussian_rank_loss": {
        "correlation": 0.8,
        "log2_size": 4.0,
        "loss": "error",
        "n": 2,
        "rate": 1.0,
        "nodes": 32,
    },
    "ranking.vector_gaussian_rank_loss": {
        "key": KEY,
        "correlations": [0.8, 0.3],
        "log2_size": 4.0,
        "loss": "error",
        "rates": [1.0, 0.5],
        "queries": 32,
        "confidence": 0.9,
    },
    "ranking.inner_product": {"queries": ITEMS[:1], "codewords": ITEMS[:3]},
    "ranking.ndcg": {"scores": SCORES, "positives": SCORES > 0.4, "k": 2},
    "ranking.negative_squared_distance": {"queries": ITEMS[:1], "codewords": ITEMS[:3]},
    "ranking.precision": {
        "scores": SCORES,
        "positives": SCORES > 0.4,
        "k": 2,
        "retrieved": SCORES > 0.1,
    },
    "ranking.rank": {"scores": SCORES, "target": np.array([1, 2]), "key": KEY},
    "ranking.recall": {"scores": SCORES, "positives": SCORES > 0.4, "k": 2},
    "ranking.reciprocal_rank": {"scores": SCORES, "positives": SCORES > 0.4},
    "ranking.retrieval_metrics": {
        "scores": SCORES,
        "positives": SCORES > 0.4,
        "k": (1, 2),
        "retrieved": SCORES > 0.1,
        "without_positives": "skip",
    },
    "ranking.saddlepoint_tail": {
        "values": [[0.0, 1.0]],
        "probabilities": [[0.7, 0.3]],
        "counts": [50],
        "threshold": 25.0,
    },
    "ranking.score_tail": {
        "values": [[0.0, 1.0]],
        "probabilities": [[0.7, 0.3]],
        "counts": [50],
        "threshold": 25.0,
    },
    "ranking.scored_loss": {"joint": JOINT, "log2_size": 4.0, "loss": "error"},
    "ranking.top1": {"scores": SCORES, "positives": SCORES > 0.4},
    "limits.allocation_penalty": {"variances": [1.0, 4.0], "total_rate": 2.0},
    "limits.allocation_penalty_high_rate": {"variances": [1.0, 4.0]},
    "limits.bottleneck_at": {"joint": JOINT, "rate": 0.4, "compress": "columns"},
    "limits.bottleneck_dsbs": {"rate": 0.5, "crossover": 0.1},
    "limits.bottleneck_dsbs_rate": {"relevance": 0.2, "crossover": 0.1},
    "limits.bottleneck_erasure": {"p": PMF, "erasure": 0.2, "rate": 0.5},
    "limits.bottleneck_erasure_rate": {"p": PMF, "erasure": 0.2, "relevance": 0.5},
    "limits.bottleneck_gaussian": {"rate": 1.0, "correlation": 0.8},
    "limits.bottleneck_gaussian_rate": {"relevance": 0.3, "correlation": 0.8},
    "limits.bottleneck_rate": {"joint": JOINT, "relevance": 0.1, "compress": "columns"},
    "limits.bottleneck_vector_gaussian": {"rate": 1.0, "correlations": [0.9, 0.5]},
    "limits.bottleneck_dsbs_point": {"crossover": 0.1, "slope": 0.3},
    "limits.bottleneck_vector_gaussian_point": {"slope": 0.3, "correlations": [0.9, 0.5]},
    "limits.bottleneck_vector_gaussian_rate": {"relevance": 0.3, "correlations": [0.9, 0.5]},
    "limits.bottleneck_vector_gaussian_rates": {"rate": 1.0, "correlations": [0.9, 0.5]},
    "limits.common_rate": {"priors": [PMF, PMF[::-1]], "distortion": 0.2, "loss": "error"},
    "limits.conditional_rate_at": {
        "joint": JOINT,
        "distortions": HAMMING_2,
        "distortion": 0.05,
        "compress": "rows",
    },
    "limits.conditional_rate_distortion": {
        "joint": JOINT,
        "distortions": HAMMING_2,
        "slopes": [2.0],
        "compress": "rows",
    },
    "limits.contraction_coefficient": {"joint": JOINT, "compress": "columns"},
    "limits.distortion_at": {"p": PMF, "distortions": HAMMING, "rate": 0.5},
    "limits.entropy_difference": {"variances": [1.0, 4.0]},
    "limits.generalized_mutual_information": {
        "joint": JOINT,
        "scores": [[0.3, 0.1], [-0.2, 0.5]],
    },
    "limits.generalized_mutual_information_gaussian": {"correlation": 0.8, "assumed": 0.5},
    "limits.gibbs_rank_distribution": {"items": 8, "distortion": 0.3, "loss": "reciprocal_rank"},
    "limits.identification_binary": {"distortion": 0.1},
    "limits.identification_gaussian": {"variance": 1.0, "distortion": 0.5},
    "limits.indirect_rate_at": {
        "joint": JOINT,
        "distortions": HAMMING_2,
        "distortion": 0.25,
        "compress": "columns",
    },
    "limits.indirect_rate_distortion": {
        "joint": JOINT,
        "distortions": HAMMING_2,
        "slopes": [2.0],
        "compress": "columns",
    },
    "limits.majorises": {"q": PMF, "p": [0.4, 0.3, 0.3]},
    "limits.mismatched_rate": {
        "p": PMF,
        "distortions": HAMMING,
        "codebook": PMF,
        "distortion": 0.2,
    },
    "limits.mixture_bottleneck_bound": {"source": MIXTURE, "rate": 1.0},
    "limits.mixture_loss_bound": {
        "source": MIXTURE,
        "log2_size": 5.0,
        "loss": "error",
        "rate": 1.0,
    },
    "limits.time_shared_loss": {"code_bits": [0.0, 2.0], "losses": [0.9, 0.3], "rate": 1.0},
    "limits.rank_loss": {"rate": 4.0, "log2_size": 10.0, "loss": "reciprocal_rank"},
    "limits.rank_loss_prior": {"prior": PMF, "rate": 0.5, "loss": "error"},
    "limits.rank_prior_bound": {"prior": PMF, "distortion": 0.2, "loss": "error"},
    "limits.rank_rate": {"distortion": 0.3, "log2_size": 10.0, "loss": "reciprocal_rank"},
    "limits.rank_rate_prior": {"prior": PMF, "distortion": 0.2, "loss": "error"},
    "limits.rank_rate_prior_curve": {"prior": PMF, "slopes": [2.0], "loss": "error"},
    "limits.rank_loss_several_targets": {
        "log2_size": 3.0,
        "loss": "ndcg",
        "targets": 2,
        "rate": 1.0,
        "gains": [1.0, 2.0],
    },
    "limits.rank_rate_several_targets": {
        "log2_size": 3.0,
        "loss": "ndcg",
        "targets": 2,
        "distortion": 0.2,
        "gains": [1.0, 2.0],
    },
    "limits.rank_rate_side_information": {
        "joint": JOINT,
        "distortion": 0.1,
        "loss": "error",
        "compress": "columns",
    },
    "limits.ranking_codebook": {"prior": PMF, "slope": 2.0, "loss": "error"},
    "limits.rate_at": {"p": PMF, "distortions": HAMMING, "distortion": 0.2},
    "limits.rate_distortion_curve": {"p": PMF, "distortions": HAMMING, "slopes": [2.0]},
    "limits.redundancy": {"p": PMF, "distortions": HAMMING, "codebook": PMF, "distortion": 0.2},
    "limits.retrieval_distortion": {
        "joint": JOINT,
        "scores": [[0.1, 0.5], [0.3, 0.2]],
        "competitor": [0.5, 0.5],
        "log2_size": 4.0,
        "loss": "error",
    },
    "limits.skew_bound": {
        "entropies": [2.0, 1.0],
        "distortion": 0.2,
        "log2_size": 2.0,
        "loss": "error",
        "information": 0.0,
    },
    "limits.two_sided_dsbs": {"crossover": 0.1, "query_rate": 0.5, "item_rate": 0.5},
    "limits.two_sided_gaussian": {"correlation": 0.8, "query_rate": 1.0, "item_rate": 1.0},
    "limits.wyner_ziv": {
        "joint": JOINT,
        "distortions": HAMMING_2,
        "slopes": [2.0],
        "compress": "rows",
    },
    "limits.wyner_ziv_dsbs": {"crossover": 0.25, "distortion": 0.05},
    "limits.wyner_ziv_gaussian": {"correlation": 0.8, "variance": 1.0, "distortion": 0.1},
    "limits.closed_forms.bernoulli_hamming": {"p": 0.3, "distortion": 0.1},
    "limits.closed_forms.uniform_hamming": {"letters": 4, "distortion": 0.1},
    "limits.closed_forms.hamming": {"p": PMF, "distortion": 0.1},
    "limits.closed_forms.erasure": {"p": PMF, "distortion": 0.1},
    "limits.closed_forms.gaussian": {"variance": 1.0, "distortion": 0.1},
    "limits.closed_forms.vector_gaussian": {"variances": [1.0, 4.0], "distortion": 0.5},
    "limits.closed_forms.laplacian_absolute": {"rate_parameter": 1.0, "distortion": 0.1},
    "limits.closed_forms.exponential_one_sided": {"rate_parameter": 1.0, "distortion": 0.1},
    "limits.finite_blocklength.binary_hamming": {
        "p": 0.4,
        "distortion": 0.11,
        "excess_probability": 0.01,
        "block_lengths": [50],
    },
    "limits.finite_blocklength.binary_hamming_second_order": {"p": 0.4, "distortion": 0.11},
    "limits.finite_blocklength.d_tilted_information": {
        "p": PMF,
        "distortions": HAMMING,
        "distortion": 0.2,
    },
    "limits.finite_blocklength.discrete_second_order": {
        "p": PMF,
        "distortions": HAMMING,
        "distortion": 0.2,
    },
    "limits.finite_blocklength.dispersion": {"p": PMF, "distortions": HAMMING, "distortion": 0.2},
    "limits.finite_blocklength.erased_coin": {
        "erasure": 0.1,
        "distortion": 0.1,
        "excess_probability": 0.1,
        "block_lengths": [50],
    },
    "limits.finite_blocklength.erased_coin_second_order": {"erasure": 0.1, "distortion": 0.1},
    "limits.finite_blocklength.gaussian_mse": {
        "variance": 1.0,
        "distortion": 0.25,
        "excess_probability": 0.01,
        "block_lengths": [50],
    },
    "limits.finite_blocklength.gaussian_mse_second_order": {"variance": 1.0, "distortion": 0.25},
    "codes.channel_simulation_bits": {"mutual_information": 2.0},
    "codes.code_rates": {"code": VQ, "items": ITEMS, "masses": np.full(24, 1 / 24)},
    "codes.common_code": {"code": VQ, "codebook_size": 6, "planes": 0},
    "codes.competitor_probabilities": {"code": RANDOM},
    "codes.dsbs_ensemble": {
        "n": 8,
        "rate": 0.5,
        "log2_size": 4.0,
        "crossover": 0.1,
        "loss": "error",
    },
    "codes.gaussian_test_channel": {
        "key": KEY,
        "source": sources.gaussian(0.8),
        "log2_size": 4.0,
        "loss": "error",
        "bits": 2.0,
        "queries": 32,
        "confidence": 0.9,
    },
    "codes.sphere_ensemble": {
        "source": sources.spherical(4, concentration=3.0),
        "log2_size": 4.0,
        "loss": "error",
        "bits": 3.0,
        "code": "random_codewords",
        "share": None,
    },
    "codes.dsbs_distances": {"n": 8, "rate": 0.5, "crossover": 0.1},
    "codes.entropy_coded_bits": {"symbols": np.array([0, 1, 2, 0]), "p": PMF},
    "codes.fit_item_code": {
        "name": "uniform scalar",
        "key": KEY,
        "items": ITEMS,
        "bits": 2,
        "initial_codewords": 8,
    },
    "codes.huffman_lengths": {"p": PMF},
    "codes.hyperplane_hashing": {"key": KEY, "items": ITEMS, "bits": 2},
    "codes.likelihood_encoder": {
        "key": KEY,
        "items": np.array([[0, 1, 2, 0]]),
        "codebook": np.array([[0, 1, 1, 0], [2, 1, 2, 0]]),
        "distortions": HAMMING,
        "slope": 1.0,
    },
    "codes.lloyd_max_levels": {"weights": [1.0], "means": [0.0], "variances": [1.0], "levels": 4},
    "codes.lloyd_max_quantizer": {"items": ITEMS, "bits": 2},
    "codes.minimum_distortion_encoder": {
        "key": KEY,
        "items": np.array([[0, 1, 2, 0]]),
        "codebook": np.array([[0, 1, 1, 0], [2, 1, 2, 0]]),
        "distortions": HAMMING,
    },
    "codes.product_quantizer": {
        "key": KEY,
        "items": ITEMS,
        "subspaces": 2,
        "codebook_size": 2,
        "starts": 1,
        "iterations": 3,
    },
    "codes.random_code": {"joint": JOINT, "distortions": HAMMING_2, "n": 4, "rate": 0.5},
    "codes.random_codebook": {"key": KEY, "output_marginal": PMF, "codebook_size": 4, "n": 4},
    "codes.search": {
        "code": codes.BinaryHash(planes=np.eye(2), centre=np.zeros(2)),
        "queries": ITEMS,
        "stored": np.array([[0, 1], [1, 1], [0, 0]]),
        "count": 2,
    },
    "codes.seeded_codewords": {"key": KEY, "items": ITEMS, "count": 4},
    "codes.uniform_scalar_quantizer": {"items": ITEMS, "bits": 2, "tail": 0.001},
    "codes.vector_quantizer": {
        "key": KEY,
        "items": ITEMS,
        "codebook_size": 4,
        "starts": 1,
        "iterations": 5,
    },
    "simulation.clopper_pearson": {"successes": 5, "trials": 10, "confidence": 0.95},
    "simulation.empirical_bernstein": {"samples": [0.1, 0.5, 0.2], "confidence": 0.95},
    "simulation.simulate_dsbs": {
        "key": KEY,
        "n": 8,
        "rate": 0.5,
        "log2_size": 4.0,
        "crossover": 0.1,
        "trials": 4,
        "batch_size": 4,
    },
    "simulation.cosine_decoder": {"codewords": ITEMS[:3]},
    "simulation.distance_decoder": {"codewords": ITEMS[:3], "temperatures": [0.1, 1.0]},
    "simulation.whole_items": {"source": MIXTURE, "modalities": [0]},
    "finite_sample.channel_information": {"channel": CHANNEL, "prior": [0.5, 0.5]},
    "finite_sample.donsker_varadhan": {
        "joint_scores": [0.1, 0.5],
        "product_scores": [0.3, 0.2],
        "bounds": (-1.0, 1.0),
    },
    "finite_sample.empirical_bernstein_bound": {
        "distortions": HAMMING,
        "slope": 1.0,
        "samples": 100,
        "violation": 0.05,
    },
    "finite_sample.infonce": {"scores": [[[0.5, 0.1], [0.2, 0.9]]] * 2, "bounds": (-1.0, 1.0)},
    "finite_sample.letter_counts": {"samples": np.array([0, 1, 1]), "letters": 3},
    "finite_sample.pac_bayes_bound": {
        "distortions": HAMMING,
        "slope": 1.0,
        "samples": 100,
        "violation": 0.05,
    },
    "finite_sample.plug_in_information": {"counts": np.array([[30, 10], [5, 20]])},
    "finite_sample.plug_in_rate": {
        "counts": np.array([30, 20, 10]),
        "distortions": HAMMING,
        "distortion": 0.2,
    },
    "finite_sample.effective_dimension": {"points": ITEMS},
    "finite_sample.fit_isotropic_twin": {
        "ahead": [0, 3, 9],
        "loss": "error",
        "competitors": 70,
        "dimension": 8.0,
        "tied": [1, 2, 1],
    },
    "finite_sample.predict_quality": {
        "ahead": [0, 3, 9],
        "loss": "error",
        "competitors": 70,
        "log2_size": [3.0, 9.0],
        "tied": [1, 2, 1],
        "confidence": 0.9,
    },
    "finite_sample.uniform_bound": {
        "distortions": HAMMING,
        "slope": 1.0,
        "samples": 100,
        "violation": 0.05,
    },
    "learning.canonical_correlation_analysis": {"x": ITEMS, "y": ITEMS[::-1], "dimension": 1},
}

NUMBERS: Final = (np.nan, np.inf, -np.inf, -1.0, 0.0, 1e300, -1e300, 1e-300, 1.5, 1j)
WRONG: Final[tuple[Any, ...]] = ("x", None, [], [[[]]], {}, object())


@pytest.fixture(autouse=True, scope="module")
def as_users_call() -> Iterator[None]:
    """Users have no beartype that checks annotations, and so neither has the library here."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


def function_of(name: str) -> Any:
    room, _, function = name.rpartition(".")
    return getattr(importlib.import_module(f"rdsim.{room}"), function)


@st.composite
def spoiled(draw: st.DrawFn, value: Any) -> Any:
    """The value made wrong, or extreme, or of another kind."""
    if isinstance(value, str):
        return draw(st.sampled_from(("", "x", 3, None, ("miss", 0), ("miss", -1), ("miss", 1.5))))
    array = np.asarray(value) if isinstance(value, list | tuple | np.ndarray) else None
    kind = draw(st.sampled_from(("number", "wrong", "entry", "shape")))
    if kind == "wrong" or (array is None and not isinstance(value, float | int)):
        return draw(st.sampled_from(WRONG))
    number = draw(st.sampled_from(NUMBERS) | st.floats(-2, 2))
    if array is None or kind == "number" or array.size == 0:
        return number
    if kind == "entry":
        changed = array.astype(complex if isinstance(number, complex) else float)
        changed.ravel()[draw(st.integers(0, array.size - 1))] = number
        return changed
    return draw(
        st.sampled_from((array[None], array[:0], array.ravel()[0], 0 * array, array[..., :-1]))
    )


def assert_valid(result: Any) -> None:
    """No NaN anywhere, and bounds in order."""
    for part in jax.tree.leaves(result, is_leaf=lambda leaf: isinstance(leaf, Certified)):
        if isinstance(part, Certified):
            assert np.all(np.asarray(part.lower) <= np.asarray(part.upper))
            assert np.all(np.asarray(part.lower) <= np.asarray(part.value))
            assert np.all(np.asarray(part.value) <= np.asarray(part.upper))
            part = part.value
        if isinstance(part, float | np.ndarray | jax.Array) and np.asarray(part).dtype.kind == "f":
            assert not np.any(np.isnan(np.asarray(part))), part


@pytest.mark.parametrize("name", sorted(CASES))
def test_the_call_that_is_spoiled_works(name: str) -> None:
    assert_valid(function_of(name)(**CASES[name]))


@pytest.mark.parametrize("name", sorted(CASES))
@settings(max_examples=16)
@given(data=st.data())
def test_junk_is_refused_by_name_or_the_result_is_valid(name: str, data: st.DataObject) -> None:
    check_refused_or_valid(name, CASES[name], data)


def check_refused_or_valid(name: str, call: dict[str, Any], data: st.DataObject) -> None:
    """Spoil an argument of a call, and look at what comes of it."""
    argument = data.draw(st.sampled_from(sorted(call)))
    junk = data.draw(spoiled(call[argument]))
    message, result = "", None
    try:
        result = function_of(name)(**call | {argument: junk})
    except (ValueError, TypeError, RuntimeError) as error:
        message = f"{type(error).__name__}: {error}"
    if message:
        parameters = inspect.signature(function_of(name)).parameters
        assert any(re.search(rf"\b{other}\b", message) for other in parameters), message
    assert_valid(result)


def public_functions(room: str) -> set[str]:
    """Names of the functions that a room offers: its list, or what its file defines."""
    module = importlib.import_module(f"rdsim.{room}")
    names = getattr(module, "__all__", None) or [
        name
        for name, value in vars(module).items()
        if not name.startswith("_") and getattr(value, "__module__", "") == module.__name__
    ]
    return {
        f"{room}.{name}"
        for name in names
        if callable(getattr(module, name)) and not inspect.isclass(getattr(module, name))
    }
