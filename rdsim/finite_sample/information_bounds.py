r"""Bounds on I(X;U) from samples alone, each with an interval and the side on which it may be used.

Every estimator below has an expectation that is provably not above (or not below) I(X;U), whatever
scores it is given; better scores make it tighter. What is learned from samples must be learned from
*other* samples than those that are averaged here.

Scores, log ratios and log densities are in nats, as critics of the literature have them; estimates
are in bits. From below, with scores $t(x,u)$ in nats:

- Barber and Agakov: $E \log_2 \frac{r(X|U)}{P(X)}$ for any decoder r, P(X) known;
- Donsker and Varadhan: $(E\,t(X,U) - \ln E\,e^{t(X,U')}) / \ln 2$, U' independent of X;
- InfoNCE: $E \log_2 \frac{e^{t(x_i,u_i)}}{\frac1K \sum_j e^{t(x_i,u_j)}}$ over batches of K pairs,
  never above $\log_2 K$.

From above, with a known channel $P(u|y)$ and any prior q: $E\, D(P(\cdot|Y) \| q) = I(U;Y) + D(P_U \| q)$.

Where the averaged terms lie in a known range the interval is empirical Bernstein's and holds at
every N; otherwise it is the normal one, and `proved` is False.

Everywhere `confidence` is the coverage of the interval, in (0, 1), and `bounds` is a pair (low,
high) of nats between which every number passed must lie. Numbers that are not finite or outside
their bounds, fewer than two independent terms, and arrays of a wrong shape are ValueErrors.
"""

import math

import jax.numpy as jnp
import numpy as np

from rdsim import validation
from rdsim.finite_sample.information_estimate import (
    InformationEstimate,
    bernstein,
    checked_confidence,
    checked_range,
    checked_terms,
    mean_estimate,
    normal_quantile,
    square_batches,
)
from rdsim.information import LN2, log_share, mutual_information
from rdsim.number_types import ArrayLike
from rdsim.transformations import on_host


@on_host
def decoder_information(
    log_ratios: ArrayLike, *, bounds: ArrayLike | None = None, confidence: float = 0.95
) -> InformationEstimate:
    r"""Estimate the lower bound of Barber and Agakov, from a decoder of X given U.

    $$I(X;U) = E \log_2 \frac{P(X|U)}{P(X)} \ge E \log_2 \frac{r(X|U)}{P(X)}.$$

    Args:
        log_ratios: natural logs $\ln r(x|u) / P(x)$ at independent pairs, nats, shape (N,), N >= 2.
            The decoder r must be normalised over x and P the true distribution of X, which must be
            known.
        bounds: of the ratios; None for a normal interval.
        confidence: of the interval.

    Returns:
        The estimate in bits; its side is "lower".

    References:
        Barber and Agakov (2003), NIPS, "The IM algorithm".

    """
    span = None if bounds is None else checked_range(bounds)
    return mean_estimate("log_ratios", log_ratios, span, confidence, "lower")


@on_host
def donsker_varadhan(
    joint_scores: ArrayLike,
    product_scores: ArrayLike,
    *,
    bounds: ArrayLike,
    confidence: float = 0.95,
) -> InformationEstimate:
    r"""Estimate the Donsker-Varadhan lower bound, with an interval that holds at every N.

    $$I(X;U) \ge \frac{E\, t(X,U) - \ln E\, e^{t(X,U')}}{\ln 2} \text{ bits}.$$

    Each mean gets half of the error probability.

    Args:
        joint_scores: t at independent pairs of the joint distribution, nats, shape (N,), N >= 2.
        product_scores: t at independent pairs (x, u') whose members come from different samples,
            each sample used in one pair only, nats, shape (L,), L >= 2.
        bounds: of the scores; the logarithm of an unbounded mean has no interval.
        confidence: of the interval.

    Returns:
        The estimate in bits; its side is "lower".

    References:
        Donsker and Varadhan (1983); Belghazi et al. (2018), ICML; McAllester and Stratos (2020),
        AISTATS, for what no such bound can do: certify more than about log2 N bits.

    """
    low, high = checked_range(bounds)
    risk = 1 - checked_confidence(confidence)
    joint = checked_terms("joint_scores", joint_scores, (low, high))
    product = checked_terms("product_scores", product_scores, (low, high))
    # Scores are taken relative to the upper bound: a constant added to all of them changes no
    # digit.
    first, lower, upper = bernstein(joint - high, low - high, 0.0, risk / 2)
    mean, least, most = bernstein(np.exp(product - high), math.exp(low - high), 1.0, risk / 2)
    return InformationEstimate(
        value=jnp.asarray((first - math.log(mean)) / LN2),
        lower=jnp.asarray((lower - math.log(most)) / LN2),
        upper=jnp.asarray((upper - math.log(least)) / LN2),
        trials=jnp.asarray(min(joint.size, product.size)),
        confidence=float(confidence),
        side="lower",
        proved=True,
    )


@on_host
def infonce(
    scores: ArrayLike, *, bounds: ArrayLike | None = None, confidence: float = 0.95
) -> InformationEstimate:
    r"""Estimate the InfoNCE lower bound from batches of scores.

    $$I(X;U) \ge E\, \frac1K \sum_i \log_2
        \frac{e^{t(x_i,u_i)}}{\frac1K \sum_j e^{t(x_i,u_j)}} \le \log_2 K.$$

    A number added to all scores of a query changes nothing, whatever its size.

    Args:
        scores: t(x_i, u_j) in nats for independent batches of K independent pairs, shape
            (B, K, K), B >= 2, K >= 2; rows are queries, the diagonal holds the pairs.
        bounds: of the scores, which put each term between low - high and ln K nats; None for a
            normal interval over batches.
        confidence: of the interval.

    Returns:
        The estimate in bits; its side is "lower".

    References:
        van den Oord, Li and Vinyals (2018); Poole et al. (2019), ICML, Section 2.3.

    """
    given = None if bounds is None else checked_range(bounds)
    batches = square_batches(scores, given)
    K = batches.shape[-1]
    # ln K is added because the denominator of the bound is a mean over the batch, not a sum.
    nats = log_share(batches, np.diagonal(batches, axis1=1, axis2=2)) + math.log(K)
    span = None
    if given is not None:
        low, high = given
        # A term is ln K minus the log of a sum of K exponentials: it can neither exceed ln K, nor the range of the
        # scores, nor fall below minus that range.
        span = (low - high, min(math.log(K), high - low))
    return mean_estimate("scores", nats.mean(axis=1), span, confidence, "lower")


@on_host
def channel_information(
    channel: ArrayLike, prior: ArrayLike, *, confidence: float = 0.95
) -> InformationEstimate:
    r"""Estimate the rate of a known channel under a prior: an upper bound on I(U;Y), always proved.

    $$I(U;Y) \le E\, D(P(\cdot|Y) \| q), \qquad 0 \le D(P(\cdot|y) \| q) \le \log_2 \frac{1}{\min_u q_u}.$$

    Args:
        channel: P(u|y_i) at independent samples y_i, shape (N, |U|), N >= 2, rows summing to one.
        prior: q with every entry positive, shape (|U|,), not made from these samples.
        confidence: in (0, 1).

    Returns:
        The estimate; its side is "upper".

    References:
        Alemi et al. (2017), ICLR, "Deep variational information bottleneck", for the bound.

    """
    q = np.asarray(validation.pmf("prior", prior))
    rows = np.asarray(validation.channel("channel", channel))
    if rows.shape[1] != q.size:
        raise ValueError(f"channel must have {q.size} columns as the prior, got {rows.shape}")
    if (q == 0).any():
        raise ValueError("prior must be positive everywhere")
    terms = (rows * (np.log(np.where(rows > 0, rows, 1.0)) - np.log(q))).sum(axis=1)
    most = math.log(1 / q.min())
    # Only rounding can take a divergence out of its range.
    terms = np.clip(terms, 0.0, most)
    return mean_estimate("channel", terms, (0.0, most if most > 0 else 1.0), confidence, "upper")


@on_host
def plug_in_information(counts: ArrayLike, *, confidence: float = 0.95) -> InformationEstimate:
    r"""Estimate I(X;U) of a discrete pair from a table of counts, less its bias.

    $$\hat I = I(P_N) - \frac{k_{xu} - k_x - k_u + 1}{2N \ln 2}, \qquad
      \hat\sigma^2 = \frac1N \mathrm{Var}\, i_N(X;U),$$

    k the numbers of pairs and letters seen (Miller and Madow). The interval is the normal one
    about the estimate, asymptotic, and fails at independence, where the standard error is of order
    1/N: there $2 N \ln 2 \, I(P_N)$ has a chi-square limit.

    Args:
        counts: of the pairs (x,u), integers with a sum N >= 2, shape (|X|, |U|).
        confidence: in (0, 1), reached as N grows if X and U are dependent.

    Returns:
        The estimate, not below zero; its side is "both".

    References:
        Miller (1955); Roulston (1999), Physica D 125, for the variance.

    """
    table = validation.counts("counts", counts, ndim=2)
    N = table.sum()
    if N < 2:
        raise ValueError(f"counts must sum to at least 2 samples, got {N:g}")
    joint = table / N
    rows, columns = joint.sum(axis=1, keepdims=True), joint.sum(axis=0, keepdims=True)
    seen = joint > 0
    ratio = np.where(seen, joint, 1.0) / np.where(seen, rows * columns, 1.0)
    value = float(mutual_information(jnp.asarray(joint)))
    # Delta method: the variance of the information density under the empirical distribution. Rounding may leave it
    # below zero where the density is constant.
    variance = max((joint * np.log2(ratio) ** 2).sum() - value**2, 0.0)
    # Miller and Madow: to first order the plug-in estimate of each entropy is low by (letters seen - 1)/(2N) nats,
    # and I = H(X) + H(U) - H(X,U).
    degrees = seen.sum() - (rows > 0).sum() - (columns > 0).sum() + 1
    centre = max(value - degrees / (2 * N * LN2), 0.0)
    half = normal_quantile(confidence) * math.sqrt(variance / N)
    most = math.log2(min(table.shape))
    return InformationEstimate(
        value=jnp.asarray(centre),
        lower=jnp.asarray(max(centre - half, 0.0)),
        upper=jnp.asarray(min(centre + half, most)),
        trials=jnp.asarray(int(N)),
        confidence=float(confidence),
        side="both",
        proved=False,
    )
