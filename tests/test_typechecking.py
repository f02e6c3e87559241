"""The type checks of the tests see functions that are made once, and cost nothing where one is made in each call."""

import beartype
import jax.numpy as jnp
import jaxtyping
import pytest

from rdsim import transformations


def test_annotations_of_the_library_are_checked():
    with pytest.raises(jaxtyping.TypeCheckError):
        transformations.implicit_root("no function", jnp.ones(2))


def test_functions_inside_others_are_left_as_they_are():
    def inner(x: int) -> int:
        return x

    assert jaxtyping.jaxtyped(typechecker=beartype.beartype)(inner) is inner
    made = transformations.not_differentiable(x="a reason")
    assert not hasattr(made, "__wrapped__")
