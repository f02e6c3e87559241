"""The classes that users meet: those that a package lists, and those that its functions return."""

import importlib
import inspect
import typing
from typing import Any


def listed_classes(room: str) -> dict[str, type]:
    """Classes of rdsim that can be taken from a package, by their name there."""
    return {
        name: cls
        for name, cls in vars(importlib.import_module(f"rdsim.{room}")).items()
        if _is_own(cls) and name[0] != "_"
    }


def returned_classes(room: str) -> dict[str, type]:
    """Classes of a package that its functions return, by their name."""
    module = importlib.import_module(f"rdsim.{room}")
    functions = [value for value in vars(module).values() if inspect.isfunction(value)]
    found = [cls for each in functions for cls in _named(inspect.signature(each).return_annotation)]
    return {cls.__name__: cls for cls in found if cls.__module__.startswith(f"rdsim.{room}.")}


def _named(annotation: Any) -> list[type]:
    """Classes of rdsim in a type, such as list[Curve] or Curve | None."""
    parts = [cls for part in typing.get_args(annotation) for cls in _named(part)]
    return [annotation, *parts] if _is_own(annotation) else parts


def _is_own(value: Any) -> bool:
    return inspect.isclass(value) and value.__module__.startswith("rdsim.")
