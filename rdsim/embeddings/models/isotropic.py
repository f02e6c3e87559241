"""The isotropic twin (C27, C28): one effective dimension and a spread of correlations, fitted to the ranks."""

import math
from typing import Any

import numpy as np

from rdsim.embeddings.models.twin import (
    CODE_BITS,
    CODE_LOSSES,
    CONVERSE_BITS,
    CONVERSE_LOSSES,
    code_metrics,
    converse_metrics,
    first_targets,
    targets_a_query,
)
from rdsim.embeddings.quality import METRICS
from rdsim.embeddings.result import EmbeddingReport
from rdsim.finite_sample import fit_isotropic_twin
from rdsim.finite_sample.database_size.isotropic_twin import converse_losses, random_code_losses
from rdsim.ranking.loss import parse_loss


def isotropic_twin(report: EmbeddingReport, line: int) -> dict[str, Any]:
    """Fit the twin, and compute its lines."""
    ahead, tied = first_targets(report, line)
    dimension = float(np.clip(report.diagnostics["item_dimension"], 4.0, 1024.0))
    twin = fit_isotropic_twin(
        ahead, CODE_LOSSES[0], competitors=report.database - 1, dimension=dimension, tied=tied
    )
    log2_size = math.log2(report.database)

    losses = [parse_loss(loss) for loss in CODE_LOSSES]
    bits = np.append(CODE_BITS, np.inf)
    found = random_code_losses(twin, losses, bits, log2_size=log2_size)
    code = code_metrics(found, found[1:], targets=1)
    if targets_a_query(report) == 1:
        bounded = [parse_loss(loss) for loss in CONVERSE_LOSSES]
        converse = converse_metrics(
            converse_losses(twin, bounded, CONVERSE_BITS, log2_size=log2_size)
        )
    else:
        # The pair of the twin is that of the query and its first target: the ranks of the others, and what their
        # codes tell of it, are not in it.
        code[:, -1] = np.nan
        converse = np.full((len(CONVERSE_BITS), len(METRICS)), np.nan)
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
