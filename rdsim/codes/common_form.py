r"""The codes that are compared, fitted to one sample, and one formula for the channels of all.

Every one of them stores the index

$$u \sim Q(u|y) \propto \exp\Bigl(b_u - s |y-u|^2 + t \sum_j S_{uj}\, \mathrm{sign}\,\langle a_j, y - c
\rangle\Bigr):$$

stochastic quantizers as they are, nearest codewords for s so large that the draw is certain, hashes
for such a t. Padded to one number of codewords they have one shape, and one compiled simulation
serves them all.
"""

import math
from collections.abc import Callable
from typing import Any, Final, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key

from rdsim import validation
from rdsim.codes.distances import MOST_CODEWORDS, squared_error, training_items
from rdsim.codes.item_code import GivenItemCode, item_code, item_points
from rdsim.codes.quantizers.entropy_weighted import (
    EntropyWeightedQuantizer,
    entropy_weighted_quantizer,
)
from rdsim.codes.quantizers.hashing import HyperplaneHash, hyperplane_hashing, signs_of_cells
from rdsim.codes.quantizers.product import ProductQuantizer
from rdsim.codes.quantizers.product_fits import product_quantizer
from rdsim.codes.quantizers.scalar import (
    ScalarQuantizer,
    lloyd_max_quantizer,
    uniform_scalar_quantizer,
)
from rdsim.codes.quantizers.vector import (
    VectorQuantizer,
    entropy_constrained_quantizer,
    vector_quantizer,
)
from rdsim.information import LN2, entropy
from rdsim.number_types import ArrayLike, Integer, PRNGKey
from rdsim.results import result
from rdsim.sources.categorical import draw_categorical
from rdsim.transformations import on_host

Code = TypeVar("Code")

_CERTAIN: Final = 1e10
"""Nats a unit of squared error (or a sign): so many that nothing but the nearest codeword is drawn."""
_SECANT_STEPS: Final = 12
"""Most fits of the search for the slope of a wanted rate."""
_RATE_ERROR: Final = 0.01
"""Bits by which the rate of an entropy-coded code may differ from that wanted."""


@result
class CommonCode:
    """A code for items in R^d in the common form.

    Attributes:
        codewords: u, shape (K, d).
        bias: b in nats, shape (K,); -inf for codewords that are never drawn.
        slope: s, nats per unit of squared error.
        signs: S, shape (K, B); zeros but for a hash.
        planes: normals a, shape (B, d).
        centre: c, shape (d,).

    """

    codewords: Float[Array, "k d"]
    bias: Float[Array, " k"]
    slope: Float[Array, ""]
    signs: Float[Array, "k b"]
    planes: Float[Array, "b d"]
    centre: Float[Array, " d"]

    def channel(self, items: ArrayLike) -> Float[Array, "n k"]:
        """Q(u|y) for items of shape (N, d), shape (N, K), rows summing to one."""
        return _common_channel(self, item_points(items, self.codewords.shape[1]))

    def encode(self, key: Key[Array, ""], items: ArrayLike) -> Int[Array, " n"]:
        """Draw the index of a codeword for each item from Q(.|y), shape (N,)."""
        validation.prng_key("key", key)
        return _common_draw(key, self, item_points(items, self.codewords.shape[1]))


@jax.jit
def _common_channel(code: CommonCode, items: Float[Array, "n d"]) -> Float[Array, "n k"]:
    above = jnp.where((items - code.centre) @ code.planes.T > 0, 1.0, -1.0)
    exponent = code.bias - code.slope * squared_error(items, code.codewords)
    return jax.nn.softmax(exponent + _CERTAIN * above @ code.signs.T, axis=1)


@jax.jit
def _common_draw(
    key: Key[Array, ""], code: CommonCode, items: Float[Array, "n d"]
) -> Int[Array, " n"]:
    uniform = jax.random.uniform(key, (items.shape[0],), float)
    return draw_categorical(_common_channel(code, items), uniform)


@on_host
def common_code(
    code: GivenItemCode, *, codebook_size: Integer | None = None, planes: Integer | None = None
) -> CommonCode:
    """Write a code in the common form, with the same indices.

    Args:
        code: of a kind in `CODES`; a vector quantizer of any offsets.
        codebook_size: number of codewords to pad to; those added are never drawn. None for as many as it has.
        planes: number of planes to pad to; None for as many as it has.

    Returns:
        The same code. An item on the border of two cells may fall on the other side.

    """
    codewords = np.asarray(item_code("code", code).codewords)
    K, d = codewords.shape
    # By default the code chooses the nearest codeword: a slope so steep that the draw is certain.
    bias, slope = np.zeros(K), _CERTAIN
    signs: np.ndarray = np.zeros((K, 0))
    normals, centre = np.zeros((0, d)), np.zeros(d)
    if isinstance(code, EntropyWeightedQuantizer):
        if code.distortions is not squared_error:
            raise TypeError("code must measure squared error to have the common form")
        # The optimal test channel q_u 2^(-s d) itself, in nats.
        bias, slope = np.log(np.asarray(code.output_marginal)), float(code.slope) * LN2
    elif isinstance(code, VectorQuantizer):
        # The offset of a codeword adds to its squared error.
        bias = -_CERTAIN * np.asarray(code.offsets)
    elif isinstance(code, HyperplaneHash):
        normals, centre = np.asarray(code.planes), np.asarray(code.centre)
        slope, signs = 0.0, signs_of_cells(len(normals))  # distances do not matter
    elif not isinstance(code, ScalarQuantizer | ProductQuantizer):
        raise TypeError(f"code must be a code of this catalogue, got {type(code)}")
    more = _padding("codebook_size", codebook_size, K)
    rows = _padding("planes", planes, len(normals))
    return CommonCode(
        codewords=jax.device_put(np.pad(codewords, ((0, more), (0, 0)))),
        bias=jax.device_put(np.pad(bias, (0, more), constant_values=-np.inf)),
        slope=jax.device_put(np.asarray(slope)),
        signs=jax.device_put(np.pad(signs, ((0, more), (0, rows)))),
        planes=jax.device_put(np.pad(normals, ((0, rows), (0, 0)))),
        centre=jax.device_put(centre),
    )


def _padding(name: str, wanted: Integer | None, present: int) -> int:
    """How many are to be added to those present; none where no number is wanted."""
    if wanted is None:
        return 0
    return validation.integer(name, wanted, low=present, high=MOST_CODEWORDS) - present


def _fit_at_rate(
    fit: Callable[[float], Code], measure: Callable[[Code], float], items: Array, bits: int
) -> Code:
    """Search the slope at which a code has the wanted rate, by secants in its logarithm."""
    d = items.shape[1]
    # R(D) of a Gaussian: D = variance 2^(-2R/d), and the slope is -R'(D).
    slope = 0.5 * d / (LN2 * float(jnp.sum(jnp.var(items, axis=0)))) * 2 ** (2 * bits / d)
    # Bits gained by an octave of the slope: first that of a Gaussian, then measured by each pair of fits.
    gain = 0.5 * d
    before: tuple[float, float] | None = None
    best, least = None, math.inf
    for _ in range(_SECANT_STEPS):
        code = fit(slope)
        error = measure(code) - bits
        if abs(error) < least:
            best, least = code, abs(error)
        if least <= _RATE_ERROR:
            break
        if before is not None and before[0] != slope:
            gain = max((error - before[1]) / math.log2(slope / before[0]), 0.1)
        before = (slope, error)
        # A step is at most two octaves.
        slope *= 2 ** float(np.clip(-error / gain, -2.0, 2.0))
    assert best is not None
    return best


def _entropy_weighted(
    key: Array, items: Array, bits: int, initial_codewords: int
) -> EntropyWeightedQuantizer:
    offered = vector_quantizer(key, items, initial_codewords, starts=1).codewords
    return _fit_at_rate(
        lambda slope: entropy_weighted_quantizer(items, offered, slope=slope, tolerance=1e-4),
        lambda code: float(code.rate),
        items,
        bits,
    )


def _entropy_constrained(
    key: Array, items: Array, bits: int, initial_codewords: int
) -> VectorQuantizer:
    return _fit_at_rate(
        lambda slope: entropy_constrained_quantizer(
            key, items, initial_codewords, slope=slope, starts=1
        ),
        lambda code: float(entropy(code.masses)),
        items,
        bits,
    )


def _k_means(key: Array, items: Array, bits: int, _initial: int) -> VectorQuantizer:
    return vector_quantizer(key, items, 2**bits, starts=2)


def _product(key: Array, items: Array, bits: int, _initial: int) -> ProductQuantizer:
    d = items.shape[1]
    return product_quantizer(
        key, items, subspaces=d, codebook_size=round(2 ** (bits / d)), rotate=True, starts=1
    )


CODES: Final[dict[str, Callable[[Array, Array, int, int], Any]]] = {
    "entropy-weighted": _entropy_weighted,
    "entropy-constrained VQ": _entropy_constrained,
    "k-means VQ": _k_means,
    "product quantizer": _product,
    "Lloyd-Max scalar": lambda _key, items, bits, _initial: lloyd_max_quantizer(items, bits),
    "uniform scalar": lambda _key, items, bits, _initial: uniform_scalar_quantizer(items, bits),
    "hyperplane hash": lambda key, items, bits, _initial: hyperplane_hashing(key, items, bits),
}
"""How each code is fitted: (key, items (N, d), bits, initial_codewords) -> the code."""


@on_host
def fit_item_code(
    key: PRNGKey, name: str, items: ArrayLike, bits: Integer, *, initial_codewords: Integer = 128
) -> Any:
    """Fit a code of `CODES` to training items.

    Args:
        key: PRNG key of the starts.
        name: a key of `CODES`.
        items: training items, shape (N, d).
        bits: an item, 1 to 12: I(U;Y) of the entropy-weighted quantizer, H(U) of the
            entropy-constrained one, log2 of the number of codewords of the others; planes of the
            hash.
        initial_codewords: number of codewords that the two entropy-coded quantizers start from; its log2
            exceeds the bits.

    Returns:
        The code.

    """
    validation.choice("name", name, CODES)
    validation.prng_key("key", key)
    number = validation.integer("bits", bits, low=1, high=12)
    points = training_items(items)
    offered = validation.integer("initial_codewords", initial_codewords, low=2)
    return CODES[name](key, points, number, offered)
