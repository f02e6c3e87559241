r"""Models of given embeddings: Gaussian and isotropic twins, and the quality in databases of other sizes.

The *Gaussian twin* (C29) has the canonical correlations of held-out pairs, with the variance that chance gives an
absent correlation taken away, and one scale s of the signal-to-noise ratios of all coordinates,

$$\frac{\rho_i'^2}{1 - \rho_i'^2} = s \, \frac{\rho_i^2}{1 - \rho_i^2},$$

which is found by bisection such that unlimited bits reproduce the best quality that was measured. The *isotropic
twin* (C27, C28) has one effective dimension and a spread of correlations fitted to the ranks. What a twin says of R
bits holds of the twin, not of the data: a measured code above the converse of a twin refutes the twin.
"""

import dataclasses
import math
from collections.abc import Callable
from typing import Any, Final

import numpy as np
from jaxtyping import Array, Float, Int, Key
from scipy.optimize import brentq

from rdsim import validation
from rdsim.codes import gaussian_test_channel
from rdsim.embeddings.measure import Progress, without_progress
from rdsim.embeddings.result import EmbeddingReport
from rdsim.files import Checkpoint, without_checkpoint
from rdsim.finite_sample import fit_isotropic_twin, predict_quality
from rdsim.limits import retrieval_converse
from rdsim.sources import GaussianSource, vector_gaussian
from rdsim.transformations import on_host

LOSS: Final = "reciprocal_rank"
"""The models are of the MRR."""
GAUSSIAN: Final = "Gaussian twin"
ISOTROPIC: Final = "isotropic twin"
CODE_BITS: Final = 2.0 ** np.arange(2, 10, 0.5)
"""Bits at which a twin's random code is computed, beside unlimited ones, and
those at which its converse is, each of which takes seconds."""
CONVERSE_BITS: Final = np.array([8.0, 16.0, 32.0, 64.0, 128.0])
LARGEST_LOG2_SIZE: Final = math.log2(1e9)
_FEWEST_ITEMS: Final = 64
_QUERIES: Final = 512
"""Points over which means of the Gaussian twin are taken, the same ones throughout."""
_SCALES: Final = 6.0
"""Largest |ln s| that is tried."""
_TWIN_SIZES: Final = 5
"""Sizes above the measured one at which the Gaussian twin is computed."""
_SIZED_CODES: Final = 3
"""Codes whose quality in other databases is predicted, beside the uncompressed vectors."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Twin:
    """A model of the pairs, with what its random code reaches and what none of its codes exceeds.

    Attributes:
        name: of the model.
        assumes: what it takes the pairs for, with its fitted numbers.
        error: its quality at unlimited bits before it was calibrated, less the measured one.
        uncompressed: its quality at unlimited bits.
        bits: an item, shape (B,).
        code: MRR of its random code there, shape (B,); no code is known to reach it in the Gaussian twin.
        lower: shape (B,); of sampling alone, and equal to `code` where there is none.
        upper: shape (B,).
        converse_bits: shape (C,).
        converse: the most that any code of fixed length has in the model, shape (C,); NaN where queries
            have several targets, for the bound is of one.

    """

    name: str
    assumes: str
    error: float
    uncompressed: float
    bits: Float[np.ndarray, " b"]
    code: Float[np.ndarray, " b"]
    lower: Float[np.ndarray, " b"]
    upper: Float[np.ndarray, " b"]
    converse_bits: Float[np.ndarray, " c"]
    converse: Float[np.ndarray, " c"]

    def bits_for(self, quality: float) -> float | None:
        """Interpolate the bits at which the random code has a quality; None beyond those computed."""
        above = np.flatnonzero(self.code >= quality)
        if not above.size:
            return None
        i = int(above[0])
        if i == 0:
            return float(self.bits[0])
        share = (quality - self.code[i - 1]) / (self.code[i] - self.code[i - 1])
        return float(self.bits[i - 1] * (self.bits[i] / self.bits[i - 1]) ** share)

    def bits_by_converse(self, quality: float) -> float | None:
        """Find the most of `converse_bits` at which no code of the model has a quality."""
        short = self.converse_bits[self.converse < quality]
        return float(short.max()) if short.size else None

    def refuted_by(self, report: EmbeddingReport) -> Int[np.ndarray, " n"]:
        """Lines of codes that the model says are impossible, their intervals included.

        A code of fewer bits is also one of more, so each is held against the next bits that were bounded.
        """
        at = np.searchsorted(self.converse_bits, report.bits)
        there = at < len(self.converse_bits)
        bound = self.converse[np.minimum(at, len(self.converse_bits) - 1)]
        code = np.array([kind in ("code", "learned", "yours") for kind in report.kinds])
        return np.flatnonzero(code & there & (report.quality.lower[:, 0] > bound))


@dataclasses.dataclass(frozen=True, kw_only=True)
class OtherSizes:
    """The MRR of the same queries in databases of other sizes, at several bits.

    Attributes:
        log2_size: log2 of the sizes, shape (S,).
        line: of the report, shape (K,).
        value: shape (K, S): exact averages over subsets up to the measured size, predicted above.
        lower: of the band, shape (K, S).
        upper: shape (K, S).
        method: how each value was found, shape (K, S).
        twin_log2_size: sizes at which the Gaussian twin was computed, shape (T,); empty without it.
        twin: MRR of its random code of as many bits, shape (K, T).

    """

    log2_size: Float[np.ndarray, " s"]
    line: Int[np.ndarray, " k"]
    value: Float[np.ndarray, "k s"]
    lower: Float[np.ndarray, "k s"]
    upper: Float[np.ndarray, "k s"]
    method: np.ndarray
    twin_log2_size: Float[np.ndarray, " t"]
    twin: Float[np.ndarray, "k t"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Models:
    """Predictions of the models for given embeddings.

    Attributes:
        calibrated_to: line of the report whose quality unlimited bits reproduce.
        twins: those that could be fitted.
        sizes: other databases, or None.
        missing: what could not be had, and why.

    """

    calibrated_to: int
    twins: tuple[Twin, ...]
    sizes: OtherSizes | None
    missing: tuple[str, ...]

    def twin(self, name: str) -> Twin | None:
        """Find a twin by its name."""
        return next((one for one in self.twins if one.name == name), None)


@on_host
@validation.needs_float64
def with_models(
    key: Key[Array, ""],
    report: EmbeddingReport,
    *,
    checkpoint: Checkpoint = without_checkpoint,
    progress: Progress = without_progress,
) -> EmbeddingReport:
    r"""Add to a report what models say: twins, and the MRR in databases of up to $10^9$ items.

    Args:
        key: PRNG key of the points over which means of the Gaussian twin are taken.
        report: of `measure_embeddings`.
        checkpoint: as in `measure_embeddings`.
        progress: as in `measure_embeddings`.

    Returns:
        The report with `models`.

    Raises:
        TypeError: if report is none.

    """
    validation.prng_key("key", key)
    validation.instance("report", report, EmbeddingReport)
    validation.function("checkpoint", checkpoint)
    validation.function("progress", progress)
    mrr = report.values("mrr")
    candidates = np.array([kind not in ("yours", "rescored") for kind in report.kinds])
    best = int(np.argmax(np.where(candidates, mrr, -np.inf)))
    if report.database < _FEWEST_ITEMS:
        why = f"Models need {_FEWEST_ITEMS} items or more; {report.database} were ranked."
        models = Models(calibrated_to=best, twins=(), sizes=None, missing=(why,))
        return dataclasses.replace(report, models=models)
    if not 0 < mrr[best] < 1:
        why = f"An MRR of {mrr[best]:g} tells no model how hard the task is."
        models = Models(calibrated_to=best, twins=(), sizes=None, missing=(why,))
        return dataclasses.replace(report, models=models)
    missing: list[str] = []

    def part(name: str, function: Callable[[], dict[str, Any]]) -> dict[str, Any] | None:
        def computed() -> dict[str, Any]:
            try:
                return function()
            except ValueError as error:
                return {"failed": np.array(str(error))}

        progress(name, 0, 1)
        found = dict(checkpoint(name.replace(" ", "-"), computed))
        progress(name, 1, 1)
        if "failed" in found:
            missing.append(f"There is no {name}: {found['failed']}.")
            return None
        return found

    gaussian = part(GAUSSIAN, lambda: _gaussian(key, report, float(mrr[best])))
    isotropic = part(ISOTROPIC, lambda: _isotropic(report, best))
    twins = [
        _twin(name, found)
        for name, found in ((GAUSSIAN, gaussian), (ISOTROPIC, isotropic))
        if found is not None
    ]
    correlations = None if gaussian is None else np.asarray(gaussian["correlations"])
    sizes = part("databases of other sizes", lambda: _other_sizes(key, report, best, correlations))
    models = Models(
        calibrated_to=best,
        twins=tuple(twins),
        sizes=None if sizes is None else OtherSizes(**sizes),
        missing=tuple(missing),
    )
    return dataclasses.replace(report, models=models)


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

    ends = [quality(scaled(end)) for end in (-_SCALES, _SCALES)]
    if not ends[0] < target < ends[1]:
        raise ValueError(
            f"held-out correlations with any noise have an MRR from {ends[0]:.3f} to {ends[1]:.3f}, and "
            f"{target:.3f} was measured"
        )
    log_scale = float(
        brentq(lambda s: quality(scaled(s)) - target, -_SCALES, _SCALES, xtol=1e-4, rtol=1e-6)
    )
    return scaled(log_scale), math.exp(log_scale)


def held_out_correlations(
    correlations: Float[np.ndarray, " k"], pairs: int
) -> Float[np.ndarray, " m"]:
    """Take from squared correlations what chance adds to them; those that are not positive are left out."""
    rho = np.clip(np.asarray(correlations, float), 0.0, 1 - 1e-6)
    squared = rho**2 - (1 - rho**2) / pairs
    return np.sort(np.sqrt(squared[squared > 0]))[::-1]


def _source(correlations: np.ndarray) -> GaussianSource:
    eye = np.eye(len(correlations))
    return vector_gaussian(eye, eye, np.diag(correlations))


def _gaussian(key: Any, report: EmbeddingReport, target: float) -> dict[str, Any]:
    held = held_out_correlations(report.correlations, len(report.query))
    if not held.size:
        raise ValueError("no canonical correlation of held-out pairs is positive")
    log2_size = math.log2(report.database)

    def uncompressed(correlations: np.ndarray) -> float:
        found = gaussian_test_channel(key, _source(correlations), log2_size, LOSS, queries=_QUERIES)
        return 1 - float(np.asarray(found.loss.value))

    before = uncompressed(held)
    rho, scale = calibrated_correlations(held, uncompressed, target=target)
    bits = np.append(CODE_BITS, np.inf)
    found = gaussian_test_channel(key, _source(rho), log2_size, LOSS, bits=bits, queries=_QUERIES)
    code, high, low = (
        1 - np.asarray(end) for end in (found.loss.value, found.loss.lower, found.loss.upper)
    )
    if _single(report):
        bound = retrieval_converse(
            _source(rho), log2_size, LOSS, bits=CONVERSE_BITS, rate="fixed_length"
        )
        converse = 1 - np.asarray(bound.loss)
    else:
        converse = np.full(len(CONVERSE_BITS), np.nan)
    assumes = (
        f"Gaussian pairs of {len(rho)} canonical coordinates with the correlations of held-out pairs, "
        f"{rho[0]:.3f} to {rho[-1]:.3f}, their signal-to-noise ratios times {scale:.3g}"
    )
    return {
        "assumes": np.array(assumes),
        "error": np.array(before - target),
        "uncompressed": code[-1],
        "bits": CODE_BITS,
        "code": code[:-1],
        "lower": low[:-1],
        "upper": high[:-1],
        "converse_bits": CONVERSE_BITS,
        "converse": converse,
        "correlations": rho,
    }


def _isotropic(report: EmbeddingReport, line: int) -> dict[str, Any]:
    ahead, tied = first_targets(report, line)
    dimension = float(np.clip(report.diagnostics["item_dimension"], 4.0, 1024.0))
    twin = fit_isotropic_twin(
        ahead, LOSS, competitors=report.database - 1, dimension=dimension, tied=tied
    )
    log2_size = math.log2(report.database)
    code = 1 - twin.loss(np.append(CODE_BITS, np.inf), log2_size=log2_size)
    if _single(report):
        converse = 1 - twin.converse(CONVERSE_BITS, log2_size=log2_size)
    else:
        converse = np.full(len(CONVERSE_BITS), np.nan)
    mean = float(twin.probabilities @ twin.correlations)
    spread = math.sqrt(float(twin.probabilities @ (twin.correlations - mean) ** 2))
    assumes = (
        f"directions of {dimension:.0f} equal coordinates (the items' effective dimension) whose "
        f"correlation differs from pair to pair, {mean:.2f} with a standard deviation of {spread:.2f}"
    )
    return {
        "assumes": np.array(assumes),
        "error": np.array(twin.fitted_quality - twin.quality),
        "uncompressed": code[-1],
        "bits": CODE_BITS,
        "code": code[:-1],
        "lower": code[:-1],
        "upper": code[:-1],
        "converse_bits": CONVERSE_BITS,
        "converse": converse,
    }


def _twin(name: str, found: dict[str, Any]) -> Twin:
    fields: dict[str, Any] = {k: np.asarray(v) for k, v in found.items() if k != "correlations"}
    fields |= {k: float(fields[k]) for k in ("error", "uncompressed")}
    fields["assumes"] = str(fields["assumes"])
    return Twin(name=name, **fields)


def _single(report: EmbeddingReport) -> bool:
    return len(np.unique(report.query)) == len(report.query)


def first_targets(
    report: EmbeddingReport, line: int
) -> tuple[Int[np.ndarray, " q"], Int[np.ndarray, " q"]]:
    """Count for each query the items ahead of its best target, and those at its score."""
    starts = np.flatnonzero(np.diff(report.query, prepend=-1))
    own = np.repeat(np.arange(len(starts)), np.diff(starts, append=len(report.query)))
    ahead = np.minimum.reduceat(report.ahead[line], starts)
    best = report.ahead[line] == ahead[own]
    tied = np.maximum.reduceat(np.where(best, report.tied[line], 1), starts)
    # Folds differ in size by a few items; all are taken for the smallest.
    ahead = np.minimum(ahead, report.database - 1)
    return ahead, np.clip(tied, 1, report.database - ahead)


def sized_lines(report: EmbeddingReport) -> Int[np.ndarray, " k"]:
    """Choose the reference and a few codes along the best measured, up to the first that keeps 99 %."""
    front = [int(line) for line in report.pareto()]
    enough = report.line_for(0.99)
    if enough is not None:
        front = front[: front.index(enough) + 1]
    places = np.unique(np.linspace(0, len(front) - 1, min(_SIZED_CODES, len(front))).round())
    lines = [report.reference, *(front[int(place)] for place in places[::-1])]
    quality = report.values("mrr")
    return np.array([line for line in lines if 0 < quality[line] < 1], int)


def _other_sizes(
    key: Any, report: EmbeddingReport, best: int, correlations: np.ndarray | None
) -> dict[str, Any]:
    lines = sized_lines(report)
    if not lines.size:
        raise ValueError("every line has an MRR of 0 or 1")
    measured = math.log2(report.database)
    sizes = np.unique(
        np.append(np.arange(4.0, LARGEST_LOG2_SIZE), (measured, math.log2(1e6), LARGEST_LOG2_SIZE))
    )
    predicted = []
    for line in lines:
        ahead, tied = first_targets(report, int(line))
        predicted.append(
            predict_quality(
                ahead, LOSS, competitors=report.database - 1, log2_size=sizes, tied=tied
            )
        )
    twin_sizes = np.zeros(0)
    twin = np.zeros((len(lines), 0))
    if correlations is not None:
        twin_sizes = np.linspace(measured, max(LARGEST_LOG2_SIZE, measured), _TWIN_SIZES + 1)
        space = np.array([report.kinds[line] == "space" for line in lines])
        bits = np.where(space, np.inf, report.bits[lines].astype(float))
        found = gaussian_test_channel(
            key, _source(correlations), twin_sizes, LOSS, bits=bits, queries=_QUERIES
        )
        twin = 1 - np.asarray(found.loss.value)
        # Uncompressed vectors of a space other than the calibrated one rank worse than the model's unlimited bits.
        twin[space & (lines != best)] = np.nan
    return {
        "log2_size": sizes,
        "line": lines,
        "value": np.stack([one.value for one in predicted]),
        "lower": np.stack([one.lower for one in predicted]),
        "upper": np.stack([one.upper for one in predicted]),
        "method": np.array([one.method for one in predicted]),
        "twin_log2_size": twin_sizes,
        "twin": twin,
    }
