r"""The isotropic twin of real pairs: one effective dimension and a distribution of correlations over the pairs.

Query and item are standard normal vectors of n coordinates whose correlation differs from pair to pair. The
cosine t of a pair of correlation rho has Fisher's density, and a random item beats the target with probability

$$p = c_n(t) = \tfrac12 I_{1-t^2}\big(\tfrac{n-1}{2}, \tfrac12\big) \quad (t \ge 0), \qquad
    c_n(-t) = 1 - c_n(t).$$

What its codes reach follows from the distribution of p behind random codes (C28), what none exceeds from the mean over
the correlations of the bound of C27. `twin_fit` fits it to ranks.
"""

import math
from collections.abc import Sequence
from dataclasses import field
from typing import Final

import numpy as np
from jaxtyping import Float

from rdsim import validation
from rdsim.finite_sample.database_size._cosines import NATS, Cosines, beaten
from rdsim.finite_sample.database_size._mixing import Reals
from rdsim.limits import retrieval_converse
from rdsim.number_types import ArrayLike
from rdsim.ranking.loss import RankLoss
from rdsim.ranking.rank_distribution import gain_without_ties
from rdsim.results import result
from rdsim.sources import vector_gaussian
from rdsim.transformations import on_host

_JOINED: Final = 0.04
"""Probability up to which the converse joins correlations: all are bounded as if they were the strongest of them."""
_LITTLE: Final = 1e-3
"""Loss below which the converse counts that of stronger pairs as zero. With the joined correlations this loosened
recalls by up to .02 where it was compared, and takes a fraction of the time."""


@result
class IsotropicTwin:
    """Gaussian pairs whose correlations are those of the nodes, with their probabilities.

    Attributes:
        dimension: n, effective number of coordinates.
        correlations: rho of the nodes, shape (K,).
        probabilities: of the nodes, shape (K,).
        quality: measured quality of items stored whole, which the twin reproduces.
        fitted_quality: that of the twin before its correlations were moved; the difference says how well it fits.
        log2_size: log2 of the measured size.
        rank_loss: kind of the loss and its cutoff.

    """

    dimension: float = field(metadata={"static": True})
    correlations: Float[np.ndarray, " k"]
    probabilities: Float[np.ndarray, " k"]
    quality: float = field(metadata={"static": True})
    fitted_quality: float = field(metadata={"static": True})
    log2_size: float = field(metadata={"static": True})
    rank_loss: tuple[str, int] = field(metadata={"static": True})

    @on_host
    def loss(self, bits: ArrayLike, *, log2_size: ArrayLike) -> Float[np.ndarray, "..."]:
        r"""Compute the expected loss of random codes: the nearest of $2^R$ random directions is kept (C28).

        The largest cosine T of $2^R$ random directions has $P(T \le \tau) = (1 - c_n(\tau))^{2^R}$; the
        cosine of query and codeword is $t T + \sqrt{(1-t^2)(1-T^2)}\, w$, w being a coordinate of a random
        direction in n - 1 dimensions; a competitor's codeword is a random direction.

        Args:
            bits: R, 0 to 1000 an item, any shape; infinity for items stored whole.
            log2_size: log2 M, 1 to 1000.

        Returns:
            Expected losses, by quadrature (to about 1e-3), shape of bits.

        """
        found = random_code_losses(self, [RankLoss(*self.rank_loss)], bits, log2_size=log2_size)
        return np.asarray(found[0])

    @on_host
    def converse(self, bits: ArrayLike, *, log2_size: ArrayLike) -> Float[np.ndarray, "..."]:
        r"""Bound the loss of every code of the twin's pairs from below: the mean of C27 over the correlations.

        Proof: tell the decoder the correlation of the query's own pair, which can only help it. Given that
        it is rho, the pair is Gaussian of one correlation and the other items are independent of the query
        as before, so that the loss is at least C27 at rho; average over rho.

        Args:
            bits: R >= 0 for each item, one of $2^R$ codewords, one encoder for all; any shape.
            log2_size: log2 M, 1 to 1000.

        Returns:
            Least losses, shape of bits.

        """
        found = converse_losses(self, [RankLoss(*self.rank_loss)], bits, log2_size=log2_size)
        return np.asarray(found[0])


def random_code_losses(
    twin: IsotropicTwin, losses: Sequence[RankLoss], bits: ArrayLike, *, log2_size: ArrayLike
) -> Reals:
    """Compute several losses of `IsotropicTwin.loss` from the same integrals, stacked along a first axis."""
    stored = np.asarray(validation.interval("bits", bits, low=0.0), float)
    if ((stored > 1000) & np.isfinite(stored)).any():
        raise ValueError(f"bits must be at most 1000, or infinity, got {stored.max()!r}")
    size = float(validation.interval("log2_size", log2_size, low=1.0, high=1e3, ndim=0))
    scores = Scores(twin.dimension, size)
    gain, whole = (
        np.stack([gain_without_ties(size, loss, log_p) for loss in losses])
        for log_p in (scores.log_p, scores.cosines.log_beaten)
    )
    found = [(whole if math.isinf(R) else gain) @ scores.of(twin, R)[1] for R in stored.ravel()]
    return 1 - np.stack(found, axis=1).reshape(len(losses), *stored.shape)


class Scores:
    """How probable it is that a random item wins against a target, among a number of items, behind random codes."""

    def __init__(self, dimension: float, log2_size: float, fineness: float = 0.3) -> None:
        """Make the grids; with 1e-20 expected winners in the database, fewer make no difference."""
        self.cosines = Cosines(dimension, fineness)
        self.log_p = np.minimum(np.arange(-log2_size * math.log(2) - 46, NATS, NATS), 0.0)
        self._table = self.cosines.cap_table()

    def of(self, twin: IsotropicTwin, bits: float) -> tuple[Reals, Reals]:
        """Return ln p on a grid, and its probabilities; unlimited bits have a grid of their own, of falling p."""
        mass = self.cosines.mixture(twin.correlations, twin.probabilities)
        if math.isinf(bits):
            return self.cosines.log_beaten, mass
        return self.log_p, beaten(self.cosines, mass, bits, self._table, self.log_p)


def converse_losses(
    twin: IsotropicTwin,
    losses: Sequence[RankLoss],
    bits: ArrayLike,
    *,
    log2_size: ArrayLike,
    tolerance: float = 1e-6,
) -> Reals:
    """Bound several losses as `IsotropicTwin.converse` does, stacked along a first axis, from the same tables.

    At each correlation to the tolerance of `retrieval_converse`.
    """
    stored = np.asarray(validation.interval("bits", bits, low=0.0, high=1e4), float)
    size = float(validation.interval("log2_size", log2_size, low=1.0, high=1e3, ndim=0))
    # More coordinates carry more information: a bound for n rounded up holds for n. Likewise a weaker pair is a
    # degraded version of a stronger one, so that correlations of small probability may be bounded by
    # the next stronger one.
    eye = np.eye(math.ceil(twin.dimension))
    total, joined = np.zeros((len(losses), stored.size)), 0.0
    wanted = np.ones(total.shape, bool)
    order = np.argsort(np.abs(twin.correlations))
    for node in order:
        joined += float(twin.probabilities[node])
        if joined < _JOINED and node != order[-1]:
            continue
        pair = vector_gaussian(eye, eye, abs(float(twin.correlations[node])) * eye)
        for loss, sum_here, open_here in zip(losses, total, wanted, strict=True):
            if not open_here.any():
                continue
            some = stored.ravel()[open_here]
            found = np.asarray(
                retrieval_converse(pair, size, loss, bits=some, tolerance=tolerance).loss
            )
            sum_here[open_here] += joined * found
            # Stronger pairs lose less still.
            open_here[open_here] = found > _LITTLE
        joined = 0.0
    return total.reshape(len(losses), *stored.shape)
