"""Standard deviations of columns of any unit."""

import numpy as np
from jaxtyping import Float


def deviations(points: Float[np.ndarray, "n d"]) -> Float[np.ndarray, " d"]:
    """Standard deviation of each column, and zero where it is constant but for rounding.

    Columns are scaled first, for the squares of tiny numbers are zero.
    """
    mean = points.mean(axis=0)
    centred = points - mean
    largest = np.abs(centred).max(axis=0)
    # The mean of equal numbers is off by a few units in the last place.
    varies = largest > 4 * np.finfo(float).eps * np.abs(mean)
    scaled = centred / np.where(varies, largest, 1.0)
    return np.asarray(np.where(varies, largest * np.sqrt(np.mean(scaled**2, axis=0)), 0.0))
