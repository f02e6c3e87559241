r"""Search for the slope whose line meets the bottleneck at a rate, or at a relevance.

It is the search of all curves (`limits._supporting_lines`) on the convex function f = -IB, in bits. A proof by
branch and bound costs far more than an ascent. So lines are first taken on trust, from the dual
variables of the ascent, and only those that the answer rests on are proved. Where a proof finds a
posterior that pricing had missed, its encoder is better now, and the search goes on from there.
"""

import math
from typing import Final

import numpy as np

from rdsim.information import LN2
from rdsim.limits._supporting_lines import Points, search
from rdsim.limits.bottleneck._certificate import ROUNDING
from rdsim.limits.bottleneck._solver import Encoders, SolverOptions, Source, proved, solved

_ATTEMPTS: Final = 3
"""Searches that take the solver's estimates of upper bounds on trust; each is followed by proofs of the lines in use."""
_SLOPES: Final = (1e-9, 1 - 1e-9)
"""Range of the slopes that are searched; the curve's ends at 0 and 1 are known."""
_TRUSTED_GAP: Final = 0.25
"""Fraction of the tolerance at which a search on trust stops."""
_PROOF_GAP: Final = 0.5
"""Fraction of the tolerance to which a line in use is proved: with that of the search it stays below one."""


def bottleneck_bounds(
    source: Source, target: np.ndarray, options: SolverOptions, *, by_relevance: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Bound IB at rates, or its inverse at relevances, shape (T,), all strictly inside the curve.

    Each attempt searches with lines taken on trust, proves those that the answer rests on, and bounds the
    targets by proved lines and achieved points alone: `known` holds nothing else. So the bounds hold
    whether or not the attempts have closed them to the tolerance.
    """
    goal = -target if by_relevance else target
    # Known without a solver: nothing is sent, and IB(R) <= R; all is sent, and IB <= I(X;Y).
    known = _points_of_lines(
        slope=np.array([1.0, 0.0]),
        complexity=np.array([0.0, source.entropy]),
        relevance=np.array([0.0, source.information]),
        height=np.array([0.0, source.information + ROUNDING]),
    )
    missed: dict[float, np.ndarray] = {}
    for _ in range(_ATTEMPTS):
        found_more = False
        trusted = _explored(source, known, goal, options, missed, by_relevance=by_relevance)
        used = _decisive(_on_trust(source, trusted), known, goal, by_relevance=by_relevance)
        # Points stay, as what is achieved; lines that are not proved do not.
        nothing = np.zeros(trusted.slope.size)
        known = known.and_also(
            _points_of_lines(nothing, trusted.complexity, trusted.relevance, nothing + np.inf)
        )
        if used.size:
            slopes = trusted.slope[used]
            # At a relevance the rate is off by what the line is off, divided by its slope.
            unit = slopes if by_relevance else np.ones(used.size)
            proof = proved(source, trusted.at(used), options, _PROOF_GAP * options.tolerance * unit)
            found = proof.encoders
            known = known.and_also(
                _points_of_lines(slopes, found.complexity, found.relevance, proof.upper)
            )
            missed.update(zip(slopes, proof.highest, strict=True))
            found_more = bool((proof.highest != source.py).any())
        lower, upper = search(_nothing_more, known, goal, math.inf, first=(), inverse=by_relevance)
        # Another search could only find what this one has, unless a proof met what pricing had missed.
        if not found_more or (upper - lower <= options.tolerance).all():
            break
    return (lower, upper) if by_relevance else (-upper, -lower)


def _points_of_lines(
    slope: np.ndarray, complexity: np.ndarray, relevance: np.ndarray, height: np.ndarray
) -> Points:
    """Points of -IB, from lines IB(R) <= height + slope R."""
    return Points(slope, complexity, -(height + slope * complexity), -relevance)


def _on_trust(source: Source, found: Encoders) -> Points:
    return _points_of_lines(
        found.slope, found.complexity, found.relevance, found.dual @ source.py / LN2
    )


def _nothing_more(_: np.ndarray) -> Points:
    """Solve no slopes: the search then returns the bounds of what is known."""
    return Points(*np.empty((4, 0)))


def _decisive(
    trusted: Points, known: Points, goal: np.ndarray, *, by_relevance: bool
) -> np.ndarray:
    """Choose the lines on trust that are the best over some goal, and better than all proved ones."""
    if by_relevance:
        best = known.inverse_line(goal)
        # Where the line of slope s reaches the goal: f(R) >= lower - s (R - x) solved for R.
        lines = trusted.x + (trusted.lower - goal[:, None]) / trusted.slope
    else:
        best = known.line(goal)
        lines = trusted.lower - trusted.slope * (goal[:, None] - trusted.x)
    # Column zero is the best bound proved so far: a line on trust that is no better need not be
    # proved.
    chosen = np.argmax(np.column_stack([best, lines]), axis=1)
    return np.unique(chosen[chosen > 0]) - 1


def _explored(
    source: Source,
    known: Points,
    goal: np.ndarray,
    options: SolverOptions,
    missed: dict[float, np.ndarray],
    *,
    by_relevance: bool,
) -> Encoders:
    """Ascend at slopes until points and unproved lines meet over every goal.

    Pricing also starts from what was missed at the nearest slope that was proved before.
    """
    found = [solved(source, np.empty(0), options)]

    def solve(slopes: np.ndarray) -> Points:
        tried = np.concatenate([each.slope for each in found])
        new = np.setdiff1d(np.clip(slopes, *_SLOPES), tried)
        starts = [
            missed[min(missed, key=lambda slope: abs(slope - s))] if missed else source.py
            for s in new
        ]
        found.append(solved(source, new, options, np.reshape(starts, (new.size, source.py.size))))
        return _on_trust(source, found[-1])

    wanted = _TRUSTED_GAP * options.tolerance
    search(solve, known, goal, wanted, first=(), inverse=by_relevance)
    return Encoders(*(np.concatenate(leaves) for leaves in zip(*found, strict=True)))
