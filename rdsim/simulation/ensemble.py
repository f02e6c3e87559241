r"""Random codes for any discrete source by Monte Carlo: one run for every database size (C14, C15).

A trial draws an item letter by letter, the distance of its stored codeword from the distribution of that
distance, the codeword given its distance and the query; its loss is the exact mean over the rank
distribution (C1), given a competitor's probabilities. No codebook and no database is ever held, so
codebooks have up to 2^900 codewords and databases up to 2^1000 items, and only the target is random.

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
from rdsim.codes.ensembles import joint_types
from rdsim.codes.ensembles.chosen_codeword import draw_likelihood_race, nearest_distribution
from rdsim.codes.ensembles.discrete import (
    MAX_LOG2_SIZE,
    MAX_TABLES,
    competitor_probabilities,
    table_count,
)
from rdsim.codes.ensembles.random_coding import RandomCode, rounded_units
from rdsim.information import LN2
from rdsim.number_types import ArrayLike, Integer
from rdsim.ranking.loss import RankLoss, parse_losses
from rdsim.ranking.rank_distribution import expected_loss_kernel
from rdsim.results import result
from rdsim.simulation.engine.options import RunOptions, checked_run
from rdsim.simulation.engine.trials import MonteCarloResult, run_trials
from rdsim.sources.categorical import draw_categorical
from rdsim.transformations import on_host

_COMPETITORS: Final = ("exact", "product")
_CELLS: Final = 2**22
"""Floats that the trials of a block hold together, where no block is chosen: 32 MB."""


@result
class SimulatedEnsemble:
    """Ensemble averages of a random code, at all database sizes from the same trials.

    Attributes:
        monte_carlo: estimates by name of the loss ("error", "reciprocal_rank", "miss_10", "dcg"),
            each of the shape of log2_size; variances, trials and convergence.
        competitor: "exact" if a competitor's stored codeword has its exact distribution; "product" if it
            was taken for i.i.d. letters of the output marginal, an approximation that no interval covers.
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


class _TrialArrays(NamedTuple):
    """Tables that a trial reads.

    Attributes:
        py: P(y).
        query_channel: P(x|y).
        q: output marginal.
        distances: d(y,u) in steps.
        log_weight: ln of the likelihood encoder's weight of each distance of a block, in steps.
        K: number of codewords.
        scores: s(x,u) in steps.
        start: first entry of each type of the query in the four lists below.
        ordered: scores that a competitor can have, falling within a type.
        log_above: ln of its probability to score higher.
        log_tied: ln of its probability to score the same.
        index_table: what the index of a query's type is added up from, see `joint_types.index_table`.
        log2_size: of the databases.

    """

    py: Float[Array, " y"]
    query_channel: Float[Array, "y x"]
    q: Float[Array, " u"]
    distances: Int[Array, "y u"]
    log_weight: Float[Array, " t"]
    K: Float[Array, ""]
    scores: Float[Array, "x u"]
    start: Int[Array, " types"]
    ordered: Float[Array, " e"]
    log_above: Float[Array, " e"]
    log_tied: Float[Array, " e"]
    index_table: Int[Array, "m j"]
    log2_size: Float[Array, "..."]


@dataclasses.dataclass(frozen=True)
class _EnsembleTrial:
    """One target; equal settings are one function to the compiler and to a checkpoint."""

    n: int
    encoder: str
    competitor: str
    distance_levels: int
    score_levels: int
    search_steps: int
    losses: tuple[RankLoss, ...]

    def __call__(self, key: Array, given: _TrialArrays) -> dict[str, Array]:
        item_key, distance_key, race_key, word_key, query_key = jax.random.split(key, 5)
        y = draw_categorical(given.py, jax.random.uniform(item_key, (self.n,)))
        codeword = self._stored_codeword((distance_key, race_key, word_key), y, given)
        x = draw_categorical(given.query_channel[y], jax.random.uniform(query_key, (self.n,)))
        score = jnp.sum(given.scores[x, codeword])
        competitor = self._listed if self.competitor == "exact" else self._product
        log_above, log_tied = competitor(x, score, given)
        return {
            # Rounding takes a sure loss a few units beyond one.
            loss.name: jnp.clip(
                expected_loss_kernel(log_above, log_tied, given.log2_size, loss), 0, 1
            )
            for loss in self.losses
        }

    def _stored_codeword(
        self, keys: tuple[Array, Array, Array], y: Int[Array, " n"], given: _TrialArrays
    ) -> Int[Array, " n"]:
        """Draw the distance, then letters from the last to the first given the rest.

        Forward filtering, backward sampling: the distributions of the partial sums are computed from the
        first letter on, and each letter is drawn given the distance that the letters before it must have.
        """
        distance_key, race_key, word_key = keys
        f, before = _sum_distribution(given.distances[y], given.q, self.distance_levels)
        if self.encoder == "minimum_distortion":
            chosen = nearest_distribution(f, given.K)
        else:
            chosen = draw_likelihood_race(race_key, f, given.log_weight, given.K)
        distance = draw_categorical(chosen, jax.random.uniform(distance_key, ())).astype(int)

        def letter(
            left: Int[Array, ""], step: tuple[Array, Array, Array]
        ) -> tuple[Int[Array, ""], Int[Array, ""]]:
            earlier, moves, uniform = step
            rest = left - moves
            weight = jnp.where(rest >= 0, given.q * earlier[jnp.maximum(rest, 0)], 0.0)
            u = draw_categorical(weight, uniform)
            return rest[u], u

        uniforms = jax.random.uniform(word_key, (self.n,))
        steps = before, given.distances[y], uniforms
        return jax.lax.scan(letter, distance, steps, reverse=True)[1]

    def _listed(
        self, x: Int[Array, " n"], score: Float[Array, ""], given: _TrialArrays
    ) -> tuple[Array, Array]:
        """Find the target's own score in the list of its query's type by binary search; it is there."""
        letters = given.scores.shape[0]
        counts = jnp.sum(x[:, None] == jnp.arange(letters), axis=0)
        left = self.n - jnp.cumsum(counts) + counts
        to_come = jnp.arange(letters - 1, 0, -1)
        ahead = given.index_table[left[:-1] + 1, to_come] - given.index_table[left[1:] + 1, to_come]
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
        self, x: Int[Array, " n"], score: Float[Array, ""], given: _TrialArrays
    ) -> tuple[Array, Array]:
        """Convolve the scores of i.i.d. letters: exactly, for an approximate distribution of codewords."""
        steps = given.scores[x].astype(int)
        p, _ = _sum_distribution(steps, given.q, self.score_levels)
        place = score.astype(int)
        above = jnp.sum(jnp.where(jnp.arange(p.size) > place, p, 0.0))
        return jnp.log(jnp.minimum(above, 1.0)), jnp.log(p[place])


@on_host
@validation.needs_float64
def simulate_ensemble(
    key: Any,
    code: RandomCode,
    log2_size: ArrayLike,
    losses: Any = ("error", "reciprocal_rank"),
    *,
    competitor: str | None = None,
    levels: Integer | None = None,
    trials: Integer | None = None,
    target_width: float | Mapping[str, float] | None = None,
    cap: Integer | None = None,
    confidence: float = 0.95,
    run: RunOptions | None = None,
) -> SimulatedEnsemble:
    r"""Estimate the ensemble-average rank losses of a random code, all sizes and losses in one run.

    A trial computes $E\,\rho(1 + \mathrm{Bin}(M-1, a + V e))$ given its query and stored codeword, at all
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
        target_width: largest width (upper - lower) of every interval, or widths by name of a loss ("miss_10").
        cap: most trials, with target_width.
        confidence: of the interval of one loss at one size.
        run: options of the run; by default a block holds 32 MB.

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
    run = checked_run(run, trials=trials, target_width=target_width, cap=cap, confidence=confidence)
    size = validation.interval("log2_size", log2_size, low=1.0, high=MAX_LOG2_SIZE)
    validation.not_empty("log2_size", size)
    several = isinstance(losses, list | tuple) and losses[:1] not in (["miss"], ("miss",))
    parsed = parse_losses(losses if several else [losses])
    if competitor is None:
        competitor = "exact" if table_count(code) <= MAX_TABLES else "product"
    if competitor not in _COMPETITORS:
        raise ValueError(f"competitor must be one of {_COMPETITORS} or None, got {competitor!r}")
    most = min(max(4096 // code.n, 16), 256) if levels is None else levels
    most = validation.integer("levels", most, low=1, high=4096)
    arrays, trial, moved = _prepared(code, competitor, most, size, parsed)
    cells = code.n * (code.n * trial.distance_levels + 1)
    found = run_trials(
        key,
        trial,
        arrays,
        trials=trials,
        target_width=target_width,
        cap=cap,
        confidence=confidence,
        run=run.with_block(2 ** int(np.clip(math.log2(_CELLS / cells), 0, 8))),
    )
    return SimulatedEnsemble(
        monte_carlo=found,
        competitor=competitor,
        distortion_rounding=moved[0],
        score_rounding=moved[1],
    )


def _prepared(
    code: RandomCode,
    competitor: str,
    levels: int,
    size: Float[Array, "..."],
    losses: tuple[RankLoss, ...],
) -> tuple[_TrialArrays, _EnsembleTrial, tuple[float, float]]:
    """Arrays of a trial, the trial, and the most that rounding moved a distortion and a score."""
    joint = np.asarray(code.joint)
    distances, distance_moved = rounded_units(np.asarray(code.distortions), code.n, levels)
    empty = np.zeros(1)
    if competitor == "exact":
        listed = competitor_probabilities(code)
        scores, score_moved, score_levels = listed.units, 0.0, 0
        # Padded, so that sources of equal alphabets and block length share one compiled trial.
        cells = joint.shape[0] * code.output_marginal.size
        padded = math.comb(code.n + cells - 1, cells - 1)
        missing = (0, padded - listed.score.size)
        ordered = np.pad(listed.score, missing)
        above, tied = np.pad(listed.log_above, missing), np.pad(listed.log_tied, missing)
        start, search = listed.start, padded.bit_length()
    else:
        table = np.asarray(code.scores)
        if not np.isfinite(table).all():
            raise ValueError(
                "code must have finite scores for a product competitor, but some pairs of query "
                "and codeword letter cannot occur; give random_code other scores"
            )
        rounded, score_moved = rounded_units(table, code.n, levels)
        scores, score_levels, search = rounded.units, rounded.levels, 0
        start, ordered, above, tied = np.zeros(2, int), empty, empty, empty
    distance = np.arange(code.n * distances.levels + 1) * distances.step
    arrays = _TrialArrays(
        py=jnp.asarray(joint.sum(axis=0)),
        query_channel=jnp.asarray((joint / joint.sum(axis=0)).T),
        q=code.output_marginal,
        distances=jnp.asarray(distances.units.astype(int)),
        log_weight=jnp.asarray(-float(code.slope) * LN2 * distance),
        K=jnp.exp2(code.log2_codebook_size),
        scores=jnp.asarray(scores),
        start=jnp.asarray(start),
        ordered=jnp.asarray(ordered),
        log_above=jnp.asarray(above),
        log_tied=jnp.asarray(tied),
        index_table=jnp.asarray(joint_types.index_table(code.n, joint.shape[0])),
        log2_size=size,
    )
    trial = _EnsembleTrial(
        n=code.n,
        encoder=code.encoder,
        competitor=competitor,
        distance_levels=distances.levels,
        score_levels=score_levels,
        search_steps=search,
        losses=losses,
    )
    return arrays, trial, (distance_moved, score_moved)


def _sum_distribution(
    steps: Int[Array, "n u"], q: Float[Array, " u"], levels: int
) -> tuple[Float[Array, " t"], Float[Array, "n t"]]:
    """Pmf of the sum of steps[i, U_i], U i.i.d. from q; and the pmfs before each letter is added."""
    size = steps.shape[0] * levels + 1

    def add(p: Float[Array, " t"], moves: Int[Array, " u"]) -> tuple[Array, Array]:
        padded = jnp.pad(p, (levels, 0))

        def moved(move: Int[Array, ""]) -> Array:
            return jax.lax.dynamic_slice_in_dim(padded, levels - move, size)

        return q @ jax.vmap(moved)(moves), p

    return jax.lax.scan(add, jnp.zeros(size).at[0].set(1.0), steps)
