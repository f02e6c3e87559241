"""Items encoded with a codebook tile by tile, counted and discarded: the loop on the host, and its checkpoints."""

import dataclasses
from pathlib import Path
from typing import Any, Final

import jax
import jax.numpy as jnp
import numpy as np

from rdsim.codes.encoding_tiles import BLOCK
from rdsim.simulation.codebook_kernels import (
    Codebook,
    Scheme,
    count_items,
    counted_from_key,
    draw_codebook,
    rank_queries,
    whole_codebooks,
)
from rdsim.simulation.engine import checkpoint, progress

_PAIRS_A_CALL: Final = 2**29
"""Items times codewords of one compiled call, which then takes seconds: an interrupt waits no longer."""
_MOST_AT_ONCE: Final = 16
"""Most small codebooks in a call."""


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
                    book = draw_codebook(
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
                found = whole_codebooks(
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
        found = count_items(book, self.scheme, first, last, self.tile, self.by_minimum)
        return np.asarray(found)[: self.K]

    def _ranked(
        self, book: Codebook, counts: np.ndarray, queries: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """Count the better and the tied items of each query of a codebook."""
        padded = jnp.asarray(np.pad(counts, (0, self.blocks * BLOCK - self.K)))
        tile = min(self.tile, queries)
        parts = [
            rank_queries(book, self.scheme, padded, first, self.items, tile, self.by_minimum)
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
        lowered = jax.jit(counted_from_key, static_argnums=(3, 4, 5)).lower(
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


def _with(array: np.ndarray, index: int, value: Any) -> np.ndarray:
    copy = array.copy()
    copy[index] = value
    return copy
