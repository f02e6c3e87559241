r"""The distribution of the target's rank (C1): exact for every database size, with no database in memory.

Given the target's score, let a be the probability that one competitor scores strictly higher and e that
it ties. With a uniform tie-break V the rank is $1 + \mathrm{Binomial}(M-1, a + V e)$, so every loss
of the rank has a closed form or a one-dimensional integral, in the log domain, from M = 2 on:

- error: $1 - (1-a)^{M-1}(1 - \ell(y))$ with $\ell$ the reciprocal-rank loss among the ties alone,
  $y = e/(1-a)$: the target must beat all strict winners and then win the draw among the tied;
- reciprocal rank: $\ell(p) = 1 - \frac{1-(1-p)^M}{Mp}$, whose average is $(E\,S(B_{a+e}) - E\,S(B_a)) / Me$ with
  $S(b) = b - \sum_{r \le b} 1/r$;
- miss at K: a binomial tail, whose average is $(E (B_{a+e} - K)^+ - E (B_a - K)^+) / Me$ with
  $B_p \sim \mathrm{Binomial}(M, p)$;
- DCG, $\rho(r) = 1 - 1/\log_2(1+r)$: in the same way by $S(b) = \sum_{r \le b} \rho(r)$, summed term by term
  where few winners are expected, and from a table where many are.
"""

import math
from typing import Any, Final

import jax
import jax.numpy as jnp
import numpy as np
import scipy
from jaxtyping import Array, Float

from rdsim import validation
from rdsim.information import LN2, at_most_one, log_from_zero
from rdsim.namespaces import namespace_of, on_numpy
from rdsim.number_types import ArrayLike
from rdsim.ranking.expectations import discounted_gain
from rdsim.ranking.expectations.ties import average_over_ties, neg_log1m, reciprocal_rank_loss
from rdsim.ranking.loss import Loss, RankLoss, log_database_size, parse_loss
from rdsim.transformations import M_IS_AN_INTEGER, not_differentiable

_ON_HOST: Final = 4096
"""Targets up to which NumPy takes milliseconds, where a program for their number takes a second to compile."""


@not_differentiable(log2_size=M_IS_AN_INTEGER)
@validation.needs_float64
def expected_loss(
    log2_size: ArrayLike, loss: Loss, *, log_a: ArrayLike, log_e: ArrayLike
) -> Float[Array, "..."]:
    r"""Compute the expected rank loss of a target in a database of M items (C1).

    $$E\,\rho(1 + B), \quad B \sim \mathrm{Binomial}(M-1, a + V e), \quad V \sim U(0,1).$$

    Args:
        log2_size: log2 M, at least 1; M is the nearest integer up to 2^52.
        loss: the rank loss, a `Loss`.
        log_a: natural log of a, the probability that a competitor wins strictly; -inf for none.
        log_e: natural log of e, the probability that a competitor ties; -inf for none; a + e <= 1.

    Returns:
        Loss in [0, 1], float64, the broadcast shape of the first three arguments; small losses
        keep their relative accuracy.

    References:
        For ties: McSherry and Najork (2008), ECIR.

    """
    parsed = parse_loss(loss)
    log_a = validation.interval("log_a", log_a, high=1e-12)
    log_e = validation.interval("log_e", log_e, high=1e-12)
    size = validation.log2_size(log2_size)
    if validation.is_traced(log_a, log_e, size):
        return expected_loss_kernel(log_a, log_e, size, parsed)
    total = _largest_sum(np.asarray(log_a), np.asarray(log_e))
    if total > 1 + 1e-9:
        raise ValueError(
            f"log_a and log_e must be logs of probabilities with a + e <= 1, got a + e = {total!r}"
        )
    few = math.prod(np.broadcast_shapes(log_a.shape, log_e.shape, size.shape)) <= _ON_HOST
    a, e, M = (np.asarray(each) if few else each for each in (log_a, log_e, size))
    return jnp.asarray(expected_loss_kernel(a, e, M, parsed), float)


def gain_without_ties(
    log2_size: float, loss: RankLoss, log_a: Float[np.ndarray, "..."]
) -> Float[np.ndarray, "..."]:
    """Compute one less the expected loss where nothing ties, to rounding, on the host: nothing is compiled."""
    log_M = float(log_database_size(log2_size))
    if loss.kind == "dcg":
        return discounted_gain.gain_without_ties(np.minimum(log_a, 0.0) + log_M, log_M)
    if loss.kind == "reciprocal_rank":
        # (1 - (1-a)^M) / (Ma), which is one to the last digit where Ma is below 1e-20.
        log_a = np.maximum(log_a, -log_M - 46)
        surprise = -np.log1p(-np.exp(np.clip(log_a, -37.0, -1e-15)))
        log_surprise = np.where(log_a < -37, log_a, np.log(surprise))
        none = np.exp(np.minimum(log_M + log_surprise, 700.0))
        return np.asarray(-np.expm1(-none) * np.exp(-log_M - log_a))
    if log2_size < 52:
        others, K = round(math.exp(log_M)) - 1, loss.cutoff
        if others < K:
            return np.ones_like(log_a)
        return np.asarray(scipy.special.betaincc(float(K), float(others - K + 1), np.exp(log_a)))
    expected = np.exp(np.minimum(log_M + log_a, 700.0))
    return np.asarray(scipy.special.gammaincc(float(loss.cutoff), expected))


def _largest_sum(log_a: np.ndarray, log_e: np.ndarray) -> float:
    """Find the largest a + e; where both are below 1/2 it is at most one, and needs no exponentials."""
    if max(log_a.max(initial=-np.inf), log_e.max(initial=-np.inf)) < -LN2:
        return 1.0
    return float(np.max(np.exp(log_a) + np.exp(log_e), initial=0.0))


def expected_loss_kernel(
    log_a: Float[Any, "..."],
    log_e: Float[Any, "..."] | float,
    log2_size: Float[Any, "..."],
    loss: RankLoss,
) -> Float[Any, "..."]:
    """Compute `expected_loss` without validation: of JAX's arrays compiled, also inside other compiled functions.

    Of arrays of NumPy it is computed on the host, where nothing is compiled. Up to some thousand targets that is no
    slower, and there a first call takes a hundredth of the time.
    """
    if on_numpy(log_a, log_e, log2_size):
        # Branches that are not taken may overflow.
        with np.errstate(all="ignore"):
            return _expected_loss(log_a, log_e, log2_size, loss)
    return _compiled_expected_loss(log_a, log_e, log2_size, loss)


def _expected_loss(log_a: Any, log_e: Any, log2_size: Any, loss: RankLoss) -> Any:
    log_M = log_database_size(log2_size)
    if loss == RankLoss("miss", 1):
        return at_most_one(_error_probability(log_a, log_e, log_M))
    # ln M keeps its shape: what depends on M alone is then computed once for all targets.
    log_a, log_e = namespace_of(log_a, log_e).broadcast_arrays(log_a, log_e)
    return at_most_one(average_over_ties(log_a, log_e, log_M, loss))


_compiled_expected_loss = jax.jit(_expected_loss, static_argnames="loss")


def losses_of(
    weight: Float[Any, "..."],
    log_a: Float[Any, "..."],
    log_e: Float[Any, "..."] | float,
    log2_size: Float[Any, ""],
    loss: RankLoss,
) -> Float[Any, "..."]:
    """Compute `expected_loss_kernel` where a target has a weight; elsewhere, on the host, it is left 0 and costs nothing."""
    if not on_numpy(weight, log_a, log2_size):
        return expected_loss_kernel(log_a, log_e, log2_size, loss)
    found, some = np.zeros(weight.shape), weight > 0
    log_a, log_e = (np.broadcast_to(each, weight.shape)[some] for each in (log_a, log_e))
    found[some] = expected_loss_kernel(log_a, log_e, log2_size, loss)
    return found


def weighted_loss(
    weight: Float[Any, "..."],
    log_a: Float[Any, "..."],
    log_e: Float[Any, "..."] | float,
    log2_size: Float[Any, "..."],
    loss: RankLoss,
) -> Float[Any, "..."]:
    """Sum the expected loss of many targets, each with its weight, one database size at a time."""

    def one_size(size: Float[Any, ""]) -> Float[Any, ""]:
        return (weight * losses_of(weight, log_a, log_e, size, loss)).sum()

    if on_numpy(log_a, log2_size):
        losses = np.array([one_size(size) for size in np.ravel(log2_size)], float)
        return losses.reshape(np.shape(log2_size))
    return jax.lax.map(one_size, log2_size.ravel()).reshape(log2_size.shape)


def _error_probability(
    log_a: Float[Any, "..."], log_e: Float[Any, "..."], log_M: Float[Any, "..."]
) -> Float[Any, "..."]:
    """Probability that the target is not first."""
    xp = namespace_of(log_a, log_e, log_M)
    log_others = log_M + xp.log1p(-xp.exp(-log_M))
    # -ln(1-a), the negative log-probability that one competitor does not score strictly higher.
    surprise, log_surprise = neg_log1m(log_a)
    beaten = -xp.expm1(-xp.exp(log_others + log_surprise))
    # Given that nobody scores higher, a competitor ties with probability e / (1-a).
    log_tied = log_e + xp.where(xp.isfinite(surprise), surprise, 0.0)
    lost_draw = reciprocal_rank_loss(xp.minimum(log_tied, 0.0), log_M)
    return beaten + (1 - beaten) * lost_draw


def log_probability(p: Float[Any, "..."]) -> Float[Any, "..."]:
    """Natural logarithm of a probability summed from others, -inf at zero, with no derivative there."""
    return log_from_zero(namespace_of(p).minimum(p, 1.0))
