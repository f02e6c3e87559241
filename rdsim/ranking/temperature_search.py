"""Temperatures of least retrieval loss on a sample, by a search along their ratios."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from rdsim import validation
from rdsim.number_types import ArrayLike, Integer
from rdsim.ranking.codewords import check_sample, codeword_loss, relative_to_target
from rdsim.ranking.loss import Loss, RankLoss, parse_loss
from rdsim.ranking.similarity import fuse
from rdsim.results import result
from rdsim.transformations import on_host


@result
class SearchedTemperatures:
    """Temperatures found by a search: the best of those visited, of which nothing more is proved.

    Attributes:
        temperature: tau, shape (m,); the first is that of the start, since only ratios rank.
        loss: mean loss on the sample, in [0, 1].
        start_loss: mean loss at the temperatures it started from.
        converged: whether the last round found nothing better than the rounds before it.

    """

    temperature: Float[Array, " m"]
    loss: Float[Array, ""]
    start_loss: Float[Array, ""]
    converged: Bool[Array, ""]


@on_host
@validation.needs_float64
def search_temperatures(
    scores: ArrayLike,
    target: ArrayLike,
    competitor: ArrayLike,
    log2_size: ArrayLike,
    loss: Loss,
    *,
    start: ArrayLike,
    decades: ArrayLike = 1.0,
    points: Integer = 17,
    rounds: Integer = 3,
) -> SearchedTemperatures:
    r"""Search the temperatures for the least mean retrieval loss of a sample.

    $$\min_{\tau_2..\tau_m} \frac1N \sum_i E\,\rho(\text{rank}_i)$$

    The loss of a finite sample is a step function of the ratios, with neither slope nor convexity.
    Each round of this coordinate search tries, for one modality after the other, a grid that is even in
    the logarithm about the best so far; the grid of the next round is a fourth as wide. The result is no
    worse than the start; it is a local optimum at best, and fewer than some thousands of samples overfit.

    Args:
        scores: s_k of every codeword, modality and sample, as `fit_temperatures` takes them.
        target: codeword of each sample's item, likewise.
        competitor: q, distribution of a competitor's codeword, likewise.
        log2_size: log2 M >= 1, a scalar.
        loss: the rank loss, a `Loss`.
        start: temperatures to start from, such as those of `fit_temperatures`, positive and
            finite, shape (m,).
        decades: half the width of the first grid, in powers of ten.
        points: points of a grid, an odd integer of at least 3.
        rounds: rounds over all modalities.

    Returns:
        The temperatures and their loss.

    """
    parsed = parse_loss(loss)
    table, index, mass = check_sample(scores, target, competitor)
    tau = validation.interval("start", start, low=0.0, open_low=True, open_high=True, ndim=1)
    if index.shape != table.shape[:1] or 0 in table.shape or tau.size != table.shape[1]:
        raise ValueError(
            "scores must have shape (N, m, K), target (N,) and start (m,), N and m at least 1, "
            f"got {table.shape}, {index.shape} and {tau.shape}"
        )
    size = validation.interval("log2_size", validation.log2_size(log2_size), ndim=0)
    width = validation.interval("decades", decades, low=0.0, open_low=True, high=10.0, ndim=0)
    count = validation.integer("points", points, low=3)
    if count % 2 == 0:
        raise ValueError(f"points must be odd, so that the best so far is among them, got {count}")
    rounds = validation.integer("rounds", rounds, low=1)

    table = relative_to_target(table, index)
    best, least, first = np.asarray(tau), np.inf, np.nan
    for turn in range(rounds):
        improved = False
        factors = np.logspace(-1.0, 1.0, count) ** (float(width) * 4.0**-turn)
        factors[count // 2] = 1.0
        # The first temperature stays: only ratios rank. A single one is evaluated all the same.
        for k in range(1, best.size) if best.size > 1 else range(1):
            tried = np.tile(best, (count, 1))
            tried[:, k] *= factors
            found = np.asarray(_losses_at(table, index, mass, size, parsed, jnp.asarray(tried)))
            first = found[count // 2] if np.isnan(first) else first
            if found.min() < least:
                # The start itself is a point of the first grid, and is no improvement.
                improved |= bool(found.min() < min(least, first))
                best, least = tried[np.argmin(found)], found.min()
    return SearchedTemperatures(
        temperature=jnp.asarray(best),
        loss=jnp.asarray(least),
        start_loss=jnp.asarray(first),
        converged=jnp.asarray(not improved),
    )


@partial(jax.jit, static_argnames="loss")
def _losses_at(
    scores: Float[Array, "n m k"],
    target: Int[Array, " n"],
    competitor: Float[Array, " k"],
    log2_size: Float[Array, ""],
    loss: RankLoss,
    temperatures: Float[Array, "t m"],
) -> Float[Array, " t"]:
    def mean_loss(temperature: Float[Array, " m"]) -> Float[Array, ""]:
        fused = fuse(scores, temperature)
        return jnp.mean(codeword_loss(fused, target, competitor, log2_size, loss))

    return jax.lax.map(mean_loss, temperatures)
