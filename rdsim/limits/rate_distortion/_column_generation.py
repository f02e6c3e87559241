r"""The optimal output marginal of one slope on the host: on few columns at a time, or in closed form.

Column generation solves on a working set of letters, prices all letters by $c_u$, and exchanges. The
optimum lives on few letters (6 to 112 of 256 on random sources), and one step of the interior point
costs $|Y| k^2$ for k working letters. NumPy's arrays take any k, so nothing is padded or compiled.
"""

from collections.abc import Callable
from typing import Any, Final

import numpy as np
from jaxtyping import Bool, Float

from rdsim.limits.rate_distortion._interior_point import dense, interior_point, shifted_kernel
from rdsim.limits.rate_distortion._separable import Kronecker, SumOfAxes

_MAX_ROUNDS: Final = 60
"""Most exchanges of letters; the gap that is left after them is reported as it is."""
_BLOCKS: Final = 64
"""The letters are cut into so many blocks of neighbours, or into as many as there are working letters;
of each, one letter at most enters a round."""
_COVERING: Final = 4.0
"""Blocks at the start, in units of the number of kernels that cover all letters side by side."""
_BLAHUT_ARIMOTO_STEPS: Final = 5
"""Steps of Blahut-Arimoto after which the first working set is chosen."""
FEW_LETTERS: Final = 32
"""Up to so many letters, solving for all at once is as fast as column generation."""
_FULL: Final = 0.5
"""Share of the letters above which all of them are solved for, for the working set would grow on."""
_FULL_GRID: Final = 0.06
"""The same share where the kernel is a Kronecker product, for which a step for all letters costs much less."""
_SEPARABLE_STEPS: Final = 200
"""Blahut-Arimoto steps where each costs the products of the factors alone."""
_UNCOVERED_LOG2: Final = 200.0
"""log2 of the factor on the dual of a row that no working letter reaches: it attracts a letter."""

_TINY: Final = float(np.finfo(float).tiny)
"""In the place of zero, where a row without mass is reached by no letter any more."""

_Solved = tuple[Float[np.ndarray, " u"], Float[np.ndarray, " u"]]


def solve_on_host(
    p: Float[np.ndarray, " y"],
    excess: Float[np.ndarray, "y u"],
    K: Float[np.ndarray, "y u"],
    slope: float,
    tolerance: float,
    rare: Bool[np.ndarray, " y"] | None = None,
) -> _Solved:
    r"""Solve one slope by the cheapest way that its table allows.

    Args:
        p: source pmf, shape (|Y|,).
        excess: $d(y,u) - \min_u d(y,u)$, shape (|Y|, |U|).
        K: its `shifted_kernel`.
        slope: s >= 0 in bits per unit of distortion, or inf.
        tolerance: certified gap in bits at which to stop.
        rare: rows that are taken for rows without mass, where that makes a solution easier.

    Returns:
        The pmf q and the dual slacks w, both (|U|,); zero for letters outside the working set.

    """
    if (a := _hamming_kernel(K)) is not None:
        return _water_filling(p, a)
    if rare is not None:
        p = np.where(rare, 0.0, p)
    # A row without mass asks for nothing: its kernel is set to one, so that nu Z = p = 0 has a
    # solution and no zero is divided by.
    without_mass = ~(p > 0)[:, None]
    excess, K = np.where(without_mass, 0.0, excess), np.where(without_mass, 1.0, K)
    if K.shape[1] <= FEW_LETTERS:
        return dense(p, K, tolerance)
    # A few steps of Blahut-Arimoto from the uniform pmf are enough to choose a first working set
    # by, which pricing then corrects.
    q = _blahut_arimoto(p, K, _BLAHUT_ARIMOTO_STEPS)
    # The first working set: the likeliest letter of each row.
    score = np.bincount((K * q).argmax(axis=1), weights=p, minlength=len(q))
    return _column_generation(p, lambda letters: excess[:, letters], K, slope, tolerance, q, score)


def solve_separable(
    p: Float[np.ndarray, " y"], axes: SumOfAxes, K: Kronecker, slope: float, tolerance: float
) -> _Solved:
    """Solve one slope where the distortion is a sum of two axes; the arguments are those of `solve_on_host`."""
    q = _blahut_arimoto(p, K, _SEPARABLE_STEPS)
    return _column_generation(p, axes.columns, K, slope, tolerance, q, q)


def _blahut_arimoto(p: np.ndarray, K: Any, steps: int) -> np.ndarray:
    """Take plain steps from the uniform pmf, q <- q c."""
    q = np.full(K.shape[1], 1.0 / K.shape[1])
    for _ in range(steps):
        q = q * ((p / np.maximum(K @ q, _TINY)) @ K)
    return q


def _hamming_kernel(K: Float[np.ndarray, "y u"]) -> float | None:
    """Return a if K is one on the diagonal and a < 1 off it, else None."""
    a = float(K[0, -1])
    if K.shape[0] != K.shape[1] or len(K) < 2 or not a < 1:
        return None
    is_hamming = (K.diagonal() == 1).all() and np.count_nonzero(a == K) == K.size - len(K)
    return a if is_hamming else None


def _water_filling(p: Float[np.ndarray, " y"], a: float) -> _Solved:
    r"""Minimise in closed form for a Hamming distortion, in O(n log n) by a threshold (Erokhin 1958).

    With $Z_y = a + (1-a) q_y$ the conditions $c_u \le 1$ are those of water-filling:
    $q_y = (p_y / \lambda - a)^+ / (1-a)$. The k most probable letters are used, the largest k
    with $p_{(k)} > a \lambda$, where $\lambda = P_k / (1 - a + a k)$ lets q sum to one.
    """
    order = np.argsort(-p, kind="stable")
    mass = np.cumsum(p[order])
    levels = mass / (1 - a + a * np.arange(1, len(p) + 1))
    k = np.count_nonzero(p[order] > a * levels)  # true up to the k-th, and false from there on
    q = np.maximum(p / levels[k - 1] - a, 0.0) / (1 - a)
    q[order[k:]] = 0.0
    q /= q.sum()
    Z = a + (1 - a) * q
    nu = np.where(p > 0, p / np.where(Z > 0, Z, 1.0), 0.0)
    slack = np.maximum(1 - a * nu.sum() - (1 - a) * nu, 0.0)
    return q, np.where(q > 0, 0.0, slack)


def _best_of_blocks(
    score: Float[np.ndarray, " u"], threshold: float, blocks: int
) -> Bool[np.ndarray, " u"]:
    """Mark the best letter of each block of neighbours, if its score exceeds the threshold."""
    # Neighbouring letters of a discretised source are near copies: were all violated ones to
    # enter, the working set would fill with copies, of which the optimum uses one. Hence one a
    # block.
    size = -(-len(score) // min(max(blocks, _BLOCKS), len(score)))
    table = np.pad(score, (0, -len(score) % size), constant_values=-1.0).reshape(-1, size)
    best = np.arange(size) == table.argmax(axis=1)[:, None]
    return np.asarray((best & (table > threshold)).ravel()[: len(score)])


def _column_generation(
    p: Float[np.ndarray, " y"],
    columns: Callable[[np.ndarray], Float[np.ndarray, "y k"]],
    K: Any,
    slope: float,
    tolerance: float,
    q: Float[np.ndarray, " u"],
    score: Float[np.ndarray, " u"],
) -> _Solved:
    """Column generation: exchange letters until none has $c_u > 1$.

    In each round letters that ended inactive leave, and of each block of neighbours the letter with
    the largest $c_u > 1$ enters. A letter that comes back is pinned, so the exchange ends.

    Args:
        p: source pmf, shape (|Y|,).
        columns: the excess distortions of some letters, by their numbers.
        K: kernel of all letters, for products.
        slope: s >= 0, or inf.
        tolerance: certified gap in bits at which to stop.
        q: pmf from which solving for all letters starts.
        score: by which the first working set is chosen, shape (|U|,).

    """
    letters = K.shape[1]
    w, gap = np.zeros(letters), np.inf
    most = (_FULL_GRID if isinstance(K, Kronecker) else _FULL) * letters
    # K.size / K.sum() is the number of letters over the mean number that a kernel covers.
    working = _best_of_blocks(score, 0.0, int(_COVERING * K.size / K.sum()))
    seen, pinned = working, np.zeros(letters, bool)
    for _ in range(_MAX_ROUNDS):
        if np.count_nonzero(working) > most:
            # All letters at once, and at once to the end: nothing is left that could enter.
            return interior_point(K, p, q / q.sum(), min(max(gap, 1e-8), 0.5), tolerance / 4)
        index = np.flatnonzero(working)
        # Rows are shifted by their best working letter, not the best of all, which may be absent.
        chosen = columns(index)
        shift = chosen.min(axis=1)
        reached = shift < np.inf
        shift = np.where(reached, shift, 0.0)
        k = shifted_kernel(chosen - shift[:, None], slope)
        k[~reached] = 1.0
        # Warm start: as far from the last q as its gap allows; early rounds are solved roughly.
        mixing = min(max(gap, 1e-8), 0.5)
        # Solving the working set to a hundredth of a per cent of what it still misses overall is
        # enough; the last rounds are solved to a quarter of the tolerance, and the rest is left
        # to the pricing.
        target = max(tolerance / 4, 1e-4 * min(gap, 1.0))
        start = q[index]
        solved, slack = interior_point(k, p, start / start.sum(), mixing, target)
        q, w = np.zeros(letters), np.zeros(letters)
        q[index], w[index] = solved, slack
        # In units of the full kernel, nu is larger by 2^(s shift), cut off where it would overflow.
        missing = np.where(shift > 0, slope, 0.0) * np.where(shift > 0, shift, 0.0)
        missing = np.where(reached, np.minimum(missing, _UNCOVERED_LOG2), _UNCOVERED_LOG2)
        # Pricing: c_u of every letter. Their largest certifies the round over all letters.
        c = (p / (k @ solved) * np.exp2(missing)) @ K
        worst = float(c.max())
        gap = float(np.log2(worst))
        if gap <= tolerance:
            break
        # Letters hardly above one wait: most of them fall below when the worst have entered.
        violated = 1 + max(tolerance / 4, 1e-2 * (worst - 1))
        entering = _best_of_blocks(np.where(working, 0.0, c), violated, len(index))
        pinned = pinned | (entering & seen)
        # Complementary slackness tells active letters (q > 0, w = 0) from idle ones; a factor of
        # a thousand to the safe side keeps what is undecided. Pinned letters stay, or two sets
        # could alternate for ever.
        working = (working & ((q > 1e-3 * w) | pinned)) | entering
        seen = seen | working
    return q, w
