"""Derivatives of every public function agree with finite differences, or are refused by name.

The calls are those of the fuzz tests, moved to generic points where one of them sits on a kink (a
tie, a symmetric distortion). All real arguments of a call are walked along one random feasible
direction. One compiled program gives value and gradient of two points side by side, so that
`jax.jit`, `jax.grad` and `jax.vmap` are tried at once.
"""

import functools
import itertools
import zlib
from collections.abc import Callable
from typing import Any, Final

import fuzz_cases
import fuzz_expensive_cases
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import test_fuzz as fuzz
from fuzz_cases import ITEMS
from method_cases import METHODS
from test_fuzz import as_users_call  # noqa: F401  (a fixture)

from rdsim.transformations import ComputesOnHostError, NotDifferentiableError

DISTANCES: Final = np.array([[0.0, 1.0, 0.7], [0.9, 0.0, 1.2], [0.6, 1.1, 0.0]])
SPREAD: Final = np.array([[1.5, 0.2], [0.2, 0.8]])
DISTANCES_2: Final = np.array([[0.0, 1.0], [0.8, 0.0]])
TIGHT: Final = 1e-12

# Points at which every result has derivatives, and searches that end far below the differences.
MOVED: Final[dict[str, dict[str, Any]]] = {
    "limits.bottleneck_erasure": {"rate": 0.4},
    "limits.conditional_rate_at": {"distortions": DISTANCES_2, "tolerance": TIGHT},
    "limits.conditional_rate_distortion": {"distortions": DISTANCES_2, "tolerance": TIGHT},
    "limits.distortion_at": {"distortions": DISTANCES, "tolerance": TIGHT},
    "limits.indirect_problem": {"distortions": DISTANCES_2},
    "limits.mismatched_rate": {"distortions": DISTANCES, "codebook": [0.4, 0.35, 0.25]},
    "limits.mixture_bottleneck_bound": {"rate": 0.7},
    "limits.rate_at": {"distortions": DISTANCES, "tolerance": TIGHT},
    "limits.rate_distortion_curve": {"distortions": DISTANCES, "slopes": [3.0], "tolerance": TIGHT},
    "limits.redundancy": {
        "distortions": DISTANCES,
        "codebook": [0.4, 0.35, 0.25],
        "tolerance": TIGHT,
    },
    "limits.skew_bound": {"entropies": [1.9, 1.0], "information": [0.3, 0.2]},
    "limits.two_sided_dsbs": {"query_rate": 0.2, "item_rate": 0.1},
    "limits.two_sided_gaussian": {"query_rate": 0.2, "item_rate": 0.1},
    "ranking.information_density_scores": {"channel": [[0.8, 0.2], [0.3, 0.7]]},
    "sources.vector_gaussian": {"covariance_x": SPREAD, "covariance_y": 2 * SPREAD},
    "finite_sample.empirical_bernstein_bound": {"distortions": DISTANCES},
    "finite_sample.learned_retrieval": {"distortions": DISTANCES_2},
    "finite_sample.pac_bayes_bound": {"distortions": DISTANCES},
    "finite_sample.uniform_bound": {"distortions": DISTANCES},
}

# Calls that take another way through a function than the ordinary one.
FURTHER: Final[dict[str, dict[str, Any]]] = {
    "codes.squared_error": {"items": ITEMS[:3], "codewords": ITEMS[3:5]},
    "limits.allocation_penalty of equal noise": {
        "variances": [1.0, 4.0, 0.3],
        "total_rate": 2.0,
        "split": "equal_noise",
    },
    "limits.allocation_penalty at an infinite rate": {
        "variances": [1.0, 4.0, 0.3],
        "total_rate": np.inf,
    },
    "limits.mismatched_rate of the issue": {
        "p": [0.5, 0.25, 0.15, 0.1],
        "distortions": 1 - np.eye(4),
        "codebook": [0.4, 0.3, 0.2, 0.1],
        "distortion": 0.2,
    },
    "limits.rank_loss of the error": {"rate": 4.0, "log2_size": 10.0, "loss": "error"},
    "limits.rank_rate of the error": {"distortion": [0.1, 0.7], "log2_size": 60.0, "loss": "error"},
    "limits.rank_rate of DCG": {"distortion": 0.3, "log2_size": 30.0, "loss": "dcg"},
    "limits.two_sided_dsbs without sharing": {
        "crossover": 0.1,
        "query_rate": 0.9,
        "item_rate": 0.7,
    },
    "limits.wyner_ziv_dsbs beyond the critical distortion": {"crossover": 0.25, "distortion": 0.2},
}

EXEMPT: Final = {
    "embeddings.read_own_code": "reads a file",
    "embeddings.read_targets": "reads a file",
    "embeddings.read_vectors": "reads a file",
    "learning.architecture": "says which module is built, from sizes that are integers",
    "learning.whole_data": "returns what it is given",
}

CASES: Final[dict[str, dict[str, Any]]] = {
    name: call | MOVED.get(name, {})
    for name, call in {
        **fuzz_cases.CASES,
        **{
            name: {argument: given.value for argument, given in call.items()}
            for name, call in fuzz_expensive_cases.CASES.items()
        },
        **FURTHER,
    }.items()
}


# Methods of public classes, beside the functions.
METHOD_CASES: Final[dict[str, dict[str, Any]]] = {
    f"{cls}.{method}": call
    for cls, (_, methods) in METHODS.items()
    for method, call in methods.items()
}


@functools.cache
def made(cls: str) -> Any:
    maker = METHODS[cls][0]
    found = function_of(maker)(**CASES[maker])
    while isinstance(found, tuple | list):
        found = found[0]
    return found


def function_of(name: str) -> Callable[..., Any]:
    if name in METHOD_CASES:
        cls, _, method = name.rpartition(".")
        return getattr(made(cls), method)  # type: ignore[no-any-return]
    function: Callable[..., Any] = fuzz.function_of(name)
    return function


def is_real(leaf: Any) -> bool:
    if isinstance(leaf, float):
        return True
    return isinstance(leaf, np.ndarray | jax.Array) and jnp.issubdtype(leaf.dtype, jnp.floating)


def real_arguments(call: dict[str, Any]) -> dict[str, Any]:
    """Arguments that hold real numbers; lists of numbers as arrays."""
    found = {}
    for name, value in call.items():
        if isinstance(value, list) and not isinstance(value[0], np.ndarray):
            array = np.asarray(value)
            value = array if array.dtype.kind == "f" else value
        if any(map(is_real, jax.tree.leaves(value))):
            found[name] = value
    return found


def is_integers(leaf: Any) -> bool:
    return isinstance(leaf, np.ndarray | jax.Array) and jnp.issubdtype(leaf.dtype, jnp.integer)


def integer_arguments(call: dict[str, Any]) -> dict[str, Any]:
    """Arguments that are arrays of integers, which may be traced though they have no derivative."""
    return {name: value for name, value in call.items() if is_integers(value)}


def direction(leaf: Any, rng: np.random.Generator) -> np.ndarray:
    """A feasible step of the size of the leaf: zeros stay, distributions keep their sums, symmetry stays."""
    a = np.asarray(leaf, float)
    step = rng.uniform(0.3, 1.0, a.shape) * rng.choice([-1.0, 1.0], a.shape) * np.abs(a)
    step = np.where(np.isfinite(step), step, 0.0)
    for axis in (None, -1) if a.size > 1 and (a >= 0).all() else ():
        total = a.sum(axis=axis, keepdims=True)
        if np.allclose(total, 1.0, rtol=0, atol=1e-9):
            return step - a * step.sum(axis=axis, keepdims=True)
    if a.ndim == 2 and a.shape[0] == a.shape[1] and np.array_equal(a, a.T):
        return 0.5 * (step + step.T)
    return step


class Walk:
    """A call as a function of how far all its real arguments have gone along their directions."""

    def __init__(self, name: str) -> None:
        self.function, self.call = function_of(name), (CASES | METHOD_CASES)[name]
        self.real = real_arguments(self.call)
        refused = getattr(self.function, "not_differentiable_in", ())
        self.free = {k: v for k, v in self.real.items() if k not in refused}
        rng = np.random.default_rng(zlib.crc32(name.encode()))
        self.rng = rng
        self.steps = {
            k: [direction(x, rng) for x in jax.tree.leaves(v) if is_real(x)]
            for k, v in self.free.items()
        }

    def moved(self, t: dict[str, Any]) -> dict[str, Any]:
        """Arguments at the distance t of each."""
        moved = dict(self.real)
        for name, value in self.free.items():
            steps = iter(self.steps[name])
            moved[name] = jax.tree.map(
                lambda x, steps=steps, t=t[name]: (
                    jnp.asarray(x + t * next(steps), jnp.asarray(x).dtype) if is_real(x) else x
                ),
                value,
            )
        return moved

    def result(self, arguments: dict[str, Any]) -> list[Any]:
        leaves = jax.tree.leaves(self.function(**self.call | arguments))
        return [jnp.asarray(leaf) for leaf in leaves if is_real(leaf)]


def differences(walk: Walk, total: Callable[[dict[str, Any]], Any], h: float, *names: str) -> float:
    """Richardson's extrapolation of central differences."""

    def at(t: float) -> float:
        return float(total({k: t if k in names else 0.0 for k in walk.free}))

    wide, narrow = ((at(x) - at(-x)) / (2 * x) for x in (h, h / 2))
    return (4 * narrow - wide) / 3


@pytest.mark.parametrize("name", sorted(CASES | METHOD_CASES))
def test_derivatives_agree_with_differences_or_are_refused_by_name(name: str) -> None:
    walk = Walk(name)
    if getattr(walk.function, "computes_on_host", False):
        check_refused_by_the_host(walk)
        return
    for argument in set(walk.real) - set(walk.free):
        check_refused_in(walk, argument)
    if not walk.real or not walk.result({}):  # integers alone
        check_traceable(walk)
        return
    start = walk.result(walk.moved(dict.fromkeys(walk.free, 0.0)))
    finite = [np.isfinite(np.asarray(x)) for x in start]
    weights = [np.where(f, walk.rng.normal(size=f.shape), 0.0) for f in finite]
    single = any(
        x.dtype == np.float32 for x in [*start, *jax.tree.leaves(walk.real)] if hasattr(x, "dtype")
    )

    def total_of(arguments: dict[str, Any]) -> Any:
        parts = walk.result(arguments)
        return sum(
            jnp.sum(w * jnp.where(f, x, 0.0).astype(float))
            for w, f, x in zip(weights, finite, parts, strict=True)
        )

    def total(t: dict[str, Any]) -> Any:
        return total_of(walk.moved(t))

    # Arguments without derivatives are traced as well.
    held = {k: v for k, v in walk.real.items() if k not in walk.free}

    def traced(t: dict[str, Any], held: dict[str, Any]) -> Any:
        return total_of(walk.moved(t) | held)

    h = 1e-2 if single else 1e-3
    both = {k: jnp.array([0.0, h / 2]) for k in walk.free}
    if walk.free:
        program = jax.jit(jax.vmap(jax.value_and_grad(traced), in_axes=(0, None)))
        values, slopes = program(both, held)
    else:
        values, slopes = jax.jit(traced)(both, held)[None], {}
    expected = [float(total({k: float(v[i]) for k, v in both.items()})) for i in range(len(values))]
    scale = float(
        sum(
            np.sum(np.abs(w * np.where(f, x, 0)))
            for w, f, x in zip(weights, finite, start, strict=True)
        )
    )
    rounding = (1e-5 if single else 1e-9) * (1 + scale)
    np.testing.assert_allclose(values, expected, rtol=0, atol=rounding)
    if not walk.free:
        return
    tolerance = 3e-3 if single else 2e-5
    slope = sum(float(g[0]) for g in slopes.values())
    wanted = differences(walk, total, h, *walk.free)
    size = sum(abs(float(g[0])) for g in slopes.values())
    if not abs(slope - wanted) <= tolerance * (size + abs(wanted)) + rounding / 10:
        each = {k: (float(slopes[k][0]), differences(walk, total, h, k)) for k in walk.free}
        pytest.fail(f"derivatives (found, by differences): {each}")


def check_traceable(walk: Walk) -> None:
    def counted(arguments: dict[str, Any]) -> list[Any]:
        return jax.tree.leaves(walk.function(**walk.call | arguments))

    traced = walk.real or integer_arguments(walk.call)
    if not traced:
        return
    for found, wanted in zip(jax.jit(counted)(traced), counted({}), strict=True):
        np.testing.assert_array_equal(found, wanted)


def check_refused_by_the_host(walk: Walk) -> None:
    """Under each transformation, with the names of function and argument, before any work."""
    for argument, value in (walk.real | integer_arguments(walk.call)).items():
        leaves, tree = jax.tree.flatten(value)
        places = [i for i, leaf in enumerate(leaves) if is_real(leaf) or is_integers(leaf)]

        def traced(scale: Any, argument=argument, leaves=leaves, tree=tree, places=places) -> Any:
            changed = [x * scale if i in places else x for i, x in enumerate(leaves)]
            walk.function(**walk.call | {argument: jax.tree.unflatten(tree, changed)})
            return scale

        name = walk.function.__name__
        for transformation in (jax.jit, jax.grad, jax.vmap):
            with pytest.raises(ComputesOnHostError, match=rf"{name} computes on .*\b{argument}\b"):
                transformation(traced)(jnp.ones(2) if transformation is jax.vmap else 1.0)


def check_refused_in(walk: Walk, argument: str) -> None:
    """By `jax.grad`, inside and outside `jax.jit`."""
    leaves, tree = jax.tree.flatten(walk.real[argument])

    def total(scale: Any) -> Any:
        changed = [x * scale if is_real(x) else x for x in leaves]
        parts = walk.result({argument: jax.tree.unflatten(tree, changed)})
        return sum(jnp.sum(x) for x in parts)

    message = rf"{walk.function.__name__} cannot be differentiated in {argument}: "
    for function in (total, jax.jit(total)):
        with pytest.raises(NotDifferentiableError, match=message):
            jax.grad(function)(1.0)


def test_no_argument_stands_still_and_no_two_are_equal() -> None:
    """Zeros do not move, and a missing derivative of a difference is zero where its terms are equal."""
    for name in sorted(CASES | METHOD_CASES):
        walk = Walk(name)
        if getattr(walk.function, "computes_on_host", False):
            continue
        # Infinity stays where it is.
        finite = {
            k: all(np.isfinite(x).all() for x in jax.tree.leaves(walk.free[k]) if is_real(x))
            for k in walk.steps
        }
        still = [k for k, steps in walk.steps.items() if finite[k] and not any(map(np.any, steps))]
        assert still == [], name
        arrays = [(k, x) for k, x in walk.real.items() if isinstance(x, np.ndarray) and x.size > 1]
        same = [
            (k, other)
            for (k, x), (other, y) in itertools.combinations(arrays, 2)
            if np.array_equal(x, y)
        ]
        assert same == [], name


def test_every_public_function_is_walked_or_exempt() -> None:
    public = set().union(*map(fuzz.public_functions, fuzz.ROOMS))
    here = {name.split()[0] for name in CASES}
    assert sorted(public - here - set(EXEMPT)) == []
    assert sorted((here | set(EXEMPT)) - public) == []
    assert not here & set(EXEMPT)
    assert set(MOVED) <= set(CASES)
