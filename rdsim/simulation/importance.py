r"""Importance sampling of rare events: tails of summed scores and errors of tiny probability (C15).

A tail $P[S > t]$ is sampled under the tilt $\theta \ge 0$ that moves the mean of S to the least value
$t'$ above t. Its likelihood ratio is $e^{K(\theta) - \theta t'} e^{-\theta (S - t')}$, so that the loss
$1\{S > t\}\, e^{-\theta (S - t')}$ lies in [0, 1] and the intervals of the engine hold for it.

The rank loss of a target $(X^n, U^n)$ is rare where its score falls short. Given $x^n$ a competitor
scores S or more with probability at most $2^{-B}$ (Markov's inequality), where

$$B = \sum_i b(x_i, u_i), \quad b(x,u) = \lambda i(x;u) - \log_2 \sum_{u'} P(u') 2^{\lambda i(x;u')}, \quad
\lambda = \frac{1}{1+\rho}.$$

So no loss of the rank exceeds $\min(1, M 2^{-B}) \le (M 2^{-B})^\rho$, $0 \le \rho \le 1$. Letters are drawn with
probability proportional to $P(x,u) 2^{-\rho b(x,u)}$, and the weighted loss is at most
$M^\rho (E\, 2^{-\rho b(X,U)})^n$, Gallager's bound on the error. Divided by it, it lies in [0, 1].
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import scipy.optimize
from jaxtyping import Array, Float, Int, Key

from rdsim import validation
from rdsim.information import LN2, information_density
from rdsim.number_types import ArrayLike, Integer
from rdsim.ranking.block_score import through_channel
from rdsim.ranking.loss import Loss, RankLoss, parse_loss
from rdsim.ranking.rank_distribution import expected_loss_kernel
from rdsim.ranking.tails import letter_scores
from rdsim.ranking.tails.letter_scores import ScoreSums
from rdsim.ranking.tails.saddlepoint import saddlepoint_kernel
from rdsim.results import result
from rdsim.simulation.engine.options import RunOptions, checked_run
from rdsim.simulation.engine.trials import run_trials
from rdsim.simulation.intervals import Estimate
from rdsim.transformations import on_host


@result
class RareEstimate:
    """Logarithm of a small mean with its confidence interval, shape (...) of the settings each.

    Attributes:
        log_mean: ln of the estimate; -inf if no trial met the event.
        log_lower: ln of the lower end; -inf while the interval reaches down to zero.
        log_upper: ln of the upper end.
        log_scale: ln of the largest loss that a trial could have had, which is itself a bound.
        tilt: tilt under which the trials were drawn.
        relative_width: (upper - lower) / estimate; inf if no trial met the event.
        trials: independent trials behind each estimate.
        confidence: probability with which an interval covers the mean, one setting at a time.

    """

    log_mean: Float[Array, "..."]
    log_lower: Float[Array, "..."]
    log_upper: Float[Array, "..."]
    log_scale: Float[Array, "..."]
    tilt: Float[Array, "..."]
    relative_width: Float[Array, "..."]
    trials: Int[Array, "..."]
    confidence: float = dataclasses.field(metadata={"static": True})

    def covers(self, log_value: ArrayLike) -> Any:
        """Whether the logarithm of a mean lies inside the interval."""
        value = jnp.asarray(log_value)
        return (self.log_lower <= value) & (value <= self.log_upper)


@on_host
@validation.needs_float64
def importance_tail(
    key: Any,
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

    Raises:
        ValueError: if a row is no distribution, shapes do not match, counts are not integers, a value is
            inf, or trials or confidence lie outside their range.
        TypeError: if the key is not a typed key or an argument is not numeric.

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
    found = run_trials(
        key,
        _tail_trial,
        arguments,
        trials=trials,
        confidence=confidence,
        settings="independent",
        run=run,
    )
    log_scale = jnp.where(sums.threshold >= sums.highest, -jnp.inf, log_scale)
    return _rescaled(found.estimates, log_scale, tilt, shape)


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
    tilt = jnp.maximum(letter_scores.saddlepoint_of(sums, level), 0.0)
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
    value = jnp.sum(uniform[:, None] >= arguments["distribution"][kinds], axis=1)
    excess = jnp.sum(arguments["rises"][kinds, value]) - arguments["target"]
    met = jnp.where(arguments["strictly"], excess > 0, excess >= 0)
    return jnp.where(met, jnp.exp(-arguments["decay"] * jnp.maximum(excess, 0.0)), 0.0)


@on_host
@validation.needs_float64
def importance_loss(
    key: Any,
    joint: ArrayLike,
    encoder: ArrayLike,
    log2_size: ArrayLike,
    loss: Loss,
    *,
    n: Integer,
    trials: Integer,
    confidence: float = 0.95,
    run: RunOptions | None = None,
) -> RareEstimate:
    r"""Estimate the ln of a small expected rank loss behind a memoryless test channel (C15).

    $$E\,\ell = M^\rho \big(E\, 2^{-\rho b(X,U)}\big)^n\; E_\rho\big[\ell\, (2^B / M)^\rho\big],$$

    the setting of `block_loss`: targets $(X^n, U^n)$ are drawn from the tilted distribution
    (top of this file), and each has the exact rank distribution with the probabilities of a competitor
    from `saddlepoint_kernel`, whose error (within 1 % from 50 letters on, far less on lattices) the
    interval does not cover.

    Args:
        key: PRNG key; trial t of setting s draws from fold_in(fold_in(key, s), t).
        joint: P(x,y) of query and item letter, shape (|X|, |Y|).
        encoder: P(u|y), shape (|Y|, |U|), rows summing to one.
        log2_size: log2 M >= 1, any shape.
        loss: "error", "reciprocal_rank", ("miss", K) or "dcg".
        n: letters in an item, at least 1.
        trials: number of trials of each setting, 2..2^32.
        confidence: of one interval, in (0, 1).
        run: options of the run.

    Returns:
        Natural logarithms, shape of log2_size; `log_scale` is Gallager's bound on the loss and
        `tilt` its $\rho$, which makes that bound least.

    Raises:
        ValueError: if a distribution is none, shapes do not match, a number lies outside its range or
            the loss is unknown.
        TypeError: if n is not an integer or the key not a typed key.

    References:
        Gallager (1968), section 5.6, for the bound and its tilt; Bucklew (2004), chapter 5.

    """
    validation.prng_key("key", key)
    run = checked_run(run, trials=trials, confidence=confidence)
    parsed = parse_loss(loss)
    through = through_channel(joint, encoder)
    n = validation.integer("n", n, low=1)
    size = validation.log2_size(log2_size)
    through = through[through.sum(axis=1) > 0]
    score = np.asarray(information_density(jnp.asarray(through)))
    possible = through > 0
    density = np.where(possible, score, 0.0)

    bits = np.asarray(size).ravel()
    tilts = np.array([_best_tilt(through, density, n, each) for each in bits])
    levels = np.stack([_markov_bits(through, density, tilt) for tilt in tilts])
    tilted = through * np.exp2(-tilts[:, None, None] * levels)
    log_means = np.log(tilted.sum(axis=(1, 2)))
    cumulative = np.cumsum(tilted.reshape(tilts.size, -1), axis=1)
    competitor = np.broadcast_to(through.sum(axis=0), through.shape)
    values = np.where(competitor > 0, score, 0.0)
    sums, _ = letter_scores.score_sums(
        np.where(np.isnan(values), 0.0, values), competitor, np.ones(len(through)), 0.0
    )
    copies = (tilts.size, *through.shape)
    arguments = {
        "distribution": jnp.asarray(cumulative[:, :-1] / cumulative[:, -1:]),
        "density": jnp.broadcast_to(jnp.asarray(density), copies),
        "values": jnp.broadcast_to(sums.values, copies),
        "probabilities_of_letters": jnp.broadcast_to(sums.probabilities, copies),
        "log_mass": jnp.broadcast_to(
            jnp.log(jnp.asarray(np.minimum(np.where(possible, competitor, 0.0).sum(axis=1), 1.0))),
            copies[:2],
        ),
        "step": jnp.broadcast_to(sums.step, copies[:1]),
        "level": jnp.asarray(levels),
        "log2_size": size.ravel(),
        "tilt": jnp.asarray(tilts),
    }
    found = run_trials(
        key,
        _LossTrial(n, parsed),
        arguments,
        trials=trials,
        confidence=confidence,
        settings="independent",
        run=run,
    )
    log_scale = jnp.asarray(tilts * bits * LN2 + n * log_means)
    return _rescaled(found.estimates, log_scale, jnp.asarray(tilts), size.shape)


def _markov_bits(through: np.ndarray, density: np.ndarray, tilt: float) -> np.ndarray:
    """The bits b(x,u) of a pair of letters; zero where the pair cannot occur."""
    power = 1 / (1 + tilt)
    competitor = np.where(through > 0, through.sum(axis=0), 0.0)
    log_mean = np.log2(np.sum(competitor * np.exp2(power * density), axis=1, keepdims=True))
    return np.where(through > 0, power * density - log_mean, 0.0)


def _best_tilt(through: np.ndarray, density: np.ndarray, n: int, log2_size: float) -> float:
    """The rho in [0, 1] of the least Gallager bound."""

    def exponent(tilt: float) -> float:
        mean = np.sum(through * np.exp2(-tilt * _markov_bits(through, density, tilt)))
        return tilt * log2_size + n * float(np.log2(mean))

    found = scipy.optimize.minimize_scalar(exponent, bounds=(0.0, 1.0), method="bounded")
    return float(found.x)


@dataclasses.dataclass(frozen=True)
class _LossTrial:
    """One target of n letters under the tilt: its weighted rank loss over the largest there is."""

    n: int
    loss: RankLoss

    def __call__(self, key: Key[Array, ""], arguments: dict[str, Array]) -> Float[Array, ""]:
        """Draw pairs of letters under the tilt, and weigh the rank loss of their sum of densities."""
        density, values = arguments["density"], arguments["values"]
        probabilities_of_letters = arguments["probabilities_of_letters"]
        uniform = jax.random.uniform(key, (self.n, 1))
        cell = jnp.sum(uniform >= arguments["distribution"], axis=1)
        score = jnp.sum(density.ravel()[cell])
        counts = jnp.sum(jax.nn.one_hot(cell // density.shape[1], density.shape[0]), axis=0)
        low = jnp.min(jnp.where(probabilities_of_letters > 0, values, jnp.inf), axis=1)
        high = jnp.max(jnp.where(probabilities_of_letters > 0, values, -jnp.inf), axis=1)
        sums = ScoreSums(
            values=values,
            probabilities=probabilities_of_letters,
            counts=counts[None],
            log_mass=(counts @ arguments["log_mass"])[None],
            threshold=score[None],
            step=arguments["step"][None],
            lowest=(counts @ low)[None],
            highest=(counts @ high)[None],
        )
        tail = saddlepoint_kernel(sums)
        # Markov's bound keeps the weight below one, whatever the error of the approximation.
        level = jnp.sum(arguments["level"].ravel()[cell])
        most = jnp.minimum(-level * LN2, 0.0)
        log_a = jnp.minimum(tail.log_tail[0], most)
        log_e = jnp.minimum(tail.log_tie[0], most)
        # A competitor scores higher or ties, not both: e <= 1 - a.
        log_e = jnp.minimum(log_e, jnp.log1p(-jnp.exp(jnp.minimum(log_a, -1e-300))))
        size = arguments["log2_size"]
        loss = expected_loss_kernel(log_a, log_e, size, self.loss)
        weight = jnp.exp2(arguments["tilt"] * (level - size))
        return jnp.clip(loss * weight, 0.0, 1.0)


def _rescaled(
    estimate: Estimate,
    log_scale: Float[Array, " b"],
    tilt: Float[Array, " b"],
    shape: tuple[int, ...],
) -> RareEstimate:
    """Put the scale back on the mean of losses in [0, 1]; a scale of zero is an event that cannot happen."""

    def log(x: Float[Array, " b"]) -> Float[Array, " b"]:
        return jnp.where(x > 0, jnp.log(jnp.where(x > 0, x, 1.0)) + log_scale, -jnp.inf)

    mean = jnp.where(estimate.mean > 0, estimate.mean, 1.0)
    width = jnp.where(estimate.mean > 0, (estimate.upper - estimate.lower) / mean, jnp.inf)
    found = RareEstimate(
        log_mean=log(estimate.mean),
        log_lower=log(estimate.lower),
        log_upper=log(estimate.upper),
        log_scale=log_scale,
        tilt=tilt,
        relative_width=jnp.where(log_scale == -jnp.inf, 0.0, width),
        trials=jnp.asarray(estimate.trials),
        confidence=estimate.confidence,
    )
    reshaped: RareEstimate = jax.tree.map(lambda leaf: leaf.reshape(shape), found)
    return reshaped
