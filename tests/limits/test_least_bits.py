"""The converse for Gaussian pairs solved for the bits (C27): against the converse, published digits, grids and codes."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import logsumexp, ndtr

from rdsim import codes, ranking, sources
from rdsim.limits import bottleneck_gaussian_rate, rank_rate, retrieval_converse
from rdsim.limits.converses._half_spaces import half_space_bits
from rdsim.ranking.loss import parse_loss

LOSSES = ("error", ("miss", 10), "reciprocal_rank", "dcg")


def least_bits(correlation, size, loss, D, n):
    """The bits of C4, and those raised by half-spaces."""
    relevance = np.asarray(rank_rate(size, loss, distortion=D).lower) / n
    known = n * np.asarray(bottleneck_gaussian_rate(correlation, relevance=relevance))
    return known, half_space_bits(correlation, size, parse_loss(loss), np.asarray(D), known)


@settings(max_examples=8)
@given(
    st.floats(0.3, 0.98),
    st.floats(4.0, 40.0),
    st.sampled_from(LOSSES),
    st.sampled_from([4, 16]),
)
def test_C27_the_bits_are_those_at_which_the_converse_reaches_the_loss(correlation, size, loss, n):
    D = np.array([0.5, 0.8, 0.95])
    known, found = least_bits(correlation, size, loss, D, n)
    assert (found >= known).all()
    open_ = np.isfinite(found) & (found > 0)
    source = sources.vector_gaussian(np.eye(n), np.eye(n), correlation * np.eye(n))
    for part, sign in ((0.98, 1), (1.0, 1), (1.02, -1)):
        if open_.any():
            bits = part * found[open_]
            at = retrieval_converse(
                source, size, loss, bits=bits, rate="information", encoder="joint"
            )
            assert (sign * (np.asarray(at.loss) - D[open_]) > -2e-3 * (1 - D[open_])).all()


@pytest.mark.parametrize(
    ("correlation", "bits", "M", "recall"), [(0.8, 16, 50_000, 0.5385), (0.8, 8, 1000, 0.4557)]
)
def test_C27_the_bits_of_a_published_recall(correlation, bits, M, recall):
    _, found = least_bits(correlation, math.log2(M), "error", [1 - recall], 64)
    assert found[0] == pytest.approx(bits, rel=1e-3, abs=0)


@pytest.mark.parametrize(("correlation", "M", "D"), [(0.8, 2**16, 0.98), (0.9, 2**30, 0.9)])
def test_C27_the_bits_of_a_recall_are_those_at_the_best_multiplier_of_a_fine_grid(
    correlation, M, D
):
    """The dual by brute force over thresholds, slopes and multipliers, each of which gives a bound."""
    a, y = np.arange(-1, 9, 0.02), np.arange(-9, 16, 0.02)
    weight = -0.5 * y * y - 0.5 * math.log(2 * math.pi) + math.log(0.02)
    seen = ndtr((correlation * y - a[:, None]) / math.sqrt(1 - correlation**2))
    best = 0.0
    for multiplier in np.geomspace(0.002, 0.3, 300):
        useful = multiplier * logsumexp(weight + seen / multiplier, axis=1)
        gammas = np.geomspace(1e-3 * M, M, 400)
        height = (useful - gammas[:, None] * ndtr(-a)).max(axis=1)
        best = max(best, (1 - D - (gammas / M + height).min()) / (multiplier * math.log(2)))
    known, found = least_bits(correlation, math.log2(M), "error", [D], 32)
    assert best > 1.1 * known[0]
    assert found[0] == pytest.approx(best, rel=3e-3, abs=0)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize(("correlation", "n", "size"), [(0.8, 64, 16.0), (0.9, 16, 10.0)])
def test_C27_random_codes_never_need_fewer_bits(correlation, n, size, loss):
    """Codewords of R bits carry at most R bits of information."""
    bits = np.array([2.0, 8.0, 16.0])
    made = codes.sphere_ensemble(
        sources.vector_gaussian(np.eye(n), np.eye(n), correlation * np.eye(n)),
        size,
        loss,
        bits=bits,
    )
    _, found = least_bits(correlation, size, loss, np.asarray(made.loss.lower), n)
    assert (found <= bits).all()


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize(("correlation", "n", "size"), [(0.6, 2, 3.0), (0.9, 16, 20.0)])
def test_C27_test_channels_never_need_fewer_bits(correlation, n, size, loss):
    rate = np.array([0.1, 0.5, 2.0])
    made = ranking.gaussian_rank_loss(correlation, size, loss, n=n, rate=rate)
    D = np.maximum(np.asarray(made.value - made.error), 0.0)
    _, found = least_bits(correlation, size, loss, D, n)
    assert (found <= n * rate + 1e-9).all()


def test_C27_a_loss_has_the_bits_that_it_has_alone():
    D = np.array([0.3, 0.6, 0.97])
    _, together = least_bits(0.9, 20.0, "reciprocal_rank", D, 16)
    alone = [least_bits(0.9, 20.0, "reciprocal_rank", [each], 16)[1][0] for each in D]
    np.testing.assert_array_equal(together, alone)


def test_C27_bits_that_are_nothing_or_too_many_stay_so():
    D, bits = np.array([0.1, 0.5, 1.0]), np.array([np.inf, np.inf, 0.0])
    for correlation in (0.8, 1 - 1e-7):
        found = half_space_bits(correlation, 10.0, parse_loss("error"), D, bits)
        np.testing.assert_array_equal(found, bits)
    near_one = half_space_bits(1 - 1e-7, 10.0, parse_loss("error"), D, np.ones(3))
    np.testing.assert_array_equal(near_one, 1.0)
