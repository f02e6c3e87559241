"""C30: decoders made for another distribution, and sources that lack something."""

import decimal

import jax
import numpy as np
import pytest
import strategies
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar
from scipy.special import ndtri

from rdsim import limits, ranking, sources
from rdsim.information import information_density, mutual_information
from rdsim.limits import (
    generalized_mutual_information,
    generalized_mutual_information_gaussian,
    rate_at,
)

JOINT = np.array([[0.3, 0.02, 0.08], [0.05, 0.25, 0.3]])
SCORES = np.array([[1.3, -0.2, 0.4], [-0.5, 0.9, 1.1]])


def by_scalar_search(joint, scores):
    """The largest, over scales, of E s q - E log2 E_u 2^(s q)."""
    px, log_pu = joint.sum(axis=1), np.log2(np.maximum(joint.sum(axis=0), 1e-320))
    finite = np.where(joint > 0, scores, 0.0)

    def value(log_s):
        s = np.exp(log_s)
        log_Z = np.logaddexp2.reduce(s * scores + log_pu, axis=1)
        return s * np.sum(joint * finite) - px @ log_Z

    grid = np.linspace(-30, 12, 400)
    best = grid[np.argmax([value(t) for t in grid])]
    found = minimize_scalar(lambda t: -value(t), bounds=(best - 0.2, best + 0.2), method="bounded")
    return max(-found.fun, value(best), 0.0)


@settings(max_examples=25)
@given(strategies.joint_pmfs((3, 4)), strategies.scores((3, 4)))
def test_C30_bounds_enclose_the_scalar_search_and_stay_below_the_information(joint, scores):
    found = generalized_mutual_information(joint, scores)
    slow = by_scalar_search(joint, scores)
    assert bool(found.information.converged)
    assert found.information.lower - 1e-9 <= slow <= found.information.upper + 1e-6
    assert slow == pytest.approx(float(found.information), rel=0, abs=1e-6)
    assert found.information.lower <= mutual_information(joint) + 1e-12


@settings(max_examples=15)
@given(strategies.joint_pmfs((3, 4)), st.floats(0.01, 100.0), strategies.pmfs(3))
def test_C30_matched_scores_give_the_information(joint, factor, of_query):
    """Times a factor, and up to a number of each query: then the scale undoes the factor."""
    density = np.asarray(information_density(joint))
    scores = factor * density + of_query[:, None]
    found = generalized_mutual_information(joint, scores)
    information = float(mutual_information(joint))
    assert float(found.information) == pytest.approx(information, rel=0, abs=1e-10)
    finite = np.isfinite(density)
    if finite.all() and information > 1e-3 and joint.min() > 1e-6:
        assert float(found.scale) == pytest.approx(1 / factor, rel=1e-5, abs=0)


@pytest.mark.parametrize("of_unused", [-np.inf, 0.0, 1e30])
def test_C30_letters_that_never_occur_leave_no_trace(of_unused):
    """Of a codeword that is never drawn the score may be anything, however large beside the others, whose digits it must not take."""
    joint = np.insert(JOINT, 1, 0.0, axis=1)
    scores = np.insert(SCORES, 1, of_unused, axis=1)
    found, expected = (
        generalized_mutual_information(*each) for each in ((joint, scores), (JOINT, SCORES))
    )
    np.testing.assert_allclose(float(found.information), float(expected.information), rtol=1e-9)
    np.testing.assert_allclose(float(found.scale), float(expected.scale), rtol=1e-4)


def test_C30_a_mean_that_rounding_moves_is_met():
    """The channel at the best scale meets the target's mean score up to the order of a sum."""
    letters, noise = 4, (0.36248374, 0.60909563)
    views = [4 * np.asarray(sources.symmetric(letters, p).joint) for p in noise]
    joint = np.asarray(sources.multimodal(np.full(4, 0.25), views).joint_with().joint)
    found = generalized_mutual_information(joint, np.asarray(information_density(joint)))
    assert bool(found.information.converged)
    assert float(found.information) == pytest.approx(
        float(mutual_information(joint)), rel=0, abs=1e-12
    )


def test_C30_edges():
    reversed_scores = generalized_mutual_information(JOINT, -np.asarray(information_density(JOINT)))
    assert float(reversed_scores.information) == 0
    assert float(reversed_scores.scale) == 0
    # Every pair that occurs has the largest score of its query: zero errors, as s grows.
    perfect = generalized_mutual_information(np.diag([0.5, 0.3, 0.2]), np.eye(3))
    assert float(perfect.information) == pytest.approx(
        -np.sum([0.5, 0.3, 0.2] * np.log2([0.5, 0.3, 0.2])), rel=0, abs=1e-12
    )
    assert np.isinf(perfect.scale)
    # Codewords ruled out that never occur help by themselves; one ruled out that occurs ruins all.
    Z = np.array([[0.4, 0.2], [0.0, 0.4]])
    ruled = generalized_mutual_information(Z, [[1.0, 1.0], [-np.inf, 1.0]])
    assert float(ruled.information) == pytest.approx(0.4 * np.log2(1 / 0.6), rel=0, abs=1e-12)
    assert float(ruled.scale) == 0
    lost = generalized_mutual_information(Z, [[1.0, -np.inf], [0.0, 1.0]])
    assert float(lost.information) == 0
    assert float(lost.scale) == 0
    for scores, match in (([[1.0]], "shape of joint"), ([[np.inf, 0], [0, 0]], "scores must lie")):
        with pytest.raises(ValueError, match=match):
            generalized_mutual_information(Z, scores)


def test_C30_derivatives_are_those_of_the_envelope():
    """In joint, in scores, and of the scale; the code of the mismatched rate gives them."""
    rng = np.random.default_rng(0)
    tangent = rng.normal(size=JOINT.shape) * JOINT
    tangent -= JOINT * tangent.sum()
    moved = rng.normal(size=JOINT.shape)
    step = 1e-6

    def both(joint, scores):
        found = generalized_mutual_information(joint, scores)
        return found.information.value, found.scale

    along = jax.jvp(both, (JOINT, SCORES), (tangent, moved))[1]
    above = both(JOINT + step * tangent, SCORES + step * moved)
    below = both(JOINT - step * tangent, SCORES - step * moved)
    for exact, high, low in zip(along, above, below, strict=True):
        assert float(exact) == pytest.approx(float(high - low) / (2 * step), rel=1e-6, abs=0)


@pytest.mark.parametrize("rho", [1e-200, 1e-12, 1e-4, 0.3, -0.3, 0.99, 1 - 1e-12, -(1 - 1e-15)])
@pytest.mark.parametrize("r", [1e-300, 1e-12, 1e-4, 0.3, -0.3, 0.99, 1 - 1e-12, -(1 - 1e-15)])
def test_C30_gaussian_closed_form_keeps_its_digits(rho, r):
    """The formula of the docstring in 1300 digits: near zero and near one its terms cancel."""
    found = generalized_mutual_information_gaussian(rho, assumed=r)
    if r * rho < 0 or np.sign(r) != np.sign(rho):
        assert float(found.information) == 0
        return
    with decimal.localcontext(prec=1300):
        exact_rho, k = decimal.Decimal(rho), 1 / decimal.Decimal(r)
        a = 1 + k * k - 2 * k * exact_rho
        v = (1 + (1 + 4 * k * k * a).sqrt()) / (2 * a)
        nats = (v - 1) * (k * exact_rho - decimal.Decimal("0.5"))
        nats += v.ln() / 2 - (v - 1) ** 2 * k * k / (2 * v)
        wanted = float(nats / decimal.Decimal(2).ln())
    assert float(found.information) == pytest.approx(wanted, rel=1e-12, abs=1e-300)


def test_C30_gaussian_closed_form_is_the_limit_of_fine_cells():
    """Cells of equal mass tend to the pair; at r = rho it is I, and as r falls the inner product."""
    rho, cells = 0.6, 160
    edges = ndtri(np.arange(cells + 1) / cells)
    pair = sources.gaussian(rho).discretise(cells)
    joint = np.asarray(pair.source.joint)
    x, u = np.asarray(pair.x_points), np.asarray(pair.y_points)
    assert edges.size == x.size + 1
    for r in (0.3, 0.6, 0.9):
        scores = (r * x[:, None] * u - 0.5 * r * r * u * u) / (1 - r * r)
        fine = generalized_mutual_information(joint, scores)
        exact = generalized_mutual_information_gaussian(rho, assumed=r)
        assert float(fine.information) == pytest.approx(float(exact.information), rel=5e-3, abs=0)
        assert float(fine.scale) == pytest.approx(float(exact.scale), rel=2e-2, abs=0)
    matched = generalized_mutual_information_gaussian(rho, assumed=rho)
    assert float(matched.information) == pytest.approx(-0.5 * np.log2(1 - rho**2), rel=1e-13, abs=0)
    assert float(matched.scale) == pytest.approx(1 / np.log(2), rel=1e-13, abs=0)
    product = generalized_mutual_information_gaussian(rho, assumed=1e-200)
    assert float(product.information) == pytest.approx(rho**2 / (2 * np.log(2)), rel=1e-13, abs=0)
    assert float(generalized_mutual_information_gaussian(rho, assumed=-0.2).information) == 0


def test_C30_a_fitted_temperature_is_one_over_the_scale():
    """On the sample itself, whose frequencies are the joint: 1/tau is s in nats, and what is left is H - GMI."""
    rng = np.random.default_rng(1)
    x, u = rng.integers(0, 3, 400), None
    u = (x + (rng.random(400) < 0.4) * rng.integers(1, 3, 400)) % 3
    joint = np.zeros((3, 3))
    np.add.at(joint, (x, u), 1 / 400)
    scores = rng.normal(size=(3, 3)) + 2 * np.eye(3)
    fitted = ranking.fit_temperatures(scores[x][:, None, :], u, joint.sum(axis=0))
    found = generalized_mutual_information(joint, scores)
    assert float(fitted.inverse_temperature[0]) == pytest.approx(
        float(found.scale) * np.log(2), rel=1e-8, abs=0
    )
    p = joint.sum(axis=0)
    left = -np.sum(p * np.log2(p)) - float(found.information)
    assert float(fitted.cross_entropy) == pytest.approx(left, rel=0, abs=1e-9)


@settings(max_examples=10)
@given(st.floats(0.1, 10.0), st.integers(1, 8))
def test_C30_one_factor_of_all_scores_changes_no_ranking_and_no_rate(factor, log2_size):
    scaled = ranking.scored_loss(JOINT, float(log2_size), "error", scores=factor * SCORES)
    plain = ranking.scored_loss(JOINT, float(log2_size), "error", scores=SCORES)
    assert float(scaled) == float(plain)
    one = generalized_mutual_information(JOINT, SCORES)
    other = generalized_mutual_information(JOINT, factor * SCORES)
    assert float(other.information) == pytest.approx(float(one.information), rel=0, abs=1e-12)
    assert float(other.scale * factor) == pytest.approx(float(one.scale), rel=1e-9, abs=0)


@settings(max_examples=15)
@given(strategies.joint_pmfs((3, 3)), strategies.scores((3, 3)))
def test_C30_planted_words_pass_a_wrong_decoder_first(joint, scores):
    """The best distribution of planted codewords needs R(D) of the query: at most the GMI, and I if matched."""
    px, d = joint.sum(axis=1), scores.max(axis=1, keepdims=True) - scores
    planted = rate_at(px, d, np.sum(joint * d))
    found = generalized_mutual_information(joint, scores)
    assert float(planted.lower) <= float(found.information.upper) + 1e-9
    density = np.asarray(
        information_density(np.maximum(joint, 1e-4) / np.maximum(joint, 1e-4).sum())
    )
    table = np.maximum(joint, 1e-4) / np.maximum(joint, 1e-4).sum()
    d = density.max(axis=1, keepdims=True) - density
    matched = rate_at(table.sum(axis=1), d, np.sum(table * d))
    assert float(matched.value) == pytest.approx(float(mutual_information(table)), rel=0, abs=1e-7)


def two_views():
    views = [np.array([[1 - p, p], [p, 1 - p]]) for p in (0.05, 0.2)]
    return sources.multimodal([0.5, 0.5], views)


def test_C30_missing_modalities_have_the_known_bottleneck():
    source = sources.with_missing(two_views(), presence=[0.8, 0.8])
    assert source.joint.shape == (9, 2)
    found = limits.bottleneck_at(source.joint, [0.25, 0.5, 0.75], compress="columns")
    np.testing.assert_allclose(found.value, [0.1773697, 0.3496156, 0.5132577], rtol=0, atol=2e-7)


def test_C30_the_information_with_absences_is_the_mean_over_sets():
    source = two_views()
    table = np.asarray(source.joint_with().joint).reshape(2, 2, 2)
    flags = np.array([[0.1, 0.2], [0.3, 0.4]])
    by_table = sources.with_missing(table, presence=flags)
    np.testing.assert_allclose(
        by_table.joint, sources.with_missing(source, presence=flags).joint, rtol=0, atol=1e-15
    )
    mean = (
        flags[0, 1] * source.mutual_information(1)
        + flags[1, 0] * source.mutual_information(0)
        + flags[1, 1] * source.mutual_information()
    )
    assert float(by_table.mutual_information) == pytest.approx(float(mean), rel=0, abs=1e-12)
    shared = sources.multimodal([0.5, 0.5], [np.eye(2)] * 2, common=[[0.9, 0.1], [0.2, 0.8]])
    assert sources.with_missing(shared, presence=[0.5, 0.5]).joint.shape == (1 + 4 + 4 + 8, 2)
    for bad in ([0.8], [0.8, 1.2], np.full((2, 2), 0.3)):
        with pytest.raises(ValueError, match="presence"):
            sources.with_missing(source, presence=bad)


def test_C30_wrong_pairs_and_changed_letters_are_channels():
    source = sources.dsbs(0.1)
    wrong = sources.with_wrong_pairs(source, share=0.3)
    np.testing.assert_allclose(
        wrong.joint, sources.dsbs(0.7 * 0.1 + 0.15).joint, rtol=0, atol=1e-15
    )
    np.testing.assert_allclose(wrong.px, source.px, rtol=0, atol=1e-15)
    flipped = sources.with_changed_queries(source, [[0.8, 0.2], [0.2, 0.8]])
    np.testing.assert_allclose(
        flipped.joint, sources.dsbs(0.1 * 0.8 + 0.9 * 0.2).joint, rtol=0, atol=1e-15
    )
    with pytest.raises(ValueError, match="channel must have 2 rows"):
        sources.with_changed_queries(source, np.eye(3))
