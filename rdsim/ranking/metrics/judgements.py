"""Checks of what metrics are given: scores, which items are positive, which were retrieved.

What lies on the host is checked where it lies and never copied as a whole: a table of scores is the
largest thing that a metric holds.
"""

from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Int

from rdsim import number_types, validation
from rdsim.number_types import ArrayLike, Boolean


class Judged(NamedTuple):
    """Checked scores of queries, arrays of the host or traced ones."""

    scores: Any  # shape (..., M)
    positives: Any  # mask of shape (..., M), or positions of shape (..., P) padded with -1
    retrieved: Any  # mask of shape (..., M), or None if all items were


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
    if need_positives:
        require_positives("positives", "name at least one item", p, has_positives(p))
    return Judged(s, p, given)


def judged_grades(
    scores: ArrayLike, grades: ArrayLike, retrieved: ArrayLike | None = None
) -> Judged:
    """Check scores and grades of the same queries, each query with a grade above zero."""
    given = None if retrieved is None else _mask("retrieved", retrieved)
    s = checked_scores(scores, given)
    g = validation.interval("grades", validation.finite("grades", grades), low=0.0)
    if g.shape != s.shape:
        raise ValueError(f"grades must have the shape {s.shape} of scores, got {g.shape}")
    grade: Any = g if validation.is_traced(g) else np.asarray(g)
    some = (grade > 0).any(axis=-1)
    require_positives("grades", "be above zero for at least one item", grade, some)
    return Judged(s, grade, given)


def require_positives(name: str, wanted: str, given: Any, some: Any) -> None:
    """Refuse queries that have nothing to be found, unless that cannot be seen yet."""
    if not validation.is_traced(given) and (empty := ~some).any():
        raise ValueError(
            f"{name} must {wanted} of each query, got none in query "
            f"{np.argwhere(empty)[0].tolist()} ({int(empty.sum())} such queries); "
            "retrieval_metrics can leave such queries out or score them 0 (without_positives)"
        )


def checked_scores(scores: Any, retrieved: Any = None) -> Any:
    """Check scores, of which those of items that were not retrieved may be anything."""
    s = validation.numbers("scores", scores)
    if retrieved is not None and retrieved.shape != s.shape:
        raise ValueError(
            f"retrieved must have the shape {s.shape} of scores, got {retrieved.shape}"
        )
    if validation.is_traced(s, retrieved):
        s = jnp.asarray(s, float)
    else:
        s = np.asarray(s)
        if not number_types.is_integer(s.dtype):
            unknown = np.isnan(s)
            if retrieved is not None:
                unknown &= retrieved
            if unknown.any():
                # The message is that of every array that must not contain NaN.
                validation.real_array("scores", np.where(unknown, np.nan, 0.0))
    if s.ndim == 0 or s.shape[-1] < 2:
        raise ValueError(f"scores must have shape (..., M) with M >= 2, got shape {s.shape}")
    return s


def flag(name: str, value: Boolean) -> bool:
    """Check a choice between yes and no."""
    if not isinstance(value, bool):
        raise TypeError(f"{name} must be a bool, got {value!r}")
    return value


def has_positives(positives: Any) -> Any:
    """Whether each query has a positive, given a mask or positions."""
    return (positives if positives.dtype == bool else positives >= 0).any(axis=-1)


def as_mask(positives: Any, M: int) -> Any:
    """Mask of the positives of queries (Q, M), from a mask or from positions (Q, P)."""
    if positives.dtype == bool:
        return positives
    # The padding of positions falls past the end.
    position = (np.arange(len(positives))[:, None], (positives < 0) * (M + 1) + positives)
    if validation.is_traced(positives):
        return jnp.zeros((len(positives), M + 1), bool).at[position].set(True)[:, :M]
    mask = np.zeros((len(positives), M + 1), bool)
    mask[position] = True
    return mask[:, :M]


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
