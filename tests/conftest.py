"""What holds for every test: float64 by importing rdsim, and examples that can be run again."""

import os

import hypothesis

import rdsim  # noqa: F401  (switches float64 on)

# JAX compiles when a shape is first seen: the first example takes seconds and its replay
# milliseconds, which Hypothesis would call flaky. So deadlines are off. Examples are derandomised:
# a red run can be run again.
_COMMON = {"deadline": None, "derandomize": True, "print_blob": True, "database": None}
hypothesis.settings.register_profile("quick", max_examples=25, **_COMMON)
hypothesis.settings.register_profile("thorough", max_examples=500, **_COMMON)
hypothesis.settings.load_profile(os.environ.get("RDSIM_HYPOTHESIS", "quick"))
