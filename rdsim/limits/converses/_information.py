r"""The recall of codes of R bits of information, joint encoders too, as lines in the share of the database (C27).

For every $\lambda > 0$ and $\gamma \ge 0$ the recall of a share t is at most

$$t\gamma + \lambda R \ln 2 + \sup_a \{\lambda \ln E\, e^{P(X>a|Y)/\lambda} - \gamma P(X>a)\}.$$

The supremum over lists of a share s is a function U(s); that over all s is its upper concave hull, and the best gamma at t is
the slope of the hull there.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_ndtr, ndtr, ndtri_exp

from rdsim.limits._supporting_lines import lower_hull
from rdsim.limits.converses._half_spaces import between
from rdsim.limits.converses._recalls import Reals

_LN2: Final = math.log(2.0)


@dataclass(frozen=True)
class Lines:
    """Bounds of the recall at a share t of the database, each a line in t: at most t gamma + height.

    Attributes:
        log_t: shares for which the lines were chosen, ln t, increasing, shape (T,).
        log_gamma: ln of the slopes, shape (T,).
        height: value at t = 0, shape (T,).

    """

    log_t: Reals
    log_gamma: Reals
    height: Reals

    def at(self, log_t: Reals) -> Reals:
        """Return the lower of the two lines chosen for the neighbouring shares: a bound at any share."""
        right = np.clip(np.searchsorted(self.log_t, log_t), 0, self.log_t.size - 1)
        left = np.maximum(right - 1, 0)
        both = [np.exp(log_t + self.log_gamma[i]) + self.height[i] for i in (left, right)]
        return np.asarray(np.clip(np.minimum(*both), 0.0, 1.0))


LEAST_MULTIPLIER: Final = 3e-4
"""Least lambda, recall a nat. At a smaller one the integrals need finer steps, and the bound says nothing
below thousands of bits."""
_MULTIPLIERS: Final = np.geomspace(0.02, 2.0, 20)
"""Values of lambda that are tried first, times the nats: the best one spends a part of the recall on them."""
_FINER: Final = 24  # values tried between the neighbours of the best ones
_STEP: Final = 0.1  # of the thresholds a, standard deviations
_PARTS: Final = 24  # of a step, around the thresholds where a line touches; two for many shares
_STEP_OF_ITEMS: Final = 0.2
"""Step of the points over the root of lambda and the width of P(X > a|Y = y), sigma/rho. The integrand, the
exponential of that probability over lambda, is as narrow as a third of it: the trapezoidal rule is then exact to
rounding."""
_LARGEST_STEP: Final = 0.4  # of the points: the rule is exact for the normal density, to e^-120


class Items:
    """P(X > a | Y = y) at thresholds a, on points y of halved steps as small multipliers need them.

    The probabilities are the same for every multiplier, so that they are computed once a step.
    """

    def __init__(self, correlation: float, a: Reals) -> None:
        self.rho, self.a = correlation, a
        self.sigma = math.sqrt((1 - correlation) * (1 + correlation))
        self.step = _STEP_OF_ITEMS * self.sigma / correlation
        self._seen: dict[float, tuple[Reals, Reals, Reals]] = {}

    def usefulness(self, multiplier: float) -> Reals:
        r"""Return $\lambda \ln E\, e^{P(X>a|Y)/\lambda}$ by the trapezoidal rule over items, shape of a."""
        y, log_normal, seen = self._points(self.step * math.sqrt(multiplier))
        # Beyond the second end a share of exp(-40) is left, even if every item there is found.
        end = int(np.searchsorted(y, math.sqrt(2 / multiplier + 80.0)))
        exponent = seen[:, :end] / multiplier
        exponent += log_normal[:end]
        highest = exponent.max(axis=1, keepdims=True)
        exponent -= highest
        np.exp(exponent, out=exponent)
        return np.asarray(multiplier * (np.log(exponent.sum(axis=1)) + highest[:, 0]))

    def _points(self, largest: float) -> tuple[Reals, Reals, Reals]:
        step = _LARGEST_STEP * 0.5 ** max(math.ceil(math.log2(_LARGEST_STEP / largest)), 0)
        if step not in self._seen:
            high = min(
                max(float(self.a.max()), 6.0) / self.rho + 10.0,
                math.sqrt(2 * (2 * self.step / step) ** 2 + 80.0),
            )
            y = np.arange(-9.0, high, step)
            log_normal = -0.5 * y * y - 0.5 * math.log(2 * math.pi) + math.log(step)
            self._seen[step] = y, log_normal, self._inside(y)
        return self._seen[step]

    def _inside(self, y: Reals) -> Reals:
        """P(X > a | Y = y), shape (a, y)."""
        return np.asarray(ndtr((self.rho * y - self.a[:, None]) / self.sigma))


def information(items: Callable[[Reals], Items], bits: Reals, log_t: Reals) -> list[Lines]:
    """Bound the recall of any code of R bits of information an item, joint encoders too, for several R.

    For each lambda the largest over half-spaces is the upper concave hull of
    U(s) = lambda ln E exp(P(X > a_s|Y)/lambda) over shares s, less a line; gamma is the slope of the
    hull at t. Whatever lambda and gamma are, the bound holds.

    Args:
        items: makes P(X > a|Y) at thresholds a.
        bits: R, shape (bits,).
        log_t: ln of shares, increasing, shape (T,).

    """
    highest = max(1.0 - float(ndtri_exp(log_t.min())), 6.0)
    coarse = items(np.arange(-6.0, highest, _STEP))
    return [_information(items, coarse, float(R), log_t) for R in bits]


def _information(
    items: Callable[[Reals], Items], coarse: Items, bits: float, log_t: Reals
) -> Lines:
    """The lines at one number of bits."""
    parts = _PARTS if log_t.size <= 8 else 2
    around = _STEP * np.arange(-parts, parts + 1) / parts

    def supports(multiplier: float, finely: bool) -> tuple[Reals, Reals]:
        """Touching lines: found on the coarse thresholds, and again on fine ones where they touch."""
        a, useful = coarse.a, coarse.usefulness(multiplier)
        touched = _corners(useful, log_ndtr(-a), log_t)
        if finely:
            fine = np.setdiff1d(np.add.outer(a[np.unique(touched)], around), a)
            order = np.argsort(np.concatenate([a, fine]))
            more = items(fine).usefulness(multiplier)
            a = np.concatenate([a, fine])[order]
            useful = np.concatenate([useful, more])[order]
            touched = _corners(useful, log_ndtr(-a), log_t)
        log_shares = log_ndtr(-a)
        left, right = touched
        # Slopes are as large as the database: differences of shares are taken in the log domain.
        log_gamma = np.log(useful[right] - useful[left]) - log_shares[right]
        log_gamma -= np.log(-np.expm1(log_shares[left] - log_shares[right]))
        above = useful - np.exp(log_gamma[:, None] + log_shares)
        return log_gamma, above.max(axis=1) + 2 * between(above)

    best, chosen = np.full(log_t.size, np.inf), np.ones(log_t.size)
    gamma, height = np.zeros(log_t.size), np.zeros(log_t.size)
    multipliers = np.maximum(_MULTIPLIERS / max(bits * _LN2, 0.1), LEAST_MULTIPLIER)
    for finely in (False, True):
        for multiplier in np.unique(multipliers):
            log_gamma, above = supports(float(multiplier), finely)
            above = above + multiplier * bits * _LN2
            value = np.exp(log_t + log_gamma) + above
            better = value < best
            best, chosen = np.where(better, value, best), np.where(better, multiplier, chosen)
            gamma, height = np.where(better, log_gamma, gamma), np.where(better, above, height)
        ratio = _MULTIPLIERS[1] / _MULTIPLIERS[0]
        least = max(chosen.min() / ratio, LEAST_MULTIPLIER)
        multipliers = np.geomspace(least, chosen.max() * ratio, _FINER)
    return Lines(log_t, gamma, height)


def _corners(useful: Reals, log_shares: Reals, log_t: Reals) -> NDArray[np.intp]:
    """Places of the two corners of the upper concave hull of U(s) around each share t, shape (2, T)."""
    corners = lower_hull(np.exp(log_shares - log_t.min()), -useful)
    right = np.clip(np.searchsorted(log_shares[corners], log_t), 1, corners.size - 1)
    return np.stack([corners[right - 1], corners[right]])
