r"""The cost of learning a retrieval system from N samples, exactly on the true distribution (C22).

Of an item Y and K query modalities that are independent given it, N samples give the counts. From
them come the pmf of Y, the channels $P(x_k|y)$ (estimates of Krichevsky and Trofimov: half a count
is added everywhere), the test channel Q(u|y) of the estimated pmf, and the decoder's scores
$\hat P(x_1..x_K|u)$. On the true distribution the learned code costs, against the best decoder of
the *same* stored descriptions (and so at the same rate),

$$\Delta = P_{err}(Q, \hat P) - P_{err}(Q, P) \ge 0, \qquad
  \Delta \le E\, \| P_{X|U} - \hat P_{X|U} \|_1 \le \sqrt{2 \ln 2 \; D(P_{X|U} \| \hat P_{X|U} | P_U)},$$

the first bound being that of a plug-in decision in a database of any size: the M posteriors
$P(x|u_j)/M$ together err by at most that norm. By data processing the divergence is at most that of
the joint distributions of $(X_1..X_K, Y)$, on average about $(|Y| - 1 + K |Y| (|V| - 1)) / (2 N \ln
2)$ bits: linear in K, so the bound grows as $\sqrt{K/N}$.
"""

from typing import Final

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from rdsim import validation
from rdsim.information import LN2, mutual_information, safe_log2
from rdsim.limits.rate_distortion.discrete import rate_distortion_curve
from rdsim.number_types import ArrayLike
from rdsim.ranking.codewords import scored_loss
from rdsim.results import result
from rdsim.transformations import M_IS_AN_INTEGER, not_differentiable

_COUNTS: Final = "numbers of samples are integers"


@result
class LearnedRetrieval:
    r"""A code learned from counts, evaluated exactly on the true distribution.

    Attributes:
        error: probability that the learned code does not rank the target first.
        best_error: the same for the decoder that knows the distribution, with the same
            descriptions.
        rate: I(U;Y) of the learned test channel, bits per item.
        lagrangian_excess: $F(q_N) - F(q^*)$ of the learned output marginal on the true pmf, bits;
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
    p: ArrayLike,
    channels: ArrayLike,
    item_counts: ArrayLike,
    query_counts: ArrayLike,
    distortions: ArrayLike,
    *,
    slope: ArrayLike,
    log2_size: ArrayLike,
    active: ArrayLike | None = None,
) -> LearnedRetrieval:
    r"""Learn a code from counts and evaluate it exactly, under the error loss.

    $$\hat p_y = \frac{n_y + 1/2}{N + |Y|/2}, \qquad
      \hat P(v|y) = \frac{n_{yv}^{(k)} + 1/2}{n_y + |V|/2}.$$

    It may be traced and mapped: the checks of values are then the caller's promise. The table of
    all queries has $|V|^K$ rows.

    Args:
        p: true pmf of the item, shape (|Y|,).
        channels: true $P(x_k|y)$, shape (K, |Y|, |V|), rows summing to one.
        item_counts: n_y, shape (|Y|,).
        query_counts: samples with item y and letter v in modality k, shape (K, |Y|, |V|), each
            modality with the sum n_y in row y.
        distortions: d(y,u) of the stored description, shape (|Y|, |U|).
        slope: s > 0 of the test channel, bits per unit of distortion, a scalar.
        log2_size: log2 M >= 1, a scalar.
        active: which modalities are queried, shape (K,); all by default. The others are there to
            keep one compiled shape for every number of modalities.

    Returns:
        The learned code's numbers, scalars.

    References:
        Devroye, Gyorfi and Lugosi (1996), "A probabilistic theory of pattern recognition", Theorem
        2.2, for plug-in decisions; Krichevsky and Trofimov (1981), IEEE Trans. Inf. Theory 27(2).

    """
    p = validation.pmf("p", p)
    true = validation.channel("channels", channels, ndim=3)
    n = validation.interval("item_counts", item_counts, low=0.0, ndim=1)
    pairs = validation.interval("query_counts", query_counts, low=0.0, ndim=3)
    s = validation.positive("slope", slope, ndim=0)
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
    d = validation.interval("distortions", distortions, low=0.0, ndim=2)
    if d.shape[0] != p.size or d.shape[1] == 0:
        raise ValueError(f"distortions must have shape ({p.size}, |U|), got {d.shape}")
    size = validation.interval("log2_size", log2_size, low=1.0, high=1e5, ndim=0)
    return _evaluated(p, true, n, pairs, d, s, size, used)


@jax.jit
def _evaluated(
    p: Float[Array, " y"],
    true: Float[Array, "k y v"],
    n: Float[Array, " y"],
    pairs: Float[Array, "k y v"],
    d: Float[Array, "y u"],
    s: Float[Array, ""],
    size: Float[Array, ""],
    used: Bool[Array, " k"],
) -> LearnedRetrieval:
    """Estimate pmf and channels, design the code for them, and measure it on the true ones.

    The learned code is the optimal test channel of the estimated pmf at the slope s, and its decoder ranks by the
    estimated P(x|u). Beside it stand the code of the true pmf and the decoder that knows the true P(x|u); both are
    evaluated exactly, under the true distribution.
    """
    # Krichevsky and Trofimov's estimate: half a count is added to every letter, so that none has probability zero.
    estimated = (n + 0.5) / (n.sum() + 0.5 * n.size)
    learned = (pairs + 0.5) / (n[:, None] + 0.5 * true.shape[-1])
    # Mapping over the two pmfs, and below over the two decoders, compiles each program once.
    learned_q, best_q = jax.lax.map(
        lambda one: _output_marginal(one, d, s), jnp.stack([estimated, p])
    )
    # Test channel of both codes: Q(u|y) proportional to q_u 2^(-s d(y,u)), at the slope that is given and not at a
    # rate.
    kernel = jnp.exp2(-s * d)
    Q = kernel * learned_q / (kernel @ learned_q)[:, None]
    # P(x,u) of the true source behind the learned channel, and what the learner believes of it: the rank of an item
    # depends on its description alone (C1), so that these tables give both errors exactly.
    joint = (_all_queries(true, used) * p) @ Q
    believed = (_all_queries(learned, used) * estimated) @ Q
    given, given_believed = _per_column(joint), _per_column(believed)

    def error_of(table: Float[Array, "x u"]) -> Float[Array, ""]:
        # Densities that differ by rounding alone are ties: round their logarithms to 2^-36 bits.
        scores = jnp.where(table > 0, jnp.round(safe_log2(table) * 2**36) / 2**36, -jnp.inf)
        return scored_loss(joint, size, "error", scores=scores)

    error, best_error = jax.lax.map(error_of, jnp.stack([given_believed, given]))
    # The excess of the error is bounded by the divergence and the variation of the two posteriors (Devroye et al.).
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
    """The optimal output marginal of a pmf at slope s."""
    return rate_distortion_curve(p, d, s[None], method="dense").output_marginal[0]


def _all_queries(channels: Float[Array, "k y v"], active: Bool[Array, " k"]) -> Float[Array, "x y"]:
    """P(x_1..x_K|y) of every query; a modality that is not queried always has its letter 0."""
    first = jnp.zeros(channels.shape[-1]).at[0].set(1.0)
    table = jnp.ones((1, channels.shape[1]))
    for k in range(channels.shape[0]):
        part = jnp.where(active[k], channels[k], first)
        # Modalities are independent given the item: their tables multiply, row by row of the Cartesian product.
        table = (table[:, None, :] * part.T[None]).reshape(-1, channels.shape[1])
    return table
