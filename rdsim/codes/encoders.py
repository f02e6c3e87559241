r"""The encoder with a codebook: a codeword drawn with probability $\propto 2^{-s\,d}$, at $s = \infty$ the nearest."""

import math
from functools import partial
from typing import Final

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from rdsim import validation
from rdsim.codes.codebook import MAX_CODEWORDS, MAX_NUMBER, check_letters
from rdsim.codes.encoding_tiles import BLOCK, encode_tile, in_blocks
from rdsim.codes.letter_tables import distortion_table, letter_table
from rdsim.number_types import ArrayLike, Integer, PRNGKey
from rdsim.transformations import on_host

MOST_ITEMS_AT_ONCE: Final = 512
"""More items at once gain nothing on a processor: their distortions leave the cache."""


@on_host
@validation.needs_float64
def likelihood_encoder(
    key: PRNGKey,
    items: ArrayLike,
    codebook: ArrayLike,
    distortions: ArrayLike,
    slope: ArrayLike,
    *,
    first_item: Integer = 0,
    memory_budget: Integer = 2**31,
) -> Int[Array, " items"]:
    r"""Draw a codeword for each item with probability proportional to $2^{-s \sum_i d(y_i, u_{ki})}$.

    At an infinite slope this is the minimum-distortion encoder: the nearest codeword, ties at random.

    Args:
        key: PRNG key of the draws; item j uses fold_in(key, first_item + j).
        items: letters 0..|Y|-1, shape (items, n).
        codebook: letters 0..|U|-1, shape (K, n), K at most 2^24.
        distortions: d(y,u), finite, shape (|Y|, |U|).
        slope: s >= 0 in bits per unit of distortion; 0 draws any codeword, inf the nearest.
        first_item: number of the first item, so that a database can be encoded in parts.
        memory_budget: bytes that codebook and working arrays may take. It changes an index only
            if a draw falls within the rounding of a probability, about 2^-52.

    Returns:
        Index of a codeword for each item, in 0..K-1.

    References:
        Song, Cuff and Poor (2016), IEEE Trans. Inf. Theory 62(4).

    """
    slope = float(validation.interval("slope", slope, low=0.0, ndim=0))
    validation.prng_key("key", key)
    table = distortion_table(distortions)
    rows = check_letters("items", items, table.shape[0])
    book = check_letters("codebook", codebook, table.shape[1])
    if rows.shape[1] != book.shape[1]:
        raise ValueError(
            f"codebook must have codewords of the {rows.shape[1]} letters of an item, "
            f"got {book.shape[1]}"
        )
    K, n = book.shape
    validation.integer("the number of codewords", K, low=1, high=MAX_CODEWORDS)
    first = validation.integer("first_item", first_item, low=0, high=MAX_NUMBER - len(rows))
    budget = validation.integer("memory_budget", memory_budget, low=1)
    # Distances in integer units where the table allows it: sums are then exact, and ties are ties.
    letters = letter_table(table, n)
    # The tile is as large as the memory budget allows. No index depends on it but by the rounding of the sums of
    # probabilities: an item draws from a key of its own number.
    tile = items_at_once(budget, K, n, letters.units)
    tiles = -(-len(rows) // tile)
    blocks = in_blocks(jnp.asarray(book))
    # np.resize repeats items to fill the last tile, so that one shape is compiled.
    index = [
        _encode_tile(
            key,
            first + start + jnp.arange(tile),
            jnp.asarray(np.resize(rows[start : start + tile], (tile, n))),
            blocks,
            K,
            letters.units,
            slope * letters.step,
            by_minimum=math.isinf(slope),
        )
        for start in range(0, tiles * tile, tile)
    ]
    return jnp.concatenate(index)[: len(rows)]


def items_at_once(
    memory_budget: int, K: int, n: int, units: Float[Array, "y u"], *, other: int = 0
) -> int:
    r"""Compute how many items can be encoded side by side within so many bytes.

    Kept throughout: the codebook, one byte a letter, padded to whole blocks and held twice while
    it is drawn; counts and their sums, 24 bytes a codeword; one block of codewords written out as
    ones and zeros, twice. Each item takes 32 bytes a letter while it is drawn, its row of features
    twice, and six numbers of 8 bytes for each codeword of a block (distortions, weights, their
    cumulative sums and the block held). Python, JAX and the compiled program come on top.

    Args:
        memory_budget: bytes.
        K: number of codewords.
        n: letters in an item.
        units: of the letter table, whose width is |U|-1 and whose dtype counts.
        other: bytes of the budget that the caller needs for something else.

    Returns:
        Number of items, 1 to `MOST_ITEMS_AT_ONCE`; a ValueError says how many bytes would do for one.

    """
    padded = -(-K // BLOCK) * BLOCK
    features = n * units.shape[1] * units.dtype.itemsize
    kept = other + 2 * padded * n + 24 * padded + 2 * BLOCK * features
    each = 32 * n + 2 * features + 6 * 8 * BLOCK
    if kept + each > memory_budget:
        raise ValueError(
            f"memory_budget must hold the codebook and one item, {kept + each} bytes for "
            f"{K} codewords of {n} letters, got {memory_budget}"
        )
    return min((memory_budget - kept) // each, MOST_ITEMS_AT_ONCE)


_encode_tile = partial(jax.jit, static_argnames="by_minimum")(encode_tile)
