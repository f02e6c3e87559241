r"""A code for items in R^d at work: its rank losses by Monte Carlo, at every database size at once.

A trial draws an item, its queries and its codeword, and then takes the exact rank distribution (C1) of the
target among competitors whose codewords follow the code's output marginal q:

$$\ell(M) = E_{Y,X,U} \, E\,\rho(\text{rank}), \quad a = P_q[s(X,U') > s(X,U)],\
e = P_q[s(X,U') = s(X,U)], \quad U' \sim q.$$

No database is held in memory, ties are averaged exactly, and all sizes and decoders share their draws.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key

from rdsim import validation
from rdsim.codes.item_code import GivenItemCode, item_code
from rdsim.number_types import ArrayLike, Integer, PRNGKey
from rdsim.ranking.loss import Loss, RankLoss, parse_losses
from rdsim.ranking.rank_distribution import expected_loss_kernel
from rdsim.simulation.engine.options import RunOptions, checked_run
from rdsim.simulation.engine.trials import MonteCarloResult, on_device, run_trials
from rdsim.sources.mixture import GaussianMixtureSource
from rdsim.sources.modalities import chosen_modalities
from rdsim.transformations import on_host


class Decoder(NamedTuple):
    """How codewords are scored for a query.

    Attributes:
        scores: pure, hashable function (parameters, queries (m, d)) -> scores (K,), higher is better;
            best one of a module, since a function made anew is compiled anew.
        parameters: PyTree of arrays that it is given.

    """

    scores: Callable[[Any, Float[Array, "m d"]], Float[Array, " k"]]
    parameters: Any


class WholeItems(NamedTuple):
    """Items stored whole, ranked without a code: what no code can beat if the ranking is optimal.

    Attributes:
        probability: pure, hashable function (parameters, queries (m, d), item (d,)) -> probability that a
            random item scores above the target; ties have none.
        parameters: PyTree of arrays that it is given.

    """

    probability: Callable[[Any, Float[Array, "m d"], Float[Array, " d"]], Float[Array, ""]]
    parameters: Any


@on_host
@validation.needs_float64
def simulate_item_code(
    key: PRNGKey,
    source: GaussianMixtureSource,
    code: GivenItemCode,
    decoders: Mapping[str, Decoder | WholeItems],
    competitor: ArrayLike,
    log2_size: ArrayLike,
    losses: Sequence[Loss],
    *,
    modalities: ArrayLike | None = None,
    trials: Integer | None = None,
    target_width: float | Mapping[str, float] | None = None,
    cap: Integer | None = None,
    confidence: float = 0.95,
    run: RunOptions | None = None,
) -> MonteCarloResult:
    r"""Estimate the rank losses of a code and of ways to decode it.

    Args:
        key: PRNG key. Trial t of one key draws the same item and queries for every code.
        source: distribution of items and queries.
        code: a code for items in R^d, a PyTree.
        decoders: how queries score codewords (`Decoder`) or rank whole items (`WholeItems`), by name.
        competitor: q(u), distribution of the codeword of a random item, shape (K,): the code's output
            marginal under the source. What is estimated is the loss against competitors of this
            distribution; a relative error of q bounds that of a and e.
        log2_size: log2 M >= 1, a scalar or shape (sizes,).
        losses: each "error", "reciprocal_rank", ("miss", K) or "dcg".
        modalities: which queries are seen; None for all.
        trials: as in `run_trials`, and so the next three.
        target_width: largest width (upper - lower) of every interval, with cap; names such as "error.0", a loss and the number
            of a decoder.
        cap: most trials.
        confidence: of one interval.
        run: options of the run.

    Returns:
        What `run_trials` returns; `estimates[decoder][loss]` has the shape of log2_size. A loss is
        named as it is given, ("miss", 10) as "miss_10".

    """
    validation.prng_key("key", key)
    validation.instance("source", source, GaussianMixtureSource)
    run = checked_run(run, trials=trials, target_width=target_width, cap=cap, confidence=confidence)
    parsed = parse_losses(losses)
    K, dimension = item_code("code", code).codewords.shape
    if dimension != source.item_means.shape[1]:
        raise ValueError(
            f"code must have codewords of {source.item_means.shape[1]} coordinates like the items "
            f"of the source, got {dimension}"
        )
    q = validation.pmf("competitor", competitor)
    if q.size != K:
        raise ValueError(f"competitor must have one entry for each of {K} codewords, got {q.size}")
    trial = _ItemTrial(
        rules=_rules(decoders),
        losses=parsed,
        sizes=_sizes(log2_size),
        modalities=chosen_modalities(modalities, source.gains.shape[0]),
    )
    parameters = {name: decoder.parameters for name, decoder in decoders.items()}
    found = run_trials(
        key,
        trial,
        (source, code, parameters, q),
        trials=trials,
        target_width=target_width,
        cap=cap,
        confidence=confidence,
        run=run,
    )

    def of_decoders(tree: Any) -> dict[str, Any]:
        # On the host: each slice would be a program to compile.
        return {
            name: jax.tree.map(lambda leaf, i=index: on_device(np.asarray(leaf)[i]), tree)
            for index, name in enumerate(decoders)
        }

    return dataclasses.replace(
        found, estimates=of_decoders(found.estimates), variances=of_decoders(found.variances)
    )


def _sizes(log2_size: ArrayLike) -> float | tuple[float, ...]:
    """Check sizes and make them hashable: a number or a tuple, known when a trial is compiled."""
    sizes = np.asarray(validation.log2_size(log2_size))
    if sizes.ndim > 1 or sizes.size == 0:
        raise ValueError(f"log2_size must be a scalar or a vector, got shape {sizes.shape}")
    return float(sizes) if sizes.ndim == 0 else tuple(sizes.tolist())


def _rules(
    decoders: Mapping[str, Decoder | WholeItems],
) -> tuple[tuple[str, bool, Callable[..., Any]], ...]:
    """Check the decoders: of each its name, whether it scores codewords, and its function."""
    if not isinstance(decoders, Mapping) or not decoders:
        raise TypeError(f"decoders must map names to decoders, got {decoders!r}")
    for name, decoder in decoders.items():
        if not isinstance(decoder, Decoder | WholeItems):
            raise TypeError(
                f"decoders[{name!r}] must be a Decoder or WholeItems, got {type(decoder)}"
            )
    return tuple((name, isinstance(rule, Decoder), rule[0]) for name, rule in decoders.items())


@dataclasses.dataclass(frozen=True, kw_only=True)
class _ItemTrial:
    """One item, its queries and its codeword; what is fixed when it is compiled."""

    rules: tuple[tuple[str, bool, Callable[..., Any]], ...]
    losses: tuple[RankLoss, ...]
    sizes: float | tuple[float, ...]
    modalities: tuple[int, ...]

    def __call__(
        self,
        key: Key[Array, ""],
        arguments: tuple[GaussianMixtureSource, Any, dict[str, Any], Array],
    ) -> dict[str, Array]:
        source, code, parameters, competitor = arguments
        # The item comes from a key of its own, so that codes which draw are paired with others.
        item_key, code_key = jax.random.split(key)
        queries, item, _ = source.sample(item_key)
        seen = queries[jnp.asarray(self.modalities)]
        target = code.encode(code_key, item[None])[0]
        above, same = [], []
        for name, of_codewords, rule in self.rules:
            if of_codewords:
                scores = rule(parameters[name], seen)
                probabilities = _above_and_same(scores, target, competitor)
                above.append(probabilities[0])
                same.append(probabilities[1])
            else:
                above.append(rule(parameters[name], seen, item))
                same.append(jnp.zeros(()))
        a, e = jnp.minimum(jnp.stack(above), 1.0), jnp.minimum(jnp.stack(same), 1.0)
        # One leaf a loss: the engine makes and compiles exact sums leaf by leaf.
        return {loss.name: _expected_losses(a, e, self.sizes, loss) for loss in self.losses}


def _above_and_same(
    scores: Float[Array, " k"], target: Int[Array, ""], competitor: Float[Array, " k"]
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """Probability that a competitor's codeword scores above the target's, and that it ties with it.

    XLA may compute the scores anew for each use (see `score_order.dense_ranks`, whose sort would cost more
    than a trial). Taken by its index, the target's own score would be computed by other instructions than
    the scores that it is compared with, and could differ from itself in the last digit. As a maximum under a
    mask it comes from the same loop over all scores; and the target ties with itself by its index.
    """
    itself = jnp.arange(scores.size) == target
    own = jnp.max(scores, where=itself, initial=-jnp.inf)
    above = jnp.where(~itself & (scores > own), competitor, 0.0)
    same = jnp.where(itself | (scores == own), competitor, 0.0)
    return jnp.sum(above), jnp.sum(same)


def _expected_losses(
    a: Float[Array, " c"],
    e: Float[Array, " c"],
    sizes: float | tuple[float, ...],
    loss: RankLoss,
) -> Float[Array, "c ..."]:
    """Expected rank loss of each decoder at every size."""
    log2_size = jnp.asarray(sizes)

    def log_of(probability: Float[Array, " c"]) -> Float[Array, "c ..."]:
        """Logarithm of the probability of each decoder, repeated for every size."""
        column = jnp.log(probability).reshape(-1, *(1,) * log2_size.ndim)
        return jnp.broadcast_to(column, (a.size, *log2_size.shape))

    found = expected_loss_kernel(log_of(a), log_of(e), log2_size, loss)
    return jnp.clip(found, 0.0, 1.0)
