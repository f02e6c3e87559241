r"""The second-order (Gaussian) approximation of the least rate at block length n.

$$R(n, D, \epsilon) \approx R(D) + \sqrt{V(D)/n}\; Q^{-1}(\epsilon) + \kappa \frac{\log_2 n}{n}.$$

The remainder is $O(\log n / n)$ with a constant known only in special cases: $\kappa = 1/2$ where
the dispersion is zero (equiprobable bits: Kostina and Verdu 2012), and $\kappa = 0$, the
bare two terms, everywhere else.
"""

import math
from typing import Final

import jax.numpy as jnp
from jax.scipy.special import ndtr, ndtri
from jaxtyping import Array, Float

from rdsim import validation
from rdsim.number_types import ArrayLike
from rdsim.results import result

FLAT: Final = 1e-15
"""Dispersion that counts as zero: a solver leaves about 1e-20 where the tilted information is constant."""


@result
class SecondOrder:
    r"""The two numbers of a source and a distortion that describe long blocks.

    Attributes:
        rate_distortion: R(D), bits per letter.
        dispersion: V(D), the variance of the d-tilted information, bits squared a letter.
        log_coefficient: $\kappa$ of the term $\kappa (\log_2 n) / n$: 1/2 where V is zero, else 0.

    """

    rate_distortion: Float[Array, ""]
    dispersion: Float[Array, ""]
    log_coefficient: Float[Array, ""]

    def rate(self, block_length: ArrayLike, excess_probability: ArrayLike) -> Float[Array, "..."]:
        r"""Approximate the least rate, $R(D) + \sqrt{V/n}\,Q^{-1}(\epsilon) + \kappa (\log_2 n)/n$.

        Args:
            block_length: n >= 1, any size and shape, for example 1e9.
            excess_probability: in (0, 1), broadcast against n.

        Returns:
            Bits per letter, the broadcast shape. Not a bound, and not cut at zero.

        """
        n = _block_length(block_length)
        eps = excess_probabilities(excess_probability)
        deviation = -ndtri(eps) * jnp.sqrt(self.dispersion / n)
        return self.rate_distortion + deviation + self._remainder(n)

    def excess_probability(
        self, block_length: ArrayLike, *, rate: ArrayLike
    ) -> Float[Array, "..."]:
        r"""Approximate the excess probability at a rate, the inverse of `rate` in it.

        $$\epsilon \approx Q\left(\frac{R - R(D) - \kappa (\log_2 n) / n}{\sqrt{V/n}}\right),$$

        a step from one to zero where the dispersion is zero.

        Args:
            block_length: n >= 1, any size and shape.
            rate: R >= 0, bits per letter, broadcast against n.

        Returns:
            Probability, the broadcast shape.

        """
        n = _block_length(block_length)
        excess = validation.interval("rate", rate, low=0.0) - self.rate_distortion
        excess = excess - self._remainder(n)
        deviation = jnp.sqrt(self.dispersion / n)
        scaled = excess / jnp.where(deviation > 0, deviation, 1.0)
        return jnp.where(deviation > 0, ndtr(-scaled), jnp.where(excess < 0, 1.0, 0.0))

    def _remainder(self, n: Float[Array, "..."]) -> Float[Array, "..."]:
        return self.log_coefficient * jnp.log2(n) / n


def second_order(
    rate: ArrayLike, dispersion: ArrayLike, *, flat_below: float = FLAT
) -> SecondOrder:
    """Make the approximation, with the log term that belongs to the dispersion."""
    dispersion = jnp.asarray(dispersion, float)
    flat = dispersion < flat_below
    return SecondOrder(
        rate_distortion=jnp.asarray(rate, float),
        dispersion=jnp.where(flat, 0.0, dispersion),
        log_coefficient=jnp.where(flat, 0.5, 0.0),
    )


def excess_probabilities(value: ArrayLike) -> Float[Array, "..."]:
    """The argument excess_probability, checked."""
    checked = validation.interval(
        "excess_probability", value, low=0.0, high=1.0, open_low=True, open_high=True
    )
    return validation.not_empty("excess_probability", checked)


def _block_length(value: ArrayLike) -> Float[Array, "..."]:
    return validation.interval("block_length", value, low=1.0, high=math.inf, open_high=True)
