"""Operating points: bits of the grid's distribution, and losses of a database in memory."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rdsim.codes.common_form import CommonCode
from rdsim.learning.operating_points import operating_point
from rdsim.simulation.coded_items import Decoder, simulate_item_code
from rdsim.sources.mixture import gaussian_mixture

KEY = jax.random.key(4)
SOURCE = gaussian_mixture([0.6, 0.4], [[-1.0], [1.5]], 0.3, query_noise=[0.1, 0.6])
SIZES = (math.log2(8), 20.0)
LOSSES = ("reciprocal_rank", "error", ("miss", 3))
PARAMETERS = (jnp.array([-1.7, -0.6, 0.9, 2.0]), jnp.array([1 / 0.1, 1 / 0.6]))


SLOPE = 4.0


def soft(points):
    """Codewords drawn by Q(u|y) proportional to b_u exp(-s |y-u|^2), the first twice as heavy."""
    words = len(points)
    return CommonCode(
        codewords=jnp.asarray(points, float)[:, None],
        bias=jnp.log(jnp.ones(words).at[0].set(2.0)),
        slope=jnp.asarray(SLOPE),
        signs=jnp.zeros((words, 0)),
        planes=jnp.zeros((0, 1)),
        centre=jnp.zeros(1),
    )


def channel(items):
    """The same in NumPy, for items of any shape."""
    weight = np.array([2.0, 1, 1, 1]) * np.exp(
        -SLOPE * (np.asarray(items)[..., None] - np.asarray(PARAMETERS[0])) ** 2
    )
    return weight / weight.sum(axis=-1, keepdims=True)


def bits_of_grid(cells):
    """I(U;Y), H(U) and the output marginal on the cells of the item's distribution."""
    distribution = SOURCE.discretise_item(cells)
    p, Q = np.asarray(distribution.masses), channel(np.asarray(distribution.points)[:, 0])
    q = p @ Q
    return p @ (Q * np.log2(Q / q)).sum(axis=1), -(q * np.log2(q)).sum(), q


def weighted(parameters, queries):
    """Distances weighed by the precisions of the modalities seen."""
    points, weights = parameters
    square = (queries[:, 0, None] - points) ** 2
    return -0.5 * weights[: square.shape[0]] @ square


def alike(words, _queries):
    return jnp.zeros(words.shape[0])


@pytest.fixture(scope="module")
def point():
    return operating_point(
        KEY,
        SOURCE,
        soft(PARAMETERS[0]),
        Decoder(weighted, PARAMETERS),
        SIZES,
        LOSSES,
        trials=4096,
        cells=256,
        confidence=1 - 1e-7,
    )


def test_C17_bits_are_those_of_the_grid(point):
    information, entropy, q = bits_of_grid(256)
    np.testing.assert_allclose(point.output_marginal, q, rtol=0, atol=1e-12)
    assert float(point.information) == pytest.approx(information, abs=1e-12)
    assert float(point.index_entropy) == pytest.approx(entropy, abs=1e-12)
    assert information < entropy - 0.2
    np.testing.assert_array_equal(point.log2_size, SIZES)


def test_the_grid_says_what_halving_it_changes(point):
    coarse, _, q = bits_of_grid(128)
    change = 0.5 * np.abs(np.asarray(point.output_marginal) - q).sum()
    assert float(point.total_variation) == pytest.approx(change, abs=1e-12)
    assert float(point.information_change) == pytest.approx(
        float(point.information) - coarse, abs=1e-12
    )
    assert 0 < change < 1e-3


def test_C17_losses_are_those_of_a_database_in_memory(point):
    """Eight items drawn, coded, scored and sorted; both means in intervals of 1 - 1e-7."""
    rng, runs, M = np.random.default_rng(3), 8000, 8
    u, w = (np.asarray(a) for a in PARAMETERS)
    item = np.where(rng.random((runs, M)) < 0.6, -1.0, 1.5) + rng.normal(size=(runs, M)) * 0.3**0.5
    stored = (channel(item).cumsum(axis=-1) < rng.random((runs, M, 1))).sum(axis=-1)
    queries = item[:, :1] + rng.normal(size=(runs, 2)) * np.sqrt([0.1, 0.6])
    table = -0.5 * np.einsum("k,rku->ru", w, (queries[..., None] - u) ** 2)
    scores, draws = np.take_along_axis(table, stored, axis=1), rng.random((runs, M))
    rank = 1 + (
        (scores > scores[:, :1]) | ((scores == scores[:, :1]) & (draws > draws[:, :1]))
    ).sum(axis=1)
    room = math.sqrt(math.log(2 / 1e-7) / (2 * runs))  # Hoeffding
    direct = {"reciprocal_rank": 1 - 1 / rank, "error": rank > 1, "miss_3": rank > 3}
    assert set(point.losses) == set(direct)
    for name, values in direct.items():
        found = point.losses[name]
        assert found.lower.shape == (2,)
        assert found.lower[0] - room <= values.mean() <= found.upper[0] + room
        assert found.upper[0] - found.lower[0] < 0.12
        assert found.mean[1] > found.mean[0]


def test_competitors_follow_the_finer_grid(point):
    """The same draws with the marginal given: the same estimates to rounding."""
    system = {"system": Decoder(weighted, PARAMETERS)}
    competitor = bits_of_grid(256)[2]
    found = simulate_item_code(
        KEY,
        SOURCE,
        soft(PARAMETERS[0]),
        system,
        competitor,
        SIZES,
        LOSSES,
        trials=4096,
        confidence=1 - 1e-7,
    )
    for name, estimate in found.estimates["system"].items():
        np.testing.assert_allclose(point.losses[name].mean, estimate.mean, rtol=1e-9)


def test_the_marginal_is_that_of_the_source(point):
    """Mean channel of 2^16 drawn items: a false alarm below 1e-6 (Hoeffding)."""
    number = 1 << 16
    items = np.asarray(SOURCE.sample(jax.random.key(9), (number,))[1])[:, 0]
    room = math.sqrt(math.log(2 * 4 / 1e-6) / (2 * number))
    found = channel(items).mean(axis=0)
    assert np.abs(found - np.asarray(point.output_marginal)).max() <= room + point.total_variation


def test_fewer_queries_tell_less(point):
    modalities = (1,)
    one = PARAMETERS[1][jnp.array(modalities)]
    fewer = operating_point(
        KEY,
        SOURCE,
        soft(PARAMETERS[0]),
        Decoder(weighted, (PARAMETERS[0], one)),
        SIZES[0],
        trials=4096,
        cells=256,
        modalities=modalities,
        confidence=1 - 1e-7,
    )
    both = point.losses["reciprocal_rank"]
    found = fewer.losses["reciprocal_rank"]
    assert found.mean.shape == ()
    assert found.mean > both.mean[0]
    # The same bits: what is stored does not depend on who asks.
    assert float(fewer.information) == float(point.information)


def test_C1_one_codeword_ranks_at_random():
    """All tie, so that the rank is uniform: MRR is the harmonic number over M."""
    code = soft([0.0])
    found = operating_point(
        KEY, SOURCE, code, Decoder(alike, code.codewords), 3.0, trials=4096, cells=64
    )
    expected = 1 - sum(1 / r for r in range(1, 9)) / 8
    assert float(found.information) == 0
    assert float(found.index_entropy) == 0
    assert float(found.total_variation) == 0
    estimate = found.losses["reciprocal_rank"]
    assert float(estimate.lower) <= expected <= float(estimate.upper)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"cells": 3}, ValueError, "cells must be at least 4"),
        ({"cells": 8.0}, TypeError, "cells must be an integer"),
        ({"log2_size": 0.5}, ValueError, "log2_size"),
        ({"losses": "error"}, ValueError, "losses must be a list"),
        ({"key": 3}, TypeError, "key"),
        ({"modalities": 2}, ValueError, "modalities"),
    ],
)
def test_bad_arguments_are_named(arguments, error, message):
    good = {
        "key": KEY,
        "source": SOURCE,
        "code": soft(PARAMETERS[0]),
        "decoder": Decoder(weighted, PARAMETERS),
        "log2_size": 3.0,
        "cells": 64,
    }
    with pytest.raises(error, match=message):
        operating_point(**{**good, **arguments})
