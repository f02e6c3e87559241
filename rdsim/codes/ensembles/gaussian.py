r"""Gaussian items behind their water-filled test channel: what a long random code does with R bits (C29).

The canonical mode i of the pair gets $R_i = \tfrac12 \log_2^+(\gamma_i \theta)$ bits, $\sum_i R_i = R$,
which leaves the correlation $c_i = \rho_i \sqrt{1 - 4^{-R_i}}$ between query and description, and the rank
distribution of such pairs gives the loss.
"""

import math
from typing import Final

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from rdsim import validation
from rdsim.limits.bottleneck import bottleneck_vector_gaussian_rates
from rdsim.number_types import ArrayLike, Integer
from rdsim.ranking.gaussian.vector import SampledLoss, vector_gaussian_rank_loss
from rdsim.ranking.loss import Loss
from rdsim.results import result
from rdsim.sources import GaussianSource
from rdsim.transformations import on_host

_QUERIES: Final = 2048


@result
class GaussianTestChannel:
    """A Gaussian pair behind its test channel at some bits per item.

    Attributes:
        loss: expected rank loss with its interval, shape of the bits followed by that of log2_size.
        correlations: canonical correlations of the pair, decreasing, shape (d,).
        rates: bits of each canonical mode, shape of the bits followed by (d,).

    """

    loss: SampledLoss
    correlations: Float[Array, " d"]
    rates: Float[Array, "... d"]


@on_host
@validation.needs_float64
def gaussian_test_channel(
    key: Key[Array, ""],
    source: GaussianSource,
    log2_size: ArrayLike,
    loss: Loss,
    *,
    bits: ArrayLike = math.inf,
    queries: Integer = _QUERIES,
    confidence: float = 0.95,
) -> GaussianTestChannel:
    r"""Compute the expected rank loss of a Gaussian pair whose items keep R bits each.

    Codes of long blocks of such items come as close to it as one likes; no code is known that reaches it
    on single items.

    Args:
        key: of the points over which the mean is taken.
        source: jointly Gaussian query and item, of any dimensions.
        log2_size: log2 M >= 1, any shape.
        loss: the rank loss, a `Loss`.
        bits: R >= 0 bits per item, any shape; inf stores the items as they are.
        queries: points of that mean, as in `ranking.vector_gaussian_rank_loss`.
        confidence: of the interval, in (0, 1).

    Returns:
        The loss, the canonical correlations and the bits of each mode.

    References:
        Chechik, Globerson, Tishby and Weiss (2005) for the channel.

    """
    validation.instance("source", source, GaussianSource)
    validation.prng_key("key", key)
    given = validation.not_empty("bits", validation.interval("bits", bits, low=0.0))
    stored = np.asarray(given, float)
    correlations = source.canonical_correlations
    rates = bottleneck_vector_gaussian_rates(correlations, rate=stored)
    found = vector_gaussian_rank_loss(
        key,
        correlations,
        log2_size,
        loss,
        rates=rates,
        queries=queries,
        confidence=confidence,
    )
    return GaussianTestChannel(loss=found, correlations=correlations, rates=jnp.asarray(rates))
