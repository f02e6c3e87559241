"""Codes and how close they come: exact averages over ensembles of random codebooks."""

from rdsim.codes.dsbs import dsbs_ensemble, dsbs_rank_law

__all__ = ["dsbs_ensemble", "dsbs_rank_law"]
