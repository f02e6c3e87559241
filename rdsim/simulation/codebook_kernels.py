"""Compiled parts of a simulation of shared codebooks: draw, encode and count, rank, each from numbers alone.

Item j and query t are drawn from a key and their numbers, so that no database is held, and no count depends on how
many items are encoded side by side.
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key, UInt8

from rdsim.codes.codebook import draw_rows
from rdsim.codes.encoding_tiles import BLOCK, block_sums, encode_tile, in_blocks, letter_features
from rdsim.sources.tables import draw_outputs


class Scheme(NamedTuple):
    """The arrays that all codebooks share.

    Attributes:
        output_marginal: q, of a codeword's letter, shape (|U|,).
        py: P(y), of an item's letter, shape (|Y|,).
        query_channel: P(x|y), shape (|Y|, |X|).
        distortions: units of the encoder's letter table, shape (|Y|, |U|-1).
        slope: bits per unit of the table; infinite for the nearest codeword.
        scores: units of the decoder's letter table, higher is better, shape (|X|, |U|-1).

    """

    output_marginal: Float[Array, " u"]
    py: Float[Array, " y"]
    query_channel: Float[Array, "y x"]
    distortions: Float[Array, "y u"]
    slope: Float[Array, ""]
    scores: Float[Array, "x u"]


class Keys(NamedTuple):
    """Keys of one codebook's draws: codewords, items, the encoder's draws, targets, queries."""

    book: Key[Array, ""]
    item: Key[Array, ""]
    encoder: Key[Array, ""]
    target: Key[Array, ""]
    query: Key[Array, ""]


class Codebook(NamedTuple):
    """One drawn codebook.

    Attributes:
        keys: of its items and queries.
        blocks: of its codewords, the last one padded with codewords that are never used.
        K: number of codewords, those of the padding not counted.

    """

    keys: Keys
    blocks: UInt8[Array, "blocks n b"]
    K: int | Int[Array, ""]


def counted_from_key(
    key: Any, scheme: Scheme, numbers: tuple[Any, Any, Any], blocks: int, n: int, by_minimum: bool
) -> Array:
    """Count the items of one codebook one by one: what the counts of a checkpoint are."""
    first, last, K = numbers
    book = draw_codebook(key, 0, scheme.output_marginal, K, blocks, n)
    return count_items(book, scheme, first, last, 1, by_minimum)


def codebook_keys(key: Key[Array, ""], codebook: int | Int[Array, ""]) -> Keys:
    """Make the keys of one codebook, its database and its queries."""
    return Keys(*jax.random.split(jax.random.fold_in(key, codebook), len(Keys._fields)))


@partial(jax.jit, static_argnames=("block_count", "n"))
def draw_codebook(
    key: Key[Array, ""],
    codebook: int | Int[Array, ""],
    output_marginal: Float[Array, " u"],
    K: int | Int[Array, ""],
    block_count: int,
    n: int,
) -> Codebook:
    """Draw the codewords of one codebook from the output marginal, in blocks."""
    keys = codebook_keys(key, codebook)
    numbers = jnp.arange(block_count * BLOCK)
    return Codebook(keys, in_blocks(draw_rows(keys.book, output_marginal, numbers, n)), K)


@partial(jax.jit, static_argnames=("tile", "by_minimum"))
def count_items(
    book: Codebook,
    scheme: Scheme,
    first: int | Int[Array, ""],
    last: int | Int[Array, ""],
    tile: int,
    by_minimum: bool,
) -> Int[Array, " padded"]:
    """Count items first..last-1 at each codeword of all blocks; those of the padding have none."""

    def count(state: tuple[Array, Array]) -> tuple[Array, Array]:
        start, counts = state
        numbers = start + jnp.arange(tile)
        index = _encoded_items(book, scheme, numbers, by_minimum)[1]
        # The last tile may pass the end: its items are encoded and counted as none.
        return start + tile, counts.at[index].add((numbers < last).astype(jnp.int64))

    nothing = jnp.zeros(book.blocks.shape[0] * book.blocks.shape[2], jnp.int64)
    start = (jnp.asarray(first, jnp.int64), nothing)
    return jax.lax.while_loop(lambda state: state[0] < last, count, start)[1]


@partial(jax.jit, static_argnames=("tile", "by_minimum"))
def rank_queries(
    book: Codebook,
    scheme: Scheme,
    counts: Int[Array, " padded"],
    first: int | Int[Array, ""],
    items: int | Int[Array, ""],
    tile: int,
    by_minimum: bool,
) -> tuple[Int[Array, " q"], Int[Array, " q"]]:
    """Count, for the queries numbered from `first` on, the items that score better than their target and those that tie.

    A query is scored with the codewords, a block at a time, and each codeword counts for all the items that it holds.
    Targets and queries depend on their numbers alone, so that tiles of any size draw the same ones.
    """
    numbers = first + jnp.arange(tile)
    by_block = counts.reshape(book.blocks.shape[0], -1)

    def target(number: Array) -> Array:
        return jax.random.randint(_numbered(book.keys.target, number), (), 0, items)

    def query(number: Array, item: Array) -> Array:
        return draw_outputs(_numbered(book.keys.query, number), scheme.query_channel, item)

    y, index = _encoded_items(book, scheme, jax.vmap(target)(numbers), by_minimum)
    x = jax.vmap(query)(numbers, y.astype(jnp.int32))
    # A query's scores with a block of codewords are one matrix product (see `rdsim.codes.encoding_tiles`). They are sums of
    # integer units, so that ties are exact; codewords of the padding hold no items and count for nothing.
    features = letter_features(scheme.scores, x)
    block = book.blocks.shape[2]
    codeword = book.blocks[index // block, :, index % block].astype(jnp.int32)
    # Tables are relative to letter u = 0, whose own column is zero.
    columns = jnp.pad(scheme.scores, ((0, 0), (1, 0)))
    own = columns[x, codeword].sum(axis=1)[:, None]

    def add(
        state: tuple[Array, Array], part: tuple[Array, Array]
    ) -> tuple[tuple[Array, Array], None]:
        sums = block_sums(features, part[0], scheme.scores)
        better = jnp.where(sums > own, part[1], 0).sum(axis=1)
        tied = jnp.where(sums == own, part[1], 0).sum(axis=1)
        return (state[0] + better, state[1] + tied), None

    nothing = jnp.zeros(numbers.size, jnp.int64)
    return jax.lax.scan(add, (nothing, nothing), (book.blocks, by_block))[0]


@partial(jax.jit, static_argnames=("n", "block_count", "queries", "tile", "batch", "by_minimum"))
def whole_codebooks(
    key: Key[Array, ""],
    scheme: Scheme,
    first: int | Int[Array, ""],
    items: int | Int[Array, ""],
    K: int | Int[Array, ""],
    *,
    n: int,
    block_count: int,
    queries: int,
    tile: int,
    batch: int,
    by_minimum: bool,
) -> tuple[Int[Array, "batch padded"], Int[Array, "batch q"], Int[Array, "batch q"]]:
    """Counts, better and tied items of codebooks first.., one after the other in one call."""

    def one(codebook: Int[Array, ""]) -> tuple[Array, Array, Array]:
        book = draw_codebook(key, codebook, scheme.output_marginal, K, block_count, n)
        counts = count_items(book, scheme, 0, items, tile, by_minimum)
        better, tied = rank_queries(book, scheme, counts, 0, items, queries, by_minimum)
        return counts, better, tied

    return jax.lax.map(one, first + jnp.arange(batch))


def _encoded_items(
    book: Codebook, scheme: Scheme, numbers: Int[Array, " t"], by_minimum: bool
) -> tuple[UInt8[Array, "t n"], Int[Array, " t"]]:
    """Draw items by their numbers and encode them."""
    y = draw_rows(book.keys.item, scheme.py, numbers, book.blocks.shape[1])
    index = encode_tile(
        book.keys.encoder,
        numbers,
        y,
        book.blocks,
        book.K,
        scheme.distortions,
        scheme.slope,
        by_minimum=by_minimum,
    )
    return y, index


def _numbered(key: Key[Array, ""], number: Int[Array, ""]) -> Key[Array, ""]:
    return jax.random.fold_in(key, number.astype(jnp.uint32))
