r"""What `jax.grad`, `jax.jit` and `jax.vmap` may do with a function, and named errors for the rest.

A function of rdsim has right derivatives in an argument, or refuses to be differentiated in it. One
that computes on the host (NumPy, SciPy, steps that depend on the numbers) refuses to be traced.
Each says so once, by a decorator.
"""

import functools
import inspect
from collections.abc import Callable
from typing import Any, Final, ParamSpec, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.interpreters import ad, batching, mlir
from jaxtyping import Array, Float

from rdsim.namespaces import constant, namespace_of, on_numpy

_P = ParamSpec("_P")
_R = TypeVar("_R")

M_IS_AN_INTEGER: Final = "the number of items M is an integer"
A_STOPPING_RULE: Final = "it says when a search stops, and the limit does not depend on it"
_SMALL: Final = 2**14  # numbers up to which NumPy is about as fast as a compiled program
STEEPEST: Final = 1e300
"""Stands for an infinite derivative, since zero times infinity would be NaN."""


class NotDifferentiableError(TypeError):
    """A derivative was asked for in an argument in which the function has none."""


class ComputesOnHostError(TypeError):
    """A function that needs the numbers themselves was called under a JAX transformation."""


def on_host(function: Callable[_P, _R]) -> Callable[_P, _R]:
    """Declare that a function computes on the host, so that none of its arguments can be traced."""

    @functools.wraps(function)
    def checked(*args: _P.args, **kwargs: _P.kwargs) -> _R:
        if is_traced(args, kwargs):
            traced = [name for name, value in _named(function, args, kwargs) if is_traced(value)]
            raise ComputesOnHostError(
                f"{function.__qualname__} computes on the host and cannot be traced by jax.jit, "
                f"jax.grad or jax.vmap: {', '.join(traced)} must hold numbers, got a tracer"
            )
        # Inside jax.jit even constants become tracers, unless they are computed while compiling.
        if is_traced(jnp.zeros(())):
            with jax.ensure_compile_time_eval():
                return function(*args, **kwargs)
        return function(*args, **kwargs)

    checked.computes_on_host = True  # type: ignore[attr-defined]
    return checked


def not_differentiable(**reasons: str) -> Callable[[Callable[_P, _R]], Callable[_P, _R]]:
    """Declare that a function has no derivative in these arguments, and why, one reason each.

    The function itself is unchanged under `jax.jit` and `jax.vmap`, and can be differentiated in
    its other arguments.
    """

    def declare(function: Callable[_P, _R]) -> Callable[_P, _R]:
        signature = inspect.signature(function)
        guards = {
            name: refusing(f"{function.__name__} cannot be differentiated in {name}: {reason}")
            for name, reason in reasons.items()
        }

        @functools.wraps(function)
        def guarded(*args: _P.args, **kwargs: _P.kwargs) -> _R:
            if not is_traced(args, kwargs):
                return function(*args, **kwargs)
            bound = signature.bind(*args, **kwargs)
            for name, guard in guards.items():
                if name in bound.arguments:
                    bound.arguments[name] = jax.tree.map(guard, bound.arguments[name])
            return function(*bound.args, **bound.kwargs)

        guarded.not_differentiable_in = tuple(reasons)  # type: ignore[attr-defined]
        return guarded

    return declare


def small_on_host(function: Callable[..., Any]) -> Callable[..., Any]:
    """Let a formula that takes arrays of NumPy as well as JAX's be compiled only where that pays.

    Where no argument is traced and all are small it is computed by NumPy, in microseconds, and a first call does not
    wait a quarter of a second for a program of its shapes. The result is an array of JAX either way.
    """
    program = jax.jit(function)

    @functools.wraps(function)
    def of(*arrays: Any) -> Any:
        if is_traced(*arrays) or sum(np.size(array) for array in arrays) > _SMALL:
            return program(*arrays)
        # Branches that are not taken may overflow.
        with np.errstate(all="ignore"):
            return jax.device_put(function(*map(np.asarray, arrays)))

    return of


def implicit_root(
    equation: Callable[[Float[Any, "..."]], Float[Any, "..."]], found: Float[Any, "..."]
) -> Float[Any, "..."]:
    r"""Give a root that a search has found the derivatives of the implicit function theorem.

    $$F(x, \theta) = 0 \Rightarrow \frac{dx}{d\theta} = -\frac{\partial F / \partial \theta}
        {\partial F / \partial x},$$

    of every order, in whatever the equation closes over. The search itself, which bisects and has
    no derivatives or wrong ones, is not differentiated.

    Args:
        equation: F, elementwise; where it is flat in x the derivatives are zero.
        found: the root, shape (...).

    Returns:
        The root itself; an array of NumPy, which has no derivatives, as it is.

    """
    if on_numpy(found):
        return found

    def divide(linear: Callable[[Array], Array], value: Array) -> Array:
        slope = linear(jnp.ones_like(value))
        return jnp.where(slope == 0, 0.0, value / jnp.where(slope == 0, 1.0, slope))

    return jax.lax.custom_root(equation, jax.lax.stop_gradient(found), lambda _, x: x, divide)


def with_derivatives_of(value: Float[Any, "..."], smooth: Float[Any, "..."]) -> Float[Any, "..."]:
    """Return the value with the derivatives of a smooth expression.

    The expression equals it up to rounding, or stands in for it where a gradient is taken straight through a
    rounding. The difference, which is zero, is taken first: value + smooth - smooth would leave the rounding of the
    sum in the value.
    """
    if on_numpy(value, smooth):
        return value
    # The difference of two infinities would be NaN; where the expression is infinite there is no derivative to take.
    finite = jnp.isfinite(smooth)
    smooth = jnp.where(finite, smooth, 0.0)
    return jax.lax.stop_gradient(value) + (smooth - jax.lax.stop_gradient(smooth))


def least(values: Float[Any, "..."], axis: int = -1) -> Float[Any, "..."]:
    """Take the least entry along an axis by its index; of equal ones the first, in derivatives too.

    The derivative of `jnp.min` looks for the entries that equal the least. Where the compiler
    computes the values twice, with other rounding, it finds none, and is NaN.
    """
    xp = namespace_of(values)
    index = xp.argmin(values, axis=axis, keepdims=True)
    return xp.take_along_axis(values, index, axis=axis).squeeze(axis)


def falling(x: Float[Any, "..."]) -> Float[Any, "..."]:
    """Return zero, whose derivative in x is minus infinity (as `STEEPEST`)."""
    return -STEEPEST * (x - constant(x))


def is_traced(*values: Any) -> bool:
    """Whether any leaf of the values is a JAX tracer, whose numbers are not known yet."""
    return any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(values))


def _named(
    function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> list[tuple[str, Any]]:
    """Arguments with their names, also those passed by position."""
    by_position = inspect.signature(function).bind_partial(*args).arguments
    return [*by_position.items(), *kwargs.items()]


def refusing(message: str) -> Callable[[Any], Any]:
    """Make an identity whose derivative is refused with this message; on numbers it does nothing."""

    def guard(leaf: Any) -> Any:
        real = isinstance(leaf, jax.core.Tracer) and jnp.issubdtype(leaf.dtype, jnp.floating)
        return _refusing_primitive().bind(leaf, message=message) if real else leaf

    return guard


def _refuse(*_: Any, message: str) -> Any:
    raise NotDifferentiableError(message)


@functools.cache
def _refusing_primitive() -> Any:
    """Make the identity that refuses to be differentiated.

    It is a primitive of its own, not a `jax.custom_jvp`: reverse mode drops the rule of the latter from the values that
    it computes forwards, so that a second derivative would not be refused.
    """
    # Only a function that is traced needs it: with it JAX imports Pallas, a tenth of what importing rdsim takes.
    from jax.extend.core import Primitive

    primitive = Primitive("refusing")
    primitive.def_impl(lambda x, *, message: x)  # noqa: ARG005
    primitive.def_abstract_eval(lambda x, *, message: x)  # noqa: ARG005
    mlir.register_lowering(primitive, lambda _, x, *, message: [x])  # noqa: ARG005
    ad.primitive_jvps[primitive] = _refuse
    batching.primitive_batchers[primitive] = lambda values, axes, *, message: (
        primitive.bind(*values, message=message),
        axes[0],
    )
    return primitive
