"""Pairs that families of learned codes are compared on: synthetic ones, and small sets of real ones."""

import functools
import math
from collections.abc import Callable
from typing import Any, Final, NamedTuple

import jax
import numpy as np

from experiments.shared import pictures, stamps, word_vectors, wordnet
from experiments.shared.ngrams import hashed_ngrams
from rdsim.cli.messages import CommandError
from rdsim.sources import GaussianSource, vector_gaussian
from rdsim.validation import host_generator

SYNTHETIC: Final = ("Gaussian", "bent")
REAL: Final = ("digits", "emoji", "words")
STAMPS: Final = ("stamps, texts", "stamps, pictures")
_COORDINATES: Final = 30
"""Most principal coordinates of real queries and items that are kept."""
_NARROWEST: Final = 0.02
"""Of a principal coordinate, by the widest. Narrower ones are of a pixel that one or two of a thousand digits have: without these
digits, as among the pairs that a family learns from, the coordinate is constant."""
_ALIKE: Final = 448
"""Most real pairs of a database beside synthetic ones. All sets have as many, so that they share what is compiled, which takes
longer than training on so few pairs."""
_PIXELS: Final = 8
"""Side of an emoji, in pixels."""
_NGRAMS: Final = 256
"""Bins of the n-grams of its name."""


class Split(NamedTuple):
    """Pairs to learn from, and a database of others with its queries.

    Attributes:
        training: queries (N, d_x) and items (N, d_y).
        database: queries (M, d_x) and items (M, d_y).

    """

    training: tuple[np.ndarray, np.ndarray]
    database: tuple[np.ndarray, np.ndarray]


def falling_correlations(dimension: int, strongest: float, decay: float) -> GaussianSource:
    r"""Gaussian pairs whose i-th canonical correlation is $\rho_1 i^{-\text{decay}}$."""
    eye = np.eye(dimension)
    correlations = strongest * np.arange(1, dimension + 1) ** -decay
    return vector_gaussian(eye, eye, np.diag(correlations))


def drawn(key: jax.Array, source: GaussianSource, number: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw pairs of `falling_correlations` on the host: JAX would compile a program for each number."""
    generator = host_generator(key)
    correlations = np.diag(source.cross_covariance)
    x, noise = (generator.normal(size=(number, len(correlations))) for _ in range(2))
    return x, correlations * x + np.sqrt(1 - correlations**2) * noise


def bent(items: np.ndarray, strength: float) -> np.ndarray:
    r"""Bend the first half of the coordinates by the squares of the second, to unit variance.

    $$y'_i = \frac{y_i + s\,(y_{i+d/2}^2 - 1)}{\sqrt{1 + 2 s^2}}, \quad i \le d/2.$$

    This can be undone: whoever stores bent items may as well store the items, so that no limit changes. But a
    linear map of a bent item tells of $y_i$ no more than through the noise of the square.
    """
    first, second = np.split(items, 2, axis=1)
    return np.concatenate(
        [(first + strength * (second**2 - 1)) / math.sqrt(1 + 2 * strength**2), second], axis=1
    )


def synthetic(
    key: jax.Array, source: GaussianSource, training: int, size: int, bend: float
) -> Split:
    """Draw Gaussian pairs, and bend their items; by 0 for Gaussian ones."""
    x, y = drawn(key, source, training + size)
    y = bent(y, bend) if bend else y
    return Split((x[size:], y[size:]), (x[:size], y[:size]))


def real(key: jax.Array, name: str, most: int, third: int = 0) -> Split:
    """Read pairs, keep at most so many of each third, and take their principal coordinates.

    Two thirds are learned from, the others are the database. Directions and units are those of the first.

    Args:
        key: of the order of the pairs.
        name: of the pairs.
        most: pairs of a third.
        third: which one is the database, 0 to 2.

    Raises:
        MissingDataError, CommandError: if the data are not on this machine.

    """
    queries, items = _READERS[name]()
    order = np.random.default_rng(np.asarray(jax.random.key_data(key))).permutation(len(items))
    size = min(len(items) // 3, most)
    chosen = np.roll(order[: 3 * size], -third * size)
    x, y = (_principal(side[chosen], size) for side in (queries, items))
    return Split((x[size:], y[size:]), (x[:size], y[:size]))


def _principal(points: np.ndarray, size: int) -> np.ndarray:
    """Principal coordinates, each to unit variance, of the points beyond the first so many."""
    known = points[size:].astype(float)
    mean = known.mean(axis=0)
    _, spread, directions = np.linalg.svd(known - mean, full_matrices=False)
    kept = (spread > _NARROWEST * spread[0])[:_COORDINATES]
    scale = (
        directions[:_COORDINATES][kept]
        / (spread[:_COORDINATES][kept] / math.sqrt(len(known)))[:, None]
    )
    return (points - mean) @ scale.T


# Each third asks for the same pairs: they are read and embedded once in a process.
@functools.cache
def _emoji() -> tuple[np.ndarray, np.ndarray]:
    shown, names = pictures.emoji(pictures.find_font(), _PIXELS)
    return hashed_ngrams(names, _NGRAMS), shown.reshape(len(shown), -1) / 255


@functools.cache
def _words() -> tuple[np.ndarray, np.ndarray]:
    synonyms, definitions = wordnet.pairs()
    vectors = word_vectors.load()
    kept = slice(None, None, 10)
    return vectors.embed(synonyms[kept]), vectors.embed(definitions[kept])


@functools.cache
def _stamp_texts() -> tuple[np.ndarray, np.ndarray]:
    found = stamps.stamps(("es",))
    vectors = word_vectors.load()
    spanish, english = ([stamp.texts[name] for stamp in found] for name in ("es", stamps.ENGLISH))
    return vectors.embed(spanish), vectors.embed(english)


@functools.cache
def _stamp_pictures() -> tuple[np.ndarray, np.ndarray]:
    found = stamps.stamps(("es",))
    shown = stamps.pixels([stamp.picture for stamp in found], 4 * _PIXELS)
    coarse = shown.reshape(-1, _PIXELS, 4, _PIXELS, 4, 3).mean(axis=(2, 4)) / 255
    colours = stamps.colour_histograms(shown, 4)
    texts = word_vectors.load().embed([stamp.texts[stamps.ENGLISH] for stamp in found])
    return np.hstack([colours, coarse.reshape(len(found), -1)]), texts


_READERS: Final[dict[str, Callable[[], tuple[np.ndarray, np.ndarray]]]] = {
    "digits": pictures.digit_halves,
    "emoji": _emoji,
    "words": _words,
    **dict(zip(STAMPS, (_stamp_texts, _stamp_pictures), strict=True)),
}


def missing(name: str) -> str:
    """Say what the pairs of a name need that is not on this machine; empty if nothing."""
    try:
        if name == "emoji":
            pictures.find_font()
        if name == "words" or name in STAMPS:
            _READERS[name]()
    except (CommandError, word_vectors.MissingDataError) as error:
        return str(error)
    return ""


def known_pairs(key: jax.Array, name: str, config: Any, source: GaussianSource) -> Split:
    """Return the pairs of a name, drawn or read."""
    size = 2**config.log2_size
    if name in REAL:
        return real(key, name, min(size, _ALIKE))
    return synthetic(key, source, config.training, size, config.bend if name == "bent" else 0.0)
