"""Predictions of the models, as variables of the dataset of a report."""

from typing import Any

import numpy as np

from rdsim.embeddings.models.twins import Models


def model_variables(models: Models) -> dict[str, Any]:
    """Lay out twins and other sizes along their dimensions; text stands in the attributes."""
    one: dict[str, Any] = {"units": "1"}
    found: dict[str, Any] = {"calibrated_to": ((), models.calibrated_to)}
    if models.missing:
        found["missing_models"] = ("missing", np.array(models.missing))
    for twin in models.twins:
        prefix = twin.name.replace(" ", "_").lower()
        said = one | {"model": twin.name, "assumes": twin.assumes}
        bits, bound = f"{prefix}_bits", f"{prefix}_converse_bits"
        found |= {
            bits: (bits, twin.bits, {"units": "bits per item"}),
            bound: (bound, twin.converse_bits, {"units": "bits per item"}),
            f"{prefix}_code": ((bits, "metric"), twin.code, said),
            f"{prefix}_lower": ((bits, "metric"), twin.lower, one),
            f"{prefix}_upper": ((bits, "metric"), twin.upper, one),
            f"{prefix}_converse": ((bound, "metric"), twin.converse, said),
            f"{prefix}_uncompressed": ("metric", twin.uncompressed, one),
            f"{prefix}_error": ((), twin.error, one),
        }
    if models.sizes is not None:
        sizes, at = models.sizes, ("sized_line", "log2_size")
        found |= {
            "log2_size": ("log2_size", sizes.log2_size, {"units": "bits"}),
            "sized_line": ("sized_line", sizes.line),
            "mrr_by_size": (at, sizes.value, one),
            "mrr_by_size_lower": (at, sizes.lower, one),
            "mrr_by_size_upper": (at, sizes.upper, one),
            "method_by_size": (at, sizes.method.astype(str)),
            "twin_log2_size": ("twin_log2_size", sizes.twin_log2_size, {"units": "bits"}),
            "twin_mrr_by_size": (("sized_line", "twin_log2_size"), sizes.twin, one),
        }
    return found
