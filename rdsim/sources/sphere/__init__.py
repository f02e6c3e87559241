"""Directions as query and item: normalised embeddings, and what an angle between them tells.

`source` holds the distributions, `caps` the probabilities of caps and how two caps depend on each other.
"""

from rdsim.sources.sphere.source import SphericalSource, projected_normal, spherical

__all__ = ["SphericalSource", "projected_normal", "spherical"]
