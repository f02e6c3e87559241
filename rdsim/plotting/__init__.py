"""The look of every figure, and figures that several callers share; needs matplotlib."""

from rdsim.plotting import gap, gap_models, style

__all__ = ["gap", "gap_models", "style"]
