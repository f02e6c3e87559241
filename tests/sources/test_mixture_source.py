import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference
from scipy import integrate, stats

from rdsim import sources
from rdsim.sources.mixture import _information
from rdsim.sources.mixture._entropy import mixture_entropy
from rdsim.transformations import ComputesOnHostError

WEIGHTS = np.array([0.5, 0.3, 0.2])
ON_A_LINE = sources.gaussian_mixture(
    WEIGHTS, [[-1.0], [1.0], [2.5]], [0.25, 1.0, 0.1], gains=[1.0, -0.5], query_noise=[0.3, 0.5]
)
IN_THE_PLANE = sources.gaussian_mixture(
    WEIGHTS, [[-1.0, 0.0], [1.0, 1.0], [2.0, -2.0]], [0.25, 1.0, 0.1], query_noise=[0.3, 0.5]
)
SHIFTED = sources.gaussian_mixture(
    [0.4, 0.6, 0.0],
    [[-1.0, 0.0], [1.0, 1.0], [5.0, 5.0]],
    [0.5, 1.0, 2.0],
    query_means=[
        [[0.0, 0.0], [0.5, 0.0], [9.0, 9.0]],
        [[1.0, 0.0], [0.0, 2.0], [3.0, 3.0]],
    ],
    gains=[1.0, -0.5],
    query_noise=[0.5, 0.8],
)
ALL = {"line": ON_A_LINE, "plane": IN_THE_PLANE, "shifted": SHIFTED}
TRIALS = 200_000
Z_LIMIT = 5.5  # two-sided false alarm 4e-8


@pytest.fixture(scope="module")
def drawn():
    return {name: source.sample(jax.random.key(40), (TRIALS,)) for name, source in ALL.items()}


def in_numpy(source):
    return {name: np.asarray(getattr(source, name)) for name in source.__dataclass_fields__}


@pytest.mark.parametrize("name", ["line", "shifted"])
def test_samples_follow_the_model(drawn, name):
    # Class, and the standardised deviations of item and noise cut at terciles: chi-square over all
    # cells, false alarm 1e-7; the keys are fixed.
    distribution = in_numpy(ALL[name])
    queries, items, classes = map(np.asarray, drawn[name])
    deviation = items - distribution["item_means"][classes]
    expected = distribution["query_means"][:, classes].swapaxes(0, 1)
    noise = queries - expected - distribution["gains"][:, None] * deviation[:, None]
    white = [deviation / np.sqrt(distribution["item_variance"][classes])[:, None]]
    white += [noise[:, k] / math.sqrt(distribution["query_noise"][k]) for k in range(2)]
    white = np.concatenate(white, axis=1)
    digits = np.searchsorted(stats.norm.ppf([1 / 3, 2 / 3]), white)
    code = np.ravel_multi_index((classes, *digits.T), (3, *[3] * white.shape[1]))
    cells = 3 ** white.shape[1]
    counts = np.bincount(code, minlength=3 * cells).reshape(3, cells)
    used = distribution["weights"] > 0
    assert (counts[~used] == 0).all()
    counts, wanted = counts[used], TRIALS * distribution["weights"][used, None] / cells
    statistic = np.sum((counts - wanted) ** 2 / wanted)
    assert counts.sum() == TRIALS
    assert statistic < stats.chi2.isf(1e-7, counts.size - 1)


def covariances(distribution, chosen, c):
    """Covariance within a class of (X_S, Y), one coordinate of each."""
    gain = np.append(distribution["gains"][chosen], 1.0)
    noise = np.append(distribution["query_noise"][chosen], 0.0)
    return np.outer(gain, gain) * distribution["item_variance"][c] + np.diag(noise)


def log_density_by_scipy(source, queries, items, chosen):
    """ln p of (x_S, y), of x_S and of y, a class at a time, by full covariance matrices."""
    distribution, total = in_numpy(source), np.zeros((3, len(items)))
    for c, w in enumerate(distribution["weights"]):
        centre = np.concatenate(
            [distribution["query_means"][chosen, c], distribution["item_means"][c][None]]
        )
        points = np.concatenate([queries[:, chosen], items[:, None]], axis=1)
        S = covariances(distribution, chosen, c)
        pieces = (slice(None), slice(0, -1), slice(-1, None))
        for row, piece in enumerate(pieces):
            density = w * np.ones(len(items))
            for i in range(items.shape[1]):
                normal = stats.multivariate_normal(centre[piece, i], S[piece, piece])
                density = density * normal.pdf(points[:, piece, i])
            total[row] += density
    return np.log(total)


@pytest.mark.parametrize(
    ("name", "chosen"), [("line", [1]), ("plane", [1, 0]), ("shifted", [1, 0])]
)
def test_densities_are_those_of_the_mixture(drawn, name, chosen):
    source = ALL[name]
    queries, items, _ = (np.asarray(a)[:40] for a in drawn[name])
    joint, query, item = log_density_by_scipy(source, queries, items, chosen)
    seen = queries[:, chosen]
    np.testing.assert_allclose(source.log_density_item(items), item, rtol=0, atol=1e-12)
    np.testing.assert_allclose(source.log_density_query(seen, chosen), query, rtol=0, atol=1e-12)
    np.testing.assert_allclose(
        source.log_density_joint(seen, items, chosen), joint, rtol=0, atol=1e-12
    )
    density = (joint - query - item) / math.log(2)
    np.testing.assert_allclose(
        source.information_density(seen, items, chosen), density, rtol=0, atol=1e-12
    )
    if chosen == [1]:
        alone = source.information_density(queries[:, 1], items, 1)
        np.testing.assert_allclose(alone, density, rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", ALL)
def test_information_and_entropy_agree_with_the_samples(drawn, name):
    # The mean information density and the mean log density of samples: z-tests at fixed keys.
    queries, items, _ = drawn[name]
    source = ALL[name]
    information = source.mutual_information(tolerance=1e-5 if name == "shifted" else 1e-9)
    entropy = source.item_entropy()
    for limit, values in (
        (information, source.information_density(queries, items)),
        (entropy, -source.log_density_item(items) / math.log(2)),
    ):
        assert limit.converged
        assert limit.lower <= limit.value <= limit.upper
        values = np.asarray(values)
        z = (values.mean() - float(limit)) / (values.std() / math.sqrt(TRIALS))
        assert abs(z) < Z_LIMIT


def information_by_trapezoid(source, chosen, step):
    """I(X_S; Y) in bits for items on a line, by the trapezoid rule in all dimensions."""
    distribution = in_numpy(source)
    axis = np.arange(-9.0, 11.0, step)
    grid = np.meshgrid(*[axis] * (len(chosen) + 1), indexing="ij", sparse=True)
    *x, y = grid
    joint = 0.0
    for c, w in enumerate(distribution["weights"]):
        m, v = distribution["item_means"][c, 0], distribution["item_variance"][c]
        term = w * stats.norm(m, math.sqrt(v)).pdf(y)
        for axis_x, k in zip(x, chosen, strict=True):
            centre = distribution["query_means"][k, c, 0] + distribution["gains"][k] * (y - m)
            term = term * stats.norm(0, math.sqrt(distribution["query_noise"][k])).pdf(
                axis_x - centre
            )
        joint = joint + term
    joint = joint.reshape(-1, axis.size) * step ** (len(chosen) + 1)
    product = np.outer(joint.sum(axis=1), joint.sum(axis=0))
    used = joint > 1e-300
    return np.sum(joint[used] * np.log2(joint[used] / product[used]))


@pytest.mark.parametrize("chosen", [(0,), (1,)])
def test_information_agrees_with_a_plain_double_integral(chosen):
    limit = ON_A_LINE.mutual_information(chosen)
    assert limit.gap <= 1e-9
    plain = information_by_trapezoid(ON_A_LINE, chosen, 0.02)
    np.testing.assert_allclose(limit.value, plain, rtol=0, atol=1e-10)


def test_information_of_two_queries_agrees_with_a_plain_triple_integral():
    # The classes shift the two queries in different ways: nothing but the full distribution will do.
    both = ON_A_LINE.mutual_information()
    plain = information_by_trapezoid(ON_A_LINE, (0, 1), 0.12)
    np.testing.assert_allclose(both.value, plain, rtol=0, atol=1e-8)
    assert both.gap <= 1e-9
    for k in (0, 1):
        assert ON_A_LINE.mutual_information(k).upper <= both.lower


def test_the_bounds_on_the_information_are_those_of_its_entropies(monkeypatch):
    def widened(*arguments):
        width = 10.0 ** -next(places)
        bounds = mixture_entropy(*arguments)
        return bounds._replace(lower=bounds.value - width, upper=bounds.value + 2 * width)

    places = iter((3, 4, 5))  # of X', of Y, and of both, in the order of their use
    monkeypatch.setattr(_information, "mixture_entropy", widened)
    limit = ON_A_LINE.mutual_information()
    np.testing.assert_allclose(limit.upper - limit.value, 2e-3 + 2e-4 + 1e-5, rtol=1e-9)
    np.testing.assert_allclose(limit.value - limit.lower, 1e-3 + 1e-4 + 2e-5, rtol=1e-9)


@pytest.mark.parametrize(("gain", "noise"), [(1.0, 0.3), (-2.0, 1.5), (0.0, 1.0)])
def test_a_single_class_is_gaussian(gain, noise):
    source = sources.gaussian_mixture([1.0], [[3.0, -1.0]], 0.4, gains=gain, query_noise=[noise])
    limit = source.mutual_information()
    np.testing.assert_allclose(limit.value, math.log2(1 + gain**2 * 0.4 / noise), rtol=1e-12)
    assert limit.gap < 1e-11
    entropy = math.log2(2 * math.pi * math.e * 0.4)
    np.testing.assert_allclose(source.item_entropy().value, entropy, rtol=1e-13)


def test_noisy_copies_are_worth_one_copy_of_their_total_precision():
    one = sources.gaussian_mixture(
        WEIGHTS, IN_THE_PLANE.item_means, [0.25, 1.0, 0.1], query_noise=[1 / (1 / 0.3 + 1 / 0.5)]
    )
    both, alone = IN_THE_PLANE.mutual_information(), one.mutual_information()
    np.testing.assert_allclose(both.value, alone.value, rtol=1e-12)
    assert IN_THE_PLANE.mutual_information(0).value < both.value
    order = IN_THE_PLANE.mutual_information((1, 0))
    np.testing.assert_allclose(order.value, both.value, rtol=1e-12)


def test_distant_classes_are_told_apart_for_nothing():
    source = sources.gaussian_mixture(WEIGHTS, [[0.0], [200.0], [500.0]], 1.0, query_noise=[0.5])
    expected = reference.entropy(WEIGHTS) + 0.5 * math.log2(3.0)
    limit = source.mutual_information()
    np.testing.assert_allclose(limit.value, expected, rtol=0, atol=1e-10)
    np.testing.assert_allclose(source.class_entropy, reference.entropy(WEIGHTS), rtol=1e-14)


def test_a_query_of_the_class_alone_tells_at_most_the_class():
    source = sources.gaussian_mixture(
        [0.5, 0.5],
        [[-1.0], [1.0]],
        0.5,
        query_means=[[[-50.0], [50.0]]],
        gains=0.0,
        query_noise=[1.0],
    )
    limit = source.mutual_information()
    # A clean class label leaves h(Y) - h(Y|C).
    expected = float(source.item_entropy()) - 0.5 * math.log2(2 * math.pi * math.e * 0.5)
    np.testing.assert_allclose(limit.value, expected, rtol=0, atol=1e-9)
    assert limit.value <= source.class_entropy


def test_what_is_out_of_reach_is_said_and_still_bounded():
    # Classes of unequal variance that shift two queries in the plane in unlike ways: four
    # dimensions. Only the pairwise bounds are left, and they must hold the truth.
    source = sources.gaussian_mixture(
        WEIGHTS,
        IN_THE_PLANE.item_means,
        [0.25, 1.0, 0.1],
        gains=[1.0, 0.5],
        query_noise=[0.3, 0.5],
    )
    limit = source.mutual_information()
    assert not limit.converged
    queries, items, _ = source.sample(jax.random.key(40), (TRIALS,))
    values = np.asarray(source.information_density(queries, items))
    error = Z_LIMIT * values.std() / math.sqrt(TRIALS)
    assert limit.lower - error <= values.mean() <= limit.upper + error
    assert 0 <= limit.lower < limit.upper < 4


@pytest.mark.parametrize("modality", [0, 1])
def test_cutting_the_pair_loses_what_is_stated(modality):
    exact = ON_A_LINE.mutual_information(modality)
    previous = None
    for cells in (8, 16, 64):
        cut = ON_A_LINE.discretise(cells, modality=modality)
        kept, allowance = float(cut.information), float(cut.allowance)
        np.testing.assert_allclose(
            kept,
            reference.mutual_information_by_sums(np.asarray(cut.source.joint)),
            rtol=0,
            atol=1e-13,
        )
        assert kept <= float(exact.upper) + allowance
        lost = float(exact.value) - kept
        assert lost - 1e-12 <= cut.information_loss <= lost + 1e-9
        assert kept <= min(float(cut.source.entropy_x), float(cut.source.entropy_y))
        if previous is not None:
            assert kept > float(previous.information)
            assert cut.mean_squared_error < previous.mean_squared_error
            step = cells // previous.source.joint.shape[0]
            np.testing.assert_array_equal(cut.y_edges[::step], previous.y_edges)
        previous = cut
    assert previous.information_loss < 5e-3


def test_the_cells_of_a_pair_have_the_masses_and_points_of_the_distribution():
    distribution, cut = in_numpy(ON_A_LINE), ON_A_LINE.discretise(6, modality=1)
    v = distribution["item_variance"]
    mixtures = (
        (
            distribution["query_means"][1, :, 0],
            0.25 * v + 0.5,
            cut.x_edges,
            cut.source.px,
            cut.x_points,
        ),
        (distribution["item_means"][:, 0], v, cut.y_edges, cut.source.py, cut.y_points),
    )
    for means, variances, edges, pmf, points in mixtures:
        normal = stats.norm(means, np.sqrt(variances))
        np.testing.assert_allclose(
            pmf, np.diff(normal.cdf(np.asarray(edges)[:, None]) @ WEIGHTS), rtol=0, atol=1e-14
        )
        error = 0.0
        for low, high, mass, point in zip(edges[:-1], edges[1:], pmf, points, strict=True):
            ends = (max(float(low), -12.0), min(float(high), 14.0))

            def density(t, normal=normal):
                return WEIGHTS @ normal.pdf(t)

            first = integrate.quad(lambda t: t * density(t), *ends, epsabs=1e-13)[0]
            np.testing.assert_allclose(point, first / mass, rtol=0, atol=1e-9)
            error += integrate.quad(
                lambda t, point=float(point): (t - point) ** 2 * density(t), *ends, epsabs=1e-13
            )[0]
    np.testing.assert_allclose(cut.mean_squared_error, error, rtol=1e-9)
    # One cell of the table, by a single integral over the item.
    i, j = 2, 3

    def slice_of_cell(y):
        centre = distribution["query_means"][1, :, 0] - 0.5 * (y - distribution["item_means"][:, 0])
        conditional = stats.norm(centre, math.sqrt(0.5)).cdf
        inside = conditional(float(cut.x_edges[i + 1])) - conditional(float(cut.x_edges[i]))
        return np.sum(
            WEIGHTS * stats.norm(distribution["item_means"][:, 0], np.sqrt(v)).pdf(y) * inside
        )

    ends = float(cut.y_edges[j]), float(cut.y_edges[j + 1])
    mass = integrate.quad(slice_of_cell, *ends, epsabs=1e-14)[0]
    np.testing.assert_allclose(cut.source.joint[i, j], mass, rtol=0, atol=1e-12)


def test_items_in_the_plane_are_cut_into_a_product_grid(drawn):
    _, items, _ = drawn["plane"]
    items, cells = np.asarray(items), 12
    grid = IN_THE_PLANE.discretise_item(cells)
    assert grid.points.shape == (cells**2, 2)
    np.testing.assert_allclose(grid.masses.sum(), 1.0, rtol=1e-13)
    centre = np.asarray(grid.masses @ grid.points)
    np.testing.assert_allclose(
        centre, WEIGHTS @ np.asarray(IN_THE_PLANE.item_means), rtol=0, atol=1e-13
    )
    # Every sample belongs to the cell between the edges of the same grid on each axis.
    edges = [
        sources.gaussian_mixture(
            WEIGHTS, column, np.asarray(IN_THE_PLANE.item_variance), query_noise=[1.0]
        ).discretise(cells)
        for column in np.asarray(IN_THE_PLANE.item_means).T[:, :, None]
    ]
    axes = [np.searchsorted(e.y_edges, items[:, i]) - 1 for i, e in enumerate(edges)]
    code = axes[0] * cells + axes[1]
    squares = np.sum((items - np.asarray(grid.points)[code]) ** 2, axis=1)
    z = (squares.mean() - float(grid.mean_squared_error)) / squares.std() * math.sqrt(TRIALS)
    assert abs(z) < Z_LIMIT
    # Chi-square over the cells that expect ten samples or more; false alarm 1e-7.
    wanted = TRIALS * np.asarray(grid.masses)
    counts, often = np.bincount(code, minlength=cells**2), wanted >= 10
    statistic = np.sum((counts - wanted)[often] ** 2 / wanted[often])
    assert statistic < stats.chi2.isf(1e-7, often.sum())
    # The points are the samples' means, cell by cell.
    for i in range(2):
        total = np.bincount(code, items[:, i], minlength=cells**2)
        square = np.bincount(code, items[:, i] ** 2, minlength=cells**2)
        well = counts >= 1000
        mean = total[well] / counts[well]
        deviation = np.sqrt((square[well] / counts[well] - mean**2) / counts[well])
        assert np.all(np.abs(mean - np.asarray(grid.points)[well, i]) < 6 * deviation)
    finer = IN_THE_PLANE.discretise_item(2 * cells)
    assert finer.mean_squared_error < grid.mean_squared_error
    line = ON_A_LINE.discretise_item(8)
    pair = ON_A_LINE.discretise(8)
    np.testing.assert_allclose(line.points[:, 0], pair.y_points, rtol=0, atol=1e-13)
    np.testing.assert_allclose(line.masses, pair.source.py, rtol=0, atol=1e-13)


def test_an_empty_cell_of_the_grid_has_a_finite_point():
    far = sources.gaussian_mixture(
        [0.5, 0.5], [[0.0, 0.0], [500.0, 500.0]], 1.0, query_noise=[1.0]
    ).discretise_item(8)
    assert np.isfinite(np.asarray(far.points)).all()
    assert (np.asarray(far.masses) == 0).any()
    np.testing.assert_allclose(far.masses.sum(), 1.0, rtol=1e-14)


def test_sources_pass_through_transformations(drawn):
    key = jax.random.key(40)
    compiled = jax.jit(lambda source, key: source.sample(key, (TRIALS,)))(SHIFTED, key)
    for one, other in zip(drawn["shifted"], compiled, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-12, atol=1e-13)
    queries, items = drawn["shifted"][0][:40, ::-1], drawn["shifted"][1][:40]
    expected = SHIFTED.information_density(queries, items, [1, 0])
    leaves, tree = jax.tree.flatten(SHIFTED)
    assert len(leaves) == 6
    again = jax.tree.unflatten(tree, leaves)
    assert isinstance(again, sources.GaussianMixtureSource)
    np.testing.assert_array_equal(again.information_density(queries, items, [1, 0]), expected)
    # Every query against every item at once, for two sources at once.
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), SHIFTED, IN_THE_PLANE)
    tables = jax.jit(
        jax.vmap(lambda source: source.information_density(queries[:, None], items, [1, 0]))
    )(stacked)
    assert tables.shape == (2, 40, 40)
    np.testing.assert_allclose(np.diag(tables[0]), expected, rtol=1e-11)
    with pytest.raises(ComputesOnHostError, match=r"mutual_information computes on .*self"):
        jax.jit(lambda source: source.mutual_information())(SHIFTED)
    with jax.enable_x64(False), pytest.raises(RuntimeError, match="needs float64"):
        SHIFTED.item_entropy()
