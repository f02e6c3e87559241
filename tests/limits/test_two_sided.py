"""C23: inner and outer bounds with both sides compressed."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import brentq, linprog, minimize_scalar

from rdsim.limits.bottleneck import bottleneck_dsbs, bottleneck_gaussian
from rdsim.limits.retrieval.two_sided import two_sided_dsbs, two_sided_gaussian


def h(p):
    return 0.0 if p <= 0 or p >= 1 else -p * np.log2(p) - (1 - p) * np.log2(1 - p)


def test_C23_reference_values_of_the_long_chain():
    assert float(
        two_sided_gaussian(0.8, query_rate=1.0, item_rate=1.0).long_chain
    ) == pytest.approx(0.321928095, abs=1e-9)
    assert float(two_sided_dsbs(0.1, query_rate=0.5, item_rate=0.5).long_chain) == pytest.approx(
        0.178313011, abs=1e-9
    )


def test_C23_the_long_chain_alone_is_not_the_inner_bound():
    # Describing half the letters in full beats describing all of them at half a bit.
    bounds = two_sided_dsbs(0.1, query_rate=0.5, item_rate=0.5)
    assert float(bounds.lower) >= 0.5 * (1 - h(0.1)) - 1e-12
    assert float(bounds.lower) > float(bounds.long_chain) + 0.08
    found = minimize_scalar(
        lambda share: (
            -share
            * float(two_sided_dsbs(0.1, query_rate=0.5 / share, item_rate=0.5 / share).long_chain)
        ),
        bounds=(0.45, 1.0),
        method="bounded",
        options={"xatol": 1e-9},
    )
    assert float(bounds.lower) == pytest.approx(-found.fun, abs=1e-10)
    assert float(bounds.share) == pytest.approx(found.x, abs=1e-4)
    gaussian = two_sided_gaussian(0.8, query_rate=1.0, item_rate=1.0)
    assert float(gaussian.lower) > float(gaussian.long_chain) + 0.005


@settings(max_examples=20)
@given(st.integers(0, 10**6))
def test_C23_bounds_are_ordered_symmetric_and_monotone(seed):
    generator = np.random.default_rng(seed)
    Rx, Ry = generator.uniform(0, 2, (2, 8))
    Rx[:3], Ry[2:5] = [0.0, 1e-6, 1.0], [1.0, 0.0, 1e-9]
    for family, source in (
        (two_sided_dsbs, generator.uniform(0, 1, 8)),
        (two_sided_gaussian, generator.uniform(-1, 1, 8)),
    ):
        bounds = family(source, query_rate=Rx, item_rate=Ry)
        mirrored = family(source, query_rate=Ry, item_rate=Rx)
        assert np.all(np.asarray(bounds.long_chain) >= 0)
        # One expression compiled into two places may differ in its last digit.
        assert np.all(bounds.long_chain <= bounds.lower + 1e-15)
        assert np.all(bounds.lower <= bounds.upper)
        assert np.all(bounds.upper <= np.minimum(Rx, Ry) + 1e-12)
        np.testing.assert_allclose(bounds.lower, mirrored.lower, rtol=0, atol=1e-9)
        more = family(source, query_rate=Rx + 0.1, item_rate=Ry)
        assert np.all(more.lower >= bounds.lower - 1e-9)
        assert np.all(more.upper >= bounds.upper - 1e-12)


def test_C23_an_uncompressed_side_leaves_the_bottleneck():
    rates = np.array([0.0, 0.2, 0.6, 0.9, 1.0, 1.5, 2.0, 3.0])
    binary = two_sided_dsbs(0.1, query_rate=1.0, item_rate=rates)
    np.testing.assert_allclose(binary.lower, bottleneck_dsbs(0.1, rate=rates), rtol=0, atol=1e-12)
    np.testing.assert_allclose(binary.upper, binary.lower, rtol=0, atol=1e-12)
    gaussian = two_sided_gaussian(0.8, query_rate=np.inf, item_rate=rates)
    np.testing.assert_allclose(
        gaussian.long_chain, bottleneck_gaussian(0.8, rate=rates), rtol=0, atol=1e-12
    )
    np.testing.assert_allclose(gaussian.gap, 0.0, rtol=0, atol=1e-12)


def test_C23_long_chain_is_the_mutual_information_of_the_chain():
    p, Rx, Ry = 0.1, 0.3, 0.8
    a, b = (brentq(lambda x, R=R: h(x) - (1 - R), 1e-12, 0.5) for R in (Rx, Ry))

    def flip(x):
        return np.array([[1 - x, x], [x, 1 - x]])

    joint = 0.5 * flip(a) @ flip(p) @ flip(b)
    information = 2 - (-np.sum(joint * np.log2(joint)))
    assert float(two_sided_dsbs(p, query_rate=Rx, item_rate=Ry).long_chain) == pytest.approx(
        information, abs=1e-12
    )
    # Gaussian: U = X + noise, V = Y + noise, I(U;V) from the determinant of the covariance.
    r, nx, ny = 0.7, 1 / (4**Rx - 1), 1 / (4**Ry - 1)
    correlation = r / np.sqrt((1 + nx) * (1 + ny))
    exact = -0.5 * np.log2(1 - correlation**2)
    assert float(two_sided_gaussian(r, query_rate=Rx, item_rate=Ry).long_chain) == pytest.approx(
        exact, abs=1e-12
    )


def test_C23_sharing_with_silence_is_as_good_as_sharing_any_chains():
    # Independent: the best mixture of all chains on a grid of rates, by a linear program.
    grid = np.linspace(0, 1, 33)
    Rx, Ry = (part.ravel() for part in np.meshgrid(grid, grid))
    value = np.asarray(two_sided_dsbs(0.1, query_rate=Rx, item_rate=Ry).long_chain)
    for query, item in ((0.5, 0.5), (0.25, 0.75), (0.9, 0.4)):
        best = linprog(
            -value, A_ub=[Rx, Ry], b_ub=[query, item], A_eq=[np.ones(Rx.size)], b_eq=[1.0]
        )
        ours = two_sided_dsbs(0.1, query_rate=query, item_rate=item)
        assert -best.fun <= float(ours.upper) + 1e-9
        # The grid of the program can only miss a little of what any sharing gives.
        assert -best.fun - 1e-9 <= float(ours.lower) <= -best.fun + 5e-4


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: two_sided_gaussian(1.5, query_rate=1, item_rate=1), "correlation must lie in"),
        (lambda: two_sided_dsbs(-0.1, query_rate=1, item_rate=1), "crossover must lie in"),
        (lambda: two_sided_dsbs(0.1, query_rate=-1, item_rate=1), "query_rate must lie in"),
        (lambda: two_sided_dsbs(0.1, query_rate=1, item_rate=-1), "item_rate must lie in"),
        (
            lambda: two_sided_dsbs(0.1, query_rate=[1, 1], item_rate=[1, 1, 1]),
            "must broadcast together",
        ),
    ],
)
def test_bad_arguments_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
