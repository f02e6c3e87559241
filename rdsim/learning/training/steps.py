"""The compiled part of training: the start of all runs, and some steps of all runs side by side."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jaxtyping import Array, Float, Int, Key

from rdsim.compilation import QUICKLY
from rdsim.learning.training.parameter_vector import Layout, vector
from rdsim.learning.training.schedule import Schedule
from rdsim.number_types import ArrayLike


@partial(jax.jit, static_argnames="runs", compiler_options=QUICKLY)
def run_keys(key: Key[Array, ""], runs: int) -> tuple[Key[Array, " r"], ...]:
    """Keys of every run for its start, its steps and its evaluations."""
    of_runs = jax.vmap(lambda run: jax.random.split(jax.random.fold_in(key, run), 3))
    return tuple(of_runs(jnp.arange(runs)).T)


@partial(jax.jit, static_argnames="learner", compiler_options=QUICKLY)
def first_parameters(keys: Key[Array, " r"], learner: Any) -> Float[Array, "r p"]:
    """Build the module of every run and lay its parameters in one vector."""
    # Run by run: to the same digits, XLA compiles this in a quarter of the time that it takes for
    # random numbers of all runs side by side, and their computation is short.
    return jax.lax.map(lambda key: vector(nnx.split(learner.build(nnx.Rngs(key)))[1]), keys)


def first_carry(state: Float[Array, "r p"], plan: Schedule) -> dict[str, Any]:
    """State of all runs before their first step.

    Parameters and moments are those of the steps taken; `best` is the lowest held-out loss so far,
    with its parameters and its step; `patience_used` counts the evaluations since.
    """
    runs = state.shape[0]
    # Moments and counts of Adam start at zero: nothing is compiled for them.
    moments = jax.eval_shape(jax.vmap(plan.optimiser().init), state)
    return {
        "state": state,
        "optimiser": jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), moments),
        "best_state": state,
        "step": np.zeros((), np.int32),
        "best": np.full((runs,), np.inf, np.float32),
        "best_step": np.zeros((runs,), np.int32),
        "patience_used": np.zeros((runs,), np.int32),
        "stopped": np.zeros((runs,), bool),
    }


# LLVM's first level of optimisation: a step is as fast, to measurement, as at the third, most of its time being
# spent in products of matrices, and compiles in two thirds to three quarters of the time. Who asks JAX for few
# optimisations (JAX_DISABLE_MOST_OPTIMIZATIONS) gets none, and compiles in a third of that.
@partial(
    jax.jit,
    static_argnames=("learner", "layout", "plan", "draw"),
    compiler_options={
        "xla_backend_optimization_level": int(
            not jax.config.values.get("jax_disable_most_optimizations")
        )
    },
)
def advance(
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
    """Take some steps of AdamW in every run; a run that stopped or failed keeps its parameters.

    A step fails if its loss or gradient is not finite. The number of steps is an argument of the
    compiled loop, not part of it, so that no digit depends on how steps are split into calls.

    Returns:
        The state after the steps, and for each run the first step that failed, or `plan.steps`.

    """
    optimiser = plan.optimiser()

    def step(
        t: Array,
        state: Any,
        moments: Any,
        failed: Array,
        key: Key[Array, ""],
        setting: Any,
        stopped: Array,
    ) -> tuple[Any, Any, Array]:
        """Take step t of one run."""
        batch_key, loss_key = jax.random.split(jax.random.fold_in(key, t))
        progress = jnp.float32(t / plan.steps)

        def loss(values: ArrayLike) -> Array:
            batch = draw(batch_key, data)
            model = nnx.merge(layout.graph, values)
            return learner.loss(model, batch, loss_key, setting, progress)[0]

        value, gradients = jax.value_and_grad(loss)(layout.state(state))
        gradient = vector(gradients)
        update, next_moments = optimiser.update(gradient, moments, state)
        finite = jnp.isfinite(value) & jnp.isfinite(optax.tree.norm(gradient))
        failed = jnp.where(finite, failed, jnp.minimum(failed, t))
        active = (failed == plan.steps) & ~stopped

        def if_active(new: Array, old: Array) -> Array:
            return jnp.where(active, new, old)

        moments = jax.tree.map(if_active, next_moments, moments)
        return if_active(optax.apply_updates(state, update), state), moments, failed

    def steps(t: Array, before: tuple[Any, Any, Array]) -> tuple[Any, Any, Array]:
        of_runs = (*before, keys, settings, carry["stopped"])
        return jax.vmap(step, in_axes=(None, 0, 0, 0, 0, 0, 0))(t, *of_runs)

    # Runs side by side inside the loop: of a loop inside, JAX would trace and batch the body twice more.
    start = (carry["state"], carry["optimiser"], jnp.full(keys.shape, plan.steps, jnp.int32))
    span = carry["step"], carry["step"] + count
    state, moments, failed = jax.lax.fori_loop(*span, steps, start)
    failed = jnp.where(carry["stopped"], plan.steps, failed)
    after = carry | {"state": state, "optimiser": moments, "step": carry["step"] + count}
    return after, failed
