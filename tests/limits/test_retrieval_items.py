"""C12, items of few values: the search against closed forms, duals and slow random multistarts."""

import jax.numpy as jnp
import numpy as np
import pytest
import reference
import scipy.optimize
import strategies
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import entr, expit, logsumexp

from rdsim import sources
from rdsim.limits.retrieval import _item_channels as item_channels
from rdsim.limits.retrieval._item_channels import item_schemes
from rdsim.limits.retrieval._time_sharing import lower_hull
from rdsim.limits.retrieval.bounds import retrieval_bounds
from rdsim.ranking import expected_loss, scored_loss
from rdsim.ranking.block_score import block_loss
from rdsim.ranking.loss import parse_loss

RECIPROCAL = "reciprocal_rank"
WITHIN = 0.01
"""Bits by which the search may miss the optimum of a binary query."""
WITHIN_DSBS = 1e-3


def scheme_curve(joint, log2_size, loss=RECIPROCAL, n=1):
    """Vertices of what the search achieves, and D_max."""
    zero_rate = float(expected_loss(log2_size, loss, log_a=-np.inf, log_e=0.0))
    found = item_schemes(np.asarray(joint), jnp.asarray(float(log2_size)), n, parse_loss(loss))
    return lower_hull(found, zero_rate), zero_rate


def reciprocal_rank_loss(p, size):
    """Loss of a target that each of size - 1 competitors beats with probability p > 0."""
    return 1 + np.expm1(size * np.log1p(-p)) / (size * p)


def half_interval(size):
    """Nodes and weights on (0, 1/2), fine near zero."""
    nodes, weights = np.polynomial.legendre.leggauss(24)
    ends = np.append(0.0, np.geomspace(1e-4 / size, 0.5, 160))
    half = np.diff(ends)[:, None] / 2
    return (ends[:-1, None] + half * (1 + nodes)).ravel(), (half * weights).ravel()


def best_of_dsbs(crossover, size, sharpness):
    """Rate and loss of the optimum of the DSBS: a word for each q, posterior a sigmoid."""
    q, weight = half_interval(size)
    first, last = reciprocal_rank_loss(q, size), reciprocal_rank_loss(1 - q, size)
    posterior = expit(sharpness * (last - first))
    rate = 1 - 2 * weight @ (entr(posterior) + entr(1 - posterior)) / np.log(2)
    right = crossover + (1 - 2 * crossover) * posterior
    return rate, 2 * weight @ (first * right + last * (1 - right))


@pytest.mark.parametrize("size", [2, 16, 128])
def test_C12_one_letter_search_is_near_the_closed_form_of_the_dsbs(size):
    corners, _ = scheme_curve(sources.dsbs(0.1).joint, np.log2(size))
    sharpness = np.geomspace(0.6, 60, 12) * max(size / 16, 1)
    rate, loss = np.transpose([best_of_dsbs(0.1, size, b) for b in sharpness])
    above = np.interp(loss, corners.loss, corners.bits) - rate
    assert above.min() > -1e-9
    assert above.max() < WITHIN_DSBS


def test_C12_one_letter_inner_curve_is_not_above_a_learned_code():
    """Four learned words reached (0.252728, 0.719235); the best words reach 0.225949 there."""
    bounds = retrieval_bounds(sources.dsbs(0.1), 4.0, RECIPROCAL, n=1, distortion=[0.719235])
    assert float(bounds.upper[0]) <= 0.252728 + 1e-6
    assert 0.2259489 < float(bounds.upper[0]) < 0.2259490 + 3e-4
    for loss, bits, channel in list(
        zip(bounds.vertex_loss, bounds.vertex_bits, np.asarray(bounds.channels), strict=True)
    )[::9]:
        np.testing.assert_allclose(channel.sum(axis=1), 1.0, rtol=0, atol=1e-12)
        joint = np.asarray(sources.dsbs(0.1).joint)
        rate = reference.mutual_information_by_sums(joint.sum(axis=0)[:, None] * channel)
        np.testing.assert_allclose(bits, rate, rtol=0, atol=1e-10)
        np.testing.assert_allclose(
            block_loss(joint, channel, 4.0, RECIPROCAL, n=1), loss, rtol=1e-10
        )


def dual_bound(joint, size, slope):
    """No test channel of a binary query has less loss + slope I(U;Y), by weak duality; in nats."""
    py = joint.sum(axis=0)
    q, weight = half_interval(size)
    first, last = reciprocal_rank_loss(q, size), reciprocal_rank_loss(1 - q, size)
    slots = np.concatenate([np.stack([first, last]), np.stack([last, first])], axis=1)
    weight = np.tile(weight, 2)
    cost = slots.T @ (joint / py)

    def negative(g):
        exponent = np.log(py) + (g - cost) / slope
        inside = -slope * logsumexp(exponent, axis=1)
        part = np.exp(exponent - logsumexp(exponent, axis=1)[:, None])
        return -(py @ g + weight @ inside), -(py - weight @ part)

    found = scipy.optimize.minimize(negative, np.zeros(py.size), jac=True, method="BFGS")
    return -found.fun


@settings(max_examples=6)
@given(strategies.joint_pmfs((2, 3)), st.sampled_from([0.01, 0.03, 0.1]))
def test_C12_one_letter_search_is_near_the_dual_bound_of_any_binary_query(joint, slope):
    corners, zero_rate = scheme_curve(joint, 4.0)
    span = zero_rate - corners.loss[0]
    if span < 1e-3 or (joint.sum(axis=0) < 1e-6).any():
        return
    slope = slope * 20 * span
    reached = corners.loss + slope * np.log(2) * corners.bits
    bound = dual_bound(joint, 16, slope)
    assert reached.min() >= bound - 1e-9
    assert reached.min() <= bound + slope * np.log(2) * WITHIN


def slot_means(a, b, size):
    """Mean reciprocal-rank loss over each slot (a, b), term by term."""
    k = np.arange(1, size + 1)
    width = np.maximum(b - a, 1e-12)
    terms = ((1 - a)[:, None] ** k - (1 - a - width)[:, None] ** k) / k
    return 1 - terms.sum(axis=1) / (size * width)


def multistart(joint, size, slope, words, starts):
    """Least loss + slope I(U;Y) of a few words by quasi-Newton descents from random channels."""
    generator = np.random.default_rng(5)
    py = joint.sum(axis=0)

    def cost(logits):
        channel = np.exp(logits.reshape(py.size, words)) + 1e-12
        channel /= channel.sum(axis=1, keepdims=True)
        through = joint @ channel
        pu = through.sum(axis=0)
        total = slope * np.sum(py[:, None] * channel * np.log(channel / pu))
        for row in through:
            order = np.argsort(-row / pu)
            ends = np.append(0.0, np.cumsum(pu[order]))
            total += row[order] @ slot_means(ends[:-1], np.minimum(ends[1:], 1.0), size)
        return total

    begin = 2 * generator.standard_normal((starts, py.size * words))
    return min(scipy.optimize.minimize(cost, start, method="L-BFGS-B").fun for start in begin)


TERNARY = np.array([[0.25, 0.05, 0.02], [0.03, 0.2, 0.1], [0.02, 0.05, 0.28]])


@pytest.mark.parametrize("joint", [TERNARY, np.eye(3) / 4 + 1 / 36])
def test_C12_one_letter_search_is_not_beaten_by_random_starts_of_few_words(joint):
    corners, zero_rate = scheme_curve(joint, 4.0)
    for share in (0.1, 0.6):
        slope = share * (zero_rate - corners.loss[0])
        reached = np.min(corners.loss + slope * np.log(2) * corners.bits)
        assert reached <= multistart(joint, 16, slope, 5, 3) + 1e-9


@pytest.mark.parametrize(
    ("loss", "log2_size"), [("error", 30.0), (("miss", 3), 1.0), (("miss", 3), 6.0), ("dcg", 1.0)]
)
def test_C12_one_item_schemes_of_other_losses_are_exact_and_convex(loss, log2_size):
    corners, zero_rate = scheme_curve(TERNARY[:2] / TERNARY[:2].sum(), log2_size, loss)
    if loss == ("miss", 3) and log2_size == 1.0:
        assert corners.loss.size == 1  # of two items the target is among the first three
        return
    assert corners.loss[-1] == zero_rate
    slopes = np.diff(corners.bits) / np.diff(corners.loss)
    assert (slopes < 0).all()
    assert (np.diff(slopes) >= -1e-6 * np.abs(slopes[1:])).all()
    for i in range(0, len(corners.loss), 20):
        through = TERNARY[:2] / TERNARY[:2].sum() @ corners.channels[i]
        np.testing.assert_allclose(
            scored_loss(through, log2_size, loss), corners.loss[i], rtol=1e-8
        )


def test_C12_one_letter_search_does_not_see_names_copies_and_empty_letters():
    joint = np.array([[0.35, 0.05, 0.1], [0.1, 0.3, 0.1]])
    plain, _ = scheme_curve(joint, 4.0)
    split = np.stack([joint[:, 2], joint[:, 0] / 4, 0 * joint[:, 0], 3 * joint[:, 0] / 4], axis=1)
    split = np.column_stack([split, joint[:, 1]])[::-1]
    other, _ = scheme_curve(np.vstack([split, np.zeros(5)]), 4.0)
    np.testing.assert_allclose(other.bits[0], plain.bits[0], rtol=0, atol=1e-12)
    D = np.linspace(plain.loss[0], plain.loss[-1], 9)
    curves = [np.interp(D, c.loss, c.bits) for c in (plain, other)]
    np.testing.assert_allclose(*curves, rtol=0, atol=1e-6)


def test_C12_too_many_letters_fall_back_on_the_candidates(monkeypatch):
    joint = np.array([[0.45, 0.05], [0.1, 0.4]])
    full, zero_rate = scheme_curve(joint, 3.0)
    monkeypatch.setattr(item_channels, "_WORK_LIMIT", 0.0)
    bounds = retrieval_bounds(joint, 3.0, RECIPROCAL, n=1, rounds=0, distortion=[0.4])
    assert bounds.channels.shape[2] == 3
    assert float(bounds.upper[0]) > np.interp(0.4, full.loss, full.bits)
    assert float(bounds.zero_rate_loss) == zero_rate
