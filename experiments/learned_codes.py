"""Learned codes: a neural encoder on Gaussians and on a Gaussian mixture, beside their frontiers.

One training yields the whole curve of a source, all slopes and seeds side by side. On Gaussians both
informations of the learned code are certified and compared with the bottleneck's closed form; on the
mixture its MRR is compared with that of the best known codes time-shared at the same I(U;Y), and with
the outer bound. The learned temperatures stand beside the noise of their modalities, to which the
optimal ones are proportional.
"""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import xarray
from flax import nnx

from experiments._claims import Check
from experiments._study import Cell, call
from rdsim import limits
from rdsim.codes.catalogue import common_code, fit_item_code
from rdsim.codes.entropy_coding import code_rates
from rdsim.learning.bottleneck_objective import Pairs, StochasticCodeLearner
from rdsim.learning.gaussian_code import gaussian_code_points
from rdsim.learning.neural_item_code import NeuralItemCode, learned_decoder, neural_item_code
from rdsim.learning.training import Schedule, Trained, train
from rdsim.limits.mixture_bottleneck import mixture_bottleneck_bound
from rdsim.retrieval.similarity import fuse, negative_squared_distance
from rdsim.retrieval.temperature import fit_temperatures
from rdsim.simulation.item_code import Decoder, simulate_item_code
from rdsim.simulation.mixture_decoders import density_decoder, whole_items
from rdsim.sources.gaussian import GaussianSource, vector_gaussian
from rdsim.sources.mixture import GaussianMixtureSource, gaussian_mixture

CLAIMS = ("C4", "C10", "C17")
SOURCES = ("scalar", "vector")
DECODERS = ("learned", "optimal temperatures", "information density")
WHOLE = "whole items"
WITHIN_BITS = 0.05
TWO_POINTS = 0.02


@dataclass(frozen=True)
class Config:
    """What is computed."""

    sources: tuple[str, ...] = SOURCES
    """Gaussian sources, of one and two coordinates."""
    correlations: tuple[float, float] = (0.9, 0.6)
    """Canonical, of the vector source; the scalar source has the first."""
    slopes: tuple[float, ...] = (0.65, 0.5, 0.35, 0.2, 0.1)
    """Bits about the query a bit about the item, at which codes of Gaussians are trained."""
    seeds: int = 2
    """Runs of each slope."""
    gaussian_codewords: tuple[int, int] = (24, 48)
    """K for the scalar and the vector source."""
    gaussian_hidden: tuple[int, ...] = (32, 32)
    """Hidden layers of every network for Gaussians."""
    gaussian_scores: str = "free"
    """How queries of the Gaussian sources score codewords."""
    gaussian_steps: int = 600
    """Steps of the training of codes of Gaussians."""
    gaussian_cells: tuple[int, int] = (512, 256)
    """Cells along an axis, for the certified informations."""
    weights: tuple[float, ...] = (0.3, 0.25, 0.2, 0.12, 0.08, 0.05)
    """Of the classes of the mixture, whose means lie on a circle."""
    radius: float = 2.0
    """Of that circle."""
    variance: float = 0.25
    """Of each coordinate of an item in its class."""
    noise: tuple[float, ...] = (0.03, 0.12)
    """Noise variances of the query modalities."""
    mixture_slopes: tuple[float, ...] = (0.93, 0.85, 0.7, 0.55, 0.4)
    """Slopes at which codes of the mixture are trained."""
    mixture_seeds: int = 1
    """Runs of each of them."""
    decoders: tuple[str, ...] = DECODERS
    """How the learned codes of the mixture are decoded."""
    codewords: int = 96
    """K for the mixture, and most codewords of the codes compared."""
    hidden: tuple[int, ...] = (64, 64)
    """Hidden layers of the item encoder for the mixture."""
    steps: int = 1000
    """Steps of the training of codes of the mixture."""
    peak_rate: float = 1e-2
    """Largest step size of every training."""
    codes: tuple[str, ...] = ("entropy-weighted", "k-means VQ")
    """Known codes, fitted to a sample."""
    bits: tuple[int, ...] = (2, 3, 4, 5)
    """Bits an item that they are fitted for."""
    sample: int = 1024
    """Items that known codes and their temperatures are fitted to."""
    batch: int = 256
    """Pairs of a step."""
    pool: int = 65536
    """Pairs drawn once, from which batches are drawn."""
    trials: int = 4096
    """Trials of the simulation of one code."""
    log2_sizes: tuple[int, ...] = (5, 10, 20)
    """log2 of the database sizes."""
    cells: int = 128
    """Cells along an axis of the mixture's items."""
    points: int = 33
    """Points along the curves."""


SMOKE = Config(
    sources=("scalar",),
    decoders=("learned", "optimal temperatures"),
    gaussian_hidden=(32,),
    gaussian_scores="distance",
    hidden=(32,),
    slopes=(0.5, 0.2),
    seeds=1,
    gaussian_codewords=(12, 12),
    gaussian_steps=300,
    gaussian_cells=(256, 96),
    mixture_slopes=(0.4,),
    codewords=32,
    steps=500,
    peak_rate=2e-2,
    codes=("k-means VQ",),
    bits=(2, 4),
    sample=256,
    pool=8192,
    trials=2048,
    log2_sizes=(5,),
    cells=32,
    points=5,
)
QUICK = Config()
FULL = Config(
    slopes=(0.7, 0.6, 0.5, 0.4, 0.3, 0.25, 0.2, 0.15, 0.1, 0.05),
    seeds=5,
    gaussian_codewords=(48, 96),
    gaussian_steps=6000,
    gaussian_cells=(2048, 512),
    mixture_slopes=(0.96, 0.93, 0.9, 0.85, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2),
    mixture_seeds=3,
    codewords=256,
    steps=8000,
    codes=("entropy-weighted", "entropy-constrained VQ", "k-means VQ"),
    bits=tuple(range(1, 8)),
    sample=8192,
    pool=1 << 20,
    trials=131072,
    cells=192,
    points=129,
)


@dataclass(frozen=True)
class PooledBatch:
    """A `draw` for `train`: pairs out of a pool of them."""

    size: int

    def __call__(self, key: jax.Array, pool: Pairs) -> Pairs:
        """Draw pairs with replacement."""
        index = jax.random.randint(key, (self.size,), 0, pool.items.shape[0])
        return Pairs(pool.queries[index], pool.items[index])


def run(config: Config, key: jax.Array, cell: Cell = call) -> xarray.Dataset:
    """Learn codes of the three sources, fit the known ones, and bound them all."""
    gaussian_key, mixture_key, fit_key, trial_key = jax.random.split(key, 4)
    gaussian = [
        cell(f"learn-{name}", _gaussian, config, SOURCES.index(name), gaussian_key)
        for name in config.sources
    ]
    learned = cell("learn-mixture", _mixture, config, mixture_key, trial_key)
    known = [
        [
            cell(f"fit-{code.replace(' ', '-')}-{b}", _known, config, fit_key, trial_key, code, b)
            for b in config.bits
        ]
        for code in config.codes
    ]
    bounds = cell("bound", _bounds, config, learned["information"])
    return _dataset(config, gaussian, learned, known, bounds)


def gaussian_source(config: Config, index: int) -> GaussianSource:
    """Make the scalar (0) or the vector (1) source in canonical coordinates."""
    rho = np.array(config.correlations[: index + 1])
    return vector_gaussian(np.eye(index + 1), np.eye(index + 1), np.diag(rho))


def mixture_source(config: Config) -> GaussianMixtureSource:
    """Make the mixture in the plane, all query modalities noisy copies of the item."""
    angle = 2 * np.pi * np.arange(len(config.weights)) / len(config.weights)
    means = config.radius * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    return gaussian_mixture(config.weights, means, config.variance, query_noise=config.noise)


def _learn(
    config: Config,
    key: jax.Array,
    learner: StochasticCodeLearner,
    pairs: tuple[Any, Any],
    slopes: np.ndarray,
    steps: int,
) -> Trained:
    """Train all runs at once on a pool of pairs, a sixteenth of which they are judged by."""
    pool = Pairs(*(jnp.asarray(part, jnp.float32) for part in pairs))
    kept = config.pool // 16
    judged = Pairs(pool.queries[:kept], pool.items[:kept])
    rest = Pairs(pool.queries[kept:], pool.items[kept:])
    schedule = Schedule(steps=steps, check_every=-(-steps // 2), peak_rate=config.peak_rate)
    return train(
        *(key, learner, PooledBatch(config.batch), rest, judged),
        jnp.asarray(slopes, jnp.float32),
        schedule=schedule,
    )


def _gaussian(config: Config, index: int, key: jax.Array) -> dict[str, np.ndarray]:
    """Learn the curve of a Gaussian source, and certify its points."""
    source, dimension = gaussian_source(config, index), index + 1
    sample_key, train_key = jax.random.split(jax.random.fold_in(key, index))
    queries, items = source.sample(sample_key, (config.pool,))
    learner = StochasticCodeLearner(
        item_dimension=dimension,
        query_dimension=dimension,
        codewords=config.gaussian_codewords[index],
        hidden=config.gaussian_hidden,
        scores=config.gaussian_scores,
    )
    slopes = np.repeat(config.slopes, config.seeds)
    trained = _learn(
        *(config, train_key, learner, (queries[:, None, :], items), slopes, config.gaussian_steps)
    )
    codes = [neural_item_code(trained.model(r), items[:1024]) for r in range(slopes.size)]
    found = gaussian_code_points(source, codes, cells=config.gaussian_cells[index])
    grid = np.linspace(0.0, 3.5, config.points)
    return {
        "rate": np.array([point.rate for point in found]),
        "entropy": np.array([point.index_entropy for point in found]),
        "limit": np.array([point.limit for point in found]),
        **{
            f"relevance{end}": np.array([getattr(point.relevance, name) for point in found])
            for end, name in (("", "value"), ("_lower", "lower"), ("_upper", "upper"))
        },
        "grid": grid,
        "curve": np.asarray(limits.bottleneck_vector_gaussian(grid, source.canonical_correlations)),
    }


def _mixture(config: Config, key: jax.Array, trial_key: jax.Array) -> dict[str, np.ndarray]:
    """Learn the curve of the mixture, and simulate its codes under every decoder."""
    source = mixture_source(config)
    sample_key, train_key = jax.random.split(key)
    queries, items, _ = source.sample(sample_key, (config.pool,))
    learner = StochasticCodeLearner(
        item_dimension=2,
        query_dimension=2,
        codewords=config.codewords,
        modalities=len(config.noise),
        hidden=config.hidden,
        scores="distance",
    )
    slopes = np.repeat(config.mixture_slopes, config.mixture_seeds)
    trained = _learn(config, train_key, learner, (queries, items), slopes, config.steps)
    law = source.discretise_item(config.cells)
    found: list[dict[str, np.ndarray]] = []
    for r in range(slopes.size):
        model = trained.model(r)
        code = neural_item_code(model, law.points, masses=law.masses)
        decoders = {name: _decoder(config, name, source, model, code) for name in config.decoders}
        found.append(
            _simulate(
                *(config, source, code, law),
                decoders | {WHOLE: whole_items(source)},
                trial_key,
            )
            | {"temperature": np.asarray(model.temperatures)}
        )
    return {name: np.stack([one[name] for one in found]) for name in found[0]}


def _decoder(
    config: Config, name: str, source: GaussianMixtureSource, model: Any, code: NeuralItemCode
) -> Decoder:
    if name == "information density":
        return density_decoder(source, code, source.discretise_item(config.cells // 2))
    return learned_decoder(
        _with_temperatures(model, config.noise) if name == "optimal temperatures" else model
    )


def _with_temperatures(model: Any, noise: tuple[float, ...]) -> Any:
    """Copy a model, its temperatures the optimal ones up to a common factor, which ranks the same."""
    graph, state = nnx.split(model)
    changed = nnx.merge(graph, jax.tree.map(jnp.asarray, state))
    changed.log_temperature[...] = jnp.log(jnp.asarray(noise, jnp.float32))
    return changed


def _known(
    config: Config, key: jax.Array, trial_key: jax.Array, name: str, bits: int
) -> dict[str, np.ndarray]:
    """Fit a known code and its temperatures to one sample, and simulate it."""
    source = mixture_source(config)
    law = source.discretise_item(config.cells)
    sample_key, start_key, draw_key = jax.random.split(key, 3)
    queries, items, _ = source.sample(sample_key, (config.sample,))
    fitted = fit_item_code(name, start_key, items, bits, atoms=config.codewords)
    code = common_code(fitted, max(config.codewords, 2 ** max(config.bits)), 0)
    q = code_rates(code, law.points, masses=law.masses).output_marginal
    share = (q + 1e-12) / (1 + 1e-12 * q.size)  # a training item may lie where no cell does
    temperature = fit_temperatures(
        negative_squared_distance(queries, code.codewords), code.encode(draw_key, items), share
    ).temperature
    decoders = {
        "fitted": Decoder(_fused, (code.codewords, temperature)),
        **{
            name: density_decoder(source, code, source.discretise_item(config.cells // 2))
            for name in config.decoders
            if name == "information density"
        },
    }
    # Trials of one key draw the same items and queries for all codes, learned or not.
    return _simulate(config, source, code, law, decoders, trial_key)


def _fused(parameters: tuple[jax.Array, jax.Array], queries: jax.Array) -> jax.Array:
    codewords, temperature = parameters
    return fuse(negative_squared_distance(queries, codewords), temperature)


def _simulate(
    config: Config,
    source: GaussianMixtureSource,
    code: Any,
    law: Any,
    decoders: dict[str, Any],
    key: jax.Array,
) -> dict[str, np.ndarray]:
    """Measure the bits of a code, and its loss under every decoder at every size."""
    rates = code_rates(code, law.points, masses=law.masses)
    found = simulate_item_code(
        *(key, source, code, decoders, rates.output_marginal, config.log2_sizes),
        ("reciprocal_rank",),
        trials=config.trials,
        block=128,
    ).estimates
    return {
        "information": np.asarray(rates.mutual_information),
        "entropy": np.asarray(rates.index_entropy),
        **{
            end: np.array([getattr(found[name]["reciprocal_rank"], end) for name in decoders])
            for end in ("mean", "lower", "upper")
        },
    }


def _bounds(config: Config, information: np.ndarray) -> dict[str, np.ndarray]:
    """Least losses at grid rates and at the learned codes' I(U;Y), and that of a random ranking."""
    source = mixture_source(config)
    grid = np.linspace(0.0, max(config.bits) + 1.0, config.points)
    everything = source.mutual_information(tolerance=1e-6)
    rates = np.concatenate([grid, information])
    told = jnp.minimum(mixture_bottleneck_bound(source, rates), everything.upper)
    sizes = jnp.asarray(config.log2_sizes, float)
    bound = limits.rank_loss(told[:, None], sizes, "reciprocal_rank")
    return {
        "mixture_rate": grid,
        "converse": np.asarray(bound.lower)[: grid.size],
        "converse_at_run": np.asarray(bound.lower)[grid.size :],
        "random": np.asarray(bound.value)[0],
    }


def time_shared(bits: np.ndarray, losses: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Least loss of two codes shared in time at no more than the given bits.

    Args:
        bits: of the codes, shape (codes,), 0 for one of them at least.
        losses: shape (codes, sizes).
        at: bits, shape (n,).

    Returns:
        Losses, shape (n, sizes).

    """
    low, high = bits[:, None], bits[None, :]
    width = np.where(high > low, high - low, 1.0)
    share = np.where(high > low, (at[:, None, None] - low) / width, 0.0)
    share = np.clip(share, 0.0, 1.0)[..., None]
    mixed = (1 - share) * losses[:, None] + share * losses[None]
    return np.where((low <= at[:, None, None])[..., None], mixed, np.inf).min(axis=(1, 2))


def _dataset(
    config: Config,
    gaussian: list[dict[str, np.ndarray]],
    learned: dict[str, np.ndarray],
    known: list[list[dict[str, np.ndarray]]],
    bounds: dict[str, np.ndarray],
) -> xarray.Dataset:
    """Label the numbers, and put the distances beside them."""
    bits, one = {"units": "bits"}, {"units": "1"}
    per_item, points = {"units": "bits per item"}, {"units": "percentage points"}
    ends = ("mean", "lower", "upper")
    catalogue = {
        name: np.array([[cell[name] for cell in row] for row in known])
        for name in ("information", "entropy", *ends)
    }
    least = catalogue["mean"].min(axis=2)  # each known code under its better decoder
    prices = np.concatenate([[0.0], catalogue["information"].ravel()])
    losses = np.concatenate([bounds["random"][None], least.reshape(-1, least.shape[-1])])
    # No code does better than either bound; the simulated one counts by the end of its interval.
    whole = {end: learned[end][:, -1] for end in ends}
    outer = np.maximum(bounds["converse_at_run"], whole["lower"])
    at = learned["information"]
    best = time_shared(prices, losses, at)
    own = np.concatenate([bounds["random"][None], learned["mean"][:, 0]])
    shared = time_shared(np.concatenate([[0.0], at]), own, at)
    decoded = ("mixture_run", "decoder", "log2_size")
    sized, run = ("mixture_run", "log2_size"), ("source", "run")

    def stacked(name: str) -> np.ndarray:
        return np.stack([one[name] for one in gaussian])

    return xarray.Dataset(
        {
            **{
                name: (run, stacked(name), units)
                for name, units in (
                    *(("rate", per_item), ("entropy", per_item), ("limit", bits)),
                    *((f"relevance{end}", bits) for end in ("", "_lower", "_upper")),
                )
            },
            "distance": (run, stacked("limit") - stacked("relevance"), bits),
            "curve": (("source", "curve_rate"), stacked("curve"), bits),
            "information": ("mixture_run", learned["information"], per_item),
            "mixture_entropy": ("mixture_run", learned["entropy"], per_item),
            "temperature": (
                ("mixture_run", "modality"),
                *(learned["temperature"], {"units": "squared distance per nat"}),
            ),
            **{
                f"loss{suffix}": (decoded, learned[end][:, :-1], one)
                for end, suffix in zip(ends, ("", "_lower", "_upper"), strict=True)
            },
            "whole": ("log2_size", whole["mean"][0], one),
            "whole_lower": ("log2_size", whole["lower"][0], one),
            "outer": (sized, outer, one),
            "best_known": (sized, best, one),
            "above_best_known": (decoded, 100 * (learned["mean"][:, :-1] - best[:, None]), points),
            "learned_shared": (sized, shared, one),
            "shared_above_best_known": (sized, 100 * (shared - best), points),
            "above_outer": (decoded, 100 * (learned["mean"][:, :-1] - outer[:, None]), points),
            "converse_curve": (("mixture_rate", "log2_size"), bounds["converse"], one),
            "best_known_curve": (
                ("mixture_rate", "log2_size"),
                *(time_shared(prices, losses, bounds["mixture_rate"]), one),
            ),
            "known_information": (("code", "bits"), catalogue["information"], per_item),
            "known_entropy": (("code", "bits"), catalogue["entropy"], per_item),
            "known_loss": (("code", "bits", "log2_size"), least, one),
            "random": ("log2_size", bounds["random"], one),
        },
        coords={
            "source": list(config.sources),
            "slope": ("run", np.repeat(config.slopes, config.seeds), bits),
            "curve_rate": ("curve_rate", gaussian[0]["grid"], per_item),
            "mixture_slope": (
                "mixture_run",
                *(np.repeat(config.mixture_slopes, config.mixture_seeds), bits),
            ),
            "decoder": list(config.decoders),
            "noise": ("modality", list(config.noise), {"units": "squared distance"}),
            "log2_size": list(config.log2_sizes),
            "mixture_rate": ("mixture_rate", bounds["mixture_rate"], per_item),
            "code": list(config.codes),
            "bits": ("bits", list(config.bits), per_item),
        },
        attrs={"correlations": list(config.correlations), "trials": config.trials},
    )


def temperature_octaves(dataset: xarray.Dataset) -> xarray.DataArray:
    """log2 of learned over optimal ratio of each later modality's temperature to the first one's."""
    learned = dataset.temperature / dataset.temperature.isel(modality=0)
    optimal = dataset.noise / dataset.noise.isel(modality=0)
    ratio = (learned / optimal).isel(modality=slice(1, None))
    return ratio.copy(data=np.log2(ratio.values))


def checks(dataset: xarray.Dataset) -> list[Check]:
    """Check the distances, that nothing lies beyond a converse, and the temperatures."""
    own = dataset.sel(decoder=DECODERS[0])
    optimal = dataset.sel(decoder=DECODERS[1])
    octaves = abs(temperature_octaves(dataset))
    return [
        *(
            Check.at_most(
                "C10",
                f"bits that a learned code of the {name} Gaussian lacks of IB(R) where most",
                "exact",
                (dataset.limit - dataset.relevance_lower).sel(source=name).max(),
                WITHIN_BITS,
            )
            for name in dataset.source.values
        ),
        Check.at_most(
            "C10",
            "bits by which the better end of a learned code's interval lies beyond IB(R)",
            "exact",
            (dataset.relevance_upper - dataset.limit).max(),
            0.0,
        ),
        Check.at_most(
            "C4",
            "loss by which the better end of a learned code's interval lies below the outer bound",
            "Monte Carlo",
            (dataset.outer - dataset.loss_lower).max(),
            0.0,
        ),
        Check.at_most(
            "C17",
            "MRR that learned codes with their own decoders lack of the best known codes at their "
            "I(U;Y), both shared in time: within two points",
            "Monte Carlo",
            dataset.shared_above_best_known.max() / 100,
            TWO_POINTS,
        ),
        Check.at_most(
            "C17",
            "the same of single learned codes: more than two points at few bits and many items, "
            "where a code of more bits and none are better shared in time",
            "Monte Carlo",
            own.above_best_known.max() / 100,
            2 * TWO_POINTS,
        ),
        Check.at_most(
            "C17",
            "MRR that learned temperatures lose to the optimal ones",
            "Monte Carlo",
            (own.loss - optimal.loss).max(),
            TWO_POINTS / 2,
        ),
        Check.at_most(
            "C17",
            "octaves between the learned and the optimal ratio of temperatures at the most bits",
            "Monte Carlo",
            octaves.isel(mixture_run=int(dataset.information.values.argmax())).max(),
            0.5,
        ),
        Check.at_most(
            "C17",
            "the same where most, at few bits, where the ratio hardly matters",
            "Monte Carlo",
            octaves.max(),
            1.5,
        ),
    ]
