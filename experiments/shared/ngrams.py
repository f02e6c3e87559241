"""Texts of any language as hashed character n-grams: no vocabulary, nothing is fitted."""

import math
import zlib
from collections.abc import Iterable

import numpy as np


def hashed_ngrams(names: Iterable[str], features: int) -> np.ndarray:
    """Count the words and the 3- and 4-grams of names in hashed bins, float32, unit length.

    Bins are those of CRC-32, the same on every machine.
    """
    rows = []
    for name in names:
        row = np.zeros(features, np.float32)
        for word in name.lower().replace("-", " ").split():
            padded = f"<{word}>"
            grams = [
                padded,
                *(padded[i : i + n] for n in (3, 4) for i in range(len(padded) - n + 1)),
            ]
            for gram in grams:
                row[zlib.crc32(gram.encode()) % features] += 1 / math.sqrt(len(grams))
        rows.append(row / np.linalg.norm(row))
    return np.stack(rows)
