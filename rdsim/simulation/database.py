r"""Direct simulation of a database: every item drawn, described, scored and ranked.

The rank distribution is not used: this checks it and the ensembles built on it, for databases small
enough to be drawn once a trial. The work is M n letters a trial, times K with codebooks.
"""

import dataclasses
from collections.abc import Collection, Mapping
from typing import Final

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, Key

from rdsim import validation
from rdsim.codes.codebook import MAX_CODEWORDS, MAX_NUMBER
from rdsim.codes.letter_tables import LetterTable, distortion_table, letter_table
from rdsim.information import density_bits
from rdsim.number_types import ArrayLike, Integer, PRNGKey
from rdsim.ranking.block_score import through_channel
from rdsim.ranking.loss import Loss, RankLoss, parse_losses
from rdsim.simulation.engine.options import RunOptions, checked_run
from rdsim.simulation.engine.trials import MonteCarloResult, run_trials
from rdsim.sources.tables import draw_letters, draw_outputs
from rdsim.transformations import on_host

_FEW_AT_ONCE, _MANY_AT_ONCE = 16, 256
"""Items side by side in small and in large databases: two sizes to compile."""
_LETTERS_A_BLOCK: Final = 2**20
"""Letters that the trials of a block hold together, where no block is chosen: 8 MB."""


@on_host
@validation.needs_float64
def simulate_database(
    key: PRNGKey,
    joint: ArrayLike,
    test_channel: ArrayLike,
    log2_size: ArrayLike,
    losses: Collection[Loss] = ("error",),
    *,
    n: Integer,
    scores: ArrayLike | None = None,
    codebook_size: Integer | None = None,
    distortions: ArrayLike | None = None,
    trials: Integer | None = None,
    target_width: float | Mapping[str, float] | None = None,
    cap: Integer | None = None,
    confidence: float = 0.95,
    run: RunOptions | None = None,
) -> MonteCarloResult:
    r"""Simulate a database of M items in every trial and rank its target.

    An item's n letters are described by $U^n \sim \prod_i Q(u|y_i)$; or, if a number of codewords is
    given, by the nearest codeword (ties at random) of a codebook of its own, drawn from the output
    marginal. The target's query is scored against all descriptions, ties at random.

    Args:
        key: PRNG key.
        joint: P(x,y) of query and item letter, shape (|X|, |Y|).
        test_channel: Q(u|y), shape (|Y|, |U|), rows summing to one.
        log2_size: log2 M, 1 to 32; M is the nearest integer.
        losses: losses to average: "error", "reciprocal_rank", ("miss", K) or "dcg".
        n: letters in an item, at least 1.
        scores: s(x,u) of a letter, finite, shape (|X|, |U|); the information density by default.
        codebook_size: K, codewords of each item, or None for the test channel itself.
        distortions: d(y,u) that the codebooks' encoder minimises, shape (|Y|, |U|); with codebook_size.
        trials: as in `run_trials`, and so the next three.
        target_width: largest width (upper - lower) of every interval, with cap; names as in the result.
        cap: most trials.
        confidence: of one interval.
        run: options of the run; by default a block holds 2^20 letters.

    Returns:
        Estimates by the names "error", "reciprocal_rank", "dcg" and "miss_K".

    """
    validation.prng_key("key", key)
    run = checked_run(run, trials=trials, target_width=target_width, cap=cap, confidence=confidence)
    n = validation.integer("n", n, low=1)
    through = through_channel(joint, test_channel, "test_channel")
    size = float(validation.interval("log2_size", log2_size, low=1.0, high=32.0, ndim=0))
    items = min(round(2.0**size), MAX_NUMBER)
    if (codebook_size is None) != (distortions is None):
        raise ValueError("codebook_size and distortions must be given together, or neither")
    K = None
    if codebook_size is not None:
        K = validation.integer("codebook_size", codebook_size, low=1, high=MAX_CODEWORDS)
    shape = np.shape(test_channel)
    d = np.zeros(shape) if distortions is None else distortion_table(distortions)
    if d.shape != shape:
        raise ValueError(f"distortions must have the shape {shape} of test_channel")
    if scores is None:
        score = score_table(through, n)
    else:
        given = np.asarray(validation.bounded("scores", scores, ndim=2))
        if given.shape != through.shape:
            raise ValueError(f"scores must have the shape {through.shape}, got {given.shape}")
        score = letter_table(given, n)
    trial = _DatabaseTrial(
        n=n,
        K=K,
        # Small databases are not padded to a large tile.
        tile=_FEW_AT_ONCE if items <= 4 * _FEW_AT_ONCE else _MANY_AT_ONCE,
        losses=tuple(sorted(set(parse_losses(losses)))),
    )
    block = max(_LETTERS_A_BLOCK // (trial.tile * n * (K or 1)), 1)
    p = np.asarray(validation.pmf("joint", joint, ndim=2))
    px, py = p.sum(axis=1), p.sum(axis=0)
    given_query = p / np.where(px > 0, px, 1.0)[:, None]
    arguments = {
        "px": px,
        # Rows: distributions of the target's letter given each query letter; the last row: of any other item's letter.
        "item_letters": np.concatenate([given_query, py[None]]),
        "channel": np.asarray(test_channel, float),
        "output_marginal": through.sum(axis=0) / through.sum(),
        "distortions": _with_letter_zero(letter_table(d, n)),
        "scores": _with_letter_zero(score),
        "items": np.int64(items),
    }
    return run_trials(
        key,
        trial,
        arguments,
        trials=trials,
        target_width=target_width,
        cap=cap,
        confidence=confidence,
        run=run.with_block(min(block, 2**20)),
    )


def score_table(through: np.ndarray, n: int) -> LetterTable:
    """Put information densities of P(x,u) on a lattice.

    A pair that cannot occur scores so low that n - 1 others cannot make up for it.
    """
    density = density_bits(through)
    possible = through > 0
    top = np.where(possible, density, -np.inf).max(axis=1, keepdims=True)
    bottom = np.where(possible, density, np.inf).min(axis=1, keepdims=True)
    known = np.isfinite(top)
    width = np.max(top - bottom, where=known, initial=0.0)
    # n - 1 other letters can raise a sum by at most (n - 1) widths: n + 1 below the top is out of their reach.
    floor = np.where(known, top, 0.0) - (n + 1) * (width if width > 0 else 1.0)
    return letter_table(np.where(possible, density, floor), n)


@dataclasses.dataclass(frozen=True, kw_only=True)
class _DatabaseTrial:
    """One database; equal settings are the same trial to the compiler."""

    n: int
    K: int | None
    tile: int
    losses: tuple[RankLoss, ...]

    def __call__(self, key: Key[Array, ""], arguments: dict[str, Array]) -> dict[str, Array]:
        """Draw a query and all items tile by tile, count those better than and tied with the target.

        Item j draws from its own key, so that no digit depends on the tile.
        """
        query_key, item_key, tie_key = jax.random.split(key, 3)
        query = draw_letters(query_key, arguments["px"], (self.n,))
        # Item 0 is the target, which is no loss of generality: its letters follow the query's.
        others = jnp.full(self.n, arguments["px"].size)

        def score(number: Int[Array, ""]) -> Array:
            own_key = jax.random.fold_in(item_key, number.astype(jnp.uint32))
            row = jnp.where(number == 0, query, others)
            item = draw_outputs(own_key, arguments["item_letters"], row)
            description = self._described(jax.random.fold_in(own_key, 1), arguments, item)
            return arguments["scores"][query, description].sum()

        def add(tile: Array, state: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
            own, better, tied = state
            numbers = tile * self.tile + jnp.arange(self.tile)
            scores = jax.vmap(score)(numbers)
            # Item 0 comes with the first tile, and is compared with itself too: `tied` counts it, and is at least one.
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
        # Among `tied` equal items the target's place is uniform; rounding may give the place after the last.
        ahead = jnp.floor(jax.random.uniform(tie_key, dtype=jnp.float64) * tied)
        rank = 1 + better + jnp.minimum(ahead, tied - 1).astype(jnp.int64)
        return {loss.name: _outcome(loss, rank) for loss in self.losses}

    def _described(
        self, key: Key[Array, ""], arguments: dict[str, Array], item: Int[Array, " n"]
    ) -> Array:
        """Describe item y^n by the test channel or the nearest codeword of its own codebook."""
        if self.K is None:
            return draw_outputs(key, arguments["channel"], item)
        book = draw_letters(key, arguments["output_marginal"], (self.K, self.n))
        distance = arguments["distortions"][item, book].sum(axis=1)
        tie_key = jax.random.fold_in(key, 1)
        # Ties at random: of the nearest codewords the one with the largest uniform number.
        uniform = jax.random.uniform(tie_key, (self.K,), dtype=jnp.float64)
        return book[jnp.argmax(jnp.where(distance == distance.min(), uniform, -1.0))]


def _with_letter_zero(table: LetterTable) -> np.ndarray:
    """Integers for all letters, u = 0 among them, in float64."""
    return np.pad(np.asarray(table.units, np.float64), ((0, 0), (1, 0)))


def _outcome(loss: RankLoss, rank: Int[Array, ""]) -> Array:
    """An event for a two-valued loss, else the loss itself."""
    if loss.is_two_valued:
        return rank > loss.cutoff
    return loss.of_log_rank(jnp.log(rank.astype(float)))
