"""Joins the folds into one report: every line that all of them have, and their queries one after another."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from rdsim.embeddings import converse as limit
from rdsim.embeddings.data.splits import Split, some_queries
from rdsim.embeddings.data.task import RetrievalTask
from rdsim.embeddings.data.vectors import known_rows
from rdsim.embeddings.diagnostics import diagnose
from rdsim.embeddings.fold import MOST_FITTED, Part, Plan, as_ranks
from rdsim.embeddings.progress import of_stage
from rdsim.embeddings.quality import Mean, kept, means, query_metrics
from rdsim.embeddings.ranks import streamed_ranks
from rdsim.embeddings.result import EmbeddingReport, Whole
from rdsim.embeddings.spaces import plain_spaces, stored_vectors
from rdsim.embeddings.systems.transform_code import allocation


def joined_report(
    plan: Plan,
    task: RetrievalTask,
    splits: Sequence[Split],
    parts: list[Part],
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
                        as_ranks(fold[name].numbers),
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
    reference = next(i for i, name in enumerate(lines) if name[0] == first.chosen)
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
    sizes = [limit.group_sizes(split.ranked) for split in splits]
    most_items = max(len(shares) for _, shares in sizes)
    starts = np.cumsum([0, *(len(part.ranked.queries) for part in parts)])
    whole = _whole(plan, task, confidence, query_key, most)
    tied = joined("tied")
    held = [part.held_out for part in parts]
    width = min(map(len, held))
    looking = of_stage(plan.progress, "looking for items that were fitted to")
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
        groups=np.array([k for k, _ in sizes]),
        group_shares=np.stack([np.pad(s, (0, most_items - len(s))) for _, s in sizes]),
        correlations=np.mean([c[:width] for c in held], axis=0),
        fitted_correlations=first.canonical.correlations[:width],
        item_dimension=np.array([first.directions[space][0] for space in spaces]),
        item_length_spread=np.array([first.directions[space][1] for space in spaces]),
        allocation=np.stack(
            [allocation(first.canonical.correlations, b)[:width] for b in plan.bits]
        ),
        whole=whole,
        diagnostics=diagnose(task, plan.similarity)
        | {
            "tied_targets": float((tied[reference] > 1).mean()),
            "fitted_items": max(
                float(known_rows(split.ranked.items, split.fit.items, looking).mean())
                for split in splits
            ),
        },
        similarity=plan.similarity,
        chosen_space=first.chosen,
        coordinate_space=first.canonical.name,
        split=splits[0].name,
        database=min(len(part.ranked.items) for part in parts),
        fitted=len(first.split.fit.targets.query),
        training_items=min(len(first.split.fit.items), MOST_FITTED),
        without_target=task.without_target,
        copies=task.copies,
        confidence=confidence,
    )


def _stacked(found: Sequence[Mean]) -> Mean:
    return Mean(
        **{
            end: np.stack([getattr(mean, end) for mean in found])
            for end in ("value", "lower", "upper")
        }
    )


def _whole(
    plan: Plan,
    task: RetrievalTask,
    confidence: float,
    key: Any,
    most: int,
) -> Whole | None:
    """Rank by the vectors as given among all items: what published numbers are about."""
    ranked = some_queries(key, task, most)
    spaces = plain_spaces(task, plan.similarity)
    if not spaces:
        return None

    def ranks() -> dict[str, Any]:
        stored = stored_vectors(spaces[0], ranked.items, ranked.first_copy)
        found = streamed_ranks(
            spaces[0].queries(ranked.queries.rows(slice(None))),
            stored,
            ranked.targets.query,
            ranked.targets.item,
            progress=of_stage(plan.progress, "all items, as given"),
        )
        return {"ahead": found.ahead, "tied": found.tied}

    found = plan.checkpoint("all-items", ranks)
    values = query_metrics(as_ranks(found), ranked.targets, len(ranked.queries))
    return Whole(
        quality=means(values, ranked.query_group, confidence),
        ahead=np.asarray(found["ahead"]),
        tied=np.asarray(found["tied"]),
        database=len(ranked.items),
        queries=len(ranked.queries),
    )
