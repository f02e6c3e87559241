"""Models of real pairs: what they are for planted pairs, and what they say of codes and of other sizes."""

import dataclasses
import math

import jax
import numpy as np
import pytest
from planted_pairs import KEY, RHO, planted

from rdsim.codes import gaussian_test_channel
from rdsim.embeddings import METRICS, measure_embeddings, retrieval_task, with_models
from rdsim.embeddings.models.gaussian import (
    calibrated_correlations,
    few_kinds,
    fitted_correlations,
    held_out_correlations,
    ideal_codes,
)
from rdsim.embeddings.models.isotropic import isotropic_twin
from rdsim.embeddings.models.sizes import sized_lines
from rdsim.embeddings.models.twin import (
    CODE_BITS,
    CODE_LOSSES,
    CONVERSE_BITS,
    GAUSSIAN,
    ISOTROPIC,
    code_metrics,
    converse_about_targets,
    converse_metrics,
    converse_of_each,
    first_targets,
    gains_of,
)
from rdsim.embeddings.report.words import sentences, verdicts
from rdsim.sources import vector_gaussian


def test_C29_the_gaussian_twin_of_a_planted_model_is_its_exact_channel():
    """Ranks by the planted model's own likelihood, in which the twin needs no other scale than one."""
    x, y = planted(1200)
    ratio = RHO / (1 - RHO**2)
    score = (x * ratio) @ y.T - 0.5 * (y**2) @ (RHO * ratio)
    score = score.reshape(3, 400, 1200)[:, :, :400]  # only the first block holds the targets
    ahead = (score[0] > np.diag(score[0])[:, None]).sum(axis=1)
    gain = 1 / (1 + ahead)
    eye = np.eye(len(RHO))
    source = vector_gaussian(eye, eye, np.diag(RHO))
    exact = gaussian_test_channel(
        jax.random.key(1), source, math.log2(400), "reciprocal_rank", queries=4096
    ).loss
    # Queries share the items, which widens this a little; 5.5 deviations miss below 1e-7.
    error = gain.std() / math.sqrt(len(gain))
    assert abs(gain.mean() - (1 - float(exact.value))) < 7 * error

    def quality(correlations):
        planted_source = vector_gaussian(eye, eye, np.diag(correlations))
        found = gaussian_test_channel(
            KEY, planted_source, math.log2(400), "reciprocal_rank", queries=512
        )
        return 1 - float(found.loss.value)

    rho, scale = calibrated_correlations(RHO, quality, target=1 - float(exact.value))
    assert 0.8 < scale < 1.25
    twin = gaussian_test_channel(
        KEY,
        vector_gaussian(eye, eye, np.diag(rho)),
        math.log2(400),
        "reciprocal_rank",
        bits=CODE_BITS[::4],
        queries=512,
        confidence=1 - 1e-7,
    ).loss
    line = gaussian_test_channel(
        jax.random.key(2),
        source,
        math.log2(400),
        "reciprocal_rank",
        bits=CODE_BITS[::4],
        queries=4096,
        confidence=1 - 1e-7,
    ).loss
    assert (np.asarray(twin.lower) < np.asarray(line.upper)).all()
    assert (np.asarray(line.lower) < np.asarray(twin.upper)).all()


def test_C29_codes_of_a_planted_model_stay_below_its_converse(report):
    twin = report.models.twin(GAUSSIAN)
    assert twin.refuted_by(report).size == 0
    code = np.array([kind == "code" for kind in report.kinds])
    for bits, bounds in zip(twin.converse_bits, twin.converse, strict=True):
        for metric, bound in zip(METRICS, bounds, strict=True):
            assert (report.values(metric)[code & (report.bits <= bits)] <= bound).all()
    for code, bound in zip(twin.code.T, twin.converse.T, strict=True):
        drawn = twin.converse_bits >= twin.bits[0]
        found = np.interp(np.log(twin.converse_bits[drawn]), np.log(twin.bits), code)
        assert (found <= bound[drawn]).all()
    best = report.values("mrr")[report.models.calibrated_to]
    assert twin.uncompressed[0] == pytest.approx(best, rel=0, abs=1e-3)
    assert abs(twin.error) < 0.1
    assert (np.diff(twin.code, axis=0) > -1e-9).all()
    # The twin is true here: at unlimited bits it has the other metrics as well.
    measured = report.quality.value[report.models.calibrated_to]
    np.testing.assert_allclose(twin.uncompressed, measured, rtol=0, atol=0.06)


def test_metrics_of_one_target_follow_from_its_rank():
    rank = np.array([1, 2, 4, 7, 10, 11])
    recall = [rank <= k for k in range(1, 11)]
    lost = 1 - np.array([1 / rank, *recall]).astype(float)
    found = code_metrics(lost, lost[1:])
    ndcg = np.where(rank <= 10, 1 / np.log2(1 + rank), 0.0)
    wanted = np.stack([1 / rank, rank <= 1, rank <= 5, rank <= 10, ndcg], axis=1)
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-12)
    bound = converse_metrics(1 - np.stack([found[:, k] for k in range(4)]))
    np.testing.assert_allclose(bound[:, :4], found[:, :4], rtol=0, atol=1e-12)
    assert (bound[:, 4] >= ndcg - 1e-12).all()
    assert (bound[:, 4] <= 1 + 1e-12).all()
    np.testing.assert_allclose(bound[rank > 10, 4], 0.0, rtol=0, atol=1e-12)


def test_C31_metrics_of_several_targets_follow_from_their_ranks():
    rng = np.random.default_rng(0)
    ranks = np.sort([rng.permutation(30)[:3] + 1 for _ in range(400)], axis=1)
    first, k = ranks[:, 0], np.arange(1, 11)
    ideal = (1 / np.log2(1 + np.arange(1, 4))).sum()
    ndcg = np.where(ranks <= 10, 1 / np.log2(1 + ranks), 0.0).sum(axis=1) / ideal
    beyond = (ranks[..., None] > k).mean(axis=(0, 1))
    lost = np.append(1 - (1 / first).mean(), (first[:, None] > k).mean(axis=0))
    gains = gains_of(np.repeat(np.arange(400), 3), np.ones(1200))
    found = code_metrics(lost, beyond, gains.all)
    wanted = [(1 / first).mean(), *((first <= c).mean() for c in (1, 5, 10)), ndcg.mean()]
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-12)
    assert converse_metrics(lost[[0, 1, 5, 10]], gains.best)[4] >= ndcg.mean()
    np.testing.assert_allclose(converse_metrics(np.zeros(4), gains.best), 1.0, rtol=0, atol=1e-12)
    # Of each for itself: a bound of every metric, and one where nothing is lost.
    own = np.append(1 - (1 / ranks).mean(), beyond[[0, 4, 9]])[:, None]
    assert (converse_of_each(own, own, gains)[0] >= np.array(wanted) - 1e-12).all()
    whole = np.zeros((4, 1))
    np.testing.assert_allclose(converse_of_each(whole, whole, gains), 1.0, rtol=0, atol=1e-12)


def test_C29_the_gaussian_twin_of_few_wide_vectors_is_that_of_their_few_canonical_correlations():
    """1,000 pairs of 256 coordinates, of which 24 hidden ones are shared: ordinary CCA of them overfits."""
    rng = np.random.default_rng(0)
    shared, noise, tail = np.arange(1, 25) ** -0.5, 0.15, 0.02
    axes = np.linalg.qr(rng.normal(size=(256, 256)))[0]
    spread = np.sqrt(np.where(np.arange(256) < 24, noise, 0) + tail)
    hidden = np.pad(rng.normal(size=(1000, 24)) * np.sqrt(shared), ((0, 0), (0, 232)))
    x, y = (
        ((hidden + spread * rng.normal(size=hidden.shape)) @ axes).astype(np.float32)
        for _ in range(2)
    )
    systems = ("transform code", "transform code, shared")
    found = measure_embeddings(
        KEY, retrieval_task(x, y), (256,), similarity="inner product", systems=systems
    )
    best = found.values("mrr").max()
    # The 400 queries decide an MRR to 0.017; nearer than five of that without a scale is no accident.
    rho, _, error = fitted_correlations(KEY, found, float(best))
    assert abs(error) < 0.08
    true = shared / (shared + noise + tail)
    twin, exact = (
        ideal_codes(KEY, one, math.log2(found.database), CODE_LOSSES[:1], CODE_BITS[::5]).value
        for one in (rho, true)
    )
    np.testing.assert_allclose(np.asarray(twin), np.asarray(exact), rtol=0, atol=0.08)


def test_a_code_above_a_models_converse_refutes_the_model(report):
    twin = report.models.twin(GAUSSIAN)
    low = dataclasses.replace(twin, converse=np.full(twin.converse.shape, 1e-3))
    models = dataclasses.replace(report.models, twins=(low,))
    found = dataclasses.replace(report, models=models)
    code = np.array([kind == "code" for kind in report.kinds])
    within = code & (report.bits <= low.converse_bits[-1])
    np.testing.assert_array_equal(low.refuted_by(report), np.flatnonzero(within))
    assert "The Gaussian twin is refuted by these data" in verdicts(found)[0]
    assert "The Gaussian twin is refuted by these data" in found.report()
    assert "No measured code contradicts" in report.report()
    assert "a model of these data" in sentences(report)[2]
    moved = dataclasses.replace(report.models, twins=(dataclasses.replace(twin, error=-0.2),))
    far = dataclasses.replace(report, models=moved)
    assert "Do not rely on its lines." in verdicts(far)[0]
    assert "a model of these data" not in sentences(far)[2]


def test_ranks_that_are_nearly_all_first_are_said_to_tell_little(report):
    value = report.quality.value.copy()
    value[report.models.calibrated_to, 0] = 0.97
    saturated = dataclasses.replace(
        report, quality=dataclasses.replace(report.quality, value=value)
    )
    said = [sum("Nearly all targets" in line for line in verdicts(r)) for r in (report, saturated)]
    assert said == [0, 1]


def test_C27_the_isotropic_twin_has_the_dimension_of_the_space_it_is_calibrated_in(report):
    line = report.models.calibrated_to
    said = f"directions of {report.item_dimension[line]:.0f} equal coordinates (the items' effective dimension in the space"
    assert f"{said} “{report.spaces[line]}”)" in report.models.twin(ISOTROPIC).assumes
    wider = report.item_dimension.copy()
    wider[line] = 40.4
    other = isotropic_twin(dataclasses.replace(report, item_dimension=wider), line)
    assert "directions of 40 equal coordinates" in str(other["assumes"])


@pytest.mark.parametrize("least", [0.0, 40.0, 300.0])
def test_bits_that_no_code_of_a_model_needs_are_bounded_to_a_fourth_root_of_two(report, least):
    """Of a model whose converse passes the uncompressed MRR at so many bits; the last is beyond all that were tried."""
    mrr, seen = report.values("mrr")[report.reference], []

    def bound(bits):
        seen.append(bits)
        return np.repeat(np.where(bits < least, 0.5, 1.0)[:, None], len(METRICS), axis=1) * mrr

    bits, converse = converse_about_targets(bound, report)
    assert (np.diff(bits) > 0).all()
    np.testing.assert_array_equal(bits, np.sort(np.concatenate(seen)))
    np.testing.assert_array_equal(bits, np.floor(bits))
    np.testing.assert_array_equal(converse[:, 0] < 0.9 * mrr, bits < least)
    below = bits[bits < least]
    wanted = {0.0: 0.0, 40.0: 38.0, 300.0: 256.0}[least]
    assert below.max(initial=0.0) == wanted
    assert len(bits) - len(CONVERSE_BITS) == {0.0: 0, 40.0: 3, 300.0: 4}[least]
    twin = dataclasses.replace(report.models.twin(GAUSSIAN), converse_bits=bits, converse=converse)
    assert twin.bits_by_converse(0.95 * mrr) == (wanted or None)


def test_C29_kinds_of_coordinates_are_those_of_all_of_them():
    """Four hundred correlations or the few dozen that stand for them: the same losses to 3e-4, at any number of bits."""
    rho = np.clip(0.8 * np.arange(1, 401) ** -0.45, 0.0, 0.99)
    few = few_kinds(rho)
    assert len(np.unique(few)) < 50
    np.testing.assert_allclose(few, rho, rtol=0.06, atol=0)
    told = [-np.log1p(-(c**2)).sum() for c in (few, rho)]
    assert told[0] == pytest.approx(told[1], rel=1e-12, abs=0)
    wanted, found = (
        np.asarray(ideal_codes(KEY, c, 10.0, CODE_LOSSES[:2], np.array([16.0, 128.0, 512.0])).value)
        for c in (rho, few)
    )
    np.testing.assert_allclose(found, wanted, rtol=0, atol=3e-4)


def test_chance_is_taken_from_held_out_correlations():
    rng = np.random.default_rng(0)
    noise = rng.normal(size=200) / math.sqrt(500)
    left = held_out_correlations(noise, 500)
    assert (left > 0).all()
    assert (left**2).sum() < 0.6 * (np.maximum(noise, 0) ** 2).sum()
    strong = held_out_correlations(np.array([0.3, -0.2, 0.9]), 10_000)
    np.testing.assert_allclose(strong, [0.9, 0.3], rtol=0, atol=1e-3)


def test_other_sizes_are_exact_where_they_were_measured(report):
    sizes = report.models.sizes
    here = np.flatnonzero(np.isclose(sizes.log2_size, math.log2(report.database)))
    np.testing.assert_array_equal(sizes.line, sized_lines(report))
    np.testing.assert_allclose(
        sizes.value[:, here[0]], report.values("mrr")[sizes.line], rtol=0, atol=1e-12
    )
    assert (np.diff(sizes.value, axis=1) <= 1e-9).all()
    assert 2.0 ** sizes.log2_size[-1] == pytest.approx(1e9, rel=1e-9, abs=0)
    assert ((sizes.lower <= sizes.value) & (sizes.value <= sizes.upper)).all()


def test_the_best_target_of_a_query_counts(measured):
    several = dataclasses.replace(
        measured,
        query=np.array([0, 0, 1, 2, 2, 2]),
        grade=np.ones(6),
        ahead=np.tile([3, 1, 5, 0, 0, 9], (len(measured.lines), 1)),
        tied=np.tile([1, 2, 1, 2, 2, 1], (len(measured.lines), 1)),
    )
    ahead, tied = first_targets(several, 0)
    np.testing.assert_array_equal(ahead, [1, 5, 0])
    # Of the last query both targets stand at the best score, and none competes with the other.
    np.testing.assert_array_equal(tied, [2, 1, 1])
    few = dataclasses.replace(several, database=6)  # two of them targets of the query
    np.testing.assert_array_equal(first_targets(few, 0), [[1, 4, 0], [2, 1, 1]])


def test_few_items_and_certain_ranks_leave_the_models_out_and_say_so(measured):
    few = with_models(KEY, dataclasses.replace(measured, database=40))
    assert few.models.twins == ()
    assert "Models need 64 items or more; 40 were ranked." in few.report()
    certain = dataclasses.replace(measured.quality, value=np.ones_like(measured.quality.value))
    sure = with_models(KEY, dataclasses.replace(measured, quality=certain))
    assert "does not tell how hard the task is. Hold a larger part out" in sure.report()
