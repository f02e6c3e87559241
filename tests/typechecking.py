"""The type checks of the tests: beartype, through jaxtyping, on functions that are made when a module is imported."""

import functools
from collections.abc import Callable
from typing import Any, Final

import jaxtyping

_INSIDE: Final = "<locals>."
"""Part of the qualified name of a function that another function makes."""


def leave_out_inner_functions() -> None:
    """Have jaxtyping check arguments and results of every function, unless another function makes it.

    A check of a function inside another one would be written and compiled anew in each call of the outer one: half
    of the time of some tests. What goes in and out of the outer one is checked. The decorator itself has to
    stand aside: even with nothing to check it writes two functions anew, and binds the arguments of every call.
    """
    jaxtyped = jaxtyping.jaxtyped

    @functools.wraps(jaxtyped)
    def checked(*functions: Any, typechecker: Callable[..., Any] | None) -> Any:
        if not functions:
            return functools.partial(checked, typechecker=typechecker)
        (function,) = functions
        if _INSIDE in getattr(function, "__qualname__", ""):
            return function
        return jaxtyped(function, typechecker=typechecker)

    jaxtyping.jaxtyped = checked
