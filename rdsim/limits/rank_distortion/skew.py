r"""One code for several targets: what their unequal entropies cost (C19).

A code that ranks M items at an expected loss of D for each of K targets, with priors $p_k$ and
entropies $H_k$, has a rate of at least every $R_k(D)$ of `rank_rate_prior`, hence

$$R \ge \max_k R_k(D) \ge \max_k H_k - \max H(q)
    \ge \underbrace{\tfrac1K \sum_k H_k - \max H(q)}_{\text{balanced}}
      + \underbrace{\kappa\, \Delta H}_{\text{skew}}, \qquad
    \kappa = \tfrac1K, \ \Delta H = \max_k H_k - \min_k H_k ,$$

$\max H(q)$ over distributions of the rank with mean loss D. The last step holds because the mean is
at most $((K-1) \max H + \min H)/K$: with equality if all entropies but one are the largest, so
always for K = 2, and no larger kappa holds for all entropies. The step before is an equality if the
Gibbs distribution of D majorises the prior of the largest entropy and no other target needs more,
in particular if it majorises them all; that is enough, but not needed: a target that is known costs
nothing and is never majorised.

The bound holds at every D, the balanced term being as negative at large D as it must be. It fails
with any $\kappa > 0$ if that term is cut off at zero, or replaced by the mean of the true rates:
both are zero, and so is the rate, where D is the loss of ranking by the priors. So
$\kappa_{\mathrm{emp}}(D) = (\max_k R_k(D) - \text{balanced}) / \Delta H \ge 1/K$.

Side information Z of encoder and decoder puts $H(J_k|Z) = H_k - I(J_k;Z)$ in place of $H_k$, and the
bound holds all the more if the decoder alone has it.
"""

import dataclasses
import math
from typing import Final

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from rdsim import validation
from rdsim.certified import Certified
from rdsim.information import entropy
from rdsim.limits.rank_distortion._pooling import TIE
from rdsim.limits.rank_distortion.prior import rank_rate_side_information
from rdsim.limits.rank_distortion.prior_converse import gibbs_rank_distribution, majorises
from rdsim.limits.rank_distortion.uniform import TOLERANCE, checked_distortion, rank_rate
from rdsim.number_types import ArrayLike
from rdsim.ranking.loss import Loss, parse_loss
from rdsim.results import result
from rdsim.transformations import (
    M_IS_AN_INTEGER,
    least,
    not_differentiable,
    on_host,
    with_derivatives_of,
)

_ROUNDING: Final = 1e-12
"""Bits by which an entropy may exceed log2 M, or an information the entropy, as rounded."""


@result
class SkewBound:
    r"""The converse of a common code: balanced term plus skew penalty, bits.

    Attributes:
        balanced: $\frac1K \sum_k H_k - \max H(q)$, shape of D; negative at large D.
        skew: $\kappa \Delta H \ge 0$, a scalar.
        lower_of_largest: $\max_k H_k - \max H(q)$, shape of D: what the target of the largest entropy
            needs at least by itself, so that it is a lower bound too, and never below `lower`.
        entropy_difference: $\Delta H$, a scalar.
        kappa: 1/K, a scalar.

    """

    balanced: Float[Array, "..."]
    skew: Float[Array, ""]
    lower_of_largest: Float[Array, "..."]
    entropy_difference: Float[Array, ""]
    kappa: Float[Array, ""]

    @property
    def lower(self) -> Float[Array, "..."]:
        """Balanced term plus skew penalty: no code has a lower rate."""
        return self.balanced + self.skew

    @property
    def kappa_is_exact(self) -> Bool[Array, ""]:
        """Whether both lower bounds agree: all entropies but one are the largest; always for K = 2."""
        return self.lower_of_largest.min() - self.lower.min() <= TOLERANCE


@result
class CommonRate:
    r"""What a common code needs, and the converse beside it.

    Attributes:
        rate: $\max_k R_k(D)$, certified, bits, shape of D.
        rates: every $R_k(D)$, certified, shape (K, ...).
        converse: the bound by entropies alone.
        majorised: whether the Gibbs distribution of D majorises a target's prior (given every value
            of the side information), shape (K, ...).

    """

    rate: Certified
    rates: Certified
    converse: SkewBound
    majorised: Bool[Array, "k ..."]

    @property
    def attained(self) -> Bool[Array, "..."]:
        """Whether the converse of the largest entropy is met, to `TOLERANCE`."""
        return self.rate.upper - self.converse.lower_of_largest <= TOLERANCE

    @property
    def empirical_kappa(self) -> Float[Array, "..."]:
        r"""Return $\kappa_{\mathrm{emp}}(D) = (\max_k R_k(D) - \text{balanced}) / \Delta H \ge 1/K$.

        Raises:
            ValueError: if all entropies are equal.

        """
        if not self.converse.entropy_difference > TIE:
            raise ValueError("empirical_kappa needs targets of unequal entropies, got the same")
        return (self.rate.value - self.converse.balanced) / self.converse.entropy_difference


@not_differentiable(log2_size=M_IS_AN_INTEGER)
@validation.needs_float64
def skew_bound(
    entropies: ArrayLike,
    log2_size: ArrayLike,
    loss: Loss,
    *,
    distortion: ArrayLike,
    information: ArrayLike = 0.0,
) -> SkewBound:
    r"""Compute the converse of a common code from the entropies of its targets alone (C19).

    Args:
        entropies: H_k in bits, shape (K,), each at most log2 M.
        log2_size: log2 M >= 1, a scalar.
        loss: "error", "reciprocal_rank", ("miss", K) or "dcg".
        distortion: D, expected loss allowed, in [0, 1], any shape.
        information: I(J_k; Z) in bits of side information, a scalar or shape (K,), each at most H_k.

    Returns:
        Balanced term and skew penalty, rigorous to the last digit: the summation error of
        `rank_rate` is on the safe side.

    """
    parsed = parse_loss(loss)
    size = validation.interval("log2_size", log2_size, low=1.0, high=1e5, ndim=0)
    most = math.inf if validation.is_traced(size) else float(size) + _ROUNDING
    H = validation.interval("entropies", entropies, low=0.0, high=most, ndim=1)
    validation.not_empty("entropies", H)
    known = validation.interval("information", information, low=0.0)
    if known.shape not in ((), H.shape):
        raise ValueError(f"information must be a scalar or of shape {H.shape}, got {known.shape}")
    left = H - known
    if not validation.is_traced(left) and np.any(np.asarray(left) < -_ROUNDING):
        raise ValueError(f"information must not exceed the entropies {H}, got {known}")
    rank_entropy = size - rank_rate(size, parsed, distortion=checked_distortion(distortion)).lower
    return _skew_bound(with_derivatives_of(jnp.maximum(left, 0.0), left), rank_entropy)


@on_host
@validation.needs_float64
def common_rate(priors: ArrayLike, loss: Loss, *, distortion: ArrayLike) -> CommonRate:
    r"""Compute the rate that a common code of several targets needs, beside its converse (C19).

    Args:
        priors: P_k(j), shape (K, M), a pmf each; or with side information P_k(z, j), shape
            (K, |Z|, M), a joint pmf each.
        loss: "error", "reciprocal_rank", ("miss", K) or "dcg".
        distortion: D, expected loss allowed for each target, in [0, 1], any shape.

    Returns:
        $\max_k R_k(D)$, certified, and how far the bound by entropies is met.

    """
    table = validation.real_array("priors", priors)
    if table.ndim not in (2, 3) or table.shape[0] == 0 or table.shape[-1] < 2:
        raise ValueError(
            f"priors must have shape (K, M) or (K, |Z|, M) with K >= 1, M >= 2, got {table.shape}"
        )
    joints = [
        np.atleast_2d(validation.pmf(f"priors[{k}]", row, ndim=table.ndim - 1))
        for k, row in enumerate(np.asarray(table))
    ]
    D = checked_distortion(distortion)
    each = [
        rank_rate_side_information(joint, loss, distortion=D, compress="columns")
        for joint in joints
    ]
    rates = jax.tree.map(lambda *leaves: jnp.stack(leaves), *each)
    rates = dataclasses.replace(rates, tolerance=each[0].tolerance)
    conditional = jnp.array([_conditional_entropy(joint) for joint in joints])
    # A code that serves all targets needs the largest of their rates: its bounds are the largest lower and the
    # largest upper bound, which may belong to different targets.
    return CommonRate(
        rate=dataclasses.replace(
            rates, value=rates.upper.max(0), lower=rates.lower.max(0), upper=rates.upper.max(0)
        ),
        rates=rates,
        converse=skew_bound(conditional, math.log2(table.shape[-1]), loss, distortion=D),
        majorised=_majorised(joints, D, loss),
    )


@jax.jit
def _skew_bound(entropies: Float[Array, " k"], rank_entropy: Float[Array, "*grid"]) -> SkewBound:
    most = -least(-entropies)
    difference = most - least(entropies)
    kappa = jnp.asarray(1.0 / entropies.size)
    return SkewBound(
        balanced=entropies.mean() - rank_entropy,
        skew=kappa * difference,
        lower_of_largest=most - rank_entropy,
        entropy_difference=difference,
        kappa=kappa,
    )


def _conditional_entropy(joint: np.ndarray) -> Float[Array, ""]:
    """H(J|Z) of a table P(z, j)."""
    return entropy(jnp.asarray(joint.ravel())) - entropy(jnp.asarray(joint.sum(axis=1)))


def _majorised(
    joints: list[np.ndarray], D: Float[Array, "..."], loss: Loss
) -> Bool[Array, "k ..."]:
    """Whether the Gibbs distribution of each D majorises every conditional prior of each target."""

    def all_majorised(gibbs: Float[Array, " m"], joint: np.ndarray) -> bool:
        return all(majorises(gibbs, row / row.sum()) for row in joint if row.sum() > 0)

    items = joints[0].shape[1]
    of_each_loss = [
        gibbs_rank_distribution(items, loss, distortion=one) for one in np.asarray(D).ravel()
    ]
    flags = [[all_majorised(gibbs, joint) for gibbs in of_each_loss] for joint in joints]
    return jnp.reshape(jnp.array(flags, dtype=bool), (len(joints), *D.shape))
