"""The result of every finite-block-length limit, and what all of them check and share."""

from typing import Final

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from rdsim import validation
from rdsim.limits.finite_blocklength.second_order import SecondOrder, excess_probabilities
from rdsim.number_types import ArrayLike
from rdsim.results import result

MAX_BLOCK_LENGTH: Final = 5000
"""Longest blocks of exact bounds, which are sums over the letters of a block."""
ROUNDING: Final = 1e-9
"""Distance from an integer number of lattice steps within which n D is taken for that number."""
_EXACT_BITS: Final = 50.0
"""log2 M up to which the number of codewords is rounded to an integer; float64 holds it exactly."""


@result
class FiniteBlocklength:
    r"""Bounds on R(n, D, eps), the least rate of a code of n letters, in bits per letter.

    Rates are $(\log_2 M)/n$ of the *real* M >= 1 that meets a bound with equality, as they are
    drawn in the literature; M is an integer in `integer_lower` and `integer_upper`.
    An infinite lower bound says that no code of any size keeps the excess probability; an infinite
    upper bound with a finite lower one only says that this random code does not.

    Attributes:
        block_length: n, shape (...).
        excess_probability: eps, shape (...).
        lower: the converse, no code has a smaller rate, shape (...).
        upper: what is achieved, a code of this rate exists, shape (...); inf where not `feasible`.
        approximation: second-order approximation, shape (...); no bound.
        second_order: R(D), V(D) and the approximation at any n.

    """

    block_length: Int[Array, "..."]
    excess_probability: Float[Array, "..."]
    lower: Float[Array, "..."]
    upper: Float[Array, "..."]
    approximation: Float[Array, "..."]
    second_order: SecondOrder

    @property
    def rate_distortion(self) -> Float[Array, ""]:
        """R(D), bits per letter."""
        return self.second_order.rate_distortion

    @property
    def dispersion(self) -> Float[Array, ""]:
        """V(D), bits squared a letter."""
        return self.second_order.dispersion

    @property
    def feasible(self) -> Bool[Array, "..."]:
        """Whether the random code reaches the excess probability with any number of codewords."""
        return jnp.isfinite(self.upper)

    @property
    def gap(self) -> Float[Array, "..."]:
        """Upper minus lower bound, bits per letter; inf where not feasible."""
        return jnp.where(self.feasible, self.upper - self.lower, jnp.inf)

    @property
    def integer_lower(self) -> Float[Array, "..."]:
        r"""$(\log_2 \lceil M \rceil)/n$ of the lower bound: the number of codewords is an integer."""
        return _integer_rate(self.block_length, self.lower)

    @property
    def integer_upper(self) -> Float[Array, "..."]:
        r"""$(\log_2 \lceil M \rceil)/n$ of the upper bound: a code of that many codewords exists."""
        return _integer_rate(self.block_length, self.upper)


def finite_blocklength(
    second_order: SecondOrder,
    block_length: Int[Array, "*grid"],
    excess_probability: Float[Array, "*grid"],
    *,
    log2_lower: ArrayLike,
    log2_upper: ArrayLike,
) -> FiniteBlocklength:
    """Make the result from log2 M of both bounds, flat or of the grid's shape."""
    shape = block_length.shape
    log2_lower, log2_upper = jnp.asarray(log2_lower), jnp.asarray(log2_upper)
    # Where both are the same number, as of all blocks, each has roundings of its own; more would be a contradiction.
    rounded = (log2_lower > log2_upper) & (log2_lower <= log2_upper * (1 + ROUNDING))
    log2_lower = jnp.where(rounded, log2_upper, log2_lower)
    return FiniteBlocklength(
        block_length=block_length,
        excess_probability=excess_probability,
        lower=jnp.reshape(log2_lower, shape) / block_length,
        upper=jnp.reshape(log2_upper, shape) / block_length,
        approximation=second_order.rate(block_length, excess_probability),
        second_order=second_order,
    )


def grid(
    block_lengths: ArrayLike, excess_probability: ArrayLike
) -> tuple[Int[Array, "*grid"], Float[Array, "*grid"]]:
    """Check block lengths and excess probabilities and broadcast them to one shape."""
    n = validation.counts("block_lengths", block_lengths, low=1, high=MAX_BLOCK_LENGTH)
    lengths = jnp.asarray(validation.not_empty("block_lengths", n).astype(int))
    lengths, eps = jnp.broadcast_arrays(lengths, excess_probabilities(excess_probability))
    return lengths, eps


def steps_within(n: ArrayLike, distortion: float, step: float = 1.0) -> np.ndarray:
    """Largest integer number of lattice steps in n D."""
    return np.asarray(np.floor(np.asarray(n) * (distortion / step) + ROUNDING).astype(int))


def padded_size(size: int) -> int:
    """Round a table's length up to a multiple of 32 or of a quarter of it, so that few shapes compile."""
    quarter = max(1 << max(size.bit_length() - 3, 0), 32)
    return -(-size // quarter) * quarter


def _integer_rate(n: Int[Array, "..."], rate: Float[Array, "..."]) -> Float[Array, "..."]:
    """The rate of the least integer number of codewords that is not below 2^(n rate)."""
    bits = n * rate
    codewords = jnp.exp2(jnp.minimum(bits, _EXACT_BITS))
    # The solver returns an integer M within a relative 1e-12 of itself.
    exact = jnp.log2(jnp.ceil(codewords * (1 - 1e-11)))
    return jnp.where(bits < _EXACT_BITS, exact, bits) / n
