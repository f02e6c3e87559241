r"""Random codes for any discrete source by Monte Carlo: one run for every database size (C14, C15).

A trial draws an item letter by letter, the distance of its stored codeword from the distribution of that
distance, the codeword given its distance and the query; its loss is the exact mean over the rank
distribution (C1), given a competitor's probabilities. No codebook and no database is ever held, so
codebooks have up to 2^900 codewords and databases up to 2^1000 items, and only the target is random.

The sum over types in `rdsim.codes.discrete_ensemble` has no error at all and should be preferred
where it is feasible. Here alphabets and block lengths go beyond it.
"""

import dataclasses
import math
from collections.abc import Collection, Mapping
from typing import Any, Final

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from rdsim import validation
from rdsim.codes.ensembles.discrete import (
    MAX_LOG2_SIZE,
    competitor_probabilities,
)
from rdsim.codes.ensembles.random_coding import RandomCode, rounded_units
from rdsim.codes.ensembles.stored_codewords import MAX_TABLES, table_count
from rdsim.information import LN2
from rdsim.number_types import ArrayLike, Integer, PRNGKey
from rdsim.ranking.loss import Loss, RankLoss, parse_losses
from rdsim.results import result
from rdsim.simulation.engine.options import RunOptions, checked_run
from rdsim.simulation.engine.trials import MonteCarloResult, run_trials
from rdsim.simulation.ensemble_trial import EnsembleTrial, TrialArrays
from rdsim.sources import sequence_types
from rdsim.transformations import on_host

_COMPETITORS: Final = ("exact", "product")
_CELLS: Final = 2**22
"""Floats that the trials of a block hold together, where no block is chosen: 32 MB."""


@result
class SimulatedEnsemble:
    """Ensemble averages of a random code, at all database sizes from the same trials.

    Attributes:
        monte_carlo: estimates by name of the loss ("error", "reciprocal_rank", "miss_10", "dcg"),
            each of the shape of log2_size; variances, trials and convergence.
        competitor: "exact" if a competitor's stored codeword has its exact distribution; "product" if it
            was taken for i.i.d. letters of the output marginal, an approximation that no interval covers.
        distortion_rounding: the most that a letter's distortion was moved to lie on a lattice; the
            estimates are those of the encoder with the moved distortions. Zero for a lattice.
        score_rounding: the same for the decoder's scores.

    """

    monte_carlo: MonteCarloResult
    competitor: str = dataclasses.field(metadata={"static": True})
    distortion_rounding: float = dataclasses.field(metadata={"static": True})
    score_rounding: float = dataclasses.field(metadata={"static": True})

    @property
    def estimates(self) -> Any:
        """Means with intervals, by name of the loss."""
        return self.monte_carlo.estimates


@on_host
@validation.needs_float64
def simulate_ensemble(
    key: PRNGKey,
    code: RandomCode,
    log2_size: ArrayLike,
    losses: Collection[Loss] = ("error", "reciprocal_rank"),
    *,
    competitor: str | None = None,
    levels: Integer | None = None,
    trials: Integer | None = None,
    target_width: float | Mapping[str, float] | None = None,
    cap: Integer | None = None,
    confidence: float = 0.95,
    run: RunOptions | None = None,
) -> SimulatedEnsemble:
    r"""Estimate the ensemble-average rank losses of a random code, all sizes and losses in one run.

    A trial computes $E\,\rho(1 + \mathrm{Bin}(M-1, a + V e))$ given its query and stored codeword, at all
    sizes M: estimates at different sizes share their trials and are correlated.

    Args:
        key: PRNG key; trial t draws from fold_in(key, t).
        code: from `rdsim.codes.random_code`.
        log2_size: log2 M, 1 to 1000, any shape.
        losses: one loss or a sequence of them: "error", "reciprocal_rank", ("miss", K) or "dcg".
        competitor: "exact", "product" (see `SimulatedEnsemble`), or None: exact where joint types
            are few enough to be listed, product beyond.
        levels: to how many steps distortions (and, with "product", scores) are rounded if they lie
            on no lattice; by default as many as a total of 4096 allows, from 16 to 256.
        trials: number of trials.
        target_width: largest width (upper - lower) of every interval, or widths by name of a loss ("miss_10").
        cap: most trials, with target_width.
        confidence: of the interval of one loss at one size.
        run: options of the run; by default a block holds 32 MB.

    Returns:
        Estimates with intervals, and whether anything was approximated.

    Raises:
        ValueError: also if exact probabilities need too many joint types, or a product competitor has
            impossible pairs.

    References:
        Sampling a codeword given its distance by the prefix convolutions: forward filtering, backward
        sampling, Fruhwirth-Schnatter (1994), J. Time Series Analysis 15(2).

    """
    validation.prng_key("key", key)
    validation.instance("code", code, RandomCode)
    run = checked_run(run, trials=trials, target_width=target_width, cap=cap, confidence=confidence)
    size = validation.interval("log2_size", log2_size, low=1.0, high=MAX_LOG2_SIZE)
    validation.not_empty("log2_size", size)
    several = isinstance(losses, list | tuple) and losses[:1] not in (["miss"], ("miss",))
    parsed = parse_losses(losses if several else [losses])
    if competitor is None:
        competitor = "exact" if table_count(code) <= MAX_TABLES else "product"
    validation.choice("competitor", competitor, _COMPETITORS)
    most = min(max(4096 // code.n, 16), 256) if levels is None else levels
    most = validation.integer("levels", most, low=1, high=4096)
    arrays, trial, moved = _prepared(code, competitor, most, size, parsed)
    cells = code.n * (code.n * trial.distance_levels + 1)
    found = run_trials(
        key,
        trial,
        arrays,
        trials=trials,
        target_width=target_width,
        cap=cap,
        confidence=confidence,
        # The backward pass keeps n pmfs of up to n L + 1 entries a trial. Powers of two: few shapes are compiled.
        run=run.with_block(2 ** int(np.clip(math.log2(_CELLS / cells), 0, 8))),
    )
    return SimulatedEnsemble(
        monte_carlo=found,
        competitor=competitor,
        distortion_rounding=moved[0],
        score_rounding=moved[1],
    )


def _prepared(
    code: RandomCode,
    competitor: str,
    levels: int,
    size: Float[Array, "..."],
    losses: tuple[RankLoss, ...],
) -> tuple[TrialArrays, EnsembleTrial, tuple[float, float]]:
    """Make the arrays of a trial, the trial, and the most that rounding moved a distortion and a score.

    Distortions are rounded to units of a common step, so that their sums over an item are integers and equal sums tie.
    An exact competitor is looked up by bisection in a list of all joint types, sorted by score; one of independent
    letters needs the scores alone, in units too.
    """
    joint = np.asarray(code.joint)
    distances, distance_moved = rounded_units(np.asarray(code.distortions), code.n, levels)
    empty = np.zeros(1)
    if competitor == "exact":
        listed = competitor_probabilities(code)
        scores, score_moved, score_levels = listed.units, 0.0, 0
        # Padded, so that sources of equal alphabets and block length share one compiled trial.
        cells = joint.shape[0] * code.output_marginal.size
        padded = sequence_types.composition_count(code.n, cells)
        missing = (0, padded - listed.score.size)
        ordered = np.pad(listed.score, missing)
        above, tied = np.pad(listed.log_above, missing), np.pad(listed.log_tied, missing)
        start, search = listed.start, padded.bit_length()
    else:
        table = np.asarray(code.scores)
        if not np.isfinite(table).all():
            raise ValueError(
                "code must have finite scores for a product competitor, but some pairs of query "
                "and codeword letter cannot occur; give random_code other scores"
            )
        rounded, score_moved = rounded_units(table, code.n, levels)
        scores, score_levels, search = rounded.units, rounded.levels, 0
        start, ordered, above, tied = np.zeros(2, int), empty, empty, empty
    distance = np.arange(code.n * distances.levels + 1) * distances.step
    arrays = TrialArrays(
        py=jnp.asarray(joint.sum(axis=0)),
        query_channel=jnp.asarray((joint / joint.sum(axis=0)).T),
        q=code.output_marginal,
        distances=jnp.asarray(distances.units.astype(int)),
        log_weight=jnp.asarray(-float(code.slope) * LN2 * distance),
        K=jnp.exp2(code.log2_codebook_size),
        scores=jnp.asarray(scores),
        start=jnp.asarray(start),
        ordered=jnp.asarray(ordered),
        log_above=jnp.asarray(above),
        log_tied=jnp.asarray(tied),
        index_table=jnp.asarray(sequence_types.index_table(code.n, joint.shape[0])),
        log2_size=size,
    )
    trial = EnsembleTrial(
        n=code.n,
        encoder=code.encoder,
        competitor=competitor,
        distance_levels=distances.levels,
        score_levels=score_levels,
        search_steps=search,
        losses=losses,
    )
    return arrays, trial, (distance_moved, score_moved)
