"""Arrays of every type of number give what the same numbers give in float64."""

import dataclasses
import warnings
from collections.abc import Iterator
from typing import Any, Final

import fuzz_cases
import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
import test_fuzz as fuzz
from fuzz_expensive_cases import CASES as EXPENSIVE
from test_fuzz import as_users_call  # noqa: F401  (a fixture)

from rdsim import codes, learning, number_types, ranking, validation

# The largest number of each type that is used: its products and sums leave the type.
TYPES: Final[dict[str, tuple[Any, float]]] = {
    "bool": (np.bool_, 1),
    "int8": (np.int8, 120),
    "uint8": (np.uint8, 250),
    "int16": (np.int16, 30_000),
    "float16": (np.float16, 60_000),
    "bfloat16": (ml_dtypes.bfloat16, 100),
    "float8_e4m3fn": (ml_dtypes.float8_e4m3fn, 100),
    "float8_e5m2": (ml_dtypes.float8_e5m2, 100),
    "int4": (ml_dtypes.int4, 7),
    "uint4": (ml_dtypes.uint4, 15),
}


def calls() -> Iterator[tuple[str, dict[str, Any]]]:
    """Calls of all public functions, each of which works."""
    yield from fuzz_cases.CASES.items()
    for name, arguments in EXPENSIVE.items():
        yield name, {argument: given.value for argument, given in arguments.items()}


def is_distribution(table: np.ndarray) -> bool:
    sums = table.sum(axis=-1)
    return bool((table >= 0).all()) and (
        abs(table.sum() - 1) < 1e-9 or bool((abs(sums - 1) < 1e-9).all())
    )


def arrays_of(call: dict[str, Any]) -> dict[str, np.ndarray]:
    """Arguments that are arrays of floats."""
    found = {}
    for name, value in call.items():
        if isinstance(value, list | np.ndarray | jax.Array):
            try:
                array = np.asarray(value)
            except (ValueError, TypeError):
                continue
            if array.dtype.kind == "f" and array.ndim > 0:
                found[name] = array
    return found


def in_type(array: np.ndarray, kind: str) -> np.ndarray:
    """The numbers in a type, spread over it; a distribution that it cannot hold stays as it is."""
    dtype, top = TYPES[kind]
    if is_distribution(array):
        held = array.astype(dtype)
        return held if is_distribution(held.astype(float)) else array
    if not number_types.is_integer(dtype):
        # Beside the largest numbers of the type their products leave it, and sums lose digits.
        return array.astype(dtype)
    spread = np.round(array / max(np.abs(array).max(), 1e-300) * top)
    low = np.iinfo(dtype).min if np.dtype(dtype).kind in "iu" else int(jnp.iinfo(dtype).min)
    return (spread if low < 0 else np.abs(spread)).astype(dtype)


def numbers_in(result: Any) -> list[np.ndarray]:
    """All numbers of a result."""
    if dataclasses.is_dataclass(result) and not isinstance(result, type):
        fields = (getattr(result, field.name) for field in dataclasses.fields(result))
        return [number for field in fields for number in numbers_in(field)]
    if isinstance(result, list | tuple):
        return [number for part in result for number in numbers_in(part)]
    found = []
    for leaf in jax.tree.leaves(result):
        if isinstance(leaf, jax.Array | np.ndarray | float | int) and not jnp.issubdtype(
            jnp.asarray(leaf).dtype, jax.dtypes.prng_key
        ):
            found.append(np.asarray(leaf, float))
    return found


def outcome(function: Any, call: dict[str, Any]) -> tuple[list[np.ndarray], str]:
    """The numbers of a result, or the error without the values that it shows."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        try:
            return numbers_in(function(**call)), ""
        except (ValueError, TypeError) as error:
            return [], f"{type(error).__name__}: {str(error).split(', got')[0]}"


def assert_same(function: Any, call: dict[str, Any], cast: dict[str, np.ndarray]) -> None:
    wide = {name: array.astype(np.float64) for name, array in cast.items()}
    expected, refused = outcome(function, call | wide)
    found, error = outcome(function, call | cast)
    assert error == refused
    assert len(found) == len(expected)
    exact = all(number_types.working_type(array.dtype) is float for array in cast.values())
    for one, other in zip(found, expected, strict=True):
        # Small floats are computed in float32 where training is.
        size = np.abs(other[np.isfinite(other)]).max(initial=0.0)
        np.testing.assert_allclose(one, other, rtol=0, atol=0.0 if exact else 1e-5 * size)


@pytest.mark.parametrize("name", [name for name, call in calls() if arrays_of(call)])
def test_public_functions_convert_before_they_compute(name: str) -> None:
    call = dict(calls())[name]
    for kind in TYPES:
        cast = {each: in_type(array, kind) for each, array in arrays_of(call).items()}
        # Of distributions that the type cannot hold nothing is left to compare.
        if any(array.dtype != np.float64 for array in cast.values()):
            assert_same(fuzz.function_of(name), call, cast)


CODE: Final = codes.product_quantizer(
    fuzz_cases.KEY, fuzz_cases.MANY, subspaces=2, codebook_size=4, starts=1
)
X: Final = np.random.default_rng(2).normal(size=(48, 2)) + fuzz_cases.MANY
CANONICAL: Final = learning.canonical_correlation_analysis(X, fuzz_cases.MANY, 2)
HASH: Final = codes.long_hyperplane_hash(fuzz_cases.KEY, fuzz_cases.MANY, 8)
PRODUCT: Final = codes.long_product_quantizer(fuzz_cases.KEY, fuzz_cases.MANY, 4)
METHODS: Final = {
    "product_quantizer.encode": lambda points: CODE.encode(fuzz_cases.KEY, points),
    "vector_quantizer.channel": fuzz_cases.VQ.channel,
    "variables_x": CANONICAL.variables_x,
    "variables_y": CANONICAL.variables_y,
    "long_hash.store": lambda points: HASH.store(None, points),
    "long_hash.query_features": HASH.query_features,
    "long_product.store": lambda points: PRODUCT.store(fuzz_cases.KEY, points),
    "long_product.query_features": PRODUCT.query_features,
    "log_density_item": fuzz_cases.MIXTURE.log_density_item,
    "squared_error": lambda points: codes.squared_error(points, points),
}


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize("name", METHODS)
def test_methods_convert_before_they_compute(name: str, kind: str) -> None:
    cast = in_type(np.where(np.abs(fuzz_cases.MANY) < 0.1, 0.5, fuzz_cases.MANY), kind)
    found = np.asarray(METHODS[name](cast))
    np.testing.assert_array_equal(found, METHODS[name](cast.astype(np.float64)))


@pytest.mark.parametrize("kind", [kind for kind in TYPES if kind != "bool"])
def test_matched_pairs_are_found_in_every_type(kind: str) -> None:
    """Products of int8 wrap around: of perfect pairs 1 in 80 was found, with information below 0."""
    dtype, top = TYPES[kind]
    if number_types.is_integer(dtype):
        corners = np.random.default_rng(0).integers(0, 2, (300, 48)) * min(top, 120)
    else:
        corners = np.random.default_rng(0).choice([-12.0, 12.0], (300, 48))
    features = corners.astype(dtype)
    unit = features.astype(float) - features.astype(float).mean()
    ranks = ranking.pair_ranks(unit, features)
    alike = ranking.pair_ranks(features, features)
    wide = ranking.pair_ranks(features.astype(float), features.astype(float))
    np.testing.assert_array_equal(alike.ahead, wide.ahead)
    assert ranks.reciprocal_ranks().mean() == 1.0


@pytest.mark.parametrize("kind", TYPES)
def test_types_are_accepted_under_jit_as_outside(kind: str) -> None:
    table = in_type(np.array([[3.0, -1.0], [0.5, 2.0]]), kind)
    for function in (learning.info_nce_loss, lambda s: ranking.ndcg(s, np.array([[1], [0]]))):
        outside = np.asarray(function(table))
        inside = np.asarray(jax.jit(function)(jnp.asarray(table)))
        np.testing.assert_allclose(inside, outside, rtol=1e-6, atol=0)


def test_bfloat16_that_numpy_saved_is_refused_with_what_to_do(tmp_path: Any) -> None:
    written = fuzz_cases.MANY.astype(ml_dtypes.bfloat16)
    np.save(tmp_path / "x.npy", written)
    raw = np.load(tmp_path / "x.npy")
    for name, check in (("x", validation.real_array), ("y", validation.finite)):
        with pytest.raises(TypeError, match=rf"{name} must hold real numbers.*V2: raw bytes.*view"):
            check(name, raw)
    np.testing.assert_array_equal(
        validation.finite("x", raw.view(ml_dtypes.bfloat16)), written.astype(float)
    )


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        (np.float32, np.float32),
        (np.float16, np.float32),
        (ml_dtypes.bfloat16, np.float32),
        (ml_dtypes.float8_e5m2, np.float32),
        (np.float64, np.float64),
        (np.longdouble, np.float64),
        (np.int8, np.float64),
        (ml_dtypes.int4, np.float64),
        (np.uint64, np.float64),
        (np.bool_, np.float64),
    ],
)
def test_what_is_computed_with(given: Any, wanted: Any) -> None:
    assert validation.finite("x", np.ones(3, given)).dtype == wanted
    assert validation.real_array("x", np.ones(3, given)).dtype == np.float64


@pytest.mark.parametrize("kind", [object, "U3", "M8[s]", complex, [("a", float)]])
def test_what_is_no_real_number_is_refused(kind: Any) -> None:
    with pytest.raises(TypeError, match="x must hold real numbers, got an array of dtype"):
        validation.finite("x", np.zeros(3, kind))
    with pytest.raises(TypeError, match="x must hold integers, got an array of dtype"):
        validation.integer_array("x", np.zeros(3, kind))


def test_integers_of_every_type_are_positions() -> None:
    for kind in (np.int8, np.uint8, np.uint64, ml_dtypes.int4, ml_dtypes.uint4):
        found = validation.integer_array("x", np.array([0, 3], kind))
        assert found.dtype == np.int64
        assert validation.integer("k", np.array([3], kind)[0], low=1) == 3
    assert validation.integer("k", jnp.int32(3), low=1) == 3
    with pytest.raises(
        ValueError, match=r"x must be at most 9007199254740992, got 18446744073709551615"
    ):
        validation.integer_array("x", np.array([2**64 - 1], np.uint64))
