r"""Direct simulation of random codes on the DSBS: the scheme of C14, bit by bit.

Nothing of the exact ensemble's reasoning is used: items, codebooks and queries are drawn, words are
compared by counting bits, items are sorted out by distance and ties at random. It is here to check the
exact sums, for block lengths and databases small enough to hold in memory.
"""

import os
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, Final

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key, UInt32

from rdsim import validation
from rdsim.codes.dsbs import codebook_size
from rdsim.number_types import ArrayLike, Integer
from rdsim.ranking.loss import Loss, log_database_size, parse_loss
from rdsim.results import result
from rdsim.simulation.exact_sums import MOST_TRIALS
from rdsim.simulation.intervals import Estimate, clopper_pearson, empirical_bernstein
from rdsim.transformations import on_host

_WORD: Final = 32  # bits packed in one unsigned integer
_MAX_WORDS_A_TRIAL: Final = 2**26  # 256 MB of packed codewords
_WORDS_AT_ONCE: Final = 2**16  # 256 kB: what a core's cache holds; three times faster than 2^20
_WORDS_ON_DEVICE: Final = 2**24  # 64 MB: enough work for every core of an accelerator


@result
class SimulatedRanks:
    """Ranks of the target, one a trial and setting.

    Attributes:
        ranks: in 1..M, shape (..., trials), int32; trial t was drawn from fold_in(key, t).

    """

    ranks: Int[Array, "... trials"]

    @on_host
    def estimate(self, loss: Loss, *, confidence: float = 0.95) -> Estimate:
        """Estimate the mean of a loss: exact interval for two-valued losses, Bernstein for others.

        Args:
            loss: "error", "reciprocal_rank", ("miss", K) or "dcg".
            confidence: coverage of each interval, in (0, 1).

        Returns:
            Mean and interval, shape (...).

        Raises:
            ValueError: if the loss is unknown or the confidence outside (0, 1).

        """
        parsed = parse_loss(loss)
        losses = parsed.of_log_rank(jnp.log(self.ranks.astype(float)))
        if parsed.is_two_valued:
            return clopper_pearson(losses.sum(axis=-1), self.ranks.shape[-1], confidence=confidence)
        return empirical_bernstein(losses, confidence=confidence)


@on_host
def simulate_dsbs(
    key: Any,
    crossover: ArrayLike,
    log2_size: ArrayLike,
    *,
    n: Integer,
    rate: ArrayLike,
    trials: Integer,
    first_trial: Any = 0,
    batch_size: Integer | None = None,
) -> SimulatedRanks:
    r"""Simulate random codes on the DSBS, a fresh database and fresh codebooks in every trial.

    Args:
        key: PRNG key; trial t uses fold_in(key, t), whatever the batch and the other settings.
        crossover: p in [0, 1/2].
        log2_size: log2 M >= 1.
        n: block lengths, integers >= 1.
        rate: R in [0, 1], bits a letter; the codebooks have $\lfloor 2^{nR} \rfloor$ words.
        trials: number of trials a setting, >= 1.
        first_trial: number of the first trial, >= 0; lets a run be continued.
        batch_size: trials computed side by side; changes memory and speed, no digit. As many as
            keep their codewords in the cache if None. Settings of equal n, K and M share one
            compiled call.

    Returns:
        Ranks, shape of the broadcast settings + (trials,).

    Raises:
        ValueError: if an argument lies outside its range, or M times K is too large to hold.
        TypeError: if the key is not a typed key or a count is not an integer.

    """
    validation.prng_key("key", key)
    trials = validation.integer("trials", trials, low=1, high=MOST_TRIALS)
    first_trial = validation.integer("first_trial", first_trial, low=0)
    if batch_size is not None:
        batch_size = validation.integer("batch_size", batch_size, low=1, high=1 << 20)
    lengths = np.asarray(
        validation.not_empty("n", validation.interval("n", n, low=1.0, high=4096.0))
    )
    if (lengths != np.round(lengths)).any():
        raise ValueError(f"n must hold integers, got {lengths[lengths != np.round(lengths)][0]}")
    rates = np.asarray(
        validation.not_empty("rate", validation.interval("rate", rate, low=0.0, high=1.0))
    )
    sizes = np.asarray(validation.log2_size(log2_size))
    flips = np.asarray(
        validation.not_empty(
            "crossover", validation.interval("crossover", crossover, low=0.0, high=0.5)
        )
    )
    lengths, rates, sizes, flips = np.broadcast_arrays(lengths, rates, sizes, flips)
    words = np.round(np.exp2(np.asarray(codebook_size(lengths, jnp.asarray(rates)))))
    items = np.round(np.exp(np.asarray(log_database_size(jnp.asarray(sizes)))))
    packed = -(-int(lengths.max()) // _WORD)
    if items.max() * words.max() * packed > _MAX_WORDS_A_TRIAL:
        raise ValueError(
            f"log2_size and rate ask for M = {items.max():.0f} codebooks of K = {words.max():.0f} "
            f"words in one trial, more than {_MAX_WORDS_A_TRIAL} packed words in all; "
            "use rdsim.codes.dsbs_ensemble, which is exact at every size"
        )
    on_cpu = jax.default_backend() == "cpu"
    at_once = _WORDS_AT_ONCE if on_cpu else _WORDS_ON_DEVICE
    shapes = np.stack([lengths.ravel(), words.ravel(), items.ravel()], axis=1).astype(int)
    ranks = np.empty((shapes.shape[0], trials), np.int32)
    for shape in np.unique(shapes, axis=0):
        alike = (shapes == shape).all(axis=1)
        crossovers = jnp.asarray(flips.ravel()[alike])
        length, word_count, item_count = (int(count) for count in shape)
        batch = min(batch_size or max(1, at_once // (item_count * word_count * packed)), trials)
        # A program that fits the cache keeps one core busy: a thread for each, with equal shares of
        # whole batches, for which it is compiled once.
        threads = min((os.cpu_count() or 1) if on_cpu else 1, -(-trials // batch))
        share = -(-trials // (threads * batch)) * batch
        numbers = first_trial + jnp.arange(threads * share).reshape(threads, share)
        counts = {"length": length, "words": word_count, "items": item_count, "batch_size": batch}
        compiled = _ranks.lower(key, numbers[0], crossovers, **counts).compile()
        with ThreadPoolExecutor(threads) as pool:
            parts = pool.map(lambda part: np.asarray(compiled(key, part, crossovers)), numbers)  # noqa: B023
            drawn = np.concatenate(list(parts), axis=1)
        ranks[alike] = drawn[:, :trials]
    return SimulatedRanks(ranks=jnp.asarray(ranks).reshape(*lengths.shape, trials))


@partial(jax.jit, static_argnames=("length", "words", "items", "batch_size"))
def _ranks(
    key: Key[Array, ""],
    trials: Int[Array, " trials"],
    crossovers: Float[Array, " settings"],
    length: int,
    words: int,
    items: int,
    batch_size: int,
) -> Int[Array, "settings trials"]:
    """Ranks of all trials (side by side in batches) and of all settings of one shape (vmapped).

    Settings of other shapes are compiled apart rather than padded, so that no draw depends on which
    other settings were asked for.
    """

    def trial(number: Array) -> Array:
        one = partial(_one_trial, jax.random.fold_in(key, number))
        return jax.vmap(lambda p: one(p, length, words, items))(crossovers)

    return jax.lax.map(trial, trials, batch_size=batch_size).T


def _one_trial(
    key: Key[Array, ""], crossover: Float[Array, ""], length: int, words: int, items: int
) -> Int[Array, ""]:
    """Rank of one target among one database; item 0 is the target, which is no loss of generality."""
    item_key, book_key, noise_key, tie_key = jax.random.split(key, 4)
    packed = -(-length // _WORD)
    item = _random_words(item_key, (items, packed), length)
    book = _random_words(book_key, (items, words, packed), length)
    # Distance and place in one number, the distance ahead: a least number is found faster than
    # where it stands. The first of equals wins; _MAX_WORDS_A_TRIAL keeps it below 33 * 2^25.
    places = jnp.arange(words, dtype=jnp.uint32)
    nearest = jnp.min(_distance(book, item[:, None]) * np.uint32(words) + places, axis=1) % words
    stored = jnp.take_along_axis(book, nearest[:, None, None], axis=1)[:, 0]
    flipped = jax.random.bernoulli(noise_key, crossover, (packed * _WORD,))
    bits = flipped.reshape(packed, _WORD).astype(jnp.uint32) << jnp.arange(_WORD, dtype=jnp.uint32)
    query = item[0] ^ (bits.sum(axis=1, dtype=jnp.uint32) & _mask(length))
    distance = _distance(stored, query[None])
    nearer = jnp.sum(distance < distance[0])
    tied = jnp.sum(distance == distance[0]) - 1
    return (1 + nearer + jax.random.randint(tie_key, (), 0, tied + 1)).astype(jnp.int32)


def _mask(length: int) -> UInt32[Array, " packed"]:
    """Ones in the first `length` bits of the packed words."""
    bits = np.arange(-(-length // _WORD) * _WORD).reshape(-1, _WORD) < length
    return jnp.asarray((bits << np.arange(_WORD, dtype=np.uint64)).sum(axis=1).astype(np.uint32))


def _random_words(key: Key[Array, ""], shape: tuple[int, ...], length: int) -> UInt32[Array, "..."]:
    return jax.random.bits(key, shape, jnp.uint32) & _mask(length)


def _distance(a: UInt32[Array, "..."], b: UInt32[Array, "..."]) -> UInt32[Array, "..."]:
    """Hamming distance of packed words."""
    return jnp.sum(jax.lax.population_count(a ^ b), axis=-1, dtype=jnp.uint32)
