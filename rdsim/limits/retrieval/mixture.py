r"""A bound on all retrieval systems of a Gaussian mixture: least rank loss at R bits per item (C4)."""

from collections.abc import Sequence
from typing import Final

import jax.numpy as jnp
from jaxtyping import Array, Float

from rdsim import validation
from rdsim.limits.bottleneck import mixture_bottleneck_bound
from rdsim.limits.rank_distortion.uniform import rank_loss
from rdsim.number_types import ArrayLike, Integer
from rdsim.ranking.loss import Loss
from rdsim.sources.mixture import GaussianMixtureSource
from rdsim.transformations import on_host

_TOLERANCE: Final = 1e-6
"""Gap of I(X;Y) in bits; its upper end is used, so that the bound holds whatever the gap."""


@on_host
@validation.needs_float64
def mixture_loss_bound(
    source: GaussianMixtureSource,
    log2_size: ArrayLike,
    loss: Loss,
    *,
    rate: ArrayLike,
    modalities: Sequence[Integer] | None = None,
) -> Float[Array, "..."]:
    r"""Bound from below the rank loss of all systems that store an item in R bits.

    $$E\,\rho(\text{rank}) \ge D_\rho\bigl(\min\{\overline{\mathrm{IB}}(R), I(X;Y)\}; M\bigr),$$

    $D_\rho(I; M)$ the least loss of I bits about which of M items is the target (`rank_loss`), and
    $\overline{\mathrm{IB}}$ the bound of `mixture_bottleneck_bound` on what R bits about an item
    tell about its queries.

    Args:
        source: a mixture whose queries are noisy copies of the item.
        log2_size: log2 M >= 1, any shape.
        loss: "error", "reciprocal_rank", ("miss", K) or "dcg".
        rate: R >= 0 bits per item, any shape.
        modalities: which queries are seen; None for all.

    Returns:
        Losses, the shape of the rate followed by that of log2_size.

    Raises:
        ValueError: also if a query seen is not a noisy copy of the item.

    """
    size = validation.log2_size(log2_size)
    relevance = mixture_bottleneck_bound(source, rate, modalities=modalities)
    whole = source.mutual_information(modalities, tolerance=_TOLERANCE)
    relevance = jnp.minimum(relevance, whole.upper)
    relevance = relevance.reshape(*relevance.shape, *(1,) * size.ndim)
    return rank_loss(size, loss, rate=relevance).lower
