"""C1 for Gaussian scalars: against plain double integrals, blocks of letters and simulation."""

import jax
import numpy as np
import pytest
import scipy.integrate
import scipy.special
import scipy.stats

from rdsim import ranking
from rdsim.ranking.gaussian import gaussian_rank_loss

SCORES = {"likelihood_ratio": lambda c: 1 / c, "conditional_density": lambda c: c}


def one_letter(c, M, score):
    """MRR and probability to be first of a letter, by nested adaptive quadrature over x and u."""
    b = SCORES[score](c)
    deviation = np.sqrt(1 - c * c)

    def given(x, metric):
        def integrand(z):
            far = abs(c * x + deviation * z - b * x)
            a = scipy.special.ndtr(b * x + far) - scipy.special.ndtr(b * x - far)
            first = (1 - a) ** (M - 1)
            mrr = (1 - (1 - a) ** M) / (M * a) if a > 1e-12 else 1.0
            return scipy.stats.norm.pdf(z) * (mrr, first)[metric]

        kink = (b - c) * x / deviation
        points = [k for k in (kink - 0.05, kink, kink + 0.05) if -9 < k < 9]
        return scipy.integrate.quad(integrand, -9, 9, points=points, limit=100, epsabs=1e-8)[0]

    x, weights = np.polynomial.legendre.leggauss(30)
    x, weights = 4 * (x + 1), 4 * weights  # half of the symmetric line, up to 8
    return [
        2 * np.sum(weights * scipy.stats.norm.pdf(x) * [given(t, metric) for t in x])
        for metric in (0, 1)
    ]


@pytest.mark.parametrize("score", SCORES)
def test_C1_gaussian_letters_match_nested_quadrature(score):
    mrr, first = one_letter(0.9, 10, score)
    for loss, expected in (("reciprocal_rank", mrr), ("error", first)):
        found = gaussian_rank_loss(0.9, np.log2(10), loss, score=score)
        np.testing.assert_allclose(1 - found.value, expected, rtol=0, atol=2e-7)
        assert found.error < 1e-7


def test_C1_gaussian_values_near_those_quoted_for_the_conditional_density():
    """(.5404482, .3111401) for rho = .9, M = 10 is the rule that forgets how common an item is."""
    for loss, quoted, best in (
        ("reciprocal_rank", 0.5404482, 0.5552000458),
        ("error", 0.3111401, 0.3300873553),
    ):
        density = gaussian_rank_loss(0.9, np.log2(10), loss, score="conditional_density")
        ratio = gaussian_rank_loss(0.9, np.log2(10), loss)
        np.testing.assert_allclose(1 - density.value, quoted, rtol=0, atol=1e-6)
        np.testing.assert_allclose(1 - ratio.value, best, rtol=0, atol=1e-9)


def test_C1_gaussian_blocks_match_simulated_competitors():
    """Four standard errors of 3 estimates with a fixed seed; a by the noncentral chi-square."""
    random = np.random.default_rng(11)
    n, rho, rate, trials = 6, 0.9, 1.0, 40_000
    c = rho * np.sqrt(1 - 2.0 ** (-2 * rate))
    x = random.standard_normal((trials, n))
    u = c * x + np.sqrt(1 - c * c) * random.standard_normal((trials, n))
    distance = np.sum((u - x / c) ** 2, axis=1)
    a = scipy.stats.ncx2.cdf(distance, n, np.sum(x**2, axis=1) / c**2)
    for size in (2.0, 5.0, 12.0):
        drawn = np.asarray(
            ranking.expected_loss(size, "error", log_a=np.log(np.maximum(a, 1e-300)), log_e=-np.inf)
        )
        found = gaussian_rank_loss(rho, size, "error", n=n, rate=rate)
        assert abs(found.value - drawn.mean()) < 5.1 * drawn.std() / np.sqrt(trials)


@pytest.mark.parametrize(("rho", "n"), [(0.3, 1), (0.15, 2), (0.1, 4), (0.15, 32), (0.3, 512)])
def test_C1_distant_queries_agree_with_the_mixtures(rho, n, monkeypatch):
    sizes = np.array([3.0, 12.0, 40.0])
    apart = gaussian_rank_loss(rho, sizes, "reciprocal_rank", n=n)
    monkeypatch.setattr("rdsim.ranking.gaussian.scalar._FAR", 150.0)
    monkeypatch.setattr("rdsim.ranking.gaussian.scalar._FAR_LETTERS", 1.0)
    mixed = gaussian_rank_loss(rho, sizes, "reciprocal_rank", n=n)
    np.testing.assert_allclose(apart.value, mixed.value, rtol=0, atol=1e-12)


@pytest.mark.parametrize(("c", "M"), [(0.02, 10), (0.003, 100)])
def test_C1_small_correlations_match_nested_quadrature(c, M):
    mrr, first = one_letter(c, M, "likelihood_ratio")
    for loss, expected in (("reciprocal_rank", mrr), ("error", first)):
        found = gaussian_rank_loss(c, np.log2(M), loss)
        assert found.error < 1e-7
        np.testing.assert_allclose(1 - found.value, expected, rtol=0, atol=2e-7)


@pytest.mark.parametrize(("rho", "n"), [(0.05, 64), (0.02, 400)])
def test_C1_small_correlations_of_many_letters_match_simulated_databases(rho, n):
    """Within 5.1 standard errors, a false alarm below 1e-6; databases of 64 items, redrawn each time."""
    random, M, databases = np.random.default_rng(3), 64, 400
    losses = np.empty(databases)
    for i in range(databases):
        x = random.standard_normal((M, n))
        u = rho * x + np.sqrt(1 - rho**2) * random.standard_normal((M, n))
        scores = x @ u.T - 0.5 * rho * np.sum(u**2, axis=1)
        rank = 1 + np.sum(scores > np.diagonal(scores)[:, None], axis=1)
        losses[i] = np.mean(1 - 1 / rank)
    found = gaussian_rank_loss(rho, np.log2(M), "reciprocal_rank", n=n)
    assert abs(found.value - losses.mean()) < 5.1 * losses.std() / np.sqrt(databases)
    assert found.error < 1e-9


def test_C1_tiny_correlations_tend_to_a_random_ranking():
    sizes = np.array([1.0, 10.0])
    random = ranking.expected_loss(sizes, "error", log_a=-np.inf, log_e=0.0)
    for rho in (1e-6, 1e-12, 1e-30, 1e-200):
        found = gaussian_rank_loss(rho, sizes, "error", n=16)
        assert (found.value <= random).all()
        np.testing.assert_allclose(found.value, random, rtol=0, atol=20 * rho + 1e-13)


def test_C1_gaussian_shapes_and_ends():
    rates, sizes = np.array([0.0, 1.0, 2.0, np.inf]), np.array([5.0, 20.0])
    found = gaussian_rank_loss(0.9, sizes, "error", n=6, rate=rates)
    assert found.value.shape == found.error.shape == (4, 2)
    random = ranking.expected_loss(sizes, "error", log_a=-np.inf, log_e=0.0)
    np.testing.assert_array_equal(found.value[0], random)
    assert (np.diff(np.asarray(found.value), axis=0) < 0).all()
    np.testing.assert_array_equal(gaussian_rank_loss(1.0, sizes, "error").value, 0.0)
    opposite = gaussian_rank_loss(-0.9, sizes, "error", n=6, rate=rates)
    np.testing.assert_array_equal(opposite.value, found.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"correlation": 1.5}, r"correlation must lie in \[-1, 1\], got 1.5"),
        ({"n": 0}, r"n must be in \[1, 512\], got 0"),
        ({"rate": -1.0}, r"rate must lie in \[0, inf\], got -1.0"),
        ({"score": "cosine"}, "score must be one of 'likelihood_ratio', 'conditional_density'"),
        ({"nodes": 2}, "nodes must be at least 32"),
    ],
)
def test_C1_gaussian_bad_input_is_named(change, message):
    arguments = {"correlation": 0.9, "log2_size": 3.0, "loss": "error", "n": 2} | change
    with pytest.raises(ValueError, match=message):
        gaussian_rank_loss(**arguments)


def test_a_loss_of_new_shapes_compiles_nothing(caplog):
    gaussian_rank_loss(0.5, 2.0, "error", n=1, nodes=32)
    with jax.log_compiles():
        for n, loss in ((2, "reciprocal_rank"), (9, "dcg"), (300, ("miss", 4))):
            gaussian_rank_loss(0.9, [4.0, 30.0], loss, n=n, rate=[0.0, 0.05, 2.0], nodes=32 + n)
    assert not [record for record in caplog.records if "XLA compilation" in record.getMessage()]
