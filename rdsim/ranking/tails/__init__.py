"""Tails of sums of independent letter scores: certified on any support, and approximate by the saddlepoint."""

from rdsim.ranking.tails.planted import with_planted_items
from rdsim.ranking.tails.saddlepoint import SaddlepointTail, saddlepoint_tail
from rdsim.ranking.tails.score_tails import ScoreTail, score_tail

__all__ = ["SaddlepointTail", "ScoreTail", "saddlepoint_tail", "score_tail", "with_planted_items"]
