r"""Temperatures of the modalities: fitted on samples, known from the noise, or set by a rule.

The decoder ranks codewords by $\sum_k s_k(x_k,u)/\tau_k$. A common factor of the temperatures changes
no ranking; it matters only where the scores meet a prior, as in the likelihood they are fitted by.
"""

from typing import Final

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from rdsim import validation
from rdsim.number_types import ArrayLike
from rdsim.ranking._temperature_fit import FittedTemperatures, newton_fit
from rdsim.ranking.codewords import check_sample
from rdsim.transformations import A_STOPPING_RULE, not_differentiable

TOLERANCE: Final = 1e-10
"""Gap asked for by default, in bits."""
_FITTED: Final = "the fit takes as many Newton steps as it needs"


@not_differentiable(scores=_FITTED, competitor=_FITTED, tolerance=A_STOPPING_RULE)
@validation.needs_float64
def fit_temperatures(
    scores: ArrayLike,
    target: ArrayLike,
    competitor: ArrayLike,
    *,
    shared: bool = False,
    tolerance: ArrayLike = TOLERANCE,
) -> FittedTemperatures:
    r"""Fit the temperatures under which the sample's codewords are most likely.

    $$\min_{\tau > 0} -\frac1N \sum_i \log_2 P_\tau(u_i|x_i), \quad
    P_\tau(u|x) = \frac{q_u \exp \sum_k s_k(x_k,u)/\tau_k}
                       {\sum_{u'} q_{u'} \exp \sum_k s_k(x_k,u')/\tau_k},$$

    convex in the weights $w_k = 1/\tau_k \ge 0$, by a projected Newton method. The prior q makes the
    fused score an estimate of the information density. In a direction h the third derivative is
    at most S(h) times the second, S the range of the scores. Let $\hat g$ be the gradient without its
    entries that the bound $w_k \ge 0$ holds back, $\lambda^2 = \hat g^T H^{-1} \hat g$ and
    $c = \sum_k S_k \sqrt{(H^{-1})_{kk}}$. Then the minimum is no further below than
    $(x + (1-x) \ln(1-x))/c^2$, $x = \lambda c < 1$, which bounds the gap between the value and the minimum.

    Args:
        scores: s_k of every codeword, modality and sample, finite, shape (N, m, K).
        target: codeword of each sample's item, integers in [0, K), shape (N,).
        competitor: q, distribution of a competitor's codeword, shape (K,), positive at every target.
        shared: whether all modalities have one temperature.
        tolerance: gap asked for, in bits.

    Returns:
        The temperatures; `converged` says whether they are certified, nothing is warned of.

    References:
        Bach (2010), Self-concordant analysis for logistic regression, Electron. J. Statist. 4, for
        the bound on the third derivative; Bertsekas (1982), SIAM J. Control Optim. 20, for projected
        Newton steps; White (1982), Econometrica 50, for the covariance.

    """
    table, index, mass = check_sample(scores, target, competitor)
    if index.shape != table.shape[:1] or 0 in table.shape:
        raise ValueError(
            "scores must have shape (N, m, K) and target (N,), N and m at least 1, "
            f"got {table.shape} and {index.shape}"
        )
    if not validation.is_traced(mass, index) and (np.asarray(mass)[np.asarray(index)] == 0).any():
        raise ValueError("competitor must be positive at every target, got a target without mass")
    wanted = validation.tolerance(tolerance)
    return newton_fit(table, index, mass, wanted, bool(shared))


def bayes_temperatures(
    query_noise: ArrayLike, quantisation_variance: ArrayLike = 0.0
) -> Float[Array, " m"]:
    r"""Compute the optimal temperatures of squared distances under Gaussian noise.

    $$\tau_k = n_k \Big(1 + \delta \sum_j \frac{1}{n_j}\Big)$$

    for $s_k = -\tfrac12\|x_k-u\|^2$ and queries $x_k = y + N(0, n_k I)$ of an item
    $y = u + N(0, \delta I)$: with them the fused score differs from $\ln p(x|u)$ by no more than a
    number that all codewords share. The quantisation error of the item is noise common to all
    modalities; it scales all temperatures alike, and their ratios remain those of the variances.

    Args:
        query_noise: n, noise variance of each modality's coordinates, positive, shape (m,).
        quantisation_variance: delta, variance of each coordinate of an item about its codeword.

    Returns:
        tau, shape (m,).

    """
    noise = validation.positive("query_noise", query_noise, ndim=1)
    delta = validation.non_negative("quantisation_variance", quantisation_variance, ndim=0)
    return noise * (1 + delta * jnp.sum(1 / noise))


def entropy_difference_temperatures(
    entropy_difference: ArrayLike, *, floor: ArrayLike
) -> Float[Array, " m"]:
    r"""Set temperatures by the rule of the inverse square root of an entropy difference.

    $$\tau_k = \max(\Delta H_k, \text{floor})^{-1/2}$$

    The rule needs the floor: between balanced modalities there is no difference, and it diverges. Which entropies are
    compared is the caller's choice; the difference taken the other way round reverses the order of the
    temperatures. Without a prior only their ratios matter, and where one difference is zero they are set by
    the floor.

    Args:
        entropy_difference: Delta H of each modality, bits, non-negative, shape (m,).
        floor: least difference that counts, bits, positive.

    Returns:
        tau, shape (m,).

    """
    difference = validation.non_negative("entropy_difference", entropy_difference, ndim=1)
    least = validation.positive("floor", floor, ndim=0)
    return 1 / jnp.sqrt(jnp.maximum(difference, least))
