r"""Entropy-weighted stochastic quantization: the test channel of R(D) as a code for items (C17).

$$Q(u|y) = \frac{q_u 2^{-s d(y,u)}}{\sum_v q_v 2^{-s d(y,v)}}:$$

a codeword costs $-\log_2 q_u$ bits of index, so a rare one is drawn only where it saves distortion.
The output marginal q and the slope s are those of the certified solver on the empirical distribution
of training items; the same formula then encodes any item.

The code carries I(U;Y) bits. Its index alone, sent with private randomness, costs H(U), the larger
by H(U|Y): see `rdsim.codes.entropy_coding` for which of the two a scheme needs.
"""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Key

from rdsim import validation
from rdsim.codes.distances import Distortions, in_chunks, squared_error, training_items
from rdsim.codes.entropy_coding import code_rates, item_masses
from rdsim.codes.item_code import item_points
from rdsim.information import LN2, below_largest
from rdsim.limits.rate_distortion.continuous import continuous_rate_distortion
from rdsim.limits.rate_distortion.discrete import rate_distortion_curve
from rdsim.number_types import ArrayLike
from rdsim.results import result
from rdsim.sources.categorical import draw_categorical
from rdsim.transformations import on_host


@result
class EntropyWeightedQuantizer:
    r"""A stochastic code $Q(u|y) \propto q_u 2^{-s d(y,u)}$ for items in R^d.

    Attributes:
        codewords: u, shape (K, d); all have mass.
        output_marginal: q, shape (K,), the distribution of the index on the training items, to within
            a relative entropy of `gap` bits.
        slope: s, bits per unit of distortion.
        rate: I(U;Y) on the training items, bits.
        distortion: E d(Y,U) on the training items.
        index_entropy: H(U) on the training items, bits.
        gap: `rate` less the certified lower bound on R(D) of the training items, over all codes on
            the codewords offered (or anywhere), bits.
        tolerance: the gap asked for, bits.
        distortions: function d(items, codewords) -> (N, K).

    """

    codewords: Float[Array, "k d"]
    output_marginal: Float[Array, " k"]
    slope: Float[Array, ""]
    rate: Float[Array, ""]
    distortion: Float[Array, ""]
    index_entropy: Float[Array, ""]
    gap: Float[Array, ""]
    tolerance: Float[Array, ""]
    distortions: Distortions = dataclasses.field(metadata={"static": True}, default=squared_error)

    @property
    def converged(self) -> Bool[Array, ""]:
        """Whether the solver's proved gap is within the tolerance."""
        return self.gap <= self.tolerance

    def channel(self, items: ArrayLike) -> Float[Array, "n k"]:
        """Q(u|y) for items of shape (N, d), shape (N, K), rows summing to one."""
        return _channel(self, item_points(items, self.codewords.shape[1]))

    def encode(self, key: Key[Array, ""], items: ArrayLike) -> Int[Array, " n"]:
        """Draw the index of a codeword for each item from Q(.|y), int32, shape (N,)."""
        validation.prng_key("key", key)
        return _draw(key, self, item_points(items, self.codewords.shape[1]))


@on_host
@validation.needs_float64
def entropy_weighted_quantizer(
    items: ArrayLike,
    codewords: ArrayLike | None = None,
    *,
    slope: ArrayLike,
    masses: ArrayLike | None = None,
    distortions: Distortions = squared_error,
    tolerance: ArrayLike = 1e-6,
) -> EntropyWeightedQuantizer:
    r"""Fit the optimal stochastic code to the empirical distribution of training items.

    $$\min_q -\sum_y p_y \log_2 \sum_u q_u 2^{-s d(y,u)}.$$

    The fit searches and prunes on the host and cannot be traced; what it returns can.

    Args:
        items: training items, shape (N, d).
        codewords: those offered, shape (K0, d), such as those of `vector_quantizer`; those
            the optimum gives no mass are dropped. None, for d of 1 or 2 and squared error: the
            best atoms anywhere, whose gap is then proved over all codes.
        slope: s > 0, finite, bits per unit of distortion. `fit_item_code` searches that of a wanted rate.
        masses: of the training items, shape (N,), summing to one; None for equal ones.
        distortions: d(items (N, d), codewords (K, d)) -> (N, K), finite, >= 0, traceable.
        tolerance: proved gap to reach, bits.

    Returns:
        The code, with its rate, distortion and index entropy on the training items.

    References:
        Blahut (1972), IEEE Trans. Inf. Theory 18(4); Rose (1994), 40(6), for atoms anywhere.

    """
    points = training_items(items)
    p = item_masses(masses, points.shape[0])
    target = validation.tolerance(tolerance)
    validation.function("distortions", distortions)
    s = float(validation.positive("slope", slope, ndim=0))
    if codewords is None:
        best = _optimum_anywhere(points, p, distortions, s, target)
    else:
        best = _optimum_on_atoms(points, p, codewords, distortions, s, target)
    used = best.q > 0
    offered = EntropyWeightedQuantizer(
        codewords=jnp.asarray(best.atoms),
        output_marginal=jnp.asarray(best.q / best.q.sum()),
        slope=jnp.asarray(s),
        rate=jnp.zeros(()),
        distortion=jnp.asarray(best.distortion),
        index_entropy=jnp.zeros(()),
        gap=jnp.asarray(best.gap),
        tolerance=target,
        distortions=distortions,
    )
    # Rates are computed with all atoms: those without mass change nothing, and one shape is compiled.
    rates = code_rates(offered, points, masses=p)
    return dataclasses.replace(
        offered,
        codewords=jnp.asarray(best.atoms[used]),
        output_marginal=jnp.asarray(best.q[used] / best.q[used].sum()),
        rate=rates.mutual_information,
        index_entropy=rates.index_entropy,
    )


class _Optimum(NamedTuple):
    """The optimum of one slope."""

    atoms: np.ndarray
    q: np.ndarray
    distortion: float
    gap: float


def _optimum_on_atoms(
    points: Float[Array, "n d"],
    p: Float[Array, " n"],
    codewords: ArrayLike,
    distortions: Distortions,
    slope: float,
    tolerance: Float[Array, ""],
) -> _Optimum:
    """Solve for the weights of the codewords offered."""
    atoms = validation.coordinates("codewords", codewords, ndim=2)
    if atoms.shape[0] == 0 or atoms.shape[1] != points.shape[1]:
        raise ValueError(
            f"codewords must have shape (K, {points.shape[1]}) with K >= 1, got {atoms.shape}"
        )
    d = validation.non_negative("distortions", distortions(points, atoms))
    if d.shape != (points.shape[0], atoms.shape[0]):
        raise ValueError(
            f"distortions must give shape {(points.shape[0], atoms.shape[0])}, got {d.shape}"
        )
    curve = rate_distortion_curve(p, d, jnp.array([slope]), tolerance=tolerance)
    return _Optimum(
        np.asarray(atoms),
        np.asarray(curve.output_marginal[0]),
        float(curve.distortion[0]),
        float(curve.gap[0]),
    )


def _optimum_anywhere(
    points: Float[Array, "n d"],
    p: Float[Array, " n"],
    distortions: Distortions,
    slope: float,
    tolerance: Float[Array, ""],
) -> _Optimum:
    """Solve for atoms anywhere and their weights."""
    if distortions is not squared_error or points.shape[1] > 2:
        raise ValueError(
            "codewords must be given unless d is 1 or 2 and distortions is squared_error, "
            f"got d = {points.shape[1]} and {distortions}"
        )
    # Items at one point are one letter of the source with their joint mass.
    distinct, place = np.unique(np.asarray(points), axis=0, return_inverse=True)
    weights = np.bincount(place.ravel(), np.asarray(p))
    curve = continuous_rate_distortion(distinct, weights, [slope], tolerance=float(tolerance))
    return _Optimum(
        np.asarray(curve.atoms[0]),
        np.asarray(curve.weights[0]),
        float(curve.distortion[0]),
        float(curve.gap[0]),
    )


@jax.jit
def _channel(code: EntropyWeightedQuantizer, items: Float[Array, "n d"]) -> Float[Array, "n k"]:
    nearness = below_largest(-code.distortions(items, code.codewords))
    return jax.nn.softmax(jnp.log(code.output_marginal) + code.slope * LN2 * nearness, axis=-1)


@jax.jit
def _draw(
    key: Key[Array, ""], code: EntropyWeightedQuantizer, items: Float[Array, "n d"]
) -> Int[Array, " n"]:
    """Draw with one uniform number an item; rows of the channel are made and dropped in chunks."""

    def one(row: tuple[Array, Array]) -> Int[Array, ""]:
        item, uniform = row
        return draw_categorical(_channel(code, item[None])[0], uniform)

    uniforms = jax.random.uniform(key, (items.shape[0],), float)
    return in_chunks(one, (items, uniforms), code.codewords.shape[0])
