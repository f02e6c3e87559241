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
from typing import Any, Final

import jax
import jax.numpy as jnp
import numpy as np
import scipy.special
from jaxtyping import Array, Float

from rdsim import validation
from rdsim.information import LN2
from rdsim.number_types import ArrayLike
from rdsim.results import result
from rdsim.simulation.intervals import Estimate, bernstein_of_moments
from rdsim.transformations import on_host

_CODEWORD_SPACING: Final = 0.5
"""Distance of neighbouring codewords, in standard deviations of the kernel at the steepest slope;
it grows where there would be too many."""
_VERTEX_SPACING: Final = 0.2
"""Distance of neighbouring vertices, in standard deviations of the kernel. The cells' half diagonal
costs $d\\,(0.1)^2 / (2 \\ln 2)$ bits of the lower bound, 0.007 on the line."""
_UNIFORM_WEIGHT: Final = 0.01
"""Weight of the uniform distribution that is mixed into q: the least q_u bounds the losses."""
_CAPPED: Final = (0.003, 0.01, 0.03, 0.1, 0.2, 0.35, 0.5)
"""Fractions of the training samples whose dual variable is capped; the best one is used."""
_MAX_VERTICES: Final = 4_000_000
"""Most vertices of the covering cells."""
_FIT_STEPS: Final = 200
"""Steps of Blahut-Arimoto that fit the weights."""
_BOX_STEPS: Final = {1: 400, 2: 60}
"""Cells along each axis in which the farthest point of a box is looked for, by dimension."""


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
    box: Any = None,
    confidence: float = 0.95,
    training_share: float = 0.5,
    max_codewords: int = 256,
) -> RateSandwich:
    r"""Bound R(D) of a continuous source from its samples, from above and from below.

    $$E \log_2 \lambda(Y) - sD - \log_2 \sup_u c(u) \;\le\; R(D), \qquad
      R(E\,\delta(Y)) \;\le\; E\,r(Y).$$

    The error probability is divided equally among the 2S bounds, so that those at all slopes hold
    together.

    Args:
        samples: independent and identically distributed, shape (N,) or (N, d), d = 1 or 2. The
            first part, in the order given, fits the codewords; the bounds are means over the rest.
        slopes: s > 0, finite, shape (S,), bits per unit of squared error. At slope s a Gaussian of
            any dimension d has D = d / (2 s ln 2).
        box: (low, high), each a number or of shape (d,), in which the distribution is known to lie;
            None if no such box is known.
        confidence: in (0, 1), of all bounds together.
        training_share: fraction of the samples that fit, in (0, 1).
        max_codewords: most codewords.

    Returns:
        The bounds, with methods `lower` and `upper` at any D.

    Raises:
        ValueError: if shapes do not fit, a slope is not positive, a sample lies outside the box,
            there are too few samples on either side, or the slope is too steep for the range.

    References:
        Yang and Mandt (2022), ICLR, "Towards empirical sandwich bounds on the rate-distortion
        function"; Csiszar (1974) for the dual; Maurer and Pontil (2009), Theorem 4.

    """
    y = np.asarray(validation.interval("samples", samples, low=-1e100, high=1e100))
    if y.size == 0 or y.ndim not in (1, 2) or (y.ndim == 2 and y.shape[1] not in (1, 2)):
        raise ValueError(f"samples must have shape (N,), (N, 1) or (N, 2), got {y.shape}")
    slope = np.asarray(validation.positive("slopes", slopes, ndim=1))
    if slope.size == 0:
        raise ValueError("slopes must hold at least one slope, got shape (0,)")
    covered = float(validation.open_unit("confidence", confidence))
    share = float(validation.open_unit("training_share", training_share))
    most = validation.integer("max_codewords", max_codewords, low=1)
    flat = y.reshape(len(y), -1)
    known = None if box is None else _checked_box(box, flat)
    training = round(share * len(y))
    if training < 2 or len(y) - training < 2:
        raise ValueError(f"samples must leave two on either side of the split, got {len(y)}")
    fit, held_out = flat[:training], flat[training:]
    codewords = _grid_codewords(fit, 1 / math.sqrt(2 * slope.max() * LN2), most)
    weights = _fitted_weights(fit, codewords, slope)
    risk = (1 - covered) / (2 * slope.size)
    rows = [
        {
            **_achieved_point(held_out, codewords, q, float(s), risk, known),
            **_best_line(fit, held_out, codewords, q, float(s), risk),
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


def _grid_codewords(y: np.ndarray, width: float, most: int) -> np.ndarray:
    """Centres of the occupied cells of a grid, coarse enough not to be too many, shape (k, d)."""
    spacing = _CODEWORD_SPACING * width
    while True:
        cells = np.unique(np.floor((y - y.min(axis=0)) / spacing), axis=0)
        if len(cells) <= most:
            return y.min(axis=0) + spacing * (cells + 0.5)
        spacing *= 1.1


def _fitted_weights(y: np.ndarray, codewords: np.ndarray, slope: np.ndarray) -> np.ndarray:
    """Weights fitted to the training samples, mixed with a little of the uniform distribution."""
    q = np.asarray(_blahut_arimoto(jnp.asarray(_squared_errors(y, codewords)), jnp.asarray(slope)))
    q = (1 - _UNIFORM_WEIGHT) * q / q.sum(axis=1, keepdims=True)
    return q + _UNIFORM_WEIGHT / len(codewords)


@jax.jit
def _blahut_arimoto(d: Float[Array, "n k"], slopes: Float[Array, " s"]) -> Float[Array, "s k"]:
    r"""A fixed number of Blahut-Arimoto steps $q_u \leftarrow q_u c_u$, at every slope.

    Any weights give bounds. An optimum would fit the tails of the training samples too closely.
    """

    def one(s: Float[Array, ""]) -> Float[Array, " k"]:
        K = jnp.exp2(-s * (d - jnp.min(d, axis=1, keepdims=True)))

        def step(_: Array, q: Float[Array, " k"]) -> Float[Array, " k"]:
            return q * jnp.mean(K / (K @ q)[:, None], axis=0)

        return jax.lax.fori_loop(0, _FIT_STEPS, step, jnp.full(d.shape[1], 1 / d.shape[1]))

    return jax.lax.map(one, slopes)


def _squared_errors(y: np.ndarray, u: np.ndarray) -> np.ndarray:
    return np.square(y[:, None] - u).sum(axis=-1)


def _log2_z(d: np.ndarray, q: np.ndarray, s: float) -> np.ndarray:
    """Log2 of Z for every row of squared errors; at most zero."""
    exponent = np.log2(q) - s * d
    peak = exponent.max(axis=1)
    return np.minimum(peak + np.log2(np.exp2(exponent - peak[:, None]).sum(axis=1)), 0.0)


def _achieved_point(
    y: np.ndarray,
    codewords: np.ndarray,
    q: np.ndarray,
    s: float,
    risk: float,
    box: np.ndarray | None,
) -> dict[str, float]:
    """The achieved point and its upper confidence bounds, each with half of the risk."""
    d = _squared_errors(y, codewords)
    log_z = _log2_z(d, q, s)
    delta = (np.exp2(np.log2(q) - s * d - log_z[:, None]) * d).sum(axis=1)
    rate = np.maximum(-log_z - s * delta, 0.0)
    largest_rate = math.log2(1 / q.min())
    if box is None:
        standard_error = delta.std(ddof=1) / math.sqrt(len(y))
        distortion_upper = delta.mean() - scipy.special.ndtri(risk / 2) * standard_error
    else:
        # s delta(y) <= -log2 Z(y) <= s |y-u|^2 + log2(1/q_u) for every u.
        distortion_upper = _upper_mean(
            delta, _largest_squared_error(codewords, box) + largest_rate / s, risk / 2
        )
    return {
        "distortion": delta.mean(),
        "rate": rate.mean(),
        "distortion_upper": distortion_upper,
        "rate_upper": _upper_mean(rate, largest_rate, risk / 2),
    }


def _largest_squared_error(codewords: np.ndarray, box: np.ndarray) -> float:
    """Upper bound on the squared distance from any point of the box to its nearest codeword.

    In every cell of a grid it is at most the distance from the cell's centre plus half its
    diagonal.
    """
    steps = _BOX_STEPS[box.shape[1]]
    half = (box[1] - box[0]) / (2 * steps)
    axes = [low + h * (2 * np.arange(steps) + 1) for low, h in zip(box[0], half, strict=True)]
    centres = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, box.shape[1])
    nearest = np.array([_squared_errors(row[None], codewords).min() for row in centres])
    return float((math.sqrt(nearest.max()) + math.sqrt((half**2).sum())) ** 2)


def _upper_mean(losses: np.ndarray, most: float, risk: float) -> float:
    """Upper confidence bound of the mean of losses in [0, most]."""
    if most <= 0:  # a single codeword: its rate is zero
        return 0.0
    # A loss at an end of the range may leave [0, 1] by rounding.
    scaled = np.clip(losses / most, 0.0, 1.0)
    found = bernstein_of_moments(
        scaled.mean(), scaled.var(ddof=1), np.asarray(len(losses)), confidence=1 - 2 * risk
    )
    return most * float(found.upper)


def _best_line(
    fit: np.ndarray, y: np.ndarray, codewords: np.ndarray, q: np.ndarray, s: float, risk: float
) -> dict[str, float]:
    """The line below R(D) at D = 0, and its lower confidence bound.

    The cap is the one that gives the best bound on the training samples, if there were as many of
    them as of those held out.
    """
    log_z = _log2_z(_squared_errors(fit, codewords), q, s)
    caps = -np.quantile(log_z, _CAPPED)
    lines = [_line_of_cap(fit, fit, codewords, q, s, risk, cap, len(y)) for cap in caps]
    best = caps[np.argmax([line["intercept_lower"] for line in lines])]
    return _line_of_cap(fit, y, codewords, q, s, risk, best, len(y))


def _line_of_cap(
    fit: np.ndarray,
    y: np.ndarray,
    codewords: np.ndarray,
    q: np.ndarray,
    s: float,
    risk: float,
    log_cap: float,
    trials: int,
) -> dict[str, float]:
    r"""The line of one cap $\Lambda$: $E \log_2 \lambda - \log_2 \sup_u c(u)$ on the samples y.

    Half of the error probability is for the mean, half for c at all vertices together.
    """
    low, high = fit.min(axis=0), fit.max(axis=0)
    inside = ((y >= low) & (y <= high)).all(axis=1)
    log_z = _log2_z(_squared_errors(y, codewords), q, s)
    log_lambda = np.where(inside, np.minimum(-log_z, log_cap), 0.0)
    dual = np.exp2(log_lambda)
    axes, radius2 = _vertices(low, high, 1 / math.sqrt(2 * s * LN2))
    count = math.prod(len(axis) for axis in axes)
    kernels = [np.exp2(-s * (axis[:, None] - y[:, i]) ** 2) for i, axis in enumerate(axes)]
    mean, variance = _vertex_moments(
        kernels, np.where(inside, dual, 0.0), np.where(inside, 0.0, dual)
    )
    cap = 2.0**log_cap
    found = bernstein_of_moments(
        mean / cap,
        variance / cap**2,
        np.full(mean.shape, trials),
        confidence=1 - risk / count,
    )
    worst = cap * float(np.max(np.asarray(found.upper)))
    gain = log_cap - _upper_mean(log_cap - log_lambda, log_cap, risk / 2)
    return {
        "log_cap": log_cap,
        "intercept": log_lambda.mean() - math.log2(mean.max()),
        "intercept_lower": gain - math.log2(worst) - s * radius2,
    }


def _vertices(low: np.ndarray, high: np.ndarray, width: float) -> tuple[list[np.ndarray], float]:
    """Vertices along each axis of cells that cover the box, and the squared half diagonal."""
    sizes = [max(math.ceil(span / (_VERTEX_SPACING * width)), 1) for span in high - low]
    if math.prod(size + 1 for size in sizes) > _MAX_VERTICES:
        raise ValueError(
            "slopes must be gentle enough for the range of the samples, which spans "
            f"{(high - low).max() / width:.3g} kernel widths"
        )
    axes = [np.linspace(a, b, n + 1) for a, b, n in zip(low, high, sizes, strict=True)]
    half = (high - low) / (2 * np.array(sizes))
    return axes, float((half**2).sum())


def _vertex_moments(
    kernels: list[np.ndarray], inside: np.ndarray, outside: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Mean and unbiased variance of the dual variable times the kernel, at every vertex.

    The kernel factorises over the axes, so all vertices together are one matrix product.
    """
    N = len(inside)
    across = kernels[1] if len(kernels) == 2 else np.ones((1, N))
    mean = (kernels[0] * inside) @ across.T / N + outside.mean()
    square = (kernels[0] * inside) ** 2 @ (across**2).T / N + (outside**2).mean()
    return mean, np.maximum(square - mean**2, 0.0) * N / (N - 1)
