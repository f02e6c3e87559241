"""C2: the rank-distortion function against all rankings, explicit sums and reference values."""

import itertools
import math

import jax
import numpy as np
import pytest
import reference
import scipy.optimize
import strategies
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import RHO

from rdsim import limits

losses = pytest.mark.parametrize("loss", RHO, ids=str)


@losses
@pytest.mark.parametrize("M", [4, 5])
def test_C2_equals_the_rate_of_a_convex_problem_over_all_rankings(loss, M):
    """The certified solver, on the source J and the reproduction alphabet of all M! rankings."""
    rankings = np.array(list(itertools.permutations(range(1, M + 1))))
    d = RHO[loss](rankings.T.astype(float))
    curve = limits.rate_distortion_curve(np.full(M, 1 / M), d, [1.0, 3.0, 8.0])
    assert np.all(curve.converged)
    closed = limits.rank_rate(np.log2(M), loss, distortion=np.minimum(curve.distortion, 1.0))
    np.testing.assert_allclose(closed.value, curve.rate, rtol=0, atol=2e-9)


@settings(max_examples=15)
@given(st.sampled_from(list(RHO)), st.integers(4, 9), st.floats(0.02, 0.95))
def test_C2_equals_a_direct_maximum_of_entropy(loss, M, share):
    rho = RHO[loss](np.arange(1.0, M + 1))
    D = share * rho.mean()

    def negative_entropy(q):
        return float(np.sum(q * np.log2(np.maximum(q, 1e-300))))

    found = scipy.optimize.minimize(
        negative_entropy,
        np.where(rho == 0, 0.5, 0.5 / M),
        jac=lambda q: np.log2(np.maximum(q, 1e-300)) + 1 / np.log(2),
        bounds=[(1e-15, 1)] * M,
        constraints=[
            {"type": "eq", "fun": lambda q: q.sum() - 1},
            {"type": "ineq", "fun": lambda q: D - q @ rho},
        ],
        options={"maxiter": 500, "ftol": 1e-13},
    )
    limit = limits.rank_rate(np.log2(M), loss, distortion=D)
    np.testing.assert_allclose(limit.value, np.log2(M) + found.fun, rtol=0, atol=2e-5)


@losses
@pytest.mark.parametrize("M", [2, 8, 1024, 1036, 1037, 2000, 10**6])
def test_C2_bounds_hold_the_gibbs_distribution_summed_rank_by_rank(loss, M):
    rho = RHO[loss](np.arange(1.0, M + 1))
    for slope in (1e-3, 0.5, 3.0, 12.0, 40.0):
        weight = np.exp(-slope * rho)
        D = np.sum(weight * rho) / weight.sum()
        # As a divergence from the uniform distribution nothing cancels.
        q = weight / weight.sum()
        rate = np.sum(q * np.log2(np.maximum(q, 1e-300) * M))
        limit = limits.rank_rate(np.log2(M), loss, distortion=D)
        assert limit.lower - 1e-12 <= rate <= limit.upper + 1e-12
        assert limit.gap <= 1e-11
        back = limits.rank_loss(np.log2(M), loss, rate=rate)
        if rate > 1e-9:
            np.testing.assert_allclose(back.value, D, rtol=0, atol=1e-9)


@pytest.mark.parametrize(
    ("limit", "expected"),
    [
        (
            limits.rank_rate(np.log2(10), "reciprocal_rank", distortion=[0.1, 0.3]),
            [2.315187258, 1.093542725],
        ),
        (
            limits.rank_rate(np.log2(1000), "reciprocal_rank", distortion=[0.1, 0.5]),
            [8.474632450, 3.921215365],
        ),
        (
            limits.rank_loss(np.log2(1000), "reciprocal_rank", rate=[1.0, 4.0, 8.0]),
            [1 - 0.173273569, 1 - 0.507852082, 1 - 0.863536146],
        ),
    ],
)
def test_C2_reference_values(limit, expected):
    np.testing.assert_allclose(limit.value, expected, rtol=0, atol=1e-9)
    assert np.all(limit.gap <= 1e-9)


@losses
def test_C2_convex_decreasing_and_zero_from_the_mean_loss_on(loss):
    D = np.linspace(0, 1, 101)
    rate = np.asarray(limits.rank_rate([[4.0], [40.0], [1000.0]], loss, distortion=D).value)
    assert np.all(np.diff(rate, axis=1) <= 1e-12)
    assert np.all(np.diff(rate, 2, axis=1) >= -1e-9)
    np.testing.assert_array_equal(rate[:, -1], 0.0)
    mean = RHO[loss](np.arange(1.0, 17)).mean()
    assert limits.rank_rate(4.0, loss, distortion=mean + 1e-9).value == 0
    assert limits.rank_rate(4.0, loss, distortion=mean - 1e-3).value > 0


@pytest.mark.parametrize("loss", ["error", "reciprocal_rank", "dcg", ("miss", 5)], ids=str)
@pytest.mark.parametrize("M", [7, 16, 1000])
@pytest.mark.parametrize("rate", [1e-300, 1e-20, 1e-16, 1e-12])
def test_C2_next_to_no_bits_the_loss_keeps_its_digits(loss, M, rate):
    """The supporting line of so small a slope says nothing, for its rounding is divided by the slope: a steeper one is used."""
    ranks = np.arange(1, M + 1)
    losses = {
        "error": ranks > 1,
        "reciprocal_rank": 1 - 1 / ranks,
        "dcg": 1 - 1 / np.log2(1 + ranks),
    }
    each = np.asarray(losses[loss] if isinstance(loss, str) else ranks > loss[1], float)
    # Pinsker's second order: R nats buy sqrt(2 R Var) of the loss.
    wanted = each.mean() - each.std() * math.sqrt(2 * rate * math.log(2))
    found = limits.rank_loss(math.log2(M), loss, rate=rate)
    assert float(found.lower) <= wanted + 1e-11
    assert float(found.upper) >= wanted - 1e-11
    assert float(found.gap) <= 1e-6 * each.std()


def test_C2_error_is_fanos_inequality():
    D = np.array([0.0, 1e-12, 0.1, 0.5, 0.9])
    with np.errstate(all="ignore"):
        h = np.where(D > 0, -D * np.log2(D) - (1 - D) * np.log2(1 - D), 0)
    for size in (5.0, 40.0, 1000.0):
        others = size + np.log1p(-(2.0**-size)) / np.log(2)
        np.testing.assert_allclose(
            limits.rank_rate(size, "error", distortion=D).value,
            size - h - D * others,
            rtol=1e-12,
            atol=1e-11,
        )


def test_C2_ends():
    assert limits.rank_rate(10.0, "dcg", distortion=0.0).value == pytest.approx(10.0, abs=1e-12)
    assert limits.rank_rate(10.0, ("miss", 4), distortion=0.0).value == pytest.approx(
        8.0, abs=1e-12
    )
    assert limits.rank_loss(10.0, "reciprocal_rank", rate=10.0).value == 0
    assert limits.rank_loss(1000.0, "dcg", rate=5000.0).value == 0
    assert limits.rank_rate(3.0, ("miss", 100), distortion=0.0).value == pytest.approx(
        0.0, abs=1e-12
    )


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: limits.rank_rate(10, "error", distortion=-0.1),
            r"distortion must lie in \[0, 1\], got -0.1",
        ),
        (
            lambda: limits.rank_rate(0.5, "error", distortion=0.1),
            r"log2_size must lie in \[1, 100000\]",
        ),
        (lambda: limits.rank_rate(10, "mrr", distortion=0.1), r"loss must be .* got 'mrr'"),
        (lambda: limits.rank_rate(10, ("miss", 0), distortion=0.1), r"got \('miss', 0\)"),
        (lambda: limits.rank_loss(10, "error", rate=-1.0), r"rate must lie in \[0, inf\), got -1"),
        (lambda: limits.rank_loss(10, "error", rate=np.nan), "rate must not contain NaN"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@given(strategies.pmfs(5), st.sampled_from(list(RHO)), st.floats(0.05, 20.0))
def test_C4_cyclic_rankings_never_beat_the_converse_and_gibbs_ones_attain_it(pmf, loss, slope):
    """Store U = J - r mod M with r distributed as q and rank the items from U on: the target has rank r."""
    rho = RHO[loss](np.arange(1.0, 6))
    gibbs = np.exp(-slope * rho) / np.exp(-slope * rho).sum()
    for q in (pmf, gibbs):
        joint = np.array([[q[(j - u) % 5] / 5 for u in range(5)] for j in range(5)])
        information = reference.mutual_information_by_sums(joint)
        needed = limits.rank_rate(np.log2(5), loss, distortion=min(float(q @ rho), 1.0))
        assert needed.lower <= information + 1e-12
    assert needed.upper >= information - 1e-12
    assert needed.gap <= 1e-9


@pytest.mark.parametrize("loss", ["error", "reciprocal_rank"])
def test_C2_a_list_of_any_length_has_the_bounds_of_its_targets_alone(loss):
    """Targets are bounded some thirty at a time; sizes and rates differ from one to the next."""
    rate, size = np.linspace(0.0, 12.0, 300), np.resize([3.0, 12.0, 40.0], 300)
    whole = limits.rank_loss(size, loss, rate=rate)
    for some in (slice(1), slice(255, 257), slice(256), slice(257), slice(299, 300)):
        part = limits.rank_loss(size[some], loss, rate=rate[some])
        np.testing.assert_array_equal(part.lower, whole.lower[some])
        np.testing.assert_array_equal(part.upper, whole.upper[some])
    table = limits.rank_loss(size.reshape(3, 100), loss, rate=rate.reshape(3, 100))
    np.testing.assert_array_equal(table.lower, whole.lower.reshape(3, 100))


def test_C2_lists_sizes_and_losses_compile_nothing(caplog):
    limits.rank_rate(2.0, "error", distortion=0.3)
    with jax.log_compiles():
        for loss, size in itertools.product(["error", ("miss", 5), "dcg"], [3.0, 20.0, 300.0]):
            limits.rank_rate(size, loss, distortion=np.linspace(0.1, 0.5, int(size)))
    assert not [record for record in caplog.records if "XLA compilation" in record.getMessage()]


@pytest.mark.parametrize("loss", RHO, ids=str)
@pytest.mark.parametrize("limit", ["rank_rate", "rank_loss"])
def test_C2_what_numpy_finds_is_what_compiled_code_finds(loss, limit):
    target = np.linspace(0.0, 1.0, 7) * (1.0 if limit == "rank_rate" else 12.0)
    argument = "distortion" if limit == "rank_rate" else "rate"

    def bounds(x):
        found = getattr(limits, limit)(11.0, loss, **{argument: x})
        return found.lower, found.upper

    np.testing.assert_allclose(bounds(target), jax.jit(bounds)(target), rtol=1e-10, atol=1e-11)
