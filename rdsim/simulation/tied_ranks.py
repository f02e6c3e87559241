r"""The loss of a target tied with others, averaged over the lot exactly.

With b competitors strictly better and t items tied, the target among them, the rank is uniform on
b+1..b+t. The mean loss has a closed form but for DCG, whose sum is taken term by term at its
beginning and by Euler's and Maclaurin's formula beyond.
"""

from typing import Any, Final

import numpy as np
import scipy.special

from rdsim.number_types import ArrayLike
from rdsim.ranking.loss import Loss, parse_loss

_TERMS: Final = 64  # the formula then errs by less than 1e-9 over the whole sum


def tied_loss(better: ArrayLike, tied: ArrayLike, loss: Loss) -> Any:
    r"""Average a rank loss over the lot of the ties, $\frac1t \sum_{r=b+1}^{b+t} \rho(r)$.

    Args:
        better: b >= 0, integers of any shape.
        tied: t >= 1, integers of the same shape; the target counts.
        loss: "error", "reciprocal_rank", ("miss", K) or "dcg".

    Returns:
        Loss in [0, 1], shape of the counts.

    References:
        McSherry and Najork (2008), ECIR.

    """
    parsed = parse_loss(loss)
    b, t = np.asarray(better, np.float64), np.asarray(tied, np.float64)
    if parsed.kind == "miss":
        return 1 - np.clip(parsed.cutoff - b, 0, t) / t
    ranks = b[..., None] + 1 + np.arange(_TERMS)
    listed = np.arange(_TERMS) < t[..., None]
    if parsed.kind == "reciprocal_rank":
        gain = np.where(listed, 1 / ranks, 0.0).sum(axis=-1)
        beyond = scipy.special.digamma(b + t + 1) - scipy.special.digamma(b + _TERMS + 1)
    else:
        gain = np.where(listed, 1 / np.log2(1 + ranks), 0.0).sum(axis=-1)
        beyond = _discounts(b + _TERMS + 2, b + np.maximum(t, _TERMS + 1) + 1)
    gain += np.where(t > _TERMS, beyond, 0.0)
    return 1 - gain / t


def _discounts(first: Any, last: Any) -> Any:
    r"""$\sum_{x=first}^{last} 1/\log_2 x$ for large first, by Euler and Maclaurin."""
    log_first, log_last = np.log(first), np.log(last)
    integral = scipy.special.expi(log_last) - scipy.special.expi(log_first)
    ends = (1 / log_first + 1 / log_last) / 2
    slopes = (1 / (first * log_first**2) - 1 / (last * log_last**2)) / 12
    return np.log(2.0) * (integral + ends + slopes)
