"""The nearest codeword of each point is that of float64; k-means that skips distances is k-means."""

import numpy as np
import pytest

from rdsim.codes import assignment
from rdsim.codes.assignment import Points, assign
from rdsim.codes.distances import seeds
from rdsim.codes.quantizers.k_means import best_codebook, first_codebooks, lloyd


def direct_squares(points, codewords):
    return sum((a[:, None] - b) ** 2 for a, b in zip(points.T, codewords.T, strict=True))


def drawn(draws, n, k, d, seed):
    """Points and codewords of any scale and place; of every third seed on a lattice, so that ties abound."""
    offset, scale = 10.0 ** draws.integers(-3, 8), 10.0 ** draws.integers(-6, 6)
    if seed % 3:
        points, codewords = draws.standard_normal((n, d)), draws.standard_normal((k, d))
    else:
        points, codewords = (draws.integers(0, 3, (m, d)).astype(float) for m in (n, k))
    return points * scale + offset, codewords * scale + offset


@pytest.mark.parametrize("seed", range(40))
def test_the_nearest_codeword_is_that_of_float64_also_among_ties_and_far_from_the_origin(seed):
    draws = np.random.default_rng(seed)
    n, k, d = draws.integers(1, 300), draws.integers(1, 60), draws.integers(1, 20)
    points, codewords = drawn(draws, n, k, d, seed)
    direct = direct_squares(points, codewords)
    found = Points(points).nearest(codewords)
    np.testing.assert_array_equal(found.labels, direct.argmin(axis=1))
    which = np.flatnonzero(draws.random(n) < 0.5)
    np.testing.assert_array_equal(
        Points(points).nearest(codewords, which).labels, found.labels[which]
    )
    # The bounds hold for the distances that float64 computes, whose own errors are far smaller than theirs.
    told = found.others > 0
    assert (found.own >= np.sqrt(direct.min(axis=1)) * (1 - 1e-12))[told].all()
    np.put_along_axis(direct, found.labels[:, None], np.inf, axis=1)
    assert (found.others <= np.sqrt(direct.min(axis=1)) * (1 + 1e-12)).all()


@pytest.mark.parametrize("far", [1e25, 1e60])
def test_codewords_too_far_for_float32_are_told_apart(far):
    points = np.array([[0.0, 1.0], [1.0, 0.0], [0.3, 0.4]])
    codewords = np.array([[far, far], [far, 0.0], [0.0, 2 * far]])
    np.testing.assert_array_equal(assign(points, codewords), [1, 1, 1])


def test_scores_that_float32_cannot_tell_apart_are_repaired():
    codewords = np.array([[1.0], [1.0 + 1e-9], [1.0 + 2e-9]])
    points = np.array([[1.0 + 0.4e-9], [1.0 + 1.4e-9], [1.0 + 1.6e-9]])
    np.testing.assert_array_equal(assign(points, codewords), [0, 1, 2])


def plain_lloyd(points, codewords, iterations):
    """K-means by its definition, every distance of every iteration in float64."""
    before = None
    for step in range(iterations + 1):
        squares = direct_squares(points, codewords)
        labels = squares.argmin(axis=1)
        if step == iterations or (before is not None and (labels == before).all()):
            return codewords, step, squares.min(axis=1).mean()
        before, worst = labels, list(np.argsort(squares.min(axis=1)))
        counts = np.bincount(labels, minlength=len(codewords))
        sums = np.stack([np.bincount(labels, x, minlength=len(codewords)) for x in points.T], 1)
        codewords = sums / np.maximum(counts, 1)[:, None]
        empty = np.flatnonzero(counts == 0)
        codewords[empty] = points[worst[len(worst) - len(empty) :]]
    raise AssertionError


@pytest.mark.parametrize("seed", range(20))
def test_k_means_that_skips_distances_has_the_digits_of_plain_k_means(seed, monkeypatch):
    draws = np.random.default_rng(seed)
    n, k, d = draws.integers(50, 800), draws.integers(1, 40), draws.integers(1, 9)
    points, _ = drawn(draws, n, 1, d, seed)
    start = points[draws.integers(0, n, k)]  # with repetitions, so that cells empty
    monkeypatch.setattr(assignment, "_CACHED_SCORES", int(draws.integers(k, 100 * k)))
    found = lloyd(Points(points), start, 30)
    codewords, steps, distortion = plain_lloyd(points, start, 30)
    np.testing.assert_array_equal(found.codewords, codewords)
    assert found.iterations == steps
    np.testing.assert_allclose(found.distortion, distortion, rtol=1e-9, atol=0)


def test_codewords_drawn_from_a_few_items_end_as_well_as_those_drawn_from_all():
    """On clusters, where a uniform draw from all would end at half as much again."""
    few, every = [], []
    for seed in range(8):
        draws = np.random.default_rng(seed)
        centres = 3 * draws.standard_normal((40, 4))
        points = centres[draws.integers(40, size=4000)] + 0.3 * draws.standard_normal((4000, 4))
        few.append(best_codebook(points, first_codebooks(draws, points, 40, 2), 25).distortion)
        starts = [seeds(draws, points, 40) for _ in range(2)]
        every.append(best_codebook(points, starts, 25).distortion)
    assert np.mean(few) < 1.05 * np.mean(every)


def test_few_distinct_items_are_all_found_where_a_sample_would_miss_them():
    rare = np.repeat(np.arange(4.0), [100_000, 1, 1, 1])[:, None]
    found = best_codebook(rare, first_codebooks(np.random.default_rng(0), rare, 4, 1), 25)
    assert found.distortion == 0
