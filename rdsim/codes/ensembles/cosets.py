r"""How far words lie from a linear code: the weights of its coset leaders (C14).

A word y is stored as the nearest codeword u, and y - u is the lightest word of the coset of y, its leader. Cosets are told
apart by their syndromes: those of leaders of weight t + 1 are a syndrome of a leader of weight t plus a column of the parity
check, which none lighter has. So all are found level by level, in as many steps as the covering radius.
"""

from typing import Final

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from rdsim import validation
from rdsim.number_types import ArrayLike
from rdsim.transformations import on_host

_MOST_CHECKS: Final = 20
"""Most parity checks n - k: the table of cosets has 2^(n-k) entries, and a level takes n times as many steps."""


@on_host
@validation.needs_float64
def coset_distances(generator: ArrayLike) -> Float[Array, " t"]:
    r"""Compute the distribution of the distance from a uniform word to the nearest codeword of a binary linear code.

    $$P(T = t) = 2^{-(n-k)} \, \#\{\text{cosets whose lightest word has weight } t\}.$$

    The distances of several codes side by side add up: their distributions are convolved.

    Args:
        generator: k linearly independent words of n letters 0 or 1, shape (k, n), n - k at most 20.

    Returns:
        P(t), t = 0..n.

    Raises:
        ValueError: if the words are not of zeros and ones, depend on each other, or leave too many cosets.

    """
    given = validation.finite("generator", generator, ndim=2)
    words = np.asarray(validation.not_empty("generator", jnp.asarray(given)))
    if not np.isin(words, (0, 1)).all():
        wrong = words[~np.isin(words, (0, 1))][0].item()
        raise ValueError(f"generator must be of zeros and ones, got {wrong!r}")
    k, n = words.shape
    if n - k > _MOST_CHECKS:
        raise ValueError(
            f"generator must leave at most 2^{_MOST_CHECKS} cosets, got {k} words of {n} letters"
        )
    checks = _columns_of_checks(words.astype(np.int64))
    seen = np.zeros(1 << (n - k), bool)
    # Breadth-first search over the cosets: the zero syndrome is that of the codewords, whose leader has weight zero.
    seen[0] = True
    level, count = np.array([0]), [1]
    while sum(count) < seen.size:
        # Marks in a table: sorting the syndromes takes five times as long.
        found = np.zeros_like(seen)
        for column in checks:
            found[level ^ column] = True
        level = np.flatnonzero(found & ~seen)
        seen[level] = True
        count.append(level.size)
    return jnp.asarray(np.pad(np.array(count, float), (0, n + 1 - len(count))) / seen.size)


def _columns_of_checks(words: np.ndarray) -> np.ndarray:
    """Return the columns of a parity check as integers of n - k bits, by elimination, shape (n,)."""
    words = words.copy()
    k, n = words.shape
    pivots: list[int] = []
    for column in range(n):
        row = len(pivots)
        below = np.flatnonzero(words[row:, column]) if row < k else np.zeros(0, int)
        if below.size:
            words[[row, row + below[0]]] = words[[row + below[0], row]]
            # Gauss-Jordan elimination over the field of two elements: adding a row to another is an exclusive or.
            others = words[:, column].astype(bool)
            others[row] = False
            words[others] ^= words[row]
            pivots.append(column)
    if len(pivots) < k:
        raise ValueError(
            f"generator must have linearly independent words, got {k} of rank {len(pivots)}"
        )
    # Rows are now the identity at the pivots: the check of a free letter is that letter, and at a pivot its row.
    free = np.setdiff1d(np.arange(n), pivots)
    bit = 1 << np.arange(free.size)
    columns = np.zeros(n, np.int64)
    columns[free] = bit
    columns[pivots] = words[:, free] @ bit
    return columns
