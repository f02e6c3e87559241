"""Derivatives at the ends of intervals: one-sided, infinite as a huge number, and never NaN."""

import functools
import math
from collections.abc import Callable
from typing import Any, Final

import fuzz_cases
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_derivatives import CASES, TIGHT, function_of, is_real, real_arguments
from test_fuzz import as_users_call  # noqa: F401  (a fixture)

ZEROS: Final = [0.6, 0.4, 0.0]
JOINT_ZEROS: Final = [[0.5, 0.0], [0.1, 0.4]]
TO_THE_ZERO: Final = [[-1.0, 1.0], [0.5, -0.5]]
HAMMING: Final = fuzz_cases.HAMMING
FORMS: Final = "limits.closed_forms"
DSBS_INFORMATION: Final = 0.5310044064107188

# Name, what the call has at an end of its interval, the argument, and the direction inwards.
Q3: Final = [0.4, 0.35, 0.25]
ENDS: Final[list[tuple[str, dict[str, Any], str, Any]]] = [
    (f"{FORMS}.bernoulli_hamming", {"p": 0.3, "distortion": 0.0}, "distortion", 1.0),
    (f"{FORMS}.bernoulli_hamming", {"p": 0.3, "distortion": 0.3}, "distortion", -1.0),
    (f"{FORMS}.bernoulli_hamming", {"p": 0.0, "distortion": 0.0}, "p", 1.0),
    (f"{FORMS}.bernoulli_hamming", {"p": 1.0, "distortion": 0.0}, "p", -1.0),
    (f"{FORMS}.uniform_hamming", {"distortion": 0.0}, "distortion", 1.0),
    (f"{FORMS}.uniform_hamming", {"distortion": 0.75}, "distortion", -1.0),
    (f"{FORMS}.hamming", {"distortion": 0.0}, "distortion", 1.0),
    (f"{FORMS}.hamming", {"distortion": 0.4}, "distortion", -1.0),
    (f"{FORMS}.erasure", {"distortion": 0.0}, "distortion", 1.0),
    (f"{FORMS}.erasure", {"distortion": 1.0}, "distortion", -1.0),
    (f"{FORMS}.gaussian", {"distortion": 0.0}, "distortion", 1.0),
    (f"{FORMS}.gaussian", {"distortion": 1.0}, "distortion", -1.0),
    (f"{FORMS}.vector_gaussian", {"distortion": 5.0}, "distortion", -1.0),
    (f"{FORMS}.laplacian_absolute", {"distortion": 0.0}, "distortion", 1.0),
    (f"{FORMS}.laplacian_absolute", {"distortion": 1.0}, "distortion", -1.0),
    (f"{FORMS}.exponential_one_sided", {"distortion": 0.0}, "distortion", 1.0),
    ("limits.bottleneck_gaussian", {"rate": 1.0, "correlation": 1.0}, "correlation", -1.0),
    ("limits.bottleneck_gaussian", {"rate": math.inf, "correlation": 1.0}, "correlation", -1.0),
    ("limits.bottleneck_gaussian", {"rate": math.inf, "correlation": 0.8}, "correlation", 1.0),
    ("limits.bottleneck_gaussian", {"rate": 0.0}, "rate", 1.0),
    ("limits.bottleneck_gaussian_rate", {"relevance": 0.0}, "relevance", 1.0),
    ("limits.bottleneck_gaussian_rate", {"correlation": 1.0}, "correlation", -1.0),
    ("limits.bottleneck_vector_gaussian", {"rate": 0.0}, "rate", 1.0),
    (
        "limits.bottleneck_vector_gaussian",
        {"correlations": [1.0, 0.0]},
        "correlations",
        [-1.0, 1.0],
    ),
    ("limits.bottleneck_vector_gaussian_rate", {"relevance": 0.0}, "relevance", 1.0),
    ("limits.bottleneck_dsbs", {"rate": 0.0}, "rate", 1.0),
    ("limits.bottleneck_dsbs", {"rate": 1.0}, "rate", -1.0),
    ("limits.bottleneck_dsbs", {"rate": 1.0, "crossover": 0.0}, "crossover", 1.0),
    ("limits.bottleneck_dsbs_rate", {"relevance": 0.0}, "relevance", 1.0),
    ("limits.bottleneck_dsbs_rate", {"relevance": DSBS_INFORMATION}, "relevance", -1.0),
    ("limits.bottleneck_erasure", {"erasure": 1.0}, "erasure", -1.0),
    ("limits.identification_binary", {"distortion": 0.5}, "distortion", -1.0),
    ("limits.two_sided_gaussian", {"query_rate": math.inf}, "correlation", 1.0),
    ("limits.wyner_ziv_dsbs", {"distortion": 0.0}, "distortion", 1.0),
    ("limits.wyner_ziv_dsbs", {"distortion": 0.25}, "distortion", 1.0),
    ("limits.wyner_ziv_gaussian", {"correlation": 1.0}, "correlation", -1.0),
    ("limits.wyner_ziv_gaussian", {"distortion": 0.0}, "distortion", 1.0),
    ("limits.rank_rate", {"distortion": 0.0}, "distortion", 1.0),
    ("limits.rank_rate", {"distortion": 1.0}, "distortion", -1.0),
    ("limits.rank_loss", {"rate": 0.0}, "rate", 1.0),
    ("limits.rank_loss", {"rate": 30.0}, "rate", 1.0),
    (
        "limits.mismatched_rate",
        {"distortions": HAMMING, "codebook": Q3, "distortion": 0.0},
        "distortion",
        1.0,
    ),
    (
        "limits.mismatched_rate",
        {"distortions": HAMMING, "codebook": Q3, "distortion": 2.0},
        "distortion",
        -1.0,
    ),
    (
        "limits.mismatched_rate",
        {"distortions": HAMMING, "p": ZEROS, "codebook": Q3},
        "p",
        [-0.5, -0.5, 1.0],
    ),
    (
        "limits.mismatched_rate",
        {"distortions": HAMMING, "p": [0.5, 0.3, 0.2], "codebook": ZEROS, "distortion": 0.3},
        "codebook",
        [-0.5, -0.5, 1.0],
    ),
    ("limits.rate_at", {"distortion": 0.0}, "distortion", 1.0),
    ("limits.rate_at", {"distortion": 0.4 - 1e-7}, "distortion", -1.0),
    ("limits.rate_at", {"distortion": 0.4 - 1e-9, "distortions": HAMMING}, "distortion", -1.0),
    ("limits.rate_at", {"p": ZEROS, "tolerance": TIGHT}, "p", [-0.5, -0.5, 1.0]),
    ("limits.distortion_at", {"rate": 0.0}, "rate", 1.0),
    ("limits.distortion_at", {"rate": 1.2954618442383217 - 1e-8}, "rate", -1.0),
    (
        "limits.conditional_rate_at",
        {"joint": JOINT_ZEROS, "tolerance": TIGHT},
        "joint",
        TO_THE_ZERO,
    ),
    ("limits.allocation_penalty", {"total_rate": 0.0}, "total_rate", 1.0),
    ("limits.allocation_penalty", {"total_rate": 0.0, "split": "equal_noise"}, "total_rate", 1.0),
    ("codes.dsbs_ensemble", {"crossover": 0.0}, "crossover", 1.0),
    ("ranking.scored_loss", {"joint": JOINT_ZEROS}, "joint", TO_THE_ZERO),
    *[
        ("ranking.expected_loss", {"log_a": a, "log_e": e, "loss": loss}, name, -1.0)
        for loss in ("error", "reciprocal_rank", ("miss", 3), "dcg")
        for a, e, name in ((-math.inf, -3.0, "log_e"), (-3.0, -math.inf, "log_a"))
    ],
    ("ranking.expected_loss", {"log_a": -800.0, "log_e": -700.0}, "log_e", -1.0),
]

# At these there is nothing to step to, or no number to compare with: only NaN would be wrong.
NO_NAN: Final[list[tuple[str, dict[str, Any], str]]] = [
    *[
        ("ranking.expected_loss", {"log_a": a, "log_e": e, "loss": loss}, name)
        for loss in ("error", "reciprocal_rank", ("miss", 3), "dcg")
        for a, e in ((-math.inf, -math.inf), (-math.inf, 0.0), (-800.0, -700.0))
        for name in ("log_a", "log_e")
    ],
    ("ranking.codeword_loss", {"competitor": ZEROS}, "competitor"),
    ("limits.retrieval_distortion", {"competitor": [1.0, 0.0]}, "competitor"),
    ("ranking.cosine", {"queries": [[0.0, 0.0], [1.0, 1.0]]}, "queries"),
    ("ranking.fuse", {"scores": [[-math.inf, 1.0], [0.3, 0.2]]}, "temperature"),
    ("ranking.fuse", {"temperature": [1.0, math.inf]}, "temperature"),
    ("ranking.information_density_scores", {"channel": np.eye(2)}, "channel"),
    (f"{FORMS}.hamming", {"p": ZEROS}, "p"),
    ("limits.bottleneck_erasure", {"p": ZEROS, "rate": 2.0}, "p"),
    ("limits.rank_prior_bound", {"prior": ZEROS}, "prior"),
    ("limits.two_sided_gaussian", {"correlation": 1.0}, "correlation"),
    ("limits.two_sided_gaussian", {"query_rate": 0.0, "item_rate": 0.0}, "query_rate"),
    ("limits.two_sided_dsbs", {"query_rate": 0.0, "item_rate": 0.0}, "item_rate"),
    ("limits.two_sided_dsbs", {"query_rate": 0.5, "item_rate": 0.0}, "item_rate"),
    ("learning.triplet_loss", {"scores": np.zeros((4, 4))}, "scores"),
]


def summed(name: str, over: dict[str, Any], argument: str) -> Callable[[Any], Any]:
    """The sum of the numbers that a call returns, as a function of one argument."""
    call = CASES[name] | over

    def total(value: Any) -> Any:
        leaves = jax.tree.leaves(function_of(name)(**call | {argument: value}))
        return sum(jnp.sum(leaf) for leaf in leaves if is_real(leaf))

    return total


ONE_PROGRAM: Final = ("ranking.expected_loss", "limits.two_sided_dsbs", "limits.two_sided_gaussian")
"""Many ends, or long to compile: all real arguments are traced, and one program serves all ends."""


@functools.cache
def gradient_of_all_ends(
    name: str, argument: str, fixed: tuple[tuple[str, Any], ...]
) -> Callable[[Any, dict[str, Any]], Any]:
    def total(value: Any, real: dict[str, Any]) -> Any:
        return summed(name, dict(fixed) | real, argument)(value)

    return jax.jit(jax.grad(total))


def gradient(name: str, over: dict[str, Any], argument: str) -> np.ndarray:
    """Derivatives of the sum in one argument, compiled."""
    call = CASES[name] | over
    start = jnp.asarray(call[argument], float)
    if name not in ONE_PROGRAM:
        return np.asarray(jax.jit(jax.grad(summed(name, over, argument)))(start))
    real = {key: jnp.asarray(value, float) for key, value in real_arguments(call).items()}
    fixed = tuple((key, value) for key, value in call.items() if key not in real)
    return np.asarray(gradient_of_all_ends(name, argument, fixed)(start, real))


@pytest.mark.parametrize(("name", "over", "argument", "step"), ENDS)
def test_at_the_ends_of_intervals_derivatives_are_one_sided(
    name: str, over: dict[str, Any], argument: str, step: Any
) -> None:
    total = summed(name, over, argument)
    start, step = np.asarray((CASES[name] | over)[argument], float), np.asarray(step)
    slope = float(np.sum(gradient(name, over, argument) * step))
    here = float(total(start))
    if math.isinf(here):
        assert slope <= 0
        return
    wide, narrow = ((float(total(start + h * step)) - here) / h for h in (1e-5, 1e-7))
    if abs(narrow - wide) <= 1e-3 * (1 + abs(narrow)):
        assert slope == pytest.approx(narrow, rel=2e-3, abs=2e-3)
    elif abs(narrow) > abs(wide):  # infinite
        assert slope * np.sign(narrow) >= abs(narrow)
    else:  # going to zero
        assert 0 <= slope * np.sign(narrow) <= abs(narrow)


@pytest.mark.parametrize(("name", "over", "argument"), NO_NAN)
def test_no_derivative_is_nan(name: str, over: dict[str, Any], argument: str) -> None:
    assert not np.isnan(gradient(name, over, argument)).any()
