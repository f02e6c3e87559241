r"""One training loop for every learned system: many runs (seeds, slopes) side by side.

Run r splits fold_in(key, r) into a key for its start, one for its steps, whose step t draws from
fold_in(that, t), and one for its evaluations: a run is the same wherever it was continued, and depends
on the runs beside it in nothing but the rounding of batched products. A run is evaluated on
held-out data every few steps; the parameters of its lowest held-out loss are what is returned. Inside,
the parameters of a run are one vector: the optimiser is then compiled for one array, not for each.
"""

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import jax
import numpy as np
from jaxtyping import Array, Key

from rdsim import validation
from rdsim.learning.training import checkpoints
from rdsim.learning.training.evaluation import evaluate
from rdsim.learning.training.learner import Learner
from rdsim.learning.training.parameter_vector import layout_of
from rdsim.learning.training.schedule import Schedule, checked_schedule
from rdsim.learning.training.steps import advance, first_carry, first_parameters, run_keys
from rdsim.learning.training.trained import Trained, TrainingDivergedError, gathered
from rdsim.simulation.engine import progress as bars
from rdsim.transformations import on_host

_SECONDS_A_CALL: Final = 2.0
"""How long the steps of one compiled call may take: between calls an interrupt is seen."""


@on_host
def train(
    key: Key[Array, ""],
    learner: Learner,
    draw: Callable[[Key[Array, ""], Any], Any],
    data: Any,
    held_out: Any,
    settings: Any,
    *,
    schedule: Schedule | None = None,
    observe: Callable[[Any, Any], Mapping[str, Array]] | None = None,
    checkpoint: str | Path | None = None,
    progress: bool = False,
) -> Trained:
    r"""Train a learner in many runs side by side, each with its own seed and setting.

    Args:
        key: PRNG key; run r and its steps depend on it, on r and on the setting of r alone.
        learner: a `Learner`.
        draw: pure, hashable function (key, data) -> the batch of a step.
        data: PyTree of arrays given to it: a distribution to sample from, or a sample.
        held_out: one batch that no step sees, on which runs are evaluated.
        settings: PyTree of arrays whose leading axis counts the runs, for example slopes (runs,);
            seeds are told apart by repeated settings.
        schedule: how to train.
        observe: pure, hashable function (model, setting) -> named arrays, recorded at each
            evaluation: the exact bits and losses along the training, for example.
        checkpoint: folder in which training is saved at each evaluation and from which it goes on,
            to the same digits on one device; None for nowhere.
        progress: whether to show a bar.

    Returns:
        Parameters and records of every run.

    Raises:
        CheckpointMismatchError: if the folder holds another training: other programs, edited ones
            of the same names included, data, settings, key or schedule.
        CheckpointDamagedError: if what the folder holds cannot be read.
        OSError: if the folder cannot be written; said before any step.
        TrainingDivergedError: if a loss, a gradient or a held-out loss is not finite; it carries
            the last good state.

    """
    validation.prng_key("key", key)
    plan = checked_schedule(Schedule() if schedule is None else schedule)
    if not all(callable(getattr(learner, name, None)) for name in ("build", "loss")):
        raise TypeError(f"learner must have build and loss, got {type(learner)}")
    validation.function("draw", draw)
    if observe is not None:
        validation.function("observe", observe)
    validation.path("checkpoint", checkpoint)
    runs = _number_of_runs(settings)
    settings = jax.tree.map(jax.device_put, settings)
    layout = layout_of(learner)
    start_keys, step_keys, evaluation_keys = run_keys(key, runs)
    carry = first_carry(first_parameters(start_keys, learner), plan)
    of_steps = (step_keys, data, settings, learner, layout, plan, draw)
    of_evaluation = (
        evaluation_keys,
        held_out,
        settings,
        plan.patience,
        learner,
        layout,
        observe,
    )
    records: list[dict[str, Any]] = []

    def evaluated(before: dict[str, Any]) -> dict[str, Any]:
        """Evaluate all runs, record it, and refuse a held-out loss that is not finite."""
        active = ~np.asarray(before["stopped"])
        after, record = evaluate(before, *of_evaluation)
        records.append(jax.tree.map(np.asarray, record))
        diverged = active & ~np.isfinite(records[-1]["held_out"])
        if diverged.any():
            run = int(diverged.argmax())
            so_far = gathered(layout, after, records, plan)
            raise TrainingDivergedError(
                run, int(after["step"]), so_far, so_far.model(run), evaluated=True
            )
        return after

    saved = None
    if checkpoint is not None:
        programs = (
            first_parameters.lower(start_keys, learner),
            advance.lower(carry, np.int32(1), *of_steps),
            evaluate.lower(carry, *of_evaluation),
        )
        arrays = (settings, data, held_out)
        training = checkpoints.fingerprint(key, learner, plan, (draw, observe), arrays, programs)
        saved = checkpoints.Folder(Path(checkpoint), training)
        carry, records[:] = saved.restore(carry)
    steps_a_call = 1
    with bars.shown(
        progress, type(learner).__name__, int(carry["step"]), plan.steps, unit="steps"
    ) as tell:
        if not records:
            carry = evaluated(carry)
        while int(carry["step"]) < plan.steps and not np.asarray(carry["stopped"]).all():
            done = int(carry["step"])
            end = min(done + plan.evaluate_every, plan.steps)
            # The last evaluated state is kept, for the error of a step that fails.
            stepped = carry
            while done < end:
                count = min(steps_a_call, end - done)
                began = time.monotonic()
                stepped, first_failed = advance(stepped, np.int32(count), *of_steps)
                if (failed := np.asarray(first_failed)).min() < plan.steps:
                    run = int(failed.argmin())
                    last_good = layout.module(np.asarray(stepped["state"])[run])
                    so_far = gathered(layout, carry, records, plan)
                    raise TrainingDivergedError(run, int(failed[run]), so_far, last_good)
                steps_a_call = max(1, int(count * _SECONDS_A_CALL / (time.monotonic() - began)))
                done += count
                tell(done, plan.steps)
            carry = evaluated(stepped)
            if saved is not None:
                saved.save(carry, records)
    return gathered(layout, carry, records, plan)


def _number_of_runs(settings: Any) -> int:
    leading = {np.shape(leaf)[:1] for leaf in jax.tree.leaves(settings)}
    if len(leading) != 1 or () in leading or (0,) in leading:
        shapes = [np.shape(leaf) for leaf in jax.tree.leaves(settings)]
        raise ValueError(
            "settings must be arrays with one common leading axis, that of the runs, got shapes "
            f"{shapes}"
        )
    return int(leading.pop()[0])
