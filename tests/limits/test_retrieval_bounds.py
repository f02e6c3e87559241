"""C12: upper above lower everywhere, achieved points re-evaluated, ends, and the growth of blocks."""

import decimal
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference
import strategies
from hypothesis import given, settings
from hypothesis import strategies as st

from rdsim import limits, ranking, sources
from rdsim.limits.retrieval._block_channels import Schemes, best_schemes, block_schemes
from rdsim.limits.sandwich import RetrievalBounds, retrieval_bounds
from rdsim.ranking.block_score import block_loss
from rdsim.ranking.loss import parse_loss
from rdsim.sources.gaussian_pairs import gaussian

_JOINT = np.array([[0.45, 0.05], [0.1, 0.4]])


def assert_is_a_sandwich(bounds):
    lower, upper = np.asarray(bounds.lower), np.asarray(bounds.upper)
    assert (upper >= lower - 1e-9).all()
    assert (np.asarray(bounds.gap) >= -1e-9).all()
    for curve in (lower, upper):
        finite = curve[np.isfinite(curve)]
        assert np.isfinite(curve[len(curve) - len(finite) :]).all()
        assert (np.diff(finite) <= 1e-9).all()
        assert finite[-1] == 0


@settings(max_examples=6)
@given(strategies.joint_pmfs((2, 2)), st.sampled_from([1, 2]), st.sampled_from([2.0, 6.0]))
def test_C12_no_channel_beats_the_converse(joint, n, size):
    bounds = retrieval_bounds(joint, size, "error", n=n, rounds=0)
    assert_is_a_sandwich(bounds)


@settings(max_examples=12)
@given(strategies.joint_pmfs((2, 2)), strategies.channels((2, 2)), st.sampled_from([1, 2, 3]))
def test_C12_no_random_channel_beats_the_converse(joint, channel, n):
    """The point a random channel achieves, against the two limits it is made of."""
    loss = float(block_loss(joint, channel, 4.0, "error", n=n))
    needed = float(limits.rank_rate(4.0, "error", distortion=min(loss, 1.0)).lower)
    assert needed <= n * reference.mutual_information_by_sums(joint @ channel) + 1e-9


@pytest.fixture(scope="module")
def searched():
    """Bounds for items of two letters, which are described whole."""
    return retrieval_bounds(_JOINT, 3.0, "error", n=2)


def test_C12_the_pattern_search_improves_on_the_candidates_and_is_beaten_by_whole_items(searched):
    arguments = (_JOINT, jnp.asarray(3.0), 2, parse_loss("error"))
    zero_rate = float(searched.zero_rate_loss)
    D = np.asarray(searched.distortion)[1:-1]
    assert_is_a_sandwich(searched)
    curves = []
    for rounds in (0, 8):
        corners = best_schemes(block_schemes(*arguments, rounds, None), zero_rate)
        curves.append(np.interp(D, corners.loss, corners.bits))
    candidates, found = curves
    assert np.max(candidates - found) > 1e-3
    assert (found <= candidates + 1e-12).all()
    # Within a few thousandths where hardly anything is stored, and far below elsewhere.
    assert (np.asarray(searched.upper)[1:-1] < found + 4e-3).all()
    assert np.max(found - np.asarray(searched.upper)[1:-1]) > 0.1
    for loss, bits, channel in zip(*corners, strict=True):
        rate = reference.mutual_information_by_sums(_JOINT.sum(axis=0)[:, None] * channel)
        np.testing.assert_allclose(bits, 2 * rate, rtol=0, atol=1e-9)
        np.testing.assert_allclose(block_loss(_JOINT, channel, 3.0, "error", n=2), loss, rtol=1e-9)


def test_C12_time_sharing_is_the_lower_hull(searched):
    bounds = searched
    loss, bits = np.asarray(bounds.vertex_loss), np.asarray(bounds.vertex_bits)
    assert loss[-1] == bounds.zero_rate_loss
    assert bits[-1] == 0
    slopes = np.diff(bits) / np.diff(loss)
    assert (slopes < 0).all()
    assert (np.diff(slopes) >= -1e-9 * np.abs(slopes[1:])).all()
    middle = (0.5 * (loss[1:] + loss[:-1]))[:33]
    at = retrieval_bounds(_JOINT, 3.0, "error", n=2, distortion=middle)
    np.testing.assert_allclose(at.upper, 0.5 * (bits[1:] + bits[:-1])[:33], rtol=1e-9)


def test_C12_hull_against_all_chords():
    random = np.random.default_rng(3)
    loss, bits = random.uniform(0, 1, 60), random.uniform(0.1, 1, 60)
    found = best_schemes(Schemes(loss, bits, np.zeros((60, 1))), 1.0)
    loss, bits = np.append(loss, 1.0), np.append(bits, 0.0)
    for D in np.linspace(found.loss[0], 1, 23):
        chords = [
            b1 + (b2 - b1) * (D - l1) / (l2 - l1) if l1 < l2 else b1
            for l1, b1 in zip(loss, bits, strict=True)
            for l2, b2 in zip(loss, bits, strict=True)
            if l1 <= D <= l2
        ]
        np.testing.assert_allclose(
            np.interp(D, found.loss, found.bits), min(chords), rtol=0, atol=1e-12
        )


def test_C12_lower_bound_of_the_binary_source_is_its_closed_form():
    D = np.linspace(0.001, 0.99, 9)
    bounds = retrieval_bounds(
        sources.dsbs(0.1), 20.0, "reciprocal_rank", n=64, distortion=D, rounds=0, tolerance=1e-6
    )
    needed = limits.rank_rate(20.0, "reciprocal_rank", distortion=D).lower / 64
    expected = 64 * limits.bottleneck_dsbs_rate(0.1, relevance=needed)
    np.testing.assert_allclose(bounds.lower, expected, rtol=0, atol=64e-6)
    assert (np.asarray(bounds.lower) <= np.asarray(expected) + 1e-9).all()


def test_C12_the_gap_a_letter_falls_towards_the_identification_limit():
    """(log2 M)/n = 1/4: both bounds go to IB^-1(1/4) (1 - D) a letter, C9's limit time-shared."""
    gaps, upper = [], []
    for n in (32, 128, 512):
        bounds = retrieval_bounds(
            sources.dsbs(0.1), n / 4, "error", n=n, distortion=[0.2], rounds=0
        )
        gaps.append(float(bounds.gap[0]) / n)
        upper.append(float(bounds.upper[0]) / n)
    assert gaps[0] > gaps[1] > gaps[2] > 0
    limit = float(limits.bottleneck_dsbs_rate(0.1, relevance=0.25))
    distance = np.array(upper) - 0.8 * limit
    assert distance[0] > distance[1] > distance[2] > -1e-9
    assert distance[2] < 0.6 * distance[0]


def test_C12_gaussian_source():
    D = np.array([0.4, 0.6, 0.8, 1 - 2.0**-5])
    bounds = retrieval_bounds(gaussian(0.9), 5.0, "error", n=4, distortion=D)
    assert_is_a_sandwich(bounds)
    lower = np.asarray(bounds.lower)[:-1]
    relevance = np.asarray(limits.rank_rate(5.0, "error", distortion=D[:-1]).lower) / 4
    # C4's bits keep so much about the query, and half-spaces ask for more.
    assert (-0.5 * np.log2(1 - 0.81 * (1 - 2 ** (-2 * lower / 4))) > 1.02 * relevance).all()
    assert lower[-1] > 1.2 * 4 * limits.bottleneck_gaussian_rate(0.9, relevance=relevance[-1])
    # The bits are those at which the converse for all systems reaches the loss, and no more than these.
    source = sources.vector_gaussian(np.eye(4), np.eye(4), 0.9 * np.eye(4))
    for part, sign in ((0.995, 1), (1.0, 1), (1.005, -1)):
        found = limits.retrieval_converse(
            source, 5.0, "error", bits=part * lower, rate="information", encoder="joint"
        )
        assert (sign * (np.asarray(found.loss) - D[:-1]) > -1e-4).all()
    # Below the loss of items that are stored whole no bits suffice, and C4 alone does not know that.
    stored = float(ranking.gaussian_rank_loss(0.9, 5.0, "error", n=4).value)
    out, near = retrieval_bounds(
        gaussian(0.9), 5.0, "error", n=4, distortion=[stored - 1e-4, stored + 1e-4]
    ).lower
    assert np.isinf(out)
    assert np.isfinite(near)


def test_C12_out_of_reach_and_free():
    bounds = retrieval_bounds(
        sources.dsbs(0.1), 20.0, "error", n=2, distortion=[0.0, 0.01, 1.0], rounds=0
    )
    assert isinstance(bounds, RetrievalBounds)
    np.testing.assert_array_equal(bounds.lower, [np.inf, np.inf, 0.0])
    np.testing.assert_array_equal(bounds.upper, [np.inf, np.inf, 0.0])
    np.testing.assert_array_equal(bounds.gap, 0.0)
    useless = retrieval_bounds(np.full((2, 2), 0.25), 3.0, "error", n=2, rounds=0)
    np.testing.assert_array_equal(useless.upper, 0.0)
    nothing = retrieval_bounds(gaussian(0.0), 3.0, "error", n=2, distortion=[0.5, 0.875])
    np.testing.assert_array_equal(nothing.lower, [np.inf, 0.0])
    random = float(ranking.expected_loss(3.0, "error", log_a=-np.inf, log_e=0.0))
    np.testing.assert_allclose(nothing.zero_rate_loss, random, rtol=1e-12, atol=0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"source": [[0.5, 0.4]]}, "source must sum to one"),
        ({"log2_size": [3.0, 4.0]}, "log2_size must have 0 dimensions"),
        ({"log2_size": 0.0}, r"log2_size must lie in \[1, 100000\], got 0.0"),
        ({"n": 0}, "n must be at least 1, got 0"),
        ({"rounds": -1}, "rounds must be at least 0, got -1"),
        ({"distortion": [1.5]}, r"distortion must lie in \[0, 1\], got 1.5"),
        ({"tolerance": 0.0}, r"tolerance must lie in \(0, inf\], got 0.0"),
        ({"loss": "rank"}, "loss must be"),
    ],
)
def test_C12_bounds_bad_input_is_named(change, message):
    arguments = {"source": np.eye(2) / 2, "log2_size": 3.0, "n": 2, "loss": "error"} | change
    with pytest.raises(ValueError, match=message):
        retrieval_bounds(**arguments)


def test_C12_bounds_need_float64():
    with jax.enable_x64(False), pytest.raises(RuntimeError, match="needs float64"):
        retrieval_bounds(np.eye(2) / 2, 3.0, "error", n=2)


@pytest.mark.parametrize("near_one", [1e-3, 1e-6, 1e-10, 1e-14])
def test_C12_the_converse_of_a_nearly_exact_gaussian_pair_keeps_its_digits(near_one):
    """Against the inverse bottleneck in 60 digits: a converse above the truth is none."""
    rho, size, D = 1 - near_one, 14.0, np.array([0.02, 0.2, 0.6, 0.9])
    found = np.asarray(
        limits.retrieval_bounds(
            sources.gaussian(rho), size, "reciprocal_rank", n=1, distortion=D
        ).lower
    )
    relevance = limits.rank_rate(size, "reciprocal_rank", distortion=D).lower
    bottleneck = np.asarray(limits.bottleneck_gaussian_rate(rho, relevance=relevance))
    stored = float(ranking.gaussian_rank_loss(rho, size, "reciprocal_rank").value)
    exact = []
    with decimal.localcontext(prec=60):
        square = decimal.Decimal(rho) ** 2
        for bits in np.asarray(relevance):
            left = 1 - (1 - decimal.Decimal(2) ** (-2 * decimal.Decimal(float(bits)))) / square
            exact.append(float(-left.ln() / decimal.Decimal(4).ln()) if left > 0 else np.inf)
    np.testing.assert_allclose(bottleneck, exact, rtol=1e-11, atol=0)
    assert (found[stored > D] == np.inf).all()
    reached = stored <= D
    assert reached.any() or near_one == 1e-3
    # Half-spaces raise it, but closer to one than 1e-6 they are not computed.
    if near_one < 1e-6:
        np.testing.assert_allclose(found[reached], bottleneck[reached], rtol=1e-11, atol=0)
    assert (found >= bottleneck * (1 - 1e-11)).all()


def test_C12_encoders_of_whole_databases_need_half_the_bits_of_a_single_channel():
    """Four items of one letter: the optimum over all encoders is R(D) of the 16 databases."""
    size, p = 4, 0.1
    databases = np.array(list(itertools.product((0, 1), repeat=size)))
    orders = np.array(list(itertools.permutations(range(size))))
    lost = 1 - 1 / (1.0 + orders)  # reciprocal-rank loss of each item in each order
    given = np.where(databases == 0, 1 - p, p)  # P(x = 0 | y)
    d = (given @ lost.T)[:, :, None] + ((1 - given) @ lost.T)[:, None, :]
    d = d.reshape(len(databases), -1) / size
    D = 0.3713541667
    joint = limits.rate_at(np.full(16, 1 / 16), d, D, tolerance=1e-7)
    found = limits.retrieval_bounds(
        sources.dsbs(p), np.log2(size), "reciprocal_rank", n=1, distortion=[D]
    )
    assert float(joint.lower) / size == pytest.approx(0.2059, rel=0, abs=1e-4)
    assert 0.193 < found.lower[0] < float(joint.lower) / size  # C26; C4 says .1448
    assert found.upper[0] > 1.6 * float(joint.upper) / size
