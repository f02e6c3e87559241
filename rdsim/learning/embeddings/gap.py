r"""How far codes for real paired embeddings are from what any system could do at their bits (C4).

No assumption on the data: of M items stored at R bits each, no system has an expected rank loss D
with $R_\rho(D; M) > R$. For one given database this needs no expectation over databases either.
Let all items be targets in turn, scored by their stored codes alone, ties broken at random, and let
$\hat H \le R$ be the entropy of the codes' frequencies. The rank of a target among its own tied
items is uniform, so $H(\text{rank}) \ge \log_2 M - \hat H$ and $R_\rho(D; M) \le \hat H$.

The estimated frontier replaces R by $\min\{R, \hat I\}$, $\hat I$ a lower bound on I(X;Y) found on
the held-out pairs: the larger of InfoNCE and of the rank rate that the uncompressed embeddings
reach. It is an estimate: the true frontier min{R, I(X;Y)} is at or above its expectation, and no
sample can bound it from above without assumptions (McAllester and Stratos 2020). From log_2 M bits
on the converse is one: so many bits may name the item.
"""

import dataclasses
import functools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from rdsim import limits, validation
from rdsim.codes.quantizers.hashing import BinaryHash, long_hyperplane_hash, rotated_hash
from rdsim.codes.quantizers.product import long_product_quantizer, most_block_bits
from rdsim.finite_sample.contrastive import contrastive_information
from rdsim.finite_sample.information_bounds import InformationEstimate
from rdsim.learning.embeddings.paired_embeddings import PairSplit, SharedSpace, shared_space
from rdsim.learning.embeddings.product_code import ProductCode, product_codes
from rdsim.learning.embeddings.rank_quality import RankQuality, gathered, measured, missing
from rdsim.learning.training.schedule import Schedule, checked_schedule
from rdsim.number_types import ArrayLike
from rdsim.ranking.metrics.paired import PairRanks, pair_ranks
from rdsim.transformations import on_host

if TYPE_CHECKING:
    import xarray

SYSTEMS: Final = (
    "product quantizer",
    "hyperplane hash, float query",
    "hyperplane hash, Hamming",
    "rotated hash (ITQ), float query",
    "rotated hash (ITQ), Hamming",
    "learned stochastic code",
)
"""Queries cost no bits, so that every system keeps them as they are, but for the two hashes that
take signs of the query too (Hamming): faster to search, and never told more than a query's bits."""
UNCOMPRESSED: Final = "uncompressed"
MOST_BITS: Final = 1024
_VALIDATION: Final = 0.2
"""Fraction of the training pairs on which a space, a state of the training and a critic are chosen."""
_CRITIC_PAIRS: Final = 4000
"""Most held-out pairs of the information estimate."""
_TEMPERATURES: Final = np.geomspace(1.0, 100.0, 17)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Interval:
    """Estimates with the ends of their confidence intervals, of one shape.

    Attributes:
        value: the estimates.
        lower: the lower ends.
        upper: the upper ends.

    """

    value: Float[np.ndarray, "..."]
    lower: Float[np.ndarray, "..."]
    upper: Float[np.ndarray, "..."]


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
        information: estimated lower bound of I(X;Y), bits: the larger of the two estimates below,
            each of value and ends by itself.
        contrastive: InfoNCE on held-out pairs, bits.
        from_ranks: rank rate of the uncompressed embeddings, bits.
        mrr_frontier: most MRR at min(bits, information), shape (B,).
        recall_frontier: the same of recall@k, shape (B, K).
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
    information: Interval
    contrastive: InformationEstimate
    from_ranks: Interval
    mrr_frontier: Interval
    recall_frontier: Interval
    space: str
    fitted: int
    database: int
    queries: int

    def to_xarray(self) -> "xarray.Dataset":
        """All numbers with their dimensions and units; value, lower and upper along "end"."""
        import xarray  # the rest of the library does without

        def ends(*parts: ArrayLike) -> np.ndarray:
            return np.stack([np.asarray(part) for part in parts], axis=-1)

        def with_interval(value: np.ndarray, interval: np.ndarray) -> np.ndarray:
            return ends(value, interval[..., 0], interval[..., 1])

        def of(estimate: Interval | InformationEstimate) -> np.ndarray:
            return ends(estimate.value, estimate.lower, estimate.upper)

        quality, plain = self.quality, self.uncompressed
        one, bits = {"units": "1"}, {"units": "bits"}
        recall_of = ("system", "bits", "cutoff", "end")
        plain_mrr = with_interval(plain.mrr, plain.mrr_interval)[0, 0]
        plain_recall = with_interval(plain.recall, plain.recall_interval)[0, 0]
        return xarray.Dataset(
            {
                "mrr": (
                    ("system", "bits", "end"),
                    with_interval(quality.mrr, quality.mrr_interval),
                    one,
                ),
                "recall": (recall_of, with_interval(quality.recall, quality.recall_interval), one),
                "code_bits": (("system", "bits"), quality.code_bits, bits),
                "learned_rate": ("bits", self.learned_rate, bits),
                "mrr_converse": ("bits", self.mrr_converse, one),
                "recall_converse": (("bits", "cutoff"), self.recall_converse, one),
                "mrr_frontier": (("bits", "end"), of(self.mrr_frontier), one),
                "recall_frontier": (("bits", "cutoff", "end"), of(self.recall_frontier), one),
                "information": ("end", of(self.information), bits),
                "contrastive": ("end", of(self.contrastive), bits),
                "from_ranks": ("end", of(self.from_ranks), bits),
                "uncompressed_mrr": ("end", plain_mrr, one),
                "uncompressed_recall": (("cutoff", "end"), plain_recall, one),
                "fitted": ((), self.fitted, {"units": "pairs"}),
                "database": ((), self.database, {"units": "items"}),
                "queries": ((), self.queries, {"units": "queries"}),
            },
            coords={
                "system": list(self.systems),
                "bits": ("bits", np.array(self.bits), {"units": "bits an item"}),
                "cutoff": np.array(self.cutoffs),
                "end": ["value", "lower", "upper"],
            },
            attrs={"space": self.space},
        )


Keep = Callable[[str, Callable[[], Mapping[str, Any]]], Mapping[str, Any]]
"""Takes the name of a part of the work and a function, returns the arrays of function()."""


def now(name: str, function: Callable[[], Mapping[str, Any]]) -> Mapping[str, Any]:  # noqa: ARG001
    """Compute a part of the work and remember nothing."""
    return function()


@on_host
@validation.needs_float64
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
    keep: Keep = now,
) -> EmbeddingGap:
    """Fit every system at every rate to one part of the pairs and rank the other with it.

    Args:
        key: PRNG key of starts, hyperplanes, training and drawn codes.
        pairs: checked and split, as `split_pairs` returns them.
        bits: integers in [1, 1024], a rate each, in rising order.
        cutoffs: k of recall@k, at least 1; the recall is one where k items are all.
        most_queries: how many held-out queries to rank, at least 2; the database keeps all items.
        slope: of the learned code, bits of information that a stored bit has to bring.
        schedule: of the learned codes' training.
        confidence: of every interval.
        progress: whether to show the training.
        keep: called as keep(name, function) for every finished part, of which it returns the arrays
            that function() does, computed now or by an earlier call with the same arguments.

    Returns:
        The report.

    """
    rates = _checked_bits(bits)
    size = len(validation.instance("pairs", pairs, PairSplit).held_out_items)
    lengths = validation.integers("cutoffs", cutoffs, low=1)
    validation.interval("slope", slope, low=0.0, open_high=True, ndim=0)
    validation.open_unit("confidence", confidence)
    if schedule is not None:
        checked_schedule(schedule)
    ranked = min(validation.integer("most_queries", most_queries, low=2), size)
    validation.function("keep", keep)
    choose, fit, learn, store, ties = jax.random.split(validation.prng_key("key", key), 5)
    rest, validated = _validation(choose, pairs)
    space = shared_space(*rest, validate=validated)
    x, y = space.queries(pairs.held_out_queries)[:ranked], space.items(pairs.held_out_items)
    trained = space.items(pairs.items)
    most_bits = {
        "product quantizer": most_block_bits(len(trained)) * trained.shape[1],
        "rotated hash (ITQ)": trained.shape[1],
    }
    found: dict[tuple[str, int], PairRanks] = {}
    for index, rate in enumerate(rates):
        for name, maker in _MAKERS.items():
            if rate > most_bits.get(name, MOST_BITS):
                continue
            own = jax.random.fold_in(fit, index)
            part = functools.partial(_fitted, maker, own, trained, rate, x, y)
            kept = keep(f"{name.partition(' (')[0].replace(' ', '-')}-{rate}", part)
            for system, ranks in zip(_systems(name), _as_ranks(kept, size), strict=True):
                found[system, rate] = ranks
    (uncompressed,) = _as_ranks(keep("uncompressed", lambda: _arrays([pair_ranks(x, y)])), size)
    critic = keep("shared-space-critic", lambda: _scaled(space, validated, pairs, confidence))

    def learned() -> dict[str, np.ndarray]:
        codes, _ = product_codes(
            *(learn, *rest, rates),
            validate=validated,
            slope=slope,
            schedule=schedule,
            progress=progress,
        )
        drawn = [jax.random.fold_in(store, index) for index in range(len(rates))]
        return {
            **_ranked(codes, drawn, pairs.held_out_queries[:ranked], pairs.held_out_items),
            "rate": np.array([code.rate(pairs.held_out_items).mean() for code in codes]),
            **_information_of(_critic_of(codes[-1]), validated, pairs, confidence),
        }

    codes = keep("learned-codes", learned)
    for rate, ranks in zip(rates, _as_ranks(codes, size), strict=True):
        found[SYSTEMS[-1], rate] = ranks
    cells, plain = _qualities(ties, found, rates, uncompressed, lengths, confidence)
    best_critic = critic if critic["validated"] >= codes["validated"] else codes
    contrastive = _as_estimate(best_critic["estimate"], confidence)
    log2_size = math.log2(size)
    from_ranks = np.asarray(
        limits.rank_rate(
            log2_size,
            "reciprocal_rank",
            distortion=1 - np.array([plain["mrr"], *plain["mrr_interval"]]),
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
        quality=gathered(cells),
        uncompressed=gathered([[plain]]),
        learned_rate=codes["rate"],
        mrr_converse=best[:, 0, 0],
        recall_converse=best[:, 0, 1:],
        information=_interval(information),
        contrastive=contrastive,
        from_ranks=_interval(from_ranks),
        mrr_frontier=_interval(best[:, 1:, 0].swapaxes(0, 1)),
        recall_frontier=_interval(best[:, 1:, 1:].swapaxes(0, 1)),
        space=space.name,
        fitted=len(pairs.items),
        database=size,
        queries=ranked,
    )


def _interval(ends: np.ndarray) -> Interval:
    """Name the rows of an array: value, lower, upper."""
    value, lower, upper = ends
    return Interval(value=np.asarray(value), lower=np.asarray(lower), upper=np.asarray(upper))


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


def _fitted(
    maker: Callable[..., Any],
    key: Any,
    trained: np.ndarray,
    rate: int,
    queries: np.ndarray,
    items: np.ndarray,
) -> dict[str, np.ndarray]:
    """Ranks by a code of so many bits that is fitted to training items; it draws nothing else."""
    return _ranked([maker(key, trained, rate)], [key], queries, items)


def _ranked(
    codes: Sequence[Any], keys: Sequence[Any], queries: np.ndarray, items: np.ndarray
) -> dict[str, np.ndarray]:
    """Ranks by the items that codes store; a hash ranks by the signs of queries too, last."""
    found = []
    for code, key in zip(codes, keys, strict=True):
        digits = code.store(key, items)
        compared = [code.query_features]
        if isinstance(code, BinaryHash):
            compared.append(code.hamming_features)
        found += [pair_ranks(side(queries), digits, code.item_features) for side in compared]
    return _arrays(found)


def _arrays(found: Sequence[PairRanks]) -> dict[str, np.ndarray]:
    return {
        name: np.array([getattr(ranks, name) for ranks in found])
        for name in ("ahead", "tied", "code_bits")
    }


def _as_ranks(arrays: Mapping[str, Any], size: int) -> list[PairRanks]:
    return [
        PairRanks(ahead=ahead, tied=tied, size=size, code_bits=float(code_bits))
        for ahead, tied, code_bits in zip(
            arrays["ahead"], arrays["tied"], arrays["code_bits"], strict=True
        )
    ]


def _systems(name: str) -> list[str]:
    """Names of the systems that a fitted code is part of, in the order of their ranks."""
    return [system for system in SYSTEMS if system.partition(", ")[0] == name]


Critic = Callable[[Any, Any], tuple[np.ndarray, np.ndarray]]
"""Queries and items to features whose inner products are scores in nats."""


def _information_of(
    critic: Critic, validated: Any, pairs: PairSplit, confidence: float
) -> dict[str, np.ndarray]:
    """InfoNCE of a critic on the training pairs kept back, and with its interval on the held-out."""
    chosen = _estimated(critic, validated, confidence)
    held = _estimated(critic, (pairs.held_out_queries, pairs.held_out_items), confidence)
    return {
        "validated": np.asarray(chosen.value),
        "estimate": np.array([held.value, held.lower, held.upper, held.trials]),
    }


def _scaled(
    space: SharedSpace, validated: Any, pairs: PairSplit, confidence: float
) -> dict[str, np.ndarray]:
    """Estimate from cosines in the shared space, at the temperature best on the pairs kept back."""

    def critic(factor: float) -> Critic:
        return lambda queries, items: (factor * space.queries(queries), space.items(items))

    best = max(
        map(critic, _TEMPERATURES),
        key=lambda one: float(_estimated(one, validated, confidence).value),
    )
    return _information_of(best, validated, pairs, confidence)


def _critic_of(code: ProductCode) -> Critic:
    """Scores of a learned code, expected over its draws."""
    return lambda queries, items: (
        code.query_features(queries).astype(float),
        code.mean_features(items),
    )


def _estimated(critic: Critic, pairs: Any, confidence: float) -> InformationEstimate:
    features = critic(*(side[:_CRITIC_PAIRS] for side in pairs))
    return contrastive_information(*features, confidence=confidence)


def _as_estimate(numbers: np.ndarray, confidence: float) -> InformationEstimate:
    value, lower, upper, trials = numbers
    return InformationEstimate(
        value=jnp.asarray(value),
        lower=jnp.asarray(lower),
        upper=jnp.asarray(upper),
        trials=jnp.asarray(int(trials)),
        confidence=confidence,
        side="lower",
        proved=False,
    )


def _best(rates: np.ndarray, log2_size: float, loss: Any) -> np.ndarray:
    """The most of one minus the loss at so many bits, rounded up by the proved error."""
    return 1 - np.asarray(limits.rank_loss(log2_size, loss, rate=np.maximum(rates, 0.0)).lower)


def _qualities(
    key: Key[Array, ""],
    found: Mapping[tuple[str, int], PairRanks],
    rates: Sequence[int],
    uncompressed: PairRanks,
    cutoffs: Sequence[int],
    confidence: float,
) -> tuple[list[list[dict[str, np.ndarray]]], dict[str, np.ndarray]]:
    """Qualities by system and rate, and that of the uncompressed.

    What a stream draws for one system depends on the ties of those before it: hashes with a float
    query, which have no ties to speak of, draw from a stream of their own.
    """
    ties, float_ties = (
        validation.host_generator(key),
        validation.host_generator(jax.random.fold_in(key, 1)),
    )
    cells: dict[str, list[dict[str, np.ndarray]]] = {name: [] for name in SYSTEMS}
    for rate in rates:
        for name in SYSTEMS:
            generator = float_ties if name.endswith("float query") else ties
            cells[name].append(
                measured(generator, found[name, rate], cutoffs, confidence)
                if (name, rate) in found
                else missing(cutoffs)
            )
    return list(cells.values()), measured(ties, uncompressed, cutoffs, confidence)
