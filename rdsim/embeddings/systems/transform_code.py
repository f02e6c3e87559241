r"""The water-filled transform code: bits go to canonical coordinates by what they bring, then scalar cells.

Of a Gaussian pair the canonical variables $u_i$ of a query and $v_i$ of an item are independent pairs of
correlation $\rho_i$. With $b_i$ bits, v_i is stored as the mean $\hat v_i$ of its cell, of variance $1 - D_i$; the
correlation of u_i with what is stored is $c_i = \rho_i \sqrt{1 - D_i}$, and

$$I(u; \hat v) \approx \sum_i -\tfrac12 \log_2(1 - c_i^2), \quad
    s(u, \hat v) = \sum_i \frac{c_i u_i z_i - c_i^2 z_i^2 / 2}{1 - c_i^2}, \quad z_i = \hat v_i / \sqrt{1 - D_i},$$

the second being the log-likelihood ratio of the stored item given the query. Bits are allocated greedily, several at
a time where these bring more a bit, with the D of Lloyd's and Max's quantizer of a Gaussian.

References:
    Huang and Schultheiss (1963), IEEE Trans. Commun. Syst. 11(3), for the allocation; Max (1960), IRE Trans. Inf.
    Theory 6(1).

"""

import dataclasses
import functools
from typing import Final

import numpy as np
from jaxtyping import Float, Int

from rdsim.codes.quantizers.lloyd_max import lloyd_max_levels
from rdsim.embeddings.canonical import Canonical
from rdsim.embeddings.systems.code import FittedCode, Training

MOST_BITS: Final = 8
"""Most bits of a coordinate."""


@functools.cache
def gaussian_quantizers() -> tuple[tuple[np.ndarray, ...], np.ndarray]:
    """Thresholds of the quantizers of a standard Gaussian of 0 to 8 bits, and their distortions."""
    found = [lloyd_max_levels([1.0], [0.0], [1.0], 2**b) for b in range(MOST_BITS + 1)]
    thresholds = tuple(np.asarray(one.thresholds) for one in found)
    return thresholds, np.array([float(one.distortion) for one in found])


def allocation(correlations: Float[np.ndarray, " k"], bits: int) -> Int[np.ndarray, " k"]:
    """Deal bits to coordinates by the information that each brings; at most 8 a coordinate."""
    _, distortion = gaussian_quantizers()
    c = correlations[:, None] ** 2 * (1 - distortion)
    information = -0.5 * np.log2(1 - c)
    allocated = np.zeros(len(correlations), int)
    left = min(bits, MOST_BITS * len(correlations))
    # Information that the next 1, 2, ... bits of each coordinate add, per bit.
    steps = np.arange(1, MOST_BITS + 1)
    gain = (information[:, 1:] - information[:, :1]) / steps
    while left > 0:
        gain[:, left:] = -np.inf
        coordinate, more = np.unravel_index(int(np.argmax(gain)), gain.shape)
        allocated[coordinate] += more + 1
        left -= int(more) + 1
        # Only what this coordinate gains next has changed.
        here = information[coordinate, allocated[coordinate] :]
        gain[coordinate] = -np.inf
        gain[coordinate, : here.size - 1] = (here[1:] - here[0]) / steps[: here.size - 1]
    return allocated


def transform_code(training: Training, bits: int) -> FittedCode | None:
    """Store so many bits of the canonical coordinates."""
    return _code(training.variables[0], training, bits)


def shared_code(training: Training, bits: int) -> FittedCode | None:
    """Store so many bits of the canonical coordinates on shared axes."""
    return _code(training.variables[1], training, bits) if len(training.variables) > 1 else None


def _code(found: Canonical, training: Training, bits: int) -> FittedCode | None:
    if bits > MOST_BITS * len(found.correlations):
        return None
    allocated = allocation(found.correlations, bits)
    used = np.flatnonzero(allocated)
    tables, _ = gaussian_quantizers()
    thresholds = [tables[b] for b in allocated[used]]
    kept = dataclasses.replace(
        found,
        correlations=found.correlations[used],
        query_map=found.query_map[:, used],
        item_map=found.item_map[:, used],
    )

    def encode(raw: np.ndarray) -> np.ndarray:
        v = kept.of_items(raw)
        cells = [
            np.searchsorted(edges, column) for edges, column in zip(thresholds, v.T, strict=True)
        ]
        return np.stack(cells, axis=1).astype(np.uint8)

    # Each cell stands for the mean of the training items in it; an empty one for its middle.
    v = kept.of_items(training.raw)
    codes = encode(training.raw)
    levels = np.zeros((len(used), 2**MOST_BITS))
    for i, edges in enumerate(thresholds):
        count = np.bincount(codes[:, i], minlength=len(edges) + 1)
        total = np.bincount(codes[:, i], v[:, i], minlength=len(edges) + 1)
        padded = np.concatenate([[edges[0] - 0.5], edges, [edges[-1] + 0.5]])
        levels[i, : len(count)] = np.where(
            count > 0, total / np.maximum(count, 1), (padded[1:] + padded[:-1]) / 2
        )
    columns = np.arange(len(used))
    stored = levels[columns, codes]
    spread = np.maximum(stored.std(axis=0), 1e-6)
    # Cells cannot know more of the variable than all of its variance.
    c = kept.correlations * np.minimum(spread, 1.0)
    scale = c / (1 - c**2)

    def decode(codes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        z = levels[columns, codes] / spread
        return z.astype(np.float32), -0.5 * (z**2) @ (c * scale)

    return FittedCode(
        bits=bits,
        encode=encode,
        decode=decode,
        readings={"": lambda raw: (kept.of_queries(raw) * scale).astype(np.float32)},
    )
