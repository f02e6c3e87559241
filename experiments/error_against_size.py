"""Error against database size: all codes of one number of bits, from two items to 2^40.

One simulation of a code gives its loss at every size, by the exact distribution of the rank: no
database of 2^40 items is drawn. Beside the codes stand two converses: the rank rate of I(U;Y) (C4), which any encoder
obeys, and that of one codebook of as many codewords (C27), which is the tighter one as soon as items share codewords.
"""

import functools
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
import xarray

from experiments.runner import Check, Checkpoint, Claim, without_checkpoint
from experiments.shared.circle import Circle, mixture_on_circle
from rdsim import limits
from rdsim.codes import CODES, code_rates, common_code, fit_item_code
from rdsim.limits import mixture_bottleneck_bound
from rdsim.ranking import bayes_temperatures, fuse, negative_squared_distance
from rdsim.simulation import Decoder, RunOptions, simulate_item_code, whole_items
from rdsim.sources import DiscretisedItem

CLAIMS = ("C1", "C17", "C27")
C1, C17, C27 = map(Claim, CLAIMS)
LOSSES = ("error", "reciprocal_rank")
FITTED, WHOLE = "distances weighted by the noise", "whole items"


@dataclass(frozen=True)
class Config(Circle):
    """What is computed."""

    noise: tuple[float, ...] = (0.02, 0.5)
    """Noise variances of the query modalities."""
    codes: tuple[str, ...] = tuple(name for name in CODES if name != "entropy-constrained VQ")
    """The codes compared."""
    bits: int = 6
    """Bits per item that the codes are fitted for."""
    codewords: int = 96
    """Codewords that the entropy-coded quantizers start from."""
    training: int = 1536
    """Items that codes are fitted to."""
    trials: int = 8192
    """Trials of the simulation of one code."""
    log2_sizes: tuple[float, ...] = tuple(range(1, 41))
    """log2 of the database sizes."""
    cells: int = 256
    """Cells along each axis, into which the item's distribution is cut."""


SMOKE = Config(
    codes=("entropy-weighted", "k-means VQ"),
    bits=3,
    codewords=16,
    training=256,
    trials=1024,
    log2_sizes=(1, 4, 10, 20, 40),
    cells=64,
)
QUICK = Config()
FULL = Config(
    codes=tuple(CODES),
    bits=8,
    codewords=384,
    training=8192,
    trials=262144,
    log2_sizes=tuple(np.arange(1, 40.1, 0.5).tolist()),
)


def run(
    config: Config, key: jax.Array, checkpoint: Checkpoint = without_checkpoint
) -> xarray.Dataset:
    """Fit and simulate every code, and compute the converse at the bits of each."""
    fit_key, trial_key = jax.random.split(key)
    cells = [
        checkpoint(name.replace(" ", "-"), _code, config, fit_key, trial_key, name)
        for name in config.codes
    ]
    dims = ("code", "loss_name", "log2_size")
    one = {"units": "1"}
    bits = {"units": "bits per item"}
    stacked = {name: np.array([part[name] for part in cells]) for name in cells[0]}
    return xarray.Dataset(
        {
            **{name: (dims, stacked[name], one) for name in ("mean", "lower", "upper")},
            # Every code was simulated with the same draws, so that every cell holds the same
            # numbers.
            **{
                f"whole_{end}": (dims[1:], stacked[f"whole_{end}"][0], one)
                for end in ("mean", "lower", "upper")
            },
            "converse": (dims, stacked["converse"], one),
            "codebook": (dims, stacked["codebook"], one),
            "random": (dims[1:], stacked["random"][0], one),
            "words": ("code", stacked["words"]),
            "information": ("code", stacked["information"], bits),
            "entropy": ("code", stacked["entropy"], bits),
        },
        coords={
            "code": list(config.codes),
            "loss_name": list(LOSSES),
            "log2_size": ("log2_size", np.array(config.log2_sizes, float), {"units": "bits"}),
        },
        attrs={"bits": config.bits, "trials": config.trials},
    )


@functools.lru_cache(maxsize=1)
def _item_cells(config: Config) -> tuple[DiscretisedItem, jax.Array]:
    """Cells of the item's distribution, and a bound on the information of item and queries."""
    source = mixture_on_circle(config, config.noise)
    information = source.mutual_information(tolerance=1e-6).upper
    return source.discretise_item(config.cells), information


def _code(
    config: Config, fit_key: jax.Array, trial_key: jax.Array, name: str
) -> dict[str, np.ndarray]:
    """Fit one code, simulate it under temperatures of the noise, and bound all codes of its rate."""
    source = mixture_on_circle(config, config.noise)
    item_key, start_key = jax.random.split(fit_key)
    items = source.sample(item_key, (config.training,))[1]
    fitted = fit_item_code(start_key, name, items, config.bits, initial_codewords=config.codewords)
    code = common_code(
        fitted, codebook_size=max(config.codewords, 2**config.bits), planes=config.bits
    )
    cells, everything = _item_cells(config)
    rates = code_rates(code, cells.points, masses=cells.masses)
    found = simulate_item_code(
        trial_key,
        source,
        code,
        {
            FITTED: Decoder(_fused, (code.codewords, bayes_temperatures(config.noise))),
            WHOLE: whole_items(source),
        },
        rates.output_marginal,
        config.log2_sizes,
        LOSSES,
        trials=config.trials,
        run=RunOptions(block=128),
    ).estimates
    relevance = jnp.minimum(mixture_bottleneck_bound(source, rates.mutual_information), everything)
    sizes = jnp.asarray(config.log2_sizes, float)
    bound, random = (
        [limits.rank_loss(sizes, loss, rate=information) for loss in LOSSES]
        for information in (relevance, 0.0)
    )
    words = np.asarray(jnp.sum(rates.output_marginal > 0))
    return {
        "information": np.asarray(rates.mutual_information),
        "entropy": np.asarray(rates.index_entropy),
        "words": words,
        "codebook": np.stack(
            [limits.codebook_loss(sizes, loss, bits=np.log2(words)) for loss in LOSSES]
        ),
        "converse": np.stack([np.asarray(each.lower) for each in bound]),
        "random": np.stack([np.asarray(each.value) for each in random]),
        **{
            f"{prefix}{end}": np.stack([getattr(found[rule][loss], end) for loss in LOSSES])
            for prefix, rule in (("", FITTED), ("whole_", WHOLE))
            for end in ("mean", "lower", "upper")
        },
    }


def _fused(parameters: tuple[jax.Array, jax.Array], queries: jax.Array) -> jax.Array:
    codewords, temperature = parameters
    return fuse(negative_squared_distance(queries, codewords), temperature)


def checks(dataset: xarray.Dataset) -> list[Check]:
    """Check the bounds at every size, and that larger databases are harder."""
    outer = np.maximum(dataset.converse, dataset.whole_lower)
    largest = dataset.sel(loss_name="error").isel(log2_size=-1)
    return [
        C1.monte_carlo.at_most(
            "fall of a mean loss from one database size to the next",
            -dataset["mean"].diff("log2_size").min(),
            1e-12,
        ),
        # Items with one codeword are ties: E[1/(M q(U))] is the number of codewords over M.
        C1.monte_carlo.at_most(
            "probability that the target is first in the largest database, over codewords per item",
            ((1 - largest["mean"]) * 2.0 ** dataset.log2_size[-1] / dataset.words).max(),
            1.05,
        ),
        C17.monte_carlo.at_most(
            "loss by which an interval of a code lies below the converse or whole items",
            (outer - dataset.upper).max(),
            0.0,
        ),
        C27.monte_carlo.at_most(
            "loss by which an interval of a code lies below the converse of one codebook",
            (dataset.codebook - dataset.upper).max(),
            0.0,
        ),
        C27.monte_carlo.at_most(
            "probability of being first that so many codewords allow, over that of a code, largest database, worst code",
            ((1 - largest.codebook) / (1 - largest["mean"])).max(),
            2.0,
        ),
    ]
