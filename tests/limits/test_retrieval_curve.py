"""C25 and C26: one encoder's optimum and the converse for all, against independent references."""

import itertools
import math

import numpy as np
import pytest
import reference
import scipy.optimize
import strategies
from hypothesis import given, settings
from hypothesis import strategies as st

from rdsim import limits, sources
from rdsim.limits.retrieval.items import _programme
from rdsim.limits.retrieval.items._programme import evaluated
from rdsim.limits.retrieval.items._ranks import classes_of
from rdsim.ranking import expected_loss

RECIPROCAL = "reciprocal_rank"
LOSSES = (RECIPROCAL, "error", "dcg", ("miss", 2))
DSBS = sources.dsbs(0.1)
TERNARY = np.array([[0.2, 0.05, 0.04], [0.03, 0.22, 0.1], [0.06, 0.1, 0.2]])
SLOPES = np.array([0.3, 0.03])
encoders = st.sampled_from(("shared", "joint"))
losses = st.sampled_from(LOSSES)


def rate_and_loss(joint, channel, size, loss):
    """I(U;Y) and the exact loss of one channel for all items, by C1 with ties broken at random."""
    through = joint @ channel
    masses = joint.sum(axis=0)[:, None] * channel
    weight = masses.sum(axis=0)
    used = masses > 0
    product = masses.sum(axis=1, keepdims=True) * weight
    rate = float(np.sum(masses[used] * np.log2(masses[used] / product[used])))
    places = []
    for row in through:
        # Codewords that tie may stand in any order: together they own the same places.
        score = np.where(weight > 0, row / np.where(weight > 0, weight, 1.0), -1.0)
        order = np.argsort(-score)
        before = np.minimum(np.append(0.0, np.cumsum(weight[order])[:-1]), 1.0)
        share = np.minimum(weight[order], 1.0 - before)
        places.append(np.stack([row[order], before, share], axis=1)[row[order] > 0])
    places = np.concatenate(places)
    probability, a, e = np.pad(
        places, ((0, 2 ** math.ceil(math.log2(len(places) + 1024)) - len(places)), (0, 0))
    ).T
    with np.errstate(divide="ignore"):
        lost = expected_loss(np.log2(size), loss, log_a=np.log(a), log_e=np.log(e))
    return rate, float(probability @ np.asarray(lost))


def mixed(joint):
    """A source whose letters all have some mass: most of a drawn one."""
    return 0.98 * joint + 0.02 / joint.size


@st.composite
def small_sources(draw, shapes=((2, 2), (2, 3), (3, 2), (3, 3))):
    joint = draw(strategies.joint_pmfs(draw(st.sampled_from(shapes))))
    return mixed(joint) if draw(st.booleans()) else joint


@pytest.mark.parametrize(
    ("size", "loss", "at", "rate"),
    [
        (4, RECIPROCAL, 0.3713541667, 0.193847),
        (4, RECIPROCAL, 0.4072916667, 0.081759),
        (12, "error", 0.8666917, 0.075985),
        (4, "error", 0.61875, 0.169012),
    ],
)
def test_C26_values_of_the_binary_source(size, loss, at, rate):
    curve = limits.retrieval_curve(
        DSBS, np.log2(size), loss, [0.1], encoder="joint", tolerance=1e-7
    )
    found = curve.rate_at(at)
    assert bool(found.converged)
    np.testing.assert_allclose(found.value, rate, rtol=0, atol=5.1e-7)


def test_C25_C26_values_at_sixteen_items():
    for encoder, value, within in (("joint", 0.264350, 5.1e-7), ("shared", 0.25870, 2e-5)):
        curve = limits.retrieval_curve(DSBS, 4.0, RECIPROCAL, [0.1], encoder=encoder)
        np.testing.assert_allclose(
            1 - curve.loss - 0.1 * curve.rate.value, value, rtol=0, atol=within
        )
        assert float(curve.gap[0]) < 1e-6


def test_C25_a_channel_drawn_anew_beats_time_sharing():
    curve = limits.retrieval_curve(DSBS, 4.0, RECIPROCAL, [0.1])
    erased = np.array([[0.5, 0.0, 0.5], [0.0, 0.5, 0.5]])
    rate, loss = rate_and_loss(np.asarray(DSBS.joint), erased, 16, RECIPROCAL)
    shared = 0.5 * (float(curve.minimum_loss) + float(curve.maximum_loss))
    np.testing.assert_allclose(
        [rate, 1 - loss, 1 - shared], [0.5, 0.2967, 0.2612], rtol=0, atol=5e-5
    )
    assert float(curve.loss_at(0.5).upper) < loss


@settings(max_examples=6)
@given(joint=small_sources(((2, 2), (3, 3))), size=st.sampled_from((2, 3, 5)), loss=losses)
def test_C25_C26_lie_in_order_above_the_rank_converse(joint, size, loss):
    shared, joined = (
        limits.retrieval_curve(joint, np.log2(size), loss, SLOPES, encoder=encoder, tolerance=1e-3)
        for encoder in ("shared", "joint")
    )
    # A converse for all encoders lies below what one encoder does.
    assert np.all(joined.lower(shared.loss) <= shared.rate.upper + 1e-12)
    # The achieved points of C26's programme satisfy C4: the rank rate is at most IB(R).
    for loss_at, rate in zip(np.asarray(joined.loss), np.asarray(joined.rate.upper), strict=True):
        needed = float(limits.rank_rate(np.log2(size), loss, distortion=loss_at).lower)
        relevance = limits.bottleneck_at(joint, rate, compress="columns", tolerance=1e-7)
        assert needed <= float(relevance.upper) + 1e-9


@settings(max_examples=6)
@given(joint=small_sources(), size=st.sampled_from((2, 4, 1000)), loss=losses, encoder=encoders)
def test_C25_C26_certificates_hold_at_every_slope(joint, size, loss, encoder):
    curve = limits.retrieval_curve(
        joint, np.log2(size), loss, SLOPES, encoder=encoder, tolerance=1e-3
    )
    assert np.all(np.asarray(curve.gap) >= 0)
    assert np.all(np.asarray(curve.converged))
    assert np.all(np.asarray(curve.loss) <= curve.maximum_loss + 1e-12)
    if encoder == "shared":
        assert np.all(np.asarray(curve.loss) >= curve.minimum_loss - 1e-9)
    inside = np.maximum(np.asarray(curve.loss), curve.minimum_loss)
    assert np.all(curve.lower(inside) <= curve.upper(inside) + 1e-12)


@settings(max_examples=6)
@given(data=st.data(), joint=small_sources(), size=st.sampled_from((2, 7, 64)), loss=losses)
def test_C25_no_channel_lies_below_the_curve(data, joint, size, loss):
    curve = limits.retrieval_curve(joint, np.log2(size), loss, SLOPES, tolerance=1e-3)
    for codewords in (2, 3, 5):
        channel = data.draw(strategies.channels((joint.shape[1], codewords)))
        rate, achieved = rate_and_loss(joint, channel, size, loss)
        assert float(curve.lower(max(achieved, float(curve.minimum_loss)))) <= rate + 1e-9


@settings(max_examples=6)
@given(
    joint=small_sources(((2, 2), (3, 3))),
    size=st.sampled_from((2, 5, 50)),
    loss=st.sampled_from((RECIPROCAL, "error")),
)
def test_C25_the_channel_has_the_loss_and_the_rate_of_its_point(joint, size, loss):
    curve = limits.retrieval_curve(joint, np.log2(size), loss, [0.05])
    channel = np.asarray(curve.test_channel(0.05))
    np.testing.assert_allclose(channel.sum(axis=1), 1.0, rtol=0, atol=1e-12)
    within = 1e-6
    if len(classes_of(joint[:, joint.sum(axis=0) > 0]).direction) <= 1:
        # A codeword for every cell of quantiles: joining neighbours raises the loss and lowers the rate.
        channel = np.add.reduceat(channel, np.arange(0, channel.shape[1], 32), axis=1)
        within = 3e-4
    rate, achieved = rate_and_loss(joint, channel, size, loss)
    assert rate <= float(curve.rate.upper[0]) + 1e-9
    assert achieved >= float(curve.loss[0]) - 1e-7
    np.testing.assert_allclose(achieved, curve.loss[0], rtol=0, atol=within)
    np.testing.assert_allclose(rate, curve.rate.upper[0], rtol=0, atol=10 * within)


def partitions(count):
    """All partitions of range(count), as labels."""
    labels = [[0]]
    for _ in range(count - 1):
        labels = [[*row, k] for row in labels for k in range(max(row) + 2)]
    return labels


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize(
    ("joint", "size"),
    [
        (np.array([[0.45, 0.05], [0.05, 0.45]]), 2),
        (np.array([[0.45, 0.05], [0.05, 0.45]]), 3),
        (np.array([[0.3, 0.02], [0.1, 0.18], [0.05, 0.35]]), 3),
        (TERNARY, 2),
    ],
)
def test_C26_no_deterministic_joint_encoder_lies_below(joint, size, loss):
    assert joint.shape[1] ** size <= 9, "there are too many partitions to list"
    py, weight = joint.sum(axis=0), reference.reward_of_rank(loss, size)
    databases = np.array(list(itertools.product(range(py.size), repeat=size)))
    mass = py[databases].prod(axis=1)
    likelihood = (joint / py)[:, databases]  # (x, database, item)
    curve = limits.retrieval_curve(
        joint, np.log2(size), loss, np.geomspace(1.0, 1e-3, 12), encoder="joint"
    )
    lost, spent = [], []
    found = partitions(len(databases))
    for labels in found[:: max(len(found) // 4000, 1)]:
        labels = np.array(labels)
        codeword = np.eye(labels.max() + 1)[:, labels] * mass
        probability = codeword.sum(axis=1)
        earned = np.sort(np.einsum("wd,xdi->wxi", codeword, likelihood), axis=2)[:, :, ::-1]
        lost.append(1 - float((earned @ weight).sum()) / size)
        spent.append(-float(probability @ np.log2(probability)) / size)
    excess = spent - np.asarray(curve.lower(np.maximum(lost, curve.minimum_loss)))
    assert np.min(excess) >= -1e-9
    assert np.min(lost) >= float(curve.minimum_loss) - 1e-12
    # Sending nothing lies on the curve, so that the comparison is not empty.
    np.testing.assert_allclose(np.min(excess), 0.0, rtol=0, atol=1e-3)


@pytest.mark.parametrize("loss", [RECIPROCAL, "error"])
@pytest.mark.parametrize("slope", [0.2, 0.05])
def test_C26_linear_programming_over_a_grid_of_posteriors_brackets_it(loss, slope):
    """All joint distributions of a posterior on a grid and the ranks given to it, as a linear programme.

    Every posterior is a mean of the corners of its cell of the grid. Splitting it so earns no less,
    and costs at most the
    largest difference between u ln u and its chords, a step over e for each of three letters.
    """
    size, parts = 3, 24
    weight = reference.reward_of_rank(loss, size)
    py = TERNARY.sum(axis=0)
    grid = np.array([(i, j, parts - i - j) for i in range(parts + 1) for j in range(parts + 1 - i)])
    grid = grid / parts
    divergence = np.sum(
        np.where(grid > 0, grid * np.log(np.where(grid > 0, grid, 1) / py), 0), axis=1
    )
    ranks = np.array(list(itertools.product(range(size), repeat=3)))
    earned = (grid @ (TERNARY / py).T) @ weight[ranks].T  # (posterior, strategy)
    price = slope / np.log(2)
    objective = (earned - price * divergence[:, None]).ravel()
    at, strategy = np.divmod(np.arange(objective.size), len(ranks))
    prescribed = [
        (ranks[strategy, x] == r).astype(float) for x in range(3) for r in range(size - (x > 0))
    ]
    goals = [1 / size] * len(prescribed)
    means = list(grid[at].T)
    found = scipy.optimize.linprog(
        -objective, A_eq=np.array(prescribed + means), b_eq=np.append(goals, py), method="highs"
    )
    assert found.status == 0
    curve = limits.retrieval_curve(
        TERNARY, np.log2(size), loss, [slope], encoder="joint", tolerance=1e-7
    )
    value = 1 - float(curve.loss[0]) - slope * float(curve.rate.upper[0])
    bound = 1 - float(curve.loss[0]) - slope * float(curve.rate.lower[0])
    assert -found.fun <= bound + 1e-8
    assert value <= -found.fun + price * 3 / (parts * math.e) + 1e-8
    # The allowance is generous: the grid is in fact nearly as good.
    np.testing.assert_allclose(-found.fun, value, rtol=0, atol=1e-3 * slope / 0.05)


@pytest.mark.parametrize(("joint", "slope"), [(np.asarray(DSBS.joint), 0.1), (TERNARY, 0.05)])
def test_C25_equals_a_simulation_of_its_channel(joint, slope):
    """Mean reciprocal rank of simulated databases; by Hoeffding false alarms are below 1e-7."""
    size, trials = 5, 40_000
    curve = limits.retrieval_curve(joint, np.log2(size), RECIPROCAL, [slope])
    channel = np.asarray(curve.test_channel(slope))
    random = np.random.default_rng(20)
    cells = random.choice(joint.size, size=(trials, size), p=joint.ravel() / joint.sum())
    x, y = np.divmod(cells, joint.shape[1])
    point = random.random((trials, size))
    u = np.zeros((trials, size), int)
    for letter, row in enumerate(channel):
        ends = np.cumsum(row)
        u[y == letter] = np.searchsorted(ends, point[y == letter] * ends[-1], side="right")
    u = np.minimum(u, channel.shape[1] - 1)
    posterior = joint @ channel / (joint.sum(axis=0) @ channel)
    scores = posterior[x[:, :1], u]
    scores = np.round(scores, 12) + 1e-13 * random.random(scores.shape)
    rank = 1 + (scores[:, 1:] > scores[:, :1]).sum(axis=1)
    within = math.sqrt(math.log(2 / 1e-7) / (2 * trials))
    np.testing.assert_allclose(np.mean(1 / rank), 1 - curve.loss[0], rtol=0, atol=within)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("size", [2, 3])
def test_C26_small_slopes_converge_where_posteriors_forget_letters(size, loss):
    slopes = np.geomspace(1.0, 1e-4, 9)
    curve = limits.retrieval_curve(TERNARY, np.log2(size), loss, slopes, encoder="joint")
    assert np.all(np.asarray(curve.converged))


@pytest.mark.parametrize("slope", [1e-6, 1e-12])
def test_C26_the_steepest_slopes_of_one_class_store_the_letter(slope):
    """Newton's method fails at rewards of 1e12 in units of the multiplier: a channel without a letter is left out."""
    table = np.random.default_rng(1).dirichlet(np.ones(8)).reshape(2, 4)
    curve = limits.retrieval_curve(table, 8.0, RECIPROCAL, [slope], encoder="joint")
    assert curve.loss[0] <= curve.minimum_loss + 1e-12
    assert curve.rate.lower[0] <= curve.rate.upper[0] <= curve.stored_rate + 1e-12
    assert curve.rate.upper[0] >= curve.stored_rate - 0.05


def test_C25_searches_agree_with_each_other():
    curve = limits.retrieval_curve(DSBS, 4.0, RECIPROCAL, [0.1], tolerance=1e-6)
    at = np.array([0.7, 0.72, 0.75])
    rates = curve.rate_at(at)
    assert np.all(np.asarray(rates.converged))
    back = curve.loss_at(rates.value)
    np.testing.assert_allclose(back.value, at, rtol=0, atol=1e-5)
    assert float(curve.rate_at(0.9).value) == 0.0
    assert float(curve.loss_at(5.0).value) == float(curve.minimum_loss)
    with pytest.raises(ValueError, match="items stored whole"):
        curve.rate_at(0.1)


@settings(max_examples=6)
@given(
    joint=small_sources(((2, 2), (3, 3))),
    log2_size=st.sampled_from((60.0, 1000.0)),
    loss=losses,
    encoder=encoders,
)
def test_C25_C26_databases_beyond_any_memory(joint, log2_size, loss, encoder):
    curve = limits.retrieval_curve(joint, log2_size, loss, [0.1], encoder=encoder)
    assert np.all(np.isfinite(np.asarray(curve.rate.value)))
    assert bool(curve.converged[0])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"encoder": "separate"}, "encoder must be one of 'shared', 'joint'"),
        ({"slopes": [0.0]}, "slopes must lie in"),
        ({"log2_size": 0.5}, "log2_size must lie in"),
        ({"loss": "mrr"}, "loss must be"),
        ({"tolerance": 0.0}, "tolerance must lie in"),
        ({"source": np.ones((2, 2))}, "source must sum to one"),
    ],
)
def test_C25_bad_input_is_refused_by_name(change, message):
    arguments = {"source": DSBS, "log2_size": 4.0, "loss": RECIPROCAL, "slopes": [0.1]} | change
    with pytest.raises(ValueError, match=message):
        limits.retrieval_curve(**arguments)


@pytest.mark.parametrize("encoder", ["shared", "joint"])
def test_C25_a_bit_that_is_worth_less_than_the_rewards_are_known_to_is_spent_at_once(
    encoder, monkeypatch
):
    """Nothing is solved where all bits are worth half of that, and the line below holds for the slopes that are."""
    curve = limits.retrieval_curve(TERNARY, 10.0, RECIPROCAL, [0.01, 0.003], encoder=encoder)

    def solved(*_arguments):
        raise AssertionError("a slope was solved that can tell nothing")

    problem = curve.programme()
    whole, _ = evaluated(problem, np.diag(problem.queries.py))
    slope = 0.5 * (_programme.earned_if_stored(problem) - whole + 1e-13) / float(curve.stored_rate)
    monkeypatch.setattr(_programme, "_by_strategies", solved)
    flat = limits.retrieval_curve(TERNARY, 10.0, RECIPROCAL, [slope], encoder=encoder)
    assert flat.rate.upper[0] == pytest.approx(float(flat.stored_rate), rel=1e-12, abs=0)
    assert flat.loss[0] == pytest.approx(1 - whole, rel=0, abs=1e-12)
    assert not bool(flat.rate.converged[0])
    line = flat.rate.lower[0] - (curve.loss - flat.loss[0]) / slope
    assert (line <= curve.rate.lower).all()


def test_C25_the_gap_of_a_tiny_slope_is_what_the_rewards_leave_open():
    slope = 1e-8
    curve = limits.retrieval_curve(TERNARY, 10.0, RECIPROCAL, [slope])
    problem = curve.programme()
    whole, _ = evaluated(problem, np.diag(problem.queries.py))
    told = _programme.earned_if_stored(problem) - whole
    assert 1e-11 < told < 1e-8
    assert float(curve.rate.gap[0]) <= (2 * told + 2e-13) / slope
