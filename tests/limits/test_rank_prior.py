"""C3: a target with a prior, against all rankings, slow convex hulls, closed forms and a codebook."""

import itertools

import jax
import numpy as np
import pytest
import reference
import scipy.optimize
import strategies
from hypothesis import given, settings
from hypothesis import strategies as st

from rdsim import limits
from rdsim.limits import closed_forms
from rdsim.limits.rank_distortion import _pooling as rank_pooling
from rdsim.limits.rank_distortion import codebook as ranking_codebooks
from rdsim.limits.rank_distortion import (
    gibbs_rank_distribution,
    majorises,
    rank_loss_prior,
    rank_prior_bound,
    rank_rate_prior,
    rank_rate_prior_curve,
    rank_rate_side_information,
    ranking_codebook,
)

RHO = {
    "error": lambda r: (r > 1) * 1.0,
    "reciprocal_rank": lambda r: 1 - 1 / r,
    ("miss", 2): lambda r: (r > 2) * 1.0,
    "dcg": lambda r: 1 - 1 / np.log2(1 + r),
}
LN2 = np.log(2)
FOUR = np.array([0.4, 0.3, 0.2, 0.1])
losses = st.sampled_from(list(RHO))
every_loss = pytest.mark.parametrize("loss", RHO, ids=str)
gentle_slopes = st.floats(0.05, 12.0)


def _zipf(items, exponent):
    weight = np.arange(1.0, items + 1) ** -exponent
    return weight / weight.sum()


def _all_rankings(items):
    """Ranks, shape (items, items!): column u holds the rank of every item."""
    return np.array(list(itertools.permutations(range(1, items + 1))), float).T


def _slow_point(p, loss, slope):
    """D and R in extended precision: each level by the max-min formula of the convex minorant."""
    p = np.sort(np.asarray(p, np.longdouble))[::-1]
    p = p[p > 0]
    rho = np.asarray(RHO[loss](np.arange(1, p.size + 1, dtype=np.longdouble)))
    w = np.exp2(-np.longdouble(slope) * rho)
    # Tails keep the digits of small masses.
    P, W = (np.append(np.cumsum(x[::-1])[::-1], np.longdouble(0)) for x in (p, w))
    level = np.full(p.size, -np.inf, np.longdouble)
    for i in range(p.size):
        slopes = (W[i] - W[i + 1 :]) / (P[i] - P[i + 1 :])
        least = np.minimum.accumulate(slopes[::-1])[::-1]
        level[i:] = np.maximum(level[i:], least)
    t = w / level
    entropy = -np.sum(p * np.log2(p))
    return np.sum(t * rho), entropy + np.sum(t * np.log2(t))


def test_C3_reference_values():
    # Slopes of 3, 1.5 and 1 nats per unit of loss.
    curve = rank_rate_prior_curve(FOUR, np.array([3.0, 1.5, 1.0]) / LN2, "reciprocal_rank")
    np.testing.assert_allclose(curve.rate[:2], [0.466327085, 0.076003290], rtol=0, atol=1e-9)
    np.testing.assert_allclose(curve.distortion[:2], [0.191846983, 0.310453638], rtol=0, atol=1e-9)
    np.testing.assert_allclose(curve.entropy_bound[0], curve.rate[0], rtol=0, atol=1e-11)
    np.testing.assert_allclose(curve.rate[2], 0.020259, rtol=0, atol=1e-6)
    np.testing.assert_allclose(curve.entropy_bound[2], -0.004435, rtol=0, atol=1e-6)
    np.testing.assert_array_equal(curve.majorised, [True, False, False])
    assert np.all(curve.converged)


def test_C3_the_bound_belongs_to_a_loss_and_not_to_a_slope():
    """Where Gibbs does not majorise, its slope at a given loss is not that of the true curve."""
    rho = RHO["reciprocal_rank"](np.arange(1.0, 5))
    q = np.exp(-1.5 * rho)
    q /= q.sum()
    of_that_slope = reference.entropy(FOUR) - reference.entropy(q)
    assert of_that_slope == pytest.approx(0.007500998, abs=1e-9)
    at_its_loss = rank_prior_bound(FOUR, "reciprocal_rank", distortion=[q @ rho])
    np.testing.assert_allclose(at_its_loss, of_that_slope, rtol=0, atol=1e-11)
    # The loss of the true curve at that slope is another one, and so is the bound there.
    there = rank_prior_bound(FOUR, "reciprocal_rank", distortion=[0.310453638])
    assert there[0] == pytest.approx(0.0645090275, abs=1e-8)


@given(strategies.pmfs(4), losses, st.floats(0.05, 20.0))
def test_C3_equals_the_rate_of_a_convex_problem_over_all_rankings(p, loss, slope):
    """The certified solver, on the source J and the reproduction alphabet of all M! rankings."""
    ours = rank_rate_prior_curve(p, [slope], loss)
    brute = limits.rate_distortion_curve(p, RHO[loss](_all_rankings(4)), [slope], method="dense")
    assert ours.converged[0]
    assert brute.converged[0]
    lagrangian = float(ours.rate[0] + slope * ours.distortion[0])
    np.testing.assert_allclose(
        lagrangian, float(brute.rate[0] + slope * brute.distortion[0]), rtol=0, atol=1.2e-9
    )
    D = min(max(float(brute.distortion[0]), 0.0), 1.0)
    at = rank_rate_prior(p, loss, distortion=D)
    assert at.lower <= brute.rate[0] + 1e-11
    assert at.upper >= brute.rate[0] - brute.gap[0] - 1e-11


@given(strategies.pmfs(30), losses, st.floats(0.01, 60.0))
def test_C3_certificate_holds_the_slow_convex_minorant(p, loss, slope):
    curve = rank_rate_prior_curve(p, [slope], loss)
    D, rate = _slow_point(p, loss, slope)
    exact = rate + slope * (D - np.longdouble(float(curve.distortion[0])))
    assert float(curve.gap[0]) <= 1e-12
    ours, gap = float(curve.rate[0]), float(curve.gap[0])
    assert ours - gap <= exact <= ours + gap
    np.testing.assert_allclose(float(curve.distortion[0]), float(D), rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize("exponent", [0.5, 1.0, 1.5])
def test_C3_zipf_priors_on_many_items_are_certified(exponent):
    p = _zipf(10**4, exponent)
    slopes = np.array([4.0, 14.0, 40.0])
    curve = rank_rate_prior_curve(p, slopes, "reciprocal_rank")
    assert np.all(curve.gap <= 1e-12)
    assert np.all(np.diff(np.asarray(curve.blocks)) <= 0)
    assert curve.majorised[-1]
    back = rank_rate_prior(p, "reciprocal_rank", distortion=curve.distortion)
    np.testing.assert_allclose(back.value, curve.rate, rtol=0, atol=1e-10)
    assert np.all(back.gap <= 1e-11)


def test_C3_zipf_agrees_with_the_slow_convex_minorant():
    p = _zipf(800, 1.0)
    curve = rank_rate_prior_curve(p, [9.0], "reciprocal_rank")
    D, rate = _slow_point(p, "reciprocal_rank", 9.0)
    assert 1 < curve.blocks[0] < 800
    assert abs(float(curve.rate[0]) - float(rate)) <= 1e-12
    assert abs(float(curve.distortion[0]) - float(D)) <= 1e-12


def test_C3_certificate_finds_out_ranks_that_were_not_pooled(monkeypatch):
    assert rank_rate_prior_curve(FOUR, [6.0], "reciprocal_rank").gap[0] <= 1e-12
    monkeypatch.setattr(rank_pooling, "pool", lambda p, w: (np.arange(p.size), p, w))
    assert rank_rate_prior_curve(FOUR, [6.0], "reciprocal_rank").gap[0] > 0.1


def test_C3_a_million_items():
    curve = rank_rate_prior_curve(_zipf(10**6, 1.0), [20.0], "reciprocal_rank")
    assert curve.gap[0] <= 1e-12
    assert curve.rate[0] > curve.entropy_bound[0]


@pytest.mark.parametrize("loss", ["reciprocal_rank", "dcg"])
def test_C3_a_uniform_prior_is_the_rank_rate(loss):
    D = np.concatenate([[0.0, 1e-9, 1e-4], np.linspace(0.02, 1.0, 15)])
    ours = rank_rate_prior(np.full(300, 1 / 300), loss, distortion=D)
    closed = limits.rank_rate(np.log2(300), loss, distortion=D)
    assert np.all(ours.gap <= 1e-11)
    assert np.all(ours.lower <= closed.upper + 1e-12)
    assert np.all(closed.lower <= ours.upper + 1e-12)


@given(strategies.pmfs(5))
def test_C3_the_error_loss_is_hamming_distortion(p):
    D = np.concatenate([[0.0, 1e-12, 1e-5], np.linspace(0.01, 1.0, 12)])
    ours = rank_rate_prior(p, "error", distortion=D)
    exact = np.asarray(closed_forms.hamming(p, distortion=D))
    assert np.all(ours.lower <= exact + 1e-11)
    assert np.all(exact <= ours.upper + 1e-11)
    assert np.all(ours.gap <= 1e-11)
    np.testing.assert_allclose(ours.value[0], reference.entropy(p), rtol=0, atol=1e-12)


@settings(max_examples=40)
@given(strategies.pmfs(5), losses, gentle_slopes)
def test_C3_bound_is_met_exactly_where_gibbs_majorises_the_prior(p, loss, slope):
    curve = rank_rate_prior_curve(p, [slope], loss)
    excess = float(curve.rate[0] - curve.entropy_bound[0])
    assert excess >= -1e-11
    D = float(curve.distortion[0])
    q = np.asarray(gibbs_rank_distribution(5, loss, distortion=D))
    ordered = np.sort(p)[::-1]
    lead = np.max(np.cumsum(ordered) - np.cumsum(q))
    if curve.majorised[0]:
        assert lead <= 1e-9
        assert excess <= 1e-10
    # The rank's distribution has a loss of D as q and majorises p: Pythagoras and Pinsker, in bits.
    assert excess >= 2 * max(lead, 0.0) ** 2 / LN2 - 1e-9
    if lead > 1e-6:
        assert not curve.majorised[0]
        assert not majorises(q, p)


@settings(max_examples=20)
@given(strategies.pmfs(5), st.sampled_from(["error", "dcg"]))
def test_C3_curve_is_convex_decreasing_and_ends_where_it_must(p, loss):
    ordered = np.sort(p)[::-1]
    rho = RHO[loss](np.arange(1.0, 6))
    D_max = float(ordered @ rho)
    D = np.append(np.linspace(0.0, 1.0, 9) * D_max, [min(D_max + 1e-9, 1.0), 1.0])
    limit = rank_rate_prior(p, loss, distortion=D)
    rate = np.asarray(limit.value)
    assert np.all(limit.lower <= limit.upper)
    assert np.all(limit.gap <= 1e-10)
    assert np.all(np.diff(rate) <= 1e-11)
    assert np.all(np.diff(rate[:9], 2) >= -1e-10)
    np.testing.assert_array_equal(rate[-1], 0.0)
    assert rate[-2] <= 1e-11
    assert np.all(rank_prior_bound(p, loss, distortion=D) <= rate + 1e-11)
    back = rank_loss_prior(p, loss, rate=rate)
    positive = rate > 1e-6
    np.testing.assert_allclose(back.value[positive], D[positive], rtol=0, atol=1e-8)
    assert back.lower[-1] <= D_max + 1e-12
    assert rank_loss_prior(p, loss, rate=0.0).value == pytest.approx(D_max, abs=1e-9)
    assert rank_loss_prior(p, loss, rate=3.0).value == 0


@given(strategies.pmfs(4), strategies.permutations(4), losses)
def test_C3_order_does_not_matter_and_items_without_mass_cost_nothing(p, order, loss):
    D = np.array([0.02, 0.2, 0.45])
    plain = rank_rate_prior(p, loss, distortion=D).value
    np.testing.assert_allclose(
        rank_rate_prior(p[order], loss, distortion=D).value, plain, rtol=0, atol=2e-12
    )
    longer = np.concatenate([[0.0], p, [0.0, 0.0]])
    np.testing.assert_allclose(
        rank_rate_prior(longer, loss, distortion=D).value, plain, rtol=0, atol=2e-12
    )


def test_C3_items_without_mass_are_never_majorised_by_gibbs_unless_lossless():
    p = [0.5, 0.5, 0.0, 0.0]
    curve = rank_rate_prior_curve(p, [2.0, np.inf], "error")
    np.testing.assert_array_equal(curve.majorised, [False, True])
    np.testing.assert_allclose(curve.rate[1], 1.0, rtol=1e-12, atol=0)
    np.testing.assert_allclose(curve.entropy_bound[1], 1.0, rtol=0, atol=1e-12)


def test_C3_one_item_costs_nothing():
    assert rank_rate_prior([1.0], "error", distortion=0.0).value <= 1e-14
    assert rank_prior_bound([1.0], "error", distortion=0.5) == 0


@every_loss
def test_C3_side_information_splits_the_loss_at_one_slope(loss):
    joint = np.array([[0.3, 0.1, 0.05, 0.05], [0.02, 0.03, 0.25, 0.2]])
    weight = joint.sum(axis=1)
    D = 0.12
    ours = rank_rate_side_information(joint, loss, distortion=D, compress="columns")

    def split(first):
        losses_of = first, (D - weight[0] * first) / weight[1]
        rates = [
            float(rank_rate_prior(row / w, loss, distortion=min(max(d, 0.0), 1.0)).value)
            for row, w, d in zip(joint, weight, losses_of, strict=True)
        ]
        return weight @ np.array(rates)

    best = scipy.optimize.minimize_scalar(
        split, bounds=(0.0, D / weight[0]), method="bounded", options={"xatol": 1e-7}
    )
    assert ours.upper <= best.fun + 1e-11
    assert ours.lower >= best.fun - 1e-6
    H = reference.entropy(joint) - reference.entropy(weight)
    largest = 2.0 - float(limits.rank_rate(2.0, loss, distortion=D).value)
    assert ours.upper >= H - largest - 1e-11


def test_C3_independent_side_information_is_of_no_use():
    p = np.array([0.5, 0.3, 0.2])
    joint = np.outer([0.3, 0.0, 0.7], p)
    D = [0.0, 0.1, 0.3]
    np.testing.assert_allclose(
        rank_rate_side_information(joint, "dcg", distortion=D, compress="columns").value,
        rank_rate_prior(p, "dcg", distortion=D).value,
        rtol=0,
        atol=1e-11,
    )


@given(strategies.pmfs(5), st.lists(strategies.permutations(5), min_size=3, max_size=3))
def test_a_mixture_of_permutations_is_majorised(q, orders):
    p = 0.5 * q[orders[0]] + 0.3 * q[orders[1]] + 0.2 * q[orders[2]]
    assert majorises(q, p)
    if np.max(np.cumsum(np.sort(q)[::-1]) - np.cumsum(np.sort(p)[::-1])) > 1e-9:
        assert not majorises(p, q)


@pytest.mark.parametrize(
    ("q", "p", "expected"),
    [
        ([0.5, 0.5], [0.5, 0.5], True),
        ([0.7, 0.3], [0.3, 0.7], True),
        ([0.5, 0.25, 0.25], [0.45, 0.4, 0.15], False),
        ([0.45, 0.4, 0.15], [0.5, 0.25, 0.25], False),
        # Tails are compared to their last digit however small.
        ([1 - 1e-14, 1e-14], [1 - 2e-14, 2e-14], True),
        ([1 - 2e-14, 2e-14], [1 - 1e-14, 1e-14], False),
        ([1.0, 0.0, 0.0], [1 - 1e-300, 1e-300, 0.0], True),
    ],
)
def test_majorises(q, p, expected):
    assert majorises(q, p) is expected


@given(strategies.pmfs(5), losses, gentle_slopes)
def test_C3_codebook_attains_the_point_and_no_ranking_is_missing(p, loss, slope):
    book = ranking_codebook(p, slope, loss)
    curve = rank_rate_prior_curve(p, [slope], loss)
    assert book.converged
    assert book.probability.shape[0] <= 5
    np.testing.assert_allclose(book.probability.sum(), 1.0, rtol=1e-12)
    assert np.all(book.probability >= 0)
    np.testing.assert_array_equal(np.sort(np.asarray(book.rankings), axis=1)[0], np.arange(5))
    np.testing.assert_allclose(book.rate, curve.rate[0], rtol=0, atol=1e-11)
    np.testing.assert_allclose(book.distortion, curve.distortion[0], rtol=0, atol=1e-11)
    # All rankings priced by force: none has c above one, so the mixture is optimal.
    weight = np.exp2(-slope * RHO[loss](np.arange(1.0, 6)))
    Z = np.zeros(5)
    for share, ranking in zip(book.probability, np.asarray(book.rankings), strict=True):
        Z[ranking] += share * weight
    kernel = weight[_all_rankings(5).astype(int) - 1]
    assert np.log2(np.max((p / Z) @ kernel)) <= 1e-11
    np.testing.assert_allclose(
        book.rate + slope * book.distortion, -np.sum(p * np.log2(Z)), rtol=0, atol=1e-11
    )


@pytest.mark.parametrize("exponent", [0.0, 0.7, 1.0])
@pytest.mark.parametrize("slope", [3.0, 9.0, 16.0])
def test_C3_codebooks_of_two_hundred_items_are_exact(exponent, slope):
    p = _zipf(200, exponent)[np.random.default_rng(0).permutation(200)]
    book = ranking_codebook(p, slope, "reciprocal_rank")
    curve = rank_rate_prior_curve(p, [slope], "reciprocal_rank")
    assert book.gap <= 1e-11
    assert book.probability.size <= 200
    np.testing.assert_allclose(book.rate, curve.rate[0], rtol=0, atol=1e-11)


def test_C3_codebook_of_ten_thousand_items_and_one_that_is_cut_short():
    p = _zipf(10**4, 1.0)
    full = ranking_codebook(p, 9.0, "reciprocal_rank", max_rankings=200)
    assert full.converged
    assert full.probability.size < 200
    short = ranking_codebook(p, 9.0, "reciprocal_rank", max_rankings=20)
    assert not short.converged
    assert short.probability.size == 20
    truth = rank_rate_prior(p, "reciprocal_rank", distortion=short.distortion)
    assert short.rate - short.gap <= truth.upper
    assert truth.lower <= short.rate + 1e-12


def test_C3_a_codebook_of_steps_that_are_cut_short_is_certified_all_the_same(monkeypatch):
    p = _zipf(30, 0.7)
    monkeypatch.setattr(ranking_codebooks, "_DINKELBACH_STEPS", 1)
    book = ranking_codebook(p, 6.0, "reciprocal_rank")
    np.testing.assert_allclose(book.probability.sum(), 1.0, rtol=1e-12)
    truth = rank_rate_prior(p, "reciprocal_rank", distortion=book.distortion)
    assert book.rate.lower <= truth.upper + 1e-12
    assert truth.lower <= book.rate.upper + 1e-12


@given(strategies.pmfs(5), losses, st.floats(0.0, 1.0))
def test_C3_curves_bound_the_limit_between_their_points(p, loss, D):
    curve = rank_rate_prior_curve(p, [0.5, 2.0, 8.0], loss)
    limit = rank_rate_prior(p, loss, distortion=D)
    for known in (curve, ranking_codebook(p, 2.0, loss)):
        assert known.lower(D) <= limit.upper + 1e-12
        assert limit.lower <= known.upper(D) + 1e-12
        np.testing.assert_allclose(known.rate_at(D).value, limit.value, rtol=0, atol=1e-12)
    back = curve.distortion_at(curve.rate.value)
    np.testing.assert_allclose(back.value, curve.distortion, rtol=0, atol=1e-9)


def test_codebook_out_of_reach_says_so():
    book = ranking_codebook([0.5, 0.5], 1e6, "error", max_rankings=1)
    assert np.isinf(book.gap)
    assert not book.converged


def test_results_are_pytrees():
    curve = rank_rate_prior_curve(FOUR, [1.0], "error")
    doubled = jax.tree.map(lambda leaf: leaf + leaf, ranking_codebook(FOUR, 1.0, "error"))
    np.testing.assert_array_equal(doubled.slope, 2.0)
    np.testing.assert_array_equal(jax.tree.map(lambda leaf: leaf, curve).rate, curve.rate)


@pytest.mark.parametrize(
    ("function", "arguments", "options", "message"),
    [
        (
            rank_rate_prior,
            ([0.5, 0.4], "error"),
            {"distortion": 0.1},
            r"prior must sum to one, got a sum of 0\.9",
        ),
        (
            rank_rate_prior,
            ([0.5, -0.5], "error"),
            {"distortion": 0.1},
            r"prior must lie in \[0, inf\], got -0\.5",
        ),
        (
            rank_rate_prior,
            (FOUR, "error"),
            {"distortion": 1.5},
            r"distortion must lie in \[0, 1\], got 1\.5",
        ),
        (
            rank_rate_prior,
            (FOUR, "error"),
            {"distortion": -0.1},
            r"distortion must lie in \[0, 1\], got -0\.1",
        ),
        (rank_rate_prior, (FOUR, "mrr"), {"distortion": 0.1}, r"loss must be"),
        (
            rank_loss_prior,
            (FOUR, "error"),
            {"rate": -1.0},
            r"rate must lie in \[0, inf\), got -1\.0",
        ),
        (rank_rate_prior_curve, (FOUR, [-1.0], "error"), {}, r"slopes must lie in"),
        (rank_rate_prior_curve, (FOUR, 1.0, "error"), {}, r"slopes must have 1 dimensions"),
        (
            rank_prior_bound,
            ([], "error"),
            {"distortion": 0.1},
            r"prior must have at least one letter",
        ),
        (
            gibbs_rank_distribution,
            (0, "error"),
            {"distortion": 0.1},
            r"items must be at least 1, got 0",
        ),
        (
            gibbs_rank_distribution,
            (4, "error"),
            {"distortion": [0.1]},
            r"distortion must have 0 dimensions",
        ),
        (majorises, ([0.5, 0.5], FOUR), {}, r"p must have as many letters as q, 2, got 4"),
        (
            rank_rate_side_information,
            (FOUR, "error"),
            {"distortion": 0.1, "compress": "columns"},
            r"joint must have 2 dimensions",
        ),
        (ranking_codebook, (FOUR, np.inf, "error"), {}, r"slope must lie in \[0, inf\), got inf"),
    ],
)
def test_bad_arguments_are_named(function, arguments, options, message):
    with pytest.raises(ValueError, match=message):
        function(*arguments, **options)


def test_bad_codebook_sizes_are_named():
    with pytest.raises(ValueError, match="max_rankings must be at least 1, got 0"):
        ranking_codebook(FOUR, 1.0, "error", max_rankings=0)


def test_float32_is_refused():
    with jax.enable_x64(False), pytest.raises(RuntimeError, match="jax_enable_x64"):
        rank_rate_prior(FOUR, "error", distortion=0.1)
