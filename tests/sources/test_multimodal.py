import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference
import strategies
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from rdsim import sources

TRIALS = 300_000
PY = np.array([0.5, 0.3, 0.2])
CHANNELS = (
    np.array([[0.9, 0.1], [0.2, 0.8], [0.5, 0.5]]),
    np.array([[0.6, 0.4, 0.0], [0.0, 0.5, 0.5], [0.2, 0.2, 0.6]]),
)
COMMON = np.array([[1.0, 0.0], [0.3, 0.7], [0.1, 0.9]])


@st.composite
def multimodal_distributions(draw):
    """A distribution of the item, two channels of two and three outputs, and a common channel or none."""
    own = [draw(strategies.channels((3, outputs))) for outputs in (2, 3)]
    common = draw(st.none() | strategies.channels((3, 2)))
    return draw(strategies.pmfs(3)), own, common


def joint_by_loops(py, channels, common, chosen):
    """P(y, w, v_k for k chosen), one cell after the other."""
    common = np.ones((py.size, 1)) if common is None else common
    shape = (py.size, common.shape[1], *(channels[k].shape[1] for k in chosen))
    joint = np.zeros(shape)
    for cell in itertools.product(*map(range, shape)):
        y, w, *v = cell
        joint[cell] = py[y] * common[y, w]
        for k, letter in zip(chosen, v, strict=True):
            joint[cell] *= channels[k][y, letter]
    return joint


@given(multimodal_distributions(), st.sampled_from(((1,), (1, 0))))
def test_the_joint_distribution_is_the_product_given_the_item(distribution, chosen):
    py, channels, common = distribution
    source = sources.multimodal(py, channels, common=common)
    brute = joint_by_loops(py, channels, common, chosen)
    flat = np.moveaxis(brute.reshape(py.size, -1), 0, 1)
    pair = source.joint_with(chosen)
    np.testing.assert_allclose(pair.joint, flat, rtol=1e-13, atol=1e-300)
    np.testing.assert_allclose(
        source.mutual_information(chosen),
        reference.mutual_information_by_sums(flat),
        rtol=0,
        atol=1e-13,
    )


@settings(max_examples=15)
@given(multimodal_distributions())
def test_more_modalities_tell_more_and_redundancy_is_what_they_repeat(distribution):
    py, channels, common = distribution
    source = sources.multimodal(py, channels, common=common)
    single = [float(source.mutual_information(k)) for k in (0, 1)]
    both = float(source.mutual_information())
    assert max(single) <= both + 1e-13
    assert both <= float(source.joint_with().entropy_y) + 1e-13
    redundancy = float(source.redundancy)
    np.testing.assert_allclose(redundancy, sum(single) - both, rtol=0, atol=1e-13)
    # (K-1) I(W;Y) + T(V_1, V_2 | W), from the full table.
    joint = joint_by_loops(py, channels, common, (0, 1))
    shared = reference.mutual_information_by_sums(joint.sum(axis=(2, 3)))
    parts = joint.sum(axis=0)
    repeated = sum(
        parts[w].sum() * reference.mutual_information_by_sums(parts[w] / parts[w].sum())
        for w in range(parts.shape[0])
        if parts[w].sum() > 0
    )
    np.testing.assert_allclose(redundancy, shared + repeated, rtol=0, atol=1e-12)
    assert redundancy >= -1e-13


def test_modalities_are_independent_given_the_item_and_the_common_part():
    source = sources.multimodal(PY, CHANNELS, common=COMMON)
    table = np.asarray(source.joint_with().joint).reshape(2, 2, 3, 3)  # w, v_0, v_1, y
    for w, y in itertools.product(range(2), range(3)):
        block = table[w, :, :, y]
        product = np.outer(block.sum(axis=1), block.sum(axis=0))
        np.testing.assert_allclose(block * block.sum(), product, rtol=0, atol=1e-16)


def test_a_copied_modality_is_wholly_redundant():
    # W = Y and useless own parts: every modality tells H(Y), together they tell H(Y) once.
    useless = np.full((3, 2), 0.5)
    source = sources.multimodal(PY, [useless] * 3, common=np.eye(3))
    np.testing.assert_allclose(source.redundancy, 2 * reference.entropy(PY), rtol=1e-13)
    assert source.letters == (6, 6, 6)


@pytest.mark.parametrize("common", [None, COMMON])
def test_samples_follow_the_distribution(common):
    # Chi-square over all cells with mass, false alarm 1e-7; the key is fixed.
    source = sources.multimodal(PY, CHANNELS, common=common)
    trials = TRIALS
    queries, items = source.sample(jax.random.key(12), (trials,))
    assert queries.shape == (trials, 2)
    assert queries.dtype == items.dtype == jnp.int32
    first, second = np.divmod(np.asarray(queries), [2, 3])
    if common is None:
        assert (first == 0).all()
    np.testing.assert_array_equal(first[:, 0], first[:, 1])
    expected = joint_by_loops(PY, CHANNELS, common, (0, 1))
    counts = np.zeros(expected.shape)
    np.add.at(counts, (np.asarray(items), first[:, 0], second[:, 0], second[:, 1]), 1)
    used = expected > 0
    assert (counts[~used] == 0).all()
    wanted = trials * expected[used]
    statistic = np.sum((counts[used] - wanted) ** 2 / wanted)
    assert statistic < stats.chi2.isf(1e-7, used.sum() - 1)


def test_sources_pass_through_transformations():
    source = sources.multimodal(PY, CHANNELS, common=COMMON)
    key = jax.random.key(12)
    compiled = jax.jit(lambda source, key: source.sample(key, (TRIALS,)))(source, key)
    jax.tree.map(np.testing.assert_array_equal, compiled, source.sample(key, (TRIALS,)))
    distributions = jnp.array([[0.2, 0.3, 0.5], [1.0, 0.0, 0.0]])
    stacked = jax.vmap(lambda py: sources.multimodal(py, CHANNELS, common=COMMON))(distributions)
    values = jax.vmap(lambda source: source.mutual_information((0, 1)))(stacked)
    alone = [
        sources.multimodal(p, CHANNELS, common=COMMON).mutual_information() for p in distributions
    ]
    np.testing.assert_allclose(values, alone, rtol=0, atol=1e-14)
    leaves, tree = jax.tree.flatten(source)
    assert len(leaves) == 4
    again = jax.tree.unflatten(tree, leaves)
    np.testing.assert_array_equal(again.joint_with().joint, source.joint_with().joint)


@given(
    st.lists(st.floats(0.05, 10.0), min_size=3, max_size=3),
    st.sampled_from((0.0, 0.5)) | st.floats(0.0, 10.0),
    st.floats(0.1, 10.0),
)
def test_gaussian_modalities_have_their_closed_form(own, common, variance):
    source = sources.gaussian_multimodal(own, common, variance=variance)
    noise = common + 1 / sum(1 / n for n in own)
    expected = 0.5 * math.log2(1 + variance / noise)
    np.testing.assert_allclose(source.mutual_information, expected, rtol=1e-11)
    np.testing.assert_allclose(source.covariance_x, np.diag(own) + variance + common, rtol=1e-15)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: sources.multimodal([0.5, 0.6], CHANNELS), ValueError, "p must sum to one"),
        (lambda: sources.multimodal(PY, []), ValueError, "channels must hold at least one"),
        (
            lambda: sources.multimodal(PY, [np.eye(3), np.eye(2)]),
            ValueError,
            r"channels\[1\] must have 3 rows, one for each item letter, got shape \(2, 2\)",
        ),
        (
            lambda: sources.multimodal(PY, [np.diag([1.0, 0.5, 1.0])]),
            ValueError,
            r"channels\[0\] must have rows that sum to one, got a sum of .* at index 1",
        ),
        (
            lambda: sources.multimodal(PY, CHANNELS, common=np.eye(3) - 0.1),
            ValueError,
            r"common must lie in \[0, inf\], got -0.1 at index \(0, 1\)",
        ),
        (
            lambda: sources.multimodal(PY, CHANNELS).joint_with(2),
            ValueError,
            r"modalities must be in \[0, 1\], got 2",
        ),
        (
            lambda: sources.multimodal(PY, CHANNELS).joint_with((0, 0)),
            ValueError,
            r"modalities must be distinct and at least one, got \(0, 0\)",
        ),
        (
            lambda: sources.multimodal(PY, CHANNELS).mutual_information(()),
            ValueError,
            r"modalities must be distinct and at least one, got \(\)",
        ),
        (
            lambda: sources.multimodal(PY, CHANNELS).joint_with(0.5),
            TypeError,
            r"modalities must be an integer, got 0.5",
        ),
        (
            lambda: sources.multimodal(PY, [np.eye(3)] * 16).joint_with(),
            ValueError,
            "would have 129140163 entries, more than 67108864",
        ),
        (lambda: sources.multimodal(PY, CHANNELS).sample(1), TypeError, "key"),
        (lambda: sources.gaussian_multimodal([]), ValueError, "noise_variances must not be empty"),
        (
            lambda: sources.gaussian_multimodal([1.0, 0.0]),
            ValueError,
            r"noise_variances must lie in \(0, inf\), got 0.0 at index 1",
        ),
        (
            lambda: sources.gaussian_multimodal([1.0], -1.0),
            ValueError,
            r"common_noise must lie in \[0, inf\), got -1.0",
        ),
        (
            lambda: sources.gaussian_multimodal([1e-12, 1e-12], variance=1e12),
            ValueError,
            "noise_variances, each and with common_noise, must be at least 1e-12 .* got 5e-13 for a",
        ),
        (
            lambda: sources.gaussian_multimodal([1e-12, 1e-12], 1e12, variance=1.0),
            ValueError,
            "noise_variances, each and with common_noise, must be at least 1e-12 .* got 1e-12 for a",
        ),
        (
            lambda: sources.gaussian_multimodal([1.0], variance=0.0),
            ValueError,
            r"variance must lie in \(0, inf\), got 0.0",
        ),
    ],
)
def test_bad_arguments_are_named(call, error, message):
    with pytest.raises(error, match=message):
        call()
