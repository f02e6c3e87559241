"""Models of given embeddings: Gaussian and isotropic twins, and the MRR in databases of other sizes.

What a twin says of R bits holds of the twin, not of the data: a measured code above the converse of a twin refutes
the twin.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, Final

import numpy as np
from jaxtyping import Array, Key

from rdsim import validation
from rdsim.embeddings.models.gaussian import gaussian_twin
from rdsim.embeddings.models.isotropic import isotropic_twin
from rdsim.embeddings.models.sizes import OtherSizes, other_sizes
from rdsim.embeddings.models.twin import GAUSSIAN, ISOTROPIC, Twin
from rdsim.embeddings.progress import Progress, without_progress
from rdsim.embeddings.result import EmbeddingReport
from rdsim.files import Checkpoint, without_checkpoint
from rdsim.threads import one_blas_thread
from rdsim.transformations import on_host

_FEWEST_ITEMS: Final = 64


@dataclasses.dataclass(frozen=True, kw_only=True)
class Models:
    """What models say of given embeddings.

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

    """
    validation.prng_key("key", key)
    validation.instance("report", report, EmbeddingReport)
    validation.function("checkpoint", checkpoint)
    validation.function("progress", progress)
    mrr = report.values("mrr")
    # One's own codes may know what the vectors do not, and rescored ones are not stored in their bits alone: a model
    # is calibrated to neither.
    candidates = np.array([kind not in ("yours", "rescored") for kind in report.kinds])
    best = int(np.argmax(np.where(candidates, mrr, -np.inf)))
    if report.database < _FEWEST_ITEMS:
        why = f"Models need {_FEWEST_ITEMS} items or more; {report.database} were ranked."
        models = Models(calibrated_to=best, twins=(), sizes=None, missing=(why,))
        return dataclasses.replace(report, models=models)
    if not 0 < mrr[best] < 1:
        why = (
            f"There are no models: an MRR of {mrr[best]:g} ({report.lines[best]}) does not tell how hard the task is. "
            "Hold a larger part out, or add items."
        )
        models = Models(calibrated_to=best, twins=(), sizes=None, missing=(why,))
        return dataclasses.replace(report, models=models)
    missing: list[str] = []

    def part(name: str, function: Callable[[], dict[str, Any]]) -> dict[str, Any] | None:
        def computed() -> dict[str, Any]:
            try:
                return function()
            # A twin that cannot be fitted is a finding about the data and is said in the report; the others are
            # computed all the same.
            except ValueError as error:
                return {"failed": np.array(str(error))}

        progress(name, 0, 1)
        found = dict(checkpoint(name.replace(" ", "-"), computed))
        progress(name, 1, 1)
        if "failed" in found:
            missing.append(f"There is no {name}: {found['failed']}.")
            return None
        return found

    # Tables have hundreds of queries by dozens of coordinates, however large the database is.
    with one_blas_thread():
        gaussian = part(GAUSSIAN, lambda: gaussian_twin(key, report, float(mrr[best])))
        isotropic = part(ISOTROPIC, lambda: isotropic_twin(report, best))
    twins = [
        _twin(name, found)
        for name, found in ((GAUSSIAN, gaussian), (ISOTROPIC, isotropic))
        if found is not None
    ]
    correlations = None if gaussian is None else np.asarray(gaussian["correlations"])
    sizes = part("databases of other sizes", lambda: other_sizes(key, report, best, correlations))
    models = Models(
        calibrated_to=best,
        twins=tuple(twins),
        sizes=None if sizes is None else OtherSizes(**sizes),
        missing=tuple(missing),
    )
    return dataclasses.replace(report, models=models)


def _twin(name: str, found: dict[str, Any]) -> Twin:
    fields: dict[str, Any] = {k: np.asarray(v) for k, v in found.items() if k != "correlations"}
    fields["error"] = float(fields["error"])
    fields["assumes"] = str(fields["assumes"])
    return Twin(name=name, **fields)
