"""Models of given embeddings, and the page that says what they and the measurements say."""

import dataclasses
import html.parser
import math
import re

import jax
import numpy as np
import pytest

from rdsim import limits
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
from rdsim.embeddings.report.rows import size_rows, system_rows, target_rows
from rdsim.embeddings.report.words import SIZES, assumption, cautions, sentences, verdicts
from rdsim.finite_sample import predict_quality
from rdsim.sources import vector_gaussian

KEY = jax.random.key(11)
RHO = 0.95 * np.arange(1, 13) ** -0.3


def planted(count):
    rng = np.random.default_rng(3)
    y = rng.normal(size=(count, len(RHO)))
    return RHO * y + np.sqrt(1 - RHO**2) * rng.normal(size=y.shape), y


@pytest.fixture(scope="module")
def measured():
    x, y = planted(400)
    task = retrieval_task(x.astype(np.float32), y.astype(np.float32))
    return measure_embeddings(
        jax.random.key(5), task, (4, 8, 16, 32, 96), systems=("transform code", "ITQ", "float16")
    )


@pytest.fixture(scope="module")
def report(measured):
    return with_models(KEY, measured)


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


def test_advice_is_of_the_space_in_which_codes_work(report):
    """Vectors as given of an MRR of 0.1, those in the chosen space of 0.9, and codes of 0.2, 0.5 and 0.88 at 4, 8 and 16 bits."""
    given, chosen = report.lines.index("as given"), report.lines.index("canonical")
    value, lower = report.quality.value.copy(), report.kept.lower.copy()
    ratio = report.kept.value.copy()
    value[:, 0], lower[:, 0] = 0.05, 0.05
    value[given, 0], value[chosen, 0] = 0.1, 0.9
    for bits, mrr in ((4, 0.2), (8, 0.5), (16, 0.88)):
        line = next(
            i
            for i, n in enumerate(report.lines)
            if n == "transform code" and report.bits[i] == bits
        )
        value[line, 0] = mrr
    ratio[:, 0] = value[:, 0] / 0.9
    found = dataclasses.replace(
        report,
        reference=chosen,
        quality=dataclasses.replace(report.quality, value=value),
        kept=dataclasses.replace(report.kept, value=ratio, lower=lower),
        models=None,
    )
    said = sentences(found)
    assert said[0].startswith("Uncompressed in the space “canonical”, at ")
    assert "keeps 95% of it is “transform code” at 16 bits" in said[1]
    assert "it has 97.8% of it" in said[1]
    better = (
        "Compare vectors in the space “canonical”, in which they have an MRR of 0.900 uncompressed"
    )
    assert f"{better}, and 0.100 as given." in said[3]
    assert "Store 16 bits per item with “transform code”." in said[3]
    # Less than a hundredth of a bit is not said to be proved.
    poor = dataclasses.replace(found, reference=given)
    poor = dataclasses.replace(poor, quality=dataclasses.replace(found.quality, value=value.copy()))
    assert poor.bits_by_proof(0.95) < 0.5
    none = dataclasses.replace(poor, groups=np.array([1]))
    assert "No number of bits is proved to be too few" in sentences(none)[2]
    assert "nothing proved" in target_rows(none)[1][1]
    lower[given, 0] = 1.1
    asked = dataclasses.replace(found, kept=dataclasses.replace(found.kept, lower=lower))
    assert "Fit codes in the space “as given” too" not in said[3]
    value[given, 0] = 0.95
    asked = dataclasses.replace(asked, quality=dataclasses.replace(found.quality, value=value))
    assert "Fit codes in the space “as given” too" in sentences(asked)[3]


@pytest.mark.parametrize("enough", [True, False])
@pytest.mark.parametrize(
    ("called", "mine"),
    [
        ("yours", "Your code"),
        ("yours (codes.npy)", "Your code “codes.npy”"),
        ("mine", "Your code “mine”"),
    ],
)
@pytest.mark.parametrize(
    ("bits", "mrr", "said"),
    [
        (16, 0.01, "is below "),
        (16, 0.499, "is not below "),
        (1, 0.3, "has fewer bits than every code that was measured."),
    ],
)
def test_ones_own_code_is_held_against_the_best_of_as_few_bits(
    report, bits, mrr, said, enough, called, mine
):
    """Whether or not some code keeps 95 %."""
    own = report.kinds.index("code")
    space, plain = report.lines.index("as given"), report.lines.index("canonical")
    value, size, ratio = report.quality.value.copy(), report.bits.copy(), report.kept.value.copy()
    value[:, 0] = 0.2
    value[own, 0], size[own], ratio[:, 0] = mrr, bits, 1.0 if enough else 0.5
    value[space, 0] = 2 * mrr
    found = dataclasses.replace(
        report,
        reference=plain,
        lines=tuple(called if i == own else name for i, name in enumerate(report.lines)),
        kinds=tuple("yours" if i == own else kind for i, kind in enumerate(report.kinds)),
        spaces=tuple("as given" if i == own else name for i, name in enumerate(report.spaces)),
        bits=size,
        quality=dataclasses.replace(report.quality, value=value),
        kept=dataclasses.replace(report.kept, value=ratio),
    )
    advice = sentences(found)[-1]
    assert (
        f"{mine} ({bits} bits, MRR {mrr:.3f}, which is 50.0% of that of the vectors as given) {said}"
        in advice
    )
    assert ("Keep the vectors" in advice) == (not enough)


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


def test_a_model_of_directions_is_doubted_where_lengths_count(report):
    """From a spread on that moves scores as much as directions do; a model that is doubted is not praised."""
    line, twin = report.models.calibrated_to, report.models.twin(ISOTROPIC)
    least = 1 / math.sqrt(report.item_dimension[line])
    for factor, doubted in ((0.99, False), (1.01, True)):
        spread = np.full(len(report.lines), factor * least)
        found = dataclasses.replace(report, item_length_spread=spread, similarity="L2")
        said = [line for line in verdicts(found) if ISOTROPIC in line]
        assert ("here lengths count: under the similarity L2" in said[0]) == doubted
        assert (f"standard deviation is {factor * least:.0%} of their mean" in said[0]) == doubted
        assert any("No measured code contradicts" in one for one in said) == (not doubted)
        assert (f"in the {twin.name} (doubtful model)" in target_rows(found)[0][2 + 2]) == doubted
        assert "(model)" in target_rows(found)[0][2]


@pytest.mark.parametrize("similarity", ["cosine", "inner product", "L2"])
def test_lengths_and_zeros_that_matter_are_said_in_a_sentence(report, similarity):
    """From the level on that the sentence names, and not below; a cosine has lengths as given alone."""
    plain, cosine = report.reference, similarity == "cosine"
    level = 1 / math.sqrt(report.item_dimension[plain])
    none = {"zero_queries": 0.0, "zero_items": 0.0, "item_norm_spread": 0.0}
    calm = dataclasses.replace(
        report,
        similarity=similarity,
        diagnostics=report.diagnostics | none,
        item_length_spread=np.zeros(len(report.lines)),
    )
    assert cautions(calm) == []
    for factor in (0.99, 1.01):
        spread = factor * level
        found = dataclasses.replace(
            calm,
            diagnostics=calm.diagnostics | {"item_norm_spread": spread if cosine else 0.0},
            item_length_spread=np.full(len(report.lines), 0.0 if cosine else spread),
        )
        said = cautions(found)
        assert len(said) == (factor > 1)
        if said:
            assert f"{spread:.0%} of their mean. From {level:.0%} on" in said[0]
            other = {"cosine": "inner product", "inner product": "long items", "L2": "short items"}
            assert other[similarity] in said[0]
            assert said[0] in found.report()
            assert said[0] in found.page()
    for side in ("queries", "items"):
        zeros = calm.diagnostics | {f"zero_{side}": 0.006}
        said = cautions(dataclasses.replace(calm, diagnostics=zeros))
        assert len(said) == 1
        assert all(f"0.6% of the {side} as given are zero" in one for one in said)
        fewer = calm.diagnostics | {f"zero_{side}": 0.004}
        assert cautions(dataclasses.replace(calm, diagnostics=fewer)) == []


def test_the_bits_of_a_target_are_where_the_lines_pass_it(report):
    twin = report.models.twin(GAUSSIAN)
    for bits, quality in zip(twin.bits[:8:2], twin.code[:8:2, 0], strict=True):
        assert twin.bits_for(quality) == pytest.approx(bits, rel=1e-9, abs=0)
    assert twin.bits_for(1.0) is None
    assert twin.bits_by_converse(twin.converse[1, 0] + 1e-9) == twin.converse_bits[1]
    assert twin.bits_by_converse(0.0) is None


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


def test_C4_the_proved_bits_invert_the_converse(measured):
    k = measured.groups[0]
    np.testing.assert_array_equal(measured.group_shares, [[0.0, 1.0]])
    wanted = 0.95 * measured.values("mrr")[measured.reference]
    rate = measured.bits_by_proof(0.95)
    reached = 1 - float(limits.rank_loss(math.log2(k), "reciprocal_rank", rate=rate).lower)
    assert reached == pytest.approx(wanted, rel=1e-6, abs=0)
    assert measured.bits_by_proof(0.0) == 0.0
    curve = measured.to_xarray().proved_bits.sel(metric="recall@5").values
    assert (np.diff(curve) >= 0).all()
    assert curve[-1] == pytest.approx(math.log2(k / 5), rel=1e-6, abs=0)


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


def test_what_a_prediction_assumes_is_said_in_words(report):
    """Whatever candidate has the largest weight, at its place in the table."""
    sizes = report.models.sizes
    task = first_targets(report, int(sizes.line[0]))
    found = predict_quality(
        task[0],
        "reciprocal_rank",
        competitors=report.database - 1,
        log2_size=20,
        tied=task[1],
    )
    said = [assumption(name) for name in found.candidates]
    assert len(set(said)) == len(said) > 6
    words = " ".join(said)
    assert not re.search("probit|ln p|/M|p <", words + SIZES)
    assert "for queries whose target fewer than 8 of the items beat" in words
    header, rows = size_rows(report)
    assert header[-1] == "what most of the prediction assumes"
    assert [row[-1] for row in rows] == [assumption(name) for name in sizes.method[:, -1]]


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


class _Tags(html.parser.HTMLParser):
    """Every element that is opened is closed, in order."""

    def __init__(self):
        super().__init__()
        self.open, self.seen, self.text, self.links = [], set(), [], []

    def handle_starttag(self, tag, attrs):
        self.seen.add(tag)
        self.links += [value for name, value in attrs if name in ("src", "href", "xlink:href")]
        if tag not in ("meta", "br", "link", "img"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.seen.add(tag)
        self.links += [value for name, value in attrs if name in ("src", "href", "xlink:href")]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "style" not in self.open:
            self.text.append(data)


def test_the_page_holds_the_numbers_and_nothing_from_elsewhere(report):
    text = report.page()
    tags = _Tags()
    tags.feed(text)
    assert tags.open == []
    assert tags.seen.isdisjoint({"script", "link", "img", "iframe", "object", "noscript"})
    assert "http" not in text
    assert "url(" not in re.sub(r"url\(#\w+\)", "", text)
    assert "@import" not in text
    assert tags.links
    assert all(link.startswith("#") and f'id="{link[1:]}"' in text for link in tags.links)
    ids = re.findall(r' id="([^"]+)"', text)
    assert len(ids) == len(set(ids))
    said = " ".join(tags.text)
    for sentence in sentences(report):
        assert sentence in said
    assert f"From {report.log2_groups:.2f} bits on an item can name its group, and no bound" in said
    assert len(sentences(report)) == 4
    for line, name in enumerate(report.lines):
        assert name in said
        for column, _ in enumerate(METRICS):
            assert f"{report.quality.value[line, column]:.3f}" in said
        assert f"{report.kept.value[line, 0]:.1%}" in said
    for row in target_rows(report)[1]:
        assert all(cell in said for cell in row)
    sizes = report.models.sizes
    assert f"{sizes.value[0, -1]:.3f} [{sizes.lower[0, -1]:.3f}" in said
    assert f"{report.models.twins[0].error:+.3f}" in said
    assert text.count("<figure ") == 4
    # One way to write a share and a metric.
    assert not re.search("[0-9] %|mrr|ndcg", said)
    assert [name for name, _ in system_rows(report)[0]][3:8:4] == ["MRR", "nDCG@10"]


def test_a_notebook_shows_the_page_in_a_frame(measured):
    class Frame(html.parser.HTMLParser):
        def handle_starttag(self, tag, attrs):
            self.found = tag, dict(attrs)["srcdoc"]

    frame = Frame()
    frame.feed(measured._repr_html_())
    assert frame.found == ("iframe", measured.page())


def test_the_dataset_holds_the_models(report):
    found = report.to_xarray()
    twin = report.models.twin(GAUSSIAN)
    np.testing.assert_array_equal(found.gaussian_twin_code, twin.code)
    np.testing.assert_array_equal(found.mrr_by_size, report.models.sizes.value)
    assert found.gaussian_twin_code.attrs["assumes"] == twin.assumes
    assert report.models.twin("another") is None


def test_few_items_and_certain_ranks_leave_the_models_out_and_say_so(measured):
    few = with_models(KEY, dataclasses.replace(measured, database=40))
    assert few.models.twins == ()
    assert "Models need 64 items or more; 40 were ranked." in few.report()
    certain = dataclasses.replace(measured.quality, value=np.ones_like(measured.quality.value))
    sure = with_models(KEY, dataclasses.replace(measured, quality=certain))
    assert "does not tell how hard the task is. Hold a larger part out" in sure.report()
