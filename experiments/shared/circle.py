"""The source of several studies: Gaussian classes of items in the plane, their means on a circle."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from rdsim.sources.mixture import GaussianMixtureSource, gaussian_mixture


class Circle(Protocol):
    """What a study's configuration says of the items."""

    @property
    def weights(self) -> tuple[float, ...]:
        """Of the classes."""
        ...

    @property
    def radius(self) -> float:
        """Of the circle."""
        ...

    @property
    def variance(self) -> float:
        """Of each coordinate of an item in its class."""
        ...


def mixture_on_circle(circle: Circle, noise: Sequence[float]) -> GaussianMixtureSource:
    """Make the source with these noise variances of the query modalities."""
    angle = 2 * np.pi * np.arange(len(circle.weights)) / len(circle.weights)
    means = circle.radius * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    return gaussian_mixture(circle.weights, means, circle.variance, query_noise=noise)
