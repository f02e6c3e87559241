"""What no code can pass: the least retrieval loss at given bits per item (C27).

`converse` takes the least of the bounds for a source, which are in modules of their own, one for each kind of
source; `codebook` holds for every source, and for a single codebook.

Arguments are checked before anything is computed: a ValueError names the one whose numbers or shape do
not fit, a TypeError one that is no integer where that is needed.
"""

from rdsim.limits.converses.codebook import codebook_loss
from rdsim.limits.converses.converse import RetrievalConverse, retrieval_converse

__all__ = ["RetrievalConverse", "codebook_loss", "retrieval_converse"]
