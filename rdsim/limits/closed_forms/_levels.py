"""What the closed forms share: both ends of a curve, and exact levels of water-filling.

With the k largest values cut to one level theta, D is a line in theta: k theta plus the other values. D(theta) is the
least of these lines over k, so that theta is the largest of their inverses: no search, and all digits.
"""

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from rdsim import validation
from rdsim.number_types import ArrayLike
from rdsim.transformations import falling, with_derivatives_of


def checked_distortion(distortion: ArrayLike) -> Float[Array, "..."]:
    """Return the distortions, checked."""
    return validation.interval("distortion", distortion, low=0.0)


def up_to(
    maximal: Float[Array, ""], rate: Float[Array, "*grid"], distortion: Float[Array, "*grid"]
) -> Float[Array, "*grid"]:
    """Cut the rate to 0 beyond the maximal distortion, and below it where rounding went under.

    At the maximal distortion the derivatives are those from below.
    """
    # Just below D_max the rate is a difference of nearly equal numbers, which may round to -1e-17. Cutting it at zero must
    # not cut its slope: jnp.maximum alone would give the derivative zero there, or half of it at a tie.
    rate = with_derivatives_of(jnp.maximum(rate, 0.0), rate)
    return jnp.where(distortion <= maximal, rate, 0.0)


def at_most(distortion: Float[Array, "*grid"], maximal: Float[Array, ""]) -> Float[Array, "*grid"]:
    """Return the distortion, or the maximal one beyond it, with the derivatives of the one chosen."""
    # Not jnp.minimum, which gives each of two equal arguments half of the derivative: at D_max itself the curve has the
    # slope from below.
    return jnp.where(distortion <= maximal, distortion, maximal)


def with_rate_at_zero(
    distortion: Float[Array, "*grid"], rate: Float[Array, "*grid"], at_zero: Any
) -> Float[Array, "*grid"]:
    """Put in the rate at distortion 0, where it falls infinitely fast."""
    # `falling` is zero in value; it carries the slope, -1e300 in the place of minus infinity.
    return jnp.where(distortion == 0, at_zero + falling(distortion), rate)


def descending(values: Float[Array, " n"]) -> tuple[Float[Array, " n"], Float[Array, " n"]]:
    """Sort the values, greatest first, and sum what follows each."""
    ordered = jnp.sort(values)[::-1]
    # Summed from the smallest on, so that the tail keeps its digits beside a large first value.
    smaller = jnp.cumsum(ordered[::-1])[::-1][1:]
    return ordered, jnp.append(smaller, 0.0)


def greatest(levels: Float[Array, "*grid k"]) -> tuple[Float[Array, "*grid"], Int[Array, "*grid"]]:
    """Pick the greatest level and its place; of equal ones the first, in the gradient too."""
    # The derivative of jnp.max is shared among equal entries; that of one chosen by its place is the slope of one line.
    place = jnp.argmax(levels, axis=-1)
    return jnp.take_along_axis(levels, place[..., None], axis=-1)[..., 0], place
