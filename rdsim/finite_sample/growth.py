r"""How the retrieval error of a learned code grows with modalities and falls with samples (C22).

Of an item Y and K query modalities that are independent given it, N samples give the counts. From
them come the law of Y, the channels $P(x_k|y)$ (estimates of Krichevsky and Trofimov: half a count
is added everywhere), the test channel Q(u|y) of the estimated law, and the decoder's scores
$\hat P(x_1..x_K|u)$. On the true law the learned code costs, against the best decoder of the
*same* stored descriptions (and so at the same rate),

$$\Delta = P_{err}(Q, \hat P) - P_{err}(Q, P) \ge 0, \qquad
  \Delta \le E\, \| P_{X|U} - \hat P_{X|U} \|_1 \le \sqrt{2 \ln 2 \; D(P_{X|U} \| \hat P_{X|U} | P_U)},$$

the first bound being that of a plug-in decision in a database of any size: the M posteriors
$P(x|u_j)/M$ are each wrong by a share of that norm. By data processing the divergence is at most that of
the joint laws of $(X_1..X_K, Y)$, on average about $(|Y| - 1 + K |Y| (|V| - 1)) / (2 N \ln 2)$ bits: linear in
K, so the bound grows as $\sqrt{K/N}$.
"""

import dataclasses
import math
from typing import Any, Final

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Key

from rdsim import validation
from rdsim.information import LN2, mutual_information, safe_log2
from rdsim.limits.rate_distortion.discrete import rate_distortion_curve
from rdsim.number_types import ArrayLike
from rdsim.ranking.codewords import scored_loss
from rdsim.results import result
from rdsim.transformations import M_IS_AN_INTEGER, not_differentiable, on_host

_COUNTS: Final = "numbers of samples are integers"


@result
class LearnedRetrieval:
    r"""A code learned from counts, judged exactly on the true law.

    Attributes:
        error: probability that the learned code does not rank the target first.
        best_error: the same for the decoder that knows the law, with the same descriptions.
        rate: I(U;Y) of the learned test channel, bits an item.
        lagrangian_excess: $F(q_N) - F(q^*)$ of the learned output marginal on the true law, bits;
            what learning costs the encoder (C18).
        divergence: $D(P_{X|U} \| \hat P_{X|U} | P_U)$, bits; what learning costs the decoder in
            log loss.
        variation: $E \| P_{X|U} - \hat P_{X|U} \|_1$, the bound on the excess error.

    """

    error: Float[Array, "..."]
    best_error: Float[Array, "..."]
    rate: Float[Array, "..."]
    lagrangian_excess: Float[Array, "..."]
    divergence: Float[Array, "..."]
    variation: Float[Array, "..."]

    @property
    def excess(self) -> Float[Array, "..."]:
        """Error above that of the best decoder of the same descriptions; not negative."""
        return self.error - self.best_error

    @property
    def divergence_bound(self) -> Float[Array, "..."]:
        r"""$\sqrt{2 \ln 2\, D}$, by Pinsker's inequality not below `variation`."""
        return jnp.sqrt(2 * LN2 * jnp.maximum(self.divergence, 0.0))


@not_differentiable(item_counts=_COUNTS, query_counts=_COUNTS, log2_size=M_IS_AN_INTEGER)
@validation.needs_float64
def learned_retrieval(
    py: ArrayLike,
    channels: Any,
    item_counts: ArrayLike,
    query_counts: ArrayLike,
    d: ArrayLike,
    *,
    slope: ArrayLike,
    log2_size: ArrayLike,
    active: ArrayLike | None = None,
) -> LearnedRetrieval:
    r"""Learn a code from counts and judge it exactly on the true law, under the error loss.

    $$\hat p_y = \frac{n_y + 1/2}{N + |Y|/2}, \qquad
      \hat P(v|y) = \frac{n_{yv}^{(k)} + 1/2}{n_y + |V|/2}.$$

    It may be traced and mapped: the checks of values are then the caller's promise. The table of
    all queries has $|V|^K$ rows.

    Args:
        py: true law of the item, shape (|Y|,).
        channels: true $P(x_k|y)$, shape (K, |Y|, |V|), rows summing to one.
        item_counts: n_y, shape (|Y|,).
        query_counts: samples with item y and letter v in modality k, shape (K, |Y|, |V|), each
            modality with the sum n_y in row y.
        d: distortion of the stored description, shape (|Y|, |U|).
        slope: s > 0 of the test channel, bits per unit of distortion, a scalar.
        log2_size: log2 M >= 1, a scalar.
        active: which modalities are queried, shape (K,); all by default. The others are there to
            keep one compiled shape for every number of modalities.

    Returns:
        The learned code's numbers, scalars.

    Raises:
        ValueError: if a law is no pmf, the counts do not fit each other, shapes do not match, or a
            number is out of range.

    References:
        Devroye, Gyorfi and Lugosi (1996), "A probabilistic theory of pattern recognition", Theorem
        2.2, for plug-in decisions; Krichevsky and Trofimov (1981), IEEE Trans. Inf. Theory 27(2).

    """
    p = validation.pmf("py", py)
    true = validation.channel("channels", channels, ndim=3)
    n = validation.interval("item_counts", item_counts, low=0.0, ndim=1)
    pairs = validation.interval("query_counts", query_counts, low=0.0, ndim=3)
    s = validation.interval("slope", slope, low=0.0, open_low=True, open_high=True, ndim=0)
    chosen = np.ones(true.shape[0], bool) if active is None else active
    used = validation.interval("active", chosen, low=0.0, high=1.0) > 0
    if true.shape[1] != p.size or n.shape != p.shape or pairs.shape != true.shape:
        raise ValueError(
            f"channels and query_counts must have shape (K, {p.size}, |V|) and item_counts shape "
            f"({p.size},), got {true.shape}, {pairs.shape} and {n.shape}"
        )
    if used.shape != true.shape[:1]:
        raise ValueError(f"active must have shape ({true.shape[0]},), got {used.shape}")
    if not validation.is_traced(n, pairs) and not np.array_equal(
        pairs.sum(axis=-1), np.broadcast_to(n, pairs.shape[:2])
    ):
        raise ValueError("query_counts must sum to item_counts in every modality")
    d = validation.interval("d", d, low=0.0, ndim=2)
    if d.shape[0] != p.size or d.shape[1] == 0:
        raise ValueError(f"d must have shape ({p.size}, |U|), got {d.shape}")
    size = validation.interval("log2_size", log2_size, low=1.0, high=1e5, ndim=0)
    return _judged(p, true, n, pairs, d, s, size, used)


@jax.jit
def _judged(
    p: Float[Array, " y"],
    true: Float[Array, "k y v"],
    n: Float[Array, " y"],
    pairs: Float[Array, "k y v"],
    d: Float[Array, "y u"],
    s: Float[Array, ""],
    size: Float[Array, ""],
    used: Bool[Array, " k"],
) -> LearnedRetrieval:
    law = (n + 0.5) / (n.sum() + 0.5 * n.size)
    learned = (pairs + 0.5) / (n[:, None] + 0.5 * true.shape[-1])
    # The solver and the rank law are compiled once each and run twice.
    learned_q, best_q = jax.lax.map(lambda one: _output_marginal(one, d, s), jnp.stack([law, p]))
    kernel = jnp.exp2(-s * d)
    Q = kernel * learned_q / (kernel @ learned_q)[:, None]
    joint = (_all_queries(true, used) * p) @ Q
    believed = (_all_queries(learned, used) * law) @ Q
    given, given_believed = _per_column(joint), _per_column(believed)

    def judged(table: Float[Array, "x u"]) -> Float[Array, ""]:
        # Densities that differ by rounding alone are tied.
        scores = jnp.where(table > 0, jnp.round(safe_log2(table) * 2**36) / 2**36, -jnp.inf)
        return scored_loss(joint, size, "error", scores=scores)

    error, best_error = jax.lax.map(judged, jnp.stack([given_believed, given]))
    logs = safe_log2(given) - safe_log2(given_believed)
    return LearnedRetrieval(
        error=error,
        best_error=best_error,
        rate=mutual_information(p[:, None] * Q),
        lagrangian_excess=p @ jnp.log2((kernel @ best_q) / (kernel @ learned_q)),
        divergence=jnp.sum(joint * logs),
        variation=jnp.sum(jnp.sum(joint, axis=0) * jnp.abs(given - given_believed)),
    )


def _per_column(joint: Float[Array, "x u"]) -> Float[Array, "x u"]:
    """P(x|u), zero for a description that is never stored."""
    total = jnp.sum(joint, axis=0)
    return jnp.where(total > 0, joint / jnp.where(total > 0, total, 1.0), 0.0)


def _output_marginal(
    p: Float[Array, " y"], d: Float[Array, "y u"], s: Float[Array, ""]
) -> Float[Array, " u"]:
    return rate_distortion_curve(p, d, s[None], method="dense").output_marginal[0]


def _all_queries(channels: Float[Array, "k y v"], active: Bool[Array, " k"]) -> Float[Array, "x y"]:
    """P(x_1..x_K|y) of every query; a modality that is not used always shows its letter 0."""
    first = jnp.zeros(channels.shape[-1]).at[0].set(1.0)
    table = jnp.ones((1, channels.shape[1]))
    for k in range(channels.shape[0]):
        part = jnp.where(active[k], channels[k], first)
        table = (table[:, None, :] * part.T[None]).reshape(-1, channels.shape[1])
    return table


@result
class PowerLaw:
    r"""A power law $y = C \prod_j x_j^{b_j}$ fitted to means with errors.

    Attributes:
        exponent: b, shape (F,), or () for one factor.
        lower: lower end of the bootstrap interval of each exponent.
        upper: upper end.
        coefficient: C, shape ().
        chi_square: weighted sum of squared residuals in logarithms, shape (); far above the
            degrees of freedom the points follow no power law and the interval is that of a
            description only.
        degrees_of_freedom: points less fitted numbers.
        confidence: of each interval.

    """

    exponent: Float[Array, "..."]
    lower: Float[Array, "..."]
    upper: Float[Array, "..."]
    coefficient: Float[Array, ""]
    chi_square: Float[Array, ""]
    degrees_of_freedom: int = dataclasses.field(metadata={"static": True})
    confidence: float = dataclasses.field(metadata={"static": True})


@on_host
def fit_exponent(
    x: ArrayLike,
    y: ArrayLike,
    y_error: ArrayLike,
    key: Key[Array, ""],
    *,
    resamples: int = 2000,
    confidence: float = 0.95,
) -> PowerLaw:
    r"""Fit a power law to means with known standard errors, by weighted least squares of logarithms.

    $$\min_{a, b} \sum_i \frac{(\ln y_i - a - \sum_j b_j \ln x_{ij})^2}{(\sigma_i / y_i)^2}.$$

    The interval is a parametric bootstrap: $\ln y_i$ is drawn anew with its error $\sigma_i / y_i$,
    independently for each point.

    Args:
        x: factors > 0, shape (P,) or (P, F).
        y: means > 0, shape (P,).
        y_error: standard errors > 0, shape (P,), small beside y.
        key: PRNG key of the bootstrap.
        resamples: of the bootstrap, at least 100.
        confidence: in (0, 1).

    Returns:
        The fit.

    Raises:
        ValueError: if a value is not positive, shapes do not fit, there are fewer points than
            numbers to fit, or the factors do not determine them.
        TypeError: if the key is not a typed key.

    References:
        Efron and Tibshirani (1993), "An introduction to the bootstrap", chapter 9.

    """
    validation.prng_key("key", key)
    design, means = _design(x, y)
    errors = np.asarray(
        validation.interval("y_error", y_error, low=0.0, open_low=True, open_high=True, ndim=1)
    )
    if errors.shape != means.shape:
        raise ValueError(f"y_error must have the shape {means.shape} of y, got {errors.shape}")
    number = validation.integer("resamples", resamples, low=100)
    noise = np.asarray(jax.random.normal(key, (number, means.size)))
    return _fitted(x, design, means, errors, np.log(means) + errors / means * noise, confidence)


@on_host
def fit_exponent_of_trials(
    x: ArrayLike,
    trials: ArrayLike,
    key: Key[Array, ""],
    *,
    resamples: int = 2000,
    confidence: float = 0.95,
) -> PowerLaw:
    """Fit a power law to the means of trials that measured all points, resampling whole trials.

    Points measured with common random numbers err together; resampling a trial with all its
    points keeps that, which a bootstrap of independent errors would not.

    Args:
        x: factors > 0, shape (P,) or (P, F).
        trials: one row a trial, shape (T, P), T >= 10, with positive column means.
        key: PRNG key of the bootstrap.
        resamples: of the bootstrap, at least 100.
        confidence: in (0, 1).

    Returns:
        The fit, weighted by the standard errors of the columns.

    Raises:
        ValueError: as `fit_exponent`, if there are too few trials, or if a mean or a resampled mean
            is not positive.
        TypeError: if the key is not a typed key.

    """
    validation.prng_key("key", key)
    table = np.asarray(validation.coordinates("trials", trials, ndim=2))
    if len(table) < 10:
        raise ValueError(f"trials must hold at least 10 trials, got {len(table)}")
    design, means = _design(x, table.mean(axis=0), "the column means of trials")
    errors = table.std(axis=0, ddof=1) / math.sqrt(len(table))
    if not (errors > 0).all():
        raise ValueError(f"trials must vary in every column, not in {int(np.argmin(errors))}")
    number = validation.integer("resamples", resamples, low=100)
    pick = jax.random.randint(key, (number, len(table)), 0, len(table))
    share = np.stack([np.bincount(row, minlength=len(table)) for row in np.asarray(pick)])
    drawn = share @ table / len(table)
    if not (drawn > 0).all():
        raise ValueError("trials must be so many that no resampled mean fails to be positive")
    return _fitted(x, design, means, errors, np.log(drawn), confidence)


def _design(x: Any, y: Any, name: str = "y") -> tuple[np.ndarray, np.ndarray]:
    factors = np.asarray(validation.interval("x", x, low=0.0, open_low=True, open_high=True))
    means = np.asarray(validation.interval(name, y, low=0.0, open_low=True, open_high=True, ndim=1))
    if factors.ndim not in (1, 2) or len(factors) != means.size:
        raise ValueError(
            f"x must have shape ({means.size},) or ({means.size}, F), got {factors.shape}"
        )
    logs = np.log(factors.reshape(means.size, -1))
    design = np.concatenate([np.ones((means.size, 1)), logs], axis=1)
    if np.linalg.matrix_rank(design) < design.shape[1]:
        raise ValueError(
            f"x must determine a coefficient and {logs.shape[1]} exponents, got {means.size} points"
        )
    return design, means


def _fitted(
    x: Any,
    design: np.ndarray,
    means: np.ndarray,
    errors: np.ndarray,
    drawn: np.ndarray,
    confidence: float,
) -> PowerLaw:
    """The fit of the means, and of every row of drawn log means with the same weights."""
    covered = float(validation.open_unit("confidence", confidence))
    weight = means / errors
    inverse = np.linalg.pinv(design * weight[:, None])
    best = inverse @ (weight * np.log(means))
    ends = np.quantile((drawn * weight) @ inverse.T, [(1 - covered) / 2, (1 + covered) / 2], axis=0)
    shape = np.shape(x)[1:]
    return PowerLaw(
        exponent=jnp.asarray(best[1:].reshape(shape)),
        lower=jnp.asarray(ends[0, 1:].reshape(shape)),
        upper=jnp.asarray(ends[1, 1:].reshape(shape)),
        coefficient=jnp.asarray(math.exp(best[0])),
        chi_square=jnp.asarray(np.sum((weight * (np.log(means) - design @ best)) ** 2)),
        degrees_of_freedom=means.size - design.shape[1],
        confidence=covered,
    )
