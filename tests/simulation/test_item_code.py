"""Codes for items of a mixture: the simulation, its optimal decoder, and what no code can beat."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from rdsim.codes.common_form import CODES, CommonCode, common_code, fit_item_code
from rdsim.codes.entropy_coding import code_rates
from rdsim.codes.quantizers.vector import VectorQuantizer, vector_quantizer
from rdsim.limits import bottleneck_vector_gaussian
from rdsim.limits.bottleneck import mixture_bottleneck_bound
from rdsim.ranking.rank_distribution import expected_loss
from rdsim.ranking.similarity import information_density_scores, negative_squared_distance
from rdsim.simulation import coded_items
from rdsim.simulation.coded_items import Decoder, WholeItems, simulate_item_code
from rdsim.simulation.engine import RunOptions
from rdsim.simulation.mixture_decoders import density_decoder, log_disc_mass, whole_items
from rdsim.sources.mixture import gaussian_mixture
from rdsim.sources.mixture.noisy_copies import weighted_mean

KEY = jax.random.key(3)
SOURCE = gaussian_mixture(
    [0.5, 0.3, 0.2], [[0.0, 0.0], [2.0, 0.5], [-1.0, 1.5]], [0.2, 0.3, 0.1], query_noise=[0.05, 0.4]
)
GRID = SOURCE.discretise_item(32)
LOSSES = ("reciprocal_rank", "error", ("miss", 3))
SIZES = (math.log2(12), 10.0)


def distances(codewords, queries):
    """Unequal weights, so that a mix-up of the modalities shows."""
    return jnp.array([1.0, 0.3]) @ negative_squared_distance(queries, codewords)


def alike(codewords, _queries):
    return jnp.zeros(codewords.shape[0])


def soft_code(slope=3.0):
    """Six codewords, one of them never drawn."""
    codewords = jnp.array([[0.1, 0], [2, 0.3], [-1, 1.4], [0.8, -0.4], [1.5, 1], [9, 9.0]])
    bias = jnp.log(jnp.array([0.3, 0.2, 0.2, 0.2, 0.1, 0.0]))
    none = jnp.zeros((0, 2))
    return CommonCode(
        codewords=codewords,
        bias=bias,
        slope=jnp.asarray(slope),
        signs=jnp.zeros((6, 0)),
        planes=none,
        centre=jnp.zeros(2),
    )


def marginal(code):
    return code_rates(code, GRID.points, masses=GRID.masses).output_marginal


def simulate(code, trials=4096, **options):
    decoders = {
        "distances": Decoder(distances, code.codewords),
        "alike": Decoder(alike, code.codewords),
        "density": density_decoder(SOURCE, code, GRID),
        "whole": whole_items(SOURCE),
    }
    competitor = marginal(code)
    return simulate_item_code(
        KEY, SOURCE, code, decoders, competitor, SIZES, LOSSES, trials=trials, **options
    )


@pytest.fixture(scope="module")
def found():
    return simulate(soft_code(), confidence=1 - 1e-7)


def test_C17_the_loss_is_that_of_a_database_in_memory(found):
    """M items drawn, stored, scored and sorted, ties at random; both means in intervals of 1 - 1e-7."""
    code, rng, M, runs = soft_code(), np.random.default_rng(1), 12, 4000
    queries, items, _ = (np.asarray(a) for a in SOURCE.sample(jax.random.key(8), (runs, M)))
    channel = np.asarray(code.channel(items.reshape(-1, 2))).cumsum(axis=1)
    stored = (channel < rng.random((runs * M, 1))).sum(axis=1).reshape(runs, M)
    u = np.asarray(code.codewords)
    for name in ("distances", "whole"):
        x = queries[:, 0]
        if name == "whole":
            weight = np.array([1 / 0.05, 1 / 0.4])
            z = np.einsum("k,rkd->rd", weight / weight.sum(), x)
            scores = -((z[:, None] - items) ** 2).sum(axis=-1)
        else:
            square = ((x[:, :, None] - u) ** 2).sum(axis=-1)
            table = -0.5 * np.einsum("k,rku->ru", [1.0, 0.3], square)
            scores = np.take_along_axis(table, stored, axis=1)
        draws = rng.random((runs, M))
        own, own_draw = scores[:, :1], draws[:, :1]
        rank = 1 + ((scores > own) | ((scores == own) & (draws > own_draw))).sum(axis=1)
        direct = {
            "reciprocal_rank": 1 - 1 / rank,
            "error": rank > 1,
            "miss_3": rank > 3,
        }
        for loss, values in direct.items():
            room = math.sqrt(math.log(2 / 1e-7) / (2 * runs))  # Hoeffding
            estimate = found.estimates[name][loss]
            assert estimate.lower[0] - room <= values.mean() <= estimate.upper[0] + room
            assert estimate.upper[0] - estimate.lower[0] < 0.12


def test_alike_codewords_are_a_random_ranking(found):
    for loss, name in zip(LOSSES, ("reciprocal_rank", "error", "miss_3"), strict=True):
        exact = np.asarray(expected_loss(np.asarray(SIZES), loss, log_a=-np.inf, log_e=0.0))
        estimate = found.estimates["alike"][name]
        assert np.all((estimate.lower <= exact) & (exact <= estimate.upper))
        np.testing.assert_allclose(estimate.mean, exact, rtol=0, atol=1e-9)  # ties have no variance


def test_C17_no_decoder_beats_the_density_and_no_code_whole_items(found):
    """All on the same draws; the density's Gaussian cells may cost a little."""
    for loss in ("reciprocal_rank", "error", "miss_3"):
        whole, density, other = (
            np.asarray(found.estimates[name][loss].mean)
            for name in ("whole", "density", "distances")
        )
        assert np.all(whole < density)
        assert np.all(density < other + 0.003)


def test_another_code_sees_the_same_items(found):
    code = soft_code(0.5)
    again = simulate(code, confidence=1 - 1e-7)
    for loss in ("reciprocal_rank", "error", "miss_3"):
        same, before = again.estimates["whole"][loss], found.estimates["whole"][loss]
        np.testing.assert_array_equal(same.mean, before.mean)
    coarse, fine = (run.estimates["density"]["reciprocal_rank"].mean[0] for run in (again, found))
    assert coarse > fine


def test_a_continued_run_has_the_same_digits(found, tmp_path):
    path = tmp_path / "run.json"
    simulate(soft_code(), trials=1024, run=RunOptions(checkpoint=path), confidence=1 - 1e-7)
    again = simulate(soft_code(), run=RunOptions(checkpoint=path), confidence=1 - 1e-7)
    for one, other in zip(jax.tree.leaves(again), jax.tree.leaves(found), strict=True):
        np.testing.assert_array_equal(one, other)


@given(
    st.sampled_from([1, 2]),
    st.integers(0, 2**31),
    st.floats(-5, 1.2),
)
@settings(max_examples=20)
def test_disc_mass_is_the_noncentral_chi_square(dimension, seed, log10_radius):
    """Relative accuracy, against scipy's distribution of squared distances."""
    rng = np.random.default_rng(seed)
    w = rng.dirichlet(np.ones(3))
    means, v = rng.normal(size=(3, dimension)), rng.uniform(0.05, 1.0, 3)
    source = gaussian_mixture(w, means, v, query_noise=[1.0])
    centre, r = rng.normal(size=dimension), 10**log10_radius
    square = ((centre - means) ** 2).sum(axis=1)
    exact = w @ scipy.stats.ncx2.cdf(r * r / v, dimension, square / v)
    mass = float(jnp.exp(log_disc_mass(source, jnp.asarray(centre), jnp.asarray(r))))
    assert mass == pytest.approx(exact, rel=1e-8, abs=0)


def test_weighted_mean_keeps_all_information():
    """Its density ratio between two items is that of the queries themselves."""
    queries, items, _ = SOURCE.sample(jax.random.key(2), (50,))
    mean = weighted_mean(SOURCE)
    z = np.einsum("k,nkd->nd", mean.weights, queries)
    other = items[::-1]
    own = -((z - items) ** 2).sum(1) + ((z - other) ** 2).sum(1)
    expected = SOURCE.log_density_joint(queries, items) - SOURCE.log_density_item(items)
    expected -= SOURCE.log_density_joint(queries, other) - SOURCE.log_density_item(other)
    np.testing.assert_allclose(own / (2 * mean.variance), expected, rtol=1e-9, atol=1e-9)
    alone = weighted_mean(SOURCE, [1])
    assert (float(alone.variance), alone.weights.tolist()) == (0.4, [1.0])


@pytest.mark.parametrize("dimension", [1, 2])
def test_bottleneck_bound_of_one_class_is_the_gaussian_bottleneck(dimension):
    source = gaussian_mixture([1.0], np.zeros((1, dimension)), 0.7, query_noise=[0.2, 0.3])
    r = math.sqrt(0.7 / (0.7 + 0.12))
    rate = np.linspace(0, 12, 49)
    exact = bottleneck_vector_gaussian([r] * dimension, rate=rate)
    bound = np.asarray(mixture_bottleneck_bound(source, rate))
    assert np.all(bound >= exact - 1e-12)
    np.testing.assert_allclose(bound, exact, rtol=0, atol=1e-5)


@given(st.integers(0, 2**31), st.floats(0.1, 2.0), st.integers(2, 6))
@settings(max_examples=15)
def test_C17_no_quantizer_tells_more_than_the_bottleneck_bound(seed, noise, letters):
    """Random cells of items on a line: I(U;Z) of a table against the bound at H(U)."""
    rng = np.random.default_rng(seed)
    w, means = rng.dirichlet(np.ones(2)), np.sort(rng.normal(size=2) * 3)
    source = gaussian_mixture(w, means[:, None], [0.3, 0.6], query_noise=[noise])
    y = np.linspace(-12, 12, 801)
    p = np.exp(np.asarray(source.log_density_item(y[:, None])))
    p /= p.sum()
    cells = np.searchsorted(np.sort(rng.choice(y[250:550], letters - 1)), y)
    z = np.linspace(-19, 19, 601)
    given_y = scipy.stats.norm.pdf(z, y[:, None], math.sqrt(noise))
    given_y /= given_y.sum(axis=1, keepdims=True)
    joint = np.stack([p[cells == u] @ given_y[cells == u] for u in range(letters)])
    q = joint.sum(axis=1)
    independent = np.outer(q, joint.sum(axis=0))
    seen = joint > 1e-100
    relevance = (joint[seen] * np.log2(joint[seen] / independent[seen])).sum()
    rate = scipy.stats.entropy(q, base=2)
    rates = np.array([rate, 0.5 * rate, 0.0])
    bound = np.asarray(mixture_bottleneck_bound(source, rates))
    assert relevance <= bound[0] + 1e-4
    assert np.all(bound <= rates + 1e-12)
    assert bound[1] >= 0.5 * bound[0] - 1e-9  # concave


def test_density_decoder_is_near_the_information_density():
    """Against the log domain sum over the cells, up to a number that all codewords share."""
    code = soft_code()
    decoder = density_decoder(SOURCE, code, GRID)
    queries = SOURCE.sample(jax.random.key(4), (40,))[0]
    used = slice(0, 5)
    ours = np.stack([decoder.scores(decoder.parameters, x) for x in queries])
    exact = np.asarray(
        information_density_scores(
            SOURCE, queries, code.channel(GRID.points), points=GRID.points, masses=GRID.masses
        )
    ) * math.log(2)
    assert np.all(ours[:, 5] == -np.inf)
    gap = ours[:, used] - exact[:, used]
    weight = np.exp(exact[:, used]) * np.asarray(marginal(code))[used]
    spread = gap - (weight * gap).sum(axis=1, keepdims=True)
    assert (weight * np.abs(spread)).sum(axis=1).mean() < 0.03


@pytest.fixture(scope="module")
def items():
    return SOURCE.sample(jax.random.key(6), (300,))[1]


@pytest.mark.parametrize("name", CODES)
def test_the_common_form_is_the_same_code(name, items):
    code = fit_item_code(KEY, name, items, 3, initial_codewords=12)
    common = common_code(code, codebook_size=16, planes=5)
    test = SOURCE.sample(jax.random.key(7), (300,))[1]
    K = code.codewords.shape[0]
    np.testing.assert_allclose(common.channel(test)[:, :K], code.channel(test), rtol=0, atol=1e-9)
    assert float(jnp.abs(common.channel(test)[:, K:]).sum()) == 0
    np.testing.assert_array_equal(common.codewords[:K], code.codewords)
    drawn = np.asarray(common.encode(KEY, test))
    if name == "entropy-weighted":
        assert float(code.rate) == pytest.approx(3, abs=0.02)
        often = jnp.repeat(test[:1], 4000, axis=0)
        share = np.bincount(np.asarray(common.encode(KEY, often)), minlength=16) / 4000
        # Hoeffding for each of 16 shares, 1e-7 in all.
        np.testing.assert_allclose(
            share, common.channel(test[:1])[0], rtol=0, atol=math.sqrt(math.log(32 / 1e-7) / 8000)
        )
    else:
        np.testing.assert_array_equal(drawn, code.encode(KEY, test))


BAD = [
    ({"losses": ()}, ValueError, "losses must be a list"),
    ({"losses": "error"}, ValueError, "losses must be a list"),
    ({"losses": ("rank",)}, ValueError, "loss must be"),
    ({"log2_size": [[3.0]]}, ValueError, "log2_size must be a scalar or a vector"),
    ({"log2_size": 0.5}, ValueError, "log2_size must lie in"),
    ({"competitor": [1.0]}, ValueError, "competitor must have one entry for each of 6"),
    ({"competitor": [0.5] * 6}, ValueError, "competitor must sum to one"),
    ({"decoders": {}}, TypeError, "decoders must map names"),
    ({"decoders": {"a": distances}}, TypeError, r"decoders\['a'\] must be a Decoder"),
    ({"modalities": [2]}, ValueError, "modalities"),
    ({"key": 3}, TypeError, "key must be"),
    ({"trials": None}, ValueError, "trials"),
]


@pytest.mark.usefixtures("unchecked_annotations")
@pytest.mark.parametrize(("change", "error", "message"), BAD)
def test_bad_arguments_are_named(change, error, message):
    code = soft_code()
    arguments = {
        "key": KEY,
        "source": SOURCE,
        "code": code,
        "decoders": {"a": Decoder(distances, code.codewords)},
        "competitor": np.full(6, 1 / 6),
        "log2_size": 3.0,
        "losses": ("error",),
        "trials": 2,
    }
    with pytest.raises(error, match=message):
        simulate_item_code(**(arguments | change))


def test_codes_and_queries_of_another_kind_are_refused(items):
    code = soft_code()
    shifted = dataclasses.replace(SOURCE, gains=jnp.array([1.0, 0.5]))
    for function in (weighted_mean, whole_items):
        with pytest.raises(ValueError, match="source must have queries that are the item plus"):
            function(shifted)
        function(shifted, [0])
    with pytest.raises(ValueError, match="rate must lie in"):
        mixture_bottleneck_bound(SOURCE, -1.0)
    with pytest.raises(TypeError, match="code must be a code of this catalogue"):
        common_code(code)
    with pytest.raises(ValueError, match="name must be one of"):
        fit_item_code(KEY, "nothing", items, 3)
    with pytest.raises(ValueError, match="codebook_size must be in"):
        common_code(vector_quantizer(KEY, items, 8), codebook_size=7)
    line = VectorQuantizer(
        codewords=jnp.zeros((2, 1)),
        offsets=jnp.zeros(2),
        masses=jnp.zeros(2),
        distortion=jnp.zeros(()),
        converged=jnp.ones((), bool),
        iterations=jnp.zeros((), int),
    )
    with pytest.raises(ValueError, match="code must have codewords of 2 coordinates"):
        simulate_item_code(
            KEY, SOURCE, line, {"w": WholeItems(alike, None)}, [0.5, 0.5], 3.0, ("error",), trials=2
        )


@pytest.mark.parametrize("fusion_emitters", [True, False])
def test_a_codeword_ties_with_itself_and_with_its_copy_in_every_program(fusion_emitters):
    # XLA's older code generator for CPUs, where jaxlib still has it, computes a score anew for each use.
    options = {
        "xla_backend_optimization_level": 3,
        "xla_cpu_use_fusion_emitters": fusion_emitters,
    }
    half = jax.random.normal(jax.random.key(1), (32, 3))
    points = jnp.concatenate([half, half])
    competitor = jnp.full(64, 1 / 64)

    def one(key):
        query, target = jax.random.normal(key, (2,)), jax.random.randint(key, (), 0, 64)
        scores = -((points[:, 0] - query[0]) ** 2) - (points[:, 1] - query[1]) ** 2 * points[:, 2]
        return coded_items._above_and_same(scores, target, competitor)

    keys = jax.random.split(jax.random.key(0), 500)
    try:
        program = jax.jit(jax.vmap(one)).lower(keys).compile(options)
    except jax.errors.JaxRuntimeError as error:
        pytest.skip(f"this jaxlib has no such choice: {error}")
    above, same = program(keys)
    np.testing.assert_array_equal(same, 2 / 64)  # itself and its copy
    np.testing.assert_array_equal(above * 64, jnp.round(above * 64))
