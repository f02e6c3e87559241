r"""Sums over all sets of places of several targets, at a slope: the partition function and the mean loss (C31).

$$\ln \frac{Z(\lambda)}{N} = \ln \frac1N \sum_\pi e^{-\lambda L(\pi)}, \qquad
  \langle L \rangle = -\frac{d}{d\lambda} \ln Z,$$

$\pi$ over the N arrangements of P targets on M places. No arrangement is listed:

- **Levels**, for losses that take few values, or M of them: a sum over values with their multiplicities.
- **Products**, for losses that add over places: Z is a coefficient of a product of polynomials, one a place, the
  elementary symmetric polynomial $e_P$ of the weights (with several gains, one variable a gain). The
  product is taken in a binary tree. Each place is made a Bernoulli variable, $p_r = t w_r / (1 + t w_r)$, with t such
  that P targets are expected, so that $e_P = t^{-P} \prod_r (1 + t w_r)\, P(\sum_r B_r = P)$ and the last
  probability is never small (Chen and Liu 1997).
- **Recursion** in (place, number of targets so far) for the average precision, whose loss of a target
  depends on how many are ahead of it.

Beside every sum of weights runs the sum of weight times loss; all terms are positive, so nothing cancels.
"""

import itertools
import math
from functools import partial
from typing import Any, Final, NamedTuple, TypeAlias

import numpy as np
import scipy

from rdsim.root_finding import bisect_on_host

_EPS: Final = float(np.finfo(float).eps)
_LISTED: Final = 256  # places that are looked at one by one when the scaling t is chosen
_CYCLES: Final = 3  # passes over the gains in that choice, each of which bisects every gain once
_HALVINGS: Final = 40  # bisections of the bracket of ln t; t is a scale, and need not be exact
_RESCALED: Final = 64  # places between two rescalings of the recursion, too few for it to underflow


def log_choose(items: float, chosen: int) -> float:
    """Ln of a binomial coefficient, by its factors: log-gammas of a large number would cancel."""
    if chosen > items:
        return -math.inf
    i = np.arange(chosen)
    return float(np.sum(np.log((items - i) / (i + 1))))


def discounts(places: np.ndarray) -> np.ndarray:
    """Discount of the DCG, 1/log2(1+r), at places r."""
    return 1 / np.log2(1.0 + places)


class Levels(NamedTuple):
    """A loss by its values and the number of arrangements that have each."""

    log_number: np.ndarray  # shape (V,)
    loss: np.ndarray  # shape (V,)
    log_count: float
    terms: float = 64.0  # sums over values are pairwise, and lose few digits

    @property
    def least(self) -> float:
        return float(self.loss[np.isfinite(self.log_number)].min())

    @property
    def log_best(self) -> float:
        best = self.loss == self.least
        return float(scipy.special.logsumexp(self.log_number[best]))

    def at(self, slope: float) -> tuple[float, float]:
        """Sum over the values."""
        excess = self.loss - self.least
        # Shifted by the least loss, so that at large slopes the exponents of the best level stay
        # of order one.
        exponent = self.log_number - self.log_count - slope * excess
        log_Z = float(scipy.special.logsumexp(exponent))
        mean = float(np.sum(np.exp(exponent - log_Z) * excess))
        return log_Z - slope * self.least, self.least + mean


class Gains(NamedTuple):
    r"""The discounted gain of P targets: places that are listed, and equal ones without discount behind.

    A target of gain g at place r costs $g\,(1 - d_r)$ over the ideal gain more than at the first place.
    """

    gain: np.ndarray  # distinct gains over the ideal gain, shape (G,)
    number: tuple[int, ...]  # targets of each gain
    discount: np.ndarray  # at the places listed, decreasing from 1, shape (k,)
    unlisted: float  # places beyond, whose discount is zero
    log_count: float
    log_best: float

    @property
    def least(self) -> float:
        return 0.0

    @property
    def terms(self) -> float:
        return 64.0 + 8 * sum(self.number)

    def at(self, slope: float) -> tuple[float, float]:
        """Multiply the polynomials of all places in a binary tree, and take one coefficient."""
        cost = self.gain * (1 - self.discount[:, None])  # shape (k, G)
        log_t = self._scaling(slope)
        # For every place and gain ln(t w); with "no target" at weight one, their sum over the
        # gains normalises the place's Bernoulli (or multinomial) variable, whose probabilities
        # are the leaves of the tree.
        log_weight = log_t - slope * cost
        top = np.maximum(log_weight.max(axis=1), 0.0)
        log_sum = top + np.log(np.exp(-top) + np.exp(log_weight - top[:, None]).sum(axis=1))
        probability = np.exp(log_weight - log_sum[:, None])
        tree = self._leaves(np.exp(-log_sum), probability, cost)
        while tree[0].shape[0] > 1:
            tree = self._halved(*tree)
        behind = self._behind(slope, log_t)
        weight, loss = self._joined(tree[0][0], tree[1][0], *behind)
        last = tuple(self.number)
        log_Z = float(log_sum.sum() - np.dot(self.number, log_t) + np.log(weight[last]))
        # What the sum of costs exceeds the loss by: a list with every target at the first place.
        offset = 1 - float(np.dot(self.gain, self.number))
        mean = offset + float(loss[last] / weight[last])
        return log_Z - slope * offset - self.log_count, mean

    def _scaling(self, slope: float) -> np.ndarray:
        """Ln t of each gain, under which about as many targets as there are fall on the places.

        Places are grouped, for a scale need not be exact: the first one by one, the rest geometrically.
        """
        k = self.discount.size
        grid = np.unique(np.geomspace(_LISTED, max(k, _LISTED), 256).astype(int))
        ends = np.unique(np.minimum(np.append(np.arange(_LISTED + 1), grid), k))
        middle = (ends[:-1] + ends[1:]) // 2
        size = np.append(np.diff(ends), self.unlisted)
        cost = self.gain * (1 - np.append(self.discount[middle], 0.0)[:, None])
        used = size > 0
        size, cost = size[used], cost[used]
        number = np.asarray(self.number, float)
        log_t = slope * self._cost_of_one_more() - math.log(size.sum())

        def enough(at: np.ndarray, g: int) -> np.ndarray:
            exponent = log_t - slope * cost
            exponent[:, g] = at - slope * cost[:, g]
            # The probability that a place holds a target of gain g, with all gains competing for
            # it.
            own = exponent[:, g] - np.logaddexp.reduce(exponent, axis=1, initial=0.0)
            return np.atleast_1d(size @ np.exp(own) >= min(number[g], size.sum() - 0.5))

        # Coordinate search: the expected number of targets of gain g rises with its own scale t_g, so that each is found
        # by bisection with the others held, in a few cycles. A scale far from this would only cost digits, not validity.
        for _, g in itertools.product(range(_CYCLES), range(number.size)):
            low, high = np.array([[-50.0 - math.log(size.sum())], [50.0 + slope * cost.max()]])
            log_t[g] = bisect_on_host(partial(enough, g=g), low, high, steps=_HALVINGS)[1][0]
        return log_t

    def _cost_of_one_more(self) -> np.ndarray:
        """Dual variables of the gains in the cheapest arrangement, shape (G,): at large slopes ln t is about slope times these.

        They solve the dual of the assignment of targets to places. The largest gains are in front, and a place costs more
        than the next one by the difference of their discounts times a gain between those of the two targets: so neither
        target would change, nor would a place be left for an empty one.
        """
        ordered = np.repeat(self.gain, self.number)[::-1]
        discount = np.append(self.discount, np.zeros(ordered.size + 1))[: ordered.size + 1]
        between = 0.5 * (ordered + np.append(ordered[1:], 0.0))
        place = np.cumsum((between * -np.diff(discount))[::-1])[::-1]
        each = place + ordered * (1 - discount[:-1])
        # In rising order of the gains; targets of one gain have one dual variable.
        return np.asarray(each[::-1][np.cumsum(self.number) - 1])

    def _leaves(
        self, none: np.ndarray, probability: np.ndarray, cost: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Polynomials of single places: no target, or one of one gain."""
        shape = (none.size, *(2 for _ in self.number))
        weight, loss = np.zeros(shape), np.zeros(shape)
        nowhere: tuple[Any, ...] = (slice(None), *(0 for _ in self.number))
        weight[nowhere] = none
        for g in range(len(self.number)):
            one: tuple[Any, ...] = (slice(None), *(int(i == g) for i in range(len(self.number))))
            weight[one] = probability[:, g]
            loss[one] = probability[:, g] * cost[:, g]
        return weight, loss

    def _halved(self, weight: np.ndarray, loss: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Multiply neighbours; an odd one out is multiplied by the polynomial 1."""
        if weight.shape[0] % 2:
            one = np.zeros((1, *weight.shape[1:]))
            weight, loss = np.concatenate([weight, one]), np.concatenate([loss, one])
            weight[(-1, *(0 for _ in self.number))] = 1.0
        return self._joined(weight[::2], loss[::2], weight[1::2], loss[1::2])

    def _joined(
        self, a: np.ndarray, a_loss: np.ndarray, b: np.ndarray, b_loss: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Multiply polynomials along the last G axes, up to the degrees that are needed."""
        G = len(self.number)
        sizes = [
            min(i + j - 1, n + 1)
            for i, j, n in zip(a.shape[-G:], b.shape[-G:], self.number, strict=True)
        ]
        weight, loss = np.zeros((2, *a.shape[:-G], *sizes))
        for powers in np.ndindex(*a.shape[-G:]):
            # Schoolbook convolution: one coefficient of a times all of b that land within the degrees needed.
            degrees = [min(j, s - i) for i, j, s in zip(powers, b.shape[-G:], sizes, strict=True)]
            if min(degrees) <= 0:
                continue
            to: tuple[Any, ...] = (
                ...,
                *(slice(i, i + m) for i, m in zip(powers, degrees, strict=True)),
            )
            of: tuple[Any, ...] = (..., *(slice(m) for m in degrees))
            one: tuple[Any, ...] = (..., *(slice(i, i + 1) for i in powers))
            weight[to] += a[one] * b[of]
            # The product rule for sums of weight times loss: the losses of two independent groups
            # add.
            loss[to] += a[one] * b_loss[of] + a_loss[one] * b[of]
        return weight, loss

    def _behind(self, slope: float, log_t: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The polynomial of the places that are not listed: multinomial coefficients."""
        sizes = [n + 1 for n in self.number]
        weight, loss = np.zeros((2, *sizes))
        for numbers in np.ndindex(*sizes):
            log_number, left = 0.0, self.unlisted
            for n in numbers:
                log_number += log_choose(left, n)
                left -= n
            spent = float(np.dot(self.gain, numbers))
            exponent = log_number + float(np.dot(numbers, log_t)) - slope * spent
            weight[numbers] = math.exp(exponent) if exponent > -math.inf else 0.0
            loss[numbers] = weight[numbers] * spent
        return weight, loss


class AveragePrecision(NamedTuple):
    """One minus the average precision of P targets on M places."""

    targets: int
    places: int
    log_count: float

    @property
    def least(self) -> float:
        return 0.0

    @property
    def log_best(self) -> float:
        return 0.0

    @property
    def terms(self) -> float:
        return 4.0 * self.places

    def at(self, slope: float) -> tuple[float, float]:
        r"""Go through the places, with the sums of all ways to have met c targets so far.

        The c-th target costs $(1 - c/r)/P$ at place r when it is met: the ways to have met few and many
        then start with the same weight, and none underflows that matters later.
        """
        P, M = self.targets, self.places
        place = np.arange(1, M + 1)
        # The scaling is that of targets which find all P ahead of them, or as many as fit.
        usual = (1 - np.minimum(place, P) / place) / P
        low, high = np.array([[-50.0 - math.log(M)], [50.0 + slope / P]])

        def enough(at: np.ndarray) -> np.ndarray:
            expected = scipy.special.expit(at - slope * usual).sum(keepdims=True)
            return np.asarray(expected >= min(P, M - 0.5))

        log_t = float(bisect_on_host(enough, low, high, steps=_HALVINGS)[1][0])
        exponent = log_t - slope * usual
        hit, none = scipy.special.expit(exponent), scipy.special.expit(-exponent)
        count = np.arange(1, P + 1)
        # Row 0 is the sum of weights, row 1 that of weight times loss.
        sums = np.zeros((2, P + 1))
        sums[0, 0] = 1.0
        log_scale = 0.0
        # Dynamic programming over the places: column c holds all ways to have met c targets up to place r.
        for r, p, q, base in zip(place.tolist(), hit, none, usual, strict=True):
            most = min(P, r)
            loss = (1 - count[:most] / r) / P
            # A target at place r moves the count from c - 1 to c. Its weight is that of the usual
            # loss, which p has, corrected by the difference to its own loss.
            met = sums[:, :most] * (p * np.exp(-slope * (loss - base)))
            met[1] += loss * met[0]
            sums *= q
            sums[:, 1 : most + 1] += met
            if r % _RESCALED == 0:
                # Only ratios of the sums matter: the largest is brought back to one before they underflow.
                top = sums[0].max()
                sums /= top
                log_scale += math.log(top)
        # What the Bernoulli normalisation took out of Z: product of (1 + t w) over places, over
        # t^P.
        total = float(np.logaddexp(0.0, exponent).sum()) - P * log_t
        log_Z = total + log_scale + math.log(sums[0, P])
        return log_Z - self.log_count, float(sums[1, P] / sums[0, P])


PlaceSums: TypeAlias = Levels | Gains | AveragePrecision
"""What the search needs to know of a loss: ln N (`log_count`), the least loss (`least`) and ln of the number
of arrangements that have it (`log_best`), about how many roundings a sum suffers (`terms`), and `at`, which
returns ln(Z/N) and the mean loss at lambda, in nats per unit of loss."""


def rounding(sums: PlaceSums, slope: float) -> float:
    """Bits by which the rate of a point may be off, a generous count of its roundings."""
    return _EPS * (16 * (1 + sums.log_count) + sums.terms + 16 * slope)
