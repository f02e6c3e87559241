r"""Direct simulation of random codes on the DSBS: the scheme of C14, bit by bit.

The exact ensemble's reasoning is not used: items, codebooks and queries are drawn, codewords are
compared by counting bits, items are ranked by distance with ties broken at random. This checks the
exact sums, for block lengths and databases small enough to hold in memory.
"""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Final

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key, UInt32

from rdsim import validation
from rdsim.codes.ensembles.dsbs import log2_codebook_size
from rdsim.number_types import ArrayLike, Integer, PRNGKey
from rdsim.ranking.loss import Loss, log_database_size, parse_loss
from rdsim.results import result
from rdsim.simulation.engine.exact_sums import MOST_TRIALS
from rdsim.simulation.intervals import Estimate, clopper_pearson, empirical_bernstein
from rdsim.transformations import on_host

_PACKED: Final = 32
"""Bits packed in one unsigned integer."""
_MOST_PACKED: Final = 2**26
"""Packed integers of all codewords of a trial: 256 MB."""
_PACKED_ON_CPU: Final = 2**16
"""Packed integers computed at a time on a processor: 256 kB, what a core's cache holds; three times faster than 2^20."""
_PACKED_ON_DEVICE: Final = 2**24
"""Packed integers computed at a time on an accelerator: 64 MB, enough work for every core of it."""


@result
class SimulatedRanks:
    """Ranks of the target, one for each trial and setting.

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

        """
        parsed = parse_loss(loss)
        losses = parsed.of_log_rank(jnp.log(self.ranks.astype(float)))
        if parsed.is_two_valued:
            return clopper_pearson(losses.sum(axis=-1), self.ranks.shape[-1], confidence=confidence)
        return empirical_bernstein(losses, confidence=confidence)


@on_host
def simulate_dsbs(
    key: PRNGKey,
    crossover: ArrayLike,
    log2_size: ArrayLike,
    *,
    n: Integer,
    rate: ArrayLike,
    trials: Integer,
    first_trial: Integer = 0,
    batch_size: Integer | None = None,
) -> SimulatedRanks:
    r"""Simulate random codes on the DSBS, a fresh database and fresh codebooks in every trial.

    Args:
        key: PRNG key; trial t uses fold_in(key, t), whatever the batch and the other settings.
        crossover: p in [0, 1/2].
        log2_size: log2 M >= 1.
        n: block lengths, integers >= 1.
        rate: R in [0, 1], bits per letter; the codebooks have $\lfloor 2^{nR} \rfloor$ codewords.
        trials: number of trials of each setting, >= 1.
        first_trial: number of the first trial, >= 0; lets a run be continued.
        batch_size: trials computed side by side; changes memory and speed, no digit. As many as
            keep their codewords in the cache if None. Settings of equal n, K and M share one
            compiled call.

    Returns:
        Ranks, shape of the broadcast settings + (trials,).

    Raises:
        ValueError: also if M times K is too large to hold.

    """
    validation.prng_key("key", key)
    trials = validation.integer("trials", trials, low=1, high=MOST_TRIALS)
    first_trial = validation.integer("first_trial", first_trial, low=0)
    if batch_size is not None:
        batch_size = validation.integer("batch_size", batch_size, low=1, high=1 << 20)
    lengths = validation.not_empty("n", validation.counts("n", n, low=1, high=4096))
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
    K = np.round(np.exp2(np.asarray(log2_codebook_size(lengths, jnp.asarray(rates)))))
    items = np.round(np.exp(log_database_size(np.asarray(sizes))))
    packed = -(-int(lengths.max()) // _PACKED)
    if items.max() * K.max() * packed > _MOST_PACKED:
        raise ValueError(
            f"log2_size and rate ask for M = {items.max():.0f} codebooks of K = {K.max():.0f} "
            f"codewords in one trial, more than {_MOST_PACKED} packed integers in all; "
            "use rdsim.codes.dsbs_ensemble, which is exact at every size"
        )
    # Settings of equal n, K and M differ in the crossover alone, and are one call of one compiled program.
    shapes = np.stack([lengths.ravel(), K.ravel(), items.ravel()], axis=1).astype(int)
    ranks = np.empty((shapes.shape[0], trials), np.int32)
    for shape in np.unique(shapes, axis=0):
        alike = (shapes == shape).all(axis=1)
        ranks[alike] = _ranks_of_shape(
            key, jnp.asarray(flips.ravel()[alike]), shape.tolist(), first_trial, trials, batch_size
        )
    return SimulatedRanks(ranks=jnp.asarray(ranks).reshape(*lengths.shape, trials))


def _ranks_of_shape(
    key: PRNGKey,
    crossovers: Array,
    shape: Sequence[int],
    first_trial: int,
    trials: int,
    batch_size: int | None,
) -> np.ndarray:
    """Ranks of all settings of one (n, K, M), shape (settings, trials).

    A program that fits the cache keeps one core busy: on a processor each core gets a thread, with equally
    many whole batches, for which the program is compiled once.
    """
    length, K, items = shape
    on_cpu = jax.default_backend() == "cpu"
    at_once = _PACKED_ON_CPU if on_cpu else _PACKED_ON_DEVICE
    packed = -(-length // _PACKED)
    batch = min(batch_size or max(1, at_once // (items * K * packed)), trials)
    threads = min((os.cpu_count() or 1) if on_cpu else 1, -(-trials // batch))
    # Trials are rounded up to whole batches for every thread; those beyond the number wanted are cut off. A trial
    # depends on its number alone, so that threads and batches change no digit.
    each = -(-trials // (threads * batch)) * batch
    numbers = first_trial + jnp.arange(threads * each).reshape(threads, each)
    compiled = _ranks.lower(
        key, numbers[0], crossovers, length=length, K=K, items=items, batch_size=batch
    ).compile()
    with ThreadPoolExecutor(threads) as pool:
        parts = pool.map(lambda part: np.asarray(compiled(key, part, crossovers)), numbers)
        drawn = np.concatenate(list(parts), axis=1)
    return drawn[:, :trials]


@partial(jax.jit, static_argnames=("length", "K", "items", "batch_size"))
def _ranks(
    key: Key[Array, ""],
    trials: Int[Array, " trials"],
    crossovers: Float[Array, " settings"],
    length: int,
    K: int,
    items: int,
    batch_size: int,
) -> Int[Array, "settings trials"]:
    """Ranks of all trials (side by side in batches) and of all settings of one shape (vmapped).

    Settings of other shapes are compiled apart rather than padded, so that no draw depends on which
    other settings were asked for.
    """

    def trial(number: Array) -> Array:
        one = partial(_one_trial, jax.random.fold_in(key, number))
        return jax.vmap(lambda p: one(p, length, K, items))(crossovers)

    return jax.lax.map(trial, trials, batch_size=batch_size).T


def _one_trial(
    key: Key[Array, ""], crossover: Float[Array, ""], length: int, K: int, items: int
) -> Int[Array, ""]:
    """Rank of one target among one database; item 0 is the target, which is no loss of generality."""
    item_key, book_key, noise_key, tie_key = jax.random.split(key, 4)
    packed = -(-length // _PACKED)
    item = _random_bits(item_key, (items, packed), length)
    book = _random_bits(book_key, (items, K, packed), length)
    # Distance and place in one number, the distance ahead: a least number is found faster than
    # its place. The first of equals wins; _MOST_PACKED keeps the number below 33 * 2^25.
    places = jnp.arange(K, dtype=jnp.uint32)
    nearest = jnp.min(_distance(book, item[:, None]) * np.uint32(K) + places, axis=1) % K
    stored = jnp.take_along_axis(book, nearest[:, None, None], axis=1)[:, 0]
    # The query is the target's letters through the channel: flipped bits, packed 32 to an integer, by exclusive or.
    flipped = jax.random.bernoulli(noise_key, crossover, (packed * _PACKED,))
    bits = flipped.reshape(packed, _PACKED).astype(jnp.uint32) << jnp.arange(
        _PACKED, dtype=jnp.uint32
    )
    query = item[0] ^ (bits.sum(axis=1, dtype=jnp.uint32) & _mask(length))
    distance = _distance(stored, query[None])
    nearer = jnp.sum(distance < distance[0])
    # The target ties with itself; among the others that tie its place is uniform.
    tied = jnp.sum(distance == distance[0]) - 1
    return (1 + nearer + jax.random.randint(tie_key, (), 0, tied + 1)).astype(jnp.int32)


def _mask(length: int) -> UInt32[Array, " packed"]:
    """Ones in the first `length` bits of the packed integers."""
    bits = np.arange(-(-length // _PACKED) * _PACKED).reshape(-1, _PACKED) < length
    return jnp.asarray((bits << np.arange(_PACKED, dtype=np.uint64)).sum(axis=1).astype(np.uint32))


def _random_bits(key: Key[Array, ""], shape: tuple[int, ...], length: int) -> UInt32[Array, "..."]:
    return jax.random.bits(key, shape, jnp.uint32) & _mask(length)


def _distance(a: UInt32[Array, "..."], b: UInt32[Array, "..."]) -> UInt32[Array, "..."]:
    """Hamming distance of packed bits."""
    return jnp.sum(jax.lax.population_count(a ^ b), axis=-1, dtype=jnp.uint32)
