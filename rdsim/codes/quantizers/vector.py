r"""Deterministic vector quantizers: k-means at a fixed rate, and entropy-constrained (ECVQ).

An item is taken for the codeword of least $|y - u|^2 + o_u$. Offsets of zero give the nearest
codeword at $\log_2 K$ bits; offsets of $-\tfrac1s \log_2 q_u$ trade distortion against the length
of an entropy code. Both are fitted by alternating minimization, to a local optimum.

Both fits raise a ValueError if an argument lies outside its range or fewer items are distinct than
codewords are wanted, and a TypeError if the key is not a typed key or a count is not an integer.
"""

import jax
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Key

from rdsim import information, validation
from rdsim.codes.assignment import Points
from rdsim.codes.distances import nearest, seeds, training_items
from rdsim.codes.item_code import DeterministicCode, item_points
from rdsim.codes.quantizers.k_means import best_codebook, centroids_of, first_codebooks
from rdsim.number_types import ArrayLike, Integer
from rdsim.results import result
from rdsim.transformations import on_host


@result
class VectorQuantizer(DeterministicCode):
    r"""A code that takes an item for the codeword of least $|y - u|^2 + o_u$.

    Attributes:
        codewords: u, shape (K, d).
        offsets: o, shape (K,), in units of squared error; zeros for the nearest codeword.
        masses: fraction of the training items in each cell, shape (K,); zero for an empty one.
        distortion: mean squared error of the training items.
        converged: whether no item changed its cell in the last iteration, so that the code is a local
            optimum; False where the iterations ran out first.
        iterations: those of the start that was kept.

    """

    codewords: Float[Array, "k d"]
    offsets: Float[Array, " k"]
    masses: Float[Array, " k"]
    distortion: Float[Array, ""]
    converged: Bool[Array, ""]
    iterations: Int[Array, ""]

    def _indices(self, items: ArrayLike) -> Int[Array, " n"]:
        points = item_points(items, self.codewords.shape[1])
        return nearest(points, self.codewords, self.offsets)


@on_host
@validation.needs_float64
def vector_quantizer(
    key: Key[Array, ""],
    items: ArrayLike,
    codebook_size: Integer,
    *,
    starts: Integer = 4,
    iterations: Integer = 50,
) -> VectorQuantizer:
    r"""Fit K codewords to training items by k-means, the best of several seeded starts.

    Args:
        key: PRNG key of the starts.
        items: training items, shape (N, d).
        codebook_size: K, the number of codewords, at most that of distinct items.
        starts: number of starts; each draws its codewords as k-means++ does, from 16 K of the items
            where there are more.
        iterations: most iterations of Lloyd's algorithm a start.

    Returns:
        The code of least distortion; a local optimum if it `converged`. A cell that empties is given
        the item worst served, so that none is empty unless the iterations ran out.

    References:
        Lloyd (1982), IEEE Trans. Inf. Theory 28(2); Arthur and Vassilvitskii (2007), SODA.

    """
    generator = validation.host_generator(key)
    points = np.asarray(training_items(items))
    K, starts, iterations = _counts(codebook_size, starts, iterations)
    fit = best_codebook(points, first_codebooks(generator, points, K, starts), iterations)
    return _quantizer(points, np.zeros(K), *fit[:3])


def _counts(codebook_size: Integer, starts: Integer, iterations: Integer) -> tuple[int, int, int]:
    return (
        validation.integer("codebook_size", codebook_size, low=1),
        validation.integer("starts", starts, low=1),
        validation.integer("iterations", iterations, low=1),
    )


def _quantizer(
    points: np.ndarray, offsets: np.ndarray, codewords: np.ndarray, converged: bool, iterations: int
) -> VectorQuantizer:
    """Make the code, with its masses and distortion on the training items."""
    labels = np.asarray(nearest(points, codewords, offsets))
    masses = np.bincount(labels, minlength=len(codewords)) / len(points)
    error = ((points - codewords[labels]) ** 2).sum(axis=1)
    return VectorQuantizer(
        codewords=jax.device_put(codewords),
        offsets=jax.device_put(offsets),
        masses=jax.device_put(masses),
        distortion=jax.device_put(error.mean()),
        converged=jax.device_put(np.asarray(converged)),
        iterations=jax.device_put(np.asarray(iterations)),
    )


@on_host
@validation.needs_float64
def entropy_constrained_quantizer(
    key: Key[Array, ""],
    items: ArrayLike,
    codebook_size: Integer,
    *,
    slope: ArrayLike,
    starts: Integer = 2,
    iterations: Integer = 100,
) -> VectorQuantizer:
    r"""Fit an entropy-constrained vector quantizer (ECVQ), the deterministic entropy-coded code.

    $$\min_{u,q} E \min_k \big( |Y - u_k|^2 - \tfrac1s \log_2 q_k \big).$$

    Args:
        key: PRNG key of the starts.
        items: training items, shape (N, d).
        codebook_size: codewords to start with, at most the number of distinct items; those whose cell
            empties are dropped.
        slope: s > 0, finite, bits per unit of squared error. `fit_item_code` searches that of a wanted H(U).
        starts: number of starts, drawn as k-means++ does.
        iterations: most of them a start.

    Returns:
        The code; a local optimum if it `converged`. Its index, entropy-coded, costs the entropy of `masses`.

    References:
        Chou, Lookabaugh and Gray (1989), IEEE Trans. ASSP 37(1).

    """
    generator = validation.host_generator(key)
    points = np.asarray(training_items(items))
    K, starts, iterations = _counts(codebook_size, starts, iterations)
    s = float(validation.positive("slope", slope, ndim=0))
    starting = [seeds(generator, points, K) for _ in range(starts)]
    # Every start ends at a local optimum of D + H(U)/s; the lowest of these is kept.
    return min(
        (_constrained(points, u, s, iterations) for u in starting),
        key=lambda code: float(code.distortion) + float(information.entropy(code.masses)) / s,
    )


def _constrained(
    points: np.ndarray, codewords: np.ndarray, slope: float, iterations: int
) -> VectorQuantizer:
    """Alternate least cost, cell masses and centroids at one slope, until no item changes its cell."""
    offsets = np.zeros(len(codewords))
    before = None
    # |y - u|^2 + o is a squared distance once more, with one coordinate added.
    lifted = Points(np.column_stack([points, np.zeros(len(points))]))
    for step in range(iterations + 1):
        labels = lifted.nearest(np.column_stack([codewords, np.sqrt(offsets)])).labels
        converged = before is not None and np.array_equal(labels, before)
        if converged or step == iterations:
            break
        counts, centroids = centroids_of(points, labels, codewords)
        used = counts > 0
        before = (np.cumsum(used) - 1)[labels]
        codewords = centroids[used]
        offsets = -np.log2(counts[used] / len(points)) / slope
    return _quantizer(points, offsets, codewords, converged, step)
