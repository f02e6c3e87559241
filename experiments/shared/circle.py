"""The source of several studies: Gaussian classes of items in the plane, their means on a circle."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rdsim.sources import GaussianMixtureSource, gaussian_mixture


@dataclass(frozen=True)
class Circle:
    """The part of a study's configuration that describes the items."""

    weights: tuple[float, ...] = (0.3, 0.25, 0.2, 0.12, 0.08, 0.05)
    """Probabilities of the classes, whose means lie on a circle."""
    radius: float = 2.0
    """Radius of that circle."""
    variance: float = 0.25
    """Variance of each coordinate of an item within its class."""


def mixture_on_circle(circle: Circle, noise: Sequence[float]) -> GaussianMixtureSource:
    """Make the source with these noise variances of the query modalities."""
    angle = 2 * np.pi * np.arange(len(circle.weights)) / len(circle.weights)
    means = circle.radius * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    return gaussian_mixture(circle.weights, means, circle.variance, query_noise=noise)
