r"""The quality of a search in a database of another size, from the ranks in one.

A query whose target is beaten by a random item with probability p has the expected loss of C1 among M
items, so that the quality at every M is a mean of C1 over the distribution of p. Below the measured size
it is exact, by subsets. Above it the distribution is needed below 1/M, where no count tells: several forms
of it, and the straight line of the log-odds in log2 M, predict the larger of the data's own smaller sizes
from the smaller ones, and their errors there decide what each of them weighs, and the band.
"""

import math
from dataclasses import field
from typing import TYPE_CHECKING, Final

import numpy as np
import scipy
from jaxtyping import Float
from numpy.typing import NDArray

from rdsim import validation
from rdsim.finite_sample.database_size import _mixing
from rdsim.finite_sample.database_size._mixing import Reals
from rdsim.finite_sample.database_size._ranks import Ranks, check_ranks
from rdsim.number_types import ArrayLike, Integer
from rdsim.ranking.loss import Loss
from rdsim.ranking.rank_distribution import gain_without_ties, log_database_size
from rdsim.results import result
from rdsim.root_finding import bisect_on_host
from rdsim.transformations import on_host

if TYPE_CHECKING:
    import xarray

LINE: Final = "straight line"
_SMALLEST: Final = 16
"""Items of the smallest database on which a fit is tried."""
_TRIALS: Final = ((64, 4), (16, 16), (4, 4))
"""Pairs of numbers: a fit at M divided by the first predicts the quality at the second times that size, where it is
known, so that the error of the prediction is known too."""
_DOUBLINGS: Final = 4
"""Doublings of the database size from the smallest fit of a trial to the size that it predicts."""
_SHARPNESS: Final = 2
"""Power of the squared error by which a candidate weighs less: one of twice the error has a sixteenth."""
_TINY: Final = 1e-300
"""A quality of zero counts as this one, which has a finite log-odds."""
_FAR: Final = 800.0  # a log-odds larger than that of _TINY


@result
class PredictedQuality:
    """The quality, one minus a rank loss, at several database sizes.

    Attributes:
        log2_size: log2 of the sizes, shape (S,).
        value: predicted quality, shape (S,): exact averages over subsets up to the measured size.
        lower: lower end of the band, shape (S,).
        upper: upper end.
        method: how each value was found, S names: "subsets" below and at the measured size, and above it
            the candidate that weighs most there.
        candidates: names of the candidates, C of them; none where no size is larger than the measured.
        predictions: of every candidate, shape (C, S); equal to value up to the measured size.
        weight: of every candidate, shape (C,).
        error: of every candidate on the data's own smaller sizes, the largest, in log-odds a doubling of
            the database, shape (C,).
        measured_log2_size: log2 of the measured size.
        confidence: of the band.

    """

    log2_size: Float[np.ndarray, " s"]
    value: Float[np.ndarray, " s"]
    lower: Float[np.ndarray, " s"]
    upper: Float[np.ndarray, " s"]
    method: tuple[str, ...] = field(metadata={"static": True})
    candidates: tuple[str, ...] = field(metadata={"static": True})
    predictions: Float[np.ndarray, "c s"]
    weight: Float[np.ndarray, " c"]
    error: Float[np.ndarray, " c"]
    measured_log2_size: float = field(metadata={"static": True})
    confidence: float = field(metadata={"static": True})

    def to_xarray(self) -> "xarray.Dataset":
        """All numbers along log2_size and candidate, with their units."""
        import xarray  # optional: an extra brings it

        one = {"units": "1"}
        return xarray.Dataset(
            {
                "quality": ("log2_size", self.value, one),
                "lower": ("log2_size", self.lower, one),
                "upper": ("log2_size", self.upper, one),
                "method": ("log2_size", list(self.method)),
                "prediction": (("candidate", "log2_size"), self.predictions, one),
                "weight": ("candidate", self.weight, one),
                "error": ("candidate", self.error, {"units": "nats of log-odds per doubling"}),
            },
            coords={
                "log2_size": ("log2_size", self.log2_size, {"units": "bits"}),
                "candidate": np.array(self.candidates, dtype=str),
            },
            attrs={
                "measured_log2_size": self.measured_log2_size,
                "confidence": self.confidence,
            },
        )


@on_host
@validation.needs_float64
def predict_quality(
    ahead: ArrayLike,
    loss: Loss,
    *,
    competitors: Integer,
    log2_size: ArrayLike,
    tied: ArrayLike = 1,
    confidence: float = 0.95,
) -> PredictedQuality:
    r"""Predict the mean quality $1 - E\rho$ of the same queries in databases of other sizes.

    Up to the measured M = N + 1 items the mean over all subsets, exact. Above it a pool of candidates c, each
    a normal distribution of the log-odds of the quality,

    $$\sum_c w_c\, \mathcal N\big(\mu_c(M'),\ s_c^2 + (r_c \log_2 (M'/M))^2\big), \qquad
        w_c \propto r_c^{-4}, \quad r_c^2 = e_c^2 + (s/4)^2.$$

    Its median is the value and its quantiles are the band. The candidates are distributions of p with a
    nonparametric body and a tail of one of six families, and the line through the qualities at M/16 and M;
    $\mu_c$ is shifted so that each is exact at M. Candidate c was wrong by at most e_c a doubling when it was
    fitted at M/16 and predicted M, at M/4 and predicted M, and at M/64 and predicted M/16; s is the sampling
    error of the mean over the queries. The band is empirical and no proof: nothing that was measured tells of
    probabilities far below 1/M.

    Args:
        ahead: number of competitors ahead of the target of each query, integers, shape (Q,), Q >= 2.
        loss: "error", "reciprocal_rank", ("miss", K) or "dcg"; the quality is 1 - loss: the MRR for
            "reciprocal_rank", recall@K for ("miss", K).
        competitors: N >= 1, items ranked beside the target.
        log2_size: log2 of the sizes, 1 to 1000, shape (S,) or (); M' is the nearest integer.
        tied: items at the target's score, itself included, at least 1; shape (Q,) or ().
        confidence: of the band, in (0, 1).

    Returns:
        The predictions, their band and all candidates.

    Raises:
        ValueError: also if a size above the measured one is asked for and fewer than 64 items were ranked,
            or if the quality at the measured size is 0 or 1, from which no line leads on.

    References:
        Kiefer and Wolfowitz (1956), Annals of Mathematical Statistics 27 (nonparametric maximum
        likelihood of mixtures); Dawid (1984), JRSS A 147 (forecasts judged by earlier ones).

    """
    ranks = check_ranks(ahead, loss, competitors, tied)
    N = ranks.competitors
    given = validation.interval("log2_size", log2_size, low=1.0, high=1e3)
    sizes = np.atleast_1d(np.asarray(validation.not_empty("log2_size", given)))
    if sizes.ndim != 1:
        raise ValueError(f"log2_size must have shape (S,) or (), got {sizes.shape}")
    covered = float(validation.open_unit("confidence", confidence))
    measured = ranks.gains(N + 1)
    log2_measured = math.log2(N + 1)
    # Sizes are rounded to integers: from N + 1.5 on the nearest one is larger than the N + 1 measured.
    above = np.exp2(np.minimum(sizes, 60.0)) >= N + 1.5
    value = np.zeros(sizes.size)
    for place in np.flatnonzero(~above):
        value[place] = ranks.gains(max(2, round(2.0 ** sizes[place]))).mean()
    lower, upper = value.copy(), value.copy()
    names: tuple[str, ...] = ()
    predictions, weight, error = np.zeros((0, sizes.size)), np.zeros(0), np.zeros(0)
    method = np.full(sizes.size, "subsets", object)
    if above.any():
        ranks.require_larger(float(measured.mean()), "log2_size above the measured size")
        forecast = _Forecast(ranks, measured, sizes[above])
        names, weight, error = forecast.names, forecast.weight, forecast.error
        predictions = np.tile(value, (len(names), 1))
        predictions[:, above] = scipy.special.expit(forecast.odds)
        value[above], lower[above], upper[above] = forecast.band(covered)
        method[above] = names[int(weight.argmax())]
    return PredictedQuality(
        log2_size=sizes,
        value=value,
        lower=lower,
        upper=upper,
        method=tuple(method),
        candidates=names,
        predictions=predictions,
        weight=weight,
        error=error,
        measured_log2_size=log2_measured,
        confidence=covered,
    )


class _Forecast:
    """All candidates at sizes above the measured one, judged by the data's own smaller sizes."""

    def __init__(self, ranks: Ranks, measured: Reals, log2_sizes: Reals) -> None:
        self.measured, self.sizes = measured, log2_sizes
        M = ranks.competitors + 1
        self.log2_measured = math.log2(M)
        counts = _mixing.counts_of(ranks.ahead, ranks.tied, ranks.competitors)
        found = _candidates(ranks, counts, M, log2_sizes)
        errors: dict[str, list[float]] = {name: [] for name in found}
        for smaller, factor in _TRIALS:
            size = M // smaller
            if size < _SMALLEST:
                continue
            target = min(size * factor, M)
            truth = float(_odds(ranks.gains(target).mean()))
            tried = _candidates(ranks, counts.among(size - 1), size, np.array([math.log2(target)]))
            doublings = math.log2(target / size)
            for name, odds in tried.items():
                if name in errors:
                    errors[name].append((float(odds[0]) - truth) / doublings)
        # A candidate that no smaller size could judge is left out.
        judged = [name for name, seen in errors.items() if seen]
        self.names = tuple(judged)
        self.odds = np.stack([found[name] for name in judged])
        self.error = np.array([np.max(np.abs(errors[name])) for name in judged])
        # The error r of a candidate for each doubling of the database. It is known no better than the quality
        # that it was measured on.
        floor = self._sampling(np.array([measured.mean()]))[0] / _DOUBLINGS
        self.per_doubling = np.sqrt(self.error**2 + floor**2)
        weight = self.per_doubling ** -(2.0 * _SHARPNESS)
        self.weight = weight / weight.sum()

    def _sampling(self, quality: Reals) -> Reals:
        """Standard error of the log-odds of a mean over the queries.

        The ratio of the mean square of the gain to its mean is taken from the measured size. A quality below
        one query in all has the error of that.
        """
        ratio = np.mean(self.measured**2) / np.mean(self.measured)
        quality = np.maximum(quality, 1 / self.measured.size)
        variance = np.maximum(ratio * quality - quality**2, 0.0) / self.measured.size
        return np.asarray(np.sqrt(variance) / np.maximum(quality * (1 - quality), _TINY))

    def band(self, confidence: float) -> tuple[Reals, Reals, Reals]:
        """Median and both ends of the pool of all candidates."""
        further = self.per_doubling[:, None] * (self.sizes - self.log2_measured)
        deviation = np.sqrt(self._sampling(scipy.special.expit(self.odds)) ** 2 + further**2)
        # More items never help: the upper end stays below that of the measured size.
        own = np.array([self.measured.mean()])
        most = scipy.special.expit(
            _odds(own) + scipy.special.ndtri(0.5 + confidence / 2) * self._sampling(own)
        )
        wanted = 0.5 + 0.5 * confidence * np.array([[-1.0], [0.0], [1.0]])

        def passed(odds: Reals) -> NDArray[np.bool_]:
            below = scipy.special.ndtr((odds[:, None, :] - self.odds) / deviation)
            return np.einsum("c,wcs->ws", self.weight, below) >= wanted

        ends = np.zeros((3, self.sizes.size))
        _, odds = bisect_on_host(passed, ends - _FAR, ends + _FAR, steps=64)
        lower, value, upper = scipy.special.expit(odds)
        return np.minimum(value, most), lower, np.minimum(upper, most)


def _candidates(
    ranks: Ranks, counts: _mixing.Counts, size: int, log2_sizes: Reals
) -> dict[str, Reals]:
    """Log-odds of the quality at larger sizes by every candidate, from what is known of one size."""
    known = float(_odds(ranks.gains(size).mean()))
    here = math.log2(size)
    # The line in log2 M through the log-odds at the size itself and four doublings below it.
    before = max(2, size // 16)
    slope = (known - float(_odds(ranks.gains(before).mean()))) / (here - math.log2(before))
    found = {LINE: known + slope * (log2_sizes - here)}
    mixings = _mixing.fits(counts)
    quality = np.zeros((len(mixings), log2_sizes.size + 1))
    atoms = _mixing.grid(math.log(counts.competitors)).log_p
    for column, log2_size in enumerate([here, *log2_sizes]):
        log_M = float(log_database_size(log2_size))
        at = _mixing.grid(log_M)
        both = [
            gain_without_ties(float(log2_size), ranks.loss, log_p) for log_p in (atoms, at.log_p)
        ]
        quality[:, column] = [mixing.mean(both[0], both[1], at) for mixing in mixings]
    odds = _odds(quality)
    # A fit errs a little at the size itself, where the quality is known.
    odds += known - odds[:, :1]
    return found | {one.name: row[1:] for one, row in zip(mixings, odds, strict=True)}


def _odds(quality: Reals | float) -> Reals:
    """Log-odds ln(q/(1-q))."""
    return np.asarray(scipy.special.logit(np.clip(quality, _TINY, 1 - 1e-16)))
