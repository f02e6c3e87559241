"""Scores of codewords against loops, densities of scipy, and the tables of discrete sources."""

import functools
import itertools

import numpy as np
import pytest
import scipy.stats
import strategies as sts
from hypothesis import given
from hypothesis import strategies as st

from rdsim.ranking.codewords import codeword_loss
from rdsim.ranking.similarity import (
    averaged_cosine,
    cosine,
    fuse,
    information_density_scores,
    negative_squared_distance,
)
from rdsim.sources import gaussian_mixture, multimodal

queries = sts.scores((3, 2, 2))
codewords = sts.scores((4, 2))


def _loops(function, x, u):
    return np.array([[[function(a, b) for b in u] for a in modalities] for modalities in x])


@given(queries, codewords)
def test_distances_equal_loops(x, u):
    expected = _loops(lambda a, b: -sum((a - b) ** 2) / 2, x, u)
    np.testing.assert_allclose(negative_squared_distance(x, u), expected, rtol=1e-14, atol=1e-14)


@given(queries, codewords)
def test_cosines_are_those_of_the_angle(x, u):
    x, u = (np.where(np.abs(v).max(axis=-1, keepdims=True) > 0, v, 1.0) for v in (x, u))
    found = np.asarray(cosine(x, u))
    assert np.all(np.abs(found) <= 1 + 4e-16)
    for place in itertools.product(range(3), range(2), range(4)):
        # Their squares may underflow: lengths are taken after scaling.
        a, b = (v / np.abs(v).max() for v in (x[place[:2]], u[place[2]]))
        assert found[place] == pytest.approx(a @ b / np.hypot(*a) / np.hypot(*b), abs=1e-14)
    np.testing.assert_allclose(averaged_cosine(x, u), found.mean(axis=1), rtol=0, atol=1e-15)


@pytest.mark.parametrize("scale", [1e-300, 1e-160, 1e160, 1e300])
def test_cosines_of_huge_and_tiny_vectors(scale):
    x = scale * np.array([[[3.0, 4.0]], [[1.0, 0.0]]])
    expected = [[[1.0, 0.6]], [[0.6, 1.0]]]
    np.testing.assert_allclose(cosine(x, x[:, 0]), expected, rtol=1e-15, atol=0)


@pytest.mark.parametrize("function", [cosine, averaged_cosine])
@pytest.mark.parametrize("size", [0.0, 1e-310, 5e-324])
def test_vectors_without_a_direction_are_named(function, size):
    good = np.array([[3.0, 4.0], [1.0, 0.0]])
    short = np.array([[3.0, 4.0], [size, 0.0]])
    with pytest.raises(ValueError, match=r"queries must have a direction.*at index \(0, 1\)"):
        function(short[None], good)
    with pytest.raises(ValueError, match=r"codewords must have a direction.*at index 1 "):
        function(good[None], short)


def test_distances_do_not_cancel_far_from_the_origin():
    x = 1e8 + np.array([[[0.0, 0.5]]])
    found = negative_squared_distance(x, np.full((1, 2), 1e8))
    assert float(found[0, 0, 0]) == -0.125


@given(sts.scores((3, 2, 4)), st.floats(0.01, 100.0), st.floats(0.01, 100.0))
def test_fusion_equals_loops_and_leaves_out_an_infinite_temperature(scores, first, second):
    expected = scores[:, 0] / first + scores[:, 1] / second
    np.testing.assert_allclose(fuse(scores, [first, second]), expected, rtol=1e-14, atol=1e-12)
    np.testing.assert_allclose(fuse(scores, [np.inf, 0.5]), 2 * scores[:, 1], rtol=0, atol=1e-300)
    scores[0, 0, 0] = -np.inf
    np.testing.assert_allclose(fuse(scores, [np.inf, 0.5]), 2 * scores[:, 1], rtol=0, atol=1e-300)
    assert fuse(scores, [first, second])[0, 0] == -np.inf


@given(sts.scores((3, 2, 4)), sts.pmfs(4), st.floats(0.01, 100.0), st.integers(-20, 20))
def test_C17_a_common_factor_of_the_temperatures_changes_no_loss(scores, competitor, tau, power):
    """A power of two, which rounds nothing; and any factor where no two scores are near a tie."""
    target = np.array([0, 1, 2])

    def loss(temperature):
        fused = np.asarray(fuse(scores, temperature))
        return fused, codeword_loss(fused, target, competitor, [3.0, 30.0], "reciprocal_rank")

    fused, plain = loss(np.array([tau, 1.0]))
    np.testing.assert_array_equal(plain, loss(2.0**power * np.array([tau, 1.0]))[1])
    apart = np.abs(fused[:, :, None] - fused[:, None, :]) + np.eye(4)
    if apart.min() > 1e-9 * (1 + np.abs(scores).max()) * (1 + 1 / tau):
        np.testing.assert_allclose(plain, loss(np.array([tau, 1.0]) / 3)[1], rtol=1e-13)


def _mixture():
    return gaussian_mixture(
        [0.3, 0.7],
        [[1.0], [-0.5]],
        [0.4, 1.1],
        query_means=[[[1.0], [0.0]], [[0.5], [2.0]]],
        gains=[1.0, -0.7],
        query_noise=[0.2, 0.9],
    )


def _density(source, x, y):
    """p(x|y) of one query, one class after the other."""
    prior = [
        w * scipy.stats.norm.pdf(y, m[0], np.sqrt(v))
        for w, m, v in zip(source.weights, source.item_means, source.item_variance, strict=True)
    ]
    total = 0.0
    for c, weight in enumerate(prior):
        factor = weight / sum(prior)
        for k in range(2):
            centre = source.query_means[k, c, 0] + source.gains[k] * (y - source.item_means[c, 0])
            factor *= scipy.stats.norm.pdf(x[k], centre, np.sqrt(source.query_noise[k]))
        total += factor
    return total


POINTS = np.array([-1.5, -0.4, 0.3, 1.1, 2.0])
QUERIES = np.array([[0.2, 0.4], [-3.0, 1.0], [1.5, 1.5]])


@functools.cache
def _densities():
    return np.array([[_density(_mixture(), x, y) for y in POINTS] for x in QUERIES])


@given(sts.channels((5, 3)), sts.pmfs(5))
def test_C17_information_density_of_a_mixture_equals_sums_of_densities(channel, masses):
    found = np.asarray(
        information_density_scores(
            _mixture(), QUERIES[..., None], channel, points=POINTS[:, None], masses=masses
        )
    )
    marginal = masses @ channel
    for row, given_item in zip(found, _densities(), strict=True):
        for u in range(3):
            if marginal[u] == 0:
                assert row[u] == -np.inf
                continue
            likelihood = np.sum(masses * channel[:, u] * given_item) / marginal[u]
            expected = np.log2(likelihood / np.sum(masses * given_item))
            assert row[u] == pytest.approx(expected, rel=1e-9, abs=1e-9)
    np.testing.assert_allclose(np.exp2(found) @ marginal, 1.0, rtol=1e-12)


def test_C17_information_density_keeps_its_order_where_densities_underflow():
    """A query a thousand deviations away: among equally likely items the ratio of any two scores
    is that of the densities, all of which are zero in floating point."""
    source = gaussian_mixture([1.0], [[0.0]], 1.0, query_noise=[1e-4])
    points = np.array([[-1.0], [0.0], [0.5]])
    found = information_density_scores(
        source, [[20.0]], np.eye(3), points=points, masses=[0.25, 0.25, 0.5]
    )
    expected = -((20 - points[:, 0]) ** 2) / (2e-4 * np.log(2))
    np.testing.assert_allclose(np.diff(found), np.diff(expected), rtol=1e-12)
    one = information_density_scores(
        source, [[20.0]], [[0.3, 0.7]] * 3, points=points, masses=[0.25, 0.25, 0.5]
    )
    np.testing.assert_allclose(one, 0.0, rtol=0, atol=1e-9)


CHANNELS = (
    [[0.5, 0.5], [0.1, 0.9], [1.0, 0.0]],
    [[0.2, 0.3, 0.5], [0.6, 0.4, 0.0], [0.0, 0.0, 1.0]],
)
COMMON = [[0.9, 0.1], [0.2, 0.8], [0.5, 0.5]]
PY = np.array([0.5, 0.2, 0.3])


@pytest.mark.parametrize("common", [None, COMMON])
def test_C17_information_density_of_a_discrete_source_equals_its_table(common):
    source = multimodal(PY, CHANNELS, common=common)
    channel = np.array([[0.3, 0.7], [0.9, 0.1], [0.0, 1.0]])
    shared = 1 if common is None else 2
    for w, first, second in itertools.product(range(shared), range(2), range(3)):
        letter = (w * 2 + first) * 3 + second
        joint = np.asarray(source.joint_with().joint)[letter]
        found = information_density_scores(source, [w * 2 + first, w * 3 + second], channel)
        pair = joint @ channel
        with np.errstate(divide="ignore"):
            expected = np.log2(pair / (PY @ channel) / joint.sum())
        np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12)
    if common is not None:
        # The modalities disagree about their common part: no item sends such a query.
        np.testing.assert_array_equal(information_density_scores(source, [0, 3], channel), 0.0)


def test_C17_information_density_of_some_modalities():
    source = multimodal(PY, CHANNELS, common=COMMON)
    channel = np.eye(3)
    joint = np.asarray(source.joint_with(1).joint)
    with np.errstate(divide="ignore"):
        expected = np.log2(joint / PY / joint.sum(axis=1, keepdims=True))
    found = information_density_scores(source, np.arange(6)[:, None], channel, modalities=[1])
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12)


@given(sts.channels((3, 4)), sts.scores((6, 4)))
def test_C17_no_score_beats_the_information_density(channel, scores):
    source = multimodal(PY, CHANNELS)
    letters = np.array(list(itertools.product(range(2), range(3))))
    joint = np.asarray(source.joint_with().joint) @ channel
    target = np.broadcast_to(np.arange(4), (6, 4))

    def loss(table):
        spread = np.broadcast_to(np.asarray(table)[:, None, :], (6, 4, 4))
        each = codeword_loss(spread, target, PY @ channel, [1.0, 9.0], "reciprocal_rank")
        return np.sum(joint[..., None] * np.asarray(each), axis=(0, 1))

    optimal = loss(information_density_scores(source, letters, channel))
    assert np.all(optimal <= loss(scores) + 1e-12)


MIXTURE = {"points": np.zeros((3, 1)), "masses": np.full(3, 1 / 3)}


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: negative_squared_distance(np.zeros((2, 3)), np.zeros((4, 2))),
            ValueError,
            "with one d",
        ),
        (lambda: cosine(np.zeros(3), np.zeros((4, 3))), ValueError, "queries must have shape"),
        (lambda: cosine(np.zeros((1, 3)), np.zeros((0, 3))), ValueError, "queries must have shape"),
        (lambda: cosine(np.full((1, 3), np.inf), np.zeros((4, 3))), ValueError, "queries must lie"),
        (lambda: averaged_cosine(np.zeros((1, 1)), [["a"]]), TypeError, "codewords must hold real"),
        (lambda: fuse(np.zeros((2, 3)), [1.0]), ValueError, r"scores must end in shape \(1, K\)"),
        (lambda: fuse(np.zeros((2, 3)), [1.0, 0.0]), ValueError, "temperature must lie in"),
        (lambda: fuse(np.full((2, 3), np.inf), [1.0, 1.0]), ValueError, "scores must lie in"),
        (
            lambda: information_density_scores("mixture", [[0.0]], np.eye(3)),
            TypeError,
            "source must be a GaussianMixtureSource or a MultimodalSource",
        ),
        (
            lambda: information_density_scores(_mixture(), np.zeros((2, 1)), np.eye(3)),
            ValueError,
            "points and masses must say",
        ),
        (
            lambda: information_density_scores(_mixture(), np.zeros(2), np.eye(3), **MIXTURE),
            ValueError,
            "queries must have shape",
        ),
        (
            lambda: information_density_scores(_mixture(), np.zeros((2, 1)), np.eye(4), **MIXTURE),
            ValueError,
            "channel must have a row and points an entry",
        ),
        (
            lambda: information_density_scores(
                _mixture(), np.zeros((2, 1)), 2 * np.eye(3), **MIXTURE
            ),
            ValueError,
            "channel must have rows that sum to one",
        ),
        (
            lambda: information_density_scores(
                multimodal(PY, CHANNELS), [0, 1], np.eye(3), **MIXTURE
            ),
            ValueError,
            "points and masses must not be given",
        ),
        (
            lambda: information_density_scores(multimodal(PY, CHANNELS), [0, 3], np.eye(3)),
            ValueError,
            r"queries must hold letters below \[2, 3\]",
        ),
        (
            lambda: information_density_scores(multimodal(PY, CHANNELS), [0.0, 1.0], np.eye(3)),
            TypeError,
            "queries must hold integer letters",
        ),
        (
            lambda: information_density_scores(multimodal(PY, CHANNELS), [0], np.eye(3)),
            ValueError,
            "queries must have one letter for each of 2",
        ),
    ],
)
@pytest.mark.usefixtures("unchecked_annotations")
def test_similarities_name_a_bad_argument(call, error, message):
    with pytest.raises(error, match=message):
        call()
