import itertools

import numpy as np
import pytest
import scipy.optimize
import strategies
from hypothesis import given, settings
from hypothesis import strategies as st

from rdsim.limits.bottleneck import _certificate as certificate
from rdsim.limits.bottleneck import _newton, contraction_coefficient
from rdsim.limits.bottleneck._certificate import _bounded_cells, largest_excess
from rdsim.limits.bottleneck._envelope import EnvelopeProblem, gain

ANY = np.array([[0.2, 0.05, 0.1], [0.05, 0.25, 0.05], [0.1, 0.05, 0.15]])
ZEROS = np.array([[0.3, 0.1, 0.0], [0.0, 0.2, 0.0], [0.0, 0.1, 0.3]])
ERASED = np.vstack([0.6 * np.diag([0.5, 0.3, 0.2]), 0.4 * np.array([0.5, 0.3, 0.2])])


def problem(joint, slope):
    py = joint.sum(axis=0)
    return EnvelopeProblem(joint / py, joint.sum(axis=1), py, np.atleast_1d(slope))


def height(points, joint, slope, dual):
    """The function that is bounded, one point after the other."""
    px, py = joint.sum(axis=1), joint.sum(axis=0)
    found = []
    for point in points:
        image = (joint / py) @ point
        to_x = sum(t * np.log(t / q) for t, q in zip(image, px, strict=True) if t > 0)
        to_y = sum(t * np.log(t / q) for t, q in zip(point, py, strict=True) if t > 0)
        found.append(to_x - slope * to_y - point @ dual)
    return np.array(found)


def lattice(letters, steps):
    grid = itertools.product(range(steps + 1), repeat=letters - 1)
    return np.array([(*g, steps - sum(g)) for g in grid if sum(g) <= steps]) / steps


duals = st.lists(st.floats(-1.0, 1.0), min_size=3, max_size=3)


@settings(max_examples=30)
@given(
    st.sampled_from(("any", "zeros", "erased")) | strategies.joint_pmfs((3, 2)),
    st.floats(0.01, 0.99),
    duals,
)
def test_C11_branch_and_bound_bounds_every_affine_function_and_tightly(joint, slope, dual):
    if isinstance(joint, str):
        joint = {"any": ANY, "zeros": ZEROS, "erased": ERASED}[joint]
    joint = joint[:, joint.sum(axis=0) > 0]
    if joint.shape[1] < 2:
        return
    n = joint.shape[1]
    dual = np.array(dual)[:n]
    tolerance = 1e-8
    found = largest_excess(problem(joint, slope), dual[None], np.array([tolerance]), budget=100_000)
    points = lattice(n, 40 if n == 3 else 400)
    values = height(points, joint, slope, dual)
    assert found.finished[0]
    assert values.max() <= found.upper[0]
    # A local search from the best lattice point meets the bound.
    start = points[np.argmax(values)] * 0.98 + 0.02 / n

    def below(logits):
        point = np.exp(logits - logits.max())
        return -height((point / point.sum())[None], joint, slope, dual)[0]

    climbed = scipy.optimize.minimize(below, np.log(start), options={"gtol": 1e-9})
    best = max(-climbed.fun, values.max())
    assert best - 1e-13 <= found.upper[0]
    np.testing.assert_allclose(found.where.sum(), 1.0, rtol=0, atol=1e-12)
    np.testing.assert_allclose(
        height(found.where, joint, slope, dual), found.found, rtol=0, atol=1e-12
    )
    # Below zero nothing has to be resolved: the bound only promises not to pass zero by much.
    assert found.upper[0] <= max(best, 0.0) + 1.01 * tolerance + 1e-6 * (best > 0)


@pytest.mark.parametrize("joint", [ANY, ZEROS, ERASED], ids=["any", "zeros", "erased"])
def test_C11_every_cell_is_bounded(joint):
    generator = np.random.default_rng(11)
    count, slope, dual = 300, 0.4, np.array([0.2, -0.3, 0.1])
    centre = generator.dirichlet(np.full(3, 0.4), count)
    size = 10.0 ** generator.uniform(-3, 0, (count, 1, 1))
    cells = (1 - size) * centre[:, None] + size * generator.dirichlet(np.full(3, 0.5), (count, 3))
    lanes = np.zeros(count, int)
    shared = problem(joint, slope)
    bound, best, _, halves = _bounded_cells(cells, lanes, shared.slope, dual[None], shared)
    single = shared._replace(slope=np.asarray(slope))
    inner = generator.dirichlet(np.full(3, 0.7), (count, 200)) @ cells
    values = np.asarray(gain(inner, single)) - inner @ dual
    assert (values.max(axis=1) <= bound + 1e-14).all()
    assert (best <= bound).all()
    # Small cells are bounded to second order, and the halves make up the whole.
    small = (size[:, 0, 0] < 0.01) & (cells.min(axis=(1, 2)) > 0.02)
    excess = bound[small] - best[small]
    assert small.sum() > 10
    assert (excess <= 30 * size[small, 0, 0] ** 2).all()
    areas = np.abs(np.linalg.det(halves))
    np.testing.assert_allclose(
        areas, 0.5 * np.abs(np.linalg.det(cells))[:, None] * [1, 1], rtol=0, atol=1e-12
    )


@pytest.mark.parametrize("letters", [2, 3, 4])
def test_C11_cells_on_which_a_chord_falls_the_farthest_are_bounded(letters):
    """Vertices at equal heights around a maximum, with a second derivative of minus one along every edge.

    Between them the function rises by as much as it can: by 1/8 on a segment, by (1 - 1/m)/2 with m edges beyond.
    """
    generator, slope, step = np.random.default_rng(letters), 0.97, 1e-3
    for _ in range(10):
        joint = generator.dirichlet(np.full(3 * letters, 3.0)).reshape(3, letters)
        shared = problem(joint, slope)
        top = generator.dirichlet(np.full(letters, 5.0))
        image = shared.channel @ top
        dual = shared.channel.T @ np.log(image / shared.px) - slope * np.log(top / shared.py)
        second = (shared.channel.T / image) @ shared.channel - slope * np.diag(1 / top)
        along = np.linalg.svd(np.ones((1, letters)))[2][1:]  # directions that keep the sum
        value, vector = np.linalg.eigh(-along @ second @ along.T)
        if value.min() <= 0:
            continue
        edges = step * (vector / np.sqrt(value)).T @ along
        first = top - 0.5 * edges.sum(axis=0)
        cell = np.vstack([first, first + edges])
        middle = first + edges.mean(axis=0) * (0.5 if letters == 2 else 1.0)
        highest = height([middle], joint, slope, dual)[0]
        bound, best, _, _ = _bounded_cells(
            cell[None], np.zeros(1, int), shared.slope, dual[None], shared
        )
        rise = step**2 * (0.125 if letters == 2 else 0.5 - 0.5 / (letters - 1))
        assert highest - best[0] == pytest.approx(rise, rel=0.05)
        assert highest <= bound[0] + 1e-15
        assert bound[0] - best[0] <= 1.1 * rise


def test_C11_a_spent_budget_still_bounds():
    joint, slope, dual = ANY, 0.1, np.array([0.3, -0.1, 0.2])
    args = problem(joint, slope), dual[None], np.array([1e-12])
    exact = largest_excess(*args, budget=10**5)
    assert exact.finished[0]
    last = np.inf
    for budget in (1, 10, 100):
        rough = largest_excess(*args, budget=budget)
        assert not rough.finished[0]
        assert exact.found[0] <= rough.upper[0] <= last
        last = rough.upper[0]


def test_C11_a_search_without_levels_still_bounds(monkeypatch):
    args = problem(ANY, 0.1), np.array([[0.3, -0.1, 0.2]]), np.array([1e-12])
    exact = largest_excess(*args, budget=10**5)
    monkeypatch.setattr(certificate, "_LEVELS", 3)
    rough = largest_excess(*args, budget=10**5)
    assert not rough.finished[0]
    assert exact.found[0] <= rough.upper[0]


@given(st.lists(st.floats(0.0, 1.0), min_size=3, max_size=3), st.floats(0.01, 0.99))
def test_C11_gain_is_what_the_posteriors_keep(weights, slope):
    point = (np.array(weights) + 1e-3) / np.sum(np.array(weights) + 1e-3)
    single = problem(ANY, slope)._replace(slope=np.asarray(slope))
    expected = height(point[None], ANY, slope, np.zeros(3))
    np.testing.assert_allclose(gain(point, single), expected[0], rtol=0, atol=1e-14)
    np.testing.assert_allclose(gain(single.py, single), 0.0, rtol=0, atol=1e-15)


def dense_newton_direction(m, dual, source):
    """Newton's step from the whole matrix: an equation for each mass and each letter."""
    P, py, s = source.channel, source.py, float(source.slope[0])
    count, n = m.shape
    size = count * n
    matrix, right = np.zeros((size + n, size + n)), np.zeros(size + n)
    for u in range(count):
        pi = m[u] / m[u].sum()
        t = P @ pi
        rows = np.arange(u * n, (u + 1) * n)
        used = m[u] > 0
        curvature = P.T @ (P / t[:, None]) - (1 - s)
        block = np.where(used[:, None], curvature * pi - s * np.eye(n), np.eye(n))
        matrix[rows[:, None], rows] = block
        matrix[rows, size + np.arange(n)] = -used.astype(float)
        matrix[size + np.arange(n), rows] = m[u]
        logs = np.log(np.where(used, pi, 1.0) / np.where(used, py, 1.0))
        gradient = P.T @ np.log(t / source.px) - s * logs
        right[rows] = np.where(used, dual - gradient, 0.0)
    right[size:] = py - m.sum(axis=0)
    found = np.linalg.solve(matrix, right)
    return found[:size].reshape(count, n), found[size:]


@pytest.mark.parametrize("letters", [2, 3, 6])
@pytest.mark.parametrize("slope", [0.05, 0.4])
def test_C11_newton_step_by_blocks_is_that_of_the_whole_matrix(letters, slope):
    generator = np.random.default_rng(letters)
    joint = generator.dirichlet(np.ones(5 * letters)).reshape(5, letters)
    source = problem(joint, slope)
    # Fewer atoms than letters, one of which does without a letter; masses that do not yet fit.
    m = source.py * generator.dirichlet(np.ones(letters), letters).T[: max(2, letters - 2)]
    m[0, 0] = 0.0
    dual = generator.normal(size=letters)
    log_step, dual_step = _newton._newton_direction(m[None], dual[None], source, np.array([False]))
    wanted_step, wanted_dual = dense_newton_direction(m, dual, source)
    scale = max(np.abs(wanted_step).max(), np.abs(wanted_dual).max())
    np.testing.assert_allclose(log_step[0], wanted_step, rtol=0, atol=1e-9 * scale)
    np.testing.assert_allclose(dual_step[0], wanted_dual, rtol=0, atol=1e-9 * scale)
    # Where the system is regular, damping changes nothing to first order.
    inverse = _newton._damped_inverse(
        np.where(m > 0, m / m.sum(axis=1, keepdims=True), 0.0)[None], m[None] > 0, source
    )
    assert np.isfinite(inverse).all()


@pytest.mark.parametrize("crossover", [0.0, 0.01, 0.1, 0.4, 0.5])
def test_C11_contraction_of_binary_channels(crossover):
    joint = np.array([[1 - crossover, crossover], [crossover, 1 - crossover]]) / 2
    squared = (1 - 2 * crossover) ** 2
    np.testing.assert_allclose(
        contraction_coefficient(joint, compress="columns"), squared, rtol=0, atol=2e-14
    )
    erased = np.vstack([np.diag([0.5, 0.5]) * (1 - crossover), np.full(2, crossover / 2)])
    np.testing.assert_allclose(
        contraction_coefficient(erased, compress="columns"), 1 - crossover, rtol=0, atol=2e-14
    )


@given(strategies.joint_pmfs((4, 5)), strategies.pmfs(5), strategies.pmfs(5))
def test_C11_no_pair_of_distributions_keeps_more_than_the_contraction_coefficient(joint, p, q):
    eta = float(contraction_coefficient(joint, compress="columns"))
    mass = joint.sum(axis=0)
    rows = joint / np.where(mass > 0, mass, 1.0)
    p, q = (p + 1e-3) * (mass > 0), (q + 1e-3) * (mass > 0)
    p, q = p / p.sum(), q / q.sum()

    def divergence(a, b):
        return float(np.sum(a[a > 0] * np.log(a[a > 0] / b[a > 0])))

    assert divergence(rows @ p, rows @ q) <= eta * divergence(p, q) + 1e-12
    variation = 0.5 * np.abs(rows[:, mass > 0, None] - rows[:, None, mass > 0]).sum(axis=0).max()
    assert eta <= min(variation, 1.0) + 2e-14
    px = joint.sum(axis=1)
    weights = np.sqrt(np.outer(px, mass))
    normal = np.divide(joint, weights, out=np.zeros_like(joint), where=weights > 0)
    singular = np.linalg.svd(normal, compute_uv=False)
    assert singular[1] ** 2 <= eta + 1e-9


@pytest.mark.parametrize("rare", [1e-30, 1e-200, 1e-300])
def test_C11_contraction_of_channels_with_rare_letters(rare):
    """Dobrushin: it is at most the total variation. Squares of these probabilities are no floats."""
    rows = np.array([[rare, 0.5, 0.5 - rare], [4 * rare, 0.25, 0.75 - 4 * rare], [0.0, 0.5, 0.5]])
    distance = 0.5 * np.abs(rows[:, None] - rows).sum(axis=-1).max()
    eta = float(contraction_coefficient(rows.T / 3, compress="columns"))
    without = float(contraction_coefficient(rows[:, 1:].T / rows[:, 1:].sum(), compress="columns"))
    assert eta <= distance + 1e-14
    assert eta == pytest.approx(without, rel=0, abs=1e-13)


def test_contraction_names_bad_input():
    with pytest.raises(ValueError, match="joint must sum to one"):
        contraction_coefficient([[0.5, 0.6]], compress="columns")
    assert contraction_coefficient([[0.5], [0.5]], compress="columns") == 0
