"""Gaussian pairs of known correlations, whose models are known too."""

import jax
import numpy as np

KEY = jax.random.key(11)
RHO = 0.95 * np.arange(1, 13) ** -0.3


def planted(count):
    rng = np.random.default_rng(3)
    y = rng.normal(size=(count, len(RHO)))
    return RHO * y + np.sqrt(1 - RHO**2) * rng.normal(size=y.shape), y
