"""Junk for the functions that compute long: refused by name, and before the computing begins.

An argument of a call that works is replaced by all that is surely wrong in its place, one at a time.
"""

import inspect
import re
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import fuzz_cases
import jax
import pytest
import test_fuzz as fuzz
from fuzz_expensive_cases import AFFORDABLE, CASES
from hypothesis import given, settings
from hypothesis import strategies as st
from test_fuzz import as_users_call  # noqa: F401  (a fixture)

import rdsim
from rdsim.learning.training import loop as training

LIBRARY: Final = Path(rdsim.__file__).parent

FLAGS: Final = {"progress", "shared", "hardest"}
"""Say whether; anything has a truth."""

EXEMPT: Final = {
    "embeddings.read_own_code": "reads a file",
    "embeddings.read_targets": "reads a file",
    "embeddings.read_vectors": "reads a file",
    "learning.architecture": "says which module is built; the module checks its sizes",
    "codes.squared_error": "a formula that codes are given as their measure, traced and unchecked",
    "learning.whole_data": "returns what it is given",
}


class BegunError(BaseException):
    """The computing was about to begin; nothing catches it by chance."""


def _begun(*_arguments: Any, **_options: Any) -> Any:
    raise BegunError


@pytest.fixture
def fenced(monkeypatch: pytest.MonkeyPatch) -> None:
    """Loops on the device and training are out of bounds."""
    for loop in ("scan", "while_loop", "fori_loop", "map"):
        monkeypatch.setattr(jax.lax, loop, _begun)
    for step in ("run_keys", "first_parameters", "advance", "evaluate"):
        monkeypatch.setattr(training, step, _begun)


def outcome(function: Callable[..., Any], call: dict[str, Any]) -> str:
    """Nothing if the library refuses the call and names an argument; else what happened."""
    names = {*inspect.signature(function).parameters, *call} - {"options"}
    for value in call.values():
        names |= set(getattr(value, "__dataclass_fields__", ()))
    try:
        result = function(**call)
    except (ValueError, TypeError) as error:
        place = traceback.extract_tb(error.__traceback__)[-1].filename
        named = any(re.search(rf"\b{name}\b", str(error)) for name in names)
        if named and LIBRARY in Path(place).parents:
            return ""
        return f"by chance: {type(error).__name__} in {place}: {error}"
    except BegunError:
        return "begun"
    except Exception as error:
        return f"fell over: {type(error).__name__}: {error}"
    return f"accepted: {result!r}"


def values_of(name: str) -> dict[str, Any]:
    return {argument: given.value for argument, given in CASES[name].items()}


def function_of(name: str) -> Callable[..., Any]:
    function: Callable[..., Any] = fuzz.function_of(name)
    return function


@pytest.mark.parametrize("name", sorted(CASES))
@pytest.mark.usefixtures("fenced")
def test_the_call_that_is_spoiled_gets_as_far_as_the_computing(name: str) -> None:
    found = outcome(function_of(name), values_of(name))
    assert found == "begun" or found.startswith("accepted"), found or "refused"


@pytest.mark.parametrize("name", sorted(CASES))
@pytest.mark.usefixtures("fenced")
def test_what_is_surely_wrong_is_refused_by_name_before_the_computing(name: str) -> None:
    function = function_of(name)
    parameters = inspect.signature(function).parameters
    call = values_of(name)
    leaks = []
    for argument, tried in CASES[name].items():
        optional = argument not in parameters or parameters[argument].default is None
        for junk in tried.junk:
            if (junk is None and optional) or not (
                found := outcome(function, call | {argument: junk})
            ):
                continue
            leaks.append(f"{argument} = {junk!r:.60}: {found:.200}")
    assert not leaks, "\n".join(leaks)


@pytest.mark.parametrize("name", AFFORDABLE)
@settings(max_examples=25)
@given(data=st.data())
def test_junk_is_refused_by_name_or_the_result_is_valid(name: str, data: st.DataObject) -> None:
    fuzz.check_refused_or_valid(name, values_of(name), data)


def test_every_public_function_is_fuzzed_or_exempt() -> None:
    public = set().union(*map(fuzz.public_functions, fuzz.ROOMS))
    here = {name.split()[0] for name in CASES}
    assert sorted(public - set(fuzz_cases.CASES) - here - set(EXEMPT)) == []
    assert sorted((set(fuzz_cases.CASES) | here | set(EXEMPT)) - public) == []
    assert not set(fuzz_cases.CASES) & here
    assert not (set(fuzz_cases.CASES) | here) & set(EXEMPT)


def test_every_argument_but_flags_is_spoiled() -> None:
    """Of the functions in this file."""
    spoiled: dict[str, set[str]] = {}
    for name, call in CASES.items():
        spoiled.setdefault(name.split()[0], set()).update(call)
    for name, arguments in spoiled.items():
        parameters = set(inspect.signature(function_of(name)).parameters)
        assert parameters - arguments <= FLAGS | {"options"}, name
