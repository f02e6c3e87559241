"""A small training, least squares of a line, that several test files share."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from rdsim.learning.training import loop as training
from rdsim.learning.training.loop import train
from rdsim.learning.training.schedule import Schedule

SLOPE = np.array([1.5, -0.5], np.float32)

HELD_OUT = (jnp.eye(2, dtype=jnp.float32), jnp.asarray(SLOPE))

FAULTS = {"none": 0, "loss": 1, "gradient": 2, "evaluation": 3}

SCALES = (1.0, 2.0, 1.0)

PLAN = Schedule(
    steps=60,
    evaluate_every=15,
    learning_rate=0.1,
    warmup=0.1,
    clip=0.5,
    weight_decay=0.01,
    patience=2,
)

KEY = jax.random.key(3)


class Line(nnx.Module):
    def __init__(self, rngs, dtype=jnp.float32):
        self.w = nnx.Param(jax.random.normal(rngs.params(), (2,), dtype))


@dataclasses.dataclass(frozen=True)
class Fit:
    """Least squares. A run's scale is that of its target; a negative one is judged by its opposite.

    A run's fault, from half of the training on or when it is judged, is in its setting too, so that
    all tests share one compilation.
    """

    dtype: type = jnp.float32

    def build(self, rngs):
        return Line(rngs, self.dtype)

    def loss(self, model, batch, _key, setting, progress):
        x, y = batch
        scale, fault = setting["scale"], setting["fault"]
        judged = progress >= 1
        w = model.w[...]
        error = jnp.mean((x @ w - y * jnp.where(judged, jnp.abs(scale), scale)) ** 2)
        late = (progress >= 0.5) & ~judged
        error = error + jnp.where(late & (fault == FAULTS["loss"]), jnp.nan, 0.0)
        error = error + jnp.where(judged & (fault == FAULTS["evaluation"]), jnp.nan, 0.0)
        # The root of nothing: its value is zero, its slope zero times infinity.
        rootless = late & (fault == FAULTS["gradient"])
        error = error + jnp.sqrt(jnp.where(rootless, 0 * w[0], 1.0)) - jnp.where(rootless, 0, 1)
        return error, {"error": error}


def draw(key, data):
    x = jax.random.normal(key, (16, 2), jnp.float32)
    return x, x @ data


def other_draw(key, data):
    return draw(key, data)


def runs(scales=SCALES, fault="none"):
    """Settings of some runs; the second has the fault."""
    faults = [FAULTS[fault] if run == 1 else 0 for run in range(len(scales))]
    return {"scale": jnp.array(scales, jnp.float32), "fault": jnp.array(faults)}


def observed(model, setting):
    return {"w": model.w[...], "scale": setting["scale"]}


def trained(**changes):
    arguments = {
        "key": KEY,
        "learner": Fit(),
        "draw": draw,
        "data": jnp.asarray(SLOPE),
        "held_out": HELD_OUT,
        "settings": runs(),
        "schedule": PLAN,
        "observe": observed,
    }
    return train(**(arguments | changes))


@functools.cache
def reference():
    return trained()


def by_hand(plan, setting, run, steps, clip=None):
    """Clipped Adam with decoupled decay, warm-up and cosine: float64 NumPy, one run."""
    start, stepping, _ = jax.random.split(jax.random.fold_in(KEY, run), 3)
    w = np.asarray(Line(nnx.Rngs(start)).w[...], float)
    first, second = np.zeros(2), np.zeros(2)
    warm = max(1, round(plan.warmup * plan.steps))
    clip = plan.clip if clip is None else clip
    for t in range(steps):
        batch_key, _ = jax.random.split(jax.random.fold_in(stepping, t))
        x, y = (np.asarray(part, float) for part in draw(batch_key, jnp.asarray(SLOPE)))
        gradient = 2 * x.T @ (x @ w - y * setting) / len(x)
        gradient = gradient * min(1.0, clip / np.linalg.norm(gradient))
        first = 0.9 * first + 0.1 * gradient
        second = 0.999 * second + 0.001 * gradient**2
        direction = first / (1 - 0.9 ** (t + 1))
        direction = direction / (np.sqrt(second / (1 - 0.999 ** (t + 1))) + 1e-8)
        turn = 0.5 * (1 + np.cos(np.pi * (t - warm) / (plan.steps - warm)))
        share = t / warm if t < warm else 0.01 + 0.99 * turn
        w = w - plan.learning_rate * share * (direction + plan.weight_decay * w)
    return w


def same(one, other):
    """Whether two trainings have the same digits everywhere, NaN included."""
    pairs = [
        *zip(jax.tree.leaves(one.state), jax.tree.leaves(other.state), strict=True),
        (one.held_out, other.held_out),
        (one.steps, other.steps),
        (one.best_step, other.best_step),
        *((one.recorded[name], other.recorded[name]) for name in one.recorded),
        *((one.observed[name], other.observed[name]) for name in one.observed),
    ]
    assert one.recorded.keys() == other.recorded.keys()
    assert one.observed.keys() == other.observed.keys()
    assert one.stop_reason == other.stop_reason
    return all(
        np.asarray(a).dtype == np.asarray(b).dtype and np.array_equal(a, b, equal_nan=True)
        for a, b in pairs
    )


def interrupted_at(monkeypatch, name, call):
    """Let the loop be interrupted when it calls a function of its own for the nth time."""
    real, calls = getattr(training, name), []

    def counted(*args):
        calls.append(name)
        if len(calls) == call:
            raise KeyboardInterrupt
        return real(*args)

    counted.lower = real.lower
    monkeypatch.setattr(training, name, counted)
