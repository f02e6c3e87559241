r"""Operating points on held-out pairs: rank losses in one real database, with intervals.

Nothing is assumed of the distribution of the pairs, and there may be hundreds of bits: each query is ranked
against what is stored of every item, items of one code count as tied, and the loss of query i is averaged
exactly over the order of its ties,

$$\ell_i = \frac1t \sum_{r=b+1}^{b+t} \rho(r).$$

The interval is that of the mean over queries, for the database as it is.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any, Final

import jax
import numpy as np
from jaxtyping import Array, Float, Int, Key

from rdsim import validation
from rdsim.codes.item_code import GivenItemCode, item_code
from rdsim.learning.families.stored import LongCode
from rdsim.number_types import ArrayLike
from rdsim.ranking.loss import Loss, parse_losses
from rdsim.ranking.metrics.paired import PairRanks, ranks_of_codes
from rdsim.ranking.metrics.single_target import tied_loss
from rdsim.results import result
from rdsim.simulation.coded_items import Decoder
from rdsim.simulation.intervals import Estimate, empirical_bernstein
from rdsim.transformations import on_host

_ENTRIES: Final = 1 << 21
"""Scores that are held at a time."""


@result
class HeldOutPoint:
    """Rank losses of a system in a database of M items.

    Attributes:
        losses: estimates by the name of the loss, empirical Bernstein over the queries.
        code_bits: entropy of the codes' frequencies in the database, bits; at most log2 M.
        ahead: of each query, items that score above its target, shape (Q,).
        tied: of each query, items that score as its target does, itself included, shape (Q,).

    """

    losses: dict[str, Estimate]
    code_bits: Float[Array, ""]
    ahead: Int[Array, " q"]
    tied: Int[Array, " q"]


@on_host
def held_out_point(
    key: Key[Array, ""],
    system: tuple[GivenItemCode | LongCode, Decoder],
    queries: ArrayLike,
    items: ArrayLike,
    losses: Sequence[Loss] = ("reciprocal_rank",),
    *,
    confidence: float = 0.95,
) -> HeldOutPoint:
    """Store items, rank them for queries, and measure the losses.

    Args:
        key: PRNG key of the stored codewords, for codes that draw them.
        system: a code with its decoder, as families return them, of any number of bits.
        queries: shape (Q, K, d_x), or (Q, d_x) where there is one modality; Q at least 2.
        items: the database, shape (M, d_y), M at least Q; item i is the target of query i.
        losses: each "error", "reciprocal_rank", ("miss", K) or "dcg".
        confidence: of one interval.

    Returns:
        The losses with their intervals.

    """
    validation.prng_key("key", key)
    parsed = parse_losses(losses)
    validation.open_unit("confidence", confidence)
    ranks = system_ranks(key, system, queries, items)
    return HeldOutPoint(
        losses={
            loss.name: empirical_bernstein(
                np.clip(tied_loss(ranks.ahead, ranks.tied, given), 0.0, 1.0), confidence=confidence
            )
            for given, loss in zip(losses, parsed, strict=True)
        },
        code_bits=jax.device_put(np.asarray(ranks.code_bits)),
        ahead=jax.device_put(ranks.ahead),
        tied=jax.device_put(ranks.tied),
    )


def system_ranks(
    key: Key[Array, ""],
    system: tuple[GivenItemCode | LongCode, Decoder],
    queries: ArrayLike,
    items: ArrayLike,
) -> PairRanks:
    """Rank the target of every query among all stored items."""
    code, decoder = validation.pair("system", system)
    validation.instance("system: decoder", decoder, Decoder)
    # Of NumPy, since JAX compiles a program for each shape of a slice.
    x = np.asarray(validation.coordinates("queries", queries))
    y = validation.coordinates("items", items, ndim=2)
    x = x[:, None] if x.ndim == 2 else x
    if x.ndim != 3 or not 2 <= len(x) <= len(y):
        raise ValueError(
            "queries must have shape (Q, K, d_x), Q at least 2 and at most the number of items, got "
            f"{np.shape(queries)} and {np.shape(items)}"
        )
    if isinstance(code, LongCode):
        digits, label = np.unique(code.store(key, y), axis=0, return_inverse=True)
        label = label.reshape(-1)
        # Padded by rows that no item has, to a power of two: few shapes, so that little is compiled.
        most = 1 << (len(digits) - 1).bit_length()
        rows = code.rows(np.pad(digits, ((0, most - len(digits)), (0, 0)), mode="edge"))
        decoder = Decoder(decoder.scores, (decoder.parameters[0], *map(jax.device_put, rows)))
        multiplicity = np.bincount(label, minlength=most)
    else:
        item_code("system: code", code)
        label = np.asarray(code.encode(key, y))
        multiplicity = np.bincount(label, minlength=code.codewords.shape[0])
    try:
        jax.eval_shape(
            decoder.scores, decoder.parameters, jax.ShapeDtypeStruct(x.shape[1:], x.dtype)
        )
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"queries must have the shape (Q, K, d_x) of those that the system was fitted to, got "
            f"{np.shape(queries)}: {error}"
        ) from error
    table = _table(decoder.scores)
    return ranks_of_codes(
        lambda rows: np.asarray(table(decoder.parameters, x[rows[0] : rows[-1] + 1])),
        label,
        multiplicity,
        len(x),
        entries=_ENTRIES,
    )


@functools.lru_cache(maxsize=64)
def _table(scores: Callable[[Any, Array], Array]) -> Callable[[Any, Any], Array]:
    """Scores of many queries; one compiled program for each rule and shape."""
    return jax.jit(jax.vmap(scores, in_axes=(None, 0)))
