r"""Excess of a code learned from N samples: thousands of replications, each certified (C18).

The Lagrangian of an output marginal q at slope s, in nats, under the pmf p and under the
frequencies $\hat p$ of N samples:

$$F(q) = -\sum_y p_y \ln Z_y, \qquad F_N(q) = -\sum_y \hat p_y \ln Z_y, \qquad
Z_y = \sum_u q_u K_{yu}, \quad K_{yu} = 2^{-s d(y,u)}.$$

The plug-in code $q_N$ minimises $F_N$. Its excess is a sum of terms that cannot cancel: with
$\delta_y = (Z_{N,y} - Z^*_y)/Z^*_y$ and $c^*_u = \sum_y p_y K_{yu}/Z^*_y$,

$$F(q_N) - F(q^*) = \sum_y p_y (\delta_y - \ln(1 + \delta_y))
+ \sum_u (1 - c^*_u)(q_{N,u} - q^*_u),$$

because the part of first order, $-\sum p\delta$, is the last sum. So an excess of $10^{-8}$ nats
keeps its digits.
"""

from collections.abc import Sequence
from functools import partial
from typing import Final, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import scipy
from jaxtyping import Array, Bool, Float, Int

from rdsim import validation
from rdsim.finite_sample.plug_in_optimum import SolvedSource, checked_problem, solve, solved_source
from rdsim.number_types import ArrayLike, Integer, PRNGKey
from rdsim.results import result
from rdsim.simulation.engine.exact_sums import MOST_TRIALS, mesh_of
from rdsim.simulation.intervals import Estimate
from rdsim.transformations import on_host

_MOST_SAMPLES: Final = 2**52
"""Largest N: a count is resolved to one by float64 with a bit to spare."""


@result
class PlugInExcess:
    r"""Excess of the plug-in code in every replication, with its certificates.

    Attributes:
        samples: N, shape (S,).
        excess: $F(q_N) - F(q^*)$ on the true pmf of the code that was found, nats, shape
            (S, replications); in exact arithmetic the truth is in [excess, excess +
            optimum_suboptimality].
        suboptimality: certified bound on $F_N(q_N) - \min F_N$, nats, shape (S, replications).
        solver_error: bound on how far the excess is from that of an exact minimiser of $F_N$, nats,
            shape (S, replications); inf where a letter of positive probability was not drawn, for
            the samples do not determine its Z.
        letters: number of letters used by $q_N$, shape (S, replications).
        same_support: whether $q_N$ uses the letters of $q^*$, shape (S, replications).
        output_marginal: $q^*$ of the true pmf, shape (|U|,); exact zeros off the support.
        optimum_suboptimality: certified bound on $F(q^*) - \min F$, nats.
        tolerance: the suboptimality asked for, nats.

    """

    samples: Int[Array, " s"]
    excess: Float[Array, "s t"]
    suboptimality: Float[Array, "s t"]
    solver_error: Float[Array, "s t"]
    letters: Int[Array, "s t"]
    same_support: Bool[Array, "s t"]
    output_marginal: Float[Array, " u"]
    optimum_suboptimality: Float[Array, ""]
    tolerance: Float[Array, ""]

    @property
    def converged(self) -> Bool[Array, "s t"]:
        """Whether the code and the true optimum are both solved to within the tolerance."""
        solved = self.optimum_suboptimality <= self.tolerance
        return (self.suboptimality <= self.tolerance) & solved

    @on_host
    def mean(self, *, confidence: float = 0.95) -> Estimate:
        r"""Return the mean excess in nats, shape (S,), with a Student interval.

        The interval rests on the central limit theorem over the replications. One that needs no
        limit (empirical Bernstein) would be as wide as the range of the excess over their number,
        which is a thousand times the excess.

        Args:
            confidence: coverage in (0, 1).

        Returns:
            The estimate.

        """
        covered = float(validation.open_unit("confidence", confidence))
        count = self.excess.shape[-1]
        mean = jnp.mean(self.excess, axis=-1)
        quantile = -scipy.special.stdtrit(count - 1, (1 - covered) / 2)
        half = quantile * jnp.std(self.excess, axis=-1, ddof=1) / jnp.sqrt(count)
        return Estimate(
            mean=mean,
            lower=mean - half,
            upper=mean + half,
            trials=jnp.full(mean.shape, count),
            confidence=covered,
        )


class Replication(NamedTuple):
    """Result of one replication; see PlugInExcess."""

    excess: Float[Array, ""]
    suboptimality: Float[Array, ""]
    solver_error: Float[Array, ""]
    letters: Int[Array, ""]
    same_support: Bool[Array, ""]


@on_host
@validation.needs_float64
def plug_in_excess(
    key: PRNGKey,
    p: ArrayLike,
    distortions: ArrayLike,
    slope: ArrayLike,
    *,
    samples: ArrayLike,
    replications: Integer = 1000,
    tolerance: ArrayLike = 1e-12,
    block: Integer = 256,
    devices: Sequence[jax.Device] | None = None,
) -> PlugInExcess:
    r"""Learn the optimal output marginal from N samples, many times over, and measure its excess.

    $$F(q_N) - F(q^*), \qquad q_N = \arg\min_q -\sum_y \hat p_y \ln \sum_u q_u 2^{-s d(y,u)}.$$

    Replication t draws its N samples from fold_in(key, t), for every N in the list alike (common
    random numbers), and is computed with the others of its block in one compiled program: its
    numbers depend on the key, the problem, N and the block alone, not on the number of
    replications or the devices. Every code starts from the uniform marginal: a
    start from $q^*$ would save a fifth of the time, and fails on some samples.

    Args:
        key: PRNG key.
        p: true source pmf, shape (|Y|,); letters of zero probability are never drawn.
        distortions: d(y,u), shape (|Y|, |U|), each finite and >= 0.
        slope: s > 0, bits per unit of distortion, finite.
        samples: numbers of samples N >= 1, an integer or a list of them.
        replications: independent learned codes for each N, 2..2^32.
        tolerance: suboptimality in nats above which a code counts as not converged.
        block: replications computed side by side. Part of what is computed, as in `run_trials`.
        devices: JAX devices of this process that share the blocks; all of them by default.

    Returns:
        Excess and certificates of every replication. Codes that were not solved to within the
        tolerance have `converged` False.

    References:
        Shapiro (1989), Math. Oper. Res. 14(4), for the asymptotics of such programs; Koenker and
        Mizera (2014), J. Am. Stat. Assoc. 109, for the solver.

    """
    validation.prng_key("key", key)
    p, d, s = checked_problem(p, distortions, slope)
    sizes = _sizes(samples)
    count = validation.integer("replications", replications, low=2, high=MOST_TRIALS)
    block = validation.integer("block", block, low=1, high=2**20)
    wanted = validation.tolerance(tolerance)
    chosen = _local_devices(devices)
    problem = solved_source(p, d, s)
    # The true optimum is found once; the same keys serve every N, so that differences between sizes are paired.
    parts = [_replicate(key, problem, N, count, block, chosen) for N in sizes]
    found = Replication(*(jnp.asarray(np.stack(leaf)) for leaf in zip(*parts, strict=True)))
    return PlugInExcess(
        samples=jnp.asarray(sizes),
        excess=found.excess,
        suboptimality=found.suboptimality,
        solver_error=found.solver_error,
        letters=found.letters,
        same_support=found.same_support,
        output_marginal=problem.q,
        optimum_suboptimality=problem.suboptimality,
        tolerance=wanted,
    )


def _replication(key: PRNGKey, problem: SolvedSource, samples: Float[Array, ""]) -> Replication:
    """Draw the samples, learn the code, and measure it on the true pmf."""
    p, K, q_true, Z_true, slack, true_suboptimality, exponent = problem
    # One multinomial draw in place of N samples: its cost does not grow with N, which reaches 2^52.
    frequencies = jax.random.multinomial(key, samples, p) / samples
    q, suboptimality = solve(K, frequencies)
    difference = q - q_true
    delta = (K @ difference) / Z_true
    # Where no learned codeword is near a letter that was not drawn, Z underflows: use the log
    # domain.
    log_ratio = jax.nn.logsumexp(-exponent, axis=1, b=q) - jnp.log(Z_true)
    # log1p keeps the digits of a small delta, on which the second-order term rests; the inner maximum keeps the
    # branch that is not taken finite.
    log_ratio = jnp.where(delta > -0.5, jnp.log1p(jnp.maximum(delta, -0.5)), log_ratio)
    # delta - ln(1 + delta) >= 0 letter by letter, and the slacks times the masses are not negative either: nothing
    # cancels.
    second_order = jnp.where(p > 0, p * (delta - log_ratio), 0.0)
    excess = jnp.sum(second_order) + slack @ difference
    return Replication(
        jnp.maximum(excess, 0.0),
        suboptimality,
        true_suboptimality + _solver_error(p, frequencies, suboptimality),
        jnp.sum(q > 0),
        jnp.all((q > 0) == (q_true > 0)),
    )


def _solver_error(
    p: Float[Array, " y"], frequencies: Float[Array, " y"], gap: Float[Array, ""]
) -> Float[Array, ""]:
    r"""Bound $|F(q) - F(q_N)|$ for a q with $F_N(q) \le F_N(q_N) + g$, $q_N$ an exact minimiser.

    Let $x = \ln(Z/Z_N)$. Optimality gives $\sum\hat p e^x \le 1$, and $-\sum\hat p x \le g$ by
    assumption, so $\sum\hat p(e^x - 1 - x) \le g$. Each term is at least $x^2/3$ if $|x| \le 1$,
    which holds if $g \le \hat p_y / e$. Hence $\sum\hat p x^2 \le 3g$ and by Cauchy and Schwarz
    $|\sum p x| \le g + \sqrt{3 g \sum (p - \hat p)^2/\hat p}$.
    """
    seen = frequencies > 0
    ratio = jnp.where(seen, (p - frequencies) ** 2 / jnp.where(seen, frequencies, 1.0), 0.0)
    # Both conditions of the proof: every |x| is at most one on the letters that were seen, and the others, of whose Z
    # the samples say nothing, have no probability.
    small = jnp.all(jnp.where(seen, gap * jnp.e <= frequencies, p == 0))
    return jnp.where(small, gap + jnp.sqrt(3 * gap * jnp.sum(ratio)), jnp.inf)


@partial(jax.jit, static_argnames=("block", "implementation"))
def _block(
    key_data: Array,
    problem: SolvedSource,
    samples: Float[Array, ""],
    number: Int[Array, ""],
    *,
    block: int,
    implementation: str,
) -> Replication:
    """Replications of one block, in a program that does not depend on other devices.

    Sharded over a mesh, the same linear algebra rounds otherwise for another number of devices.
    """
    key = jax.random.wrap_key_data(key_data, impl=implementation)
    numbers = (number * block + jnp.arange(block)).astype(jnp.uint32)
    keys = jax.vmap(partial(jax.random.fold_in, key))(numbers)
    return jax.vmap(_replication, in_axes=(0, None, None))(keys, problem, samples)


def _replicate(
    key: PRNGKey,
    problem: SolvedSource,
    samples: int,
    count: int,
    block: int,
    devices: list[jax.Device],
) -> list[np.ndarray]:
    """Numbers of all replications of one N; the host waits only after the last block is queued."""
    shared = jax.random.key_data(key), problem, jnp.asarray(float(samples))
    placed = [jax.device_put(shared, device) for device in devices]
    pieces = [
        _block(
            *placed[number % len(devices)],
            jax.device_put(number, devices[number % len(devices)]),
            block=block,
            implementation=str(jax.random.key_impl(key)),
        )
        for number in range(-(-count // block))
    ]
    return [
        np.concatenate([np.asarray(x) for x in leaf])[:count] for leaf in zip(*pieces, strict=True)
    ]


def _local_devices(devices: Sequence[jax.Device] | None) -> list[jax.Device]:
    if devices is None:
        return jax.local_devices()
    chosen = list(mesh_of(devices).devices.flat)
    if foreign := [device for device in chosen if device.process_index != jax.process_index()]:
        raise ValueError(f"devices must belong to this process, got {foreign}")
    return chosen


def _sizes(samples: ArrayLike) -> list[int]:
    listed = [samples] if np.ndim(samples) == 0 else samples
    return list(validation.integers("samples", listed, low=1, high=_MOST_SAMPLES))
