"""What holds for every test: float64 by importing rdsim, and examples that can be run again."""

import gc
import os
import signal
from collections.abc import Iterator

# Read by JAX when it is imported; see below.
_PROFILE = os.environ.get("RDSIM_HYPOTHESIS", "quick")
if _PROFILE == "quick":
    os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")
    os.environ.setdefault("JAX_TRACEBACK_IN_LOCATIONS_LIMIT", "0")

# Read by NumPy and faiss when they are imported. Threads of several test processes on few cores spin against one
# another: small factorisations and k-means of faiss then take ten to twenty times as long.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")

import typechecking  # noqa: E402

typechecking.leave_out_inner_functions()

from experiments.runner import programs  # noqa: E402

# Most of the time of the suite is XLA's compiler. JAX's own switch asks it for few optimisations, and the
# flags of the quick preset make it quicker still where jaxlib has them. Sums are then taken in another order, and
# what is true of every order is what is tested. The thorough profile runs the code as users do.
if _PROFILE == "quick":
    programs.compile_quickly("quick")

# What a shell starts in the background ignores SIGINT and hands that on to every process it starts,
# in which no interrupt can then be tested.
signal.signal(signal.SIGINT, signal.default_int_handler)

import hypothesis  # noqa: E402
import jax  # noqa: E402
import jaxtyping  # noqa: E402
import numpy as np  # noqa: E402
import pytest  # noqa: E402

from rdsim import compilation  # noqa: E402  (importing rdsim switches float64 on)

# Programs that an earlier run compiled are read from the cache folder of the user.
compilation.keep_compiled_programs()
programs.share_contexts()

# JAX compiles when a shape is first seen: the first example takes seconds and its replay
# milliseconds, which Hypothesis would call flaky. So deadlines are off. Examples are derandomised:
# a red run can be run again.
_COMMON = {"deadline": None, "derandomize": True, "print_blob": True, "database": None}
hypothesis.settings.register_profile("quick", max_examples=16, **_COMMON)
hypothesis.settings.register_profile("thorough", max_examples=500, **_COMMON)
hypothesis.settings.load_profile(_PROFILE)


_FLAGS = ("JAX", "XLA", "OMP", "OPENBLAS", "MKL", "RDSIM")


@pytest.fixture(autouse=True, scope="module")
def _options_are_left_as_they_were() -> Iterator[None]:
    """A module that leaves an option of the process changed changes the digits of every later one."""
    before = _options()
    yield
    after = _options()
    changed = {
        name: (before.get(name), after.get(name))
        for name in before | after
        if before.get(name) != after.get(name)
    }
    assert not changed, f"options left changed (before, after): {changed}"


def pytest_collection_finish() -> None:
    """What imports have made is left out of later collections of garbage, which take a twentieth of the suite's time."""
    gc.collect()
    gc.freeze()


def _options() -> dict[str, object]:
    of_typing = {
        f"jaxtyping.{name}": getattr(jaxtyping.config, name)
        for name in ("jaxtyping_disable", "jaxtyping_remove_typechecker_stack")
    }
    flags = {name: value for name, value in os.environ.items() if name.startswith(_FLAGS)}
    flags.pop("JAX_ENABLE_X64", None)  # the command sets it for the processes that it starts
    return dict(jax.config.values) | of_typing | flags | np.geterr()


@pytest.fixture(autouse=True, scope="module")
def _compiled_programs_are_forgotten() -> Iterator[None]:
    yield
    programs.forget_if_many()
    compilation.exchange()


@pytest.fixture
def unchecked_annotations() -> Iterator[None]:
    """Call the library as users do, who have no beartype: its own checks refuse what does not fit."""
    before = jaxtyping.config.jaxtyping_disable
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", before)
