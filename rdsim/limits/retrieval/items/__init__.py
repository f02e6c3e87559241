"""The least bits per item of one letter, for one encoder (exact) and for every encoder (a converse).

`curve` is the function; `_ranks` tabulates what a rank earns, `_programme` solves one slope,
`_strategies` and `_pricing` where queries are of several classes, `_posteriors` and `_groups` of many, `_alternation` where codewords
are searched; `_item_curve` is what its curve has in common with that of joint encoders.

Arguments are checked before anything is computed: a ValueError names the one whose numbers or shape do
not fit, a TypeError one that is no integer where that is needed.
"""

from rdsim.limits.retrieval.items._item_curve import ItemCurve
from rdsim.limits.retrieval.items.curve import RetrievalCurve, retrieval_curve

__all__ = ["ItemCurve", "RetrievalCurve", "retrieval_curve"]
