import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference
import strategies
from hypothesis import given
from hypothesis import strategies as st

from rdsim.limits import closed_forms

PMF = (0.5, 0.25, 0.15, 0.1)
VARIANCES = (4.0, 1.0, 0.25)

# Each closed form with one set of parameters, and its maximal distortion.
FORMS = {
    "bernoulli_hamming": (lambda D: closed_forms.bernoulli_hamming(0.3, distortion=D), 0.3),
    "uniform_hamming": (lambda D: closed_forms.uniform_hamming(5, distortion=D), 0.8),
    "hamming": (lambda D: closed_forms.hamming(PMF, distortion=D), 0.5),
    "hamming with ties": (
        lambda D: closed_forms.hamming((0.4, 0.2, 0.2, 0.2, 0.0), distortion=D),
        0.6,
    ),
    "erasure": (lambda D: closed_forms.erasure(PMF, distortion=D), 1.0),
    "gaussian": (lambda D: closed_forms.gaussian(2.0, distortion=D), 2.0),
    "vector_gaussian": (lambda D: closed_forms.vector_gaussian(VARIANCES, distortion=D), 5.25),
    "vector_gaussian with a dead component": (
        lambda D: closed_forms.vector_gaussian((1.0, 0.0, 1.0), distortion=D),
        2.0,
    ),
    "laplacian_absolute": (lambda D: closed_forms.laplacian_absolute(0.5, distortion=D), 2.0),
    "exponential_one_sided": (
        lambda D: closed_forms.exponential_one_sided(4.0, distortion=D),
        0.25,
    ),
}
forms = pytest.mark.parametrize(("rate", "maximal"), FORMS.values(), ids=FORMS.keys())


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (closed_forms.bernoulli_hamming(0.3, distortion=0.1), 0.412295306),
        (closed_forms.uniform_hamming(4, distortion=0.1), 1.372508156),
        (closed_forms.uniform_hamming(8, distortion=0.2), 1.716600921),
        (
            closed_forms.hamming(PMF, distortion=[0.2, 0.3, 0.4]),
            [0.703817054, 0.385957999, 0.147275804],
        ),
        (closed_forms.laplacian_absolute(1.0, distortion=[0.1, 0.5]), [3.321928095, 1.0]),
        (
            closed_forms.vector_gaussian(VARIANCES, distortion=[0.6, 1.0, 2.0]),
            [3.482892142, 2.415037499, 1.192645078],
        ),
        (closed_forms.gaussian(3.0, distortion=[3 / 4, 3 / 16]), [1.0, 2.0]),
        (closed_forms.erasure((0.25,) * 4, distortion=[0.0, 0.3]), [2.0, 1.4]),
        # While D <= 4 min p all letters are erased alike: H(Y) - 2 D.
        (closed_forms.erasure(PMF, distortion=[0.0, 0.25]), [1.7427376486, 1.2427376486]),
        (closed_forms.exponential_one_sided(2.0, distortion=[1 / 8, 1 / 2]), [2.0, 0.0]),
    ],
)
def test_C6_reference_values(value, expected):
    # The expected numbers are given to nine decimals.
    np.testing.assert_allclose(value, expected, rtol=0, atol=6e-10)


@forms
def test_C6_rate_falls_convexly_and_continuously_to_zero_at_the_maximal_distortion(rate, maximal):
    D = np.linspace(maximal / 1000, 1.2 * maximal, 2401)
    R = np.asarray(rate(D))
    slope = np.diff(R) / np.diff(D)
    assert (slope <= 1e-12).all()
    assert (np.diff(slope) >= -1e-9).all()
    assert (R[maximal > D] >= 0).all()
    assert (R[maximal <= D] == 0).all()
    # Convex and finite inside, so continuous there; and at the end:
    ends = np.asarray(rate(maximal * np.array([1 - 1e-9, 1.0, 2.0, np.inf])))
    assert 0 <= ends[0] < 1e-8
    assert (ends[1:] == 0).all()


@forms
def test_C6_shapes_and_transformations(rate, maximal):
    D = maximal * np.array([[0.1, 0.5, 0.99], [0.2, 1.0, 0.0]])
    value = rate(D)
    assert value.shape == D.shape
    assert value.dtype == jnp.float64
    one_by_one = [[float(rate(entry)) for entry in row] for row in D]
    np.testing.assert_allclose(value, one_by_one, rtol=1e-13, atol=1e-15)
    np.testing.assert_allclose(jax.jit(rate)(jnp.asarray(D)), value, rtol=1e-13, atol=1e-15)
    np.testing.assert_allclose(jax.vmap(rate)(jnp.asarray(D)), value, rtol=1e-13, atol=1e-15)


@forms
def test_C6_gradient_is_the_slope(rate, maximal):
    for D in maximal * np.array([0.05, 0.3, 0.77]):
        step = 1e-6 * maximal
        difference = (rate(D + step) - rate(D - step)) / (2 * step)
        np.testing.assert_allclose(jax.grad(rate)(D), difference, rtol=1e-6)
    assert jax.grad(rate)(2 * maximal) == 0


def test_C6_gradient_where_a_letter_or_a_component_is_given_up():
    # Both distributions are differentiable there, although the branch changes.
    slope = jax.grad(lambda D: closed_forms.hamming(PMF, distortion=D))(0.3)
    np.testing.assert_allclose(slope, -math.log2(0.7 / 0.1), rtol=1e-12)
    slope = jax.grad(lambda D: closed_forms.vector_gaussian(VARIANCES, distortion=D))(0.75)
    np.testing.assert_allclose(slope, -1 / (2 * math.log(2) * 0.25), rtol=1e-12)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (closed_forms.bernoulli_hamming(0.3, distortion=0.0), 0.8812908992306927),
        (closed_forms.bernoulli_hamming(0.0, distortion=[0.0, 0.5]), [0.0, 0.0]),
        (closed_forms.bernoulli_hamming(1.0, distortion=0.0), 0.0),
        (closed_forms.uniform_hamming(8, distortion=0.0), 3.0),
        (closed_forms.uniform_hamming(1, distortion=[0.0, 1.0]), [0.0, 0.0]),
        (closed_forms.uniform_hamming(2**70, distortion=0.0), 70.0),
        (closed_forms.hamming((0.25, 0.0, 0.75), distortion=0.0), 0.8112781244591328),
        (closed_forms.hamming((0.0, 1.0), distortion=[0.0, 0.1]), [0.0, 0.0]),
        (closed_forms.hamming((1.0,), distortion=[0.0, 0.1]), [0.0, 0.0]),
        (closed_forms.erasure((0.5, 0.5), distortion=[0.0, 1.0, np.inf]), [1.0, 0.0, 0.0]),
        (closed_forms.gaussian(1.0, distortion=[0.0, np.inf]), [np.inf, 0.0]),
        (closed_forms.gaussian(0.0, distortion=[0.0, 1.0]), [0.0, 0.0]),
        (closed_forms.gaussian(2.0**600, distortion=2.0**-600), 600.0),
        (closed_forms.vector_gaussian((1.0, 0.0), distortion=[0.0, 0.25]), [np.inf, 1.0]),
        (closed_forms.vector_gaussian((0.0, 0.0), distortion=[0.0, 0.25]), [0.0, 0.0]),
        (closed_forms.laplacian_absolute(1.0, distortion=[0.0, np.inf]), [np.inf, 0.0]),
        (closed_forms.exponential_one_sided(1.0, distortion=[0.0, np.inf]), [np.inf, 0.0]),
    ],
)
def test_C6_ends(value, expected):
    np.testing.assert_allclose(value, expected, rtol=1e-15)


@given(strategies.sizes, st.floats(0.0, 1.2))
def test_C6_hamming_of_equal_letters_is_uniform_hamming(size, D):
    np.testing.assert_allclose(
        closed_forms.hamming(np.full(size, 1 / size), distortion=D),
        closed_forms.uniform_hamming(size, distortion=D),
        rtol=0,
        atol=1e-14,
    )


@given(strategies.probabilities(), st.floats(0.0, 0.6))
def test_C6_hamming_of_two_letters_is_bernoulli_hamming(p, D):
    expected = closed_forms.bernoulli_hamming(p, distortion=D)
    np.testing.assert_allclose(
        closed_forms.hamming((p, 1 - p), distortion=D), expected, rtol=0, atol=1e-14
    )


@given(st.data(), strategies.pmfs(5), st.floats(0.0, 1.0))
def test_C6_hamming_knows_no_names_and_no_absent_letters(data, p, D):
    expected = closed_forms.hamming(p, distortion=D)
    order = data.draw(strategies.permutations(5))
    np.testing.assert_allclose(
        closed_forms.hamming(p[order], distortion=D), expected, rtol=0, atol=1e-14
    )
    padded = np.append(p, [0.0, 0.0])
    np.testing.assert_allclose(
        closed_forms.hamming(padded, distortion=D), expected, rtol=0, atol=1e-14
    )


@given(strategies.pmfs(), strategies.slopes())
def test_C6_hamming_lies_between_the_bounds_of_blahut_arimoto(p, slope):
    D, upper, lower = reference.blahut_arimoto(p, 1 - np.eye(p.size), slope, 200)
    assert lower - 1e-12 <= closed_forms.hamming(p, distortion=D) <= upper + 1e-12


@pytest.mark.parametrize("slope", [1.5, 2.4, 3.2, 6.0])
def test_C6_hamming_is_where_blahut_arimoto_converges(slope):
    for p in (PMF, (0.4, 0.3, 0.3), (0.3, 0.3, 0.2, 0.2, 0.0)):
        D, upper, lower = reference.blahut_arimoto(p, 1 - np.eye(len(p)), slope, 5000)
        assert upper - lower < 1e-9
        np.testing.assert_allclose(closed_forms.hamming(p, distortion=D), upper, rtol=0, atol=1e-9)


def erasure_distortion(size):
    return np.column_stack([np.where(np.eye(size) > 0, 0.0, np.inf), np.ones(size)])


@given(strategies.pmfs(), strategies.slopes())
def test_C6_erasure_lies_between_the_bounds_of_blahut_arimoto(p, slope):
    D, upper, lower = reference.blahut_arimoto(p, erasure_distortion(p.size), slope, 200)
    assert lower - 1e-12 <= closed_forms.erasure(p, distortion=D) <= upper + 1e-12


@pytest.mark.parametrize("slope", [1.2, 1.7, 2.3, 2.9])
def test_C6_erasure_is_where_blahut_arimoto_converges(slope):
    for p in (PMF, (0.8, 0.2), (0.6, 0.2, 0.2, 0.0)):
        d = erasure_distortion(len(p))
        D, upper, lower = reference.blahut_arimoto(p, d, slope, 5000)
        assert upper - lower < 1e-9
        np.testing.assert_allclose(closed_forms.erasure(p, distortion=D), upper, rtol=0, atol=1e-9)


@given(strategies.sizes, st.floats(0.0, 1.2))
def test_C6_erasure_of_equal_letters_is_linear(size, D):
    expected = max(1 - D, 0.0) * math.log2(size)
    np.testing.assert_allclose(
        closed_forms.erasure(np.full(size, 1 / size), distortion=D), expected, rtol=0, atol=1e-14
    )


@given(strategies.pmfs(), st.floats(0.0, 1.0))
def test_C6_erasing_blindly_is_never_better(p, D):
    blind = (1 - D) * reference.entropy(p)
    assert closed_forms.erasure(p, distortion=D) <= blind + 1e-14


@given(
    st.lists(st.sampled_from((1.0, 0.0, 1e-12)) | st.floats(0.01, 9.0), min_size=3, max_size=3),
    st.floats(0.01, 0.99),
)
def test_C6_vector_gaussian_is_the_best_split_of_the_distortion(variances, share):
    variances = np.array([2.0, *variances])
    D = share * variances.sum()
    # The level, by bisection on its definition.
    low, high = 0.0, variances.max()
    for _ in range(200):
        level = (low + high) / 2
        low, high = (level, high) if np.minimum(variances, level).sum() < D else (low, level)
    expected = sum(0.5 * math.log2(v / level) for v in variances if v > level)
    rate = closed_forms.vector_gaussian(variances, distortion=D)
    np.testing.assert_allclose(rate, expected, rtol=1e-12, atol=1e-12)
    # No other split of the distortion over the components needs less.
    split = np.random.default_rng(0).dirichlet(np.ones(4), 50) * D
    positive = variances > 0
    gains = np.log2(variances[positive]) - np.log2(split[:, positive])
    assert (0.5 * np.maximum(gains, 0).sum(axis=1) >= rate - 1e-12).all()


@given(st.floats(1e-3, 1e3), st.just(0.0) | st.floats(1e-9, 2.0))
def test_C6_scale_changes_nothing(scale, share):
    unit = closed_forms.gaussian(1.0, distortion=share)
    np.testing.assert_allclose(
        closed_forms.gaussian(scale, distortion=share * scale), unit, rtol=0, atol=1e-13
    )
    for form in (closed_forms.laplacian_absolute, closed_forms.exponential_one_sided):
        np.testing.assert_allclose(
            form(1 / scale, distortion=share * scale),
            form(1.0, distortion=share),
            rtol=0,
            atol=1e-13,
        )


@pytest.mark.parametrize("form", ["laplacian", "exponential"])
def test_C6_continuous_distributions_lie_between_the_bounds_of_a_fine_grid(form):
    # A grid of step 1/16 up to 12: the distribution of the cell is put on its point, which moves it by less
    # than the step, and so does the restriction of the reproductions.
    step = 1 / 16
    if form == "laplacian":
        y = step * np.arange(-192, 193)
        p = np.exp(-np.abs(y))
        d = np.abs(y[:, None] - y)
        rate = closed_forms.laplacian_absolute
    else:
        y = step * np.arange(193)
        p = np.exp(-y)
        d = np.where(y <= y[:, None], y[:, None] - y, np.inf)
        rate = closed_forms.exponential_one_sided
    D, upper, lower = reference.blahut_arimoto(p / p.sum(), d, math.log2(math.e) / 0.5, 300)
    assert upper - lower < 0.02
    assert float(rate(1.0, distortion=D + step)) - 0.02 <= upper
    assert lower <= float(rate(1.0, distortion=D - step)) + 0.02


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: closed_forms.bernoulli_hamming(0.3, distortion=[0.1, -0.1]), ValueError,
         r"distortion must lie in \[0, inf\], got -0.1 at index 1"),
        (lambda: closed_forms.bernoulli_hamming(1.3, distortion=0.1), ValueError,
         r"p must lie in \[0, 1\], got 1.3"),
        (lambda: closed_forms.bernoulli_hamming([0.3], distortion=0.1), ValueError,
         r"p must have 0 dimensions, got shape \(1,\)"),
        (lambda: closed_forms.uniform_hamming(0, distortion=0.1), ValueError,
         r"letters must be in \[1, 2\^1000\], got 0"),
        (lambda: closed_forms.uniform_hamming(4.0, distortion=0.1), TypeError,
         r"letters must be an integer, got 4.0"),
        (lambda: closed_forms.uniform_hamming(4, distortion=-0.5), ValueError,
         r"distortion must lie in \[0, inf\], got -0.5"),
        (lambda: closed_forms.hamming([0.5, 0.4], distortion=0.1), ValueError,
         r"p must sum to one, got a sum of 0.9"),
        (lambda: closed_forms.hamming([1.2, -0.2], distortion=0.1), ValueError,
         r"p must lie in \[0, inf\], got -0.2 at index 1"),
        (lambda: closed_forms.hamming(PMF, distortion=np.nan), ValueError,
         r"distortion must not contain NaN, got nan"),
        (lambda: closed_forms.erasure([[1.0]], distortion=0.1), ValueError,
         r"p must have 1 dimensions, got shape \(1, 1\)"),
        (lambda: closed_forms.erasure(PMF, distortion=-1e-9), ValueError,
         r"distortion must lie in \[0, inf\], got -1e-09"),
        (lambda: closed_forms.gaussian(-1.0, distortion=0.1), ValueError,
         r"variance must lie in \[0, inf\), got -1.0"),
        (lambda: closed_forms.gaussian(1.0, distortion=-0.1), ValueError, r"distortion .* got -0.1"),
        (lambda: closed_forms.vector_gaussian([1.0, np.inf], distortion=0.1), ValueError,
         r"variances must lie in \[0, inf\), got inf at index 1"),
        (lambda: closed_forms.vector_gaussian([], distortion=0.1), ValueError,
         r"variances must not be empty, got shape \(0,\)"),
        (lambda: closed_forms.vector_gaussian([1.0], distortion="far"), TypeError,
         r"distortion must hold real numbers"),
        (lambda: closed_forms.laplacian_absolute(0.0, distortion=0.1), ValueError,
         r"rate_parameter must lie in \(0, inf\), got 0.0"),
        (lambda: closed_forms.laplacian_absolute(1.0, distortion=-0.1), ValueError,
         r"distortion .* got -0.1"),
        (lambda: closed_forms.exponential_one_sided(np.inf, distortion=0.1), ValueError,
         r"rate_parameter must lie in \(0, inf\), got inf"),
        (lambda: closed_forms.exponential_one_sided(1.0, distortion=-0.1), ValueError,
         r"distortion .* got -0.1"),
    ],
)  # fmt: skip
def test_C6_bad_input_is_named(call, error, message):
    with pytest.raises(error, match=message):
        call()


@forms
def test_C6_needs_float64(rate, maximal):
    with jax.enable_x64(False), pytest.raises(RuntimeError, match="needs float64"):
        rate(maximal)
