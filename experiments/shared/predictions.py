"""What a quarter of the items says of all of them, beside what is measured; several studies share it.

From the ranks in each quarter, a database by itself, the MRR of its queries among all items is predicted with a band (C1),
and by two models fitted to the quarter alone: the Gaussian twin (C29), which has the canonical correlations of its pairs,
and the isotropic twin (C27, C28), which has their effective dimension and a spread of correlations.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

import jax
import numpy as np
import xarray

from experiments.runner.claims import Check, Claim
from rdsim import finite_sample, ranking
from rdsim.embeddings import EmbeddingReport, RetrievalTask, measure_embeddings, retrieval_task
from rdsim.embeddings.models.gaussian import fitted_correlations, ideal_codes

C1 = Claim("C1")

LOSS: Final = "reciprocal_rank"
PARTS: Final = 4
"""Databases of a quarter."""
TWINS: Final = ("Gaussian", "isotropic")
_CLAIM: Final = {"Gaussian": "C29", "isotropic": "C27"}
_MOST_BITS: Final = 64
OFF: Final = 1 / 3
"""Largest relative error of a twin's MRR, mean over quarters, at which its predictions are said to hold: that of a quarter's
own MRR, among a hundred items, is a sixth to a tenth."""


def quarter(number: int, M: int) -> slice:
    """Rows of one of the quarters."""
    part = M // PARTS
    return slice(number * part, (number + 1) * part)


def log2_sizes(M: int) -> tuple[np.ndarray, np.ndarray]:
    """Log2 of the measured sizes, above a quarter of M to M items, and of the predicted ones."""
    measured = np.log2(np.unique(np.round(np.geomspace(M / PARTS, M, 5)))[1:])
    return measured, np.append(measured, np.arange(math.ceil(measured[-1]) + 1.0, 17.0))


def bands(quarters: Sequence[ranking.PairRanks], whole: ranking.PairRanks) -> dict[str, np.ndarray]:
    """MRR of the queries of each quarter at many sizes: predicted from that quarter, and measured in the whole.

    Args:
        quarters: ranks of the queries of each, among its items.
        whole: ranks of all queries among all items.

    Returns:
        value, lower and upper, shape (quarters, predicted sizes), and measured, shape (quarters, measured sizes).

    """
    _, at = log2_sizes(whole.size)
    predicted = [
        finite_sample.predict_quality(
            part.ahead, LOSS, competitors=part.size - 1, tied=part.tied, log2_size=at
        )
        for part in quarters
    ]
    return {
        **{
            name: np.stack([getattr(one, name) for one in predicted])
            for name in ("value", "lower", "upper")
        },
        "measured": np.stack([_measured(whole, number) for number in range(len(quarters))]),
    }


def _measured(whole: ranking.PairRanks, number: int) -> np.ndarray:
    """MRR of the queries of a quarter at all measured sizes, by exact means over subsets of all items."""
    rows, M = quarter(number, whole.size), whole.size
    return np.array(
        [
            1
            - ranking.subset_loss(
                whole.ahead[rows],
                LOSS,
                competitors=M - 1,
                sampled=round(2**size) - 1,
                tied=whole.tied[rows],
            ).mean()
            for size in log2_sizes(M)[0]
        ]
    )


def coverage(dataset: xarray.Dataset, least: float) -> Check:
    """Check how many bands hold the MRR among all items."""
    last = dataset.sel(predicted_log2_size=dataset.measured_log2_size.values[-1])
    measured = last.measured.isel(measured_log2_size=-1)
    return C1.monte_carlo.inside(
        "share of the bands (95 %), each predicted from a quarter of the items, that hold the MRR measured among all",
        ((last.lower <= measured) & (measured <= last.upper)).mean(),
        least,
        1.0,
    )


def predictions(
    key: jax.Array, fit: RetrievalTask, ranked: RetrievalTask, report: EmbeddingReport
) -> dict[str, np.ndarray]:
    """Predict a report from each quarter of its items.

    Args:
        key: of the report, so that the space is the same.
        fit: pairs that spaces and codes were fitted to.
        ranked: pairs of the report, a query an item.
        report: of these.

    Returns:
        What `bands` returns, and the MRR of both twins: twin_by_size, shape (quarters, twins, sizes), of items stored
        whole; twin_by_bits, shape (quarters, twins, bits), of their codes among all items.

    """
    whole = _ranks(report)
    measured_at, _ = log2_sizes(whole.size)
    quarters, by_size, by_bits = [], [], []
    for number in range(PARTS):
        rows = np.arange(whole.size)[quarter(number, whole.size)]
        task = retrieval_task(
            ranked.queries.rows(rows), ranked.items.rows(ranked.targets.item[rows])
        )
        small = measure_embeddings(key, task, (1,), systems=(), fit=fit, space=report.chosen_space)
        quarters.append(_ranks(small))
        sizes, rates = _twins(key, small, quarters[-1], measured_at, _bits(report))
        by_size.append(sizes)
        by_bits.append(rates)
    twins = {"twin_by_size": np.stack(by_size), "twin_by_bits": np.stack(by_bits)}
    return bands(quarters, whole) | twins


def labelled(parts: Mapping[str, np.ndarray], report: EmbeddingReport) -> xarray.Dataset:
    """Name all axes of `predictions`, and add the best measured code of at most so many bits."""
    measured_at, predicted_at = log2_sizes(report.database)
    bits = _bits(report)
    one, unit = {"units": "1"}, {"units": "bits"}
    axes: dict[str, tuple[str, ...]] = {
        **dict.fromkeys(("value", "lower", "upper"), ("predicted_log2_size",)),
        "measured": ("measured_log2_size",),
        "twin_by_size": ("twin", "measured_log2_size"),
        "twin_by_bits": ("twin", "part_bits"),
    }
    return xarray.Dataset(
        {
            **{name: (("quarter", *dims), parts[name], one) for name, dims in axes.items()},
            "best_code": ("part_bits", [_best(report, rate) for rate in bits], one),
        },
        coords={
            "twin": list(TWINS),
            "measured_log2_size": ("measured_log2_size", measured_at, unit),
            "predicted_log2_size": ("predicted_log2_size", predicted_at, unit),
            "part_bits": ("part_bits", bits, {"units": "bits per item"}),
        },
    )


def _bits(report: EmbeddingReport) -> np.ndarray:
    """Numbers of bits of the codes, up to those at which items are as good as stored whole."""
    kinds = np.array(report.kinds)
    bits = np.unique(report.bits[kinds == "code"])
    return bits[bits <= _MOST_BITS].astype(float)


def _ranks(report: EmbeddingReport) -> ranking.PairRanks:
    line = report.reference
    return ranking.PairRanks(
        ahead=report.ahead[line],
        tied=report.tied[line],
        size=report.database,
        code_bits=float(report.code_bits[line]),
    )


def _best(report: EmbeddingReport, bits: float) -> float:
    """MRR of the best code of at most so many bits: some codes have a size of their own, and are poor for it."""
    codes = np.array([kind == "code" for kind in report.kinds]) & (report.bits <= bits)
    return float(report.values("mrr")[codes].max())


def _twins(
    key: jax.Array,
    small: EmbeddingReport,
    ranks: ranking.PairRanks,
    log2_size: np.ndarray,
    bits: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """MRR of both twins, stored whole at all sizes, and of their ideal and random codes at the last."""
    quality = float(small.values("mrr")[small.reference])
    correlations, *_ = fitted_correlations(key, small, quality)
    at = np.append(bits, np.inf)
    gaussian: Any = 1 - np.asarray(ideal_codes(key, correlations, log2_size, (LOSS,), at).value)[0]
    isotropic = finite_sample.fit_isotropic_twin(
        ranks.ahead,
        LOSS,
        competitors=ranks.size - 1,
        tied=ranks.tied,
        dimension=float(np.clip(small.item_dimension[small.reference], 4.0, 1024.0)),
    )
    whole = [1 - float(isotropic.loss(math.inf, log2_size=size)) for size in log2_size]
    coded = 1 - isotropic.loss(bits, log2_size=log2_size[-1])
    return np.stack([gaussian[-1], whole]), np.stack([gaussian[:-1, -1], coded])


def checks(dataset: xarray.Dataset) -> list[Check]:
    """Check bands, and both twins at other sizes and at bits, as means over the quarters."""
    found = [coverage(dataset, 0.75)]
    mean = dataset.mean("quarter")
    for twin in TWINS:
        here = mean.sel(twin=twin)
        found += [
            Claim(_CLAIM[twin]).monte_carlo.at_most(
                f"MRR of the {twin} twin fitted to a quarter of the items, by that measured in larger databases, less one, "
                "largest size, mean over quarters",
                abs(here.twin_by_size / here.measured - 1).max(),
                OFF,
            ),
            Claim(_CLAIM[twin]).monte_carlo.at_most(
                f"MRR of the best measured code by that of ideal codes for the {twin} twin fitted to a quarter, among all "
                "items, less one, largest from 16 bits on",
                abs(here.best_code / here.twin_by_bits - 1).sel(part_bits=slice(16, None)).max(),
                OFF,
            ),
        ]
    return found
