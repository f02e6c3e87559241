r"""Measures codes for given embeddings: fits each to one part of the pairs, and ranks the other with it.

Everything is ranked alike: exact ranks of all targets among all items (`ranks`), ties averaged (`quality`), so
that two lines differ by their codes alone. Queries cost no stored bit and are kept as they are, unless a line
says otherwise.
"""

from collections.abc import Sequence
from typing import Final

from jaxtyping import Array, Key

from rdsim import validation
from rdsim.embeddings.canonical import CANONICAL, SHARED
from rdsim.embeddings.data.splits import Split, some_queries, split_task
from rdsim.embeddings.data.task import RetrievalTask
from rdsim.embeddings.fold import Fold, Plan
from rdsim.embeddings.joined import joined_report
from rdsim.embeddings.progress import Progress, without_progress
from rdsim.embeddings.result import EmbeddingReport
from rdsim.embeddings.spaces import SIMILARITIES
from rdsim.embeddings.systems.catalogue import chosen, usual_bits
from rdsim.embeddings.systems.given import OwnCode
from rdsim.files import Checkpoint, without_checkpoint
from rdsim.number_types import ArrayLike
from rdsim.sources.host_random import numbered_key, split_key
from rdsim.threads import blas_threads_for
from rdsim.transformations import on_host

SPACES: Final = ("auto", "as given", "centred", CANONICAL, SHARED)
"""Where codes may work."""


@on_host
@validation.needs_float64
def measure_embeddings(
    key: Key[Array, ""],
    task: RetrievalTask,
    bits: ArrayLike | None = None,
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
        bits: stored per item, at least 1 each; by default powers of two from 8 to float16. Codes of one
            size (signs, scalar quantizers, float16) are measured at theirs.
        similarity: "cosine", "inner product" or "L2", in any case.
        space: in which codes work: "as given", "centred", "canonical", "shared canonical", or "auto", the
            simplest that ranks pairs held back from the fit as well as the best does, to a standard error.
        systems: names of codes, or "all"; by default the usual ones, those of faiss if it is installed.
        learned: bits at which to train the learned code too; it takes minutes.
        own: a code of one's own, for all items of the task.
        rescore: N; if it is not 0, every code has a further line, of kind "rescored", for which the N
            items that it ranks first are ranked again by the uncompressed vectors, in the space in which codes work.
        held_out: fraction of the groups that are ranked.
        folds: number of parts, each ranked by codes fitted to the others, in the place of `held_out`.
        fit: pairs to fit to, in the place of both; then the whole task is ranked, as published protocols have it.
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
    if isinstance(similarity, str):
        by_name = {name.casefold(): name for name in SIMILARITIES}
        similarity = by_name.get(similarity.casefold(), similarity)
    validation.choice("similarity", similarity, SIMILARITIES)
    validation.choice("space", space, SPACES)
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
    parts_key, query_key, fit_key = split_key(key, 3)
    if fit is None:
        splits = split_task(parts_key, task, held_out=held_out, folds=folds)
    else:
        validation.instance("fit", fit, RetrievalTask)
        if folds is not None:
            raise ValueError(f"folds must be None where pairs to fit to are given, got {folds!r}")
        if (fit.queries.shape[1], fit.items.shape[1]) != (task.queries.shape[1], widths):
            raise ValueError("fit must have the dimensions of task")
        splits = (Split(fit=fit, ranked=task, name="given"),)
    plan = Plan(rates, similarity, space, found, trained, own, again, checkpoint, progress)
    parts = []
    with blas_threads_for(
        max(len(task.queries), len(task.items)) * max(task.queries.shape[1], widths)
    ):
        for number, split in enumerate(splits):
            ranked = some_queries(numbered_key(query_key, number), split.ranked, most)
            prefix = f"fold-{number}-" if len(splits) > 1 else ""
            fold = Fold(plan, prefix, numbered_key(fit_key, number), split, ranked)
            parts.append(fold.run())
        return joined_report(plan, task, splits, parts, level, query_key, most)
