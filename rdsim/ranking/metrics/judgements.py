"""Checks of what metrics are given: scores, which items are positive, which were retrieved."""

from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Int

from rdsim import validation
from rdsim.number_types import ArrayLike


class Judged(NamedTuple):
    """Checked scores of queries."""

    scores: Array  # shape (..., M)
    positives: Array  # mask of shape (..., M), or positions of shape (..., P) padded with -1
    retrieved: Array | None  # mask of shape (..., M), or None if all items were


def judged(
    scores: ArrayLike,
    positives: ArrayLike,
    retrieved: ArrayLike | None = None,
    *,
    need_positives: bool = True,
) -> Judged:
    """Check scores, positives and what was retrieved, of the same queries.

    A query without positives is refused where they are needed; `expected` says what else is.
    """
    given = None if retrieved is None else _mask("retrieved", retrieved)
    s = checked_scores(scores, given)
    p = _positives(positives, s.shape)
    if need_positives and not validation.is_traced(p) and (empty := ~has_positives(p)).any():
        raise ValueError(
            "positives must name at least one item of each query, got none in query "
            f"{np.argwhere(empty)[0].tolist()} ({int(empty.sum())} such queries); "
            "retrieval_metrics can leave such queries out or score them 0 (without_positives)"
        )
    return Judged(s, jnp.asarray(p), None if given is None else jnp.asarray(given))


def checked_scores(scores: Any, retrieved: Any = None) -> Array:
    """Check scores, those of retrieved items only; the others become zeros."""
    if retrieved is not None:
        scores = validation.numbers("scores", scores)
        if retrieved.shape != scores.shape:
            raise ValueError(
                f"retrieved must have the shape {scores.shape} of scores, got {retrieved.shape}"
            )
        where = jnp.where if validation.is_traced(scores, retrieved) else np.where
        scores = where(retrieved, scores, np.zeros((), scores.dtype))
    s = validation.real_array("scores", scores)
    if s.ndim == 0 or s.shape[-1] < 2:
        raise ValueError(f"scores must have shape (..., M) with M >= 2, got shape {s.shape}")
    return s


def has_positives(positives: Any) -> Any:
    """Whether each query has a positive, given a mask or positions."""
    return (positives if positives.dtype == bool else positives >= 0).any(axis=-1)


def as_mask(positives: Array, M: int) -> Bool[Array, " M"]:
    """Mask of the positives of one query; the padding of positions falls past the end."""
    if positives.dtype == bool:
        return positives
    return jnp.zeros(M + 1, bool).at[jnp.where(positives < 0, M, positives)].set(True)[:M]


def _mask(name: str, value: Any) -> Any:
    mask = value if validation.is_traced(value) else validation.host_array(name, value)
    if mask.dtype != bool:
        raise TypeError(f"{name} must be a boolean mask, got an array of dtype {mask.dtype}")
    return mask


def _positives(positives: Any, shape: tuple[int, ...]) -> Any:
    p = validation.integer_array(
        "positives",
        positives,
        mask=True,
        wanted="booleans (a mask of the items, for example grades > 0) or integers (positions)",
    )
    M, is_mask = shape[-1], p.dtype == bool
    if p.shape[:-1] != shape[:-1] or p.ndim == 0 or (is_mask and p.shape != shape):
        wanted = f"{shape} (a mask)" if is_mask else f"{(*shape[:-1], 'P')} (positions)"
        raise ValueError(f"positives must have shape {wanted}, got shape {p.shape}")
    if is_mask:
        return p
    if p.shape[-1] == M:
        raise ValueError(
            f"positives holds integers for each of the {M} items: grades (or zeros and ones) and "
            f"positions cannot be told apart. Write a mask with booleans, positives > 0, and "
            f"positions in fewer columns than there are items, got shape {p.shape}"
        )
    validation.interval("positives", p, low=-1.0, high=M - 1.0)
    if not validation.is_traced(p):
        _require_distinct(p)
    return p


def _require_distinct(p: Int[np.ndarray, "..."]) -> None:
    ordered = np.sort(p, axis=-1)
    twice = (ordered[..., 1:] == ordered[..., :-1]) & (ordered[..., 1:] >= 0)
    if twice.any():
        query = np.argwhere(twice)[0]
        raise ValueError(
            "positives must list each position once, got position "
            f"{ordered[..., 1:][tuple(query)]} twice in query {query[:-1].tolist()}"
        )
