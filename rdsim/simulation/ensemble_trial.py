r"""One trial of a random code: an item, its stored codeword, its query, and the exact mean over the ranks.

The stored codeword is drawn without a codebook: first its distance, from the distribution of the distance that the
encoder chooses, then its letters given that distance.
"""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from rdsim.codes.ensembles.chosen_codeword import draw_likelihood_race, nearest_distribution
from rdsim.ranking.loss import RankLoss
from rdsim.ranking.rank_distribution import expected_loss_kernel
from rdsim.sources.categorical import draw_categorical


class TrialArrays(NamedTuple):
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
        index_table: what the index of a query's type is added up from, see `sequence_types.index_table`.
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
class EnsembleTrial:
    """One target; equal settings are one function to the compiler and to a checkpoint."""

    n: int
    encoder: str
    competitor: str
    distance_levels: int
    score_levels: int
    search_steps: int
    losses: tuple[RankLoss, ...]

    def __call__(self, key: Array, given: TrialArrays) -> dict[str, Array]:
        """Draw an item, its codeword and its query; return the mean of every loss over the rank."""
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
        self, keys: tuple[Array, Array, Array], y: Int[Array, " n"], given: TrialArrays
    ) -> Int[Array, " n"]:
        """Draw the distance, then letters from the last to the first given the rest.

        Forward filtering, backward sampling: the distributions of the partial sums are computed from the
        first letter on, and each letter is drawn given the distance that the letters before it must have.
        """
        distance_key, race_key, word_key = keys
        # f is the pmf of a random codeword's distance from this item, `before` those of its partial sums.
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
            # P(letter u | distance left) is proportional to q_u times P(the earlier letters have the rest).
            weight = jnp.where(rest >= 0, given.q * earlier[jnp.maximum(rest, 0)], 0.0)
            u = draw_categorical(weight, uniform)
            return rest[u], u

        uniforms = jax.random.uniform(word_key, (self.n,))
        steps = before, given.distances[y], uniforms
        return jax.lax.scan(letter, distance, steps, reverse=True)[1]

    def _listed(
        self, x: Int[Array, " n"], score: Float[Array, ""], given: TrialArrays
    ) -> tuple[Array, Array]:
        """Find the target's own score in the list of its query's type by binary search; it is there."""
        letters = given.scores.shape[0]
        # The index of the query's type in the order of `sequence_types.compositions`, added up letter by letter.
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
        # Bisection: scores fall, and those before `low` are higher than the target's own, those from `high` on are not.
        place, _ = jax.lax.fori_loop(0, self.search_steps, halve, ends)
        return given.log_above[place], given.log_tied[place]

    def _product(
        self, x: Int[Array, " n"], score: Float[Array, ""], given: TrialArrays
    ) -> tuple[Array, Array]:
        """Convolve the scores of i.i.d. letters: exactly, for an approximate distribution of codewords."""
        steps = given.scores[x].astype(int)
        p, _ = _sum_distribution(steps, given.q, self.score_levels)
        place = score.astype(int)
        # The tail is summed, not taken as one minus the rest, so that small probabilities keep their digits.
        above = jnp.sum(jnp.where(jnp.arange(p.size) > place, p, 0.0))
        return jnp.log(jnp.minimum(above, 1.0)), jnp.log(p[place])


def _sum_distribution(
    steps: Int[Array, "n u"], q: Float[Array, " u"], levels: int
) -> tuple[Float[Array, " t"], Float[Array, "n t"]]:
    """Pmf of the sum of steps[i, U_i], U i.i.d. from q; and the pmfs before each letter is added."""
    size = steps.shape[0] * levels + 1

    def add(p: Float[Array, " t"], moves: Int[Array, " u"]) -> tuple[Array, Array]:
        # The pmf after a letter is the average over its values of the pmf before, moved up by as many steps.
        padded = jnp.pad(p, (levels, 0))

        def moved(move: Int[Array, ""]) -> Array:
            return jax.lax.dynamic_slice_in_dim(padded, levels - move, size)

        return q @ jax.vmap(moved)(moves), p

    return jax.lax.scan(add, jnp.zeros(size).at[0].set(1.0), steps)
