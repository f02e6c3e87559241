"""C17: the rate of a code, as information and as the bits that real coders write."""

import dataclasses
import itertools
import sys
import types

import constriction
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import strategies
from hypothesis import given, settings
from hypothesis import strategies as st

from rdsim.codes.distances import sum_in_chunks
from rdsim.codes.entropy_coding import (
    code_rates,
    entropy_coded_bits,
    huffman_lengths,
)

COIN = [0.5, 0.5]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Table:
    """A code given by its channel: item y is the row number."""

    codewords: jax.Array
    table: jax.Array

    def channel(self, items):
        return self.table[items[:, 0].astype(int)]


def _entropy(p):
    return -sum(x * np.log2(x) for x in np.ravel(p) if x > 0)


@settings(max_examples=40)
@given(strategies.channels((4, 5)), strategies.pmfs(4))
def test_C17_rates_are_those_of_the_joint_distribution(channel, p):
    code = Table(jnp.zeros((5, 1)), jnp.asarray(channel))
    rates = code_rates(code, np.arange(4.0)[:, None], masses=p)
    q = p @ channel
    joint = p[:, None] * channel
    np.testing.assert_allclose(rates.output_marginal, q, rtol=0, atol=1e-12)
    np.testing.assert_allclose(rates.index_entropy, _entropy(q), rtol=0, atol=1e-11)
    np.testing.assert_allclose(rates.randomness, _entropy(joint) - _entropy(p), rtol=0, atol=1e-11)
    information = _entropy(p) + _entropy(q) - _entropy(joint)
    np.testing.assert_allclose(rates.mutual_information, information, rtol=0, atol=1e-11)
    assert rates.mutual_information >= 0


def test_C17_without_masses_the_items_count_alike():
    code = Table(jnp.zeros((5, 1)), jnp.asarray(np.eye(4, 5)))
    rates = code_rates(code, np.array([[0.0], [0.0], [1.0], [3.0]]))
    np.testing.assert_allclose(rates.mutual_information, 1.5, rtol=1e-13)
    np.testing.assert_array_equal(rates.randomness, 0.0)


@pytest.mark.parametrize("width", [1, 1 << 21, 1 << 30], ids=["whole", "in twos", "one by one"])
def test_sums_do_not_depend_on_the_chunks(width):
    items = np.arange(1.0, 6.0)[:, None]
    masses = jnp.array([0.1, 0.2, 0.3, 0.15, 0.25])
    total = sum_in_chunks(lambda rows: rows[1] @ rows[0], (jnp.asarray(items), masses), width)
    np.testing.assert_allclose(total, masses @ items, rtol=1e-14)


@settings(max_examples=25)
@given(strategies.pmfs() | st.integers(1, 300).map(lambda k: np.full(k, 1 / k)), st.integers(0, 9))
def test_C17_a_range_coder_comes_within_one_percent_and_a_word_of_the_cross_entropy(q, seed):
    number = 10_000
    symbols = np.random.default_rng(seed).choice(q.size, size=number, p=q / q.sum())
    coded = entropy_coded_bits(symbols, q)
    ideal = -np.sum(np.log2((q / q.sum())[symbols]))
    np.testing.assert_allclose(coded.cross_entropy * number, ideal, rtol=0, atol=1e-8 * number)
    # No model of the same distribution for all symbols spends less than the entropy of their frequencies.
    frequencies = np.bincount(symbols) / number
    assert number * _entropy(frequencies) - 64 <= coded.total_bits <= 1.01 * ideal + 64
    assert coded.total_bits % 32 == 0
    assert coded.bits_per_symbol == coded.total_bits / number
    np.testing.assert_allclose(
        coded.overhead, coded.bits_per_symbol - ideal / number, rtol=0, atol=1e-8
    )


def test_C17_a_wrong_model_costs_the_relative_entropy():
    symbols = np.random.default_rng(0).choice(2, size=10_000, p=[0.9, 0.1])
    coded = entropy_coded_bits(symbols, COIN)
    np.testing.assert_allclose(coded.cross_entropy, 1.0, rtol=1e-12, atol=0)
    assert 1.0 <= coded.bits_per_symbol < 1.01


def test_a_message_that_does_not_come_back_raises(monkeypatch):
    class Decoder:
        def __init__(self, words):
            pass

        def decode(self, _model, number):
            return np.ones(number, np.int32)

    stream = constriction.stream
    queue = types.SimpleNamespace(RangeEncoder=stream.queue.RangeEncoder, RangeDecoder=Decoder)
    fake = types.SimpleNamespace(stream=types.SimpleNamespace(model=stream.model, queue=queue))
    monkeypatch.setitem(sys.modules, "constriction", fake)
    assert entropy_coded_bits([1, 1], COIN).total_bits > 0
    with pytest.raises(RuntimeError, match="differs from that written"):
        entropy_coded_bits([1, 0], COIN)


def test_without_the_coder_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "constriction", None)
    with pytest.raises(ImportError, match=r'pip install "rdsim\[codes\]"'):
        entropy_coded_bits([0, 1], COIN)


@settings(max_examples=60)
@given(strategies.pmfs())
def test_C17_huffman_lengths_are_the_best_of_all_prefix_codes(q):
    lengths = np.asarray(huffman_lengths(q))
    used = q > 0
    assert np.all(np.isinf(lengths[~used]))
    length = np.dot(q[used], lengths[used])
    assert _entropy(q) - 1e-12 <= length
    # Less than a bit above the entropy, with the bit taken from each length: 1 + H may round to 1.
    assert np.sum(q[used] * (lengths[used] - 1)) < _entropy(q)  # the masses sum to one
    count = used.sum()
    if count > 1:
        assert sum(2.0 ** -lengths[used]) == 1.0
    best = min(
        np.dot(q[used], trial)
        for trial in itertools.product(range(count), repeat=count)
        if sum(2.0 ** -np.array(trial)) <= 1
    )
    np.testing.assert_allclose(length, best, rtol=0, atol=1e-12)


def test_huffman_lengths_of_known_distributions():
    np.testing.assert_array_equal(huffman_lengths([0.5, 0.25, 0.125, 0.125]), [1, 2, 3, 3])
    np.testing.assert_array_equal(huffman_lengths(np.full(8, 1 / 8)), np.full(8, 3.0))
    np.testing.assert_array_equal(huffman_lengths([0.0, 1.0]), [np.inf, 0.0])


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: entropy_coded_bits([0.0, 1.0], COIN), TypeError, "symbols must hold integers"),
        (lambda: entropy_coded_bits([[0]], COIN), ValueError, r"symbols must have shape \(N,\)"),
        (lambda: entropy_coded_bits(np.zeros(0, int), COIN), ValueError, "symbols must have shape"),
        (lambda: entropy_coded_bits([0, 2], COIN), ValueError, r"in \[0, 1\], got 2 at index 1"),
        (lambda: entropy_coded_bits([-1], COIN), ValueError, r"in \[0, 1\], got -1 at index 0"),
        (lambda: entropy_coded_bits([1], [1.0, 0.0]), ValueError, "got none on symbol 1"),
        (lambda: entropy_coded_bits([1], [0.5, 0.6]), ValueError, "p must sum to one"),
        (lambda: huffman_lengths([0.5, 0.6]), ValueError, "p must sum to one"),
        (lambda: huffman_lengths([-0.5, 1.5]), ValueError, "p must lie in"),
        (lambda: _rates(np.zeros((4, 2))), ValueError, r"items must have shape \(N, 1\)"),
        (lambda: _rates(np.zeros((4, 1)), masses=COIN), ValueError, "masses must have one entry"),
    ],
)
def test_bad_arguments_are_named(call, error, message):
    with pytest.raises(error, match=message):
        call()


def _rates(items, **options):
    return code_rates(Table(jnp.zeros((5, 1)), jnp.asarray(np.eye(4, 5))), items, **options)


def test_a_mass_below_the_coders_last_digit_costs_no_more_than_24_bits():
    rare = 1e-12  # 39.9 bits by the model
    found = entropy_coded_bits(np.full(4096, 3), [0.5, 0.3, 0.2 - rare, rare])
    assert found.cross_entropy == pytest.approx(-np.log2(rare), rel=1e-9, abs=0)
    assert 22 < found.bits_per_symbol <= 24.02
    assert found.overhead < -15
