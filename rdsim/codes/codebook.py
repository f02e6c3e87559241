r"""Random codebooks: K codewords of n letters, drawn independently from the output marginal.

Codeword k is drawn from fold_in(key, k), so a codebook is the same whether it is drawn at once or in
parts, and a longer one begins with the shorter.
"""

from functools import partial
from typing import Final

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key, UInt8

from rdsim import validation
from rdsim.number_types import ArrayLike, Integer, PRNGKey
from rdsim.sources.tables import draw_letters

MAX_LETTERS: Final = 256
"""Largest alphabet: a letter is stored in one byte."""
MAX_CODEWORDS: Final = 2**24
"""Most codewords of n letters."""
MAX_NUMBER: Final = 2**32
"""One more than the largest number of an item or a codeword: fold_in takes 32 bits."""
_ROWS_AT_ONCE: Final = 1024
"""Most rows drawn side by side; changes memory and speed, no letter."""


def random_codebook(
    key: PRNGKey,
    output_marginal: ArrayLike,
    *,
    codebook_size: Integer,
    n: Integer,
    first_codeword: Integer = 0,
) -> UInt8[Array, "K n"]:
    r"""Draw the codewords of a codebook, $u_{ki} \sim q$ independently.

    Args:
        key: PRNG key; codeword k depends on fold_in(key, k), q and n alone.
        output_marginal: q(u), the distribution of a letter, shape (|U|,), at most 256 letters.
        codebook_size: K, the number of codewords, 1 to 2^24.
        n: letters in a codeword, at least 1.
        first_codeword: number of the first codeword wanted, so that a longer codebook is drawn in parts.

    Returns:
        Letters 0..|U|-1, shape (K, n), one byte each.

    References:
        Shannon (1959), IRE National Convention Record 7; Cover and Thomas (2006), section 10.5.

    """
    validation.prng_key("key", key)
    q = validation.pmf("output_marginal", output_marginal)
    if q.size > MAX_LETTERS:
        raise ValueError(f"output_marginal must have at most {MAX_LETTERS} letters, got {q.size}")
    K = validation.integer("codebook_size", codebook_size, low=1, high=MAX_CODEWORDS)
    n = validation.integer("n", n, low=1)
    first_codeword = validation.integer(
        "first_codeword", first_codeword, low=0, high=MAX_NUMBER - K
    )
    return draw_rows(key, q, first_codeword + jnp.arange(K), n)


@partial(jax.jit, static_argnames="n")
def draw_rows(
    key: Key[Array, ""], p: Float[Array, " u"], numbers: Int[Array, " rows"], n: int
) -> UInt8[Array, "rows n"]:
    """Draw n letters for each number j from fold_in(key, j)."""

    def row(number: Array) -> Array:
        letters = draw_letters(jax.random.fold_in(key, number.astype(jnp.uint32)), p, (n,))
        return letters.astype(jnp.uint8)

    return jax.lax.map(row, numbers, batch_size=min(_ROWS_AT_ONCE, numbers.size))


def check_letters(name: str, value: ArrayLike, size: int) -> np.ndarray:
    """Check rows of letters 0..size-1, shape (rows, n), and return them as bytes.

    The TypeError or ValueError names the argument, if these are no integers, a letter lies outside
    the alphabet, or there is none.
    """
    rows = validation.integer_array(name, value)
    if rows.ndim != 2 or rows.size == 0:
        raise ValueError(f"{name} must have shape (rows, letters), not empty, got {rows.shape}")
    if rows.min() < 0 or rows.max() >= size:
        raise ValueError(f"{name} must hold letters 0..{size - 1}, got {rows.min()}..{rows.max()}")
    return rows.astype(np.uint8)
