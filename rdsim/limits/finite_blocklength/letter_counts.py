r"""Balls around blocks that differ only in the order of their letters, by letter counts.

The distance from a fixed block with $c_i$ letters of class i to a random i.i.d. block is a sum of
independent letter distances, $c_i$ of them with the distribution $f_i$ on a lattice. So one number for
each vector of counts describes all blocks: their number grows as a power of n, not exponentially.

The distributions are tilted, $\tilde f(k) = f(k) e^{-\sigma k} / Z$ and
$P[\mathrm{sum} \le K] = \prod_i Z_i^{c_i} e^{\sigma K} \sum_{k \le K} e^{-\sigma (K-k)} \tilde f_c(k)$:
balls of probability $2^{-nR}$, far below the least float, become sums of order one. Convolutions
add positive numbers only, so that they keep their relative accuracy.

Plain NumPy: every array here has a shape given by n, so that compiled it would be compiled anew
for every block length.
"""

import math
from typing import Final, NamedTuple

import numpy as np
import scipy

WORK_LIMIT: Final = 4e9
"""Largest number of multiplications for one block length: some ten seconds."""
MEMORY_LIMIT: Final = 4e7
"""Largest number of floats in one table."""
UNDERFLOW: Final = 1e-290
"""An upper bound on the sum of all products that underflow: each is below 1e-307."""


class Distances(NamedTuple):
    """Distribution of the distance of one letter, on a lattice, for each class of letters."""

    offsets: np.ndarray  # distances in lattice steps, increasing integers, shape (v,)
    masses: np.ndarray  # of each, a row a class, shape (m, v); rows may sum to less than one


def work(n: int, radius: int, distances: Distances) -> float:
    """Multiplications that `balls` needs."""
    m, values = distances.masses.shape
    return float(scipy.special.comb(n + m - 1, m - 1)) * (radius + 1) * (values + 1)


def memory(n: int, radius: int, distances: Distances) -> float:
    """Floats in the largest table of `balls`."""
    m = distances.masses.shape[0]
    return max(float(scipy.special.comb(n + m - 2, max(m - 2, 0))), n + 1.0) * (radius + 1)


def balls(
    n: int, radius: int, distances: Distances, tilt: float, *, underflow: float = 0.0
) -> tuple[np.ndarray, np.ndarray]:
    r"""Compute ln P[sum of n letter distances <= radius] for every vector of counts.

    Args:
        n: letters in a block.
        radius: K, lattice steps, >= 0.
        distances: of the m classes of letters.
        tilt: sigma >= 0, nats a lattice step; any is correct, the slope of R(D) keeps sums moderate.
        underflow: added to every tilted sum; `UNDERFLOW` makes ln P an upper bound where products
            fell below the smallest float.

    Returns:
        Counts, shape (types, m), and ln P, shape (types,); -inf where it is zero or too small
        for a float even when tilted.

    """
    # Letters farther than the radius never occur in a ball, so that their mass may be left out.
    within = distances.offsets <= radius
    offsets = distances.offsets[within]
    weights = distances.masses[:, within] * np.exp(-tilt * offsets)
    Z = weights.sum(axis=1)
    scaled = weights / np.where(Z > 0, Z, 1.0)[:, None]
    m = len(Z)
    # Table of the last class, for every count c: the sum over k <= K of e^(-sigma (K-k)) f_c(k), K from 0
    # to the radius, by its recursion (scipy.signal has it too, and takes half a second to import).
    discounted = _powers(np.eye(1, radius + 1), offsets, scaled[-1], n)[:, 0]
    factor = math.exp(-tilt)
    for k in range(1, radius + 1):
        discounted[:, k] += factor * discounted[:, k - 1]
    # Reversed: entry k is what the last class may still add when the others have used k steps.
    discounted = discounted[:, ::-1]
    if m == 1:
        counts, sums = np.array([[n]]), discounted[n:, 0]
    else:
        counts, sums = _all_but_last(n, radius, offsets, scaled, discounted)
    log_Z = np.where(Z > 0, np.log(np.where(Z > 0, Z, 1.0)), -1e6)
    with np.errstate(divide="ignore"):
        log_sums = np.log(sums + underflow)
    return counts, np.minimum(log_sums + counts @ log_Z + tilt * radius, 0.0)


def _powers(first: np.ndarray, offsets: np.ndarray, masses: np.ndarray, n: int) -> np.ndarray:
    """Convolve the rows of `first` with 0..n letters of one class, shape (n+1, rows, radius+1)."""
    powers = np.empty((n + 1, *first.shape))
    powers[0] = first
    for c in range(n):
        powers[c + 1] = _convolved(powers[c], offsets, masses)
    return powers


def _convolved(rows: np.ndarray, offsets: np.ndarray, masses: np.ndarray) -> np.ndarray:
    width = rows.shape[-1]
    total = np.zeros_like(rows)
    for offset, mass in zip(offsets, masses, strict=True):
        if mass > 0:
            total[..., offset:] += mass * rows[..., : width - offset]
    return total


def _all_but_last(
    n: int, radius: int, offsets: np.ndarray, masses: np.ndarray, discounted: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Add one class after the other; the last two meet in an inner product.

    Dynamic programming over the classes. Invariant: `counts` lists every vector of counts of the classes so far
    with at most n letters, and a row of `rows` holds the tilted distribution of the distance of these letters.
    """
    m = len(masses)
    counts, rows = np.zeros((1, 0), int), np.eye(1, radius + 1)
    for of_class in masses[: m - 2]:
        new_counts, new_rows = [], []
        left = n - counts.sum(axis=1)
        for c in range(n + 1):
            enough_left = left >= c
            new_counts.append(np.column_stack([counts[enough_left], np.full(enough_left.sum(), c)]))
            new_rows.append(rows[enough_left])
            rows = _convolved(rows, offsets, of_class)
        counts, rows = np.concatenate(new_counts), np.concatenate(new_rows)
    # Sorted by the letters that are left, the rows that can take c more are the first ones.
    left = n - counts.sum(axis=1)
    order = np.argsort(-left, kind="stable")
    counts, rows, left = counts[order], rows[order], left[order]
    found_counts, found = [], []
    for c in range(n + 1):
        fitting = int(np.searchsorted(-left, -c, side="right"))
        counts, rows, left = counts[:fitting], rows[:fitting], left[:fitting]
        # The probability that both parts together stay within the radius: the sum over the steps
        # k of the others.
        found.append(np.einsum("ik,ik->i", rows, discounted[left - c]))
        two = np.column_stack([np.full(fitting, c), left - c])
        found_counts.append(np.concatenate([counts, two], axis=1))
        rows = _convolved(rows, offsets, masses[m - 2])
    return np.concatenate(found_counts), np.concatenate(found)
