"""Studies of learned families: systems have names of their own, and the schedule stops in time."""

import jax
import numpy as np
import xarray

from experiments import learned_families
from experiments.shared import family_points
from experiments.shared.family_pairs import drawn, falling_correlations
from rdsim.learning.families.catalogue import FAMILIES
from rdsim.learning.families.pairs import array_pairs
from rdsim.simulation.intervals import empirical_bernstein


def test_every_hash_stands_beside_itself_with_a_hashed_query():
    names = learned_families._names(learned_families.QUICK)
    assert len(names) == len(set(names)) == len(learned_families.QUICK.families) + 2 + 1
    assert set(learned_families.HAMMING.values()) < set(names)
    assert learned_families._names(learned_families.SMOKE)[1:] == (
        "hashing, pairs",
        "hashing, pairs, Hamming",
        learned_families.KNOWN,
    )


def test_a_few_hundred_pairs_are_not_learned_by_heart():
    key = jax.random.key(0)
    queries, items = drawn(key, falling_correlations(16, 0.8, 0.35), 700)
    pairs = array_pairs(key, queries[:440], items[:440], held_out=240)
    found = {}
    for steps in (0, 800):
        systems = family_points.systems(key, FAMILIES["InfoNCE, product"], pairs, (16,), steps)
        measured = family_points.ranked(key, systems, queries[440:], items[440:], 0.95)
        found[steps] = family_points.intervals(measured)["mrr"][0]
    # Evaluated a few times in all those steps, every state but the start has forgotten the held-out pairs.
    assert found[800] > 2 * found[0]


def test_the_interval_over_seeds_is_that_of_all_their_queries():
    generator = np.random.default_rng(0)
    # Two families, three seeds, forty queries each, of unequal means.
    values = generator.random((2, 3, 40)) ** np.array([1.0, 2.0, 4.0])[:, None]
    dims = ("family", "seed")
    dataset = xarray.Dataset(
        {"mrr": (dims, values.mean(-1)), "variance": (dims, values.var(-1, ddof=1))}
    )
    found = family_points.lower_over_seeds(dataset, 40, 0.9)
    wanted = empirical_bernstein(values.reshape(2, -1), confidence=0.9).lower
    np.testing.assert_allclose(found, wanted, rtol=1e-12)
