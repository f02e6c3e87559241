r"""The rank distribution of Gaussian vectors with unequal canonical correlations (C29).

Mode i has canonical correlation $\rho_i$ and is kept with $r_i$ bits, so that query and description have
correlation $c_i = |\rho_i| \sqrt{1 - 4^{-r_i}}$ in it. Given the query x the information density of a
description u, up to a constant, is a quadratic form in independent normals. Its cumulant generating
function under a competitor's distribution is, with $\beta_i = (1 - c_i^2)/c_i^2$,

$$K(z) = \sum_i -\tfrac12 \ln\Bigl(1 + \frac{z}{\beta_i}\Bigr)
  + \frac{x_i^2}{2} \frac{z (z-1)}{z + \beta_i},$$

and the target's distribution is the competitor's tilted by z = 1. So one contour through the saddlepoint t
gives both the probability a that a competitor wins against a target of score l = K'(t) and the target's
density there, without approximation; all queries share it, so that K is a product of two matrices. The
loss given x is then one integral over t of C1, and the mean over x is taken by scrambled Sobol points.
"""

import dataclasses
import functools
import math
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import scipy
from jaxtyping import Array, Float, Key

from rdsim import validation
from rdsim.information import LN2
from rdsim.number_types import ArrayLike, Integer
from rdsim.ranking.gaussian.several_targets import Average, Table, of_each, of_first, of_one
from rdsim.ranking.loss import Loss, RankLoss, log_database_size, parse_loss
from rdsim.ranking.rank_distribution import expected_loss
from rdsim.ranking.tails.contour import Reals
from rdsim.ranking.tails.target_scores import target_scores
from rdsim.results import result
from rdsim.transformations import on_host

_REPLICATES: Final = 16
"""Independent scramblings of Sobol's points; their standard deviation gives the interval."""
_LARGEST_BETA: Final = 40.0
"""log2 M up to which M - K is exact in float64, and the incomplete beta function gives a miss."""
_TABLE: Final = 1024
"""Probabilities a at which a loss is tabulated."""
_INDEPENDENT: Final = 1e-20
"""c^2 below which a mode counts as independent of its description. A loss changes by less than c = 1e-10 then, where
the rounding of its integrals, some 1e-19 / c, would change it by more."""
_NATS: Final = 45.0
"""The table starts so many nats below the probability that gives one winner in the database; the loss there is 1e-19."""


@result
class SampledLoss:
    """An expected loss, of which one mean was taken over random points.

    Attributes:
        value: expected loss in [0, 1], shape (...).
        lower: lower end of its confidence interval, shape (...).
        upper: upper end of its confidence interval, shape (...).
        confidence: probability with which the interval covers the loss, one setting at a time.

    """

    value: Float[Array, "..."]
    lower: Float[Array, "..."]
    upper: Float[Array, "..."]
    confidence: float = dataclasses.field(metadata={"static": True})


@on_host
@validation.needs_float64
def vector_gaussian_rank_loss(
    key: Key[Array, ""],
    correlations: ArrayLike,
    log2_size: ArrayLike,
    loss: Loss,
    *,
    rates: ArrayLike = math.inf,
    queries: Integer = 2048,
    confidence: float = 0.95,
) -> SampledLoss:
    r"""Compute the expected rank loss of Gaussian vectors behind a Gaussian test channel in each mode.

    $$E\,\rho(1 + \mathrm{Bin}(M-1, a)), \qquad a = P(\imath(x;U') > \imath(x;U)),$$

    $\imath$ the information density, by which items are ranked best.

    Args:
        key: of the scrambling of the Sobol points.
        correlations: canonical correlations $\rho_i$ in [-1, 1], shape (d,).
        log2_size: log2 M >= 1, any shape.
        loss: the rank loss, a `Loss`.
        rates: bits $r_i \ge 0$ kept of each mode, shape (..., d) or one number for all; inf stores a mode
            as it is. `limits.bottleneck_vector_gaussian_rates` shares a total among the modes.
        queries: points x over which the mean is taken, at least 32, rounded up to 16 times a power of two.
        confidence: of the interval, in (0, 1).

    Returns:
        The loss and its interval, of the leading shape of rates followed by that of log2_size. The
        interval is Student's, of 16 independent scramblings, widened by the error of the integral.

    References:
        Imhof (1961), Biometrika 48; Lugannani and Rice (1980) for the saddlepoint of a tail; Owen
        (1995) for scrambled points. The contour is this project's own choice.

    """
    found = vector_gaussian_rank_losses(
        key, correlations, log2_size, (loss,), rates=rates, queries=queries, confidence=confidence
    )
    value, lower, upper = (jnp.asarray(one[0]) for one in (found.value, found.lower, found.upper))
    return SampledLoss(value=value, lower=lower, upper=upper, confidence=found.confidence)


def vector_gaussian_rank_losses(
    key: Key[Array, ""],
    correlations: ArrayLike,
    log2_size: ArrayLike,
    losses: Sequence[Loss],
    *,
    rates: ArrayLike,
    queries: Integer,
    confidence: float,
    targets: Integer = 1,
    each: bool = False,
) -> SampledLoss:
    """Compute several losses from the same integrals, stacked along a first axis.

    Args:
        key: as in `vector_gaussian_rank_loss`, and so are all arguments that are not named here.
        correlations: as there; of several targets none may be 1.
        log2_size: of all items, targets included.
        losses: a list; for each of several targets it must be ("miss", k) for k = 1, 2, ..., K.
        rates: as there; of several targets some bits of some mode must be kept.
        queries: as there.
        confidence: as there.
        targets: P of every query, whose descriptions are independent given the query.
        each: whether a loss is that of each target, on average, or that of the first that is found.

    """
    parsed = [parse_loss(loss) for loss in losses]
    P = validation.integer("targets", targets, low=1)
    if each and parsed != [RankLoss("miss", k + 1) for k in range(len(parsed))]:
        raise ValueError(f"losses of each target must be misses beyond 1, 2, ..., got {losses}")
    validation.prng_key("key", key)
    rho = np.abs(np.asarray(validation.interval("correlations", correlations, low=-1.0, high=1.0)))
    if rho.ndim != 1 or rho.size == 0:
        raise ValueError(f"correlations must have shape (d,), d >= 1, got {rho.shape}")
    size = np.asarray(validation.log2_size(log2_size), float)
    if P > 1 and (np.exp2(size) < P + 1).any():
        raise ValueError(f"targets must be fewer than items, got {P} of {np.exp2(size).min():g}")
    if P > 1:  # what competes with one target
        size = np.where(size < 52, np.log2(np.exp2(np.minimum(size, 52.0)) - P + 1), size)
    bits = np.asarray(validation.interval("rates", rates, low=0.0), float)
    if bits.ndim and bits.shape[-1] != rho.size:
        raise ValueError(
            f"rates must have shape (..., {rho.size}) or be a number, got {bits.shape}"
        )
    validation.not_empty("rates", bits)
    validation.not_empty("log2_size", size)
    queries = validation.integer("queries", queries, low=2 * _REPLICATES)
    confidence = float(validation.open_unit("confidence", confidence))
    bits = np.broadcast_to(bits, (*bits.shape[:-1], rho.size))
    batch = bits.shape[:-1]
    bits = bits.reshape(-1, rho.size)

    # Sorted, so that the order of the correlations changes no digit; the strongest ones get the leading coordinates
    # of Sobol's sequence, which cover the cube most evenly.
    order = np.argsort(-rho)
    rho, bits = rho[order], bits[:, order]
    seed = np.asarray(jax.random.key_data(key)).ravel().tolist()
    squares = _squares_of_queries(tuple(seed), rho.size, queries)
    tables = [[_table(float(one), wanted) for one in size.ravel()] for wanted in parsed]
    if each:
        average = of_each(list(zip(*tables, strict=True)), P)
    else:
        flat = [table for row in tables for table in row]
        average = of_one(flat) if P == 1 else of_first(flat, P)

    def tied() -> Reals:
        found = [expected_loss(size.ravel(), loss, log_a=-np.inf, log_e=0.0) for loss in losses]
        return np.concatenate([np.asarray(one) for one in found])

    found = [_one_channel(rho, r, squares, average, tied if P == 1 else None) for r in bits]
    means = np.stack([one.means for one in found])
    error = np.stack([one.error for one in found])
    value = means.mean(axis=1)
    # Points of one scrambling depend on each other; the means of independent scramblings do not: a Student interval
    # over these. The error of the contour integral is not random, and widens it.
    error_of_mean = means.std(axis=1, ddof=1) / math.sqrt(_REPLICATES)
    student = scipy.special.stdtrit(_REPLICATES - 1, 0.5 + 0.5 * confidence)
    half = student * error_of_mean + error[:, None]
    shape = (*batch, len(losses), *size.shape)
    value, lower, upper = (
        jnp.asarray(np.moveaxis(np.clip(one, 0.0, 1.0).reshape(shape), len(batch), 0), float)
        for one in (value, value - half, value + half)
    )
    return SampledLoss(value=value, lower=lower, upper=upper, confidence=confidence)


@functools.lru_cache(maxsize=1)
def _squares_of_queries(seed: tuple[int, ...], d: int, queries: int) -> Reals:
    """Squared coordinates of scrambled Sobol points, shape (replicates, points, d).

    The last ones are kept: scrambling takes longer than the losses of one set of rates, and a search for correlations
    or rates asks for the same points again.
    """
    generator = np.random.default_rng(seed)
    power = math.ceil(math.log2(queries / _REPLICATES))
    drawn = [
        scipy.stats.qmc.Sobol(d, rng=generator).random_base2(power) for _ in range(_REPLICATES)
    ]
    return np.asarray(scipy.special.ndtri(np.clip(np.stack(drawn), 1e-15, 1 - 1e-15)) ** 2)


def _table(log2_size: float, loss: RankLoss) -> Table:
    """The loss as a function of ln a, by a cubic spline whose nodes crowd where it bends: at a = K/M."""
    log_M = float(log_database_size(log2_size))
    bend = min(math.log(loss.cutoff) - log_M, 0.0)
    width = 0.5 / math.sqrt(loss.cutoff)
    low, high = math.asinh(-_NATS / width), math.asinh(-bend / width)
    log_a = np.minimum(bend + width * np.sinh(np.linspace(low, high, _TABLE)), 0.0)
    log_a[-1] = 0.0
    if loss.is_two_valued and log2_size <= _LARGEST_BETA:
        # P(Bin(M - 1, a) >= K) is the incomplete beta function: nothing is compiled for each K.
        rest = math.exp(log_M) - loss.cutoff
        values = (
            scipy.special.betainc(loss.cutoff, rest, np.exp(log_a))
            if rest > 0
            else np.zeros(_TABLE)
        )
    else:
        values = np.asarray(expected_loss(log2_size, loss, log_a=log_a, log_e=-np.inf))
    # At M = K the bend is at zero, where nodes coincide.
    log_a, places = np.unique(log_a, return_index=True)
    spline = scipy.interpolate.CubicSpline(log_a, values[places])
    return lambda wanted: spline(np.clip(wanted, log_a[0], 0.0))


class _Losses(NamedTuple):
    """Mean loss of every replicate, shape (replicates, sizes), and the error of the integral."""

    means: Reals
    error: float


def _one_channel(
    rho: Reals,
    bits: Reals,
    squares: Reals,
    average: Average,
    tied: Callable[[], Reals] | None,
) -> _Losses:
    """Average the losses over the queries for one set of rates; `tied` is not known of several targets."""
    c2 = rho * rho * -np.expm1(-2 * LN2 * bits)
    left = (1 - rho) * (1 + rho) + rho * rho * np.exp2(-2 * bits)  # 1 - c^2, with its digits
    kept = c2 > _INDEPENDENT
    count = squares.shape[0]
    certain = bool((left == 0).any())
    if tied is None and (certain or not kept.any()):
        raise ValueError("rates of several targets must tell something, but not all, of an item")
    if tied is not None and not kept.any():  # all descriptions tie
        return _Losses(np.broadcast_to(tied(), (count, tied().size)), 0.0)
    if tied is not None and certain:  # the target alone fits, to all digits
        return _Losses(np.zeros((count, tied().size)), 0.0)
    beta = np.sort(left[kept] / c2[kept])
    x2 = squares[..., np.flatnonzero(kept)[np.argsort(left[kept] / c2[kept], kind="stable")]]
    scores = target_scores(beta, x2.reshape(-1, beta.size))
    means = average(scores.log_a, scores.probability)
    error = float(np.abs(1 - scores.probability.sum(axis=1)).mean())
    return _Losses(means.reshape(count, -1, means.shape[-1]).mean(axis=1), error)
