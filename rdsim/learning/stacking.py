"""Many systems in one compiled program: codes and decoders of one kind stacked, one chosen.

Compiling the simulation of a system takes longer than running it. Here all systems are padded to
the most codewords of any; those whose arrays then agree in shape are stacked, and a system is a
choice of a kind (`jax.lax.switch`) and of a place in its stack. So all are one shape to JAX: what
is compiled for the first is used for the others, and no number changes but by the rounding of
another program.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key

from rdsim import validation
from rdsim.codes.quantizers.entropy_weighted import EntropyWeightedQuantizer
from rdsim.codes.quantizers.vector import VectorQuantizer
from rdsim.learning.families.stored.embedded_codes import EmbeddedCode
from rdsim.number_types import ArrayLike
from rdsim.results import result
from rdsim.simulation.coded_items import Decoder
from rdsim.transformations import on_host


@result
class StackedCode:
    """One of several codes; an `ItemCode`.

    Attributes:
        kind: which stack it is in, an integer.
        place: which of its stack it is, an integer.
        codes: the stacks, each a code whose arrays have one more axis in front.
        codewords: of this code, padded, shape (K, d).

    """

    kind: Int[Array, ""]
    place: Int[Array, ""]
    codes: tuple[Any, ...]
    codewords: Float[Array, "k d"]

    def channel(self, items: ArrayLike) -> Float[Array, "n k"]:
        """P(u|y) of the chosen code; codewords that pad it have probability zero."""
        branches = [
            lambda place, y, kind=kind: _member(kind, place).channel(y) for kind in self.codes
        ]
        return jax.lax.switch(self.kind, branches, self.place, items)

    def encode(self, key: Key[Array, ""], items: ArrayLike) -> Int[Array, " n"]:
        """Draw a codeword of the chosen code for each item."""
        branches = [
            lambda place, k, y, kind=kind: _member(kind, place).encode(k, y).astype(jnp.int32)
            for kind in self.codes
        ]
        return jax.lax.switch(self.kind, branches, self.place, key, items)


@on_host
def stacked_systems(
    systems: Sequence[tuple[EmbeddedCode | EntropyWeightedQuantizer, Decoder]],
) -> list[tuple[StackedCode, Decoder]]:
    """Make all systems choices of one, so that a simulation is compiled once for all of them.

    Args:
        systems: list of codes with their decoders. Each code is an `EmbeddedCode` that stores the
            nearest codeword or an `EntropyWeightedQuantizer`. The parameters of a decoder are a
            tuple: the first part is common to all codewords, every other one has a row for each
            codeword.

    Returns:
        The same systems in the same order, for `operating_point` or `simulate_item_code`.

    """
    if not validation.instance("systems", systems, list, tuple):
        raise ValueError("systems must hold at least one code with its decoder, got none")
    for system in systems:
        code, decoder = validation.pair("systems", system)
        validation.instance("systems", code, EmbeddedCode, EntropyWeightedQuantizer)
        parameters = validation.instance("systems", decoder, Decoder).parameters
        validation.instance("systems", parameters, tuple)
    codewords = max(code.codewords.shape[0] for code, _ in systems)
    padded = [
        (
            padded_code(code, codewords),
            Decoder(rule.scores, _padded_parameters(rule.parameters, codewords)),
        )
        for code, rule in systems
    ]
    kinds: dict[Any, list[int]] = {}
    for index, (code, rule) in enumerate(padded):
        kinds.setdefault((rule.scores, *_structure((code, rule.parameters))), []).append(index)
    groups = [[padded[index] for index in members] for members in kinds.values()]
    codes = tuple(_stacked([code for code, _ in group]) for group in groups)
    parameters = tuple(_stacked([rule.parameters for _, rule in group]) for group in groups)
    scores = _StackedScores(tuple(rule for rule, *_ in kinds))
    where = {
        index: (jnp.asarray(kind), jnp.asarray(place))
        for kind, members in enumerate(kinds.values())
        for place, index in enumerate(members)
    }
    return [
        (
            StackedCode(kind=kind, place=place, codes=codes, codewords=padded[index][0].codewords),
            Decoder(scores, (kind, place, parameters)),
        )
        for index, (kind, place) in sorted(where.items())
    ]


@dataclasses.dataclass(frozen=True)
class _StackedScores:
    """Scores of the chosen decoder; hashable, as a decoder's scores must be."""

    rules: tuple[Callable[..., Any], ...]

    def __call__(
        self, parameters: tuple[jax.Array, jax.Array, tuple[Any, ...]], queries: jax.Array
    ) -> Any:
        """Score the codewords."""
        kind, place, stacked = parameters
        branches = [
            lambda i, x, rule=rule, values=values: rule(_member(values, i), x)
            for rule, values in zip(self.rules, stacked, strict=True)
        ]
        return jax.lax.switch(kind, branches, place, queries)


def _stacked(trees: list[Any]) -> Any:
    """Trees of one structure as one, with an axis in front."""
    return jax.tree.map(lambda *parts: np.stack(parts), *trees)


def _member(stacked: Any, place: jax.Array) -> Any:
    """One of the trees that were stacked."""
    return jax.tree.map(lambda leaf: leaf[place], stacked)


def _structure(tree: Any) -> tuple[Any, ...]:
    """Return what must agree for trees to be stacked: the structure, and shapes and types of the arrays."""
    leaves, structure = jax.tree.flatten(tree)
    return structure, tuple((np.shape(leaf), np.asarray(leaf).dtype) for leaf in leaves)


def padded_code(
    code: EmbeddedCode | EntropyWeightedQuantizer, codewords: int
) -> EmbeddedCode | EntropyWeightedQuantizer:
    """The same code, padded with codewords that are never drawn."""
    points = _padded_rows(code.codewords, codewords)
    if isinstance(code, EntropyWeightedQuantizer):
        marginal = _padded_rows(code.output_marginal, codewords)
        return dataclasses.replace(code, codewords=points, output_marginal=marginal)
    # An embedded code stores the nearest codeword. That of a binary hash is the corner of a cube
    # with the embedding's signs, which is the nearest corner, so that a vector quantizer does the
    # same.
    inner = code.code.codewords
    nearest = VectorQuantizer(
        codewords=_padded_rows(inner, codewords),
        offsets=_padded_rows(np.zeros(len(inner)), codewords, constant_values=np.inf),
        masses=jnp.zeros(codewords),
        distortion=jnp.zeros(()),
        converged=jnp.ones((), bool),
        iterations=jnp.zeros((), int),
    )
    return dataclasses.replace(code, code=nearest, codewords=points)


def _padded_parameters(parameters: Any, codewords: int) -> Any:
    """Parameters of a decoder, with rows for the codewords that pad a code.

    No competitor has these codewords, so that any finite score does.
    """
    first, *rows = parameters
    return (first, *(_padded_rows(row, codewords, mode="edge") for row in rows))


def _padded_rows(values: Any, rows: int, **how: Any) -> Any:
    """An array with rows appended; how, as `numpy.pad` takes it."""
    more = [(0, rows - len(values)), *[(0, 0)] * (np.ndim(values) - 1)]
    return np.pad(values, more, **how)
