"""Random sources of eight letters with a slope, all of one shape, which several studies share."""

import numpy as np
from numpy.typing import ArrayLike

Source = tuple[np.ndarray, np.ndarray, float]
"""Masses p, distortions d(y,u) and a slope in bits."""

LETTERS = 8


def padded(p: ArrayLike, d: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """The same source with letters without mass and reproductions no code uses: one shape for all."""
    p, d = np.asarray(p, float), np.asarray(d, float)
    wider = np.full((LETTERS, LETTERS), 1e6)
    wider[: d.shape[0], : d.shape[1]] = d
    return np.pad(p, (0, LETTERS - p.size)), wider


def random_source(seed: int) -> Source:
    """Dirichlet(2) masses, uniform distortions, and a slope between 5 and 25 bits."""
    generator = np.random.default_rng(seed)
    p, d = generator.dirichlet(2 * np.ones(LETTERS)), generator.uniform(size=(LETTERS, LETTERS))
    return p, d, float(generator.uniform(5.0, 25.0))
