"""C12, items of few values: the bounds against closed forms and slow random multistarts."""

import numpy as np
import pytest
import scipy.optimize
from scipy.special import entr, expit

from rdsim import sources
from rdsim.limits.sandwich import retrieval_bounds

RECIPROCAL = "reciprocal_rank"
TERNARY = np.array([[0.25, 0.05, 0.02], [0.03, 0.2, 0.1], [0.02, 0.05, 0.28]])


def reciprocal_rank_loss(p, size):
    """Loss of a target that each of size - 1 competitors beats with probability p > 0."""
    return 1 + np.expm1(size * np.log1p(-p)) / (size * p)


def best_of_dsbs(crossover, size, sharpness):
    """Rate and loss of the optimum of the DSBS: a codeword for each q, posterior a sigmoid."""
    nodes, weights = np.polynomial.legendre.leggauss(24)
    ends = np.append(0.0, np.geomspace(1e-4 / size, 0.5, 160))
    half = np.diff(ends)[:, None] / 2
    q, weight = (ends[:-1, None] + half * (1 + nodes)).ravel(), (half * weights).ravel()
    first, last = reciprocal_rank_loss(q, size), reciprocal_rank_loss(1 - q, size)
    posterior = expit(sharpness * (last - first))
    rate = 1 - 2 * weight @ (entr(posterior) + entr(1 - posterior)) / np.log(2)
    right = crossover + (1 - 2 * crossover) * posterior
    return rate, 2 * weight @ (first * right + last * (1 - right))


@pytest.mark.parametrize("size", [2, 16, 128])
def test_C12_one_letter_inner_bound_is_the_closed_form_of_the_dsbs(size):
    sharpness = np.geomspace(0.6, 60, 12) * max(size / 16, 1)
    rate, loss = np.transpose([best_of_dsbs(0.1, size, b) for b in sharpness])
    found = retrieval_bounds(
        sources.dsbs(0.1), np.log2(size), RECIPROCAL, n=1, distortion=loss, tolerance=1e-5
    )
    above = np.asarray(found.upper) - rate
    assert above.min() > -1e-9
    assert above.max() < 1.1e-5


def test_C12_one_letter_inner_curve_is_not_above_a_learned_code():
    """Four learned codewords reached (0.252728, 0.719235); the best codewords reach 0.225949 there."""
    bounds = retrieval_bounds(sources.dsbs(0.1), 4.0, RECIPROCAL, n=1, distortion=[0.719235])
    assert 0.2259489 < float(bounds.upper[0]) < 0.2259490 + 1.1e-4
    assert 0.18 < float(bounds.lower[0]) < float(bounds.upper[0])


def slot_means(a, b, size):
    """Mean reciprocal-rank loss over each slot (a, b), term by term."""
    k = np.arange(1, size + 1)
    width = np.maximum(b - a, 1e-12)
    terms = ((1 - a)[:, None] ** k - (1 - a - width)[:, None] ** k) / k
    return 1 - terms.sum(axis=1) / (size * width)


def multistart(joint, size, slope, codewords, starts):
    """Least loss + slope I(U;Y) of a few codewords by quasi-Newton descents from random channels."""
    generator = np.random.default_rng(5)
    py = joint.sum(axis=0)

    def cost(logits):
        channel = np.exp(logits.reshape(py.size, codewords)) + 1e-12
        channel /= channel.sum(axis=1, keepdims=True)
        through = joint @ channel
        pu = through.sum(axis=0)
        total = slope * np.sum(py[:, None] * channel * np.log(channel / pu))
        for row in through:
            order = np.argsort(-row / pu)
            ends = np.append(0.0, np.cumsum(pu[order]))
            total += row[order] @ slot_means(ends[:-1], np.minimum(ends[1:], 1.0), size)
        return total

    begin = 2 * generator.standard_normal((starts, py.size * codewords))
    return min(scipy.optimize.minimize(cost, start, method="L-BFGS-B").fun for start in begin)


def test_C12_one_letter_bounds_are_not_beaten_by_random_starts_of_few_words():
    found = retrieval_bounds(TERNARY, 4.0, RECIPROCAL, n=1)
    for share in (0.1, 0.6):
        slope = share * (float(found.zero_rate_loss) - float(found.vertex_loss[0]))
        reached = np.min(found.vertex_loss + slope * np.log(2) * found.vertex_bits)
        assert reached <= multistart(TERNARY, 16, slope, 5, 3) + 1e-9


@pytest.mark.parametrize(("loss", "log2_size"), [("error", 30.0), (("miss", 3), 1.0), ("dcg", 1.0)])
def test_C12_one_item_schemes_of_other_losses_are_convex(loss, log2_size):
    found = retrieval_bounds(TERNARY[:2] / TERNARY[:2].sum(), log2_size, loss, n=1)
    if loss == ("miss", 3):
        assert found.vertex_loss.size == 1  # of two items the target is among the first three
        return
    assert found.vertex_loss[-1] == found.zero_rate_loss
    slopes = np.diff(found.vertex_bits) / np.diff(found.vertex_loss)
    assert (slopes < 0).all()
    assert (np.diff(slopes) >= -1e-6 * np.abs(slopes[1:])).all()


def test_C12_one_letter_bounds_do_not_see_names_copies_and_empty_letters():
    joint = np.array([[0.35, 0.05, 0.1], [0.1, 0.3, 0.1]])
    plain = retrieval_bounds(joint, 4.0, RECIPROCAL, n=1)
    split = np.stack([joint[:, 2], joint[:, 0] / 4, 0 * joint[:, 0], 3 * joint[:, 0] / 4], axis=1)
    split = np.column_stack([split, joint[:, 1]])[::-1]
    D = plain.distortion
    other = retrieval_bounds(np.vstack([split, np.zeros(5)]), 4.0, RECIPROCAL, n=1, distortion=D)
    for name in ("lower", "upper"):
        both = np.asarray(getattr(plain, name))[1:], np.asarray(getattr(other, name))[1:]
        np.testing.assert_allclose(*both, rtol=0, atol=2e-4)
