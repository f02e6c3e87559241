"""C1: the rank distribution inside the interval of databases simulated item by item."""

import jax
import numpy as np
import pytest
import strategies as sts
from hypothesis import given, settings
from hypothesis import strategies as st

from rdsim import codes
from rdsim.ranking import scored_loss
from rdsim.simulation.database import score_table, simulate_database
from rdsim.simulation.engine import RunOptions

LOSSES = ("error", "reciprocal_rank", ("miss", 3), "dcg")
NAMES = ("error", "reciprocal_rank", "miss_3", "dcg")
# Four intervals an example, each missing with probability 1e-9; below 200 examples in all.
CONFIDENCE = 1 - 1e-9
DSBS = np.array([[0.45, 0.05], [0.05, 0.45]])
HAMMING = 1.0 - np.eye(2)


@given(
    sts.joint_pmfs((3, 4)),
    sts.channels((4, 3)),
    st.integers(2, 50),
    st.integers(0, 2**31),
)
@settings(max_examples=30)
def test_C1_rank_distribution_lies_inside_the_interval_of_simulated_databases(
    joint, channel, items, seed
):
    """Two letters an item: the distribution of the pair is the product, its score the sum."""
    size = np.log2(items)
    through = joint @ channel
    table = score_table(through, 2)
    letters = np.pad(np.asarray(table.units, float), ((0, 0), (1, 0)))
    pair = np.kron(through, through)
    scores = (letters[:, None, :, None] + letters[None, :, None, :]).reshape(pair.shape)
    found = simulate_database(
        jax.random.key(seed),
        joint,
        channel,
        size,
        LOSSES,
        n=2,
        trials=1024,
        run=RunOptions(block=256),
        confidence=CONFIDENCE,
    )
    for loss, name in zip(LOSSES, NAMES, strict=True):
        exact = scored_loss(pair / pair.sum(), size, loss, scores=scores)
        assert bool(found.estimates[name].covers(exact)), (name, found.estimates[name], exact)


def test_C14_independent_codebooks_agree_with_the_ensemble():
    channel = np.array([[0.89, 0.11], [0.11, 0.89]])
    found = simulate_database(
        jax.random.key(3),
        DSBS,
        channel,
        4.0,
        LOSSES,
        n=8,
        codebook_size=16,
        distortions=HAMMING,
        trials=4000,
        confidence=CONFIDENCE,
    )
    for loss, name in zip(LOSSES, NAMES, strict=True):
        exact = codes.dsbs_ensemble(0.1, 4.0, loss, n=8, rate=0.5)
        estimate = found.estimates[name]
        assert bool(estimate.covers(exact)), (name, estimate, exact)
        assert float(estimate.upper - estimate.lower) < 0.15


def test_impossible_descriptions_rank_below_all_others():
    # Query 0 rules out u = 1 and query 1 rules out u = 0; query 2 never happens.
    through = np.array([[0.3, 0.0, 0.2], [0.0, 0.4, 0.1], [0.0, 0.0, 0.0]])
    table = np.pad(np.asarray(score_table(through, 5).units, float), ((0, 0), (1, 0)))
    for row, possible, ruled_out in ((table[0], [0, 2], 1), (table[1], [1, 2], 0)):
        best, worst = row[possible].max(), row[possible].min()
        assert row[ruled_out] + 4 * best < 5 * worst
    np.testing.assert_array_equal(table[2], 0)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"n": 0}, ValueError, "n must be at least 1"),
        ({"log2_size": 0.0}, ValueError, "log2_size must lie in"),
        ({"codebook_size": 4}, ValueError, "codebook_size and distortions must be given together"),
        (
            {"codebook_size": 4, "distortions": np.zeros((2, 3))},
            ValueError,
            "distortions must have the shape",
        ),
        ({"scores": np.zeros((2, 3))}, ValueError, "scores must have the shape"),
        ({"scores": [[0, np.inf], [0, 0]]}, ValueError, "scores must lie in"),
        ({"losses": ("rank",)}, ValueError, "loss must be"),
        ({"joint": [[0.5, 0.6]]}, ValueError, "joint must sum to one"),
        ({"key": 1}, TypeError, "key must be a typed key"),
        ({"trials": 1}, ValueError, "trials must be"),
    ],
)
def test_bad_arguments_are_named(change, error, message):
    good = {"key": jax.random.key(0), "joint": DSBS, "test_channel": np.eye(2)}
    with pytest.raises(error, match=message):
        simulate_database(**{**good, "n": 2, "log2_size": 3.0, "trials": 4, **change})
