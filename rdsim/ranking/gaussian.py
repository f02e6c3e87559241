r"""The rank law of jointly Gaussian scalars, in blocks and behind the Gaussian test channel (C1).

Query X and description U have correlation $c = |\rho| \sqrt{1 - 2^{-2R}}$. The information density
of a block is, up to a function of $x^n$, a decreasing function of $\|u^n - x^n/c\|^2$: the decoder
takes the description nearest to $b x^n$, b = 1/c. The density p(u|x) alone, which forgets how common
u is, would take the nearest to the conditional mean, b = c, and does worse. Given
$w = \|x^n\|^2 \sim \chi^2_n$,

- the target's squared distance is $(1-c^2) T$, $T \sim \chi^2_n(\lambda)$ noncentral with
  $\lambda = w (c-b)^2/(1-c^2)$;
- a competitor's is noncentral with $w b^2$, so that $a = F_{\chi^2_n(w b^2)}((1-c^2) T)$.

Where $b x^n$ is near the origin both laws are summed as Poisson mixtures. The distribution function is
$\sum_i \frac{z^{n/2+i} e^{-z}}{\Gamma(n/2+i+1)} P[\mathrm{Poisson}(\lambda/2) \le i]$ at $z$ half the
argument: positive terms in the log domain, exact relatively however small the probability.

Where $x^n/c$ is far from the origin, at distance L, as it mostly is at a small correlation, the
mixtures would take of the order of $L^2$ terms. There the axis through it is taken apart from the
other n-1 coordinates, of squared length $q \sim \chi^2_{n-1}$: a competitor is within a radius r if
its coordinate along the axis exceeds $L - \sqrt{r^2 - q}$, a normal tail of argument h, and the mean
over q is a short Gauss rule, for its integrand varies as $e^{-hq/(2L)}$. Differences of large numbers
are taken by hand, so that no correlation is too small.
"""

import math
from functools import partial
from typing import Final, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import scipy.linalg
import scipy.special
from jax.scipy.special import gammaln, log_ndtr, logsumexp, xlogy
from jaxtyping import Array, Float

from rdsim import validation
from rdsim.information import at_most_one
from rdsim.number_types import ArrayLike, Integer
from rdsim.ranking.loss import Loss, RankLoss, parse_loss
from rdsim.ranking.rank_law import expected_loss, expected_loss_kernel, reach_of
from rdsim.results import result
from rdsim.transformations import on_host

_REACH: Final = 9.0  # standard deviations of a root of T beyond which less than 1e-18 lies
_LEFT: Final = 90.0  # T is cut where its probability, of the order of T^(n/2), is e^(-45)
_LIGHTEST: Final = 1e-18  # probability of a node of w that is left out
_LONG: Final = 8  # letters from which a query is integrated along its squared length
_FAR: Final = 40.0  # L from which the axis is taken apart: by then the mixtures have 1e3 terms,
_FAR_LETTERS: Final = 40.0  # and L^2 must be so many times n, for q to be small beside it
_ACROSS: Final = 16  # nodes of the rule for q; half as many in the coarse quadrature
_INDEPENDENT: Final = 1e-40  # c^2 below which nothing is left: a loss then changes by less than c


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
        loss: "error", "reciprocal_rank", ("miss", K) or "dcg".
        n: letters in an item, 1 to 512.
        rate: R >= 0, bits a letter kept by the Gaussian test channel, any shape; inf stores the
            item itself.
        score: "likelihood_ratio", log p(u|x)/p(u), which is optimal, or "conditional_density",
            log p(u|x).
        nodes: points of the trapezoidal rule along the target's distance, at least 32; w has an
            eighth of them, a quarter where n is below 8, by Gauss's rules.

    Returns:
        The loss and the estimate of its error, the shape of rate followed by that of log2_size.

    Raises:
        ValueError: if an argument is out of range, or the score is unknown.
        TypeError: if n or nodes is not an integer.

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
    if score not in ("likelihood_ratio", "conditional_density"):
        raise ValueError(
            f"score must be 'likelihood_ratio' or 'conditional_density', got {score!r}"
        )
    # One host loop over rates, because the nodes are laid out on the host for each.
    shrunk = np.exp2(-2 * bits.ravel())
    kept = rho * rho * -np.expm1(-2 * math.log(2.0) * bits.ravel())
    left = (1 - rho) * (1 + rho) + rho * rho * shrunk  # 1 - c^2, with its digits near c = 1
    kept[kept < _INDEPENDENT] = 0.0
    inside = (kept > 0) & (left > 0)
    laid = [
        [_nodes(c2, rest, n, count, score) for count in (nodes, nodes // 2)]
        for c2, rest in zip(kept[inside], left[inside], strict=True)
    ]
    terms = max((rule.near.terms for pair in laid for rule in pair if rule.near), default=0)
    reach = reach_of(size)

    def quadrature(rule: _Nodes) -> tuple[Array, Array]:
        """The loss, and how far the weights are from summing to one."""
        value, total = jnp.zeros(size.shape), jnp.zeros(())
        if rule.near:
            value, total = _near_loss(*rule.near[:-1], n, size, parsed, terms, reach)
        if rule.far:
            more = _far_loss(*rule.far, size, parsed, reach)
            value, total = value + more[0], total + more[1]
        return at_most_one(value), jnp.abs(1 - total)

    certain = {
        tied: expected_loss(size, parsed, log_a=-math.inf, log_e=0.0 if tied else -math.inf)
        for tied in (False, True)
    }
    found = []
    rules = iter(laid)
    for c2, open_ in zip(kept, inside, strict=True):
        if open_:
            (fine, missing), (coarse, _) = (quadrature(rule) for rule in next(rules))
            found.append((fine, missing + jnp.abs(fine - coarse)))
        else:
            found.append((certain[c2 == 0], jnp.zeros(size.shape)))
    shape = (*bits.shape, *size.shape)
    value, error = (jnp.reshape(jnp.stack(part), shape) for part in zip(*found, strict=True))
    return QuadratureLoss(value=value, error=error)


class _Near(NamedTuple):
    """Nodes summed by Poisson mixtures: of each w its probability, and points v along the distance.

    The distributions of a competitor and of the target depend on w through their noncentralities.
    """

    shrink: float  # 1 - c^2
    target: np.ndarray  # noncentralities, shape (w,)
    competitor: np.ndarray
    chance: np.ndarray
    v: np.ndarray  # shape (w, t)
    step: np.ndarray
    terms: int


class _Far(NamedTuple):
    """Nodes whose axis is taken apart: points along the target's distance, from its centre m."""

    c2: float
    shrink: float  # 1 - c^2
    w: np.ndarray  # shape (w,)
    chance: np.ndarray
    beyond: np.ndarray  # root T less m, m^2 = w (1-c^2)/c^2, shape (w, t)
    step: float
    across: np.ndarray  # nodes q of the chi-square law with n-1 degrees of freedom, shape (q,)
    log_across: np.ndarray  # ln of their weights


class _Nodes(NamedTuple):
    """Where the quadrature looks, by the distance of x/c from the origin; None where nowhere."""

    near: _Near | None
    far: _Far | None


def _nodes(c2: float, shrink: float, n: int, count: int, score: str) -> _Nodes:
    """Lay out the nodes."""
    w, chance = _query_rule(n, count)
    # Weightless nodes far out would only ask for more terms.
    w = np.minimum(w, w[chance > _LIGHTEST].max())
    if score == "conditional_density":
        return _Nodes(_near(chance, shrink, np.zeros_like(w), w * c2, n, count), None)
    distant = w > c2 * max(_FAR**2, _FAR_LETTERS * n)
    near = far = None
    if not distant.all():
        # Distant ones keep their places, without weight: one shape is compiled once.
        held = np.where(distant, w[~distant][0], w)
        weight = np.where(distant, 0.0, chance)
        near = _near(weight, shrink, held * shrink / c2, held / c2, n, count)
    if distant.any():
        held = np.where(distant, w, w[distant][0])
        weight = np.where(distant, chance, 0.0)
        m = np.sqrt(held * shrink / c2)
        reach = _REACH + 0.5  # the root of T is as wide as a normal variable, or less
        middle = n / (np.sqrt(n + m * m) + m)
        step = 2 * reach / count
        beyond = middle[:, None] + reach * ((2 * np.arange(count) + 1) / count - 1)
        q, share = (np.zeros(1), np.ones(1)) if n == 1 else _chi_square_rule(n - 1, _across(count))
        far = _Far(c2, shrink, held, weight, beyond, step, q, np.log(np.maximum(share, 1e-300)))
    return _Nodes(near, far)


def _across(count: int) -> int:
    return max(min(count // 25, _ACROSS), 4)


def _near(
    chance: np.ndarray,
    shrink: float,
    target: np.ndarray,
    competitor: np.ndarray,
    n: int,
    count: int,
) -> _Near:
    """Lay out v: root T = ln(1 + e^v) is a root's width wide and geometric near zero."""
    centre = np.sqrt(n + target)
    away = centre > _REACH + 0.5
    left = 0.5 * math.log(n) - 1.0 - _LEFT / (2 * n)
    low = np.where(away, _inverse_softplus(np.maximum(centre - _REACH, 0.5)), left)
    high = centre + _REACH
    v = low[:, None] + (high - low)[:, None] * (np.arange(count) + 0.5) / count
    most = 0.5 * float(high.max()) ** 2
    # A probability of a competitor that is not small needs all of its mixture.
    most = max(most, min(0.5 * float(competitor.max()), 0.5 * shrink * float(high.max()) ** 2))
    terms = 1 << math.ceil(math.log2(most + 12 * math.sqrt(most) + 40))
    return _Near(shrink, target, competitor, chance, v, (high - low) / count, terms)


def _inverse_softplus(x: np.ndarray) -> np.ndarray:
    return x + np.log(-np.expm1(-x))


def _query_rule(n: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Squared lengths w of queries and their probabilities.

    Along the length of short queries, by Gauss and Legendre's rule: at small c the loss is a function
    of |x| with a slope at zero, which as a function of w has a root there. Long queries are not near
    zero, and Gauss's rule for their own law needs fewer nodes.
    """
    if n >= _LONG:
        return _chi_square_rule(n, max(count // 8, 8))
    low, high = (
        2 * scipy.special.gammaincinv(0.5 * n, _LIGHTEST),
        scipy.special.chdtri(n, _LIGHTEST),
    )
    x, weight = np.polynomial.legendre.leggauss(max(count // 4, 8))
    half = 0.5 * (math.sqrt(high) - math.sqrt(low))
    length = math.sqrt(low) + half * (1 + x)
    log_density = (n - 1) * np.log(length) - 0.5 * length**2 - scipy.special.gammaln(0.5 * n)
    log_density -= (0.5 * n - 1) * math.log(2.0)  # that of the chi distribution
    return length**2, half * weight * np.exp(log_density)


def _chi_square_rule(n: int, nodes: int) -> tuple[np.ndarray, np.ndarray]:
    """Gauss's rule for the chi-square law with n degrees of freedom, weights summing to one."""
    k = np.arange(nodes)
    shape = 0.5 * n - 1
    off = np.sqrt(k[1:] * (k[1:] + shape))
    half, vectors = scipy.linalg.eigh_tridiagonal(2.0 * k + 1 + shape, off)
    return 2 * half, vectors[0] ** 2


@partial(jax.jit, static_argnames=("loss", "terms", "reach"))
def _near_loss(
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
    """Sum the loss over the nodes, and their weights."""
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

    return _summed(weight, log_a, size, loss, reach)


@partial(jax.jit, static_argnames=("loss", "reach"))
def _far_loss(
    c2: float | Float[Array, ""],
    shrink: float | Float[Array, ""],
    w: Float[Array, " w"],
    chance: Float[Array, " w"],
    beyond: Float[Array, "w t"],
    step: float | Float[Array, ""],
    across: Float[Array, " q"],
    log_across: Float[Array, " q"],
    size: Float[Array, "..."],
    loss: RankLoss,
    reach: int,
) -> tuple[Float[Array, "..."], Float[Array, ""]]:
    """Sum the loss over the nodes, and their weights."""
    w, delta = w[:, None, None], beyond[..., None]
    L, m = jnp.sqrt(w / c2), jnp.sqrt(w * shrink / c2)
    # T - m^2 with root T = m + delta, and the target's coordinate along the axis less m.
    excess = delta * (2 * m + delta)
    along = jnp.sqrt((m + delta) ** 2 - across)
    g = (excess - across) / (along + m)
    log_law = -0.5 * g**2 - 0.5 * math.log(2 * math.pi) + jnp.log((m + delta) / along)
    law = jnp.sum(jnp.exp(log_law + log_across), axis=-1)
    # h = L - s for s^2 = (1-c^2) T - q, by L^2 - s^2, in which L^2 (1-c^2)^2 = (1-c^2) m^2 is gone.
    s = jnp.sqrt(shrink * (m + delta) ** 2 - across)
    h = (w * (2 - c2) - shrink * excess + across) / (L + s)
    log_a = jnp.minimum(logsumexp(log_ndtr(-h) + log_across, axis=-1), 0.0)
    return _summed(chance[:, None] * step * law, log_a, size, loss, reach)


def _summed(
    weight: Float[Array, "w t"],
    log_a: Float[Array, "w t"],
    size: Float[Array, "..."],
    loss: RankLoss,
    reach: int,
) -> tuple[Float[Array, "..."], Float[Array, ""]]:
    def one_size(size: Float[Array, ""]) -> Float[Array, ""]:
        return jnp.sum(weight * expected_loss_kernel(log_a, -jnp.inf, size, loss, reach))

    return jax.lax.map(one_size, size.ravel()).reshape(size.shape), jnp.sum(weight)
