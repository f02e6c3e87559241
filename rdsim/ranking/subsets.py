r"""What a ranking of a large database says about smaller ones: exact averages over random subsets.

With n of N competitors ahead of the target, the number H that is ahead among m of them drawn at random is
hypergeometric, so that a database of m + 1 items has the loss $E\,\rho(1 + H)$. For N to infinity this is
C1, the average over a binomial number. One ranking of a large database so gives every smaller one, with
less variance than one ranking of that size.
"""

import functools
from typing import Final

import numpy as np
import scipy
from jaxtyping import Float

from rdsim import validation
from rdsim.number_types import ArrayLike, Integer
from rdsim.ranking.loss import Loss, RankLoss, parse_loss
from rdsim.transformations import on_host

_BLOCK: Final = 1 << 20  # numbers that are held in memory at a time
_IMPOSSIBLE: Final = -750.0  # logarithm of a probability that float64 holds as zero
_DEVIATIONS: Final = 9.0
_MORE: Final = 40
"""A hypergeometric number is farther from its mean than `_DEVIATIONS` standard deviations and `_MORE` with a probability
below 1e-16; such numbers are left out of sums."""


@on_host
def subset_loss(
    ahead: ArrayLike,
    loss: Loss,
    *,
    competitors: Integer,
    sampled: Integer,
    tied: ArrayLike = 1,
) -> Float[np.ndarray, "..."]:
    r"""Average a rank loss over all databases of some of the competitors that were ranked.

    $$\frac1t \sum_{n=a}^{a+t-1} E\,\rho(1 + H_n), \qquad
        P(H_n = h) = \binom{n}{h} \binom{N-n}{m-h} \Big/ \binom{N}{m},$$

    with a items ahead of the target and t at its score, itself included: ties are broken at random. The
    reciprocal rank has a closed form,

    $$E \frac{1}{1 + H_n} = \frac{N+1}{(m+1)(n+1)}
        \left(1 - \binom{N-n}{m+1} \Big/ \binom{N+1}{m+1}\right),$$

    miss at K is a sum of K terms, and the DCG loss a sum over all values of H that are not
    improbable below 1e-16.

    Args:
        ahead: a, competitors ranked before the target, integers in [0, N], any shape.
        loss: the rank loss, a `Loss`.
        competitors: N >= 1, how many were ranked.
        sampled: m in [1, N], how many the smaller database has; with the target it has m + 1 items.
        tied: t >= 1, items at the target's score, itself included, a + t - 1 <= N; the shape
            broadcasts with that of a.

    Returns:
        Mean losses in [0, 1], exact to about 1e-13, the broadcast shape of a and t.

    """
    parsed = parse_loss(loss)
    N = validation.integer("competitors", competitors, low=1)
    m = validation.integer("sampled", sampled, low=1, high=N)
    a = validation.counts("ahead", ahead)
    validation.interval("ahead", a, low=0.0, high=float(N))
    t = validation.counts("tied", tied)
    validation.interval("tied", t, low=1.0)
    a, t = (np.asarray(x) for x in validation.broadcast(ahead=a, tied=t))
    if a.size and (last := float(np.max(a + t - 1))) > N:
        raise ValueError(
            f"tied must not exceed the {N} competitors with those ahead, got a target behind {last:g}"
        )
    gain = _tied_gain(a.ravel().astype(np.int64), t.ravel().astype(np.int64), N, m, parsed)
    # Sums of probabilities may exceed one by their rounding.
    return np.clip(1 - gain, 0.0, 1.0).reshape(a.shape)


def _tied_gain(a: np.ndarray, t: np.ndarray, N: int, m: int, loss: RankLoss) -> np.ndarray:
    """Average the gain over the places a, ..., a + t - 1, each computed once."""
    if a.size == 0:
        return np.zeros(0)
    # The union of the ranges: they are sorted, and one that starts beyond all ends so far opens a
    # new stretch.
    order = np.argsort(a)
    start, end = a[order], np.maximum.accumulate((a + t)[order])
    opens = np.append(True, start[1:] > end[:-1])
    first, last = start[opens], np.append(end[:-1][opens[1:]], end[-1])
    places = np.concatenate([np.arange(f, e) for f, e in zip(first, last, strict=True)])
    gain = (_reciprocal if loss.kind == "reciprocal_rank" else _summed)(places, N, m, loss)
    at = np.searchsorted(places, a)
    total = np.append(0.0, np.cumsum(gain))
    return np.where(t == 1, gain[at], (total[at + t] - total[at]) / t)


def _reciprocal(places: np.ndarray, N: int, m: int, loss: RankLoss) -> np.ndarray:
    """E 1/(1 + H) at increasing places n, by the closed form.

    ln(C(N-n, m+1) / C(N+1, m+1)) is the sum of ln(1 - (m+1)/(N+1-j)) over j = 0, ..., n. Summed in this
    order it keeps its relative accuracy where it is small, which differences of log-gammas lose.
    """
    del loss
    log_none = np.full(places.size, -np.inf)
    total, done = 0.0, 0
    for begin in range(0, int(places[-1]) + 1, _BLOCK):
        j = np.arange(begin, min(begin + _BLOCK, int(places[-1]) + 1), dtype=float)
        ratio = np.minimum((m + 1) / (N + 1 - j), 1.0)
        with np.errstate(divide="ignore"):  # fewer than m + 1 competitors are behind the target
            sums = total + np.cumsum(np.log1p(-ratio))
        inside = np.searchsorted(places, begin + j.size)
        log_none[done:inside] = sums[places[done:inside] - begin]
        total, done = float(sums[-1]), int(inside)
        if total < _IMPOSSIBLE:
            break
    return np.asarray((N + 1) / (m + 1) / (places + 1.0) * -np.expm1(log_none))


def _summed(places: np.ndarray, N: int, m: int, loss: RankLoss) -> np.ndarray:
    """E w(1 + H) at places n, a sum over the values of H that are not improbable."""
    share = m / N
    mean = places * share
    far = _DEVIATIONS * np.sqrt(mean * (1 - share)) + _MORE
    low = np.maximum(np.maximum(0, places + m - N), np.floor(mean - far)).astype(np.int64)
    high = np.minimum(np.minimum(places, m), np.ceil(mean + far)).astype(np.int64)
    if loss.is_two_valued:
        high = np.minimum(high, loss.cutoff - 1)
    gain = np.zeros(places.size)
    todo = np.flatnonzero(high >= low)
    # Places with windows of like width go together.
    todo = todo[np.argsort((high - low)[todo], kind="stable")]
    begin = 0
    while begin < todo.size:
        widest = int((high - low)[todo[min(begin + 64, todo.size - 1)]]) + 1
        rows = todo[begin : begin + max(64, _BLOCK // widest)]
        rows = rows[: np.searchsorted((high - low)[rows], 2 * widest)]
        h = low[rows, None] + np.arange(int((high - low)[rows].max()) + 1)
        inside = h <= high[rows, None]
        n = places[rows, None]
        h = np.where(inside, h, low[rows, None])
        terms = hypergeometric(h, n, N, m)
        worth = 1.0 if loss.is_two_valued else 1 / np.log2(2.0 + h)
        gain[rows] = np.sum(np.where(inside, terms * worth, 0.0), axis=1)
        begin += rows.size
    return gain


def hypergeometric(h: np.ndarray, n: np.ndarray, N: int, m: int) -> np.ndarray:
    r"""P(H = h) as a product of binomial probabilities, none of which is needlessly small.

    $$\binom{n}{h} \binom{N-n}{m-h} \Big/ \binom{N}{m} =
        \frac{b(h; n, p)\, b(m-h; N-n, p)}{b(m; N, p)}, \qquad p = m/N.$$
    """
    binom = scipy.stats.binom
    return np.asarray(binom.pmf(h, n, m / N) * binom.pmf(m - h, N - n, m / N) / _middle_term(N, m))


@functools.cache
def _middle_term(N: int, m: int) -> float:
    return float(scipy.stats.binom.pmf(m, N, m / N))
