"""Random codes on the sphere (C28) against published values and direct simulations of databases.

Every comparison with a simulation allows 6 standard errors: a false alarm has a probability below 2e-9.
"""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import ndtr

from rdsim import sources
from rdsim.codes import sphere_ensemble
from rdsim.codes.ensembles._codeword_angles import Coordinates, RandomDirections
from rdsim.limits import retrieval_converse
from rdsim.ranking import expected_loss
from rdsim.sources.sphere.gauss import gauss_rule


def reward(n, correlation, bits, size, code="random_codewords", **options):
    loss = options.pop("loss", "error")
    pair = sources.projected_normal(n, correlation=correlation)
    found = sphere_ensemble(pair, math.log2(size), loss, bits=bits, code=code, **options).loss
    assert float(found.gap) < 1e-4
    return 1 - float(found.value)


@pytest.mark.parametrize(
    ("problem", "code", "options", "expected", "error"),
    [
        # Monte Carlo values with standard errors of .0004 and .0005; the first is 2.3 of them away.
        ((64, 0.8, 16, 50_000), "random_codewords", {}, 0.1070, 6 * 0.0004),
        ((1024, 0.8, 10, 1000), "random_codewords", {}, 0.1944, 6 * 0.0005),
        # Half of the recall of 30 bits: the other half of the items competes with nobody.
        ((64, 0.8, 30, 50_000), "random_codewords", {}, 2 * 0.351, 2 * 0.0005),
    ],
)
def test_C28_values(problem, code, options, expected, error):
    assert reward(*problem, code, **options) == pytest.approx(expected, abs=error)


def test_C28_half_of_the_items_coded_well_beats_all_coded_alike():
    """Half of the competitors have no codeword, which is worth more than the half of 30 bits among all."""
    half = reward(64, 0.8, 16, 50_000, "longer_codewords_at_random", share=0.5)
    assert half == pytest.approx(0.5 * reward(64, 0.8, 30, 25_000), abs=1e-4)
    assert reward(64, 0.8, 16, 50_000, "longer_codewords", share=0.5) > half


def test_C28_orthogonal_codewords_and_junk_of_many_dimensions_are_those_of_independent_normals():
    """In 20,000 dimensions: 15 independent half-spaces, a threshold, and one junk codeword (6 standard errors)."""
    rng, trials, threshold = np.random.default_rng(7), 200_000, 1.8
    y = rng.normal(size=(trials, 15)).max(axis=1)
    x = 0.8 * y + 0.6 * rng.normal(size=trials)
    mass = 1 - ndtr(threshold) ** 15
    won = (y > threshold) * (1 - mass * ndtr(-x)) ** 99
    found = reward(20_000, 0.8, 4, 100, "orthogonal_codewords_and_junk", share=mass)
    assert found == pytest.approx(won.mean(), abs=6 * won.std() / math.sqrt(trials) + 2e-4)


def test_C28_a_decoder_that_knows_the_other_codewords_finds_more_and_passes_no_converse():
    """Eight independent normals, the largest kept with its sign: the biorthogonal code of many dimensions.

    The likelihood of a codeword is that of all items of its region; its distribution for a competitor is that for the target
    over the likelihood ratio. Both decoders rank the same samples; 6 standard errors.
    """
    rng, trials, number, M = np.random.default_rng(5), 60_000, 8, 100
    y = rng.normal(size=(trials, number))
    x = 0.8 * y + 0.6 * rng.normal(size=y.shape)
    kept, row = np.abs(y).argmax(axis=1), np.arange(trials)
    x *= np.sign(y[row, kept])[:, None]
    own, nodes, weights = x[row, kept], *np.polynomial.legendre.leggauss(24)
    ratio = np.zeros(trials)
    for value, weight in zip(2.75 * (nodes + 1), 2.75 * weights, strict=True):
        smaller = ndtr((value - 0.8 * x) / 0.6) - ndtr((-value - 0.8 * x) / 0.6)
        density = np.exp(-0.5 * ((value - 0.8 * own) / 0.6) ** 2) / (0.6 * math.sqrt(2 * math.pi))
        ratio += 2 * number * weight * density * smaller.prod(axis=1) / smaller[row, kept]
    assert (1 / ratio).mean() == pytest.approx(1, abs=6 * (1 / ratio).std() / math.sqrt(trials))
    order = np.argsort(-ratio)
    ahead = np.empty(trials)
    ahead[order] = np.cumsum(1 / ratio[order]) / trials
    by_likelihood = (1 - np.minimum(ahead, 1)) ** (M - 1)
    by_angle = ndtr(own) ** (M - 1)
    found = reward(20_000, 0.8, 4, M, "biorthogonal_codewords")
    assert found == pytest.approx(
        by_angle.mean(), abs=6 * by_angle.std() / math.sqrt(trials) + 2e-4
    )
    more = by_likelihood - by_angle
    assert more.mean() > 6 * more.std() / math.sqrt(trials)
    pair = sources.vector_gaussian(np.eye(64), np.eye(64), 0.8 * np.eye(64))
    assert by_likelihood.mean() < 1 - float(
        retrieval_converse(pair, math.log2(M), "error", bits=4).loss
    )


def unit(vectors):
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def ranks_of_databases(rng, n, correlation, codewords, size, trials, kept=None):
    """Simulate whole databases: codewords of every item drawn, the nearest kept, ranks averaged over ties.

    Returns the score of the target and those of its competitors; a score of None is a junk codeword. `codewords`
    makes codebooks of a shape (trials, items, K, n); `kept` says which items have codewords, by their cosine.
    """
    y = rng.normal(size=(trials, size, n))
    x = correlation * y[:, 0] + math.sqrt(1 - correlation**2) * rng.normal(size=(trials, n))
    y, x = unit(y), unit(x)
    book = codewords(rng, (trials, size), n)
    cosine = np.einsum("tmkn,tmn->tmk", book, y)
    best = cosine.argmax(axis=-1)[..., None]
    codeword = np.take_along_axis(book, best[..., None], axis=-2)[..., 0, :]
    score = np.einsum("tmn,tn->tm", codeword, x)
    near = np.take_along_axis(cosine, best, axis=-1)[..., 0]
    has = np.ones_like(near, bool) if kept is None else kept(near)
    return score, has


def directions(number):
    return lambda rng, shape, n: unit(rng.normal(size=(*shape, number, n)))


def axes(number):
    def draw(rng, shape, n):
        frame = np.linalg.qr(rng.normal(size=(*shape, n, number)))[0].swapaxes(-1, -2)
        return np.concatenate([frame, -frame], axis=-2)

    return draw


def simulated(score, loss):
    """Mean loss of the target without ties, and its standard error."""
    ahead = (score[:, 1:] > score[:, :1]).sum(axis=1)
    lost = {"error": ahead > 0, "reciprocal_rank": ahead / (1 + ahead), ("miss", 2): ahead > 1}[
        loss
    ]
    return lost.mean(), lost.std() / math.sqrt(len(lost))


@pytest.mark.parametrize("n", [2, 3, 8])
@pytest.mark.parametrize("loss", ["error", "reciprocal_rank", ("miss", 2)])
def test_C28_random_codewords_are_those_of_simulated_databases(n, loss):
    rng = np.random.default_rng(n)
    score, _ = ranks_of_databases(rng, n, 0.8, directions(8), 12, 20_000)
    mean, error = simulated(score, loss)
    assert 1 - reward(n, 0.8, 3, 12, loss=loss) == pytest.approx(mean, abs=6 * error)


def test_C28_biorthogonal_codewords_are_those_of_simulated_databases():
    rng = np.random.default_rng(1)
    score, _ = ranks_of_databases(rng, 16, 0.8, axes(8), 12, 4000)
    mean, error = simulated(score, "error")
    found = reward(16, 0.8, 4, 12, "biorthogonal_codewords")
    assert 1 - found == pytest.approx(mean, abs=6 * error)


def test_C28_words_of_von_mises_and_fisher_are_those_of_simulated_databases():
    """The query is drawn by the source's own sampler."""
    import jax

    source = sources.spherical(5, concentration=6.0)
    x, y = map(np.asarray, source.sample(jax.random.key(2), (20_000,)))
    rng = np.random.default_rng(3)
    book = unit(rng.normal(size=(20_000, 16, 5)))
    codeword = book[np.arange(20_000), np.einsum("tkn,tn->tk", book, y).argmax(axis=1)]
    others = unit(rng.normal(size=(20_000, 9, 5)))
    won = (np.einsum("tmn,tn->tm", others, x) < (codeword * x).sum(axis=1)[:, None]).all(axis=1)
    found = sphere_ensemble(source, math.log2(10), "error", bits=4.0)
    error = won.std() / math.sqrt(won.size)
    assert 1 - float(found.loss.value) == pytest.approx(won.mean(), abs=6 * error)


@pytest.mark.parametrize("loss", ["error", "reciprocal_rank"])
def test_C28_a_junk_word_is_that_of_simulated_databases(loss):
    """Junk stands where its likelihood ratio is one: at a cosine that is computed here from samples."""
    rng, n, size, share = np.random.default_rng(4), 6, 8, 0.4
    pair = sources.projected_normal(n, correlation=0.8)
    codewords = RandomDirections(n, math.log2(7))
    # Cosine of the farthest item with a codeword.
    least = -np.tanh(codewords.angles(200, share).psi.max())
    score, has = ranks_of_databases(
        rng, n, 0.8, directions(7), size, 40_000, lambda near: near > least
    )
    assert has.mean() == pytest.approx(share, abs=0.01)
    from rdsim.ranking.sphere import QueryAngles

    place = -np.tanh(QueryAngles(pair, codewords.angles(20, share))._indifferent())
    score = np.where(has, score, place)
    ahead = (score[:, 1:] > score[:, :1]).sum(axis=1)
    tied = (score[:, 1:] == score[:, :1]).sum(axis=1)
    if loss == "error":
        lost = 1 - (ahead == 0) / (1 + tied)
    else:
        inverse = np.cumsum(1 / np.arange(1, size + 1))
        lost = 1 - (inverse[ahead + tied] - np.where(ahead > 0, inverse[ahead - 1], 0)) / (1 + tied)
    error = lost.std() / math.sqrt(lost.size)
    found = reward(n, 0.8, 3, size, "junk_codeword", loss=loss, share=share)
    assert 1 - found == pytest.approx(lost.mean(), abs=6 * error + 1e-3)


@pytest.mark.parametrize(("nodes", "bits"), [((3, 2), 4.0), ((4, 3), 8.0)])
def test_C28_the_error_of_few_nodes_is_in_the_interval(nodes, bits, monkeypatch):
    """Twenty nodes are exact beside so few, whose two rules differ by more than the finer one errs."""
    source = sources.projected_normal(8, correlation=0.8)
    exact = float(sphere_ensemble(source, 10.0, "reciprocal_rank", bits=bits).loss.value)
    monkeypatch.setattr("rdsim.codes.ensembles.sphere._NODES", nodes)
    few = sphere_ensemble(source, 10.0, "reciprocal_rank", bits=bits).loss
    assert abs(float(few.value) - exact) > 1e-7
    assert float(few.lower) <= exact <= float(few.upper)


@pytest.mark.parametrize("codewords", [2, 4, 16])
def test_C28_one_of_the_codewords_is_junk(codewords):
    """With a codeword of its own for all but a millionth of the items, one less is left than are stored."""
    junk = reward(8, 0.8, math.log2(codewords), 64, "junk_codeword", share=1 - 1e-6)
    assert junk == pytest.approx(reward(8, 0.8, math.log2(codewords - 1), 64), rel=0, abs=1e-4)


def test_C28_one_word_knows_nothing():
    for n in (3, 5, 300):
        assert reward(n, 0.9, 0, 16) == pytest.approx(1 / 16, rel=1e-5, abs=0)


def test_C28_many_bits_tell_what_the_item_tells():
    """With thousands of bits the codeword is the item: the query's angle from it has the source's density."""
    pair = sources.projected_normal(8, correlation=0.7)
    angle = np.linspace(0, math.pi, 4001)[1:-1]
    density = np.asarray(pair.angle_density(angle))
    cap = np.cumsum(np.sin(angle) ** 6)
    cap = (cap - 0.5 * np.sin(angle) ** 6) / cap[-1]
    lost = np.asarray(expected_loss(10.0, "error", log_a=np.log(cap), log_e=-np.inf))
    expected = np.trapezoid(density * lost, angle)
    found = sphere_ensemble(pair, 10.0, "error", bits=400.0).loss
    assert float(found.value) == pytest.approx(expected, abs=1e-5)


def test_C28_hundreds_of_bits_and_databases_of_two_to_the_thousand():
    pair = sources.projected_normal(4000, correlation=0.8)
    found = sphere_ensemble(pair, [1.0, 300.0, 1000.0], "error", bits=[100.0, 900.0])
    lost = np.asarray(found.loss.value)
    assert lost.shape == (2, 3)
    assert (np.diff(lost, axis=1) >= 0).all()
    assert (np.diff(lost, axis=0) <= 0).all()
    assert found.loss.converged.all()


@given(
    st.sampled_from((2, 3, 10, 64)),
    st.floats(0.0, 0.98),
    st.floats(0.0, 12.0),
    st.floats(1.0, 12.0),
)
def test_C28_more_bits_and_fewer_items_lose_less(n, correlation, bits, size):
    pair = sources.projected_normal(n, correlation=correlation)
    found = sphere_ensemble(pair, [size, size + 1], "error", bits=[bits, bits + 1]).loss
    lower, upper = np.asarray(found.lower), np.asarray(found.upper)
    assert (lower[1] <= upper[0]).all()
    assert (lower[:, 0] <= upper[:, 1]).all()


def test_a_gaussian_source_is_coded_by_its_directions():
    eye = np.eye(8)
    pair = sources.vector_gaussian(eye, eye, 0.8 * eye)
    found = sphere_ensemble(pair, 8.0, "error", bits=6.0).loss
    assert 1 - float(found.value) == pytest.approx(reward(8, 0.8, 6, 256), abs=1e-8)


@pytest.mark.parametrize(
    ("n", "count", "absolute"), [(20, 20, True), (40, 5, True), (30, 10, False)]
)
def test_the_largest_coordinate_has_its_distribution(n, count, absolute):
    rng, trials = np.random.default_rng(n), 100_000
    y = unit(rng.normal(size=(trials, n)))[:, :count]
    largest = (np.abs(y) if absolute else y).max(axis=1)
    at = np.quantile(largest, [0.1, 0.5, 0.9, 0.999])
    function, density = Coordinates(n, count, absolute)._distribution(at)
    share = np.array([(largest < t).mean() for t in at])
    assert function == pytest.approx(share, abs=6 * 0.5 / math.sqrt(trials))
    step = 1e-5
    ends = [Coordinates(n, count, absolute)._distribution(at + s)[0] for s in (-step, step)]
    assert density == pytest.approx((ends[1] - ends[0]) / (2 * step), rel=1e-5, abs=1e-6)


def test_gauss_rules_have_the_moments_of_their_table():
    rng = np.random.default_rng(0)
    points, weights = rng.normal(size=50), rng.uniform(size=50)
    nodes, found = gauss_rule(points, weights, 6)
    for power in range(12):
        wanted = weights @ points**power
        assert found @ nodes**power == pytest.approx(wanted, rel=1e-9, abs=1e-9)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"code": "words"}, "code must be one of"),
        ({"bits": -1.0}, "bits must lie in"),
        ({"share": 0.5}, "share must be None"),
        ({"code": "junk_codeword", "share": 1.5}, "share must lie in"),
        ({"code": "biorthogonal_codewords"}, "fewer than 16 dimensions"),
        ({"code": "longer_codewords", "share": 0.5, "bits": 1.0}, None),
        ({"code": "longer_codewords", "share": 0.6, "bits": 0.9}, "bits must lie in"),
        ({"log2_size": 0.5}, "log2_size must lie in"),
    ],
)
def test_bad_input_is_named(options, message):
    pair = sources.projected_normal(8, correlation=0.5)
    given = {"bits": 4.0, "log2_size": 4.0} | options
    if message is None:
        sphere_ensemble(pair, given.pop("log2_size"), "error", **given)
        return
    with pytest.raises(ValueError, match=message):
        sphere_ensemble(pair, given.pop("log2_size"), "error", **given)


def test_unequal_correlations_and_too_many_axes_are_refused():
    unequal = sources.vector_gaussian(np.eye(2), np.eye(2), np.diag([0.8, 0.3]))
    with pytest.raises(ValueError, match="equal canonical correlations"):
        sphere_ensemble(unequal, 4.0, "error", bits=2.0)
    pair = sources.projected_normal(16, correlation=0.5)
    with pytest.raises(ValueError, match="bits must be at most 5"):
        sphere_ensemble(pair, 4.0, "error", bits=6.0, code="biorthogonal_codewords")
