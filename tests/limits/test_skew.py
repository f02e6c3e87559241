"""C19: one code for several targets, the skew penalty, and where claims about kappa break."""

import jax
import numpy as np
import pytest
import reference
import strategies
from hypothesis import given, settings
from hypothesis import strategies as st

from rdsim import limits
from rdsim.limits.rank_distortion.prior import rank_rate_prior
from rdsim.limits.rank_distortion.skew import common_rate, skew_bound

FOUR = np.array([0.4, 0.3, 0.2, 0.1])
UNIFORM = np.full(4, 0.25)
CERTAIN = np.array([1.0, 0.0, 0.0, 0.0])
LOSSES = st.sampled_from(["error", "dcg"])
GRID = np.array([0.02, 0.3, 1.0])


@settings(max_examples=10)
@given(st.lists(strategies.pmfs(4), min_size=3, max_size=3).map(np.stack), LOSSES)
def test_C19_every_step_of_the_chain_holds(priors, loss):
    common = common_rate(priors, loss, distortion=GRID)
    converse = common.converse
    H = np.array([reference.entropy(p) for p in priors])
    rank_entropy = 2.0 - np.asarray(limits.rank_rate(2.0, loss, distortion=GRID).value)
    np.testing.assert_allclose(converse.balanced, H.mean() - rank_entropy, rtol=0, atol=1e-10)
    np.testing.assert_allclose(converse.skew, (H.max() - H.min()) / 3, rtol=0, atol=1e-12)
    np.testing.assert_allclose(
        converse.lower_of_largest, H.max() - rank_entropy, rtol=0, atol=1e-10
    )
    assert np.all(converse.lower <= converse.lower_of_largest + 1e-12)
    assert np.all(converse.lower_of_largest <= common.rate.upper + 1e-11)
    own = np.max([rank_rate_prior(p, loss, distortion=GRID).value for p in priors], axis=0)
    np.testing.assert_allclose(common.rate.value, own, rtol=0, atol=2e-12)
    assert np.all(common.rate.gap <= 1e-11)
    others_equal = np.sort(H)[1] >= H.max() - 1e-12
    if others_equal:
        assert converse.kappa_is_exact
    if np.sort(H)[1] < H.max() - 1e-6:
        assert not converse.kappa_is_exact


@settings(max_examples=10)
@given(st.lists(strategies.pmfs(4), min_size=2, max_size=2).map(np.stack), LOSSES)
def test_C19_two_targets_meet_it_where_both_priors_are_majorised(priors, loss):
    common = common_rate(priors, loss, distortion=GRID)
    assert common.converse.kappa_is_exact
    np.testing.assert_allclose(
        common.converse.lower, common.converse.lower_of_largest, rtol=0, atol=1e-12
    )
    both = np.asarray(common.majorised).all(axis=0)
    excess = np.asarray(common.rate.upper - common.converse.lower)
    assert np.all(excess[both] <= 1e-9)
    # The larger one must be majorised for it, or nearly so.
    larger = np.asarray(common.majorised)[np.argmax([reference.entropy(p) for p in priors])]
    assert np.all(excess >= -1e-11)
    assert not np.any(both & ~np.asarray(common.attained))
    assert not np.any(larger & (excess > 1e-9) & both)


def test_C19_two_targets_by_number():
    D = 0.191846983
    common = common_rate([FOUR, UNIFORM], "reciprocal_rank", distortion=D)
    assert common.majorised.all()
    assert common.attained
    assert common.empirical_kappa == pytest.approx(0.5, abs=1e-9)
    largest = float(limits.rank_rate(2.0, "reciprocal_rank", distortion=D).value)
    assert common.rate.value == pytest.approx(largest, abs=1e-9)
    assert common.converse.skew == pytest.approx((2 - reference.entropy(FOUR)) / 2, abs=1e-12)


def test_C19_majorisation_of_both_is_enough_but_not_needed():
    """A target that is known costs nothing, is never majorised, and spoils no equality."""
    common = common_rate([UNIFORM, CERTAIN], "reciprocal_rank", distortion=0.2)
    np.testing.assert_array_equal(common.majorised, [True, False])
    assert common.attained
    np.testing.assert_allclose(common.converse.lower, common.rate.value, rtol=0, atol=1e-9)


def test_C19_three_targets_lose_exactly_where_two_are_not_the_largest():
    tight = skew_bound([2.0, 2.0, 1.0], 2.0, "error", distortion=0.1)
    loose = skew_bound([2.0, 1.0, 1.0], 2.0, "error", distortion=0.1)
    assert tight.kappa_is_exact
    assert not loose.kappa_is_exact
    np.testing.assert_allclose(loose.lower_of_largest - loose.lower, 1 / 3, rtol=0, atol=1e-12)
    # No kappa above 1/K holds for all entropies: the first is met with equality.
    common = common_rate([UNIFORM, UNIFORM, FOUR], "error", distortion=0.05)
    assert common.empirical_kappa == pytest.approx(1 / 3, abs=1e-9)


@given(strategies.pmfs(4), strategies.pmfs(4), st.floats(0.0, 1.0))
def test_C19_kappa_of_one_half_holds_at_every_loss(first, second, D):
    common = common_rate([first, second], "reciprocal_rank", distortion=D)
    assert common.rate.upper >= common.converse.lower - 1e-11
    if common.converse.entropy_difference > 1e-3:
        assert common.empirical_kappa >= 0.5 - 1e-8


@given(st.floats(1e-6, 10.0))
def test_C19_no_positive_kappa_survives_a_balanced_term_cut_off_at_zero(kappa):
    """Counterexample at D_max: the rate is zero and the entropy difference is not."""
    D_max = 1 - 1 / 4
    common = common_rate([UNIFORM, FOUR], "error", distortion=D_max)
    assert common.rate.upper <= 1e-12
    mean_of_rates = np.mean(common.rates.value)
    cut_off = max(float(common.converse.balanced), 0.0)
    difference = float(common.converse.entropy_difference)
    assert difference > 0.15
    assert mean_of_rates <= 1e-12
    assert float(common.rate.upper) < max(cut_off, mean_of_rates) + kappa * difference
    # As it stands the balanced term is as negative as kappa = 1/2 needs.
    assert common.converse.lower <= 1e-12


def test_C19_empirical_kappa_rises_from_one_half_where_the_converse_is_loose():
    D = np.array([0.1, 0.19, 0.4])
    common = common_rate([FOUR, CERTAIN], "reciprocal_rank", distortion=D)
    kappa = np.asarray(common.empirical_kappa)
    np.testing.assert_allclose(kappa[:2], 0.5, rtol=0, atol=1e-8)
    assert kappa[-1] > 0.55
    assert np.all(np.diff(kappa) >= -1e-8)


def test_C19_side_information_takes_its_information_off_the_entropies():
    table = np.array([[0.3, 0.1, 0.05, 0.05], [0.02, 0.03, 0.25, 0.2]])
    plain = np.stack([table, np.outer([0.5, 0.5], UNIFORM)])
    D = np.array([0.0, 0.05, 0.1])
    common = common_rate(plain, "error", distortion=D)
    information = [reference.mutual_information_by_sums(joint) for joint in plain]
    H = [reference.entropy(joint.sum(axis=0)) for joint in plain]
    by_numbers = skew_bound(H, 2.0, "error", distortion=D, information=information)
    # Of two targets the bound is the larger's alone: its two terms tell whether both were used.
    np.testing.assert_allclose(by_numbers.balanced, common.converse.balanced, rtol=0, atol=1e-11)
    np.testing.assert_allclose(by_numbers.skew, common.converse.skew, rtol=0, atol=1e-11)
    np.testing.assert_allclose(by_numbers.lower, common.converse.lower, rtol=0, atol=1e-11)
    assert np.all(common.converse.lower_of_largest <= common.rate.upper + 1e-11)
    without = common_rate(plain.sum(axis=1), "error", distortion=D)
    assert np.all(common.converse.balanced < without.converse.balanced - 0.1)
    assert np.all(common.rates.value[0] < without.rates.value[0] - 0.1)


def test_C19_useless_side_information_changes_nothing():
    priors = np.stack([FOUR, UNIFORM])
    joints = np.einsum("kj,z->kzj", priors, [0.25, 0.75])
    D = np.array([0.05, 0.2, 0.3])
    with_it, without = (
        common_rate(joints, "dcg", distortion=D),
        common_rate(priors, "dcg", distortion=D),
    )
    np.testing.assert_allclose(with_it.rates.value, without.rates.value, rtol=0, atol=1e-11)
    np.testing.assert_allclose(with_it.converse.lower, without.converse.lower, rtol=0, atol=1e-11)
    np.testing.assert_array_equal(with_it.majorised, without.majorised)


def test_C19_entropies_alone_serve_databases_of_any_size():
    bound = skew_bound([900.0, 950.0], 1000.0, "reciprocal_rank", distortion=[0.1, 0.5])
    expected = (
        950.0
        - 1000.0
        + np.asarray(limits.rank_rate(1000.0, "reciprocal_rank", distortion=[0.1, 0.5]))
    )
    np.testing.assert_allclose(bound.lower, expected, rtol=0, atol=1e-9)


def test_equal_entropies_have_no_empirical_kappa():
    common = common_rate([FOUR, FOUR[::-1]], "error", distortion=0.1)
    with pytest.raises(ValueError, match="unequal entropies"):
        _ = common.empirical_kappa


def test_results_are_pytrees():
    bound = skew_bound([1.0, 2.0], 2.0, "error", distortion=[0.1, 0.2])
    doubled = jax.tree.map(lambda leaf: 2 * leaf, bound)
    np.testing.assert_allclose(doubled.lower, 2 * bound.lower, rtol=1e-12, atol=0)


@pytest.mark.parametrize(
    ("function", "arguments", "distortion", "message"),
    [
        (common_rate, (FOUR, "error"), 0.1, r"priors must have shape \(K, M\)"),
        (common_rate, ([FOUR, 2 * FOUR], "error"), 0.1, r"priors\[1\] must sum to one"),
        (common_rate, ([FOUR, FOUR], "error"), 1.1, r"distortion must lie in \[0, 1\]"),
        (common_rate, ([[1.0], [1.0]], "error"), 0.1, r"M >= 2, got \(2, 1\)"),
        (skew_bound, ([1.0, 3.0], 2.0, "error"), 0.1, r"entropies must lie in \[0, 2\], got 3"),
        (skew_bound, ([], 2.0, "error"), 0.1, r"entropies must not be empty"),
        (skew_bound, ([1.0], 2.0, "mrr"), 0.1, r"loss must be"),
        (skew_bound, ([1.0], 0.5, "error"), 0.1, r"log2_size must lie in"),
    ],
)
def test_bad_arguments_are_named(function, arguments, distortion, message):
    with pytest.raises(ValueError, match=message):
        function(*arguments, distortion=distortion)


@pytest.mark.parametrize(
    ("information", "message"),
    [
        (-0.1, r"information must lie in \[0, inf\]"),
        ([0.1, 0.2, 0.3], r"information must be a scalar or of shape \(2,\)"),
        (1.5, r"information must not exceed the entropies"),
    ],
)
def test_bad_information_is_named(information, message):
    with pytest.raises(ValueError, match=message):
        skew_bound([1.0, 2.0], 2.0, "error", distortion=0.1, information=information)


def test_float32_is_refused():
    with jax.enable_x64(False), pytest.raises(RuntimeError, match="jax_enable_x64"):
        skew_bound([1.0, 2.0], 2.0, "error", distortion=0.1)
