r"""Importance sampling of a tail of summed letter scores (C15).

$P[S > t]$ is sampled under the tilt $\theta \ge 0$ that moves the mean of S to the least value $t'$ above t. Its
likelihood ratio is $e^{K(\theta) - \theta t'} e^{-\theta (S - t')}$, so that the loss
$1\{S > t\}\, e^{-\theta (S - t')}$ lies in [0, 1] and the intervals of the engine hold for it.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from rdsim import validation
from rdsim.number_types import ArrayLike, Integer, PRNGKey
from rdsim.ranking.tails import letter_scores
from rdsim.ranking.tails.letter_scores import ScoreSums
from rdsim.simulation.engine.options import RunOptions, checked_run
from rdsim.simulation.engine.trials import run_trials
from rdsim.simulation.importance.rare_estimate import RareEstimate, rescaled
from rdsim.transformations import on_host


@on_host
@validation.needs_float64
def importance_tail(
    key: PRNGKey,
    values: ArrayLike,
    probabilities: ArrayLike,
    counts: ArrayLike,
    threshold: ArrayLike,
    *,
    trials: Integer,
    confidence: float = 0.95,
    run: RunOptions | None = None,
) -> RareEstimate:
    r"""Estimate $\ln P[S > t]$ of a sum of independent letter scores by tilted sampling (C15).

    $$P[S > t] = e^{K(\theta) - \theta t'}\, E_\theta\big[1\{S > t\}\, e^{-\theta (S - t')}\big].$$

    Args:
        key: PRNG key; trial t of setting s draws from fold_in(fold_in(key, s), t).
        values: v(x,u), shape (kinds, values), any unit; -inf for a letter that rules the sum out.
        probabilities: P(u|x), shape (kinds, values), rows summing to one.
        counts: n_x, integers >= 0, shape (..., kinds).
        threshold: t, units of values; broadcasts with the leading shape of counts.
        trials: number of trials of each setting, 2..2^32.
        confidence: of one interval, in (0, 1).
        run: options of the run.

    Returns:
        Natural logarithms, the broadcast shape. A threshold at or beyond the greatest value gives
        -inf exactly; one below the mean is sampled without tilt.

    References:
        Bucklew (2004), Introduction to Rare Event Simulation, chapter 5; the intervals: Maurer and
        Pontil (2009), COLT, Theorem 4.

    """
    validation.prng_key("key", key)
    run = checked_run(run, trials=trials, confidence=confidence)
    sums, shape = letter_scores.score_sums(values, probabilities, counts, threshold)
    tilt, log_scale, target, rises = _tilted_problem(sums)
    cumulative = jnp.cumsum(letter_scores.tilted(sums, tilt), axis=-1)
    # Settings of fewer letters are padded with letters of one more kind, which score nothing.
    one_more = ((0, 0), (0, 1), (0, 0))
    arguments = {
        "kinds": jnp.asarray(_kinds_of_letters(np.asarray(sums.counts).astype(int))),
        "distribution": jnp.pad(cumulative, one_more, constant_values=1.0)[..., :-1],
        "rises": jnp.pad(rises, one_more),
        "decay": tilt * jnp.where(sums.step > 0, sums.step, 1.0),
        "target": target,
        "strictly": sums.step == 0,
    }
    # Settings are independent, each with a tilt of its own; the loss of a trial is its weight, between zero and one.
    found = run_trials(
        key,
        _tail_trial,
        arguments,
        trials=trials,
        confidence=confidence,
        settings="independent",
        run=run,
    )
    log_scale = np.where(sums.threshold >= sums.highest, -np.inf, log_scale)
    return rescaled(found.estimates, log_scale, np.asarray(tilt), shape)


def _kinds_of_letters(counts: np.ndarray) -> np.ndarray:
    """List the kinds of the letters of each setting, padded with one kind more."""
    n = counts.sum(axis=1)
    padded = np.concatenate([counts, (n.max() - n)[:, None]], axis=1)
    return np.stack([np.repeat(np.arange(counts.shape[1] + 1), row) for row in padded])


@jax.jit
def _tilted_problem(
    sums: ScoreSums,
) -> tuple[Float[Array, " b"], Float[Array, " b"], Float[Array, " b"], Float[Array, "b x u"]]:
    """Tilt, ln of the largest weight, and target and rises above the least value of each kind.

    On a lattice both are integers of steps, so that sums of letters meet the target exactly.
    """
    on_lattice = sums.step > 0
    step = jnp.where(on_lattice, sums.step, 1.0)
    above = letter_scores.next_above(sums)
    span = sums.highest - sums.lowest
    # The mean is moved to the target, but not to the very ends of the range, where the tilt is infinite:
    # half a step below the highest sum on a lattice, a millionth of the range elsewhere.
    edge = jnp.where(on_lattice, step / 2, 1e-6 * span)
    level = jnp.clip(above, sums.lowest, jnp.maximum(sums.highest - edge, sums.lowest))
    tilt = jnp.maximum(letter_scores.saddlepoint_of(sums, level).tilt, 0.0)
    log_mean = jnp.sum(sums.counts * letter_scores.letter_log_means(sums, tilt), axis=1)
    log_scale = sums.log_mass + log_mean - jnp.where(tilt > 0, tilt * above, 0.0)
    possible = sums.probabilities > 0
    base = jnp.min(jnp.where(possible, sums.values, jnp.inf), axis=1, keepdims=True)
    rises = jnp.where(possible, sums.values - base, 0.0) / step[:, None, None]
    target = (above - sums.lowest) / step
    rises = jnp.where(on_lattice[:, None, None], jnp.round(rises), rises)
    return tilt, log_scale, jnp.where(on_lattice, jnp.round(target), target), rises


def _tail_trial(key: Key[Array, ""], arguments: dict[str, Array]) -> Float[Array, ""]:
    """Draw the letters of one sum under the tilt; the weight of the event, at most one."""
    kinds = arguments["kinds"]
    uniform = jax.random.uniform(key, kinds.shape)
    # Inversion of the tilted distribution function, letter by letter.
    value = jnp.sum(uniform[:, None] >= arguments["distribution"][kinds], axis=1)
    excess = jnp.sum(arguments["rises"][kinds, value]) - arguments["target"]
    met = jnp.where(arguments["strictly"], excess > 0, excess >= 0)
    return jnp.where(met, jnp.exp(-arguments["decay"] * jnp.maximum(excess, 0.0)), 0.0)
