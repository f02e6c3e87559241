"""The distribution of the target: which of the M database items a query is about."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from rdsim import information, validation
from rdsim.number_types import ArrayLike
from rdsim.results import result
from rdsim.sources.tables import draw_letters


@result
class TargetPrior:
    """A distribution of the target J on {0..M-1}.

    Attributes:
        p: P(J = j), shape (M,), summing to one.

    """

    p: Float[Array, " m"]

    @property
    @validation.needs_float64
    def entropy(self) -> Float[Array, ""]:
        """H(J) in bits."""
        return _entropy(self.p)

    def sample(self, key: Key[Array, ""], shape: tuple[int, ...] = ()) -> Int[Array, "..."]:
        """Independent targets, int32 of the given shape; probabilities are resolved to 2^-52."""
        validation.prng_key("key", key)
        return draw_letters(key, self.p, tuple(shape))


_entropy = jax.jit(information.entropy)


def target_prior(p: ArrayLike) -> TargetPrior:
    """The distribution of the target from its table.

    Args:
        p: P(J = j), shape (M,), non-negative, summing to one.

    Returns:
        The prior. The table is rescaled so that it sums to one to the last digit.

    """
    return TargetPrior(p=validation.pmf("p", p))


def zipf_prior(items: ArrayLike, *, exponent: ArrayLike) -> TargetPrior:
    r"""Zipf's law: the j-th most wanted item has probability proportional to $j^{-a}$.

    $$p_j = \frac{(j+1)^{-a}}{\sum_{i=1}^{M} i^{-a}}, \quad j = 0..M-1.$$

    Args:
        items: M >= 1, an integer; a million takes milliseconds.
        exponent: a >= 0, finite, a scalar; 0 is the uniform distribution.

    Returns:
        The prior. Where $(j+1)^{-a}$ underflows the probability is zero.

    Reference:
        Zipf (1949), "Human behavior and the principle of least effort".

    """
    size = validation.integer("items", items, low=1)
    power = validation.non_negative("exponent", exponent, ndim=0)
    return TargetPrior(p=_zipf(power, size))


@jax.jit(static_argnames="items")
def _zipf(exponent: Float[Array, ""], items: int) -> Float[Array, " m"]:
    weight = jnp.exp(-exponent * jnp.log(jnp.arange(1, items + 1)))
    return weight / weight.sum()
