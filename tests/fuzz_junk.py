"""Calls whose arguments know what is surely wrong in their place."""

import math
from typing import Any, Final, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from fuzz_cases import JOINT, KEY

UNRELATED: Final[tuple[Any, ...]] = ("x", None, [], {}, object(), 1j)
"""No number, no array, no distribution, no code."""
HUGE: Final = 2**70


class Argument(NamedTuple):
    """What is passed in a call that works, and what must be refused in its place."""

    value: Any
    junk: tuple[Any, ...]


def number(value: float, *wrong: Any) -> Argument:
    return Argument(value, (math.nan, [[1.0, 2.0], [1.0]], *UNRELATED, *wrong))


def positive(value: float, *wrong: Any) -> Argument:
    return number(value, -1.0, -math.inf, *wrong)


def count(value: int, *wrong: Any) -> Argument:
    return Argument(
        value, (math.nan, math.inf, 1.5, 1.0, True, -1, [2, 2], *UNRELATED, *wrong, HUGE)
    )


def one_of(value: str) -> Argument:
    return Argument(value, ("", *UNRELATED, 3, [value]))


def loss(value: Any) -> Argument:
    return Argument(value, ("", *UNRELATED, 3, ("miss", 0), ("miss", -1), ("miss", 1.5)))


def losses(*values: Any) -> Argument:
    return Argument(values, (*UNRELATED, 3, "error", ("miss", 1), ["x"], [("miss", 0)], [None]))


def key() -> Argument:
    wrong = (0, jnp.zeros(2, jnp.uint32), jax.random.split(KEY, 2), math.nan)
    return Argument(KEY, (*UNRELATED, *wrong))


def array(value: Any, *wrong: Any, ragged: bool = True, finite: bool = False) -> Argument:
    """An array of one number of axes, without NaN; `finite`, and without infinities."""
    whole = np.asarray(value)
    bad: list[Any] = [
        np.full(whole.shape, math.nan),
        spoiled(whole, math.nan),
        whole.astype(complex),
    ]
    bad += [whole[None], whole[..., None], whole[:0], whole.astype(str)]
    bad += [[[1.0, 2.0], [1.0]]] if ragged else []
    bad += [spoiled(whole, math.inf), spoiled(whole, -math.inf)] if finite else []
    return Argument(value, (*UNRELATED, 3.0, *bad, *wrong))


def spoiled(table: np.ndarray, entry: float) -> np.ndarray:
    changed = table.astype(float)
    changed.flat[changed.size - 1] = entry
    return changed


def distribution(value: Any, *wrong: Any) -> Argument:
    """A pmf, a joint pmf or a channel."""
    whole = np.asarray(value, float)
    return array(value, -whole, 2 * whole, 0 * whole, *wrong, finite=True)


def table(value: Any, *wrong: Any) -> Argument:
    """A distortion."""
    return array(value, spoiled(np.asarray(value), -1.0), np.asarray(value)[:-1], *wrong)


def points(value: Any, *wrong: Any) -> Argument:
    return array(value, *wrong, finite=True)


def thing(value: Any, *wrong: Any) -> Argument:
    """An object: a source, a code, a model, a schedule."""
    return Argument(value, (*UNRELATED, 3, math.nan, JOINT, *wrong))


def anywhere(argument: Argument, *allowed: str) -> Argument:
    """Not junk after all: more "axes" in front, an "axis" at the end, a "number", or "none"."""
    whole = np.asarray(argument.value)
    shapes: dict[str, tuple[int, ...]] = {
        "axes": (1, *whole.shape),
        "axis": (*whole.shape, 1),
        "none": (0, *whole.shape[1:]),
        "number": (),
    }
    fine = {shapes[name] for name in allowed} | ({(0,)} if "none" in allowed else set())

    def kept(one: Any) -> bool:
        try:
            array = np.asarray(one)
        except ValueError:
            return True
        return array.dtype.kind not in "if" or array.shape not in fine or np.isnan(array).any()

    return Argument(argument.value, tuple(filter(kept, argument.junk)))


def grid(value: Any, *wrong: Any) -> Argument:
    """Numbers in one dimension; of none, there are no results."""
    return anywhere(array(value, *wrong), "none")


Call = dict[str, Argument]
