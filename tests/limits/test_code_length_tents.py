"""Excess of codewords of one length, its slopes, and the tents above it between two lengths (C27), near correlation one too."""

import functools
import itertools
import math

import numpy as np
import pytest
import scipy.integrate
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy.special import log_ndtr, ndtri_exp

from rdsim import sources
from rdsim.limits.converses import _caps
from rdsim.limits.converses._tails import Tails, query_nodes
from rdsim.limits.converses.code_lengths import tents

CORRELATIONS = st.floats(-6, -0.3).map(lambda power: 1 - 10.0**power)


def exceed_by_quadrature(correlation, b, log_q, a):
    """P(X > a | Y > b) as an integral over Y, adaptive between points about the step at a / rho."""
    sigma = math.sqrt((1 - correlation) * (1 + correlation))

    def density(y):
        seen = log_ndtr((correlation * y - a) / sigma)
        return math.exp(-0.5 * y * y - 0.5 * math.log(2 * math.pi) - log_q + seen)

    step = [a / correlation + k * sigma for k in (-8, -4, -2, -1, 0, 1, 2, 4, 8)]
    last = max(b, 0.0) + 9
    ends = sorted({b, last, *(y for y in step if b < y < last)})
    parts = itertools.pairwise(ends)
    return sum(scipy.integrate.quad(density, *part, epsabs=1e-15)[0] for part in parts)


@pytest.mark.parametrize(
    "correlation",
    [0.05, 0.3, 0.7, 0.7071, 0.7072, 0.9, 0.99, 0.999, 0.9999, 0.99999, 1 - 1e-6, 1 - 1e-8],
)
@pytest.mark.parametrize("r", [0.01, 2.0, 16.0, 100.0])
def test_tails_are_integrals_up_to_correlation_one(correlation, r):
    """The polynomials of the cells, of the query's density or of that of the noise, against adaptive quadrature."""
    tails, sigma = (
        Tails(correlation, np.array([r])),
        math.sqrt((1 - correlation) * (1 + correlation)),
    )
    width = max(sigma, 0.1)
    a = correlation * tails.b[0] + width * np.array(
        [-9.0, -3, -0.3, -0.01, 0, 0.001, 0.2, 1, 4, 11]
    )
    found = tails.exceed(a, np.zeros(a.size, int))
    wanted = [exceed_by_quadrature(correlation, tails.b[0], -r * math.log(2), one) for one in a]
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-12)
    log_gamma = log_ndtr((correlation * a - tails.b[0]) / sigma) + r * math.log(2)
    excess = tails.excess(log_gamma)[:, 0]
    np.testing.assert_allclose(
        excess, wanted - np.exp(log_gamma + log_ndtr(-a)), rtol=0, atol=1e-12
    )


@pytest.mark.parametrize("correlation", [0.9, 0.99, 0.999, 0.9999, 0.99999, 1 - 1e-6, 1 - 1e-8])
@pytest.mark.parametrize("r", [2.0, 16.0, 100.0])
def test_points_of_the_query_near_correlation_one(correlation, r):
    """The density of the query rises within sigma, far less than a cell is wide elsewhere."""
    tails = Tails(correlation, np.array([r]))
    a = tails.b[:1] - 0.3
    wanted = tails.exceed(a, np.zeros(1, int))
    for parts in (1, 3):
        x, probability = query_nodes(correlation, r, parts)
        assert probability.sum() == pytest.approx(1, abs=1e-13)
        assert probability[x > a[0]].sum() == pytest.approx(wanted[0], abs=1e-2)


@settings(max_examples=50)
@given(
    start=st.floats(0.1, 8.0),
    width=st.floats(0.05, 6.0),
    steep=st.floats(0.5, 30.0),
    middle=st.floats(0.0, 1.0),
    in_q=st.booleans(),
)
def test_C27_tents_lie_above_every_function_of_such_slopes(start, width, steep, middle, in_q):
    """A logistic F(r), whose slopes D = F - F'(r)/ln 2 of qF in q are known between the two lengths."""
    ends = np.array([start, start + width])
    inside = np.linspace(*ends, 2001)

    def logistic(r):
        return 1 / (1 + np.exp(-steep * (r - start - middle * width)))

    F = logistic(inside)
    D = F - steep * F * (1 - F) / math.log(2)
    loose = 1e-5 * steep**2  # of the least and the largest slope between points of the grid
    at, height = tents(
        ends, F[[0, -1]], np.array([D.min() - loose]), np.array([D.max() + loose]), in_q=in_q
    )
    corners = np.append(ends[0], np.append(at, ends[1])), np.append(F[0], np.append(height, F[-1]))
    if in_q:  # lines in q are lines in 1/q for q F / q
        above = np.interp(np.exp2(inside - ends[1]), np.exp2(corners[0] - ends[1]), corners[1])
    else:
        above = np.interp(inside, *corners)
    assert (above + 1e-12 >= F).all()


def assert_tents_lie_above(make_tails, ends, log_gamma, *, in_q, rounding):
    """The excess of codewords of lengths between two ends, against the tent over these."""
    gamma, r = np.array([log_gamma]), np.array(ends)
    tails = make_tails(r)
    edges, excess = tails.edges(gamma), tails.excess(gamma)
    slopes = tails.slopes(gamma, edges.at(slice(1)), edges.at(slice(1, 2)))
    at, height = (one[0] for one in tents(r, excess, *slopes, in_q=in_q))
    inside = np.linspace(*r, 50)
    truth = make_tails(inside).excess(gamma)[0]
    corners = np.array([r[0], at[0], r[1]]), np.array([excess[0, 0], height[0], excess[0, 1]])
    if in_q:  # lines in q are lines in 1/q for q F / q
        above = np.interp(np.exp2(inside - r[1]), np.exp2(corners[0] - r[1]), corners[1])
    else:
        above = np.interp(inside, *corners)
    assert (truth <= above + rounding).all()


@settings(max_examples=25)
@given(
    correlation=CORRELATIONS,
    ends=st.tuples(st.floats(0, 12), st.floats(1e-3, 6)).map(lambda one: (one[0], sum(one))),
    log_gamma=st.floats(-3, 9),
    in_q=st.booleans(),
)
def test_C27_tents_lie_above_what_codewords_are_worth(correlation, ends, log_gamma, in_q):
    """Between two lengths, for lines in q or in r."""
    make_tails = functools.partial(Tails, correlation)
    assert_tents_lie_above(make_tails, ends, log_gamma, in_q=in_q, rounding=1e-12)


@settings(max_examples=25)
@given(
    shorter=st.sampled_from([0.0, 0.5, 2.0, 5.0]),
    longer=st.integers(1, 8),
    log_gamma=st.floats(-1, 6),
    in_q=st.booleans(),
)
@example(shorter=0.0, longer=6, log_gamma=0.09, in_q=True)
def test_C27_tents_lie_above_what_caps_are_worth(shorter, longer, log_gamma, in_q):
    """Also where the list of a codeword between two lengths ends at a lower score than both of theirs."""
    make_tails = functools.partial(_caps.CapTails, sources.projected_normal(16, correlation=0.9))
    ends = shorter, shorter + longer
    assert_tents_lie_above(make_tails, ends, log_gamma, in_q=in_q, rounding=_caps.ROUNDING)


def test_C27_equal_codewords_end_where_their_list_does():
    """Half of a normal pair's list: with z the end of the list the recall is that of the threshold."""
    tails = Tails(0.7, np.array([3.0]))
    log_t = np.array([-2.0])
    a = -ndtri_exp(log_t)
    gamma = tails.log_ratio(3.0, log_t)
    recall = tails.exceed(a, np.zeros(1, int))
    assert tails.excess(gamma)[0, 0] == pytest.approx(
        recall[0] - math.exp(gamma[0] - 2.0), abs=1e-14
    )


CAPS = functools.partial(_caps.CapTails, sources.projected_normal(16, correlation=0.9))


@pytest.mark.parametrize("bits", [3.0, 12.0])
def test_C27_the_ratio_at_the_end_of_a_list_is_the_slope_of_the_recall(bits):
    """Of half-spaces and of caps: a list that grows by dt finds gamma dt more."""
    log_t, step = np.array([-1.0, -3.0, -6.0]), 1e-3
    caps, normal = CAPS(np.array([bits])), Tails(0.7, np.array([bits]))
    recalls = caps.recall, lambda log_t: normal.exceed(-ndtri_exp(log_t), np.zeros(3, int))
    for tails, recall, loose in zip((caps, normal), recalls, (5e-4, 5e-6), strict=True):
        more = recall(log_t + step) - recall(log_t - step)
        slope = more / (np.exp(log_t + step) - np.exp(log_t - step))
        np.testing.assert_allclose(tails.log_ratio(bits, log_t), np.log(slope), rtol=0, atol=loose)


@pytest.mark.parametrize("bits", [1.0, 3.0, 12.0])
@pytest.mark.parametrize(("make", "loose"), [(CAPS, 1e-3), (functools.partial(Tails, 0.7), 1e-6)])
def test_C27_in_a_cell_of_no_width_both_slopes_are_the_derivative_in_q(make, loose, bits):
    log_gamma, step = np.array([-1.0, 0.5, 2.0, 5.0]), 1e-3
    around = np.array([bits - step, bits, bits + step])
    q, tails = np.exp2(-around), make(around)
    excess = q * tails.excess(log_gamma)
    slope = (excess[:, 0] - excess[:, 2]) / (q[0] - q[2])
    middle = tails.edges(log_gamma).at(slice(1, 2))
    for found in tails.slopes(log_gamma, middle, middle):
        np.testing.assert_allclose(found[:, 0], slope, rtol=0, atol=loose)
