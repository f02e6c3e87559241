r"""What no codebook can pass, whatever source and queries are: items that share a codeword are tied (C27).

Let one codebook serve all items and u be the target's codeword, of probability q. Even a decoder that is told u cannot
tell the target from the competitors with the same codeword, so that

$$E\,w(\mathrm{rank}) \le \sum_u h_M(q_u), \qquad h_M(q) = \int_0^q E\,w(1 + \mathrm{Bin}(M-1, v))\, dv.$$

$h_M$ is concave: of N codewords equal ones are the best, and codewords of R bits on average are bounded by the upper
concave hull of $2^r h_M(2^{-r})$ at R.

Items that are given, not drawn, may be known to the encoder, which can give each codeword M/N of them: of a class of n items
that are tied the targets have the places 1 to n at best, so that, W(n) being the sum of the first n rewards, which is concave, and
the target uniform,

$$E\,w(\mathrm{rank}) \le \frac1M \sum_u W(n_u) \le \frac{N}{M}\, W(M/N),$$

W interpolated between integers; recall@1 is at most N/M.
"""

from typing import Final

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from rdsim import validation
from rdsim.information import LN2
from rdsim.limits._supporting_lines import lower_hull
from rdsim.number_types import ArrayLike
from rdsim.ranking.loss import Loss, parse_loss
from rdsim.ranking.metrics.single_target import tied_gain
from rdsim.ranking.rank_distribution import expected_loss
from rdsim.transformations import on_host

_RATES: Final = ("fixed_length", "entropy")
_ITEMS: Final = ("drawn", "given")
_MOST_GIVEN: Final = 52.0
"""log2 of the largest number of given items: larger ones are no integers of float64."""
_STEPS: Final = 8192  # steps of the grid of lengths over which the hull is taken
_LONGER: Final = 30.0
"""A codeword that is longer than log2 M by so many bits is shared with probability 1e-9; its loss is taken for zero."""
_ROUNDING: Final = 1e-12
"""Subtracted from the lower bound for the rounding of the losses on the hull, which is some 1e-15 each."""


@on_host
@validation.needs_float64
def codebook_loss(
    log2_size: ArrayLike,
    loss: Loss,
    *,
    bits: ArrayLike,
    rate: str = "fixed_length",
    items: str = "drawn",
) -> Float[Array, "..."]:
    r"""Bound from below the rank loss of every code with one codebook for all items, of any source.

    $$E\,\rho(\mathrm{rank}) \ge 1 - 2^R h_M(2^{-R})$$

    for $2^R$ codewords, the loss of a target that is tied with each competitor with probability $2^{-R}$ and beats the
    others. Encoders may draw the codeword, and may have been fitted to anything but the items that are ranked. Codebooks
    drawn for each item anew are no single codebook: those `retrieval_converse` bounds.

    Args:
        log2_size: log2 M >= 1, any shape.
        loss: "error", "reciprocal_rank", ("miss", K) or "dcg".
        bits: R >= 0, any shape: log2 of the number of codewords, or bits of the index on average.
        rate: what the bits are: "fixed_length" or "entropy", H(U) <= R.
        items: "drawn" independently, and unknown to whoever made the codebook, or "given": any items, copies among them, to which the codebook may be
            fitted, each of them the target equally often. Given ones, 2^52 at most, are bounded for fixed length alone.

    Returns:
        Losses, the shape of the bits followed by that of log2_size.

    Raises:
        ValueError: if an argument is out of range or unknown, or for items that are given with rate="entropy".

    References:
        The bound is this project's own.

    """
    parse_loss(loss)
    size = np.asarray(validation.log2_size(log2_size), float)
    R = np.asarray(validation.interval("bits", bits, low=0.0, high=1e4), float)
    validation.choice("rate", rate, _RATES)
    if validation.choice("items", items, _ITEMS) == "given":
        return jnp.asarray(_given(size, loss, R, rate))
    if rate == "fixed_length":
        # The target ties with each competitor with probability 2^-R and loses to none: a = 0 and
        # e = 2^-R of C1.
        tied = -R.reshape(R.shape + (1,) * size.ndim) * LN2
        return jnp.asarray(expected_loss(size, loss, log_a=-np.inf, log_e=tied))
    found = [_averaged(float(one), loss, R) for one in size.ravel()]
    stacked = np.stack(found, axis=-1) if found else np.zeros((*R.shape, 0))
    return jnp.asarray(stacked.reshape(R.shape + size.shape))


def _given(size: np.ndarray, loss: Loss, R: np.ndarray, rate: str) -> np.ndarray:
    """Bound the loss of codes of given items, shape of R followed by that of the sizes."""
    if rate != "fixed_length":
        raise ValueError(
            f'items="given" is bounded for rate="fixed_length" alone, got rate={rate!r}'
        )
    validation.interval("log2_size", size, low=1.0, high=_MOST_GIVEN)
    M = np.round(np.exp2(size))
    # A codeword has M/N items, but no fewer than one: with more codewords than items each is
    # alone.
    codewords = np.exp2(np.minimum(R.reshape(R.shape + (1,) * size.ndim), 1e3))
    each = np.asarray(np.maximum(M / codewords, 1.0))
    return np.asarray(np.maximum(1 - first_rewards(each, loss) / each - _ROUNDING, 0.0))


def first_rewards(places: np.ndarray, loss: Loss) -> np.ndarray:
    """W: the sum of the rewards of so many first places, interpolated between integers."""
    whole = np.floor(places)
    here, further = (
        n * tied_gain(0, np.maximum(n, 1).astype(np.int64), loss) for n in (whole, whole + 1)
    )
    return np.asarray(here + (places - whole) * (further - here))


def _averaged(size: float, loss: Loss, R: np.ndarray) -> np.ndarray:
    """Bound the loss of codewords of R bits on average: the lower convex hull over lengths, shape of R."""
    length = np.linspace(0.0, size + _LONGER, _STEPS + 1)
    least = np.asarray(expected_loss(size, loss, log_a=-np.inf, log_e=-length * LN2))
    # The loss falls with the length: with that of the longer end in every step the hull lies below it everywhere. No
    # codeword has a loss below zero.
    value = np.append(least[1:-1], [0.0, 0.0])
    corners = lower_hull(length, value)
    return np.asarray(np.maximum(np.interp(R, length[corners], value[corners]) - _ROUNDING, 0.0))
