"""Checks of single numbers and of objects: integers, functions, paths, keys."""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from rdsim import number_types
from rdsim.transformations import is_traced
from rdsim.validation.arrays import LARGEST_COUNT


def integer(name: str, value: Any, *, low: int, high: int | None = None) -> int:
    """The value as a Python integer inside [low, high]."""
    if not _is_integer(value):
        raise TypeError(f"{name} must be an integer, got {value!r}")
    value = int(value)
    if high is None and value > LARGEST_COUNT:
        raise ValueError(f"{name} must be at most {LARGEST_COUNT}, got {value}")
    if value < low or (high is not None and value > high):
        # Limits beyond the largest count are powers of two.
        top = f"2^{high.bit_length() - 1}" if high is not None and high > LARGEST_COUNT else high
        wanted = f"at least {low}" if high is None else f"in [{low}, {top}]"
        raise ValueError(f"{name} must be {wanted}, got {value}")
    return value


def integers(name: str, value: Any, *, low: int, high: int | None = None) -> tuple[int, ...]:
    """The value as Python integers inside [low, high], at least one."""
    if isinstance(value, np.ndarray | jax.Array) and value.ndim == 1:
        value = np.asarray(value).tolist()
    if not isinstance(value, list | tuple | range):
        raise TypeError(f"{name} must be a list of integers, got {value!r}")
    if not value:
        raise ValueError(f"{name} must hold at least one integer, got none")
    return tuple(integer(name, each, low=low, high=high) for each in value)


def instance(name: str, value: Any, *kinds: type) -> Any:
    """The value, which must be an object of one of the classes."""
    if not isinstance(value, kinds):
        wanted = " or ".join(kind.__name__ for kind in kinds)
        raise TypeError(f"{name} must be a {wanted}, got {type(value)}")
    return value


def choice(name: str, value: Any, allowed: Iterable[str]) -> str:
    """The value, which must be one of the words."""
    words = tuple(allowed)
    # An array is neither hashable nor equal to a word.
    if not isinstance(value, str) or value not in words:
        raise ValueError(f"{name} must be one of {', '.join(map(repr, words))}, got {value!r}")
    return value


def function(name: str, value: Any) -> Any:
    """The value, which must be callable."""
    if not callable(value):
        raise TypeError(f"{name} must be a function, got {type(value)}")
    return value


def pair(name: str, value: Any) -> tuple[Any, Any]:
    """The value as its two members."""
    if not isinstance(value, list | tuple) or len(value) != 2:
        raise TypeError(f"{name} must be a tuple of two, got {type(value)}")
    return value[0], value[1]


def path(name: str, value: Any) -> Path | None:
    """The value as a path, or None."""
    if value is not None and not isinstance(value, str | os.PathLike):
        raise TypeError(f"{name} must be a path or None, got {type(value)}")
    return None if value is None else Path(value)


def prng_key(name: str, value: Any) -> jax.Array:
    """A single typed PRNG key, as made by jax.random.key."""
    if not isinstance(value, jax.Array) or not jnp.issubdtype(value.dtype, jax.dtypes.prng_key):
        raise TypeError(f"{name} must be a typed key made by jax.random.key, got {type(value)}")
    if value.shape != ():
        raise ValueError(f"{name} must be a single key, got keys of shape {value.shape}")
    return value


def host_generator(key: Any) -> np.random.Generator:
    """Make the NumPy generator that a PRNG key determines: JAX would compile a program a shape."""
    return np.random.default_rng(np.asarray(jax.random.key_data(prng_key("key", key))).ravel())


def _is_integer(value: Any) -> bool:
    """Whether it is an integer of Python, or a number of any type of integers whose value is known."""
    if not hasattr(value, "dtype"):
        return isinstance(value, int) and not isinstance(value, bool)
    single = getattr(value, "ndim", None) == 0 and not is_traced(value)
    return single and number_types.is_integer(value.dtype)
