"""C17: the entropy-weighted quantizer is the solver's test channel, and extends it to new items."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from rdsim import limits, validation
from rdsim.codes.distances import seeds, squared_error
from rdsim.codes.quantizers.entropy_weighted import entropy_weighted_quantizer

SLOPE = 2.0
TOLERANCE = 1e-8
_generator = np.random.default_rng(17)
ITEMS = np.concatenate([_generator.normal(size=(20, 2)), 0.3 * _generator.normal(size=(20, 2)) + 2])
NEW = 2 * _generator.normal(size=(40, 2))


def seeded_codewords(key, items, count):
    return seeds(validation.host_generator(key), np.asarray(items, float), count)


ATOMS = np.asarray(seeded_codewords(jax.random.key(3), ITEMS, 16))
LINE = ITEMS[:, :1]
EVEN = np.full(40, 1 / 40)


def _errors(items, atoms):
    return np.array(
        [[sum((a - b) ** 2 for a, b in zip(y, u, strict=True)) for u in atoms] for y in items]
    )


def _test_channel(code, items):
    """The encoder's formula, entry by entry."""
    q, s = np.asarray(code.output_marginal), float(code.slope)
    rows = []
    for row in _errors(items, np.asarray(code.codewords)):
        unscaled = [qu * 2.0 ** (-s * (d - row.min())) for qu, d in zip(q, row, strict=True)]
        rows.append(np.array(unscaled) / sum(unscaled))
    return np.array(rows)


def _information(p, Q):
    q = p @ Q
    return sum(
        p[y] * Q[y, u] * np.log2(Q[y, u] / q[u]) for y, u in np.argwhere((Q > 0) & (p[:, None] > 0))
    )


@pytest.fixture(scope="module")
def code():
    return entropy_weighted_quantizer(ITEMS, ATOMS, slope=SLOPE, tolerance=TOLERANCE)


@pytest.fixture(scope="module")
def curve():
    return limits.rate_distortion_curve(EVEN, _errors(ITEMS, ATOMS), [SLOPE], tolerance=TOLERANCE)


@pytest.mark.parametrize("items", [ITEMS, NEW, NEW + 1e3], ids=["training", "new", "far"])
def test_C17_the_encoder_weighs_distortion_against_index_length(code, items):
    channel = np.asarray(code.channel(items))
    np.testing.assert_allclose(channel.sum(axis=1), 1.0, rtol=1e-12)
    assert np.all(channel >= 0)
    np.testing.assert_allclose(channel, _test_channel(code, items), rtol=0, atol=1e-9)


def test_C17_on_training_items_it_is_the_solvers_test_channel(code, curve):
    used = np.asarray(curve.output_marginal[0]) > 0
    assert code.codewords.shape[0] == used.sum() < len(ATOMS)
    assert np.all(code.output_marginal > 0)
    np.testing.assert_array_equal(code.codewords, ATOMS[used])
    weights = np.asarray(curve.output_marginal[0]) * 2.0 ** (-SLOPE * _errors(ITEMS, ATOMS))
    test_channel = weights / weights.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(code.channel(ITEMS), test_channel[:, used], rtol=0, atol=1e-12)


def test_C17_its_information_is_the_solvers_rate(code, curve):
    Q = _test_channel(code, ITEMS)
    information = _information(EVEN, Q)
    distortion = np.sum(EVEN[:, None] * Q * _errors(ITEMS, np.asarray(code.codewords)))
    assert code.converged
    assert code.gap <= TOLERANCE
    np.testing.assert_allclose(code.rate, information, rtol=0, atol=1e-12)
    np.testing.assert_allclose(code.distortion, distortion, rtol=1e-12)
    np.testing.assert_allclose(code.distortion, curve.distortion[0], rtol=1e-12)
    # The rate is R(D) to within the gap, which the solver proved.
    assert float(curve.rate[0] - curve.gap[0]) <= information <= float(curve.rate[0]) + 1e-12
    np.testing.assert_array_equal(code.gap, curve.gap[0])


def test_C17_the_index_entropy_holds_the_information_and_the_randomness(code):
    Q = _test_channel(code, ITEMS)
    randomness = -np.mean([sum(x * np.log2(x) for x in row if x > 0) for row in Q])
    np.testing.assert_allclose(code.index_entropy, code.rate + randomness, rtol=1e-12)
    assert code.index_entropy > code.rate


@settings(max_examples=30)
@given(st.lists(st.floats(0.0, 1.0), min_size=16, max_size=16).filter(lambda q: sum(q) > 0.1))
def test_C17_no_other_weighting_of_the_atoms_does_better(code, q):
    q = np.array(q) / sum(q)
    with np.errstate(divide="ignore"):
        other = -np.mean(np.log2(2.0 ** (-SLOPE * _errors(ITEMS, ATOMS)) @ q))
    assert float(code.rate + SLOPE * code.distortion) <= other + TOLERANCE


def test_C17_masses_count_an_item_as_often_as_it_was_seen():
    twice = np.concatenate([ITEMS[:1], ITEMS[:-1]])
    masses = np.r_[0.0, 2.0, np.ones(38)] / 40
    by_items = entropy_weighted_quantizer(twice, ATOMS, slope=SLOPE, tolerance=TOLERANCE)
    by_masses = entropy_weighted_quantizer(
        twice, ATOMS, slope=SLOPE, masses=masses, tolerance=TOLERANCE
    )
    np.testing.assert_allclose(by_masses.rate, by_items.rate, rtol=0, atol=1e-7)
    np.testing.assert_allclose(by_masses.distortion, by_items.distortion, rtol=0, atol=1e-7)
    uneven = np.linspace(1, 5, 40) / 120
    by_masses = entropy_weighted_quantizer(ITEMS, ATOMS, slope=SLOPE, masses=uneven)
    Q = _test_channel(by_masses, ITEMS)
    np.testing.assert_allclose(by_masses.rate, _information(uneven, Q), rtol=0, atol=1e-12)
    np.testing.assert_allclose(by_masses.output_marginal, uneven @ Q, rtol=0, atol=1e-6)


def test_another_distortion_enters_the_solver_and_the_encoder():
    def city_block(items, codewords):
        return jnp.sum(jnp.abs(items[:, None] - codewords), axis=2)

    found = entropy_weighted_quantizer(ITEMS, ATOMS, slope=SLOPE, distortions=city_block)
    d = np.abs(NEW[:, None] - np.asarray(found.codewords)).sum(axis=2)
    weights = np.asarray(found.output_marginal) * 2.0 ** (-SLOPE * d)
    np.testing.assert_allclose(
        found.channel(NEW), weights / weights.sum(axis=1, keepdims=True), rtol=0, atol=1e-12
    )
    assert found.converged


@pytest.mark.parametrize("masses", [None, np.linspace(1, 5, 40) / 120], ids=["even", "uneven"])
def test_C17_atoms_anywhere_meet_the_conditions_of_the_optimum(masses):
    p = EVEN if masses is None else masses
    found = entropy_weighted_quantizer(LINE, slope=1.5, masses=masses)
    Q = _test_channel(found, LINE)
    q = p @ Q
    np.testing.assert_allclose(
        found.codewords, (p[:, None] * Q).T @ LINE / q[:, None], rtol=0, atol=0.01
    )
    # The dual bound over a fine grid of every reproduction there could be.
    kernel = 2.0 ** (-1.5 * (LINE - np.linspace(-4, 4, 8001)) ** 2)
    Z = 2.0 ** (-1.5 * _errors(LINE, np.asarray(found.codewords))) @ np.asarray(
        found.output_marginal
    )
    assert np.log2(np.max((p / Z) @ kernel)) <= float(found.gap) + 1e-12
    assert found.gap <= 1e-6
    np.testing.assert_allclose(found.rate, _information(p, Q), rtol=0, atol=1e-12)


def test_C17_indices_are_drawn_from_the_channel(code):
    """Chi-square of 20,000 draws for two items; false alarm below 1e-7 at the fixed key."""
    items = np.repeat(ITEMS[[0, 35]], 10_000, axis=0)
    drawn = np.asarray(code.encode(jax.random.key(5), items))
    assert drawn.dtype == np.int32
    for part, row in zip(np.split(drawn, 2), np.asarray(code.channel(ITEMS))[[0, 35]], strict=True):
        counts = np.bincount(part, minlength=row.size)
        large = row > 1e-3
        expected = np.append(row[large], row[~large].sum()) * 10_000
        seen = np.append(counts[large], counts[~large].sum())
        assert np.sum((seen - expected) ** 2 / expected) < stats.chi2.isf(1e-7, large.sum())


def test_a_code_is_a_pytree_of_arrays(code):
    leaves, tree = jax.tree.flatten(code)
    again = jax.tree.unflatten(tree, leaves)
    np.testing.assert_array_equal(
        jax.jit(lambda c, y: c.channel(y))(again, ITEMS), code.channel(ITEMS)
    )
    sharper = dataclasses.replace(code, slope=jnp.asarray(1e6))
    nearest = np.argmin(_errors(NEW, np.asarray(code.codewords)), axis=1)
    np.testing.assert_array_equal(sharper.encode(jax.random.key(0), NEW), nearest)


def test_seeded_codewords_are_distinct_items():
    atoms = np.asarray(seeded_codewords(jax.random.key(0), np.repeat(ITEMS[:5], 3, axis=0), 5))
    np.testing.assert_array_equal(np.unique(atoms, axis=0), np.unique(ITEMS[:5], axis=0))
    again = seeded_codewords(jax.random.key(1), ITEMS, 5)
    assert not np.array_equal(again, seeded_codewords(jax.random.key(2), ITEMS, 5))


def test_seeded_codewords_are_drawn_in_proportion_to_the_squared_error():
    """The second atom after the first; false alarm below 1e-7 at the fixed keys."""
    y = np.array([[0.0], [1.0], [3.0]])
    pairs = [np.asarray(seeded_codewords(jax.random.key(i), y, 2)).ravel() for i in range(600)]
    after_zero = [b for a, b in pairs if a == 0]
    assert stats.binomtest(len(after_zero), 600, 1 / 3).pvalue > 1e-7
    assert stats.binomtest(sum(b == 3 for b in after_zero), len(after_zero), 0.9).pvalue > 1e-7


def test_squared_errors_are_those_of_the_differences():
    np.testing.assert_allclose(squared_error(NEW, ATOMS), _errors(NEW, ATOMS), rtol=1e-13)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"slope": 0.0}, "slope must lie in"),
        ({"slope": np.inf}, "slope must lie in"),
        ({"items": np.zeros(3)}, "items must have 2 dimensions"),
        ({"items": np.zeros((0, 1))}, "items must have shape"),
        ({"items": [[np.nan]]}, "items must not contain NaN"),
        ({"items": [[np.inf]]}, "items must lie in"),
        ({"codewords": np.zeros((2, 1))}, r"codewords must have shape \(K, 2\)"),
        ({"codewords": np.zeros((0, 2))}, r"codewords must have shape \(K, 2\)"),
        ({"masses": [0.5, 0.5]}, "masses must have one entry an item"),
        ({"masses": np.full(40, 0.03)}, "masses must sum to one"),
        ({"tolerance": 0.0}, "tolerance must lie in"),
        ({"distortions": lambda y, u: -squared_error(y, u)}, "distortions must lie in"),
        ({"distortions": lambda y, u: squared_error(u, y)}, "distortions must give shape"),
        ({"items": np.zeros((3, 3)), "codewords": None}, "codewords must be given unless"),
    ],
)
def test_bad_arguments_are_named(arguments, message):
    valid = {"items": ITEMS, "codewords": ATOMS, "slope": SLOPE}
    with pytest.raises(ValueError, match=message):
        entropy_weighted_quantizer(**(valid | arguments))


def test_bad_items_and_keys_are_named(code):
    with pytest.raises(ValueError, match=r"items must have shape \(N, 2\)"):
        code.channel(np.zeros((3, 1)))
    with pytest.raises(TypeError, match="key"):
        code.encode(np.zeros(2, np.uint32), ITEMS)
    with pytest.raises(
        ValueError, match="codebook_size must not exceed the number of distinct items, 1"
    ):
        seeded_codewords(jax.random.key(0), np.ones((4, 2)), 2)
