"""Frontier: bits per item against retrieval loss, the tightest converse, exact random codes and linear codes.

For the doubly symmetric binary source: no codewords of B bits per item have a loss below the converse, and
random codes of n letters come this close to it. Beside it the rank rate alone, which also holds for every other
notion of rate. Linear codes of few dozens of letters stand beside random ones, and beside a code whose codewords
are stored for balls of items: one that is perfect, or would be.
"""

import itertools
import math
from dataclasses import dataclass

import jax
import numpy as np
import xarray

from experiments.runner import Check, Checkpoint, Claim, without_checkpoint
from rdsim import codes, limits, sources

CLAIMS = ("C4", "C14", "C27")
C4, C14, C27 = map(Claim, CLAIMS)
LOSSES = ("reciprocal_rank", "error")
LINEAR = (
    "Reed-Muller 1,4",
    "Reed-Muller 2,4",
    "Golay",
    "Golay, extended",
    "Reed-Muller 2,5",
    "two of Reed-Muller 1,4",
    "two of Golay, extended",
    "two of Reed-Muller 2,5",
    "four of Reed-Muller 1,4",
)
PERFECT = ("Golay",)
_TIMES = {"two of ": 2, "four of ": 4}


@dataclass(frozen=True)
class Config:
    """What is computed."""

    crossover: float = 0.1
    """Probability that a query bit differs from the item's."""
    block_lengths: tuple[int, ...] = (16, 32, 64, 128)
    """Letters in an item."""
    log2_sizes: tuple[int, ...] = (10, 20, 40)
    """log2 of the database sizes."""
    rates: tuple[float, ...] = tuple(2.0 ** (-k / 2) for k in range(14, -1, -1))
    """Bits per letter."""
    linear_codes: tuple[str, ...] = LINEAR
    """Linear codes; several of one code side by side are a longer one."""
    linear_log2_sizes: tuple[int, ...] = (10, 20)
    """log2 of the sizes of their databases."""


SMOKE = Config(
    block_lengths=(16,),
    log2_sizes=(10,),
    rates=(0.25, 0.5, 1.0),
    linear_codes=("Golay",),
    linear_log2_sizes=(10,),
)
QUICK = Config()
FULL = Config(
    block_lengths=(16, 32, 64, 128, 256, 512, 1024),
    rates=tuple(2.0 ** (-k / 8) for k in range(80, -1, -1)),
)


def run(
    config: Config,
    key: jax.Array,  # noqa: ARG001
    checkpoint: Checkpoint = without_checkpoint,
) -> xarray.Dataset:
    """Compute the loss of random codes and the converses for every block length and size."""
    cells = [checkpoint(f"block-{n}", _block, config, n) for n in config.block_lengths]
    dims = ("block_length", "loss_name", "log2_size", "rate")
    losses = ("code_loss", "converse", "rank_rate")
    linear = [
        checkpoint(f"linear-{name}".replace(" ", "-").replace(",", ""), _linear, config, name)
        for name in config.linear_codes
    ]
    return xarray.Dataset(
        {
            **{
                name: (
                    "linear_code" if name.startswith("linear_") else ("linear_code", "linear_size"),
                    np.stack([one[name] for one in linear]),
                    {"units": "1"},
                )
                for name in linear[0]
            },
            **{name: (dims, np.stack([c[name] for c in cells]), {"units": "1"}) for name in losses},
            "bits": (
                ("block_length", "rate"),
                np.outer(config.block_lengths, config.rates),
                {"long_name": "bits per item", "units": "bits"},
            ),
        },
        coords={
            "block_length": list(config.block_lengths),
            "loss_name": list(LOSSES),
            "log2_size": list(config.log2_sizes),
            "rate": ("rate", list(config.rates), {"units": "bits per letter"}),
            "linear_code": list(config.linear_codes),
            "linear_size": list(config.linear_log2_sizes),
        },
        attrs={"crossover": config.crossover},
    )


def _block(config: Config, n: int) -> dict[str, np.ndarray]:
    rates = np.array(config.rates)
    bits = n * rates
    sizes = np.array(config.log2_sizes, float)[:, None]
    source = sources.dsbs(config.crossover)
    kept = n * np.asarray(limits.bottleneck_dsbs(config.crossover, rate=rates))
    code, rank_rate, converse = [], [], []
    for name in LOSSES:
        code.append(codes.dsbs_ensemble(config.crossover, sizes, name, n=n, rate=rates))
        rank_rate.append(limits.rank_loss(sizes, name, rate=kept).lower)
        bound = limits.retrieval_converse(source, sizes, name, bits=bits, letters=n)
        converse.append(bound.loss)
    return {
        "code_loss": np.array(code),
        "converse": np.array(converse),
        "rank_rate": np.array(rank_rate),
    }


def _linear(config: Config, name: str) -> dict[str, np.ndarray]:
    """Recall@1 of a linear code, of others of as many bits, and what the bounds leave."""
    prefix = next((each for each in _TIMES if name.startswith(each)), "")
    generator = _generator(name.removeprefix(prefix))
    times = _TIMES.get(prefix, 1)
    once = np.asarray(codes.coset_distances(generator))
    distances = np.ones(1)
    for _ in range(times):
        distances = np.convolve(distances, once)
    bits, n = (times * each for each in generator.shape)
    p, sizes = config.crossover, np.array(config.linear_log2_sizes, float)
    kept = n * float(limits.bottleneck_dsbs(p, rate=bits / n))
    bound = limits.retrieval_converse(sources.dsbs(p), sizes, "error", bits=bits, letters=n)
    lost = {
        "recall_linear": codes.dsbs_code_loss(distances, sizes, "error", crossover=p),
        "recall_balls": codes.dsbs_code_loss(_ball(n, bits), sizes, "error", crossover=p),
        "recall_random": codes.dsbs_ensemble(p, sizes, "error", n=n, rate=bits / n),
        # Some of the letters as they are, the others not at all.
        "recall_letters": codes.dsbs_ensemble(p, sizes, "error", n=bits, rate=1.0),
        "recall_converse": bound.loss,
        "recall_rank_rate": limits.rank_loss(sizes, "error", rate=kept).lower,
    }
    recall = {each: 1 - np.asarray(value) for each, value in lost.items()}
    return recall | {"linear_length": np.array(n), "linear_bits": np.array(bits)}


def _generator(name: str) -> np.ndarray:
    """Words that span a code, shape (bits, letters)."""
    if name.startswith("Reed-Muller"):
        # The values of all monomials of at most so many of m binary variables.
        degree, m = map(int, name.removeprefix("Reed-Muller ").split(","))
        points = np.array(list(itertools.product([0, 1], repeat=m)))
        chosen = (c for d in range(degree + 1) for c in itertools.combinations(range(m), d))
        return np.array([points[:, list(c)].prod(axis=1) for c in chosen])
    # Multiples of 1 + x^2 + x^4 + x^5 + x^6 + x^10 + x^11.
    first = np.zeros(23, int)
    first[[0, 2, 4, 5, 6, 10, 11]] = 1
    golay = np.array([np.roll(first, shift) for shift in range(12)])
    even = golay.sum(axis=1, keepdims=True) % 2
    return np.hstack([golay, even]) if name.endswith("extended") else golay


def _ball(n: int, bits: int) -> np.ndarray:
    """Distances from its middle of a uniform word of a ball of 2^(n - bits) words, the outermost ones in part."""
    words = np.array([math.comb(n, t) for t in range(n + 1)], float)
    inside = np.clip(2.0 ** (n - bits) - np.append(0.0, np.cumsum(words)[:-1]), 0.0, words)
    return np.asarray(inside / inside.sum())


def checks(dataset: xarray.Dataset) -> list[Check]:
    """Check that no code lies beyond the converse, nor the converse below the rank rate."""
    achieved = (dataset.recall_linear, dataset.recall_balls, dataset.recall_letters)
    passed = max(float((one - dataset.recall_converse).max()) for one in achieved)
    known = [name for name in dataset.linear_code.values if name in PERFECT]
    perfect = dataset.sel(linear_code=known)
    beaten = (dataset.converse - dataset.code_loss).max()
    looser = (dataset.rank_rate - dataset.converse).max()
    return [
        C27.exact.at_most("loss by which a random code beats the converse", beaten, 1e-9),
        C4.exact.at_most(
            "loss by which the tightest converse lies below the rank rate", looser, 1e-6
        ),
        C27.exact.at_most(
            "recall@1 by which linear codes, balls or kept letters beat the converse", passed, 1e-9
        ),
        C14.exact.at_most(
            "distance of the recall@1 of a perfect code from that of balls",
            abs(perfect.recall_linear - perfect.recall_balls).max(),
            1e-12,
        ),
    ]
