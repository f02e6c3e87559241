r"""Measures codes for given embeddings: fits each to one part of the pairs, and ranks the other with it.

Everything is ranked alike: exact ranks of all targets among all items (`ranks`), ties averaged (`quality`), so
that two lines differ by their codes alone. Queries cost no stored bit and are kept as they are, unless a line
says otherwise.
"""

import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import jax
import numpy as np
from jaxtyping import Array, Key

from rdsim import validation
from rdsim.embeddings import converse as limit
from rdsim.embeddings.data.task import RetrievalTask, Split, kept_back, some_queries, split_task
from rdsim.embeddings.diagnostics import diagnose
from rdsim.embeddings.quality import Mean, kept, means, query_metrics
from rdsim.embeddings.ranks import Stored, TargetRanks, streamed_ranks
from rdsim.embeddings.rescoring import candidates, rescored
from rdsim.embeddings.result import EmbeddingReport, Whole
from rdsim.embeddings.spaces import (
    SIMILARITIES,
    Canonical,
    Space,
    plain_spaces,
    stored_vectors,
    uncompressed_quality,
    variables,
)
from rdsim.embeddings.systems.catalogue import LEARNED, System, chosen, usual_bits
from rdsim.embeddings.systems.code import FittedCode, Training, encoded
from rdsim.embeddings.systems.given import OwnCode, own_ranks
from rdsim.embeddings.systems.learned import learned_codes
from rdsim.embeddings.systems.transform_code import allocation
from rdsim.files import Checkpoint, without_checkpoint
from rdsim.transformations import on_host
from rdsim.validation import host_generator

Progress = Callable[[str, int, int], None]
"""Is called with the name of a stage, the units of it that are done, and how many it has."""

SPACES: Final = ("auto", "as given", "centred", "canonical", "principal axes")
"""Where codes may work."""
MOST_FITTED: Final = 65_536
"""Most items that codes are fitted to."""
_VALIDATION: Final = 0.2
_VALIDATED_GROUPS: Final = 2000
"""Fraction of the groups to fit to, and most of them, on which spaces and ridges are chosen."""


def without_progress(stage: str, done: int, total: int) -> None:
    """Show nothing."""


@on_host
@validation.needs_float64
def measure_embeddings(
    key: Key[Array, ""],
    task: RetrievalTask,
    bits: Any = None,
    *,
    similarity: str = "cosine",
    space: str = "auto",
    systems: Sequence[str] | None = None,
    learned: Sequence[int] = (),
    own: OwnCode | None = None,
    rescore: int = 0,
    held_out: float = 0.4,
    folds: int | None = None,
    fit: RetrievalTask | None = None,
    most_queries: int = 10_000,
    confidence: float = 0.95,
    checkpoint: Checkpoint = without_checkpoint,
    progress: Progress = without_progress,
) -> EmbeddingReport:
    """Measure uncompressed spaces, codes of many kinds at equal bits, and one's own, beside the converse.

    Args:
        key: PRNG key of the split and of every fit.
        task: queries, items and targets.
        bits: stored an item, at least 1 each; by default powers of two from 8 to float16. Codes of one
            size (signs, scalar quantizers, float16) are measured at theirs.
        similarity: "cosine", "inner product" or "L2".
        space: in which codes work: "as given", "centred", "canonical", "principal axes", or "auto", the
            one that ranks pairs held back from the fit best.
        systems: names of codes, or "all"; by default the usual ones, those of faiss if it is installed.
        learned: bits at which to train the learned code too; it takes minutes.
        own: a code of one's own, for all items of the task.
        rescore: N; if it is not 0, every code has a further line, of kind "rescored", for which the N
            items that it ranks first are ranked again by the uncompressed vectors.
        held_out: fraction of the groups that are ranked.
        folds: number of parts, each ranked by codes fitted to the others, in the place of `held_out`.
        fit: pairs to fit to; then the whole task is ranked, as published protocols have it.
        most_queries: how many queries to rank, chosen at random; the database keeps all items.
        confidence: of every interval.
        checkpoint: called as checkpoint(name, function) for every part of the work; it returns the
            arrays that function() does, computed now or by an earlier call with the same arguments.
        progress: called as progress(stage, done, total) while the work goes on.

    Returns:
        The report.

    Raises:
        ValueError: if an argument is out of range; it names it.
        ImportError: if a code of faiss is asked for and faiss is missing.

    """
    validation.prng_key("key", key)
    validation.instance("task", task, RetrievalTask)
    widths = task.items.shape[1]
    rates = usual_bits(widths) if bits is None else validation.integers("bits", bits, low=1)
    if list(rates) != sorted(set(rates)):
        raise ValueError(f"bits must rise without repeats, got {list(rates)}")
    for name, value, allowed in (
        ("similarity", similarity, SIMILARITIES),
        ("space", space, SPACES),
    ):
        if not isinstance(value, str) or value not in allowed:
            raise ValueError(f"{name} must be one of {', '.join(allowed)}, got {value!r}")
    if task.queries.shape[1] != widths and space not in ("auto", "canonical"):
        raise ValueError(
            f"space must be auto or canonical where queries have {task.queries.shape[1]} coordinates "
            f"and items {widths}, got {space!r}"
        )
    none = isinstance(learned, Sequence) and len(learned) == 0
    trained = () if none else validation.integers("learned", learned, low=1)
    if systems is not None and (isinstance(systems, str) or not isinstance(systems, Sequence)):
        raise TypeError(f"systems must be a list of names, got {systems!r}")
    found = chosen(systems)
    if own is not None:
        validation.instance("own", own, OwnCode)
    validation.function("checkpoint", checkpoint)
    validation.function("progress", progress)
    again = validation.integer("rescore", rescore, low=0)
    most = validation.integer("most_queries", most_queries, low=2)
    level = float(validation.open_unit("confidence", confidence))
    split_key, query_key, fit_key = jax.random.split(key, 3)
    if fit is None:
        splits = split_task(split_key, task, held_out=held_out, folds=folds)
    else:
        validation.instance("fit", fit, RetrievalTask)
        if (fit.queries.shape[1], fit.items.shape[1]) != (task.queries.shape[1], widths):
            raise ValueError("fit must have the dimensions of task")
        splits = (Split(fit=fit, ranked=task, name="given"),)
    plan = _Plan(rates, similarity, space, found, trained, own, again, checkpoint, progress)
    parts = []
    for number, split in enumerate(splits):
        ranked = some_queries(jax.random.fold_in(query_key, number), split.ranked, most)
        prefix = f"fold-{number}-" if len(splits) > 1 else ""
        parts.append(_Fold(plan, prefix, jax.random.fold_in(fit_key, number), split, ranked).run())
    return _report(plan, task, splits, parts, level, query_key, most)


@dataclasses.dataclass(frozen=True)
class _Plan:
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
class _Part:
    """What one fold gives."""

    lines: list[Line]
    ranked: RetrievalTask
    split: Split
    canonical: Canonical
    held_out: np.ndarray
    chosen: str


@dataclasses.dataclass(frozen=True)
class _Fold:
    plan: _Plan
    prefix: str
    key: Any
    split: Split
    ranked: RetrievalTask

    def run(self) -> _Part:
        """Choose a space, then fit and rank every system."""
        validate_key, draw_key, learn_key = jax.random.split(self.key, 3)
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
        held = found[0].measured(self.ranked)
        return _Part(lines, self.ranked, self.split, found[0], held, best.name)

    def _checkpoint(
        self, name: str, function: Callable[[], Mapping[str, Any]]
    ) -> Mapping[str, Any]:
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
        arrays = self._checkpoint("canonical-variables", fitted)
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
        quality = self._checkpoint(
            "spaces",
            lambda: {"mrr": np.array([uncompressed_quality(space, validated) for space in spaces])},
        )["mrr"]
        return spaces[int(np.argmax(quality))]

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
            progress=lambda done, total: self.plan.progress(stage, done, total),
        )

    def _rescored(
        self, space: Space, features: np.ndarray, stored: Stored, found: Any
    ) -> dict[str, Any]:
        """Rank the first candidates of a code again, in the space of the reference."""
        began = time.perf_counter()
        chosen_items = candidates(features, stored, self.plan.rescore)
        ranks = rescored(
            _as_ranks(found),
            chosen_items,
            space.queries(self.ranked.queries.rows(slice(None))),
            stored_vectors(space, self.ranked.items, self.ranked.first_copy),
            self.ranked.targets.query,
            self.ranked.targets.item,
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

        found = self._checkpoint(f"space {space.name}", ranked)
        return Line(name=space.name, kind="space", space=space.name, numbers=found)

    def _code(self, system: System, rate: int, training: Callable[[], Training]) -> list[Line]:
        """Fit a system at a rate and rank by it, once for each reading of its queries."""
        stage = f"{system.name} {rate}"

        def ranked() -> dict[str, Any]:
            self.plan.progress(stage, 0, 1)
            given, began = training(), time.perf_counter()
            code = system.make(given, rate)
            if code is None:
                return {"readings": np.array([], str)}
            return self._read(stage, code, time.perf_counter() - began, given)

        return self._lines(self._checkpoint(stage, ranked), system.name, "code", system.space)

    def _read(
        self, stage: str, code: FittedCode, seconds: float, given: Training
    ) -> dict[str, Any]:
        stored, encoding = encoded(code, self.ranked.items)
        raw = self.ranked.queries.rows(slice(None))
        found: dict[str, Any] = {"readings": np.array(list(code.readings))}
        for number, read in enumerate(code.readings.values()):
            features = read(raw)
            numbers = self._ranks(stage, features, stored)
            numbers |= {"bits": code.bits, "train": seconds, "encode": encoding}
            found |= {f"{field}-{number}": np.asarray(value) for field, value in numbers.items()}
            if self.plan.rescore:
                again = numbers | self._rescored(
                    given.plain or given.space, features, stored, numbers
                )
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

        return self._lines(
            self._checkpoint("learned codes", ranked), LEARNED, "learned", "as given"
        )

    def _own(self, own: OwnCode, space: Space) -> Line:
        plain = space
        if space.name != "as given" and self.ranked.queries.shape[1] == self.ranked.items.shape[1]:
            plain = plain_spaces(self.split.fit, self.plan.similarity)[0]
        found = self._checkpoint(f"own {own.name}", lambda: own_ranks(own, self.ranked, plain))
        return Line(name=own.name, kind="yours", space=plain.name, numbers=found)


def _report(
    plan: _Plan,
    task: RetrievalTask,
    splits: Sequence[Split],
    parts: list[_Part],
    confidence: float,
    query_key: Any,
    most: int,
) -> EmbeddingReport:
    """Join the folds: every line that all of them have, and their queries one after another."""
    first = parts[0]
    names = [(line.name, int(np.asarray(line.numbers["bits"]))) for line in first.lines]
    by_fold = [
        {(line.name, int(np.asarray(line.numbers["bits"]))): line for line in part.lines}
        for part in parts
    ]
    lines = [name for name in names if all(name in fold for fold in by_fold)]
    # The spaces and sizes of a fold may differ where its vectors have another rank.
    groups = np.concatenate([part.ranked.query_group for part in parts])
    values = np.stack(
        [
            np.concatenate(
                [
                    query_metrics(
                        _as_ranks(fold[name].numbers),
                        part.ranked.targets,
                        len(part.ranked.queries),
                    )
                    for part, fold in zip(parts, by_fold, strict=True)
                ]
            )
            for name in lines
        ]
    )
    kinds = [by_fold[0][name].kind for name in lines]
    spaces = [by_fold[0][name].space.replace("chosen", first.chosen) for name in lines]
    wanted = "as given" if "as given" in spaces else first.chosen
    reference = next(i for i, name in enumerate(lines) if name[0] == wanted)
    quality = [means(value, groups, confidence) for value in values]
    ratio = [kept(value, values[reference], groups, confidence) for value in values]

    def joined(field: str) -> np.ndarray:
        return np.stack(
            [
                np.concatenate([np.asarray(f[name].numbers[field]) for f in by_fold])
                for name in lines
            ]
        )

    def averaged(field: str) -> np.ndarray:
        return np.array(
            [np.mean([float(np.asarray(f[n].numbers[field])) for f in by_fold]) for n in lines]
        )

    rates = np.array(plan.bits)
    bounds = [limit.converse(split.ranked, rates) for split in splits]
    starts = np.cumsum([0, *(len(part.ranked.queries) for part in parts)])
    whole = _whole(plan, task, splits, confidence, query_key, most)
    tied = joined("tied")
    held = [part.held_out for part in parts]
    width = min(map(len, held))
    return EmbeddingReport(
        lines=tuple(name for name, _ in lines),
        kinds=tuple(kinds),
        spaces=tuple(spaces),
        bits=np.array([size for _, size in lines]),
        code_bits=averaged("code_bits"),
        quality=_stacked(quality),
        kept=_stacked(ratio),
        reference=reference,
        train_seconds=averaged("train"),
        encode_seconds=averaged("encode"),
        search_seconds=averaged("search"),
        ahead=joined("ahead"),
        tied=tied,
        query=np.concatenate(
            [p.ranked.targets.query + s for p, s in zip(parts, starts, strict=False)]
        ),
        grade=np.concatenate([part.ranked.targets.grade for part in parts]),
        group=groups,
        converse_bits=rates,
        # Every fold is below its own bound, and all of them below the largest.
        converse=np.max([bound for bound, _ in bounds], axis=0),
        log2_groups=max(size for _, size in bounds),
        groups=np.array([limit.group_sizes(split.ranked) for split in splits], float),
        correlations=np.mean([c[:width] for c in held], axis=0),
        fitted_correlations=first.canonical.correlations[:width],
        allocation=np.stack(
            [allocation(first.canonical.correlations, b)[:width] for b in plan.bits]
        ),
        whole=whole,
        diagnostics=diagnose(task) | {"tied_targets": float((tied[reference] > 1).mean())},
        similarity=plan.similarity,
        chosen_space=first.chosen,
        split=splits[0].name,
        database=min(len(part.ranked.items) for part in parts),
        fitted=len(first.split.fit.targets.query),
        without_target=task.without_target,
        copies=task.copies,
        confidence=confidence,
    )


def _as_ranks(numbers: Mapping[str, Any]) -> TargetRanks:
    ahead, tied = np.asarray(numbers["ahead"]), np.asarray(numbers["tied"])
    return TargetRanks(ahead=ahead, tied=tied, repaired=0)


def _stacked(found: Sequence[Mean]) -> Mean:
    return Mean(
        **{
            end: np.stack([getattr(mean, end) for mean in found])
            for end in ("value", "lower", "upper")
        }
    )


def _whole(
    plan: _Plan,
    task: RetrievalTask,
    splits: Sequence[Split],
    confidence: float,
    key: Any,
    most: int,
) -> Whole | None:
    """Rank by the vectors as given among all items: what published numbers are about."""
    ranked = some_queries(key, task, most)
    spaces = plain_spaces(task, plan.similarity)
    if not spaces:
        return None
    del splits

    def ranks() -> dict[str, Any]:
        stored = stored_vectors(spaces[0], ranked.items, ranked.first_copy)
        found = streamed_ranks(
            spaces[0].queries(ranked.queries.rows(slice(None))),
            stored,
            ranked.targets.query,
            ranked.targets.item,
            progress=lambda done, total: plan.progress("all items, as given", done, total),
        )
        return {"ahead": found.ahead, "tied": found.tied}

    found = plan.checkpoint("all-items", ranks)
    values = query_metrics(_as_ranks(found), ranked.targets, len(ranked.queries))
    return Whole(
        quality=means(values, ranked.query_group, confidence),
        ahead=np.asarray(found["ahead"]),
        tied=np.asarray(found["tied"]),
        database=len(ranked.items),
        queries=len(ranked.queries),
    )
