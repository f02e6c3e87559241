"""Random codes: error of a random code against the size of the database, for three sources.

Each item is stored as a codeword of a random codebook of its own, the nearest or one drawn by the
likelihood encoder. Exact sums over types give all database sizes; they are checked by sampled
targets with intervals, and at short blocks by databases whose every letter is drawn.
"""

from dataclasses import dataclass

import jax
import numpy as np
import xarray

from experiments.runner import Check, Checkpoint, Claim, without_checkpoint
from rdsim import codes, limits, simulation
from rdsim.codes import RandomCode, discrete_ensemble, random_code
from rdsim.codes.ensembles.random_coding import ENCODERS
from rdsim.simulation import simulate_ensemble

CLAIMS = ("C14", "C15")
C14, C15 = map(Claim, CLAIMS)
CONFIDENCE = 1 - 1e-8
"""Coverage of each interval: that any of some hundred misses has probability below 1e-5."""
LOSSES = ("error", "reciprocal_rank")
CROSSOVER = 0.1
ANCHOR_LETTERS = 100
HAMMING = ((0.0, 1.0), (1.0, 0.0))
SOURCES = {
    "symmetric binary": (
        ((0.5 - CROSSOVER / 2, CROSSOVER / 2), (CROSSOVER / 2, 0.5 - CROSSOVER / 2)),
        HAMMING,
    ),
    "asymmetric binary": (((0.6, 0.1), (0.06, 0.24)), HAMMING),
    "ternary": (
        ((0.3, 0.04, 0.02), (0.03, 0.25, 0.05), (0.01, 0.05, 0.25)),
        ((0.0, 1.0, 2.0), (1.0, 0.0, 1.0), (2.5, 1.0, 0.0)),
    ),
}
"""Joint distribution of query and item letter, and the distortion by which codewords are chosen."""
_SYMMETRIC = "symmetric binary"


@dataclass(frozen=True)
class Config:
    """What is computed."""

    rate: float = 0.5
    """Bits stored for each letter of an item."""
    binary_letters: int = 60
    """Letters in a long block of the binary sources."""
    ternary_letters: int = 8
    """Letters in a long block of the ternary source: 13 thousand joint types."""
    short_letters: int = 6
    """Letters in a block of the databases that are drawn letter by letter."""
    largest: int = 40
    """log2 of the largest database on the exact curves."""
    grid: int = 21
    """Database sizes along the exact curves."""
    simulated_log2_sizes: tuple[int, ...] = (2, 4, 8, 12, 16, 20, 24)
    """log2 of the database sizes at which sampled targets are shown."""
    trials: int = 2048
    """Targets sampled for each source and encoder."""
    drawn_log2_sizes: tuple[int, ...] = (1, 3, 5)
    """log2 of the sizes of the databases that are drawn."""
    databases: int = 1000
    """Databases drawn for each size, source and encoder."""


SMOKE = Config(
    binary_letters=10,
    ternary_letters=4,
    short_letters=4,
    largest=10,
    grid=4,
    simulated_log2_sizes=(2, 4),
    trials=256,
    drawn_log2_sizes=(1, 3),
    databases=200,
)
QUICK = Config()
FULL = Config(
    binary_letters=120,
    ternary_letters=12,
    short_letters=8,
    largest=80,
    grid=81,
    trials=32_768,
    databases=10_000,
)


def run(
    config: Config, key: jax.Array, checkpoint: Checkpoint = without_checkpoint
) -> xarray.Dataset:
    """Compute exact curves, sampled points and drawn points of every source and encoder."""
    parts = []
    for source in SOURCES:
        name = source.replace(" ", "-")
        marginal = checkpoint(f"{name}-marginal", _marginal, config, source)["marginal"]
        parts.append(
            [
                checkpoint(f"{name}-{encoder}", _part, config, key, source, encoder, marginal)
                for encoder in ENCODERS
            ]
        )
    size = _sizes(config)
    closed = checkpoint("closed", _closed, config, size)

    def gathered(name: str, *axes: str) -> tuple[tuple[str, ...], np.ndarray, dict[str, str]]:
        values = np.array([[part[name] for part in row] for row in parts])
        return ("source", "encoder", *axes), values, {"units": "1"}

    return xarray.Dataset(
        {
            "exact": gathered("exact", "loss_name", "log2_size"),
            "exact_short": gathered("exact_short", "loss_name", "log2_size"),
            "closed": (("loss_name", "log2_size"), closed["closed"], {"units": "1"}),
            "anchor": ("density", closed["anchor"], {"units": "1"}),
            **{
                f"{kind}_{name}": gathered(f"{kind}_{name}", *axes)
                for kind, axes in (
                    ("simulated", ("simulated_log2_size",)),
                    ("drawn", ("loss_name", "drawn_log2_size")),
                )
                for name in ("mean", "lower", "upper", "exact")
            },
        },
        coords={
            "source": list(SOURCES),
            "encoder": list(ENCODERS),
            "loss_name": list(LOSSES),
            "log2_size": ("log2_size", size, {"units": "bits"}),
            "simulated_log2_size": list(config.simulated_log2_sizes),
            "drawn_log2_size": list(config.drawn_log2_sizes),
            "density": ("density", [0.9, 1.1], {"long_name": "log2 M over n IB(R)", "units": "1"}),
            "letters": ("source", [_letters(config, s) for s in SOURCES], {"units": "letters"}),
            "short_letters": ((), config.short_letters, {"units": "letters"}),
            "rate": ((), config.rate, {"units": "bits per letter"}),
        },
    )


def _sizes(config: Config) -> np.ndarray:
    return np.linspace(1.0, config.largest, config.grid)


def _letters(config: Config, source: str) -> int:
    return config.ternary_letters if source == "ternary" else config.binary_letters


def _marginal(config: Config, source: str) -> dict[str, np.ndarray]:
    """Output marginal that attains R(D) at the rate; known where the source is symmetric."""
    if source == _SYMMETRIC:
        return {"marginal": np.array([0.5, 0.5])}
    return {
        "marginal": np.asarray(random_code(*SOURCES[source], n=1, rate=config.rate).output_marginal)
    }


def _part(
    config: Config,
    key: jax.Array,
    source: str,
    encoder: str,
    marginal: np.ndarray,
) -> dict[str, np.ndarray]:
    """Everything for one source and encoder."""
    key = jax.random.fold_in(key, list(SOURCES).index(source) * 2 + ENCODERS.index(encoder))
    code, short = (
        random_code(
            *SOURCES[source], n=letters, rate=config.rate, output_marginal=marginal, encoder=encoder
        )
        for letters in (_letters(config, source), config.short_letters)
    )
    sampled, drawn = (
        np.array(sizes, float) for sizes in (config.simulated_log2_sizes, config.drawn_log2_sizes)
    )
    found = simulate_ensemble(
        key,
        code,
        sampled,
        "error",
        trials=config.trials,
        confidence=CONFIDENCE,
        competitor="exact",
    )
    size = _sizes(config)
    # Of long blocks, only errors are sampled.
    error = np.asarray(discrete_ensemble(code, np.concatenate([size, sampled]), "error"))
    others = [np.asarray(discrete_ensemble(code, size, loss)) for loss in LOSSES[1:]]
    both = np.concatenate([size, drawn])
    exact_short = np.array([discrete_ensemble(short, both, loss) for loss in LOSSES])
    estimates = [_drawn(config, key, short, size) for size in config.drawn_log2_sizes]
    return {
        "exact": np.stack([error[: size.size], *others]),
        "exact_short": exact_short[:, : size.size],
        "simulated_exact": error[size.size :],
        "drawn_exact": exact_short[:, size.size :],
        **{
            f"simulated_{name}": np.asarray(getattr(found.estimates["error"], name))
            for name in ("mean", "lower", "upper")
        },
        **{
            f"drawn_{name}": np.array(
                [[getattr(at[loss], name) for at in estimates] for loss in LOSSES]
            )
            for name in ("mean", "lower", "upper")
        },
    }


def _drawn(
    config: Config, key: jax.Array, code: RandomCode, log2_size: int
) -> dict[str, simulation.Estimate]:
    """Draw databases with every letter of every codebook: independent of how the sums are derived."""
    generator = np.random.default_rng([*np.asarray(jax.random.key_data(key)), log2_size])
    joint, q, d, s = (
        np.asarray(table)
        for table in (code.joint, code.output_marginal, code.distortions, code.scores)
    )
    items, codewords = 2**log2_size, round(2 ** float(code.log2_codebook_size))
    ranks = np.empty(config.databases)
    for t in range(config.databases):
        pair = np.searchsorted(
            joint.ravel().cumsum()[:-1], generator.random((items, code.n)), side="right"
        )
        x, y = np.divmod(pair, joint.shape[1])
        book = np.searchsorted(
            q.cumsum()[:-1], generator.random((items, codewords, code.n)), side="right"
        )
        distance = np.round(d[y[:, None, :], book].sum(axis=2), 9)
        if code.encoder == "minimum_distortion":
            chosen = np.argmin(distance + 1e-10 * generator.random(distance.shape), axis=1)
        else:
            weight = np.exp2(-float(code.slope) * distance).cumsum(axis=1)
            chosen = np.sum(generator.random((items, 1)) * weight[:, -1:] >= weight[:, :-1], axis=1)
        score = np.round(s[x[0], book[np.arange(items), chosen]].sum(axis=1), 9)
        ranks[t] = 1 + (score > score[0]).sum() + generator.integers((score == score[0]).sum())
    return {
        "error": simulation.clopper_pearson(
            (ranks > 1).sum(), config.databases, confidence=CONFIDENCE
        ),
        "reciprocal_rank": simulation.empirical_bernstein(1 - 1 / ranks, confidence=CONFIDENCE),
    }


def _closed(config: Config, size: np.ndarray) -> dict[str, np.ndarray]:
    """Sums over distances alone, on the symmetric source; and its error about n IB(R) bits."""
    n = config.binary_letters
    limit = ANCHOR_LETTERS * float(limits.bottleneck_dsbs(CROSSOVER, rate=config.rate))
    code = random_code(
        *SOURCES[_SYMMETRIC], n=ANCHOR_LETTERS, rate=config.rate, output_marginal=[0.5, 0.5]
    )
    return {
        "closed": np.array(
            [codes.dsbs_ensemble(CROSSOVER, size, loss, n=n, rate=config.rate) for loss in LOSSES]
        ),
        "anchor": np.asarray(discrete_ensemble(code, limit * np.array([0.9, 1.1]), "error")),
    }


def checks(dataset: xarray.Dataset) -> list[Check]:
    """Compare sums over types, sampled targets and drawn databases."""
    symmetric = dataset.sel(source=_SYMMETRIC, encoder="minimum_distortion")
    found = [
        C14.exact.at_most(
            "relative difference of sums over types from sums over distances, symmetric binary",
            (abs(symmetric.exact - symmetric.closed) / symmetric.closed).max(),
            1e-9,
        ),
        C14.monte_carlo.at_most(
            "sampled intervals that miss the sums over distances, symmetric binary",
            _missed(symmetric, "simulated", symmetric.simulated_exact),
            0,
        ),
        C14.exact.at_most(
            "error of the nearest codeword above the likelihood encoder's, symmetric binary",
            (
                symmetric.exact
                - dataset.exact.sel(source=_SYMMETRIC, encoder="likelihood", loss_name="error")
            )
            .sel(loss_name="error")
            .max(),
            1e-12,
        ),
    ]
    for kind, what in (("simulated", "sampled targets"), ("drawn", "drawn databases")):
        count = dataset[f"{kind}_mean"].size
        found.append(
            C15.monte_carlo.at_most(
                f"intervals of {what} (of {count}) that miss the sums over types",
                _missed(dataset, kind, dataset[f"{kind}_exact"]),
                0,
            )
        )
    if float(dataset.rate) == 0.5:
        for index, value in enumerate((0.2569, 0.6109)):
            share = float(dataset.density[index])
            statement = f"error at {share:g} n IB(R) bits, n = {ANCHOR_LETTERS}, symmetric binary"
            found.append(C14.exact.close(statement, dataset.anchor[index], value, 5e-5))
    return found


def _missed(dataset: xarray.Dataset, kind: str, exact: xarray.DataArray) -> int:
    outside = (exact < dataset[f"{kind}_lower"]) | (exact > dataset[f"{kind}_upper"])
    return int(outside.sum())
