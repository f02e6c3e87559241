"""What holds for every test: float64 by importing rdsim, and examples that can be run again."""

import os
from collections.abc import Iterator

from experiments import _programs  # does not import JAX

# Most of the time of the suite is XLA's compiler. Told not to optimise it takes half as long; that
# reorders sums, and what is true of every order is what is tested. The thorough profile runs the code
# as users do. Two workers share two cores, so that a program is better compiled in one part.
_QUICK_TO_COMPILE = (
    f"--xla_backend_optimization_level=0 {_programs.OLDER_GENERATOR} "
    "--xla_cpu_parallel_codegen_split_count=1"
)
_PROFILE = os.environ.get("RDSIM_HYPOTHESIS", "quick")
if _PROFILE == "quick":
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {_QUICK_TO_COMPILE}".strip()
    os.environ.setdefault("JAX_TRACEBACK_IN_LOCATIONS_LIMIT", "0")

import hypothesis  # noqa: E402
import pytest  # noqa: E402

import rdsim  # noqa: E402, F401  (switches float64 on)

# JAX compiles when a shape is first seen: the first example takes seconds and its replay
# milliseconds, which Hypothesis would call flaky. So deadlines are off. Examples are derandomised:
# a red run can be run again.
_COMMON = {"deadline": None, "derandomize": True, "print_blob": True, "database": None}
hypothesis.settings.register_profile("quick", max_examples=16, **_COMMON)
hypothesis.settings.register_profile("thorough", max_examples=500, **_COMMON)
hypothesis.settings.load_profile(_PROFILE)


@pytest.fixture(autouse=True, scope="module")
def _compiled_programs_are_forgotten() -> Iterator[None]:
    yield
    _programs.forget_if_many()
