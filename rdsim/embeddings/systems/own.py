"""The project's own codes for real vectors: rotated product quantizer, hashes, signs, truncation."""

import jax
import numpy as np

from rdsim.codes.quantizers.hashing import BinaryHash, long_hyperplane_hash, rotated_hash
from rdsim.codes.quantizers.product_fits import long_product_quantizer, most_block_bits
from rdsim.embeddings.spaces import Space
from rdsim.embeddings.systems.code import FittedCode, Training

COORDINATES_A_BLOCK = 2
"""Fewest coordinates of a block of a product quantizer: with fewer, scalar quantizers are its equals."""
_ITERATIONS = 12
"""Iterations of k-means, from one start: the default, 25 iterations from two starts, takes four times as long."""


def rotated_product_quantizer(training: Training, bits: int) -> FittedCode | None:
    """Quantize blocks of the principal axes, distributed so that every block has a share of the large ones."""
    width = training.items.shape[1]
    blocks = -(-bits // most_block_bits(len(training.items)))
    if blocks * COORDINATES_A_BLOCK > max(width, COORDINATES_A_BLOCK):
        return None
    code = long_product_quantizer(
        jax.random.key(training.seed), training.items, bits, starts=1, iterations=_ITERATIONS
    )
    # In rotated coordinates throughout, where a code's point is looked up and nothing is rounded.
    exact = np.asarray(code.rotation)
    rotation = exact.T.astype(np.float32)
    ends = np.cumsum([book.shape[1] for book in code.codebooks])[:-1]
    centres = np.split(exact @ np.asarray(code.centre), ends)
    books = [
        (np.asarray(book) + centre).astype(np.float32)
        for book, centre in zip(code.codebooks, centres, strict=True)
    ]
    halves = [0.5 * np.einsum("ij,ij->i", book, book) for book in books]

    def encode(raw: np.ndarray) -> np.ndarray:
        parts = np.split(training.space.items(raw).astype(np.float32) @ rotation, ends, axis=1)
        found = [
            np.argmax(part @ book.T - half, axis=1)
            for part, book, half in zip(parts, books, halves, strict=True)
        ]
        return np.stack(found, axis=1).astype(np.uint8)

    def decode(codes: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        chosen = [book[codes[:, block]] for block, book in enumerate(books)]
        points = np.concatenate(chosen, axis=1)
        return points, training.space.bias(points)

    return FittedCode(
        bits=bits,
        encode=encode,
        decode=decode,
        readings={"": lambda raw: training.space.queries(raw).astype(np.float32) @ rotation},
    )


def hyperplane_hash(training: Training, bits: int) -> FittedCode | None:
    """Keep the signs of random projections."""
    if bits > 2 * training.items.shape[1]:
        return None
    made = long_hyperplane_hash(jax.random.key(training.seed), training.items, bits)
    return _hash(training.space, made)


def itq(training: Training, bits: int) -> FittedCode | None:
    """Keep the signs of the rotated principal axes whose signs are nearest to the items."""
    if bits > training.items.shape[1]:
        return None
    return _hash(training.space, rotated_hash(jax.random.key(training.seed), training.items, bits))


def signs(training: Training, bits: int) -> FittedCode | None:
    """Keep the sign of each centred coordinate: one bit per coordinate, nothing fitted but the mean."""
    width = training.items.shape[1]
    if bits != width:
        return None
    centre = training.items.mean(axis=0, dtype=float)
    return _hash(training.space, BinaryHash(planes=np.eye(width), centre=centre))  # type: ignore[arg-type]


def _hash(space: Space, made: BinaryHash) -> FittedCode:
    """Read a hash by the query's own projections, and by the Hamming distance to its signs."""
    planes = np.asarray(made.planes, np.float32)
    centre = np.asarray(made.centre, np.float32)
    count = len(planes)

    def projected(points: np.ndarray) -> np.ndarray:
        return np.asarray((points.astype(np.float32) - centre) @ planes.T)

    def decode(codes: np.ndarray) -> tuple[np.ndarray, None]:
        return 2 * np.unpackbits(codes, axis=1, count=count).astype(np.float32) - 1, None

    return FittedCode(
        bits=count,
        encode=lambda raw: np.packbits(projected(space.items(raw)) > 0, axis=1),
        decode=decode,
        readings={
            "float query": lambda raw: projected(space.queries(raw)),
            "Hamming": lambda raw: 2 * (projected(space.queries(raw)) > 0).astype(np.float32) - 1,
        },
    )


def shorter(training: Training, bits: int) -> FittedCode | None:
    """Keep the first coordinates as float16, not all of them."""
    return None if bits >= 16 * training.raw.shape[1] else truncation(training, bits)


def truncation(training: Training, bits: int) -> FittedCode | None:
    """Keep the first coordinates as float16, as embeddings trained for that (Matryoshka) allow.

    Kusupati et al. (2022), "Matryoshka representation learning", NeurIPS.
    """
    space, count = training.plain, bits // 16
    if bits % 16 or space is None or count > len(space.item_centre):
        return None
    part = Space(
        name=space.name,
        similarity=space.similarity,
        query_centre=space.query_centre[:count],
        item_centre=space.item_centre[:count],
    )

    def encode(raw: np.ndarray) -> np.ndarray:
        points = part.items(raw[:, :count])
        if (largest := np.abs(points).max()) > np.finfo(np.float16).max:
            raise ValueError(
                f"items must be at most 65504 in size to be kept as float16, got {largest:g}: divide all vectors by one "
                "number, which changes no ranking, or choose systems without float16 and truncation"
            )
        stored = points.astype(np.float16)
        return stored.view(np.uint16)

    def decode(codes: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        points = codes.view(np.float16).astype(np.float32)
        return points, part.bias(points)

    return FittedCode(
        bits=bits,
        encode=encode,
        decode=decode,
        readings={"": lambda raw: part.queries(raw[:, :count])},
    )
