r"""The isotropic twin (C27, C28): one effective dimension and a spread of correlations, fitted to the ranks.

Of several targets a query, P of them on average, each has a correlation of its own, and they are independent given
the query (C31). With F the distribution of the probability p that a random item beats a target, the first target
has that of the least of P such p, and $\mathrm{Bin}(M-P, p)$ items ahead of it; any one of them has
$\mathrm{Bin}(M-P, p) + \mathrm{Bin}(P-1, F(p))$. Grades may go with correlations: the distribution of p is fitted
twice, to all targets alike and to each by what it counts in nDCG.
"""

import dataclasses
import math
from typing import Any, Final

import numpy as np
from jaxtyping import Float

from rdsim.embeddings.models.twin import (
    CODE_BITS,
    CODE_LOSSES,
    CONVERSE_LOSSES,
    SHOWN,
    Gains,
    beside_targets,
    code_metrics,
    converse_about_targets,
    converse_metrics,
    converse_of_each,
    first_targets,
    gains_of,
)
from rdsim.embeddings.result import EmbeddingReport
from rdsim.finite_sample import IsotropicTwin, fit_isotropic_twin
from rdsim.finite_sample.database_size.isotropic_twin import (
    Scores,
    converse_losses,
    random_code_losses,
)
from rdsim.finite_sample.database_size.twin_fit import fitted_nodes, moved_twin
from rdsim.ranking.gaussian.several_targets import among_others
from rdsim.ranking.loss import parse_loss
from rdsim.ranking.rank_distribution import gain_without_ties

_LOSSES: Final = [parse_loss(loss) for loss in CODE_LOSSES]
_BOUNDED: Final = [parse_loss(loss) for loss in CONVERSE_LOSSES]
_FINENESS: Final = 0.05
"""Steps of the cosine in its standard deviation: the best of P falls between fewer of them than one target does."""


def isotropic_twin(report: EmbeddingReport, line: int) -> dict[str, Any]:
    """Fit the twin, and compute its lines."""
    dimension = float(np.clip(report.item_dimension[line], 4.0, 1024.0))
    bits = np.append(CODE_BITS, np.inf)
    gains = gains_of(report.query, report.grade)
    if gains.targets == 1:
        ahead, tied = first_targets(report, line)
        twin = fit_isotropic_twin(
            ahead, CODE_LOSSES[0], competitors=report.database - 1, dimension=dimension, tied=tied
        )
        log2_size = math.log2(report.database)
        found = random_code_losses(twin, _LOSSES, bits, log2_size=log2_size)
        code = code_metrics(found, found[1:])

        def bound(stored: np.ndarray) -> np.ndarray:
            return converse_metrics(_least(twin, stored, log2_size))
    else:
        log2_size = math.log2(report.database - gains.targets + 1)  # what competes with one target
        twin, by_worth = _several(report, line, dimension, gains)
        scores = Scores(dimension, log2_size, _FINENESS)
        code = np.stack(
            [code_of_several(twin, by_worth, scores, R, log2_size, gains) for R in bits]
        )

        def bound(stored: np.ndarray) -> np.ndarray:
            each = _least(twin, stored, log2_size)
            by_gain = each if by_worth is twin else _least(by_worth, stored, log2_size)
            return converse_of_each(each, by_gain, gains)

    converse_bits, converse = converse_about_targets(bound, report)
    mean = float(twin.probabilities @ twin.correlations)
    spread = math.sqrt(float(twin.probabilities @ (twin.correlations - mean) ** 2))
    assumes = (
        f"directions of {dimension:.0f} equal coordinates (the items' effective dimension in the space “{report.spaces[line]}”) whose "
        f"correlation differs from pair to pair, {mean:.2f} with a standard deviation of {spread:.2f}"
    )
    if gains.targets > 1:
        assumes += f"; each query has {gains.targets} targets, independent given the query"
    return {
        "assumes": np.array(assumes),
        "error": np.array(twin.fitted_quality - twin.quality),
        "uncompressed": code[-1],
        "bits": CODE_BITS,
        "code": code[:-1],
        "lower": code[:-1],
        "upper": code[:-1],
        "converse_bits": converse_bits,
        "converse": converse,
    }


def _least(
    twin: IsotropicTwin, bits: Float[np.ndarray, " b"], log2_size: float
) -> Float[np.ndarray, "4 b"]:
    """Bound the losses of one target, in the order of `CONVERSE_LOSSES`."""
    return converse_losses(twin, _BOUNDED, bits, log2_size=log2_size, tolerance=SHOWN)


def _several(
    report: EmbeddingReport, line: int, dimension: float, gains: Gains
) -> tuple[IsotropicTwin, IsotropicTwin]:
    """Fit the distribution of correlations over the targets, and that by what they count."""
    ahead, tied = beside_targets(report, line)
    competitors = report.database - gains.targets
    log2_size = math.log2(competitors + 1)
    cosines = Scores(dimension, log2_size, _FINENESS).cosines
    z, mass = fitted_nodes(cosines, ahead, tied, competitors)
    found = gain_without_ties(log2_size, _LOSSES[0], cosines.log_beaten)

    def first(shift: float) -> float:
        # MRR of the first target at a common shift of all correlations in Fisher's z = artanh(rho), in which the
        # spread stays what was fitted.
        return float(_of_first(cosines.mixture(np.tanh(z + shift), mass), gains.targets) @ found)

    quality = float(report.values("mrr")[line])
    twin, shift = moved_twin(dimension, z, mass, first, quality, log2_size, _LOSSES[0])
    # Targets that all count alike have one distribution; a second fit would be the first one again.
    if np.allclose(gains.share, 1 / len(ahead), rtol=1e-9, atol=0):
        return twin, twin
    z, mass = fitted_nodes(cosines, ahead, tied, competitors, gains.share)
    return twin, dataclasses.replace(twin, correlations=np.tanh(z + shift), probabilities=mass)


def code_of_several(
    twin: IsotropicTwin,
    by_worth: IsotropicTwin,
    scores: Scores,
    bits: float,
    log2_size: float,
    gains: Gains,
) -> Float[np.ndarray, "5"]:
    """Compute the metrics of random codes of so many bits, shape (5,).

    Args:
        twin: the targets.
        by_worth: the targets by what they count.
        scores: grids.
        bits: R, or infinity.
        log2_size: log2 of the number of competitors and one.
        gains: what targets are worth.

    """
    log_p, mass = scores.of(twin, bits)
    # Rising scores are falling probabilities of being beaten; cells are put in the order of rising scores whatever
    # the grid's is.
    falling = slice(None, None, -1) if log_p[0] < log_p[-1] else slice(None)
    log_p, mass = log_p[falling], mass[falling] / mass.sum()
    worth = scores.of(by_worth, bits)[1][falling]
    found = [gain_without_ties(log2_size, loss, log_p) for loss in _LOSSES]
    first = 1 - np.stack(found) @ _of_first(mass, gains.targets)
    # Of two targets in one cell each is ahead half of the time.
    above = np.clip(1 - np.cumsum(mass) + 0.5 * mass, 0.0, 1.0)
    recalls = among_others(found[1:], above, gains.targets)
    # Mean over the targets by what each counts: nDCG is linear in the targets' recalls.
    misses = 1 - np.stack(recalls) @ worth / worth.sum()
    return code_metrics(first, misses, gains.all)


def _of_first(mass: Float[np.ndarray, " t"], targets: int) -> Float[np.ndarray, " t"]:
    """Distribution of the highest score of several targets, on a grid of rising scores."""
    # P(max <= t) = F(t)^P of independent scores; differences of it are the masses of the cells.
    return np.diff(np.minimum(np.cumsum(mass), 1.0) ** targets, prepend=0.0)
