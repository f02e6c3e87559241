r"""The rank distribution of jointly Gaussian scalars, in blocks and behind the Gaussian test channel (C1).

Query X and description U have correlation $c = |\rho| \sqrt{1 - 2^{-2R}}$. The information density
of a block is, up to a function of $x^n$, a decreasing function of $\|u^n - x^n/c\|^2$: the decoder
takes the description nearest to $b x^n$, b = 1/c. The density p(u|x) alone, which forgets how common
u is, would take the nearest to the conditional mean, b = c, and does worse. Given
$w = \|x^n\|^2 \sim \chi^2_n$,

- the target's squared distance is $(1-c^2) T$, $T \sim \chi^2_n(\lambda)$ noncentral with
  $\lambda = w (c-b)^2/(1-c^2)$;
- a competitor's is noncentral with $w b^2$, so that $a = F_{\chi^2_n(w b^2)}((1-c^2) T)$.

Where $b x^n$ is near the origin both distributions are summed as Poisson mixtures (`_near_origin`). Where it is far, as
it mostly is at a small correlation, the coordinate along the axis through it is separated from the others (`_far_out`).
"""

import math
from typing import Final, NamedTuple

import jax.numpy as jnp
import numpy as np
import scipy
from jaxtyping import Array, Float

from rdsim import validation
from rdsim.information import at_most_one
from rdsim.number_types import ArrayLike, Integer
from rdsim.ranking.gaussian._far_out import FarNodes, chi_square_rule, far_nodes, far_targets
from rdsim.ranking.gaussian._near_origin import NearNodes, near_nodes, near_targets
from rdsim.ranking.loss import Loss, parse_loss
from rdsim.ranking.rank_distribution import expected_loss, weighted_loss
from rdsim.results import result
from rdsim.transformations import on_host

_LIGHTEST: Final = 1e-18  # probability below which a node of w is left out
_LONG: Final = 8
"""Letters from which a query is integrated along its squared length w and not along its length."""
_FAR: Final = 40.0
"""Distance L from which the axis is separated: by then the Poisson mixtures have 1e3 terms."""
_FAR_LETTERS: Final = 40.0
"""Least ratio of L^2 to n for it, so that q is small beside L^2 and its Gauss rule can be short."""
_INDEPENDENT: Final = 1e-40
"""c^2 below which query and description count as independent: a loss then changes by less than c."""


@result
class QuadratureLoss:
    """An expected loss from a quadrature.

    Attributes:
        value: expected loss in [0, 1], shape (...).
        error: estimated absolute error, the change against half the nodes, shape (...); an
            estimate and not a proof.

    """

    value: Float[Array, "..."]
    error: Float[Array, "..."]


@on_host
@validation.needs_float64
def gaussian_rank_loss(
    correlation: ArrayLike,
    log2_size: ArrayLike,
    loss: Loss,
    *,
    n: Integer = 1,
    rate: ArrayLike = math.inf,
    score: str = "likelihood_ratio",
    nodes: Integer = 400,
) -> QuadratureLoss:
    r"""Compute the expected rank loss of Gaussian items, by default ranked by likelihood ratio.

    Args:
        correlation: $\rho$ of query and item letter, in [-1, 1].
        log2_size: log2 M >= 1, any shape.
        loss: the rank loss, a `Loss`.
        n: letters in an item, 1 to 512.
        rate: R >= 0, bits per letter kept by the Gaussian test channel, any shape; inf stores the
            item itself.
        score: "likelihood_ratio", log p(u|x)/p(u), which is optimal, or "conditional_density",
            log p(u|x).
        nodes: points of the trapezoidal rule along the target's distance, at least 32; w has an
            eighth of them, a quarter where n is below 8, by Gauss's rules.

    Returns:
        The loss and the estimate of its error, the shape of rate followed by that of log2_size.

    References:
        Johnson, Kotz and Balakrishnan (1995), Continuous Univariate Distributions 2, chapter 29,
        for the mixture. Gauss's rule by eigenvalues: Golub and Welsch (1969).

    """
    parsed = parse_loss(loss)
    rho = float(validation.interval("correlation", correlation, low=-1.0, high=1.0, ndim=0))
    size = validation.log2_size(log2_size)
    n = validation.integer("n", n, low=1, high=512)
    bits = np.asarray(validation.not_empty("rate", validation.interval("rate", rate, low=0.0)))
    nodes = validation.integer("nodes", nodes, low=32)
    validation.choice("score", score, ("likelihood_ratio", "conditional_density"))
    c2 = rho * rho * -np.expm1(-2 * math.log(2.0) * bits.ravel())
    # 1 - c^2, with its digits near c = 1.
    shrink = (1 - rho) * (1 + rho) + rho * rho * np.exp2(-2 * bits.ravel())
    c2[c2 < _INDEPENDENT] = 0.0
    inside = (c2 > 0) & (shrink > 0)
    # One loop on the host over the rates, each of which has its own nodes: fine and half as many.
    rules = [
        [_nodes(*pair, n, count, score) for count in (nodes, nodes // 2)]
        for pair in zip(c2[inside], shrink[inside], strict=True)
    ]

    def quadrature(rule: _Nodes) -> tuple[np.ndarray, float]:
        """Sum the loss over the nodes; and how far their weights are from summing to one."""
        value, total = np.zeros(size.shape), 0.0
        for targets in (
            near_targets(rule.near, n) if rule.near else None,
            far_targets(rule.far) if rule.far else None,
        ):
            if targets is not None:
                weight, log_a = targets
                value += weighted_loss(weight, log_a, -np.inf, np.asarray(size), parsed)
                total += float(weight.sum())
        return at_most_one(value), abs(1 - total)

    values, errors, remaining = [], [], iter(rules)
    for index in range(c2.size):
        if inside[index]:
            fine_rule, coarse_rule = next(remaining)
            fine, missing = quadrature(fine_rule)
            coarse, _ = quadrature(coarse_rule)
            values.append(fine)
            errors.append(missing + np.abs(fine - coarse))
        else:
            # Independent descriptions all tie; a description that is the query itself always wins.
            log_e = 0.0 if c2[index] == 0 else -math.inf
            tied = expected_loss(size, parsed, log_a=-math.inf, log_e=log_e)
            values.append(np.asarray(tied))
            errors.append(np.zeros(size.shape))
    shape = (*bits.shape, *size.shape)
    value, error = (jnp.asarray(np.reshape(each, shape), float) for each in (values, errors))
    return QuadratureLoss(value=value, error=error)


class _Nodes(NamedTuple):
    """Nodes by the distance of x/c from the origin, None where there are none."""

    near: NearNodes | None
    far: FarNodes | None


def _nodes(c2: float, shrink: float, n: int, count: int, score: str) -> _Nodes:
    """Choose the nodes of w, and of the target's distance at each."""
    w, mass = _query_rule(n, count)
    # Nodes far out, of no weight, would need more terms of the mixtures.
    w = np.minimum(w, w[mass > _LIGHTEST].max())
    if score == "conditional_density":
        return _Nodes(near_nodes(mass, shrink, np.zeros_like(w), w * c2, n, count), None)
    distant = w > c2 * max(_FAR**2, _FAR_LETTERS * n)
    near, far = None, None
    if not distant.all():
        kept = w[~distant]
        near = near_nodes(mass[~distant], shrink, kept * shrink / c2, kept / c2, n, count)
    if distant.any():
        far = far_nodes(c2, shrink, w[distant], mass[distant], n, count)
    return _Nodes(near, far)


def _query_rule(n: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Squared lengths w of queries and their probabilities.

    Short queries are integrated along their length, by the Gauss-Legendre rule: at small c the loss is
    a function of |x| with a slope at zero, so that as a function of w it behaves as a square root.
    Long queries are not near zero, and the Gauss rule of their own distribution needs fewer nodes.
    """
    if n >= _LONG:
        return chi_square_rule(n, max(count // 8, 8))
    low = 2 * scipy.special.gammaincinv(0.5 * n, _LIGHTEST)
    high = scipy.special.chdtri(n, _LIGHTEST)
    x, weight = np.polynomial.legendre.leggauss(max(count // 4, 8))
    half = 0.5 * (math.sqrt(high) - math.sqrt(low))
    length = math.sqrt(low) + half * (1 + x)
    log_density = (n - 1) * np.log(length) - 0.5 * length**2 - scipy.special.gammaln(0.5 * n)
    log_density -= (0.5 * n - 1) * math.log(2.0)  # of the chi distribution
    return length**2, half * weight * np.exp(log_density)
