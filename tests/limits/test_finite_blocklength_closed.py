"""C16: bounds at finite block length for the coin, the erased coin and the Gaussian."""

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, special, stats

from rdsim.limits import finite_blocklength as finite
from rdsim.limits.finite_blocklength import gaussian


def _call(function, problem, distortion, excess_probability, block_lengths):
    return function(
        problem,
        distortion=distortion,
        excess_probability=excess_probability,
        block_lengths=block_lengths,
    )


# values.md: converse, achievability, approximation at n = 100 and 500.
VALUES = {
    "fair coin": (
        finite.binary_hamming,
        (0.5, 0.11, 0.01),
        [[0.527910, 0.550088, 0.533303], [0.507946, 0.512381, 0.509050]],
    ),
    "Bernoulli(0.4)": (
        finite.binary_hamming,
        (0.4, 0.11, 0.01),
        # At n = 100 fair codewords (0.550088, as above) beat those of the optimal bias (0.568155).
        [[0.521110, 0.550088, 0.537701], [0.495779, 0.508429, 0.500849]],
    ),
    "Gaussian": (
        finite.gaussian_mse,
        (1.0, 0.25, 0.01),
        [[1.220777, 1.381273, 1.237320], [1.102687, 1.133168, 1.106133]],
    ),
    "erased coin": (
        finite.erased_coin,
        (0.1, 0.1, 0.1),
        [[0.738264, 0.745217, 0.714870], [0.670109, 0.671439, 0.663207]],
    ),
}


@pytest.mark.parametrize(("function", "arguments", "wanted"), VALUES.values(), ids=VALUES.keys())
def test_C16_reference_values(function, arguments, wanted):
    found = _call(function, *arguments, [100, 500])
    bounds = np.stack([found.lower, found.upper, found.approximation], axis=1)
    np.testing.assert_allclose(bounds, wanted, rtol=0, atol=6e-7)
    assert np.all(found.feasible)
    np.testing.assert_allclose(found.gap, bounds[:, 1] - bounds[:, 0], rtol=1e-12, atol=0)


@settings(max_examples=8)
@given(st.integers(20, 200), st.floats(0.06, 0.4))
def test_C16_only_whole_wrong_bits_count(n, distortion):
    # The sizes of the codes of the coins differ by integers of bits: n D is as good as its integer part.
    whole = np.floor(n * distortion + 1e-9) / n
    if whole > 0.05:
        for bounds in (
            lambda D: finite.binary_hamming(
                0.5, distortion=D, excess_probability=0.01, block_lengths=[n]
            ),
            lambda D: finite.erased_coin(
                0.1, distortion=D, excess_probability=0.1, block_lengths=[n]
            ),
        ):
            given_D, at_whole = bounds(distortion), bounds(whole)
            for name in ("lower", "upper"):
                np.testing.assert_allclose(
                    getattr(given_D, name), getattr(at_whole, name), rtol=1e-12, atol=0
                )


def test_C16_dispersions():
    coin = finite.binary_hamming_second_order(0.4, distortion=0.11)
    assert float(coin.dispersion) == pytest.approx(0.082123471, abs=5e-10)
    assert float(finite.binary_hamming_second_order(0.5, distortion=0.11).dispersion) == 0
    normal = finite.gaussian_mse_second_order(3.0, distortion=0.7).dispersion
    assert float(normal) == pytest.approx(0.5 * np.log2(np.e) ** 2, rel=1e-14, abs=0)


LENGTHS = np.array([3, 11, 30])  # tables of one shape, compiled once
EPS = st.sampled_from((0.01, 1e-12, 0.5, 0.999)) | st.floats(1e-12, 0.999)


@settings(max_examples=40)
@given(st.floats(0.001, 0.999), st.floats(0, 0.999), EPS)
def test_C16_coin_converse_below_achievability(p, share, eps):
    D = share * min(p, 1 - p)
    found = finite.binary_hamming(p, distortion=D, excess_probability=eps, block_lengths=LENGTHS)
    assert np.all(found.feasible)
    assert np.all(found.lower >= 0)
    assert np.all(found.lower <= found.upper + 1e-12)
    assert np.all(found.integer_lower <= found.integer_upper + 1e-12)
    # An integer number of codewords is rounded up but for 1e-11 of itself, the solver's own accuracy.
    assert np.all(found.integer_upper >= found.upper - 1.5e-11 / LENGTHS)


@settings(max_examples=30)
@given(st.floats(0.001, 0.9), st.floats(0.01, 0.99), EPS)
def test_C16_erased_coin_converse_below_achievability(alpha, share, eps):
    D = alpha / 2 + share * (0.5 - alpha / 2)
    found = finite.erased_coin(alpha, distortion=D, excess_probability=eps, block_lengths=LENGTHS)
    # Both are infinite together: when erased bits alone are wrong too often.
    late = stats.binom.sf(np.floor(LENGTHS * D + 1e-9), LENGTHS, alpha / 2)
    clear = np.abs(late - eps) > 1e-9 * eps
    np.testing.assert_array_equal(np.isfinite(found.lower)[clear], (late < eps)[clear])
    np.testing.assert_array_equal(found.feasible[clear], (late < eps)[clear])
    served = np.asarray(found.feasible)
    assert np.all(found.lower[served] <= found.upper[served] + 1e-12)


@settings(max_examples=30)
@given(st.floats(0.1, 10), st.floats(0.01, 0.99), EPS)
def test_C16_gaussian_converse_below_achievability(variance, share, eps):
    found = finite.gaussian_mse(
        variance, distortion=share * variance, excess_probability=eps, block_lengths=LENGTHS
    )
    served = np.asarray(found.feasible)
    assert np.all(np.isinf(found.gap[~served]))
    assert np.all(np.isfinite(found.lower))
    assert np.all(found.lower[served] <= found.upper[served] + 1e-9)


@pytest.mark.parametrize("n", [1, 2, 3, 4])
@pytest.mark.parametrize("p", [0.5, 0.4, 0.2])
def test_C16_the_best_code_lies_between_the_bounds(n, p):
    sequences = np.arange(2**n)
    ones = np.array([int(w).bit_count() for w in sequences])
    distribution = p**ones * (1 - p) ** (n - ones)
    distance = ones[sequences[:, None] ^ sequences]
    for D in (0.0, 0.3, 0.19):
        if p <= D:
            continue
        # Which sequences each of the 2^(2^n) codes serves, as bits of one integer.
        reach = ((distance <= n * D) << sequences).sum(axis=1)
        served, size = np.zeros(1, int), np.zeros(1, int)
        for ball in reach:
            served, size = np.append(served, served | ball), np.append(size, size + 1)
        probability = sum(np.where(served >> w & 1, distribution[w], 0.0) for w in sequences)
        eps = np.array([0.03, 0.1, 0.3])
        found = finite.binary_hamming(p, distortion=D, excess_probability=eps, block_lengths=n)
        best = [size[probability >= 1 - e - 1e-12].min() for e in eps]
        bits = np.log2(best) / n
        assert np.all(found.lower <= bits + 1e-12)
        assert np.all(found.integer_lower <= bits + 1e-12)
        assert np.all(bits <= found.integer_upper + 1e-12)


def _served(n, t, q, K):
    return sum(
        stats.binom.pmf(j, t, 1 - q) * stats.binom.cdf(K - j, n - t, q) for j in range(K + 1)
    )


@pytest.mark.parametrize("eps", [0.3, 1e-4, 1e-12])
def test_C16_random_coding_fails_with_exactly_the_probability_asked_for(eps):
    n, p, D = 60, 0.3, 0.1
    found = finite.binary_hamming(p, distortion=D, excess_probability=eps, block_lengths=n)
    distribution = stats.binom.pmf(np.arange(n + 1), n, p)
    codewords = 2.0 ** (n * float(found.upper))
    failures = []
    for q in ((p - D) / (1 - 2 * D), 0.5):
        served = np.array([_served(n, t, q, 6) for t in range(n + 1)])
        failures.append(np.sum(distribution * np.exp(codewords * np.log1p(-served))))
    # The better of the two codebooks fails so often, the other one more often.
    assert min(failures) == pytest.approx(eps, rel=1e-9, abs=0)
    # The converse: the likeliest sequences of probability 1 - eps, over the ball.
    count = special.comb(n, np.arange(n + 1))
    tail = stats.binom.sf(np.arange(n + 1), n, p)
    last = np.flatnonzero(tail >= eps)[-1]
    share = (tail[last] - eps) / distribution[last + 1]
    needed = count[: last + 1].sum() + share * count[last + 1]
    assert float(found.lower) == pytest.approx(np.log2(needed / count[:7].sum()) / n, abs=1e-11)


@pytest.mark.parametrize(("erasure", "n"), [(0.1, 1), (0.3, 1), (0.02, 1)])
def test_C16_a_code_that_fails_exactly_as_often_as_allowed_exists(erasure, n):
    # One letter, D < 1: M = 2 codewords serve it but for an erased bit that is wrong, erasure / 2.
    found = _call(finite.erased_coin, erasure, 0.2, erasure / 2, n)
    assert float(found.lower) == pytest.approx(1.0, rel=0, abs=1e-9)
    assert float(found.upper) == 1.0
    beyond = _call(finite.erased_coin, erasure, 0.2, erasure / 2 * (1 - 1e-9), n)
    assert np.isinf(beyond.lower)
    assert np.isinf(beyond.upper)


@pytest.mark.parametrize("bias", [0.5, 0.3, 0.11])
def test_C16_no_achievability_exceeds_the_code_of_all_words(bias):
    n, eps = np.array([1, 2, 5, 20, 100]), np.array([[1e-10], [1e-3], [0.3]])
    for found in (
        _call(finite.binary_hamming, bias, 0.05, eps, n),
        _call(finite.erased_coin, 0.0, 0.05, eps, n),
    ):
        assert np.all(found.upper <= 1.0)
        assert np.all(found.lower <= np.asarray(found.upper) + 1e-12)


@pytest.mark.parametrize("eps", [0.5, 0.01])
@pytest.mark.parametrize(("n", "D"), [(24, 0.25), (23, 0.7), (200, 0.5)])
def test_C16_sphere_codes_against_adaptive_quadrature(n, D, eps):
    found = finite.gaussian_mse(1.0, distortion=D, excess_probability=eps, block_lengths=n)
    log2_words = n * float(found.upper)
    low, high = (np.sqrt(1 - D) - np.sqrt(D)) ** 2, (np.sqrt(1 - D) + np.sqrt(D)) ** 2

    def failure(z):
        c = (1 + z - 2 * D) / (2 * np.sqrt(z * (1 - D)))
        cap = 0.5 * special.betainc((n - 1) / 2, 0.5, 1 - c * c)
        missed = np.log1p(-cap) if c >= 0 else np.log(max(cap, 1e-300))
        return n * stats.chi2.pdf(n * z, n) * np.exp(2**log2_words * missed)

    inside, _ = integrate.quad(failure, low, high, limit=2000, epsabs=1e-13, points=[1.0])
    outside = stats.chi2.sf(n * high, n) + (stats.chi2.cdf(n * low, n) if D < 0.5 else 0.0)
    assert inside + outside == pytest.approx(eps, rel=1e-8, abs=0)


@pytest.mark.parametrize("n", [2, 3, 10, 400])
def test_C16_cap_of_a_sphere(n):
    D = 0.8
    z = np.linspace(0.21, 1.7, 50)
    cosine = (1 + z - 2 * D) / (2 * np.sqrt(z * (1 - D)))
    half = 0.5 * stats.beta.cdf(1 - cosine**2, (n - 1) / 2, 0.5)
    exact = np.where(cosine > 0, half, 1 - half)
    np.testing.assert_allclose(np.exp(gaussian._log_cap(n, z, D)), exact, rtol=1e-9, atol=1e-300)


def test_C16_a_cap_below_the_least_float():
    # Doubling n - 1 about squares the cap; (n=4000) is far below 1e-308.
    z = np.array([1.2])
    small, large = (float(gaussian._log_cap(n, z, 0.1)[0]) for n in (2000, 4000))
    assert large < -745
    assert large == pytest.approx(2 * small, abs=5)
    assert abs(large - 2 * small) > 1


def test_C16_short_sphere_codes_are_called_infeasible():
    found = finite.gaussian_mse(
        1.0, distortion=0.25, excess_probability=0.01, block_lengths=[1, 20, 21, 22]
    )
    np.testing.assert_array_equal(found.feasible, [False, False, True, True])
    assert np.all(np.isinf(found.upper[:2]))
    assert not np.any(np.isnan(found.lower))


def test_C16_rates_scale_with_the_variance_and_mirror_in_p():
    unit, scaled = (
        finite.gaussian_mse(
            v, distortion=0.25 * v, excess_probability=0.01, block_lengths=LENGTHS + 20
        )
        for v in (1.0, 9.0)
    )
    np.testing.assert_allclose(unit.upper, scaled.upper, rtol=1e-12)
    few, many = (
        finite.binary_hamming(p, distortion=0.1, excess_probability=0.01, block_lengths=LENGTHS)
        for p in (0.25, 0.75)
    )
    np.testing.assert_allclose(few.lower, many.lower, rtol=1e-12)
    erased, coin = (
        finite.erased_coin(0, distortion=0.1, excess_probability=0.01, block_lengths=LENGTHS),
        finite.binary_hamming(0.5, distortion=0.1, excess_probability=0.01, block_lengths=LENGTHS),
    )
    np.testing.assert_allclose(erased.lower, coin.lower, rtol=0, atol=1e-12)
    np.testing.assert_allclose(erased.upper, coin.upper, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("function", "arguments"), [case[:2] for case in VALUES.values()], ids=VALUES.keys()
)
def test_C16_the_approximation_approaches_both_bounds(function, arguments):
    n = np.array([100, 1000])
    found = _call(function, *arguments, n)
    room = np.log2(n) / n
    assert np.all(np.abs(found.approximation - found.lower) < room)
    assert np.all(np.abs(found.approximation - found.upper) < 2.5 * room)
    assert np.all(np.diff(found.gap) < 0)
    assert float(found.rate_distortion) < float(found.lower[-1])


def test_C16_approximation_at_any_length_and_its_inverse():
    for second in (
        finite.binary_hamming_second_order(0.4, distortion=0.11),
        finite.gaussian_mse_second_order(1.0, distortion=0.25),
        finite.erased_coin_second_order(0.1, distortion=0.1),
    ):
        n, eps = np.array([1.0, 1e3, 1e9, 1e30]), np.array([[1e-12], [0.01], [0.9]])
        rate = np.asarray(second.rate(n, eps))
        assert rate.shape == (3, 4)
        spread = stats.norm.isf(eps[:, 0]) * np.sqrt(float(second.dispersion))
        np.testing.assert_allclose(rate[:, 0], float(second.rate_distortion) + spread, rtol=1e-9)
        np.testing.assert_allclose(rate[:, 3], float(second.rate_distortion), rtol=1e-12)
        middle = second.excess_probability(1e3, rate=rate[:2, 1])
        np.testing.assert_allclose(middle, eps[:2, 0], rtol=1e-8)
    fair = finite.binary_hamming_second_order(0.5, distortion=0.11)
    assert float(fair.rate(1e6, 0.3) - fair.rate_distortion) == pytest.approx(np.log2(1e6) / 2e6)
    np.testing.assert_array_equal(fair.excess_probability(1e6, rate=[0.4, 0.6]), [1.0, 0.0])


@pytest.mark.parametrize("p", [1e-12, 1e-17, 1e-40, 1e-300])
def test_C16_ones_may_be_as_rare_as_floats_are(p):
    """Less than a rounding of one: a block without ones is nearly certain, and other blocks are served at tiny eps."""
    n, D = 3, 0.25 * p
    # One codeword; the four blocks of at most one 1, of which three are 1e3 times likelier than eps each.
    found = _call(finite.binary_hamming, p, D, np.array([0.5, 1e-3 * p]), n)
    served = np.log2([1.0, 4.0])
    assert (np.asarray(found.lower) * n <= served + 1e-12).all()
    assert (np.asarray(found.upper) * n >= served - 1e-9).all()
    assert float(found.lower[1]) * n > 1.9
    second = finite.binary_hamming_second_order(p, distortion=D)
    assert float(second.dispersion) == pytest.approx(p * np.log2(p) ** 2, rel=1e-9)
    assert float(second.rate(n, 0.5)) == pytest.approx(float(second.rate_distortion), rel=1e-12)


@pytest.mark.parametrize("p", [0.5, 0.3, 0.001, 1 - 1e-9])
@pytest.mark.parametrize("n", [1, 3, 4, 7, 20])
def test_C16_bounds_that_meet_keep_their_order(p, n):
    """All blocks are codewords: either bound is n bits, with roundings of its own."""
    found = _call(finite.binary_hamming, p, 0.0, 1e-300, n)
    assert float(found.lower) <= float(found.upper) == 1.0
    assert float(found.lower) == pytest.approx(1.0, abs=1e-9)


def test_a_result_is_a_pytree_and_float32_is_refused():
    found = finite.binary_hamming(
        0.4, distortion=0.1, excess_probability=0.01, block_lengths=LENGTHS
    )
    doubled = jax.tree.map(lambda leaf: 2 * leaf, found)
    np.testing.assert_array_equal(doubled.lower, 2 * found.lower)
    with jax.enable_x64(False), pytest.raises(RuntimeError, match="jax_enable_x64"):
        finite.gaussian_mse(1.0, distortion=0.25, excess_probability=0.01, block_lengths=10)


@pytest.mark.parametrize(
    ("function", "arguments", "message"),
    [
        (finite.binary_hamming, (0.0, 0.0, 0.1, 5), r"p must lie in \(0, 1\), got 0\.0"),
        (
            finite.binary_hamming,
            (0.3, 0.3, 0.1, 5),
            r"distortion must lie in \[0, 0\.3\), got 0\.3",
        ),
        (finite.binary_hamming, (0.3, -0.1, 0.1, 5), r"distortion must lie in .*, got -0\.1"),
        (finite.binary_hamming, (0.3, 0.1, 0.0, 5), r"excess_probability must lie in \(0, 1\)"),
        (finite.binary_hamming, (0.3, 0.1, 1.0, 5), r"excess_probability must lie in .* got 1\.0"),
        (finite.binary_hamming, (0.3, 0.1, 0.1, 0), r"block_lengths must lie in \[1, 5000\]"),
        (finite.binary_hamming, (0.3, 0.1, 0.1, [4, 2.5]), "block_lengths must be integers"),
        (finite.binary_hamming, (0.3, 0.1, 0.1, []), "block_lengths must not be empty"),
        (finite.erased_coin, (1.0, 0.1, 0.1, 5), r"erasure must lie in \[0, 1\), got 1\.0"),
        (
            finite.erased_coin,
            (0.2, 0.1, 0.1, 5),
            r"distortion must lie in \(0\.1, 0\.5\), got 0\.1",
        ),
        (finite.erased_coin, (0.2, 0.5, 0.1, 5), r"distortion must lie in .* got 0\.5"),
        (finite.gaussian_mse, (0.0, 0.1, 0.1, 5), r"variance must lie in \(0, inf\), got 0\.0"),
        (finite.gaussian_mse, (1.0, 1.0, 0.1, 5), r"distortion must lie in \(0, 1\), got 1\.0"),
        (finite.gaussian_mse, (1.0, 0.0, 0.1, 5), r"distortion must lie in \(0, 1\), got 0\.0"),
        (finite.gaussian_mse, (1.0, 0.5, 0.1, 6000), r"block_lengths must lie in .* got 6000"),
    ],
)
def test_bad_arguments_are_named(function, arguments, message):
    with pytest.raises(ValueError, match=message):
        _call(function, *arguments)


def test_bad_approximations_are_named():
    second = finite.binary_hamming_second_order(0.4, distortion=0.1)
    with pytest.raises(ValueError, match=r"block_length must lie in \[1, inf\), got 0\.5"):
        second.rate(0.5, 0.1)
    with pytest.raises(ValueError, match=r"excess_probability must lie in \(0, 1\), got 2\.0"):
        second.rate(5, 2.0)
    with pytest.raises(ValueError, match=r"rate must lie in \[0, inf\], got -1\.0"):
        second.excess_probability(5, rate=-1.0)
