"""The certified hull over code lengths (C27), against fine grids of lengths, near correlation one too."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy.special import ndtr, ndtri_exp, owens_t

from rdsim import sources
from rdsim.limits.converses import _caps, _half_spaces, _recalls, _tilted
from rdsim.limits.converses._recalls import Recalls, binomial_ranks, ranks
from rdsim.limits.converses._tails import Tails
from rdsim.limits.converses.code_lengths import bounds, fixed_length, hulls, mixtures
from rdsim.ranking.loss import parse_loss

CORRELATIONS = st.floats(-6, -0.3).map(lambda power: 1 - 10.0**power)
BITS = st.floats(0.05, 20.0)


def made(words, bits, *, fixed, tolerance=1e-6):
    return bounds.CodeLengths(words, bits, fixed=fixed, tolerance=tolerance)


def thresholds(lengths, r, log_t):
    """Ln of those at which good codewords of length r fill their lists, and the rest have one junk codeword."""
    mass = lengths.bits / r
    if lengths.fixed:
        mass = math.expm1(-lengths.bits * math.log(2)) / math.expm1(-r * math.log(2))
        mass *= 2.0 ** (lengths.bits - r)
    return lengths.parts[0].log_ratio(r, np.minimum(log_t - math.log(mass), -1e-12))


def test_C27_codewords_that_are_longer_than_any_that_is_computed_are_counted():
    """Codes of one bit on average: one codeword in 40,000 of 40,001 bits is as good as an item of correlation .1."""
    correlation, bits, most = 0.1, 1.0, 40_000.0
    recalls = Recalls(np.array([-80 * math.log(2)]), np.ones(1))
    lengths = made(_half_spaces.codewords(correlation), bits, fixed=False)
    log_gamma = -recalls.log_t
    longest = lengths.longer[-1]
    near, far = (Tails(correlation, np.array([r])).excess(log_gamma)[0, 0] for r in (longest, most))
    assert near < 1e-3
    assert far > 0.999
    upper, _ = lengths.certified(log_gamma, recalls.weight, 1e-9)
    assert upper >= far * bits / most


def grid_of_lengths(bits, *, fixed):
    """Many more lengths than the bound starts with, denser towards R on both sides."""
    longer = np.append(0.0, np.geomspace(1e-4, 40.0 if fixed else 4000.0, 2000))
    shorter = bits - np.geomspace(1e-4 * bits, bits, 150)
    return np.append(shorter[::-1], bits + longer)


def hull_of_grid(tails, bits, log_gamma, weight, *, fixed):
    """The largest chord at R over all pairs of lengths of the grid."""
    r, excess = tails.r, weight @ tails.excess(log_gamma)
    short, long = r <= bits, r >= bits
    # Parts of each in x = q / 2^-R or x = r, as products: a short codeword has up to 2^R of the mass.
    x, at = (np.exp2(bits - r), 1.0) if fixed else (r, bits)
    found = -np.inf
    for i in np.flatnonzero(short):
        width = x[long] - x[i]
        apart = width != 0
        width = np.where(apart, width, 1.0)
        part = np.where(apart, (at - x[i]) / width * (x[long] if fixed else 1.0), 1.0)
        rest = np.where(apart, (x[long] - at) / width * (x[i] if fixed else 1.0), 0.0)
        found = max(found, float((part * excess[long] + rest * excess[i]).max()))
    return found


@settings(max_examples=12)
@given(
    correlation=CORRELATIONS,
    bits=BITS,
    good=st.floats(0.0, 8.0),
    size=st.floats(3.0, 40.0),
    loss=st.sampled_from(["error", "reciprocal_rank", "dcg"]),
    fixed=st.booleans(),
)
def test_C27_the_hull_holds_for_lengths_between_those_that_are_computed(
    correlation, bits, good, size, loss, fixed
):
    words = _half_spaces.codewords(correlation)
    recalls = ranks(size, parse_loss(loss))[0].joined(fraction=0.1, width=1.0)
    lengths = made(words, bits, fixed=fixed)
    log_gamma = thresholds(lengths, bits + good, recalls.log_t)
    upper, lower = lengths.certified(log_gamma, recalls.weight, 1e-7)
    tails = Tails(correlation, grid_of_lengths(bits, fixed=fixed))
    wanted = hull_of_grid(tails, bits, log_gamma, recalls.weight, fixed=fixed)
    # Beyond the longest length codewords count as certain: a share of the mass in 2^40, of the bits in 4000.
    beyond = 2.0**-39 if fixed else bits / 3000
    # Lengths of its own may lie nearer to the best than those of the grid.
    assert lower - beyond <= wanted + 1e-4 * recalls.weight.sum()
    assert wanted <= upper + 1e-12
    assert upper <= wanted + beyond + 1e-3 * recalls.weight.sum()


@pytest.mark.parametrize("dimension", [3, 16])
def test_C27_the_hull_of_caps_holds_between_lengths(dimension):
    source = sources.projected_normal(dimension, correlation=0.8)
    words = _caps.codewords(source)
    recalls = Recalls(np.array([-math.log(100.0)]), np.ones(1))
    for fixed in (True, False):
        lengths = made(words, 4.0, fixed=fixed)
        log_gamma = thresholds(lengths, 6.0, recalls.log_t)
        upper, lower = lengths.certified(log_gamma, recalls.weight, 1e-6)
        r = np.concatenate([np.linspace(0.0, 4.0, 30), 4.0 + np.linspace(0.0, 12.0, 300)])
        wanted = hull_of_grid(
            _caps.CapTails(source, r), 4.0, log_gamma, recalls.weight, fixed=fixed
        )
        assert lower - 2e-3 <= wanted <= upper + _caps.ROUNDING
        assert upper - lower <= 1e-6


@settings(max_examples=10)
@given(correlation=CORRELATIONS, bits=BITS, size=st.floats(3.0, 30.0))
def test_C27_the_search_leaves_no_better_thresholds(correlation, bits, size):
    """The bound is no looser than with thresholds of good codewords of any other length, to a thousandth."""
    words = _half_spaces.codewords(correlation)
    recalls = words.joined(ranks(size, parse_loss("reciprocal_rank"))[0], bits, 1e-6)
    found = made(words, bits, fixed=True).least(recalls)
    tilt = recalls.log_t - recalls.weight @ recalls.log_t / recalls.weight.sum()
    for good, power in itertools.product(np.geomspace(1e-2, 12.0, 8), (-0.2, -0.05, 0.0)):
        lengths = made(words, bits, fixed=True)
        log_gamma = thresholds(lengths, bits + good, recalls.log_t) + power * tilt
        bound = float(recalls.weight @ np.exp(recalls.log_t + log_gamma))
        bound += lengths.certified(log_gamma, recalls.weight, 1e-6)[0]
        assert found <= bound + 1e-4


@settings(max_examples=5)
@given(
    correlation=st.floats(0.3, 0.95),
    bits=st.floats(0.5, 12.0),
    size=st.floats(3.0, 16.0),
    loss=st.sampled_from(["error", "reciprocal_rank"]),
    fixed=st.booleans(),
)
@example(correlation=0.95, bits=4.0, size=10.0, loss="reciprocal_rank", fixed=True)
@example(correlation=0.3125, bits=2.0, size=12.0, loss="error", fixed=False)
def test_C27_the_bound_is_the_least_over_all_thresholds(correlation, bits, size, loss, fixed):
    """It is a saddle point: no thresholds have a bound below the excess of a mixture of two lengths at the best ones.

    Thresholds of good codewords of one length alone left an MRR of .026 too much in the example.
    """
    words = _half_spaces.codewords(correlation)
    recalls = words.joined(binomial_ranks(size, parse_loss(loss))[0], bits, 1e-6)
    found = made(words, bits, fixed=fixed).least(recalls)
    # Of an entropy a few items may be stored with hundreds of bits each, which the second example needs.
    long = bits + np.geomspace(1e-2, 30.0 if fixed else 1000.0, 120 if fixed else 180)
    short = np.linspace(0.0, bits, 5)[:-1]
    mass, rest = hulls.parts_of(bits, long, short, in_q=fixed)
    log_gamma = np.arange(-10.0, -recalls.log_t.min() + 1, 0.05)
    excess = [Tails(correlation, each).excess(log_gamma) for each in (long, short)]
    given = np.exp(recalls.log_t[:, None] + log_gamma)
    least = [
        recalls.weight
        @ (given + mass[i, j] * excess[0][:, i] + rest[i, j] * excess[1][:, j]).min(axis=1)
        for i, j in np.ndindex(mass.shape)
    ]
    whole = recalls.weight.sum()
    # Thresholds of the grid are a fortieth of a nat off at most; mixtures of other lengths may have more.
    assert max(least) - 1e-3 * whole <= found <= max(least) + 5e-3 * whole


@settings(max_examples=5)
@given(
    correlation=CORRELATIONS,
    bits=st.floats(0.5, 20.0),
    size=st.floats(2.0, 20.0),
    loss=st.sampled_from(["error", "reciprocal_rank", ("miss", 3), "dcg"]),
    fixed=st.booleans(),
    tolerance=st.sampled_from([1e-5, 1e-4, 1e-3, 1e-2]),
)
@example(correlation=0.99999, bits=1.0, size=12.0, loss="error", fixed=False, tolerance=1e-4)
def test_C27_a_bound_of_a_larger_tolerance_is_the_looser_one(
    correlation, bits, size, loss, fixed, tolerance
):
    words, shares = _half_spaces.codewords(correlation), binomial_ranks(size, parse_loss(loss))[0]
    fine, coarse = (
        made(words, bits, fixed=fixed, tolerance=one).least(words.joined(shares, bits, one))
        for one in (1e-6, tolerance)
    )
    # Either is certified; the search of the fine one ends within 5e-4 of the least.
    assert fine - 5e-4 <= coarse <= fine + 2 * tolerance + 5e-4


@pytest.mark.parametrize(
    ("correlation", "size", "loss"), [(0.8, 10.0, "error"), (0.8, 16.0, "reciprocal_rank")]
)
def test_C27_where_equal_codewords_are_reported_the_hull_of_all_shares_touches(
    monkeypatch, correlation, size, loss
):
    """At the fewest bits where it does for joined shares, and a little above: for all shares, and for finer ones."""
    words = _half_spaces.codewords(correlation)
    shares = binomial_ranks(size, parse_loss(loss))[0]

    def exceeded(bits, recalls):
        return made(words, bits, fixed=True).exceed_equal(recalls)

    unequal, bits = 0.5 * size, 1.5 * size
    for _ in range(24):
        middle = 0.5 * (unequal + bits)
        if exceeded(middle, words.joined(shares, middle, 1e-6)):
            unequal = middle
        else:
            bits = middle
    for more in (0.0, 2e-4):
        unequal = fixed_length(words, bits + more, shares, 0.0, 1e-6)[1]
        assert unequal == exceeded(bits + more, shares)
    assert not unequal
    monkeypatch.setattr(_recalls, "_RATIO", 1.01)
    finer = binomial_ranks(size, parse_loss(loss))[0]
    assert finer.log_t.size > 3 * shares.log_t.size
    assert not exceeded(bits + more, finer)


@pytest.mark.parametrize("correlation", [0.999, 0.9999, 0.999995])
@pytest.mark.parametrize("tolerance", [1e-6, 1e-3])
def test_C27_the_search_leaves_a_kink_near_correlation_one(correlation, tolerance):
    """The mixture of one pair of lengths is a kink, where no step to another pair is better: the recall was up to .66 there.

    Of noiseless items, whose codeword of r bits has a recall of min(2^r t, 1), every mixture of R bits has an excess of at most R
    times the concave hull's slope in r, that of the best length.
    """
    size, bits = 18.0, 3.97
    shares, rest = binomial_ranks(size, parse_loss("error"))
    words = _half_spaces.codewords(correlation)
    joined = words.joined(shares, bits, tolerance)
    found = made(words, bits, fixed=False, tolerance=tolerance).least(joined) + rest
    r = np.linspace(bits, 40.0, 400)
    # A target that shares its codeword with Bin(M-1, q) others is the first of them with 1 - (1-q)^M over M q.
    M, q = 2.0**size, np.exp2(-r)
    reward = -np.expm1(M * np.log1p(-q)) / (M * q)
    noiseless = float((bits / r * reward).max())
    assert 0.95 * noiseless <= found <= noiseless + 0.04


def mixture_reward(correlation, r, mass, size):
    """First places of a mixture of half-spaces with the best list for every threshold, by Owen's T function."""
    b = -ndtri_exp(-r * math.log(2))
    sigma = math.sqrt((1 - correlation) * (1 + correlation))
    log_gamma = np.concatenate([np.linspace(30.0, -2.0, 3000), np.linspace(-2.0, -30.0, 300)[1:]])
    level = log_gamma[:, None] - r * math.log(2)
    z = np.where(level < 0, ndtri_exp(np.where(level < 0, level, -1.0)), np.inf)
    a = np.clip((b + sigma * z) / correlation, -30.0, 30.0)
    first = owens_t(a, (b / a - correlation) / sigma) + owens_t(b, (a / b - correlation) / sigma)
    both = 0.5 * (ndtr(-a) + ndtr(-b)) - first - np.where(a * b < 0, 0.5, 0.0)
    recall = np.concatenate([[0.0], np.clip(both * np.exp2(r) @ mass, 0, 1), [1.0]])
    share = np.concatenate([[0.0], np.clip(ndtr(-a) @ mass, 0, 1), [1.0]])
    # Between two thresholds lists are drawn: E w(1 + Bin(M-1, v)) is integrated over a share.
    M = 2.0**size
    width = np.diff(share)
    reward = -np.diff(np.exp(M * np.log1p(-np.minimum(share, 1 - 1e-16)))) / M
    some = width > 1e-13 * share[1:]
    reward = np.where(some, reward / np.where(some, width, 1.0), (1 - share[1:]) ** (M - 1))
    return float(np.diff(recall) @ np.clip(reward, 0.0, 1.0))


@settings(max_examples=15)
@given(
    correlation=st.floats(0.3, 0.9995),
    bits=st.floats(0.2, 10.0),
    size=st.sampled_from([1.0, 4.0, 10.0, 14.0]),
    more=st.lists(st.floats(1e-3, 10.0), min_size=6, max_size=6),
    less=st.lists(st.floats(0.01, 0.99), min_size=6, max_size=6),
    fixed=st.booleans(),
    tolerance=st.sampled_from([1e-6, 1e-4, 1e-1]),
)
def test_C27_no_mixture_of_half_spaces_passes(
    correlation, bits, size, more, less, fixed, tolerance
):
    """Codewords of two lengths on each side of R, their lists as long as they like: all that the bound allows a code."""
    shares, rest = binomial_ranks(size, parse_loss("error"))
    words = _half_spaces.codewords(correlation)
    joined = words.joined(shares, bits, tolerance)
    bound = made(words, bits, fixed=fixed, tolerance=tolerance).least(joined) + rest
    for i in range(3):
        long, short = (
            bits + np.sort(more[2 * i : 2 * i + 2]),
            bits * np.sort(less[2 * i : 2 * i + 2]),
        )
        mass, other = hulls.parts_of(bits, long, short, in_q=fixed)
        for part in (0.0, 0.7):
            each = np.concatenate(
                [
                    [(1 - part) * mass[0, 0], part * mass[1, 1]],
                    [(1 - part) * other[0, 0], part * other[1, 1]],
                ]
            )
            r = np.concatenate([long, short])
            assert each.sum() == pytest.approx(1)
            assert mixture_reward(correlation, r, each, size) <= bound + 1e-10


@settings(max_examples=12)
@given(correlation=CORRELATIONS, bits=st.floats(0.1, 60.0))
def test_C29_the_hull_of_tilted_layers_holds_for_lengths_between_those_that_are_computed(
    correlation, bits
):
    r"""Chords to one junk codeword from the codewords of a fine grid, for every length of a layer."""
    lengths, log_gamma = bits + _tilted._EXTRA_BITS, np.linspace(-4.0, 20.0, 25)
    found = _tilted._hull(correlation, lengths, log_gamma)
    r = np.unique(np.append(np.linspace(bits, bits + 40, 2000), lengths))
    excess = Tails(correlation, r).excess(log_gamma)
    junk = np.maximum(-np.expm1(log_gamma), 0.0)[:, None]
    # The grid is coarser beyond 8 bits, where layers are a share in 256.
    for j, loose in ((0, 2e-3), (3, 2e-3), (17, 2e-3), (40, 4e-3), (63, 2e-2)):
        longer = r >= lengths[j]
        q, q0 = np.exp2(-r[longer]), np.exp2(-lengths[j])
        chord = (1 - q0) / (1 - q) * (q / q0) * excess[:, longer]
        chord += (1 - q / q0) / (1 - q) * junk
        assert (found[:, j] >= chord.max(axis=1) - 1e-12).all()
        assert (found[:, j] <= chord.max(axis=1) + loose).all()


@pytest.mark.parametrize("correlation", [0.8, 0.9999])
def test_C27_a_repeated_search_begins_where_the_last_one_ended(correlation):
    """The mixture of the last search is better than any pair of lengths that the search would begin with, and is kept."""
    words, (recalls, _) = _half_spaces.codewords(correlation), ranks(16.0, parse_loss("dcg"))
    recalls, lengths = words.joined(recalls, 4.0, 1e-6), made(words, 4.0, fixed=True)
    nothing = mixtures.Mixture(np.zeros(0), np.zeros(0))
    last = lengths._best_mixture(recalls, nothing)
    assert last.r.size > 2
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mixtures, "_FRANK_WOLFE_STEPS", 1)
        again = lengths._best_mixture(recalls, last)
        first = lengths._best_mixture(recalls, nothing)
    assert first.r.size == 2
    np.testing.assert_array_equal(again.r, last.r)
    np.testing.assert_array_equal(again.mass, last.mass)
