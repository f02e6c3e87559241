"""The rank of one target: its mean loss over the order of the ties, and the masses of its competitors."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import strategies
from hypothesis import given
from hypothesis import strategies as st

from rdsim import ranking
from rdsim.ranking.codewords import log_masses, stored_losses
from rdsim.ranking.loss import parse_loss
from rdsim.ranking.metrics.single_target import tied_gain, tied_loss

LOSSES = ["error", "reciprocal_rank", ("miss", 5), "dcg"]


def mean_loss(loss, ahead, tied):
    """The mean of the loss over ranks ahead + 1 .. ahead + tied, summed exactly."""
    losses = {
        "error": lambda r: float(r > 1),
        "reciprocal_rank": lambda r: 1 - 1 / r,
        ("miss", 5): lambda r: float(r > 5),
        "dcg": lambda r: 1 - 1 / math.log2(1 + r),
    }
    return math.fsum(losses[loss](ahead + i) for i in range(1, tied + 1)) / tied


@given(
    st.integers(0, 40) | st.integers(0, 10**6),
    st.integers(1, 70) | st.integers(1, 3000),
    st.sampled_from(LOSSES),
)
def test_tied_loss_is_the_mean_over_the_order_of_the_ties(ahead, tied, loss):
    wanted = mean_loss(loss, ahead, tied)
    assert float(tied_loss(ahead, tied, loss)) == pytest.approx(wanted, abs=2e-11)


@given(st.integers(0, 10**9), st.integers(1, 70) | st.integers(1, 3000))
def test_small_reciprocal_ranks_keep_their_digits(ahead, tied):
    wanted = math.fsum(1 / (ahead + i) for i in range(1, tied + 1)) / tied
    # The difference of digammas beyond 64 ties loses what their sizes, some 20, have over it.
    close = 1e-14 if tied <= 64 else 1e-14 + 1e-14 * (ahead + tied) / tied
    found = float(tied_gain(ahead, tied, "reciprocal_rank"))
    assert found == pytest.approx(wanted, rel=close, abs=0)


@given(strategies.scores((2, 5)), strategies.pmfs(5), st.sampled_from(LOSSES))
def test_C1_masses_of_competitors_are_those_of_loops(scores, competitor, loss):
    log_a, log_e = log_masses(jnp.asarray(scores), jnp.asarray(scores), jnp.asarray(competitor))
    above = [[competitor[row > own].sum() for own in row] for row in scores]
    beside = [[competitor[row == own].sum() for own in row] for row in scores]
    np.testing.assert_allclose(np.exp(log_a), above, rtol=1e-14, atol=1e-300)
    np.testing.assert_allclose(np.exp(log_e), beside, rtol=1e-14, atol=1e-300)
    table = stored_losses(
        jnp.asarray(scores), jnp.asarray(competitor), jnp.asarray(4.0), parse_loss(loss)
    )
    codewords = [
        ranking.codeword_loss(scores, np.full(2, u), competitor, 4.0, loss) for u in range(5)
    ]
    # Reciprocal ranks over ties are differences of two sums, exact to some 3e-12; two programs round them apart.
    np.testing.assert_allclose(table, np.transpose(codewords), rtol=1e-11, atol=0)


def test_C1_a_target_never_passes_itself_in_a_program_that_computes_the_scores():
    """XLA computes a score once for each use, and a gathered one may be rounded otherwise."""
    generator = np.random.default_rng(0)
    q, y = generator.normal(size=(200, 1)), generator.normal(size=(2, 8))
    target = generator.integers(0, 8, 200)

    def scores(q, y):
        return q * y[0] + q * q * y[1] - 0.1 * jnp.exp(y[0])

    def ranks(q, y):
        return ranking.rank(jax.random.key(0), scores(q, y), target)

    def losses(q, y):
        return ranking.codeword_loss(scores(q, y), target, np.full(8, 1 / 8), 3.0, "error")

    # No two scores of a query are as near as rounding, so that there is nothing to draw.
    known = np.asarray(scores(q, y))
    above = (known > known[np.arange(200), target][:, None]).sum(axis=1)
    np.testing.assert_array_equal(jax.jit(ranks)(q, y), 1 + above)
    np.testing.assert_allclose(jax.jit(losses)(q, y), losses(q, y), rtol=1e-12, atol=0)
