import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference
import strategies
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from rdsim import sources
from rdsim.sources.tables import draw_letters, draw_outputs

TABLE = np.array([[0.2, 0.0, 0.1, 0.05], [0.0, 0.3, 0.0, 0.05], [0.1, 0.0, 0.2, 0.0]])


@given(strategies.joint_pmfs())
def test_marginals_are_the_sums_of_the_table(joint):
    source = sources.discrete(joint)
    np.testing.assert_allclose(source.px, joint.sum(axis=1), rtol=0, atol=1e-15)
    np.testing.assert_allclose(source.py, joint.sum(axis=0), rtol=0, atol=1e-15)
    np.testing.assert_allclose(source.joint, joint, rtol=1e-14)


@given(strategies.probabilities())
def test_dsbs_has_uniform_marginals_and_the_crossover(p):
    source = sources.dsbs(p)
    np.testing.assert_allclose(source.px, [0.5, 0.5], rtol=1e-15)
    np.testing.assert_allclose(source.py, [0.5, 0.5], rtol=1e-15)
    np.testing.assert_allclose(source.joint[0, 1] + source.joint[1, 0], p, rtol=1e-15, atol=1e-300)


@given(strategies.joint_pmfs())
def test_entropies_and_information_are_those_of_the_table(joint):
    source = sources.discrete(joint)
    H_x, H_y, information = source.entropy_x, source.entropy_y, source.mutual_information
    np.testing.assert_allclose(H_x, reference.entropy(joint.sum(axis=1)), rtol=0, atol=1e-14)
    np.testing.assert_allclose(H_y, reference.entropy(joint.sum(axis=0)), rtol=0, atol=1e-14)
    np.testing.assert_allclose(
        information, reference.mutual_information_by_sums(joint), rtol=0, atol=1e-14
    )
    assert -1e-14 <= information <= min(H_x, H_y) + 1e-14


def h(p):
    return reference.entropy([p, 1 - p])


@given(strategies.probabilities())
def test_the_erasure_pair_keeps_what_is_not_erased(e):
    source = sources.binary_erasure_pair(e)
    assert source.joint.shape == (3, 2)
    np.testing.assert_allclose(
        source.joint[:, 0], [0.5 * (1 - e), 0.0, 0.5 * e], rtol=0, atol=1e-16
    )
    np.testing.assert_allclose(
        source.joint[:, 1], [0.0, 0.5 * (1 - e), 0.5 * e], rtol=0, atol=1e-16
    )
    np.testing.assert_allclose(source.mutual_information, 1 - e, rtol=1e-14, atol=1e-15)
    np.testing.assert_allclose(source.entropy_x, 1 - e + h(e), rtol=1e-14, atol=1e-15)


@given(st.sampled_from((2, 3, 7)), strategies.probabilities())
def test_the_symmetric_source_has_its_closed_form(letters, p):
    source = sources.symmetric(letters, p)
    np.testing.assert_allclose(source.px, 1 / letters, rtol=1e-14)
    np.testing.assert_allclose(source.py, 1 / letters, rtol=1e-14)
    np.testing.assert_allclose(np.trace(source.joint), 1 - p, rtol=1e-14, atol=1e-300)
    off = np.asarray(source.joint)[~np.eye(letters, dtype=bool)]
    np.testing.assert_allclose(off, p / (letters * (letters - 1)), rtol=1e-15, atol=1e-300)
    expected = np.log2(letters) - h(p) - p * np.log2(letters - 1)
    np.testing.assert_allclose(source.mutual_information, expected, rtol=0, atol=2e-14)
    if letters == 2:
        np.testing.assert_allclose(source.joint, sources.dsbs(p).joint, rtol=1e-15, atol=1e-300)


def test_entropies_pass_through_transformations():
    stacked = jax.vmap(sources.dsbs)(jnp.array([0.1, 0.2, 0.3]))
    mapped = jax.jit(jax.vmap(lambda s: s.mutual_information))(stacked)
    np.testing.assert_allclose(mapped, [1 - h(p) for p in (0.1, 0.2, 0.3)], rtol=1e-14)
    with jax.enable_x64(False), pytest.raises(RuntimeError, match="needs float64"):
        _ = sources.dsbs(0.1).mutual_information


@given(strategies.pmfs(5))
def test_letters_without_mass_are_never_drawn(pmf):
    drawn = np.asarray(draw_letters(jax.random.key(4), jnp.asarray(pmf), (500,)))
    assert (pmf[drawn] > 0).all()


def test_channel_outputs_follow_the_rows_of_the_channel():
    # Chi-square over the 7 cells with mass, false alarm 1e-7; the key is fixed.
    channel = np.array([[0.5, 0.0, 0.25, 0.25], [0.0, 1.0, 0.0, 0.0], [0.1, 0.6, 0.3, 0.0]])
    trials = 100_000
    inputs = jnp.repeat(jnp.arange(3), trials)
    outputs = draw_outputs(jax.random.key(6), jnp.asarray(channel), inputs)
    counts = np.zeros(channel.shape)
    np.add.at(counts, (np.asarray(inputs), np.asarray(outputs)), 1)
    used = channel > 0
    assert (counts[~used] == 0).all()
    expected = trials * channel[used]
    statistic = np.sum((counts[used] - expected) ** 2 / expected)
    assert statistic < stats.chi2.isf(1e-7, used.sum() - 3)


def test_samples_follow_the_table():
    # Chi-square over the 8 cells with mass. A right sampler fails with probability 1e-7; the key
    # is fixed, so the outcome is the same in every run.
    trials = 400_000
    x, y = sources.discrete(TABLE).sample(jax.random.key(20), (trials,))
    assert x.dtype == y.dtype == jnp.int32
    counts = np.zeros(TABLE.shape)
    np.add.at(counts, (np.asarray(x), np.asarray(y)), 1)
    assert (counts[TABLE == 0] == 0).all()
    cells = TABLE > 0
    expected = trials * TABLE[cells]
    statistic = np.sum((counts[cells] - expected) ** 2 / expected)
    assert statistic < stats.chi2.isf(1e-7, cells.sum() - 1)


@given(strategies.joint_pmfs((3, 2)))
def test_cells_without_mass_are_never_drawn(joint):
    x, y = sources.discrete(joint).sample(jax.random.key(1), (1000,))
    assert (joint[np.asarray(x), np.asarray(y)] > 0).all()


@pytest.mark.parametrize(("point", "cell"), [(0.0, (0, 1)), (0.5, (1, 0)), (1.0, (1, 0))])
def test_a_point_on_an_edge_means_a_cell_with_mass(monkeypatch, point, cell):
    monkeypatch.setattr(
        jax.random, "uniform", lambda _, shape, dtype: jnp.full(shape, point, dtype)
    )
    jax.clear_caches()
    pair = sources.discrete([[0.0, 0.5], [0.5, 0.0]]).sample(jax.random.key(0), (7,))
    jax.clear_caches()
    np.testing.assert_array_equal(np.stack(pair, axis=1), [cell] * 7)


def test_samples_depend_on_the_key_and_the_shape_alone():
    source = sources.discrete(TABLE)
    key = jax.random.key(3)
    eager = source.sample(key, (50, 2))
    compiled = jax.jit(lambda source, key: source.sample(key, (50, 2)))(source, key)
    np.testing.assert_array_equal(eager, compiled)
    keys = jax.random.split(key, 4)
    mapped = jax.vmap(lambda key: source.sample(key, (9,)))(keys)
    one_by_one = [np.stack(source.sample(key, (9,))) for key in keys]
    np.testing.assert_array_equal(np.stack(mapped, axis=1), one_by_one)
    assert (np.asarray(source.sample(keys[0], (50,))) != source.sample(keys[1], (50,))).any()
    assert source.sample(key)[0].shape == ()


def test_sources_stack_under_vmap():
    stacked = jax.vmap(sources.dsbs)(jnp.array([0.1, 0.2, 0.3]))
    assert isinstance(stacked, sources.DiscreteSource)
    assert stacked.joint.shape == (3, 2, 2)
    by_hand = jax.tree.map(lambda *leaves: jnp.stack(leaves), sources.dsbs(0.1), sources.dsbs(0.2))
    np.testing.assert_array_equal(by_hand.joint, stacked.joint[:2])
    marginals = jax.vmap(lambda source: source.py)(stacked)
    np.testing.assert_allclose(marginals, np.full((3, 2), 0.5), rtol=1e-12, atol=0)
    second = jax.tree.map(lambda leaf: leaf[1], stacked)
    np.testing.assert_array_equal(second.joint, sources.dsbs(0.2).joint)


@pytest.mark.parametrize(
    ("joint", "error", "message"),
    [
        ([0.5, 0.5], ValueError, r"joint must have 2 dimensions, got shape \(2,\)"),
        ([[0.5, 0.6]], ValueError, r"joint must sum to one, got a sum of 1.1"),
        ([[1.5, -0.5]], ValueError, r"joint must lie in \[0, inf\], got -0.5 at index \(0, 1\)"),
        ([[1.0, np.nan]], ValueError, r"joint must not contain NaN, got nan at index \(0, 1\)"),
        (np.zeros((0, 2)), ValueError, r"joint must have at least one letter, got shape \(0, 2\)"),
        ([["a", "b"]], TypeError, r"joint must hold real numbers, got an array of dtype"),
    ],
)
def test_discrete_rejects_what_is_no_table(joint, error, message):
    with pytest.raises(error, match=message):
        sources.discrete(joint)


@pytest.mark.parametrize(
    ("crossover", "message"),
    [
        (-0.1, r"crossover must lie in \[0, 1\], got -0.1"),
        (1.5, r"crossover must lie in \[0, 1\], got 1.5"),
        (np.nan, r"crossover must not contain NaN, got nan"),
        ([0.1], r"crossover must have 0 dimensions, got shape \(1,\)"),
    ],
)
def test_dsbs_rejects_what_is_no_crossover(crossover, message):
    with pytest.raises(ValueError, match=message):
        sources.dsbs(crossover)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: sources.symmetric(1, 0.1), ValueError, "letters must be at least 2, got 1"),
        (lambda: sources.symmetric(2.0, 0.1), TypeError, "letters must be an integer, got 2.0"),
        (lambda: sources.symmetric(3, 1.1), ValueError, r"crossover must lie in \[0, 1\], got 1.1"),
        (lambda: sources.symmetric(3, [0.1]), ValueError, "crossover must have 0 dimensions"),
        (
            lambda: sources.binary_erasure_pair(-0.1),
            ValueError,
            r"erasure must lie in \[0, 1\], got -0.1",
        ),
        (lambda: sources.binary_erasure_pair([0.1]), ValueError, "erasure must have 0 dimensions"),
    ],
)
def test_the_standard_pairs_reject_bad_arguments(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_sampling_rejects_what_is_no_key():
    with pytest.raises(TypeError, match="key"):
        sources.dsbs(0.1).sample(0, (3,))
