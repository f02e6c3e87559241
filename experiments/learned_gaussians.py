"""Learned codes of Gaussians: a neural encoder against the bottleneck's closed form.

One training yields the whole curve of a source, all slopes and seeds side by side. Both
informations of a learned code are certified and compared with the closed form at the same I(U;Y).
"""

from dataclasses import dataclass

import jax
import numpy as np
import xarray

from experiments.runner import Check, Checkpoint, Claim, without_checkpoint
from experiments.shared.pool import learn
from rdsim import limits
from rdsim.learning import StochasticCodeLearner, gaussian_code_points, neural_item_code
from rdsim.sources import GaussianSource, vector_gaussian

CLAIMS = ("C10",)
C10 = Claim("C10")
SOURCES = ("scalar", "vector")
WITHIN_BITS = 0.05


@dataclass(frozen=True)
class Config:
    """What is computed."""

    sources: tuple[str, ...] = SOURCES
    """Sources of one and two coordinates."""
    correlations: tuple[float, float] = (0.9, 0.6)
    """Canonical correlations of the vector source; the scalar source has the first."""
    slopes: tuple[float, ...] = (0.65, 0.5, 0.35, 0.2, 0.1)
    """Slopes at which codes are trained, bits about the query per bit about the item."""
    seeds: int = 2
    """Runs of each slope."""
    codewords: tuple[int, int] = (24, 48)
    """K for the scalar and the vector source."""
    hidden: tuple[int, ...] = (32, 32)
    """Hidden layers of every network."""
    scores: str = "free"
    """How queries score codewords."""
    steps: int = 600
    """Steps of the training."""
    learning_rate: float = 1e-2
    """Largest step size."""
    batch: int = 128
    """Pairs of a step."""
    pool: int = 65536
    """Pairs drawn once, from which batches are drawn."""
    cells: tuple[int, int] = (512, 256)
    """Cells along an axis, for the certified informations."""
    points: int = 33
    """Points along the curves."""


SMOKE = Config(
    sources=("scalar",),
    slopes=(0.5, 0.2),
    seeds=1,
    codewords=(12, 12),
    hidden=(32,),
    scores="distance",
    steps=300,
    learning_rate=2e-2,
    batch=256,
    pool=8192,
    cells=(256, 96),
    points=5,
)
QUICK = Config()
FULL = Config(
    slopes=(0.7, 0.6, 0.5, 0.4, 0.3, 0.25, 0.2, 0.15, 0.1, 0.05),
    seeds=3,
    codewords=(48, 96),
    steps=2000,
    pool=1 << 19,
    cells=(1024, 512),
    points=129,
)


def run(
    config: Config, key: jax.Array, checkpoint: Checkpoint = without_checkpoint
) -> xarray.Dataset:
    """Learn the codes of every source, and compare their certified points with the curve."""
    found = [
        checkpoint(f"learn-{name}", _learned, config, SOURCES.index(name), key)
        for name in config.sources
    ]
    bits, per_item = {"units": "bits"}, {"units": "bits per item"}
    points, line = ("source", "run"), ("source", "curve_rate")
    numbers = {
        **dict.fromkeys(("rate", "entropy"), (points, per_item)),
        **dict.fromkeys(
            ("limit", "relevance", "relevance_lower", "relevance_upper", "distance"),
            (points, bits),
        ),
        "curve": (line, bits),
    }
    return xarray.Dataset(
        {
            name: (dims, np.stack([part[name] for part in found]), units)
            for name, (dims, units) in numbers.items()
        },
        coords={
            "source": list(config.sources),
            "slope": ("run", np.repeat(config.slopes, config.seeds), bits),
            "curve_rate": ("curve_rate", found[0]["curve_rate"], per_item),
        },
        attrs={"correlations": list(config.correlations), "within": WITHIN_BITS},
    )


def source_of(config: Config, index: int) -> GaussianSource:
    """Make the scalar (0) or the vector (1) source in canonical coordinates."""
    rho = np.array(config.correlations[: index + 1])
    return vector_gaussian(np.eye(index + 1), np.eye(index + 1), np.diag(rho))


def _learned(config: Config, index: int, key: jax.Array) -> dict[str, np.ndarray]:
    """Learn the curve of a source, and certify its points."""
    source, dimension = source_of(config, index), index + 1
    sample_key, train_key = jax.random.split(jax.random.fold_in(key, index))
    queries, items = source.sample(sample_key, (config.pool,))
    learner = StochasticCodeLearner(
        item_dimension=dimension,
        query_dimension=dimension,
        codewords=config.codewords[index],
        hidden=config.hidden,
        scores=config.scores,
    )
    slopes = np.repeat(config.slopes, config.seeds)
    trained = learn(
        train_key,
        learner,
        queries[:, None, :],
        items,
        slopes,
        batch=config.batch,
        steps=config.steps,
        learning_rate=config.learning_rate,
    )
    codes = [neural_item_code(trained.model(r), items[:1024]) for r in range(slopes.size)]
    points = gaussian_code_points(source, codes, cells=config.cells[index])
    rates = np.linspace(0.0, 3.5, config.points)
    found = {
        "rate": [point.rate for point in points],
        "entropy": [point.index_entropy for point in points],
        "limit": [point.limit for point in points],
        "relevance": [point.relevance.value for point in points],
        "relevance_lower": [point.relevance.lower for point in points],
        "relevance_upper": [point.relevance.upper for point in points],
        "distance": [point.distance.value for point in points],
        "curve_rate": rates,
        "curve": limits.bottleneck_vector_gaussian(source.canonical_correlations, rate=rates),
    }
    return {name: np.asarray(values) for name, values in found.items()}


def checks(dataset: xarray.Dataset) -> list[Check]:
    """Check that the codes come close to the bottleneck, and that none lies beyond it."""
    return [
        *(
            C10.exact.at_most(
                f"bits that a learned code of the {name} Gaussian lacks of IB(R) at most",
                (dataset.limit - dataset.relevance_lower).sel(source=name).max(),
                WITHIN_BITS,
            )
            for name in dataset.source.values
        ),
        C10.exact.at_most(
            "bits by which the better end of a learned code's interval lies beyond IB(R)",
            (dataset.relevance_upper - dataset.limit).max(),
            0.0,
        ),
    ]
