"""Gaussian mixtures: items in classes, seen through several noisy query modalities.

`source` holds the class with all its methods. Its numbers come from `densities` (traced) and, on
the host, `_information` (with `_entropy` below it) and `_cells`; `noisy_copies` fuses queries
without loss.
"""

from rdsim.sources.mixture.source import GaussianMixtureSource, gaussian_mixture

__all__ = ["GaussianMixtureSource", "gaussian_mixture"]
