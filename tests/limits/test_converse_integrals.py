"""The integrals behind the converses (C27, C29) against closed forms, from both sides.

A bound that is too loose passes every comparison with codes, and one that is a percent too tight passes nearly all.
"""

import functools
import math

import numpy as np
import pytest
import scipy.stats
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy.special import betaln, log_ndtr, logsumexp

from rdsim import limits, sources
from rdsim.limits.converses import _information, _recalls, _tilted
from rdsim.limits.converses._information import peak
from rdsim.limits.converses._tails import Tails
from rdsim.ranking.loss import parse_loss

LOSSES = ("error", ("miss", 3), ("miss", 45), "reciprocal_rank", "dcg")
POWERS = (0.2, 0.6, 1.0)
"""Of concave recalls C(t) = t^a, for which the sums over ranks are known."""


def rewards(loss, ranks):
    if loss == "reciprocal_rank":
        return 1 / ranks
    if loss == "dcg":
        return 1 / np.log2(1 + ranks)
    return (ranks <= (1 if loss == "error" else loss[1])).astype(float)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("power", POWERS)
@pytest.mark.parametrize("M", [4, 50, 3000])
def test_C27_the_reward_of_one_encoder_is_that_of_beta_binomial_ranks(loss, power, M):
    """With dC(v) a beta distribution the number of competitors that win is beta-binomial."""
    recalls, rest = _recalls.binomial_ranks(math.log2(M), parse_loss(loss))
    found = recalls.weight @ np.exp(power * recalls.log_t) + rest
    law = scipy.stats.betabinom(M - 1, power, 1.0)
    exact = float(law.pmf(np.arange(M)) @ rewards(loss, np.arange(1.0, M + 1)))
    assert exact * (1 - 1e-9) <= found <= exact * (1 + 1e-3)


@pytest.mark.parametrize("power", POWERS)
@pytest.mark.parametrize("size", [40.0, 300.0])
def test_C27_the_recall_of_one_encoder_in_large_databases_is_a_beta_function(power, size):
    """The integral of (1-v)^(M-1) a v^(a-1) is a B(a, M), which is Gamma(1+a) M^-a in a large database."""
    recalls, rest = _recalls.binomial_ranks(size, parse_loss("error"))
    found = np.log(recalls.weight @ np.exp(power * recalls.log_t) + rest)
    log_M = size * math.log(2)
    exact = math.lgamma(1 + power) - power * log_M
    if size <= 40:
        assert exact == pytest.approx(math.log(power) + betaln(power, 2.0**size), rel=1e-9, abs=0)
    assert -1e-9 <= found - exact <= 1e-3


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("power", POWERS)
@pytest.mark.parametrize("M", [4, 50, 3000])
def test_C27_the_reward_of_separate_encoders_is_a_sum_over_ranks(loss, power, M):
    recalls, rest = _recalls.ranks(math.log2(M), parse_loss(loss))
    found = recalls.weight @ np.exp(power * recalls.log_t) + rest
    exact = np.diff(np.linspace(0.0, 1.0, M + 1) ** power) @ rewards(loss, np.arange(1.0, M + 1))
    assert exact * (1 - 1e-12) <= found <= exact * (1 + 1e-3)


@pytest.mark.parametrize("loss", ["reciprocal_rank", "dcg"])
@pytest.mark.parametrize("power", POWERS)
@pytest.mark.parametrize("size", [3.0, 10.0, 40.0])
def test_C27_joined_shares_have_no_smaller_reward(loss, power, size):
    """By Jensen's inequality; of C(t) = t the reward is the same. In large databases late shares are joined coarsely."""
    for form in (_recalls.binomial_ranks, _recalls.ranks):
        recalls = form(size, parse_loss(loss))[0]
        few = recalls.joined()
        whole = float(recalls.weight @ np.exp(power * recalls.log_t))
        found = float(few.weight @ np.exp(power * few.log_t))
        assert few.weight.sum() == pytest.approx(recalls.weight.sum(), rel=1e-12, abs=0)
        most = 1e-12 if power == 1 else 1e-2 if size < 40 else 0.2
        assert whole * (1 - 1e-12) <= found <= whole * (1 + most)


def tail_of_density(s, height):
    """P'(e^L > height): L is a constant and weighted chi-squares, of which the first is summed over its quantiles."""
    constant, weight = 0.5 * np.log(s).sum(), 0.5 * (1 - s)
    if np.ptp(s) == 0:
        return scipy.stats.chi2.sf((np.log(height) - constant) / weight[0], s.size)
    assert s.size == 2
    z, z_weight = np.polynomial.legendre.leggauss(400)
    first = weight[0] * (9 * z) ** 2
    left = (np.log(height)[:, None] - constant - first) / weight[1]
    return scipy.stats.chi2.sf(left, 1) @ (9 * z_weight * scipy.stats.norm.pdf(9 * z))


@pytest.mark.parametrize("s", [(0.5,), (0.3, 0.3, 0.3), (0.25, 0.7)])
def test_C29_layers_are_those_of_the_density_of_items(s, monkeypatch):
    """Finer layers and a finer grid of lengths come as close to the integrals as they are fine."""
    s = np.array(s)
    monkeypatch.setattr(_tilted, "_LAYERS", 1500)
    monkeypatch.setattr(_tilted, "_EXTRA_BITS", np.arange(0.0, 40.0, 0.01))
    masses = _tilted._layers(s)
    assert masses.sum() == pytest.approx(1, rel=0, abs=1e-6)
    log_height = np.linspace(0.5 * np.log(s).sum(), 40.0, 10_001)
    height = np.exp(log_height)
    tail = tail_of_density(s, height)
    # What is below the least density is a layer that all items share.
    layer = np.append(height[0], np.diff(height) * 0.5 * (tail[1:] + tail[:-1]))
    excess = -np.log2(np.append(1.0, np.maximum(0.5 * (tail[1:] + tail[:-1]), 1e-300)))
    for order in (0.5, 1.0, 2.0):
        # Means of 2^(-order excess), in which no rare layer counts for much.
        exact = float(layer @ 2.0 ** (-order * excess))
        found = float(masses[:-1] @ 2.0 ** (-order * _tilted._EXTRA_BITS))
        # Lengths are rounded up by at most a hundredth of a bit; layers have a thickness.
        assert exact * (2.0 ** (-0.01 * order) - 1e-3) <= found <= exact * (1 + 1e-3)


@settings(max_examples=8)
@given(st.floats(0.2, 0.95), st.floats(1.0, 16.0), st.floats(0.0, 12.0))
@example(0.25, 1.0, 2.0)  # an excess beyond 20 bits alone, where lengths are rare
def test_C29_the_hull_over_lengths_lies_above_all_chords(correlation, bits, log_gamma):
    """Chords to junk from codewords of every length, on a grid a hundred times as fine."""
    lengths = bits + _tilted._EXTRA_BITS
    found = _tilted._hull(correlation, lengths, np.array([log_gamma]))[0]
    for j in (0, 5, 20, 50):
        longer = np.append(np.linspace(0.0, 20.0, 4001), np.linspace(20.0, 60.0, 401)[1:])
        excess = Tails(correlation, lengths[j] + longer).excess(np.array([log_gamma]))[0]
        left = 1 - 2.0 ** -lengths[j], 1 - 2.0 ** -(lengths[j] + longer)
        chords = left[0] / left[1] * 2.0**-longer * excess
        chords += (1 - 2.0**-longer) / left[1] * max(1 - math.exp(log_gamma), 0.0)
        assert found[j] >= chords.max() * (1 - 1e-12)
        # It may not fall with the length either.
        assert found[j] <= max(chords.max() * 1.02 + 1e-6, found[max(j - 1, 0)])


@pytest.mark.parametrize("size", [1.0, math.log2(3), 10.0, 20.0, 300.0, 1000.0])
@pytest.mark.parametrize(
    "loss", ["error", ("miss", 2), ("miss", 100_000), "reciprocal_rank", "dcg"]
)
def test_C27_a_code_that_recalls_every_share_of_the_database_in_proportion_ranks_at_random(
    size, loss
):
    """C(t) = t is what no code falls below: no bound may leave it less than a random ranking has."""
    if size < 17 and isinstance(loss, tuple) and loss[1] >= 2**size:
        return
    random = 1 - float(limits.rank_loss(size, loss, rate=0.0).upper)
    for form in (_recalls.binomial_ranks, _recalls.ranks):
        recalls, rest = form(size, parse_loss(loss))
        assert recalls.weight @ np.exp(recalls.log_t) + rest >= random * (1 - 1e-13)


@settings(max_examples=60)
@given(st.floats(1.0, 9.0), st.sampled_from(LOSSES))
def test_C27_the_number_of_items_is_the_nearest_integer(size, loss):
    """Of sizes between integers too: the random ranking is one of round(2^size) items, from both sides."""
    M = round(2.0**size)
    random = float(rewards(loss, np.arange(1.0, M + 1)).mean())
    for form in (_recalls.binomial_ranks, _recalls.ranks):
        recalls, rest = form(size, parse_loss(loss))
        found = recalls.weight @ np.exp(recalls.log_t) + rest
        assert random * (1 - 1e-13) <= found <= random * (1 + 1e-3)


@pytest.mark.parametrize("correlation", [0.3, 0.8, 0.99, 0.9999])
@pytest.mark.parametrize("multiplier", [0.003, 0.05, 0.6])
def test_C27_the_usefulness_of_a_list_is_an_integral_over_items(correlation, multiplier):
    """Of all points at once, or of windows near correlation one: Gauss and Legendre's rule in cells about the step."""
    a = np.array([-2.0, 0.3, 2.5])
    sigma = math.sqrt((1 - correlation) * (1 + correlation))
    nodes, weights = np.polynomial.legendre.leggauss(20)
    wanted = []
    for one in a:
        # Where P(X > a|y) is one the density is that of an item given Y > y, and beyond sqrt(2/multiplier) it falls.
        step = one / correlation + np.linspace(-12, 12, 401) * sigma / correlation
        ends = np.unique(np.append(step, np.linspace(-12.0, math.sqrt(2 / multiplier) + 12, 1201)))
        half = 0.5 * np.diff(ends)[:, None]
        y = (ends[:-1, None] + half + half * nodes).ravel()
        seen = scipy.stats.norm.cdf((correlation * y - one) / sigma)
        log_mass = scipy.stats.norm.logpdf(y) + np.log((half * weights).ravel())
        wanted.append(multiplier * logsumexp(log_mass + seen / multiplier))
    found = _information.Items(correlation, a).usefulness(multiplier)
    np.testing.assert_allclose(found, wanted, rtol=1e-11, atol=1e-14)


@pytest.mark.parametrize("correlation", [0.9, 0.99])
def test_C27_items_near_the_turn_give_the_usefulness_of_all_items(correlation):
    """But for the rounding of distances up to ten, times the steepest P(X > a|Y): some units of the fourteenth decimal."""
    thresholds = np.arange(-6.0, 12.0, 0.3)
    windows, everywhere = (_information.Items(correlation, thresholds) for _ in range(2))
    everywhere.reach = math.inf
    for multiplier in (3e-4, 0.01, 0.3):
        np.testing.assert_allclose(
            windows.usefulness(multiplier),
            everywhere.usefulness(multiplier),
            rtol=1e-12,
            atol=3e-14,
        )
    assert any(points.y is None for points in windows._seen.values())
    assert all(points.y is not None for points in everywhere._seen.values())


@settings(max_examples=12)
@given(
    st.floats(0.2, 0.98),
    st.floats(0.01, 0.5),
    st.sampled_from([1, 20]),
    st.floats(3.0, 20.0),
)
def test_C27_lines_of_the_information_bound_lie_above_every_threshold(
    correlation, multiplier, shares, size
):
    """Also between the thresholds on which they are found: at ones a hundred times as fine around the touching points."""
    log_t = -size * math.log(2) + np.linspace(0.0, 1.0, shares)
    items = functools.partial(_information.Items, correlation)
    coarse = items(np.arange(-6.0, 8.0, _information._STEP))
    log_gamma, height = _information._supports(items, coarse, multiplier, log_t)
    a = np.linspace(-1.0, 6.0, 7001)
    useful, share = items(a).usefulness(multiplier), np.exp(log_ndtr(-a))
    most = (useful - np.exp(log_gamma[:, None]) * share).max(axis=1)
    assert (most <= height * (1 + 1e-12)).all()
    np.testing.assert_allclose(height, most, rtol=2e-3, atol=1e-4)


@settings(max_examples=40)
@given(
    st.lists(st.floats(0.02, 0.1), min_size=60, max_size=60),
    st.floats(0.5, 2.5),
    st.floats(-0.02, 0.02),
)
def test_C27_peaks_between_the_points_of_a_grid_are_bounded(steps, place, higher):
    """Of two bumps of nearly one height, on a grid of unequal steps, the lower one on the grid may be the higher one."""
    x = np.cumsum(steps)
    fine = np.linspace(x[0], x[-1], 100_001)

    def bumps(at):
        first = np.exp(-0.5 * ((at - x[0] - 0.2 * place) / 0.4) ** 2)
        return first + (1 + higher) * np.exp(-0.5 * ((at - x[-1] + 0.2 * place) / 0.4) ** 2)

    found, exact = float(peak(bumps(x), x)), bumps(fine).max()
    assert exact * (1 - 1e-12) <= found <= exact + 1e-2
    assert float(peak(np.stack([bumps(x)]), x)[0]) == found


def test_C27_the_highest_point_of_a_grid_need_not_be_next_to_the_peak():
    """One bump has its top on the grid, the other, a thousandth higher, in the middle of two points."""
    x = np.arange(-40, 41) * 0.1
    rows = np.exp(-2 * (x + 2) ** 2) + 1.001 * np.exp(-2 * (x - 2.05) ** 2)
    assert rows.argmax() == 20
    assert 1.001 < float(peak(rows)) < 1.01


@settings(max_examples=30)
@given(
    correlation=st.one_of(st.floats(0.05, 0.99), st.floats(-4, -2).map(lambda p: 1 - 10**p)),
    multiplier=st.floats(-3.4, -0.2).map(lambda power: 10**power),
    log_gamma=st.floats(10.0, 20.0),
)
@example(correlation=0.99946821, multiplier=0.046874, log_gamma=16.179)
def test_C27_skew_peaks_where_shares_fall_steeply_are_bounded(correlation, multiplier, log_gamma):
    """Between thresholds by a tenth apart the share falls by half: a parabola's top alone was 1e-4 too low."""
    parts = 16
    a = np.arange(-6.0, 8.9, 0.1 / parts)
    useful = _information.Items(correlation, a).usefulness(multiplier)
    fine = useful - np.exp(log_gamma + log_ndtr(-a))
    assert fine.max() <= peak(fine[::parts]) + 1e-9


@pytest.mark.parametrize("correlation", [1e-9, 1e-4, 0.9999, 1 - 1e-5, 1 - 1e-8])
@pytest.mark.parametrize("size", [1.0, 1000.0])
def test_C27_information_at_the_ends_of_the_correlation_takes_no_memory(correlation, size):
    source = sources.gaussian(correlation)
    found = limits.retrieval_converse(
        source, size, "reciprocal_rank", bits=np.array([0.1, 8.0, 300.0]), rate="information"
    )
    by_rank = limits.rank_loss(
        size, "reciprocal_rank", rate=min(300.0, float(source.mutual_information))
    )
    assert (np.diff(found.loss) <= 1e-12).all()
    assert float(by_rank.lower) - 1e-9 <= found.loss[2] <= found.loss[0] <= 1
