"""Time sharing of codes that were measured: the least loss at a rate, by the lower convex hull.

Common randomness picks one code for the whole database, so that bits and losses are averages over
the codes. What is achieved at a rate is therefore the lower convex hull of the codes' points (bits,
loss).
"""

import math

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from rdsim import validation
from rdsim.limits._supporting_lines import lower_hull
from rdsim.number_types import ArrayLike
from rdsim.transformations import on_host


@on_host
def time_shared_loss(
    code_bits: ArrayLike, losses: ArrayLike, *, rate: ArrayLike
) -> Float[Array, "..."]:
    r"""Compute the least loss of codes time-shared, at no more bits per item than the rate.

    $$\min \Bigl\{ \sum_i \alpha_i D_i : \sum_i \alpha_i R_i \le R, \; \alpha \ge 0, \;
        \sum_i \alpha_i = 1 \Bigr\}.$$

    Args:
        code_bits: R_i, bits per item of every code, shape (V,). Zero for a random ranking, which
            should be among them.
        losses: D_i of every code, shape (V, ...); the hull is taken along the first axis.
        rate: R, any shape.

    Returns:
        Losses, the shape of the rate followed by that of the losses of one code; infinite at rates
        below the fewest bits.

    References:
        Cover and Thomas (2006), "Elements of information theory", Section 10.4, for time sharing.

    """
    bits = np.asarray(validation.coordinates("code_bits", code_bits, ndim=1))
    loss = np.asarray(validation.coordinates("losses", losses))
    validation.interval("code_bits", bits, low=0.0)
    R = np.asarray(validation.interval("rate", rate, low=0.0))
    if bits.size == 0 or loss.shape[:1] != bits.shape:
        raise ValueError(
            f"losses must have one row for each of code_bits, shape ({bits.size}, ...), at least "
            f"one, got {loss.shape}"
        )
    columns = loss.reshape(bits.size, math.prod(loss.shape[1:])).T
    found = np.empty((len(columns), *R.shape))
    for place, column in enumerate(columns):
        corners = lower_hull(bits, column)
        # Beyond the last corner more bits do not help: interp keeps its value; before the first
        # it is infinite.
        found[place] = np.interp(R, bits[corners], column[corners], left=np.inf)
    return jnp.asarray(np.moveaxis(found, 0, -1).reshape((*R.shape, *loss.shape[1:])))
