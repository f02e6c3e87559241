"""What no code can pass: the least retrieval loss at given bits per item (C27).

`converse` is the one function; the bounds it takes the least of are in modules of their own, one for each kind of
source.

Arguments are checked before anything is computed: a ValueError names the one whose numbers or shape do
not fit, a TypeError one that is no integer where that is needed.
"""

from rdsim.limits.converses.converse import RetrievalConverse, retrieval_converse

__all__ = ["RetrievalConverse", "retrieval_converse"]
