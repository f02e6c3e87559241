"""Every public function against junk: an error that names an argument, or a valid result, no third.

A case is one call that works (`fuzz_cases`). Hypothesis spoils one argument of it at a time. Functions that compute
long are in the other file, with the test that none is forgotten.
"""

import importlib
import inspect
import re
from collections.abc import Iterator
from typing import Any, Final

import hypothesis.strategies as st
import jax
import jaxtyping
import numpy as np
import pytest
from fuzz_cases import CASES
from hypothesis import given, settings

from rdsim.certified import Certified

ROOMS: Final = (
    "sources",
    "ranking",
    "limits",
    "limits.closed_forms",
    "limits.finite_blocklength",
    "codes",
    "simulation",
    "finite_sample",
    "learning",
    "embeddings",
)

NUMBERS: Final = (np.nan, np.inf, -np.inf, -1.0, 0.0, 1e300, -1e300, 1e-300, 1.5, 1j)
WRONG: Final[tuple[Any, ...]] = ("x", None, [], [[[]]], {}, object())


@pytest.fixture(autouse=True, scope="module")
def as_users_call() -> Iterator[None]:
    """Users have no beartype that checks annotations, and so neither has the library here."""
    before = jaxtyping.config.jaxtyping_disable
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", before)


def function_of(name: str) -> Any:
    """The function of a case, in whose name a space may precede what is particular about its arguments."""
    room, _, function = name.split()[0].rpartition(".")
    return getattr(importlib.import_module(f"rdsim.{room}"), function)


@st.composite
def spoiled(draw: st.DrawFn, value: Any) -> Any:
    """The value made wrong, or extreme, or of another kind."""
    if isinstance(value, str):
        return draw(st.sampled_from(("", "x", 3, None, ("miss", 0), ("miss", -1), ("miss", 1.5))))
    array = np.asarray(value) if isinstance(value, list | tuple | np.ndarray) else None
    kind = draw(st.sampled_from(("number", "wrong", "entry", "shape")))
    if kind == "wrong" or (array is None and not isinstance(value, float | int)):
        return draw(st.sampled_from(WRONG))
    number = draw(st.sampled_from(NUMBERS) | st.floats(-2, 2))
    if array is None or kind == "number" or array.size == 0:
        return number
    if kind == "entry":
        changed = array.astype(complex if isinstance(number, complex) else float)
        changed.ravel()[draw(st.integers(0, array.size - 1))] = number
        return changed
    return draw(
        st.sampled_from((array[None], array[:0], array.ravel()[0], 0 * array, array[..., :-1]))
    )


def assert_valid(result: Any) -> None:
    """No NaN anywhere, and bounds in order."""
    for part in jax.tree.leaves(result, is_leaf=lambda leaf: isinstance(leaf, Certified)):
        if isinstance(part, Certified):
            assert np.all(np.asarray(part.lower) <= np.asarray(part.upper))
            assert np.all(np.asarray(part.lower) <= np.asarray(part.value))
            assert np.all(np.asarray(part.value) <= np.asarray(part.upper))
            part = part.value
        if isinstance(part, float | np.ndarray | jax.Array) and np.asarray(part).dtype.kind == "f":
            assert not np.any(np.isnan(np.asarray(part))), part


@pytest.mark.parametrize("name", sorted(CASES))
def test_the_call_that_is_spoiled_works_and_again_compiles_nothing(name: str) -> None:
    """A program made inside a call (a loop over a function made there, say) would be compiled anew in every call."""
    compiled: list[str] = []

    def note(event: str, _: float, fun_name: str = "", **others: Any) -> None:
        del others
        if event.endswith("backend_compile_duration"):
            compiled.append(fun_name)

    assert_valid(function_of(name)(**CASES[name]))
    jax.monitoring.register_event_duration_secs_listener(note)
    try:
        function_of(name)(**CASES[name])
    finally:
        jax.monitoring.unregister_event_duration_listener(note)
    assert compiled == []


@pytest.mark.parametrize("name", sorted(CASES))
@settings(max_examples=16)
@given(data=st.data())
def test_junk_is_refused_by_name_or_the_result_is_valid(name: str, data: st.DataObject) -> None:
    check_refused_or_valid(name, CASES[name], data)


def check_refused_or_valid(name: str, call: dict[str, Any], data: st.DataObject) -> None:
    """Spoil an argument of a call, and look at what comes of it."""
    argument = data.draw(st.sampled_from(sorted(call)))
    junk = data.draw(spoiled(call[argument]))
    message, result = "", None
    try:
        result = function_of(name)(**call | {argument: junk})
    except (ValueError, TypeError, RuntimeError) as error:
        message = f"{type(error).__name__}: {error}"
    if message:
        parameters = inspect.signature(function_of(name)).parameters
        assert any(re.search(rf"\b{other}\b", message) for other in parameters), message
    assert_valid(result)


REFUSED: Final = [
    ("codes.lloyd_max_levels", "variances", np.array([1e308])),  # the distortion was NaN
    ("ranking.score_tail", "values", np.array([[0.0, 1e308]])),  # a sure event had probability zero
    ("ranking.saddlepoint_tail", "values", np.array([[0.0, 1e308]])),
    ("ranking.bayes_temperatures", "query_noise", np.array([5e-324, 1.0])),  # NaN
    ("limits.entropy_difference", "variances", np.array([5e-324, 1.0])),
    ("limits.rank_rate_several_targets", "loss", np.array(["a", "b"])),
    ("limits.rank_rate_several_targets", "loss", (np.array([1, 2]), 3)),
    ("codes.gaussian_test_channel", "bits", np.zeros((2, 0))),
    ("codes.dsbs_ensemble", "n", np.timedelta64(3, "D")),
    ("codes.random_code", "distortions", 1e-320 * (1 - np.eye(2))),
    ("ranking.with_planted_items", "log_a", np.full((2, 0), -9.0)),
]
"""What the draws of junk are unlikely to meet."""


@pytest.mark.parametrize(("name", "argument", "junk"), REFUSED)
def test_rare_junk_is_refused_by_name(name: str, argument: str, junk: Any) -> None:
    with pytest.raises((ValueError, TypeError), match=rf"^{argument}\b"):
        function_of(name)(**CASES[name] | {argument: junk})


def test_time_sharing_of_no_losses_gives_none() -> None:
    found = function_of("limits.time_shared_loss")([0.0, 2.0], np.zeros((2, 0)), rate=[1.0, 2.0])
    assert found.shape == (2, 0)


def public_functions(room: str) -> set[str]:
    """Names of the functions that a room offers: its list, or what its file defines."""
    module = importlib.import_module(f"rdsim.{room}")
    names = getattr(module, "__all__", None) or [
        name
        for name, value in vars(module).items()
        if not name.startswith("_") and getattr(value, "__module__", "") == module.__name__
    ]
    return {
        f"{room}.{name}"
        for name in names
        if callable(getattr(module, name)) and not inspect.isclass(getattr(module, name))
    }
