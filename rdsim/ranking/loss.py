r"""The rank losses: what it costs to return the target at rank r, and how a caller names one.

| name | loss rho(r) |
|---|---|
| "error" | 1 if r > 1 |
| "reciprocal_rank" | 1 - 1/r |
| ("miss", K) | 1 if r > K |
| "dcg" | 1 - 1/log2(1 + r) |
"""

import math
from typing import Any, NamedTuple

import numpy as np

from rdsim.namespaces import namespace_of

Loss = str | tuple[str, int]
"""A rank loss as a caller names it: "error", "reciprocal_rank", "dcg" or ("miss", K), K >= 1."""


class RankLoss(NamedTuple):
    """A parsed loss: its kind and, for the two-valued ones, the last rank without loss."""

    kind: str
    cutoff: int

    @property
    def is_two_valued(self) -> bool:
        """Whether the loss is 0 up to the cutoff and 1 beyond."""
        return self.kind == "miss"

    @property
    def name(self) -> str:
        """Name among the outcomes of a simulation: "error", "reciprocal_rank", "dcg" or "miss_K"."""
        if self.kind != "miss":
            return self.kind
        return "error" if self.cutoff == 1 else f"miss_{self.cutoff}"

    def of_log_rank(self, log_rank: Any) -> Any:
        """Loss at rank exp(log_rank); the rank may exceed the largest float."""
        xp = namespace_of(log_rank)
        if self.kind == "reciprocal_rank":
            return -xp.expm1(-log_rank)
        if self.kind == "dcg":
            return 1.0 - math.log(2.0) / (log_rank + xp.log1p(xp.exp(-log_rank)))
        return (log_rank > math.log(self.cutoff) * (1 + 1e-14)).astype(float)


def parse_loss(loss: Any) -> RankLoss:
    """Read a loss as a caller names it; "error" is ("miss", 1)."""
    if isinstance(loss, RankLoss):
        return loss
    if isinstance(loss, str):
        if loss == "error":
            return RankLoss("miss", 1)
        if loss in ("reciprocal_rank", "dcg"):
            return RankLoss(loss, 1)
    if isinstance(loss, tuple | list) and len(loss) == 2 and loss[0] == "miss":
        cutoff = loss[1]
        if isinstance(cutoff, int | np.integer) and not isinstance(cutoff, bool) and cutoff >= 1:
            return RankLoss("miss", int(cutoff))
    raise ValueError(
        f'loss must be "error", "reciprocal_rank", "dcg" or ("miss", K) with an integer K >= 1, '
        f"got {loss!r}"
    )


def parse_losses(losses: Any) -> tuple[RankLoss, ...]:
    """Read a list of losses, at least one; the order stays."""
    if not isinstance(losses, list | tuple | set | frozenset) or not losses:
        raise ValueError(f"losses must be a list with at least one loss, got {losses!r}")
    try:
        return tuple(map(parse_loss, losses))
    except ValueError as error:
        raise ValueError(f"losses: {error}") from error


def log_database_size(log2_size: Any) -> Any:
    """Ln M; M is the nearest integer up to 2^52, beyond which it is taken as it is."""
    xp = namespace_of(log2_size)
    M = xp.round(xp.exp2(xp.minimum(log2_size, 52.0)))
    return xp.where(log2_size <= 52.0, xp.log(M), log2_size * math.log(2.0))
