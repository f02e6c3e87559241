r"""The Monte Carlo engine: numbered trials, exact sums, any number of devices and processes.

A result depends on the trial function, the key, the arguments, the block and the stopping rule. It is
the same to the last bit for every chunk, number of devices, number of processes, and after a kill
and a resume, on one kind of device with one version of JAX: trial t draws from fold_in(key, t), is
computed as lane t modulo the block in one compiled program, and adds integers to integers.

Several machines are JAX's own multi-process runtime. Every process runs the same script; process 0
writes the checkpoint. On this machine alone, `python cluster.py 0 & python cluster.py 1`:

    # cluster.py
    import pathlib, sys
    import jax
    jax.distributed.initialize("127.0.0.1:12321", num_processes=2, process_id=int(sys.argv[1]))
    import rdsim.simulation

    def trial(key, threshold):
        x = jax.random.uniform(key)
        return {"above": x > threshold, "loss": jax.numpy.exp(-x * x)}

    result = rdsim.simulation.run_trials(
        jax.random.key(0), trial, 0.9, trials=100_000,
        run=rdsim.simulation.RunOptions(checkpoint=pathlib.Path("cluster.json")),
    )
    print(result.estimates)

Under Slurm or on a TPU pod `jax.distributed.initialize()` finds the addresses itself:
`srun --nodes 4 --ntasks-per-node 1 python cluster.py`.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any, Final

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Int

from rdsim import validation
from rdsim.number_types import ArrayLike, Integer, PRNGKey
from rdsim.results import result
from rdsim.simulation.engine import exact_sums
from rdsim.simulation.engine.exact_sums import Layout
from rdsim.simulation.engine.options import RunOptions, checked_run
from rdsim.simulation.engine.spans import Run
from rdsim.simulation.engine.stopping import StoppingRule, looks
from rdsim.transformations import on_host

_SETTINGS: Final = ("single", "independent", "common")
_BLOCK: Final = 256
"""Trials side by side where no block is chosen."""


@result
class MonteCarloResult:
    """Means with intervals, of each leaf of what the trial returns.

    Attributes:
        estimates: the trial's PyTree with an Estimate at each leaf, of shape (settings..., leaf...).
            Each interval covers its own mean with the confidence asked for, at the time of stopping.
        variances: the same PyTree with the unbiased sample variances, in squared units of the loss.
        trials: trials behind each setting, shape (settings...).
        converged: whether every wanted width was reached, shape (settings...); True if none was.

    """

    estimates: Any
    variances: Any
    trials: Int[Array, "..."]
    converged: Bool[Array, "..."]


@on_host
@validation.needs_float64
def run_trials(
    key: PRNGKey,
    trial: Callable[[Array, Any], Any],
    arguments: Any = None,
    *,
    trials: Integer | None = None,
    target_width: float | Mapping[str, float] | None = None,
    cap: Integer | None = None,
    confidence: float = 0.95,
    bounds: Mapping[str, ArrayLike] | None = None,
    settings: str = "single",
    run: RunOptions | None = None,
) -> MonteCarloResult:
    r"""Estimate the means of events and losses from independent numbered trials.

    Either a number of trials, or a target width and a cap on the trials. With a target, the run may
    stop at trials $1024 \cdot 2^{j/2}$ and at the cap, J looks in all; each interval has confidence
    $1 - (1 - c)/J$, so that the one at which a setting stops is valid (see `stopping`). Events have
    Clopper-Pearson intervals, losses empirical Bernstein ones, widened by $2^{-49}$ of their range for
    the $2^{-50}$ that a loss moves when it is made an integer (see `exact_sums`).

    Args:
        key: PRNG key.
        trial: pure function (key, arguments) -> PyTree of bools (events) and floats (losses in a
            bounded range), hashable. Trial t is called with fold_in(key, t).
        arguments: PyTree of arrays, passed to every trial.
        trials: number of trials of each setting, 2..2^32.
        target_width: width (upper - lower) wanted of every interval, or a mapping from names of
            outcomes to widths; a name is the path in the trial's PyTree, such as "error".
        cap: most trials of each setting, 2..2^32, with target_width.
        confidence: c in (0, 1), of the interval of one outcome and one setting.
        bounds: (low, high) of losses by name, (0, 1) for the others. A loss outside is an error.
        settings: "single"; or "independent" or "common" if every leaf of arguments has a leading
            axis of settings. Setting s then draws from fold_in(fold_in(key, s), t), independent of
            the others; or from fold_in(key, t) like all others (common random numbers, which make
            differences between settings less noisy, each interval still valid for its own mean).
        run: how it is computed: block, devices, checkpoint, progress.

    Returns:
        Estimates, variances, trials and convergence of every setting.

    Raises:
        ValueError: also if a loss is outside its bounds or NaN.
        CheckpointMismatchError: if the checkpoint belongs to another run.
        CheckpointDamagedError: if it is damaged.
        OSError: if it cannot be written, before any trial.

    References:
        Clopper and Pearson (1934), Biometrika 26; Maurer and Pontil (2009), COLT, Theorem 4.

    """
    validation.prng_key("key", key)
    run = checked_run(run, trials=trials, target_width=target_width, cap=cap, confidence=confidence)
    if not (callable(trial) and _hashable(trial)):
        raise TypeError(
            f"trial must be a hashable function of key and arguments, got {type(trial)}"
        )
    validation.choice("settings", settings, _SETTINGS)
    arrays, count = exact_sums.with_settings(arguments, settings)
    shapes = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype), arrays)
    layout = Layout.of(trial, key, shapes, _loss_bounds(bounds))
    run = run.with_block(_BLOCK)
    assert run.block is not None
    work = Run(
        trial=trial,
        key=key,
        arguments=arrays,
        settings=settings,
        count=count,
        layout=layout,
        rule=_stopping_rule(layout, trials, target_width, cap, float(confidence)),
        block=int(run.block),
        chunk=int(run.chunk),
        mesh=exact_sums.mesh_of(run.devices),
        path=run.path,
        pause=float(run.checkpoint_seconds),
    )
    state, estimates, variances = work.to_the_end(run.progress)
    # A single setting has no axis of settings.
    chosen = 0 if settings == "single" else slice(None)

    def shaped(leaves: list[Any]) -> Any:
        tree = jax.tree.unflatten(layout.structure, leaves)
        return jax.tree.map(lambda leaf: on_device(np.asarray(leaf)[chosen]), tree)

    return MonteCarloResult(
        estimates=shaped(estimates),
        variances=shaped(variances),
        trials=on_device(state.trials[chosen]),
        converged=on_device((work.rule.excess(estimates) <= 1)[chosen]),
    )


def on_device(leaf: Any) -> Array:
    """With its type said, an array of the host, but no scalar, is copied by no program compiled for its shape."""
    array = np.asarray(leaf)
    return jnp.asarray(array, array.dtype)


def _hashable(trial: object) -> bool:
    try:
        hash(trial)
    except TypeError:
        return False
    return True


def _loss_bounds(bounds: Mapping[str, ArrayLike] | None) -> dict[str, tuple[float, float]]:
    """Check the bounds of losses, by name."""
    if bounds is not None and not isinstance(bounds, Mapping):
        raise TypeError(f"bounds must map names of losses to (low, high), got {type(bounds)}")
    found = {}
    for name, pair in (bounds or {}).items():
        ends = np.asarray(validation.interval(f"bounds[{name!r}]", pair, ndim=1))
        if ends.shape != (2,) or not np.isfinite(ends).all() or not ends[0] < ends[1]:
            raise ValueError(f"bounds[{name!r}] must be finite (low, high), low < high, got {pair}")
        found[name] = (float(ends[0]), float(ends[1]))
    return found


def _stopping_rule(
    layout: Layout,
    trials: Integer | None,
    target_width: float | Mapping[str, float] | None,
    cap: Integer | None,
    confidence: float,
) -> StoppingRule:
    """Fix the looks and the width wanted of each outcome."""
    if trials is not None:
        return StoppingRule((int(trials),), (math.inf,) * len(layout.outcomes), confidence)
    assert cap is not None  # `checked_run` refuses one without the other
    assert target_width is not None
    names = [outcome.name for outcome in layout.outcomes]
    wanted = (
        target_width if isinstance(target_width, Mapping) else dict.fromkeys(names, target_width)
    )
    if set(wanted) - set(names):
        raise ValueError(f"target_width names {sorted(wanted)}, but the outcomes are {names}")
    return StoppingRule(
        looks(int(cap)),
        tuple(float(wanted.get(name, math.inf)) for name in names),
        confidence,
    )
