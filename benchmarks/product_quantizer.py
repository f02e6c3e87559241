"""Search by asymmetric distances beside faiss: the same codebooks, and codebooks of its own.

Items are Gaussian vectors, queries noisy copies of them. With the same codebooks both sides return
the same neighbours, up to ties; with faiss's own, the same MRR within the intervals.
"""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks._rows import Row, Side, compare
from rdsim import codes
from rdsim.codes.quantizers.product import ProductQuantizer
from rdsim.simulation.intervals import empirical_bernstein

TITLE = "Product quantizer search"
DIMENSION, NOISE = 8, 0.1
DEVIATIONS = 2.0 * 2.0 ** (-np.arange(DIMENSION) / 4)


@dataclass(frozen=True)
class Config:
    """What is timed."""

    log2_size: int = 15
    """log2 of the database size."""
    queries: int = 128
    """Queries of one search."""
    subspaces: int = 4
    """S, blocks of coordinates."""
    bits: int = 4
    """b, bits of each block."""
    training: int = 16384
    """Items that the codebooks are fitted to."""
    neighbours: int = 100
    """Items returned for a query; a target that is not among them counts as lost."""
    repeats: int = 5
    """Turns."""


SMOKE = Config(log2_size=8, queries=64, subspaces=2, bits=2, training=256, repeats=1)
FULL = Config()


def run(config: Config) -> list[Row]:
    """Compare the searches, then the encoders."""
    generator = np.random.default_rng(0)
    shape = (2**config.log2_size, DIMENSION)
    items = DEVIATIONS * generator.standard_normal(shape)
    training = DEVIATIONS * generator.standard_normal((config.training, DIMENSION))
    noise = np.sqrt(NOISE) * generator.standard_normal((config.queries, DIMENSION))
    queries = items[: config.queries] + noise
    code = codes.product_quantizer(
        jax.random.key(0),
        training,
        subspaces=config.subspaces,
        codebook_size=2**config.bits,
        starts=1,
    )
    stored = jax.block_until_ready(code.encode(jax.random.key(0), items))
    words = np.asarray(stored)

    def describe(found: Any) -> tuple[str, dict[str, float]]:
        distances, names = map(np.asarray, found)
        gain = reciprocal_ranks(distances, names)
        estimate = empirical_bernstein(gain)
        mean, low, high = (float(x) for x in (estimate.mean, estimate.lower, estimate.upper))
        numbers = {"mrr": mean, "mrr_lower": low, "mrr_upper": high}
        numbers["distance_sum"] = float(distances.astype(float).sum())
        return f"MRR {mean:.3f} in [{low:.3f}, {high:.3f}]", numbers

    name = (
        f"M = 2^{config.log2_size}, {config.queries} queries, S = {config.subspaces}, "
        f"b = {config.bits}, {config.neighbours} neighbours"
    )
    same, own = _Faiss(config, training, code), _Faiss(config, training, None)
    sides = [
        Side(
            "rdsim, float64",
            lambda: search(code, jnp.asarray(queries), stored, config.neighbours),
            describe,
        )
    ]
    for title, index in (("faiss, same codebooks", same), ("faiss, its codebooks", own)):
        # Filled before it is timed: both sides search what is stored.
        index.fill(items)
        sides.append(
            Side(
                title,
                lambda index=index: index.search(queries),  # type: ignore[misc]
                describe,
                compiles=False,
                package="faiss",
            )
        )
    rows = compare(f"search, {name}", sides, config.repeats)
    rows += compare(
        f"encoding, {name}",
        [
            Side(
                "rdsim, float64",
                lambda: code.encode(jax.random.key(0), items),
                lambda found: _same_words(np.asarray(found), words),
            ),
            Side(
                "faiss, same codebooks",
                lambda: same.encode(items),
                lambda found: _same_words(found, words),
                compiles=False,
                package="faiss",
            ),
        ],
        config.repeats,
    )
    return rows


def search(
    code: ProductQuantizer, queries: Any, stored: Any, neighbours: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return the least distances and the items at them, (Q, k) each, in no order.

    Chosen on the host: a partition is linear, where XLA sorts every row.
    """
    distances = np.asarray(code.asymmetric_distances(queries, stored))
    names = np.argpartition(distances, neighbours - 1, axis=1)[:, :neighbours]
    return np.take_along_axis(distances, names, axis=1), names


def reciprocal_ranks(distances: np.ndarray, names: np.ndarray) -> np.ndarray:
    """Mean of 1/rank of target i for query i, ties among the returned items by lot."""
    found = names == np.arange(len(names))[:, None]
    own = np.where(found, distances, -np.inf).max(axis=1)
    # Single precision of a peer: items of one word are equal, others differ by more than this.
    room = 1e-6 * np.abs(distances).max()
    better = (distances < own[:, None] - room).sum(axis=1)
    tied = np.maximum((np.abs(distances - own[:, None]) <= room).sum(axis=1), 1)
    harmonic = np.concatenate([[0.0], np.cumsum(1.0 / np.arange(1, names.shape[1] + 1))])
    last = np.minimum(better + tied, names.shape[1])
    return np.where(found.any(axis=1), (harmonic[last] - harmonic[better]) / tied, 0.0)


def _same_words(found: np.ndarray, words: np.ndarray) -> tuple[str, dict[str, float]]:
    share = float(np.mean(found == words))
    return f"{share:.2%} of the items at the same word", {"share_same": share}


class _Faiss:
    """An index of faiss, with given codebooks or its own; nothing at all where it is missing."""

    def __init__(self, config: Config, training: np.ndarray, code: ProductQuantizer | None) -> None:
        self.config = config
        try:
            import faiss
        except ImportError:
            return
        self.faiss = faiss
        self.index = faiss.IndexPQ(DIMENSION, config.subspaces, config.bits)
        if code is None:
            self.index.train(training.astype(np.float32))
            return
        books = np.stack([np.asarray(book) for book in code.codebooks]).astype(np.float32)
        faiss.copy_array_to_vector(books.ravel(), self.index.pq.centroids)
        self.index.is_trained = True

    def fill(self, items: np.ndarray) -> None:
        if hasattr(self, "index"):
            self.index.add(items.astype(np.float32))

    def search(self, queries: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return self.index.search(queries.astype(np.float32), self.config.neighbours)

    def encode(self, items: np.ndarray) -> np.ndarray:
        """Index of each item among all combinations of words, the last block fastest."""
        packed = self.index.pq.compute_codes(items.astype(np.float32))
        bits = np.unpackbits(packed, axis=1, bitorder="little")
        digits = bits[:, : self.config.subspaces * self.config.bits].reshape(
            len(items), self.config.subspaces, self.config.bits
        ) @ (1 << np.arange(self.config.bits))
        found = np.zeros(len(items), np.int64)
        for digit in digits.T:
            found = found * 2**self.config.bits + digit
        return found
