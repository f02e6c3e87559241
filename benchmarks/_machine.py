"""The machine by its cores and memory, and what it can do at most: the yardsticks of a run."""

import functools
import importlib.metadata
import os
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jax
import jax.numpy as jnp

PACKAGES = ("rdsim", "jax", "numpy", "scipy", "dit", "embo", "faiss-cpu", "clarabel")


def described() -> dict[str, Any]:
    """Cores, memory in GiB, accelerators by number, and the versions of the packages."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    accelerators = 0 if jax.default_backend() == "cpu" else jax.device_count()
    return {
        "cores": os.cpu_count(),
        "memory_gib": round(memory),
        "accelerators": accelerators,
        "versions": {
            "python": ".".join(map(str, sys.version_info[:3])),
            **{package: _version(package) for package in PACKAGES},
        },
    }


def in_words(machine: dict[str, Any]) -> str:
    """One line that names the machine."""
    line = f"{machine['cores']} cores, {machine['memory_gib']} GiB of memory"
    count = machine["accelerators"]
    return line + (f", {count} GPU{'s' if count > 1 else ''}" if count else "")


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def best(call: Callable[[], Any], runs: int) -> float:
    """Fewest seconds of a call after one that compiles: a limit is a best case."""
    jax.block_until_ready(call())
    times = []
    for _ in range(runs):
        start = time.perf_counter()
        jax.block_until_ready(call())
        times.append(time.perf_counter() - start)
    return min(times)


def peak_flops(size: int, runs: int = 5) -> float:
    """Floating-point operations a second of a product of float64 matrices."""
    a = jnp.ones((size, size)) / size
    return 2.0 * size**3 / best(functools.partial(jax.jit(jnp.matmul), a, a), runs)


def peak_bytes(size: int, runs: int = 5) -> float:
    """Bytes a second, read and written, of a pass over an array of so many float64."""
    a = jnp.ones(size)
    return 16.0 * size / best(functools.partial(jax.jit(jnp.negative), a), runs)


def peak_random(size: int, runs: int = 5) -> float:
    """32-bit random words per second of JAX's generator, on all cores, in parts that fit a cache."""
    threads = os.cpu_count() or 1
    part = min(size // threads, 2**14)
    numbers = jnp.arange(size // part // threads * threads).reshape(threads, -1)

    @jax.jit
    def total(numbers: jax.Array) -> jax.Array:
        def of_part(number: jax.Array) -> jax.Array:
            key = jax.random.fold_in(jax.random.key(0), number)
            drawn = jax.random.bits(key, (part,), jnp.uint32)
            return jnp.bitwise_xor.reduce(drawn)

        return jax.lax.map(of_part, numbers, batch_size=4)

    def run() -> list[jax.Array]:
        with ThreadPoolExecutor(threads) as pool:
            return list(pool.map(lambda share: total(share).block_until_ready(), numbers))

    return numbers.size * part / best(run, runs)


def peak_exponentials(size: int, runs: int = 5) -> float:
    """Exponentials of float64 a second, of an array that stays in the cache."""
    a = jnp.linspace(-1.0, 0.0, size)
    turns = 64

    @jax.jit
    def many(x: jax.Array) -> jax.Array:
        return jax.lax.fori_loop(0, turns, lambda _, y: jnp.exp(y) - 1.0, x)

    return turns * size / best(functools.partial(many, a), runs)
