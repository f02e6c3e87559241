"""Bounds on mutual information: on their side of it for any scores, with intervals that cover."""

import itertools

import numpy as np
import pytest
import reference
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from rdsim.finite_sample.information_bounds import (
    channel_information,
    decoder_information,
    donsker_varadhan,
    infonce,
    plug_in_information,
)

# Distributions in multiples of a sixth: a list of six equally likely pairs is the distribution itself, so that the
# list of all batches gives the exact expectation of an estimator.
TABLES = st.lists(
    st.sampled_from(list(itertools.product(range(3), range(2)))), min_size=6, max_size=6
)
SCORES = arrays(float, (3, 2), elements=st.floats(-4, 4))


def _distribution(pairs):
    joint = np.zeros((3, 2))
    for x, u in pairs:
        joint[x, u] += 1 / 6
    return joint


def _batches(pairs, table, K):
    """table[x_i, u_j] for every way to draw K pairs, shape (6^K, K, K)."""
    drawn = np.array(list(itertools.product(pairs, repeat=K)))
    return table[drawn[:, :, None, 0], drawn[:, None, :, 1]]


@settings(max_examples=60)
@given(pairs=TABLES, scores=SCORES)
def test_lower_bounds_lie_below_whatever_the_scores(pairs, scores):
    joint = _distribution(pairs)
    information = reference.mutual_information_by_sums(joint)
    x, u = np.array(pairs).T
    dv = donsker_varadhan(scores[x, u], scores[x[:, None], u].ravel(), bounds=(-4, 4))
    assert dv.value <= information + 1e-12
    for K in (2, 3):
        nce = infonce(_batches(pairs, scores, K))
        assert nce.value <= min(information, np.log2(K)) + 1e-12
    decoder = np.exp2(scores) / np.exp2(scores).sum(axis=0)
    px = joint.sum(axis=1)
    ratios = np.log(decoder[x, u] / px[x])
    assert decoder_information(ratios).value <= information + 1e-12


@settings(max_examples=60)
@given(pairs=TABLES, prior=st.floats(0.01, 0.99))
def test_upper_bounds_lie_above_whatever_the_prior(pairs, prior):
    joint = _distribution(pairs)
    information = reference.mutual_information_by_sums(joint)
    x, u = np.array(pairs).T
    q = np.array([prior, 1 - prior])
    channel = joint / np.where(joint.sum(axis=1) > 0, joint.sum(axis=1), 1)[:, None]
    found = channel_information(channel[x], q)
    pu = joint.sum(axis=0)
    divergence = sum(p * np.log2(p / w) for p, w in zip(pu, q, strict=True) if p > 0)
    # The excess over the information is exactly the divergence of the prior.
    assert found.value == pytest.approx(information + divergence, abs=1e-10)
    noisy = np.log2(0.9 * channel + 0.05)
    pairs_of_noisy = [(a, b) for a, _ in pairs for b in (0, 1)]
    weights = [np.exp2(noisy[a, b]) / 6 for a, b in pairs_of_noisy]
    distribution = np.zeros((3, 2))
    for (a, b), weight in zip(pairs_of_noisy, weights, strict=True):
        distribution[a, b] += weight
    expected = 0.0
    for (i, j), (k, _) in itertools.product(zip(x, u, strict=True), zip(x, u, strict=True)):
        del j
        for b in (0, 1):
            expected += np.exp2(noisy[i, b]) / 36 * (noisy[i, b] - noisy[k, b])
    assert expected >= reference.mutual_information_by_sums(distribution) - 1e-12


@settings(max_examples=40)
@given(table=arrays(float, (2, 4, 4), elements=st.floats(-5, 0)))
def test_batched_estimates_equal_their_sums(table):
    K = 4
    nce = []
    for batch in table:
        for i in range(K):
            everyone = [np.exp(batch[i, j]) for j in range(K)]
            nce.append(np.log2(np.exp(batch[i, i]) / np.mean(everyone)))
    assert infonce(table).value == pytest.approx(np.mean(nce), abs=1e-10)


JOINT = np.array([[0.30, 0.05], [0.05, 0.25], [0.15, 0.20]])


def _draw(generator, N, joint=JOINT):
    return np.divmod(generator.choice(6, size=N, p=joint.ravel()), 2)


def _estimates(generator, N):
    """Each estimator on fresh samples, beside the number its interval is for."""
    x, u = _draw(generator, N)
    information = reference.mutual_information_by_sums(JOINT)
    px, pu = JOINT.sum(axis=1), JOINT.sum(axis=0)
    scores = np.array([[0.9, -1.2], [-1.5, 0.8], [-0.2, 0.3]])
    decoder = np.exp2(scores) / np.exp2(scores).sum(axis=0)
    ratios = np.log(decoder / px[:, None])
    reach = (ratios.min(), ratios.max())
    mean_ratio = (JOINT * ratios).sum() / np.log(2)
    yield decoder_information(ratios[x, u], bounds=reach, confidence=0.8), mean_ratio
    yield decoder_information(ratios[x, u], confidence=0.8), mean_ratio
    y, v = _draw(generator, 2 * N)
    dv = ((JOINT * scores).sum() - np.log(px @ np.exp(scores) @ pu)) / np.log(2)
    yield (
        donsker_varadhan(scores[x, u], scores[y[::2], v[1::2]], bounds=(-1.5, 0.9), confidence=0.8),
        dv,
    )
    channel = JOINT / px[:, None]
    yield (
        channel_information(channel[x], [0.6, 0.4], confidence=0.8),
        information + (pu * np.log2(pu / [0.6, 0.4])).sum(),
    )
    table = np.zeros((3, 2))
    np.add.at(table, (x, u), 1)
    yield plug_in_information(table, confidence=0.8), information


def test_intervals_cover():
    generator = np.random.default_rng(0)
    sets = 150
    missed, width = np.zeros(5), np.zeros(5)
    for _ in range(sets):
        for i, (found, truth) in enumerate(_estimates(generator, 400)):
            assert found.lower <= found.value <= found.upper
            missed[i] += not found.lower <= truth <= found.upper
            width[i] += (found.upper - found.lower) / sets
    # Proved at 80 %: 60 or more misses of 150 have a probability below 1e-7.
    proved = [0, 2, 3]
    assert (missed[proved] < 60).all()
    # Asymptotic at 80 %, 30 expected: within 5.5 standard deviations on both sides.
    assert (np.abs(missed[[1, 4]] - 30) < 5.5 * np.sqrt(150 * 0.16)).all()
    # And no wider than Bernstein's inequality has to be, four times the normal interval here.
    assert width[0] < 4.5 * width[1]


def _bernstein(terms, low, high, risk):
    """Maurer and Pontil's half width, each side with half of the risk."""
    log_term, N = np.log(4 / risk), len(terms)
    spread = np.sqrt(2 * terms.var(ddof=1) * log_term / N)
    return spread + (high - low) * 7 * log_term / (3 * (N - 1))


def test_ends_of_proved_intervals():
    generator = np.random.default_rng(4)
    t, other = generator.uniform(-2, 1, 500), generator.uniform(-2, 1, 400)
    found = decoder_information(t, bounds=(-2, 1), confidence=0.9)
    half = _bernstein(t, -2, 1, 0.1)
    assert found.proved
    ends = np.array([t.mean() - half, t.mean() + half]) / np.log(2)
    np.testing.assert_allclose([found.lower, found.upper], ends, rtol=1e-12, atol=0)
    # Two means, each with half of the risk.
    found = donsker_varadhan(t, other, bounds=(-2, 1), confidence=0.9)
    half, power = _bernstein(t, -2, 1, 0.05), np.exp(other)
    wide = _bernstein(power, np.exp(-2), np.exp(1), 0.05)
    ends = np.array([t.mean() - half, t.mean(), t.mean() + half])
    ends -= np.log([power.mean() + wide, power.mean(), power.mean() - wide])
    np.testing.assert_allclose(
        [found.lower, found.value, found.upper], ends / np.log(2), rtol=0, atol=1e-12
    )
    # The range of an InfoNCE term ends at log2 K.
    scores = generator.uniform(-2, 1, (300, 2, 2))
    plain, proved = infonce(scores), infonce(scores, bounds=(-2, 1), confidence=0.9)
    assert proved.value == plain.value
    assert not plain.proved
    own = scores[:, [0, 1], [0, 1]] - np.log(np.exp(scores).mean(axis=2))
    half = _bernstein(own.mean(axis=1), -3, np.log(2), 0.1) / np.log(2)
    assert proved.value - proved.lower == pytest.approx(half, rel=1e-9, abs=0)


def test_scores_are_in_nats():
    # A Gaussian pair of correlation .9 has 1.198 bits, .830 nats: the optimal critic is in nats.
    generator, rho, N = np.random.default_rng(11), 0.9, 1 << 18
    x, noise = generator.standard_normal((2, N))
    y = rho * x + np.sqrt(1 - rho**2) * noise
    density = -0.5 * np.log(1 - rho**2) + (
        (2 * rho * x * y - rho**2 * (x**2 + y**2)) / (2 * (1 - rho**2))
    )
    found = decoder_information(density, confidence=1 - 1e-7)
    truth = -0.5 * np.log2(1 - rho**2)
    assert found.lower <= truth <= found.upper
    assert found.upper - found.lower < 0.03


def test_plug_in_and_its_correction():
    table = np.array([[30, 5], [5, 25], [15, 20.0]])
    found = plug_in_information(table)
    plain = reference.mutual_information_by_sums(table / 100)
    assert found.value == pytest.approx(plain - (6 - 3 - 2 + 1) / (200 * np.log(2)), abs=1e-12)
    density = np.log2(
        table * 100 / (table.sum(axis=1, keepdims=True) * table.sum(axis=0, keepdims=True))
    )
    spread = np.sqrt(np.cov(density.ravel(), aweights=table.ravel(), ddof=0) / 100)
    assert (found.upper - found.lower) / 2 == pytest.approx(1.959963985 * spread, rel=1e-8, abs=0)
    assert (found.side, found.proved) == ("both", False)
    # Only what was seen counts: a letter without samples changes nothing.
    wider = plug_in_information(np.pad(table, ((0, 1), (0, 0))))
    assert wider.value == pytest.approx(float(found.value), abs=1e-12)
    assert plug_in_information(np.ones((2, 2))).value == 0.0


def test_ranges_that_follow_from_the_arguments_are_not_called_bounds_of_the_caller():
    """Of a rare codeword a divergence may be 691 nats, and a term of InfoNCE spans more than the scores do."""
    channel, prior = np.array([[0.3, 0.7], [1.0, 0.0]]), np.array([1e-300, 1.0])
    found = channel_information(channel, prior)
    terms = np.array([0.3 * np.log2(0.3 / 1e-300) + 0.7 * np.log2(0.7), np.log2(1e300)])
    assert float(found.value) == pytest.approx(terms.mean(), rel=1e-12)
    assert float(found.lower) <= terms.mean() <= float(found.upper)
    scores = 689.0 * np.broadcast_to(np.eye(10), (3, 10, 10))
    nearly = infonce(scores, bounds=(0, 689))
    assert float(nearly.value) == pytest.approx(np.log2(10), rel=1e-12)


@pytest.mark.parametrize(
    ("function", "arguments", "options", "message"),
    [
        (decoder_information, ([1.0],), {}, "log_ratios must hold at least two"),
        (
            decoder_information,
            ([1.0, -np.inf],),
            {},
            r"log_ratios must lie in \[-1e\+100, 1e\+100\], got -inf at index 1",
        ),
        (decoder_information, ([1.0, 3.0],), {"bounds": (0, 2)}, r"log_ratios must lie in .*3"),
        (decoder_information, ([1.0, 3.0],), {"bounds": (2, 2)}, "bounds must be "),
        (decoder_information, ([1.0, 3.0],), {"bounds": (0, 691)}, "bounds must be .*690 nats"),
        (decoder_information, ([1.0, 3.0],), {"confidence": 0.0}, "confidence must lie in"),
        (donsker_varadhan, ([1.0, 1.0], [5.0, 0.0]), {"bounds": (0, 2)}, "product_scores must lie"),
        (infonce, (np.zeros((1, 2, 2)),), {}, r"scores must have shape \(B, K, K\)"),
        (infonce, (np.zeros((3, 1, 1)),), {}, r"scores must have shape \(B, K, K\)"),
        (channel_information, ([[0.5, 0.6]] * 2, [0.5, 0.5]), {}, "channel must have rows that"),
        (channel_information, ([[0.5, 0.5]] * 2, [1.0, 0.0]), {}, "prior must be positive"),
        (channel_information, ([[1.0]] * 2, [0.5, 0.5]), {}, "channel must have 2 columns"),
        (infonce, (np.zeros((2, 2, 3)),), {}, r"scores must have shape \(B, K, K\)"),
        (plug_in_information, ([[0.5, 2.0]],), {}, "counts must be integers"),
    ],
)
def test_bad_inputs(function, arguments, options, message):
    with pytest.raises(ValueError, match=message):
        function(*arguments, **options)
