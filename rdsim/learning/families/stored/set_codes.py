r"""Items that are sets of regions, stored as the digits of all regions in no order.

Regions share one list of codewords as long as the sets of so many of them fit into the bits; beyond, each region has a
product quantizer of its share of the bits.
"""

import dataclasses
import math
from typing import Final

import jax
import numpy as np
from jaxtyping import Array, Float, Int, Key

from rdsim.codes.quantizers.product import ProductQuantizer
from rdsim.codes.quantizers.product_fits import (
    long_blocks,
    long_product_quantizer,
    product_quantizer,
)
from rdsim.learning.families.stored.long_codes import ProductDigits

_MOST_CODEWORDS: Final = 256
"""Most codewords that regions share."""
_FITTED_REGIONS: Final = 4
"""Fewest regions of the training items for each shared codeword, on average."""


@dataclasses.dataclass(frozen=True)
class SetDigits:
    """Digits of all regions of an item, sorted: their order is not stored.

    Attributes:
        code: quantizer of one region, shared by all.
        regions: R.

    """

    code: ProductQuantizer
    regions: int

    def digits(self, embeddings: Float[np.ndarray, "n e"]) -> Int[np.ndarray, "n s"]:
        """Nearest codeword of each region, in rising order of their digits."""
        rows = ProductDigits(self.code).digits(
            embeddings.reshape(len(embeddings) * self.regions, -1)
        )
        sets = np.asarray(rows).reshape(len(embeddings), self.regions, -1)
        # lexsort takes its last key first.
        order = np.lexsort(np.moveaxis(sets[..., ::-1], -1, 0), axis=-1)
        return np.take_along_axis(sets, order[..., None], axis=1).reshape(len(embeddings), -1)

    def points(self, digits: Int[np.ndarray, "m s"]) -> Float[np.ndarray, "m e"]:
        """Codewords of the regions, one after the other."""
        rows = digits.reshape(len(digits) * self.regions, -1)
        return ProductDigits(self.code).points(rows).reshape(len(digits), -1)


def shared_codewords(regions: int, bits: int) -> int:
    r"""Most codewords W that R regions may share if their set is to fit in B bits.

    Sets of R codewords in no order, with repetitions, are $\binom{W + R - 1}{R} \le 2^B$.

    Raises:
        ValueError: if not even two codewords fit.

    """
    codewords = 1
    while codewords <= _MOST_CODEWORDS and math.comb(codewords + regions, regions) <= 2**bits:
        codewords += 1
    if codewords < 2:
        raise ValueError(f"bits must leave {regions} regions two codewords each, got {bits}")
    return codewords


def set_quantizer(
    key: Key[Array, ""], embeddings: Float[np.ndarray, "n e"], regions: int, bits: int
) -> SetDigits:
    """Fit a quantizer of sets of regions that are stored in at most so many bits.

    Args:
        key: PRNG key of the starts.
        embeddings: region vectors of items, one after the other, shape (N, R e).
        regions: R.
        bits: of an item.

    """
    points = np.asarray(embeddings, float).reshape(len(embeddings) * regions, -1)
    codewords = listed_codewords(points, regions, bits)
    if codewords is not None:
        code = product_quantizer(key, points, subspaces=1, codebook_size=codewords, starts=2)
    else:
        code = long_product_quantizer(key, points, bits // regions)
    return SetDigits(code, regions)


def listed_codewords(
    points: jax.ShapeDtypeStruct | np.ndarray, regions: int, bits: int
) -> int | None:
    """Number of codewords that regions share; None where each has a product quantizer of its share of the bits.

    Args:
        points: regions of the training items, of which the shape (N R, e) is all that counts.
        regions: R.
        bits: of an item.

    Raises:
        ValueError: if items cannot be stored in so many bits.

    """
    codewords = shared_codewords(regions, bits)
    if codewords <= min(_MOST_CODEWORDS, points.shape[0] // _FITTED_REGIONS):
        return codewords
    try:
        long_blocks(bits // regions, *points.shape)
    except ValueError as error:
        raise ValueError(
            f"bits must leave each of {regions} regions what a product quantizer holds, got {bits}: {error}"
        ) from error
    return None
