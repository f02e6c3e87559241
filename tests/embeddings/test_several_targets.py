"""Models of embeddings whose queries have several targets each, on a planted Gaussian model (C29, C31)."""

import jax
import numpy as np
import pytest

from rdsim.embeddings import METRICS, measure_embeddings, retrieval_task, with_models
from rdsim.embeddings.models.twin import GAUSSIAN, ISOTROPIC
from rdsim.embeddings.report.words import model_words

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
        assert (np.interp(np.log(twin.converse_bits), np.log(twin.bits), line) <= bound).all()


def test_what_the_isotropic_twin_cannot_say_of_several_targets_is_said(report):
    twin = report.models.twin(ISOTROPIC)
    assert np.isfinite(twin.code[:, :-1]).all()
    assert np.isnan(twin.code[:, -1]).all()
    assert np.isnan(twin.converse).all()
    assert "it says nothing of nDCG" in model_words(report)
