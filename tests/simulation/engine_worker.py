"""What the engine's tests run, here and in a process of its own on eight devices, until killed."""

import dataclasses
import json
import sys

import jax
import jax.numpy as jnp
import numpy as np

from rdsim import simulation

EIGHT_DEVICES = {"JAX_NUM_CPU_DEVICES": "8"}
TARGET = {"trials": None, "target_width": 0.04, "cap": 9000}
KEY = jax.random.key(5)
SCALES = np.array([0.3, 0.9, 0.6])


def trial(key, scale):
    """Floats that a compiler could round in several ways, an event, and a leaf with an axis."""
    u = jax.random.uniform(key, (3,))
    loss = jnp.exp(-scale * (u @ u)) * jnp.tanh(u[0] * u[1] + scale)
    return {"event": u[0] < scale, "loss": loss, "pair": jax.nn.softmax(scale * u)[:2]}


def with_run(**options):
    """Arguments of run_trials, those of a RunOptions put into one."""
    fields = [field.name for field in dataclasses.fields(simulation.RunOptions)]
    run = {name: options.pop(name) for name in fields if name in options}
    return {**options, "run": simulation.RunOptions(**run)}


def run(**options):
    asked = {"settings": "independent", "trials": 3001, "block": 64, **options}
    return simulation.run_trials(KEY, trial, SCALES, **with_run(**asked))


def digits(result):
    """Every number of a result, to the last bit."""
    return [
        [float(entry).hex() for entry in np.ravel(leaf)]
        for leaf in jax.tree.leaves((result.estimates, result.variances, result.trials))
    ]


if __name__ == "__main__":
    devices = jax.devices()
    found = {n: digits(run(devices=devices[:n], chunk=c)) for n, c in ((2, 5), (3, 2), (8, 1))}
    found["stopped"] = digits(run(**TARGET, devices=devices))
    sys.stdout.write(json.dumps(found) + "\n")
    sys.stdout.flush()
    run(trials=2**31, chunk=1, checkpoint=sys.argv[1], checkpoint_seconds=0.0)  # until killed
