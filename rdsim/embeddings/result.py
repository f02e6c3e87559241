"""The result of measuring embeddings: every number of every line, kept as it was measured."""

import dataclasses
import functools
import html
import math
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from jaxtyping import Float, Int

from rdsim import limits, validation
from rdsim.embeddings.converse import codebook_bits, codebook_converse, group_code
from rdsim.embeddings.quality import CUTOFFS, METRICS, Mean
from rdsim.number_types import ArrayLike
from rdsim.ranking.loss import Loss

if TYPE_CHECKING:
    import xarray

    from rdsim.embeddings.models.twins import Models


CURVE: Final = np.linspace(0.0, 1.0, 65)
"""Qualities at which the proved region is drawn."""
SYSTEMS: Final = ("any", "one codebook")
"""Systems of which something is proved for all data."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Whole:
    """The vectors as given on the whole task, of which nothing was held out: no code is fitted.

    Attributes:
        quality: in the order of `METRICS`, shape (5,).
        ahead: items ahead of each target, shape (T,).
        tied: items at its score, shape (T,).
        database: items.
        queries: queries.

    """

    quality: Mean
    ahead: Int[np.ndarray, " t"]
    tied: Int[np.ndarray, " t"]
    database: int
    queries: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class EmbeddingReport:
    """Codes for given embeddings, uncompressed spaces and one's own index, ranked alike.

    A *line* is one system at one number of bits. Every line ranks the same queries among the same items,
    which no code was fitted to. Metrics stand in the order of `METRICS`.

    Attributes:
        lines: name of the system of each of the L lines.
        kinds: "space" (uncompressed), "code", "learned", "yours", or "rescored": a code whose first items are
            ranked again by the vectors, which are kept beside it and not counted in its bits.
        spaces: where it compares queries and items.
        bits: stored per item, shape (L,).
        code_bits: entropy of the stored codes, bits, shape (L,): what an entropy coder would need.
        quality: shape (L, 5), intervals over groups of queries.
        kept: quality by that of the line `reference`, shape (L, 5).
        reference: number of the line that is called uncompressed, and that `kept` refers to: the vectors in the
            chosen space.
        train_seconds: shape (L,).
        encode_seconds: of all items, shape (L,).
        search_seconds: of scoring all items for all queries here, shape (L,).
        ahead: items ahead of each target, shape (L, T).
        tied: items at its score, itself included, shape (L, T).
        query: query of each target, from 0, shape (T,).
        grade: of each target, shape (T,).
        group: of each query, shape (Q,).
        converse_bits: shape (B,).
        converse: the most that any system has at so many bits per item, shape (B, 5); NaN for nDCG where
            some query has several targets.
        log2_groups: bits from which on the converse is one: no bound holds for all data beyond.
        groups: of each fold, k of its converses (`rdsim.embeddings.converse`): queries are a mixture of uniform ones on
            k groups, shape (F,).
        group_shares: of each fold, the share of the queries whose group has m items, from m = 0 on, shape (F, S).
        correlations: canonical correlations on the pairs that were ranked, shape (k,).
        fitted_correlations: those on pairs held back from the fit, by which bits are allocated.
        item_dimension: effective dimension of the items' directions in the space of each line, shape (L,).
        item_length_spread: standard deviation of the items' lengths there by their mean, shape (L,); zero where only
            directions are compared.
        allocation: bits of each canonical coordinate in the transform code at each of
            `converse_bits`, shape (B, k).
        whole: vectors as given, ranked on the whole task; None where dimensions differ.
        diagnostics: numbers by name, with their meaning in `rdsim.embeddings.diagnostics`.
        similarity: by which vectors are compared.
        chosen_space: in which codes work.
        coordinate_space: the one whose coordinates are those of the correlations and of the bits dealt: that in
            which pairs held back from the fit share the most information.
        split: how pairs were held out.
        database: items ranked (of the smallest fold).
        fitted: pairs that the fit had (of the first fold).
        training_items: items that codes were fitted to (of the first fold).
        without_target: queries left out since they have no target.
        copies: items that equal an earlier one.
        confidence: of every interval.
        models: what models say of these embeddings (`with_models`), or None.

    """

    lines: tuple[str, ...]
    kinds: tuple[str, ...]
    spaces: tuple[str, ...]
    bits: Int[np.ndarray, " l"]
    code_bits: Float[np.ndarray, " l"]
    quality: Mean
    kept: Mean
    reference: int
    train_seconds: Float[np.ndarray, " l"]
    encode_seconds: Float[np.ndarray, " l"]
    search_seconds: Float[np.ndarray, " l"]
    ahead: Int[np.ndarray, "l t"]
    tied: Int[np.ndarray, "l t"]
    query: Int[np.ndarray, " t"]
    grade: Float[np.ndarray, " t"]
    group: Int[np.ndarray, " q"]
    converse_bits: Int[np.ndarray, " b"]
    converse: Float[np.ndarray, "b 5"]
    log2_groups: float
    groups: Int[np.ndarray, " f"]
    group_shares: Float[np.ndarray, "f s"]
    correlations: Float[np.ndarray, " k"]
    fitted_correlations: Float[np.ndarray, " k"]
    item_dimension: Float[np.ndarray, " l"]
    item_length_spread: Float[np.ndarray, " l"]
    allocation: Int[np.ndarray, "b k"]
    whole: Whole | None
    diagnostics: dict[str, float]
    similarity: str
    chosen_space: str
    coordinate_space: str
    split: str
    database: int
    fitted: int
    training_items: int
    without_target: int
    copies: int
    confidence: float
    models: "Models | None" = None

    def values(self, metric: str) -> Float[np.ndarray, " l"]:
        """Quality of every line by one metric, a name in `METRICS`."""
        return self.quality.value[:, _column(metric)]

    def pareto(self, metric: str = "mrr") -> Int[np.ndarray, " p"]:
        """Lines of codes that no other code of as few bits exceeds, by rising bits."""
        codes = [i for i, kind in enumerate(self.kinds) if kind in ("code", "learned")]
        values, best, front = self.values(metric), -np.inf, []
        for line in sorted(codes, key=lambda i: (self.bits[i], -values[i])):
            if values[line] > best:
                front.append(line)
                best = values[line]
        return np.array(front, int)

    def line_for(self, fraction: float, metric: str = "mrr") -> int | None:
        """Find the code of the fewest bits that keeps a fraction of the reference's quality."""
        ratio = self.kept.value[:, _column(metric)]
        enough = [int(line) for line in self.pareto(metric) if ratio[line] >= fraction]
        return enough[0] if enough else None

    def codebook_converse(self, bits: ArrayLike) -> Float[np.ndarray, "b 5"]:
        r"""Bound the quality of every code of one codebook of $2^R$ codewords: tighter than `converse` below log2 of the items.

        It holds for codes that store each item as one of $2^R$ codewords, the same encoder for all items, and score it by
        that codeword and the query alone, whatever the items are: for every code here but those that are ranked again by
        the vectors, not for scores that know the number of an item, nor for codes of variable length.

        Args:
            bits: R >= 0, shape (b,).

        Returns:
            The most of every metric; NaN for nDCG where some query has several targets.

        """
        R = np.asarray(validation.interval("bits", bits, low=0.0, ndim=1), float)
        bound = np.stack(
            [
                # Every fold is below its own bound, and all of them below the largest.
                np.max([codebook_converse(*fold, R, k) for fold in self._folds()], axis=0)
                for k in range(len(METRICS))
            ],
            axis=1,
        )
        bound[:, np.isnan(self.converse).any(axis=0)] = np.nan
        return bound

    def _folds(self) -> list[tuple[int, Float[np.ndarray, " s"]]]:
        return list(zip(self.groups.tolist(), self.group_shares, strict=True))

    def bits_by_proof(self, fraction: float, metric: str = "mrr", *, systems: str = "any") -> float:
        """Bound the bits per item from below that are needed to keep so much, whatever the data.

        Zero where nothing is proved, as of nDCG where queries have several targets.

        Args:
            fraction: of the reference's quality.
            metric: a name in `METRICS`.
            systems: "any" (C4), or "one codebook": those that `codebook_converse` bounds.

        """
        column = _column(metric)
        validation.choice("systems", systems, SYSTEMS)
        wanted = fraction * self.quality.value[self.reference, column]
        # As many qualities as the curve has, so that one program serves both.
        quality = np.full(len(CURVE), wanted)
        return float(self._proved(quality, column)[SYSTEMS.index(systems), 0])

    def _proved(self, quality: Float[np.ndarray, " n"], column: int) -> Float[np.ndarray, "2 n"]:
        """Invert the converses: bits that any system of such qualities needs, and any of one codebook."""
        nothing = np.zeros((2, len(quality)))
        if np.isnan(self.converse[:, column]).any():
            return nothing
        losses: list[Loss] = ["reciprocal_rank", *(("miss", k) for k in CUTOFFS), "dcg"]
        loss = losses[column]
        needed = []
        for k, shares in self._folds():
            if k < 2 or (isinstance(loss, tuple) and loss[1] >= k):
                return nothing
            log2_size = math.log2(k)
            items, entropy = group_code(shares)
            lost = np.clip(1 - quality, 0.0, 1.0)
            rate = np.asarray(limits.rank_rate(log2_size, loss, distortion=lost).lower)
            # Less than rounding could add.
            any_system = np.maximum((rate - entropy) / items * (1 - 1e-12), 0.0)
            codebook = np.maximum(codebook_bits(k, shares, quality, column), any_system)
            needed.append(np.stack([any_system, codebook]))
        # A mean over folds is reached by one of them at least.
        return np.asarray(np.min(needed, axis=0))

    @functools.cached_property
    def proved_curve(self) -> Float[np.ndarray, "2 p 5"]:
        """Bits that every system of each quality needs, and every one codebook; the page and the file both ask for them."""
        return np.stack([self._proved(CURVE, k) for k in range(len(METRICS))], axis=-1)

    def converse_of_lines(self) -> Float[np.ndarray, "l 5"]:
        """`codebook_converse` at the bits of each line of a code that it bounds; NaN for others."""
        of_codebooks = np.isin(self.kinds, ("code", "learned"))
        found = self.codebook_converse(self.bits.astype(float))
        return np.where(of_codebooks[:, None], found, np.nan)

    def to_xarray(self) -> "xarray.Dataset":
        """All numbers with their dimensions and units; value, lower and upper along "end"."""
        from rdsim.embeddings.report.dataset import dataset  # not above: it imports this module

        return dataset(self)

    def plot(self) -> Any:
        """Draw quality against bits under the converse; returns a figure of Matplotlib."""
        from rdsim.plotting.gap import draw  # optional: an extra brings it

        return draw(self.to_xarray())

    def page(self) -> str:
        """Write the report as one self-contained page of HTML."""
        from rdsim.embeddings.report.page import page  # optional: an extra brings it

        return page(self)

    def _repr_html_(self) -> str:
        """Show the page in a notebook, in a frame, so that its style stays its own."""
        return (
            f'<iframe srcdoc="{html.escape(self.page())}" width="100%" height="800" '
            'style="border: 0" title="Bits for given embeddings"></iframe>'
        )

    def report(self) -> str:
        """Write the report as Markdown."""
        from rdsim.embeddings.report.markdown import report

        return report(self)


def _column(metric: str) -> int:
    validation.choice("metric", metric, METRICS)
    return METRICS.index(metric)
