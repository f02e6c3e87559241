"""What a ranking of a large database says about smaller ones: averages over random subsets."""

import jax.numpy as jnp
import numpy as np
import scipy.special
from jaxtyping import Array, Float

from rdsim import validation
from rdsim.number_types import ArrayLike, Integer
from rdsim.transformations import on_host


@on_host
def subset_reciprocal_rank(
    ahead: ArrayLike, *, competitors: Integer, sampled: Integer
) -> Float[Array, "..."]:
    r"""Average 1/rank over all databases of some of the competitors that were ranked.

    With n of N competitors ahead of the target, the number ahead among m random ones is
    hypergeometric, and

    $$E \frac{1}{\text{rank}} = \frac{N+1}{(m+1)(n+1)}
        \left(1 - \binom{N-n}{m+1} \Big/ \binom{N+1}{m+1}\right),$$

    which for N to infinity is the average over a binomial number ahead (C1). So one ranking of a
    large database gives the reciprocal rank at every smaller size, with less variance than one
    ranking of that size.

    Args:
        ahead: n, competitors ranked before the target, integers in [0, N], any shape.
        competitors: N >= 1, how many were ranked.
        sampled: m in [1, N], how many the smaller database has; with the target it has m + 1 items.

    Returns:
        Mean reciprocal ranks, shape of n.

    Raises:
        ValueError: if a number is out of range.
        TypeError: if a number of competitors is not an integer.

    """
    N = validation.integer("competitors", competitors, low=1)
    m = validation.integer("sampled", sampled, low=1, high=N)
    n = validation.counts("ahead", ahead)
    validation.interval("ahead", n, low=0.0, high=float(N))
    log = scipy.special.gammaln
    behind = N - n
    # The ratio of the two binomial coefficients, in logarithms; zero where fewer than m + 1 of the
    # competitors are behind the target.
    possible = behind >= m + 1
    enough = np.where(possible, behind, m + 1)
    log_none = log(enough + 1) - log(enough - m) - log(N + 2) + log(N + 1 - m)
    none = np.where(possible, np.exp(log_none), 0.0)
    return jnp.asarray((N + 1) / ((m + 1) * (n + 1)) * (1 - none))
