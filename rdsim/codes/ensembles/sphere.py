r"""Random codes for directions, averaged exactly: any dimension, any number of bits, M to $2^{1000}$ (C28).

Every item has a codebook of its own, drawn anew, and is stored as the codeword nearest to it; codewords are ranked by
their angle from the query. Averaged over codebooks, items and queries only the angle $\tau$ between an item and
its codeword is left of the code:

$$E\,\rho(\mathrm{rank}) = E_\tau \int E\,\rho\big(1 + \mathrm{Bin}(M-1, c_n(\theta))\big)\,
  G(\theta, \tau)\, dc_n(\theta),$$

$c_n$ the probability of a cap and G the density of the query's angle from the codeword (`rdsim.ranking.sphere`). Of the
nearest of K uniform directions $c_n(\tau) = 1 - e^{-v/K}$, v exponential, where a half-space or cap of
probability $2^{-R}$, the best that C27 allows, has $c_n(\tau)$ uniform below $2^{-R}$.
"""

import math
from dataclasses import field
from typing import Final

import jax.numpy as jnp
import numpy as np
import scipy
from jaxtyping import Array, Float

from rdsim import validation
from rdsim.certified import Certified
from rdsim.codes.ensembles._codeword_angles import LEAST_DIMENSION, Coordinates, RandomDirections
from rdsim.information import LN2
from rdsim.number_types import ArrayLike
from rdsim.ranking.loss import Loss, RankLoss, parse_loss
from rdsim.ranking.sphere import MeanLoss, QueryAngles
from rdsim.results import result
from rdsim.sources import GaussianSource, SphericalSource, projected_normal
from rdsim.sources.sphere.caps import Reals
from rdsim.transformations import on_host

SPHERE_CODES: Final = (
    "random_codewords",
    "biorthogonal_codewords",
    "junk_codeword",
    "orthogonal_codewords_and_junk",
    "longer_codewords",
    "longer_codewords_at_random",
)
_FIXED_SHARE: Final = ("random_codewords", "biorthogonal_codewords")
_COORDINATES: Final = ("biorthogonal_codewords", "orthogonal_codewords_and_junk")
_FIXED_LENGTH: Final = SPHERE_CODES[:4]
_NODES: Final = (20, 14)
"""Nodes of the angle between item and codeword: of the rule, and of the one whose difference estimates its error."""
_SEARCH_NODES: Final = 8
"""Nodes of that angle while the best share is searched."""
_INTEGER_BITS: Final = 50.0
"""Up to 2^50 the number of codewords is rounded down to an integer."""
_LEAST_SHARE: Final = 1e-6
"""Least share of items with a codeword of their own, and of items without."""
_SEARCH: Final = 13
"""Shares that are tried, evenly in their log-odds, before the best of them is refined."""
_ROUNDING: Final = 2e-9
"""Added to the estimate of the error, for what either rule leaves out."""
_EQUAL_CORRELATIONS: Final = 1e-12
"""Canonical correlations that differ by less differ by rounding: the pair is isotropic."""


@result
class SphereEnsemble:
    """Mean loss of a random code for directions.

    Attributes:
        loss: expected loss with an estimate of the error of quadrature: `lower` and `upper` differ from it by
            the difference of the rule and one of half as many nodes. Shape of the bits followed by that of
            log2_size.
        share: of the items that have a codeword of their own; all others are one junk codeword. Same shape.
        codeword_bits: log2 of the number of codewords that an item chooses from, the junk codeword left out. Same shape.
        code: its name.

    """

    loss: Certified
    share: Float[Array, "..."]
    codeword_bits: Float[Array, "..."]
    code: str = field(metadata={"static": True})


@on_host
@validation.needs_float64
def sphere_ensemble(
    source: SphericalSource | GaussianSource,
    log2_size: ArrayLike,
    loss: Loss,
    *,
    bits: ArrayLike,
    code: str = "random_codewords",
    share: float | None = None,
) -> SphereEnsemble:
    r"""Compute the mean rank loss of a random code for directions, exactly up to quadrature (C28).

    Codes, each drawn anew for every item:

    - "random_codewords": $\lfloor 2^R \rfloor$ uniform directions; the nearest is kept.
    - "biorthogonal_codewords": the axes of a randomly rotated frame, $2^{R-1}$ of them in both directions.
    - "junk_codeword": $2^R - 1$ uniform directions and one junk codeword for the items farthest from theirs.
    - "orthogonal_codewords_and_junk": the same with axes in one direction.
    - "longer_codewords": R is the mean length. The share m of items that are nearest to their codewords keep them, at
      $R_1$ bits; all others share one junk codeword; $h(m) + m R_1 = R$ bounds the entropy.
    - "longer_codewords_at_random": the same, but which items keep their codewords is drawn, whatever the item is.

    The share is the best one unless it is given. Junk is ranked by its likelihood ratio to a uniform item, which is one.

    The formula is exact for codebooks drawn anew for every item: competitors' codewords are then independent of the
    query. If all items have one codebook, two items may share a codeword, and the formula is not exact.
    Codewords are ranked by their angle from the query. Their likelihood given all codewords of the item's codebook is the
    better score, by which targets are found a little more often.

    Args:
        source: directions, or Gaussian vectors of equal canonical correlations, whose directions are coded.
        log2_size: log2 M, 1 to 1000, any shape.
        loss: "error", "reciprocal_rank", ("miss", K) or "dcg".
        bits: R, 0 to 1000 an item, any shape; at least 1 with axes or a junk codeword, and then at most
            $2^R \le 2n$ or $n + 1$ axes.
        code: one of the above.
        share: of the items that have a codeword, in (0, 1); only for codes with a junk codeword.

    Returns:
        The loss with its error, the share of items with a codeword and the bits of that codeword.

    Raises:
        ValueError: also if Gaussian correlations are not all equal, or axes are asked for in fewer than 16
            dimensions, where the inverse Laplace transform converges slowly.

    References:
        Random codes on the sphere: Shannon (1959), Bell Syst. Tech. J. 38. The exact average over rankings is
        this project's own.

    """
    validation.instance("source", source, SphericalSource, GaussianSource)
    directions = _directions(source)
    parsed = parse_loss(loss)
    size = np.asarray(validation.interval("log2_size", log2_size, low=1.0, high=1000.0), float)
    validation.not_empty("log2_size", jnp.asarray(size))
    validation.choice("code", code, SPHERE_CODES)
    least = 0.0 if code == "random_codewords" else 1.0
    stored = np.asarray(validation.interval("bits", bits, low=least, high=1000.0), float)
    wanted = None
    if share is not None:
        if code in _FIXED_SHARE:
            raise ValueError(
                f"share must be None for {code}, all of whose items have codewords, got {share!r}"
            )
        wanted = float(validation.open_unit("share", share))
    if code in _COORDINATES:
        _check_axes(directions.dimension, stored, code)
    one = [_Problem(directions, size.ravel(), parsed, float(R), code) for R in stored.ravel()]
    found = [problem.solve(wanted) for problem in one]
    shape = (*stored.shape, *size.shape)
    fine, coarse, shares, codewords = (
        jnp.asarray(np.array([part[i] for part in found], float).reshape(shape)) for i in range(4)
    )
    # Two rules with different numbers of nodes. Each converges exponentially, so that their difference, with what
    # either leaves out, is an estimate from above of the error of the finer one.
    error = jnp.abs(fine - coarse) + _ROUNDING
    certified = Certified(
        value=jnp.clip(fine, 0.0, 1.0),
        lower=jnp.clip(fine - error, 0.0, 1.0),
        upper=jnp.clip(fine + error, 0.0, 1.0),
        tolerance=jnp.full(shape, 1e-4),
    )
    return SphereEnsemble(loss=certified, share=shares, codeword_bits=codewords, code=code)


def _directions(source: SphericalSource | GaussianSource) -> SphericalSource:
    if isinstance(source, SphericalSource):
        return source
    correlations = np.asarray(source.canonical_correlations)
    dx, dy = source.cross_covariance.shape
    if dx != dy or dx < 2 or np.ptp(correlations) > _EQUAL_CORRELATIONS:
        raise ValueError(
            "source must have equal canonical correlations, and as many coordinates of the query as of the "
            f"item, at least 2: got {dx} and {dy}, correlations from {correlations.min()!r} to "
            f"{correlations.max()!r}"
        )
    return projected_normal(dx, correlation=float(correlations[0]))


def _check_axes(n: int, bits: Reals, code: str) -> None:
    if n < LEAST_DIMENSION:
        raise ValueError(
            f"code must have no axes in fewer than {LEAST_DIMENSION} dimensions, got {code!r} in {n}"
        )
    most = math.log2(2 * n) if code == "biorthogonal_codewords" else math.log2(n + 1)
    if (beyond := bits > most).any():
        raise ValueError(
            f"bits must be at most {most:.6g} for {code} in {n} dimensions, got {bits[beyond].flat[0]!r}"
        )


class _Problem:
    """One number of bits: the mean loss at shares of the items that have codewords."""

    def __init__(
        self, source: SphericalSource, size: Reals, loss: RankLoss, bits: float, code: str
    ) -> None:
        self.source, self.size, self.loss, self.bits, self.code = source, size, loss, bits, code

    def solve(self, share: float | None) -> tuple[Reals, Reals, Reals, Reals]:
        """Return the loss by a rule and by one of fewer nodes, the share and the bits, one for each size."""
        if share is not None:
            self._check(share)
        given = 1.0 if self.code in _FIXED_SHARE else share
        every = range(self.size.size)
        shares = [self._best_share(i) for i in every] if given is None else [given]
        if len(shares) == 1:
            shares = shares * self.size.size
            fine, coarse = self._both(shares[0], self.size)
        else:
            each = [self._both(s, self.size[i : i + 1]) for i, s in enumerate(shares)]
            fine, coarse = (np.concatenate([pair[k] for pair in each]) for k in range(2))
        codewords = np.array([self.codeword_bits(s) for s in shares])
        return fine, coarse, np.array(shares), codewords

    def codeword_bits(self, share: float) -> float:
        """Return log2 of the number of codewords, of which there is an integer number."""
        bits = self.bits if self.code in _FIXED_LENGTH else self._longer(share)
        less = float(self.code in ("junk_codeword", "orthogonal_codewords_and_junk"))
        if bits > _INTEGER_BITS:
            return bits
        # A rate that is log2 of an integer may fall short of it by rounding.
        return math.log2(math.floor(2.0**bits * (1 + 1e-12)) - less)

    def _longer(self, share: float) -> float:
        """Bits R_1 of the codewords of a share m of items: h(m) + m R_1 = R."""
        entropy = (
            -float(scipy.special.xlogy(share, share) + scipy.special.xlogy(1 - share, 1 - share))
            / LN2
        )
        return (self.bits - entropy) / share

    def _check(self, share: float) -> None:
        if self.code not in _FIXED_LENGTH and self._longer(share) < 0:
            raise ValueError(
                f"share must leave codewords of at least 0 bits, got {share!r} at {self.bits!r} bits on average"
            )
        if math.log(share / (1 - share)) > self.most_log_odds():
            raise ValueError(
                f"share must be one of items with a positive coordinate, at most "
                f"{_share(self.most_log_odds())!r}, got {share!r}"
            )

    def _both(self, share: float, size: Reals) -> tuple[Reals, Reals]:
        fine, other = (self._mean(share, size, nodes) for nodes in _NODES)
        # The errors of both rules are added.
        coarse = fine.fine + np.abs(fine.fine - fine.coarse)
        return fine.fine, coarse + np.abs(fine.fine - other.fine)

    def _mean(self, share: float, size: Reals, nodes: int) -> MeanLoss:
        codewords = self.codeword_bits(share)
        n = self.source.dimension
        if self.code in _COORDINATES:
            both = self.code == "biorthogonal_codewords"
            count = math.floor(2.0**codewords * (1 + 1e-12) / (2 if both else 1))
            angles = Coordinates(n, count, absolute=both).angles(nodes, share)
        else:
            by_angle = 1.0 if self.code == "longer_codewords_at_random" else share
            angles = RandomDirections(n, codewords).angles(nodes, by_angle)
        return QueryAngles(self.source, angles).mean_of_share(size, self.loss, share)

    def _best_share(self, i: int) -> float:
        """Find the share of least loss: on a grid of its log-odds, then between its neighbours."""
        low, high = self._shares()
        size = self.size[i : i + 1]

        def lost(log_odds: float) -> float:
            return float(self._mean(_share(log_odds), size, _SEARCH_NODES).fine[0])

        # The loss need not have a single minimum in the share: a grid brackets the least, Brent's bounded search refines it.
        grid = np.linspace(low, high, _SEARCH)
        found = [lost(x) for x in grid]
        best = int(np.argmin(found))
        ends = grid[max(best - 1, 0)], grid[min(best + 1, _SEARCH - 1)]
        refined = scipy.optimize.minimize_scalar(
            lost, bounds=ends, method="bounded", options={"xatol": 1e-3}
        )
        return _share(float(refined.x if refined.fun < found[best] else grid[best]))

    def _shares(self) -> tuple[float, float]:
        """Log-odds of the least and the largest share that may be worth looking at."""
        high = -math.log(_LEAST_SHARE)
        if self.code in _FIXED_LENGTH:
            return -high, min(high, self.most_log_odds())

        # Codewords of at least one bit: h(m) + m <= R.
        def bits_above_one(log_odds: float) -> float:
            return self._longer(_share(log_odds)) - 1.0

        return -high, high if bits_above_one(high) >= 0 else float(
            scipy.optimize.brentq(bits_above_one, -high, high)
        )

    def most_log_odds(self) -> float:
        """Log-odds of the largest share: with N axes 2^-N of the items have no positive coordinate."""
        if self.code != "orthogonal_codewords_and_junk":
            return math.inf
        # The share of the others is 2^-N: its log-odds are ln(2^N - 1) = N ln 2 + ln(1 - 2^-N), less a margin for the
        # search.
        log_codewords = 2.0 ** self.codeword_bits(0.5) * LN2
        return log_codewords + math.log(-math.expm1(-log_codewords)) - 1e-3


def _share(log_odds: float) -> float:
    return 1 / (1 + math.exp(-log_odds))
