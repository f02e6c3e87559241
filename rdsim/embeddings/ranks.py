r"""Exact ranks of targets among many items, in bounded memory.

The score of an item is an inner product of features and a number of the item's own,
$s(x, y) = \langle f(x), g(y) \rangle + b(y)$. A block of items meets a block of queries in one matrix
product of float32. Rounding errs by at most

$$|\hat s - s| \le \gamma \, |f| \, |g| + u (|b| + |s|), \quad \gamma = \min\{F, 8 \sqrt F\} u + 4u, \quad u = 2^{-24},$$

where $\sqrt F$ in the place of the worst case F fails with a probability below 10^-11 an entry (Higham and Mary
2019, "A new approach to probabilistic rounding error analysis", SIAM J. Sci. Comput. 41(5)). What lies nearer to a
target's score than this error is computed again in float64. Scores that float64 cannot tell apart are
ties; ties are counted, not broken, so that `quality` can average over their order.

Items with one code have one score: scores are computed for distinct codes, each counted as often as it
is stored.
"""

import dataclasses
from collections.abc import Callable
from typing import Final

import numpy as np
from jaxtyping import Float, Int

from rdsim.embeddings.progress import RowProgress, without_rows

Features = Callable[[Int[np.ndarray, " n"]], tuple[np.ndarray, np.ndarray | None]]
"""Takes numbers of distinct codes; returns their features (n, F), and what is added to scores (n,)."""

_QUERIES: Final = 1024
_ITEMS: Final = 1 << 14
"""Queries and items of a block: 64 MiB of scores."""
_FEATURES: Final = 1 << 23
"""Most numbers of a block of item features: 32 MiB of float32."""
_REPAIRED: Final = 1 << 21
"""Most numbers that are recomputed in float64 at a time."""
_U: Final = 2.0**-24
_U64: Final = 2.0**-53


@dataclasses.dataclass(frozen=True, kw_only=True)
class Stored:
    """Stored items: distinct codes, and which of them each item has.

    Attributes:
        features: of distinct codes.
        label: number of each item's code, shape (M,).
        multiplicity: how many items have each distinct code, shape (U,).

    """

    features: Features
    label: Int[np.ndarray, " m"]
    multiplicity: Int[np.ndarray, " u"]

    @property
    def entropy(self) -> float:
        """Entropy of the codes' frequencies, bits: what naming the code of a random item takes."""
        frequency = self.multiplicity / self.multiplicity.sum()
        return float(-(frequency * np.log2(frequency)).sum()) + 0.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class TargetRanks:
    """How many items rank before each target and how many tie with it, for each pair of query and target.

    Attributes:
        ahead: items that score above the target, shape (T,).
        tied: items that score as the target does, itself included, shape (T,).
        repaired: scores that were computed again in float64, in all.

    """

    ahead: Int[np.ndarray, " t"]
    tied: Int[np.ndarray, " t"]
    repaired: int


def streamed_ranks(
    queries: Float[np.ndarray, "q f"],
    stored: Stored,
    query: Int[np.ndarray, " t"],
    item: Int[np.ndarray, " t"],
    *,
    progress: RowProgress = without_rows,
) -> TargetRanks:
    """Rank the targets of queries among all stored items.

    Args:
        queries: features of the queries.
        stored: the items.
        query: row of the query of each pair, rising.
        item: row of the target.
        progress: called with the numbers of rows that are done and of all.

    Returns:
        The ranks; they do not depend on the sizes of blocks.

    """
    exact = _Exact(queries, stored.features)
    code = stored.label[item]
    own = exact.scores(query, code)
    ahead, tied = np.zeros(len(query), np.int64), np.zeros(len(query), np.int64)
    small = queries.astype(np.float32)
    length = np.sqrt(np.einsum("ij,ij->i", queries, queries, dtype=float))
    starts = np.searchsorted(query, np.arange(0, len(queries) + _QUERIES, _QUERIES))
    width = queries.shape[1]
    step = max(64, min(_ITEMS, _FEATURES // width))
    total, repaired = len(stored.multiplicity), 0
    for first in range(0, total, step):
        codes = np.arange(first, min(first + step, total))
        block = _Block.of(*stored.features(codes), stored.multiplicity[codes])
        for number, start in enumerate(starts[:-1]):
            pairs = np.arange(start, starts[number + 1])
            if not pairs.size:
                continue
            base = number * _QUERIES
            scores = small[base : base + _QUERIES] @ block.small.T
            if block.bias is not None:
                scores += block.bias.astype(np.float32)
            # A query has one pair or several: one of each query at a time.
            slot = pairs - np.searchsorted(query, query[pairs])
            for place in range(int(slot.max()) + 1):
                here = pairs[slot == place]
                rows = query[here] - base
                part = scores if len(rows) == len(scores) else scores[rows]
                error = block.error(length[query[here]], own[here])
                above = part > (own[here] + error).astype(np.float32)[:, None]
                near = (part >= (own[here] - error).astype(np.float32)[:, None]) ^ above
                ahead[here] += block.count(above)
                which, column = np.nonzero(near)
                repaired += len(which)
                pair = here[which]
                # A code ties with itself, however its features were rounded this time.
                same = codes[column] == code[pair]
                above_own, beside = exact.settle(query[pair], own[pair], block, column)
                times = block.multiplicity[column]
                np.add.at(ahead, pair, np.where(above_own & ~same, times, 0))
                np.add.at(tied, pair, np.where(beside | same, times, 0))
        progress(int(codes[-1]) + 1, total)
    return TargetRanks(ahead=ahead, tied=tied, repaired=repaired)


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Block:
    """Features of some distinct codes, in both precisions, and what bounds their rounding."""

    features: np.ndarray
    bias: np.ndarray | None
    small: np.ndarray
    multiplicity: np.ndarray
    longest: float
    largest_bias: float

    @classmethod
    def of(cls, features: np.ndarray, bias: np.ndarray | None, times: np.ndarray) -> "_Block":
        return cls(
            features=features,
            bias=bias,
            small=features.astype(np.float32, copy=False),
            multiplicity=times,
            longest=float(
                np.sqrt(np.einsum("ij,ij->i", features, features, dtype=float).max(initial=0.0))
            ),
            largest_bias=0.0 if bias is None else float(np.abs(bias).max()),
        )

    def error(self, length: np.ndarray, own: np.ndarray) -> np.ndarray:
        """Most by which a score may be off, and the rounding of the threshold to float32."""
        width = self.small.shape[1]
        gamma = (min(width, 8 * np.sqrt(width)) + 4) * _U
        product = length * self.longest
        return np.asarray(gamma * product + 4 * _U * (self.largest_bias + np.abs(own) + product))

    def count(self, above: np.ndarray) -> np.ndarray:
        """Count the items whose codes are marked."""
        if (self.multiplicity == 1).all():
            return np.count_nonzero(above, axis=1)
        # Sums of integers below 2^53 are exact.
        return (above.astype(float) @ self.multiplicity.astype(float)).astype(np.int64)


@dataclasses.dataclass(frozen=True)
class _Exact:
    """Scores in float64, of one pair of query and code at a time."""

    queries: np.ndarray
    features: Features

    def scores(self, query: np.ndarray, code: np.ndarray) -> np.ndarray:
        """Score pairs of queries and distinct codes."""
        found = np.empty(len(query))
        step = max(1, _REPAIRED // self.queries.shape[1])
        for start in range(0, len(query), step):
            part = slice(start, start + step)
            features, bias = self.features(code[part])
            found[part] = self._products(query[part], features, bias)
        return found

    def settle(
        self, query: np.ndarray, own: np.ndarray, block: _Block, column: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Say which near scores are above a target's own, and which are equal to it."""
        above, equal = np.zeros(len(query), bool), np.zeros(len(query), bool)
        step = max(1, _REPAIRED // self.queries.shape[1])
        for start in range(0, len(query), step):
            part = slice(start, start + step)
            q, c = query[part], column[part]
            bias = None if block.bias is None else block.bias[c]
            distance = self._products(q, block.features[c], bias) - own[part]
            rows = self.queries[q]
            length = np.sqrt(np.einsum("ij,ij->i", rows, rows, dtype=float))
            # Twice the largest rounding error of a sum of this many terms: closer scores count as tied.
            resolution = (
                (2 * rows.shape[1] + 8) * _U64 * (length * block.longest + block.largest_bias)
            )
            above[part], equal[part] = distance > resolution, np.abs(distance) <= resolution
        return above, equal

    def _products(
        self, query: np.ndarray, features: np.ndarray, bias: np.ndarray | None
    ) -> np.ndarray:
        found = np.einsum("ij,ij->i", self.queries[query].astype(float), features.astype(float))
        return np.asarray(found if bias is None else found + bias)
