"""Items encoded with a codebook tile by tile, counted and discarded: kernels, and the loop on the host."""

import dataclasses
from functools import partial
from pathlib import Path
from typing import Any, Final, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key, UInt8

from rdsim.codes.codebook import draw_rows
from rdsim.codes.encoders import BLOCK, block_sums, encode_tile, in_blocks, letter_features
from rdsim.simulation.engine import checkpoint, progress
from rdsim.sources.tables import draw_outputs

_PAIRS_A_CALL: Final = 2**29
"""Items times codewords of one compiled call, which then takes seconds: an interrupt waits no longer."""
_MOST_AT_ONCE: Final = 16
"""Most small codebooks in a call."""


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


@dataclasses.dataclass(frozen=True, kw_only=True)
class Stream:
    """One validated simulation of shared codebooks; tile is the number of items side by side."""

    key: Any
    scheme: Scheme
    n: int
    K: int
    items: int
    by_minimum: bool
    tile: int
    path: Path | None
    pause: float

    def to_the_end(
        self, codebooks: int, queries: int, show_progress: bool
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Count items at the codewords of every codebook and rank its queries.

        Returns:
            Items at each codeword, shape (codebooks, K); better and tied items of each query,
            both of shape (codebooks, queries).

        """
        if self.path is None and min(codebooks, self._at_once(queries)) > 1:
            return self._in_batches(codebooks, queries, show_progress)
        fingerprint = self._fingerprint(codebooks) if self.path else {}
        done, counts = self._start(fingerprint, codebooks)
        saver = checkpoint.Saver(self.path, fingerprint, self.pause)
        span = max(_PAIRS_A_CALL // (self.K * self.tile), 1) * self.tile
        better = np.zeros((codebooks, queries), np.int64)
        tied = np.zeros((codebooks, queries), np.int64)
        total = codebooks * self.items
        with progress.shown(show_progress, "items", int(done.sum()), total, unit="items") as report:
            try:
                for c in range(codebooks):
                    book = _draw_codebook(
                        self.key, c, self.scheme.output_marginal, self.K, self.blocks, self.n
                    )
                    while done[c] < self.items:
                        last = min(int(done[c]) + span, self.items)
                        found = self._counted(book, int(done[c]), last)
                        # One assignment: an interrupt sees the state before this span or after it.
                        done, counts = _with(done, c, last), _with(counts, c, counts[c] + found)
                        report(int(done.sum()), total)
                        saver.if_due(done, counts)
                    better[c], tied[c] = self._ranked(book, counts[c], queries)
            except KeyboardInterrupt:
                saver.now(done, counts)
                raise
        saver.now(done, counts)
        return counts, better, tied

    @property
    def blocks(self) -> int:
        """Blocks of codewords, the last one padded."""
        return -(-self.K // BLOCK)

    def _at_once(self, queries: int) -> int:
        """Codebooks small enough to be computed together in one call, 0 if a call holds none."""
        if queries > self.tile:
            return 0
        pairs = self.blocks * BLOCK * max(self.items, self.tile)
        return min(_PAIRS_A_CALL // pairs, _MOST_AT_ONCE)

    def _in_batches(
        self, codebooks: int, queries: int, show_progress: bool
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Compute small codebooks whole, several in a call."""
        batch = self._at_once(queries)
        parts = []
        with progress.shown(show_progress, "codebooks", 0, codebooks, unit="codebooks") as report:
            for first in range(0, codebooks, batch):
                found = _whole_codebooks(
                    self.key,
                    self.scheme,
                    first,
                    self.items,
                    self.K,
                    n=self.n,
                    block_count=self.blocks,
                    queries=queries,
                    tile=self.tile,
                    batch=batch,
                    by_minimum=self.by_minimum,
                )
                parts.append([np.asarray(part) for part in found])
                report(min(first + batch, codebooks), codebooks)
        counts, better, tied = map(np.concatenate, zip(*parts, strict=True))
        return counts[:codebooks, : self.K], better[:codebooks], tied[:codebooks]

    def _counted(self, book: Codebook, first: int, last: int) -> np.ndarray:
        """Count the items first..last-1 at each codeword."""
        found = _count_items(book, self.scheme, first, last, self.tile, self.by_minimum)
        return np.asarray(found)[: self.K]

    def _ranked(
        self, book: Codebook, counts: np.ndarray, queries: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """Count the better and the tied items of each query of a codebook."""
        padded = jnp.asarray(np.pad(counts, (0, self.blocks * BLOCK - self.K)))
        tile = min(self.tile, queries)
        parts = [
            _rank_queries(book, self.scheme, padded, first, self.items, tile, self.by_minimum)
            for first in range(0, queries, tile)
        ]
        better, tied = map(np.concatenate, zip(*parts, strict=True))
        return better[:queries], tied[:queries]

    def _start(self, fingerprint: dict[str, Any], codebooks: int) -> tuple[np.ndarray, np.ndarray]:
        """Items counted of each codebook and the counts, from the checkpoint if there is one."""
        shape = (codebooks, self.K)
        kept = checkpoint.load(self.path, fingerprint, shape) if self.path else None
        if kept is None:
            return np.zeros(codebooks, np.int64), np.zeros(shape, np.int64)
        return kept[0], kept[1].astype(np.int64)

    def _fingerprint(self, codebooks: int) -> dict[str, Any]:
        """All that the counts depend on; not the memory, which they do not depend on."""
        # Counts do not depend on the tile, which is one item here.
        lowered = jax.jit(_counted_from_key, static_argnums=(3, 4, 5)).lower(
            self.key, self.scheme, (0, self.items, self.K), self.blocks, self.n, self.by_minimum
        )
        return {
            "format": checkpoint.FORMAT,
            "scheme": "shared codebook",
            "program": checkpoint.of_program(lowered),
            "key": checkpoint.of_key(self.key),
            "arguments": checkpoint.of_arrays(self.scheme),
            "codebooks": codebooks,
            "n": self.n,
            "K": self.K,
            "items": self.items,
            "block": BLOCK,
            "software": checkpoint.of_software(jax.devices()[0]),
        }


def _counted_from_key(
    key: Any, scheme: Scheme, numbers: tuple[Any, Any, Any], blocks: int, n: int, by_minimum: bool
) -> Array:
    """Count the items of one codebook one by one: what the counts of a checkpoint are."""
    first, last, K = numbers
    book = _draw_codebook(key, 0, scheme.output_marginal, K, blocks, n)
    return _count_items(book, scheme, first, last, 1, by_minimum)


def codebook_keys(key: Key[Array, ""], codebook: int | Int[Array, ""]) -> Keys:
    """Make the keys of one codebook, its database and its queries."""
    return Keys(*jax.random.split(jax.random.fold_in(key, codebook), len(Keys._fields)))


def _with(array: np.ndarray, index: int, value: Any) -> np.ndarray:
    copy = array.copy()
    copy[index] = value
    return copy


@partial(jax.jit, static_argnames=("block_count", "n"))
def _draw_codebook(
    key: Key[Array, ""],
    codebook: int | Int[Array, ""],
    output_marginal: Float[Array, " u"],
    K: int | Int[Array, ""],
    block_count: int,
    n: int,
) -> Codebook:
    keys = codebook_keys(key, codebook)
    numbers = jnp.arange(block_count * BLOCK)
    return Codebook(keys, in_blocks(draw_rows(keys.book, output_marginal, numbers, n)), K)


@partial(jax.jit, static_argnames=("tile", "by_minimum"))
def _count_items(
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
def _rank_queries(
    book: Codebook,
    scheme: Scheme,
    counts: Int[Array, " padded"],
    first: int | Int[Array, ""],
    items: int | Int[Array, ""],
    tile: int,
    by_minimum: bool,
) -> tuple[Int[Array, " q"], Int[Array, " q"]]:
    """Better and tied items of queries first..; codewords of the padding hold no items."""
    numbers = first + jnp.arange(tile)
    by_block = counts.reshape(book.blocks.shape[0], -1)

    def target(number: Array) -> Array:
        return jax.random.randint(_numbered(book.keys.target, number), (), 0, items)

    def query(number: Array, item: Array) -> Array:
        return draw_outputs(_numbered(book.keys.query, number), scheme.query_channel, item)

    y, index = _encoded_items(book, scheme, jax.vmap(target)(numbers), by_minimum)
    x = jax.vmap(query)(numbers, y.astype(jnp.int32))
    # A query's scores with a block of codewords are one matrix product (see `rdsim.codes.encoders`). They are sums of
    # integer units, so that ties are exact; codewords of the padding hold no items and count for nothing.
    features = letter_features(scheme.scores, x)
    block = book.blocks.shape[2]
    codeword = book.blocks[index // block, :, index % block].astype(jnp.int32)
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
def _whole_codebooks(
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
        book = _draw_codebook(key, codebook, scheme.output_marginal, K, block_count, n)
        counts = _count_items(book, scheme, 0, items, tile, by_minimum)
        better, tied = _rank_queries(book, scheme, counts, 0, items, queries, by_minimum)
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
