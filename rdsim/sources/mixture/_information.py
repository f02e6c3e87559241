"""Entropy and information of a Gaussian mixture source, between proved bounds, on the host."""

import jax.numpy as jnp
import numpy as np

from rdsim.certified import Certified
from rdsim.information import LN2
from rdsim.sources.mixture._entropy import EntropyBounds, mixture_entropy, span_coordinates
from rdsim.sources.mixture.densities import MixtureParameters


def _certified(value: float, lower: float, upper: float, tolerance: float) -> Certified:
    return Certified(
        value=jnp.asarray(min(max(value, lower), upper)),
        lower=jnp.asarray(lower),
        upper=jnp.asarray(upper),
        tolerance=jnp.asarray(tolerance),
    )


def item_entropy(source: MixtureParameters, tolerance: float) -> Certified:
    """h(Y) in bits."""
    means = np.asarray(source.item_means)
    variances = np.repeat(np.asarray(source.item_variance)[:, None], means.shape[1], axis=1)
    bounds = mixture_entropy(np.asarray(source.weights), means, variances, tolerance)
    return _certified(*bounds, tolerance)


def query_information(
    source: MixtureParameters, chosen: tuple[int, ...], tolerance: float
) -> Certified:
    r"""I(X_S; Y) in bits.

    The whitened queries are $A_c + g Y + Z$, Z white. Only their components along g (d of them)
    and along the differences of the A_c orthogonal to g depend on (C, Y): these are X'. Given the
    class, X' - GY is independent of Y.
    """
    index = list(chosen)
    w, m, v = (np.asarray(a) for a in (source.weights, source.item_means, source.item_variance))
    # Whiten the noise of the queries; `shift` holds the A_c.
    deviation = np.sqrt(np.asarray(source.query_noise)[index])
    gain = np.asarray(source.gains)[index] / deviation
    centres = np.asarray(source.query_means)[index] / deviation[:, None, None]
    shift = centres - gain[:, None, None] * m
    size = float(np.linalg.norm(gain))
    direction = gain / size if size > 0 else np.zeros_like(gain)
    # Split the A_c into components along g and orthogonal to it, the latter in as few coordinates
    # as they span.
    along = np.einsum("k,kcd->cd", direction, shift)
    across = shift - direction[:, None, None] * along
    across = span_coordinates(np.moveaxis(across, 0, 1).reshape(len(w), -1))
    offset = np.concatenate([along, across], axis=1)
    seen = np.concatenate([along + size * m, across], axis=1)

    classes, dimension = m.shape
    variances = np.repeat(v[:, None], dimension, axis=1)
    white = np.ones_like(across)
    # The interval of the information is the sum of those of three entropies.
    third = tolerance / 3
    query = mixture_entropy(w, seen, np.concatenate([1 + size**2 * variances, white], 1), third)
    if span_coordinates(offset).shape[1] == 0:
        gaussian = 0.5 * dimension * np.log2(2 * np.pi * np.e)
        terms = EntropyBounds(*(h - gaussian for h in query))
    else:
        item = mixture_entropy(w, m, variances, third)
        both = mixture_entropy(
            w,
            np.concatenate([offset, m], axis=1),
            np.concatenate([np.ones_like(offset), variances], axis=1),
            third,
        )
        terms = EntropyBounds(
            query.value + item.value - both.value,
            query.lower + item.lower - both.upper,
            query.upper + item.upper - both.lower,
        )
    # I(X;Y|C) - H(C) <= I(X;Y) <= I(X;Y|C) + H(C), and H(C) = 0 for a single class.
    given_class = float(w @ (0.5 * dimension * np.log1p(size**2 * v))) / LN2
    positive = w[w > 0]
    class_entropy = float(-np.sum(positive * np.log2(positive))) if classes > 1 else 0.0
    rounding = 1e-14 * (1 + given_class + class_entropy)
    lower = max(terms.lower, given_class - class_entropy - rounding, 0.0)
    upper = max(min(terms.upper, given_class + class_entropy + rounding), lower)
    return _certified(terms.value, lower, upper, tolerance)
