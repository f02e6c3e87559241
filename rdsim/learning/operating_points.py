r"""Operating points of systems in the rate-loss plane: bits per item and rank loss at every database size."""

from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from rdsim import validation
from rdsim.codes.entropy_coding import code_rates
from rdsim.codes.item_code import GivenItemCode, item_code
from rdsim.number_types import ArrayLike, Integer
from rdsim.ranking.loss import Loss, parse_losses
from rdsim.results import result
from rdsim.simulation.coded_items import Decoder, simulate_item_code
from rdsim.simulation.engine.options import RunOptions, checked_run
from rdsim.simulation.intervals import Estimate
from rdsim.sources.mixture import GaussianMixtureSource
from rdsim.sources.modalities import chosen_modalities
from rdsim.transformations import on_host


@result
class OperatingPoint:
    """Bits per item and rank losses of one system, a code with its decoder.

    Attributes:
        information: I(U;Y) in bits, what the description costs with shared randomness.
        index_entropy: H(U) in bits, what sending the index costs.
        output_marginal: distribution of the codeword of a random item, shape (K,).
        losses: estimates by the name of the loss, each of the shape of log2_size.
        log2_size: log2 M.
        information_change: bits by which the information differs on half as many cells along each
            axis, an estimate of what the grid adds or takes.
        total_variation: between the output marginals of the two grids; it bounds by how much the
            distribution of the competitors differs between them, and with it the probability a of C1.

    """

    information: Float[Array, ""]
    index_entropy: Float[Array, ""]
    output_marginal: Float[Array, " k"]
    losses: dict[str, Estimate]
    log2_size: Float[Array, "..."]
    information_change: Float[Array, ""]
    total_variation: Float[Array, ""]


@on_host
@validation.needs_float64
def operating_point(
    key: Key[Array, ""],
    source: GaussianMixtureSource,
    code: GivenItemCode,
    decoder: Decoder,
    log2_size: ArrayLike,
    losses: Sequence[Loss] = ("reciprocal_rank",),
    *,
    trials: Integer = 8192,
    cells: Integer = 128,
    modalities: ArrayLike | None = None,
    confidence: float = 0.95,
    run: RunOptions | None = None,
) -> OperatingPoint:
    """Measure a system: its bits on a grid of the items, its losses by the rank distribution (C1).

    Args:
        key: PRNG key; trials of one key draw the same items and queries for every system.
        source: distribution of items on a line or in the plane, and of their queries.
        code: `ItemCode`, learned or not.
        decoder: how queries score codewords.
        log2_size: log2 M >= 1, a scalar or shape (sizes,).
        losses: each "error", "reciprocal_rank", ("miss", K) or "dcg".
        trials: items drawn.
        cells: along each axis of the grid on which bits and competitors are computed, at least 4;
            half as many are used to see what the grid does.
        modalities: which queries are seen; None for all.
        confidence: of one interval.
        run: options of the run of trials.

    Returns:
        The point, every loss with its confidence interval.

    """
    validation.prng_key("key", key)
    validation.instance("source", source, GaussianMixtureSource)
    validation.instance("decoder", decoder, Decoder)
    dimension = source.item_means.shape[1]
    if (given := item_code("code", code).codewords.shape[1]) != dimension:
        raise ValueError(
            f"code must have codewords of {dimension} coordinates like the items of the source, "
            f"got {given}"
        )
    chosen_modalities(modalities, source.gains.shape[0])
    validation.log2_size(log2_size)
    parse_losses(losses)
    checked_run(run, trials=trials, confidence=confidence)
    fine = validation.integer("cells", cells, low=4)
    grids = [source.discretise_item(number) for number in (fine // 2, fine)]
    # Points without mass make the coarse grid as large as the fine one: one compiled program.
    more = grids[1].masses.size - grids[0].masses.size
    coarse, rates = (
        code_rates(
            code,
            np.pad(grid.points, ((0, short), (0, 0)), mode="edge"),
            masses=np.pad(grid.masses, (0, short)),
        )
        for grid, short in zip(grids, (more, 0), strict=True)
    )
    found = simulate_item_code(
        key,
        source,
        code,
        {"system": decoder},
        rates.output_marginal,
        log2_size,
        losses,
        trials=trials,
        modalities=modalities,
        confidence=confidence,
        run=run,
    )
    return OperatingPoint(
        information=rates.mutual_information,
        index_entropy=rates.index_entropy,
        output_marginal=rates.output_marginal,
        losses=found.estimates["system"],
        log2_size=jnp.asarray(log2_size, float),
        information_change=rates.mutual_information - coarse.mutual_information,
        total_variation=0.5 * jnp.sum(jnp.abs(rates.output_marginal - coarse.output_marginal)),
    )
