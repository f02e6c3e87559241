"""Time sharing of retrieval schemes: the lower convex hull of what they achieve (C12)."""

from typing import NamedTuple

import numpy as np


class Points(NamedTuple):
    """Schemes: their losses and bits an item, shape (V,), and their channels, (V, ...)."""

    loss: np.ndarray
    bits: np.ndarray
    channels: np.ndarray


def lower_hull(points: Points, zero_rate: float) -> Points:
    """Lower convex hull of the points and (D_max, 0): from the least loss on, cheapest first."""
    useful = (points.loss < zero_rate) & (points.bits > 0)
    blank = np.zeros_like(points.channels[:1])
    if blank.ndim == 3:
        blank[..., 0] = 1.0  # the constant description
    loss = np.append(points.loss[useful], zero_rate)
    bits = np.append(points.bits[useful], 0.0)
    channels = np.concatenate([points.channels[useful], blank])
    kept: list[int] = []
    for i in np.lexsort((bits, loss)):
        if kept and bits[i] >= bits[kept[-1]]:
            continue
        while len(kept) > 1:
            a, b = kept[-2:]
            turn = (loss[b] - loss[a]) * (bits[i] - bits[a])
            if turn > (loss[i] - loss[a]) * (bits[b] - bits[a]):
                break
            kept.pop()
        kept.append(int(i))
    return Points(loss[kept], bits[kept], channels[kept])
