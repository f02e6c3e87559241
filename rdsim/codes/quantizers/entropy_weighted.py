r"""Entropy-weighted stochastic quantization: the test channel of R(D) as a code for items (C17).

$$Q(u|y) = \frac{q_u 2^{-s d(y,u)}}{\sum_v q_v 2^{-s d(y,v)}}:$$

a codeword costs $-\log_2 q_u$ bits of index, so a rare one is drawn only where it saves distortion.
The output marginal q and the slope s are those of the certified solver on the empirical distribution
of training items; the same formula then encodes any item.

The code carries I(U;Y) bits. Its index alone, sent with private randomness, costs H(U), the larger
by H(U|Y): see `rdsim.codes.entropy_coding` for which of the two a scheme needs.
"""

import dataclasses
import math
from collections.abc import Callable
from typing import Any, Final, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Key
from scipy.optimize import brentq

from rdsim import information, validation
from rdsim.codes.distances import Distortions, in_chunks, squared_error, training_items
from rdsim.codes.entropy_coding import code_rates, item_masses
from rdsim.codes.item_code import item_points
from rdsim.codes.quantizers.vector import slope_or_rate
from rdsim.information import LN2, below_largest
from rdsim.limits.rate_distortion.continuous import continuous_rate_distortion
from rdsim.limits.rate_distortion.discrete import rate_distortion_curve
from rdsim.number_types import ArrayLike
from rdsim.results import result
from rdsim.sources.categorical import draw_categorical
from rdsim.transformations import on_host

_STRIDE: Final = 2.0
"""Step in the logarithm of the slope by which the bracket of a rate is widened."""
_SLOPE_TOLERANCE: Final = 1e-7
"""Relative accuracy of the slope that has a wanted rate."""
_STEEPEST_LOG: Final = 600.0
"""Largest natural logarithm of a slope that is searched: e^600 is near the largest float."""


@result
class EntropyWeightedQuantizer:
    r"""A stochastic code $Q(u|y) \propto q_u 2^{-s d(y,u)}$ for items in R^d.

    Attributes:
        codewords: u, shape (K, d); all have mass.
        output_marginal: q, shape (K,), the distribution of the index on the training items, to within
            a relative entropy of `gap` bits.
        slope: s, bits per unit of distortion.
        rate: I(U;Y) on the training items, bits.
        distortion: E d(Y,U) on the training items.
        index_entropy: H(U) on the training items, bits.
        gap: `rate` less the certified lower bound on R(D) of the training items, over all codes on
            the codewords offered (or anywhere), bits.
        tolerance: the gap asked for, bits.
        distortions: function d(items, codewords) -> (N, K).

    """

    codewords: Float[Array, "k d"]
    output_marginal: Float[Array, " k"]
    slope: Float[Array, ""]
    rate: Float[Array, ""]
    distortion: Float[Array, ""]
    index_entropy: Float[Array, ""]
    gap: Float[Array, ""]
    tolerance: Float[Array, ""]
    distortions: Distortions = dataclasses.field(metadata={"static": True}, default=squared_error)

    @property
    def converged(self) -> Bool[Array, ""]:
        """Whether the solver's proved gap is within the tolerance."""
        return self.gap <= self.tolerance

    def channel(self, items: ArrayLike) -> Float[Array, "n k"]:
        """Q(u|y) for items of shape (N, d), shape (N, K), rows summing to one."""
        return _channel(self, item_points(items, self.codewords.shape[1]))

    def encode(self, key: Key[Array, ""], items: ArrayLike) -> Int[Array, " n"]:
        """Draw the index of a codeword for each item from Q(.|y), int32, shape (N,)."""
        validation.prng_key("key", key)
        return _draw(key, self, item_points(items, self.codewords.shape[1]))


@on_host
@validation.needs_float64
def entropy_weighted_quantizer(
    items: ArrayLike,
    codewords: ArrayLike | None = None,
    *,
    slope: ArrayLike | None = None,
    rate: ArrayLike | None = None,
    masses: ArrayLike | None = None,
    distortions: Distortions = squared_error,
    tolerance: ArrayLike = 1e-6,
) -> EntropyWeightedQuantizer:
    r"""Fit the optimal stochastic code to the empirical distribution of training items.

    $$\min_q -\sum_y p_y \log_2 \sum_u q_u 2^{-s d(y,u)}.$$

    The fit searches and prunes on the host and cannot be traced; what it returns can.

    Args:
        items: training items, shape (N, d).
        codewords: those offered, shape (K0, d), such as those of `seeded_codewords`; those
            the optimum gives no mass are dropped. None, for d of 1 or 2 and squared error: the
            best atoms anywhere, whose gap is then proved over all codes.
        slope: s > 0, finite, bits per unit of distortion; or
        rate: I(U;Y) wanted on the training items, bits, above 0 and below that of the finest code;
            the slope is searched, a dozen solves. On a straight piece of R(D) one slope has
            many rates, and the code's own may differ from that wanted.
        masses: of the training items, shape (N,), summing to one; None for equal ones.
        distortions: d(items (N, d), codewords (K, d)) -> (N, K), finite, >= 0, traceable.
        tolerance: proved gap to reach, bits.

    Returns:
        The code, with its rate, distortion and index entropy on the training items.

    Raises:
        ValueError: if an argument lies outside its range, or not exactly one of slope and rate is
            given.

    References:
        Blahut (1972), IEEE Trans. Inf. Theory 18(4); Rose (1994), 40(6), for atoms anywhere.

    """
    points = training_items(items)
    p = item_masses(masses, points.shape[0])
    target = validation.tolerance(tolerance)
    validation.function("distortions", distortions)
    wanted = slope_or_rate(slope, rate)
    if codewords is None:
        solve, finest = _solver_anywhere(points, p, distortions, target)
    else:
        solve, finest = _solver_on_atoms(points, p, codewords, distortions, target)
    if rate is None:
        best = solve(wanted)
    else:
        most = finest()
        if wanted >= most:
            raise ValueError(
                f"rate must be below {most!r}, that of the finest code, got {wanted!r}"
            )
        variance = float(jnp.sum(p @ (points - p @ points) ** 2))
        best = _optimum_at_rate(solve, wanted, 1.0 / variance)
    used = best.q > 0
    offered = EntropyWeightedQuantizer(
        codewords=jnp.asarray(best.atoms),
        output_marginal=jnp.asarray(best.q / best.q.sum()),
        slope=jnp.asarray(best.slope),
        rate=jnp.zeros(()),
        distortion=jnp.asarray(best.distortion),
        index_entropy=jnp.zeros(()),
        gap=jnp.asarray(best.gap),
        tolerance=target,
        distortions=distortions,
    )
    # Rates are computed with all atoms: those without mass change nothing, and one shape is compiled.
    rates = code_rates(offered, points, masses=p)
    return dataclasses.replace(
        offered,
        codewords=jnp.asarray(best.atoms[used]),
        output_marginal=jnp.asarray(best.q[used] / best.q[used].sum()),
        rate=rates.mutual_information,
        index_entropy=rates.index_entropy,
    )


class _Optimum(NamedTuple):
    """The optimum of one slope."""

    slope: float
    atoms: np.ndarray
    q: np.ndarray
    rate: float
    distortion: float
    gap: float


def _solver_on_atoms(
    points: Float[Array, "n d"],
    p: Float[Array, " n"],
    codewords: Any,
    distortions: Distortions,
    tolerance: Float[Array, ""],
) -> tuple[Callable[[float], _Optimum], Callable[[], float]]:
    """Solver on the codewords offered, and how to find the rate of the finest code on them."""
    atoms = validation.coordinates("codewords", codewords, ndim=2)
    if atoms.shape[0] == 0 or atoms.shape[1] != points.shape[1]:
        raise ValueError(
            f"codewords must have shape (K, {points.shape[1]}) with K >= 1, got {atoms.shape}"
        )
    d = validation.interval("distortions", distortions(points, atoms), low=0.0, open_high=True)
    if d.shape != (points.shape[0], atoms.shape[0]):
        raise ValueError(
            f"distortions must give shape {(points.shape[0], atoms.shape[0])}, got {d.shape}"
        )

    def solve(slope: float) -> _Optimum:
        curve = rate_distortion_curve(p, d, jnp.array([slope]), tolerance=tolerance)
        return _Optimum(
            slope,
            np.asarray(atoms),
            np.asarray(curve.output_marginal[0]),
            float(curve.rate[0]),
            float(curve.distortion[0]),
            float(curve.gap[0]),
        )

    # At slope inf every item keeps its nearest codeword: the rate at D_min, beyond which no rate is of use.
    return solve, lambda: solve(math.inf).rate


def _solver_anywhere(
    points: Float[Array, "n d"],
    p: Float[Array, " n"],
    distortions: Distortions,
    tolerance: Float[Array, ""],
) -> tuple[Callable[[float], _Optimum], Callable[[], float]]:
    """Solver over atoms anywhere, and how to find the entropy of the training items."""
    if distortions is not squared_error or points.shape[1] > 2:
        raise ValueError(
            "codewords must be given unless d is 1 or 2 and distortions is squared_error, "
            f"got d = {points.shape[1]} and {distortions}"
        )
    # Items at one point are one letter of the source with their joint mass.
    distinct, place = np.unique(np.asarray(points), axis=0, return_inverse=True)
    weights = np.bincount(place.ravel(), np.asarray(p))

    def solve(slope: float) -> _Optimum:
        curve = continuous_rate_distortion(distinct, weights, [slope], tolerance=float(tolerance))
        return _Optimum(
            slope,
            np.asarray(curve.atoms[0]),
            np.asarray(curve.weights[0]),
            float(curve.rate[0]),
            float(curve.distortion[0]),
            float(curve.gap[0]),
        )

    # A codeword at every point leaves no distortion, and its rate is the entropy of the points.
    return solve, lambda: float(information.entropy(jnp.asarray(weights)))


def _optimum_at_rate(solve: Callable[[float], _Optimum], rate: float, start: float) -> _Optimum:
    """Find the optimum at the slope whose rate is that wanted, by Brent's method from a first slope.

    The rate rises with the slope. On a straight piece of R(D) it jumps, so that the solve whose rate came
    nearest is returned.
    """
    solved: dict[float, _Optimum] = {}

    def excess(log_slope: float) -> float:
        solved[log_slope] = solve(math.exp(log_slope))
        return solved[log_slope].rate - rate

    # Brent's method needs a bracket: strides in ln s from the start until the rate wanted lies inside.
    low = high = math.log(start)
    while excess(low) > 0:
        low -= _STRIDE
    while excess(high) < 0 and high < _STEEPEST_LOG:
        high += _STRIDE
    if solved[low].rate < rate < solved[high].rate:
        brentq(excess, low, high, xtol=_SLOPE_TOLERANCE)
    return min(solved.values(), key=lambda found: abs(found.rate - rate))


@jax.jit
def _channel(code: EntropyWeightedQuantizer, items: Float[Array, "n d"]) -> Float[Array, "n k"]:
    nearness = below_largest(-code.distortions(items, code.codewords))
    return jax.nn.softmax(jnp.log(code.output_marginal) + code.slope * LN2 * nearness, axis=-1)


@jax.jit
def _draw(
    key: Key[Array, ""], code: EntropyWeightedQuantizer, items: Float[Array, "n d"]
) -> Int[Array, " n"]:
    """Draw with one uniform number an item; rows of the channel are made and dropped in chunks."""

    def one(row: tuple[Array, Array]) -> Int[Array, ""]:
        item, uniform = row
        return draw_categorical(_channel(code, item[None])[0], uniform)

    uniforms = jax.random.uniform(key, (items.shape[0],), float)
    return in_chunks(one, (items, uniforms), code.codewords.shape[0])
