r"""Codebooks for items whose distribution drifts: kept as they were, fitted anew, or grown.

Items come in batches $Y_0, Y_1, ..$, and batch t is stored by the codebook $C_t$ of k-means:

- fixed: $C_t = C_0$, fitted to the first batch;
- refitted: $C_t$ is fitted to batch t, and what was stored before must be stored again, from the items themselves;
- grown: $C_t$ is $C_{t-1}$ and g more codewords, fitted to batch t. What was stored before stays as it is; an
  item costs $\log_2 |C_t|$ bits, if all have one length.
"""

from typing import Final

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from rdsim import validation
from rdsim.codes.quantizers.vector import VectorQuantizer, vector_quantizer
from rdsim.number_types import ArrayLike, Integer
from rdsim.transformations import on_host

POLICIES: Final = ("fixed", "refitted", "grown")


@on_host
def streamed_codes(
    key: Key[Array, ""],
    batches: ArrayLike,
    codebook_size: Integer,
    policy: str,
    *,
    growth: Integer = 1,
) -> list[VectorQuantizer]:
    """Fit the codebook that is in use at each batch of a stream of items.

    Args:
        key: PRNG key of the starts of k-means; batch t draws from fold_in(key, t).
        batches: items, shape (T, N, d).
        codebook_size: number of codewords of the first codebook, at most N.
        policy: "fixed", "refitted" or "grown".
        growth: g, codewords that a grown codebook gains at each batch, at most N.

    Returns:
        An `ItemCode` for each batch, T of them.

    References:
        Gama, Žliobaitė, Bifet, Pechenizkiy and Bouchachia (2014), "A survey on concept drift adaptation",
        ACM Computing Surveys 46(4), for the policies.

    """
    validation.prng_key("key", key)
    items = validation.coordinates("batches", batches, ndim=3)
    if 0 in items.shape:
        raise ValueError(f"batches must have shape (T, N, d), none zero, got {items.shape}")
    number = validation.integer("codebook_size", codebook_size, low=1, high=items.shape[1])
    more = validation.integer("growth", growth, low=1, high=items.shape[1])
    validation.choice("policy", policy, POLICIES)
    codes = [vector_quantizer(jax.random.fold_in(key, 0), items[0], number)]
    for t in range(1, len(items)):
        if policy == "fixed":
            codes.append(codes[0])
            continue
        size = number if policy == "refitted" else more
        fresh = vector_quantizer(jax.random.fold_in(key, t), items[t], size)
        codes.append(fresh if policy == "refitted" else _joined(codes[-1], fresh, items[t]))
    return codes


def _joined(before: VectorQuantizer, more: VectorQuantizer, items: Array) -> VectorQuantizer:
    """Put two codebooks together; masses are the shares of these items nearest to each codeword."""
    codewords, masses, distortion = _extended(before.codewords, more.codewords, items)
    return VectorQuantizer(
        codewords=codewords,
        offsets=jnp.zeros(len(codewords)),
        masses=masses,
        distortion=distortion,
        converged=before.converged & more.converged,
        iterations=before.iterations + more.iterations,
    )


@jax.jit
def _extended(
    before: Float[Array, "k d"], more: Float[Array, "m d"], items: Float[Array, "n d"]
) -> tuple[Float[Array, "k+m d"], Float[Array, " k+m"], Float[Array, ""]]:
    codewords = jnp.concatenate([before, more])
    square = jnp.sum(codewords**2, axis=1) - 2 * items @ codewords.T
    masses = jnp.bincount(jnp.argmin(square, axis=1), length=len(codewords)) / len(items)
    least = jnp.min(square, axis=1) + jnp.sum(items**2, axis=1)
    return codewords, masses, jnp.mean(least)
