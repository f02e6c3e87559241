r"""The d-tilted information of a discrete source: what each letter costs at distortion D.

$$j(y, D) = -\log_2 \sum_u q^*_u 2^{s (D - d(y,u))}, \qquad
  E\,j(Y, D) = R(D), \quad V(D) = \mathrm{Var}\, j(Y, D),$$

with $q^*$ the optimal output marginal and $s = -R'(D)$. It is also R(D) plus the derivative of R
along $p_y$.
"""

from typing import Final, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax.scipy.special import logsumexp
from jaxtyping import Array, Float

from rdsim import validation
from rdsim.information import LN2
from rdsim.limits.finite_blocklength.second_order import SecondOrder, second_order
from rdsim.limits.rate_distortion.discrete import rate_distortion_curve
from rdsim.number_types import ArrayLike
from rdsim.transformations import on_host

_TOLERANCE: Final = 1e-11  # certified gap of each point of R(D) that the search evaluates, bits
_NARROW: Final = 1e-7
"""Relative width of the final bracket of the slope, from which Newton's method goes on."""
_MAYBE_USED: Final = 1e-5
"""Fraction of the largest q, or distance of c_u from one, at which a letter's support is undecided."""
_NEWTON_STEPS: Final = 12
"""Most Newton steps on one support; they converge quadratically, in three or four."""
_RESIDUAL: Final = 1e-11
"""Largest residual of the optimality conditions after Newton's method; rounding is some 1e-15."""
_RESOLVED: Final = 1e-3
"""Largest relative error of D - D_min; of 1e-9 of the distance to D_max rounding leaves some 1e-4."""
_SHRINK: Final = 0.02
"""Distance of the two guesses of a slope from the chord's, over the width of the bracket."""
_SEARCH_STEPS: Final = 200  # most rounds of the search of the slope, of which some ten are usual


class Tilted(NamedTuple):
    """A source at one distortion; letters without mass are kept, with tilted information 0."""

    p: Float[Array, " y"]
    distortions: Float[Array, "y u"]
    distortion: float
    information: Float[Array, " y"]
    slope: float
    output_marginal: Float[Array, " u"]

    def second_order(self) -> SecondOrder:
        """R(D) and V(D)."""
        rate = jnp.sum(self.p * self.information)
        return second_order(rate, jnp.sum(self.p * (self.information - rate) ** 2))


@on_host
@validation.needs_float64
def d_tilted_information(
    p: ArrayLike, distortions: ArrayLike, distortion: ArrayLike
) -> Float[Array, " y"]:
    r"""Compute the d-tilted information of every source letter.

    $$j(y, D) = -\log_2 \sum_u q^*_u 2^{s (D - d(y,u))}, \qquad \sum_y p_y\, j(y,D) = R(D).$$

    Args:
        p: source pmf, shape (|Y|,).
        distortions: d(y,u) >= 0, shape (|Y|, |U|); inf forbids a pair.
        distortion: D strictly between D_min and D_max, a scalar.

    Returns:
        Bits, shape (|Y|,); 0 for letters without mass. It may be negative. The conditions of
        optimality are solved to rounding, on which j depends smoothly, also where a letter of the
        support leaves it.

    Raises:
        RuntimeError: if the optimum is not resolved in float64, as where all bits are spent on letters of probabilities
            below some 1e-13.

    References:
        Csiszar (1974), Studia Sci. Math. Hungar. 9; Kostina and Verdu (2012), IEEE Trans. Inf.
        Theory 58(6), Definition 6 and Properties 1 to 4; Kontoyiannis (2000), 46(1).

    """
    return tilted(p, distortions, distortion).information


@on_host
@validation.needs_float64
def dispersion(p: ArrayLike, distortions: ArrayLike, distortion: ArrayLike) -> Float[Array, ""]:
    r"""Compute the rate-distortion dispersion $V(D) = \mathrm{Var}\, j(Y, D)$.

    In bits squared a letter; the arguments are those of `d_tilted_information`. Beside Kostina and Verdu:
    Ingber and Kochman (2011), "The dispersion of lossy source coding".
    """
    return tilted(p, distortions, distortion).second_order().dispersion


@on_host
@validation.needs_float64
def discrete_second_order(
    p: ArrayLike, distortions: ArrayLike, distortion: ArrayLike
) -> SecondOrder:
    r"""Approximate the least rate of any discrete source at any block length.

    $$R(n, D, \epsilon) \approx R(D) + \sqrt{V(D)/n}\, Q^{-1}(\epsilon).$$

    Its methods are `rate` and `excess_probability`; the arguments are those of `d_tilted_information`.
    Where V(D) is zero, $(\log_2 n) / (2n)$ is added, which is proved for uniform sources under Hamming
    distortion.
    """
    return tilted(p, distortions, distortion).second_order()


def tilted(p: ArrayLike, distortions: ArrayLike, distortion: ArrayLike) -> Tilted:
    """Check the problem and solve it at D."""
    D = validation.interval("distortion", distortion, low=0.0, ndim=0)
    ends = rate_distortion_curve(p, distortions, [0.0, np.inf])
    p, d = ends.source, ends.distortions
    low, high = float(ends.minimum_distortion), float(ends.maximum_distortion)
    if not low < float(D) < high:
        raise ValueError(
            f"distortion must lie strictly between D_min = {low!r} and D_max = {high!r}, "
            f"got {float(D)!r}"
        )
    used = p > 0
    # The certified solver finds slope and marginal to its tolerance; Newton's method polishes them to rounding, for the
    # information of a single letter errs to first order in both, unlike its mean R(D).
    found = _searched_slope(p, d, float(D), 1.0 / (min(high, 1e3 * float(D)) - low))
    slope, marginal = _newton_polished(np.asarray(p), np.asarray(d), float(D), found.slope, found.q)
    q = jnp.asarray(marginal)
    _check_resolved(np.asarray(p), np.asarray(d), float(D), slope, marginal)
    exponent = jnp.where(jnp.isinf(d), -jnp.inf, slope * LN2 * (float(D) - d))
    information = -logsumexp(exponent, axis=1, b=q) / LN2
    return Tilted(p, d, float(D), jnp.where(used, information, 0.0), slope, q)


def _check_resolved(p: np.ndarray, d: np.ndarray, D: float, slope: float, q: np.ndarray) -> None:
    """Raise if the test channel that was found has another distortion than D.

    The search and Newton's method compare masses with one. Where all bits are spent on letters of probabilities below some
    1e-13 they find a marginal without these letters, whose information would be wrong by a part of itself.
    """
    p, d = p[p > 0], d[p > 0]
    least = d.min(axis=1, keepdims=True)
    excess = np.where(np.isinf(d), 0.0, d) - least
    kernel = np.where(np.isinf(d), 0.0, np.exp2(-slope * np.maximum(excess, 0.0)))
    reached = float(p @ ((kernel * excess) @ q / (kernel @ q)))
    wanted = D - float(p @ least[:, 0])
    if not abs(reached - wanted) <= _RESOLVED * wanted:
        raise RuntimeError(
            f"the optimum at distortion = {D!r} is not resolved in float64: it lies {wanted!r} above D_min, "
            f"and what was found {reached!r}"
        )


class _CurvePoint(NamedTuple):
    """A slope, and the distortion and output marginal that the solver has there."""

    slope: float
    D: float
    q: np.ndarray


def _searched_slope(
    p: Float[Array, " y"], d: Float[Array, "y u"], D: float, start: float
) -> _CurvePoint:
    """Find the slope and the output marginal at D, by regula falsi with two guesses at a time.

    The invariant: D(left) <= D < D(right), hence slope(left) > slope(right). Both guesses are close to
    the chord's, one solver call for the two. On a straight piece of R(D) the points close in on the
    critical slope from both sides; the marginals of its two ends are then mixed.
    """
    left: _CurvePoint | None = None
    right: _CurvePoint | None = None
    guesses = start * np.array([0.5, 2.0])
    for attempt in range(_SEARCH_STEPS):
        curve = rate_distortion_curve(p, d, guesses, tolerance=_TOLERANCE)
        marginals = np.asarray(curve.output_marginal)
        for point in map(_CurvePoint, guesses, np.asarray(curve.distortion), marginals):
            if point.D <= D and (left is None or point.slope < left.slope):
                left = point
            elif point.D > D and (right is None or point.slope > right.slope):
                right = point
        if left is None:
            guesses = guesses * 4.0
        elif right is None:
            guesses = guesses / 4.0
        else:
            width = left.slope - right.slope
            if width <= _NARROW * left.slope:
                break
            chord = left.slope - (D - left.D) / (right.D - left.D) * width
            # Close to the chord's guess where the curve is smooth, far enough to halve a jump.
            near = max(_SHRINK * width, 0.4 * _NARROW * chord)
            guesses = np.clip(chord + near * np.array([-1.0, 1.0]), right.slope, left.slope)
            if len(set(guesses)) < 2 or attempt % 3 == 2:
                guesses = right.slope + width * np.array([1 / 3, 2 / 3])
    if left is None or right is None:
        raise RuntimeError(f"no slope of R(D) was found on both sides of distortion = {D!r}")
    weight = (D - left.D) / (right.D - left.D)
    slope = float(left.slope - weight * (left.slope - right.slope))
    return _CurvePoint(slope, D, weight * right.q + (1 - weight) * left.q)


def _newton_polished(
    p: np.ndarray, d: np.ndarray, D: float, slope: float, q: np.ndarray
) -> tuple[float, np.ndarray]:
    r"""Solve the conditions of optimality by Newton's method on the support.

    A certified gap g of R(D) bounds q only to the order of the square root of g, where a letter of the
    support has next to no mass. The conditions

    $$c_u = \sum_y p_y \frac{2^{-s d(y,u)}}{Z_y} = 1 \text{ on the support}, \quad
      \sum_{y,u} p_y q_u \frac{2^{-s d(y,u)}}{Z_y} d(y,u) = D$$

    are smooth in (q, s), and c_u <= 1 elsewhere decides which letters belong to the support: an active
    set, from which the most negative mass is dropped and to which c_u > 1 is added, until neither is
    left. Where q is not unique the least change is made; Z, and so j, is unique. Where Newton's method
    fails the search's result is returned.
    """
    p, d = p[p > 0], d[p > 0]
    forbidden = np.isinf(d)
    plain = np.where(forbidden, 0.0, d)
    near = np.where(forbidden, 0.0, plain - d.min(axis=1, keepdims=True))

    def conditions(q: np.ndarray, nats: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Residuals c - 1 and E d - D, their Jacobian in q and the slope in nats, and c."""
        # Each row relative to its least distortion: the kernel then has a one in every row.
        # A_yu = 2^{-s d}/Z_y, so that Q(u|y) = q_u A_yu; W is the mean distortion of each letter.
        A = np.where(forbidden, 0.0, np.exp(-nats * near))
        A = A / (A @ q)[:, None]
        W = (A * plain) @ q
        of_q = -(p[:, None] * A).T @ A
        of_s = p @ (A * (W[:, None] - plain))
        minus_variance = p @ (W**2 - (A * plain**2) @ q)
        residual = np.append(p @ A - 1, p @ W - D)
        jacobian = np.block([[of_q, of_s[:, None]], [-of_s[None], np.array([[minus_variance]])]])
        return residual, jacobian, p @ A

    start, nats = q, slope * LN2
    c = conditions(q, nats)[2]
    # A generous first guess of the support: letters that do not belong to it come out negative,
    # and leave.
    support = (q > _MAYBE_USED * q.max()) | (c > 1 - _MAYBE_USED)
    for _ in range(2 * q.size):
        new, s = np.where(support, start, 0.0), nats
        unknowns = np.append(support, True)
        for _ in range(_NEWTON_STEPS):
            residual, jacobian, _ = conditions(new, s)
            # Least squares: where q is not unique the Jacobian is singular, and the least change is made.
            step = np.linalg.lstsq(
                jacobian[np.ix_(unknowns, unknowns)], -residual[unknowns], rcond=1e-13
            )[0]
            new[support] += step[:-1]
            s += step[-1]
            # A long step has left the neighbourhood of quadratic convergence: the search's result stands.
            if not (np.isfinite(s) and np.abs(step).max() < 0.5):
                return slope, start
            if np.abs(step).max() < 1e-15:
                break
        residual, _, c = conditions(new, s)
        if new.min() < -1e-13:
            support = support & (new > new.min())
        elif (~support & (c > 1 + _RESIDUAL)).any():
            support = support | (c > 1 + _RESIDUAL)
        else:
            good = np.abs(residual[unknowns]).max() < _RESIDUAL * max(1.0, D)
            return (s / LN2, np.maximum(new, 0.0)) if good else (slope, start)
    return slope, start
