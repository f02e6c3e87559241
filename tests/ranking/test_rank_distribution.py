"""C1: the rank distribution against explicit sums and direct simulation; C4: no score beats the converse."""

import jax
import numpy as np
import pytest
import reference
import scipy.special
import scipy.stats
import strategies
from hypothesis import given
from hypothesis import strategies as st
from reference import RHO

from rdsim import limits, ranking, simulation, sources

losses = pytest.mark.parametrize("loss", RHO, ids=str)
NODES, WEIGHTS = np.polynomial.legendre.leggauss(200)


def _normal(p):
    """Without subnormal numbers, on which SciPy's binomial overflows."""
    return 0.0 if p < 1e-300 else min(p, 1)


def _explicit(a, e, M, loss):
    """Average over the tie-break and sum over all ranks, as the claim reads."""
    ranks = np.arange(1, M + 1)
    shares, weights = ((NODES + 1) / 2, WEIGHTS / 2) if e > 0 else (np.zeros(1), np.ones(1))
    return sum(
        weight
        * np.sum(RHO[loss](ranks) * scipy.stats.binom.pmf(ranks - 1, M - 1, _normal(a + v * e)))
        for v, weight in zip(shares, weights, strict=True)
    )


def _log(x):
    with np.errstate(divide="ignore"):
        return np.log(x)


@given(
    st.sampled_from(list(RHO)),
    st.sampled_from([2, 3, 10, 64, 200]),
    strategies.probabilities(),
    strategies.probabilities(),
)
def test_C1_equals_the_explicit_sum_over_ranks(loss, M, a, share):
    e = share * (1 - a)
    found = float(ranking.expected_loss(np.log2(M), loss, log_a=_log(a), log_e=_log(e)))
    assert found == pytest.approx(_explicit(a, e, M, loss), rel=1e-9, abs=1e-12)


@losses
@pytest.mark.parametrize(("a", "e"), [(0.0, 1.0), (1.0, 0.0), (0.5, 0.5), (0.0, 0.0), (1e-9, 1e-9)])
def test_C1_corners(loss, a, e):
    for M in (2, 7, 40):
        found = float(ranking.expected_loss(np.log2(M), loss, log_a=_log(a), log_e=_log(e)))
        assert found == pytest.approx(_explicit(a, e, M, loss), rel=1e-9, abs=1e-13)


@losses
def test_C1_a_competitor_all_but_certain_to_win(loss):
    """ln a is below zero by less than a can tell: a is one."""
    for log_a in (-1e-17, -1e-300, 0.0):
        found = ranking.expected_loss([3.0, 400.0], loss, log_a=log_a, log_e=-np.inf)
        certain = ranking.expected_loss([3.0, 400.0], loss, log_a=0.0, log_e=-np.inf)
        np.testing.assert_array_equal(found, certain)


@losses
def test_C1_small_losses_keep_their_relative_accuracy(loss):
    """For p far below 1/M the loss is linear: (M-1) p rho(2), or its K-th power at a cutoff K."""
    M, a, e = 16.0, 1e-30, 2e-30
    found = float(ranking.expected_loss(np.log2(M), loss, log_a=np.log(a), log_e=np.log(e)))
    if loss == ("miss", 3):
        mean_cube = ((a + e) ** 4 - a**4) / (4 * e)
        assert found == pytest.approx(455 * mean_cube, rel=1e-9, abs=0)
    else:
        assert found == pytest.approx(15 * (a + e / 2) * RHO[loss](2.0), rel=1e-9, abs=0)


@losses
def test_C1_depends_on_m_times_p_alone_in_huge_databases(loss):
    reach = [40.0, 400.0, 1000.0]
    found = [
        float(
            ranking.expected_loss(
                s, loss, log_a=np.log(3) - s * np.log(2), log_e=np.log(2) - s * np.log(2)
            )
        )
        for s in reach
    ]
    np.testing.assert_allclose(found, found[-1], rtol=1e-10)


def test_C1_reference_values():
    for M, p, mrr in ((10, 0.1, 0.651321560), (1000, 0.001, 0.632304575)):
        loss = ranking.expected_loss(np.log2(M), "reciprocal_rank", log_a=np.log(p), log_e=-np.inf)
        assert 1 - loss == pytest.approx(mrr, abs=1e-9)


@losses
def test_C1_monotone_in_the_size_of_the_database(loss):
    sizes = np.linspace(1, 1000, 300)
    found = np.asarray(ranking.expected_loss(sizes, loss, log_a=np.log(1e-9), log_e=np.log(1e-10)))
    assert np.all(np.diff(found) >= -1e-14)
    assert found[0] < 1e-8
    assert found[-1] > 0.99


@losses
def test_C1_agrees_with_simulated_databases_with_ties(loss):
    """Intervals of 1 - 5e-8 each, 12 in all: a false alarm has probability below 6e-7."""
    source = sources.discrete(np.array([[0.3, 0.1, 0.05], [0.05, 0.2, 0.1], [0.0, 0.1, 0.1]]))
    scores = np.array([[2.0, 1.0, 1.0], [0.0, 1.0, 1.0], [0.0, 3.0, 3.0]])
    for number, M in enumerate((2, 5, 40)):
        keys = jax.random.split(jax.random.fold_in(jax.random.key(7), number), 8000)

        def trial(key, M=M):
            draw_key, tie_key = jax.random.split(key)
            x, y = source.sample(draw_key, (M,))
            return ranking.rank(tie_key, jax.numpy.asarray(scores)[x[0], y], 0)

        ranks = simulation.SimulatedRanks(ranks=jax.vmap(trial)(keys))
        exact = ranking.scored_loss(source.joint, np.log2(M), loss, scores=scores)
        assert ranks.estimate(loss, confidence=1 - 5e-8).covers(exact)


@given(strategies.joint_pmfs((3, 4)), strategies.scores((3, 4)), st.sampled_from(list(RHO)))
def test_C1_scored_loss_equals_loops_over_letters_and_ranks(joint, scores, loss):
    M, competitor = 10, joint.sum(axis=0)
    expected = 0.0
    for (x, u), mass in np.ndenumerate(joint):
        a = sum(competitor[v] for v in range(4) if scores[x, v] > scores[x, u])
        e = sum(competitor[v] for v in range(4) if scores[x, v] == scores[x, u])
        expected += mass * _explicit(a, e, M, loss) if mass > 0 else 0.0
    found = float(ranking.scored_loss(joint, np.log2(M), loss, scores=scores))
    assert found == pytest.approx(expected, rel=1e-8, abs=1e-12)


@given(
    strategies.joint_pmfs((3, 4)),
    strategies.channels((4, 3)),
    strategies.scores((3, 3)),
    st.sampled_from(list(RHO)),
    st.sampled_from([1.0, 3.0, 10.0, 60.0]),
)
def test_C4_no_score_of_a_random_code_beats_the_rank_converse(joint, channel, scores, loss, size):
    through = joint @ channel
    through /= through.sum()
    information = reference.mutual_information_by_sums(through)
    for used in (None, scores):
        value = float(ranking.scored_loss(through, size, loss, scores=used))
        needed = limits.rank_rate(size, loss, distortion=min(value, 1.0)).lower
        assert needed <= information + 1e-9


def test_C4_is_tight_when_the_description_is_the_target():
    """Query and description share one of M equally likely names: rate log2 M, no errors but ties."""
    M = 16
    loss = float(ranking.scored_loss(np.eye(M) / M, 4.0, "error"))
    assert limits.rank_rate(4.0, "error", distortion=loss).upper < 4.0
    perfect = limits.rank_rate(4.0, "error", distortion=0.0).value
    assert perfect == pytest.approx(reference.mutual_information_by_sums(np.eye(M) / M))


@given(strategies.joint_pmfs((3, 4)), strategies.scores((3, 4)), st.sampled_from([1.0, 4.0, 30.0]))
def test_C1_information_density_is_the_best_score(joint, scores, size):
    for loss in ("error", "reciprocal_rank"):
        best = float(ranking.scored_loss(joint, size, loss))
        assert best <= float(ranking.scored_loss(joint, size, loss, scores=scores)) + 1e-12


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: ranking.expected_loss(4, "error", log_a=0.1, log_e=-1.0), "log_a must lie in"),
        (lambda: ranking.expected_loss(4, "error", log_a=-0.1, log_e=-0.1), "a \\+ e = "),
        (
            lambda: ranking.expected_loss(4, "error", log_a=np.nan, log_e=-0.1),
            "log_a must not contain NaN",
        ),
        (
            lambda: ranking.expected_loss(0, "error", log_a=-1.0, log_e=-1.0),
            "log2_size must lie in",
        ),
        (lambda: ranking.expected_loss(4, "recall", log_a=-1.0, log_e=-1.0), "loss must be"),
        (lambda: ranking.scored_loss([[0.5, 0.4]], 4, "error"), "joint must sum to one"),
        (
            lambda: ranking.scored_loss([[0.5, 0.5]], 4, "error", scores=[[1.0]]),
            "scores must have",
        ),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize("K", [2, 3, 40])
def test_C1_the_miss_over_ties_is_its_tail_averaged_by_many_nodes(K):
    """SciPy's binomial tail at 200 nodes of ln p, in intervals short and long, to relative accuracy."""
    M = 1000
    for a in (1e-9, 0.3 * K / M, K / M, 3 * K / M):
        for ratio in (1e-6, 0.01, 0.3, 5.0):
            u = np.log1p(ratio) * (NODES + 1) / 2
            tail = scipy.stats.binom.sf(K - 1, M - 1, a * np.exp(u))
            mean = np.sum(WEIGHTS / 2 * np.exp(u) * tail) * np.log1p(ratio) / ratio
            found = ranking.expected_loss(
                np.log2(M), ("miss", K), log_a=np.log(a), log_e=np.log(a * ratio)
            )
            assert found == pytest.approx(mean, rel=1e-10, abs=1e-290)


def test_C1_the_discounted_gain_among_many_winners():
    """DCG against explicit sums, on both sides of the cut at 45 expected winners, to 1e-12 of itself.

    Over long intervals of ties the sum is that of the cumulative loss, over short ones it is taken at nodes.
    """
    places, expected = [], []
    for M in (3, 64, 91, 1000, 20_000):
        rho = RHO["dcg"](np.arange(1, M + 1))
        cumulative = np.concatenate([[0.0], np.cumsum(rho)])
        for a in (1e-9, 0.3, 0.6, 2 / M, 43 / M, 46 / M, 600 / M):
            for e in (0.0, 1e-7 * a, 0.05 * a, 0.5 * a, 5 * a):
                if a + e > 1:
                    continue
                if e < 0.1 * a:
                    rule = np.polynomial.legendre.leggauss(6) if e > 0 else (np.zeros(1), [2.0])
                    shares = a + e * (rule[0] + 1) / 2
                    tails = scipy.stats.binom.pmf(np.arange(M), M - 1, shares[:, None]) @ rho
                    value = tails @ rule[1] / 2
                else:
                    ends = scipy.stats.binom.pmf(np.arange(M + 1), M, [[a], [a + e]]) @ cumulative
                    value = (ends[1] - ends[0]) / (M * e)
                places.append((np.log2(M), np.log(a), _log(e)))
                expected.append(value)
    size, log_a, log_e = np.array(places).T
    found = ranking.expected_loss(size, "dcg", log_a=log_a, log_e=log_e)
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=0)


def test_C1_the_discounted_gain_is_a_logarithmic_integral_in_huge_databases():
    """With e^40 winners and more the mean gain is that of ln 2 / ln z; also where M p leaves float64."""
    log2_size, log_a = np.array([100.0, 900.0, 5000.0]), -20.0
    u = log2_size * np.log(2) + log_a
    found = ranking.expected_loss(log2_size, "dcg", log_a=log_a, log_e=-np.inf)
    np.testing.assert_allclose(found, 1 - np.log(2) / u, rtol=1e-13, atol=0)
    u = u[:2]  # beyond, the logarithmic integral is no float
    integral = scipy.special.expi(u + 1) - scipy.special.expi(u)
    mean = np.log(2) * integral / (np.exp(u + 1) - np.exp(u))
    log_e = log_a + np.log(np.e - 1)
    found = ranking.expected_loss(log2_size[:2], "dcg", log_a=log_a, log_e=log_e)
    np.testing.assert_allclose(found, 1 - mean, rtol=1e-13, atol=0)


@losses
def test_C1_few_targets_compile_nothing_and_have_the_loss_that_a_program_finds(loss, caplog):
    size = np.array([1.0, 3.0, 10.0, 60.0, 900.0])
    log_a = np.array([-np.inf, -0.7, -5.0, -6.9, -7.0, -30.0, -700.0])[:, None]
    log_e = np.array([-np.inf, -0.7, -4.0, -7.0, -9.0, -40.0, -650.0])[:, None, None]
    ranking.expected_loss(2.0, loss, log_a=-1.0, log_e=-2.0)
    with jax.log_compiles():
        found = ranking.expected_loss(size, loss, log_a=log_a, log_e=log_e)
    assert not [record for record in caplog.records if "XLA compilation" in record.getMessage()]
    compiled = jax.jit(lambda a, e: ranking.expected_loss(size, loss, log_a=a, log_e=e))
    np.testing.assert_allclose(found, compiled(log_a, log_e), rtol=1e-11, atol=1e-300)
