"""Wrong pairs in training: what robust losses save, beside what is lost of necessity, which is nothing.

A share of the training pairs of Gaussian vectors has the query of another pair, in the sample and in what is held
out for early stopping; the database is clean. A decoder that knew the distribution of such pairs would order single
items as one that knows the right one (C30), so that the converse is that of right pairs; letter by letter its
scores keep less than the information, the generalized mutual information.
"""

from dataclasses import dataclass

import jax
import numpy as np
import xarray

from experiments.runner import Check, Checkpoint, Claim, without_checkpoint
from experiments.shared import family_points
from experiments.shared.family_pairs import drawn, falling_correlations
from rdsim import limits, sources
from rdsim.learning import ItemPairs, RobustFamily, array_pairs
from rdsim.sources import DiscreteSource, Discretisation
from rdsim.validation import host_generator

CLAIMS = ("C27", "C30")
C27, C30 = map(Claim, CLAIMS)
PLAIN = "plain"


@dataclass(frozen=True)
class Config:
    """What is computed."""

    dimension: int = 8
    """Coordinates of a query and of an item."""
    strongest: float = 0.95
    """Largest canonical correlation; the i-th is it times i^-decay."""
    decay: float = 0.35
    rules: tuple[str, ...] = (PLAIN, "symmetric", "soft margin", "co-dividing")
    """The losses compared."""
    shares: tuple[float, ...] = (0.0, 0.3, 0.6)
    """Fractions of wrong pairs in training; each loss is told the true one."""
    bits: int = 16
    """Bits stored for an item."""
    seeds: int = 1
    """Fits of every loss, and databases."""
    steps: int = 300
    """Training steps of every fit."""
    training: int = 2048
    """Pairs that are learned from, wrong ones included."""
    log2_size: int = 9
    """log2 of the database size; every item is looked for once."""
    cells: int = 24
    """Cells into which a letter of the query and one of the item are cut, for scores that are summed over letters."""
    confidence: float = 0.95
    """Confidence of each interval."""


SMOKE = Config(
    dimension=4,
    rules=(PLAIN, "co-dividing"),
    shares=(0.0, 0.6),
    bits=12,
    steps=150,
    training=1024,
    cells=8,
)
QUICK = Config()
FULL = Config(
    shares=(0.0, 0.1, 0.2, 0.4, 0.6, 0.8),
    seeds=5,
    steps=1000,
    training=8192,
    log2_size=11,
    cells=64,
)


def run(
    config: Config, key: jax.Array, checkpoint: Checkpoint = without_checkpoint
) -> xarray.Dataset:
    """Fit every loss to pairs of every share, rank a clean database, and compute what C30 says."""
    measured = family_points.over_seeds(checkpoint, _measured, config, key)
    scores = checkpoint("scores", _scores, config)
    bound = limits.retrieval_converse(
        falling_correlations(config.dimension, config.strongest, config.decay),
        float(config.log2_size),
        "reciprocal_rank",
        bits=float(config.bits),
    )
    one, bits = {"units": "1"}, {"units": "bits"}
    dims = {
        name: (*(() if name.startswith("untrained") else ("share",)), "rule", "seed")
        for name in measured
    }
    return xarray.Dataset(
        {
            **{name: (dims[name], value, one) for name, value in measured.items()},
            "converse": ((), 1 - float(bound.loss), one),
            "information": ((), scores["information"], bits),
            "kept": ("share", scores["kept"], bits),
            "misordered": ("share", scores["misordered"], one),
        },
        coords={
            "share": ("share", list(config.shares), one),
            "rule": list(config.rules),
            "seed": np.arange(config.seeds),
        },
        attrs={"log2_size": config.log2_size, "bits": config.bits, "training": config.training},
    )


def wrong_pairs(key: jax.Array, x: np.ndarray, y: np.ndarray, share: float) -> ItemPairs:
    """Give a share of the items the query of another one, and set pairs aside for early stopping."""
    choice, split = jax.random.split(key)
    order = host_generator(choice).permutation(len(x))
    wrong = order[: round(share * len(x))]
    queries = np.array(x)
    queries[wrong] = x[np.roll(wrong, 1)]
    return array_pairs(split, queries, y)


def _measured(config: Config, key: jax.Array) -> dict[str, np.ndarray]:
    """MRR of every loss at every share, (shares, rules), and of its start, (rules,)."""
    source = falling_correlations(config.dimension, config.strongest, config.decay)
    sample_key, test_key, pair_key, fit_key = jax.random.split(key, 4)
    x, y = drawn(sample_key, source, config.training)
    test = drawn(test_key, source, 2**config.log2_size)

    def fitted(rule: str, share: float, steps: int) -> dict[str, np.ndarray]:
        family = RobustFamily(rule=rule, share=share)
        pairs = wrong_pairs(pair_key, x, y, share)
        found = family_points.systems(fit_key, family, pairs, (config.bits,), steps)
        point = family_points.intervals(
            family_points.ranked(fit_key, found, *test, config.confidence)
        )
        return {name: value[0] for name, value in point.items()}

    trained = [
        family_points.stacked([fitted(rule, share, config.steps) for rule in config.rules])
        for share in config.shares
    ]
    starts = family_points.stacked([fitted(rule, 0.0, 0) for rule in config.rules])
    return family_points.stacked(trained) | {f"untrained_{n}": v for n, v in starts.items()}


def _scores(config: Config) -> dict[str, np.ndarray]:
    """What scores made for pairs with wrong ones keep, letter by letter and for single items."""
    pair = sources.gaussian(config.strongest).discretise(config.cells)
    if not isinstance(pair, Discretisation):
        raise TypeError("a scalar pair has one discretisation")
    right = pair.source
    density = _density(right)
    kept, misordered = [], []
    for share in config.shares:
        scores = _density(sources.with_wrong_pairs(right, share=share))
        found = limits.generalized_mutual_information(right.joint, scores)
        kept.append(float(found.information.value))
        steps = np.diff(np.take_along_axis(scores, np.argsort(density, axis=1), axis=1), axis=1)
        # Rounding may exchange scores that agree to the last digits.
        misordered.append(int((steps < -1e-9).sum()))
    return {
        "information": np.asarray(right.mutual_information),
        "kept": np.array(kept),
        "misordered": np.array(misordered, float),
    }


def _density(source: DiscreteSource) -> np.ndarray:
    """Information density in nats."""
    joint = np.asarray(source.joint)
    return np.log(joint / (joint.sum(axis=1, keepdims=True) * joint.sum(axis=0)))


def checks(dataset: xarray.Dataset) -> list[Check]:
    """No loss beats the converse; all beat a random ranking and their start; what C30 says of the scores."""
    right = dataset.sel(share=0.0)
    most = dataset.isel(share=-1).mean("seed")
    robust = [rule for rule in dataset.rule.values if rule != PLAIN]
    best = most.mrr.sel(rule=robust).max()
    return [
        C27.monte_carlo.at_most(
            "MRR by which the interval of any loss, at any share of wrong pairs, lies above the converse",
            (dataset.lower - dataset.converse).max(),
            0.0,
        ),
        C27.monte_carlo.at_most(
            "MRR by which a random ranking lies above the interval of any loss, at any share of wrong pairs",
            family_points.random_order_mrr(dataset.attrs["log2_size"]) - dataset.lower.min(),
            0.0,
        ),
        C27.monte_carlo.at_most(
            "MRR by which the interval of an untrained start reaches above that of the loss on right pairs",
            (right.untrained_upper - right.lower).max(),
            0.0,
        ),
        C30.exact.at_most(
            "items that scores made for pairs with wrong ones rank in another order than the right scores",
            dataset.misordered.max(),
            0.0,
        ),
        C30.exact.at_most(
            "bits that such scores keep letter by letter, above the information, largest",
            (dataset.kept - dataset.information).max(),
            1e-8,
        ),
        C30.exact.inside(
            "share of the information that such scores keep letter by letter, at the largest share of wrong "
            "pairs",
            dataset.kept.isel(share=-1) / dataset.information,
            0.0,
            1.0,
        ),
        C30.monte_carlo.at_most(
            "MRR that the plain loss on right pairs loses at the largest share of wrong pairs",
            right.mrr.sel(rule=PLAIN).mean() - most.mrr.sel(rule=PLAIN),
            float(dataset.converse),
        ),
        C30.monte_carlo.at_most(
            "MRR by which the plain loss lies above the best robust one at the largest share of wrong pairs",
            most.mrr.sel(rule=PLAIN) - best,
            0.0,
        ),
    ]
