r"""How many of the tied letters a plug-in code uses, and how far the others are from a tie (C18).

A tied letter has no mass in the optimum and no slack: the samples decide whether the code uses it. The number of letters
that it uses is that of the constraints $v_u \ge 0$ that are slack in a projection on a cone.
"""

import itertools
import math
from typing import Final

import numpy as np

from rdsim.finite_sample.plug_in_optimum import SolvedSource

NULL: Final = 1e-11
"""Squared canonical correlations (at most 1) below this are taken for zero."""
_UNVARYING: Final = 1e-12
"""A variance of one sample below this is rounding: the mass or slack is the same for all
samples."""


def cone_weights(covariance: np.ndarray) -> np.ndarray:
    r"""Compute the probabilities that j of t constraints $v_u \ge 0$ are slack in the projection of v.

    $$w_j = \sum_{|J| = j} P\left(N(0, S_{J'J'}^{-1}) \ge 0\right)
    P\left(N(0, S_{JJ} - S_{JJ'} S_{J'J'}^{-1} S_{J'J}) \ge 0\right),$$

    $J'$ the letters held at zero: their multipliers and the others' masses are independent.

    Args:
        covariance: S of the unconstrained v, positive definite, shape (t, t), t <= 3.

    Returns:
        The weights $w_0, \dots, w_t$.

    References:
        Shapiro (1985), Biometrika 72(1).

    """
    count = covariance.shape[0]
    weights = np.zeros(count + 1)
    for size in range(count + 1):
        for chosen in itertools.combinations(range(count), size):
            free = list(chosen)
            held = [u for u in range(count) if u not in chosen]
            # By the KKT conditions exactly one set J has positive masses on J and non-negative multipliers on the
            # others: the events of different J are disjoint and cover everything, so that the weights sum to one.
            multipliers = np.linalg.inv(covariance[np.ix_(held, held)])
            cross = covariance[np.ix_(free, held)]
            masses = covariance[np.ix_(free, free)] - cross @ multipliers @ cross.T
            weights[size] += _orthant(multipliers) * _orthant(masses)
    return weights


def _orthant(covariance: np.ndarray) -> float:
    """Probability that a normal vector of up to three numbers has no negative one (Sheppard 1898)."""
    size = covariance.shape[0]
    deviations = np.sqrt(np.diagonal(covariance))
    correlations = (covariance / np.outer(deviations, deviations))[np.triu_indices(size, 1)]
    angles = float(np.sum(np.arcsin(np.clip(correlations, -1.0, 1.0))))
    return (1.0, 0.5, 0.25 + angles / (2 * np.pi), 0.125 + angles / (4 * np.pi))[size]


def tied_covariance(scaled: np.ndarray, active: np.ndarray, tied: np.ndarray) -> np.ndarray:
    r"""N times the covariance of the masses that tied letters would get without constraints.

    It is the inverse of the Schur complement $H_{TT} - H_{TA} H_{AA}^+ H_{AT}$, the Gram matrix of
    the tied columns' residuals after projection on the active ones.
    """
    used, rest = scaled[:, active], scaled[:, tied]
    rest = rest - used @ np.linalg.lstsq(used, rest, rcond=math.sqrt(NULL))[0]
    return np.linalg.inv(rest.T @ rest)


def standard_margin(problem: SolvedSource, active: np.ndarray) -> float:
    r"""Smallest mass or slack in units of the standard deviation that one sample gives it.

    Masses have N times the covariance $H_{AA}^{-1} - q q^T$; the slack of another letter is,
    to first order, a mean of the residual of $a_u$ after projection on the active columns.
    """
    p, K, q, Z, slack, *_ = (np.asarray(leaf) for leaf in problem)
    root = np.sqrt(p)[:, None]
    columns = root * K / np.where(p > 0, Z, 1.0)[:, None]
    used, rest = columns[:, active], columns[:, ~active]
    # N Cov g = H - 1 1^T and H q = 1: the inverse of H on the active letters, less q q^T.
    mass_variance = np.diagonal(np.linalg.inv(used.T @ used)) - q[active] ** 2
    rest = rest - used @ np.linalg.lstsq(used, rest, rcond=None)[0]
    slack_variance = (rest**2).sum(axis=0) - (root[:, 0] @ rest) ** 2
    # One sample moves a mass or a slack by about this deviation: N samples need margins well above it over sqrt(N).
    margins = np.concatenate([q[active], slack[~active]])
    variance = np.concatenate([mass_variance, slack_variance])
    varies = variance > _UNVARYING
    ratios = margins[varies] / np.sqrt(variance[varies])
    return float(ratios.min(initial=np.inf))
