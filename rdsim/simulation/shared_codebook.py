r"""One codebook for the whole database: items kept as indices of words, by streaming.

The scheme: K = 2^{nR} words are drawn from the output marginal, every item is stored as the index
of a word, a query scores the words and items are returned word by word, ties at random. All items of
one word are tied, so of M items only the number at each word is needed: items are drawn from their
numbers, encoded and forgotten. With $c_k$ items at word k and the target at word w,

$$\text{better} = \sum_k c_k\, 1\{s(x; u_k) > s(x; u_w)\}, \quad
\text{tied} = \sum_k c_k\, 1\{s(x; u_k) = s(x; u_w)\},$$

and the average over the lot of the ties is exact. Work is M K n multiplications, memory K words,
K counts and a few hundred items: it does not grow with M.
"""

import dataclasses
import math
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int

from rdsim import validation
from rdsim.codes.codebook import MAX_LETTERS, MAX_NUMBER, MAX_WORDS
from rdsim.codes.encoders import distortion_table, items_at_once, letter_table
from rdsim.number_types import ArrayLike, Integer
from rdsim.ranking.block_score import through_channel
from rdsim.ranking.loss import Loss
from rdsim.ranking.metrics.single_target import tied_loss
from rdsim.results import result
from rdsim.simulation.codebook_stream import Scheme, Stream
from rdsim.simulation.direct import score_table
from rdsim.simulation.intervals import Estimate, empirical_bernstein
from rdsim.transformations import on_host


@result
class SharedCodebookRanks:
    """Where the targets of each codebook's queries stand, the lot of the ties not yet drawn.

    Attributes:
        better: items strictly above the target, shape (codebooks, queries).
        tied: items at the target's score, itself among them, shape (codebooks, queries).
        occupied: words that hold an item, shape (codebooks,).
        words: K.
        items: M.

    """

    better: Int[Array, "codebooks queries"]
    tied: Int[Array, "codebooks queries"]
    occupied: Int[Array, " codebooks"]
    words: int = dataclasses.field(metadata={"static": True})
    items: int = dataclasses.field(metadata={"static": True})

    def loss(self, loss: Loss) -> np.ndarray:
        """Compute the loss of every query, averaged over the lot of its ties.

        Args:
            loss: "error", "reciprocal_rank", ("miss", K) or "dcg".

        Returns:
            Loss in [0, 1], shape (codebooks, queries).

        """
        return tied_loss(self.better, self.tied, loss)

    @on_host
    def estimate(self, loss: Loss, *, confidence: float = 0.95) -> Estimate:
        """Estimate the mean over codebooks, databases and queries from independent codebooks.

        Args:
            loss: "error", "reciprocal_rank", ("miss", K) or "dcg".
            confidence: coverage of the interval, in (0, 1).

        Returns:
            Mean and empirical Bernstein interval, scalars; the trials are the codebooks.

        Raises:
            ValueError: if there is only one codebook, from which nothing follows about others.

        """
        losses = self.loss(loss).mean(axis=1)
        if losses.size < 2:
            raise ValueError(
                "codebooks must be at least 2 for an interval over codebooks, got 1; "
                "given_codebook has an interval for this one"
            )
        return empirical_bernstein(losses, confidence=confidence)

    @on_host
    def given_codebook(self, loss: Loss, *, confidence: float = 0.95) -> Estimate:
        """Estimate the mean over queries of each codebook and its database, held fixed.

        Args:
            loss: "error", "reciprocal_rank", ("miss", K) or "dcg".
            confidence: coverage of each interval, in (0, 1).

        Returns:
            Means and empirical Bernstein intervals, shape (codebooks,); the trials are queries.

        """
        return empirical_bernstein(self.loss(loss), confidence=confidence)


@on_host
@validation.needs_float64
def simulate_shared_codebook(
    key: Any,
    joint: ArrayLike,
    test_channel: ArrayLike,
    distortion: ArrayLike,
    log2_size: ArrayLike,
    *,
    n: Integer,
    rate: ArrayLike,
    queries: ArrayLike,
    codebooks: Any = 1,
    slope: ArrayLike = math.inf,
    memory_budget: Integer = 2**31,
    checkpoint: Any = None,
    checkpoint_seconds: Any = 10.0,
    progress: bool = False,
) -> SharedCodebookRanks:
    r"""Simulate random codebooks that all items share, each with a fresh database.

    Words are drawn from $q(u) = \sum_y P(y) Q(u|y)$ and scored by the information density of the
    test channel, $\sum_i \log_2 P(x_i|u_i)/P(x_i)$. Codebook c, its items and its queries draw from
    fold_in(key, c), item j from its number: results depend on the key and the setting, not on the
    memory, the checkpoints or where a run was continued.

    Args:
        key: PRNG key.
        joint: P(x,y) of query and item letter, shape (|X|, |Y|).
        test_channel: Q(u|y), shape (|Y|, |U|), rows summing to one.
        distortion: d(y,u) that the encoder minimises, finite, shape (|Y|, |U|).
        log2_size: log2 M, 1 to 32; M is the nearest integer.
        n: letters in an item, at least 1.
        rate: R >= 0 in bits a letter; K is the whole part of 2^{nR}, at most 2^24.
        queries: queries for each codebook, at least 2; targets uniform on the items.
        codebooks: codebooks, at least 1.
        slope: of the likelihood encoder, bits a unit of distortion; inf for the nearest word.
        memory_budget: bytes for all arrays; see rdsim.codes.encoders.items_at_once. It changes no
            result of the nearest word; of the likelihood encoder it does only where a draw falls
            within the rounding of a probability, about 2^-52.
        checkpoint: file to continue from and to write the counts to.
        checkpoint_seconds: least time between two writes, in seconds.
        progress: show a bar on stderr; it counts items.

    Returns:
        The counts from which every loss follows, shape (codebooks, queries).

    Raises:
        ValueError: if an argument lies outside its range, the budget is too small, or the checkpoint
            is damaged or belongs to another run.
        TypeError: if the key is not a typed key or a count is not an integer.

    References:
        Tuncel (2009), IEEE Trans. Inf. Theory 55(8); likelihood encoder: Song, Cuff and Poor (2016).

    """
    validation.prng_key("key", key)
    n = validation.integer("n", n, low=1)
    through = through_channel(joint, test_channel, "test_channel")
    table = distortion_table(distortion)
    if table.shape != np.shape(test_channel):
        raise ValueError(
            f"distortion must have the shape {np.shape(test_channel)} of test_channel, "
            f"got {table.shape}"
        )
    words = _words(n, rate)
    size = float(validation.interval("log2_size", log2_size, low=1.0, high=32.0, ndim=0))
    items = min(round(2.0**size), MAX_NUMBER)
    slope = float(validation.interval("slope", slope, low=0.0, ndim=0))
    queries = validation.integer("queries", queries, low=2, high=MAX_NUMBER)
    codebooks = validation.integer("codebooks", codebooks, low=1, high=MAX_NUMBER)
    budget = validation.integer("memory_budget", memory_budget, low=1)
    where = validation.path("checkpoint", checkpoint)
    pause = float(validation.interval("checkpoint_seconds", checkpoint_seconds, low=0.0, ndim=0))
    if max(through.shape) > MAX_LETTERS:
        raise ValueError(f"joint must have at most {MAX_LETTERS} letters, got {through.shape}")
    law = np.asarray(validation.pmf("joint", joint, ndim=2))
    py = law.sum(axis=0)
    letters, score = letter_table(table, n), score_table(through, n)
    # Counts of every codebook, and the text that a checkpoint makes of them; two counts a query.
    other = (80 if checkpoint is not None else 8) * codebooks * words + 16 * codebooks * queries
    tile = min(
        items_at_once(budget, words, n, units, other=other)
        for units in (letters.units, score.units)
    )
    stream = Stream(
        key=key,
        scheme=Scheme(
            output_marginal=jnp.asarray(through.sum(axis=0) / through.sum()),
            py=jnp.asarray(py),
            query_channel=jnp.asarray((law / np.where(py > 0, py, 1.0)).T),
            distortion=letters.units,
            slope=jnp.asarray(slope * letters.step),
            score=score.units,
        ),
        n=n,
        words=words,
        items=items,
        by_minimum=math.isinf(slope),
        tile=tile,
        path=where,
        pause=pause,
    )
    counts, better, tied = stream.to_the_end(codebooks, queries, progress)
    return SharedCodebookRanks(
        better=jnp.asarray(better),
        tied=jnp.asarray(tied),
        occupied=jnp.asarray((counts > 0).sum(axis=1)),
        words=words,
        items=items,
    )


def _words(n: int, rate: Any) -> int:
    """K, the whole part of 2^{nR}."""
    rate = float(validation.interval("rate", rate, low=0.0, ndim=0))
    if n * rate > math.log2(MAX_WORDS) + 1e-9:
        raise ValueError(
            f"rate must leave at most 2^{math.log2(MAX_WORDS):g} words, got n R = {n * rate:g} bits"
        )
    return max(math.floor(2.0 ** (n * rate) * (1 + 1e-12)), 1)
