"""Families that learn from more than pairs, a graph of neighbours, or from less, two sets without pairs.

Each module is one family; `catalogue` lists them.
"""

from rdsim.learning.families.beyond_pairs.graph import graph_family
from rdsim.learning.families.beyond_pairs.unpaired import UnpairedFamily

__all__ = ["UnpairedFamily", "graph_family"]
