r"""When a Monte Carlo run may stop, decided at trial numbers fixed beforehand.

A run that stops as soon as its interval is narrow enough has looked many times, and an interval at
confidence 1 - alpha is not valid at a time chosen by looking. Here the J looks are known before the
first trial, each interval has confidence 1 - alpha/J, and by the union bound all J cover at once with
probability at least 1 - alpha: so does the one at which the run stopped, whatever made it stop.
"""

import dataclasses
import math
from collections.abc import Sequence
from typing import Final

import jax.numpy as jnp
import numpy as np

from rdsim.simulation.engine.exact_sums import QUANTISATION, Layout
from rdsim.simulation.intervals import Estimate, bernstein_of_moments, clopper_pearson

FIRST_LOOK: Final = 1024
"""Trials before the stopping rule is first evaluated."""


def looks(cap: int) -> tuple[int, ...]:
    r"""Compute the trial numbers at which a run may stop: $1024 \cdot 2^{j/2}$ below the cap, and it."""
    before: list[int] = []
    while (number := math.isqrt(FIRST_LOOK**2 << len(before))) < cap:
        before.append(number)
    return (*before, cap)


@dataclasses.dataclass(frozen=True)
class StoppingRule:
    """Fixed looks and the widths wanted.

    Attributes:
        looks: trial numbers, increasing; a run ends at the last.
        widths: wanted width of each outcome's interval, infinite where any will do.
        confidence: of the interval of one outcome and setting, valid at the time of stopping.

    """

    looks: tuple[int, ...]
    widths: tuple[float, ...]
    confidence: float

    def estimates(
        self, layout: Layout, totals: np.ndarray, trials: np.ndarray
    ) -> tuple[list[Estimate], list[np.ndarray]]:
        """Compute each outcome's estimate and sample variance from the sums so far.

        An event has the interval of Clopper and Pearson, any other loss that of an empirical Bernstein bound (Maurer and
        Pontil) on the unit scale. Both hold at every look together, by the union bound.
        """
        # The risk is divided equally among the looks: their intervals hold together, whatever made the run stop.
        confidence = 1 - (1 - self.confidence) / len(self.looks)
        estimates, variances = [], []
        for outcome, part in zip(layout.outcomes, layout.parts(totals), strict=True):
            shape = (trials.size, *outcome.shape)
            numbers = np.broadcast_to(trials.reshape(-1, *(1,) * len(outcome.shape)), shape)
            if outcome.is_event:
                count = outcome.counts(part)
                found = clopper_pearson(count, numbers, confidence=confidence)
                # k (N - k) may pass 2^63.
                variance = count.astype(float) * (numbers - count) / (numbers * (numbers - 1.0))
            else:
                scale = outcome.high - outcome.low
                mean, variance = outcome.moments(part, trials)
                # Twice the quantisation: the rounding of these few lines is far below it.
                unit = bernstein_of_moments(
                    mean, variance, numbers, confidence=confidence, slack=2 * QUANTISATION
                )
                # On the host: each operation of JAX would be a program to compile.
                ends = [
                    jnp.asarray(outcome.low + scale * np.asarray(end), float)
                    for end in (unit.mean, unit.lower, unit.upper)
                ]
                found = dataclasses.replace(unit, mean=ends[0], lower=ends[1], upper=ends[2])
                variance = variance * scale**2
            estimates.append(dataclasses.replace(found, confidence=self.confidence))
            variances.append(variance)
        return estimates, variances

    def excess(self, estimates: Sequence[Estimate]) -> np.ndarray:
        """Widest interval of each setting as a multiple of its wanted width."""
        relative = [
            (np.asarray(estimate.upper) - np.asarray(estimate.lower)).reshape(
                len(estimate.mean), -1
            )
            / width
            for estimate, width in zip(estimates, self.widths, strict=True)
        ]
        return np.concatenate(relative, axis=1).max(axis=1, initial=0.0)

    def next_look(self, trials: int) -> int:
        """Find the first look after this many trials."""
        return next(look for look in self.looks if look > trials)

    def describe(self) -> str:
        """Name what decides where the run may stop; a fixed number of trials may be raised later."""
        if all(math.isinf(width) for width in self.widths):
            return "fixed number of trials"
        return f"widths {self.widths}, cap {self.looks[-1]}, confidence {self.confidence!r}"
