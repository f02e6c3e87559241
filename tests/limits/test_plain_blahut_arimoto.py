"""C5: how fast the plain alternating iteration of Blahut and Arimoto is, which the solvers replace."""

import math

import numpy as np
import pytest
import reference

HAMMING = 1 - np.eye(2)


def test_C5_plain_blahut_arimoto_shrinks_its_error_by_a_fixed_factor():
    found = reference.blahut_arimoto([0.3, 0.7], HAMMING, math.log2(9), 5)
    np.testing.assert_allclose(
        found, (0.099573089530, 0.413654550255, 0.410872057725), rtol=0, atol=5e-13
    )
    errors = [
        0.1 - reference.blahut_arimoto([0.3, 0.7], HAMMING, math.log2(9), steps)[0]
        for steps in (18, 19, 20)
    ]
    # Y and the optimal U have crossover 0.1 and P(U) = (1/4, 3/4).
    output = np.array([0.25, 0.75])
    joint = np.array([[0.9, 0.1], [0.1, 0.9]]) * output
    normal = joint / np.sqrt(np.outer(joint.sum(axis=1), output))
    factor = 1 - np.linalg.svd(normal, compute_uv=False)[1] ** 2
    np.testing.assert_allclose(factor, 3 / 7, rtol=1e-14)
    np.testing.assert_allclose(np.divide(errors[1:], errors[:-1]), factor, rtol=1e-5)


@pytest.mark.parametrize("p", [0.3, 0.2, 0.1])
def test_C5_plain_blahut_arimoto_crawls_where_a_letter_is_about_to_appear(p):
    # At this slope the curve just reaches zero rate: the likelier letter alone is optimal, and
    # the other one's c is one too.
    slope = math.log2((1 - p) / p)
    likelihood_ratio = np.array([p / (1 - p), (1 - p) / p])
    spread = np.array([1 - p, p]) @ (likelihood_ratio - 1) ** 2
    gaps = []
    for steps in (500, 1000, 2000):
        D, upper, _ = reference.blahut_arimoto([1 - p, p], HAMMING, slope, steps)
        gaps.append((upper + slope * D - slope * p) * math.log(2))
    scaled = np.array(gaps) * 2 * np.square([500, 1000, 2000]) * spread
    np.testing.assert_allclose(scaled, 1.0, rtol=0, atol=0.03)
    assert abs(scaled[-1] - 1) < abs(scaled[0] - 1)
