"""A number with its proof: the value of a limit between a certified lower and upper bound."""

import dataclasses
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float
from numpy.lib.mixins import NDArrayOperatorsMixin


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Certified(NDArrayOperatorsMixin):
    """A limit, known to lie in [lower, upper].

    It is an array to NumPy and JAX: `float(limit)`, `len(limit)`, `np.asarray(limit)`, `jnp.sqrt(limit)`
    and comparisons use its `value`; indexing and iteration keep the bounds. So do the operations
    that have an exact rule for intervals, also under `jax.jit` and `jax.grad`: sum and difference
    of two limits, or of a limit and a number (or an array of them), and a limit times or divided by
    a number. So `(1 - loss).upper` is proved if `loss` is. Each bound is rounded to nearest once,
    as in every float64 operation. All other arithmetic returns plain arrays, and so does a JAX
    array to the left of an operator, for JAX reads the value without asking: write `limit + array`,
    not `array + limit`.

    Attributes:
        value: what is achieved, shape (...): the upper bound of a least quantity, the lower bound
            of a largest one; of a number that is no optimum (a probability, an entropy) the best
            estimate inside the bounds.
        lower: the limit is proved not to lie below, shape (...).
        upper: the limit is proved not to lie above, shape (...).
        tolerance: the gap that was asked for, in the unit of the value.

    """

    # JAX rebuilds a tree with other leaves (batched arrays, shapes, axes): no checks in __init__.
    __no_type_check__ = True

    value: Float[Array, "..."]
    lower: Float[Array, "..."]
    upper: Float[Array, "..."]
    tolerance: Float[Array, "..."]

    @property
    def gap(self) -> Float[Array, "..."]:
        """Upper minus lower bound, in the unit of the value (bits of a rate); zero where both are infinite."""
        # The difference of two equal infinities is NaN, also in the branch that is not taken, which a gradient reads.
        equal = self.upper == self.lower
        return jnp.where(equal, 0.0, jnp.where(equal, 0.0, self.upper) - self.lower)

    @property
    def converged(self) -> Bool[Array, "..."]:
        """Whether the gap is within the tolerance asked for."""
        return self.gap <= self.tolerance

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the value."""
        return self.value.shape

    @property
    def ndim(self) -> int:
        """Number of dimensions of the value."""
        return self.value.ndim

    @property
    def size(self) -> int:
        """Number of entries of the value."""
        return self.value.size

    @property
    def dtype(self) -> np.dtype:
        """Type of the value's entries."""
        return self.value.dtype

    def __len__(self) -> int:
        if self.ndim == 0:
            raise TypeError("a single limit has no length: its shape is ()")
        return self.shape[0]

    def __iter__(self) -> Iterator["Certified"]:
        return (self[index] for index in range(len(self)))

    def __getitem__(self, index: Any) -> "Certified":
        if not isinstance(index, tuple):
            index = (index,)
        if not any(isinstance(part, jax.core.Tracer) for part in index):
            index = tuple(np.asarray(p) if isinstance(p, jax.Array | list) else p for p in index)
            # Where an index is too large JAX reads the last entry, and NumPy raises an error: ask
            # NumPy first, with an array of the same shape that takes no memory.
            np.broadcast_to(np.zeros(()), self.shape)[index]
        # One tolerance may stand for all entries: it is then left as it is.
        whole = jnp.shape(self.tolerance) == self.shape
        return Certified(
            value=self.value[index],
            lower=self.lower[index],
            upper=self.upper[index],
            tolerance=self.tolerance[index] if whole else self.tolerance,
        )

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **options: Any) -> Any:
        """Apply an operator or a NumPy function: with bounds, else by JAX, else by NumPy."""
        # `limit += x` would write into the limit, which is frozen: the name is bound to a new one.
        if any(isinstance(target, Certified) for target in options.get("out", ())):
            del options["out"]
        # A labelled array (pandas, xarray) keeps its labels: NumPy gives it the value to compute
        # with.
        foreign = any(
            hasattr(x, "__array_ufunc__") and not isinstance(x, Certified | np.ndarray | np.generic)
            for x in inputs
        )
        if method == "__call__" and not options and not foreign:
            with_bounds = _with_bounds(ufunc, *inputs)
            if with_bounds is not NotImplemented:
                return with_bounds
            if hasattr(jnp, ufunc.__name__):
                values = (x.value if isinstance(x, Certified) else x for x in inputs)
                return getattr(jnp, ufunc.__name__)(*values)
        plain = (np.asarray(x) if isinstance(x, Certified) else x for x in inputs)
        return getattr(ufunc, method)(*plain, **options)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.array(self.value, dtype=dtype, copy=copy)

    def __jax_array__(self) -> Array:
        return self.value

    def __float__(self) -> float:
        return float(self.value)

    def __bool__(self) -> bool:
        return bool(self.value)

    def __format__(self, spec: str) -> str:
        return format(float(self.value), spec) if spec else str(self)


def _with_bounds(ufunc: np.ufunc, *inputs: Any) -> Any:
    """Apply a function to whole intervals; NotImplemented where bounds would not survive it."""
    x: Any = inputs[0]
    y: Any = inputs[1] if len(inputs) == 2 else 0.0
    both = isinstance(x, Certified) and isinstance(y, Certified)
    # Rules that take each new end from one old end, or one of each interval. A product of two intervals would be the least
    # and the largest of four, and the ends of a function that is not monotone do not bound it.
    if ufunc is np.negative:
        return dataclasses.replace(x, value=-x.value, lower=-x.upper, upper=-x.lower)
    if ufunc is np.subtract:
        return np.add(x, -_certain(y))
    if ufunc is np.add:
        x, y = _certain(x), _certain(y)
        return Certified(
            value=x.value + y.value,
            lower=x.lower + y.lower,
            upper=x.upper + y.upper,
            tolerance=x.tolerance + y.tolerance,
        )
    if ufunc is np.multiply and not both:
        limit, factor = (x, y) if isinstance(x, Certified) else (y, x)
        return _scaled(limit, jnp.multiply, factor)
    if ufunc is np.true_divide and not isinstance(y, Certified):
        return _scaled(x, jnp.divide, y)
    return NotImplemented


def _certain(number: Any) -> Certified:
    """A number as a limit that is known exactly; a limit as it is."""
    if isinstance(number, Certified):
        return number
    known = _float64(number)
    return Certified(value=known, lower=known, upper=known, tolerance=jnp.zeros(()))


def _scaled(limit: Certified, operation: Any, factor: Any) -> Certified:
    """A limit times or divided by a number: a negative one exchanges the bounds."""
    factor = _float64(factor)
    ends = operation(_float64(limit.lower), factor), operation(_float64(limit.upper), factor)
    return Certified(
        value=operation(_float64(limit.value), factor),
        lower=jnp.minimum(*ends),
        upper=jnp.maximum(*ends),
        tolerance=operation(_float64(limit.tolerance), jnp.abs(factor)),
    )


def _float64(number: Any) -> Array:
    """A number, or an array of them, as float64: in a smaller type a bound would be rounded away."""
    known = isinstance(number, jax.Array | jax.core.Tracer)
    return jnp.asarray(number if known else np.asarray(number, float), float)
