"""Caps (C27 on the sphere): against simulation, against half-spaces in many dimensions, and above every code."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rdsim import sources
from rdsim.limits import retrieval_converse
from rdsim.limits.converses import _caps, _tails
from rdsim.sources.sphere import caps


def reward(source, bits, size, loss="error", **kind):
    return 1 - float(retrieval_converse(source, size, loss, bits=bits, **kind).loss)


@pytest.mark.parametrize("encoder", ["shared", "separate"])
def test_C27_caps_of_many_dimensions_are_half_spaces(encoder):
    size, n = math.log2(50_000), 20_000
    found = reward(sources.projected_normal(n, correlation=0.8), 16, size, encoder=encoder)
    expected = {"shared": 0.144707741, "separate": 0.168153665}[encoder]
    assert found == pytest.approx(expected, abs=1e-3)


@pytest.mark.parametrize("n", [2, 3, 7])
def test_C27_caps_hold_the_queries_of_simulated_items(n):
    """Items in a cap of probability 1/4, queries in one of 1/5: 6 standard errors, an alarm below 2e-9."""
    rng, trials = np.random.default_rng(n), 400_000
    y = rng.normal(size=(trials, n))
    x = 0.7 * y + math.sqrt(1 - 0.49) * rng.normal(size=(trials, n))
    pole_x, pole_y = (v[:, 0] / np.linalg.norm(v, axis=1) for v in (x, y))
    least_x, least_y = (
        float(caps.cosine(caps.angle_of_cap(n, np.array([math.log(p)])))[0]) for p in (0.2, 0.25)
    )
    seen = (pole_x > least_x)[pole_y > least_y]
    source = sources.projected_normal(n, correlation=0.7)
    found = _caps.CapTails(source, np.array([2.0])).recall(np.array([math.log(0.2)]))[0]
    assert found == pytest.approx(seen.mean(), abs=6 * seen.std() / math.sqrt(seen.size))


@pytest.mark.parametrize(("n", "bits", "size"), [(4, 4.0, 6.0), (64, 16.0, 15.6)])
def test_C27_directions_tell_no_more_than_the_normal_vectors_they_are_of(n, bits, size):
    eye = np.eye(n)
    normal = sources.vector_gaussian(eye, eye, 0.8 * eye)
    source = sources.projected_normal(n, correlation=0.8)
    for encoder in ("shared", "separate"):
        assert reward(source, bits, size, encoder=encoder) <= (
            reward(normal, bits, size, encoder=encoder) + 1e-5
        )


def test_C27_the_hull_of_caps_is_named_where_bits_are_few():
    source = sources.spherical(3, concentration=2.0)
    found = retrieval_converse(source, 10.0, "error", bits=[0.0, 4.0, 300.0])
    assert found.bound[1] == "unequal caps"  # 4 bits are fewer than log2 M
    assert np.diff(np.asarray(found.loss)).max() <= 0


def test_C27_information_of_directions_in_many_dimensions_is_that_of_normal_vectors():
    source = sources.projected_normal(20_000, correlation=0.8)
    for bits, size, expected in ((16.0, math.log2(50_000), 0.5385), (8.0, math.log2(1000), 0.4557)):
        found = reward(source, bits, size, rate="information", encoder="joint")
        assert found == pytest.approx(expected, abs=1e-3)


def test_C27_information_on_the_circle_is_that_of_arcs():
    """Minimise over gamma and lambda with arcs on a grid of angles, by sums and nothing else."""
    concentration, bits, M = 12.0, 2.0, 32
    angle = np.linspace(-np.pi, np.pi, 2881)[:-1]
    density = np.exp(concentration * (np.cos(angle) - 1))
    density /= density.sum()
    half = np.arange(1, 1440)
    # P(query within an arc | item at its angle from the middle of the arc).
    ends = np.concatenate([[0], np.cumsum(np.tile(density, 3))])
    at = np.arange(2880) + 2880 + 1440
    seen = ends[at[:, None] + half + 1] - ends[at[:, None] - half]
    shares = (2 * half + 1) / 2880
    best = 1.0
    for multiplier in np.geomspace(0.008, 0.3, 60):
        useful = multiplier * np.log(np.mean(np.exp(seen / multiplier), axis=0))
        gamma = np.geomspace(0.5, M, 400)
        height = (useful - gamma[:, None] * shares).max(axis=1, initial=0.0)
        best = min(best, (gamma / M + height).min() + multiplier * bits * math.log(2))
    source = sources.spherical(2, concentration=concentration)
    found = reward(source, bits, math.log2(M), rate="information", encoder="joint")
    assert found == pytest.approx(best, abs=1e-3)


@settings(max_examples=3)
@given(
    st.sampled_from((2, 3, 24)),
    st.floats(0.3, 0.95),
    st.floats(1.0, 12.0),
    st.floats(2.0, 20.0),
    st.sampled_from(("error", ("miss", 10), "dcg")),
)
def test_C27_wider_classes_of_codes_for_directions_are_bounded_less(n, rho, bits, size, loss):
    source = sources.projected_normal(n, correlation=rho)
    found = [
        reward(source, bits, size, loss, rate=rate, encoder=encoder)
        for rate, encoder in (
            ("fixed_length", "shared"),
            ("fixed_length", "separate"),
            ("entropy", "separate"),
            ("information", "joint"),
        )
    ]
    assert np.all(np.diff(found) >= -2e-3)


def test_C27_items_stored_whole_bound_every_code_of_few_dimensions():
    """Three dimensions tell so little that the exact ranking of whole items is what bounds many bits."""
    source = sources.spherical(3, concentration=20.0)
    for encoder in ("separate", "joint"):
        found = retrieval_converse(
            source, 15.0, "error", bits=100.0, rate="information", encoder=encoder
        )
        assert found.bound == ("items stored whole",)
    # P(no competitor is nearer): the query's cap has probability c = (1 - cos)/2 in three dimensions.
    cosine = np.linspace(-1, 1, 400_001)
    density = np.exp(20.0 * (cosine - 1))
    won = np.exp((2**15 - 1) * np.log1p(-(1 - cosine[1:]) / 2)) @ density[1:]
    assert 1 - float(found.loss) == pytest.approx(won / density.sum(), abs=1e-4)


def test_C27_directions_of_large_concentration_are_bounded_by_the_rank_rate():
    source = sources.spherical(2, concentration=1e7)
    found = retrieval_converse(source, 10.0, "error", bits=[4.0, 8.0])
    assert not _caps.covers(source)
    assert found.bound == ("rank rate",) * 2


@pytest.mark.parametrize("correlation", [0.05, 0.9])
def test_C27_caps_of_any_correlation_are_half_spaces_in_many_dimensions(correlation):
    """Against the tails of a bivariate normal pair; words of half a bit to 300 bits."""
    r = np.array([0.5, 3.0, 20.0, 300.0])
    found = _caps.CapTails(sources.projected_normal(20_000, correlation=correlation), r)
    tails = _tails.Tails(correlation, r)
    a = np.linspace(-2.0, 6.0, 9)
    for place, row in enumerate(found.rows):
        wanted = tails.exceed(a, np.full(a.size, place))
        np.testing.assert_allclose(row.beyond(a), wanted, rtol=0, atol=3e-3)
