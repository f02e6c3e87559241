"""Time sharing against all pairs of codes, and the converse for mixtures against its parts."""

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rdsim import limits, simulation, sources

MIXTURE = sources.gaussian_mixture(
    [0.6, 0.4], [[-1.0, 0.0], [1.0, 0.5]], 0.2, query_noise=[0.1, 0.4]
)


def _pairs(bits, losses, rate):
    """Least loss of two codes shared so that the mean rate is not above the given one."""
    best = np.inf
    for i in np.flatnonzero(bits <= rate):
        for j in range(bits.size):
            share = 0.0 if bits[j] <= bits[i] else min((rate - bits[i]) / (bits[j] - bits[i]), 1.0)
            best = np.minimum(best, (1 - share) * losses[i] + share * losses[j])
    return best


@given(
    st.lists(st.tuples(st.integers(0, 6), st.integers(0, 8)), min_size=1, max_size=7),
    st.lists(st.integers(0, 14), min_size=1, max_size=4),
)
def test_C12_time_sharing_is_the_best_pair_of_codes(codes, halves):
    bits, loss = np.array(codes, float).T
    rates = np.array(halves) / 2
    losses = np.stack([loss / 8, (loss[::-1] / 8) ** 2], axis=1)
    found = limits.time_shared_loss(bits, losses, rate=rates)
    assert found.shape == (rates.size, 2)
    for rate, row in zip(rates, np.asarray(found), strict=True):
        expected = [_pairs(bits, column, rate) for column in losses.T]
        np.testing.assert_allclose(row, expected, rtol=0, atol=1e-14)


@pytest.mark.parametrize(
    ("bits", "losses", "rate", "message"),
    [
        ([], [], 1.0, r"losses must have one row for each of code_bits, shape \(0, "),
        ([0.0, 1.0], [0.5], 1.0, r"shape \(2, \.\.\.\), at least one, got \(1,\)"),
        ([-1.0], [0.5], 1.0, "code_bits must lie in"),
        ([1.0], [np.nan], 1.0, "losses must not contain NaN"),
        ([1.0], [0.5], -1.0, "rate must lie in"),
    ],
)
def test_bad_codes(bits, losses, rate, message):
    with pytest.raises(ValueError, match=message):
        limits.time_shared_loss(bits, losses, rate=rate)


def test_C4_mixture_bound_falls_with_the_rate_to_that_of_items_stored_whole():
    sizes, rates = np.array([[3.0, 8.0]]), np.array([0.0, 0.5, 2.0, 50.0])
    found = np.asarray(limits.mixture_loss_bound(MIXTURE, sizes, "error", rate=rates))
    assert found.shape == (4, 1, 2)
    assert (np.diff(found, axis=0) < 0).all()
    nothing = limits.rank_loss(sizes, "error", rate=0.0)
    np.testing.assert_array_equal(found[0], nothing.lower)
    everything = float(MIXTURE.mutual_information().value)
    whole = limits.rank_loss(sizes, "error", rate=everything)
    np.testing.assert_allclose(found[-1], whole.lower, rtol=0, atol=1e-6)
    # Fewer modalities have less information.
    one = limits.mixture_loss_bound(MIXTURE, sizes, "error", rate=rates, modalities=[1])
    assert (np.asarray(one) >= found).all()
    assert (np.asarray(one)[2:] > found[2:]).all()


def test_decoders_by_similarity_score_as_the_functions_they_are_named_after():
    codewords, queries = np.array([[0.0, 1.0], [2.0, 0.5]]), jnp.array([[1.0, 1.0], [0.5, 2.0]])
    near = simulation.distance_decoder(codewords, [0.5, 2.0])
    expected = [
        -sum(np.sum((x - u) ** 2) / (2 * t) for x, t in zip(queries, (0.5, 2.0), strict=True))
        for u in codewords
    ]
    np.testing.assert_allclose(near.scores(near.parameters, queries), expected, rtol=1e-14, atol=0)
    turned = simulation.cosine_decoder(codewords)
    cosines = [
        np.mean([x @ u / np.linalg.norm(x) / np.linalg.norm(u) for x in queries]) for u in codewords
    ]
    np.testing.assert_allclose(
        turned.scores(turned.parameters, queries), cosines, rtol=1e-14, atol=0
    )
