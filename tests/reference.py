"""Slow, obvious NumPy: what the fast paths of rdsim are held against. Rates in bits."""

import itertools
import math
from fractions import Fraction

import numpy as np

RHO = {
    "error": lambda r: (r > 1) * 1.0,
    "reciprocal_rank": lambda r: 1 - 1 / r,
    ("miss", 3): lambda r: (r > 3) * 1.0,
    "dcg": lambda r: 1 - 1 / np.log2(1 + r),
}
"""The rank losses, of any rank from 1."""


def reward_of_rank(loss, size):
    """One less the rank loss, for the ranks from 1 to the size."""
    ranks = np.arange(1, size + 1)
    if isinstance(loss, tuple):
        return (ranks <= loss[1]).astype(float)
    return 1 - RHO[loss](ranks)


def entropy(p):
    """H(p), one letter after the other."""
    return -sum(x * math.log2(x) for x in np.ravel(p) if x > 0)


def mutual_information_by_sums(joint):
    """I(X;Y) of a table, one cell after the other."""
    px, py = joint.sum(axis=1), joint.sum(axis=0)
    return sum(
        joint[x, y] * (math.log2(joint[x, y]) - math.log2(px[x]) - math.log2(py[y]))
        for x, y in itertools.product(*map(range, joint.shape))
        if joint[x, y] > 0
    )


def blahut_arimoto(p, d, slope, steps, q=None):
    """Plain Blahut-Arimoto, Blahut (1972).

    Args:
        p: source pmf, shape (y,).
        d: distortion, shape (y, u), inf where a pair is forbidden.
        slope: bits per unit of distortion; Q(u|y) is proportional to q(u) 2^(-slope d).
        steps: updates of the output marginal.
        q: where it starts, shape (u,); uniform if none.

    Returns:
        The distortion of the test channel, its mutual information (an upper bound on R there) and
        the dual lower bound on R there.
    """
    p, d = np.asarray(p, float), np.asarray(d, float)
    p, d = p[p > 0], d[p > 0]
    q = np.full(d.shape[1], 1 / d.shape[1]) if q is None else np.asarray(q, float)
    log_kernel = np.where(np.isinf(d), -np.inf, -slope * np.where(np.isinf(d), 0.0, d))
    for step in itertools.count():
        joint_exponent = _log2(q) + log_kernel
        log_z = _log2_sum(joint_exponent, axis=1)
        channel = 2.0 ** (joint_exponent - log_z[:, None])
        if step == steps:
            break
        q = p @ channel
    distortion = float(np.sum(p[:, None] * channel * np.where(channel > 0, d, 0.0)))
    upper = mutual_information_by_sums(p[:, None] * channel)
    log_c = _log2_sum(_log2(p)[:, None] + log_kernel - log_z[:, None], axis=0)
    lower = float(-(p @ log_z) - slope * distortion - log_c.max())
    return distortion, upper, lower


def binomial_pmf(n, p):
    """The binomial pmf on 0..n, in exact fractions until the last step."""
    p = Fraction(p)
    return np.array([float(math.comb(n, k) * p**k * (1 - p) ** (n - k)) for k in range(n + 1)])


def _log2(x):
    return np.log2(x, where=x > 0, out=np.full(np.shape(x), -np.inf))


def _log2_sum(exponent, axis):
    largest = exponent.max(axis=axis, keepdims=True)
    shift = np.where(np.isinf(largest), 0.0, largest)
    return _log2(np.sum(2.0 ** (exponent - shift), axis=axis)) + np.squeeze(shift, axis)
