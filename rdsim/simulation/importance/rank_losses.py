r"""Importance sampling of small expected rank losses (C15).

The rank loss of a target $(X^n, U^n)$ is rare where its score falls short. Given $x^n$ a competitor
scores S or more with probability at most $2^{-B}$ (Markov's inequality), where

$$B = \sum_i b(x_i, u_i), \quad b(x,u) = \lambda i(x;u) - \log_2 \sum_{u'} P(u') 2^{\lambda i(x;u')}, \quad
\lambda = \frac{1}{1+\rho}.$$

So no loss of the rank exceeds $\min(1, M 2^{-B}) \le (M 2^{-B})^\rho$, $0 \le \rho \le 1$. Letters are drawn with
probability proportional to $P(x,u) 2^{-\rho b(x,u)}$, and the weighted loss is at most
$M^\rho (E\, 2^{-\rho b(X,U)})^n$, Gallager's bound on the error. Divided by it, it lies in [0, 1].
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import scipy
from jaxtyping import Array, Float, Key

from rdsim import validation
from rdsim.information import LN2, density_bits
from rdsim.number_types import ArrayLike, Integer, PRNGKey
from rdsim.ranking.block_score import through_channel
from rdsim.ranking.loss import Loss, RankLoss, parse_loss
from rdsim.ranking.rank_distribution import expected_loss_kernel
from rdsim.ranking.tails import letter_scores
from rdsim.ranking.tails.letter_scores import ScoreSums
from rdsim.ranking.tails.saddlepoint import saddlepoint_kernel
from rdsim.simulation.engine.options import RunOptions, checked_run
from rdsim.simulation.engine.trials import run_trials
from rdsim.simulation.importance.rare_estimate import RareEstimate, rescaled
from rdsim.transformations import on_host


@on_host
@validation.needs_float64
def importance_loss(
    key: PRNGKey,
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

    References:
        Gallager (1968), section 5.6, for the bound and its tilt; Bucklew (2004), chapter 5.

    """
    validation.prng_key("key", key)
    run = checked_run(run, trials=trials, confidence=confidence)
    parsed = parse_loss(loss)
    through = through_channel(joint, encoder)
    n = validation.integer("n", n, low=1)
    size = validation.log2_size(log2_size)
    # Letters without mass are never drawn, and a pair that cannot occur has the weight zero under every tilt.
    through = through[through.sum(axis=1) > 0]
    score = density_bits(through)
    possible = through > 0
    density = np.where(possible, score, 0.0)

    bits = np.asarray(size).ravel()
    # Each size has its own rho, the best in Gallager's bound, and its own distribution of letters.
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
    # What does not depend on the size is repeated for each, for settings share their leading axis. All on the host,
    # from where the engine takes it: each operation of JAX would be a program to compile.
    copies = (tilts.size, *through.shape)
    arguments = {
        "distribution": cumulative[:, :-1] / cumulative[:, -1:],
        "density": np.broadcast_to(density, copies),
        "values": np.broadcast_to(sums.values, copies),
        "probabilities_of_letters": np.broadcast_to(sums.probabilities, copies),
        "log_mass": np.broadcast_to(
            np.log(np.minimum(np.where(possible, competitor, 0.0).sum(axis=1), 1.0)), copies[:2]
        ),
        "step": np.broadcast_to(sums.step, copies[:1]),
        "level": levels,
        "log2_size": bits,
        "tilt": tilts,
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
    # M^rho (E 2^(-rho b))^n, the largest weighted loss: losses were divided by it, and are multiplied by it again.
    log_scale = tilts * bits * LN2 + n * log_means
    return rescaled(found.estimates, log_scale, tilts, size.shape)


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

    # Brent's bounded search. Any rho gives an unbiased estimate; a poor one only widens the interval.
    found = scipy.optimize.minimize_scalar(exponent, bounds=(0.0, 1.0), method="bounded")
    return float(found.x)


@dataclasses.dataclass(frozen=True)
class _LossTrial:
    """One target of n letters under the tilt: its weighted rank loss over the largest there is."""

    n: int
    loss: RankLoss

    def __call__(self, key: Key[Array, ""], arguments: dict[str, Array]) -> Float[Array, ""]:
        """Draw the letters of one target under the tilted distribution, and return its weighted loss, at most one.

        The loss is that of C1 at the probabilities with which a competitor beats and ties with the sum of information densities,
        by the saddlepoint. Its weight is the likelihood ratio of the letters, divided by the largest weighted loss, which
        the caller multiplies by again.
        """
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
