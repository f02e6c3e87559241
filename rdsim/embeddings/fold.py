"""One split of the pairs: a space is chosen, codes are fitted to one part and rank the other."""

import dataclasses
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

import numpy as np

from rdsim.embeddings.canonical import CANONICAL, SHARED, Canonical, variables
from rdsim.embeddings.data.splits import Split, kept_back
from rdsim.embeddings.data.task import RetrievalTask
from rdsim.embeddings.diagnostics import of_directions
from rdsim.embeddings.progress import Progress, of_stage
from rdsim.embeddings.ranks import Stored, TargetRanks, streamed_ranks
from rdsim.embeddings.rescoring import candidates, rescored
from rdsim.embeddings.spaces import (
    Space,
    plain_spaces,
    simplest,
    stored_vectors,
    uncompressed_gains,
)
from rdsim.embeddings.systems.catalogue import LEARNED, System
from rdsim.embeddings.systems.code import FittedCode, Training, encoded
from rdsim.embeddings.systems.given import OwnCode, own_ranks
from rdsim.embeddings.systems.learned import learned_codes
from rdsim.files import Checkpoint
from rdsim.sources.host_random import split_key
from rdsim.validation import host_generator

MOST_FITTED: Final = 65_536
"""Most items that codes are fitted to."""
SIMPLEST_FIRST: Final = ("as given", "centred", SHARED, CANONICAL)
"""Spaces by what is fitted to pairs: nothing, two means, one set of axes, two."""
_VALIDATION: Final = 0.2
_VALIDATED_GROUPS: Final = 2000
"""Fraction of the groups to fit to, and most of them, on which spaces and ridges are chosen."""


@dataclasses.dataclass(frozen=True)
class Plan:
    """What is measured in every fold."""

    bits: tuple[int, ...]
    similarity: Any
    space: str
    systems: tuple[System, ...]
    learned: tuple[int, ...]
    own: OwnCode | None
    rescore: int
    checkpoint: Checkpoint
    progress: Progress


@dataclasses.dataclass(frozen=True, kw_only=True)
class Line:
    """One system at one number of bits, on the ranked part of one split."""

    name: str
    kind: str
    space: str
    numbers: Mapping[str, Any]
    """Arrays ahead and tied (T,), and bits, code_bits, train, encode and search."""


@dataclasses.dataclass(frozen=True)
class Part:
    """What one fold gives."""

    lines: list[Line]
    ranked: RetrievalTask
    split: Split
    canonical: Canonical
    held_out: np.ndarray
    chosen: str
    directions: Mapping[str, tuple[float, float]]
    """By space: effective dimension of the items' directions, and spread of their lengths where these count."""


@dataclasses.dataclass(frozen=True)
class Fold:
    """The work of one split.

    Attributes:
        plan: what is measured.
        prefix: of the names of its parts.
        key: of all that is drawn.
        split: pairs to fit to, and those to rank.
        ranked: the queries of these that are ranked, among all of their items.

    """

    plan: Plan
    prefix: str
    key: Any
    split: Split
    ranked: RetrievalTask

    def run(self) -> Part:
        """Choose a space, then fit and rank every system."""
        validate_key, draw_key, learn_key = split_key(self.key, 3)
        fit = self.split.fit
        groups = len(np.unique(fit.query_group))
        share = min(_VALIDATION, _VALIDATED_GROUPS / groups)
        rest, validated = kept_back(validate_key, fit, share)
        found = self._variables(rest, validated)
        plain = plain_spaces(rest, self.plan.similarity)
        spaces = [*plain, *(one.space() for one in found)]
        best = self._chosen(spaces, validated)
        lines = [self._uncompressed(space) for space in spaces]
        generator = host_generator(draw_key)
        size = len(fit.items)
        rows = np.sort(generator.choice(size, min(size, MOST_FITTED), replace=False))
        training: list[Training] = []

        def trained_on() -> Training:
            # Read when the first code is fitted: a run that continues may need none.
            if not training:
                raw = fit.items.rows(rows)
                training.append(
                    Training(
                        seed=int(seed),
                        space=best,
                        plain=plain[0] if plain else None,
                        items=best.items(raw),
                        raw=raw,
                        variables=tuple(found),
                    )
                )
            return training[0]

        seed = generator.integers(2**31)
        dimension = fit.items.shape[1] if best.item_map is None else best.item_map.shape[1]
        for system in self.plan.systems:
            width = fit.items.shape[1] if system.space == "as given" else dimension
            for rate in system.sizes(self.plan.bits, width):
                lines += self._code(system, rate, trained_on)
        if self.plan.learned:
            lines += self._learned(learn_key, rest, validated, trained_on)
        if self.plan.own is not None:
            lines.append(self._own(self.plan.own, best))
        # The models are of the variables that tell more of pairs held back from the fit.
        informative = max(found, key=lambda one: one.information)
        return Part(
            lines,
            self.ranked,
            self.split,
            informative,
            informative.measured(self.ranked),
            best.name,
            {space.name: of_directions(self.ranked.items, space) for space in spaces},
        )

    def _keep(self, name: str, function: Callable[[], Mapping[str, Any]]) -> Mapping[str, Any]:
        plain = "".join(c if c.isalnum() or c == "-" else "-" for c in name)
        return self.plan.checkpoint(self.prefix + plain, function)

    def _variables(self, rest: RetrievalTask, validated: RetrievalTask) -> list[Canonical]:
        def fitted() -> dict[str, Any]:
            return {
                f"{number}-{field}": np.asarray(value)
                for number, one in enumerate(variables(rest, validated, self.plan.similarity))
                for field, value in dataclasses.asdict(one).items()
            }

        self.plan.progress("canonical correlations", 0, 1)
        arrays = self._keep("canonical-variables", fitted)
        self.plan.progress("canonical correlations", 1, 1)
        found = []
        for number in range(1 + max(int(name[0]) for name in arrays)):
            fields: dict[str, Any] = {n[2:]: a for n, a in arrays.items() if n[0] == str(number)}
            fields |= {"ridge": float(fields["ridge"]), "name": str(fields["name"])}
            fields["unit_first"] = bool(fields["unit_first"])
            found.append(Canonical(**fields))
        return found

    def _chosen(self, spaces: list[Space], validated: RetrievalTask) -> Space:
        if self.plan.space != "auto":
            return next(space for space in spaces if space.name == self.plan.space)

        def compared() -> dict[str, Any]:
            gains = []
            for number, one in enumerate(spaces):
                self.plan.progress("choosing a space", number, len(spaces))
                gains.append(uncompressed_gains(one, validated))
            return {"gains": np.stack(gains)}

        gains = self._keep("spaces", compared)["gains"]
        of_query = validated.query_group[validated.targets.query[: gains.shape[1]]]
        order = sorted(range(len(spaces)), key=lambda i: SIMPLEST_FIRST.index(spaces[i].name))
        return spaces[simplest(gains, of_query, order)]

    def _ranks(self, stage: str, features: np.ndarray, stored: Stored) -> dict[str, Any]:
        began = time.perf_counter()
        ranks = self._target_ranks(stage, features, stored)
        return {
            "ahead": ranks.ahead,
            "tied": ranks.tied,
            "code_bits": stored.entropy,
            "search": time.perf_counter() - began,
        }

    def _target_ranks(self, stage: str, features: np.ndarray, stored: Stored) -> TargetRanks:
        return streamed_ranks(
            features,
            stored,
            self.ranked.targets.query,
            self.ranked.targets.item,
            progress=of_stage(self.plan.progress, stage),
        )

    def _rescored(
        self, stage: str, space: Space, features: np.ndarray, stored: Stored, found: Any
    ) -> dict[str, Any]:
        """Rank the first candidates of a code again by the vectors uncompressed, in the space in which codes work."""
        began = time.perf_counter()
        looking = of_stage(self.plan.progress, f"{stage}: candidates")
        chosen_items = candidates(features, stored, self.plan.rescore, looking)
        ranks = rescored(
            as_ranks(found),
            chosen_items,
            space.queries(self.ranked.queries.rows(slice(None))),
            stored_vectors(space, self.ranked.items, self.ranked.first_copy),
            self.ranked.targets.query,
            self.ranked.targets.item,
            of_stage(self.plan.progress, f"{stage}: ranking again"),
        )
        seconds = float(found["search"]) + time.perf_counter() - began
        return {"ahead": ranks.ahead, "tied": ranks.tied, "search": seconds}

    def _uncompressed(self, space: Space) -> Line:
        """Rank by the vectors themselves, in a space."""
        items = self.ranked.items

        def ranked() -> dict[str, Any]:
            stored = stored_vectors(space, items, self.ranked.first_copy)
            queries = space.queries(self.ranked.queries.rows(slice(None)))
            width = items.shape[1] if space.item_map is None else space.item_map.shape[1]
            bits = 8 * np.dtype(items.dtype).itemsize * width
            return self._ranks(space.name, queries, stored) | {
                "bits": bits,
                "train": 0.0,
                "encode": 0.0,
            }

        found = self._keep(f"space {space.name}", ranked)
        return Line(name=space.name, kind="space", space=space.name, numbers=found)

    def _code(self, system: System, rate: int, training: Callable[[], Training]) -> list[Line]:
        """Fit a system at a rate and rank by it, once for each reading of its queries."""
        stage = f"{system.name} {rate}"

        def ranked() -> dict[str, Any]:
            self.plan.progress(f"{stage}: fitting", 0, 1)
            given, began = training(), time.perf_counter()
            code = system.make(given, rate)
            if code is None:
                return {"readings": np.array([], str)}
            return self._read(stage, code, time.perf_counter() - began, given)

        return self._lines(self._keep(stage, ranked), system.name, "code", system.space)

    def _read(
        self, stage: str, code: FittedCode, seconds: float, given: Training
    ) -> dict[str, Any]:
        stored, encoding = encoded(
            code, self.ranked.items, of_stage(self.plan.progress, f"{stage}: encoding")
        )
        raw = self.ranked.queries.rows(slice(None))
        found: dict[str, Any] = {"readings": np.array(list(code.readings))}
        for number, read in enumerate(code.readings.values()):
            features = read(raw)
            numbers = self._ranks(stage, features, stored)
            numbers |= {"bits": code.bits, "train": seconds, "encode": encoding}
            found |= {f"{field}-{number}": np.asarray(value) for field, value in numbers.items()}
            if self.plan.rescore:
                again = numbers | self._rescored(stage, given.space, features, stored, numbers)
                found |= {f"{field}-again{number}": np.asarray(v) for field, v in again.items()}
        return found

    def _lines(
        self, found: Mapping[str, Any], name: str, kind: str, space: str | None
    ) -> list[Line]:
        lines = []
        for number, reading in enumerate(np.asarray(found["readings"]).tolist()):
            end = f"-{number}"
            numbers = {f[: -len(end)]: v for f, v in found.items() if f.endswith(end)}
            full = f"{name}, {reading}" if reading else name
            lines.append(Line(name=full, kind=kind, space=space or "chosen", numbers=numbers))
            end = f"-again{number}"
            numbers = {f[: -len(end)]: v for f, v in found.items() if f.endswith(end)}
            if self.plan.rescore:
                full += f", rescored {self.plan.rescore}"
                lines.append(
                    Line(name=full, kind="rescored", space=space or "chosen", numbers=numbers)
                )
        return lines

    def _learned(
        self,
        key: Any,
        rest: RetrievalTask,
        validated: RetrievalTask,
        training: Callable[[], Training],
    ) -> list[Line]:
        def ranked() -> dict[str, Any]:
            self.plan.progress("learned code", 0, 1)
            codes, seconds = learned_codes(key, rest, validated, self.plan.learned)
            found: dict[str, Any] = {"readings": np.array([""] * len(codes))}
            for number, code in enumerate(codes):
                read = self._read(f"learned code {code.bits}", code, seconds, training())
                found |= {
                    f"{field[:-1]}{number}": value
                    for field, value in read.items()
                    if field.endswith(("-0", "-again0"))
                }
            return found

        return self._lines(self._keep("learned codes", ranked), LEARNED, "learned", "as given")

    def _own(self, own: OwnCode, space: Space) -> Line:
        plain = space
        if space.name != "as given" and self.ranked.queries.shape[1] == self.ranked.items.shape[1]:
            plain = plain_spaces(self.split.fit, self.plan.similarity)[0]
        found = self._keep(
            f"own {own.name}", lambda: own_ranks(own, self.ranked, plain, self.plan.progress)
        )
        return Line(name=own.name, kind="yours", space=plain.name, numbers=found)


def as_ranks(numbers: Mapping[str, Any]) -> TargetRanks:
    """Read the ranks of a line."""
    ahead, tied = np.asarray(numbers["ahead"]), np.asarray(numbers["tied"])
    return TargetRanks(ahead=ahead, tied=tied, repaired=0)
