r"""What `information_bottleneck` is made of: the reduced source, ascent and proof.

Everything here runs on the host between calls of the jitted kernels, in bits.
"""

from typing import Any, Final, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from rdsim import validation
from rdsim.information import LN2
from rdsim.limits.bottleneck._ascent import best_encoders
from rdsim.limits.bottleneck._certificate import ROUNDING, largest_excess
from rdsim.limits.bottleneck._envelope import Problem, standard_starts
from rdsim.limits.bottleneck.contraction import contraction_coefficient

_SAME_ROW: Final = 4e-16  # difference between rows of P_{X|Y} that is rounding
_LANES: Final = 8  # slopes that ascend side by side; a fixed number, so that little is compiled
_ROWS: Final = 4  # letters of X are padded to a multiple of this, for the same reason
_CELLS: Final = {2: 2 * 10**5, 3: 4 * 10**5, 4: 2 * 10**5, 5: 10**5}  # a slope, by letters of Y
_NOTHING: Final = 1e-15  # bits of value that are rounding
_LATTICE: Final = 3  # letters of Y up to which a lattice of posteriors suffices
_RETRIES: Final = 3
_RANDOM_PRICES: Final = 64
METHODS: Final = ("auto", "local")


class Source(NamedTuple):
    """A joint law and its reduction to letters of Y that have mass and differ.

    Attributes:
        joint: as given, shape (|X|, |Y|).
        letter: of each y its place among the reduced letters, -1 without mass, shape (|Y|,).
        channel: P(x|y), shape (padded |X|, n).
        px: P(x), shape (padded |X|,).
        py: of the reduced letters, shape (n,).
        entropy: of the reduced letter, bits.
        information: I(X;Y), bits.
        contraction: bound on I(U;X)/I(U;Y).

    """

    joint: np.ndarray
    letter: np.ndarray
    channel: np.ndarray
    px: np.ndarray
    py: np.ndarray
    entropy: float
    information: float
    contraction: float


class Options(NamedTuple):
    """How hard to try."""

    tolerance: float
    method: str
    starts: int
    key: jax.Array


class Points(NamedTuple):
    """Encoders of a batch of slopes and the affine functions above them (nats, by letter)."""

    slope: np.ndarray
    encoder: np.ndarray
    complexity: np.ndarray
    relevance: np.ndarray
    dual: np.ndarray


def checked(
    joint: Any, tolerance: Any, method: str, starts: int, key: jax.Array | None
) -> tuple[Source, Options]:
    """Validate what every entry point shares."""
    table = np.asarray(validation.pmf("joint", joint, ndim=2))
    room = validation.tolerance(tolerance)
    if method not in METHODS:
        raise ValueError(f"method must be 'auto' or 'local', got {method!r}")
    count = validation.integer("starts", starts, low=0)
    key = jax.random.key(0) if key is None else validation.prng_key("key", key)
    return reduced(table), Options(float(room), method, count, key)


def reduced(joint: np.ndarray) -> Source:
    """Drop letters of Y without mass, join those with equal P(x|y), pad those of X."""
    mass = joint.sum(axis=0)
    letter = np.full(mass.size, -1)
    kept: list[int] = []
    rows = joint / np.where(mass > 0, mass, 1.0)
    for y in np.flatnonzero(mass > 0):
        same = [k for k, z in enumerate(kept) if np.abs(rows[:, y] - rows[:, z]).max() <= _SAME_ROW]
        letter[y] = same[0] if same else len(kept)
        if not same:
            kept.append(int(y))
    py = np.bincount(letter[letter >= 0], weights=mass[letter >= 0])
    channel = rows[:, kept]
    padding = -len(channel) % _ROWS
    channel = np.pad(channel, ((0, padding), (0, 0)))
    px = channel @ py
    identity = np.eye(len(py))
    entropy, information = kept_information(identity, channel, px, py)
    eta = float(contraction_coefficient(joint, compress="columns")) if len(py) > 1 else 0.0
    return Source(joint, letter, channel, px, py, float(entropy), float(information), eta)


def kept_information(
    encoder: np.ndarray, channel: np.ndarray, px: np.ndarray, py: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """I(U;Y) and I(U;X) in bits of encoders P(u|y), shape (..., U, n)."""
    if py.size == 1:
        return np.zeros(encoder.shape[:-2]), np.zeros(encoder.shape[:-2])
    masses = encoder * py
    weight = masses.sum(axis=-1, keepdims=True)

    def divergence(joint: np.ndarray, marginal: np.ndarray) -> Any:
        inside = joint > 0
        ratio = np.where(inside, joint, 1.0) / np.where(inside, weight * marginal, 1.0)
        return np.maximum(np.sum(joint * np.log2(ratio), axis=(-2, -1)), 0.0)

    return np.asarray(divergence(masses, py)), np.asarray(divergence(masses @ channel.T, px))


def solved(
    source: Source, slopes: np.ndarray, options: Options, missed: np.ndarray | None = None
) -> Points:
    """Ascend at every slope, a fixed number of them at a time."""
    n = source.py.size
    if n == 1 or slopes.size == 0:
        ones = np.ones((slopes.size, 1, n))
        zeros = np.zeros(slopes.size)
        return Points(slopes, ones, zeros, zeros, np.zeros((slopes.size, n)))
    encoders, prices = _starts(source, options)
    missed = np.tile(source.py, (slopes.size, 1)) if missed is None else missed
    parts = []
    for first in range(0, slopes.size, _LANES):
        index = np.minimum(np.arange(first, first + _LANES), slopes.size - 1)
        found = best_encoders(
            _kernel_problem(source, slopes[index]), encoders, prices, missed[index]
        )
        parts.append(jax.tree.map(np.asarray, found))
    joined = jax.tree.map(lambda *leaves: np.concatenate(leaves)[: slopes.size], *parts)
    return _points(source, slopes, joined)


def _starts(source: Source, options: Options) -> tuple[np.ndarray, np.ndarray]:
    """Encoders to ascend from and posteriors to price; random ones only beyond three letters."""
    n = source.py.size
    trivial = np.stack([np.eye(n + 1, n), np.outer(np.eye(n + 1)[0], np.ones(n))])
    if n <= _LATTICE:
        return trivial, standard_starts(n, source.py, np.empty((0, n)))
    price_key, start_key = jax.random.split(options.key)
    random = np.asarray(jax.random.exponential(price_key, (_RANDOM_PRICES, n)))
    clusters = np.asarray(jax.random.randint(start_key, (options.starts, n), 0, n))
    encoders = (clusters[:, None, :] == np.arange(n + 1)[:, None]).astype(float)
    return np.concatenate([trivial, encoders]), standard_starts(n, source.py, random)


def _kernel_problem(source: Source, slopes: np.ndarray) -> Problem:
    return Problem(*map(jnp.asarray, (source.channel, source.px, source.py, slopes)))


def _points(source: Source, slopes: np.ndarray, found: Any) -> Points:
    """Normalise the encoders, measure them, and replace any that a trivial one beats."""
    n = source.py.size
    masses = np.asarray(found.weights[:, :, None] * found.atoms)
    order = np.argsort(-masses.sum(axis=2), axis=1, kind="stable")
    masses = np.take_along_axis(masses, order[:, :, None], axis=1)
    used = masses.shape[1]
    encoder = masses / masses.sum(axis=1, keepdims=True)
    complexity, relevance = kept_information(encoder, source.channel, source.px, source.py)
    value = relevance - slopes * complexity
    constant = np.eye(used, 1) * np.ones(n)
    # Of equally good encoders, up to rounding, the constant one.
    value = np.where(value < _NOTHING, -np.inf, value)
    for trivial, height, rate, kept in (
        (constant, np.zeros_like(slopes), 0.0, 0.0),
        (
            np.eye(used, n),
            source.information - slopes * source.entropy,
            source.entropy,
            source.information,
        ),
    ):
        beaten = value < height
        encoder = np.where(beaten[:, None, None], trivial, encoder)
        complexity = np.where(beaten, rate, complexity)
        relevance = np.where(beaten, kept, relevance)
        value = np.where(beaten, height, value)
    return Points(slopes, encoder, complexity, relevance, found.dual)


def proved(
    source: Source, points: Points, options: Options, tolerance: np.ndarray
) -> tuple[np.ndarray, np.ndarray, Points, np.ndarray]:
    """Bound L(s) of every slope.

    Where branch and bound meets a posterior that pricing had missed, ascend again from there.

    Returns:
        The bounds in bits, whether each point is only local, the points (better if repeated), and
        the last posteriors that were met to lie highest, shape (S, n).

    """
    n = source.py.size
    S = points.slope.size
    upper = simple_bounds(source, points.slope)
    highest = np.tile(source.py, (S, 1))
    if n == 1:
        return upper, np.zeros(S, bool), points, highest
    if S == 0 or n not in _CELLS or options.method == "local":
        return upper, np.ones(S, bool), points, highest
    local = np.ones(S, bool)
    again = np.arange(S)
    for _ in range(_RETRIES):
        excess = largest_excess(
            _kernel_problem(source, points.slope[again]),
            points.dual[again],
            0.25 * LN2 * tolerance[again],
            budget=_CELLS[n],
        )
        bound = (points.dual[again] @ source.py + excess.upper) / LN2 + ROUNDING
        upper[again] = np.minimum(upper[again], bound)
        local[again] = ~excess.finished
        worse = excess.found > 0.25 * LN2 * tolerance[again]
        if not worse.any():
            break
        again = again[worse]
        highest[again] = excess.where[worse]
        new = solved(source, points.slope[again], options, highest[again])
        # The encoder can only gain; the prices are taken anew to be bounded in the next round.
        old_value = points.relevance[again] - points.slope[again] * points.complexity[again]
        gains = new.relevance - new.slope * new.complexity >= old_value
        for name in ("complexity", "relevance"):
            getattr(points, name)[again[gains]] = getattr(new, name)[gains]
        points.dual[again] = new.dual
        points = points._replace(
            encoder=_replaced(points.encoder, again[gains], new.encoder[gains])
        )
    return upper, local, points, highest


def simple_bounds(source: Source, slope: np.ndarray) -> np.ndarray:
    r"""$L(s) \le (1-s) I(X;Y)$ and $L(s) \le (1 - s/\eta)^+ I(X;Y)$, of which eta is the tighter.

    The first since I(U;X) is at most I(U;Y) and I(X;Y); the second since it is at most eta I(U;Y).
    """
    eta = max(source.contraction, np.finfo(float).tiny)
    return np.maximum(1 - slope / min(eta, 1.0), 0.0) * source.information + ROUNDING


def _replaced(encoder: np.ndarray, where: np.ndarray, by: np.ndarray) -> np.ndarray:
    """Put encoders into their places, after padding both stacks to one number of atoms."""
    size = max(encoder.shape[1], by.shape[1])
    padded, new = (
        np.pad(stack, ((0, 0), (0, size - stack.shape[1]), (0, 0))) for stack in (encoder, by)
    )
    padded[where] = new
    return padded


def on_all_letters(source: Source, encoder: np.ndarray) -> np.ndarray:
    """Extend encoders to the letters as given; those without mass get the output marginal."""
    marginal = encoder @ source.py
    extended = encoder[:, :, source.letter]
    return np.where(source.letter < 0, marginal[:, :, None], extended)
