r"""The rank of one target among items of which some tie with it: drawn at random, or averaged exactly.

With b items ahead of the target and t items at its score, itself included, and ties broken at random,
the rank is uniform on b+1..b+t. A rank loss $\rho$ then has the mean
$\frac1t \sum_{r=b+1}^{b+t} \rho(r)$, for example

$$E\frac1r = \frac{1}{t} \sum_{i=1}^{t} \frac{1}{b+i} = \frac{\psi(b+t+1) - \psi(b+1)}{t}, \qquad
  P(r \le k) = \min\{1, \max\{0, (k-b)/t\}\}.$$

McSherry and Najork (2008), "Computing information retrieval performance measures efficiently in the
presence of tied scores", ECIR.
"""

from typing import Any, Final

import jax
import jax.numpy as jnp
import numpy as np
import scipy
from jaxtyping import Array, Float, Int32, Key

from rdsim import validation
from rdsim.number_types import ArrayLike
from rdsim.ranking.loss import Loss, parse_loss
from rdsim.ranking.metrics.judgements import checked_scores
from rdsim.ranking.score_order import target_score

_TERMS: Final = 64
"""Terms that are added one by one. A difference of digammas loses digits where few items tie, and the
Euler-Maclaurin formula errs by less than 1e-9 over the whole sum only beyond so many."""


def rank(key: Key[Array, ""], scores: ArrayLike, target: ArrayLike) -> Int32[Array, "..."]:
    r"""Draw the rank of the target, ties broken uniformly at random.

    $$R = 1 + \#\{j : s_j > s_t\} + U, \quad U \sim \mathrm{Unif}\{0, \dots,
    \#\{j \ne t : s_j = s_t\}\}.$$

    Args:
        key: PRNG key; the queries of one call draw their U independently.
        scores: shape (..., M), M >= 2, infinities allowed; higher is better.
        target: integers in [0, M), shape (...), the index of the target of each query.

    Returns:
        R in {1..M}, int32, shape (...). `reciprocal_rank` is the mean of 1/R, `recall` the
        probability of R <= k.

    """
    validation.prng_key("key", key)
    s = jnp.asarray(checked_scores(scores), float)
    t = validation.integer_array("target", target)
    if t.shape != s.shape[:-1]:
        raise ValueError(
            f"target must have the shape {s.shape[:-1]} of the queries, got shape {t.shape}"
        )
    validation.interval("target", t, low=0.0, high=s.shape[-1] - 1.0)
    return _rank(key, s, jnp.asarray(t))


def tied_loss(ahead: ArrayLike, tied: ArrayLike, loss: Loss) -> Float[np.ndarray, "..."]:
    r"""Average a rank loss over the order of the ties, $\frac1t \sum_{r=b+1}^{b+t} \rho(r)$.

    Args:
        ahead: b >= 0, the items ahead of the target, integers of any shape.
        tied: t >= 1, integers of the same shape; the target counts.
        loss: the rank loss, a `Loss`.

    Returns:
        Loss in [0, 1], shape of the counts.

    """
    return np.asarray(1 - tied_gain(ahead, tied, loss))


def tied_gain(ahead: ArrayLike, tied: ArrayLike, loss: Loss) -> Float[np.ndarray, "..."]:
    r"""Average the gain $1 - \rho(r)$ over the order of the ties, with `tied_loss`'s arguments.

    The reciprocal rank itself, for example, which keeps its relative accuracy where it is small.
    """
    parsed = parse_loss(loss)
    b, t = np.asarray(ahead, np.float64), np.asarray(tied, np.float64)
    if parsed.kind == "miss":
        return np.asarray(np.clip(parsed.cutoff - b, 0, t) / t)
    ranks = b[..., None] + 1 + np.arange(_TERMS)
    listed = np.arange(_TERMS) < t[..., None]
    reciprocal = parsed.kind == "reciprocal_rank"
    gain = np.where(listed, 1 / ranks if reciprocal else 1 / np.log2(1 + ranks), 0.0).sum(axis=-1)
    # Ties are seldom so many, and SciPy's special functions take a fifth of a second to import.
    if not (t > _TERMS).any():
        return np.asarray(gain / t)
    if reciprocal:
        beyond = scipy.special.digamma(b + t + 1) - scipy.special.digamma(b + _TERMS + 1)
    else:
        beyond = _sum_of_discounts(b + _TERMS + 2, b + np.maximum(t, _TERMS + 1) + 1)
    return np.asarray((gain + np.where(t > _TERMS, beyond, 0.0)) / t)


def _sum_of_discounts(first: Any, last: Any) -> Any:
    r"""$\sum_{x=first}^{last} 1/\log_2 x$ for large first, by the Euler-Maclaurin formula."""
    log_first, log_last = np.log(first), np.log(last)
    integral = scipy.special.expi(log_last) - scipy.special.expi(log_first)
    ends = (1 / log_first + 1 / log_last) / 2
    slopes = (1 / (first * log_first**2) - 1 / (last * log_last**2)) / 12
    return np.log(2.0) * (integral + ends + slopes)


@jax.jit
def _rank(
    key: Key[Array, ""], scores: Float[Array, "*queries M"], target: Array
) -> Int32[Array, "*queries"]:
    own, is_target = target_score(scores, target)
    # The target is tied with itself, however its score is rounded.
    ahead = jnp.sum((scores > own) & ~is_target, axis=-1, dtype=jnp.int32)
    tied = jnp.sum((scores == own) | is_target, axis=-1, dtype=jnp.int32)
    # The upper end of randint is exclusive, and the target itself is among the tied.
    return 1 + ahead + jax.random.randint(key, tied.shape, 0, tied, jnp.int32)
