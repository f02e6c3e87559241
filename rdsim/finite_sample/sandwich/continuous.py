r"""R(D) of a continuous source known by samples alone, from both sides, under squared error.

Half of the samples fit an output distribution: codewords v with weights q. The other half bounds
R(D) by it.

*From above* (Yang and Mandt 2022): the channel $Q(u|y) \propto q_u 2^{-s|y-u|^2}$ has for every
distribution of Y the distortion $E\,\delta(Y)$ and at most the rate $E\,r(Y)$,

$$\delta(y) = \sum_u Q(u|y) |y-u|^2, \qquad r(y) = D(Q(\cdot|y) \| q) = -\log_2 Z(y) - s\,\delta(y),$$

two means that the held-out samples estimate.

*From below*: for any $\lambda > 0$, with u over all of space,

$$R(D) \ge E \log_2 \lambda(Y) - s D - \log_2 \sup_u c(u), \qquad
  c(u) = E\,\lambda(Y)\, 2^{-s|Y-u|^2}.$$

We take $\lambda = \min(1/Z, \Lambda)$ in the box B of the training samples and 1 outside, so both
means are of bounded losses, whatever the distribution of Y. The supremum comes down to finitely
many u:

- For u outside B the nearest point of B is nearer to every y in B, so c(u) is at most the same
  mean with 1 in place of the kernel for y outside B.
- In a cell of half diagonal r around m, $2^{s|u-m|^2} E\,\lambda\, 2^{-s|Y-u|^2}$ is a mean of
  exponentials of linear functions of u: convex, largest at a vertex. So c is at most $2^{s r^2}$
  times its largest value at the vertices: $s r^2$ bits, however many dimensions.

A union bound over the vertices and empirical Bernstein intervals then make the lower bound hold for
the true distribution with the confidence stated, at every N. So does the upper bound if the
distribution is known to lie in a box; otherwise its distortion is unbounded and the interval is the
normal one, which is asymptotic, and the result says so.
"""

import dataclasses
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from rdsim import validation
from rdsim.finite_sample.sandwich._achieved import achieved_point, fitted_weights, grid_codewords
from rdsim.finite_sample.sandwich._supporting_line import best_line
from rdsim.information import LN2
from rdsim.number_types import ArrayLike
from rdsim.results import result
from rdsim.simulation.intervals import Estimate
from rdsim.transformations import on_host


@result
class RateSandwich:
    r"""Bounds on R(D) of the source behind samples, all valid together with one confidence.

    Attributes:
        slope: s, bits per unit of squared error, shape (S,).
        distortion: held-out mean of the distortion with its upper confidence bound, shape (S,); the
            lower end is zero.
        rate: held-out mean of the rate in bits with its upper confidence bound, shape (S,):
            R(distortion.upper) is not above rate.upper. The lower end is zero.
        intercept: of the line below R(D), at D = 0: an estimate and its lower confidence bound in
            bits, shape (S,): R(D) is not below intercept.lower - s D. The upper end is infinite.
        log_cap: log2 of the cap $\Lambda$ of $\lambda$ in the box of the training samples, shape
            (S,).
        codewords: v, shape (k,) or (k, d).
        weights: q, shape (S, k).
        training: number of samples that fitted codewords and weights.
        held_out: number of samples that the bounds are means over.
        confidence: of all bounds together.
        upper_is_proved: whether the upper bounds hold at this N (the distribution lies in a known
            box), or only as N grows. The lower bounds always hold at this N.

    """

    slope: Float[Array, " s"]
    distortion: Estimate
    rate: Estimate
    intercept: Estimate
    log_cap: Float[Array, " s"]
    codewords: Float[Array, " k *d"]
    weights: Float[Array, "s k"]
    training: int = dataclasses.field(metadata={"static": True})
    held_out: int = dataclasses.field(metadata={"static": True})
    confidence: float = dataclasses.field(metadata={"static": True})
    upper_is_proved: bool = dataclasses.field(metadata={"static": True})

    def lower(self, distortion: ArrayLike) -> Float[Array, "..."]:
        """Return the lower bound on R(D) in bits, the highest of all lines and zero; shape of D."""
        D = validation.interval("distortion", distortion, low=0.0)[..., None]
        return jnp.maximum(jnp.max(self.intercept.lower - self.slope * D, axis=-1), 0.0)

    def upper(self, distortion: ArrayLike) -> Float[Array, "..."]:
        """Return the upper bound on R(D) in bits by time sharing the points, shape of D.

        It is infinite below the least distortion of the points.
        """
        D = validation.interval("distortion", distortion, low=0.0)
        order = jnp.argsort(self.distortion.upper)
        rates = jax.lax.cummin(self.rate.upper[order])
        return jnp.interp(D, self.distortion.upper[order], rates, left=jnp.inf)


@on_host
@validation.needs_float64
def continuous_sandwich(
    samples: ArrayLike,
    slopes: ArrayLike,
    *,
    box: tuple[ArrayLike, ArrayLike] | None = None,
    confidence: float = 0.95,
    max_codewords: int = 256,
) -> RateSandwich:
    r"""Bound R(D) of a continuous source from its samples, from above and from below.

    $$E \log_2 \lambda(Y) - sD - \log_2 \sup_u c(u) \;\le\; R(D), \qquad
      R(E\,\delta(Y)) \;\le\; E\,r(Y).$$

    The error probability is divided equally among the 2S bounds, so that those at all slopes hold
    together.

    Args:
        samples: independent and identically distributed, shape (N,) or (N, d), d = 1 or 2. The
            first half, in the order given, fits the codewords; the bounds are means over the rest.
        slopes: s > 0, finite, shape (S,), bits per unit of squared error. At slope s a Gaussian of
            any dimension d has D = d / (2 s ln 2).
        box: (low, high), each a number or of shape (d,), in which the distribution is known to lie;
            None if no such box is known.
        confidence: in (0, 1), of all bounds together.
        max_codewords: most codewords.

    Returns:
        The bounds, with methods `lower` and `upper` at any D.

    Raises:
        ValueError: also if there are too few samples on either side, or the slope is too steep for the range.

    References:
        Yang and Mandt (2022), ICLR, "Towards empirical sandwich bounds on the rate-distortion
        function"; Csiszar (1974) for the dual; Maurer and Pontil (2009), Theorem 4.

    """
    y = np.asarray(validation.interval("samples", samples, low=-1e100, high=1e100))
    if y.size == 0 or y.ndim not in (1, 2) or (y.ndim == 2 and y.shape[1] not in (1, 2)):
        raise ValueError(f"samples must have shape (N,), (N, 1) or (N, 2), got {y.shape}")
    slope = np.asarray(validation.positive("slopes", slopes, ndim=1))
    validation.not_empty("slopes", slope)
    covered = float(validation.open_unit("confidence", confidence))
    most = validation.integer("max_codewords", max_codewords, low=1)
    flat = y.reshape(len(y), -1)
    known = None if box is None else _checked_box(box, flat)
    training = round(len(y) / 2)
    if training < 2 or len(y) - training < 2:
        raise ValueError(f"samples must leave two on either side of the split, got {len(y)}")
    fit, held_out = flat[:training], flat[training:]
    # 1/sqrt(2 s ln 2) is the standard deviation of the kernel 2^(-s d^2): the steepest slope has the narrowest.
    codewords = grid_codewords(fit, 1 / math.sqrt(2 * slope.max() * LN2), most)
    weights = fitted_weights(fit, codewords, slope)
    # Union bound: S upper bounds and S lower bounds fail together with probability at most 1 - confidence.
    risk = (1 - covered) / (2 * slope.size)
    rows = [
        {
            **achieved_point(held_out, codewords, q, float(s), risk, known),
            **best_line(fit, held_out, codewords, q, float(s), risk),
        }
        for s, q in zip(slope, weights, strict=True)
    ]
    found = {name: jnp.asarray([row[name] for row in rows]) for name in rows[0]}
    zero, trials = jnp.zeros(slope.size), jnp.full(slope.size, len(held_out))

    def one_sided(name: str, *, lower: Array, upper: Array) -> Estimate:
        return Estimate(
            mean=found[name], lower=lower, upper=upper, trials=trials, confidence=covered
        )

    return RateSandwich(
        slope=jnp.asarray(slope),
        distortion=one_sided("distortion", lower=zero, upper=found["distortion_upper"]),
        rate=one_sided("rate", lower=zero, upper=found["rate_upper"]),
        intercept=one_sided("intercept", lower=found["intercept_lower"], upper=zero + jnp.inf),
        log_cap=found["log_cap"],
        codewords=jnp.asarray(codewords.reshape(-1, *y.shape[1:])),
        weights=jnp.asarray(weights),
        training=training,
        held_out=len(held_out),
        confidence=covered,
        upper_is_proved=known is not None,
    )


def _checked_box(box: Any, y: np.ndarray) -> np.ndarray:
    """Low and high corner, shape (2, d)."""
    if np.ndim(box) == 0 or len(box) != 2:
        raise ValueError(f"box must be (low, high), got {box!r}")
    corners = [np.asarray(validation.real_array("box", end)) for end in box]
    if any(corner.shape not in ((), y.shape[1:]) for corner in corners):
        raise ValueError(f"box must hold a number or one a coordinate at each end, got {box!r}")
    ends = np.stack([np.broadcast_to(corner, y.shape[1:]) for corner in corners])
    if not (np.isfinite(ends).all() and (ends[0] < ends[1]).all()):
        raise ValueError(f"box must be finite with low < high, got {box!r}")
    if (y < ends[0]).any() or (y > ends[1]).any():
        raise ValueError(f"samples must lie in the box {box!r}")
    return ends
