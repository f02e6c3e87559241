"""Quality at other database sizes: exact below, and above within the band that the data's own sizes give."""

import math

import numpy as np
import pytest
import scipy.stats
from scipy.special import betainc, expit, gammaln, logit, ndtr, ndtri

from rdsim import finite_sample, ranking
from rdsim.finite_sample.database_size import _mixing
from rdsim.ranking.loss import parse_loss
from rdsim.ranking.rank_distribution import gain_without_ties

LOSSES = ("error", "reciprocal_rank", ("miss", 10), "dcg")
SIZE = 1000


def beaten(rng, dimension, spread, count):
    """Probabilities that a random direction is nearer to the query than its target is, exactly."""
    correlation = np.tanh(math.atanh(0.6) + spread * rng.standard_normal(count))
    noise = np.sqrt(1 - correlation**2)
    along = correlation * np.sqrt(rng.chisquare(dimension, count)) + noise * rng.normal(size=count)
    cosine = along / np.hypot(along, noise * np.sqrt(rng.chisquare(dimension - 1, count)))
    half = betainc((dimension - 1) / 2, 0.5, 1 - cosine**2) / 2
    return np.where(cosine > 0, half, 1 - half)


@pytest.mark.parametrize("loss", LOSSES)
def test_C1_gain_of_one_query_is_that_of_the_rank_distribution(loss):
    log_p = np.log([1e-30, 1e-12, 1e-5, 0.02, 0.5, 0.97])
    for log2_size in (1.0, math.log2(1001), 30.0, 90.0):
        found = gain_without_ties(log2_size, parse_loss(loss), log_p)
        exact = 1 - ranking.expected_loss(log2_size, loss, log_a=log_p, log_e=-np.inf)
        np.testing.assert_allclose(found, exact, rtol=1e-9, atol=3e-14)


@pytest.mark.parametrize("M", [2, 3, 50, 1000])
def test_C1_discounted_gain_of_one_query_is_the_sum_over_the_binomial_winners(M):
    p = np.append(np.logspace(-9, 0, 37), [0.3, 0.9, 1 - 1e-9])
    winners = np.arange(M)
    exact = scipy.stats.binom.pmf(winners, M - 1, p[:, None]) @ (1 / np.log2(2.0 + winners))
    found = gain_without_ties(math.log2(M), parse_loss("dcg"), np.log(p))
    np.testing.assert_allclose(found, exact, rtol=0, atol=1e-13)


@pytest.mark.parametrize(
    ("family", "numbers", "cdf"),
    [
        ("normal in ln p", (-7.0, 0.8), lambda x: ndtr((x + 7) / math.exp(0.8))),
        (
            "normal in probit p",
            (-2.0, 0.1),
            lambda x: ndtr((scipy.special.ndtri(np.exp(x)) + 2) / math.exp(0.1)),
        ),
        (
            "log-logistic",
            (-5.0, 0.3),
            lambda x: expit((x - np.log(-np.expm1(x)) + 5) / math.exp(0.3)),
        ),
        ("gamma", (1.0, 0.5), scipy.stats.gamma(math.e, scale=math.exp(0.5)).sf),
        ("beta", (-1.0, 0.5), scipy.stats.beta(math.exp(-1), math.exp(0.5)).cdf),
        ("generalised Pareto", (0.7, 0.2), scipy.stats.genpareto(0.2, scale=math.exp(0.7)).sf),
    ],
)
def test_families_are_the_distributions_of_their_names(family, numbers, cdf):
    at = _mixing.grid(12.0)
    inside = (at.log_p > -15) & (at.log_p < -0.1)  # near p = 1 a cell is no small part
    edges = np.append(at.log_p - at.width / 2, 0.0)
    argument = {"gamma": -edges, "generalised Pareto": -edges, "beta": np.exp(edges)}
    whole = cdf(argument.get(family, np.minimum(edges, -1e-12)))
    found = _mixing._tail(family, 0.0, at)(*numbers)
    np.testing.assert_allclose(
        found[inside], np.diff(whole / whole[-1])[inside], rtol=0.02, atol=1e-4
    )


def test_cells_of_the_deep_tail_have_their_widths():
    """Half of this normal distribution of ln p lies below -60, where the cells are tens of nats wide."""
    at = _mixing.grid(5.0)
    found = _mixing._tail("normal in ln p", 0.0, at)(-60.0, math.log(20.0))
    for place in (-100.0, -60.0, -30.0):
        # The distribution to the middle of the cell that holds the place.
        cell = int(np.argmin(np.abs(at.log_p - place)))
        below = found[:cell].sum() + 0.5 * found[cell]
        wanted = ndtr((at.log_p[cell] + 60) / 20) / ndtr(3.0)
        assert below == pytest.approx(wanted, rel=0, abs=0.01)


def test_expected_counts_among_some_are_hypergeometric():
    counts = _mixing.counts_of(np.array([0, 3, 10]), np.array([2, 1, 1]), 12)
    np.testing.assert_allclose(counts.share, np.array([1, 1, 2, 2]) / 6, rtol=1e-12, atol=0)
    few = counts.among(5)
    expected = sum(
        share * scipy.stats.hypergeom(12, n, 5).pmf(few.ahead)
        for n, share in zip(counts.ahead, counts.share, strict=True)
    )
    np.testing.assert_allclose(few.share, expected, rtol=1e-9, atol=0)
    assert few.competitors == 5


def test_no_atom_can_raise_the_free_likelihood_by_much():
    rng = np.random.default_rng(3)
    ahead = rng.binomial(SIZE - 1, beaten(rng, 16, 0.3, SIZE))
    counts = _mixing.counts_of(ahead, np.ones_like(ahead), SIZE - 1)
    table = _mixing.likelihood(counts, _mixing.grid(math.log(SIZE)).log_p)
    mass = _mixing.free_form(table, counts.share)
    assert mass.sum() == pytest.approx(1, rel=1e-12, abs=0)
    derivative = (counts.share / (table @ mass)) @ table
    assert derivative.max() < 1.003  # at most .003 nats a query are left to gain
    # The second derivative along any direction is negative: what is left to gain is below the sum.
    assert mass @ derivative == pytest.approx(1, rel=1e-9, abs=0)


def test_the_numbers_of_every_family_maximise_the_likelihood_of_atoms_and_tail():
    """The likelihood of the docstring, from binomial probabilities, falls in every direction from the numbers found."""
    N = 200
    rng = np.random.default_rng(5)
    p = np.exp(np.minimum(rng.normal(-4, 1.5, 400), -0.01))
    counts = _mixing.counts_of(rng.binomial(N, p), np.ones(400, int), N)
    at = _mixing.grid(math.log(N))
    b, log_p = counts.ahead[:, None], np.minimum(at.log_p, -1e-9)
    log_choose = gammaln(N + 1) - gammaln(b + 1) - gammaln(N - b + 1)
    binomial = np.exp(log_choose + b * log_p + (N - b) * np.log1p(-np.exp(log_p)))

    def likelihood(fit, numbers):
        tail = np.zeros(at.log_p.size)
        tail[at.log_p < fit.threshold] = _mixing._tail(fit.family, fit.threshold, at)(*numbers)
        mixture = fit.masses + (1 - fit.masses.sum()) * tail
        return counts.share @ np.log(binomial @ mixture)

    for fit in _mixing.fits(counts):
        best = likelihood(fit, fit.numbers)
        for angle in np.linspace(0, 2 * math.pi, 8, endpoint=False):
            near = fit.numbers + 0.3 * np.array([math.cos(angle), math.sin(angle)])
            assert likelihood(fit, tuple(near)) < best + 1e-7, fit.name


def test_a_planted_family_is_recovered():
    """ln p normal with mean -6 and deviation 2; 20,000 queries among 2000: four standard errors are 0.06."""
    rng = np.random.default_rng(1)
    p = np.exp(np.minimum(rng.normal(-6, 2, 20_000), -1e-9))
    ahead = rng.binomial(1999, p)
    counts = _mixing.counts_of(ahead, np.ones_like(ahead), 1999)
    fit = next(one for one in _mixing.fits(counts) if one.name == "normal in ln p")
    assert fit.numbers[0] == pytest.approx(-6, rel=0, abs=0.1)
    assert math.exp(fit.numbers[1]) == pytest.approx(2, rel=0, abs=0.06)
    larger = finite_sample.predict_quality(
        ahead, "reciprocal_rank", competitors=1999, log2_size=[15.0, 20.0]
    )
    for place, log2_size in enumerate((15.0, 20.0)):
        x = np.linspace(-60, -1e-6, 60_000)
        density = np.exp(-0.5 * ((x + 6) / 2) ** 2)
        gain = 1 - ranking.expected_loss(log2_size, "reciprocal_rank", log_a=x, log_e=-np.inf)
        truth = float(density @ np.asarray(gain) / density.sum())
        own = larger.predictions[larger.candidates.index("normal in ln p"), place]
        assert own == pytest.approx(truth, rel=0.06, abs=0)
        assert larger.lower[place] <= truth <= larger.upper[place]


@pytest.mark.parametrize("loss", ["reciprocal_rank", ("miss", 10)])
@pytest.mark.parametrize(("dimension", "spread"), [(12, 0.0), (12, 0.3), (40, 0.3)])
def test_planted_gaussian_pairs_lie_in_the_band(dimension, spread, loss):
    """Gaussian pairs with one correlation and with many; the generator is fixed, so is the verdict."""
    rng = np.random.default_rng(8)
    ahead = rng.binomial(SIZE - 1, beaten(rng, dimension, spread, SIZE))
    sizes = np.log2(SIZE * np.array([1.0, 4.0, 16.0, 1000.0]))
    found = finite_sample.predict_quality(ahead, loss, competitors=SIZE - 1, log2_size=sizes)
    many = np.log(np.maximum(beaten(rng, dimension, spread, 100_000), 1e-300))
    truth = [gain_without_ties(s, parse_loss(loss), many).mean() for s in sizes]
    assert (found.lower[1:] <= truth[1:]).all()
    assert (truth[1:] <= found.upper[1:]).all()
    assert (np.diff(found.value) < 0).all()
    # It says something: at sixteen times the size the ends are less than a factor of two apart.
    assert found.upper[2] < 2 * found.lower[2]


@pytest.mark.parametrize("loss", LOSSES)
def test_C1_up_to_the_measured_size_it_is_the_mean_over_subsets(loss):
    rng = np.random.default_rng(2)
    ahead, tied = rng.integers(0, 40, 30), rng.integers(1, 4, 30)
    found = finite_sample.predict_quality(
        ahead, loss, competitors=49, tied=tied, log2_size=np.log2([2, 7, 50])
    )
    lost = [
        ranking.subset_loss(ahead, loss, competitors=49, sampled=m, tied=tied).mean()
        for m in (1, 6, 49)
    ]
    np.testing.assert_allclose(found.value, 1 - np.array(lost), rtol=1e-12, atol=0)
    assert (found.lower == found.value).all()
    assert (found.upper == found.value).all()
    assert found.method == ("subsets",) * 3
    assert found.candidates == ()


def test_any_size_up_to_two_to_the_thousand():
    rng = np.random.default_rng(4)
    ahead = rng.binomial(SIZE - 1, beaten(rng, 16, 0.3, 500))
    sizes = [5.0, 20.0, 60.0, 300.0, 1000.0]
    found = finite_sample.predict_quality(
        ahead, "reciprocal_rank", competitors=SIZE - 1, log2_size=sizes
    )
    assert np.isfinite(np.stack([found.value, found.lower, found.upper])).all()
    assert (np.diff(found.value) < 0).all()
    assert found.value[-1] > 0
    assert found.weight.sum() == pytest.approx(1, rel=1e-12, abs=0)
    table = found.to_xarray()
    assert table.prediction.dims == ("candidate", "log2_size")
    assert table.prediction.shape == (len(found.candidates), 5)
    assert (table.quality.values == found.value).all()
    assert table.method.values[0] == "subsets"
    assert table.method.values[1] == found.candidates[int(found.weight.argmax())]


@pytest.mark.parametrize("loss", ["reciprocal_rank", ("miss", 10)])
@pytest.mark.parametrize("confidence", [0.5, 0.95])
def test_the_band_is_that_of_the_pool_of_normal_distributions(loss, confidence):
    """Weights and quantiles by the docstring's formulas, from each candidate's prediction and error."""
    rng = np.random.default_rng(6)
    ahead = rng.binomial(SIZE - 1, beaten(rng, 12, 0.3, 300))
    doublings = np.array([0.1, 2.0, 10.0])
    found = finite_sample.predict_quality(
        ahead,
        loss,
        competitors=SIZE - 1,
        log2_size=math.log2(SIZE) + doublings,
        confidence=confidence,
    )
    gain = 1 - np.asarray(
        ranking.subset_loss(ahead, loss, competitors=SIZE - 1, sampled=SIZE - 1, tied=1)
    )
    quality = gain.mean()
    sampling = gain.std() / math.sqrt(gain.size) / (quality * (1 - quality))
    a_doubling = np.sqrt(found.error**2 + (sampling / 4) ** 2)
    weight = a_doubling**-4.0 / np.sum(a_doubling**-4.0)
    np.testing.assert_allclose(found.weight, weight, rtol=1e-9, atol=0)
    # The mean square of the gain falls with the quality as the mean does.
    of_it = np.maximum(found.predictions, 1 / gain.size)
    variance = (np.mean(gain**2) / quality * of_it - of_it**2) / gain.size
    deviation = np.sqrt(variance) / (of_it * (1 - of_it))
    deviation = np.sqrt(deviation**2 + np.outer(a_doubling, doublings) ** 2)
    most = expit(logit(quality) + ndtri(0.5 + confidence / 2) * sampling)
    for ends, probability in (
        (found.lower, 0.5 - confidence / 2),
        (found.value, 0.5),
        (found.upper, 0.5 + confidence / 2),
    ):
        below = ndtr((logit(ends) - logit(found.predictions)) / deviation)
        capped = ends >= most * (1 - 1e-12)
        assert (ends <= most * (1 + 1e-12)).all()
        np.testing.assert_allclose((weight @ below)[~capped], probability, rtol=0, atol=1e-6)
        assert (weight @ below <= probability + 1e-6).all()


def test_the_upper_end_never_passes_that_of_the_measured_size():
    """One pair in ten is wrong: a candidate that was far off lets the pool rise with the size, but items never help."""
    rng = np.random.default_rng(3)
    paired = np.floor(np.exp(rng.normal(1, 2, 40))).astype(int)
    ahead = np.append(np.minimum(paired, 300), rng.integers(0, 301, 4))
    found = finite_sample.predict_quality(
        ahead,
        "error",
        competitors=300,
        log2_size=math.log2(301) + np.array([4.0, 20.0]),
        confidence=0.99,
    )
    quality = (ahead == 0).mean()
    sampling = 1 / math.sqrt(ahead.size * quality * (1 - quality))
    most = expit(logit(quality) + ndtri(0.995) * sampling)
    np.testing.assert_allclose(found.upper, most, rtol=1e-12, atol=0)


@pytest.mark.parametrize("competitors", [1000, 30_000, 1_000_000])
def test_wrong_pairs_whose_targets_rank_anywhere_leave_a_band_that_falls_with_the_size(competitors):
    """A count of many thousands is farther than its standard deviation from every place of the grid."""
    rng = np.random.default_rng(0)
    paired = np.floor(np.exp(rng.normal(1, 2, 990))).astype(int)
    wrong = np.append(rng.integers(0, competitors + 1, 9), competitors)
    ahead = np.append(np.minimum(paired, competitors), wrong)
    sizes = math.log2(competitors + 1) + np.array([0.0, 1.0, 4.0, 10.0])
    found = finite_sample.predict_quality(
        ahead, "reciprocal_rank", competitors=competitors, log2_size=sizes
    )
    assert (found.lower <= found.value).all()
    assert (found.value <= found.upper).all()
    assert (np.diff(found.value) < 0).all()
    twin = finite_sample.fit_isotropic_twin(
        ahead, "reciprocal_rank", competitors=competitors, dimension=64.0
    )
    assert twin.quality == pytest.approx(found.value[0], rel=1e-9)


@pytest.mark.parametrize(
    ("changed", "error", "message"),
    [
        ({"ahead": [1]}, ValueError, "ahead must hold at least 2 queries"),
        ({"ahead": [1, 2.5]}, ValueError, "ahead must be integers"),
        ({"ahead": [1, 100]}, ValueError, "ahead must lie in"),
        ({"tied": [1, 1, 1]}, ValueError, "tied must have shape"),
        ({"tied": 0}, ValueError, "tied must lie in"),
        ({"log2_size": 0.5}, ValueError, "log2_size must lie in"),
        ({"log2_size": []}, ValueError, "log2_size must not be empty"),
        ({"competitors": 40}, ValueError, "competitors must be at least 63"),
        ({"ahead": [0, 0]}, ValueError, "ahead must leave a quality strictly between 0 and 1"),
        ({"confidence": 1.0}, ValueError, "confidence must lie in"),
        ({"loss": "map"}, ValueError, "loss must be"),
    ],
)
def test_bad_inputs(changed, error, message):
    call = {"ahead": [0, 3], "loss": "error", "competitors": 99, "log2_size": 9.0} | changed
    with pytest.raises(error, match=message):
        finite_sample.predict_quality(call.pop("ahead"), call.pop("loss"), **call)
