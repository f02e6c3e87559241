r"""Test channels of some dozens of codewords, by alternating sorting and entropic transport (C12, C25).

With the codewords sorted by a class c of queries, codeword u takes an interval of quantiles as long as its
probability, its slot, and earns $\tau_c(u)\,\bar\omega_c(u)$, $\bar\omega_c$ the mean of omega over
the slot. Hence the reward is

$$\sum_{u,y} P(u,y)\, r(u,y), \qquad r(u,y) = \sum_c e_c(y)\, \bar\omega_c(u),$$

linear in P(u,y) for fixed slots: at given P(u) the channel that earns most less lambda times its
rate is an entropic optimal transport of the codewords to the letters,
$P(u,y) = P(u) P(y) a_u b_y e^{r(u,y)/\lambda}$, found by Sinkhorn's iteration. As omega falls with
the quantile, sorting gives the slots that earn most, so that transport and sorting, in alternation,
never earn less among codewords of given probabilities. What is found is a local optimum from several
starts, below the best of all channels by the order of one over the square of the number of codewords
where the sorting is right. All slopes and starts run side by side, in NumPy. The channels are
evaluated as they are, by `_programme.evaluated`: nothing rests on convergence.
"""

from typing import Final

import numpy as np

from rdsim.limits.retrieval.items._ranks import Programme

_CODEWORDS: Final = 128
"""Codewords of a channel, over all queries: with half as many it was some 1e-3 bits worse, with twice as many 3e-4 better
(measured, as what follows, on five letters and four classes of queries)."""
_FEWEST: Final = 3
"""Least number of codewords that lean to each query."""
_ALTERNATIONS: Final = 12
"""Rounds of new scores and new transport: with four the channel was some 1e-3 bits worse, with 48 it was 5e-5 better."""
_SINKHORN_STEPS: Final = 12
"""Steps of one transport, from the scalings of the one before: with four the channel was some 2e-4 bits worse, with 48 no better."""
_RANDOM: Final = 3
"""Pairs of random starts: without them the best channel was up to 7e-4 bits worse, with twice as many no better."""
_STEEPEST: Final = 600.0
"""Nats of reward that a letter is told apart by at most: beyond, its exponential would be lost."""
_FINEST: Final = 1e-3
"""Least probability by which codewords are graded, over 1/M."""
_FINEST_SIZE: Final = 2.0**48
"""Database size from which on codewords get no finer: their cumulative probabilities would be rounded."""


def alternated(
    problem: Programme, table: np.ndarray, size: float, multipliers: np.ndarray
) -> list[np.ndarray]:
    """Search a channel for every multiplier.

    Args:
        problem: classes of queries and what they earn.
        table: P(x,y) of the letters of the problem, to take the starts from.
        size: M, to grade codewords by.
        multipliers: Lagrange multiplier lambda of the rate, reward per nat, shape (S,).

    Returns:
        P(u,y) for every multiplier.

    """
    best = [(-np.inf, np.zeros((0, 0)))] * multipliers.size
    for weight, posterior in _starts(table, min(size, _FINEST_SIZE)):
        joint, value = _climbed(problem, weight, posterior, multipliers)
        best = [
            max(old, (float(v), each), key=lambda pair: pair[0])
            for old, v, each in zip(best, value, joint, strict=True)
        ]
    return [each for _, each in best]


def _climbed(
    problem: Programme, weight: np.ndarray, posterior: np.ndarray, multipliers: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Alternate sorting and Sinkhorn's iteration from one start, at all multipliers side by side.

    Invariants: the kernel and both scalings stay positive; P(u) is the given one but for what Sinkhorn's
    iteration has left, and P(y) is exact in what is returned.

    Args:
        problem: as in `alternated`.
        weight: P(u), shape (U,).
        posterior: P(y|u) to sort by at first, shape (U, |Y|).
        multipliers: lambda, shape (S,).

    Returns:
        P(u,y), shape (S, U, |Y|); and what the transport's dual says of reward over multiplier less rate,
        in nats and up to a constant, shape (S,).

    """
    e, py = problem.queries.direction, problem.queries.py
    integrals = [
        (
            np.append(0.0, np.cumsum(steps.length)),
            np.append(0.0, np.cumsum(steps.length * steps.slope)),
        )
        for steps in problem.below
    ]
    slots = (multipliers.size, len(e), weight.size)
    # Where in memory each row of a class of queries begins.
    row = weight.size * np.arange(slots[0] * slots[1]).reshape(*slots[:2], 1)
    mean = np.empty(slots)
    # Of equal codewords every order has the same slots.
    equal = bool(np.ptp(weight) == 0)
    earned = _earned(integrals, weight) if equal else np.zeros(0)
    # Sinkhorn's scalings of the kernel K = e^{r/lambda}: P(u,y) = (a_u P(u)) K (b_y P(y)).
    letter_scaling = np.tile(py, (multipliers.size, 1))[:, :, None]  # b_y P(y)
    scores = np.broadcast_to(e @ posterior.T, slots)  # tau_c(u)
    for _ in range(_ALTERNATIONS):
        # The slot of a codeword is its interval of quantiles once all are sorted by falling score.
        order = np.argsort(-scores, axis=-1)
        length = weight.take(order)
        if not equal:
            earned = _earned(integrals, length)
        mean.reshape(-1)[order + row] = earned / length
        reward = (np.swapaxes(mean, 1, 2) @ e) / multipliers[:, None, None]
        # The largest reward of a codeword is taken off, which its scaling a_u makes up for, and
        # differences beyond what exp can represent are cut: a zero in the kernel could leave a
        # letter without any mass.
        top = reward.max(axis=2, keepdims=True)
        kernel = np.exp(np.maximum(reward - top, -_STEEPEST))
        across = np.swapaxes(kernel, 1, 2)
        # Sinkhorn's iteration: the codewords' masses and the letters' are met in turn.
        for _ in range(_SINKHORN_STEPS):
            codeword_scaling = weight[:, None] / (kernel @ letter_scaling)
            letter_scaling = py[:, None] / (across @ codeword_scaling)
        # Sorting needs the posteriors P(y|u) alone, from which the codewords' scalings drop out.
        scores = (e * np.swapaxes(letter_scaling, 1, 2)) @ across
        scores /= np.swapaxes(kernel @ letter_scaling, 1, 2)
    # The letters' masses come last: they are exact, as the source prescribes them. Those of the codewords
    # are off by what the iteration leaves, and may be: a channel's output distribution is free.
    codeword_scaling = weight[:, None] / (kernel @ letter_scaling)
    letter_scaling = py[:, None] / (across @ codeword_scaling)
    joint = codeword_scaling * kernel * np.swapaxes(letter_scaling, 1, 2)
    # E r / lambda - I with P(u,y) / (P(u) P(y)) = a_u b_y K written out; exact where both marginals are met.
    value = (top - np.log(codeword_scaling / weight[:, None]))[:, :, 0] @ weight
    value -= np.log(letter_scaling[:, :, 0] / py) @ py
    return joint, value


def _earned(integrals: list[tuple[np.ndarray, np.ndarray]], lengths: np.ndarray) -> np.ndarray:
    """Integrate omega of each class of queries over slots one after another.

    Args:
        integrals: quantiles and the integral of omega up to there, of each class.
        lengths: of the slots, shape (..., C, U), or (U,) where all classes have the same.

    Returns:
        The integrals over the slots, shape (..., C, U).

    """
    ends = np.cumsum(lengths, axis=-1)
    ends = np.broadcast_to(ends, (*ends.shape[:-2], len(integrals), ends.shape[-1]))
    up_to = np.zeros((*ends.shape[:-1], ends.shape[-1] + 1))
    for c, (x, height) in enumerate(integrals):
        up_to[..., c, 1:] = np.interp(ends[..., c, :], x, height)
    return np.diff(up_to, axis=-1)


def _starts(table: np.ndarray, size: float) -> list[tuple[np.ndarray, np.ndarray]]:
    """Probabilities of the codewords, shape (U,), and posteriors to sort them by at first, (U, |Y|).

    Codewords have posteriors between the prior and that of each query; their probabilities are equal,
    or graded so that slots are fine where the reward falls. Or posteriors are random. Or each
    letter has its own codewords, whose probabilities sum to its own.
    """
    queries, py = len(table), table.sum(axis=0)
    each = max(_CODEWORDS // queries, _FEWEST)
    codewords = queries * each
    grid = np.append(0.0, np.geomspace(_FINEST / size, 1 / queries, 2048))
    # Ends are even in the sum of ln(1 + q M), along which the loss of few winners rises, and of q.
    density = np.log1p(grid * size) / np.log1p(size / queries) + grid * queries
    graded = np.tile(np.diff(np.interp(np.linspace(0, 2, each + 1), density, grid)), queries)
    equal = np.full(codewords, 1 / codewords)
    # The posteriors of a query's codewords lie on the segment from P(y|x), at lean one, to nearly
    # P_Y.
    lean = np.tile(np.linspace(1, 0, each, endpoint=False), queries)[:, None]
    towards = py * (1 - lean) + lean * np.repeat(table, each, axis=0)
    starts = [(equal, towards), (graded, towards), _of_letters(py, codewords)]
    # Squares of exponential variables are uneven: random posteriors that favour a few letters
    # each.
    generator = np.random.default_rng(0)
    for weight in (equal, graded) * _RANDOM:
        starts.append((weight, py * generator.exponential(size=towards.shape) ** 2))
    return [(m / m.sum(), u / u.sum(axis=1, keepdims=True)) for m, u in starts]


def _of_letters(py: np.ndarray, codewords: int) -> tuple[np.ndarray, np.ndarray]:
    """Split every letter into codewords, finer towards its ends; their posteriors are near it."""
    codewords = max(codewords, py.size)
    count = np.ones(py.size, int)
    # Codewords are dealt out one at a time to the letter whose codewords are the heaviest, so
    # that their probabilities end nearly equal.
    while count.sum() < codewords:
        count[np.argmax(py / count)] += 1
    # Chebyshev's spacing: parts are finest at both ends of the letter's slot, where it meets its
    # neighbours.
    parts = [np.diff(0.5 - 0.5 * np.cos(np.linspace(0, np.pi, k + 1))) for k in count]
    mass = np.concatenate([p * part for p, part in zip(py, parts, strict=True)])
    letter = np.repeat(np.arange(py.size), count)
    # Copies of one letter would tie for ever: each leans towards P_Y a little more than the one
    # before.
    near = 1 - 0.01 * np.arange(codewords)[:, None] / codewords
    return mass, near * np.eye(py.size)[letter] + (1 - near) * py
