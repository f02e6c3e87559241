"""Evaluation of all runs on held-out data, with early stopping."""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Key

from rdsim.compilation import QUICKLY
from rdsim.learning.training.parameter_vector import Layout


# Called a few times in a training, and compiled each time that a family is new.
@partial(
    jax.jit,
    static_argnames=("patience", "learner", "layout", "observe"),
    compiler_options=QUICKLY,
)
def evaluate(
    carry: dict[str, Any],
    keys: Key[Array, " r"],
    held_out: Any,
    settings: Any,
    patience: int | None,
    learner: Any,
    layout: Layout,
    observe: Callable[..., Any] | None,
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Evaluate every run that still trains: record, keep its best parameters, stop it early.

    A run whose loss is below its lowest so far replaces its best parameters; one that has used up
    its patience stops. Records of stopped runs are NaN.
    """

    def one(state: Any, key: Key[Array, ""], setting: Any) -> tuple[Array, Any, Any]:
        model = nnx.merge(layout.graph, layout.state(state))
        # One key for all evaluations of a run, so that they differ by the parameters alone.
        value, recorded = learner.loss(model, held_out, key, setting, jnp.float32(1.0))
        return value, dict(recorded), {} if observe is None else dict(observe(model, setting))

    value, recorded, observed = jax.vmap(one)(carry["state"], keys, settings)
    active = ~carry["stopped"]
    better = active & (value < carry["best"])
    patience_used = jnp.where(better, 0, carry["patience_used"] + 1)

    def where(chosen: Array, new: Array, old: Array) -> Array:
        return jnp.where(chosen.reshape(-1, *(1,) * (new.ndim - 1)), new, old)

    record = {"held_out": value, "recorded": recorded, "observed": observed}
    record = jax.tree.map(lambda leaf: where(active, leaf, jnp.full_like(leaf, jnp.nan)), record)
    evaluated = carry | {
        "best_state": where(better, carry["state"], carry["best_state"]),
        "best": jnp.where(better, value, carry["best"]).astype(jnp.float32),
        "best_step": jnp.where(better, carry["step"], carry["best_step"]),
        "patience_used": patience_used.astype(jnp.int32),
        "stopped": carry["stopped"] | (patience_used >= (patience or math.inf)),
    }
    return evaluated, record | {"step": carry["step"]}
