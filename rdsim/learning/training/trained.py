"""The result of training every run, and the error of a training that diverged."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Float, Int

from rdsim.learning.training.parameter_vector import Layout
from rdsim.learning.training.schedule import Schedule


@dataclasses.dataclass(frozen=True, kw_only=True)
class Trained:
    """The result of training, for every run.

    Attributes:
        graph: structure of the module.
        state: parameters at the best evaluation, a PyTree of host arrays with a leading axis of runs.
        steps: steps done at each evaluation, shape (evaluations,); the first is before training.
        held_out: loss on held-out data, shape (runs, evaluations); NaN after a run has stopped.
        recorded: the learner's other numbers there, each of shape (runs, evaluations).
        observed: what `observe` returned there, each of shape (runs, evaluations, ...).
        best_step: steps done at the best evaluation, shape (runs,).
        stop_reason: why each run ended, a sentence a run.

    """

    graph: Any
    state: Any
    steps: Int[np.ndarray, " evaluations"]
    held_out: Float[np.ndarray, "runs evaluations"]
    recorded: dict[str, np.ndarray]
    observed: dict[str, np.ndarray]
    best_step: Int[np.ndarray, " runs"]
    stop_reason: tuple[str, ...]

    def model(self, run: int) -> Any:
        """Return the module of one run."""
        return nnx.merge(
            self.graph, jax.tree.map(lambda leaf: jnp.asarray(leaf[run], leaf.dtype), self.state)
        )


class TrainingDivergedError(ArithmeticError):
    """A loss or a gradient was not finite.

    Attributes:
        run: which run.
        step: the step that failed, counted from 0; of an evaluation, how many steps it came after.
        trained: what was learned up to the last evaluation, all runs.
        last_good: module of the run before the step that failed; if an evaluation failed, that of
            its best evaluation, or of its start.

    """

    def __init__(
        self, run: int, step: int, trained: Trained, last_good: Any, *, evaluated: bool = False
    ) -> None:
        what = "held-out loss" if evaluated else "loss or a gradient"
        super().__init__(
            f"run {run} has a {what} that is not finite at step {step}; the last good state is "
            "kept in .last_good, all runs up to the last evaluation in .trained"
        )
        self.run, self.step, self.trained, self.last_good = run, step, trained, last_good


def gathered(
    layout: Layout, carry: dict[str, Any], records: list[dict[str, Any]], plan: Schedule
) -> Trained:
    """Put what a training has learned so far into a result on the host.

    Args:
        layout: of the module's parameters.
        carry: the state of all runs.
        records: of all evaluations so far, on the host.
        plan: schedule.

    """
    series = jax.tree.map(lambda *parts: np.stack(parts, axis=min(1, parts[0].ndim)), *records)
    stopped = np.asarray(carry["stopped"])
    best = np.asarray(carry["best_step"])
    done = int(carry["step"])
    end = f"all {done} steps done" if done == plan.steps else f"interrupted after {done} steps"
    return Trained(
        graph=layout.graph,
        state=layout.state(np.asarray(carry["best_state"])),
        steps=series["step"],
        held_out=series["held_out"],
        recorded=series["recorded"],
        observed=series["observed"],
        best_step=best,
        stop_reason=tuple(
            f"stopped early: {plan.patience} evaluations without a lower loss than at step {step}"
            if halted
            else f"{end}; best at step {step}"
            for halted, step in zip(stopped.tolist(), best.tolist(), strict=True)
        ),
    )
