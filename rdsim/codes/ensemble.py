r"""Random codes for any discrete source: the ensemble average, exactly, by sums over types (C14, C15).

With counts N(y,u) of the target's letters and M(x,u) of those of query and stored word:

1. given the type of $y^n$ a random word has $N(y,\cdot) \sim \mathrm{Mult}(n_y, q)$, and the stored
   one has the same law given its distance, whose own law is that of `selection`;
2. a competitor's stored word is exchangeable: uniform over its type class. Its type has the law of
   $\sum_y N(y,\cdot)$, and its probability to score higher than the target is a sum over tables M with the
   query's type;
3. given N(y,u), the query's letters at each u are multinomial through P(x|y): one matrix for each u;
4. the rank law (C1) does the rest, at every database size.

Every sum adds non-negative numbers, so probabilities keep their relative accuracy down to 2^-1000.
"""

import itertools
import math
from functools import partial
from typing import Final, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import scipy.special
from jaxtyping import Array, Float, Int

from rdsim import validation
from rdsim.codes import joint_types
from rdsim.codes.random_coding import RandomCode, whole_units
from rdsim.codes.selection import likely_law, likely_nodes, nearest_law
from rdsim.information import LN2, at_most_one
from rdsim.number_types import ArrayLike
from rdsim.ranking.loss import Loss, RankLoss, parse_loss
from rdsim.ranking.rank_distribution import expected_loss_kernel, reach_of
from rdsim.transformations import on_host

MAX_TABLES: Final = 16_000_000
"""Joint types that are listed: 450 letters of binary sources, 25 of ternary ones."""
MAX_LOG2_SIZE: Final = 1000.0
_NEGLIGIBLE: Final = 2.0**-44


class Competitors(NamedTuple):
    """A competitor's probabilities at every score it can have, a segment for each type of the query.

    Attributes:
        start: first entry of each type of the query in the order of `compositions`, shape (T+1,).
        score: in whole units, falling within a segment, shape (E,).
        log_above: natural log of the probability to score strictly higher, shape (E,).
        log_tied: natural log of the probability to tie, shape (E,).
        units: letter scores in whole units, shape (|X|, |U|).

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

    M the joint type of query and stored word, U' the stored word of an independent item, m the size.

    Args:
        code: from `random_code`.
        log2_size: log2 of the number of items, 1 to 1000, any shape.
        loss: "error", "reciprocal_rank", ("miss", K) or "dcg".

    Returns:
        Loss in [0, 1], float64, shape of log2_size.

    Raises:
        ValueError: if a size lies outside its range, the loss is unknown, or the code has more
            joint types than `MAX_TABLES`.

    References:
        Csiszar (1998), The method of types, IEEE Trans. Inf. Theory 44(6). The scheme is that of
        Tuncel (2009), IEEE Trans. Inf. Theory 55(8), with independent codebooks.

    """
    validation.instance("code", code, RandomCode)
    parsed = parse_loss(loss)
    size = validation.interval("log2_size", log2_size, low=1.0, high=MAX_LOG2_SIZE)
    validation.not_empty("log2_size", size)
    stored = _stored_law(code)
    competitors, entry, by_word = _competitors(code, _word_types(code, stored))
    mass = np.bincount(entry, _target_law(code, stored, by_word), competitors.score.size)
    parts = mass, competitors.log_above, competitors.log_tied
    if size.size > 1:
        # Losses grow with the size: what is left out is below 2^-44 of the least of them.
        least = _at_least(parts, float(size.min()), parsed)
        order = np.argsort(mass)
        order = order[np.cumsum(mass[order]) > _NEGLIGIBLE * least]
        parts = parts[0][order], parts[1][order], parts[2][order]
    return _mean_losses(parts, size, parsed)


def _at_least(parts: tuple[np.ndarray, ...], log2_size: float, loss: RankLoss) -> float:
    """Bound the mean loss from below; no bound, zero, for misses beyond the first rank.

    The probability of an error is concave in that of a competitor to be ranked ahead, a + V e, so that
    its mean over V is at least that of both ends; an error costs no less than rank two does.
    """
    mass, log_above, log_tied = parts
    above = np.exp(log_above)
    chance = np.stack([above, np.minimum(above + np.exp(log_tied), 1.0)])
    with np.errstate(divide="ignore"):
        error = -np.expm1((2.0**log2_size - 1) * np.log1p(-chance)).mean(axis=0)
    return float(loss.of_log_rank(jnp.asarray(LN2)) * (mass @ error))


def _mean_losses(
    parts: tuple[np.ndarray, ...], log2_size: Float[Array, "..."], loss: RankLoss
) -> Float[Array, "..."]:
    """Mean of the loss over scores, with room for more of them and for more sizes."""
    room = (0, _padded(parts[0].size, 1024) - parts[0].size)
    sizes = np.asarray(log2_size).ravel()
    padded = np.pad(sizes, (0, _padded(sizes.size, 64) - sizes.size), constant_values=1.0)
    # Only the DCG loss asks how large a database can be.
    reach = reach_of(log2_size) if loss.kind == "dcg" else 0
    found = _mean_loss(
        *(jnp.asarray(np.pad(part, room)) for part in parts),
        *(jnp.asarray(padded), jnp.asarray(sizes.size), loss, reach),
    )
    return found[: sizes.size].reshape(log2_size.shape)


@on_host
def competitor_chances(code: RandomCode) -> Competitors:
    """Compute a competitor's probabilities at every score and every type of the query.

    Args:
        code: from `random_code`.

    Returns:
        Probabilities, in the natural log; a probability below 2^-1022 is none.

    Raises:
        TypeError: if the code is of another kind.
        ValueError: if the code has more joint types than `MAX_TABLES`.

    """
    if not isinstance(code, RandomCode):
        raise TypeError(f"code must be a RandomCode, made by random_code, got {type(code)}")
    return _competitors(code, _word_types(code, _stored_law(code)))[0]


def table_count(code: RandomCode) -> int:
    """Count the joint types that the exact sums list: the larger of those of (y,u) and (x,u)."""
    x, y = code.joint.shape
    cells = max(x, y) * code.output_marginal.size
    return math.comb(code.n + cells - 1, cells - 1)


def _padded(size: int, least: int) -> int:
    """Next power of two: one compilation serves many codes."""
    return max(2 ** math.ceil(math.log2(size)), least)


@partial(jax.jit, static_argnames=("loss", "reach"))
def _mean_loss(
    mass: Float[Array, " e"],
    log_above: Float[Array, " e"],
    log_tied: Float[Array, " e"],
    log2_size: Float[Array, " s"],
    number: Int[Array, ""],
    loss: RankLoss,
    reach: int,
) -> Float[Array, " s"]:
    """Compute the mean at the first sizes, as many as the number says."""

    def one_size(index: Array, means: Float[Array, " s"]) -> Float[Array, " s"]:
        found = expected_loss_kernel(log_above, log_tied, log2_size[index], loss, reach)
        return means.at[index].set(at_most_one(jnp.sum(mass * found)))

    return jax.lax.fori_loop(0, number, one_size, jnp.zeros_like(log2_size))


def _tables(code: RandomCode, letters: int) -> np.ndarray:
    """All tables of counts (u, letter), lexicographic from the first row on, shape (J, |U|, L)."""
    words = code.output_marginal.size
    if table_count(code) > MAX_TABLES:
        raise ValueError(
            f"code has {table_count(code):.3g} joint types of {code.n} letters, above the limit of "
            f"{MAX_TABLES:.3g} of exact sums: rdsim.simulation.simulate_ensemble samples them"
        )
    return joint_types.compositions(code.n, words * letters).reshape(-1, words, letters)


def _stored_law(code: RandomCode) -> np.ndarray:
    """P(N) of all tables N(u,y) of an item and its stored word, in the order of `_tables`."""
    n, q = code.n, np.asarray(code.output_marginal)
    tables = _tables(code, code.joint.shape[1])
    items = tables.sum(axis=1)
    log_word = scipy.special.xlogy(tables.sum(axis=2), q).sum(axis=1)
    log_word += scipy.special.gammaln(items + 1.0).sum(axis=1)
    log_word -= scipy.special.gammaln(tables + 1.0).sum(axis=(1, 2))
    units = whole_units(np.asarray(code.distortions), n)
    distance = np.einsum("juy,yu->j", tables, units.whole)

    # One level is one distance of one type of the item, levels of a type in increasing order.
    kind = joint_types.rank(items, n)
    order = np.lexsort((distance, kind))
    kind, distance = kind[order], distance[order]
    fresh = np.concatenate([[True], (np.diff(kind) != 0) | (np.diff(distance) != 0)])
    level = np.cumsum(fresh) - 1
    first = np.flatnonzero(fresh)
    chance = np.exp(log_word[order])
    mass = np.add.reduceat(chance, first)
    share = _chosen_share(code, kind[first], distance[first] * units.step, mass)
    log_item = joint_types.log_chance(items[order], np.asarray(code.joint).sum(axis=0))
    law = np.empty(len(tables))
    law[order] = np.exp(log_item) * chance * share[level]
    return law


def _chosen_share(
    code: RandomCode, kind: np.ndarray, distance: np.ndarray, mass: np.ndarray
) -> np.ndarray:
    """How much likelier a level is for the stored word than for one random word."""
    start = np.searchsorted(kind, np.arange(kind[-1] + 2))
    place = np.arange(kind.size) - start[kind]
    law = np.zeros((_padded(start.size - 1, 16), _padded(int(place.max()) + 1, 16)))
    law[kind, place] = mass
    log_weight = np.zeros_like(law)
    least = distance[start[:-1]][kind]
    log_weight[kind, place] = -float(code.slope) * LN2 * (distance - least)
    words = float(code.log2_words)
    first, nodes = likely_nodes(words * LN2, float(-log_weight.min()))
    chosen = _chosen_laws(
        jnp.asarray(law),
        jnp.asarray(log_weight),
        jnp.exp2(words),
        jnp.asarray(first),
        jnp.asarray(nodes),
        code.encoder,
    )
    found = np.asarray(chosen)[kind, place]
    return np.where(mass > 0, found / np.where(mass > 0, mass, 1.0), 0.0)


@partial(jax.jit, static_argnames="encoder")
def _chosen_laws(
    law: Float[Array, "types t"],
    log_weight: Float[Array, "types t"],
    words: Float[Array, ""],
    first: Float[Array, ""],
    nodes: Int[Array, ""],
    encoder: str,
) -> Float[Array, "types t"]:
    def one_type(row: tuple[Array, Array]) -> Array:
        if encoder == "minimum_distortion":
            return nearest_law(row[0], words)
        return likely_law(*row, words, first, nodes)

    return jax.lax.map(one_type, (law, log_weight))


def _word_types(code: RandomCode, stored: np.ndarray) -> np.ndarray:
    """Law of the type of a stored word, in the order of `compositions`."""
    words = code.output_marginal.size
    tables = _tables(code, code.joint.shape[1])
    kind = joint_types.rank(tables.sum(axis=2), code.n)
    return np.bincount(kind, stored, math.comb(code.n + words - 1, words - 1))


def _competitors(
    code: RandomCode, word_types: np.ndarray
) -> tuple[Competitors, np.ndarray, np.ndarray]:
    """Probabilities; the entry of each table M(u,x); and the tables' order by the word's type."""
    n = code.n
    tables = _tables(code, code.joint.shape[0])
    word, query = tables.sum(axis=2), tables.sum(axis=1)
    by_word = joint_types.rank(word, n)
    chance = word_types[by_word] * np.exp(
        joint_types.log_multinomial(np.swapaxes(tables, 1, 2)).sum(axis=1)
        - joint_types.log_multinomial(word)
    )
    units = whole_units(np.asarray(code.scores), n).whole
    score = np.einsum("jux,xu->j", tables, units)
    kind = joint_types.rank(query, n)
    order = np.lexsort((-score, kind))
    kind, score = kind[order], score[order]
    fresh = np.concatenate([[True], (np.diff(kind) != 0) | (np.diff(score) != 0)])
    first = np.flatnonzero(fresh)
    tied = np.add.reduceat(chance[order], first)
    start = np.searchsorted(kind[first], np.arange(kind[-1] + 2))
    above = np.zeros_like(tied)
    for begin, end in itertools.pairwise(start):
        above[begin + 1 : end] = np.cumsum(tied[begin : end - 1])
    entry = np.empty(len(tables), np.int64)
    entry[order] = np.cumsum(fresh) - 1
    with np.errstate(divide="ignore"):
        logs = np.log(np.minimum(above, 1.0)), np.log(np.minimum(tied, 1.0))
    chances = Competitors(start, score[first], *logs, units)
    return chances, entry, np.argsort(by_word, kind="stable")


def _target_law(code: RandomCode, stored: np.ndarray, by_word: np.ndarray) -> np.ndarray:
    """P(M) of all tables M(u,x) of the query and its item's stored word, in the order of `_tables`.

    Tables with one word type, in their order, are the product of the compositions of each word
    letter's count; so P(x|y) acts on each axis by a matrix of its own.
    """
    joint = np.asarray(code.joint)
    items = joint.shape[1]
    tables = _tables(code, items)
    order = np.argsort(joint_types.rank(tables.sum(axis=2), code.n), kind="stable")
    stored = stored[order]
    matrices = joint_types.through_channel((joint / joint.sum(axis=0)).T, code.n)
    law = np.empty(len(by_word))
    read = written = 0
    for counts in joint_types.compositions(code.n, code.output_marginal.size):
        shape = [math.comb(m + items - 1, items - 1) for m in counts]
        block = stored[read : read + math.prod(shape)].reshape(shape)
        for m in counts:
            # The axis in front is summed and its query counts come last: after all, back in order.
            block = np.tensordot(block, matrices[m], axes=(0, 0))
        law[by_word[written : written + block.size]] = block.ravel()
        read, written = read + math.prod(shape), written + block.size
    return law
