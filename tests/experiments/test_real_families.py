"""Thirds of real pairs: each pair is looked for once, and no family learns from what it is asked."""

import jax
import numpy as np
import pytest

from experiments import real_families
from experiments.shared import family_pairs, word_vectors
from rdsim.files import without_checkpoint

NUMBER = np.arange(90.0)


@pytest.fixture
def _numbered(monkeypatch):
    """Pairs whose only coordinate is their number."""
    read = {"numbers": lambda: (NUMBER[:, None], -NUMBER[:, None])}
    monkeypatch.setattr(family_pairs, "_READERS", read)
    monkeypatch.setattr(family_pairs, "_principal", lambda points, size: points)


@pytest.mark.usefixtures("_numbered")
def test_each_third_is_the_database_once_and_the_others_are_learned_from():
    asked = []
    for third in range(3):
        split = family_pairs.real(jax.random.key(1), "numbers", 1000, third)
        queries, items = split.database
        np.testing.assert_array_equal(queries, -items)
        seen = set(split.training[0].ravel())
        assert len(seen) == 60
        assert not seen & set(queries.ravel())
        asked += queries.ravel().tolist()
    assert sorted(asked) == NUMBER.tolist()


@pytest.mark.usefixtures("_numbered")
def test_of_many_pairs_so_many_of_each_third_are_kept():
    parts = [family_pairs.real(jax.random.key(1), "numbers", 7, third) for third in range(3)]
    assert [len(part.database[1]) for part in parts] == [7] * 3
    assert [len(part.training[1]) for part in parts] == [14] * 3
    asked = np.concatenate([part.database[0] for part in parts])
    assert len(np.unique(asked)) == 21


@pytest.mark.parametrize("seed", range(3))
def test_coordinates_of_digits_vary_among_the_pairs_that_are_learned_from(seed):
    """With less than a thousand digits, pixels that hardly any has made covariances of CCA singular in half of all splits."""
    split = family_pairs.real(jax.random.key(seed), "digits", 448)
    for side in split.training:
        assert side.shape[1] >= 20
        learned = side[np.random.default_rng(seed).permutation(len(side))[256:]]
        scaled = (learned - learned.mean(axis=0)) / learned.std(axis=0)
        assert np.linalg.eigvalsh(scaled.T @ scaled / len(scaled))[0] > 1e-3


def test_missing_data_are_named_and_skipped(monkeypatch):
    def gone():
        raise word_vectors.MissingDataError("no words here")

    monkeypatch.setattr(family_pairs, "_READERS", dict.fromkeys(family_pairs._READERS, gone))
    dataset = real_families.run(real_families.QUICK, jax.random.key(0), without_checkpoint)
    assert "no words here" in dataset.attrs["skipped"]
    checks = real_families.checks(dataset)
    assert {check.claim for check in checks} == set(real_families.CLAIMS)
    assert all("skipped" in check.statement and check.holds for check in checks)
