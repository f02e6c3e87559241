r"""Kernel canonical correlation analysis: linear analysis of kernel features of both sides.

With landmarks $l_1..l_m$ of the training points and the Gaussian kernel $k(a, b) = e^{-|a-b|^2 / 2w^2}$, the features

$$\phi(a) = K_{mm}^{-1/2} \, (k(a, l_1), \dots, k(a, l_m)), \quad
  \langle \phi(a), \phi(b) \rangle \approx k(a, b),$$

exact at the landmarks (Nystrom), are analysed as in `cca`. w is the median distance between landmarks.
"""

from typing import Any, Final

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from rdsim.learning.families.cca import as_they_are, canonical_maps, side_by_side
from rdsim.learning.families.pairs import ItemPairs, System
from rdsim.learning.families.stored.embedded_codes import Chain
from rdsim.learning.families.stored_embeddings import quantized_systems
from rdsim.learning.training.schedule import Schedule
from rdsim.number_types import ArrayLike
from rdsim.validation import host_generator

_LANDMARKS: Final = 128
_RIDGE: Final = 1e-3
"""Ridge added to the covariances of the features, whose trace is at most one."""
_FLAT: Final = 1e-6
"""Eigenvalues of the landmarks' kernel below so much of the largest are left out."""


def landmark_features(
    key: Key[Array, ""], points: ArrayLike
) -> tuple[Float[Array, "m d"], Float[Array, "m f"], Float[Array, ""]]:
    """Choose landmarks among points (N, d), and compute the map of the kernel to features.

    Returns:
        Landmarks (m, d), the root $K_{mm}^{-1/2}$ (m, f), without directions that are flat, and the width w of the kernel.

    References:
        Williams and Seeger (2001), "Using the Nystrom method to speed up kernel machines", NIPS.

    """
    generator = host_generator(key)
    given = np.asarray(points, float)
    chosen = given[generator.permutation(len(given))[:_LANDMARKS]]
    square = ((chosen[:, None] - chosen) ** 2).sum(axis=-1)
    apart = square[square > 0]
    width = float(np.sqrt(np.median(apart))) if apart.size else 1.0
    values, vectors = np.linalg.eigh(np.exp(-square / (2 * width**2)))
    kept = values > _FLAT * values[-1]
    root = vectors[:, kept] / np.sqrt(values[kept])
    return jnp.asarray(chosen), jnp.asarray(root), jnp.asarray(width)


def kernel_features(parameters: Any, points: Array) -> Float[Array, "... f"]:
    """Features of points (..., d)."""
    landmarks, root, width = parameters
    # |a|^2 + |l|^2 - 2 <a, l>, a product of matrices: the kernel is flat where rounding is large beside the distance.
    square = jnp.sum(points**2, axis=-1)[..., None] + jnp.sum(landmarks**2, axis=-1)
    square = jnp.maximum(square - 2 * points @ landmarks.T, 0.0)
    return jnp.exp(-square / (2 * width**2)) @ root


def kernel_cca_family(
    keys: Key[Array, " 3"], data: ItemPairs, bits: tuple[int, ...], schedule: Schedule
) -> list[System]:
    """Analyse kernel features of queries and items; nothing is trained, so no schedule is used.

    References:
        Hardoon, Szedmak and Shawe-Taylor (2004), Neural Computation 16(12); Lopez-Paz, Sra, Smola,
        Ghahramani and Schoelkopf (2014), ICML, for features in the place of kernels.

    """
    del schedule
    queries, items = data.sample[:2]
    of_items = landmark_features(keys[0], items)
    of_queries = landmark_features(keys[1], side_by_side(None, queries))
    maps = canonical_maps(
        (Chain(as_they_are, kernel_features), (None, of_items)),
        (Chain(side_by_side, kernel_features), (None, of_queries)),
        (queries, items),
        regularisation=_RIDGE,
        dimension=2 * min(data.item_size, data.query_size),  # twice those of a linear analysis
    )
    return quantized_systems(keys[2], *maps, items, bits, comparison="distance")
