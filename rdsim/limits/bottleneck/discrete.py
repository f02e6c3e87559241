r"""The information bottleneck of any discrete pair, with a certificate where one can be had (C11).

$$\mathrm{IB}(R) = \max\{ I(U;X) : U - Y - X, \ I(U;Y) \le R \}$$

is concave in R, so that points of it are found slope by slope: at slope s in (0, 1) the largest
$L(s) = I(U;X) - s\,I(U;Y)$ is a concave envelope at $P_Y$ (`concave_envelope`). Encoders are found
by ascent, which is local (`encoder_ascent`); that nothing better exists is then proved, or bounded,
by branch and bound over the posteriors of Y (`envelope_certificate`), which is practical for few
letters of Y: up to three always, four mostly, five sometimes. Beyond, the bounds are
$(1-s)\,I(X;Y)$ and the channel's contraction coefficient, and the points are called local. Where
the ascent stops short of the bound, the gap says so.

Letters of Y without mass are dropped and letters with equal $P_{X|Y}$ are joined first: the joined
letter is sufficient for X, so IB does not change.
"""

from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Key

from rdsim import validation
from rdsim.certified import Certified
from rdsim.information import mutual_information
from rdsim.limits.bottleneck import _search as bottleneck_search
from rdsim.limits.bottleneck import _solver as bottleneck_solver
from rdsim.limits.bottleneck._certificate import ROUNDING
from rdsim.number_types import ArrayLike
from rdsim.results import result
from rdsim.transformations import on_host

_ROUNDED = 1e-14
"""Relative room above I(X;Y) in which a relevance is taken for I(X;Y), rounded."""


@result
class InformationBottleneck:
    r"""Points of the information bottleneck, one a slope, with what is proved about each.

    Attributes:
        slope: s, bits about X per bit about Y, shape (S,).
        complexity: I(U;Y) of the encoder, bits, shape (S,).
        relevance: I(U;X) of the encoder, bits, shape (S,).
        encoder: P(u|y), shape (S, |Y|, U), rows summing to one; unused u are zero.
        gap: certified bound on L(s) less relevance - s complexity, bits, shape (S,).
        local: whether branch and bound did not finish, so that the encoder is only known to be a
            local optimum (its gap still bounds what is missing), shape (S,).
        joint: P(x,y) with the described letter y along the columns, shape (|X|, |Y|).
        tolerance: the gap asked for, bits.

    """

    slope: Float[Array, " s"]
    complexity: Float[Array, " s"]
    relevance: Float[Array, " s"]
    encoder: Float[Array, "s y u"]
    gap: Float[Array, " s"]
    local: Bool[Array, " s"]
    joint: Float[Array, "x y"]
    tolerance: Float[Array, ""]

    @property
    def converged(self) -> Bool[Array, " s"]:
        """Whether the certified gap is within the tolerance, a slope at a time."""
        return self.gap <= self.tolerance

    def upper_bound(self, rate: ArrayLike) -> Float[Array, "..."]:
        r"""Bound IB(R) from above by the supporting lines of all slopes.

        $$\mathrm{IB}(R) \le \min\{R,\; I(X;Y),\; \min_i L_i + \text{gap}_i + s_i R\}.$$

        Args:
            rate: R >= 0 in bits, any shape.

        Returns:
            Bits, shape of R.

        Raises:
            ValueError: if a rate is negative.

        """
        R = validation.interval("rate", rate, low=0.0)
        height = self.relevance - self.slope * self.complexity + self.gap
        lines = height + self.slope * R[..., None]
        simple = jnp.minimum(R, mutual_information(self.joint))
        return jnp.minimum(simple, jnp.min(lines, axis=-1, initial=jnp.inf))

    @on_host
    def lower_bound(self, rate: ArrayLike) -> Float[Array, "..."]:
        r"""Bound IB(R) from below by what time sharing of the encoders achieves.

        The constant description and the stored letter itself are always among them.

        Args:
            rate: R >= 0 in bits, any shape.

        Returns:
            Bits, shape of R.

        Raises:
            ValueError: if a rate is negative.

        """
        R = validation.interval("rate", rate, low=0.0)
        curve = bottleneck_search.Curve(bottleneck_solver.reduced(np.asarray(self.joint)))
        curve.add_points(self.complexity, self.relevance, self.slope)
        r, v, _ = curve.hull().T
        return jnp.asarray(np.interp(np.asarray(R), r, v))


@on_host
@validation.needs_float64
def information_bottleneck(
    joint: ArrayLike,
    slopes: ArrayLike,
    *,
    compress: str,
    tolerance: float = 1e-9,
    method: str = "auto",
    starts: int = 2,
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

    Raises:
        TypeError: if the number of starts is not an integer, or the key not a typed key.
        ValueError: if the joint is not a pmf, a slope lies outside (0, 1), or the method is unknown.

    References:
        Tishby, Pereira and Bialek (1999), "The information bottleneck method"; Witsenhausen and
        Wyner (1975), "A conditional entropy bound for a pair of discrete random variables".

    """
    table = validation.sided_joint(joint, compress, along="columns")
    source, options = bottleneck_solver.checked(table, tolerance, method, starts, key)
    slope = validation.interval(
        "slopes", slopes, low=0.0, high=1.0, open_low=True, open_high=True, ndim=1
    )
    found = bottleneck_solver.solved(source, np.asarray(slope), options)
    room = np.full(slope.shape, options.tolerance)
    upper, local, found, _ = bottleneck_solver.proved(source, found, options, room)
    gap = np.maximum(upper - (found.relevance - found.slope * found.complexity), 0.0)
    used = int(np.max(np.sum(found.encoder.any(axis=2), axis=1), initial=1))
    encoder = bottleneck_solver.on_all_letters(source, found.encoder)[:, :used]
    return InformationBottleneck(
        slope=slope,
        complexity=jnp.asarray(found.complexity),
        relevance=jnp.asarray(found.relevance),
        encoder=jnp.asarray(np.swapaxes(encoder, 1, 2)),
        gap=jnp.asarray(gap),
        local=jnp.asarray(local),
        joint=jnp.asarray(source.joint),
        tolerance=jnp.asarray(options.tolerance),
    )


@on_host
@validation.needs_float64
def bottleneck_at(
    joint: ArrayLike, rate: ArrayLike, *, compress: str, tolerance: float = 1e-9, **options: Any
) -> Certified:
    r"""Compute IB(R) at given rates, certified.

    The slope is searched; where the curve is straight its two ends are time-shared.

    Args:
        joint: P(x,y), shape (|X|, |Y|), or its transpose: `compress` says which.
        rate: R >= 0 in bits, any shape. From H(Y) on (less what letters with equal P(x|y) waste)
            the value is I(X;Y).
        compress: "columns" if the letter that is described, Y, runs along the columns of the joint,
            "rows" if along its rows.
        tolerance: certified gap to reach, bits.
        **options: method, starts and key of `information_bottleneck`.

    Returns:
        Bits, shape of R: the lower bound is achieved, the upper is the best supporting line;
        `value` is the lower bound.

    Raises:
        ValueError: as `information_bottleneck`, and if a rate is negative.

    """
    table = validation.sided_joint(joint, compress, along="columns")
    source, settings = _settings(table, tolerance, options)
    goal = validation.interval("rate", rate, low=0.0)
    R, enough = np.asarray(goal).ravel(), source.entropy
    everything = source.information
    lower = np.where(enough <= R, everything, 0.0)
    upper = lower.copy()
    inside = (R > 0) & (enough > R) & (everything > 0)
    if inside.any():
        found, bound = bottleneck_search.search(source, R[inside], settings, "rate")
        lower[inside] = np.maximum(found - ROUNDING, 0.0)
        upper[inside] = np.maximum(bound, lower[inside])
    return _certified(lower, lower, upper, goal.shape, settings)


@on_host
@validation.needs_float64
def bottleneck_rate(
    joint: ArrayLike,
    relevance: ArrayLike,
    *,
    compress: str,
    tolerance: float = 1e-9,
    **options: Any,
) -> Certified:
    r"""Compute the least rate R with IB(R) at least the given relevance, certified.

    Args:
        joint: P(x,y), shape (|X|, |Y|), or its transpose: `compress` says which.
        relevance: I >= 0 in bits about X, any shape.
        compress: "columns" if the letter that is described, Y, runs along the columns of the joint,
            "rows" if along its rows.
        tolerance: certified gap to reach, bits. Where IB is nearly flat, close to I(X;Y), the rate
            is the less certain, by one over the slope.
        **options: method, starts and key of `information_bottleneck`.

    Returns:
        Bits, shape of the relevance: the upper bound is achieved, the lower is the best supporting
        line; `value` is the upper bound. Infinite where the relevance exceeds I(X;Y).

    Raises:
        ValueError: as `information_bottleneck`, and if a relevance is negative.

    """
    table = validation.sided_joint(joint, compress, along="columns")
    source, settings = _settings(table, tolerance, options)
    goal = validation.interval("relevance", relevance, low=0.0)
    v = np.asarray(goal).ravel()
    everything = source.information
    lower = np.where(v > everything * (1 + _ROUNDED), np.inf, np.where(v > 0, source.entropy, 0.0))
    upper = lower.copy()
    inside = (v > 0) & (v < everything)
    if inside.any():
        bound, found = bottleneck_search.search(source, v[inside], settings, "relevance")
        upper[inside] = np.minimum(found + ROUNDING, source.entropy)
        lower[inside] = np.minimum(bound, upper[inside])
    return _certified(upper, lower, upper, goal.shape, settings)


def _settings(
    joint: Any, tolerance: float, options: dict[str, Any]
) -> tuple[bottleneck_solver.Source, bottleneck_solver.Options]:
    if unknown := set(options) - {"method", "starts", "key"}:
        raise TypeError(f"options are method, starts and key, got {sorted(unknown)}")
    defaults: dict[str, Any] = {"method": "auto", "starts": 2, "key": None}
    return bottleneck_solver.checked(joint, tolerance, **(defaults | options))


def _certified(
    value: np.ndarray,
    lower: np.ndarray,
    upper: np.ndarray,
    shape: tuple[int, ...],
    settings: bottleneck_solver.Options,
) -> Certified:
    return Certified(
        value=jnp.asarray(value).reshape(shape),
        lower=jnp.asarray(lower).reshape(shape),
        upper=jnp.asarray(upper).reshape(shape),
        tolerance=jnp.asarray(settings.tolerance),
    )
