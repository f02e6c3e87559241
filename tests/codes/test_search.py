"""The best stored items: exact, in blocks of any size, as faiss finds them."""

import jax
import numpy as np
import pytest

from rdsim import codes
from rdsim.codes import distances, stored_search


@pytest.mark.parametrize("fit", ["product quantizer", "hash"])
def test_search_returns_the_best_scores_of_all_items_sorted_whatever_the_blocks(fit, monkeypatch):
    draws = np.random.default_rng(1)
    items, queries = draws.standard_normal((700, 6)), draws.standard_normal((9, 6))
    key = jax.random.key(0)
    code = (
        codes.long_product_quantizer(key, items, 12)
        if fit == "product quantizer"
        else codes.long_hyperplane_hash(key, items, 5)
    )
    stored = code.store(key, items)
    every = np.einsum("qf,mf->qm", code.query_features(queries), code.item_features(stored))
    order = np.argsort(-every, axis=1, kind="stable")
    for features, scores in ((1 << 19, 1 << 20), (200, 300), (1, 1)):
        monkeypatch.setattr(stored_search, "_FEATURES", features)
        monkeypatch.setattr(stored_search, "_SCORES", scores)
        for count in (1, 20, 700):
            found = codes.search(code, queries, stored, count)
            np.testing.assert_array_equal(found.indices, order[:, :count])
            np.testing.assert_array_equal(
                found.scores, np.take_along_axis(every, order[:, :count], axis=1)
            )


def test_search_finds_what_faiss_finds():
    faiss = pytest.importorskip("faiss")
    draws = np.random.default_rng(2)
    items = draws.standard_normal((3000, 16))
    queries = items[:50] + 0.5 * draws.standard_normal((50, 16))
    code = codes.long_product_quantizer(jax.random.key(0), items, 32)
    found = codes.search(code, queries, code.store(jax.random.key(0), items), 10)
    index = faiss.IndexPQ(16, 4, 8)
    books = np.stack([np.asarray(book) for book in code.codebooks])
    faiss.copy_array_to_vector(books.astype(np.float32).ravel(), index.pq.centroids)
    index.is_trained = True
    rotated = [
        ((points - np.asarray(code.centre)) @ np.asarray(code.rotation).T).astype(np.float32)
        for points in (items, queries)
    ]
    index.add(rotated[0])
    _, theirs = index.search(rotated[1], 10)
    # Codes tie where items share all digits, and faiss computes in float32.
    assert np.mean(np.sort(theirs, axis=1) == np.sort(found.indices, axis=1)) > 0.995


def test_search_refuses_what_it_cannot_use():
    items = np.random.default_rng(0).standard_normal((64, 3))
    code = codes.long_hyperplane_hash(jax.random.key(0), items, 4)
    stored = code.store(None, items)
    with pytest.raises(TypeError, match="code must have query_features"):
        codes.search(items, items, stored, 1)
    with pytest.raises(ValueError, match="stored must be rows of integers"):
        codes.search(code, items, stored[0], 1)
    with pytest.raises(TypeError, match="stored must hold real numbers, got an array of dtype key"):
        codes.search(code, items, jax.random.key(0), 1)
    with pytest.raises(ValueError, match="stored must be rows of this code, whose queries have"):
        codes.search(code, items, np.repeat(stored, 9, axis=1), 1)
    with pytest.raises(ValueError, match="count must"):
        codes.search(code, items, stored, 65)


@pytest.mark.parametrize("power", [-1074, -530, 0, 400])
def test_the_unit_of_queries_and_items_moves_no_place(monkeypatch, power):
    """Nor where the inverse of its square is beyond float64, which the thresholds of later blocks were multiplied by."""
    monkeypatch.setattr(stored_search, "_FEATURES", 64)
    generator = np.random.default_rng(3)
    items, queries = generator.integers(-9, 10, (500, 2)), generator.integers(-9, 10, (7, 2))
    unit = 2.0**power

    class Rows:
        def query_features(self, given):
            return given * unit

        def item_features(self, digits):
            return digits * (unit if power > -1000 else 1.0)

    found = codes.search(Rows(), queries, items, 5)
    wanted = np.argsort(-(queries @ items.T), axis=1, kind="stable")[:, :5]
    np.testing.assert_array_equal(found.indices, wanted)


def test_the_distance_of_an_atom_to_its_copies_is_zero():
    points = np.array([[1e6, 1.0], [1e6, 1.0], [1e6 + 3.0, 5.0]])
    centred = points - points.mean(axis=0)
    squares = distances.squared_lengths(centred)
    found = distances._squares_to(points, centred, squares, points[0])
    np.testing.assert_allclose(found, [0.0, 0.0, 25.0], rtol=1e-12, atol=0)
