"""Which of the K query modalities of an item are meant."""

from collections.abc import Iterable
from typing import Any

import numpy as np

from rdsim import validation


def chosen_modalities(modalities: Any, count: int) -> tuple[int, ...]:
    """The modalities meant, checked: integers in range, none twice, at least one.

    Args:
        modalities: one, several in any order, or None for all.
        count: K, how many there are.

    Returns:
        Their indices, in the order given.

    """
    if modalities is None:
        return tuple(range(count))
    single = isinstance(modalities, int | np.integer)
    if not single and not isinstance(modalities, Iterable):
        raise TypeError(f"modalities must be an integer or integers, got {modalities!r}")
    several = [modalities] if single else list(modalities)
    chosen = tuple(validation.integer("modalities", k, low=0, high=count - 1) for k in several)
    if not chosen or len(set(chosen)) < len(chosen):
        raise ValueError(f"modalities must be distinct and at least one, got {chosen}")
    return chosen
