r"""How much of any information a channel lets through: the contraction coefficient.

For every U - Y - X, $I(U;X) \le \eta\, I(U;Y)$ with $\eta$ a number of the channel $P_{X|Y}$ alone.
Two input letters attain it, so that over pairs of rows P, Q of the channel

$$\eta = \max_{P, Q} \max_{0 \le \beta \le 1} \; 1 - \sum_x \frac{P_x Q_x}{\beta P_x + (1-\beta) Q_x},$$

the Le Cam divergence, which is concave in $\beta$.
"""

from typing import Final

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from rdsim import validation
from rdsim.number_types import ArrayLike
from rdsim.root_finding import bisect_on_host
from rdsim.transformations import on_host

_HALVINGS: Final = 60  # steps of bisection in beta, which exhaust the digits of a float64
_ROUNDING: Final = 1e-14  # added to the coefficient, so that it bounds what was computed


@on_host
@validation.needs_float64
def contraction_coefficient(joint: ArrayLike, *, compress: str) -> Float[Array, ""]:
    r"""Compute an upper bound, tight to rounding, on I(U;X)/I(U;Y) over all U - Y - X and P_Y.

    It is at most Dobrushin's coefficient, the largest total variation between two rows, and at
    least the squared maximal correlation of the joint distribution.

    Args:
        joint: P(x,y), shape (|X|, |Y|), or its transpose: `compress` says which. Letters y without
            mass play no part.
        compress: "columns" if the letter that is described, Y, runs along the columns of the joint,
            "rows" if along its rows.

    Returns:
        eta in [0, 1], a scalar.

    References:
        Ordentlich and Polyanskiy (2022), "Strong data processing constant is achieved by binary
        inputs", IEEE Trans. Inf. Theory 68(3); Ahlswede and Gacs (1976), Ann. Probab. 4.

    """
    table = np.asarray(validation.sided_joint(joint, compress, along="columns"))
    table = table[:, table.sum(axis=0) > 0]
    rows = (table / table.sum(axis=0)).T
    first, second = np.triu_indices(len(rows), k=1)
    if first.size == 0:
        return jnp.zeros(())
    return jnp.asarray(min(_le_cam(rows[first], rows[second]).max() + _ROUNDING, 1.0), float)


def _le_cam(P: np.ndarray, Q: np.ndarray) -> np.ndarray:
    """Maximise over beta, a pair of rows each: bisection on the derivative, which decreases.

    On the host: every table has another shape, and compiling for it would take longer than the search.
    """
    # A letter that only one of the two rows has adds nothing to the sum, for P_x Q_x = 0.
    shared = (P > 0) & (Q > 0)
    P, Q = np.where(shared, P, 0.0), np.where(shared, Q, 0.0)

    def mixed(beta: np.ndarray) -> np.ndarray:
        return np.where(shared, beta[:, None] * P + (1 - beta[:, None]) * Q, 1.0)

    def falls(beta: np.ndarray) -> np.ndarray:
        # The square of a probability of 1e-200 is zero: each factor is divided by the mean that lies between both.
        mean = mixed(beta)
        return np.asarray(np.sum((P / mean) * (Q / mean) * (P - Q), axis=1) <= 0)

    low, high = bisect_on_host(falls, np.zeros(len(P)), np.ones(len(P)), steps=_HALVINGS)
    return np.maximum(1 - np.sum(P * (Q / mixed(0.5 * (low + high))), axis=1), 0.0)
