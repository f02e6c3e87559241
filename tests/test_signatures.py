"""A swap of two numbers, or of the two sides of a table, cannot pass in silence.

A rate and a crossover both lie in [0, 1]: in the wrong order they give a wrong limit and no error. So
a public function takes at most one number by position, and every further one by name. Two may stand
side by side only where their ranges do not meet, so that the swap is refused.
"""

import importlib
import inspect

import numpy as np
import pytest
from test_fuzz import ROOMS

from rdsim import codes, limits, ranking, simulation, sources

NUMBERS = frozenset(
    [
        "common_noise",
        "correlation",
        "count",
        "crossover",
        "dimension",
        "distortion",
        "divergence",
        "entropy_difference",
        "erasure",
        "item_variance",
        "k",
        "letters",
        "levels",
        "log2_size",
        "margin",
        "mutual_information",
        "quantisation_variance",
        "rate",
        "rate_parameter",
        "regularisation",
        "relevance",
        "ridge",
        "slope",
        "starts",
        "successes",
        "temperature",
        "threshold",
        "total_rate",
        "targets",
        "training",
        "trials",
        "variance",
        "codebook_size",
    ]
)
"""Arguments that are a number, or an array of which every entry is one."""
OBJECTS = frozenset(
    [
        "stored",
        "system",
        "systems",
        "module",
        "family",
        "arguments",
        "batch",
        "batches",
        "policy",
        "channel",
        "channels",
        "chosen",
        "code",
        "codebook",
        "codes",
        "code_bits",
        "codewords",
        "comparison",
        "competitor",
        "correlations",
        "counts",
        "covariance_x",
        "covariance_y",
        "cross_covariance",
        "ahead",
        "temperatures",
        "targets",
        "task",
        "path",
        "d",
        "data",
        "grades",
        "decoder",
        "decoders",
        "distances",
        "distortions",
        "draw",
        "embed",
        "embed_items",
        "embed_queries",
        "embeddings",
        "encoder",
        "entropies",
        "generator",
        "held_out",
        "report",
        "stored",
        "item",
        "item_counts",
        "item_features",
        "item_means",
        "joint",
        "joint_scores",
        "key",
        "distribution",
        "learner",
        "lengths",
        "log_densities",
        "log_ratios",
        "loss",
        "losses",
        "mean",
        "means",
        "modalities",
        "model",
        "name",
        "noise_variances",
        "other_mean",
        "other_precision",
        "output_marginal",
        "p0",
        "pairs",
        "parameters",
        "pmf",
        "points",
        "positives",
        "precision",
        "precisions",
        "prior",
        "priors",
        "probabilities",
        "product_scores",
        "py",
        "q",
        "quantizer",
        "queries",
        "query_counts",
        "query_features",
        "query_noise",
        "ranks",
        "sample",
        "schedule",
        "scores",
        "settings",
        "slopes",
        "source",
        "student",
        "symbols",
        "target",
        "teacher",
        "test_channel",
        "trial",
        "values",
        "variances",
        "weights",
        "x",
        "y",
        "y_error",
    ]
)
"""Arguments that are a distribution, a table, points, a key, a code or a name: a number does not fit."""


def _is_number(room, name, argument):
    if argument == "bits":
        return room == "codes"
    if argument == "items":
        return name in ("zipf_prior", "gibbs_rank_distribution")
    if argument == "samples":
        return False
    if argument == "p":
        return name.startswith(("bernoulli", "binary_hamming"))
    if argument == "trials" and room == "finite_sample":
        return False  # a table of them
    assert argument in NUMBERS | OBJECTS, f"{name}: say whether {argument} is a number"
    return argument in NUMBERS


def _functions():
    for room in ROOMS:
        module = importlib.import_module(f"rdsim.{room}")
        names = getattr(module, "__all__", None) or [
            name
            for name, value in vars(module).items()
            if getattr(value, "__module__", "") == module.__name__ and not name.startswith("_")
        ]
        for name in names:
            if inspect.isfunction(getattr(module, name)):
                yield room, name, getattr(module, name)


SWAPS = {
    "sources.symmetric": lambda a=4, b=0.1: sources.symmetric(a, b),
    "ranking.gaussian_rank_loss": lambda a=0.5, b=4.0: ranking.gaussian_rank_loss(a, b, "error"),
    "codes.dsbs_ensemble": lambda a=0.1, b=4.0: codes.dsbs_ensemble(a, b, "error", n=4, rate=0.5),
    "simulation.clopper_pearson": lambda a=3, b=10: simulation.clopper_pearson(a, b),
    "ranking.bayes_temperatures": lambda a=(0.1, 1.0), b=0.2: ranking.bayes_temperatures(a, b),
}
"""Pairs of numbers by position whose ranges do not meet, with a call that works."""


def test_at_most_one_number_goes_by_position():
    seen = 0
    for room, name, function in _functions():
        seen += 1
        numbers = [
            parameter.name
            for parameter in inspect.signature(function).parameters.values()
            if parameter.kind is parameter.POSITIONAL_OR_KEYWORD
            and _is_number(room, name, parameter.name)
        ]
        assert len(numbers) <= 1 or f"{room}.{name}" in SWAPS or name in ALIKE, (name, numbers)
    assert seen > 150


ALIKE = ("simulate_dsbs",)
"""Functions with the two numbers of `dsbs_ensemble`, slow to call."""


@pytest.mark.parametrize("name", SWAPS)
def test_swaps_of_the_exceptions_are_refused(name):
    call = SWAPS[name]
    call()
    first, second = (each.default for each in inspect.signature(call).parameters.values())
    with pytest.raises((TypeError, ValueError)):
        call(second, first)


JOINT = np.array([[0.4, 0.02, 0.03], [0.02, 0.13, 0.05], [0.05, 0.05, 0.25]])
D = np.array([[0.0, 1.0, 0.4], [0.7, 0.0, 1.0], [1.0, 0.3, 0.0]])
SIDED = {
    "information_bottleneck": lambda joint, side: (
        limits.information_bottleneck(joint, [0.2], compress=side).relevance
    ),
    "bottleneck_at": lambda joint, side: limits.bottleneck_at(joint, 0.4, compress=side).lower,
    "bottleneck_rate": lambda joint, side: limits.bottleneck_rate(joint, 0.1, compress=side).upper,
    "contraction_coefficient": lambda joint, side: limits.contraction_coefficient(
        joint, compress=side
    ),
    "conditional_rate_distortion": lambda joint, side: (
        limits.conditional_rate_distortion(joint, D, [2.0], compress=side).rate
    ),
    "conditional_rate_at": lambda joint, side: (
        limits.conditional_rate_at(joint, D, 0.15, compress=side).lower
    ),
    "indirect_problem": lambda joint, side: limits.indirect_problem(joint, D, compress=side)[1],
    "wyner_ziv": lambda joint, side: limits.wyner_ziv(joint, D, [8.0], compress=side).rate,
    "wyner_ziv_at": lambda joint, side: limits.wyner_ziv_at(joint, D, 0.15, compress=side).lower,
    "rank_rate_side_information": lambda joint, side: (
        limits.rank_rate_side_information(joint, "error", distortion=0.1, compress=side).lower
    ),
}


@pytest.mark.parametrize("name", SIDED)
def test_the_compressed_side_is_named_and_turns_the_table(name):
    function = SIDED[name]
    columns, rows = function(JOINT, "columns"), function(JOINT, "rows")
    np.testing.assert_allclose(function(JOINT.T, "rows"), columns, rtol=0, atol=1e-9)
    np.testing.assert_allclose(function(JOINT.T, "columns"), rows, rtol=0, atol=1e-9)
    # A swap is no small matter.
    assert np.max(np.abs(np.asarray(columns) - np.asarray(rows))) > 1e-4
    for wrong in ("column", "", "y"):
        with pytest.raises(ValueError, match='compress must be "rows" or "columns"'):
            function(JOINT, wrong)


def test_no_side_is_taken_by_default():
    for name in SIDED:
        compress = inspect.signature(getattr(limits, name)).parameters["compress"]
        assert compress.kind is compress.KEYWORD_ONLY
        assert compress.default is compress.empty
