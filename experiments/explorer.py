"""Explorer: the least loss of any system over a menu of sources, losses, sizes and block lengths.

No ranking of M items of n letters, each stored at R bits per letter, has a loss below that which the
rank-distortion function allows at n IB(R) bits (C4), whatever the bits are. For one loss and size two more converses hold whatever the bits are:
half-spaces of so much information for Gaussian pairs (C27), and C26 for one letter. The figure draws the tightest of all there, and so does the page of
figures, which draws C4 for every other loss and size. Random codes spend a fixed length, of which the tightest converse (C27) is computed beside them.
"""

from dataclasses import dataclass

import jax
import numpy as np
import scipy.special
import xarray

from experiments.runner import Check, Checkpoint, Claim, without_checkpoint
from rdsim import codes, limits, sources
from rdsim.ranking import Loss

CLAIMS = ("C4", "C10", "C26", "C27")
C4, C10, C26, C27 = map(Claim, CLAIMS)
LOSSES: dict[str, Loss] = {
    "error": "error",
    "reciprocal_rank": "reciprocal_rank",
    "miss_10": ("miss", 10),
    "dcg": "dcg",
}
CODE_LOSSES = ("error", "reciprocal_rank")
DRAWN_LOSS, DRAWN_LOG2_SIZE = "reciprocal_rank", 20
"""Of the figure, which draws the largest size of at most this."""
CONVERSES = {"C26": "single-letter curve", "C27": "half-spaces"}
"""Beside C4: the claims, and what their bounds are called."""
TIGHT_RATES = np.array([0.5, 0.75, 1.0])
"""Bits per letter at which the tightest converse of codewords is computed."""
ASYMMETRIC = ((0.6, 0.1), (0.06, 0.24))
DSBS = {"DSBS, p = 0.05": 0.05, "DSBS, p = 0.1": 0.1, "DSBS, p = 0.2": 0.2}
GAUSSIAN = {"Gaussian, r = 0.5": 0.5, "Gaussian, r = 0.8": 0.8, "Gaussian, r = 0.95": 0.95}
ERASURE = {"fair bit, erased with 0.4": 0.4}
TABLE = "asymmetric pair [0.6 0.1; 0.06 0.24]"


def _rates(steps: int, most: float) -> tuple[float, ...]:
    """Rates up to the largest: dense near 0, where the loss of long items begins to fall."""
    small = [2.0**-k for k in range(9, 4, -1)] + [k / 16 for k in range(1, 8)]
    even = [k / steps for k in range(round(most * steps) + 1)]
    return tuple(sorted({*small, *even}))


@dataclass(frozen=True)
class Config:
    """What is computed."""

    sources: tuple[str, ...] = (*DSBS, *GAUSSIAN, *ERASURE, TABLE)
    """Joint distributions of a query letter X and a stored letter Y."""
    losses: tuple[str, ...] = tuple(LOSSES)
    """Losses of a ranking."""
    log2_sizes: tuple[int, ...] = (3, 5, 7, 10, 14, 20, 30, 40)
    """log2 of the numbers M of items."""
    block_lengths: tuple[int, ...] = (1, 8, 32, 128, 512)
    """Letters n in an item."""
    code_length: int = 32
    """Letters in an item of the random codes."""
    rates: tuple[float, ...] = _rates(8, 1.5)
    """Bits per letter."""


SMOKE = Config(
    sources=("DSBS, p = 0.1", "Gaussian, r = 0.8"),
    losses=("error", "reciprocal_rank"),
    log2_sizes=(5, 10),
    block_lengths=(1, 32),
    rates=(0.0, 0.25, 0.5, 1.0),
)
QUICK = Config()
FULL = Config(rates=_rates(64, 3.0))


def run(
    config: Config,
    key: jax.Array,  # noqa: ARG001
    checkpoint: Checkpoint = without_checkpoint,
) -> xarray.Dataset:
    """Compute IB(R) of every source, then the least loss at n IB(R) bits, and random codes."""
    rates = np.array(config.rates)
    curves = checkpoint("bottlenecks", _bottlenecks, config, rates)
    parts = [
        checkpoint(name, _least_losses, config, name, curves["lower"], curves["upper"])
        for name in config.losses
    ]
    code_rates = rates[rates <= 1]
    tight = checkpoint("codewords", _codewords, config)
    drawn = checkpoint("drawn", _drawn, config, rates)
    made = [checkpoint(f"codes-{name}", _codes, config, name, code_rates) for name in CODE_LOSSES]
    dims = ("source", "loss_name", "log2_size", "block_length", "rate")
    least = {"long_name": "least expected loss of any system", "units": "1"}
    kept = {"long_name": "IB(R)", "units": "bits per letter"}
    axes = (1, 0, 2, 3, 4)
    return xarray.Dataset(
        {
            "information": (("source", "rate"), curves["value"], kept),
            "information_lower": (("source", "rate"), curves["lower"], kept),
            "information_upper": (("source", "rate"), curves["upper"], kept),
            **{
                f"best_loss{end}": (dims, np.stack([p[part] for p in parts]).transpose(axes), least)
                for end, part in (("", "value"), ("_lower", "lower"), ("_upper", "upper"))
            },
            "converse_loss": (("converse", "source", "block_length", "rate"), drawn["loss"], least),
            "code_loss": (
                ("code_loss_name", "code_source", "log2_size", "code_rate"),
                np.stack([part["loss"] for part in made]),
                {"long_name": "expected loss of random codes", "units": "1"},
            ),
            "codewords_loss": (
                ("code_source", "tight_rate"),
                tight["loss"],
                {"long_name": "least expected loss of codewords of a fixed length", "units": "1"},
            ),
        },
        coords={
            "source": list(config.sources),
            "loss_name": list(config.losses),
            "converse": list(CONVERSES),
            "log2_size": ("log2_size", list(config.log2_sizes), {"units": "bits"}),
            "block_length": ("block_length", list(config.block_lengths), {"units": "letters"}),
            "rate": ("rate", rates, {"units": "bits per letter"}),
            "code_loss_name": list(CODE_LOSSES),
            "code_source": _binary(config),
            "code_rate": ("code_rate", code_rates, {"units": "bits per letter"}),
            "tight_rate": ("tight_rate", TIGHT_RATES, {"units": "bits per letter"}),
        },
        attrs={
            "code_length": config.code_length,
            "drawn_loss": DRAWN_LOSS,
            "drawn_log2_size": _drawn_size(config),
        },
    )


def _drawn_size(config: Config) -> int:
    return max(size for size in config.log2_sizes if size <= DRAWN_LOG2_SIZE)


def _drawn(config: Config, rates: np.ndarray) -> dict[str, np.ndarray]:
    """Least loss by every converse beside C4, shape (converse, source, n, rate); not a number where another is the tightest."""
    found = np.full(
        (len(CONVERSES), len(config.sources), len(config.block_lengths), rates.size), np.nan
    )
    size = float(_drawn_size(config))
    for row, name in enumerate(config.sources):
        for column, n in enumerate(config.block_lengths):
            if name in GAUSSIAN or n == 1:
                tightest = _tightest(name, n, size, n * rates)
                for each, bound in zip(found, CONVERSES.values(), strict=True):
                    its = np.array(tightest.bound) == bound
                    each[row, column, its] = np.asarray(tightest.loss)[its]
    return {"loss": found}


def _tightest(name: str, n: int, size: float, bits: np.ndarray) -> limits.RetrievalConverse:
    """Bound the loss of every system whose items of n letters keep so many bits of information."""
    source: sources.GaussianSource | sources.DiscreteSource
    if name in GAUSSIAN:
        eye = np.eye(n)
        source, letters = sources.vector_gaussian(eye, eye, GAUSSIAN[name] * eye), None
    else:
        source, letters = _discrete(name), n
    return limits.retrieval_converse(
        source, size, DRAWN_LOSS, bits=bits, rate="information", encoder="joint", letters=letters
    )


def _discrete(name: str) -> sources.DiscreteSource:
    if name in DSBS:
        return sources.dsbs(DSBS[name])
    if name in ERASURE:
        return sources.binary_erasure_pair(ERASURE[name])
    return sources.discrete(ASYMMETRIC)


def _codewords(config: Config) -> dict[str, np.ndarray]:
    """Least loss of codewords of a fixed length, as long as those of the random codes."""
    n, size = config.code_length, float(_drawn_size(config))
    found = [
        limits.retrieval_converse(
            _discrete(name), size, DRAWN_LOSS, bits=n * TIGHT_RATES, letters=n
        ).loss
        for name in _binary(config)
    ]
    return {"loss": np.array(found)}


def _binary(config: Config) -> list[str]:
    return [name for name in config.sources if name in DSBS]


def _bottlenecks(config: Config, rates: np.ndarray) -> dict[str, np.ndarray]:
    """IB(R) in bits per letter: closed forms are their own bounds, the table's is certified."""
    value, lower, upper = (np.empty((len(config.sources), rates.size)) for _ in range(3))
    for row, name in enumerate(config.sources):
        if name == TABLE:
            found = limits.bottleneck_at(ASYMMETRIC, rates, compress="columns")
            value[row], lower[row], upper[row] = found.value, found.lower, found.upper
            continue
        if name in DSBS:
            curve = limits.bottleneck_dsbs(DSBS[name], rate=rates)
        elif name in GAUSSIAN:
            curve = limits.bottleneck_gaussian(GAUSSIAN[name], rate=rates)
        else:
            curve = limits.bottleneck_erasure([0.5, 0.5], ERASURE[name], rate=rates)
        value[row] = lower[row] = upper[row] = curve
    return {"value": value, "lower": lower, "upper": upper}


def _least_losses(
    config: Config, name: str, lower: np.ndarray, upper: np.ndarray
) -> dict[str, np.ndarray]:
    """Least loss at n IB(R) bits. It falls with IB, so the upper bound on IB gives the lower one."""
    lengths = np.array(config.block_lengths, float)[:, None]
    least, most = (lengths * part[:, None, None, :] for part in (lower, upper))
    sizes = np.array(config.log2_sizes, float)[:, None, None]
    shape = np.broadcast_shapes(least.shape, sizes.shape)
    sizes = np.broadcast_to(sizes, shape).ravel()
    optimist, pessimist = (np.broadcast_to(part, shape).ravel() for part in (most, least))
    # Beyond log2 M bits the loss is zero; where IB is known exactly one evaluation gives both
    # bounds.
    done = pessimist >= sizes
    open_, inexact = np.flatnonzero(~done), np.flatnonzero(~done & (optimist > pessimist))
    asked = np.concatenate([pessimist[open_], optimist[inexact]])
    found = limits.rank_loss(
        np.concatenate([sizes[open_], sizes[inexact]]), LOSSES[name], rate=asked
    )
    bounds = np.zeros((2, optimist.size))
    bounds[:, open_] = found.lower[: open_.size], found.upper[: open_.size]
    bounds[0, inexact] = found.lower[open_.size :]
    low, high = bounds.reshape((2, *shape))
    return {"value": 0.5 * (low + high), "lower": low, "upper": high}


def _codes(config: Config, name: str, rates: np.ndarray) -> dict[str, np.ndarray]:
    crossovers = np.array([DSBS[source] for source in _binary(config)])[:, None, None]
    sizes = np.array(config.log2_sizes, float)[:, None]
    loss = codes.dsbs_ensemble(crossovers, sizes, LOSSES[name], n=config.code_length, rate=rates)
    return {"loss": np.asarray(loss)}


def checks(dataset: xarray.Dataset) -> list[Check]:
    """Check that the curves fall, agree with Fano's closed form, and lie below what codes achieve."""
    least = dataset.best_loss
    rises = max(float(least.diff(dim).max()) for dim in ("rate", "block_length"))
    width = (dataset.best_loss_upper - dataset.best_loss_lower).max()
    code = dataset.code_loss.rename(
        code_loss_name="loss_name", code_source="source", code_rate="rate"
    )
    limit = dataset.best_loss_lower.sel(block_length=dataset.attrs["code_length"])
    beaten = (limit - code).max()
    at = {"loss_name": DRAWN_LOSS, "log2_size": dataset.attrs["drawn_log2_size"]}
    lower_than = dataset.best_loss_lower.sel(at) - dataset.converse_loss
    tight = dataset.codewords_loss.rename(code_source="source", tight_rate="rate")
    return [
        C27.exact.at_most("loss by which a random code beats the converse of its codewords", (tight - code.sel(at)).max(), 1e-9),
        C27.exact.at_most("least difference of the rank rate and half-spaces, Gaussian pairs", lower_than.sel(converse="C27").min(), -0.01),
        C26.exact.at_most("least difference of the rank rate and the single-letter curve, items of one letter", lower_than.sel(converse="C26").min(), -0.01),
        C27.exact.at_most("loss by which the converse of codewords lies below that of every system", (limit.sel(at) - tight).max(), 1e-6),
        C4.exact.at_most("loss by which a random code beats the limit", beaten, 1e-12),
        C4.closed_form.at_most("bits by which the error differs from Fano's", _fano(dataset), 1e-8),
        C4.exact.at_most("rise of the least loss with R or n", rises, 1e-9),
        C4.exact.at_most("largest certified gap of the least loss", width, 1e-6),
        *(
            C10.closed_form.close(f"IB({rate}) of {name}", dataset.information.sel(source=name, rate=rate), expected, 1e-9)
            for name, rate, expected in (
                ("DSBS, p = 0.1", 0.5, 0.302684135),
                ("DSBS, p = 0.1", 0.25, 0.156246835),
                ("Gaussian, r = 0.8", 1.0, 0.471708236),
            )
        ),
    ]  # fmt: skip


def _fano(dataset: xarray.Dataset) -> float:
    """Largest distance of log2 M - h(D) - D log2(M - 1) at the least error D from n IB(R).

    Minus the uncertainty of n IB(R) itself.
    """
    error = dataset.best_loss.sel(loss_name="error")
    size = dataset.log2_size.astype(float)
    entropy = (scipy.special.entr(error) + scipy.special.entr(1 - error)) / np.log(2)
    needed = size - entropy - error * (size + np.log1p(-np.exp2(-size)) / np.log(2))
    bits = dataset.information * dataset.block_length
    uncertainty = (dataset.information_upper - dataset.information_lower) * dataset.block_length
    inside = (error > 0) & (bits > 0)
    return float((abs(needed - bits) - uncertainty).where(inside).max())
