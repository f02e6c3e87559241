"""How a run is trained: its number of steps, its optimiser and its early stopping."""

import dataclasses
from typing import Any

import optax

from rdsim import validation


@dataclasses.dataclass(frozen=True, kw_only=True)
class Schedule:
    """Options of the training of one run.

    Attributes:
        steps: largest number of optimiser steps; 0 leaves a module at its start.
        learning_rate: largest step size of Adam, reached after the warm-up; a cosine then lowers it
            to a hundredth.
        warmup: fraction of the steps in which the step size rises from zero.
        clip: largest global norm of a gradient; longer ones are scaled down to it.
        weight_decay: of AdamW.
        evaluate_every: steps between evaluations on held-out data.
        patience: early stopping: a run ends after this many evaluations in a row without a lower
            held-out loss; None for never.

    """

    steps: int = 1000
    learning_rate: float = 1e-2
    warmup: float = 0.05
    clip: float = 1.0
    weight_decay: float = 0.0
    evaluate_every: int = 100
    patience: int | None = None

    def optimiser(self) -> optax.GradientTransformation:
        """Adam with clipped gradients, a warm-up and a cosine."""
        whole = max(2, self.steps)
        rate = optax.warmup_cosine_decay_schedule(
            init_value=0.0,
            peak_value=self.learning_rate,
            # The cosine needs one step at least.
            warmup_steps=min(max(1, round(self.warmup * self.steps)), whole - 1),
            decay_steps=whole,
            end_value=0.01 * self.learning_rate,
        )
        return optax.chain(
            optax.clip_by_global_norm(self.clip),
            optax.adamw(rate, weight_decay=self.weight_decay),
        )


def checked_schedule(schedule: Any) -> Schedule:
    """Check a schedule, before anything is drawn or compiled."""
    plan: Schedule = validation.instance("schedule", schedule, Schedule)
    for name, low in (("steps", 0), ("evaluate_every", 1)):
        validation.integer(name, getattr(plan, name), low=low)
    for name in ("learning_rate", "clip"):
        value = getattr(plan, name)
        validation.positive(name, value, ndim=0)
    validation.interval("warmup", plan.warmup, low=0.0, high=1.0, ndim=0)
    validation.non_negative("weight_decay", plan.weight_decay, ndim=0)
    if plan.patience is not None:
        validation.integer("patience", plan.patience, low=1)
    return plan
