"""Gaussian mixture: rank loss against bits an item for codes and decoders, beside the frontier.

Items of several classes in the plane, seen through two or three query modalities of unequal noise.
Every code is decoded by squared distances with temperatures fitted to the modalities, with one
temperature for all, by averaged cosines, and by the information density. No system lies above the
outer bound, the tighter of two: the rank converse at the bits that the rate can tell about the
queries, and the optimal ranking of items stored whole.
"""

import functools
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
import xarray

from experiments.runner import Cell, Check, call
from experiments.shared.circle import mixture_on_circle
from rdsim import limits
from rdsim.codes.catalogue import CODES, CommonCode, common_code, fit_item_code
from rdsim.codes.entropy_coding import code_rates, entropy_coded_bits
from rdsim.limits.bottleneck.gaussian_mixture import mixture_bottleneck_bound
from rdsim.ranking.similarity import averaged_cosine, fuse, negative_squared_distance
from rdsim.ranking.temperature import fit_temperatures
from rdsim.simulation.item_code import Decoder, simulate_item_code
from rdsim.simulation.mixture_decoders import density_decoder, whole_items
from rdsim.sources.discretisation import DiscretisedItem
from rdsim.sources.mixture import GaussianMixtureSource

CLAIMS = ("C17",)
DECODERS = ("fitted temperatures", "one temperature", "averaged cosine", "information density")
WHOLE = "whole items"
LOSSES = ("reciprocal_rank", "error", "miss_10")
ADAPTIVE = "entropy-weighted"
TWO_POINTS = 0.02


@dataclass(frozen=True)
class Config:
    """What is computed."""

    weights: tuple[float, ...] = (0.3, 0.25, 0.2, 0.12, 0.08, 0.05)
    """Of the classes, whose means lie on a circle."""
    radius: float = 2.0
    """Of that circle."""
    variance: float = 0.25
    """Of each coordinate of an item in its class."""
    noises: tuple[tuple[float, ...], ...] = ((0.02, 0.5), (0.02, 0.2, 1.0))
    """Noise variances of the query modalities, one tuple a panel."""
    codes: tuple[str, ...] = tuple(name for name in CODES if name != "entropy-constrained VQ")
    """The codes compared."""
    bits: tuple[int, ...] = (2, 4, 6)
    """Bits an item that the codes are fitted for."""
    atoms: int = 96
    """Codewords that the entropy-coded quantizers start from."""
    training: int = 1536
    """Items that codes and temperatures are fitted to."""
    trials: int = 4096
    """Trials of the simulation of one code."""
    log2_sizes: tuple[int, ...] = (5, 10, 20)
    """log2 of the database sizes."""
    cells: int = 128
    """Cells along an axis of the item's law; twice as many for the competitors."""
    points: int = 33
    """Points along the rate of the outer bound."""


SMOKE = Config(
    noises=((0.02, 0.5),),
    codes=("entropy-weighted", "k-means VQ", "uniform scalar"),
    bits=(3,),
    atoms=16,
    training=256,
    trials=2048,
    log2_sizes=(10,),
    cells=32,
    points=5,
)
QUICK = Config()
FULL = Config(
    codes=tuple(CODES),
    bits=tuple(range(1, 9)),
    atoms=256,
    training=4096,
    trials=32768,
    points=129,
)


@functools.lru_cache(maxsize=4)
def _item_law(config: Config, cells: int) -> DiscretisedItem:
    """Cells of the item's law: that of every source, whatever the noise of its queries."""
    return mixture_on_circle(config, config.noises[0]).discretise_item(cells)


def run(config: Config, key: jax.Array, cell: Cell = call) -> xarray.Dataset:
    """Fit every code, simulate it under every decoder, and bound all systems."""
    fit_key, temperature_key, trial_key = jax.random.split(key, 3)
    fitted = [
        [cell(f"fit-{_label(code)}-{b}", _fit, config, fit_key, code, b) for b in config.bits]
        for code in config.codes
    ]
    simulated = [
        [
            [
                cell(
                    *(f"simulate-{len(noise)}-{_label(code)}-{b}", _simulate, config, noise),
                    *(temperature_key, trial_key, fitted[i][j]),
                )
                for j, b in enumerate(config.bits)
            ]
            for i, code in enumerate(config.codes)
        ]
        for noise in config.noises
    ]
    bounds = [
        cell(f"bound-{len(noise)}", _bounds, config, noise, _numbers(fitted, "information"))
        for noise in config.noises
    ]
    return _dataset(config, fitted, simulated, bounds)


def _label(code: str) -> str:
    return code.replace(" ", "-")


def _numbers(cells: list, name: str) -> np.ndarray:
    """One array of each cell's, in the shape of the nested list."""
    return np.array([_numbers(c, name) if isinstance(c, list) else c[name] for c in cells])


def _fit(config: Config, key: jax.Array, name: str, bits: int) -> dict[str, np.ndarray]:
    """Fit a code and measure its bits under the true law of the items."""
    source = mixture_on_circle(config, config.noises[0])
    item_key, start_key, test_key, draw_key = jax.random.split(key, 4)
    items = source.sample(item_key, (config.training,))[1]
    code = fit_item_code(name, start_key, items, bits, atoms=config.atoms)
    padded = common_code(
        code, words=max(config.atoms, 2 ** max(config.bits)), planes=max(config.bits)
    )
    rough, fine = (
        code_rates(padded, law.points, masses=law.masses)
        for law in (_item_law(config, config.cells), _item_law(config, 2 * config.cells))
    )
    test = padded.encode(draw_key, source.sample(test_key, (config.training,))[1])
    # An index that no cell has keeps a little mass, so that the range coder can send it.
    pmf = (fine.output_marginal + 1e-6) / (1 + 1e-6 * fine.output_marginal.size)
    return {
        **{f"code_{part}": getattr(padded, part) for part in CommonCode.__dataclass_fields__},
        "competitor": fine.output_marginal,
        "information": fine.mutual_information,
        "entropy": fine.index_entropy,
        "coded_bits": entropy_coded_bits(test, pmf).bits_per_symbol,
        "words": jnp.sum(fine.output_marginal > 0),
        "total_variation": 0.5 * jnp.sum(jnp.abs(fine.output_marginal - rough.output_marginal)),
    }


def _simulate(
    config: Config,
    noise: tuple[float, ...],
    temperature_key: jax.Array,
    trial_key: jax.Array,
    fitted: dict[str, np.ndarray],
) -> dict[str, np.ndarray]:
    """Loss of one code under every decoder, at every size, on draws that all codes share."""
    source = mixture_on_circle(config, noise)
    code = CommonCode(
        **{part: jnp.asarray(fitted[f"code_{part}"]) for part in CommonCode.__dataclass_fields__}
    )
    competitor = jnp.asarray(fitted["competitor"])
    decoders = decoders_of(config, source, code, competitor, temperature_key)
    found = simulate_item_code(
        trial_key,
        source,
        code,
        {**decoders, WHOLE: whole_items(source)},
        competitor,
        config.log2_sizes,
        ("reciprocal_rank", "error", ("miss", 10)),
        trials=config.trials,
        block=128,
    ).estimates
    temperature = np.full(max(map(len, config.noises)), np.nan)
    temperature[: len(noise)] = decoders[DECODERS[0]].parameters[1]
    return {
        "temperature": temperature,
        **{
            f"{prefix}{end}": np.array(
                [[getattr(found[name][loss], end) for loss in LOSSES] for name in names]
            )
            for prefix, names in (("", DECODERS), ("whole_", (WHOLE,)))
            for end in ("mean", "lower", "upper")
        },
    }


def decoders_of(
    config: Config,
    source: GaussianMixtureSource,
    code: CommonCode,
    competitor: jax.Array,
    key: jax.Array,
) -> dict[str, Decoder]:
    """Make the decoders of a code, with temperatures fitted to training items."""
    sample_key, draw_key = jax.random.split(key)
    queries, items, _ = source.sample(sample_key, (config.training,))
    law = competitor + 1e-12  # a training item may have a codeword that no cell of the law has
    fitted = fit_temperatures(
        negative_squared_distance(queries, code.codewords),
        *(code.encode(draw_key, items), law / law.sum()),
    ).temperature
    one = jnp.ones_like(fitted)
    density = density_decoder(source, code, _item_law(config, config.cells // 2))
    rules = (
        Decoder(_fused, (code.codewords, fitted)),
        Decoder(_fused, (code.codewords, one)),
        Decoder(_averaged_cosine, code.codewords),
        density,
    )
    return dict(zip(DECODERS, rules, strict=True))


def _fused(parameters: tuple[jax.Array, jax.Array], queries: jax.Array) -> jax.Array:
    codewords, temperature = parameters
    return fuse(negative_squared_distance(queries, codewords), temperature)


def _averaged_cosine(codewords: jax.Array, queries: jax.Array) -> jax.Array:
    return averaged_cosine(queries, codewords)


def _bounds(
    config: Config, noise: tuple[float, ...], information: np.ndarray
) -> dict[str, np.ndarray]:
    """Least losses at grid rates and at the codes' I(U;Y), and the loss of a random ranking."""
    source = mixture_on_circle(config, noise)
    grid = np.linspace(0.0, float(information.max()) + 1, config.points)
    rates = np.concatenate([grid, information.ravel()])
    everything = source.mutual_information(tolerance=1e-6)
    known = jnp.minimum(mixture_bottleneck_bound(source, rates), everything.upper)
    sizes = jnp.asarray(config.log2_sizes, float)
    found = [
        limits.rank_loss(sizes, loss, rate=known[:, None])
        for loss in ("reciprocal_rank", "error", ("miss", 10))
    ]
    lower = np.stack([np.asarray(bound.lower) for bound in found])
    return {
        "rate": grid,
        "converse": lower[:, : grid.size],
        "at_codes": lower[:, grid.size :].reshape(len(LOSSES), *information.shape, -1),
        "random": np.stack([np.asarray(bound.value)[0] for bound in found]),
        "told": np.asarray(everything.upper),
    }


def _dataset(config: Config, fitted: list, simulated: list, bounds: list) -> xarray.Dataset:
    """Label the numbers, and compare the losses with the outer bound and the best known code."""
    code = ("code", "bits")
    where = ("modalities", *code, "decoder", "loss_name", "log2_size")
    whole = ("modalities", "loss_name", "log2_size")
    bits, one = {"units": "bits per item"}, {"units": "1"}
    numbers = {
        name: (code, _numbers(fitted, name), bits)
        for name in ("information", "entropy", "coded_bits")
    }
    modalities = [len(noise) for noise in config.noises]
    dataset = xarray.Dataset(
        {
            **numbers,
            "words": (code, _numbers(fitted, "words")),
            "total_variation": (code, _numbers(fitted, "total_variation"), one),
            "temperature": (
                ("modalities", *code, "modality"),
                *(_numbers(simulated, "temperature"), {"units": "squared distance per nat"}),
            ),
            "loss": (where, _numbers(simulated, "mean"), one),
            "loss_lower": (where, _numbers(simulated, "lower"), one),
            "loss_upper": (where, _numbers(simulated, "upper"), one),
            # Every code saw the same draws, so that every cell holds the same numbers.
            **{
                f"whole_{end}": (whole, _numbers(simulated, f"whole_{end}")[:, 0, 0, 0], one)
                for end in ("mean", "lower", "upper")
            },
            "converse": (
                ("modalities", "loss_name", "rate", "log2_size"),
                *(_numbers(bounds, "converse"), one),
            ),
            "converse_at_code": (
                ("modalities", "loss_name", *code, "log2_size"),
                *(_numbers(bounds, "at_codes"), one),
            ),
            "random": (whole, _numbers(bounds, "random"), one),
            "told": ("modalities", _numbers(bounds, "told"), {"units": "bits"}),
        },
        coords={
            "modalities": modalities,
            "code": list(config.codes),
            "bits": ("bits", list(config.bits), bits),
            "decoder": list(DECODERS),
            "loss_name": list(LOSSES),
            "log2_size": list(config.log2_sizes),
            "rate": ("rate", bounds[0]["rate"], bits),
        },
        attrs={"trials": config.trials},
    )
    # No code does better than either bound; the simulated one counts by the end of its interval.
    outer = np.maximum(dataset.converse_at_code, dataset.whole_lower)
    points = {"units": "percentage points"}
    gaps = {
        "above_outer": dataset.loss - outer,
        "above_best_shared": dataset.loss - _at_codes(dataset, "information"),
        "above_best_sent": dataset.loss - _at_codes(dataset, "entropy"),
    }
    curves = ((*whole, "rate"), _best_known(dataset, "information", dataset.rate.values), one)
    sent = ((*whole, "rate"), _best_known(dataset, "entropy", dataset.rate.values), one)
    return dataset.assign(
        outer=outer.assign_attrs(one),
        best_shared=curves,
        best_sent=sent,
        **{name: (100 * gap).transpose(*where).assign_attrs(points) for name, gap in gaps.items()},
    )


def _at_codes(dataset: xarray.Dataset, price: str) -> xarray.DataArray:
    """Best known loss at the bits of every code."""
    dims = ("modalities", "loss_name", "log2_size", "code", "bits")
    best = _best_known(dataset, price, dataset[price].values.ravel())
    return xarray.DataArray(best.reshape([dataset.sizes[name] for name in dims]), dims=dims)


def _best_known(dataset: xarray.Dataset, price: str, rates: np.ndarray) -> np.ndarray:
    """Least loss at these rates of the codes time-shared, each under its best decoder.

    Common randomness picks one code for the whole database, so that bits and losses are averages.
    An item costs I(U;Y) bits if its description shares randomness with the decoder, as in C12, or
    H(U) if the index is sent as it is; a random ranking costs nothing.
    """
    least = dataset.loss.min("decoder").stack(point=("code", "bits"))
    least = least.transpose("modalities", "loss_name", "log2_size", "point").values
    bits = np.concatenate([[0.0], dataset[price].stack(point=("code", "bits")).values])
    losses = np.concatenate([dataset.random.values[..., None], least], axis=-1)
    curves = [_lower_hull(bits, row, rates) for row in losses.reshape(-1, bits.size)]
    return np.reshape(curves, (*losses.shape[:-1], rates.size))


def _lower_hull(x: np.ndarray, y: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Lower convex hull of points, never rising, at given places."""
    hull: list[tuple[float, float]] = []
    for point in sorted(zip(x.tolist(), y.tolist(), strict=True)):
        if hull and point[1] >= hull[-1][1]:
            continue
        while len(hull) > 1 and _above(hull[-2], hull[-1], point):
            hull.pop()
        hull.append(point)
    return np.interp(at, *np.transpose(hull))


def _above(a: tuple[float, float], b: tuple[float, float], c: tuple[float, float]) -> bool:
    """Whether b lies on or above the chord from a to c."""
    return (b[1] - a[1]) * (c[0] - a[0]) >= (c[1] - a[1]) * (b[0] - a[0])


def checks(dataset: xarray.Dataset) -> list[Check]:
    """Check the bounds, what temperatures gain, and the claim of two points, as it is found."""
    adaptive = dataset.sel(code=ADAPTIVE, loss_name="reciprocal_rank")
    fitted, one, cosine, density = (adaptive.sel(decoder=name) for name in DECODERS)
    shared, sent, outer = (
        fitted[f"above_{name}"] / 100 for name in ("best_shared", "best_sent", "outer")
    )
    within = "MRR that the adaptive code lacks of"
    return [
        Check.at_most(
            "C17",
            "loss by which an interval of a code lies below the outer bound",
            "Monte Carlo",
            (dataset.outer - dataset.loss_upper).max(),
            0.0,
        ),
        Check.at_most(
            "C17",
            "MRR that fitted temperatures lose to one temperature or averaged cosines, beyond "
            "their intervals",
            "Monte Carlo",
            (fitted.loss_lower - np.minimum(one.loss_upper, cosine.loss_upper)).max(),
            0.0,
        ),
        Check.at_most(
            "C17",
            "MRR that fitted temperatures lose to the information density of the same code",
            "Monte Carlo",
            (fitted.loss - density.loss).max(),
            TWO_POINTS,
        ),
        Check.at_most(
            "C17",
            f"{within} the best known codes at the most bits, charged I(U;Y): within two points",
            "Monte Carlo",
            shared.isel(bits=-1).max(),
            TWO_POINTS,
        ),
        Check.at_most(
            "C17",
            f"{within} the best known codes at any bits, charged I(U;Y): more than two points at "
            "few bits, where another code and none are better shared in time",
            "Monte Carlo",
            shared.max(),
            3 * TWO_POINTS,
        ),
        Check.at_most(
            "C17",
            f"{within} the best known codes where most, its index sent at H(U) bits: many points "
            "where it draws among many codewords",
            "Monte Carlo",
            sent.max(),
            0.3,
        ),
        Check.inside(
            "C17",
            f"{within} the outer bound where most: not shown to be within two points",
            "Monte Carlo",
            *(outer.max(), TWO_POINTS, 1.0),
        ),
    ]
