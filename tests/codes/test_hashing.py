"""C17: random-hyperplane hashes are sign patterns, scored by Hamming distance or by centroids."""

from math import comb

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from rdsim.codes.quantizers.hashing import HyperplaneHash, hyperplane_hashing

BITS = 4
POINTS_6 = np.random.default_rng(11).normal(size=(60, 3))
CENTRE = np.array([3.0, -1.0])
ITEMS = np.random.default_rng(4).normal(size=(60, 2)) + CENTRE
QUERIES = np.random.default_rng(5).normal(size=(7, 2)) + CENTRE


@pytest.fixture(scope="module")
def code():
    return hyperplane_hashing(jax.random.key(2), ITEMS, BITS)


def _signs(code, points):
    planes, centre = np.asarray(code.planes), ITEMS.mean(axis=0)
    return [
        [
            sum(a * (y - c) for a, y, c in zip(plane, point, centre, strict=True)) > 0
            for plane in planes
        ]
        for point in points
    ]


def _indices(code, points):
    return [int("".join(str(int(bit)) for bit in row), 2) for row in _signs(code, points)]


def test_C17_an_index_is_the_sign_pattern(code):
    np.testing.assert_allclose(code.centre, ITEMS.mean(axis=0), rtol=1e-14)
    np.testing.assert_array_equal(code.hash(QUERIES), _signs(code, QUERIES))
    indices = code.encode(jax.random.key(0), ITEMS)
    assert indices.dtype == np.int32
    np.testing.assert_array_equal(indices, _indices(code, ITEMS))
    np.testing.assert_array_equal(code.channel(ITEMS), np.eye(2**BITS)[_indices(code, ITEMS)])


def test_C17_hamming_features_count_the_bits_that_differ(code):
    stored = _indices(code, ITEMS)
    expected = [[-bin(a ^ b).count("1") for b in stored] for a in _indices(code, QUERIES)]
    inner = code.hamming_features(QUERIES) @ code.item_features(code.store(None, ITEMS)).T
    np.testing.assert_array_equal((inner - BITS) / 2, expected)


def test_C17_codewords_are_centroids_and_empty_cells_borrow_from_the_nearest(code):
    indices = np.array(_indices(code, ITEMS))
    assert code.codewords.shape == (2**BITS, 2)
    np.testing.assert_allclose(
        code.masses, np.bincount(indices, minlength=2**BITS) / len(ITEMS), rtol=1e-12, atol=0
    )
    empty = 0
    for cell in range(2**BITS):
        distances = np.array([bin(cell ^ index).count("1") for index in indices])
        empty += distances.min() > 0
        nearest = ITEMS[distances == distances.min()]
        np.testing.assert_allclose(code.codewords[cell], nearest.mean(axis=0), rtol=1e-12)
    assert empty > 0


def test_few_cells_of_the_plane_are_reached():
    """Four lines through a point cut the plane into eight sectors, not sixteen."""
    code = hyperplane_hashing(jax.random.key(2), ITEMS, BITS)
    around = np.stack([np.cos(t := np.linspace(0, 2 * np.pi, 5000)), np.sin(t)], axis=1)
    reached = np.unique(code.encode(jax.random.key(0), around + ITEMS.mean(axis=0)))
    assert reached.size == 2 * sum(comb(BITS - 1, i) for i in range(2)) == 8


def test_C17_two_points_collide_with_the_probability_of_their_angle():
    """A bit agrees with probability 1 - angle / pi (Charikar 2002); false alarm below 1e-7."""
    points = np.array([[1.0, 0.0], [np.cos(1.0), np.sin(1.0)]])
    planes = jax.random.normal(jax.random.key(8), (4000, 2))
    code = HyperplaneHash(
        codewords=jnp.zeros((1, 2)), planes=planes, centre=jnp.zeros(2), masses=jnp.ones(1)
    )
    first, second = np.asarray(code.hash(points))
    agreed = int(np.sum(first == second))
    assert stats.binomtest(agreed, 4000, 1 - 1 / np.pi).pvalue > 1e-7


def test_planes_are_standard_normal_and_follow_the_key():
    """Kolmogorov-Smirnov of 16 x 40 normals at a fixed key; false alarm below 1e-7."""
    first = hyperplane_hashing(jax.random.key(0), np.eye(40), 2)
    second = hyperplane_hashing(jax.random.key(1), np.eye(40), 2)
    assert not np.array_equal(first.planes, second.planes)
    assert stats.kstest(np.ravel([first.planes, second.planes]), "norm").pvalue > 1e-7


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"bits": 0}, ValueError, r"bits must be in \[1, 16\]"),
        ({"bits": 17}, ValueError, r"bits must be in \[1, 16\]"),
        ({"bits": 2.0}, TypeError, "bits must be an integer"),
        ({"items": np.zeros(3)}, ValueError, "items must have 2 dimensions"),
        ({"items": np.zeros((0, 2))}, ValueError, "items must have shape"),
        ({"items": [[np.nan, 0.0]]}, ValueError, "items must not contain NaN"),
        ({"key": 3}, TypeError, "key"),
    ],
)
def test_bad_arguments_are_named(arguments, error, message):
    with pytest.raises(error, match=message):
        hyperplane_hashing(**({"key": jax.random.key(0), "items": ITEMS, "bits": BITS} | arguments))


def test_bad_points_are_named(code):
    for name, call in (
        ("points", code.hash),
        ("items", code.channel),
        ("queries", code.hamming_features),
    ):
        with pytest.raises(ValueError, match=rf"{name} must have shape \(N, 2\)"):
            call(np.zeros((3, 1)))


def test_a_listed_hash_is_a_stored_code_too():
    """Its index is made of the signs that it stores."""
    code = hyperplane_hashing(jax.random.key(3), POINTS_6, 5)
    stored = code.store(None, POINTS_6)
    index = np.asarray(code.encode(jax.random.key(0), POINTS_6))
    np.testing.assert_array_equal(stored @ (1 << np.arange(4, -1, -1)), index)
