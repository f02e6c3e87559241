r"""The information bottleneck of any discrete pair, with a certificate where one can be had (C11).

$$\mathrm{IB}(R) = \max\{ I(U;X) : U - Y - X, \ I(U;Y) \le R \}$$

is concave in R, so that points of it are found slope by slope: at slope s in (0, 1) the largest
$L(s) = I(U;X) - s\,I(U;Y)$ is a concave envelope at $P_Y$ (`_envelope`). Encoders are found by
ascent, which is local (`_ascent`); that nothing better exists is then proved, or bounded, by branch
and bound over the posteriors of Y (`_certificate`), which is practical for few letters of Y: up to
three always, four mostly, five sometimes. Beyond, the bounds are $(1-s)\,I(X;Y)$ and the channel's
contraction coefficient, and the points are called local. Where the ascent stops short of the bound,
the gap says so.

Letters of Y without mass are dropped and letters with equal $P_{X|Y}$ are joined first: the joined
letter is sufficient for X, so IB does not change.

All functions raise ValueError if the joint is no pmf, the tolerance not positive, the method unknown
or the number of starts negative, and TypeError if that is no integer or the key no typed key.
"""

from typing import ClassVar, Final

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Key

from rdsim import validation
from rdsim.certified import Certified
from rdsim.limits._curve import Curve
from rdsim.limits._supporting_lines import Points
from rdsim.limits.bottleneck._certificate import ROUNDING
from rdsim.limits.bottleneck._search import bottleneck_bounds
from rdsim.limits.bottleneck._solver import SolverOptions, checked, on_all_letters, proved, solved
from rdsim.number_types import ArrayLike, Integer
from rdsim.results import result
from rdsim.transformations import on_host

_ROUNDED: Final = 1e-14
"""Relative excess over I(X;Y) up to which a relevance counts as I(X;Y), summed by the caller."""


@result
class InformationBottleneck(Curve):
    r"""Points of the information bottleneck, one a slope, with what is proved about each.

    Attributes:
        slope: s, bits about X per bit about Y, shape (S,).
        complexity: I(U;Y) of the encoder, bits, shape (S,).
        relevance: I(U;X) of the encoder (`value`, `lower`), bits, shape (S,), and the height above it
            (`upper`) of a line of slope s that is proved to lie above the whole curve.
        encoder: P(u|y), shape (S, |Y|, U), rows summing to one; unused u are zero.
        local: whether branch and bound did not finish, so that the encoder is only known to be a
            local optimum (its gap still bounds what is missing), shape (S,).
        entropy: H(Y) after letters with equal P(x|y) are joined, bits, a scalar.
        information: I(X;Y), bits, a scalar.

    """

    complexity: Float[Array, " s"]
    relevance: Certified
    encoder: Float[Array, "s y u"]
    local: Bool[Array, " s"]
    entropy: Float[Array, ""]
    information: Float[Array, ""]

    _along: ClassVar[str] = "complexity"
    _limit: ClassVar[str] = "relevance"
    _concave: ClassVar[bool] = True

    def _ends(self) -> Points:
        # The constant description and the stored letter; no relevance exceeds R or I(X;Y).
        zero = jnp.zeros(())
        f = jnp.stack([zero, -self.information])
        return Points(jnp.array([1.0, 0.0]), jnp.stack([zero, self.entropy]), f, f)


@on_host
@validation.needs_float64
def information_bottleneck(
    joint: ArrayLike,
    slopes: ArrayLike,
    *,
    compress: str,
    tolerance: ArrayLike = 1e-9,
    method: str = "auto",
    starts: Integer = 2,
    key: Key[Array, ""] | None = None,
) -> InformationBottleneck:
    r"""Maximise I(U;X) - s I(U;Y) over all descriptions U of Y, for each slope s.

    Args:
        joint: P(x,y), shape (|X|, |Y|), or its transpose: `compress` says which.
        slopes: s in (0, 1), shape (S,); the slopes of IB, hence 1/beta of the literature.
        compress: "columns" if the letter that is described, Y, runs along the columns of the joint,
            "rows" if along its rows.
        tolerance: certified gap to reach, bits.
        method: "auto" proves the points by branch and bound up to five letters of Y (after letters
            with equal P(x|y) are joined); "local" does not try.
        starts: random encoders to ascend from, beside the constant one and the stored letter.
        key: for these; `jax.random.key(0)` if none, so that results can be had again.

    Returns:
        The points. Never worse than the constant description or the letter itself. A point whose
        gap stayed above the tolerance has `converged` False; its bounds hold all the same.

    References:
        Tishby, Pereira and Bialek (1999), "The information bottleneck method"; Witsenhausen and
        Wyner (1975), "A conditional entropy bound for a pair of discrete random variables".

    """
    source, options = checked(joint, compress, tolerance, method, starts, key)
    slope = validation.interval(
        "slopes", slopes, low=0.0, high=1.0, open_low=True, open_high=True, ndim=1
    )
    wanted = np.full(slope.shape, options.tolerance)
    proof = proved(source, solved(source, np.asarray(slope), options), options, wanted)
    found = proof.encoders
    used = int(np.max(np.sum(found.encoder.any(axis=2), axis=1), initial=1))
    encoder = on_all_letters(source, found.encoder)[:, :used]
    gap = np.maximum(proof.upper - found.value, 0.0)
    return InformationBottleneck(
        slope=slope,
        complexity=jnp.asarray(found.complexity, float),
        relevance=_certified(
            found.relevance, found.relevance, found.relevance + gap, slope.shape, options
        ),
        encoder=jnp.asarray(np.swapaxes(encoder, 1, 2), float),
        local=jnp.asarray(proof.local, bool),
        entropy=jnp.asarray(source.entropy, float),
        information=jnp.asarray(source.information, float),
    )


@on_host
@validation.needs_float64
def bottleneck_at(
    joint: ArrayLike,
    rate: ArrayLike,
    *,
    compress: str,
    tolerance: ArrayLike = 1e-9,
    method: str = "auto",
    starts: Integer = 2,
    key: Key[Array, ""] | None = None,
) -> Certified:
    r"""Compute IB(R) at given rates, certified.

    The slope is searched; where the curve is straight its two ends are time-shared.

    Args:
        joint: P(x,y), or its transpose; see `information_bottleneck` for it and the last arguments.
        rate: R >= 0 in bits, any shape. From H(Y) on (less what letters with equal P(x|y) waste)
            the value is I(X;Y).
        compress: "columns" or "rows", the letter that is described.
        tolerance: certified gap to reach, bits.
        method: "auto" or "local".
        starts: random encoders to ascend from.
        key: for these.

    Returns:
        Bits, shape of R: the lower bound is achieved, the upper is the best supporting line;
        `value` is the lower bound.

    """
    source, options = checked(joint, compress, tolerance, method, starts, key)
    goal = validation.interval("rate", rate, low=0.0)
    R = np.asarray(goal).ravel()
    lower = np.where(source.entropy <= R, source.information, 0.0)
    upper = lower.copy()
    inside = (R > 0) & (source.entropy > R) & (source.information > 0)
    if inside.any():
        found, bound = bottleneck_bounds(source, R[inside], options, by_relevance=False)
        lower[inside] = np.maximum(found - ROUNDING, 0.0)
        upper[inside] = np.maximum(bound, lower[inside])
    return _certified(lower, lower, upper, goal.shape, options)


@on_host
@validation.needs_float64
def bottleneck_rate(
    joint: ArrayLike,
    relevance: ArrayLike,
    *,
    compress: str,
    tolerance: ArrayLike = 1e-9,
    method: str = "auto",
    starts: Integer = 2,
    key: Key[Array, ""] | None = None,
) -> Certified:
    r"""Compute the least rate R with IB(R) at least the given relevance, certified.

    Where IB is nearly flat, close to I(X;Y), the rate is the less certain, by one over the slope.

    Args:
        joint: P(x,y), or its transpose; see `information_bottleneck` for it and the last arguments.
        relevance: I >= 0 in bits about X, any shape.
        compress: "columns" or "rows", the letter that is described.
        tolerance: certified gap to reach, bits.
        method: "auto" or "local".
        starts: random encoders to ascend from.
        key: for these.

    Returns:
        Bits, shape of the relevance: the upper bound is achieved, the lower is the best supporting
        line; `value` is the upper bound. Infinite where the relevance exceeds I(X;Y).

    """
    source, options = checked(joint, compress, tolerance, method, starts, key)
    goal = validation.interval("relevance", relevance, low=0.0)
    v, everything = np.asarray(goal).ravel(), source.information
    lower = np.where(v > everything * (1 + _ROUNDED), np.inf, np.where(v > 0, source.entropy, 0.0))
    upper = lower.copy()
    inside = (v > 0) & (v < everything)
    if inside.any():
        bound, found = bottleneck_bounds(source, v[inside], options, by_relevance=True)
        upper[inside] = np.minimum(found + ROUNDING, source.entropy)
        lower[inside] = np.minimum(bound, upper[inside])
    return _certified(upper, lower, upper, goal.shape, options)


def _certified(
    value: np.ndarray,
    lower: np.ndarray,
    upper: np.ndarray,
    shape: tuple[int, ...],
    options: SolverOptions,
) -> Certified:
    return Certified(
        value=jnp.reshape(value, shape),
        lower=jnp.reshape(lower, shape),
        upper=jnp.reshape(upper, shape),
        tolerance=jnp.asarray(options.tolerance, float),
    )
