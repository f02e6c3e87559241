"""The type checker of the tests: beartype, on functions that are made once, when a module is imported."""

from collections.abc import Callable
from typing import Any, Final

import beartype

_INSIDE: Final = "<locals>."
"""Part of the qualified name of a function that another function makes."""


def checked(function: Callable[..., Any]) -> Callable[..., Any]:
    """Check arguments and results of a function against their types, unless another function makes it.

    A check of a function inside another one would be written and compiled anew in each call of the outer one: half
    of the time of some tests. What goes in and out of the outer one is checked.
    """
    if _INSIDE in function.__qualname__:
        return function
    return beartype.beartype(function)
