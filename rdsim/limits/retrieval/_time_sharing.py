"""Time sharing of retrieval schemes: the lower convex hull of what they achieve (C12)."""

from typing import NamedTuple

import numpy as np


class Schemes(NamedTuple):
    """Schemes: their losses and bits an item, shape (V,), and their channels, (V, ...)."""

    loss: np.ndarray
    bits: np.ndarray
    channels: np.ndarray


def lower_hull(schemes: Schemes, zero_rate: float) -> Schemes:
    """Lower convex hull of the points (loss, bits) and (D_max, 0), by increasing loss (Andrew's scan)."""
    useful = (schemes.loss < zero_rate) & (schemes.bits > 0)
    constant = np.zeros_like(schemes.channels[:1])
    if constant.ndim == 3:
        constant[..., 0] = 1.0  # every item has the first description
    loss = np.append(schemes.loss[useful], zero_rate)
    bits = np.append(schemes.bits[useful], 0.0)
    channels = np.concatenate([schemes.channels[useful], constant])
    kept: list[int] = []
    for i in np.lexsort((bits, loss)):
        if kept and bits[i] >= bits[kept[-1]]:
            continue
        while len(kept) > 1:
            a, b = kept[-2:]
            # The last corner stays if it lies below the chord from the one before it.
            if (loss[b] - loss[a]) * (bits[i] - bits[a]) > (loss[i] - loss[a]) * (
                bits[b] - bits[a]
            ):
                break
            kept.pop()
        kept.append(int(i))
    return Schemes(loss[kept], bits[kept], channels[kept])
