r"""The kernel of both encoders: some items side by side against a codebook, block after block.

The distortion of a block is a matrix product: with $w_{iu}$ one where letter i of a codeword is u,

$$\sum_i d(y_i, u_i) = \sum_i d(y_i, 0) + \sum_i \sum_{u \ge 1} \big(d(y_i,u) - d(y_i,0)\big) w_{iu},$$

and the first sum, the same for all codewords, is left out.

Codewords are taken in blocks, by reservoir sampling over blocks. Of the codewords so far an item keeps
the least distortion, the total weight relative to it and one block, which is replaced by the next with
probability (weight there)/(weight so far): at the end each block is held with its due probability, and
so is a codeword drawn within it. That costs one random number an item and block in place of one an
item and codeword, and no more memory than one block.
"""

from functools import partial
from typing import Final, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key, UInt8

from rdsim.sources.categorical import draw_categorical

BLOCK: Final = 256
"""Codewords in a block. Changing it changes the random numbers, and so the indices drawn."""


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
