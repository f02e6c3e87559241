r"""Fits of product quantizers: k-means in every block of coordinates, after a rotation.

Every fit raises a ValueError that names the argument if one lies outside its range, and a TypeError if
the key is not a typed key or a count is not an integer.

References:
    Jegou, Douze and Schmid (2011), IEEE Trans. PAMI 33(1); Ge, He, Ke and Sun (2014), 36(4), for the
    balanced principal axes.

"""

import math
from typing import Final

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Key

from rdsim import validation
from rdsim.codes.distances import distinct_rows, most_fitted, training_items
from rdsim.codes.quantizers.k_means import KMeans, best_codebook, first_codebooks
from rdsim.codes.quantizers.product import MAX_LISTED, ProductQuantizer
from rdsim.number_types import ArrayLike, Boolean, Integer
from rdsim.threads import side_by_side
from rdsim.transformations import on_host

_MOST_BLOCK_BITS: Final = 8
"""Most bits of a block of a code of many bits."""
_ITEMS_PER_CODEWORD: Final = 4
"""Fewest training items for each codeword of a block of such a code, on average."""


@on_host
@validation.needs_float64
def product_quantizer(
    key: Key[Array, ""],
    items: ArrayLike,
    *,
    subspaces: Integer,
    codebook_size: Integer,
    rotate: Boolean = False,
    starts: Integer = 4,
    iterations: Integer = 50,
) -> ProductQuantizer:
    r"""Fit a codebook of W codewords to each of S blocks of coordinates of the training items.

    Args:
        key: PRNG key of the starts.
        items: training items, shape (N, d).
        subspaces: S, 1 to d; the blocks' sizes differ by at most one.
        codebook_size: W in each block, $W^S \le 2^{16}$, at most the number of distinct items in a block.
        rotate: whether to rotate onto the principal axes first, each in turn given to the open
            block of the least product of variances.
        starts: of k-means, a block.
        iterations: most iterations of k-means a start.

    Returns:
        The code, with $W^S$ codewords; a block that `converged` is at a local optimum.

    """
    generator = validation.host_generator(key)
    points = np.asarray(training_items(items))
    blocks = validation.integer("subspaces", subspaces, low=1, high=points.shape[1])
    W = validation.integer("codebook_size", codebook_size, low=1)
    if W**blocks > MAX_LISTED:
        raise ValueError(
            f"codebook_size ** subspaces must be at most {MAX_LISTED}, got {W} ** {blocks}"
        )
    if not isinstance(rotate, bool):
        raise TypeError(f"rotate must be a bool, got {rotate!r}")
    starts = validation.integer("starts", starts, low=1)
    iterations = validation.integer("iterations", iterations, low=1)
    dimension = points.shape[1]
    sizes = [len(part) for part in np.array_split(np.arange(dimension), blocks)]
    centre, rotation = np.zeros(dimension), np.eye(dimension)
    if rotate:
        centre = points.mean(axis=0)
        rotation = _balanced_axes(points - centre, sizes)
    parts = np.split((points - centre) @ rotation.T, np.cumsum(sizes)[:-1], axis=1)
    for block, part in enumerate(parts):
        # k-means cannot place more codewords than there are distinct points in a block.
        if (distinct := distinct_rows(part, W)) < W:
            first = sum(sizes[:block])
            which = "principal axes" if rotate else "coordinates"
            raise ValueError(
                f"codebook_size must not exceed the number of distinct items of a block, {distinct} in "
                f"block {block} ({which} {first} to {first + sizes[block] - 1} of items), got {W}"
            )
    return _quantizer(_fitted(generator, parts, [W] * blocks, starts, iterations), rotation, centre)


@on_host
def long_product_quantizer(
    key: Key[Array, ""],
    items: ArrayLike,
    bits: Integer,
    *,
    starts: Integer = 2,
    iterations: Integer = 25,
) -> ProductQuantizer:
    """Fit a product quantizer of so many bits, in blocks of at most eight.

    The items are first rotated onto their principal axes, which are given to the blocks in turn,
    so that every block has a share of the large ones.

    Args:
        key: PRNG key of the starts of k-means.
        items: training items, shape (N, d), N >= 8.
        bits: B >= 1; blocks have up to 8 bits, fewer where N < 4 * 2^8, and at least one
            coordinate each, which bounds B.
        starts: of k-means, a block.
        iterations: most iterations of k-means a start.

    Returns:
        The code.

    """
    generator = validation.host_generator(key)
    points = most_fitted(generator, items)
    count = validation.integer("bits", bits, low=1)
    starts = validation.integer("starts", starts, low=1)
    iterations = validation.integer("iterations", iterations, low=1)
    dimension = points.shape[1]
    blocks = long_blocks(count, len(points), dimension)
    centre = points.mean(axis=0)
    variances, axes = np.linalg.eigh(np.cov(points.T, bias=True).reshape(dimension, dimension))
    falling = axes[:, np.argsort(-variances, kind="stable")]
    # Axis i, by falling variance, belongs to block i modulo the number of blocks.
    axes_of = [np.arange(block, dimension, blocks) for block in range(blocks)]
    rotation = falling[:, np.concatenate(axes_of)].T
    parts = np.split((points - centre) @ rotation.T, np.cumsum([*map(len, axes_of)])[:-1], axis=1)
    # The first blocks take the bits that are left over.
    sizes = [count // blocks + (block < count % blocks) for block in range(blocks)]
    counts = [
        min(1 << size, distinct_rows(part, 1 << size))
        for part, size in zip(parts, sizes, strict=True)
    ]
    return _quantizer(_fitted(generator, parts, counts, starts, iterations), rotation, centre)


def long_blocks(bits: int, items: int, dimension: int) -> int:
    """Blocks of a long product quantizer, each of one coordinate at least.

    Raises:
        ValueError: if so many items of so many coordinates cannot be stored in so many bits.

    """
    if items < 2 * _ITEMS_PER_CODEWORD:
        raise ValueError(f"items must be at least {2 * _ITEMS_PER_CODEWORD}, got {items}")
    block_bits = most_block_bits(items)
    if bits > block_bits * dimension:
        raise ValueError(
            f"bits must be at most {block_bits * dimension} with {dimension} coordinates and "
            f"{items} training items, got {bits}"
        )
    return math.ceil(bits / block_bits)


def most_block_bits(items: int) -> int:
    """Bits of a block whose codewords so many training items can fill."""
    return max(1, min(_MOST_BLOCK_BITS, int(math.log2(items / _ITEMS_PER_CODEWORD))))


def _fitted(
    generator: np.random.Generator,
    parts: list[np.ndarray],
    counts: list[int],
    starts: int,
    iterations: int,
) -> list[KMeans]:
    """Codebooks of the blocks, drawn one after the other and fitted side by side."""
    firsts = [
        first_codebooks(generator, part, count, starts)
        for part, count in zip(parts, counts, strict=True)
    ]
    return side_by_side(best_codebook, parts, firsts, [iterations] * len(parts))


def _quantizer(fits: list[KMeans], rotation: np.ndarray, centre: np.ndarray) -> ProductQuantizer:
    """Make the code of the codebooks that were fitted to the blocks of the training items."""
    return ProductQuantizer(
        # With its type said, an array of the host is copied by no program compiled for its shape.
        codebooks=tuple(jnp.asarray(fit.codewords, float) for fit in fits),
        rotation=jnp.asarray(rotation, float),
        centre=jnp.asarray(centre, float),
        distortion=jnp.asarray(sum(fit.distortion for fit in fits), float),
        converged=jnp.asarray(np.array([fit.converged for fit in fits]), bool),
        iterations=jnp.asarray(np.array([fit.iterations for fit in fits]), int),
    )


def _balanced_axes(centred: np.ndarray, sizes: list[int]) -> np.ndarray:
    """Principal axes as rows, divided so that the blocks' products of variances balance.

    Each axis, of falling variance, goes to the block of the least sum of logarithms that has a place.
    """
    variances, axes = np.linalg.eigh(centred.T @ centred / len(centred))
    # A floor keeps the logarithm of a flat direction finite.
    logs = np.log(np.maximum(variances, 1e-300))
    axes_of: list[list[int]] = [[] for _ in sizes]
    # Above the least of all logarithms, so that each axis adds to its block.
    weight = logs - logs.min() + 1.0
    for axis in np.argsort(-variances):
        open_blocks = [s for s, size in enumerate(sizes) if len(axes_of[s]) < size]
        axes_of[min(open_blocks, key=lambda s: weight[axes_of[s]].sum())].append(int(axis))
    return axes[:, [axis for block in axes_of for axis in block]].T
