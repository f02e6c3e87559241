"""The systems of the study of learned families have names of their own."""

from experiments import learned_families


def test_every_hash_stands_beside_itself_with_a_hashed_query():
    names = learned_families._names(learned_families.QUICK)
    assert len(names) == len(set(names)) == len(learned_families.QUICK.families) + 2 + 1
    assert set(learned_families.HAMMING.values()) < set(names)
    assert learned_families._names(learned_families.SMOKE)[1:] == (
        "hashing, pairs",
        "hashing, pairs, Hamming",
        learned_families.KNOWN,
    )
