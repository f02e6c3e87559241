"""What is said of the vectors before the results."""

import numpy as np
import pytest

from rdsim.embeddings import retrieval_task
from rdsim.embeddings.data.vectors import Vectors
from rdsim.embeddings.diagnostics import MEANING, diagnose, of_directions
from rdsim.embeddings.spaces import Space


def test_the_unit_of_length_changes_nothing():
    rng = np.random.default_rng(5)
    queries, items = rng.normal(size=(40, 6)), rng.normal(size=(40, 6)) * np.arange(1, 7)
    items[3], items[4] = 0.0, 1e-200
    known = diagnose(retrieval_task(queries, items), "L2")
    assert set(known) == set(MEANING) - {"tied_targets", "fitted_items"}
    assert known["zero_items"] == 1 / 40
    variances = np.linalg.eigvalsh(np.cov(items.T, bias=True))
    assert known["item_dimension"] == pytest.approx(variances.sum() ** 2 / (variances**2).sum())
    for scale in (1e-90, 1e90):
        found = diagnose(retrieval_task(scale * queries, scale * items), "L2")
        assert found == pytest.approx(known, rel=1e-9)


def test_lengths_are_no_dimension_where_directions_are_compared():
    rng = np.random.default_rng(6)
    queries, items = rng.normal(size=(2, 60, 6)) * np.arange(1, 7)
    longer = np.exp(rng.normal(size=(60, 1))) * items
    plain, found = (diagnose(retrieval_task(queries, given), "cosine") for given in (items, longer))
    directions = items / np.linalg.norm(items, axis=1, keepdims=True)
    variances = np.linalg.eigvalsh(np.cov(directions.T, bias=True))
    wanted = variances.sum() ** 2 / (variances**2).sum()
    assert plain["item_dimension"] == pytest.approx(wanted, rel=1e-9)
    assert found["item_dimension"] == pytest.approx(wanted, rel=1e-9)
    by_length = diagnose(retrieval_task(queries, longer), "inner product")
    assert by_length["item_dimension"] < 0.9 * wanted


@pytest.mark.parametrize("similarity", ["cosine", "inner product", "L2"])
def test_directions_are_those_of_the_space_in_which_items_are_compared(similarity):
    """Twelve coordinates as given, of which a space keeps four of equal variance; one item in ten is eight times longer."""
    rng = np.random.default_rng(7)
    items = rng.normal(size=(4000, 12)) * np.repeat([1.0, 3.0], [4, 8])
    items[::10] *= 8
    space = Space(
        name="canonical",
        similarity=similarity,
        query_centre=np.zeros(12),
        item_centre=np.zeros(12),
        query_map=np.eye(12)[:, :4],
        item_map=np.eye(12)[:, :4],
    )
    dimension, spread = of_directions(Vectors([items]), space)
    assert dimension == pytest.approx(4, abs=0.02)
    # Lengths of four normal coordinates have mean 1.880 and mean square 4; mixed they have 1.7 and 7.3 times those.
    mixed = np.sqrt(7.3 * 4 / (1.7 * 1.880) ** 2 - 1)
    assert spread == pytest.approx(0.0 if similarity == "cosine" else mixed, rel=0.03)
