"""Limits need float64: functions that certify say so, and refuse to work without."""

import functools
from collections.abc import Callable
from typing import ParamSpec, TypeVar

import jax

_P = ParamSpec("_P")


_R = TypeVar("_R")


def needs_float64(function: Callable[_P, _R]) -> Callable[_P, _R]:
    """Declare that a function certifies what it returns, which float32 cannot.

    The function raises a RuntimeError, before any work, while JAX computes in float32.
    """

    @functools.wraps(function)
    def checked(*args: _P.args, **kwargs: _P.kwargs) -> _R:
        require_float64(function.__name__)
        return function(*args, **kwargs)

    return checked


def require_float64(function: str) -> None:
    """Raise if JAX computes in float32, in which no limit can be certified."""
    if not jax.config.jax_enable_x64:  # type: ignore[attr-defined]
        raise RuntimeError(
            f"{function} computes a limit and needs float64, but jax_enable_x64 is off. "
            "Importing rdsim switches it on, unless JAX_ENABLE_X64 in the environment says otherwise. "
            'Call jax.config.update("jax_enable_x64", True) or use jax.enable_x64(True).'
        )
