"""What a quarter of the items says of all: right for planted Gaussian pairs, and checks that see where it is wrong."""

import jax
import numpy as np
import pytest

from experiments.shared import embedding_checks, predictions
from rdsim import ranking
from rdsim.files import without_checkpoint

RHO = 0.9 * np.arange(1, 11) ** -0.3


@pytest.fixture(scope="module")
def found():
    rng = np.random.default_rng(4)
    y = rng.normal(size=(1200, len(RHO)))
    x = RHO * y + np.sqrt(1 - RHO**2) * rng.normal(size=y.shape)
    return embedding_checks.measured(
        jax.random.key(2),
        x.astype(np.float32),
        y.astype(np.float32),
        (4, 16, 32),
        held_out=0.5,
        learned=(),
        checkpoint=without_checkpoint,
    )


def test_of_planted_gaussian_pairs_every_prediction_holds(found):
    assert [c.statement for c in predictions.checks(found) if not c.holds] == []
    mean = found.mean("quarter")
    gaussian = mean.twin_by_size.sel(twin="Gaussian")
    # The largest database has four times the items of those that were fitted to.
    assert found.measured_log2_size[-1] == np.log2(600)
    np.testing.assert_allclose(gaussian, mean.measured, rtol=0.1)
    # No code is better than the ideal ones; at few bits they are far above all that can be built.
    ratio = mean.best_code / mean.twin_by_bits.sel(twin="Gaussian")
    assert float(ratio.max()) < 1.05
    assert float(ratio.sel(part_bits=slice(16, None)).min()) > 0.7


def failing(dataset):
    return {(c.claim, "best" in c.statement) for c in predictions.checks(dataset) if not c.holds}


def test_checks_see_predictions_that_fail(found):
    for name in ("measured", "best_code"):
        wrong = found.copy(deep=True)
        wrong[name] = 2 * wrong[name]
        of_codes = name == "best_code"
        expected = {("C29", of_codes), ("C27", of_codes)}
        if not of_codes:
            expected.add(("C1", False))
        assert failing(wrong) == expected
    assert failing(found) == set()


def test_a_quarter_of_larger_databases_is_measured_at_their_own_sizes():
    rng = np.random.default_rng(0)
    M = 402
    ahead = rng.integers(0, M // 2, size=M)
    whole = ranking.PairRanks(ahead=ahead, tied=np.ones(M, int), size=M, code_bits=1.0)
    rows = predictions.quarter(1, M)
    assert (rows.start, rows.stop) == (100, 200)
    parts = [
        ranking.PairRanks(
            ahead=rng.integers(0, 50, size=100), tied=np.ones(100, int), size=100, code_bits=1.0
        )
        for _ in range(4)
    ]
    made = predictions.bands(parts, whole)
    measured_at, predicted_at = predictions.log2_sizes(M)
    assert made["measured"].shape == (4, len(measured_at))
    assert made["value"].shape == (4, len(predicted_at))
    assert measured_at[-1] == np.log2(M)
    # Among all items the mean over subsets is the mean itself.
    np.testing.assert_allclose(made["measured"][1, -1], (1 / (1 + ahead[rows])).mean(), rtol=1e-9)
