r"""Random codes for any discrete source by Monte Carlo: one run for every database size (C14, C15).

A trial draws an item letter by letter, the distance of its stored word from that distance's own law,
the word given its distance and the query; its loss is the exact rank law (C1) against a competitor's
probabilities. No codebook and no database is ever held, so codebooks have up to 2^900 words and databases
up to 2^1000 items, and what is left to chance is the target alone.

The sum over types in `rdsim.codes.discrete_ensemble` has no error at all and should be preferred
where it is feasible. Here alphabets and block lengths go beyond it.
"""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from rdsim import validation
from rdsim.codes import joint_types
from rdsim.codes.ensemble import MAX_LOG2_SIZE, MAX_TABLES, competitor_chances, table_count
from rdsim.codes.random_coding import RandomCode, rounded_units
from rdsim.codes.selection import draw_likely, nearest_law
from rdsim.information import LN2
from rdsim.number_types import ArrayLike, Integer
from rdsim.ranking.loss import RankLoss, parse_losses
from rdsim.ranking.rank_distribution import expected_loss_kernel, reach_of
from rdsim.results import result
from rdsim.simulation.engine import MonteCarloResult, check_options, run_trials
from rdsim.transformations import on_host

_COMPETITORS: Final = ("exact", "product")
_CELLS: Final = 2**22  # floats of all trials of a block together


@result
class SimulatedEnsemble:
    """Ensemble averages of a random code, at all database sizes from the same trials.

    Attributes:
        monte_carlo: estimates by name of the loss ("error", "reciprocal_rank", "miss_10", "dcg"),
            each of the shape of log2_size; variances, trials and convergence.
        competitor: "exact" if a competitor's stored word has its exact law; "product" if it was
            taken for i.i.d. letters of the output marginal, an approximation that no interval covers.
        distortion_rounding: the most that a letter's distortion was moved to lie on a lattice; the
            estimates are those of the encoder with the moved distortions. Zero for a lattice.
        score_rounding: the same for the decoder's scores.

    """

    monte_carlo: MonteCarloResult
    competitor: str = dataclasses.field(metadata={"static": True})
    distortion_rounding: float = dataclasses.field(metadata={"static": True})
    score_rounding: float = dataclasses.field(metadata={"static": True})

    @property
    def estimates(self) -> Any:
        """Means with intervals, by name of the loss."""
        return self.monte_carlo.estimates


class _Arrays(NamedTuple):
    """What a trial looks up."""

    item_sums: Float[Array, " y"]  # distribution function of P(y)
    query_sums: Float[Array, "y x"]  # distribution functions of P(x|y)
    q: Float[Array, " u"]
    distances: Int[Array, "y u"]  # in steps
    log_weight: Float[Array, " t"]
    words: Float[Array, ""]
    scores: Float[Array, "x u"]  # in steps
    start: Int[Array, " types"]
    ordered: Float[Array, " e"]
    log_above: Float[Array, " e"]
    log_tied: Float[Array, " e"]
    ranks: Int[Array, "m j"]
    log2_size: Float[Array, "..."]


@dataclasses.dataclass(frozen=True)
class _Trial:
    """One target; equal settings are one function to the compiler and to a checkpoint."""

    n: int
    encoder: str
    competitor: str
    distance_levels: int
    score_levels: int
    search_steps: int
    losses: tuple[tuple[str, RankLoss], ...]
    reach: int

    def __call__(self, key: Array, given: _Arrays) -> dict[str, Array]:
        item_key, distance_key, race_key, word_key, query_key = jax.random.split(key, 5)
        y = _drawn(jax.random.uniform(item_key, (self.n,)), given.item_sums)
        word = self._stored_word((distance_key, race_key, word_key), y, given)
        x = _drawn(jax.random.uniform(query_key, (self.n,)), given.query_sums[y])
        score = jnp.sum(given.scores[x, word])
        chances = self._listed if self.competitor == "exact" else self._product
        log_above, log_tied = chances(x, score, given)
        return {
            # Rounding takes a sure loss a few units beyond one.
            name: jnp.clip(
                expected_loss_kernel(log_above, log_tied, given.log2_size, loss, self.reach), 0, 1
            )
            for name, loss in self.losses
        }

    def _stored_word(
        self, keys: tuple[Array, Array, Array], y: Int[Array, " n"], given: _Arrays
    ) -> Int[Array, " n"]:
        """Draw the distance from its law, then letters from the last to the first given the rest."""
        distance_key, race_key, word_key = keys
        law, before = _law_of_sum(given.distances[y], given.q, self.distance_levels)
        if self.encoder == "minimum_distortion":
            chosen = nearest_law(law, given.words)
        else:
            chosen = draw_likely(race_key, law, given.log_weight, given.words)
        sums = jnp.cumsum(chosen)
        distance = _drawn(jax.random.uniform(distance_key, ()), sums / sums[-1])

        def letter(
            left: Int[Array, ""], step: tuple[Array, Array, Array]
        ) -> tuple[Int[Array, ""], Int[Array, ""]]:
            law, moves, chance = step
            rest = left - moves
            weight = jnp.where(rest >= 0, given.q * law[jnp.maximum(rest, 0)], 0.0)
            sums = jnp.cumsum(weight)
            u = _drawn(chance, sums / sums[-1])
            return rest[u], u

        chances = jax.random.uniform(word_key, (self.n,))
        steps = before, given.distances[y], chances
        return jax.lax.scan(letter, distance, steps, reverse=True)[1]

    def _listed(
        self, x: Int[Array, " n"], score: Float[Array, ""], given: _Arrays
    ) -> tuple[Array, Array]:
        """Look the target's own score up in the list of its query's type; it is always there."""
        letters = given.scores.shape[0]
        counts = jnp.sum(x[:, None] == jnp.arange(letters), axis=0)
        left = self.n - jnp.cumsum(counts) + counts
        to_come = jnp.arange(letters - 1, 0, -1)
        ahead = given.ranks[left[:-1] + 1, to_come] - given.ranks[left[1:] + 1, to_come]
        kind = jnp.sum(ahead)

        def halve(_: Array, ends: tuple[Array, Array]) -> tuple[Array, Array]:
            low, high = ends
            middle = (low + high) // 2
            higher = given.ordered[middle] > score
            return jnp.where(higher, middle + 1, low), jnp.where(higher, high, middle)

        ends = given.start[kind], given.start[kind + 1] - 1
        place, _ = jax.lax.fori_loop(0, self.search_steps, halve, ends)
        return given.log_above[place], given.log_tied[place]

    def _product(
        self, x: Int[Array, " n"], score: Float[Array, ""], given: _Arrays
    ) -> tuple[Array, Array]:
        """Add up scores of i.i.d. letters: an exact convolution of an approximate law."""
        steps = given.scores[x].astype(int)
        law, _ = _law_of_sum(steps, given.q, self.score_levels)
        place = score.astype(int)
        above = jnp.sum(jnp.where(jnp.arange(law.size) > place, law, 0.0))
        return jnp.log(jnp.minimum(above, 1.0)), jnp.log(law[place])


@on_host
@validation.needs_float64
def simulate_ensemble(
    key: Any,
    code: RandomCode,
    log2_size: ArrayLike,
    losses: Any = ("error", "reciprocal_rank"),
    *,
    competitor: str | None = None,
    levels: Any = None,
    trials: Integer | None = None,
    target_width: float | Mapping[str, float] | None = None,
    cap: Integer | None = None,
    confidence: float = 0.95,
    block: Integer | None = None,
    chunk: Integer = 16,
    devices: Any = None,
    checkpoint: Any = None,
    progress: bool = False,
) -> SimulatedEnsemble:
    r"""Estimate the ensemble-average rank losses of a random code, all sizes and losses in one run.

    A trial computes $E\,\rho(1 + \mathrm{Bin}(M-1, a + V e))$ given its query and stored word, at all
    sizes M: estimates at different sizes share their trials and are correlated.

    Args:
        key: PRNG key; trial t draws from fold_in(key, t).
        code: from `rdsim.codes.random_code`.
        log2_size: log2 M, 1 to 1000, any shape.
        losses: one loss or a sequence of them: "error", "reciprocal_rank", ("miss", K) or "dcg".
        competitor: "exact", "product" (see `SimulatedEnsemble`), or None: exact where joint types
            are few enough to be listed, product beyond.
        levels: to how many steps distortions (and, with "product", scores) are rounded if they lie
            on no lattice; by default as many as a total of 4096 allows, from 16 to 256.
        trials: number of trials.
        target_width: width wanted of every interval, or widths by name of a loss ("miss_10").
        cap: most trials, with target_width.
        confidence: of the interval of one loss at one size.
        block: trials side by side, see `run_trials`; by default as many as 32 MB hold.
        chunk: see `run_trials`.
        devices: see `run_trials`.
        checkpoint: file to continue from and to write to, see `run_trials`.
        progress: show a bar on stderr.

    Returns:
        Estimates with intervals, and whether anything was approximated.

    Raises:
        ValueError: if an argument lies outside its range, a loss or competitor is unknown, exact
            probabilities need too many joint types, or a product competitor has impossible pairs.
        TypeError: if the key is no typed key.

    References:
        Sampling a word given its distance by the prefix convolutions: forward filtering, backward
        sampling, Fruhwirth-Schnatter (1994), J. Time Series Analysis 15(2).

    """
    validation.prng_key("key", key)
    validation.instance("code", code, RandomCode)
    check_options(
        trials=trials,
        target_width=target_width,
        cap=cap,
        confidence=confidence,
        block=1 if block is None else block,
        chunk=chunk,
        devices=devices,
        checkpoint=checkpoint,
    )
    size = validation.interval("log2_size", log2_size, low=1.0, high=MAX_LOG2_SIZE)
    validation.not_empty("log2_size", size)
    named = _named(losses)
    if competitor is None:
        competitor = "exact" if table_count(code) <= MAX_TABLES else "product"
    if competitor not in _COMPETITORS:
        raise ValueError(f"competitor must be one of {_COMPETITORS} or None, got {competitor!r}")
    most = min(max(4096 // code.n, 16), 256) if levels is None else levels
    most = validation.integer("levels", most, low=1, high=4096)
    arrays, trial, moved = _prepared(code, competitor, most, size, named)
    if block is None:
        cells = code.n * (code.n * trial.distance_levels + 1)
        block = 2 ** int(np.clip(math.log2(_CELLS / cells), 0, 8))
    result = run_trials(
        trial,
        key,
        arrays,
        trials=trials,
        target_width=target_width,
        cap=cap,
        confidence=confidence,
        block=block,
        chunk=chunk,
        devices=devices,
        checkpoint=checkpoint,
        progress=progress,
    )
    return SimulatedEnsemble(
        monte_carlo=result,
        competitor=competitor,
        distortion_rounding=moved[0],
        score_rounding=moved[1],
    )


def _named(losses: Any) -> tuple[tuple[str, RankLoss], ...]:
    several = isinstance(losses, list | tuple) and losses[:1] not in (["miss"], ("miss",))
    return tuple((_name(loss), loss) for loss in parse_losses(losses if several else [losses]))


def _name(loss: RankLoss) -> str:
    if loss.kind != "miss":
        return loss.kind
    return "error" if loss.cutoff == 1 else f"miss_{loss.cutoff}"


def _prepared(
    code: RandomCode,
    competitor: str,
    levels: int,
    size: Float[Array, "..."],
    losses: tuple[tuple[str, RankLoss], ...],
) -> tuple[_Arrays, _Trial, tuple[float, float]]:
    joint = np.asarray(code.joint)
    distances, distance_moved = rounded_units(np.asarray(code.distortions), code.n, levels)
    empty = np.zeros(1)
    if competitor == "exact":
        listed = competitor_chances(code)
        scores, score_moved, score_levels = listed.units, 0.0, 0
        # Sources of equal alphabets and block length share one compiled trial.
        cells = joint.shape[0] * code.output_marginal.size
        room = math.comb(code.n + cells - 1, cells - 1) - listed.score.size
        ordered, above, tied = (
            np.pad(part, (0, room)) for part in (listed.score, listed.log_above, listed.log_tied)
        )
        start, search = listed.start, (room + listed.score.size).bit_length()
    else:
        table = np.asarray(code.scores)
        if not np.isfinite(table).all():
            raise ValueError(
                "code must have finite scores for a product competitor, but some pairs of query "
                "and word letter cannot occur; give random_code other scores"
            )
        rounded, score_moved = rounded_units(table, code.n, levels)
        scores, score_levels, search = rounded.whole, rounded.levels, 0
        start, ordered, above, tied = np.zeros(2, int), empty, empty, empty
    distance = np.arange(code.n * distances.levels + 1) * distances.step
    arrays = _Arrays(
        item_sums=jnp.asarray(joint.sum(axis=0).cumsum()),
        query_sums=jnp.asarray((joint / joint.sum(axis=0)).T.cumsum(axis=1)),
        q=code.output_marginal,
        distances=jnp.asarray(distances.whole.astype(int)),
        log_weight=jnp.asarray(-float(code.slope) * LN2 * distance),
        words=jnp.exp2(code.log2_words),
        scores=jnp.asarray(scores),
        start=jnp.asarray(start),
        ordered=jnp.asarray(ordered),
        log_above=jnp.asarray(above),
        log_tied=jnp.asarray(tied),
        ranks=jnp.asarray(joint_types.rank_table(code.n, joint.shape[0])),
        log2_size=size,
    )
    trial = _Trial(
        n=code.n,
        encoder=code.encoder,
        competitor=competitor,
        distance_levels=distances.levels,
        score_levels=score_levels,
        search_steps=search,
        losses=losses,
        reach=reach_of(size),
    )
    return arrays, trial, (distance_moved, score_moved)


def _drawn(chance: Float[Array, "..."], sums: Float[Array, "... k"]) -> Int[Array, "..."]:
    """Index whose share of [0, 1) holds the probability; the last sum counts as one, whatever rounding."""
    return jnp.sum(chance[..., None] >= sums[..., :-1], axis=-1)


def _law_of_sum(
    steps: Int[Array, "n u"], q: Float[Array, " u"], levels: int
) -> tuple[Float[Array, " t"], Float[Array, "n t"]]:
    """Law of the sum of steps[i, U_i], U i.i.d. from q; and the laws before each letter is added."""
    size = steps.shape[0] * levels + 1

    def add(law: Float[Array, " t"], moves: Int[Array, " u"]) -> tuple[Array, Array]:
        padded = jnp.pad(law, (levels, 0))

        def moved(move: Int[Array, ""]) -> Array:
            return jax.lax.dynamic_slice_in_dim(padded, levels - move, size)

        return q @ jax.vmap(moved)(moves), law

    return jax.lax.scan(add, jnp.zeros(size).at[0].set(1.0), steps)
