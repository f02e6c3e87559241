r"""What no code can pass: the least rank loss at given bits per item, by the tightest known bound (C27).

Given that an item lies in a half-space of probability $2^{-R}$, its query must lie in one of
probability K/M:

$$\mathrm{recall@}K \le P(X > a \mid Y > b), \qquad P(Y > b) = 2^{-R},\ P(X > a) = K/M,$$

for $2^R$ equally probable codewords; of others, which are better at few bits, the bound is a concave hull over
half-spaces of unequal probabilities (`_half_spaces`). Every rank loss is a mean of misses. If all items have one
encoder, the number K - 1 of competitors that win is binomial. Three notions of rate are kept apart: every codeword
has R bits; R bits are spent on average (entropy); or R bits of information are kept (as by channel simulation).
"""

from collections.abc import Callable
from dataclasses import field
from functools import partial
from typing import Any, Final

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from rdsim import validation
from rdsim.limits.converses._recalls import Reals
from rdsim.limits.converses._rewards import (
    Asked,
    gaussian_rewards,
    sequence_rewards,
    spherical_rewards,
)
from rdsim.number_types import ArrayLike, Integer
from rdsim.ranking.loss import Loss, parse_loss
from rdsim.results import result
from rdsim.sources import DiscreteSource, GaussianSource, SphericalSource
from rdsim.transformations import on_host

RATES: Final = ("fixed_length", "entropy", "information")
ENCODERS: Final = ("shared", "separate", "joint")
_ROUNDING: Final = 1e-12  # every bound is loosened by this for its rounding


@result
class RetrievalConverse:
    """The least loss that the bounds leave.

    Attributes:
        loss: no code of its kind has a smaller expected loss, shape of the bits and sizes broadcast together.
        bound: name of the bound that gave it, one for each loss in order: "half-spaces",
            "unequal half-spaces", "tilted half-spaces", "caps", "unequal caps", "sets of sequences", "listed sets",
            "single-letter curve", "rank rate" or "items stored whole".

    """

    loss: Float[Array, "..."]
    bound: tuple[str, ...] = field(metadata={"static": True})


@on_host
@validation.needs_float64
def retrieval_converse(
    source: Any,
    log2_size: ArrayLike,
    loss: Loss,
    *,
    bits: ArrayLike,
    rate: str = "fixed_length",
    encoder: str = "shared",
    letters: Integer | None = None,
    tolerance: float = 1e-6,
) -> RetrievalConverse:
    r"""Bound the rank loss of every code of so many bits per item from below.

    The least of these, each valid: half-spaces (C27), the rank rate of the information that the bits can
    keep (C4 with the vector bottleneck), and items stored whole. Of unequal canonical correlations the
    half-spaces are those of the largest; and those of tilted reference distributions (C29), in which
    strong modes are shrunk, or given to the decoder. For directions caps take the place of half-spaces, exactly for
    each dimension, up to a loosening of 4e-6, where the correlation of the scores of the caps is at most about .9992 and their
    table is exact to 1e-6; elsewhere the rank rate and the exact ranking of whole items are left. For
    sequences of letters, codewords of fixed length are bounded by the exponent of sets of a given size where
    query or item has at most four letters; of items of at most 16 values all sets are listed, which is tighter and
    bounds the entropy too. Of one letter, of at most five values for the query or the item or of at most 144
    pairs of them, the single-letter curve (C25
    for one encoder, C26 for all) bounds every notion of rate, within a ten-thousandth of the loss for queries of at most three
    values or binary items, within a thousandth for up to five values of either, and by groups of queries for more
    (see `retrieval_curve`). Else the rank rate is left, which bounds all of them.

    Args:
        source: jointly Gaussian query and item, of any dimensions, directions, or a `DiscreteSource` that
            gives each of the letters of query and item.
        log2_size: log2 M, 1 to 1000, any shape that broadcasts against the bits. Several sizes share what does not depend
            on M: the tails of half-spaces and caps, and what the bits keep of an item. Each gives the digits that it
            gives alone.
        loss: "error", "reciprocal_rank", ("miss", K) or "dcg".
        bits: R >= 0 stored for an item, any shape that broadcasts against the sizes.
        rate: what the bits are: "fixed_length" (each item is stored as one of 2^R codewords), "entropy" (bits on
            average) or "information" (I(U;Y), channel simulation included).
        encoder: "shared" (the same for every item), "separate" (one for each item) or "joint" (sees the
            whole database). A bound for the wider class holds for the narrower one.
        letters: n, 1 to 100000, of the items of a discrete source; the bits are those of all n together.
        tolerance: 1e-6 to 0.1, by about how much a loss may be below the best that a bound of its kind gives: what is
            returned is a bound whatever it is. From 1e-4 on half-spaces, caps and tilted half-spaces are computed coarsely, in
            a third to a tenth of the time; from there on the single-letter curve follows it too. The other bounds take no account of it.

    Returns:
        The loss and the name of the bound that gave it, of the shape of bits and sizes together.

    Raises:
        ValueError: if an argument is out of range or unknown, or for fixed length with joint encoders,
            which no bound of half-spaces covers: name the information instead, which is less; if letters are
            missing for sequences or given for another source.
        TypeError: if the source is of another class, or the letters are no integer.

    References:
        Polyanskiy, Poor and Verdu (2010) and Vazquez-Vilar et al. (2016) for the meta-converse; Borell
        (1985) for half-spaces; Baernstein and Taylor (1976) for caps. The list form, the one-encoder form, the
        information form and the tilt are this project's own.

    """
    validation.instance("source", source, GaussianSource, SphericalSource, DiscreteSource)
    parsed = parse_loss(loss)
    sizes, stored = (
        np.asarray(each, float)
        for each in validation.broadcast(
            log2_size=validation.not_empty(
                "log2_size", validation.interval("log2_size", log2_size, low=1.0, high=1000.0)
            ),
            bits=validation.not_empty("bits", validation.interval("bits", bits, low=0.0, high=1e4)),
        )
    )
    validation.choice("rate", rate, RATES)
    validation.choice("encoder", encoder, ENCODERS)
    if encoder == "joint" and rate == "fixed_length":
        raise ValueError(
            'rate="fixed_length" with encoder="joint" is covered by no bound of fixed length: ask for '
            'rate="information", which such a code does not exceed'
        )
    if isinstance(source, DiscreteSource) != (letters is not None):
        raise ValueError(
            f"letters must be given for a DiscreteSource and for no other source, got {letters} for a "
            f"{type(source).__name__}"
        )
    allowed = float(validation.interval("tolerance", tolerance, low=1e-6, high=0.1, ndim=0))
    rewards = _rewards_of(source, letters)
    least, names = np.empty(stored.shape), np.empty(stored.shape, object)
    # Bounds of one size are computed together, of every number of bits once, so that they do not depend on the order.
    for size in np.unique(sizes):
        here = sizes == size
        distinct, place = np.unique(stored[here], return_inverse=True)
        each = rewards(Asked(float(size), parsed, distinct, rate, encoder, allowed))
        # The tightest bound at each number of bits, and its name.
        every = np.stack(list(each.values()))
        least[here] = every.min(axis=0)[place]
        names[here] = np.array(list(each), object)[every.argmin(axis=0)][place]
    bound = np.clip(1 - least - _ROUNDING, 0.0, 1.0)
    return RetrievalConverse(loss=jnp.asarray(bound, float), bound=tuple(names.ravel().tolist()))


def _rewards_of(
    source: GaussianSource | SphericalSource | DiscreteSource, letters: Integer | None
) -> Callable[[Asked], dict[str, Reals]]:
    """Choose the bounds of a kind of source."""
    if isinstance(source, DiscreteSource):
        n = validation.integer("letters", letters, low=1, high=100_000)
        return partial(sequence_rewards, source, n)
    if isinstance(source, SphericalSource):
        return partial(spherical_rewards, source)
    return partial(gaussian_rewards, source)
