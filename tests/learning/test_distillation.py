"""Distillation: the divergence of soft rankings, and a student that ranks as its teacher does."""

import functools
import re
from typing import Any, NamedTuple

import family_losses as family
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from rdsim.learning.families import reranking
from rdsim.learning.families.catalogue import fit_family
from rdsim.learning.families.fusion import early_fusion
from rdsim.learning.families.pairs import draw_batch
from rdsim.learning.training.loop import train
from rdsim.learning.training.schedule import Schedule

STUDENT = family.learner(early_fusion).build
TEACHER = family.learner(reranking.cross_attention_learner).build
loss = jax.jit(reranking.distillation_loss)
slopes = jax.jit(jax.grad(reranking.distillation_loss, argnums=0))
tables = st.lists(st.floats(-5.0, 5.0), min_size=6, max_size=6).map(
    lambda row: np.reshape(row, (2, 3))
)
temperatures = st.floats(0.3, 4.0)


@settings(max_examples=30)
@given(student=tables, teacher=tables, temperature=temperatures)
def test_the_loss_is_a_divergence(student, teacher, temperature):
    found = float(loss(student, teacher, temperature))
    p, q = (np.exp(t / temperature) for t in (teacher, student))
    p, q = p / p.sum(axis=1, keepdims=True), q / q.sum(axis=1, keepdims=True)
    wanted = temperature**2 * np.mean(np.sum(p * np.log(p / q), axis=1))
    assert found == pytest.approx(wanted, rel=1e-9, abs=1e-12)
    assert found >= -1e-12


@settings(max_examples=20)
@given(teacher=tables, shift=st.tuples(*[st.floats(-3.0, 3.0)] * 2), temperature=temperatures)
def test_the_loss_is_zero_and_flat_at_the_teacher_whatever_is_added_to_a_query(
    teacher, shift, temperature
):
    student = teacher + np.array(shift)[:, None]
    assert float(loss(student, teacher, temperature)) == pytest.approx(0.0, abs=1e-12)
    of_student = slopes(student, teacher, temperature)
    np.testing.assert_allclose(of_student, 0.0, rtol=0, atol=1e-12)


def test_hot_divergence_is_half_the_variance_of_the_gap():
    student, teacher = np.random.default_rng(0).normal(size=(2, 2, 3))
    gap = np.var(student - teacher, axis=1).mean()
    assert float(loss(student, teacher, 1e3)) == pytest.approx(0.5 * gap, rel=1e-2, abs=0)


class Optimal(NamedTuple):
    """The best ranking of the source, as a teacher."""

    noise: Any

    def scores(self, queries, items):
        weights = 1 / self.noise
        centre = jnp.einsum("k,nkd->nd", weights / weights.sum(), queries)
        gap = jnp.sum((centre[:, None] - items) ** 2, axis=-1)
        return (-0.5 * weights.sum() * gap).astype(jnp.float32)


@functools.cache
def taught():
    """Runs of a student of the best ranking, and held-out pairs with their scores."""
    sample = family.SOURCE.sample(jax.random.key(2), (family.TRAINING,))
    held_out = family.SOURCE.sample(jax.random.key(3), (256,))
    batch, teacher = reranking.TaughtBatch(32), Optimal(family.SOURCE.query_noise)
    held_out = batch.of(held_out, teacher)
    learner = reranking.DistillationLearner(build=STUDENT)
    found = train(
        jax.random.key(4),
        learner,
        batch,
        (sample, teacher),
        held_out,
        jnp.zeros((2,), jnp.float32),
        schedule=Schedule(steps=200, evaluate_every=200),
    )
    return found, held_out


def test_the_student_learns_to_rank_as_its_teacher():
    found, (queries, items, wanted) = taught()
    assert wanted.shape == (8, 32, 32)
    first, last = found.held_out[:, 0], found.held_out[:, -1]
    assert (last < 0.05 * first).all()
    assert found.recorded["agreement"][:, -1].min() > 0.7
    student = found.model(int(last.argmin()))
    table = np.asarray(student.scores(queries[:32], items[:32]))
    ranks = [
        scipy.stats.spearmanr(mine, theirs).statistic
        for mine, theirs in zip(table, np.asarray(wanted[0]), strict=True)
    ]
    assert np.mean(ranks) > 0.9


def test_a_drawn_batch_holds_the_scores_of_its_pairs():
    sample = family.SOURCE.sample(jax.random.key(2), (family.TRAINING,))
    teacher = family.built(TEACHER, 0)
    batch = reranking.TaughtBatch(64)
    queries, items, scores = batch(jax.random.key(5), (sample, teacher))
    drawn = draw_batch(jax.random.key(5), sample)
    np.testing.assert_array_equal(queries, drawn[0])
    np.testing.assert_array_equal(items, drawn[1])
    table = teacher.scores(queries[64:128], items[64:128])
    np.testing.assert_allclose(scores[1], table, rtol=1e-4, atol=1e-4)


def test_no_student_beats_the_converse(monkeypatch):
    floor = family.converse() - family.MARGIN
    start = family.measured_loss(family.untrained(family.built(STUDENT, 1)))
    teacher = family.built(TEACHER, 0)

    def trained(_key, learner, _draw, data, held_out, *_, **_options):
        assert data[1] is teacher
        assert learner.build == STUDENT
        assert held_out[2].shape == (8, 32, 32)
        return taught()[0]

    monkeypatch.setattr(reranking, "fitted_models", lambda *_: [teacher])
    monkeypatch.setattr(reranking, "train", trained)
    fitted = fit_family(
        jax.random.key(1),
        "distilled",
        family.SOURCE,
        bits=(family.BITS,),
        schedule=family.SCHEDULE,
        training=family.TRAINING,
    )
    found = family.measured_loss(fitted[0])
    assert min(start, found) >= floor
    assert found < start - 2 * family.MARGIN


@pytest.mark.parametrize("temperature", [0.0, -1.0, np.inf])
def test_bad_temperature(temperature):
    with pytest.raises(ValueError, match=re.escape("temperature must lie in (0, inf)")):
        reranking.DistillationLearner(build=STUDENT, temperature=temperature)
