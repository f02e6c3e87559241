r"""Random codes for any discrete source: the ensemble average, exactly, by sums over types (C14, C15).

With counts N(y,u) of the target's letters and M(x,u) of those of query and stored codeword:

1. given the type of $y^n$ a random codeword has $N(y,\cdot) \sim \mathrm{Mult}(n_y, q)$, and the stored
   one has the same distribution given its distance, whose own distribution is that of `chosen_codeword`;
2. a competitor's stored codeword is exchangeable: uniform over its type class. Its type is distributed as
   $\sum_y N(y,\cdot)$, and its probability to score higher than the target is a sum over tables M with the
   query's type;
3. given N(y,u), the query's letters at each u are multinomial through P(x|y): one matrix for each u;
4. the rank distribution (C1) does the rest, at every database size.

Every sum adds non-negative numbers, so probabilities keep their relative accuracy down to 2^-1000.
"""

import itertools
import math
from functools import partial
from typing import Final, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from rdsim import validation
from rdsim.codes.ensembles.random_coding import RandomCode, integer_units
from rdsim.codes.ensembles.stored_codewords import (
    levels_of,
    padded_count,
    stored_distribution,
    tables_of,
)
from rdsim.information import LN2, at_most_one
from rdsim.number_types import ArrayLike
from rdsim.ranking.loss import Loss, RankLoss, parse_loss
from rdsim.ranking.rank_distribution import expected_loss_kernel
from rdsim.sources import sequence_types
from rdsim.transformations import on_host

MAX_LOG2_SIZE: Final = 1000.0
"""Largest database, in bits: probabilities below 2^-1022 are taken for zero."""
_NEGLIGIBLE: Final = 2.0**-44
"""Share of the least mean loss that the joint types left out may add up to."""


class Competitors(NamedTuple):
    """A competitor's probabilities at every score it can have, a segment for each type of the query.

    Attributes:
        start: first entry of each type of the query in the order of `compositions`, shape (T+1,).
        score: in integer units, falling within a segment, shape (E,).
        log_above: natural log of the probability to score strictly higher, shape (E,).
        log_tied: natural log of the probability to tie, shape (E,).
        units: letter scores in integer units, shape (|X|, |U|).

    """

    start: np.ndarray
    score: np.ndarray
    log_above: np.ndarray
    log_tied: np.ndarray
    units: np.ndarray


@on_host
@validation.needs_float64
def discrete_ensemble(code: RandomCode, log2_size: ArrayLike, loss: Loss) -> Float[Array, "..."]:
    r"""Compute the ensemble-average rank loss of a random code for a discrete source, exactly.

    $$\sum_{M} P(M)\, E\,\rho\big(1+\mathrm{Bin}(m-1, a(M) + V e(M))\big), \quad
    a(M) = P\big[\textstyle\sum_i s(x_i,U'_i) > \langle s, M \rangle\big],$$

    M the joint type of query and stored codeword, U' that of an independent item, m the size.

    Args:
        code: from `random_code`.
        log2_size: log2 of the number of items, 1 to 1000, any shape.
        loss: "error", "reciprocal_rank", ("miss", K) or "dcg".

    Returns:
        Loss in [0, 1], float64, shape of log2_size.

    Raises:
        ValueError: if the code has more joint types than `MAX_TABLES`.

    References:
        Csiszar (1998), The method of types, IEEE Trans. Inf. Theory 44(6). The scheme is that of
        Tuncel (2009), IEEE Trans. Inf. Theory 55(8), with independent codebooks.

    """
    validation.instance("code", code, RandomCode)
    parsed = parse_loss(loss)
    size = validation.interval("log2_size", log2_size, low=1.0, high=MAX_LOG2_SIZE)
    validation.not_empty("log2_size", size)
    stored = stored_distribution(code)
    competitors, entry, by_codeword = _competitors(code, _codeword_types(code, stored))
    targets = _target_distribution(code, stored, by_codeword)
    mass = np.bincount(entry, targets, competitors.score.size)
    log_above, log_tied = competitors.log_above, competitors.log_tied
    if size.size > 1:
        # Losses grow with the size: what is left out is below 2^-44 of the least of them.
        least = _least_mean_loss(mass, log_above, log_tied, float(size.min()), parsed)
        order = np.argsort(mass)
        kept = order[np.cumsum(mass[order]) > _NEGLIGIBLE * least]
        mass, log_above, log_tied = mass[kept], log_above[kept], log_tied[kept]
    # Zeros fill up to a power of two, so that few shapes are compiled.
    missing = (0, padded_count(mass.size, 1024) - mass.size)
    sizes = np.asarray(size).ravel()
    padded = np.pad(sizes, (0, padded_count(sizes.size, 64) - sizes.size), constant_values=1.0)
    found = _mean_losses(
        jnp.asarray(np.pad(mass, missing)),
        jnp.asarray(np.pad(log_above, missing)),
        jnp.asarray(np.pad(log_tied, missing)),
        jnp.asarray(padded),
        jnp.asarray(sizes.size),
        parsed,
    )
    return found[: sizes.size].reshape(size.shape)


def _least_mean_loss(
    mass: np.ndarray, log_above: np.ndarray, log_tied: np.ndarray, log2_size: float, loss: RankLoss
) -> float:
    """Bound the mean loss from below; by zero for misses beyond the first rank.

    The probability of an error is concave in that of a competitor to be ranked ahead, a + V e, so that
    its mean over V is at least that of both ends; an error costs no less than rank two does.
    """
    above = np.exp(log_above)
    ends = np.stack([above, np.minimum(above + np.exp(log_tied), 1.0)])
    with np.errstate(divide="ignore"):
        error = -np.expm1((2.0**log2_size - 1) * np.log1p(-ends)).mean(axis=0)
    return float(loss.of_log_rank(jnp.asarray(LN2)) * (mass @ error))


@on_host
def competitor_probabilities(code: RandomCode) -> Competitors:
    """Compute a competitor's probabilities at every score and every type of the query.

    Args:
        code: from `random_code`.

    Returns:
        Natural logarithms of probabilities; one below 2^-1022 is taken for zero.

    Raises:
        ValueError: if the code has more joint types than `MAX_TABLES`.

    """
    if not isinstance(code, RandomCode):
        raise TypeError(f"code must be a RandomCode, made by random_code, got {type(code)}")
    return _competitors(code, _codeword_types(code, stored_distribution(code)))[0]


@partial(jax.jit, static_argnames="loss")
def _mean_losses(
    mass: Float[Array, " e"],
    log_above: Float[Array, " e"],
    log_tied: Float[Array, " e"],
    log2_size: Float[Array, " s"],
    number: Int[Array, ""],
    loss: RankLoss,
) -> Float[Array, " s"]:
    """Mean loss over scores at the first `number` sizes; the other sizes are padding."""

    def one_size(index: Array, means: Float[Array, " s"]) -> Float[Array, " s"]:
        found = expected_loss_kernel(log_above, log_tied, log2_size[index], loss)
        return means.at[index].set(at_most_one(jnp.sum(mass * found)))

    return jax.lax.fori_loop(0, number, one_size, jnp.zeros_like(log2_size))


def _codeword_types(code: RandomCode, stored: np.ndarray) -> np.ndarray:
    """Probabilities of the types of a stored codeword, in the order of `compositions`."""
    alphabet = code.output_marginal.size
    tables = tables_of(code, code.joint.shape[1])
    kind = sequence_types.index_of(tables.sum(axis=2), code.n)
    return np.bincount(kind, stored, sequence_types.composition_count(code.n, alphabet))


def _competitors(
    code: RandomCode, codeword_types: np.ndarray
) -> tuple[Competitors, np.ndarray, np.ndarray]:
    """Probabilities; the entry of each table M(u,x); and the tables' order by the codeword's type.

    A competitor's codeword is uniform over its type class, so that given the query each table M with
    the query's type has the hypergeometric probability of its counts. Tables are sorted by the query's
    type and falling score, and tables of equal score are one entry.
    """
    n = code.n
    tables = tables_of(code, code.joint.shape[0])
    codeword, query = tables.sum(axis=2), tables.sum(axis=1)
    kind_of_codeword = sequence_types.index_of(codeword, n)
    # Of the sequences of a codeword's type, those that meet the query in the table M: the letters may be
    # arranged freely among the places of each letter of the query.
    probability = codeword_types[kind_of_codeword] * np.exp(
        sequence_types.log_multinomial(np.swapaxes(tables, 1, 2)).sum(axis=1)
        - sequence_types.log_multinomial(codeword)
    )
    # In integer units equal sums of scores are equal exactly, so that ties are found as ties.
    units = integer_units(np.asarray(code.scores), n).units
    score = np.einsum("jux,xu->j", tables, units)
    kind = sequence_types.index_of(query, n)
    order, first, level = levels_of(kind, -score)
    kind, score = kind[order], score[order]
    tied = np.add.reduceat(probability[order], first)
    start = np.searchsorted(kind[first], np.arange(kind[-1] + 2))
    # Within a query's type scores fall. The sum of the entries before one is added up directly: as one minus
    # the rest, the small probabilities of high scores would lose their digits.
    above = np.zeros_like(tied)
    for begin, end in itertools.pairwise(start):
        above[begin + 1 : end] = np.cumsum(tied[begin : end - 1])
    entry = np.empty(len(tables), np.int64)
    entry[order] = level
    # The sums may exceed one by rounding; a probability of zero has the logarithm -inf.
    with np.errstate(divide="ignore"):
        log_above, log_tied = np.log(np.minimum(above, 1.0)), np.log(np.minimum(tied, 1.0))
    competitors = Competitors(start, score[first], log_above, log_tied, units)
    return competitors, entry, np.argsort(kind_of_codeword, kind="stable")


def _target_distribution(
    code: RandomCode, stored: np.ndarray, by_codeword: np.ndarray
) -> np.ndarray:
    """P(M) of all tables M(u,x) of the query and its item's stored codeword, in the order of `tables_of`.

    Tables with one codeword type, in their order, are the product of the compositions of each codeword
    letter's count; so P(x|y) acts on each axis by a matrix of its own.
    """
    joint = np.asarray(code.joint)
    items = joint.shape[1]
    tables = tables_of(code, items)
    order = np.argsort(sequence_types.index_of(tables.sum(axis=2), code.n), kind="stable")
    stored = stored[order]
    matrices = sequence_types.through_channel((joint / joint.sum(axis=0)).T, code.n)
    targets = np.empty(len(by_codeword))
    read = written = 0
    for counts in sequence_types.compositions(code.n, code.output_marginal.size):
        shape = [sequence_types.composition_count(int(m), items) for m in counts]
        block = stored[read : read + math.prod(shape)].reshape(shape)
        for m in counts:
            # The axis in front is summed and its query counts come last: after all, back in order.
            block = np.tensordot(block, matrices[m], axes=(0, 0))
        targets[by_codeword[written : written + block.size]] = block.ravel()
        read, written = read + math.prod(shape), written + block.size
    return targets
