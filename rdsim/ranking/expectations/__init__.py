"""Expectations over the number of competitors that win, which the losses of the rank are made of."""

from rdsim.ranking.expectations.binomial_sums import miss_loss
from rdsim.ranking.expectations.discounted_gain import mean_gain
from rdsim.ranking.expectations.ties import reciprocal_rank_loss

__all__ = ["mean_gain", "miss_loss", "reciprocal_rank_loss"]
