"""The isotropic twin: its quality is the measured one, its codes stay above its converse."""

import math

import numpy as np
import pytest
from scipy.special import betainc

from rdsim import finite_sample, limits, sources
from rdsim.ranking.loss import parse_loss
from rdsim.ranking.rank_distribution import gain_without_ties

SIZE = 1000


def twin(dimension, correlations, probabilities, loss=("miss", 1)):
    return finite_sample.IsotropicTwin(
        dimension=dimension,
        correlations=np.array(correlations),
        probabilities=np.array(probabilities),
        quality=math.nan,
        fitted_quality=math.nan,
        log2_size=10.0,
        rank_loss=loss,
    )


def beaten(rng, dimension, correlation):
    """Exact probabilities that a random direction beats the targets of pairs drawn with these."""
    noise = np.sqrt(1 - correlation**2)
    x = rng.normal(size=(correlation.size, dimension))
    y = correlation[:, None] * x + noise[:, None] * rng.normal(size=x.shape)
    cosine = np.sum(x * y, axis=1) / np.linalg.norm(x, axis=1) / np.linalg.norm(y, axis=1)
    half = betainc((dimension - 1) / 2, 0.5, 1 - cosine**2) / 2
    return np.where(cosine > 0, half, 1 - half)


def test_C28_random_codes_have_the_known_recall():
    """Recall@1 of 16 bits among 50,000 in 64 dimensions, and of 10 among 1000 in 1024: Monte Carlo."""
    first = 1 - twin(64.0, [0.8], [1.0]).loss(16.0, log2_size=math.log2(50_000))
    second = 1 - twin(1024.0, [0.8], [1.0]).loss(10.0, log2_size=math.log2(1000))
    assert first == pytest.approx(0.1070, rel=0, abs=0.0016)  # four of its standard errors
    assert second == pytest.approx(0.1944, rel=0, abs=0.002)


@pytest.mark.parametrize("loss", [("miss", 1), ("reciprocal_rank", 1)])
def test_no_bits_tell_nothing_and_many_tell_all(loss):
    pair = twin(12.0, [0.3, 0.7], [0.4, 0.6], loss)
    none, many, whole = 1 - pair.loss([0.0, 400.0, math.inf], log2_size=8.0)
    blind = 1 / 256 if loss[0] == "miss" else np.sum(1 / np.arange(1, 257)) / 256
    assert none == pytest.approx(blind, rel=1e-3, abs=0)
    assert many == pytest.approx(whole, rel=1e-3, abs=0)


def test_items_stored_whole_are_ranked_by_the_cosine():
    """200,000 pairs drawn: the standard error of their mean is below 0.001, and five are allowed."""
    rng = np.random.default_rng(1)
    correlation = np.array([0.3, 0.7])[(rng.uniform(size=200_000) < 0.6).astype(int)]
    p = np.maximum(beaten(rng, 12, correlation), 1e-300)
    gain = gain_without_ties(8.0, parse_loss("reciprocal_rank"), np.log(p))
    pair = twin(12.0, [0.3, 0.7], [0.4, 0.6], ("reciprocal_rank", 1))
    found = 1 - pair.loss(math.inf, log2_size=8.0)
    assert found == pytest.approx(gain.mean(), rel=0, abs=0.005)


def test_C27_the_converse_is_the_mean_over_the_spread_and_below_random_codes():
    pair = twin(8.0, [0.2, 0.5, 0.9], [0.2, 0.5, 0.3])
    bits = np.array([4.0, 16.0])
    found = pair.converse(bits, log2_size=10.0)
    mean = 0.0
    for correlation, probability in zip(pair.correlations, pair.probabilities, strict=True):
        eye = np.eye(8)
        one = sources.vector_gaussian(eye, eye, correlation * eye)
        mean += probability * np.asarray(
            limits.retrieval_converse(one, 10.0, "error", bits=bits).loss
        )
    np.testing.assert_allclose(found, mean, rtol=1e-9, atol=0)
    assert (found <= pair.loss(bits, log2_size=10.0)).all()


def test_a_planted_twin_is_found_again():
    """The quality to rounding, and its fall over four doublings; the generator is fixed."""
    rng = np.random.default_rng(5)
    correlation = np.tanh(0.6 + 0.25 * rng.standard_normal(4000))
    p = beaten(rng, 20, correlation)
    ahead = rng.binomial(SIZE - 1, p)
    found = finite_sample.fit_isotropic_twin(
        ahead, "reciprocal_rank", competitors=SIZE - 1, dimension=20.0
    )
    assert found.quality == pytest.approx(np.mean(1 / (1.0 + ahead)), rel=1e-9, abs=0)
    sizes = np.log2([SIZE, 62, 16_000])
    own = [1 - float(found.loss(math.inf, log2_size=size)) for size in sizes]
    truth = [
        gain_without_ties(s, parse_loss("reciprocal_rank"), np.log(np.maximum(p, 1e-300))).mean()
        for s in sizes
    ]
    assert own[0] == pytest.approx(found.quality, rel=1e-9, abs=0)
    np.testing.assert_allclose(own[1:], truth[1:], rtol=0.1, atol=0)
    assert found.fitted_quality == pytest.approx(found.quality, rel=0.03, abs=0)


def test_effective_dimension():
    square = np.array([[1.0, 1], [1, -1], [-1, 1], [-1, -1]])
    assert finite_sample.effective_dimension(square) == pytest.approx(2, rel=1e-12, abs=0)
    stretched = square * [3, 1]  # variances 9 and 1
    assert finite_sample.effective_dimension(stretched) == pytest.approx(100 / 82, rel=1e-12, abs=0)
    with pytest.raises(ValueError, match="points must be at least two that differ"):
        finite_sample.effective_dimension(np.ones((3, 2)))


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"dimension": 2.0}, "dimension must lie in"),
        ({"competitors": 40}, "competitors must be at least 63"),
        ({"ahead": [0, 0]}, "ahead must leave a quality"),
        ({"tied": 0}, "tied must lie in"),
    ],
)
def test_bad_inputs(changed, message):
    call = {"ahead": [0, 3], "loss": "error", "competitors": 99, "dimension": 8.0} | changed
    with pytest.raises(ValueError, match=message):
        finite_sample.fit_isotropic_twin(call.pop("ahead"), call.pop("loss"), **call)


def test_bad_bits():
    with pytest.raises(ValueError, match="bits must be at most 1000"):
        twin(8.0, [0.5], [1.0]).loss(2000.0, log2_size=4.0)
