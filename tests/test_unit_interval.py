"""Probabilities and losses lie in [0, 1] exactly, so that every function takes another one's result.

Weights of a sum that add up to 1 + 3e-14 make a loss above one, which the next function refuses.
"""

import jax
import numpy as np
import pytest

from rdsim import codes, limits, ranking, simulation, sources
from rdsim.codes.ensembles.discrete import competitor_probabilities

LOSSES = ("error", "reciprocal_rank", ("miss", 3), "dcg")
SIZES = np.array([1.0, 40.0, 400.0])
"""Most of these databases are so large that a loss is one, but for rounding."""
JOINT = np.asarray(sources.dsbs(0.11).joint)
NOISY = np.array([[0.9, 0.1], [0.2, 0.8]])
KEY = jax.random.key(0)


def _code():
    return codes.random_code(JOINT, 1 - np.eye(2), n=5, rate=0.5)


def _blocks(loss):
    return [ranking.block_loss(JOINT, NOISY, SIZES, loss, n=n) for n in (1, 12)]


def _gaussian(loss):
    cases = [(c, n) for c in (0.9, 0.05, 1e-9) for n in (1, 6)]
    return [ranking.gaussian_rank_loss(c, SIZES, loss, n=n, nodes=64).value for c, n in cases]


def _expected(loss):
    above, tied = np.log([0.999999999999, 0.5, 1e-300])[:, None], np.log([1e-12, 1e-300])
    return [ranking.expected_loss(size, loss, log_a=above, log_e=tied) for size in SIZES]


def _codewords(loss):
    scores = np.linspace(0, 1, 30).reshape(3, 10)
    return [ranking.codeword_loss(scores, [0, 5, 9], np.full(10, 0.1), SIZES, loss)]


def _dsbs(loss):
    rates = np.array([0.3, 0.7])[:, None]
    return [codes.dsbs_ensemble(p, SIZES, loss, n=40, rate=rates) for p in (0.05, 0.3)]


def _simulated(loss):
    found = simulation.simulate_ensemble(KEY, _code(), SIZES, (loss,), trials=64)
    (estimate,) = found.estimates.values()
    return [estimate.mean, estimate.lower, estimate.upper]


def _least(loss):
    found = [limits.rank_loss(size, loss, rate=[0.0, 0.4, 3.0]) for size in (1.0, 3.0, 400.0)]
    return [end for each in found for end in (each.lower, each.upper)]


def _least_with_a_prior(loss):
    found = limits.rank_loss_prior([0.5, 0.3, 0.2], loss, rate=[0.0, 0.4, 1.4])
    return [found.lower, found.upper]


def _bounds(loss):
    found = [limits.retrieval_bounds(JOINT, 2.0, loss, n=1)]
    # Of Gaussian pairs they are those of `gaussian_rank_loss`, which is tried with each loss.
    if loss == "dcg":
        found.append(limits.retrieval_bounds(sources.gaussian(0.6), 20.0, loss, n=2))
    return [each for part in found for each in (part.vertex_loss, part.zero_rate_loss)]


CASES = {
    "expected_loss": _expected,
    "scored_loss": lambda loss: [ranking.scored_loss(JOINT, SIZES, loss)],
    "codeword_loss": _codewords,
    "block_loss": _blocks,
    "gaussian_rank_loss": _gaussian,
    "dsbs_ensemble": _dsbs,
    "dsbs_code_loss": lambda loss: [
        codes.dsbs_code_loss([0.2, 0.5, 0.0, 0.3], SIZES, loss, crossover=0.2)
    ],
    "discrete_ensemble": lambda loss: [codes.discrete_ensemble(_code(), SIZES, loss)],
    "simulate_ensemble": _simulated,
    "rank_loss": _least,
    "rank_loss_prior": _least_with_a_prior,
    "retrieval_bounds": _bounds,
}


@pytest.mark.parametrize("loss", LOSSES, ids=str)
@pytest.mark.parametrize("name", CASES)
def test_losses_lie_in_the_unit_interval_and_are_taken_by_the_next_function(name, loss):
    for found in CASES[name](loss):
        values = np.asarray(found)
        assert np.all((values >= 0) & (values <= 1)), (values.min(), values.max() - 1)
        limits.rank_rate(4.0, loss, distortion=values)


def _tails():
    values, pmf = np.array([[0.0, 1.0, 3.0]]), np.array([[0.2, 0.5, 0.3]])
    for threshold in (-1.0, 0.0, 31.0, 90.0, 91.0):
        tail = ranking.score_tail(values, pmf, [30], threshold)
        for part in (tail.log_tail, tail.log_tie):
            yield from (np.exp(part.lower), np.exp(part.upper))
        yield np.exp(ranking.saddlepoint_tail(values, pmf, [30], threshold).log_tail)


def _other():
    ranks = ranking.pair_ranks(np.eye(6), np.eye(6)[[0, 0, 2, 3, 4, 4]])
    yield from (ranks.reciprocal_ranks(), *(ranks.recalls(k) for k in (1, 3, 9)))
    competitors = competitor_probabilities(_code())
    yield from (np.exp(competitors.log_above), np.exp(competitors.log_tied))
    distribution = codes.dsbs_distances(0.1, n=40, rate=0.5).target
    yield distribution
    scores, positives = np.random.default_rng(0).normal(size=(5, 9)), np.eye(9, dtype=bool)[:5]
    for metric in (ranking.reciprocal_rank, ranking.average_precision, ranking.ndcg):
        yield metric(scores, positives)
    interval = simulation.clopper_pearson(np.array([0, 3, 10]), 10)
    yield from (interval.lower, interval.mean, interval.upper)
    second = limits.finite_blocklength.binary_hamming_second_order(0.4, distortion=0.1)
    yield second.excess_probability([1, 100, 1e9], rate=0.5)


@pytest.mark.parametrize("found", [_tails, _other])
def test_probabilities_lie_in_the_unit_interval(found):
    for values in map(np.asarray, found()):
        assert np.all((values >= 0) & (values <= 1)), (values.min(), values.max() - 1)
