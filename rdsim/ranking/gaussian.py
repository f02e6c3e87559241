r"""The rank distribution of jointly Gaussian scalars, in blocks and behind the Gaussian test channel (C1).

Query X and description U have correlation $c = |\rho| \sqrt{1 - 2^{-2R}}$. The information density
of a block is, up to a function of $x^n$, a decreasing function of $\|u^n - x^n/c\|^2$: the decoder
takes the description nearest to $b x^n$, b = 1/c. The density p(u|x) alone, which forgets how common
u is, would take the nearest to the conditional mean, b = c, and does worse. Given
$w = \|x^n\|^2 \sim \chi^2_n$,

- the target's squared distance is $(1-c^2) T$, $T \sim \chi^2_n(\lambda)$ noncentral with
  $\lambda = w (c-b)^2/(1-c^2)$;
- a competitor's is noncentral with $w b^2$, so that $a = F_{\chi^2_n(w b^2)}((1-c^2) T)$.

Where $b x^n$ is near the origin both distributions are summed as Poisson mixtures. The cumulative one is
$\sum_i \frac{z^{n/2+i} e^{-z}}{\Gamma(n/2+i+1)} P[\mathrm{Poisson}(\lambda/2) \le i]$ at $z$ half the
argument: positive terms in the log domain, exact relatively however small the probability.

Where $x^n/c$ is far from the origin, at distance L, as it mostly is at a small correlation, the
mixtures would take of the order of $L^2$ terms. There the coordinate along the axis through it is
separated from the other n-1, of squared length $q \sim \chi^2_{n-1}$: a competitor is within a radius r
if its coordinate along the axis exceeds $L - \sqrt{r^2 - q}$, a normal tail of argument h, and the mean
over q is a short Gauss rule, for its integrand varies as $e^{-hq/(2L)}$. Differences of large numbers
are rewritten as quotients, so that no correlation is too small.
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
from rdsim.ranking.rank_distribution import expected_loss, weighted_loss
from rdsim.results import result
from rdsim.transformations import on_host

_REACH: Final = 9.0
"""Standard deviations of sqrt(T) to either side that are integrated: less than 1e-18 lies beyond."""
_LEFT: Final = 90.0
"""Twice the nats of the lower cut of T: there its probability, of the order of T^(n/2), is e^(-45)."""
_LIGHTEST: Final = 1e-18  # probability below which a node of w is left out
_LONG: Final = 8
"""Letters from which a query is integrated along its squared length w and not along its length."""
_FAR: Final = 40.0
"""Distance L from which the axis is separated: by then the Poisson mixtures have 1e3 terms."""
_FAR_LETTERS: Final = 40.0
"""Least ratio of L^2 to n for it, so that q is small beside L^2 and its Gauss rule can be short."""
_ACROSS: Final = 16  # nodes of the Gauss rule for q; the coarse quadrature has half as many
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
    if score not in ("likelihood_ratio", "conditional_density"):
        raise ValueError(
            f"score must be 'likelihood_ratio' or 'conditional_density', got {score!r}"
        )
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
    # One number of terms for all, so that the sums are compiled once.
    terms = max((rule.terms for pair in rules for rule in pair), default=0)

    def quadrature(rule: _Nodes) -> tuple[Array, Array]:
        """Sum the loss over the nodes; and how far their weights are from summing to one."""
        value, total = jnp.zeros(size.shape), jnp.zeros(())
        if rule.near:
            value, total = _near_loss(rule.near, n, size, parsed, terms)
        if rule.far:
            more = _far_loss(rule.far, size, parsed)
            value, total = value + more[0], total + more[1]
        return at_most_one(value), jnp.abs(1 - total)

    values, errors, remaining = [], [], iter(rules)
    for index in range(c2.size):
        if inside[index]:
            fine_rule, coarse_rule = next(remaining)
            fine, missing = quadrature(fine_rule)
            coarse, _ = quadrature(coarse_rule)
            values.append(fine)
            errors.append(missing + jnp.abs(fine - coarse))
        else:
            # Independent descriptions all tie; a description that is the query itself always wins.
            log_e = 0.0 if c2[index] == 0 else -math.inf
            values.append(expected_loss(size, parsed, log_a=-math.inf, log_e=log_e))
            errors.append(jnp.zeros(size.shape))
    shape = (*bits.shape, *size.shape)
    return QuadratureLoss(
        value=jnp.reshape(jnp.stack(values), shape), error=jnp.reshape(jnp.stack(errors), shape)
    )


_Points = Array | np.ndarray


class _Near(NamedTuple):
    """Nodes whose distributions are summed as Poisson mixtures, at each squared length w of a query."""

    shrink: float | Array  # 1 - c^2
    target: _Points  # noncentrality of the target's squared distance, shape (w,)
    competitor: _Points  # that of a competitor's
    mass: _Points  # probability of each w
    v: _Points  # points along the target's distance, sqrt(T) = ln(1 + e^v), shape (w, t)
    step: _Points  # their spacing, shape (w,)


class _Far(NamedTuple):
    """Nodes of queries far out, whose axis is separated from the other coordinates."""

    c2: float | Array
    shrink: float | Array  # 1 - c^2
    w: _Points  # squared lengths of queries, shape (w,)
    mass: _Points  # their probabilities
    beyond: _Points  # points sqrt(T) - m along the target's distance, m^2 = w (1-c^2)/c^2, (w, t)
    step: float | Array  # their spacing
    across: _Points  # nodes q of the chi-square distribution with n-1 degrees of freedom, (q,)
    log_across: _Points  # ln of their weights


class _Nodes(NamedTuple):
    """Nodes by the distance of x/c from the origin, None where there are none; and Poisson terms."""

    near: _Near | None
    far: _Far | None
    terms: int


def _nodes(c2: float, shrink: float, n: int, count: int, score: str) -> _Nodes:
    """Choose the nodes of w, and of the target's distance at each.

    A node of one kind keeps its index in the other, without weight, so that all arrays have one shape
    and are compiled once.
    """
    w, mass = _query_rule(n, count)
    # Nodes far out, of no weight, would need more terms of the mixtures.
    w = np.minimum(w, w[mass > _LIGHTEST].max())
    if score == "conditional_density":
        all_near, terms = _near(mass, shrink, np.zeros_like(w), w * c2, n, count)
        return _Nodes(all_near, None, terms)
    distant = w > c2 * max(_FAR**2, _FAR_LETTERS * n)
    near, far, terms = None, None, 0
    if not distant.all():
        kept, weight = np.where(distant, w[~distant][0], w), np.where(distant, 0.0, mass)
        near, terms = _near(weight, shrink, kept * shrink / c2, kept / c2, n, count)
    if distant.any():
        kept, weight = np.where(distant, w, w[distant][0]), np.where(distant, mass, 0.0)
        far = _far(c2, shrink, kept, weight, n, count)
    return _Nodes(near, far, terms)


def _far(c2: float, shrink: float, w: np.ndarray, mass: np.ndarray, n: int, count: int) -> _Far:
    """Choose points along the target's distance, about its centre, and nodes q."""
    m = np.sqrt(w * shrink / c2)
    reach = _REACH + 0.5  # sqrt(T) is at most as wide as a standard normal variable
    middle = n / (np.sqrt(n + m * m) + m)
    beyond = middle[:, None] + reach * ((2 * np.arange(count) + 1) / count - 1)
    q, weight = np.zeros(1), np.ones(1)
    if n > 1:
        q, weight = _chi_square_rule(n - 1, max(min(count // 25, _ACROSS), 4))
    log_weight = np.log(np.maximum(weight, 1e-300))
    return _Far(c2, shrink, w, mass, beyond, 2 * reach / count, q, log_weight)


def _near(
    mass: np.ndarray,
    shrink: float,
    target: np.ndarray,
    competitor: np.ndarray,
    n: int,
    count: int,
) -> tuple[_Near, int]:
    """Choose v: sqrt(T) = ln(1 + e^v) has even nodes where it is large, geometric ones near zero."""
    centre = np.sqrt(n + target)
    away = centre > _REACH + 0.5  # from zero
    left = 0.5 * math.log(n) - 1.0 - _LEFT / (2 * n)
    low = np.where(away, _inverse_softplus(np.maximum(centre - _REACH, 0.5)), left)
    high = centre + _REACH
    v = low[:, None] + (high - low)[:, None] * (np.arange(count) + 0.5) / count
    most = 0.5 * float(high.max()) ** 2
    # Where a competitor's probability is not small all of its mixture is needed.
    most = max(most, min(0.5 * float(competitor.max()), 0.5 * shrink * float(high.max()) ** 2))
    terms = 1 << math.ceil(math.log2(most + 12 * math.sqrt(most) + 40))
    return _Near(shrink, target, competitor, mass, v, (high - low) / count), terms


def _inverse_softplus(x: np.ndarray) -> np.ndarray:
    return x + np.log(-np.expm1(-x))


def _query_rule(n: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Squared lengths w of queries and their probabilities.

    Short queries are integrated along their length, by the Gauss-Legendre rule: at small c the loss is
    a function of |x| with a slope at zero, so that as a function of w it behaves as a square root.
    Long queries are not near zero, and the Gauss rule of their own distribution needs fewer nodes.
    """
    if n >= _LONG:
        return _chi_square_rule(n, max(count // 8, 8))
    low = 2 * scipy.special.gammaincinv(0.5 * n, _LIGHTEST)
    high = scipy.special.chdtri(n, _LIGHTEST)
    x, weight = np.polynomial.legendre.leggauss(max(count // 4, 8))
    half = 0.5 * (math.sqrt(high) - math.sqrt(low))
    length = math.sqrt(low) + half * (1 + x)
    log_density = (n - 1) * np.log(length) - 0.5 * length**2 - scipy.special.gammaln(0.5 * n)
    log_density -= (0.5 * n - 1) * math.log(2.0)  # of the chi distribution
    return length**2, half * weight * np.exp(log_density)


def _chi_square_rule(n: int, nodes: int) -> tuple[np.ndarray, np.ndarray]:
    """Golub and Welsch's Gauss rule of the chi-square distribution with n degrees of freedom."""
    k = np.arange(nodes)
    shape = 0.5 * n - 1
    off = np.sqrt(k[1:] * (k[1:] + shape))
    half, vectors = scipy.linalg.eigh_tridiagonal(2.0 * k + 1 + shape, off)
    return 2 * half, vectors[0] ** 2


@partial(jax.jit, static_argnames=("loss", "terms"))
def _near_loss(
    near: _Near,
    n: int | Array,
    size: Float[Array, "..."],
    loss: RankLoss,
    terms: int,
) -> tuple[Float[Array, "..."], Float[Array, ""]]:
    """Sum the loss over the nodes of Poisson mixtures, and their weights.

    The target's density and a competitor's probability are mixtures, over j ~ Poisson, of Gamma
    densities and of their cumulative sums; each query is one log-sum-exp over j and the points v.
    """
    shrink = near.shrink
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
        log_weight = log_density + jnp.log(root) + jax.nn.log_sigmoid(v)
        at_most = jax.lax.cumlogsumexp(poisson(0.5 * competitor))
        log_a = logsumexp(at_most + gamma_terms(log_z + jnp.log(shrink), 0.0), axis=1)
        return jnp.exp(log_weight), jnp.minimum(log_a, 0.0)

    # One query at a time: a table of terms by points is held for one of them only.
    density, log_a = jax.lax.map(one_query, (near.target, near.competitor, near.v))
    weight = jnp.asarray(near.mass)[:, None] * near.step[:, None] * density
    return weighted_loss(weight, log_a, -jnp.inf, size, loss), jnp.sum(weight)


@partial(jax.jit, static_argnames="loss")
def _far_loss(
    far: _Far,
    size: Float[Array, "..."],
    loss: RankLoss,
) -> tuple[Float[Array, "..."], Float[Array, ""]]:
    """Sum the loss over the nodes of distant queries, and their weights.

    Each point is a mean over q of a normal density (the target's) and of a normal tail (a competitor's).
    """
    c2, shrink, w, mass, beyond, step, across, log_across = far
    w, delta = w[:, None, None], beyond[..., None]
    L, m = jnp.sqrt(w / c2), jnp.sqrt(w * shrink / c2)
    # T - m^2 with root T = m + delta, and the target's coordinate along the axis less m.
    excess = delta * (2 * m + delta)
    along = jnp.sqrt((m + delta) ** 2 - across)
    g = (excess - across) / (along + m)
    log_density = -0.5 * g**2 - 0.5 * math.log(2 * math.pi) + jnp.log((m + delta) / along)
    density = jnp.sum(jnp.exp(log_density + log_across), axis=-1)
    # h = L - s for s^2 = (1-c^2) T - q, by L^2 - s^2, in which L^2 (1-c^2)^2 = (1-c^2) m^2 cancels.
    s = jnp.sqrt(shrink * (m + delta) ** 2 - across)
    h = (w * (2 - c2) - shrink * excess + across) / (L + s)
    log_a = jnp.minimum(logsumexp(log_ndtr(-h) + log_across, axis=-1), 0.0)
    weight = jnp.asarray(mass)[:, None] * step * density
    return weighted_loss(weight, log_a, -jnp.inf, size, loss), jnp.sum(weight)
