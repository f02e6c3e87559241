r"""The Gaussian twin (C29): canonical correlations of held-out pairs, calibrated.

The variance that chance gives an absent correlation is taken away, and one scale s of the signal-to-noise ratios of
all coordinates,

$$\frac{\rho_i'^2}{1 - \rho_i'^2} = s \, \frac{\rho_i^2}{1 - \rho_i^2},$$

is found by bisection such that unlimited bits reproduce the best MRR that was measured.

Of several targets a query, P of them on average, every one is correlated with the query as these say, and they are
independent given the query (C31), whatever their grades. What no code has then is bounded by groups: the P items of
a query are one item of P R bits, of which their mean says all that there is to say, with correlations

$$\frac{P \rho_i^2}{1 + (P - 1) \rho_i^2}$$

squared, among M/P such groups. The first target stands no higher than its group. Few bits are bounded better by each
target for itself (`twin.converse_of_each`).
"""

import math
from collections.abc import Callable
from typing import Any, Final

import jax
import numpy as np
import scipy
from jaxtyping import Float

from rdsim.embeddings.models.twin import (
    CODE_BITS,
    CODE_LOSSES,
    CONVERSE_LOSSES,
    SHOWN,
    code_metrics,
    converse_about_targets,
    converse_metrics,
    converse_of_each,
    gains_of,
    targets_a_query,
)
from rdsim.embeddings.quality import NDCG_CUTOFF
from rdsim.embeddings.result import EmbeddingReport
from rdsim.limits import bottleneck_vector_gaussian_rates, retrieval_converse
from rdsim.ranking.gaussian.vector import SampledLoss, vector_gaussian_rank_losses
from rdsim.ranking.loss import Loss
from rdsim.sources import vector_gaussian

_QUERIES: Final = 256
"""Points over which means are taken, the same ones throughout."""
_SCALES: Final = 6.0
"""Largest |ln s| that is tried."""
_ALIKE: Final = 0.1
"""Coordinates are counted as equal whose signal-to-noise ratios differ by at most so much, in nats: what they tell in all
stays as it is, a loss moves by some 1e-4, and integrals over hundreds of coordinates are over a few dozen kinds."""


def ideal_codes(
    key: jax.Array,
    correlations: Float[np.ndarray, " k"],
    log2_size: Any,
    losses: tuple[Loss, ...],
    bits: Any,
    *,
    targets: int = 1,
    each: bool = False,
) -> SampledLoss:
    """Losses behind the best Gaussian test channel, shape of the losses, the bits and the sizes."""
    return vector_gaussian_rank_losses(
        key,
        correlations,
        log2_size,
        losses,
        rates=math.inf
        if np.ndim(bits) == 0 and np.isinf(bits)
        else bottleneck_vector_gaussian_rates(correlations, rate=bits),
        queries=_QUERIES,
        confidence=0.95,
        targets=targets,
        each=each,
    )


def calibrated_correlations(
    correlations: Float[np.ndarray, " k"], quality: Callable[[np.ndarray], float], *, target: float
) -> tuple[Float[np.ndarray, " k"], float]:
    """Scale the signal-to-noise ratios of all coordinates until a quality is met; also return the scale.

    Args:
        correlations: in [0, 1), shape (k,).
        quality: of such correlations, rising in each.
        target: the quality that is wanted.

    Raises:
        ValueError: if no scale from e^-6 to e^6 has it.

    """
    ratio = correlations**2 / (1 - correlations**2)

    def scaled(log_scale: float) -> np.ndarray:
        grown = math.exp(log_scale) * ratio
        return np.asarray(np.sqrt(grown / (1 + grown)))

    def missing(log_scale: float) -> float:
        return quality(scaled(log_scale)) - target

    # Correlations are seldom far off: the ends move away from there, twice as far each time.
    ends = {0.0: missing(0.0)}
    rising, far = ends[0.0] < 0, 0.25
    end = 0.0
    while (ends[end] < 0) == rising and abs(end) < _SCALES:
        end, far = (1 if rising else -1) * min(far, _SCALES), 2 * far
        ends[end] = missing(end)
    if (ends[end] < 0) == rising:
        reached = ends[end] + target
        raise ValueError(
            f"correlations of held-out pairs have an MRR of {reached:.3f} with {math.exp(end):.3g} times their "
            f"signal-to-noise ratios, and {target:.3f} was measured"
        )
    last = sorted(ends, key=abs)[-2:]
    # Brent's method on a bracket whose ends are the last two scales tried.
    log_scale = float(scipy.optimize.brentq(missing, min(last), max(last), xtol=1e-3, rtol=1e-6))
    return scaled(log_scale), math.exp(log_scale)


def held_out_correlations(
    correlations: Float[np.ndarray, " k"], pairs: int
) -> Float[np.ndarray, " m"]:
    """Take from squared correlations what chance adds to them; those that are not positive are left out."""
    # Of independent pairs a squared sample correlation has the mean 1/N; of dependent ones about (1 - rho^2)/N is
    # added to rho^2. What is left after it is taken away may be negative, and then nothing was found.
    rho = np.clip(np.asarray(correlations, float), 0.0, 1 - 1e-6)
    squared = rho**2 - (1 - rho**2) / pairs
    return np.sort(np.sqrt(squared[squared > 0]))[::-1]


def few_kinds(correlations: Float[np.ndarray, " k"]) -> Float[np.ndarray, " k"]:
    """Replace falling correlations that are nearly equal by one that tells as much as they do on average."""
    # 1 - rho^2 without cancellation where rho is near one; -ln of it is twice the information of a mode, in nats.
    kept = (1 - correlations) * (1 + correlations)
    # Modes are grouped by the cell of their log signal-to-noise ratio, and a group is given the mean of its
    # information.
    kind = np.floor(np.log(correlations**2 / kept) / _ALIKE)
    _, place, modes = np.unique(-kind, return_inverse=True, return_counts=True)
    information = np.bincount(place.reshape(-1), -np.log(kept)) / modes
    return np.asarray(np.sqrt(-np.expm1(-information))[place.reshape(-1)])


def fitted_correlations(
    key: jax.Array, report: EmbeddingReport, target: float
) -> tuple[Float[np.ndarray, " k"], float, float]:
    """Return the twin's correlations, their scale, and the MRR before it less the target."""
    held = held_out_correlations(report.correlations, len(report.query))
    if not held.size:
        raise ValueError("no canonical correlation of held-out pairs is positive")
    held = few_kinds(held)
    log2_size, targets = math.log2(report.database), targets_a_query(report)

    def uncompressed(correlations: np.ndarray) -> float:
        found = ideal_codes(
            key, correlations, log2_size, CODE_LOSSES[:1], math.inf, targets=targets
        )
        return 1 - float(np.asarray(found.value)[0])

    rho, scale = calibrated_correlations(held, uncompressed, target=target)
    return rho, scale, uncompressed(held) - target


def _least(
    rho: Float[np.ndarray, " k"], items: int, bits: Float[np.ndarray, " b"]
) -> Float[np.ndarray, "4 b"]:
    """Least losses of one target among so many items, in the order of `CONVERSE_LOSSES`."""
    eye = np.eye(len(rho))
    source = vector_gaussian(eye, eye, np.diag(rho))
    size = math.log2(items)
    return np.stack(
        [
            np.asarray(retrieval_converse(source, size, loss, bits=bits, tolerance=SHOWN).loss)
            for loss in CONVERSE_LOSSES
        ]
    )


def gaussian_twin(key: jax.Array, report: EmbeddingReport, target: float) -> dict[str, Any]:
    """Fit the twin, and compute its lines."""
    rho, scale, error = fitted_correlations(key, report, target)
    log2_size, gains = math.log2(report.database), gains_of(report.query, report.grade)
    targets = gains.targets
    bits = np.append(CODE_BITS, np.inf)
    # The same points for all bits, so that differences between bits are not blurred by sampling.
    found = ideal_codes(key, rho, log2_size, CODE_LOSSES, bits, targets=targets)
    each = (
        found
        if targets == 1
        else ideal_codes(key, rho, log2_size, CODE_LOSSES[1:], bits, targets=targets, each=True)
    )
    code, high, low = (
        code_metrics(
            np.asarray(getattr(found, end)),
            np.asarray(getattr(each, end))[-NDCG_CUTOFF:],
            gains.all,
        )
        for end in ("value", "lower", "upper")
    )
    # The mean of P independent noisy views of the query is a sufficient statistic of the group: P times the signal-
    # to-noise ratio of one (head of this file).
    together = np.sqrt(targets * rho**2 / (1 + (targets - 1) * rho**2))

    def bound(stored: np.ndarray) -> np.ndarray:
        least = _least(together, report.database // targets, targets * stored)
        of_groups = converse_metrics(least, gains.best)
        if targets == 1:
            return of_groups
        # Each target alone competes with all items but the other targets. Both bounds hold: the smaller one does.
        single = _least(rho, report.database - targets + 1, stored)
        return np.minimum(of_groups, converse_of_each(single, single, gains))

    converse_bits, converse = converse_about_targets(bound, report)
    graded = np.ptp(report.grade) > 0
    assumes = (
        f"Gaussian pairs of {len(rho)} coordinates, those of the space “{report.coordinate_space}”, with the "
        f"correlations of held-out pairs, {rho[0]:.3f} to {rho[-1]:.3f}, their signal-to-noise ratios times "
        f"{scale:.3g}"
        + (
            f"; each query has {targets} targets, independent given the query"
            if targets > 1
            else ""
        )
        + ("; targets of all grades are as hard to find" if graded else "")
    )
    return {
        "assumes": np.array(assumes),
        "error": np.array(error),
        "uncompressed": code[-1],
        "bits": CODE_BITS,
        "code": code[:-1],
        "lower": low[:-1],
        "upper": high[:-1],
        "converse_bits": converse_bits,
        "converse": converse,
        "correlations": rho,
    }
