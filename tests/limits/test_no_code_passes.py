"""No exact average over codes lies beyond a converse of its notion of rate, for every ensemble of `rdsim.codes`.

Where an ensemble draws a codebook for each item anew, one random encoder serves all items, which the bounds of
one encoder cover.
"""

import math

import jax
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy.interpolate import CubicSpline
from scipy.special import ndtr

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


def sums_of_first_rewards(size, loss, share):
    """E W(Bin(M, s)) / M, the integral up to s of the reward of a target that a share v of all items passes."""
    M = round(2**size)
    each = 1.0 if loss == "error" else 1 / np.arange(1, M + 1)
    power = np.array([M]) if loss == "error" else np.arange(1, M + 1)
    lost = -np.expm1(np.log1p(-np.minimum(share, 1 - 1e-16))[..., None] * power)
    return (lost * each).sum(axis=-1) / M


def loss_of_turned_arcs(source, size, loss, arcs):
    """Exact loss of arcs of a circle that are turned at random for each item, known to the decoder: one random encoder."""
    angle = math.pi * np.linspace(0, 1, 3001) ** 2
    below = CubicSpline(angle, np.asarray(source.angle_density(angle))).antiderivative()

    def distribution(angles):
        turns = np.round(angles / (2 * math.pi))
        rest = angles - 2 * math.pi * turns
        return turns + np.sign(rest) * below(np.abs(rest)) / (2 * below(math.pi))

    pieces = []
    for q in arcs:
        away = math.pi * np.unique(
            np.append(angle / math.pi, np.clip(q + np.linspace(-0.8, 0.8, 2001) ** 3, 0, 1))
        )
        middle = 0.5 * (away[1:] + away[:-1])
        ends, inside = (
            distribution(at + math.pi * q) - distribution(at - math.pi * q) for at in (away, middle)
        )
        width = np.diff(away) / math.pi
        recall = width * (ends[1:] + 4 * inside + ends[:-1]) / 6
        pieces.append(np.stack([inside / q, recall, q * width]))
    ratio, recall, share = np.concatenate(pieces, axis=1)
    order = np.argsort(-ratio, kind="stable")
    ends = np.append(0.0, np.cumsum(share[order]))
    assert recall.sum() == pytest.approx(1, abs=1e-9)
    reward = np.diff(sums_of_first_rewards(size, loss, np.minimum(ends, 1.0))) / np.diff(ends)
    return 1 - float(recall[order] @ reward)


@pytest.mark.parametrize("loss", ["error", "reciprocal_rank"])
@pytest.mark.parametrize(
    ("correlation", "words", "size", "reached"),
    [(0.3, 13, 2.0, True), (0.7, 9, 2.0, True), (0.99, 16, 6.0, False)],
)
def test_C27_turned_arcs_reach_the_bound_of_one_encoder(correlation, words, size, reached, loss):
    """Arcs are caps of the circle and tile it, and the list of a turned one is as long for every query."""
    source = sources.projected_normal(2, correlation=correlation)
    equal = np.full(words, 1 / words)
    bound = float(retrieval_converse(source, size, loss, bits=math.log2(words)).loss)
    found = loss_of_turned_arcs(source, size, loss, equal)
    # Both loosenings of caps: of their table and of the proof that equal ones are the best.
    assert bound <= found
    assert not reached or found <= bound + 1e-5
    good, share = words // 2, 0.3
    arcs = np.repeat([share / good, (1 - share) / (words - good)], [good, words - good])
    exact = loss_of_turned_arcs(source, size, loss, arcs)
    assert bound <= exact
    entropy = -float(arcs @ np.log2(arcs))
    for rate in ("entropy", "information"):
        least = retrieval_converse(source, size, loss, bits=entropy, rate=rate, tolerance=1e-3)
        assert float(least.loss) <= exact


@settings(max_examples=3)
@given(
    st.floats(0.3, 0.999),
    st.lists(st.floats(-3, 3), min_size=1, max_size=6, unique=True),
    st.sampled_from((1.0, 3.0, 8.0)),
    st.sampled_from(("error", "reciprocal_rank")),
    st.sampled_from((1e-6, 1e-2)),
)
@example(0.3, [2.9], 10.0, "reciprocal_rank", 1e-6)
def test_C27_no_scalar_quantizer_of_any_cells(correlation, ends, size, loss, tolerance):
    """Exact by a sum over queries: the cells are ranked by P(u|x)/P(u), and those of one cell are tied."""
    x = np.linspace(-7.5, 7.5, 2001)
    weight = np.exp(-0.5 * x * x) / np.exp(-0.5 * x * x).sum()
    edges = np.concatenate([[-np.inf], np.sort(ends), [np.inf]])
    q = np.diff(ndtr(edges))
    seen = np.diff(ndtr((edges - correlation * x[:, None]) / math.sqrt(1 - correlation**2)))
    kept = q > 1e-12
    q, seen = q[kept], seen[:, kept]
    order = np.argsort(-seen / q, axis=1)
    shares = np.minimum(np.cumsum(np.pad(q[order], ((0, 0), (1, 0))), axis=1), 1.0)
    reward = np.diff(sums_of_first_rewards(size, loss, shares), axis=1) / q[order]
    exact = 1 - float(weight @ (np.take_along_axis(seen, order, 1) * reward).sum(axis=1))
    source = sources.vector_gaussian(np.eye(1), np.eye(1), np.array([[correlation]]))
    entropy = -float(q @ np.log2(q))
    for rate, bits in (
        ("fixed_length", math.log2(q.size)),
        ("entropy", entropy),
        ("information", entropy),
    ):
        bound = retrieval_converse(source, size, loss, bits=bits, rate=rate, tolerance=tolerance)
        assert float(bound.loss) <= exact + 1e-6, rate
