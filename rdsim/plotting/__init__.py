"""The look of every figure, and figures that several callers share; needs matplotlib."""

from rdsim.plotting import gap, style

__all__ = ["gap", "style"]
