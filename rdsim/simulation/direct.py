r"""Direct simulation of a database: every item drawn, described, scored and ranked.

Nothing of the rank law is used. Here to check it and the ensembles built on it, for databases small
enough to be drawn once a trial: the work is M n letters a trial, times K with codebooks.
"""

import dataclasses
from typing import Any, Final

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, Key

from rdsim import validation
from rdsim.codes.codebook import MAX_NUMBER, MAX_WORDS
from rdsim.codes.encoders import LetterTable, distortion_table, letter_table
from rdsim.information import information_density
from rdsim.number_types import ArrayLike, Integer
from rdsim.ranking.block_score import through_channel
from rdsim.ranking.loss import RankLoss, parse_losses
from rdsim.simulation.engine import MonteCarloResult, check_options, run_trials
from rdsim.sources.tables import draw_letters, draw_outputs
from rdsim.transformations import on_host

_FEW_AT_ONCE, _MANY_AT_ONCE = 16, 256  # two sizes to compile
_LETTERS_A_BLOCK: Final = 2**20


@on_host
@validation.needs_float64
def simulate_database(
    key: Any,
    joint: ArrayLike,
    test_channel: ArrayLike,
    log2_size: ArrayLike,
    losses: Any = ("error",),
    *,
    n: Integer,
    scores: ArrayLike | None = None,
    words: Integer | None = None,
    distortion: ArrayLike | None = None,
    block: Integer | None = None,
    **run: Any,
) -> MonteCarloResult:
    r"""Simulate a database of M items in every trial and rank its target.

    An item's n letters are described by $U^n \sim \prod_i Q(u|y_i)$; or, if a number of words is
    given, by the nearest word (ties at random) of a codebook of its own, drawn from the output
    marginal. The target's query is scored against all descriptions, ties at random.

    Args:
        key: PRNG key.
        joint: P(x,y) of query and item letter, shape (|X|, |Y|).
        test_channel: Q(u|y), shape (|Y|, |U|), rows summing to one.
        log2_size: log2 M, 1 to 32; M is the nearest integer.
        losses: losses to average: "error", "reciprocal_rank", ("miss", K) or "dcg".
        n: letters in an item, at least 1.
        scores: s(x,u) of a letter, finite, shape (|X|, |U|); the information density by default.
        words: K, codewords of each item, or None for the test channel itself.
        distortion: d(y,u) that the codebooks' encoder minimises, shape (|Y|, |U|); with words.
        block: trials side by side, see `run_trials`; by default 2^20 letters' worth.
        **run: further arguments of `run_trials`: trials, or target_width and cap; confidence,
            checkpoint, devices, progress.

    Returns:
        Estimates by the names "error", "reciprocal_rank", "dcg" and "miss_K".

    Raises:
        ValueError: if an argument lies outside its range, or only one of words and distortion is
            given.
        TypeError: if the key is not a typed key or a count is not an integer.

    """
    validation.prng_key("key", key)
    check_options(**run, block=1 if block is None else block)
    n = validation.integer("n", n, low=1)
    through = through_channel(joint, test_channel, "test_channel")
    size = float(validation.interval("log2_size", log2_size, low=1.0, high=32.0, ndim=0))
    items = min(round(2.0**size), MAX_NUMBER)
    if (words is None) != (distortion is None):
        raise ValueError("words and distortion must be given together, or neither")
    if words is not None:
        words = validation.integer("words", words, low=1, high=MAX_WORDS)
    shape = np.shape(test_channel)
    wanted = np.zeros(shape) if distortion is None else distortion_table(distortion)
    if wanted.shape != shape:
        raise ValueError(f"distortion must have the shape {shape} of test_channel")
    if scores is None:
        score = score_table(through, n)
    else:
        given = np.asarray(
            validation.interval("scores", scores, open_low=True, open_high=True, ndim=2)
        )
        if given.shape != through.shape:
            raise ValueError(f"scores must have the shape {through.shape}, got {given.shape}")
        score = letter_table(given, n)
    trial = _Trial(
        n=n,
        words=words,
        tile=_FEW_AT_ONCE if items <= 4 * _FEW_AT_ONCE else _MANY_AT_ONCE,
        losses=tuple(sorted(set(parse_losses(losses)))),
    )
    if block is None:
        block = max(_LETTERS_A_BLOCK // (trial.tile * n * (words or 1)), 1)
    law = np.asarray(validation.pmf("joint", joint, ndim=2))
    px, py = law.sum(axis=1), law.sum(axis=0)
    given_query = law / np.where(px > 0, px, 1.0)[:, None]
    arguments = {
        "px": px,
        "letter_laws": np.concatenate([given_query, py[None]]),  # of the target, of any other item
        "channel": np.asarray(test_channel, float),
        "output_marginal": through.sum(axis=0) / through.sum(),
        "distortion": np.asarray(_whole(letter_table(wanted, n))),
        "score": np.asarray(_whole(score)),
        "items": np.int64(items),
    }
    return run_trials(trial, key, arguments, block=min(block, 2**20), **run)


def score_table(through: np.ndarray, n: int) -> LetterTable:
    """Put information densities of P(x,u) on a lattice; the impossible is below all that is not."""
    density = np.asarray(information_density(jnp.asarray(through)))
    possible = through > 0
    top = np.where(possible, density, -np.inf).max(axis=1, keepdims=True)
    bottom = np.where(possible, density, np.inf).min(axis=1, keepdims=True)
    known = np.isfinite(top)
    width = np.max(top - bottom, where=known, initial=0.0)
    floor = np.where(known, top, 0.0) - (n + 1) * (width if width > 0 else 1.0)
    return letter_table(np.where(possible, density, floor), n)


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Trial:
    """One database; equal settings are the same trial to the compiler."""

    n: int
    words: int | None
    tile: int
    losses: tuple[RankLoss, ...]

    def __call__(self, key: Key[Array, ""], arguments: dict[str, Array]) -> dict[str, Array]:
        query_key, item_key, tie_key = jax.random.split(key, 3)
        query = draw_letters(query_key, arguments["px"], (self.n,))
        # Item 0 is the target, which is no loss of generality: its letters follow the query's.
        others = jnp.full(self.n, arguments["px"].size)

        def score(number: Int[Array, ""]) -> Array:
            own_key = jax.random.fold_in(item_key, number.astype(jnp.uint32))
            source = jnp.where(number == 0, query, others)
            item = draw_outputs(own_key, arguments["letter_laws"], source)
            word = self._described(jax.random.fold_in(own_key, 1), arguments, item)
            return arguments["score"][query, word].sum()

        def add(tile: Array, state: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
            own, better, tied = state
            numbers = tile * self.tile + jnp.arange(self.tile)
            scores = jax.vmap(score)(numbers)
            own = jnp.where(tile == 0, scores[0], own)
            present = numbers < arguments["items"]
            return (
                own,
                better + jnp.sum(present & (scores > own)),
                tied + jnp.sum(present & (scores == own)),
            )

        tiles = -(-arguments["items"] // self.tile)
        start = (jnp.float64(0), jnp.int64(0), jnp.int64(0))
        _, better, tied = jax.lax.fori_loop(0, tiles, add, start)
        lot = jnp.floor(jax.random.uniform(tie_key, dtype=jnp.float64) * tied)
        rank = 1 + better + jnp.minimum(lot, tied - 1).astype(jnp.int64)
        return {_name(loss): _outcome(loss, rank) for loss in self.losses}

    def _described(
        self, key: Key[Array, ""], arguments: dict[str, Array], item: Int[Array, " n"]
    ) -> Array:
        """Describe item y^n by the test channel or the nearest word of its own codebook."""
        if self.words is None:
            return draw_outputs(key, arguments["channel"], item)
        book = draw_letters(key, arguments["output_marginal"], (self.words, self.n))
        distance = arguments["distortion"][item, book].sum(axis=1)
        lot_key = jax.random.fold_in(key, 1)
        lot = jax.random.uniform(lot_key, (self.words,), dtype=jnp.float64)
        return book[jnp.argmax(jnp.where(distance == distance.min(), lot, -1.0))]


def _whole(table: LetterTable) -> Array:
    """Integers for all letters, u = 0 among them, in float64."""
    return jnp.pad(table.units.astype(jnp.float64), ((0, 0), (1, 0)))


def _name(loss: RankLoss) -> str:
    if loss.kind != "miss":
        return loss.kind
    return "error" if loss.cutoff == 1 else f"miss_{loss.cutoff}"


def _outcome(loss: RankLoss, rank: Int[Array, ""]) -> Array:
    if loss.is_two_valued:
        return rank > loss.cutoff
    return loss.of_log_rank(jnp.log(rank.astype(float)))
