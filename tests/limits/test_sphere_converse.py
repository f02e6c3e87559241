"""Caps (C27 on the sphere): against simulation, against half-spaces in many dimensions, and above every code."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rdsim import sources
from rdsim.codes import sphere_ensemble
from rdsim.limits import retrieval_converse
from rdsim.limits.converses import _caps
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


@settings(max_examples=3)
@given(
    st.sampled_from((2, 5, 24)),
    st.floats(0.3, 0.95),
    st.floats(1.5, 8.0),
    st.floats(1.0, 12.0),
    st.sampled_from(("error", "reciprocal_rank")),
)
def test_C28_no_random_code_passes_the_bound_of_caps(n, correlation, bits, size, loss):
    source = sources.projected_normal(n, correlation=correlation)
    shared = reward(source, bits, size, loss)
    separate = reward(source, bits, size, loss, encoder="separate")
    assert shared <= separate + 1e-5
    for code in ("random_codewords", "junk_codeword"):
        share = None if code == "random_codewords" else 0.4
        code = sphere_ensemble(source, size, loss, bits=bits, code=code, share=share)
        assert 1 - float(code.loss.upper) <= shared + 1e-5


@pytest.mark.parametrize("share", [0.3, 0.6])
def test_C28_longer_codewords_do_not_pass_the_bound_of_their_entropy(share):
    source = sources.projected_normal(24, correlation=0.8)
    bound = reward(source, 6, 10, rate="entropy", encoder="shared")
    code = sphere_ensemble(source, 10.0, "error", bits=6.0, code="longer_codewords", share=share)
    assert 1 - float(code.loss.upper) <= bound + 1e-5


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


def test_bounds_of_information_are_refused_for_directions():
    source = sources.spherical(3, concentration=2.0)
    with pytest.raises(ValueError, match="source of directions"):
        retrieval_converse(source, 10.0, "error", bits=4.0, rate="information", encoder="joint")
