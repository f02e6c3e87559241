"""Checks of arrays: numbers of a kind, a rank and a range, and points of space."""

import math
from typing import Any, Final

import jax
import jax.numpy as jnp
import numpy as np

from rdsim import number_types
from rdsim.transformations import is_traced

LARGEST_COORDINATE: Final = 1e100
"""Largest size of a coordinate of a point: its square, 1e200, stays far below the 1e308 at which
float64 overflows, also after many such squares are summed."""

SMALLEST_DIFFERENCE: Final = 1e-100
"""Smallest range of a coordinate among points that are not all equal: its square, 1e-200, is still
1e108 times the smallest normal number of float64 (1e-308), so that no digit of a squared distance
is lost."""

LEAST_NORMAL: Final = float(np.finfo(float).tiny)
"""Least positive number of float64 that keeps all digits, 2.2e-308."""

LARGEST_COUNT: Final = 2**53
"""Largest number of items, samples, trials or letters: float64 holds every integer up to it
exactly."""


class NotNumericError(TypeError):
    """An argument could not be read as an array of real numbers."""


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
            raise ValueError(
                f"{name} must not contain NaN, got {offending(array, np.isnan(array))}"
            )
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
                f"{offending(host, ~fine)}"
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
        raise ValueError(f"{name} must be at most {LARGEST_COUNT}, got {offending(host, beyond)}")
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
            f"{name} must lie in {left}{low:g}, {high:g}{right}, got {offending(host, outside)}"
        )
    # XLA computes smaller numbers as zero, which is not allowed here.
    if open_low and low == 0 and (lost := host < LEAST_NORMAL).any():
        raise ValueError(
            f"{name} must be at least {LEAST_NORMAL:.3g}, the least normal number of float64, "
            f"got {offending(host, lost)}"
        )
    return array


def tolerance(value: Any) -> jax.Array:
    """The argument tolerance: one positive number."""
    return interval("tolerance", value, low=0.0, open_low=True, ndim=0)


def positive(name: str, value: Any, *, ndim: int | None = None) -> jax.Array:
    """The value as positive, finite numbers, such as a variance."""
    return interval(name, value, low=0.0, open_low=True, open_high=True, ndim=ndim)


def non_negative(name: str, value: Any, *, ndim: int | None = None) -> jax.Array:
    """The value as finite numbers that are at least zero."""
    return interval(name, value, low=0.0, open_high=True, ndim=ndim)


def bounded(name: str, value: Any, *, ndim: int | None = None) -> jax.Array:
    """The value as finite numbers."""
    return interval(name, value, open_low=True, open_high=True, ndim=ndim)


def counts(
    name: str, value: Any, *, low: int = 0, high: int = LARGEST_COUNT, ndim: int | None = None
) -> np.ndarray:
    """The value as float64 numbers on the host that are integers inside [low, high]."""
    array = np.asarray(interval(name, value, low=float(low), high=float(high), ndim=ndim))
    if (broken := array != np.floor(array)).any():
        raise ValueError(f"{name} must be integers, got {offending(array, broken)}")
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
            f"{np.finfo(host.dtype).tiny:.3g} in size: its largest is {offending(longest, short)}"
        )
    return array


def not_empty(name: str, array: Any) -> Any:
    """The checked array, which must hold at least one number."""
    if array.size == 0:
        raise ValueError(f"{name} must not be empty, got shape {array.shape}")
    return array


def broadcast(**arrays: jax.Array | np.ndarray) -> list[jax.Array]:
    """The checked arrays, each named, broadcast to one shape."""
    try:
        if is_traced(*arrays.values()):
            return list(jnp.broadcast_arrays(*arrays.values()))
        # On the host, since JAX would compile a program for these shapes.
        return [jax.device_put(np.array(each)) for each in np.broadcast_arrays(*arrays.values())]
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


def log2_size(value: Any) -> jax.Array:
    """log2 of a database size M >= 2, as a float64 array."""
    return not_empty("log2_size", interval("log2_size", value, low=1.0, high=1e5))


def _require_ndim(name: str, array: Any, ndim: int | None) -> None:
    if ndim is not None and array.ndim != ndim:
        raise ValueError(f"{name} must have {ndim} dimensions, got shape {array.shape}")


def offending(array: np.ndarray, where: np.ndarray | np.bool) -> str:
    """The first offending entry and its index."""
    if array.ndim == 0:
        return f"{array.item()!r}"
    position = tuple(int(i) for i in np.argwhere(where)[0])
    index = position[0] if len(position) == 1 else position
    return f"{array[position].item()!r} at index {index} ({int(where.sum())} such entries)"
