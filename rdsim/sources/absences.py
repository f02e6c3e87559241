r"""Queries that lack something: absent modalities, wrong pairs, changed letters, each as one more source.

$$P'(x', y) = \sum_S \pi_S P(x_S, y), \qquad P' = (1-\varepsilon) P + \varepsilon P_X \times P_Y, \qquad
  P'(x', y) = \sum_x P(x,y)\, W(x'|x).$$

What is returned is a `DiscreteSource`, so that every limit applies to it as it stands (C30).
"""

import itertools
import math
from typing import Final

import jax.numpy as jnp
from jaxtyping import Array, Float

from rdsim import validation
from rdsim.number_types import ArrayLike
from rdsim.sources.several_modalities import MultimodalSource
from rdsim.sources.tables import DiscreteSource

_MOST_MODALITIES: Final = 12
"""Most modalities whose 2^K subsets are stacked."""
_MAX_TABLE: Final = 1 << 26
"""Most entries of the stacked table, 512 MiB in float64."""


def with_missing(source: MultimodalSource | ArrayLike, *, presence: ArrayLike) -> DiscreteSource:
    r"""Stack the tables of all sets of modalities that a query may have, with their probabilities.

    $$P(S, x_S; y) = \pi_S\, P(x_S, y),$$

    S the set that is present, which the decoder sees; independently of the rest, the set has probability
    $\pi_S$. The letters of the query are those of the sets one after the other, in the order of binary
    numbers whose first digit is the first modality: first the empty set, with one letter, last all K.

    Args:
        source: K modalities of an item, or their table P(x_1..x_K, y), shape (|X_1|, .., |X_K|, |Y|).
        presence: probability of each modality, independent of the others, shape (K,); or the joint
            distribution of the K flags (absent, present), shape (2,)*K.

    Returns:
        The source; of modalities with a common part, a query that has any of them sees it. A set without
        probability keeps its letters, without mass.

    Raises:
        ValueError: also if there are more than 12 modalities or 2^26 entries.

    """
    if isinstance(source, MultimodalSource):
        count = len(source.channels)
        shared = 1 if source.common is None else source.common.shape[-1]
        own = [channel.shape[-1] for channel in source.channels]
        item = source.py
    else:
        given = validation.numbers("source", source)
        if given.ndim < 2:
            raise ValueError(
                "source must be a MultimodalSource or a table of shape (|X_1|, .., |X_K|, |Y|), got "
                f"shape {given.shape}"
            )
        table = validation.pmf("source", given, ndim=given.ndim)
        count, shared, own = table.ndim - 1, 1, list(table.shape[:-1])
        item = table.sum(axis=tuple(range(count)))
    if count > _MOST_MODALITIES:
        raise ValueError(f"source must have at most {_MOST_MODALITIES} modalities, got {count}")
    # All sets together: each modality contributes a letter, or none.
    entries = item.size * (shared * (math.prod(1 + size for size in own) - 1) + 1)
    if entries > _MAX_TABLE:
        raise ValueError(
            f"source must leave at most {_MAX_TABLE} entries of the stacked table, got {entries}"
        )
    flags = _presence(presence, count)
    rows = []
    for present in itertools.product((0, 1), repeat=count):
        chosen = [k for k, flag in enumerate(present) if flag]
        if not chosen:
            part = item[None]
        elif isinstance(source, MultimodalSource):
            part = source.joint_with(chosen).joint
        else:
            absent = tuple(k for k, flag in enumerate(present) if not flag)
            part = table.sum(axis=absent).reshape(-1, item.size)
        rows.append(flags[present] * part)
    return DiscreteSource(joint=jnp.concatenate(rows))


def _presence(value: ArrayLike, count: int) -> Float[Array, "..."]:
    """Read the joint distribution of the flags, shape (2,)*K, from it or from K probabilities."""
    given = validation.numbers("presence", value)
    if given.shape == (2,) * count:
        return validation.pmf("presence", given, ndim=count)
    if given.shape != (count,):
        raise ValueError(
            f"presence must have shape ({count},), a probability for each modality, or {(2,) * count}, "
            f"a joint distribution, got {given.shape}"
        )
    each = validation.interval("presence", given, low=0.0, high=1.0)
    flags = jnp.ones(())
    for p in each:
        flags = flags[..., None] * jnp.stack([1 - p, p])
    return flags


def with_wrong_pairs(source: DiscreteSource, *, share: ArrayLike) -> DiscreteSource:
    r"""Let a share of the pairs be wrong: the query letter is that of another, independent pair.

    $$P'(x,y) = (1-\varepsilon)\,P(x,y) + \varepsilon\,P(x)\,P(y).$$

    Trained on such pairs, the best decoder scores by the information density of P'; on right pairs that is
    the wrong one, and `limits.generalized_mutual_information` says what it costs.

    Args:
        source: of right pairs.
        share: epsilon in [0, 1], a scalar.

    Returns:
        The source, with the same marginals.

    """
    validation.instance("source", source, DiscreteSource)
    wrong = validation.interval("share", share, low=0.0, high=1.0, ndim=0)
    independent = source.px[:, None] * source.py
    return DiscreteSource(joint=(1 - wrong) * source.joint + wrong * independent)


def with_changed_queries(source: DiscreteSource, channel: ArrayLike) -> DiscreteSource:
    r"""Let the query letter pass through one more channel: $P'(x',y) = \sum_x P(x,y)\, W(x'|x)$.

    Letters flipped by someone who does not see the stored codeword are such a channel, if a budget of k of n
    letters is spent at random places: k/n is then the probability of a flip.

    Args:
        source: of query and item letter.
        channel: W(x'|x), shape (|X|, |X'|), rows summing to one.

    Returns:
        The source, |X'| query letters.

    """
    validation.instance("source", source, DiscreteSource)
    W = validation.channel("channel", channel)
    letters = source.joint.shape[0]
    if W.shape[0] != letters:
        raise ValueError(f"channel must have {letters} rows, one a query letter, got {W.shape[0]}")
    return DiscreteSource(joint=W.T @ source.joint)
