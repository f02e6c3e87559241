"""C31: several relevant items, against enumeration, the metrics of lists, and one target."""

import decimal
import itertools
import math

import numpy as np
import pytest
import scipy.special
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import brentq

from rdsim.limits import rank_loss, rank_loss_several_targets, rank_rate, rank_rate_several_targets
from rdsim.limits.rank_distortion._places import AveragePrecision, log_choose
from rdsim.limits.rank_distortion.several_targets import place_sums
from rdsim.ranking import average_precision, ndcg, precision, recall, reciprocal_rank

ONE_TARGET = {
    "average_precision": "reciprocal_rank",
    "reciprocal_rank": "reciprocal_rank",
    "ndcg": "dcg",
    ("success", 3): ("miss", 3),
    ("recall", 3): ("miss", 3),
}


def loss_of(places, loss):
    """The loss of targets at these places (from 1), from its definition."""
    P, (kind, cutoff) = len(places), (loss, 99) if isinstance(loss, str) else loss
    within = sum(r <= cutoff for r in places)
    if kind == "average_precision":
        return 1 - sum((j + 1) / r for j, r in enumerate(sorted(places))) / P
    if kind == "ndcg":
        gain = sum(1 / math.log2(1 + r) for r in places if r <= cutoff)
        return 1 - gain / sum(1 / math.log2(1 + r) for r in range(1, min(P, cutoff) + 1))
    if kind == "reciprocal_rank":
        return 1 - 1 / min(places)
    return 1 - within / P if kind == "recall" else float(within == 0)


def listed_losses(items, targets, loss):
    """The loss of every set of places."""
    sets = itertools.combinations(range(1, items + 1), targets)
    return np.array([loss_of(places, loss) for places in sets])


def graded_losses(items, gains, cutoff):
    """The loss of every arrangement of gains on places, from the definition of the NDCG."""
    discount = 1 / np.log2(2 + np.arange(items)) * (np.arange(items) < cutoff)
    padded = [*gains, *([0.0] * (items - len(gains)))]
    each = np.array(sorted(set(itertools.permutations(padded))))
    ideal = np.sort(padded)[::-1] @ discount
    return 1 - each @ discount / ideal


def enumerated_rate(losses, D):
    """log2 N less the largest entropy, by a scalar search over the list of all arrangements."""
    size = losses.size
    if losses.mean() <= D:
        return 0.0

    def gibbs(slope):
        log = -slope * losses
        return np.exp(log - scipy.special.logsumexp(log))

    if losses.min() >= D:
        return math.log2(size / np.count_nonzero(losses <= losses.min() + 1e-15))
    slope = brentq(lambda s: gibbs(s) @ losses - D, 0, 1e4, xtol=1e-13, rtol=1e-15)
    p = gibbs(slope)
    return float(np.sum(scipy.special.xlogy(p, p)) / math.log(2) + math.log2(size))


LOSSES = [
    "average_precision",
    "ndcg",
    ("ndcg", 2),
    "reciprocal_rank",
    ("success", 1),
    ("success", 2),
    ("recall", 1),
    ("recall", 3),
]


@pytest.mark.parametrize("loss", LOSSES, ids=str)
@settings(max_examples=10)
@given(items=st.integers(2, 5), data=st.data(), position=st.floats(0.0, 1.0))
def test_C31_the_rate_is_that_of_all_rankings_listed(loss, items, data, position):
    targets = data.draw(st.integers(1, items))
    losses = listed_losses(items, targets, loss)
    D = losses.min() + position * (losses.mean() - losses.min()) * 1.1
    D = min(D, 1.0)
    found = rank_rate_several_targets(math.log2(items), loss, targets=targets, distortion=D)
    slow = enumerated_rate(losses, D)
    assert bool(found.converged)
    # A loss close to the least moves the enumerated rate by its own rounding.
    assert float(found.value) == pytest.approx(slow, rel=0, abs=1e-9)
    assert float(found.lower) <= slow + 1e-9
    back = rank_loss_several_targets(math.log2(items), loss, targets=targets, rate=found.value)
    assert float(back.value) == pytest.approx(min(D, losses.mean()), rel=0, abs=1e-8)


def test_C31_the_losses_are_those_of_the_metrics_of_lists():
    sets = [c for P in range(1, 6) for c in itertools.combinations(range(1, 6), P)]
    masks = np.array([np.isin(np.arange(1, 6), places) for places in sets])
    scores = np.broadcast_to(-np.arange(5.0), masks.shape)
    for loss, metric in {
        "average_precision": average_precision(scores, masks),
        "ndcg": ndcg(scores, masks),
        ("ndcg", 2): ndcg(scores, masks, 2),
        "reciprocal_rank": reciprocal_rank(scores, masks),
        ("recall", 3): recall(scores, masks, 3),
        ("success", 1): precision(scores, masks, 1),
    }.items():
        by_definition = [1 - loss_of(places, loss) for places in sets]
        np.testing.assert_allclose(metric, by_definition, rtol=0, atol=1e-14)


@settings(max_examples=30)
@given(st.integers(3, 20), st.integers(1, 40), st.integers(1, 40), st.floats(0.01, 0.99))
def test_C31_bounds_hold_to_the_last_digit(log2_size, targets, cutoff, part):
    """Success at K has two losses, and its rate is an entropy of integers: in sixty digits it lies within the bounds."""
    M = 2**log2_size
    targets, cutoff = min(targets, M // 2), min(cutoff, M // 2 - 1)
    found, missed = math.comb(M, targets), math.comb(M - cutoff, targets)
    D = part * missed / found
    bounds = rank_rate_several_targets(
        float(log2_size), ("success", cutoff), targets=targets, distortion=D
    )
    back = rank_loss_several_targets(
        float(log2_size), ("success", cutoff), targets=targets, rate=float(bounds.value)
    )

    def exact(loss):
        d, rest = decimal.Decimal(float(loss)), 1 - decimal.Decimal(float(loss))
        nats = decimal.Decimal(found).ln() + d * d.ln() + rest * rest.ln()
        nats -= rest * decimal.Decimal(found - missed).ln() + d * decimal.Decimal(missed).ln()
        return nats / decimal.Decimal(2).ln()

    with decimal.localcontext(prec=60):
        assert decimal.Decimal(float(bounds.lower)) <= exact(D)
        assert exact(D) <= decimal.Decimal(float(bounds.upper))
        # The rate falls with the loss.
        assert exact(back.upper) <= decimal.Decimal(float(bounds.value)) <= exact(back.lower)
    assert float(back.gap) < 1e-9
    assert float(bounds.gap) < 1e-9


def test_C31_the_known_values():
    found = rank_rate_several_targets(
        2.0, "average_precision", targets=2, distortion=[0.1, 0.2, 0.3]
    )
    np.testing.assert_allclose(found.value, [0.9131147, 0.2534747, 0.0067213], rtol=0, atol=5e-8)


@pytest.mark.parametrize("loss", ONE_TARGET, ids=str)
def test_C31_one_target_is_C2(loss):
    D = np.array([0.0, 1e-6, 0.01, 0.2, 0.5, 0.8, 1.0])
    for log2_size in (3.0, 10.0):
        several = rank_rate_several_targets(log2_size, loss, targets=1, distortion=D)
        one = rank_rate(log2_size, ONE_TARGET[loss], distortion=D)
        np.testing.assert_allclose(several.value, one.value, rtol=0, atol=1e-12)
        rates = [0.0, 0.5, 2.0]
        least = rank_loss_several_targets(log2_size, loss, targets=1, rate=rates)
        known = rank_loss(log2_size, ONE_TARGET[loss], rate=rates)
        np.testing.assert_allclose(least.value, known.value, rtol=0, atol=1e-12)


@pytest.mark.parametrize("gains", [[3.0, 1.0], [2.0, 2.0, 0.5], [1.0, 3.0, 2.0]], ids=str)
@pytest.mark.parametrize("cutoff", [1, 2, 5])
def test_C31_gains_of_several_sizes(gains, cutoff):
    losses = graded_losses(5, gains, cutoff)
    D = np.array([0.0, 0.02, 0.2, 0.4]) * losses.mean()
    found = rank_rate_several_targets(
        math.log2(5), ("ndcg", cutoff), targets=len(gains), gains=gains, distortion=D
    )
    slow = [enumerated_rate(losses, one) for one in D]
    np.testing.assert_allclose(found.value, slow, rtol=0, atol=1e-9)
    assert np.all(found.converged)


@settings(max_examples=40)
@given(
    gains=st.lists(st.sampled_from([1.0, 2.0, 3.0, 1e-6, 1e6, 1 + 1e-9]), min_size=1, max_size=4),
    more=st.integers(0, 2),
    cutoff=st.integers(1, 6),
    power=st.floats(-3.0, 12.0),
)
def test_C31_sums_over_gains_hold_at_every_slope(gains, more, cutoff, power):
    """At a large slope ln t of each gain is far from those of the others: from equal ones all weights underflowed."""
    items, slope = max(len(gains) + more, 2), 10.0**power
    losses = graded_losses(items, gains, cutoff)
    log_Z, mean = place_sums(math.log2(items), ("ndcg", cutoff), len(gains), gains).at(slope)
    exponent = -slope * losses
    wanted = scipy.special.logsumexp(exponent) - math.log(losses.size)
    assert log_Z == pytest.approx(wanted, rel=1e-14, abs=1e-12 + 1e-14 * slope)
    weight = scipy.special.softmax(exponent)
    # A loss is known to some 1e-16, which a large slope multiplies in the weights.
    assert mean == pytest.approx(float(weight @ losses), abs=1e-14)


@pytest.mark.parametrize("gains", [[3.0, 2.0, 1.0], [1.0, 2.0, 1e-6], [1.0, 1e-3, 1e-9]], ids=str)
@pytest.mark.parametrize("part", [0.9, 0.99, 0.9999])
def test_C31_bounds_at_nearly_all_bits_are_those_of_all_arrangements(gains, part):
    losses = graded_losses(5, gains, 5)
    rate = part * math.log2(losses.size)

    def gibbs(log_slope):
        return scipy.special.softmax(-math.exp(log_slope) * losses)

    def missing(log_slope):
        return math.log2(losses.size) - scipy.stats.entropy(gibbs(log_slope), base=2) - rate

    wanted = float(gibbs(brentq(missing, -5.0, 35.0, xtol=1e-13)) @ losses)
    found = rank_loss_several_targets(
        math.log2(5), "ndcg", targets=len(gains), rate=rate, gains=gains
    )
    assert float(found.lower) <= wanted + 1e-15
    assert float(found.upper) >= wanted - 1e-15
    assert float(found.gap) <= 1e-9


def test_C31_the_recursion_meets_the_sum_over_first_places():
    """With one target the average precision is the reciprocal rank: two ways to the same sums."""
    levels = place_sums(9.0, "average_precision", 1, None)
    for slope in (0.0, 0.3, 5.0, 200.0, 3000.0):
        walked = AveragePrecision(1, 512, log_choose(512.0, 1)).at(slope)
        np.testing.assert_allclose(walked, levels.at(slope), rtol=0, atol=1e-11)


@pytest.mark.parametrize("loss", ["average_precision", "ndcg", ("ndcg", 40)], ids=str)
def test_C31_the_mean_loss_is_the_derivative_of_the_partition_function(loss):
    sums = place_sums(10.0, loss, 12, None)
    for slope in (0.5, 40.0, 2000.0):
        step = 1e-4 * slope
        above, below = sums.at(slope + step)[0], sums.at(slope - step)[0]
        assert sums.at(slope)[1] == pytest.approx((below - above) / (2 * step), rel=1e-5, abs=1e-9)
    random = sums.at(0.0)
    assert random[0] == pytest.approx(0.0, rel=0, abs=1e-11)


def test_C31_the_mean_loss_of_a_random_ranking_is_that_of_drawn_lists():
    """Five standard errors: a false alarm once in 10^6 draws of the key."""
    rng, items, targets = np.random.default_rng(3), 64, 7
    masks = np.argsort(rng.random((4000, items)), axis=1) < targets
    scores = np.broadcast_to(-np.arange(float(items)), masks.shape)
    for loss, metric in (("average_precision", average_precision), ("ndcg", ndcg)):
        drawn = 1 - np.asarray(metric(scores, masks))
        mean = place_sums(6.0, loss, targets, None).at(0.0)[1]
        assert abs(drawn.mean() - mean) < 5 * drawn.std() / math.sqrt(drawn.size)


def test_C31_large_databases():
    """Places beyond the cutoff are counted, not listed: a large M that is listed agrees."""
    D = [0.2, 0.6]
    cut = rank_rate_several_targets(14.0, ("ndcg", 2**14), targets=6, distortion=D)
    whole = rank_rate_several_targets(14.0, "ndcg", targets=6, distortion=D)
    np.testing.assert_allclose(cut.value, whole.value, rtol=0, atol=1e-11)
    huge = rank_rate_several_targets(900.0, ("recall", 40), targets=40, distortion=[0.0, 0.5])
    # All 40 targets first: 900 bits each but for the order among themselves, which does not count.
    assert float(huge.value[0]) == pytest.approx(
        40 * 900 - math.log2(math.factorial(40)), rel=1e-12, abs=0
    )
    assert np.all(huge.gap < 1e-9)


def test_C31_bad_input_is_refused_by_name():
    good = {"log2_size": 4.0, "loss": "ndcg", "targets": 2, "distortion": 0.2}
    for name, value, match in [
        ("loss", "dcg", "loss must be"),
        ("loss", ("ndcg", 0), "loss must be"),
        ("targets", 17, "targets must be at most"),
        ("targets", 0, "targets must be at least 1"),
        ("log2_size", 30.0, "log2_size must keep the places"),
        ("log2_size", 60.0, "log2_size must be at most"),
        ("gains", [1.0, 0.0], "gains must lie in"),
        ("gains", [1.0], "gains must hold one number a target"),
        ("distortion", 1.2, "distortion must lie in"),
    ]:
        with pytest.raises(ValueError, match=match):
            rank_rate_several_targets(**{**good, name: value})
    with pytest.raises(ValueError, match=r"D_min = 0\.5"):
        rank_rate_several_targets(4.0, ("recall", 1), targets=2, distortion=0.4)
    with pytest.raises(ValueError, match="gains are for the loss ndcg"):
        rank_rate_several_targets(
            4.0, "average_precision", targets=2, distortion=0.4, gains=[1.0, 2.0]
        )
