"""The information bottleneck never returns a point worse than to store nothing, or everything."""

import numpy as np
import pytest
import strategies as sts
from hypothesis import given, settings
from hypothesis import strategies as st

from rdsim import limits

SLOPES = (1e-3, 0.05, 0.3, 0.7, 0.95, 0.999)
ROOM = 1e-12


def information(joint):
    joint = np.asarray(joint, float)
    product = joint.sum(axis=1, keepdims=True) * joint.sum(axis=0)
    inside = joint > 0
    return np.sum(joint[inside] * np.log2(joint[inside] / product[inside]))


def objective(joint, encoder, slope):
    """L = I(U;X) - s I(U;Y) of an encoder P(u|y), shape (y, u), computed here from its joint pmfs."""
    joint = joint / joint.sum()
    with_y = encoder * joint.sum(axis=0)[:, None]
    return information(joint @ encoder) - slope * information(with_y)


def check(joint, method):
    found = limits.information_bottleneck(
        joint, SLOPES, method=method, starts=1, compress="columns"
    )
    letters = joint.shape[1]
    everything = np.eye(letters)
    for place, slope in enumerate(SLOPES):
        reached = float(found.relevance[place] - slope * found.complexity[place])
        # The constant encoder has L = 0, the stored letter I(X;Y) - s H(Y).
        assert reached >= -ROOM
        assert reached >= objective(joint, everything, slope) - 1e-10
        assert reached == pytest.approx(
            objective(joint, np.asarray(found.encoder[place]), slope), abs=1e-10
        )


@given(st.data())
@settings(max_examples=15)
def test_C11_no_point_is_worse_than_the_constant_encoder(data):
    joint = np.asarray(data.draw(sts.joint_pmfs((3, 3))))
    check(joint, "local")


@given(st.data())
@settings(max_examples=8)
def test_C11_no_proved_point_is_worse_than_the_constant_encoder(data):
    joint = np.asarray(data.draw(sts.joint_pmfs((2, 2))))
    check(joint, "auto")


@pytest.mark.parametrize(
    "joint",
    [
        np.full((3, 3), 1 / 9),
        np.outer([0.2, 0.3, 0.5], [0.6, 0.3, 0.1]),
        np.diag([0.5, 0.3, 0.2]),
        np.full((3, 3), 1 / 9) + 1e-7 * np.array([[1, -1, 0], [-1, 1, 0], [0, 0, 0]]),
        np.array([[0.97, 0.01, 0.0], [0.0, 0.01, 0.0], [0.0, 0.0, 0.01]]),
    ],
    ids=["uniform", "independent", "equal", "nearly independent", "skew"],
)
def test_C11_hard_joints_are_not_worse_than_the_constant_encoder(joint):
    check(joint, "local")


def test_C11_sixty_four_letters_are_bounded_and_not_worse_than_the_constant_encoder():
    generator = np.random.default_rng(3)
    noise = generator.dirichlet(np.ones(64), 64).T
    joint = (0.7 * noise + 0.3 * np.eye(64)) * generator.dirichlet(np.full(64, 2.0))
    slopes = np.array([0.02, 0.14, 0.3, 0.9])
    curve = limits.information_bottleneck(joint, slopes, compress="columns")
    value = np.asarray(curve.relevance.value - curve.slope * curve.complexity)
    assert (value >= 0).all()
    # Better than any of Tishby's encoders, climbed from the stored letter.
    py, px = joint.sum(axis=0), joint.sum(axis=1)
    for slope, encoder, best in zip(slopes, np.asarray(curve.encoder), value, strict=True):
        np.testing.assert_allclose(objective(joint, encoder, slope), best, rtol=0, atol=1e-12)
        climbed = 0.9 * np.eye(64) + 0.1 / 64
        for _ in range(30):
            u = climbed.T @ py
            told = (joint @ climbed) / u
            logs = np.log(told.T / px) @ (joint / py) / slope
            climbed = u[:, None] * np.exp(logs - logs.max(axis=0))
            climbed = (climbed / climbed.sum(axis=0)).T
        assert objective(joint, climbed, slope) <= best + 1e-12
