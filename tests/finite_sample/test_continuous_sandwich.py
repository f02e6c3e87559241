"""C7 and C18: bounds on R(D) from samples alone hold for the distribution behind the samples."""

import numpy as np
import pytest
from scipy.stats import norm

from rdsim.finite_sample.sandwich import _achieved, _supporting_line, continuous_sandwich

LN2 = np.log(2)
SLOPES = np.array([1.5, 4.0])
GRID = np.linspace(-6, 6, 961)


def _normal(y):
    return np.exp(-(y**2) / 2) / np.sqrt(2 * np.pi) * (GRID[1] - GRID[0])


def _uniform(y):
    inside = np.abs(y) <= 1
    return inside / inside.sum()


def _truth(found, i, samples, mass):
    """True means of the distortion, the rate and log price, and the sup of c, by quadrature."""
    s, q, v = float(found.slope[i]), np.asarray(found.weights[i]), np.asarray(found.codewords)
    d = (GRID[:, None] - v.ravel()) ** 2
    kernel = q * 2.0 ** (-s * d)
    Z = kernel.sum(axis=1)
    Q = kernel / Z[:, None]
    fit = samples[: found.training]
    inside = (fit.min() <= GRID) & (fit.max() >= GRID)
    price = np.where(inside, np.minimum(1 / Z, 2.0 ** float(found.log_cap[i])), 1.0)
    c = np.exp2(-s * (GRID[::3, None] - GRID) ** 2) @ (mass * price)
    rate = (Q * np.log2(np.where(Q > 0, Q, 1.0) / q)).sum(axis=1)
    return {
        "distortion": mass @ (Q * d).sum(axis=1),
        "rate": mass @ rate,
        "intercept": mass @ np.log2(price) - np.log2(c.max()),
    }


@pytest.mark.parametrize(("distribution", "box"), [("normal", None), ("uniform", (-1, 1))])
def test_C18_bounds_hold_for_the_true_distribution_as_often_as_they_say(distribution, box):
    generator = np.random.default_rng(7)
    mass = _normal(GRID) if distribution == "normal" else _uniform(GRID)
    slopes = SLOPES if distribution == "normal" else 4 * SLOPES
    sets, failures = 16, 0
    for _ in range(sets):
        y = (
            generator.standard_normal(240)
            if distribution == "normal"
            else generator.uniform(-1, 1, 240)
        )
        found = continuous_sandwich(y, slopes, box=box, max_codewords=8)
        assert found.upper_is_proved == (box is not None)
        holds = True
        for i in range(2):
            true = _truth(found, i, y, mass)
            holds &= found.distortion.upper[i] >= true["distortion"]
            holds &= found.rate.upper[i] >= true["rate"] - 1e-9
            holds &= found.intercept.lower[i] <= true["intercept"] + 1e-9
            # The means themselves are unbiased: they stay within 6 standard errors.
            assert abs(found.distortion.mean[i] - true["distortion"]) < 0.3 * true["distortion"]
        failures += not holds
    # At 95 %, 8 or more failures of 16 have a probability below 5e-7.
    assert failures < 8


def bernstein_end(losses, most, risk):
    """The upper end of Maurer and Pontil (2009), Theorem 4, which fails with probability `risk`."""
    N, log_term = losses.shape[-1], np.log(2 / risk)
    half = np.sqrt(2 * losses.var(axis=-1, ddof=1) * log_term / N)
    return np.minimum(losses.mean(axis=-1) + half + 7 * most * log_term / (3 * (N - 1)), most)


@pytest.mark.parametrize("box", [None, (-1, 1)])
def test_C18_every_bound_has_its_part_of_the_error_probability(box):
    """Bernstein's bounds are so wide that no count of failures tells half of a part from the whole."""
    y = np.random.default_rng(11).uniform(-1, 1, 4000)
    found = continuous_sandwich(y, SLOPES, box=box, confidence=0.9, max_codewords=6)
    part = 0.1 / (2 * SLOPES.size)  # of each point and of each line; each has two means
    fit, held_out = y[: found.training], y[found.training :]
    v = np.asarray(found.codewords).ravel()
    for i, s in enumerate(SLOPES):
        q, cap = np.asarray(found.weights[i]), float(found.log_cap[i])
        d = (held_out[:, None] - v) ** 2
        kernel = q * np.exp2(-s * d)
        Z = kernel.sum(axis=1)
        distortion = (kernel * d).sum(axis=1) / Z
        rate = np.maximum(-np.log2(Z) - s * distortion, 0.0)
        longest = np.log2(1 / q.min())
        assert found.rate.upper[i] == pytest.approx(bernstein_end(rate, longest, part / 2))
        if box is None:
            error = distortion.std(ddof=1) / np.sqrt(held_out.size)
            wanted = distortion.mean() + norm.isf(part / 2) * error
        else:
            nearest = _achieved._largest_squared_error(v[:, None], np.array([[-1.0], [1.0]]))
            wanted = bernstein_end(distortion, nearest + longest / s, part / 2)
        assert found.distortion.upper[i] == pytest.approx(wanted)
        # The line: a mean of the dual variable's logarithm, and one of c at every vertex.
        inside = (held_out >= fit.min()) & (held_out <= fit.max())
        log_dual = np.where(inside, np.minimum(-np.log2(Z), cap), 0.0)
        gain = cap - bernstein_end(cap - log_dual, cap, part / 2)
        width = 1 / np.sqrt(2 * s * LN2)
        (at,), radius2 = _supporting_line._vertices(fit.min()[None], fit.max()[None], width)
        near = np.where(inside, np.exp2(-s * (at[:, None] - held_out) ** 2), 1.0)
        c = bernstein_end(near * np.exp2(log_dual), 2.0**cap, part / 2 / at.size)
        wanted = gain - np.log2(c.max()) - s * radius2
        assert found.intercept.lower[i] == pytest.approx(wanted, rel=1e-9)


def test_C18_the_bounds_close_in_on_the_gaussian():
    y = np.random.default_rng(3).standard_normal(8000)
    D = np.array([0.1, 0.3])
    found = continuous_sandwich(y, 1 / (2 * LN2 * D))
    true = -0.5 * np.log2(D)
    low, high = np.asarray(found.lower(D)), np.asarray(found.upper(1.1 * D))
    assert ((low > true - 0.6) & (low < true)).all()
    assert (high > -0.5 * np.log2(1.1 * D)).all()
    assert (high < true + 0.1).all()
    np.testing.assert_allclose(
        found.rate.mean, -0.5 * np.log2(found.distortion.mean), rtol=0, atol=0.03
    )
    assert np.isinf(found.upper(0.05))
    # Beyond the last point the rate stays what it was.
    assert found.upper(5.0) == min(found.rate.upper)
    assert found.lower(5.0) == 0.0
    assert (found.training, found.held_out) == (4000, 4000)


def test_the_plane_and_the_line_agree():
    """A line embedded in the plane has the same bounds: its other axis is one cell of no width."""
    y = np.random.default_rng(5).standard_normal(400)
    line = continuous_sandwich(y, SLOPES, max_codewords=8)
    plane = continuous_sandwich(np.stack([y, 0 * y], axis=1), SLOPES, max_codewords=8)
    assert plane.codewords.shape == (line.codewords.shape[0], 2)
    # The second axis puts codewords half a cell off the line, and doubles the number of vertices.
    np.testing.assert_allclose(plane.rate.mean, line.rate.mean, rtol=0, atol=1e-9)
    np.testing.assert_array_less(line.distortion.mean, plane.distortion.mean)
    # All dual variables rise by one factor, except those of the few samples outside the box.
    np.testing.assert_allclose(plane.intercept.mean, line.intercept.mean, rtol=0, atol=0.01)
    assert (plane.intercept.lower < line.intercept.lower).all()


def _bernstein(terms, most, risk):
    """Maurer and Pontil's one-sided half width for terms in [0, most]."""
    log_term, N = np.log(2 / risk), len(terms)
    return np.sqrt(2 * terms.var(ddof=1) * log_term / N) + 7 * most * log_term / (3 * (N - 1))


def test_the_supremum_over_the_plane_is_bounded():
    """At the held-out distribution itself: no place of a fine grid has more than the bound behind it."""
    generator = np.random.default_rng(11)
    y = generator.normal(size=(300, 2)) @ np.array([[1.0, 0.6], [0.0, 0.8]])
    found = continuous_sandwich(y, SLOPES, max_codewords=40)
    fit, judge = y[:150], y[150:]
    inside = ((judge >= fit.min(axis=0)) & (judge <= fit.max(axis=0))).all(axis=1)
    axis = np.linspace(-4, 4, 121)
    u = np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 2)
    for i, s in enumerate(SLOPES):
        d = ((judge[:, None] - np.asarray(found.codewords)) ** 2).sum(axis=-1)
        Z = (np.asarray(found.weights[i]) * 2.0 ** (-s * d)).sum(axis=1)
        price = np.where(inside, np.minimum(1 / Z, 2.0 ** float(found.log_cap[i])), 1.0)
        c = (price * 2.0 ** (-s * ((u[:, None] - judge) ** 2).sum(axis=-1))).mean(axis=1)
        # What lies outside counts fully everywhere, since u might lie there too.
        line = np.log2(price).mean() - np.log2(c.max() + (price * ~inside).mean())
        # At the peak alone the bound gives away at least this much by Bernstein's inequality, with a
        # quarter of one slope's share of the 5 % for each mean and fifty vertices of the many.
        cap = 2.0 ** float(found.log_cap[i])
        peak = np.where(inside, price, 0) * 2.0 ** (-s * ((u[c.argmax()] - judge) ** 2).sum(axis=1))
        peak += price * ~inside
        worst = peak.mean() + _bernstein(peak, cap, 0.05 / 8 / 50)
        gain = np.log2(price).mean() - _bernstein(np.log2(price), np.log2(cap), 0.05 / 8)
        assert found.intercept.lower[i] <= gain - np.log2(worst)
        assert found.intercept.lower[i] >= gain - np.log2(worst) - 0.8
        # The best vertex misses the peak by at most s r^2, r^2 = 2 (0.1)^2 in kernel widths.
        assert line - 1e-3 <= found.intercept.mean[i] <= line + 0.02 / (2 * LN2)


@pytest.mark.parametrize(
    ("samples", "slopes", "options", "message"),
    [
        (np.zeros((9, 3)), [1.0], {}, r"samples must have shape \(N,\), \(N, 1\) or \(N, 2\)"),
        (np.arange(3.0), [1.0], {}, "samples must leave two on either side of the split, got 3"),
        (np.arange(9.0), [0.0], {}, r"slopes must lie in \(0, inf\), got 0.0"),
        (np.arange(9.0), [], {}, "slopes must not be empty"),
        (np.arange(9.0), [1.0], {"box": (0, 7)}, r"samples must lie in the box \(0, 7\)"),
        (np.arange(9.0), [1.0], {"box": (7, 0)}, "box must be finite with low < high"),
        (np.arange(9.0), [1.0], {"box": (0, 1, 2)}, r"box must be \(low, high\)"),
        (np.arange(9.0), [1.0], {"confidence": 1.0}, "confidence must lie in"),
        (1e9 * np.arange(9.0), [1.0], {}, "slopes must be gentle enough for the range"),
    ],
)
@pytest.mark.usefixtures("unchecked_annotations")
def test_bad_inputs(samples, slopes, options, message):
    with pytest.raises(ValueError, match=message):
        continuous_sandwich(samples, slopes, **options)


def test_one_atom_needs_no_rate():
    found = continuous_sandwich(np.full(9, 2.0), [1.0], max_codewords=1)
    assert found.rate.upper[0] == 0.0
    assert found.distortion.upper[0] == pytest.approx(
        float(found.distortion.mean[0]), rel=1e-12, abs=0
    )
    assert found.lower(0.1) == 0.0


def test_bad_max_codewords():
    with pytest.raises(ValueError, match="max_codewords must be at least 1, got 0"):
        continuous_sandwich(np.arange(9.0), [1.0], max_codewords=0)
