"""Product quantizers beside faiss: fitting, storing and searching, with the same codebooks and with its own.

Items are Gaussian vectors, queries noisy copies of some of them. With the same codebooks both sides return the same
neighbours, up to rounding and ties. faiss computes in float32; rdsim's labels and neighbours are those of float64.
The limit of fitting and storing is one float32 product of every point with all codewords of its block, and the
place of the greatest score, in blocks that the cache holds. What rdsim takes beyond faiss are passes over the scores:
it writes them and goes over them twice, for the best and for the second, which tells where rounding might have
exchanged the two; faiss keeps the best in registers, and the labels of float32.
"""

from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from benchmarks._rows import Row, Side, compare, installed
from rdsim import codes
from rdsim.codes import ProductQuantizer
from rdsim.threads import side_by_side

TITLE = "Product quantizer at real sizes"
NOISE = 0.5
BLOCK = 512


@dataclass(frozen=True)
class Config:
    """What is timed."""

    dimension: int = 64
    """Coordinates."""
    items: tuple[int, ...] = (100_000, 1_000_000)
    """Numbers of items stored and searched."""
    queries: int = 200
    """Queries of one search."""
    bits: int = 64
    """Stored bits of an item, eight a block."""
    training: int = 20_000
    """Items that the codebooks are fitted to."""
    neighbours: int = 100
    """Items returned for a query."""
    iterations: int = 25
    """Iterations of k-means."""
    repeats: int = 3
    """Turns."""


SMOKE = Config(
    dimension=8, items=(2000,), queries=64, bits=16, training=1100, neighbours=10, repeats=1
)
FULL = Config()


def run(config: Config) -> list[Row]:
    """Compare fits, then stores and searches of databases of each size."""
    draws = np.random.default_rng(0)
    key = jax.random.key(0)
    training = draws.standard_normal((config.training, config.dimension))
    items = draws.standard_normal((max(config.items), config.dimension), np.float32)
    code = _fit(config, key, training)
    name = f"{config.dimension} coordinates, {config.bits} bits"
    rows = compare(
        f"fitting, {config.training} items, {name}",
        [
            Side(
                "rdsim, k-means++, one start",
                lambda: _fit(config, key, training),
                lambda found: _distortion(float(found.distortion)),
                compiles=False,
            ),
            Side(
                "faiss, random starts",
                lambda: _Faiss(config, None, training),
                lambda found: _distortion(found.distortion(training)),
                compiles=False,
                package="faiss",
            ),
            Side(
                f"limit: {config.iterations} products",
                lambda: _products(code, training, config.iterations),
                compiles=False,
            ),
        ],
        config.repeats,
    )
    for count in config.items:
        rows += _database(config, code, items[:count], name)
    return rows


def _database(config: Config, code: ProductQuantizer, items: np.ndarray, name: str) -> list[Row]:
    """Compare storing of the items, and searching for noisy copies of some."""
    key, draws = jax.random.key(0), np.random.default_rng(1)
    queries = items[: config.queries] + np.float32(NOISE) * draws.standard_normal(
        (config.queries, config.dimension), np.float32
    )
    stored = code.store(key, items)
    peer = _Faiss(config, code)
    # Filled before it is timed: both sides search what is stored.
    peer.fill(items)
    rows = compare(
        f"storing, {len(items)} items, {name}",
        [
            Side(
                "rdsim, labels of float64",
                lambda: code.store(key, items),
                lambda found: _same("digits", found == stored),
                compiles=False,
            ),
            Side(
                "faiss, same codebooks",
                lambda: peer.encode(items),
                lambda found: _same("digits", found == stored),
                compiles=False,
                package="faiss",
            ),
            Side("limit: one product", lambda: _products(code, items, 1), compiles=False),
        ],
        config.repeats,
    )
    best = codes.search(code, queries, stored, config.neighbours).indices
    return rows + compare(
        f"search, {len(items)} items, {config.queries} queries, {config.neighbours} neighbours, {name}",
        [
            Side(
                "rdsim, scores of float64",
                lambda: codes.search(code, queries, stored, config.neighbours).indices,
                lambda found: _same("neighbours", np.sort(found) == np.sort(best)),
                compiles=False,
            ),
            Side(
                "faiss, same codebooks",
                lambda: peer.search(queries),
                lambda found: _same("neighbours", np.sort(found) == np.sort(best)),
                compiles=False,
                package="faiss",
            ),
        ],
        config.repeats,
    )


def _products(code: ProductQuantizer, points: np.ndarray, times: int) -> None:
    """Score all points with all codewords of their blocks, and find the greatest, on all cores."""
    ends = np.cumsum([book.shape[1] for book in code.codebooks])[:-1]
    parts = np.split(np.asarray(points, np.float32), ends, axis=1)
    columns = [np.ascontiguousarray(np.asarray(book).T, np.float32) for book in code.codebooks]

    def score(first: int) -> None:
        for part, book in zip(parts, columns, strict=True):
            for _ in range(times):
                (part[first : first + BLOCK] @ book).argmax(axis=1)

    side_by_side(score, range(0, len(points), BLOCK))


def _fit(config: Config, key: jax.Array, training: np.ndarray) -> ProductQuantizer:
    return codes.long_product_quantizer(
        key, training, config.bits, starts=1, iterations=config.iterations
    )


def _distortion(value: float) -> tuple[str, dict[str, float]]:
    return f"mean squared error {value:.4g}", {"distortion": value}


def _same(what: str, equal: np.ndarray) -> tuple[str, dict[str, float]]:
    share = float(np.mean(equal))
    return f"{share:.3%} of the {what} are those of rdsim", {"share_same": share}


class _Faiss:
    """An index of faiss, with given codebooks or fitted ones; nothing at all where it is missing."""

    def __init__(
        self, config: Config, code: ProductQuantizer | None, training: np.ndarray | None = None
    ) -> None:
        self.config = config
        if not installed("faiss"):
            return
        import faiss

        self.index = faiss.IndexPQ(config.dimension, config.bits // 8, 8)
        self.index.pq.cp.niter = config.iterations
        self.centre = np.zeros(config.dimension, np.float32)
        self.rotation = np.eye(config.dimension, dtype=np.float32)
        if training is not None:
            self.index.train(training.astype(np.float32))
        elif code is not None:
            self.centre = np.asarray(code.centre, np.float32)
            self.rotation = np.asarray(code.rotation, np.float32)
            books = np.stack([np.asarray(book) for book in code.codebooks])
            faiss.copy_array_to_vector(books.astype(np.float32).ravel(), self.index.pq.centroids)
            self.index.is_trained = True

    def fill(self, items: np.ndarray) -> None:
        """Store the items."""
        if hasattr(self, "index"):
            self.index.add(self._rotated(items))

    def search(self, queries: np.ndarray) -> Any:
        """Rows of the nearest stored items."""
        return self.index.search(self._rotated(queries), self.config.neighbours)[1]

    def encode(self, items: np.ndarray) -> np.ndarray:
        """Digits of the items, one byte a block."""
        return np.asarray(self.index.sa_encode(self._rotated(items)))

    def distortion(self, items: np.ndarray) -> float:
        """Mean squared error of the reproductions."""
        points = items.astype(np.float32)
        error = points - self.index.sa_decode(self.index.sa_encode(points))
        return float(np.mean(np.sum(error.astype(float) ** 2, axis=1)))

    def _rotated(self, points: np.ndarray) -> np.ndarray:
        return np.ascontiguousarray((points - self.centre) @ self.rotation.T, np.float32)
