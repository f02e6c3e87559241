r"""Encoders with a codebook: the nearest codeword, or one drawn with probability $\propto 2^{-s\,d}$.

The distortion of a block is a matrix product: with $w_{iu}$ one where letter i of a codeword is u,

$$\sum_i d(y_i, u_i) = \sum_i d(y_i, 0) + \sum_i \sum_{u \ge 1} \big(d(y_i,u) - d(y_i,0)\big) w_{iu},$$

and the first sum, the same for all codewords, is left out.

Codewords are taken in blocks, by reservoir sampling over blocks. Of the codewords so far an item keeps
the least distortion, the total weight relative to it and one block, which is replaced by the next with
probability (weight there)/(weight so far): at the end each block is held with its due probability, and
so is a codeword drawn within it. That costs one random number an item and block in place of one an
item and codeword, and no more memory than one block.

Both encoders raise a ValueError if a letter lies outside its alphabet, lengths differ, a distortion is
not finite, or the memory budget does not hold the codebook and one item; and a TypeError if the key is
not a typed key or letters are not integers.
"""

import math
from functools import partial
from typing import Any, Final, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key, UInt8

from rdsim import validation
from rdsim.codes.codebook import MAX_CODEWORDS, MAX_NUMBER, check_letters
from rdsim.codes.letter_tables import distortion_table, letter_table
from rdsim.number_types import ArrayLike, Integer
from rdsim.sources.categorical import draw_categorical
from rdsim.transformations import on_host

BLOCK: Final = 256
"""Codewords in a block. Changing it changes the random numbers, and so the indices drawn."""
MOST_ITEMS_AT_ONCE: Final = 512
"""More items at once gain nothing on a processor: their distortions leave the cache."""


@on_host
@validation.needs_float64
def minimum_distortion_encoder(
    key: Any,
    items: ArrayLike,
    codebook: ArrayLike,
    distortions: ArrayLike,
    *,
    first_item: Integer = 0,
    memory_budget: Integer = 2**31,
) -> Int[Array, " items"]:
    r"""Find the codeword nearest to each item, $\arg\min_k \sum_i d(y_i, u_{ki})$, ties at random.

    Args:
        key: PRNG key of the ties; item j uses fold_in(key, first_item + j).
        items: letters 0..|Y|-1, shape (items, n).
        codebook: letters 0..|U|-1, shape (K, n), K at most 2^24.
        distortions: d(y,u), finite, shape (|Y|, |U|).
        first_item: number of the first item, so that a database can be encoded in parts.
        memory_budget: bytes that codebook and working arrays may take. Changes no index.

    Returns:
        Index of a codeword for each item, in 0..K-1.

    """
    return _encoded(key, items, codebook, distortions, math.inf, first_item, memory_budget)


@on_host
@validation.needs_float64
def likelihood_encoder(
    key: Any,
    items: ArrayLike,
    codebook: ArrayLike,
    distortions: ArrayLike,
    slope: ArrayLike,
    *,
    first_item: Integer = 0,
    memory_budget: Integer = 2**31,
) -> Int[Array, " items"]:
    r"""Draw a codeword for each item with probability proportional to $2^{-s \sum_i d(y_i, u_{ki})}$.

    Args:
        key: PRNG key of the draws; item j uses fold_in(key, first_item + j).
        items: letters 0..|Y|-1, shape (items, n).
        codebook: letters 0..|U|-1, shape (K, n), K at most 2^24.
        distortions: d(y,u), finite, shape (|Y|, |U|).
        slope: s >= 0 in bits per unit of distortion; 0 draws any codeword, inf the nearest.
        first_item: number of the first item.
        memory_budget: bytes that codebook and working arrays may take. It changes an index only
            if a draw falls within the rounding of a probability, about 2^-52.

    Returns:
        Index of a codeword for each item, in 0..K-1.

    References:
        Song, Cuff and Poor (2016), IEEE Trans. Inf. Theory 62(4).

    """
    slope = float(validation.interval("slope", slope, low=0.0, ndim=0))
    return _encoded(key, items, codebook, distortions, slope, first_item, memory_budget)


def _encoded(
    key: Any,
    items: Any,
    codebook: Any,
    distortions: Any,
    slope: float,
    first_item: Any,
    memory_budget: Any,
) -> Int[Array, " items"]:
    """Check the arguments of either encoder and encode the items tile by tile.

    The tile is as large as the memory budget allows. No index depends on it but by the rounding of the
    likelihood encoder's sums: an item draws from a key of its own number.
    """
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


class _Reservoir(NamedTuple):
    """What an item keeps of the blocks seen so far.

    Attributes:
        least: least distortion of all codewords.
        total: sum of the weights of all codewords, relative to that of the least distortion.
        block: number of the block that is held.
        row: distortions of its codewords.

    """

    least: Float[Array, " t"]
    total: Float[Array, " t"]
    block: Int[Array, " t"]
    row: Float[Array, "t b"]


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


def in_blocks(codebook: UInt8[Array, "K n"]) -> UInt8[Array, "blocks n b"]:
    """Cut a codebook into blocks, the last one padded with codewords that are never used."""
    K, n = codebook.shape
    padded = jnp.pad(codebook, ((0, -K % BLOCK), (0, 0)))
    return padded.reshape(-1, BLOCK, n).transpose(0, 2, 1)


def letter_features(units: Float[Array, "y u"], letters: Int[Array, "t n"]) -> Float[Array, "t f"]:
    """Write items as rows whose product with a codeword of ones and zeros is the sum over letters."""
    return units[letters].reshape(letters.shape[0], letters.shape[1] * units.shape[1])


def block_sums(
    left: Float[Array, "t f"], block: UInt8[Array, "n b"], units: Float[Array, "y u"]
) -> Float[Array, "t b"]:
    """Sum over letters: items times codewords written as ones and zeros (letter 0 is all zeros)."""
    letters = jnp.arange(1, units.shape[1] + 1, dtype=jnp.uint8)[:, None]
    ones = (block[:, None] == letters).astype(units.dtype).reshape(left.shape[1], block.shape[1])
    return jnp.matmul(left, ones, precision=jax.lax.Precision.HIGHEST)  # integers, all bits


def encode_tile(
    key: Key[Array, ""],
    numbers: Int[Array, " t"],
    items: UInt8[Array, "t n"],
    blocks: UInt8[Array, "blocks n b"],
    K: int | Int[Array, ""],
    units: Float[Array, "y u"],
    slope: float | Float[Array, ""],
    *,
    by_minimum: bool,
) -> Int[Array, " t"]:
    """Encode items side by side, without validation, for use inside other compiled functions.

    Reservoir sampling over blocks (top of this file). The invariant after each block: block b of those
    seen is held with probability (weight of b) / (weight of all), weights taken relative to the least
    distortion so far, so that none of them overflows.

    Args:
        key: of the draws; item j uses fold_in(key, j).
        numbers: j of each item.
        items: letters.
        blocks: of the codebook, as `in_blocks` cuts it.
        K: number of codewords, those of the padding not counted.
        units: of the letter table.
        slope: bits per unit of the table, ignored if by_minimum.
        by_minimum: whether the slope is infinite and the nearest codeword wanted, ties at random.

    Returns:
        Index of a codeword for each item.

    """
    block = blocks.shape[2]
    features = letter_features(units, items.astype(jnp.int32))
    keys = jax.vmap(jax.random.fold_in, (None, 0))(key, numbers.astype(jnp.uint32))

    def weight(excess: Array) -> Array:
        """Weight of a codeword whose distortion is so much above the least."""
        if by_minimum:
            return (excess == 0).astype(units.dtype)
        # Padding has infinite distortion, and zero times infinity would be NaN.
        scaled = jnp.where(jnp.isinf(excess), jnp.inf, slope * excess)
        return jnp.exp2(-scaled.astype(float))

    def uniform(number: Int[Array, ""] | int) -> Float[Array, " t"]:
        """One number in [0, 1) for each item, of its own key and the number of the block."""
        one = partial(jax.random.fold_in, data=jnp.uint32(number))
        return jax.vmap(lambda k: jax.random.uniform(one(k), dtype=jnp.float64))(keys)

    def add_block(held: _Reservoir, number: Array) -> tuple[_Reservoir, None]:
        sums = block_sums(features, blocks[number], units)
        # The padding of the last block is infinitely far, and is never chosen.
        sums = jnp.where(number * block + jnp.arange(block) < K, sums, jnp.inf)
        here = sums.min(axis=1)
        mine = weight(sums - here[:, None]).sum(axis=1).astype(jnp.float64)
        least = jnp.minimum(held.least, here)
        mine = mine * weight(here - least)
        # Both weights are relative to the new least distortion, so that the larger one never underflows. Invariant: the
        # block that is held was taken with probability (its weight) / (total weight so far).
        total = held.total * weight(held.least - least) + mine
        takes = uniform(number) * total < mine
        kept = _Reservoir(
            least=least,
            total=total,
            block=jnp.where(takes, number, held.block),
            row=jnp.where(takes[:, None], sums, held.row),
        )
        return kept, None

    size = items.shape[0]
    empty = _Reservoir(
        least=jnp.full(size, jnp.inf, units.dtype),
        total=jnp.zeros(size, jnp.float64),
        block=jnp.zeros(size, int),
        row=jnp.full((size, block), jnp.inf, units.dtype),
    )
    held, _ = jax.lax.scan(add_block, empty, jnp.arange(blocks.shape[0]))
    weights = weight(held.row - held.row.min(axis=1, keepdims=True)).astype(float)
    return held.block * block + draw_categorical(weights, uniform(blocks.shape[0]))


_encode_tile = partial(jax.jit, static_argnames="by_minimum")(encode_tile)
