r"""Scores of codewords for multimodal queries: raw similarities, their fusion, the optimal score.

A query holds one vector x_k for each of m modalities. A similarity s_k(x_k, u) knows nothing of how
noisy its modality is; the decoder weighs it by a temperature, $\sum_k s_k(x_k,u)/\tau_k$. The
information density knows everything, and no score ranks better.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from rdsim import validation
from rdsim.information import LN2
from rdsim.number_types import ArrayLike
from rdsim.sources.mixture import GaussianMixtureSource
from rdsim.sources.modalities import chosen_modalities
from rdsim.sources.several_modalities import MultimodalSource


def cosine(queries: ArrayLike, codewords: ArrayLike) -> Float[Array, "... m k"]:
    r"""Score codewords by the cosine of their angle with each modality's query.

    $$\frac{x_k^T u}{\|x_k\| \|u\|}$$

    Args:
        queries: x, finite, not zero, shape (..., m, d).
        codewords: u, finite, not zero, shape (K, d).

    Returns:
        Numbers in [-1, 1] up to rounding, shape (..., m, K). Under a transformation, where a zero
        vector cannot be refused, its cosines are 0.

    """
    x, u = _vectors(queries, codewords)
    validation.directions("queries", x)
    validation.directions("codewords", u)
    return _direction(x) @ _direction(u).T


def averaged_cosine(queries: ArrayLike, codewords: ArrayLike) -> Float[Array, "... k"]:
    """Score codewords by the mean of the modalities' cosines, as embeddings often are; shape (..., K).

    The arguments are those of `cosine`.
    """
    return jnp.mean(cosine(queries, codewords), axis=-2)


def negative_squared_distance(queries: ArrayLike, codewords: ArrayLike) -> Float[Array, "... m k"]:
    r"""Score codewords by $-\tfrac12 \|x_k - u\|^2$, a Gaussian log likelihood in units of its variance.

    Args:
        queries: x, finite, shape (..., m, d).
        codewords: u, finite, shape (K, d).

    Returns:
        Shape (..., m, K).

    """
    return _negative_squared_distance(*_vectors(queries, codewords))


def fuse(scores: ArrayLike, temperature: ArrayLike) -> Float[Array, "... k"]:
    r"""Fuse the modalities' scores, each divided by its temperature.

    $$\sum_k s_k(x_k, u) / \tau_k$$

    A common factor of all temperatures changes no ranking.

    Args:
        scores: s, numbers or -inf, shape (..., m, K).
        temperature: tau, positive, shape (m,); an infinite one leaves its modality out.

    Returns:
        Shape (..., K), in nats if the temperatures are those of log likelihoods in nats.

    """
    table = validation.interval("scores", scores, open_high=True)
    tau = validation.interval("temperature", temperature, low=0.0, open_low=True, ndim=1)
    if table.ndim < 2 or table.shape[-2] != tau.size:
        raise ValueError(
            f"scores must end in shape ({tau.size}, K) for {tau.size} temperatures, "
            f"got {table.shape}"
        )
    return _fuse(table, tau)


@validation.needs_float64
def information_density_scores(
    source: GaussianMixtureSource | MultimodalSource,
    queries: ArrayLike,
    channel: ArrayLike,
    *,
    points: ArrayLike | None = None,
    masses: ArrayLike | None = None,
    modalities: ArrayLike | None = None,
) -> Float[Array, "... k"]:
    r"""Compute the optimal score of codewords, the information density of query and codeword.

    $$i(x; u) = \log_2 \frac{P(x|u)}{P(x)}, \quad
    P(x|u) = \sum_y P(y|u)\, p(x|y), \quad P(y|u) = \frac{P(y) P(u|y)}{P(u)},$$

    in the log domain. It ranks the items by their likelihood ratio: no other score of the codewords
    has a smaller expected loss, for any loss that grows with the rank.

    Args:
        source: a GaussianMixtureSource, or a MultimodalSource.
        queries: shape (..., m, d) for a mixture, letters of shape (..., m) for a discrete source.
        channel: P(u|y) of the code at each item, rows summing to one, shape (N, K).
        points: the N items y of a mixture, shape (N, d), such as those of `discretise_item`; a
            discrete source has its own.
        masses: their probabilities, shape (N,).
        modalities: which ones the query holds, in its order; None for all.

    Returns:
        Bits, shape (..., K); -inf where P(x|u) = 0 or no item has the codeword. Under the distribution
        of these N items $\sum_u P(u) 2^{i(x;u)} = 1$ for every query. A query of probability zero,
        under a discrete source, is no information: all its codewords score 0.

    """
    if isinstance(source, GaussianMixtureSource):
        if points is None or masses is None:
            raise ValueError(
                "points and masses must say which items stand for the mixture's, got none; "
                "source.discretise_item(cells) has both"
            )
        mass = validation.pmf("masses", masses)
        likelihood = _mixture_likelihood(source, queries, points, modalities)
    elif isinstance(source, MultimodalSource):
        if points is not None or masses is not None:
            raise ValueError("points and masses must not be given for a discrete source")
        mass = source.py
        likelihood = _discrete_likelihood(source, queries, modalities)
    else:
        raise TypeError(
            f"source must be a GaussianMixtureSource or a MultimodalSource, got {type(source)}"
        )
    table = validation.channel("channel", channel)
    if likelihood.shape[-1] != mass.size or table.shape[0] != mass.size:
        raise ValueError(
            f"channel must have a row and points an entry for each of {mass.size} items, "
            f"got shapes {table.shape} and ({likelihood.shape[-1]}, d)"
        )
    return _information_density(likelihood, mass, table)


def _vectors(
    queries: ArrayLike, codewords: ArrayLike
) -> tuple[Float[Array, "... m d"], Float[Array, "k d"]]:
    x = validation.bounded("queries", queries)
    u = validation.bounded("codewords", codewords, ndim=2)
    if u.size == 0 or x.ndim < 2 or x.shape[-2] == 0 or x.shape[-1] != u.shape[1]:
        raise ValueError(
            "queries must have shape (..., m, d) and codewords (K, d) with one d, "
            f"got {x.shape} and {u.shape}"
        )
    return x, u


@jax.jit
def _direction(x: Float[Array, "... d"]) -> Float[Array, "... d"]:
    """Vectors of length one, zero for zero; scaled first, so that no square over- or underflows."""
    largest = jax.lax.stop_gradient(jnp.max(jnp.abs(x), axis=-1, keepdims=True))
    scaled = x / jnp.where(largest > 0, largest, 1.0)
    square = jnp.sum(scaled**2, axis=-1, keepdims=True)
    return scaled / jnp.sqrt(jnp.where(square > 0, square, 1.0))


@jax.jit
def _negative_squared_distance(
    x: Float[Array, "... m d"], u: Float[Array, "k d"]
) -> Float[Array, "... m k"]:
    # The expanded square is faster and cancels where the query is near its codeword.
    return -0.5 * jnp.sum((x[..., None, :] - u) ** 2, axis=-1)


@jax.jit
def _fuse(scores: Float[Array, "... m k"], tau: Float[Array, " m"]) -> Float[Array, "... k"]:
    # A score of -inf stays so at every temperature.
    out, known = jnp.isinf(tau)[:, None], jnp.isfinite(scores)
    weighted = jnp.where(known & ~out, scores, 0.0) / jnp.where(out, 1.0, tau[:, None])
    weighted = jnp.where(known | out, weighted, -jnp.inf)
    return jnp.sum(weighted, axis=-2)


def _mixture_likelihood(
    source: GaussianMixtureSource,
    queries: ArrayLike,
    points: ArrayLike,
    modalities: ArrayLike | None,
) -> Float[Array, "... n"]:
    """Ln p(x|y) of every query at every item."""
    y = validation.bounded("points", points, ndim=2)
    x = validation.bounded("queries", queries)
    if x.ndim < 2:
        raise ValueError(f"queries must have shape (..., m, d), got {x.shape}")
    joint = source.log_density_joint(x[..., None, :, :], y, modalities)
    return joint - source.log_density_item(y)


def _discrete_likelihood(
    source: MultimodalSource, queries: ArrayLike, modalities: ArrayLike | None
) -> Float[Array, "... n"]:
    """Ln P(x|y) of every query at every item letter."""
    chosen = chosen_modalities(modalities, len(source.channels))
    letters = validation.integer_array("queries", queries, wanted="integer letters")
    if letters.ndim == 0 or letters.shape[-1] != len(chosen):
        raise ValueError(
            f"queries must have one letter for each of {len(chosen)} modalities last, "
            f"got shape {letters.shape}"
        )
    if not validation.is_traced(letters):
        sizes = np.array([source.letters[k] for k in chosen])
        if ((letters < 0) | (letters >= sizes)).any():
            raise ValueError(f"queries must hold letters below {sizes.tolist()}, got {letters}")
    own = tuple(source.channels[k] for k in chosen)
    return _letters_likelihood(jnp.asarray(letters), own, source.common)


@jax.jit
def _letters_likelihood(
    letters: Int[Array, "... m"],
    channels: tuple[Float[Array, "n _"], ...],
    common: Float[Array, "n w"] | None,
) -> Float[Array, "... n"]:
    r"""$\ln P(w|y) \prod_k P(v_k|y)$, w the part of the letters that all modalities have in common.

    It is -inf where the modalities disagree about that part.
    """
    sizes = jnp.array([channel.shape[1] for channel in channels])
    shared, own = letters // sizes, letters % sizes
    each = [jnp.log(channel.T)[own[..., k]] for k, channel in enumerate(channels)]
    total = jnp.sum(jnp.stack(each), axis=0)
    if common is None:
        return total
    agree = jnp.all(shared == shared[..., :1], axis=-1)[..., None]
    return jnp.where(agree, total + jnp.log(common.T)[shared[..., 0]], -jnp.inf)


@jax.jit
def _information_density(
    log_likelihood: Float[Array, "... n"], mass: Float[Array, " n"], channel: Float[Array, "n k"]
) -> Float[Array, "... k"]:
    pair = mass[:, None] * channel
    marginal = jnp.sum(pair, axis=0)
    has_items = marginal > 0
    posterior = pair / jnp.where(has_items, marginal, 1.0)

    def one_query(row: Float[Array, " n"]) -> Float[Array, " k"]:
        # Each codeword has its own log-sum-exp shift, the largest exponent of its items: with a common
        # one the terms of a distant codeword would underflow.
        exponent = jnp.where(posterior > 0, row[:, None], -jnp.inf)
        top = jax.lax.stop_gradient(jnp.max(exponent, axis=0))
        possible = top > -jnp.inf
        shift = jnp.where(possible, top, 0.0)
        total = jnp.sum(posterior * jnp.exp(exponent - shift), axis=0)
        log_given = jnp.where(possible, shift + jnp.log(jnp.where(possible, total, 1.0)), -jnp.inf)
        log_query = jax.scipy.special.logsumexp(log_given, b=marginal)
        seen = log_query > -jnp.inf
        return jnp.where(seen, log_given - jnp.where(seen, log_query, 0.0), 0.0) / LN2

    rows = log_likelihood.reshape(-1, log_likelihood.shape[-1])
    scores = jax.lax.map(one_query, rows)
    return scores.reshape(*log_likelihood.shape[:-1], channel.shape[1])
