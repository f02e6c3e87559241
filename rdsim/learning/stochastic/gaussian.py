r"""A code for Gaussian items against the information bottleneck: both of its informations, certified.

The item is rounded to a cell before the code sees it, which makes a code as good as any: its
channel is a table, I(U;Y) is exact, and

$$I(X_c;U) \le I(X;U) \le I(X_c;U) + I(X;Y) - I(X_c;Y_c),$$

since a query's cell $X_c$ is a function of it, and what the query tells beyond its cell about U it
tells about $Y_c$. Nor does it exceed $\rho_1^2\, I(U;Y)$, the strong data processing of Gaussian pairs.
In canonical coordinates a plane falls apart into two independent pairs.

References:
    Ahlswede and Gács (1976), Ann. Probab. 4; Erkip and Cover (1998), IEEE Trans. Inf. Theory 44, for
    the contraction.

"""

from collections.abc import Sequence
from typing import Any, Final

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from rdsim import validation
from rdsim.certified import Certified
from rdsim.codes.entropy_coding import code_rates
from rdsim.codes.item_code import GivenItemCode, item_code
from rdsim.information import safe_log2
from rdsim.limits.bottleneck import bottleneck_vector_gaussian
from rdsim.number_types import ArrayLike, Integer
from rdsim.results import result
from rdsim.sources.gaussian_pairs import GaussianSource
from rdsim.transformations import on_host

_PLANE_CELLS: Final = 512
"""Most cells along an axis of the plane, whose square the items have: 2 MB for each codeword."""


@result
class GaussianCodePoint:
    """The point of a code of Gaussian items in the information plane.

    Attributes:
        rate: I(U;Y) in bits, of the code that rounds items to their cells.
        index_entropy: H(U) in bits, what sending its index costs.
        relevance: I(X;U) in bits; the value is that of the query's cells.
        limit: IB(rate) in bits, what no code of this rate exceeds.
        output_marginal: distribution of the codeword of a random item, shape (K,).

    """

    rate: Float[Array, ""]
    index_entropy: Float[Array, ""]
    relevance: Certified
    limit: Float[Array, ""]
    output_marginal: Float[Array, " k"]

    @property
    def distance(self) -> Certified:
        """Bits of relevance that the code lacks of the bottleneck at its rate."""
        return Certified(
            value=self.limit - self.relevance.value,
            lower=self.limit - self.relevance.upper,
            upper=self.limit - self.relevance.lower,
            tolerance=self.relevance.tolerance,
        )


@on_host
def gaussian_code_points(
    source: GaussianSource,
    codes: Sequence[GivenItemCode],
    *,
    cells: Integer = 256,
    tolerance: ArrayLike = 1e-3,
) -> tuple[GaussianCodePoint, ...]:
    r"""Compute I(U;Y) and I(X;U) of codes of Gaussian items, and the bottleneck at their rates.

    $$P(x_c, u) = \sum_{y_c} P(x_c, y_c)\, P(u | \bar y_c), \quad \bar y_c = E[Y | Y \in y_c].$$

    Args:
        source: jointly Gaussian queries and items, items on a line or in the plane, with no more
            coordinates than the queries have.
        codes: `ItemCode`s, learned or not; the cells are made once for all of them.
        cells: along each canonical coordinate of queries and items, in [2, 2048] on a line and
            [2, 512] in the plane. The interval of I(X;U) narrows with their square.
        tolerance: width in bits up to which the interval of I(X;U) is called converged.

    Returns:
        A point a code; its `relevance.converged` says whether the cells are fine enough.

    """
    validation.require_float64("gaussian_code_points")
    wanted = validation.tolerance(tolerance)
    of_query, of_item = validation.instance("source", source, GaussianSource).cross_covariance.shape
    if of_item > 2 or of_item > of_query:
        raise ValueError(
            "source must have items of one or two coordinates and queries of at least as many, got "
            f"items of {of_item} and queries of {of_query}"
        )
    if not isinstance(codes, list | tuple):
        raise TypeError(f"codes must be a list of codes, got {type(codes)}")
    for index, code in enumerate(codes):
        if item_code(f"codes[{index}]", code).codewords.shape[1] != of_item:
            raise ValueError(
                f"code must have codewords of {of_item} coordinates like the items of the source, "
                f"got {code.codewords.shape[1]} in codes[{index}]"
            )
    if of_item == 2:
        validation.integer("cells", cells, low=2, high=_PLANE_CELLS)
    found = source.discretise(cells)
    pairs = found if isinstance(found, tuple) else (found,)
    tables = tuple(pair.source.joint for pair in pairs)
    # In canonical coordinates the coordinates of a plane are independent pairs: the distribution of its cells is the
    # outer product of two tables, and is never held for queries and items together.
    masses = _outer([table.sum(axis=0) for table in tables])
    axes = jnp.meshgrid(*(pair.y_points for pair in pairs), indexing="ij")
    points = jnp.stack([axis.ravel() for axis in axes], axis=1)
    if isinstance(found, tuple):
        # Codes are given items in their own coordinates, cells are cut in canonical ones.
        points = points @ source.canonical_maps[1].T
    # Twice the tables' allowances covers the entropies of the pair of all query cells and U.
    allowance = 2 * sum(float(pair.allowance) for pair in pairs)
    lost = sum(float(pair.information_loss) for pair in pairs)
    correlations = source.canonical_correlations
    # Strong data processing: of each bit about Y at most the squared largest correlation is about X. For codes of few
    # bits this bound is the tighter one, since the loss by the query cells does not shrink with the rate.
    contraction = correlations[0] ** 2

    def point(code: Any) -> GaussianCodePoint:
        rates = code_rates(code, points, masses=masses.ravel())
        rate = rates.mutual_information
        value = _relevance(tables, code.channel(points).reshape(*masses.shape, -1))
        return GaussianCodePoint(
            rate=rate,
            index_entropy=rates.index_entropy,
            relevance=Certified(
                value=value,
                # Merging query cells cannot add information: the value itself is a lower end up to the tables' own
                # error. The upper end may not fall below the value, where the contraction bound meets a value that
                # errs upwards by rounding.
                lower=jnp.maximum(value - allowance, 0.0),
                upper=jnp.maximum(jnp.minimum(value + lost + allowance, contraction * rate), value),
                tolerance=wanted,
            ),
            limit=bottleneck_vector_gaussian(correlations, rate=rate),
            output_marginal=rates.output_marginal,
        )

    return tuple(point(code) for code in codes)


@jax.jit
def _relevance(
    tables: tuple[Float[Array, "_ _"], ...], channel: Float[Array, "*cells k"]
) -> Float[Array, ""]:
    r"""$I(X_c;U)$ in bits, one codeword at a time: a table of the plane's cells is large enough."""
    # P(y_c, u) for every codeword, and then P(x_c, u) = sum over y_c of P(x_c | y_c) P(y_c, u): one matrix product on
    # a line, one along each axis in the plane, in place of the table of all pairs of plane cells (its square).
    given = channel * _outer([table.sum(axis=0) for table in tables])[..., None]
    log_query = safe_log2(_outer([table.sum(axis=1) for table in tables]))
    # A column without mass has no conditional distribution; any finite one does, since it is multiplied by zero.
    maps = [table / jnp.maximum(table.sum(axis=0), 1e-300) for table in tables]

    def one(pair: Float[Array, "*cells"]) -> Float[Array, ""]:
        joint = maps[0] @ pair if len(maps) == 1 else maps[0] @ pair @ maps[1].T
        mass = jnp.sum(pair)
        return jnp.sum(joint * (safe_log2(joint) - log_query - safe_log2(mass)))

    # lax.map, not vmap: K planes of cells at once would not fit. Rounding may leave a code of no information below
    # zero.
    return jnp.maximum(jnp.sum(jax.lax.map(one, jnp.moveaxis(given, -1, 0))), 0.0)


def _outer(parts: list[Array]) -> Array:
    return parts[0] if len(parts) == 1 else jnp.multiply.outer(parts[0], parts[1])
