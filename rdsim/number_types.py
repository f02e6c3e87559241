"""Which types of number an array may come in, and the one that is computed with.

Integers, booleans and floats below 32 bits (float16, bfloat16, float8, ...) overflow, wrap around
or round when they are multiplied and summed in their own type. So nothing is computed in them: an
argument is converted when it is checked, in `rdsim.validation`.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np


class SupportsArray(Protocol):
    """What NumPy can turn into an array: a Certified, a table of another library."""

    def __array__(self) -> np.ndarray: ...


if TYPE_CHECKING:
    ArrayLike: TypeAlias = jax.typing.ArrayLike | SupportsArray | Sequence[Any]
    """Numbers as callers have them: arrays, scalars, nested lists and tuples."""
    Integer: TypeAlias = int | np.integer[Any]
    """An integer of Python or of NumPy."""
    Boolean: TypeAlias = bool
    PRNGKey: TypeAlias = jax.Array
    """A typed key of `jax.random.key`."""
else:
    # At run time every type passes here: `rdsim.validation` checks arguments, and its messages name
    # them.
    ArrayLike = Integer = Boolean = PRNGKey = Any

_RAW_BYTES: Final = (
    "raw bytes, which numpy.load gives for a file of bfloat16 or another type that NumPy does not "
    "know; say what they are, for example array.view(ml_dtypes.bfloat16)"
)


def is_integer(dtype: Any) -> bool:
    """Whether it is a type of integers, those of 4 bits and less (of ml_dtypes) included."""
    # NumPy counts lengths of time among the integers.
    return bool(jnp.issubdtype(dtype, jnp.integer)) and not jnp.issubdtype(dtype, np.timedelta64)


def is_real(dtype: Any) -> bool:
    """Whether it is a type of booleans, integers or real floats, those of ml_dtypes included."""
    # NumPy's dtype.kind does not tell: it is "V" for bfloat16 and "f" for one of the float8 types.
    kinds = (jnp.bool_, jnp.integer, jnp.floating)
    return any(bool(jnp.issubdtype(dtype, kind)) for kind in kinds)


def working_type(dtype: Any) -> type:
    """Choose the type that numbers of a real type are computed in.

    float32 stays, and holds every smaller float exactly. All else is computed in float64, which
    holds integers up to 2^53 (in float32 where float64 is off).
    """
    # 32 bits and less, among them bfloat16: its eight bits of exponent are those of float32, its digits fewer.
    small = bool(jnp.issubdtype(dtype, jnp.floating)) and jnp.finfo(dtype).bits <= 32
    return np.float32 if small else float


def described(dtype: Any) -> str:
    """Name the type for an error message, and say what to do about raw bytes."""
    # Types of ml_dtypes are void to NumPy too, but have a scalar type of their own.
    raw = isinstance(dtype, np.dtype) and dtype.type is np.void and dtype.names is None
    return f"{dtype}: {_RAW_BYTES}" if raw else f"{dtype}"
