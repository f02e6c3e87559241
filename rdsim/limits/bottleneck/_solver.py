r"""What the bottleneck's functions are made of: the reduced source, ascent and proof.

Everything here, and in `_ascent`, `_newton` and `_certificate`, runs on the host: nothing is compiled. In bits.
"""

from typing import Final, NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Key

from rdsim import validation
from rdsim.information import LN2
from rdsim.limits.bottleneck._ascent import best_encoders
from rdsim.limits.bottleneck._certificate import ROUNDING, largest_excess
from rdsim.limits.bottleneck._envelope import Envelope, EnvelopeProblem, standard_starts
from rdsim.limits.bottleneck.contraction import contraction_coefficient
from rdsim.number_types import ArrayLike, Integer

_SAME_COLUMN: Final = 4e-16  # difference between columns of P_{X|Y} that is rounding
_CELLS: Final = {2: 2 * 10**5, 3: 4 * 10**5, 4: 2 * 10**5, 5: 10**5}
"""Cells of branch and bound a slope, by letters of Y: seconds to a minute. Beyond five none suffice."""
_VALUE_ROUNDING: Final = 1e-15  # bits: objective values below this are rounding noise
_LATTICE: Final = 3  # letters of Y up to which a lattice of posteriors suffices as starts
_PROOFS: Final = 3  # proofs of one line, each after an ascent from what the last one met
_PROOF_GAP: Final = 0.25  # fraction of the tolerance that the excess over a line may take
_RANDOM_STARTS: Final = 64  # random posteriors at which pricing starts, beyond the lattice


class Source(NamedTuple):
    """A joint distribution, reduced to the n letters of Y that have mass and differ."""

    letter: np.ndarray  # of each y as given its place among these, -1 without mass, shape (|Y|,)
    channel: np.ndarray  # P(x|y), shape (|X|, n)
    px: np.ndarray  # shape (|X|,)
    py: np.ndarray  # of the reduced letters, shape (n,)
    entropy: float  # of the reduced letter, bits
    information: float  # I(X;Y), bits
    contraction: float  # bound on I(U;X)/I(U;Y)


class SolverOptions(NamedTuple):
    """Solver options; see `information_bottleneck`."""

    tolerance: float
    method: str
    starts: int
    key: Key[Array, ""]


class Encoders(NamedTuple):
    """Encoders of S slopes, and the affine functions above them."""

    slope: np.ndarray  # shape (S,)
    encoder: np.ndarray  # P(u|y), shape (S, n + 1, n)
    complexity: np.ndarray  # I(U;Y), bits, shape (S,)
    relevance: np.ndarray  # I(U;X), bits, shape (S,)
    dual: np.ndarray  # lambda, nats, shape (S, n)

    @property
    def value(self) -> np.ndarray:
        """I(U;X) - s I(U;Y), bits, shape (S,)."""
        return np.asarray(self.relevance - self.slope * self.complexity)

    def at(self, index: np.ndarray) -> "Encoders":
        """Choose some of them, as copies."""
        return Encoders(*(leaf[index] for leaf in self))


class Proof(NamedTuple):
    """What is proved of S slopes."""

    upper: np.ndarray  # bound on L(s), bits, shape (S,)
    local: np.ndarray  # whether branch and bound did not finish, shape (S,)
    encoders: Encoders  # as given, or better ones that the proof led to
    highest: np.ndarray  # posterior last met above the affine function, or P_Y, shape (S, n)


def checked(
    joint: ArrayLike,
    compress: str,
    tolerance: ArrayLike,
    method: str,
    starts: Integer,
    key: Key[Array, ""] | None,
) -> tuple[Source, SolverOptions]:
    """Validate what every entry point shares."""
    table = np.asarray(validation.sided_joint(joint, compress, along="columns"))
    wanted = float(validation.tolerance(tolerance))
    validation.choice("method", method, ("auto", "local"))
    count = validation.integer("starts", starts, low=0)
    key = jax.random.key(0) if key is None else validation.prng_key("key", key)
    return reduced(table), SolverOptions(wanted, method, count, key)


def reduced(joint: np.ndarray) -> Source:
    """Drop letters of Y without mass and join those with equal P(x|y)."""
    mass = joint.sum(axis=0)
    used = np.flatnonzero(mass > 0)
    letter = np.full(mass.size, -1)
    letter[used], channel = distinct_columns(joint[:, used] / mass[used], _SAME_COLUMN)
    py = np.bincount(letter[used], weights=mass[used])
    px = channel @ py
    # The description that keeps the letter itself has the largest complexity H(Y) and relevance I(X;Y).
    identity = np.eye(len(py))
    entropy, information = kept_information(identity, channel, px, py)
    eta = float(contraction_coefficient(joint, compress="columns")) if len(py) > 1 else 0.0
    return Source(letter, channel, px, py, float(entropy), float(information), eta)


def distinct_columns(columns: np.ndarray, tolerance: float) -> tuple[np.ndarray, np.ndarray]:
    """Number the columns that differ in some entry by more than a tolerance, in the order in which they come.

    Returns:
        The number of each column, and the columns by their numbers.

    """
    number = np.empty(columns.shape[1], int)
    first: list[int] = []
    for y in range(columns.shape[1]):
        same = np.flatnonzero(np.abs(columns[:, first] - columns[:, [y]]).max(axis=0) <= tolerance)
        number[y] = same[0] if same.size else len(first)
        if not same.size:
            first.append(y)
    return number, columns[:, first]


def kept_information(
    encoder: np.ndarray, channel: np.ndarray, px: np.ndarray, py: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """I(U;Y) and I(U;X) in bits of encoders P(u|y), shape (..., U, n)."""
    if py.size == 1:
        return np.zeros(encoder.shape[:-2]), np.zeros(encoder.shape[:-2])
    masses = encoder * py
    weight = masses.sum(axis=-1, keepdims=True)

    def information(joint: np.ndarray, marginal: np.ndarray) -> np.ndarray:
        product = weight * marginal
        inside = (joint > 0) & (product > 0)  # a product that underflows adds less than 1e-300
        ratio = np.where(inside, joint, 1.0) / np.where(inside, product, 1.0)
        return np.asarray(np.maximum(np.sum(joint * np.log2(ratio), axis=(-2, -1)), 0.0))

    return information(masses, py), information(masses @ channel.T, px)


def solved(
    source: Source, slopes: np.ndarray, options: SolverOptions, missed: np.ndarray | None = None
) -> Encoders:
    """Ascend at every slope, a fixed number of them at a time."""
    n = source.py.size
    if n == 1 or slopes.size == 0:
        zeros = np.zeros(slopes.size)
        ones = np.ones((slopes.size, n if n == 1 else n + 1, n))
        return Encoders(slopes, ones, zeros, zeros, np.zeros((slopes.size, n)))
    encoders, posteriors = _ascent_starts(source, options)
    missed = np.tile(source.py, (slopes.size, 1)) if missed is None else missed
    problem = _kernel_problem(source, slopes)
    return _measured(source, slopes, best_encoders(problem, encoders, posteriors, missed))


def _ascent_starts(source: Source, options: SolverOptions) -> tuple[np.ndarray, np.ndarray]:
    """Encoders to ascend from and posteriors to price; random ones only beyond three letters."""
    n = source.py.size
    trivial = np.stack([np.eye(n + 1, n), np.outer(np.eye(n + 1)[0], np.ones(n))])
    if n <= _LATTICE:
        return trivial, standard_starts(n, source.py, np.empty((0, n)))
    generator = validation.host_generator(options.key)
    random = generator.exponential(size=(_RANDOM_STARTS, n))
    clusters = generator.integers(0, n, (options.starts, n))
    encoders = (clusters[:, None, :] == np.arange(n + 1)[:, None]).astype(float)
    return np.concatenate([trivial, encoders]), standard_starts(n, source.py, random)


def _kernel_problem(source: Source, slopes: np.ndarray) -> EnvelopeProblem:
    return EnvelopeProblem(source.channel, source.px, source.py, slopes)


def _measured(source: Source, slopes: np.ndarray, found: Envelope) -> Encoders:
    """Normalise the encoders, measure them, and replace any that a trivial one beats."""
    masses = np.asarray(found.weights[:, :, None] * found.atoms)
    # By falling weight, so that empty slots come last and `information_bottleneck` can cut them
    # off.
    order = np.argsort(-masses.sum(axis=2), axis=1, kind="stable")
    masses = np.take_along_axis(masses, order[:, :, None], axis=1)
    encoder = masses / masses.sum(axis=1, keepdims=True)
    complexity, relevance = kept_information(encoder, source.channel, source.px, source.py)
    value = relevance - slopes * complexity
    # A gain below rounding is none: the constant encoder is taken, whose point is the end of the
    # curve.
    value = np.where(value < _VALUE_ROUNDING, -np.inf, value)
    nothing, stored = np.zeros_like(slopes), source.information - slopes * source.entropy
    best = np.argmax([value, nothing, stored], axis=0)
    _, slots, n = encoder.shape
    trivial = np.stack([np.eye(slots, 1) * np.ones(n), np.eye(slots, n)])
    return Encoders(
        slopes,
        np.where(best[:, None, None] == 0, encoder, trivial[best - 1]),
        np.choose(best, [complexity, nothing, nothing + source.entropy]),
        np.choose(best, [relevance, nothing, nothing + source.information]),
        np.array(found.dual),
    )


def proved(
    source: Source, encoders: Encoders, options: SolverOptions, tolerance: np.ndarray
) -> Proof:
    """Bound L(s) of every slope, to a tolerance in bits each.

    Where branch and bound meets a posterior that pricing had missed, ascend again from there.
    """
    S, n = encoders.dual.shape
    upper = simple_bounds(source, encoders.slope)
    highest = np.tile(source.py, (S, 1))
    if n == 1:
        return Proof(upper, np.zeros(S, bool), encoders, highest)
    local = np.ones(S, bool)
    if S == 0 or n not in _CELLS or options.method == "local":
        return Proof(upper, local, encoders, highest)
    best = encoders.at(np.arange(S))
    excess_allowed = _PROOF_GAP * LN2 * tolerance
    again = np.arange(S)
    for _ in range(_PROOFS):
        excess = largest_excess(
            _kernel_problem(source, best.slope[again]),
            best.dual[again],
            excess_allowed[again],
            budget=_CELLS[n],
        )
        # Weak duality: lambda plus the proved excess is an affine function above g on the whole
        # simplex, so its value at P_Y bounds the envelope there. `excess.upper` carries the
        # rounding of g in nats; the second ROUNDING is for the scalar product, of a few numbers
        # of order one.
        bound = (best.dual[again] @ source.py + excess.upper) / LN2 + ROUNDING
        upper[again] = np.minimum(upper[again], bound)
        local[again] = ~excess.finished
        # A vertex that high above the affine function is a posterior that pricing missed, and not
        # just a loose bound: the ascent is started again with it among the points to price.
        worse = excess.found > excess_allowed[again]
        if not worse.any():
            break
        again = again[worse]
        highest[again] = excess.where[worse]
        new = solved(source, best.slope[again], options, highest[again])
        # The encoder can only gain; the dual variables are taken anew, to be bounded next.
        gains = new.value >= best.value[again]
        for name in ("encoder", "complexity", "relevance"):
            getattr(best, name)[again[gains]] = getattr(new, name)[gains]
        best.dual[again] = new.dual
    return Proof(upper, local, best, highest)


def simple_bounds(source: Source, slope: np.ndarray) -> np.ndarray:
    r"""$L(s) \le (1-s) I(X;Y)$ and $L(s) \le (1 - s/\eta)^+ I(X;Y)$, of which eta is the tighter.

    The first since I(U;X) is at most I(U;Y) and I(X;Y); the second since it is at most eta I(U;Y).
    """
    eta = max(source.contraction, np.finfo(float).tiny)
    return np.maximum(1 - slope / min(eta, 1.0), 0.0) * source.information + ROUNDING


def on_all_letters(source: Source, encoder: np.ndarray) -> np.ndarray:
    """Extend encoders to the letters as given; those without mass get the output marginal."""
    marginal = encoder @ source.py
    extended = encoder[:, :, source.letter]
    return np.where(source.letter < 0, marginal[:, :, None], extended)
