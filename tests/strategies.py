"""Hypothesis strategies, named after what they draw.

Values are valid by construction, nothing is filtered away. Shapes come from a short menu, because
JAX compiles once a shape. The corners that break code are drawn on purpose: letters without mass,
deterministic and uniform distributions, masses of 1e-12, ties, duplicate columns, infinite distortions.
"""

import math

import numpy as np
from hypothesis import strategies as st

SIZES = (2, 3, 5)
SHAPES = ((2, 2), (2, 3), (3, 2), (4, 5))

sizes = st.sampled_from(SIZES)
shapes = st.sampled_from(SHAPES)


@st.composite
def pmfs(draw, size=None):
    """A pmf over `size` letters; at least one has a mass that is not tiny."""
    size = draw(sizes) if size is None else size
    return _pmf(draw, size)


@st.composite
def joint_pmfs(draw, shape=None):
    """A joint pmf of two letters or more: any, independent, with an empty row, or diagonal."""
    shape = draw(shapes) if shape is None else tuple(shape)
    kind = draw(st.sampled_from(("any", "independent", "empty row", "diagonal")))
    if kind == "independent":
        joint = np.ones(())
        for size in shape:
            joint = np.multiply.outer(joint, _pmf(draw, size))
        return joint / joint.sum()
    mask = np.ones(shape)
    if kind == "empty row" and shape[0] > 1:
        mask[draw(st.integers(0, shape[0] - 1))] = 0.0
    elif kind == "diagonal":
        letters = np.indices(shape)
        mask = (letters == letters[:1]).all(axis=0).astype(float)
    joint = np.zeros(shape)
    cells = np.flatnonzero(mask)
    joint.flat[cells] = _pmf(draw, cells.size)
    return joint


@st.composite
def channels(draw, shape=None):
    """A row-stochastic matrix."""
    rows, columns = draw(shapes) if shape is None else shape
    return np.stack([_pmf(draw, columns) for _ in range(rows)])


@st.composite
def distortions(draw, shape=None, *, infinite=False):
    """A distortion table d(y, u) >= 0; with `infinite`, some pairs are forbidden, no row wholly."""
    rows, columns = draw(shapes) if shape is None else shape
    entries = st.sampled_from((0.0, 1.0, 2.0)) | st.floats(0.0, 10.0, width=16)
    table = _array(draw, entries, (rows, columns))
    if draw(st.booleans()):
        table = table[:, draw(_lists(st.integers(0, columns - 1), columns))]
    if infinite:
        forbidden = _array(draw, st.booleans(), (rows, columns))
        allowed = draw(_lists(st.integers(0, columns - 1), rows))
        forbidden[np.arange(rows), allowed] = False
        table = np.where(forbidden, math.inf, table)
    return table


@st.composite
def scores(draw, shape=None):
    """Real scores, many of them tied. XLA takes subnormal numbers for zero: there are none."""
    shape = draw(shapes) if shape is None else shape
    reals = st.floats(-10.0, 10.0, allow_subnormal=False)
    return _array(draw, st.integers(-2, 2).map(float) | reals, shape)


def slopes():
    """A slope in bits per unit of distortion, from none to one that forbids nearly all errors."""
    return st.sampled_from((1.0, 0.0, 1e-6, 100.0)) | st.floats(0.0, 20.0)


def probabilities():
    """A number in [0, 1]."""
    return st.sampled_from((0.5, 0.0, 1.0, 1e-12, 1 - 1e-12)) | st.floats(0.0, 1.0)


def permutations(size):
    """An ordering of 0..size-1, as an integer array."""
    return st.permutations(range(size)).map(np.array)


def _pmf(draw, size):
    weight = st.sampled_from((1.0, 0.0, 1e-12, 2.0)) | st.floats(0.001, 1.0)
    weights = np.array(draw(_lists(weight, size)))
    weights[draw(st.integers(0, size - 1))] += 1.0
    if draw(st.booleans()):
        alone = np.zeros(size)
        alone[np.argmax(weights)] = 1.0
        tilt = draw(st.sampled_from((0.0, 1e-12, 1.0)))
        weights = alone + tilt * weights
    return weights / weights.sum()


def _array(draw, entries, shape):
    return np.array(draw(_lists(entries, math.prod(shape)))).reshape(shape)


def _lists(entries, size):
    return st.lists(entries, min_size=size, max_size=size)
