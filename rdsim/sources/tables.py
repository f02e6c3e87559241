"""Discrete joint sources: any table P(X,Y), and the standard pairs of binary and M-ary letters."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from rdsim import information, validation
from rdsim.number_types import ArrayLike, Integer
from rdsim.results import result
from rdsim.sources.categorical import cumulative_weights, invert


@result
class DiscreteSource:
    """A joint distribution of X in {0..|X|-1} (query) and Y in {0..|Y|-1} (database item).

    A PyTree with the table as its only leaf, so sources pass through jit and stack under vmap.

    Attributes:
        joint: P(X,Y), shape (|X|, |Y|), rows x and columns y, summing to one.

    """

    joint: Float[Array, "x y"]

    @property
    def px(self) -> Float[Array, " x"]:
        """Marginal of the query letter, shape (|X|,)."""
        return self.joint.sum(axis=-1)

    @property
    def py(self) -> Float[Array, " y"]:
        """Marginal of the database letter, shape (|Y|,)."""
        return self.joint.sum(axis=-2)

    @property
    @validation.needs_float64
    def entropy_x(self) -> Float[Array, ""]:
        """H(X) of the query letter in bits."""
        return _marginal_entropy(self.joint, axis=-1)

    @property
    @validation.needs_float64
    def entropy_y(self) -> Float[Array, ""]:
        """H(Y) of the database letter in bits."""
        return _marginal_entropy(self.joint, axis=-2)

    @property
    @validation.needs_float64
    def mutual_information(self) -> Float[Array, ""]:
        """I(X;Y) in bits, exact up to the rounding of the sum (1e-15 of it or so, either sign)."""
        return _mutual_information(self.joint)

    def sample(
        self, key: Key[Array, ""], shape: tuple[int, ...] = ()
    ) -> tuple[Int[Array, "..."], Int[Array, "..."]]:
        """Independent pairs of letters x and y, two int32 arrays of the given shape."""
        validation.prng_key("key", key)
        cell = draw_letters(key, self.joint.ravel(), tuple(shape))
        return cell // self.joint.shape[1], cell % self.joint.shape[1]


_mutual_information = jax.jit(information.mutual_information)


@jax.jit(static_argnames="axis")
def _marginal_entropy(joint: Float[Array, "x y"], axis: int) -> Float[Array, ""]:
    return information.entropy(joint.sum(axis=axis))


@jax.jit(static_argnames="shape")
def draw_letters(
    key: Key[Array, ""], pmf: Float[Array, " y"], shape: tuple[int, ...]
) -> Int[Array, "..."]:
    """Draw letters of a pmf by inverting its cumulative sum; none of probability zero.

    The number inverted is a multiple of 2^-52, so that is what a probability is resolved to.
    """
    cumulative, last = cumulative_weights(pmf)
    point = jax.random.uniform(key, shape, pmf.dtype) * cumulative[-1]
    letter = jnp.searchsorted(cumulative, point, side="right")
    # Rounding can put the point on the very end of the table: then take the last letter of positive
    # probability.
    return jnp.minimum(letter, last).astype(jnp.int32)


@jax.jit
def draw_outputs(
    key: Key[Array, ""], channel: Float[Array, "y x"], inputs: Int[Array, "..."]
) -> Int[Array, "..."]:
    """One output of the channel P(x|y) for every input y; an output without mass is never drawn."""
    cumulative, last = cumulative_weights(channel)
    uniform = jax.random.uniform(key, inputs.shape, channel.dtype)
    return invert(cumulative[inputs], last[inputs], uniform)


def discrete(joint: ArrayLike) -> DiscreteSource:
    r"""A source from its table $P(x,y)$.

    Args:
        joint: shape (|X|, |Y|), rows x (query), columns y (database); non-negative, sum one.

    Returns:
        The source. The table is rescaled so that it sums to one to the last digit.

    """
    return DiscreteSource(joint=validation.pmf("joint", joint, ndim=2))


def dsbs(crossover: ArrayLike) -> DiscreteSource:
    r"""The doubly symmetric binary source: Y equiprobable, X = Y flipped with probability p.

    $$P(x,y) = \tfrac12 (1-p) \text{ if } x = y, \quad \tfrac12 p \text{ if } x \ne y.$$

    Args:
        crossover: p in [0, 1], a scalar.

    Returns:
        The source, |X| = |Y| = 2.

    """
    p = validation.interval("crossover", crossover, low=0.0, high=1.0, ndim=0)
    return DiscreteSource(joint=0.5 * jnp.stack([jnp.stack([1 - p, p]), jnp.stack([p, 1 - p])]))


def symmetric(letters: Integer, crossover: ArrayLike) -> DiscreteSource:
    r"""The M-ary symmetric source: Y uniform on M letters, X another letter with probability p.

    $$P(x,y) = \tfrac{1-p}{M} \text{ if } x = y, \quad \tfrac{p}{M(M-1)} \text{ if } x \ne y.$$

    Its mutual information is $\log_2 M - h(p) - p \log_2 (M-1)$; M = 2 is the DSBS.

    Args:
        letters: M >= 2, an integer.
        crossover: p in [0, 1], a scalar.

    Returns:
        The source, |X| = |Y| = M.

    """
    size = validation.integer("letters", letters, low=2)
    p = validation.interval("crossover", crossover, low=0.0, high=1.0, ndim=0)
    joint = jnp.where(jnp.eye(size, dtype=bool), (1 - p) / size, p / (size * (size - 1)))
    return DiscreteSource(joint=joint)


def binary_erasure_pair(erasure: ArrayLike) -> DiscreteSource:
    r"""The binary erasure pair: Y equiprobable, X = Y, or 2 (erased) with probability e.

    Its mutual information is $1 - e$ bits.

    Args:
        erasure: e in [0, 1], a scalar.

    Returns:
        The source, |X| = 3 and |Y| = 2.

    """
    e = validation.interval("erasure", erasure, low=0.0, high=1.0, ndim=0)
    seen = 0.5 * (1 - e) * jnp.eye(2)
    return DiscreteSource(joint=jnp.concatenate([seen, jnp.full((1, 2), 0.5 * e)]))
