"""Types of sequences of n letters, the counts of each letter: all of them, their indices and probabilities."""

import math

import numpy as np
import scipy


def composition_count(n: int, parts: int) -> int:
    """Count the ways to write n as a sum of so many counts."""
    return math.comb(n + parts - 1, parts - 1)


def compositions(n: int, parts: int) -> np.ndarray:
    """List all ways to write n as a sum of so many counts, in lexicographic order, shape (C, parts)."""
    counts = np.zeros((1, 0), np.int32)
    left = np.array([n], np.int32)
    for _ in range(parts - 1):
        options = left + 1
        parent = np.repeat(np.arange(left.size), options)
        first = np.repeat(np.cumsum(options) - options, options)
        value = (np.arange(parent.size) - first).astype(np.int32)
        counts = np.concatenate([counts[parent], value[:, None]], axis=1)
        left = left[parent] - value
    return np.concatenate([counts, left[:, None]], axis=1)


def index_table(n: int, parts: int) -> np.ndarray:
    """Count the compositions of 0..n into 1..parts counts: what `index_of` adds up, shape (n+2, parts).

    Entry (m, j) is C(m+j-1, j), the number of compositions of all totals below m into j counts.
    """
    return np.array(
        [[math.comb(m + j - 1, j) if m else 0 for j in range(parts)] for m in range(n + 2)]
    )


def index_of(counts: np.ndarray, n: int) -> np.ndarray:
    """Index of each composition (last axis) in the list of `compositions`.

    Ahead of it are, for each count, those that agree before it and have less there; with r letters
    left and j counts to come their number is C(r+j, j) - C(r-c+j, j).
    """
    parts = counts.shape[-1]
    table = index_table(n, parts)
    index = np.zeros(counts.shape[:-1], np.int64)
    left = np.full(counts.shape[:-1], n)
    for i in range(parts - 1):
        to_come = parts - 1 - i
        after = left - counts[..., i]
        index += table[left + 1, to_come] - table[after + 1, to_come]
        left = after
    return index


def log_multinomial(counts: np.ndarray) -> np.ndarray:
    """Natural log of the number of sequences of each composition (last axis)."""
    total = scipy.special.gammaln(counts.sum(axis=-1) + 1.0)
    return total - scipy.special.gammaln(counts + 1.0).sum(axis=-1)


def log_probability(counts: np.ndarray, p: np.ndarray) -> np.ndarray:
    """Natural log of the multinomial probability of each composition (last axis) of i.i.d. letters."""
    return log_multinomial(counts) + scipy.special.xlogy(counts, p).sum(axis=-1)


def through_channel(channel: np.ndarray, n: int) -> list[np.ndarray]:
    """Probabilities from compositions of inputs to those of outputs, for 0..n letters.

    Entry m has shape (C_in, C_out); one letter more is one more convolution, of positive terms.
    """
    inputs, outputs = channel.shape
    matrices = [np.ones((1, 1))]
    for m in range(1, n + 1):
        given, made = compositions(m, inputs), compositions(m, outputs)
        # Take one letter away from each input composition, the first it has, and condition on the
        # output of that letter.
        letter = np.argmax(given > 0, axis=1)
        fewer = given - np.eye(inputs, dtype=given.dtype)[letter]
        before = matrices[-1][index_of(fewer, m - 1)]
        total = np.zeros((len(given), len(made)))
        for output in range(outputs):
            possible = made[:, output] > 0
            less = made[possible] - np.eye(outputs, dtype=made.dtype)[output]
            total[:, possible] += (
                channel[letter, output][:, None] * before[:, index_of(less, m - 1)]
            )
        matrices.append(total)
    return matrices
