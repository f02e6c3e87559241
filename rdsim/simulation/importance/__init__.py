"""Importance sampling of rare events: tails of summed scores and errors of tiny probability (C15)."""

from rdsim.simulation.importance.rank_losses import importance_loss
from rdsim.simulation.importance.rare_estimate import RareEstimate
from rdsim.simulation.importance.tails import importance_tail

__all__ = ["RareEstimate", "importance_loss", "importance_tail"]
