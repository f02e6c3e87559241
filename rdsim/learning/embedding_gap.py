r"""How far codes for real paired embeddings are from what any system could do at their bits (C4).

No assumption on the data: of M items stored at R bits each, no system has an expected rank loss D
with $R_\rho(D; M) > R$. For one given database this needs no expectation over databases either.
Let all items be targets in turn, scored by their stored codes alone, ties broken by lot, and let
$\hat H \le R$ be the entropy of the codes' frequencies. The rank of a target among its own tied
items is uniform, so $H(\text{rank}) \ge \log_2 M - \hat H$ and $R_\rho(D; M) \le \hat H$.

The estimated frontier replaces R by $\min\{R, \hat I\}$, $\hat I$ a lower bound on I(X;Y) found on
the held-out pairs: the larger of InfoNCE and of the rank rate that the uncompressed embeddings
reach. It is an estimate: the true frontier min{R, I(X;Y)} is at or above its expectation, and no
sample can bound it from above without assumptions (McAllester and Stratos 2020).
"""

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any, Final

import jax
import numpy as np
from jaxtyping import Array, Float, Key

from rdsim import limits, validation
from rdsim.codes.distances import host_generator
from rdsim.finite_sample.information_bounds import InformationEstimate
from rdsim.learning.pair_ranking import (
    PairRanks,
    contrastive_information,
    drawn_ranks,
    pair_ranks,
    recalls,
    reciprocal_ranks,
)
from rdsim.learning.paired_embeddings import PairSplit, SharedSpace, shared_space
from rdsim.learning.product_code import ProductCode, product_codes
from rdsim.learning.stored_codes import (
    long_hyperplane_hash,
    long_product_quantizer,
    most_word_bits,
    rotated_hash,
)
from rdsim.learning.training import Schedule, checked_schedule
from rdsim.simulation.intervals import clopper_pearson, empirical_bernstein

SYSTEMS: Final = (
    "product quantizer",
    "hyperplane hash",
    "rotated hash (ITQ)",
    "learned stochastic code",
)
UNCOMPRESSED: Final = "uncompressed"
MOST_BITS: Final = 1024
_VALIDATION: Final = 0.2
"""Share of the training pairs on which a space, a state of the training and a critic are chosen."""
_CRITIC_PAIRS: Final = 4000
"""Most held-out pairs of the information estimate."""
_TEMPERATURES: Final = np.geomspace(1.0, 100.0, 17)


@dataclasses.dataclass(frozen=True, kw_only=True)
class RankQuality:
    """MRR and recall of systems (S) at rates (B), with intervals over queries.

    Attributes:
        mrr: exact over ties, shape (S, B); NaN where a system does not exist at a rate: the
            rotated hash has a coordinate a bit, the product quantizer a coordinate a block.
        mrr_interval: empirical Bernstein, shape (S, B, 2).
        recall: shape (S, B, K), exact over ties.
        recall_interval: Clopper-Pearson of hits with ties broken by lot, widened to include the
            recall, shape (S, B, K, 2).
        code_bits: entropy of the stored codes in the database, shape (S, B).

    """

    mrr: Float[np.ndarray, "s b"]
    mrr_interval: Float[np.ndarray, "s b 2"]
    recall: Float[np.ndarray, "s b k"]
    recall_interval: Float[np.ndarray, "s b k 2"]
    code_bits: Float[np.ndarray, "s b"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class EmbeddingGap:
    """Codes for paired embeddings beside the converse and the estimated frontier.

    Attributes:
        bits: stored an item, shape (B,).
        systems: names of the S systems.
        cutoffs: k of recall@k, shape (K,).
        quality: of the systems, all ranking the same queries in the same database. The intervals
            are over queries drawn for this database and these fitted systems, one number at a
            time.
        uncompressed: the same of the embeddings themselves in the shared space, S = B = 1.
        learned_rate: mean divergence of the learned code's words from its priors, bits, shape
            (B,); an estimate of an upper bound on I(U;Y).
        mrr_converse: the most that any system has at those bits, shape (B,); proved.
        recall_converse: the same of recall@k, shape (B, K).
        information: the larger of the two estimates below, end by end.
        contrastive: InfoNCE on held-out pairs, bits.
        from_ranks: rank rate of the uncompressed embeddings, bits: value, lower, upper.
        mrr_frontier: most MRR at min(bits, information): value, lower, upper, shape (B, 3).
        recall_frontier: the same of recall@k, shape (B, K, 3).
        space: where queries and items were compared.
        fitted: pairs that systems were fitted to.
        database: items ranked.
        queries: targets ranked.

    """

    bits: tuple[int, ...]
    systems: tuple[str, ...]
    cutoffs: tuple[int, ...]
    quality: RankQuality
    uncompressed: RankQuality
    learned_rate: Float[np.ndarray, " b"]
    mrr_converse: Float[np.ndarray, " b"]
    recall_converse: Float[np.ndarray, "b k"]
    information: Float[np.ndarray, " 3"]
    contrastive: InformationEstimate
    from_ranks: Float[np.ndarray, " 3"]
    mrr_frontier: Float[np.ndarray, "b 3"]
    recall_frontier: Float[np.ndarray, "b k 3"]
    space: str
    fitted: int
    database: int
    queries: int


def embedding_gap(
    key: Key[Array, ""],
    pairs: PairSplit,
    bits: Any,
    *,
    cutoffs: Sequence[int] = (1, 10),
    most_queries: int = 10_000,
    slope: float = 0.01,
    schedule: Schedule | None = None,
    confidence: float = 0.95,
    progress: bool = False,
) -> EmbeddingGap:
    """Fit every system at every rate to one part of the pairs and rank the other with it.

    Args:
        key: PRNG key of starts, hyperplanes, training and drawn codes.
        pairs: checked and split, as `split_pairs` returns them.
        bits: integers in [1, 1024], a rate each, in rising order.
        cutoffs: k of recall@k, below the number of held-out items.
        most_queries: how many held-out queries to rank, at least 2; the database keeps all items.
        slope: of the learned code, bits of information that a stored bit has to bring.
        schedule: of the learned codes' training.
        confidence: of every interval.
        progress: whether to show the training.

    Returns:
        The report.

    Raises:
        ValueError: if an argument lies outside its range.
        TypeError: if the key is not a typed key.

    """
    validation.require_float64("embedding_gap")
    rates = _checked_bits(bits)
    size = len(validation.instance("pairs", pairs, PairSplit).held_out_items)
    lengths = validation.integers("cutoffs", cutoffs, low=1, high=size - 1)
    validation.interval("slope", slope, low=0.0, open_high=True, ndim=0)
    validation.interval(
        "confidence", confidence, low=0.0, high=1.0, open_low=True, open_high=True, ndim=0
    )
    if schedule is not None:
        checked_schedule(schedule)
    ranked = min(validation.integer("most_queries", most_queries, low=2), size)
    choose, fit, learn, store, lots = jax.random.split(validation.prng_key("key", key), 5)
    rest, validated = _validation(choose, pairs)
    space = shared_space(*rest, validate=validated)
    raw = pairs.held_out_queries
    x, y = space.queries(raw), space.items(pairs.held_out_items)
    codes, _ = product_codes(
        *(learn, *rest, rates),
        validate=validated,
        slope=slope,
        schedule=schedule,
        progress=progress,
    )
    generator = host_generator(lots)

    def measured(ranks: PairRanks) -> dict[str, np.ndarray]:
        return _measured(generator, ranks, lengths, confidence)

    cells: list[list[dict[str, np.ndarray]]] = [[] for _ in SYSTEMS]
    trained = space.items(pairs.items)
    limit = {
        "product quantizer": most_word_bits(len(trained)) * trained.shape[1],
        "rotated hash (ITQ)": trained.shape[1],
    }
    for index, rate in enumerate(rates):
        own, drawn = jax.random.fold_in(fit, index), jax.random.fold_in(store, index)
        for system, name in enumerate(SYSTEMS):
            if rate > limit.get(name, MOST_BITS):
                cells[system].append(_missing(lengths))
                continue
            points, stored = (x, y) if name in _MAKERS else (raw, pairs.held_out_items)
            code = _MAKERS[name](own, trained, rate) if name in _MAKERS else codes[index]
            digits = code.encode(drawn, stored)
            features = code.query_features(points[:ranked])
            cells[system].append(measured(pair_ranks(features, digits, code.item_features)))
    plain = measured(pair_ranks(x[:ranked], y))
    contrastive = _information(space, validated, codes[-1], pairs, confidence)
    log2_size = math.log2(size)
    from_ranks = np.asarray(
        limits.rank_rate(
            log2_size, "reciprocal_rank", D=1 - np.array([plain["mrr"], *plain["mrr_interval"]])
        ).lower
    )
    estimate = np.array([contrastive.value, contrastive.lower, contrastive.upper])
    information = np.maximum(estimate, from_ranks)
    stored = np.array(rates, float)[:, None]
    usable = np.concatenate([stored, np.minimum(stored, information)], axis=1)
    losses: list[Any] = ["reciprocal_rank", *(("miss", k) for k in lengths)]
    # By rate: the converse, then the frontier and its ends; then by loss.
    best = np.stack([_best(usable, log2_size, loss) for loss in losses], axis=2)
    return EmbeddingGap(
        bits=rates,
        systems=SYSTEMS,
        cutoffs=lengths,
        quality=_gathered(cells),
        uncompressed=_gathered([[plain]]),
        learned_rate=np.array([code.rate(pairs.held_out_items).mean() for code in codes]),
        mrr_converse=best[:, 0, 0],
        recall_converse=best[:, 0, 1:],
        information=information,
        contrastive=contrastive,
        from_ranks=from_ranks,
        mrr_frontier=best[:, 1:, 0],
        recall_frontier=best[:, 1:, 1:].swapaxes(1, 2),
        space=space.name,
        fitted=len(pairs.items),
        database=size,
        queries=ranked,
    )


_MAKERS: Final[dict[str, Callable[..., Any]]] = {
    "product quantizer": long_product_quantizer,
    "hyperplane hash": long_hyperplane_hash,
    "rotated hash (ITQ)": rotated_hash,
}


def _checked_bits(bits: Any) -> tuple[int, ...]:
    values = np.atleast_1d(validation.host_array("bits", bits)).tolist()
    rates = tuple(validation.integer("bits", value, low=1, high=MOST_BITS) for value in values)
    if not rates or list(rates) != sorted(set(rates)):
        raise ValueError(f"bits must rise without repeats, got {list(rates)}")
    return rates


def _validation(key: Any, pairs: PairSplit) -> tuple[Any, Any]:
    """The training pairs to fit a space and learned codes to, and those to choose among them on."""
    order = np.asarray(jax.random.permutation(key, len(pairs.items)))
    kept, rest = np.split(order, [max(4, round(_VALIDATION * len(order)))])
    return (pairs.queries[rest], pairs.items[rest]), (pairs.queries[kept], pairs.items[kept])


def _information(
    space: SharedSpace, validated: Any, code: ProductCode, pairs: PairSplit, confidence: float
) -> InformationEstimate:
    """InfoNCE on held-out pairs with the scores that are best on the training pairs kept back."""

    def scaled(factor: float) -> Callable[[Any, Any], tuple[np.ndarray, np.ndarray]]:
        return lambda queries, items: (factor * space.queries(queries), space.items(items))

    def learned(queries: Any, items: Any) -> tuple[np.ndarray, np.ndarray]:
        return code.query_features(queries).astype(float), code.mean_features(items)

    critics = [*map(scaled, _TEMPERATURES), learned]

    def estimate(critic: Any, queries: np.ndarray, items: np.ndarray) -> InformationEstimate:
        features = critic(queries[:_CRITIC_PAIRS], items[:_CRITIC_PAIRS])
        return contrastive_information(*features, confidence=confidence)

    best = max(critics, key=lambda critic: float(estimate(critic, *validated).value))
    return estimate(best, pairs.held_out_queries, pairs.held_out_items)


def _best(rates: np.ndarray, log2_size: float, loss: Any) -> np.ndarray:
    """The most of one minus the loss at so many bits, rounded up by the proved error."""
    return 1 - np.asarray(limits.rank_loss(log2_size, loss, rate=np.maximum(rates, 0.0)).lower)


def _measured(
    generator: np.random.Generator, ranks: PairRanks, cutoffs: Sequence[int], confidence: float
) -> dict[str, np.ndarray]:
    reciprocal = np.clip(reciprocal_ranks(ranks), 0.0, 1.0)
    mrr = empirical_bernstein(reciprocal, confidence=confidence)
    recall = np.array([recalls(ranks, k).mean() for k in cutoffs])
    lots = drawn_ranks(generator, ranks)
    hits = [int((lots <= k).sum()) for k in cutoffs]
    found = clopper_pearson(np.array(hits), len(lots), confidence=confidence)
    return {
        "mrr": np.asarray(mrr.mean),
        "mrr_interval": np.array([mrr.lower, mrr.upper]),
        "recall": recall,
        "recall_interval": np.stack(
            [np.minimum(found.lower, recall), np.maximum(found.upper, recall)], axis=-1
        ),
        "code_bits": np.array(ranks.code_bits),
    }


def _missing(cutoffs: Sequence[int]) -> dict[str, np.ndarray]:
    count = len(cutoffs)
    return {
        "mrr": np.array(np.nan),
        "mrr_interval": np.full(2, np.nan),
        "recall": np.full(count, np.nan),
        "recall_interval": np.full((count, 2), np.nan),
        "code_bits": np.array(np.nan),
    }


def _gathered(cells: list[list[dict[str, np.ndarray]]]) -> RankQuality:
    return RankQuality(
        **{name: np.array([[cell[name] for cell in row] for row in cells]) for name in cells[0][0]}
    )
