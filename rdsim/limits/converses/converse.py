r"""What no code can pass: the least rank loss at given bits per item, by the tightest known bound (C27).

Given that an item lies in a half-space of probability $2^{-R}$, its query must lie in one of
probability K/M:

$$\mathrm{recall@}K \le P(X > a \mid Y > b), \qquad P(Y > b) = 2^{-R},\ P(X > a) = K/M,$$

for words of R bits each. Every rank loss is a mean of misses, and one encoder for all items knows less
than one for each, so that the number K - 1 of competitors that win is then binomial. Three notions of rate
are kept apart: every word has R bits; R bits are spent on average (entropy); or R bits of information
are kept (as by channel simulation).
"""

import functools
import math
from collections.abc import Callable
from dataclasses import field
from functools import partial
from typing import Any, Final

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from scipy.special import log_ndtr

from rdsim import validation
from rdsim.information import LN2
from rdsim.limits.bottleneck import bottleneck_at, bottleneck_vector_gaussian
from rdsim.limits.converses import _caps, _half_spaces, _listed_sets, _memoryless, _tilted
from rdsim.limits.converses._half_spaces import Lines, Reals, Recalls
from rdsim.limits.rank_distortion import rank_loss
from rdsim.number_types import ArrayLike, Integer
from rdsim.ranking.loss import Loss, RankLoss, parse_loss
from rdsim.ranking.rank_distribution import expected_loss
from rdsim.results import result
from rdsim.sources import DiscreteSource, GaussianSource, SphericalSource
from rdsim.transformations import on_host

RATES: Final = ("fixed_length", "entropy", "information")
ENCODERS: Final = ("shared", "separate", "joint")
_ONE_BY_ONE: Final = 32  # ranks that are not grouped
_RATIO: Final = 1.1  # of the last rank of a group to its first,
_GROUPS: Final = 1500  # unless there were more groups than this
_LEAST: Final = 1e-8  # of M t: a competitor that wins so rarely changes the loss by less
_ROUNDING: Final = 1e-12  # by which every bound is loosened
_EQUAL: Final = 1e-6  # relative difference of correlations that are bounded as equal ones
_CERTAIN: Final = 1e-9  # 1 - correlation below which queries and items are taken for equal


@result
class RetrievalConverse:
    """The least loss that the bounds leave.

    Attributes:
        loss: no code of its kind has a smaller expected loss, shape of the bits.
        bound: name of the bound that gave it, one for each loss in order: "half-spaces",
            "unequal half-spaces", "tilted half-spaces", "caps", "unequal caps", "sets of sequences", "listed sets",
            "rank rate" or "items stored whole".

    """

    loss: Float[Array, "..."]
    bound: tuple[str, ...] = field(metadata={"static": True})


@on_host
@validation.needs_float64
def retrieval_converse(
    source: Any,
    log2_size: ArrayLike,
    loss: Loss,
    *,
    bits: ArrayLike,
    rate: str = "fixed_length",
    encoder: str = "shared",
    letters: Integer | None = None,
) -> RetrievalConverse:
    r"""Bound the rank loss of every code of so many bits per item from below.

    The least of these, each valid: half-spaces (C27), the rank rate of the information that the bits can
    keep (C4 with the vector bottleneck), and items stored whole. Of unequal canonical correlations the
    half-spaces are those of the largest; and those of tilted reference distributions (C29), in which
    strong modes are shrunk, or given to the decoder. For directions caps take the place of half-spaces, exactly for
    each dimension, up to a loosening of 4e-6, where the correlation of the scores of the caps is at most about .9992 and their
    table is exact to 1e-6; elsewhere the rank rate and the exact ranking of whole items are left. For
    sequences of letters, codewords of fixed length are bounded by the exponent of sets of a given size where
    query or item has at most four letters, else by the rank rate alone; of items of at most 16 values all sets
    are listed, which is tighter and bounds the entropy too.

    Args:
        source: jointly Gaussian query and item, of any dimensions, directions, or a `DiscreteSource` that
            gives each of the letters of query and item.
        log2_size: log2 M, 1 to 1000.
        loss: "error", "reciprocal_rank", ("miss", K) or "dcg".
        bits: R >= 0 stored for an item, any shape.
        rate: what the bits are: "fixed_length" (each item is one of 2^R words), "entropy" (bits on
            average) or "information" (I(U;Y), channel simulation included).
        encoder: "shared" (the same for every item), "separate" (one for each item) or "joint" (sees the
            whole database). A bound for the wider class holds for the narrower one.
        letters: n, 1 to 100000, of the items of a discrete source; the bits are those of all n together.

    Returns:
        The loss and the name of the bound that gave it, shape of bits.

    Raises:
        ValueError: if an argument is out of range or unknown, or for fixed length with joint encoders,
            which no bound of half-spaces covers: name the information instead, which is less;
            for rates or encoders of sequences that no bound covers; if letters are missing for them or given for
            another source.
        TypeError: if the source is of another class, or the letters are no integer.

    References:
        Polyanskiy, Poor and Verdu (2010) and Vazquez-Vilar et al. (2016) for the meta-converse; Borell
        (1985) for half-spaces; Baernstein and Taylor (1976) for caps. The list form, the one-encoder form, the
        information form and the tilt are this project's own.

    """
    validation.instance("source", source, GaussianSource, SphericalSource, DiscreteSource)
    parsed = parse_loss(loss)
    size = float(validation.interval("log2_size", log2_size, low=1.0, high=1000.0, ndim=0))
    stored = np.asarray(validation.interval("bits", bits, low=0.0, high=1e4), float)
    for name, value, known in (("rate", rate, RATES), ("encoder", encoder, ENCODERS)):
        if value not in known:
            raise ValueError(f"{name} must be one of {known}, got {value!r}")
    if encoder == "joint" and rate == "fixed_length":
        raise ValueError(
            'rate="fixed_length" with encoder="joint" is covered by no bound of fixed length: ask for '
            'rate="information", which such a code does not exceed'
        )
    flat = stored.ravel()
    if isinstance(source, DiscreteSource) != (letters is not None):
        raise ValueError(
            f"letters must be given for a DiscreteSource and for no other source, got {letters} for a "
            f"{type(source).__name__}"
        )
    if isinstance(source, DiscreteSource):
        n = validation.integer("letters", letters, low=1, high=100_000)
        sequences = _sequence_rewards(source, n, size, parsed, flat, rate, encoder)
        return _tightest(sequences, stored.shape)
    if isinstance(source, SphericalSource):
        rewards = _cap_rewards(source, size, parsed, flat, rate, encoder)
        return _tightest(rewards, stored.shape)
    correlations = np.asarray(source.canonical_correlations)
    kept = bottleneck_vector_gaussian(correlations, rate=flat)
    rewards = {"rank rate": 1 - np.asarray(rank_loss(size, loss, rate=kept).lower)}
    rewards["items stored whole"] = np.full(flat.size, _stored_whole(correlations, size, parsed))
    largest = float(correlations[0])
    unequal = correlations[-1] < largest * (1 - _EQUAL) and flat.max() > 0
    # Of joint encoders the tilted bound contains the one of the largest correlation: nothing is shrunk or given.
    contained = unequal and (rate == "information" or encoder == "joint")
    if 0 < largest < 1 - _CERTAIN and not contained:
        if rate == "information" or encoder == "joint":
            items = partial(_half_spaces.Items, largest)
            bound = partial(_half_spaces.information, items)
            rewards["half-spaces"] = _information_reward(bound, size, parsed, flat, encoder)
        else:
            found = [_half_space_reward(largest, size, parsed, R, rate, encoder) for R in flat]
            equal = np.array([one for one, _ in found])
            rewards["half-spaces"] = np.where([hull for _, hull in found], np.inf, equal)
            rewards["unequal half-spaces"] = np.where([hull for _, hull in found], equal, np.inf)
    if largest < 1 - _CERTAIN and unequal:
        rewards["tilted half-spaces"] = _tilted_reward(
            correlations, size, parsed, flat, rate, encoder
        )
    return _tightest(rewards, stored.shape)


def _tightest(rewards: dict[str, Reals], shape: tuple[int, ...]) -> RetrievalConverse:
    """Take the least reward at each number of bits, and its name."""
    names = list(rewards)
    least = np.stack([rewards[name] for name in names])
    chosen = least.argmin(axis=0)
    bound = np.clip(1 - least.min(axis=0) - _ROUNDING, 0.0, 1.0)
    return RetrievalConverse(
        loss=jnp.asarray(bound.reshape(shape)), bound=tuple(names[i] for i in chosen)
    )


def _sequence_rewards(
    source: DiscreteSource,
    n: int,
    size: float,
    loss: RankLoss,
    bits: Reals,
    rate: str,
    encoder: str,
) -> dict[str, Reals]:
    """Bound the rewards for sequences of letters: by sets of a given size, and by the rank rate."""
    joint = _memoryless.joined(np.asarray(validation.pmf("source", source.joint, ndim=2)))
    listed = _listed_sets.covered(joint, n)
    if rate == "information" or encoder == "joint" or not (rate == "fixed_length" or listed):
        raise ValueError(
            'sequences of letters are covered by bounds of rate="fixed_length" and, where items have at most '
            f'16 values, of "entropy", of encoder="shared" and "separate", got {rate!r} and {encoder!r}'
        )
    kept = n * np.asarray(bottleneck_at(joint, bits / n, compress="columns").upper)
    known = np.full(bits.size, n * float(source.mutual_information))
    # What is known of a letter is rounded safely: to a billionth of the letter's information.
    told, whole = (
        1 - np.asarray(rank_loss(size, _name(loss), rate=one * (1 + 1e-9) + 1e-9).lower)
        for one in (np.minimum(kept, known), known)
    )
    rewards = {"rank rate": told, "items stored whole": whole}
    forms = [_ranks(size, loss)]
    if encoder == "shared":
        forms.append(_binomial_ranks(size, loss))
    bounds: dict[str, Callable[[float, Recalls], float]] = {}
    if listed:
        bounds["listed sets"] = lambda R, recalls: _listed_sets.reward(joint, n, R, recalls, rate)
    elif _memoryless.covered(joint):
        bounds["sets of sequences"] = lambda R, recalls: _memoryless.fixed_length(
            joint, n, R, recalls
        )
    for name, bound in bounds.items():
        found = [[bound(R, recalls) + rest for recalls, rest in forms] for R in bits]
        rewards[name] = np.min(found, axis=1)
    return rewards


def _cap_rewards(
    source: SphericalSource, size: float, loss: RankLoss, bits: Reals, rate: str, encoder: str
) -> dict[str, Reals]:
    """Bound the rewards for directions: by caps, and by the rank rate of what the bits or the item can tell."""
    known = float(source.mutual_information)
    kept = np.minimum(bits, known * (1 + 1e-9) + 1e-9)
    told = 1 - np.asarray(rank_loss(size, _name(loss), rate=kept).lower)
    rewards = {"rank rate": told}
    if float(source.parameter) > 0:
        whole = 1 - _caps.loss_of_whole_items(source, size, loss)
        rewards["items stored whole"] = np.full(bits.size, whole + _caps.ROUNDING)
    if float(source.parameter) == 0 or not _caps.covers(source):
        return rewards
    if rate == "information" or encoder == "joint":
        # Bits far beyond what an item can tell are bounded by items stored whole.
        few = bits <= 3 * known + 4
        bound = partial(_caps.information, source)
        rewards["caps"] = np.full(bits.size, np.inf)
        rewards["caps"][few] = _caps.ROUNDING + _information_reward(
            bound, size, loss, bits[few], encoder
        )
    else:
        found = [_cap_reward(source, size, loss, R, rate, encoder) for R in bits]
        equal = np.array([one + _caps.ROUNDING for one, _ in found])
        rewards["caps"] = np.where([hull for _, hull in found], np.inf, equal)
        rewards["unequal caps"] = np.where([hull for _, hull in found], equal, np.inf)
    return rewards


def _cap_reward(
    source: SphericalSource, size: float, loss: RankLoss, bits: float, rate: str, encoder: str
) -> tuple[float, bool]:
    """Bound the reward by caps, and say whether unequal words may be the better ones."""
    if bits == 0:
        return 1.0, False
    recalls, rest = _ranks(size, loss)
    bound = _caps.entropy if rate == "entropy" else _caps.fixed_length
    found, unequal = bound(source, bits, recalls)
    if encoder == "separate":
        return found + rest, unequal
    binomial, last = _binomial_ranks(size, loss)
    shared, unequal = bound(source, bits, binomial)
    if not unequal:
        return 1 - _caps.loss_of_equal_words(source, size, loss, bits), False
    return min(found + rest, shared + last), True


def _stored_whole(correlations: Reals, size: float, loss: RankLoss) -> float:
    """Bound the reward of items stored whole: by the rank rate of I(X;Y) bits."""
    information = float(-0.5 * np.log2(1 - np.minimum(correlations, 1.0) ** 2 + 1e-300).sum())
    return 1 - float(rank_loss(size, loss, rate=information).lower)


def _half_space_reward(
    correlation: float, size: float, loss: RankLoss, bits: float, rate: str, encoder: str
) -> tuple[float, bool]:
    """Bound the reward by half-spaces, and say whether unequal words may be the better ones."""
    if bits == 0:  # nothing is known: the rank rate is exact
        return 1.0, False
    recalls, rest = _ranks(size, loss)
    bound = _half_spaces.entropy if rate == "entropy" else _half_spaces.fixed_length
    found, unequal = bound(correlation, bits, recalls)
    if encoder == "separate":
        return found + rest, unequal
    binomial, last = _binomial_ranks(size, loss)
    shared, unequal = bound(correlation, bits, binomial)
    if not unequal:
        return 1 - _loss_of_equal_words(correlation, size, loss, bits), False
    # One encoder for all is one of the separate ones.
    return min(found + rest, shared + last), True


def _information_reward(
    bound: Callable[[Reals, Reals], list[Lines]],
    size: float,
    loss: RankLoss,
    bits: Reals,
    encoder: str,
) -> Reals:
    """Bound the reward of codes of so much information, shape (bits,); of one encoder by binomial ranks too."""
    told = bits > 0  # where nothing is known the rank rate is exact
    found = np.ones(bits.size)
    forms = [_ranks(size, loss)]
    if encoder == "shared":
        forms.append(_binomial_ranks(size, loss))
    for recalls, rest in forms:
        lines = bound(bits[told], _chosen_shares(recalls.log_t))
        each = [float(recalls.weight @ line.at(recalls.log_t)) + rest for line in lines]
        found[told] = np.minimum(found[told], each)
    return found


def _tilted_reward(
    correlations: Reals, size: float, loss: RankLoss, bits: Reals, rate: str, encoder: str
) -> Reals:
    """Bound the reward by tilted half-spaces (C29), shape (bits,)."""
    told = bits > 0
    lines = _tilted_lines(
        tuple(correlations.tolist()), tuple(np.where(told, bits, 1.0).tolist()), size * LN2, rate
    )
    recalls, rest = _ranks(size, loss)
    found = lines.at(recalls.log_t) @ recalls.weight + rest
    if encoder == "shared":
        binomial, last = _binomial_ranks(size, loss)
        found = np.minimum(found, lines.at(binomial.log_t) @ binomial.weight + last)
    return np.asarray(np.where(told, found, 1.0))


@functools.lru_cache(maxsize=1)
def _tilted_lines(
    correlations: tuple[float, ...], bits: tuple[float, ...], log_size: float, rate: str
) -> _tilted.Lines:
    """Keep the last lines: they take nearly all of the time, and bounds of several losses share them."""
    return _tilted.lines(np.array(correlations), np.array(bits), log_size, rate)


def _loss_of_equal_words(correlation: float, size: float, loss: RankLoss, bits: float) -> float:
    """Average the loss of a query x given Y > b, whose rank is 1 + Bin(M-1, P(X' > x))."""
    cells = _half_spaces.CELLS * math.ceil(
        math.sqrt(size / 16)
    )  # the loss is as steep as x, about sqrt(size)
    x, probability = _half_spaces.Tails(correlation, np.array([bits])).nodes(0, cells)
    lost = expected_loss(size, _name(loss), log_a=log_ndtr(-x), log_e=-np.inf)
    return float(np.sum(probability * np.asarray(lost)))


def _chosen_shares(log_t: Reals) -> Reals:
    """Shares at which lines are chosen: all if there are few, else 48 that reach as far."""
    return log_t if log_t.size <= 48 else np.linspace(log_t[0], log_t[-1], 48)


def _ranks(size: float, loss: RankLoss) -> tuple[Recalls, float]:
    r"""Write the reward as $\sum_k (w(k) - w(k+1)) \mathrm{recall@}k + w(M)$.

    Later ranks are grouped. The recall is a concave function of the share that increases, so that a group
    is bounded by its recall at a share no smaller than its mean; w is convex in the rank, and the middle
    of the group is no smaller.
    """
    log_M = size * LN2
    if loss.is_two_valued:
        if math.log(loss.cutoff) >= log_M * (1 - 1e-15):
            return Recalls(np.zeros(1), np.zeros(1)), 1.0
        return Recalls(np.array([math.log(loss.cutoff) - log_M]), np.ones(1)), 0.0
    M = round(2.0**size) if size <= 52 else math.inf
    first = np.arange(1, min(_ONE_BY_ONE, M), dtype=float)
    log_edges = np.log(np.append(first, first.size + 1))
    if first.size + 1 < M:
        groups = _groups(log_M - log_edges[-1])
        log_edges = np.append(log_edges[:-1], np.linspace(log_edges[-1], log_M, groups + 1))
        if M < 2**52:  # ranks are integers
            log_edges = np.log(np.unique(np.round(np.exp(log_edges))))
    low, high = log_edges[:-1], log_edges[1:]
    if loss.kind == "reciprocal_rank":
        weight = np.exp(-low) - np.exp(-high)
        rest = math.exp(-log_edges[-1])
    else:
        more, less = low + np.log1p(np.exp(-low)), high + np.log1p(np.exp(-high))
        weight, rest = LN2 * (less - more) / (less * more), float(LN2 / less[-1])
    # Ranks low, ..., high - 1.
    middle = np.log(0.5) + np.logaddexp(low, high + np.log1p(-np.exp(-high)))
    return Recalls(np.minimum(middle - log_M, 0.0), weight), rest


def _binomial_ranks(size: float, loss: RankLoss) -> tuple[Recalls, float]:
    r"""Write $\int E\,w(1 + \mathrm{Bin}(M-1, v))\, dC(v)$ as a mean of C at shares t, by parts.

    On a piece [t, t'] the concave C is at most its value at the mean of the share under -dw, which is
    integrated by Simpson's rule.
    """
    log_M = size * LN2
    pieces = _groups(log_M - math.log(_LEAST))
    log_t = np.linspace(math.log(_LEAST) - log_M, 0.0, 2 * pieces + 1)
    at = np.asarray(expected_loss(size, _name(loss), log_a=log_t, log_e=-np.inf))
    lost, t = at[::2], np.exp(log_t[::2])
    weight = np.append(lost[0], np.diff(lost))
    # d(t) = t d(ln t): Simpson's rule in ln t.
    step = log_t[2] - log_t[0]
    area = step / 6 * (t[:-1] * lost[:-1] + 4 * np.exp(log_t[1::2]) * at[1::2] + t[1:] * lost[1:])
    moment = t[1:] * lost[1:] - t[:-1] * lost[:-1] - area
    inside = weight[1:] > 0
    mean = np.where(inside, moment / np.where(inside, weight[1:], 1.0), t[1:])
    mean = np.clip(mean * (1 + 1e-9), t[:-1], t[1:])
    return Recalls(np.log(np.append(t[0], mean)), np.maximum(weight, 0.0)), float(1 - lost[-1])


def _groups(length: float) -> int:
    """Number of groups of ranks, or of shares, over a range of so many nats."""
    return min(math.ceil(length / math.log(_RATIO)), _GROUPS)


def _name(loss: RankLoss) -> Loss:
    return (loss.kind, loss.cutoff) if loss.is_two_valued else loss.kind
