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

from rdsim.limits.converses._code_lengths import Codewords
from rdsim.limits.converses._recalls import Reals, Recalls
from rdsim.limits.converses._tails import Tails

EXACTLY: Final = 1e-10
"""By how much unequal codewords may pass equal ones where these are reported as the best."""


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
