r"""The upper concave envelope behind the information bottleneck, and its pricing problem (C11).

A description U of Y splits the marginal $P_Y$ into posteriors: $\sum_u w_u \pi_u = P_Y$. With

$$g(\pi) = D(P_{X|Y}\,\pi \,\|\, P_X) - s\, D(\pi \| P_Y), \qquad
I(U;X) - s\, I(U;Y) = \sum_u w_u\, g(\pi_u),$$

so the best value at slope s is the upper concave envelope of g at $P_Y$ (Witsenhausen and Wyner
1975), a linear program with one column for each point of the simplex: an affine function
$\langle\lambda, \pi\rangle \ge g$ bounds it by $\langle\lambda, P_Y\rangle$, and whether it lies
above g is the pricing problem.

Pricing climbs $g - \lambda$ by the better of two steps. One is the bottleneck's own update
$\pi_y \propto P_Y(y)\, e^{((P^T \ln (P\pi / P_X))_y - \lambda_y)/s}$, which never descends, since it
replaces the convex part of g by its tangent (minorise and maximise). The other is Newton's on the
same equations, in $\ln \pi$. A maximiser found so is local: `_certificate` bounds what was missed.
Everything runs on the host,
lanes side by side (an encoder at a slope each, along the leading axis L), in nats.
"""

from typing import Final, NamedTuple

import numpy as np
import scipy

OPTIMAL: Final = 3e-14  # nats between the bounds at which an encoder is optimal up to rounding

VALUE_ROUNDING: Final = 1e-15
"""Nats by which two computed values of one encoder may differ: a few ulps of a value of order one."""

_CLIMBING_STEPS: Final = 6
"""Steps of every climb in one round of pricing; atoms are climbed again in every round."""

_SWEEPS: Final = 3  # steps from every start before the best of them are chosen
_FOLLOWED: Final = 4  # starts that are followed up in each round of pricing

_CLIMBERS: Final = 24
"""Points of a round of pricing from which climbs are finished, the highest: all of them up to 18 letters."""

_APART: Final = 0.2
"""L1 distance between two starts that are both followed up: nearer ones climb the same maximum."""

_INTERIOR: Final = 1e-5
"""Weight of P_Y in every start: no step leaves a face of the simplex, so that none starts on one."""

_NEAR_CORNERS: Final = (0.02, 1e-3, 1e-7, 1e-10)
"""Weights of P_Y in four starts near each corner, where maxima lie at any distance from it."""

_NEAR_COPIES: Final = 1e-3  # L1 distance below which two atoms may be copies of one atom
_LOG_ZERO: Final = -1e30  # stands for ln 0: zero times it is zero, not NaN
_FEW: Final = 24  # letters of Y up to which pricing also starts from P_Y given each pair
_LONGEST_STEP: Final = 3.0  # largest change of a coordinate of ln pi in one Newton step


class EnvelopeProblem(NamedTuple):
    """A source with letters of Y that all have mass and differ, at one slope or one a lane."""

    channel: np.ndarray  # P(x|y), shape (|X|, n)
    px: np.ndarray  # shape (|X|,)
    py: np.ndarray  # all positive, shape (n,)
    slope: np.ndarray  # s in (0, 1): a scalar, or shape (L,)

    def lanes(self, index: np.ndarray | slice) -> "EnvelopeProblem":
        """Choose some of the lanes."""
        return self._replace(slope=self.slope[index])


class Envelope(NamedTuple):
    """Atoms that carry the envelope at P_Y, and the affine function above them, one a lane."""

    weights: np.ndarray  # w_u >= 0, shape (L, k)
    atoms: np.ndarray  # pi_u, a row each, shape (L, k, n)
    dual: np.ndarray  # lambda, nats, raised by the largest g - lambda found, shape (L, n)


def atoms_of(masses: np.ndarray, py: np.ndarray) -> np.ndarray:
    """Divide the masses by the weights; an atom without weight is set to P_Y."""
    w = masses.sum(axis=-1, keepdims=True)
    return np.where(w > 0, masses / np.where(w > 0, w, 1.0), py)


def solve(matrix: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Solve linear systems, shape (..., m, m) and (..., m, r); NaN where a matrix is singular."""
    try:
        return np.asarray(np.linalg.solve(matrix, right))
    except np.linalg.LinAlgError:
        pass
    found = np.full(
        np.broadcast_shapes(matrix.shape[:-2], right.shape[:-2]) + right.shape[-2:], np.nan
    )
    for lane in np.ndindex(found.shape[:-2]):
        try:
            found[lane] = np.linalg.solve(matrix[lane], right[lane])
        except np.linalg.LinAlgError:
            continue
    return found


def _along(slope: np.ndarray, pi: np.ndarray) -> np.ndarray:
    """The slope of each lane, shaped to go with points of shape (L, ..., n) less the last axis."""
    return np.reshape(slope, np.shape(slope) + (1,) * (pi.ndim - 1 - np.ndim(slope)))


def gain(pi: np.ndarray, problem: EnvelopeProblem) -> np.ndarray:
    r"""$g(\pi)$ in nats of points of shape (L, ..., n): zero at $P_Y$, whatever the slope."""
    # A letter x without mass is reached by no posterior: rel_entr is zero there.
    to_x = scipy.special.rel_entr(pi @ problem.channel.T, problem.px).sum(axis=-1)
    to_y = scipy.special.rel_entr(pi, problem.py).sum(axis=-1)
    return np.asarray(to_x - _along(problem.slope, pi) * to_y)


def tilt(pi: np.ndarray, problem: EnvelopeProblem) -> np.ndarray:
    r"""$P^T \ln(P\pi / P_X)$, the gradient of the divergence to X up to a constant."""
    t = pi @ problem.channel.T
    logs = np.log(t / problem.px)
    # Where px is zero the column of P is too; elsewhere a letter may be out of reach of pi.
    return np.asarray(np.where(problem.px > 0, np.maximum(logs, _LOG_ZERO), 0.0) @ problem.channel)


def gradients(pi: np.ndarray, problem: EnvelopeProblem) -> np.ndarray:
    r"""Gradient of g at each atom, $P^T\ln(P\pi/P_X) - s\ln(\pi/P_Y)$; 0 s where $\pi_y = 0$."""
    logs = np.where(pi > 0, np.log(np.where(pi > 0, pi, 1.0) / problem.py), 0.0)
    return np.asarray(tilt(pi, problem) - problem.slope[:, None, None] * logs)


def normalised(log_pi: np.ndarray) -> np.ndarray:
    """Turn logarithms along the last axis into a distribution."""
    # The largest logarithm is taken off first, so that no exponential overflows and not all
    # underflow.
    weight = np.exp(log_pi - log_pi.max(axis=-1, keepdims=True))
    return np.asarray(weight / weight.sum(axis=-1, keepdims=True))


def _bottleneck_step(pi: np.ndarray, problem: EnvelopeProblem, dual: np.ndarray) -> np.ndarray:
    slope = problem.slope[:, None, None]
    return normalised(np.log(problem.py) + (tilt(pi, problem) - dual[:, None]) / slope)


def _newton_step(pi: np.ndarray, problem: EnvelopeProblem, dual: np.ndarray) -> np.ndarray:
    r"""Newton's step in $\ln\pi$ for $s \ln(\pi/P_Y) - P^T\ln(P\pi/P_X) + \lambda + \nu = 0$.

    $\nu$ is the multiplier of $\sum_y \pi_y = 1$. Coordinates that are zero stay so.
    """
    # In ln pi positivity needs no barrier, and the equations are nearly linear where s ln pi
    # dominates, that is near the faces of the simplex, where steps in pi itself would leave it.
    P, s, n = problem.channel, problem.slope[:, None, None], pi.shape[-1]
    t = pi @ P.T
    inside = pi > 0
    log_pi = np.log(np.where(inside, pi, 1.0))
    residual = s * (log_pi - np.log(problem.py)) - tilt(pi, problem) + dual[:, None]
    # The last row and column carry the constraint on the sum and its multiplier.
    matrix = np.zeros((*pi.shape[:-1], n + 1, n + 1))
    curvature = P.T @ (P / np.where(t > 0, t, 1.0)[..., None])
    matrix[..., :n, :n] = s[..., None] * np.eye(n) - curvature * pi[..., None, :]
    matrix[..., :n, n] = 1.0
    matrix[..., n, :n] = pi
    right = np.zeros((*pi.shape[:-1], n + 1, 1))
    right[..., :n, 0] = np.where(inside, -residual, 0.0)
    step = solve(matrix, right)[..., :n, 0]
    step = np.where(np.isfinite(step) & inside, step, 0.0)
    # Far from a solution Newton's step in logarithms may ask for factors of e^100. It is
    # shortened, its direction kept, to factors of at most e^3; as `_climb` rejects candidates
    # that descend, the limit decides only how fast a climb is.
    step = step / np.maximum(1.0, np.abs(step).max(axis=-1, keepdims=True) / _LONGEST_STEP)
    return normalised(np.where(inside, log_pi + step, -np.inf))


def height(pi: np.ndarray, problem: EnvelopeProblem, dual: np.ndarray) -> np.ndarray:
    """By how much g exceeds the affine function at points of shape (L, g, n); never NaN."""
    found = gain(pi, problem) - (pi @ dual[:, :, None])[..., 0]
    return np.where(np.isfinite(found), found, -np.inf)


def _rows(points: np.ndarray, index: np.ndarray) -> np.ndarray:
    """Choose points, shape (L, c), of each lane, of shape (L, g, n)."""
    return np.take_along_axis(points, index[:, :, None], axis=1)


def _climb(pi: np.ndarray, problem: EnvelopeProblem, dual: np.ndarray) -> np.ndarray:
    """Climb g - lambda from each point; staying is one of the choices, so that none descends."""
    here = height(pi, problem, dual)
    for _ in range(_CLIMBING_STEPS):
        moved = False
        # The two candidates complement each other: the bottleneck's step always ascends but
        # converges linearly, Newton's converges quadratically but may lead to a saddle point or a
        # minimum.
        for tried in (_bottleneck_step(pi, problem, dual), _newton_step(pi, problem, dual)):
            there = height(tried, problem, dual)
            better = there > here
            pi, here = np.where(better[..., None], tried, pi), np.where(better, there, here)
            moved |= bool(better.any())
        if not moved:
            break
    return pi


def _best_starts(starts: np.ndarray, problem: EnvelopeProblem, dual: np.ndarray) -> np.ndarray:
    """Choose the highest starts of each lane that lie apart, after a few steps of each."""
    swept = starts
    for _ in range(_SWEEPS):
        swept = _bottleneck_step(swept, problem, dual)
    points = np.concatenate([starts, swept], axis=1)
    # Greedy choice of separated starts: the highest point is taken, its neighbourhood is struck
    # out, and so on. When all are struck out the first point is repeated, which costs a climb and
    # nothing else.
    remaining = height(points, problem, dual)
    chosen = []
    for _ in range(_FOLLOWED):
        best = _rows(points, remaining.argmax(axis=1)[:, None])
        near = np.abs(points - best).sum(axis=2) < _APART
        remaining = np.where(near, -np.inf, remaining)
        chosen.append(best)
    return np.concatenate(chosen, axis=1)


def most_violating(
    atoms: np.ndarray, dual: np.ndarray, problem: EnvelopeProblem, starts: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Price the dual of each lane: climb g - lambda from the atoms, P_Y and the best starts.

    Returns:
        The highest posteriors met, shape (L, n), and g - lambda there in nats, shape (L,): by how
        much the dual is violated.

    """
    everything = np.broadcast_to(problem.py, (len(dual), 1, problem.py.size))
    pool = np.concatenate([atoms, everything, _best_starts(starts, problem, dual)], axis=1)
    # Every climb costs n by n matrices. At a stationary encoder its atoms lie on the affine
    # function, at height zero, so that any start above it comes before them here.
    if pool.shape[1] > _CLIMBERS:
        highest = np.argsort(-height(pool, problem, dual), axis=1, kind="stable")
        pool = _rows(pool, highest[:, :_CLIMBERS])
    pool = _climb(pool, problem, dual)
    violation = height(pool, problem, dual)
    best = violation.argmax(axis=1)[:, None]
    return _rows(pool, best)[:, 0], np.take_along_axis(violation, best, axis=1)[:, 0]


def merge_copies(
    weights: np.ndarray, atoms: np.ndarray, problem: EnvelopeProblem
) -> tuple[np.ndarray, np.ndarray]:
    """Merge near atoms of each lane, pair by pair, where that does not lower the value.

    The merged atom is the mean of the two by weight, which keeps the sum of the masses; it takes
    the first slot, and the second is left without weight.
    """
    weights, atoms = weights.copy(), atoms.copy()
    used = weights > 0
    distance = np.abs(atoms[:, :, None] - atoms[:, None]).sum(axis=3)
    near = (distance < _NEAR_COPIES) & used[:, :, None] & used[:, None]
    for lane, i, j in np.argwhere(np.triu(near, k=1)):
        w, pi = weights[lane], atoms[lane]
        total = w[i] + w[j]
        # An earlier merge of this lane may have emptied a slot or moved an atom away.
        if w[i] == 0 or w[j] == 0 or np.abs(pi[i] - pi[j]).sum() >= _NEAR_COPIES:
            continue
        of_second = w[j] / total
        mean = (1 - of_second) * pi[i] + of_second * pi[j]
        here = problem.lanes(slice(lane, lane + 1))
        merged, first, second = gain(np.stack([mean, pi[i], pi[j]])[None], here)[0]
        # By concavity merging does not lower the value where the function is concave between the two; elsewhere they stay.
        if merged >= (1 - of_second) * first + of_second * second - VALUE_ROUNDING:
            w[i], w[j], pi[i] = total, 0.0, mean
    return weights, atoms


def standard_starts(n: int, py: np.ndarray, random: np.ndarray) -> np.ndarray:
    """Points where pricing starts: a lattice up to three letters, subsets and random points beyond.

    Args:
        n: letters of Y.
        py: P(y), shape (n,).
        random: positive numbers that are scaled to random points, shape (r, n), beyond three letters.

    Returns:
        Points of the simplex, shape (G, n).

    """
    eye = np.eye(n)
    if n == 2:
        first = np.linspace(0, 1, 65)
        points = np.stack([first, 1 - first], axis=1)
    elif n == 3:
        m = 16
        lattice = [(i, j, m - i - j) for i in range(m + 1) for j in range(m + 1 - i)]
        points = np.array(lattice) / m
    else:
        # P_Y given one letter, given two (of few letters), and given all but one.
        i, j = np.triu_indices(n, k=1)
        pairs = py * (eye[i] + eye[j]) if n <= _FEW else np.empty((0, n))
        points = np.concatenate([eye, pairs, py * (1 - eye), np.asarray(random)])
        points = points / points.sum(axis=1, keepdims=True)
    mixed = [(1 - share) * corner + share * py for corner in eye for share in _NEAR_CORNERS]
    return np.concatenate([(1 - _INTERIOR) * points + _INTERIOR * py, np.array(mixed)])
