r"""What a codeword can tell, for Gaussian pairs: half-spaces are the best decoding regions (C27).

Query X and item Y are standard normal vectors of any dimension whose coordinates have correlation
$\rho$. A codeword of probability q is at best a half-space {Y > b_q}, and a list of share t of the
database at best a half-space {X > a} (Borell 1985), so that every quantity below is one integral over
one bivariate normal pair. With gamma a threshold on the likelihood ratio,

$$F_\gamma(r) = \max_a\, P(X > a \mid Y > b_q) - \gamma P(X > a), \qquad q = 2^{-r},$$

is the excess $E_\gamma$ of a codeword of r bits, and for every gamma >= 0 the recall of a share t is at most

- fixed length: $t\gamma + 2^R \,\mathrm{conv}(q F_\gamma(\log_2 1/q))$ at $q = 2^{-R}$;
- entropy: $t\gamma + \mathrm{conv}(F_\gamma)$ at R;
- information: $t\gamma + \lambda R \ln 2 + \sup_a \{\lambda \ln E\, e^{P(X>a|Y)/\lambda}
  - \gamma P(X>a)\}$ for every $\lambda > 0$,

conv being the upper concave hull. Each bound is a line in t, valid at every t, so that finitely many
lines bound the recall at all shares, and with it every rank loss.
"""

from functools import lru_cache, partial
from typing import Final

import numpy as np
import scipy

from rdsim.limits.converses import _information
from rdsim.limits.converses._recalls import Reals, Recalls, ranks
from rdsim.limits.converses._tails import Tails
from rdsim.limits.converses.code_lengths import Codewords
from rdsim.ranking.loss import RankLoss

EXACTLY: Final = 1e-10
"""By how much unequal codewords may pass equal ones where these are reported as the best."""
_ROUNDS: Final = 4
"""Steps of Newton's method at most. The bits of the rank rate are a third too few at most, and each step about squares
what is left of that: two are usual."""
_NEAR: Final = 1e-3
"""Relative size of a step after which no further one is made: it would raise the bits by less than 1e-5 of them."""
_ROUNDING: Final = 1e-12
"""Added to a reward for its rounding."""


def codewords(correlation: float) -> Codewords:
    """Half-spaces of normal pairs."""
    sigma = float(np.sqrt((1 - correlation) * (1 + correlation)))
    return Codewords(partial(_tails, correlation), sigma, EXACTLY)


def _tails(correlation: float, r: Reals) -> Tails:
    """Keep the last tables: bounds of several losses share them."""
    return _cached_tails(correlation, np.asarray(r, float).tobytes())


@lru_cache(maxsize=64)  # the numbers of bits of one source, and tens of MB at most
def _cached_tails(correlation: float, r: bytes) -> Tails:
    return Tails(correlation, np.frombuffer(r))


def equal_codewords(correlation: float, bits: float, recalls: Recalls) -> float:
    """Return the reward of half-spaces of probability 2^-R, which no equal codewords exceed."""
    a, row = -scipy.special.ndtri_exp(recalls.log_t), np.zeros(recalls.log_t.shape, int)
    found = _tails(correlation, np.array([bits])).exceed(a, row)
    return float(recalls.weight @ found)


def half_space_bits(
    correlation: float, size: float, loss: RankLoss, distortion: Reals, bits: Reals
) -> Reals:
    r"""Raise lower bounds on the information that losses need to those of half-spaces, joint encoders too.

    A line of `_information` bounds the recall of a share at all numbers of bits, growing by $\lambda \ln 2$ with
    each, and so does their mean the reward: where it reaches 1 - D is a lower bound, for whichever bits the line was
    chosen. The reward is at most the least of all lines, a concave function of the bits, so that Newton's method comes
    from below and is never too high.

    Args:
        correlation: rho > 0 of each coordinate of query and item, whatever their number is.
        size: log2 M.
        loss: rank loss.
        distortion: losses D, shape (D,).
        bits: lower bounds from where to begin, shape (D,). Those that are zero or infinite stay what they are.

    Returns:
        Bits an item, no smaller than the given ones, shape (D,).

    """
    found = np.array(bits, float)
    unsolved = np.flatnonzero((found > 0) & np.isfinite(found))
    if correlation > _information.MOST_CORRELATION:
        return found
    recalls, rest = ranks(size, loss)
    items = partial(_information.Items, correlation)
    log_t, wanted = recalls.chosen_shares(), 1.0 - distortion - rest
    for _ in range(_ROUNDS):
        lines = _information.information(items, found[unsolved], log_t)
        each = np.array([line.tangent(recalls) for line in lines]).reshape(-1, 2)
        missing = wanted[unsolved] - each[:, 0] - _ROUNDING
        # A line that is level, or already above the wanted reward, says nothing.
        rising = (missing > 0) & (each[:, 1] > 0)
        unsolved, step = unsolved[rising], missing[rising] / each[rising, 1]
        found[unsolved] += step
        unsolved = unsolved[step > _NEAR * found[unsolved]]
    return found
