r"""One codebook for the whole database: items kept as indices of codewords, by streaming.

The scheme: K = 2^{nR} codewords are drawn from the output marginal, every item is stored as the index of
one, a query scores the codewords and items are returned codeword by codeword, ties at random. All items of
one codeword are tied, so of M items only the number at each codeword is needed: items are drawn from their
numbers, encoded and forgotten. With $c_k$ items at codeword k and the target at codeword w,

$$\text{better} = \sum_k c_k\, 1\{s(x; u_k) > s(x; u_w)\}, \quad
\text{tied} = \sum_k c_k\, 1\{s(x; u_k) = s(x; u_w)\},$$

and the average over the order of the ties is exact. Work is M K n multiplications, memory K codewords,
K counts and a few hundred items: it does not grow with M.
"""

import dataclasses
import math
import os

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int

from rdsim import validation
from rdsim.codes.codebook import MAX_CODEWORDS, MAX_LETTERS, MAX_NUMBER
from rdsim.codes.encoders import items_at_once
from rdsim.codes.letter_tables import distortion_table, letter_table
from rdsim.number_types import ArrayLike, Integer, PRNGKey
from rdsim.ranking.block_score import through_channel
from rdsim.ranking.loss import Loss
from rdsim.ranking.metrics.single_target import tied_loss
from rdsim.results import result
from rdsim.simulation.codebook_kernels import Scheme
from rdsim.simulation.codebook_stream import Stream
from rdsim.simulation.database import score_table
from rdsim.simulation.intervals import Estimate, empirical_bernstein
from rdsim.transformations import on_host


@result
class SharedCodebookRanks:
    """Ranks of the targets of each codebook's queries, before ties are broken.

    Attributes:
        better: items strictly above the target, shape (codebooks, queries).
        tied: items at the target's score, itself among them, shape (codebooks, queries).
        occupied: codewords that hold an item, shape (codebooks,).
        codebook_size: K, the number of codewords.
        items: M.

    """

    better: Int[Array, "codebooks queries"]
    tied: Int[Array, "codebooks queries"]
    occupied: Int[Array, " codebooks"]
    codebook_size: int = dataclasses.field(metadata={"static": True})
    items: int = dataclasses.field(metadata={"static": True})

    def loss(self, loss: Loss) -> np.ndarray:
        """Compute the loss of every query, averaged over the order of its ties.

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
    key: PRNGKey,
    joint: ArrayLike,
    test_channel: ArrayLike,
    distortions: ArrayLike,
    log2_size: ArrayLike,
    *,
    n: Integer,
    rate: ArrayLike,
    queries: Integer,
    codebooks: Integer = 1,
    slope: ArrayLike = math.inf,
    memory_budget: Integer = 2**31,
    checkpoint: str | os.PathLike[str] | None = None,
    checkpoint_seconds: ArrayLike = 10.0,
    progress: bool = False,
) -> SharedCodebookRanks:
    r"""Simulate random codebooks that all items share, each with a fresh database.

    Codewords are drawn from $q(u) = \sum_y P(y) Q(u|y)$ and scored by the information density of the
    test channel, $\sum_i \log_2 P(x_i|u_i)/P(x_i)$. Codebook c, its items and its queries draw from
    fold_in(key, c), item j from its number: results depend on the key and the setting, not on the
    memory, the checkpoints or where a run was continued.

    Args:
        key: PRNG key.
        joint: P(x,y) of query and item letter, shape (|X|, |Y|).
        test_channel: Q(u|y), shape (|Y|, |U|), rows summing to one.
        distortions: d(y,u) that the encoder minimises, finite, shape (|Y|, |U|).
        log2_size: log2 M, 1 to 32; M is the nearest integer.
        n: letters in an item, at least 1.
        rate: R >= 0 in bits per letter; $K = \lfloor 2^{nR} \rfloor$, at most 2^24.
        queries: queries for each codebook, at least 2; targets uniform on the items.
        codebooks: codebooks, at least 1.
        slope: of the likelihood encoder, bits per unit of distortion; inf for the nearest codeword.
        memory_budget: bytes for all arrays; see rdsim.codes.encoders.items_at_once. It changes no
            result of the nearest codeword; of the likelihood encoder it does only where a draw falls
            within the rounding of a probability, about 2^-52.
        checkpoint: file to continue from and to write the counts to.
        checkpoint_seconds: least time between two writes, in seconds.
        progress: whether to show a bar on stderr; it counts items.

    Returns:
        The counts from which every loss follows, shape (codebooks, queries).

    Raises:
        ValueError: also if the budget is too small.
        CheckpointMismatchError: if the checkpoint belongs to another run.
        CheckpointDamagedError: if it is damaged.

    References:
        Tuncel (2009), IEEE Trans. Inf. Theory 55(8); likelihood encoder: Song, Cuff and Poor (2016).

    """
    validation.prng_key("key", key)
    n = validation.integer("n", n, low=1)
    slope = float(validation.interval("slope", slope, low=0.0, ndim=0))
    scheme = _scheme(joint, test_channel, distortions, n, slope)
    K = _number_of_codewords(n, rate)
    size = float(validation.interval("log2_size", log2_size, low=1.0, high=32.0, ndim=0))
    items = min(round(2.0**size), MAX_NUMBER)
    queries = validation.integer("queries", queries, low=2, high=MAX_NUMBER)
    codebooks = validation.integer("codebooks", codebooks, low=1, high=MAX_NUMBER)
    budget = validation.integer("memory_budget", memory_budget, low=1)
    path = validation.path("checkpoint", checkpoint)
    pause = float(validation.interval("checkpoint_seconds", checkpoint_seconds, low=0.0, ndim=0))
    # Counts of every codebook, and the text that a checkpoint makes of them; two counts a query.
    other = (8 if path is None else 80) * codebooks * K + 16 * codebooks * queries
    stream = Stream(
        key=key,
        scheme=scheme,
        n=n,
        K=K,
        items=items,
        by_minimum=math.isinf(slope),
        tile=min(
            items_at_once(budget, K, n, units, other=other)
            for units in (scheme.distortions, scheme.scores)
        ),
        path=path,
        pause=pause,
    )
    counts, better, tied = stream.to_the_end(codebooks, queries, progress)
    return SharedCodebookRanks(
        better=jnp.asarray(better),
        tied=jnp.asarray(tied),
        occupied=jnp.asarray((counts > 0).sum(axis=1)),
        codebook_size=K,
        items=items,
    )


def _scheme(
    joint: ArrayLike, test_channel: ArrayLike, distortions: ArrayLike, n: int, slope: float
) -> Scheme:
    """Check the tables and put distortions and scores on lattices on which sums are exact."""
    through = through_channel(joint, test_channel, "test_channel")
    d = distortion_table(distortions)
    if d.shape != np.shape(test_channel):
        raise ValueError(
            f"distortions must have the shape {np.shape(test_channel)} of test_channel, "
            f"got {d.shape}"
        )
    if max(through.shape) > MAX_LETTERS:
        raise ValueError(f"joint must have at most {MAX_LETTERS} letters, got {through.shape}")
    p = np.asarray(validation.pmf("joint", joint, ndim=2))
    py = p.sum(axis=0)
    units = letter_table(d, n)
    return Scheme(
        output_marginal=jnp.asarray(through.sum(axis=0) / through.sum()),
        py=jnp.asarray(py),
        query_channel=jnp.asarray((p / np.where(py > 0, py, 1.0)).T),
        distortions=units.units,
        slope=jnp.asarray(slope * units.step),
        scores=score_table(through, n).units,
    )


def _number_of_codewords(n: int, rate: ArrayLike) -> int:
    """K, the integer part of 2^{nR}."""
    rate = float(validation.interval("rate", rate, low=0.0, ndim=0))
    if n * rate > math.log2(MAX_CODEWORDS) + 1e-9:
        raise ValueError(
            f"rate must leave at most 2^{math.log2(MAX_CODEWORDS):g} codewords, got n R = "
            f"{n * rate:g} bits"
        )
    return max(math.floor(2.0 ** (n * rate) * (1 + 1e-12)), 1)
