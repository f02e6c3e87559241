"""Tails of sums of independent letter scores: certified on any support, and approximate by the saddlepoint."""

from rdsim.ranking.tails.planted import with_planted_items
from rdsim.ranking.tails.saddlepoint import saddlepoint_tail
from rdsim.ranking.tails.score_tails import score_tail

__all__ = ["saddlepoint_tail", "score_tail", "with_planted_items"]
