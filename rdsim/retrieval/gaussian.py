r"""The rank law of jointly Gaussian scalars, in blocks and behind the Gaussian test channel (C1).

Query X and description U have correlation $c = |\rho| \sqrt{1 - 2^{-2R}}$. The information density
of a block is, up to a function of $x^n$, a decreasing function of $\|u^n - x^n/c\|^2$: the decoder
takes the description nearest to $b x^n$, b = 1/c. The density p(u|x) alone, which forgets how common
u is, would take the nearest to the conditional mean, b = c, and does worse. Given
$w = \|x^n\|^2 \sim \chi^2_n$,

- the target's squared distance is $(1-c^2) T$, $T \sim \chi^2_n(\lambda)$ noncentral with
  $\lambda = w (c-b)^2/(1-c^2)$;
- a competitor's is noncentral with $w b^2$, so that $a = F_{\chi^2_n(w b^2)}((1-c^2) T)$.

Both laws are Poisson mixtures. The distribution function is summed as
$\sum_i \frac{z^{n/2+i} e^{-z}}{\Gamma(n/2+i+1)} P[\mathrm{Poisson}(\lambda/2) \le i]$ at $z$ half the
argument: positive terms in the log domain, exact relatively however small the chance.
"""

import dataclasses
import math
from functools import partial
from typing import Any, Final, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import scipy.linalg
from jax.scipy.special import gammaln, logsumexp, xlogy
from jaxtyping import Array, Float

from rdsim import validation
from rdsim.retrieval.loss import Loss, RankLoss, parse_loss
from rdsim.retrieval.rank_law import expected_loss, expected_loss_kernel, reach_of

_REACH: Final = 9.0  # standard deviations of a root of T beyond which less than 1e-18 lies
_LEFT: Final = 90.0  # T is cut where its chance, of the order of T^(n/2), is e^(-45)
_LIGHTEST: Final = 1e-18  # chance of a node of w that is left out
MAX_TERMS: Final = 1 << 14
"""Terms of the Poisson mixtures; more are needed when the correlation is tiny."""


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, kw_only=True)
class QuadratureLoss:
    """An expected loss from a quadrature.

    Attributes:
        value: expected loss in [0, 1], shape (...).
        error: estimated absolute error, the change against half the nodes, shape (...); an
            estimate and not a proof.

    """

    __no_type_check__ = True

    value: Float[Array, "..."]
    error: Float[Array, "..."]


def gaussian_rank_loss(
    correlation: Any,
    log2_size: Any,
    loss: Loss,
    *,
    n: Any = 1,
    rate: Any = math.inf,
    score: str = "likelihood_ratio",
    nodes: Any = 400,
) -> QuadratureLoss:
    r"""Compute the expected rank loss of Gaussian items, by default ranked by likelihood ratio.

    Args:
        correlation: $\rho$ of query and item letter, in [-1, 1].
        log2_size: log2 M >= 1, any shape.
        loss: "error", "reciprocal_rank", ("miss", K) or "dcg".
        n: letters in an item, 1 to 512.
        rate: R >= 0, bits a letter kept by the Gaussian test channel, any shape; inf stores the
            item itself.
        score: "likelihood_ratio", log p(u|x)/p(u), which is optimal, or "conditional_density",
            log p(u|x).
        nodes: points of the trapezoidal rule along the target's distance, at least 32; w has an
            eighth of them by Gauss's rule.

    Returns:
        The loss and the estimate of its error, the shape of rate followed by that of log2_size.

    Raises:
        ValueError: if an argument is out of range, the score is unknown, or the correlation that is left after
            compression is so small that more than `MAX_TERMS` terms are needed.
        TypeError: if n or nodes is not an integer.
        RuntimeError: if float64 is off.

    References:
        Johnson, Kotz and Balakrishnan (1995), Continuous Univariate Distributions 2, chapter 29,
        for the mixture. Gauss's rule by eigenvalues: Golub and Welsch (1969).

    """
    validation.require_float64("gaussian_rank_loss")
    parsed = parse_loss(loss)
    rho = float(validation.interval("correlation", correlation, low=-1.0, high=1.0, ndim=0))
    size = validation.log2_size(log2_size)
    n = validation.integer("n", n, low=1, high=512)
    bits = np.asarray(validation.not_empty("rate", validation.interval("rate", rate, low=0.0)))
    nodes = validation.integer("nodes", nodes, low=32)
    if score not in ("likelihood_ratio", "conditional_density"):
        raise ValueError(
            f"score must be 'likelihood_ratio' or 'conditional_density', got {score!r}"
        )
    # One host loop over rates, because the nodes are laid out on the host for each.
    kept = rho * rho * -np.expm1(-2 * math.log(2.0) * bits.ravel())
    inside = kept[(kept > 0) & (kept < 1)]
    laid = [[_nodes(c2, n, count, score) for c2 in inside] for count in (nodes, nodes // 2)]
    terms = max((rule.terms for rules in laid for rule in rules), default=0)
    if terms > MAX_TERMS:
        raise ValueError(
            f"the correlation between query and description, {math.sqrt(inside.min()):.3g}, is "
            f"too small for n = {n}: {terms} terms are needed, at most {MAX_TERMS} are taken"
        )
    reach = reach_of(size)
    quadrature = iter(
        (fine, fine_missing + jnp.abs(fine - coarse))
        for (fine, fine_missing), (coarse, _) in (
            (_loss(*rule[:-1], n, size, parsed, terms, reach) for rule in pair)
            for pair in zip(*laid, strict=True)
        )
    )
    plain = {
        c2: expected_loss(size, parsed, log_a=-math.inf, log_e=0.0 if c2 == 0 else -math.inf)
        for c2 in (0.0, 1.0)
    }
    found = [
        (plain[c2], jnp.zeros_like(plain[c2])) if c2 in plain else next(quadrature)
        for c2 in kept.tolist()
    ]
    shape = (*bits.shape, *size.shape)
    value, error = (jnp.reshape(jnp.stack(part), shape) for part in zip(*found, strict=True))
    return QuadratureLoss(value=value, error=error)


class _Nodes(NamedTuple):
    """Where the quadrature looks: of each w its chance, and points v along the target's distance.

    The chances of a competitor and of the target depend on w through their noncentralities.
    """

    shrink: float  # 1 - c^2
    target: np.ndarray  # noncentralities, shape (w,)
    competitor: np.ndarray
    chance: np.ndarray
    v: np.ndarray  # shape (w, t)
    step: np.ndarray
    terms: int


def _nodes(c2: float, n: int, count: int, score: str) -> _Nodes:
    """Lay out the nodes: root T = ln(1 + e^v) is a root's width wide and geometric near zero."""
    w, chance = _chi_square_rule(n, max(count // 8, 8))
    # Weightless nodes far out would only ask for more terms.
    w = np.minimum(w, w[chance > _LIGHTEST].max())
    b2 = 1 / c2 if score == "likelihood_ratio" else c2
    target = w * (1 - c2) / c2 if score == "likelihood_ratio" else np.zeros_like(w)
    centre = np.sqrt(n + target)
    far = centre > _REACH + 0.5
    left = 0.5 * math.log(n) - 1.0 - _LEFT / (2 * n)
    low = np.where(far, _inverse_softplus(np.maximum(centre - _REACH, 0.5)), left)
    high = centre + _REACH
    v = low[:, None] + (high - low)[:, None] * (np.arange(count) + 0.5) / count
    most = 0.5 * float(high.max()) ** 2
    # A chance of a competitor that is not small needs all of its mixture.
    most = max(most, min(0.5 * b2 * float(w.max()), 0.5 * (1 - c2) * float(high.max()) ** 2))
    terms = 1 << math.ceil(math.log2(most + 12 * math.sqrt(most) + 40))
    return _Nodes(1 - c2, target, w * b2, chance, v, (high - low) / count, terms)


def _inverse_softplus(x: np.ndarray) -> np.ndarray:
    return x + np.log(-np.expm1(-x))


def _chi_square_rule(n: int, nodes: int) -> tuple[np.ndarray, np.ndarray]:
    """Gauss's rule for the chi-square law with n degrees of freedom, weights summing to one."""
    k = np.arange(nodes)
    shape = 0.5 * n - 1
    off = np.sqrt(k[1:] * (k[1:] + shape))
    half, vectors = scipy.linalg.eigh_tridiagonal(2.0 * k + 1 + shape, off)
    return 2 * half, vectors[0] ** 2


@partial(jax.jit, static_argnames=("loss", "terms", "reach"))
def _loss(
    shrink: float | Float[Array, ""],
    target: Float[Array, " w"],
    competitor: Float[Array, " w"],
    chance: Float[Array, " w"],
    v: Float[Array, "w t"],
    step: Float[Array, " w"],
    n: int | Array,
    size: Float[Array, "..."],
    loss: RankLoss,
    terms: int,
    reach: int,
) -> tuple[Float[Array, "..."], Float[Array, ""]]:
    """Compute the loss, and how far the weights are from summing to one."""
    j = jnp.arange(terms, dtype=float)
    half = 0.5 * jnp.asarray(n, float)

    def poisson(mean: Float[Array, ""]) -> Float[Array, " j"]:
        return xlogy(j, mean) - mean - gammaln(j + 1)

    def gamma_terms(log_z: Float[Array, " t"], more: float) -> Float[Array, "t j"]:
        power = half + j + more
        return power * log_z[:, None] - jnp.exp(log_z)[:, None] - gammaln(power + 1)

    def one_query(arguments: tuple[Array, Array, Array]) -> tuple[Array, Array]:
        target, competitor, v = arguments
        root = jax.nn.softplus(v)
        log_z = 2 * jnp.log(root) - math.log(2.0)
        log_density = logsumexp(poisson(0.5 * target) + gamma_terms(log_z, -1.0), axis=1)
        # dz = root * d root = root * sigmoid(v) dv
        log_law = log_density + jnp.log(root) + jax.nn.log_sigmoid(v)
        at_most = jax.lax.cumlogsumexp(poisson(0.5 * competitor))
        log_a = logsumexp(at_most + gamma_terms(log_z + jnp.log(shrink), 0.0), axis=1)
        return jnp.exp(log_law), jnp.minimum(log_a, 0.0)

    law, log_a = jax.lax.map(one_query, (target, competitor, v))
    weight = chance[:, None] * step[:, None] * law

    def one_size(size: Float[Array, ""]) -> Float[Array, ""]:
        return jnp.sum(weight * expected_loss_kernel(log_a, -jnp.inf, size, loss, reach))

    value = jax.lax.map(one_size, size.ravel()).reshape(size.shape)
    return value, jnp.abs(1 - jnp.sum(weight))
