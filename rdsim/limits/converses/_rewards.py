"""Bounds of the expected reward by name, for each kind of source: Gaussian pairs, directions, sequences of letters.

Each of the three functions returns for every bound that covers the source its rewards, shape (bits,); where a bound
says nothing its reward is inf.
"""

import functools
import math
from collections.abc import Callable
from functools import partial
from typing import Final, NamedTuple

import numpy as np
import scipy
from numpy.typing import NDArray

from rdsim import validation
from rdsim.information import LN2
from rdsim.limits.bottleneck import bottleneck_at, bottleneck_vector_gaussian
from rdsim.limits.converses import (
    _caps,
    _half_spaces,
    _information,
    _listed_sets,
    _memoryless,
    _tilted,
    code_lengths,
)
from rdsim.limits.converses._information import Lines
from rdsim.limits.converses._recalls import Reals, Recalls, binomial_ranks, loss_name, ranks
from rdsim.limits.converses._tails import query_nodes
from rdsim.limits.converses.code_lengths import Codewords
from rdsim.limits.rank_distortion import rank_loss
from rdsim.limits.retrieval import retrieval_curve
from rdsim.limits.retrieval.items._programme import many_classes
from rdsim.ranking.loss import RankLoss
from rdsim.ranking.rank_distribution import gain_without_ties
from rdsim.sources import DiscreteSource, GaussianSource, SphericalSource

_EQUAL: Final = 1e-6
"""Relative difference up to which correlations are bounded as if all were the largest."""
_AT_ONCE: Final = 8
"""Numbers of rates are filled up to a multiple of this."""
_CERTAIN: Final = 1e-9  # 1 - correlation below which only the rank rate is used
_ROUNDING: Final = 1e-12
"""Added to the rewards of the single-letter curve, which are exact to 1e-13."""
_FINE: Final = 1e-4
_ROUGH: Final = 1e-3
"""Tolerances in loss of the single-letter curve."""
_FEW_VALUES: Final = 5
"""Values of query or item up to which the single-letter curve is used, however many the other has."""
_CELL_LIMIT: Final = 144
"""Pairs of a query and an item up to which it is used for more values: of twelve queries and letters it takes some seconds."""
_NO_BITS: Final = 1e-300  # of which half is still a number


class Asked(NamedTuple):
    """The question to which every function below returns bounds.

    Attributes:
        size: log2 M.
        loss: rank loss.
        bits: R, shape (bits,).
        rate: "fixed_length", "entropy" or "information".
        encoder: "shared", "separate" or "joint".
        tolerance: of a reward where unequal codewords may be the better ones.

    """

    size: float
    loss: RankLoss
    bits: Reals
    rate: str
    encoder: str
    tolerance: float

    @property
    def of_information(self) -> bool:
        """Whether nothing but the information of a code is bounded: codewords say more only of encoders that are not joint."""
        return self.rate == "information" or self.encoder == "joint"

    def forms(self) -> list[tuple[Recalls, float]]:
        """Write the reward as a mean of recalls and a rest: by ranks, and for one encoder of all items by binomial ranks too."""
        found = [ranks(self.size, self.loss)]
        if self.encoder == "shared":
            found.append(binomial_ranks(self.size, self.loss))
        return found

    def by_rank(self, rate: Reals) -> Reals:
        """Bound the reward by the rank rate of so many bits of information, shape of the rate."""
        return 1 - np.asarray(rank_loss(self.size, loss_name(self.loss), rate=rate).lower)


def gaussian_rewards(
    source: GaussianSource,
    asked: Asked,
) -> dict[str, Reals]:
    """Bound the rewards for Gaussian pairs: by half-spaces, the rank rate, and items stored whole.

    Half-spaces are used at the largest correlation, and tilted ones (C29) where correlations are unequal; those of
    information where bits of information are counted or encoders are joint, those of codewords otherwise.
    """
    bits, correlations = asked.bits, np.asarray(source.canonical_correlations)
    # A program is compiled for each number of rates.
    padded = np.pad(bits, (0, -bits.size % _AT_ONCE), mode="edge")
    information = np.asarray(bottleneck_vector_gaussian(correlations, rate=padded))[: bits.size]
    whole = -0.5 * np.log2(1 - np.minimum(correlations, 1.0) ** 2 + 1e-300).sum()  # I(X;Y), bits
    by_rank = asked.by_rank(np.append(information, whole))
    rewards = {"rank rate": by_rank[:-1]}
    rewards["items stored whole"] = np.full(bits.size, by_rank[-1])
    largest = float(correlations[0])
    # At correlation one sigma is zero, by which the formulas of half-spaces divide.
    if largest >= 1 - _CERTAIN:
        return rewards
    unequal = correlations[-1] < largest * (1 - _EQUAL) and bits.max() > 0
    if 0 < largest <= _information.MOST_CORRELATION and asked.of_information and not unequal:
        # With unequal correlations the tilted bound contains this one: nothing is shrunk or given.
        bound = partial(_information.information, partial(_information.Items, largest))
        rewards["half-spaces"] = _information_reward(bound, asked)
    elif largest > 0 and not asked.of_information:
        codewords = _half_spaces.codewords(largest)
        same = partial(_half_spaces.equal_codewords, largest)
        equal = partial(_loss_of_equal_codewords, largest, asked.size, asked.loss)
        found, by_unequal = _codeword_rewards(codewords, same, equal, asked)
        rewards |= _by_name(found, by_unequal, "half-spaces", "unequal half-spaces")
    if unequal:
        rewards["tilted half-spaces"] = _tilted_reward(correlations, asked)
    return rewards


def _loss_of_equal_codewords(correlation: float, size: float, loss: RankLoss, bits: float) -> float:
    """Average the loss of a query x given Y > b, whose rank is 1 + Bin(M-1, P(X' > x))."""
    parts = math.ceil(math.sqrt(size / 16))  # the loss is as steep as x, about sqrt(size)
    x, probability = query_nodes(correlation, bits, parts)
    lost = 1 - gain_without_ties(size, loss, scipy.special.log_ndtr(-x))
    return float(np.sum(probability * lost))


def _tilted_reward(
    correlations: Reals,
    asked: Asked,
) -> Reals:
    """Bound the reward by tilted half-spaces (C29), shape (bits,)."""
    # Without bits the rank rate is exact: the lines are computed at one bit there, and not used.
    by_rank = asked.bits > 0
    stored = tuple(np.where(by_rank, asked.bits, 1.0).tolist())
    lines = _tilted_lines(
        tuple(correlations.tolist()), stored, asked.size * LN2, asked.rate, asked.tolerance
    )
    each = [lines.at(recalls.log_t) @ recalls.weight + rest for recalls, rest in asked.forms()]
    found = np.min(each, axis=0)
    return np.asarray(np.where(by_rank, found, 1.0))


@functools.lru_cache(maxsize=1)
def _tilted_lines(
    correlations: tuple[float, ...],
    bits: tuple[float, ...],
    log_size: float,
    rate: str,
    tolerance: float,
) -> _tilted.Lines:
    """Keep the last lines: they take nearly all of the time, and bounds of several losses share them."""
    return _tilted.lines(np.array(correlations), np.array(bits), log_size, rate, tolerance)


def spherical_rewards(
    source: SphericalSource,
    asked: Asked,
) -> dict[str, Reals]:
    """Bound the rewards for directions: by caps, and by the rank rate of what the bits or the item can tell."""
    known = float(source.mutual_information)
    # I(X;U) is at most I(U;Y), which the bits bound, and at most I(X;Y), rounded up.
    information = np.minimum(asked.bits, known * (1 + 1e-9) + 1e-9)
    rewards = {"rank rate": asked.by_rank(information)}
    if float(source.parameter) > 0:
        whole = 1 - _caps.loss_of_whole_items(source, asked.size, asked.loss)
        rewards["items stored whole"] = np.full(information.size, whole + _caps.ROUNDING)
    if float(source.parameter) == 0 or not _caps.covers(source):
        return rewards
    if asked.of_information:
        # Bits far beyond what an item can tell are bounded by items stored whole.
        few = asked.bits <= 3 * known + 4
        bound = partial(_caps.information, source)
        rewards["caps"] = np.full(information.size, np.inf)
        rewards["caps"][few] = _caps.ROUNDING + _information_reward(
            bound, asked._replace(bits=asked.bits[few])
        )
    else:
        codewords = _caps.codewords(source)
        same = partial(_caps.equal_codewords, source)
        equal = partial(_caps.loss_of_equal_codewords, source, asked.size, asked.loss)
        found, by_unequal = _codeword_rewards(codewords, same, equal, asked)
        rewards |= _by_name(found + _caps.ROUNDING, by_unequal, "caps", "unequal caps")
    return rewards


def sequence_rewards(
    source: DiscreteSource,
    n: int,
    asked: Asked,
) -> dict[str, Reals]:
    """Bound the rewards for sequences of letters: by sets of a given size, the rank rate, and the single-letter curve.

    The rank rate holds for every notion of rate and every encoder. Sets, listed where items have few values and bounded
    by their exponent elsewhere, hold for codewords and encoders that are not joint, the curve for one letter.
    """
    bits = asked.bits
    joint = _memoryless.joined(np.asarray(validation.pmf("source", source.joint, ndim=2)))
    # The bottleneck of n independent letters at R bits is n times that of one at R/n (chain rule and concavity).
    information = n * _bottleneck_of_a_letter(joint.tobytes(), joint.shape, (bits / n).tobytes())
    known = np.full(bits.size, n * float(source.mutual_information))
    # What is known of a letter is rounded safely: to a billionth of the letter's information.
    by_rank, whole = (
        asked.by_rank(one * (1 + 1e-9) + 1e-9) for one in (np.minimum(information, known), known)
    )
    rewards = {"rank rate": by_rank, "items stored whole": whole}
    if n == 1 and (min(joint.shape) <= _FEW_VALUES or joint.size <= _CELL_LIMIT):
        # R bits of any notion carry at most R bits of information.
        rewards["single-letter curve"] = 1 - _loss_of_a_letter(joint, asked) + _ROUNDING
    if asked.of_information:
        return rewards
    means, rest = zip(*asked.forms(), strict=True)
    if _listed_sets.covered(joint, n):
        each = [[_listed_sets.reward(joint, n, R, one, asked.rate) for one in means] for R in bits]
        rewards["listed sets"] = (np.array(each) + np.array(rest)).min(axis=1)
    elif asked.rate == "fixed_length" and _memoryless.covered(joint):
        found = _memoryless.fixed_length(joint, n, bits, list(means))
        rewards["sets of sequences"] = (found + np.array(rest)).min(axis=1)
    return rewards


def _loss_of_a_letter(joint: np.ndarray, asked: Asked) -> Reals:
    """Bound the loss of items of one letter (C25, C26), shape (bits,).

    The lower end of the curve is the bound, whatever the tolerance: a rough one where a fine one takes ten seconds for each
    number of bits. Where classes of queries are bounded by groups, it is a few lines for all bits. Then the converse for joint
    encoders, whose ranks may be few enough to be searched together, can be the tighter one for one encoder too.
    """
    fine = joint.shape[0] <= 3 or joint.shape[1] <= 2
    tolerance = max(asked.tolerance, _FINE if fine else _ROUGH)
    found = np.zeros(asked.bits.size)
    for encoder in ("shared", "joint") if asked.encoder == "shared" else ("joint",):
        curve = retrieval_curve(
            joint,
            asked.size,
            loss_name(asked.loss),
            np.zeros(0),
            encoder=encoder,
            tolerance=tolerance,
        )
        if not many_classes(curve.programme()):
            return np.maximum(found, np.asarray(curve.loss_at(asked.bits).lower))
        found = np.maximum(found, curve.converse_by_groups().loss_at(asked.bits))
    return found


@functools.lru_cache(maxsize=8)
def _bottleneck_of_a_letter(joint: bytes, shape: tuple[int, int], rates: bytes) -> Reals:
    """Keep the last bottlenecks, which databases of several sizes share; shape of the rates."""
    table = np.frombuffer(joint).reshape(shape)
    return np.asarray(bottleneck_at(table, np.frombuffer(rates), compress="columns").upper)


def _information_reward(bound: Callable[[Reals, Reals], list[Lines]], asked: Asked) -> Reals:
    """Bound the reward of codes of so much information, shape (bits,)."""
    positive = asked.bits > 0  # without bits the rank rate is exact
    found = np.ones(asked.bits.size)
    for recalls, rest in asked.forms():
        lines = bound(asked.bits[positive], recalls.chosen_shares())
        # Each form of the reward is bounded by lines of its own, chosen at the shares that matter
        # to it.
        each = [float(recalls.weight @ line.at(recalls.log_t)) + rest for line in lines]
        found[positive] = np.minimum(found[positive], each)
    return found


def _codeword_rewards(
    codewords: Codewords,
    reward_of_equal_codewords: Callable[[float, Recalls], float],
    loss_of_equal_codewords: Callable[[float], float],
    asked: Asked,
) -> tuple[Reals, NDArray[np.bool_]]:
    """Bound the rewards of fixed length or entropy.

    Args:
        codewords: of any length.
        reward_of_equal_codewords: at so many bits, a mean of recalls of codewords of equal probabilities.
        loss_of_equal_codewords: at so many bits, the loss of one encoder whose codewords have equal probabilities,
            integrated over the share; called where unequal ones are no better. That is proved for the shares of
            `binomial_ranks`, whose mean is larger by up to 1e-4, and tested for finer ones, of which this is the limit.
        asked: what is bounded, by fixed length or entropy.

    Returns:
        The rewards, and where unequal probabilities of codewords may be the better ones, shape (bits,) each.

    """
    # One encoder for all: with W(n) the sum of the first n rewards, concave in n, the integral of E w(1 + Bin(M-1, v)) up to s is
    # E W(Bin(M, s)) / M <= W(M s) / M, that of w(rank); they agree at s = 1, and the density of v decreases: so the
    # bound by binomial ranks is never the looser one.
    form = binomial_ranks if asked.encoder == "shared" else ranks
    means, rest = form(asked.size, asked.loss)

    def reward_at(R: float) -> tuple[float, bool]:
        if R < _NO_BITS:  # the rank rate is exact, and this says nothing
            return 1.0, False
        if asked.rate == "entropy":
            return code_lengths.entropy(codewords, R, means, asked.tolerance) + rest, True
        equal = reward_of_equal_codewords(R, means)
        found, unequal = code_lengths.fixed_length(codewords, R, means, equal, asked.tolerance)
        if asked.encoder == "separate" or unequal or asked.tolerance >= code_lengths.COARSELY:
            return found + rest, unequal
        return 1 - loss_of_equal_codewords(R) + codewords.exactly, False

    rewards = [reward_at(float(R)) for R in asked.bits]
    return np.array([one for one, _ in rewards]), np.array([hull for _, hull in rewards])


def _by_name(
    reward: Reals, unequal: NDArray[np.bool_], equal_name: str, unequal_name: str
) -> dict[str, Reals]:
    """Give each reward the name of its bound; the other name has no bound there."""
    return {
        equal_name: np.where(unequal, np.inf, reward),
        unequal_name: np.where(unequal, reward, np.inf),
    }
