"""Real pairs: what is refused, how they are split, and the space they are compared in."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rdsim.learning.embeddings.paired_embeddings import check_pairs, shared_space, split_pairs
from rdsim.ranking.metrics.paired import pair_ranks, reciprocal_ranks

KEY = jax.random.key(5)


def points(count, dimension, seed=0):
    return np.random.default_rng(seed).normal(size=(count, dimension))


def with_entry(value, row=3, column=1):
    changed = points(50, 3)
    changed[row, column] = value
    return changed


def with_row(value, row=3):
    changed = points(50, 3)
    changed[row] = value
    return changed


def repeated():
    changed = points(50, 3)
    changed[[7, 30]] = changed[[4, 12]]
    return changed


def with_zero_row():
    changed = points(50, 3)
    changed[3] = 0.0
    return changed


GOOD = points(50, 3)


@pytest.mark.parametrize(
    ("queries", "items", "error", "message"),
    [
        (GOOD[0], GOOD, ValueError, r"queries must have shape \(rows, coordinates\).*got shape"),
        (GOOD, GOOD[:, :0], ValueError, r"items must have shape.*\(50, 0\)"),
        (GOOD, with_entry(np.nan), ValueError, r"items must be finite.* got nan at index \(3, 1\)"),
        (with_entry(-np.inf), GOOD, ValueError, r"queries must be finite.* got -inf at index \(3"),
        (GOOD, GOOD[:-1], ValueError, "got 50 queries and 49 items"),
        (GOOD[:39], GOOD[:39], ValueError, "at least 40 pairs are needed, got 39"),
        (GOOD, repeated(), ValueError, r"items must be distinct, but row 7 equals row 4 \(2 rows"),
        (GOOD, with_row(0.0), ValueError, "items must have a direction.* 0.0 at index 3"),
        (
            with_row(1e-310),
            GOOD,
            ValueError,
            r"queries must have a direction.* 1e-310 at index 3",
        ),
        (with_row(1e160), GOOD, ValueError, r"queries must be finite, at most 1e\+100"),
        (GOOD, GOOD.astype("f8,f8"), TypeError, r"items must hold real numbers"),
        (GOOD.astype(complex), GOOD, TypeError, "queries must hold real numbers.*complex"),
        (GOOD, GOOD.astype(str), TypeError, "items must hold real numbers"),
    ],
)
def test_what_is_no_pair_is_named(queries, items, error, message):
    with pytest.raises(error, match=message):
        check_pairs(queries, items)


def test_equal_queries_are_no_fault():
    x, y = check_pairs(repeated(), GOOD)
    np.testing.assert_array_equal(x, repeated())
    np.testing.assert_array_equal(y, GOOD)


@pytest.mark.parametrize(
    "dtype",
    ["float16", "float32", "int8", "uint8", "int16", "int64", jnp.bfloat16, jnp.float8_e4m3fn],
)
def test_every_type_of_real_numbers_is_taken_at_its_values(dtype):
    small = np.random.default_rng(0).permutation(125)[:50]
    items = np.stack([small // 25 + 1, small // 5 % 5, small % 5], axis=1).astype(dtype)
    x, y = check_pairs(items[::-1], items)
    assert x.dtype == y.dtype == np.float64
    np.testing.assert_array_equal(y, items.astype(float))


@given(st.integers(0, 10**6))
def test_no_item_is_on_both_sides_of_a_split(seed):
    generator = np.random.default_rng(seed)
    names = generator.integers(0, 50, 200)
    rows = np.arange(200.0)[:, None]
    items = names[:, None] * 1.0
    parts = split_pairs(jax.random.key(seed), rows, items)
    assert not set(parts.items.ravel()) & set(parts.held_out_items.ravel())
    both = np.concatenate([parts.queries, parts.held_out_queries]).ravel()
    np.testing.assert_array_equal(np.sort(both), rows.ravel())
    np.testing.assert_array_equal(parts.items.ravel(), names[parts.queries.ravel().astype(int)])


def test_a_split_keeps_pairs_together_and_loses_none():
    rows = np.arange(100.0)[:, None]
    parts = split_pairs(KEY, rows, -rows, held_out=0.3)
    assert parts.held_out_items.shape == (30, 1)
    np.testing.assert_array_equal(parts.queries, -parts.items)
    np.testing.assert_array_equal(parts.held_out_queries, -parts.held_out_items)
    both = np.concatenate([parts.queries, parts.held_out_queries]).ravel()
    np.testing.assert_array_equal(np.sort(both), rows.ravel())
    with pytest.raises(ValueError, match="held_out leaves 10 of 100 pairs to rank"):
        split_pairs(KEY, rows, -rows, held_out=0.1)


def test_the_space_is_the_one_that_ranks_best():
    generator = np.random.default_rng(2)
    y = generator.normal(size=(300, 8))
    near = y + 0.3 * generator.normal(size=y.shape)
    turned = near @ np.linalg.qr(generator.normal(size=(8, 8)))[0]
    wide = np.column_stack([turned, generator.normal(size=(300, 2))])

    def chosen(x):
        return shared_space(x[:200], y[:200], validate=(x[200:], y[200:]))

    assert chosen(near).name == "as given"
    for x in (turned, wide):
        space = chosen(x)
        assert "canonical" in space.name
        unit = space.items(y[200:])
        np.testing.assert_allclose(np.linalg.norm(unit, axis=1), 1.0, rtol=0, atol=1e-12)
        assert reciprocal_ranks(pair_ranks(space.queries(x[200:]), unit)).mean() > 0.8


def test_the_canonical_space_is_that_of_whitening_written_out():
    generator = np.random.default_rng(9)
    shared = generator.normal(size=(300, 3)) * [3.0, 1.0, 0.3]
    x = 40.0 + 7.0 * np.column_stack([shared + generator.normal(size=(300, 3)), points(300, 2)])
    y = -5.0 + 0.02 * (shared + 0.5 * generator.normal(size=(300, 3)))
    space = shared_space(x[:200], y[:200], validate=(x[200:], y[200:]))
    penalty = float(space.name.split("penalty ")[1].rstrip(")"))

    def white(points, fitted):
        scale = math.sqrt(fitted.var(axis=0).mean())
        values, axes = np.linalg.eigh(np.cov((fitted / scale).T, bias=True))
        root = axes / np.sqrt(values + penalty) @ axes.T
        return (points - fitted.mean(axis=0)) / scale @ root

    within = white(x[:200], x[:200]).T @ white(y[:200], y[:200]) / 200
    left, correlations, right = np.linalg.svd(within, full_matrices=False)
    sides = white(x[200:], x[:200]) @ left * correlations, white(y[200:], y[:200]) @ right.T
    sides = sides[0], sides[1] * correlations
    q, v = (side / np.linalg.norm(side, axis=1, keepdims=True) for side in sides)
    np.testing.assert_allclose(
        space.queries(x[200:]) @ space.items(y[200:]).T, q @ v.T, rtol=0, atol=1e-8
    )


@pytest.mark.parametrize("scale", [1e-90, 1e-13, 1e90])
def test_units_of_the_embeddings_change_no_space(scale):
    x, y = points(80, 4), points(80, 4) + points(80, 4, 1)

    def scores(unit):
        space = shared_space(unit * x[:60], y[:60], validate=(unit * x[60:], y[60:]))
        return space.queries(unit * x[60:]) @ space.items(y[60:]).T

    np.testing.assert_allclose(scores(scale), scores(1.0), rtol=0, atol=1e-9)


def test_constant_embeddings_have_a_space_in_which_all_tie():
    space = shared_space(np.ones((60, 3)), points(60, 2), validate=(np.ones((9, 3)), points(9, 2)))
    ranks = pair_ranks(space.queries(np.ones((9, 3))), space.items(points(9, 2)))
    assert (ranks.tied == 9).all()
