"""Information between paired features, from one batch of all pairs (InfoNCE with a jackknife)."""

import math
from typing import Final

import jax.numpy as jnp
import numpy as np
import scipy.stats

from rdsim import validation
from rdsim.finite_sample.information_bounds import InformationEstimate
from rdsim.information import log_share
from rdsim.number_types import ArrayLike
from rdsim.transformations import on_host

_ENTRIES: Final = 1 << 22
"""Scores that are held in memory at once, 32 MiB in float64."""
_LARGEST_SHARE: Final = 1 - 1e-12
"""Largest fraction that one item may have of the sum of a query's exponentials when it is left out; it keeps the
logarithm finite."""


@on_host
def contrastive_information(
    query_features: ArrayLike,
    item_features: ArrayLike,
    *,
    confidence: float = 0.95,
) -> InformationEstimate:
    r"""Estimate the InfoNCE lower bound on I(X;Y) from one batch of all held-out pairs.

    $$\frac1M \sum_i \log_2 \frac{2^{t(x_i,y_i)}}{\frac1M \sum_j 2^{t(x_i,y_j)}} \le \log_2 M.$$

    Its expectation over pairs is not above the information, whatever the scores. The terms share
    the database, so they are not independent: the interval is normal with the jackknife's standard
    error, each pair left out in turn as query and as item; it holds as M grows.

    Args:
        query_features: of M pairs, shape (M, F); their inner products are t in nats, not fitted to
            these pairs.
        item_features: row i is the target of row i, shape (M, F).
        confidence: of the interval.

    Returns:
        The estimate; its side is "lower".

    Raises:
        ValueError: if the shapes differ, an entry is not finite, or the confidence is not in (0,
            1).
        TypeError: if they do not hold real numbers.

    References:
        van den Oord, Li and Vinyals (2018); Efron and Stein (1981), Annals of Statistics 9(3), for
        the jackknife.

    """
    # In float64: in float32 a softmax share may round to one, and the jackknife takes ln(1 -
    # share).
    queries = np.asarray(validation.finite("query_features", query_features, ndim=2), float)
    items = np.asarray(validation.finite("item_features", item_features, ndim=2), float)
    size = len(items)
    if queries.shape != items.shape or size < 2:
        raise ValueError(
            "query_features and item_features must have one shape (M, F) with M >= 2, got "
            f"{queries.shape} and {items.shape}"
        )
    confidence = float(validation.open_unit("confidence", confidence))
    # The mean of the items adds one number to all scores of a query. It changes nothing, but a
    # large one would cost the scores their digits.
    items = items - items.mean(axis=0)
    own, without = np.empty(size), np.zeros(size)
    step = max(1, _ENTRIES // size)
    for start in range(0, size, step):
        rows = np.arange(start, min(start + step, size))
        scores = queries[rows] @ items.T
        target = scores[np.arange(len(rows)), rows]
        own[rows] = log_share(scores, target)
        # Leaving one item out multiplies a query's sum of exponentials by one less the item's
        # softmax share. The query's own target is never left out without the query.
        share = np.exp(scores - target[:, None] + own[rows, None])
        log_remaining = np.log1p(-np.minimum(share, _LARGEST_SHARE))
        log_remaining[np.arange(len(rows)), rows] = 0.0
        without += log_remaining.sum(axis=0)
    value = own.mean() + math.log(size)
    each = (own.sum() - own - without) / (size - 1) + math.log(size - 1)
    error = math.sqrt((size - 1) * each.var())
    half = scipy.stats.norm.isf((1 - confidence) / 2) * error
    bits = np.array([value, value - half, value + half]) / math.log(2)
    return InformationEstimate(
        value=jnp.asarray(bits[0]),
        lower=jnp.asarray(bits[1]),
        upper=jnp.asarray(min(bits[2], math.log2(size))),
        trials=jnp.asarray(size),
        confidence=confidence,
        side="lower",
        proved=False,
    )
