import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rdsim import transformations
from rdsim.namespaces import namespace_of
from rdsim.root_finding import bisect
from rdsim.transformations import ComputesOnHostError, NotDifferentiableError


@transformations.on_host
def total(values, *, factor=1.0, **options):
    return float(np.sum(np.asarray(jnp.asarray(values)))) * factor + len(options)


@transformations.not_differentiable(size="it is rounded")
def scaled(x, size=2.0, *, label="none"):
    return x * jnp.round(size) + len(label)


def test_a_function_on_the_host_names_itself_and_what_is_traced():
    assert total([1.0, 2.0], factor=2.0, extra=1) == 7.0
    wanted = r"total computes on the host and cannot be traced by jax.jit, jax.grad or jax.vmap: "
    for transformation in (jax.jit, jax.grad):
        with pytest.raises(ComputesOnHostError, match=wanted + "values must hold numbers"):
            transformation(total)(1.0)
    with pytest.raises(ComputesOnHostError, match=wanted + "factor must"):
        jax.vmap(lambda factor: total(1.0, factor=factor))(jnp.ones(2))
    with pytest.raises(ComputesOnHostError, match=wanted + "depth must"):
        jax.jit(lambda depth: total(1.0, depth=depth))(1.0)


def test_a_function_on_the_host_takes_numbers_inside_compiled_code():
    assert jax.jit(lambda x: x * total([1.0, 2.0]))(2.0) == 6.0
    assert jax.grad(lambda x: x * total([1.0, 2.0]))(2.0) == 3.0


@pytest.mark.parametrize("wrapped", [lambda f: f, jax.jit])
def test_only_a_derivative_in_the_named_argument_is_refused(wrapped):
    function = wrapped(lambda x, size: scaled(x, size))
    assert function(3.0, 2.2) == 10.0
    assert jax.vmap(function)(jnp.ones(2), jnp.array([2.0, 3.4])).tolist() == [6.0, 7.0]
    assert jax.grad(function)(3.0, 2.2) == 2.0
    for derivative in (jax.grad(function, 1), jax.jacfwd(function, 1), jax.grad(function, (0, 1))):
        with pytest.raises(
            NotDifferentiableError, match="scaled cannot be differentiated in size: it is rounded"
        ):
            derivative(3.0, 2.2)


def test_an_argument_inside_a_loop_is_refused_too():
    def looped(size):
        return jnp.sum(jax.lax.map(lambda x: scaled(x, size), jnp.ones(3)))

    with pytest.raises(NotDifferentiableError, match="scaled cannot be differentiated in size"):
        jax.grad(looped)(2.0)


def root(a):
    """The square root by bisection, which has no derivatives of its own."""
    found, _ = bisect(lambda x: x**2 >= a, jnp.zeros_like(a), 1.0 + a, steps=60)
    return transformations.implicit_root(lambda x: x**2 - a, found)


def test_a_root_that_was_searched_has_derivatives_of_every_order():
    derivative, wanted = root, [2**0.5, 0.5 * 2**-0.5, -0.25 * 2**-1.5, 0.375 * 2**-2.5]
    for expected in wanted:
        assert jax.jit(derivative)(2.0) == pytest.approx(expected, rel=1e-14, abs=0)
        derivative = jax.grad(derivative)
    many = jax.vmap(jax.grad(root))(jnp.array([1.0, 4.0]))
    np.testing.assert_allclose(many, [0.5, 0.25], rtol=1e-14, atol=0)


def test_a_flat_equation_has_a_root_without_derivatives():
    flat = jax.grad(lambda a: transformations.implicit_root(lambda x: 0 * x + 0 * a, a))
    assert flat(2.0) == 0.0


def test_the_value_stays_and_the_derivatives_are_those_of_the_other():
    def rounded(x):
        return transformations.with_derivatives_of(jnp.round(x), jnp.square(x))

    assert rounded(1.6) == 2.0
    assert jax.grad(rounded)(1.6) == 3.2
    assert jax.grad(jax.grad(rounded))(1.6) == 2.0
    infinite = jnp.asarray(jnp.inf)
    assert transformations.with_derivatives_of(infinite, infinite) == jnp.inf
    stretched = jax.grad(
        lambda x: jnp.sum(transformations.with_derivatives_of(jnp.arange(3.0), 2.0 * x))
    )
    assert stretched(1.0) == 6.0


def test_of_the_value_no_digit_is_lost_in_compiled_code():
    levels = 2 * jax.random.bernoulli(jax.random.key(0), shape=(1000,)).astype(jnp.float32) / 3

    @jax.jit
    def passed(x, y):
        return transformations.with_derivatives_of(levels, 100 * x * y)

    points = jax.random.normal(jax.random.key(1), (2, 1000), jnp.float32)
    np.testing.assert_array_equal(passed(*points), levels)
    (value, change) = jax.jvp(passed, tuple(points), (jnp.ones(1000, jnp.float32),) * 2)
    np.testing.assert_array_equal(value, levels)
    np.testing.assert_allclose(change, 100 * points.sum(axis=0), rtol=1e-5, atol=1e-4)


def test_an_expression_that_is_not_finite_changes_nothing():
    def beside_a_pole(x):
        return transformations.with_derivatives_of(jnp.ones(()), 1 / x)

    assert jax.jvp(beside_a_pole, (0.0,), (1.0,)) == (1.0, 0.0)


def test_the_least_is_taken_by_its_place():
    table = jnp.array([[3.0, 1.0, 1.0], [0.0, 2.0, 5.0]])
    np.testing.assert_array_equal(transformations.least(table), [1.0, 0.0])
    np.testing.assert_array_equal(transformations.least(table, axis=0), [0.0, 1.0, 1.0])
    slope = jax.grad(lambda x: jnp.sum(transformations.least(x)))(table)
    np.testing.assert_array_equal(slope, [[0, 1, 0], [1, 0, 0]])


def test_what_falls_infinitely_fast_is_zero_and_no_nan():
    assert transformations.falling(jnp.array(0.3)) == 0.0
    slope = jax.grad(lambda x: jnp.where(x > 0, x, 1.0 + transformations.falling(x)))
    assert (slope(0.5), slope(0.0)) == (1.0, -transformations.STEEPEST)


@transformations.small_on_host
def root_of_product(x, y):
    return namespace_of(x, y).sqrt(x) * y


def test_a_small_formula_compiles_nothing_and_is_compiled_where_it_is_traced_or_large(caplog):
    small, large, three = np.array([4.0, 9.0]), np.full(2**14, 4.0), jnp.array(3.0)
    with jax.log_compiles():
        found = root_of_product(small, three)
    assert not [record for record in caplog.records if "XLA compilation" in record.getMessage()]
    assert isinstance(found, jax.Array)
    assert found.tolist() == [6.0, 9.0]
    with jax.log_compiles():
        assert float(root_of_product(large, 3.0)[-1]) == 6.0
    assert [record for record in caplog.records if "XLA compilation" in record.getMessage()]
    assert float(jax.grad(root_of_product)(4.0, 3.0)) == 0.75
    assert jnp.isnan(root_of_product(-1.0, 1.0))
