import jax
import jax.numpy as jnp
import numpy as np
import pytest
import strategies
from hypothesis import given
from scipy import stats

from rdsim import sources

TABLE = np.array([[0.2, 0.0, 0.1, 0.05], [0.0, 0.3, 0.0, 0.05], [0.1, 0.0, 0.2, 0.0]])


@given(strategies.joint_pmfs())
def test_marginals_are_the_sums_of_the_table(joint):
    source = sources.discrete(joint)
    np.testing.assert_allclose(source.px, joint.sum(axis=1), atol=1e-15)
    np.testing.assert_allclose(source.py, joint.sum(axis=0), atol=1e-15)
    np.testing.assert_allclose(source.joint, joint, rtol=1e-14)


@given(strategies.probabilities())
def test_dsbs_has_uniform_marginals_and_the_crossover(p):
    source = sources.dsbs(p)
    np.testing.assert_allclose(source.px, [0.5, 0.5], rtol=1e-15)
    np.testing.assert_allclose(source.py, [0.5, 0.5], rtol=1e-15)
    np.testing.assert_allclose(source.joint[0, 1] + source.joint[1, 0], p, rtol=1e-15, atol=1e-300)


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
    np.testing.assert_allclose(marginals, np.full((3, 2), 0.5))
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


def test_sampling_rejects_what_is_no_key():
    with pytest.raises(TypeError, match="key"):
        sources.dsbs(0.1).sample(0, (3,))
