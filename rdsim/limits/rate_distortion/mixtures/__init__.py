"""Reproduction points that move in continuous space: maximum likelihood of a mixture of Gaussians, with a proof."""

from rdsim.limits.rate_distortion.mixtures.atoms import solve_atoms
from rdsim.limits.rate_distortion.mixtures.gaussian_sum import TooManyCellsError

__all__ = ["TooManyCellsError", "solve_atoms"]
