"""R(D) of a continuous source that is known by samples alone, bounded from both sides."""

from rdsim.finite_sample.sandwich.continuous import continuous_sandwich

__all__ = ["continuous_sandwich"]
