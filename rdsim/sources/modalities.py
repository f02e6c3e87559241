"""Which of the K query modalities of an item are meant."""

from collections.abc import Iterable
from typing import Any

from rdsim import validation
from rdsim.number_types import ArrayLike


def chosen_modalities(modalities: ArrayLike | None, count: int) -> tuple[int, ...]:
    """The modalities meant, checked: integers in range, none twice, at least one.

    Args:
        modalities: one, several in any order, or None for all.
        count: K, how many there are.

    Returns:
        Their indices, in the order given.

    """
    if modalities is None:
        return tuple(range(count))
    # An array of one number is iterable by its type.
    if isinstance(modalities, Iterable) and getattr(modalities, "ndim", 1) > 0:
        meant: list[Any] = list(modalities)
    else:
        meant = [modalities]
    chosen = tuple(validation.integer("modalities", k, low=0, high=count - 1) for k in meant)
    if not chosen or len(set(chosen)) < len(chosen):
        raise ValueError(f"modalities must be distinct and at least one, got {chosen}")
    return chosen
