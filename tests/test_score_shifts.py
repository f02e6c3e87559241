"""A number added to all scores of a query is no information: it changes nothing but its rounding.

Scores are multiples of 1/8 and shifts multiples of a power of two, so that every shifted score is
represented exactly, in float64 and in float32: what is left to differ is the arithmetic.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from hypothesis import given
from hypothesis import strategies as st

from rdsim import finite_sample, learning, ranking
from rdsim.information import below_largest, log_share
from rdsim.learning.families.reranking import distillation_loss

K = 6


def _scores(seed, *shape):
    return np.random.default_rng(seed).integers(-24, 25, shape) / 8


def _ends(found):
    return np.array([found.value, found.lower, found.upper])


def _infonce(scores, shift):
    return _ends(finite_sample.infonce(scores + shift))


def _infonce_bounded(scores, shift):
    return _ends(finite_sample.infonce(scores + shift, bounds=(-3 + shift, 3 + shift)))


def _donsker_varadhan(scores, shift):
    flat, bounds = scores.ravel() + shift, (-3 + shift, 3 + shift)
    return _ends(finite_sample.donsker_varadhan(flat[::2], flat[1::2], bounds=bounds))


def _info_nce_loss(scores, shift):
    return learning.info_nce_loss(jnp.asarray(scores[0] + shift))


def _triplet_loss(scores, shift):
    square = jnp.asarray(scores[0] + shift)
    return [learning.triplet_loss(square, 0.3, hardest=hardest) for hardest in (False, True)]


def _distillation_loss(scores, shift):
    student, teacher = jnp.asarray(scores[:2] + shift)
    return distillation_loss(student, teacher, 0.7)


def _temperatures(scores, shift, shared):
    target = np.array([0, 1, 2, 3])
    table, prior = scores.reshape(-1, 2, K)[:4], np.full(K, 1 / K)
    table = table + np.eye(K)[target][:, None] * 2 + np.array([shift, -shift])[:, None]
    found = ranking.fit_temperatures(table, target, prior, shared=shared)
    return np.append(found.inverse_temperature, found.cross_entropy)


CASES = {
    "infonce": _infonce,
    "infonce with bounds": _infonce_bounded,
    "donsker_varadhan": _donsker_varadhan,
    "info_nce_loss": _info_nce_loss,
    "triplet_loss": _triplet_loss,
    "distillation_loss": _distillation_loss,
    "fit_temperatures": lambda scores, shift: _temperatures(scores, shift, False),
    "fit_temperatures, shared": lambda scores, shift: _temperatures(scores, shift, True),
}


@pytest.mark.parametrize("name", CASES)
@given(seed=st.integers(0, 99), step=st.integers(-(2**44), 2**44), power=st.integers(0, 3))
def test_shifts_change_nothing(name, seed, step, power):
    # Below 2^47 multiples of 1/8 are exact in float64.
    scores, shift = _scores(seed, 3, K, K), float(step * 2**power)
    function = CASES[name]
    np.testing.assert_allclose(
        np.ravel(function(scores, shift)), np.ravel(function(scores, 0.0)), rtol=0, atol=1e-12
    )


@pytest.mark.parametrize("name", ["info_nce_loss", "triplet_loss", "distillation_loss"])
@pytest.mark.parametrize("shift", [1e5, -(2.0**20), 3 * 2.0**18])
def test_float32_losses_keep_their_digits(name, shift):
    scores = _scores(7, 3, K, K).astype(np.float32)
    assert (scores + np.float32(shift) - np.float32(shift) == scores).all()
    function = CASES[name]
    shifted, plain = function(scores, np.float32(shift)), function(scores, np.float32(0))
    np.testing.assert_allclose(np.ravel(shifted), np.ravel(plain), rtol=0, atol=1e-6)


@pytest.mark.parametrize("constant", [1e17, -3e99, 1e5])
def test_constant_scores_have_no_information(constant):
    scores = np.full((3, 100, 100), constant)
    assert abs(finite_sample.infonce(scores).value) < 1e-12
    loss = learning.info_nce_loss(jnp.asarray(scores[0]))
    assert loss == pytest.approx(np.log(100), rel=1e-12, abs=0)


def test_posteriors_of_learned_scores_are_shift_invariant():
    model = learning.NeuralCode(2, 2, 4, rngs=nnx.Rngs(0))
    queries = np.array([[[0.5, -1.0]], [[1.0, 0.25]]], np.float32)
    plain = model.log_posterior(queries)
    final = model.query_encoders[0].layers[-1]
    final.bias[...] = final.bias[...] + 2.0**20
    assert np.abs(model.scores(queries)).min() > 2.0**19
    # Scores near 2^20 are rounded to 2^-3 in float32, their differences with them.
    np.testing.assert_allclose(model.log_posterior(queries), plain, rtol=0, atol=0.4)


def test_log_share_and_its_gradient():
    scores = _scores(3, 4, K)
    plain = np.log(np.exp(scores[:, 2]) / np.exp(scores).sum(axis=1))
    np.testing.assert_allclose(log_share(scores, scores[:, 2]), plain, rtol=0, atol=1e-13)
    shifted = jnp.asarray(scores) + 2.0**40
    np.testing.assert_allclose(log_share(shifted, shifted[:, 2]), plain, rtol=0, atol=1e-13)

    def total(s):
        return jnp.sum(log_share(s, s[:, 2]))

    wanted = np.eye(K)[[2] * 4] - jax.nn.softmax(jnp.asarray(scores))
    np.testing.assert_allclose(jax.grad(total)(shifted), wanted, rtol=0, atol=1e-13)
    assert float(jnp.max(below_largest(shifted))) == 0.0
