r"""Items of a mixture seen through noisy copies: the optimal decoder, and retrieval with no code.

If every query is the item plus noise, $X_k = Y + N(0, n_k I)$, the queries speak through their
precision-weighted mean alone,

$$Z = n \sum_k X_k / n_k, \quad n = \Bigl(\sum_k 1/n_k\Bigr)^{-1}, \quad Z | Y \sim N(Y, n I),$$

and the information density of a query and an item falls with their distance $|Z - Y|$.
"""

from typing import Final

import jax
import jax.numpy as jnp
import scipy
from jaxtyping import Array, Float

from rdsim import validation
from rdsim.codes.item_code import GivenItemCode, item_code
from rdsim.number_types import ArrayLike
from rdsim.simulation.coded_items import Decoder, WholeItems
from rdsim.sources.discretisation import DiscretisedItem
from rdsim.sources.mixture import GaussianMixtureSource
from rdsim.sources.mixture.densities import log_class_item
from rdsim.sources.mixture.noisy_copies import weighted_mean
from rdsim.transformations import on_host

_REACH: Final = 9.0
"""Standard deviations beyond which 2e-19 of a Gaussian's mass lies."""
_NODES: Final = 64
"""Gauss-Legendre nodes of a class, for a density that varies over at most 18 deviations."""


@on_host
def density_decoder(
    source: GaussianMixtureSource,
    code: GivenItemCode,
    item: DiscretisedItem,
    modalities: ArrayLike | None = None,
) -> Decoder:
    r"""Make the decoder that ranks by the information density of query and codeword.

    What a codeword leaves of the item is taken for Gaussian in each class c,

    $$P(z|u) = \sum_c P(c|u)\, N(z;\, \mu_{uc},\, \Sigma_{uc} + n I),$$

    with the moments of the item's distribution given by its cells: optimal but for the shape of the
    cells, which the noise of the queries blurs. Exact for a code whose cells are the classes.

    Args:
        source: a mixture of items in the plane or on a line, whose queries are noisy copies.
        code: the code.
        item: cells of the item's distribution and their masses.
        modalities: which queries are seen; None for all.

    Returns:
        The decoder, for `simulate_item_code`; codewords that no cell has score -inf.

    Raises:
        ValueError: also if a query seen is not a noisy copy of the item.

    """
    mean = weighted_mean(source, modalities)
    dimension = validation.instance("item", item, DiscretisedItem).points.shape[1]
    if (given := item_code("code", code).codewords.shape[1]) != dimension:
        raise ValueError(
            f"code must have codewords of {dimension} coordinates like the cells of item, got {given}"
        )
    log_weight, centres, root = _matched_moments(source, code, item, mean.variance)
    return Decoder(_density_scores, (mean.weights, log_weight, centres, root))


@jax.jit
def _matched_moments(
    source: GaussianMixtureSource,
    code: GivenItemCode,
    item: DiscretisedItem,
    noise: Float[Array, ""],
) -> tuple[Float[Array, "k c"], Float[Array, "k c d"], Float[Array, "k c d d"]]:
    """Log weights, means and square roots of precisions (rows of whitening maps) of P(z|u)."""
    y = item.points
    log_class = log_class_item(source, y) + jnp.log(source.weights)
    of_class = jax.nn.softmax(log_class, axis=1)
    pair = item.masses[:, None] * code.channel(y)  # (G, K)
    # Mass, first and second moments of the item for each codeword and class.
    total = jnp.einsum("gk,gc->kc", pair, of_class)
    safe = jnp.where(total > 0, total, 1.0)[..., None]
    first = jnp.einsum("gk,gc,gd->kcd", pair, of_class, y) / safe
    second = jnp.einsum("gk,gc,gd,ge->kcde", pair, of_class, y, y) / safe[..., None]
    # The noise of the query adds to the item's covariance, and keeps it positive definite.
    covariance = second - first[..., :, None] * first[..., None, :] + noise * jnp.eye(y.shape[1])
    # For covariance L L^T the rows of L^-1 whiten a residual: its squared length is the Mahalanobis distance, and
    # the sum of ln of the diagonal is -1/2 ln det.
    root = jnp.linalg.inv(jnp.linalg.cholesky(covariance))
    marginal = total.sum(axis=1, keepdims=True)
    posterior = total / jnp.where(marginal > 0, marginal, 1.0)
    log_root = jnp.sum(jnp.log(jnp.diagonal(root, axis1=-2, axis2=-1)), axis=-1)
    log_weight = jnp.where(
        total > 0, jnp.log(jnp.where(total > 0, posterior, 1.0)) + log_root, -jnp.inf
    )
    return log_weight, first, root


def _density_scores(
    parameters: tuple[Array, Array, Array, Array], queries: Float[Array, "m d"]
) -> Float[Array, " k"]:
    """Log of the mixture density at the mean of the queries; -inf for codewords without mass."""
    weights, log_weight, centres, root = parameters
    residual = weights @ queries - centres
    white = jnp.einsum("kcde,kce->kcd", root, residual)
    exponent = log_weight - 0.5 * jnp.sum(white**2, axis=-1)
    # Log-sum-exp over the classes; codewords without mass have no finite exponent.
    top = jnp.max(exponent, axis=1)
    shift = jnp.where(top > -jnp.inf, top, 0.0)
    total = jnp.sum(jnp.exp(exponent - shift[:, None]), axis=1)
    return jnp.where(top > -jnp.inf, shift + jnp.log(jnp.maximum(total, 1e-300)), -jnp.inf)


@on_host
def whole_items(source: GaussianMixtureSource, modalities: ArrayLike | None = None) -> WholeItems:
    r"""Rank items stored whole, optimally: no code of any rate has a smaller loss, at any M.

    The information density of a query and an item falls with $|z - y|$, and a competitor wins where
    it falls into the disc around z whose edge the target lies on. A code is a function of the items,
    perhaps with a draw, so that its ranking is one of the items' own rankings.

    Args:
        source: a mixture of items in the plane or on a line, whose queries are noisy copies.
        modalities: which queries are seen; None for all.

    Returns:
        The ranking, for `simulate_item_code`.

    Raises:
        ValueError: also if a query seen is not a noisy copy of the item.

    """
    return WholeItems(_nearer_probability, (source, weighted_mean(source, modalities).weights))


def _nearer_probability(
    parameters: tuple[GaussianMixtureSource, Array],
    queries: Float[Array, "m d"],
    item: Float[Array, " d"],
) -> Float[Array, ""]:
    source, weights = parameters
    z = weights @ queries
    return jnp.exp(log_disc_mass(source, z, jnp.linalg.norm(item - z)))


def log_disc_mass(
    source: GaussianMixtureSource, centre: Float[Array, " d"], radius: Float[Array, ""]
) -> Float[Array, ""]:
    r"""Natural log of the probability that an item lies within a radius of a centre, for d = 1 or 2.

    With $\delta_c$ the distance from the centre to the mean of class c and $\sigma_c^2$ its
    variance, the distance of an item of the class has the density

    $$\frac{s}{\sigma^2} e^{-(s^2 + \delta^2)/2\sigma^2} I_0(s\delta/\sigma^2) \ (d = 2), \quad
    \frac{1}{\sigma} \bigl[\varphi(\tfrac{s-\delta}{\sigma}) +
    \varphi(\tfrac{s+\delta}{\sigma})\bigr] \ (d = 1),$$

    integrated by Gauss-Legendre nodes over the part of (0, r) within nine deviations. No term is
    negative: small probabilities keep their relative accuracy.
    """
    nodes, weights = scipy.special.roots_legendre(_NODES)
    sigma = jnp.sqrt(source.item_variance)[:, None]
    delta = jnp.linalg.norm(centre - source.item_means, axis=1)[:, None]
    # Where the whole disc lies in the far tail, the interval is the shell next to its edge.
    high = jnp.minimum(radius, delta + _REACH * sigma)
    low = jnp.clip(delta - _REACH * sigma, 0.0, jnp.maximum(high - sigma, 0.0))
    half = 0.5 * (high - low)
    s = low + half * (1 + jnp.asarray(nodes))
    bump = -0.5 * ((s - delta) / sigma) ** 2
    if source.item_means.shape[1] == 2:
        log_density = bump + jnp.log(s / sigma**2 * jax.scipy.special.i0e(s * delta / sigma**2))
    else:
        other = -0.5 * ((s + delta) / sigma) ** 2
        log_density = jnp.logaddexp(bump, other) - jnp.log(sigma * jnp.sqrt(2 * jnp.pi))
    mass = jax.scipy.special.logsumexp(
        log_density + jnp.log(half), b=source.weights[:, None] * jnp.asarray(weights)
    )
    return jnp.minimum(mass, 0.0)
