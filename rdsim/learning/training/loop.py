r"""One training loop for every learned system: many runs (seeds, slopes) side by side.

Run r splits fold_in(key, r) into a key for its start, one for its steps, whose step t draws from
fold_in(that, t), and one for its judgements: a run is the same wherever it was continued, and depends
on the runs beside it in nothing but the rounding of batched products. A run is judged on
held-out data every few steps; the state of its best judgement is what is returned. Inside, the
parameters of a run are one vector: the optimiser is then compiled for one array, not for each.
"""

import dataclasses
import math
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Final, Protocol

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jaxtyping import Array, Float, Int, Key

from rdsim import validation
from rdsim.learning.training import checkpoints
from rdsim.learning.training.parameter_vector import Layout, layout_of, vector
from rdsim.simulation.engine import progress as bars
from rdsim.transformations import on_host

_SECONDS_A_CALL: Final = 2.0
"""How long the steps of one call may take: between calls an interrupt is seen."""


class Learner(Protocol):
    """A system that can be trained; a frozen dataclass, hashable, since it is compiled in."""

    def build(self, rngs: nnx.Rngs) -> nnx.Module:
        """Make the module with its first parameters, float32."""

    def loss(
        self, model: Any, batch: Any, key: Key[Array, ""], setting: Any, progress: Array
    ) -> tuple[Float[Array, ""], Mapping[str, Float[Array, ""]]]:
        """Loss of a batch, and numbers to record with it.

        Args:
            model: the module.
            batch: what the data source drew.
            key: PRNG key of this step.
            setting: what the run was given (its slope, say), a PyTree of scalars.
            progress: share of the steps done, 0 to 1, for annealing.

        """


@dataclasses.dataclass(frozen=True, kw_only=True)
class Schedule:
    """How a run is trained.

    Attributes:
        steps: of the optimiser, at most.
        peak_rate: largest step size of Adam, reached after the warm-up, followed by a cosine.
        warmup: share of the steps with a rising step size.
        clip: largest global norm of a gradient.
        weight_decay: of AdamW.
        check_every: steps between judgements on held-out data.
        patience: judgements without a better one after which a run stops; None for never.

    """

    steps: int = 1000
    peak_rate: float = 1e-2
    warmup: float = 0.05
    clip: float = 1.0
    weight_decay: float = 0.0
    check_every: int = 100
    patience: int | None = None

    def optimiser(self) -> optax.GradientTransformation:
        """Adam with clipped gradients, a warm-up and a cosine."""
        whole = max(2, self.steps)
        rate = optax.warmup_cosine_decay_schedule(
            init_value=0.0,
            peak_value=self.peak_rate,
            # The cosine needs one step at least.
            warmup_steps=min(max(1, round(self.warmup * self.steps)), whole - 1),
            decay_steps=whole,
            end_value=0.01 * self.peak_rate,
        )
        return optax.chain(
            optax.clip_by_global_norm(self.clip),
            optax.adamw(rate, weight_decay=self.weight_decay),
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Trained:
    """What training made of every run.

    Attributes:
        graph: structure of the module.
        state: parameters of the best judgement, a PyTree of host arrays with a leading axis of runs.
        steps: steps done at each judgement, shape (checks,); the first is before training.
        held_out: loss on held-out data, shape (runs, checks); NaN after a run has stopped.
        recorded: the learner's other numbers there, each of shape (runs, checks).
        observed: what `observe` returned there, each of shape (runs, checks, ...).
        best_step: steps done at the best judgement, shape (runs,).
        ended: why each run ended, a sentence a run.

    """

    graph: Any
    state: Any
    steps: Int[np.ndarray, " checks"]
    held_out: Float[np.ndarray, "runs checks"]
    recorded: dict[str, np.ndarray]
    observed: dict[str, np.ndarray]
    best_step: Int[np.ndarray, " runs"]
    ended: tuple[str, ...]

    def model(self, run: int) -> Any:
        """Return the module of one run."""
        return nnx.merge(
            self.graph, jax.tree.map(lambda leaf: jnp.asarray(leaf[run], leaf.dtype), self.state)
        )


class TrainingDivergedError(ArithmeticError):
    """A loss or a gradient was not finite.

    Attributes:
        run: which run.
        step: the step that failed, counted from 0; of a judgement, how many steps it came after.
        trained: what was learned up to the last judgement, all runs.
        last_good: module of the run before the step that failed; if a judgement failed, that of
            its best judgement, or of its start.

    """

    def __init__(
        self, run: int, step: int, trained: Trained, last_good: Any, *, judged: bool = False
    ) -> None:
        what = "held-out loss" if judged else "loss or a gradient"
        super().__init__(
            f"run {run} has a {what} that is not finite at step {step}; the last good state is "
            "kept in .last_good, all runs up to the last judgement in .trained"
        )
        self.run, self.step, self.trained, self.last_good = run, step, trained, last_good


@on_host
def train(
    key: Key[Array, ""],
    learner: Any,
    draw: Callable[[Key[Array, ""], Any], Any],
    data: Any,
    held_out: Any,
    settings: Any,
    *,
    schedule: Schedule | None = None,
    observe: Callable[[Any, Any], Mapping[str, Array]] | None = None,
    checkpoint: Any = None,
    progress: bool = False,
) -> Trained:
    r"""Train a learner in many runs side by side, each with its own seed and setting.

    Args:
        key: PRNG key; run r and its steps depend on it, on r and on the setting of r alone.
        learner: a `Learner`.
        draw: pure, hashable function (key, data) -> the batch of a step.
        data: PyTree of arrays given to it: a law to sample from, or a sample.
        held_out: one batch that no step sees, on which runs are judged.
        settings: PyTree of arrays whose leading axis counts the runs, for example slopes (runs,);
            seeds are told apart by repeated settings.
        schedule: how to train.
        observe: pure, hashable function (model, setting) -> named arrays, recorded at each
            judgement: the exact bits and losses along the training, for example.
        checkpoint: folder in which training is saved at each judgement and from which it goes on,
            to the same digits on one device; None for nowhere.
        progress: whether to show a bar.

    Returns:
        Parameters and records of every run.

    Raises:
        ValueError: if settings have no common leading axis, or the schedule is out of range.
        TypeError: if the key is not a typed key, or a parameter is not float32.
        CheckpointMismatchError: if the folder holds another training: other programs, edited ones
            of the same names included, data, settings, key or schedule.
        CheckpointDamagedError: if what the folder holds cannot be read.
        OSError: if the folder cannot be written; said before any step.
        TrainingDivergedError: if a loss, a gradient or a judgement is not finite; it carries the
            last good state.

    """
    validation.prng_key("key", key)
    plan = checked_schedule(Schedule() if schedule is None else schedule)
    if not all(callable(getattr(learner, name, None)) for name in ("build", "loss")):
        raise TypeError(f"learner must have build and loss, got {type(learner)}")
    validation.function("draw", draw)
    if observe is not None:
        validation.function("observe", observe)
    validation.path("checkpoint", checkpoint)
    runs = _runs(settings)
    settings = jax.tree.map(jnp.asarray, settings)
    layout = layout_of(learner)
    start, steps, held = _keys(key, runs)
    carry = _begin(_first_vectors(start, learner), plan)
    judged = (held, held_out, settings, plan.patience, learner, layout, observe)
    stepped = (steps, data, settings, learner, layout, plan, draw)
    records: list[dict[str, np.ndarray]] = []
    portion = 1
    saved = None
    if checkpoint is not None:
        saved = checkpoints.Folder(
            Path(checkpoint),
            checkpoints.fingerprint(
                *(key, learner, plan, (draw, observe), (settings, data, held_out)),
                (
                    _first_vectors.lower(start, learner),
                    _advance.lower(carry, np.int32(1), *stepped),
                    _judge.lower(carry, *judged),
                ),
            ),
        )
        carry, records = saved.restore(carry)
    with bars.shown(
        progress, type(learner).__name__, int(carry["step"]), plan.steps, unit="steps"
    ) as tell:
        if not records:
            carry, record = _judge(carry, *judged)
            records.append(_on_host(record))
            _require_finite(layout, carry, records, plan, np.ones(runs, bool))
        while int(carry["step"]) < plan.steps and not bool(jnp.all(carry["stopped"])):
            done = int(carry["step"])
            end = min(done + plan.check_every, plan.steps)
            moved = carry
            while done < end:
                count = min(portion, end - done)
                began = time.monotonic()
                moved, bad = _advance(moved, np.int32(count), *stepped)
                if (failed := np.asarray(bad)).min() < plan.steps:
                    run = int(failed.argmin())
                    kept = layout.module(np.asarray(moved["state"])[run])
                    trained = _gathered(layout, carry, records, plan)
                    raise TrainingDivergedError(run, int(failed[run]), trained, kept)
                portion = max(1, int(count * _SECONDS_A_CALL / (time.monotonic() - began)))
                done += count
                tell(done, plan.steps)
            active = ~np.asarray(moved["stopped"])
            carry, record = _judge(moved, *judged)
            records.append(_on_host(record))
            _require_finite(layout, carry, records, plan, active)
            if saved is not None:
                saved.save(carry, records)
    return _gathered(layout, carry, records, plan)


def _require_finite(
    layout: Layout,
    carry: dict[str, Any],
    records: list[dict[str, Any]],
    plan: Schedule,
    active: Any,
) -> None:
    """Raise if a run that still trained was judged by something that is no number."""
    bad = active & ~np.isfinite(records[-1]["held_out"])
    if bad.any():
        run = int(bad.argmax())
        trained = _gathered(layout, carry, records, plan)
        step = int(carry["step"])
        raise TrainingDivergedError(run, step, trained, trained.model(run), judged=True)


def checked_schedule(schedule: Any) -> Schedule:
    """Check a schedule, before anything is drawn or compiled.

    Raises:
        ValueError: naming the number that is out of range.
        TypeError: if it is no schedule, or a number is no integer.

    """
    plan: Schedule = validation.instance("schedule", schedule, Schedule)
    for name, low in (("steps", 1), ("check_every", 1)):
        validation.integer(name, getattr(plan, name), low=low)
    for name in ("peak_rate", "clip"):
        value = getattr(plan, name)
        validation.interval(name, value, low=0.0, open_low=True, open_high=True, ndim=0)
    validation.interval("warmup", plan.warmup, low=0.0, high=1.0, ndim=0)
    validation.interval("weight_decay", plan.weight_decay, low=0.0, open_high=True, ndim=0)
    if plan.patience is not None:
        validation.integer("patience", plan.patience, low=1)
    return plan


def _runs(settings: Any) -> int:
    leading = {np.shape(leaf)[:1] for leaf in jax.tree.leaves(settings)}
    if len(leading) != 1 or () in leading or (0,) in leading:
        shapes = [np.shape(leaf) for leaf in jax.tree.leaves(settings)]
        raise ValueError(
            "settings must be arrays with one common leading axis, that of the runs, got shapes "
            f"{shapes}"
        )
    return int(leading.pop()[0])


@partial(jax.jit, static_argnames="runs")
def _keys(key: Key[Array, ""], runs: int) -> tuple[Key[Array, " r"], ...]:
    """Keys of every run for its start, its steps and its judgements."""
    of_runs = jax.vmap(lambda run: jax.random.split(jax.random.fold_in(key, run), 3))
    return tuple(of_runs(jnp.arange(runs)).T)


@partial(jax.jit, static_argnames="learner")
def _first_vectors(keys: Key[Array, " r"], learner: Any) -> Float[Array, "r p"]:
    return jax.vmap(lambda key: vector(nnx.split(learner.build(nnx.Rngs(key)))[1]))(keys)


@partial(jax.jit, static_argnames="plan")
def _begin(state: Float[Array, "r p"], plan: Schedule) -> dict[str, Any]:
    runs = state.shape[0]
    return {
        "state": state,
        "optimiser": jax.vmap(plan.optimiser().init)(state),
        "best_state": state,
        "step": jnp.zeros((), jnp.int32),
        "best": jnp.full((runs,), jnp.inf, jnp.float32),
        "best_step": jnp.zeros((runs,), jnp.int32),
        "waited": jnp.zeros((runs,), jnp.int32),
        "stopped": jnp.zeros((runs,), bool),
    }


@partial(jax.jit, static_argnames=("learner", "layout", "plan", "draw"))
def _advance(
    carry: dict[str, Any],
    count: Int[Array, ""],
    keys: Key[Array, " r"],
    data: Any,
    settings: Any,
    learner: Any,
    layout: Layout,
    plan: Schedule,
    draw: Callable[..., Any],
) -> tuple[dict[str, Any], Int[Array, " r"]]:
    """Take some steps in every run; the second result is the first step that failed, or `steps`.

    Their number is an argument of the compiled loop, not part of it: no digit depends on how the
    steps are dealt out to calls.
    """
    optimiser = plan.optimiser()

    def one_run(
        state: Any, moments: Any, key: Key[Array, ""], setting: Any, halted: Array
    ) -> tuple[Any, Any, Array]:
        def step(t: Array, held: tuple[Any, Any, Array]) -> tuple[Any, Any, Array]:
            state, moments, failed = held
            batch_key, loss_key = jax.random.split(jax.random.fold_in(key, t))
            share = jnp.float32(t / plan.steps)

            def loss(values: Any) -> Array:
                batch = draw(batch_key, data)
                model = nnx.merge(layout.graph, values)
                return learner.loss(model, batch, loss_key, setting, share)[0]

            value, slopes = jax.value_and_grad(loss)(layout.state(state))
            slope = vector(slopes)
            update, later = optimiser.update(slope, moments, state)
            fine = jnp.isfinite(value) & jnp.isfinite(optax.tree.norm(slope))
            failed = jnp.where(fine, failed, jnp.minimum(failed, t))
            move = (failed == plan.steps) & ~halted
            following = optax.apply_updates(state, update)

            def kept(new: Array, old: Array) -> Array:
                return jnp.where(move, new, old)

            moments = jax.tree.map(kept, later, moments)
            return kept(following, state), moments, failed

        start = (state, moments, jnp.int32(plan.steps))
        span = carry["step"], carry["step"] + count
        state, moments, failed = jax.lax.fori_loop(*span, step, start)
        return state, moments, jnp.where(halted, plan.steps, failed)

    state, moments, failed = jax.vmap(one_run)(
        *(carry["state"], carry["optimiser"], keys, settings, carry["stopped"])
    )
    moved = carry | {"state": state, "optimiser": moments, "step": carry["step"] + count}
    return moved, failed


@partial(jax.jit, static_argnames=("patience", "learner", "layout", "observe"))
def _judge(
    carry: dict[str, Any],
    keys: Key[Array, " r"],
    held_out: Any,
    settings: Any,
    patience: int | None,
    learner: Any,
    layout: Layout,
    observe: Callable[..., Any] | None,
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Judge every run that still trains, keep its best state, and stop it when it waited too long."""

    def one(state: Any, key: Key[Array, ""], setting: Any) -> tuple[Array, Any, Any]:
        model = nnx.merge(layout.graph, layout.state(state))
        # One key for all judgements of a run, so that they differ by the parameters alone.
        value, numbers = learner.loss(model, held_out, key, setting, jnp.float32(1.0))
        return value, dict(numbers), {} if observe is None else dict(observe(model, setting))

    value, numbers, seen = jax.vmap(one)(carry["state"], keys, settings)
    active = ~carry["stopped"]
    better = active & (value < carry["best"])
    waited = jnp.where(better, 0, carry["waited"] + 1)

    def kept(new: Array, old: Array) -> Array:
        return jnp.where(better.reshape(-1, *(1,) * (new.ndim - 1)), new, old)

    record = {"held_out": value, "recorded": numbers, "observed": seen}
    record = jax.tree.map(
        lambda leaf: jnp.where(
            active.reshape(-1, *(1,) * (leaf.ndim - 1)), leaf, jnp.full_like(leaf, jnp.nan)
        ),
        record,
    )
    judged = carry | {
        "best_state": kept(carry["state"], carry["best_state"]),
        "best": jnp.where(better, value, carry["best"]).astype(jnp.float32),
        "best_step": jnp.where(better, carry["step"], carry["best_step"]),
        "waited": waited.astype(jnp.int32),
        "stopped": carry["stopped"] | (waited >= (patience or math.inf)),
    }
    return judged, record | {"step": carry["step"]}


def _on_host(record: dict[str, Any]) -> dict[str, Any]:
    return jax.tree.map(np.asarray, record)


def _gathered(
    layout: Layout, carry: dict[str, Any], records: list[dict[str, Any]], plan: Schedule
) -> Trained:
    series = jax.tree.map(lambda *parts: np.stack(parts, axis=min(1, parts[0].ndim)), *records)
    stopped = np.asarray(carry["stopped"])
    best = np.asarray(carry["best_step"])
    done = int(carry["step"])
    end = f"all {done} steps done" if done == plan.steps else f"broken off after {done} steps"
    return Trained(
        graph=layout.graph,
        state=layout.state(np.asarray(carry["best_state"])),
        steps=series["step"],
        held_out=series["held_out"],
        recorded=series["recorded"],
        observed=series["observed"],
        best_step=best,
        ended=tuple(
            f"stopped: {plan.patience} judgements without a better one than at step {step}"
            if halted
            else f"{end}; best at step {step}"
            for halted, step in zip(stopped.tolist(), best.tolist(), strict=True)
        ),
    )
