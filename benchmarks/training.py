"""The training loop of rdsim beside plain loops of flax.nnx and optax around the same module and loss."""

import dataclasses
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from benchmarks._rows import Row, Side, compare
from rdsim.learning import (
    ContrastiveLearner,
    ConvNet,
    DualEncoder,
    Schedule,
    Transformer,
    architecture,
    train,
)
from rdsim.learning.families.pairs import BATCH, draw_batch

TITLE = "Training beside a plain loop"


@dataclass(frozen=True)
class Config:
    """What is timed."""

    networks: tuple[str, ...] = ("MLP", "ConvNet", "Transformer")
    """Of the items; queries go through a multilayer perceptron."""
    steps: tuple[int, ...] = (1000, 50, 100)
    """Of one call, for each network."""
    hidden: int = 64
    """Width of the hidden layers of the multilayer perceptrons."""
    repeats: int = 3
    """Turns."""


SMOKE = Config(networks=("MLP",), steps=(20,), hidden=4, repeats=1)
FULL = Config()

_PIXELS = 8
"""Side of a picture, the item; an MLP reads its pixels."""
_ENCODERS = {
    "MLP": None,
    "ConvNet": architecture(ConvNet, shape=(_PIXELS, _PIXELS, 1), channels=8),
    "Transformer": architecture(Transformer, shape=(_PIXELS, _PIXELS, 1), patch=4, width=16),
}


def run(config: Config) -> list[Row]:
    """Compare the loops for each network, with equal numbers of steps and no evaluation between them."""
    rows = []
    for network, steps in zip(config.networks, config.steps, strict=True):
        rows += _compared(config, network, steps)
    return rows


def _compared(config: Config, network: str, steps: int) -> list[Row]:
    generator = np.random.default_rng(0)
    latent = generator.normal(size=(4096, 8))
    sides = [latent @ generator.normal(size=(8, size)) / 3 for size in (16, _PIXELS**2)]
    x, y = (jnp.asarray(side, jnp.float32) for side in sides)
    data = (x[:, None], y, jnp.zeros(len(y), jnp.int32))
    held_out = tuple(part[:BATCH] for part in data)
    learner = ContrastiveLearner(
        build=architecture(
            DualEncoder,
            query_size=x.shape[1],
            item_size=y.shape[1],
            hidden=(config.hidden,) * 2,
            dimension=16,
            item_encoder=_ENCODERS[network],
        )
    )
    plan = Schedule(steps=steps, evaluate_every=steps)
    key = jax.random.key(0)

    optimiser = plan.optimiser()
    graph = nnx.split(learner.build(nnx.Rngs(0)))[0]

    @nnx.jit
    def step(model: Any, state: Any, step_key: Any) -> None:
        batch = draw_batch(step_key, data)
        gradients = nnx.grad(lambda model: learner.loss(model, batch)[0])(model)
        state.update(model, gradients)

    @jax.jit
    def pure_step(parameters: Any, moments: Any, step_key: Any) -> Any:
        batch = draw_batch(step_key, data)
        gradients = jax.grad(lambda values: learner.loss(nnx.merge(graph, values), batch)[0])(
            parameters
        )
        update, moments = optimiser.update(gradients, moments, parameters)
        return optax.apply_updates(parameters, update), moments

    evaluate = nnx.jit(lambda model: learner.loss(model, held_out)[0])

    def module_loop() -> tuple[float, float, float]:
        called = time.process_time()
        model = learner.build(nnx.Rngs(0))
        state = nnx.Optimizer(model, optimiser, wrt=nnx.Param)
        began = time.process_time()
        for number in range(steps):
            step(model, state, jax.random.fold_in(key, number))
        loss, ended = float(evaluate(model)), time.process_time()
        return loss, ended - began, ended - called

    def pure_loop() -> tuple[float, float, float]:
        called = time.process_time()
        parameters = nnx.split(learner.build(nnx.Rngs(0)))[1]
        moments = optimiser.init(parameters)
        began = time.process_time()
        for number in range(steps):
            parameters, moments = pure_step(parameters, moments, jax.random.fold_in(key, number))
        loss, ended = float(evaluate(nnx.merge(graph, parameters))), time.process_time()
        return loss, ended - began, ended - called

    def trained(plan: Schedule) -> tuple[float, float]:
        called = time.process_time()
        found = train(key, learner, draw_batch, data, held_out, jnp.zeros(1), schedule=plan)
        return float(found.held_out[0, -1]), time.process_time() - called

    # A call without steps makes the module and evaluates it once: what a call with steps takes beyond it are the
    # steps and one evaluation, as in the plain loops.
    unstepped = Schedule(steps=0, evaluate_every=steps)
    trained(unstepped)
    start = min(trained(unstepped)[1] for _ in range(config.repeats))

    def ours() -> tuple[float, float, float]:
        loss, whole = trained(plan)
        return loss, whole - start, whole

    def describe(found: tuple[float, float, float]) -> tuple[str, dict[str, float]]:
        loss, inside, whole = found
        return (
            f"held-out loss {loss:.3f} nats, {inside:.2f} CPU seconds in steps and one evaluation, "
            f"{whole:.2f} in the whole call",
            {"loss_nats": loss, "loop_cpu_seconds": inside, "cpu_seconds": whole},
        )

    spent: dict[str, list[float]] = {}

    def counted(name: str, call: Callable[[], tuple[float, float, float]]) -> Side:
        """A side whose CPU seconds in steps are kept, turn by turn."""

        def timed() -> tuple[float, float, float]:
            found = call()
            spent.setdefault(name, []).append(found[1])
            return found

        return Side(name, timed, describe)

    rows = compare(
        f"{network}, {steps} steps of {BATCH} pairs",
        [
            counted("rdsim, one run", ours),
            counted("plain loop of nnx.jit and nnx.Optimizer", module_loop),
            counted("plain loop of jax.jit and optax on the parameters alone", pure_loop),
        ],
        config.repeats,
    )
    own, *plain = rows
    return [own, *(_beside(row, spent[own.side][1:], spent[row.side][1:]) for row in plain)]


def _beside(row: Row, own: list[float], plain: list[float]) -> Row:
    """Add to a plain loop's row how many times its CPU seconds rdsim takes: no other load shows in them."""
    times = sorted(ours / theirs for ours, theirs in zip(own, plain, strict=True))
    words = f"{row.result}; rdsim takes {statistics.median(times):.2f} times them ({times[0]:.2f} to {times[-1]:.2f})"
    numbers = row.numbers | {"rdsim_over_plain": statistics.median(times)}
    return dataclasses.replace(row, result=words, numbers=numbers)
