"""No public method that takes real numbers is forgotten by the walk of the derivatives."""

import inspect
from typing import Final

import test_fuzz as fuzz
from method_cases import EXEMPT_CLASSES, METHODS
from public_classes import listed_classes, returned_classes

INTEGERS_AND_NAMES: Final = {
    "self",
    "axes",
    "key",
    "shape",
    "modalities",
    "modality",
    "cells",
    "digits",
    "loss",
    "run",
    "rngs",
    "label",
    "color",
    "block",
    "k",
}


def real_methods(cls: type, public: set[type]) -> set[str]:
    """Public methods that take more than a key, a shape or nothing; those of bases too that users do not see themselves."""
    found = set()
    own = (base for base in cls.__mro__ if base.__module__.startswith("rdsim."))
    bases = (base for base in own if base is cls or base not in public)
    named = (each for base in bases for each in vars(base).items())
    for name, method in named:
        if not name.startswith("_") and inspect.isfunction(method):
            arguments = set(inspect.signature(method).parameters) - INTEGERS_AND_NAMES
            found |= {name} if arguments else set()
    return found


def test_every_method_with_real_arguments_is_walked_or_exempt() -> None:
    public = {
        f"{room}.{name}": cls
        for room in fuzz.ROOMS
        for name, cls in {**returned_classes(room), **listed_classes(room)}.items()
    }
    seen = set(public.values())
    methods = {name: found for name, cls in public.items() if (found := real_methods(cls, seen))}
    assert sorted(set(methods) - set(METHODS) - set(EXEMPT_CLASSES)) == []
    assert sorted(set(EXEMPT_CLASSES) - set(methods)) == []
    for name, (_, walked) in METHODS.items():
        assert methods[name] == set(walked), name
