"""Which codes are measured, and at which numbers of bits."""

import dataclasses
import importlib.util
from collections.abc import Sequence
from typing import Final

from rdsim.embeddings.systems import faiss_codes, own
from rdsim.embeddings.systems.code import Maker
from rdsim.embeddings.systems.transform_code import shared_code, transform_code


@dataclasses.dataclass(frozen=True, kw_only=True)
class System:
    """A kind of code.

    Attributes:
        name: in tables and files.
        make: fits it.
        per_coordinate: bits per coordinate of a code that has one size; None for one of any size.
        extra: bits beside those.
        needs_faiss: whether it is a code of faiss.
        most_bits: where it is not fitted beyond, since that takes too long.
        usual: whether it is measured if nothing is asked for; the others take long.
        space: where it works; None for the chosen space.

    """

    name: str
    make: Maker
    per_coordinate: int | None = None
    extra: int = 0
    needs_faiss: bool = False
    most_bits: int = 1 << 20
    usual: bool = True
    space: str | None = None

    def sizes(self, bits: Sequence[int], dimension: int) -> list[int]:
        """Numbers of bits at which to fit it: those asked for, or its only one."""
        if self.per_coordinate is None:
            return [b for b in bits if b <= self.most_bits]
        # Signs are stored in whole bytes where there is something beside them.
        size = self.per_coordinate * dimension
        return [(-(-size // 8) * 8 if self.extra else size) + self.extra]


def _faiss(kind: str, **more: object) -> System:
    return System(
        name=f"{kind} (faiss)",
        make=faiss_codes.maker(kind),
        needs_faiss=True,
        **more,  # type: ignore[arg-type]
    )


SYSTEMS: Final = (
    System(name="transform code", make=transform_code, space="canonical"),
    System(name="transform code, shared", make=shared_code, space="shared canonical"),
    System(name="rotated PQ", make=own.rotated_product_quantizer, most_bits=1024),
    System(name="ITQ", make=own.itq, most_bits=1024),
    System(name="hyperplane hash", make=own.hyperplane_hash, most_bits=1024, usual=False),
    System(name="signs", make=own.signs, per_coordinate=1),
    System(name="truncation", make=own.shorter, space="as given"),
    System(name="float16", make=own.truncation, per_coordinate=16, space="as given"),
    _faiss("PQ", most_bits=1024),
    _faiss("OPQ", most_bits=256, usual=False),
    _faiss("RQ", most_bits=64, usual=False),
    _faiss("LSQ", most_bits=64, usual=False),
    _faiss("RaBitQ", per_coordinate=1, extra=64),
    _faiss("rotated RaBitQ", per_coordinate=1, extra=64),
    _faiss("SQ4", per_coordinate=4),
    _faiss("SQ8", per_coordinate=8),
)
LEARNED: Final = "learned"
"""Name of the code that is trained, where that is asked for."""


def chosen(names: Sequence[str] | None) -> tuple[System, ...]:
    """Choose systems by name, or all by "all"; by default the usual ones that can be had here."""
    if names is None:
        there = importlib.util.find_spec("faiss") is not None
        return tuple(s for s in SYSTEMS if s.usual and (there or not s.needs_faiss))
    if list(names) == ["all"]:
        names = [system.name for system in SYSTEMS]
    by_name = {system.name: system for system in SYSTEMS}
    # PQ is short for PQ (faiss).
    short = {name.partition(" (")[0]: name for name in by_name}
    found = []
    for name in names:
        if name not in by_name and name not in short:
            raise ValueError(f"systems must be among {', '.join(by_name)}, got {name!r}")
        found.append(by_name[short.get(name, name)])
    if any(system.needs_faiss for system in found):
        from rdsim.embeddings.data.formats import import_needed

        import_needed("faiss")
    return tuple(found)


def usual_bits(dimension: int) -> tuple[int, ...]:
    """Powers of two from 8 up to float16, which no code of the same use exceeds."""
    found = [8]
    while 2 * found[-1] <= 16 * dimension:
        found.append(2 * found[-1])
    return tuple(found)
