"""Models of embeddings whose queries have several targets each, on a planted Gaussian model (C29, C31)."""

import jax
import numpy as np
import pytest
from scipy.stats import hypergeom

from rdsim.embeddings import METRICS, Targets, measure_embeddings, retrieval_task, with_models
from rdsim.embeddings.models.isotropic import code_of_several
from rdsim.embeddings.models.twin import (
    CONVERSE_LOSSES,
    GAUSSIAN,
    ISOTROPIC,
    converse_of_each,
    gains_of,
)
from rdsim.embeddings.quality import query_metrics
from rdsim.embeddings.ranks import TargetRanks
from rdsim.finite_sample import IsotropicTwin
from rdsim.finite_sample.database_size.isotropic_twin import Scores, converse_losses
from rdsim.ranking.loss import parse_loss

RHO = 0.8 * np.arange(1, 13) ** -0.3
CAPTIONS = 3


@pytest.fixture(scope="module")
def report():
    rng = np.random.default_rng(3)
    x = rng.normal(size=(400, len(RHO)))
    noise = rng.normal(size=(CAPTIONS * len(x), len(RHO)))
    y = RHO * np.repeat(x, CAPTIONS, axis=0) + np.sqrt(1 - RHO**2) * noise
    targets = np.arange(len(y)).reshape(len(x), CAPTIONS)
    task = retrieval_task(x.astype(np.float32), y.astype(np.float32), targets)
    measured = measure_embeddings(
        jax.random.key(5), task, (8, 32, 96), systems=("transform code", "ITQ")
    )
    return with_models(jax.random.key(11), measured)


def test_C31_the_gaussian_twin_has_every_metric_of_several_targets(report):
    twin = report.models.twin(GAUSSIAN)
    # The correlations are those of single pairs, and hardly need calibration.
    assert abs(twin.error) < 0.05
    measured = report.quality.value[report.models.calibrated_to]
    np.testing.assert_allclose(twin.uncompressed, measured, rtol=0, atol=0.06)
    assert (np.diff(twin.code, axis=0) > -1e-9).all()


def test_C31_codes_of_several_planted_targets_stay_below_the_converse_of_groups(report):
    twin = report.models.twin(GAUSSIAN)
    assert np.isfinite(twin.converse).all()
    assert twin.refuted_by(report).size == 0
    code = np.array([kind == "code" for kind in report.kinds])
    for bits, bounds in zip(twin.converse_bits, twin.converse, strict=True):
        for metric, bound in zip(METRICS, bounds, strict=True):
            assert (report.values(metric)[code & (report.bits <= bits)] <= bound).all()
    for line, bound in zip(twin.code.T, twin.converse.T, strict=True):
        drawn = twin.converse_bits >= twin.bits[0]
        found = np.interp(np.log(twin.converse_bits[drawn]), np.log(twin.bits), line)
        assert (found <= bound[drawn]).all()


def test_C31_the_isotropic_twin_has_every_metric_of_several_targets(report):
    twin = report.models.twin(ISOTROPIC)
    measured = report.quality.value[report.models.calibrated_to]
    assert twin.uncompressed[0] == pytest.approx(measured[0], abs=1e-9, rel=0)
    np.testing.assert_allclose(twin.uncompressed, measured, rtol=0, atol=0.06)
    assert (np.diff(twin.code, axis=0) > -1e-3).all()  # its quadrature's error
    assert np.isfinite(twin.converse).all()
    for line, bound in zip(twin.code.T, twin.converse.T, strict=True):
        drawn = twin.converse_bits >= twin.bits[0]
        found = np.interp(np.log(twin.converse_bits[drawn]), np.log(twin.bits), line)
        assert (found <= bound[drawn]).all()


def test_in_other_databases_a_query_keeps_all_its_targets(report):
    """Of 32 items 29 compete with the first of three targets, drawn from all that are no targets of the query."""
    sizes = report.models.sizes
    (place,) = np.flatnonzero(sizes.log2_size == 5.0)
    (here,) = np.flatnonzero(np.isclose(sizes.log2_size, np.log2(report.database)))
    others = report.database - CAPTIONS
    # Ties of codes are another matter: of the vectors themselves there are none.
    untied = [row for row, line in enumerate(sizes.line) if report.tied[line].max() == 1]
    assert untied
    for row in untied:
        line = sizes.line[row]
        first = report.ahead[line].reshape(-1, CAPTIONS).min(axis=1)
        count = np.arange(32 - CAPTIONS + 1)
        beside = hypergeom.pmf(count, others, first[:, None], 32 - CAPTIONS)
        exact = (beside / (1 + count)).sum(axis=1).mean()
        assert sizes.value[row, place] == pytest.approx(exact, rel=0, abs=1e-9)
        mrr = report.values("mrr")[line]
        assert sizes.value[row, here] == pytest.approx(mrr, rel=0, abs=1e-12)


DIMENSION, ITEMS, TARGETS, QUERIES = 8, 120, 3, 6000


def simulated(rng, bits):
    """Ranks of targets of correlation .4 or .85 behind the nearest of 2^bits directions, or stored whole."""
    rho = rng.choice([0.4, 0.85], (QUERIES, TARGETS, 1))
    x = np.eye(DIMENSION)[0]
    y = rng.normal(size=(QUERIES, TARGETS, DIMENSION))
    length = np.sqrt(rng.chisquare(DIMENSION, (QUERIES, 1, 1)))  # that of the query
    y = rho * length * x + np.sqrt(1 - rho**2) * y
    if bits is not None:
        codebooks = rng.normal(size=(QUERIES, TARGETS, 2**bits, DIMENSION))
        codebooks /= np.linalg.norm(codebooks, axis=-1, keepdims=True)
        nearest = np.einsum("qtkd,qtd->qtk", codebooks, y).argmax(axis=-1)
        y = np.take_along_axis(codebooks, nearest[..., None, None], axis=2)[:, :, 0]
    others = rng.normal(size=(QUERIES, ITEMS - TARGETS, DIMENSION))
    scores = [part[..., 0] / np.linalg.norm(part, axis=-1) for part in (y, others)]
    ahead = (np.concatenate(scores, axis=1)[:, None] > scores[0][..., None]).sum(axis=-1).ravel()
    grade = rng.choice([1.0, 2.0, 5.0], QUERIES * TARGETS)
    targets = Targets(
        query=np.repeat(np.arange(QUERIES), TARGETS), item=np.arange(len(ahead)), grade=grade
    )
    ranks = TargetRanks(ahead=ahead, tied=np.ones_like(ahead), repaired=0)
    return query_metrics(ranks, targets, QUERIES), targets


@pytest.mark.parametrize("bits", [5, None])
def test_C31_the_isotropic_twin_of_several_targets_is_what_is_simulated(bits):
    """Every metric, grades too, within 5.5 standard errors: false alarm 2e-7 for all ten; and a grid's 5e-4."""
    values, targets = simulated(np.random.default_rng(7), bits)
    gains = gains_of(targets.query, targets.grade)
    twin = IsotropicTwin(
        dimension=float(DIMENSION),
        correlations=np.array([0.4, 0.85]),
        probabilities=np.array([0.5, 0.5]),
        quality=np.nan,
        fitted_quality=np.nan,
        log2_size=np.log2(ITEMS - TARGETS + 1),
        rank_loss=("reciprocal_rank", 1),
    )
    size = np.log2(ITEMS - TARGETS + 1)
    scores = Scores(twin.dimension, size, 0.05)
    found = code_of_several(
        twin, twin, scores, np.inf if bits is None else float(bits), size, gains
    )
    error = values.std(axis=0) / np.sqrt(QUERIES)
    np.testing.assert_array_less(np.abs(found - values.mean(axis=0)), 5.5 * error + 5e-4)
    if bits is not None:
        losses = converse_losses(
            twin, [parse_loss(one) for one in CONVERSE_LOSSES], [bits], log2_size=size
        )
        bound = converse_of_each(losses, losses, gains)[0]
        assert (found <= bound).all()
        assert bound[1] < 0.9  # it says something
