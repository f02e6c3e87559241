"""The decorator of every result: a frozen dataclass with named fields that JAX maps over."""

import dataclasses
from typing import TypeVar, dataclass_transform

import jax

_Class = TypeVar("_Class")


@dataclass_transform(
    frozen_default=True, kw_only_default=True, field_specifiers=(dataclasses.field,)
)
def result(cls: type[_Class]) -> type[_Class]:
    """Make a class a frozen dataclass with keyword-only fields, and a PyTree of JAX.

    Its fields are arrays, or carry `metadata={"static": True}`. They are not checked when an object
    is made: JAX rebuilds it with other leaves, for example batched arrays, shapes, axes or nothing
    at all.
    """
    cls.__no_type_check__ = True  # type: ignore[attr-defined]
    return jax.tree_util.register_dataclass(dataclasses.dataclass(frozen=True, kw_only=True)(cls))
