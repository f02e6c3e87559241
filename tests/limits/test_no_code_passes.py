"""No exact average over codes lies beyond a converse of its notion of rate, for every ensemble of `rdsim.codes`.

Where an ensemble draws a codebook for each item anew, one random encoder serves all items, which the bounds of
one encoder cover.
"""

import jax
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from rdsim import codes, sources
from rdsim.codes.ensembles.sphere import SPHERE_CODES
from rdsim.limits import retrieval_converse

LOSSES = ("error", "reciprocal_rank", ("miss", 3), "dcg")
CORRELATIONS, LOG2_SIZES = st.floats(0.3, 0.95), st.floats(1.0, 12.0)
ROUNDING = 1e-5  # of the quadrature of codes for directions; the tables of caps are exact to 1e-6
COVERED = {
    "discrete_ensemble",
    "dsbs_code_loss",
    "dsbs_ensemble",
    "gaussian_test_channel",
    "sphere_ensemble",
}


def test_every_ensemble_is_compared():
    # What is left describes a code or its distances.
    others = {"coset_distances", "dsbs_distances", "random_code"}
    functions = {name for name in codes.ensembles.__all__ if name[0].islower()}
    assert functions == COVERED | others


@settings(max_examples=4)
@given(
    st.sampled_from((2, 5, 24)),
    st.booleans(),
    CORRELATIONS,
    st.floats(1.6, 4.0),
    LOG2_SIZES,
    st.sampled_from(LOSSES),
    st.floats(0.1, 0.6),
)
# The junk codeword passes the formula without its hull here.
@example(24, True, 0.8, 4.0, np.log2(100), "error", 0.37)
def test_C27_no_code_for_directions(n, vectors, correlation, bits, size, loss, share):
    source = sources.projected_normal(n, correlation=correlation)
    if vectors:
        eye = np.eye(n)
        source = sources.vector_gaussian(eye, eye, correlation * eye)
    bound = {
        rate: float(retrieval_converse(source, size, loss, bits=bits, rate=rate).loss)
        for rate in ("fixed_length", "entropy")
    }
    assert bound["entropy"] <= bound["fixed_length"] + 1e-9
    # Codes of axes have at least 16 dimensions.
    for code in SPHERE_CODES if n >= 16 else [c for c in SPHERE_CODES if "orthogonal" not in c]:
        given_share = None if code in ("random_codewords", "biorthogonal_codewords") else share
        found = codes.sphere_ensemble(source, size, loss, bits=bits, code=code, share=given_share)
        rate = "entropy" if code.startswith("longer") else "fixed_length"
        assert bound[rate] <= float(found.loss.upper) + ROUNDING, code


@settings(max_examples=3)
@given(
    st.floats(0.02, 0.4),
    st.sampled_from((4, 16, 48)),
    st.sampled_from((0.25, 0.5, 0.75)),
    LOG2_SIZES,
    st.sampled_from(LOSSES),
)
def test_C27_no_code_for_the_binary_source(p, n, rate, size, loss):
    code = float(codes.dsbs_ensemble(p, size, loss, n=n, rate=rate))
    source = sources.dsbs(p)
    shared, separate = (
        float(
            retrieval_converse(source, size, loss, bits=n * rate, letters=n, encoder=encoder).loss
        )
        for encoder in ("shared", "separate")
    )
    assert separate - 1e-3 <= shared <= code + 1e-9


@pytest.mark.parametrize("loss", LOSSES, ids=str)
@pytest.mark.parametrize("words", [[[1] * 3], [[1] * 9], [[1, 1, 0], [0, 1, 1]]])
def test_C27_no_linear_code(words, loss):
    """Repetition codes are perfect: the nearest to the bounds that a code can be. Items of three letters: all sets are listed."""
    k, n = np.shape(words)
    distances, source = codes.coset_distances(words), sources.dsbs(0.1)
    for size in (1.0, 3.0, 9.0):
        found = codes.dsbs_code_loss(distances, size, loss, crossover=0.1)
        bound = retrieval_converse(source, size, loss, bits=k, letters=n)
        assert float(bound.loss) <= float(found) + 1e-9


@settings(max_examples=3)
@given(
    st.lists(st.floats(0.05, 1.0), min_size=6, max_size=6),
    st.sampled_from((4, 8)),
    st.sampled_from((0.25, 0.5)),
    LOG2_SIZES,
    st.sampled_from(("minimum_distortion", "likelihood")),
)
def test_C27_no_code_for_letters(numbers, n, rate, size, encoder):
    joint = np.array(numbers).reshape(3, 2)
    joint /= joint.sum()
    code = codes.random_code(joint, 1 - np.eye(2), n=n, rate=rate, encoder=encoder)
    found = float(codes.discrete_ensemble(code, size, "reciprocal_rank"))
    source = sources.discrete(joint)
    bound = retrieval_converse(source, size, "reciprocal_rank", bits=n * rate, letters=n)
    assert float(bound.loss) <= found + 1e-9


@pytest.mark.parametrize("loss", ["error", "reciprocal_rank"])
@pytest.mark.parametrize("correlations", [[0.8] * 4, [0.9, 0.6, 0.3]])
def test_C27_no_test_channel_of_so_much_information(correlations, loss):
    """The interval of a mean over random points misses with a probability of 1e-8."""
    d = len(correlations)
    source = sources.vector_gaussian(np.eye(d), np.eye(d), np.diag(correlations))
    bits = np.array([0.5, 2.0, 6.0])
    found = codes.gaussian_test_channel(
        jax.random.key(0), source, 8.0, loss, bits=bits, confidence=1 - 1e-8
    )
    bound = retrieval_converse(source, 8.0, loss, bits=bits, rate="information")
    assert np.all(np.asarray(bound.loss) <= np.asarray(found.loss.upper) + 1e-9)
