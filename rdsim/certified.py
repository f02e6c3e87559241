"""A number with its proof: the value of a limit between a certified lower and upper bound."""

import dataclasses
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

    It behaves as its `value` in NumPy and JAX arithmetic, so `2 * limit`, `float(limit)` and
    `jnp.sqrt(limit)` work; the bounds stay with the object. Arithmetic returns plain arrays,
    because a bound does not survive every operation.

    Attributes:
        value: what is achieved, shape (...): the upper bound of a least quantity, the lower bound
            of a largest one; of a number that is no optimum (a probability, an entropy) the best
            estimate inside the bounds.
        lower: the limit is proved not to lie below, shape (...).
        upper: the limit is proved not to lie above (it is achieved), shape (...).
        tolerance: the gap that was asked for.

    """

    # JAX rebuilds a tree with other leaves (batched arrays, shapes, axes): no checks in __init__.
    __no_type_check__ = True

    value: Float[Array, "..."]
    lower: Float[Array, "..."]
    upper: Float[Array, "..."]
    tolerance: Float[Array, ""]

    @property
    def gap(self) -> Float[Array, "..."]:
        """Certified upper minus lower bound; zero where both are infinite."""
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

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **options: Any) -> Any:
        plain = (np.asarray(x) if isinstance(x, Certified) else x for x in inputs)
        return getattr(ufunc, method)(*plain, **options)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.array(self.value, dtype=dtype, copy=copy)

    def __jax_array__(self) -> Array:
        return self.value

    def __float__(self) -> float:
        return float(self.value)

    def __getitem__(self, index: Any) -> "Certified":
        return dataclasses.replace(
            self, value=self.value[index], lower=self.lower[index], upper=self.upper[index]
        )

    def __format__(self, spec: str) -> str:
        return format(float(self.value), spec) if spec else str(self)
