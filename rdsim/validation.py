"""Host-side checks of what a caller passes, made once, before anything is traced.

The error names the argument, what was wanted and what was got. Under a JAX transformation the
values are not known yet: shapes are still checked, and the values are the caller's responsibility.
"""

import functools
import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, ParamSpec, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from rdsim import number_types

_P = ParamSpec("_P")
_R = TypeVar("_R")

PROBABILITY_SUM_TOLERANCE: Final = 1e-9
"""How far the sum of a pmf may lie from one: tables typed or computed elsewhere are rounded."""

LARGEST_COORDINATE: Final = 1e100
"""Largest size of a coordinate of a point: its square, 1e200, stays far below the 1e308 at which
float64 overflows, also after many such squares are summed."""

SMALLEST_DIFFERENCE: Final = 1e-100
"""Smallest range of a coordinate among points that are not all equal: its square, 1e-200, is still
1e108 times the smallest normal number of float64 (1e-308), so that no digit of a squared distance
is lost."""

LARGEST_COUNT: Final = 2**53
"""Largest number of items, samples, trials or letters: float64 holds every integer up to it
exactly."""


class NotNumericError(TypeError):
    """An argument could not be read as an array of real numbers."""


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


def is_traced(*values: Any) -> bool:
    """Whether any leaf of the values is a JAX tracer, whose numbers are not known yet."""
    return any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(values))


def host_array(name: str, value: Any) -> np.ndarray:
    """The value as an array on the host, of any kind."""
    try:
        return np.asarray(value)
    except (ValueError, TypeError) as error:
        raise NotNumericError(f"{name} must be an array: {error}") from error


def numbers(name: str, value: Any) -> Any:
    """The value as an array of real numbers in its own type; one of JAX stays where it is."""
    array = value if isinstance(value, jax.Array) else host_array(name, value)
    if not number_types.is_real(array.dtype):
        raise NotNumericError(
            f"{name} must hold real numbers, got an array of dtype "
            f"{number_types.described(array.dtype)}"
        )
    return array


def real_array(name: str, value: Any, *, ndim: int | None = None) -> jax.Array:
    """The value as a float64 array of the wanted rank, free of NaN."""
    array = numbers(name, value)
    if not is_traced(array):
        array = np.asarray(array).astype(np.float64)
        if np.isnan(array).any():
            raise ValueError(f"{name} must not contain NaN, got {_show(array, np.isnan(array))}")
    _require_ndim(name, array, ndim)
    # With its type said, an array of the host is copied by no program compiled for its shape.
    return jnp.asarray(array, float)


def finite(name: str, value: Any, *, ndim: int | None = None) -> Any:
    """The value as an array in the type it is computed in, all of it finite, and squares too."""
    array = numbers(name, value)
    array = array.astype(number_types.working_type(array.dtype))
    if not is_traced(array):
        host = np.asarray(array)
        most = min(LARGEST_COORDINATE, float(np.finfo(host.dtype).max))
        if not (fine := np.abs(host) <= most).all():
            raise ValueError(
                f"{name} must be finite, at most {LARGEST_COORDINATE:g} in size, got "
                f"{_show(host, ~fine)}"
            )
    _require_ndim(name, array, ndim)
    return array


def integer_array(name: str, value: Any, *, wanted: str = "integers", mask: bool = False) -> Any:
    """The value as an array of int64, or of booleans where a mask is allowed."""
    array = value if isinstance(value, jax.Array) else host_array(name, value)
    if mask and array.dtype == bool:
        return array if is_traced(array) else np.asarray(array)
    if not number_types.is_integer(array.dtype):
        raise TypeError(
            f"{name} must hold {wanted}, got an array of dtype "
            f"{number_types.described(array.dtype)}"
        )
    if is_traced(array):
        return array.astype(int)
    host = np.asarray(array)
    if host.dtype == np.uint64 and (beyond := host > LARGEST_COUNT).any():
        raise ValueError(f"{name} must be at most {LARGEST_COUNT}, got {_show(host, beyond)}")
    return host.astype(np.int64)


def interval(
    name: str,
    value: Any,
    *,
    low: float = -math.inf,
    high: float = math.inf,
    open_low: bool = False,
    open_high: bool = False,
    ndim: int | None = None,
) -> jax.Array:
    """The value as a float64 array with every entry inside the interval."""
    array = real_array(name, value, ndim=ndim)
    if is_traced(array):
        return array
    host = np.asarray(array)
    outside = (host <= low if open_low else host < low) | (
        host >= high if open_high else host > high
    )
    if outside.any():
        left, right = "(" if open_low else "[", ")" if open_high else "]"
        raise ValueError(
            f"{name} must lie in {left}{low:g}, {high:g}{right}, got {_show(host, outside)}"
        )
    return array


def tolerance(value: Any) -> jax.Array:
    """The argument tolerance: one positive number."""
    return interval("tolerance", value, low=0.0, open_low=True, ndim=0)


def positive(name: str, value: Any, *, ndim: int | None = None) -> jax.Array:
    """The value as positive, finite numbers, such as a variance."""
    return interval(name, value, low=0.0, high=math.inf, open_low=True, open_high=True, ndim=ndim)


def counts(name: str, value: Any, *, ndim: int | None = None) -> np.ndarray:
    """The value as float64 numbers on the host that are non-negative integers."""
    array = np.asarray(interval(name, value, low=0.0, high=float(LARGEST_COUNT), ndim=ndim))
    if (broken := array != np.floor(array)).any():
        raise ValueError(f"{name} must be integers, got {_show(array, broken)}")
    return array


def open_unit(name: str, value: Any) -> jax.Array:
    """The value as one number strictly between zero and one, such as a confidence."""
    return interval(name, value, low=0.0, high=1.0, open_low=True, open_high=True, ndim=0)


def directions(name: str, array: Any) -> Any:
    """The checked vectors along the last axis, none of which is zero or subnormal."""
    if is_traced(array):
        return array
    host = np.abs(np.asarray(array))
    longest = host.max(axis=-1, initial=0.0)
    # Below the least normal number digits are lost, and XLA flushes such numbers to zero.
    if (short := longest < np.finfo(host.dtype).tiny).any():
        raise ValueError(
            f"{name} must have a direction, but a row has no coordinate of at least "
            f"{np.finfo(host.dtype).tiny:.3g} in size: its largest is {_show(longest, short)}"
        )
    return array


def not_empty(name: str, array: jax.Array) -> jax.Array:
    """The checked array, which must hold at least one number."""
    if array.size == 0:
        raise ValueError(f"{name} must not be empty, got shape {array.shape}")
    return array


def broadcast(**arrays: jax.Array) -> list[jax.Array]:
    """The checked arrays, each named, broadcast to one shape."""
    try:
        return list(jnp.broadcast_arrays(*arrays.values()))
    except ValueError as error:
        shapes = " and ".join(str(array.shape) for array in arrays.values())
        raise ValueError(
            f"{' and '.join(arrays)} must broadcast together, got shapes {shapes}"
        ) from error


def coordinates(name: str, value: Any, *, ndim: int | None = None) -> jax.Array:
    """The value as points: finite, and of a size whose squares can be summed."""
    return interval(name, value, low=-LARGEST_COORDINATE, high=LARGEST_COORDINATE, ndim=ndim)


def apart(name: str, array: Any) -> Any:
    """The checked points, one a row: all equal, or of a range whose square does not underflow."""
    if is_traced(array) or 0 in array.shape:
        return array
    largest = float(np.max(np.ptp(np.asarray(array), axis=0)))
    if 0.0 < largest < SMALLEST_DIFFERENCE:
        raise ValueError(
            f"{name} must differ by at least {SMALLEST_DIFFERENCE:g} in some coordinate, or not at "
            f"all, for smaller squares underflow: multiply them by a constant; got a largest "
            f"difference of {largest:.3g}"
        )
    return array


def pmf(name: str, value: Any, *, ndim: int = 1) -> jax.Array:
    """The value as a pmf (or a joint pmf): non-negative, summing to one, rescaled to do so exactly.

    How far the sum may lie from one is said in `_sum_tolerance`.
    """
    value = numbers(name, value)
    array = interval(name, value, low=0.0, ndim=ndim)
    if array.size == 0:
        raise ValueError(f"{name} must have at least one letter, got shape {array.shape}")
    if is_traced(array):
        return array / jnp.sum(array)
    total = float(np.sum(np.asarray(array)))
    if not abs(total - 1.0) <= _sum_tolerance(value.dtype, array.size):
        raise ValueError(f"{name} must sum to one, got a sum of {total!r}")
    return jnp.asarray(np.asarray(array) / total, float)


def distortions(value: Any, masses: Any, *, letter: str = "source letter") -> jax.Array:
    """The argument distortions: at least 0, one row a letter; a letter with mass keeps a finite one."""
    array = interval("distortions", value, low=0.0, ndim=2)
    if array.shape[0] != masses.shape[0] or array.shape[1] == 0:
        raise ValueError(
            f"distortions must have one row a {letter} and at least one column, "
            f"shape ({masses.shape[0]}, |U|), got {array.shape}"
        )
    if not is_traced(array, masses):
        lost = np.isinf(np.asarray(array)).all(axis=1) & (np.asarray(masses) > 0)
        if lost.any():
            raise ValueError(
                f"distortions must leave every source letter a finite one, got only inf in row "
                f"{int(np.argmax(lost))}"
            )
    return array


def sided_joint(value: Any, compress: Any, *, along: str) -> jax.Array:
    """A joint pmf with the compressed letter along its "rows" or "columns".

    Libraries differ in which letter of a joint pmf they compress, and no check of shapes can find a
    swap in a square table: so the caller names the side.
    """
    if not isinstance(compress, str) or compress not in ("rows", "columns"):
        raise ValueError(
            'compress must be "rows" or "columns", the side of joint whose letter is compressed, '
            f"got {compress!r}"
        )
    joint = pmf("joint", value, ndim=2)
    if compress == along:
        return joint
    return joint.T if is_traced(joint) else jnp.asarray(np.asarray(joint).T)


def channel(name: str, value: Any, *, ndim: int = 2) -> jax.Array:
    """The value as a channel: non-negative rows along the last axis, each rescaled to sum to one.

    How far a sum may lie from one is said in `_sum_tolerance`.
    """
    value = numbers(name, value)
    array = interval(name, value, low=0.0, ndim=ndim)
    if array.shape[-1] == 0:
        raise ValueError(f"{name} must have at least one letter a row, got shape {array.shape}")
    if is_traced(array):
        return array / jnp.sum(array, axis=-1, keepdims=True)
    sums = np.sum(np.asarray(array), axis=-1)
    wrong = ~(np.abs(sums - 1.0) <= _sum_tolerance(value.dtype, array.shape[-1]))
    if wrong.any():
        raise ValueError(
            f"{name} must have rows that sum to one, got a sum of {_show(sums, wrong)}"
        )
    return jnp.asarray(np.asarray(array) / sums[..., None], float)


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


def log2_size(value: Any, *, name: str = "log2_size") -> jax.Array:
    """log2 of a database size M >= 2, as a float64 array."""
    return not_empty(name, interval(name, value, low=1.0, high=1e5))


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


def _sum_tolerance(dtype: Any, entries: int) -> float:
    """How far the sum of so many probabilities may lie from one.

    1e-9. For floats of 32 bits or fewer, if that is more: the rounding of their type (half the
    distance from 1 to the next number) times the number of entries, which is the most that summing
    in that type can lose; but never more than 1 %, for a sum farther off is an error and not
    rounding.
    """
    if not (jnp.issubdtype(dtype, jnp.floating) and jnp.finfo(dtype).bits <= 32):
        return PROBABILITY_SUM_TOLERANCE
    rounding = float(jnp.finfo(dtype).eps) / 2 * entries
    return max(PROBABILITY_SUM_TOLERANCE, min(rounding, 0.01))


def _is_integer(value: Any) -> bool:
    """Whether it is an integer of Python, or a number of any type of integers whose value is known."""
    if not hasattr(value, "dtype"):
        return isinstance(value, int) and not isinstance(value, bool)
    single = getattr(value, "ndim", None) == 0 and not is_traced(value)
    return single and number_types.is_integer(value.dtype)


def _require_ndim(name: str, array: Any, ndim: int | None) -> None:
    if ndim is not None and array.ndim != ndim:
        raise ValueError(f"{name} must have {ndim} dimensions, got shape {array.shape}")


def _show(array: np.ndarray, where: np.ndarray | np.bool) -> str:
    """The first offending entry and its index."""
    if array.ndim == 0:
        return f"{array.item()!r}"
    position = tuple(int(i) for i in np.argwhere(where)[0])
    index = position[0] if len(position) == 1 else position
    return f"{array[position].item()!r} at index {index} ({int(where.sum())} such entries)"
