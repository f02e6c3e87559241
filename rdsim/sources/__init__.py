"""Joint laws P(X,Y) of a query letter X and a database letter Y.

A source knows its joint table and its marginals, and draws samples from an explicit key. Every
other room takes its probabilities from here.
"""

from rdsim.sources.discrete import DiscreteSource, discrete, dsbs

__all__ = ["DiscreteSource", "discrete", "dsbs"]
