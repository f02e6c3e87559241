"""The result of every finite-block-length limit, and what all of them check and share."""

from typing import Any, Final

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from rdsim import validation
from rdsim.limits.finite_blocklength.second_order import SecondOrder, excess_probabilities
from rdsim.number_types import ArrayLike
from rdsim.results import result

WHOLE: Final = 1e-9
"""An n D this near above or below an integer of lattice steps is taken for that number."""
_EXACT_BITS: Final = 50.0  # up to 2^50 codewords are counted one by one


@result
class FiniteBlocklength:
    r"""Bounds on R(n, D, eps), the least rate of a code of n letters, in bits a letter.

    Rates are $(\log_2 M)/n$ of the *real* M >= 1 that meets a bound with equality, as they are
    drawn in the literature; M is an integer in `whole_converse` and `whole_achievability`.
    An infinite converse says that no code of any size keeps the excess probability; an infinite
    achievability with a finite converse only says that this random code does not.

    Attributes:
        block_length: n, shape (...).
        excess_probability: eps, shape (...).
        converse: no code has a smaller rate, shape (...).
        achievability: a code of this rate exists, shape (...); inf where not `feasible`.
        approximation: second-order approximation, shape (...); no bound.
        second_order: R(D), V(D) and the approximation at any n.

    """

    block_length: Int[Array, "..."]
    excess_probability: Float[Array, "..."]
    converse: Float[Array, "..."]
    achievability: Float[Array, "..."]
    approximation: Float[Array, "..."]
    second_order: SecondOrder

    @property
    def rate_distortion(self) -> Float[Array, ""]:
        """R(D), bits a letter."""
        return self.second_order.rate_distortion

    @property
    def dispersion(self) -> Float[Array, ""]:
        """V(D), bits squared a letter."""
        return self.second_order.dispersion

    @property
    def feasible(self) -> Bool[Array, "..."]:
        """Whether the random code reaches the excess probability with any number of words."""
        return jnp.isfinite(self.achievability)

    @property
    def gap(self) -> Float[Array, "..."]:
        """Achievability minus converse, bits a letter; inf where not feasible."""
        return jnp.where(self.feasible, self.achievability - self.converse, jnp.inf)

    @property
    def whole_converse(self) -> Float[Array, "..."]:
        r"""$(\log_2 \lceil M \rceil)/n$ of the converse: a code has an integer of words."""
        return _whole(self.block_length, self.converse)

    @property
    def whole_achievability(self) -> Float[Array, "..."]:
        r"""$(\log_2 \lceil M \rceil)/n$ of the achievability: a code of that many words exists."""
        return _whole(self.block_length, self.achievability)


def finite_blocklength(
    second_order: SecondOrder,
    block_length: Int[Array, "*grid"],
    excess_probability: Float[Array, "*grid"],
    log2_converse: ArrayLike,
    log2_achievability: ArrayLike,
) -> FiniteBlocklength:
    """Make the result from log2 M of both bounds, flat or of the grid's shape."""
    converse, achievability = (
        jnp.reshape(jnp.asarray(bits), block_length.shape) / block_length
        for bits in (log2_converse, log2_achievability)
    )
    return FiniteBlocklength(
        block_length=block_length,
        excess_probability=excess_probability,
        converse=converse,
        achievability=achievability,
        approximation=second_order.rate(block_length, excess_probability),
        second_order=second_order,
    )


def grid(
    block_lengths: ArrayLike, excess_probability: ArrayLike, *, low: int, high: int
) -> tuple[Int[Array, "*grid"], Float[Array, "*grid"]]:
    """Check block lengths and excess probabilities and broadcast them to one shape."""
    n = validation.interval("block_lengths", block_lengths, low=float(low), high=float(high))
    whole = np.asarray(n)
    if (whole != np.round(whole)).any():
        raise ValueError(f"block_lengths must be whole numbers, got {whole!r}")
    if whole.size == 0:
        raise ValueError("block_lengths must hold at least one, got none")
    eps = excess_probabilities(excess_probability)
    lengths, eps = jnp.broadcast_arrays(n.astype(int), eps)
    return lengths, eps


def steps_within(n: ArrayLike, distortion: float, step: float = 1.0) -> Any:
    """Number of whole lattice steps in n D."""
    return np.floor(np.asarray(n) * (distortion / step) + WHOLE).astype(int)


def bucket(size: int) -> int:
    """Round a table's length up to one of few, by 32 or a quarter, so that few compile."""
    quarter = max(1 << max(size.bit_length() - 3, 0), 32)
    return -(-size // quarter) * quarter


def _whole(n: Int[Array, "..."], rate: Float[Array, "..."]) -> Float[Array, "..."]:
    bits = n * rate
    words = jnp.exp2(jnp.minimum(bits, _EXACT_BITS))
    # A whole M comes out of the solver within 1e-12 of itself.
    exact = jnp.log2(jnp.ceil(words * (1 - 1e-11)))
    return jnp.where(bits < _EXACT_BITS, exact, bits) / n
