"""C14, C15: sampled targets against exact sums, at every database size of one run."""

import jax
import numpy as np
import pytest

from rdsim import codes
from rdsim.codes.ensembles.discrete import discrete_ensemble
from rdsim.codes.ensembles.random_coding import random_code
from rdsim.simulation.engine import RunOptions
from rdsim.simulation.ensemble import simulate_ensemble

KEY = jax.random.key(14)
# Each interval misses with probability 1e-8; fewer than thirty are looked at.
CONFIDENCE = 1 - 1e-8
HAMMING = 1 - np.eye(2)
DSBS = [[0.45, 0.05], [0.05, 0.45]]
BINARY = [[0.6, 0.1], [0.06, 0.24]]
TERNARY = [[0.3, 0.04, 0.02], [0.03, 0.25, 0.05], [0.01, 0.05, 0.25]]
TERNARY_COST = [[0.0, 1.0, 2.0], [1.0, 0.0, 1.0], [2.5, 1.0, 0.0]]
SIZES = np.array([1.0, 3.0, 6.0, 12.0, 1000.0])

NEAREST = random_code(TERNARY, TERNARY_COST, n=6, rate=0.7, output_marginal=[0.3, 0.4, 0.3])
ON_LATTICE, LIKELY = (
    random_code(
        BINARY,
        [[0.0, one], [np.pi, 0.0]],
        n=12,
        rate=0.4,
        output_marginal=[0.7, 0.3],
        slope=1.5,
        scores=[[0.3, -0.9], [-0.8, 1.1]],
        encoder="likelihood",
    )
    for one in (3 * np.pi / 8, 1.0)
)
"""The second with its distortions rounded to eight steps is the first."""


def _run(code, **options):
    return simulate_ensemble(
        KEY, code, SIZES, "error", **{"confidence": CONFIDENCE, "levels": 8, **options}
    )


def _agree(estimate, variance, exact, where):
    assert np.all(estimate.covers(exact))
    assert float(np.max(estimate.upper - estimate.lower)) < 0.17
    # Of middling losses, six standard errors are narrower than the interval.
    deviation = np.sqrt(np.asarray(variance) / np.asarray(estimate.trials))
    assert np.all(np.abs(estimate.mean - exact)[where] < 6 * deviation[where])


def test_C15_samples_of_a_ternary_source_agree_with_the_exact_sums():
    found = simulate_ensemble(
        KEY, NEAREST, SIZES, [("miss", 1)], trials=8192, confidence=CONFIDENCE
    )
    assert found.competitor == "exact"
    assert found.distortion_rounding == found.score_rounding == 0.0
    exact = discrete_ensemble(NEAREST, SIZES, "error")
    _agree(found.estimates["error"], found.monte_carlo.variances["error"], exact, slice(1, 3))


def test_C15_likelihood_encoder_of_rounded_distortions_agrees_with_the_exact_sums():
    found = _run(LIKELY, trials=4096)
    assert found.distortion_rounding == pytest.approx(3 * np.pi / 8 - 1, rel=1e-9, abs=0)
    exact = discrete_ensemble(ON_LATTICE, SIZES, "error")
    _agree(found.estimates["error"], found.monte_carlo.variances["error"], exact, slice(1, 3))


def test_C14_product_competitors_are_exact_on_the_symmetric_source():
    code = random_code(DSBS, HAMMING, n=100, rate=0.5, output_marginal=[0.5, 0.5])
    sizes = np.array([12.0, 27.2415721, 33.2952548])
    found = simulate_ensemble(
        KEY, code, sizes, "error", trials=2048, competitor="product", confidence=CONFIDENCE
    )
    exact = codes.dsbs_ensemble(0.1, sizes, "error", n=100, rate=0.5)
    np.testing.assert_allclose(exact[1:], [0.2569, 0.6109], rtol=0, atol=5e-5)
    assert found.competitor == "product"
    assert found.score_rounding == 0.0
    _agree(found.estimates["error"], found.monte_carlo.variances["error"], exact, slice(1, 3))


def test_no_digit_depends_on_the_chunk_and_the_key_matters():
    first, second = (_run(LIKELY, trials=1024, run=RunOptions(chunk=chunk)) for chunk in (1, 16))
    other = simulate_ensemble(jax.random.key(3), LIKELY, SIZES, "error", trials=1024, levels=8)
    means = [np.asarray(run.estimates["error"].mean) for run in (first, second, other)]
    np.testing.assert_array_equal(means[0], means[1])
    assert (means[0] != means[2]).any()


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: simulate_ensemble(0, LIKELY, 3.0, trials=9), TypeError, "key must be"),
        (lambda: _run(LIKELY), ValueError, "give either trials"),
        (lambda: _run(LIKELY, trials=9, competitor="iid"), ValueError, "competitor must be"),
        (lambda: _run(LIKELY, trials=9, levels=0), ValueError, "levels must be"),
        (lambda: _run(LIKELY, trials=9, run=RunOptions(block=0)), ValueError, "block must be"),
        (lambda: simulate_ensemble(KEY, LIKELY, 0.0, trials=9), ValueError, "log2_size must lie"),
        (lambda: simulate_ensemble(KEY, LIKELY, 3.0, "mean", trials=9), ValueError, "loss must be"),
        (lambda: simulate_ensemble(KEY, LIKELY, 3.0, [], trials=9), ValueError, "losses must"),
        (
            lambda: _run(
                random_code(BINARY, HAMMING, n=900, rate=0.1, output_marginal=[0.7, 0.3]),
                trials=9,
                competitor="exact",
            ),
            ValueError,
            "joint types",
        ),
        (
            lambda: _run(
                random_code(
                    BINARY,
                    HAMMING,
                    n=4,
                    rate=0.5,
                    output_marginal=[0.7, 0.3],
                    scores=[[0, -np.inf], [0, 1]],
                ),
                trials=9,
                competitor="product",
            ),
            ValueError,
            "finite scores",
        ),
    ],
)
def test_bad_input_is_named(call, error, message):
    with pytest.raises(error, match=message):
        call()
