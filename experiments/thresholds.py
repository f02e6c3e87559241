"""Thresholds: what the growth that a database may have becomes when a decoder is wrong or queries lack something.

Items are fair bits stored at half a bit per letter. In the limit of long items the error goes to zero exactly
if the number of items grows at less than a threshold, in bits per letter. Every threshold is compared with
random codes at 0.8 and 1.2 times it: exact averages over codebooks where the query is one binary
letter, elsewhere drawn queries with the competitors' probability given each.
"""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import scipy.special
import xarray

from experiments.runner import Check, Checkpoint, Claim, without_checkpoint
from rdsim import codes, limits, ranking, sources
from rdsim.information import binary_entropy, information_density, inverse_binary_entropy
from rdsim.simulation import intervals

CLAIMS = ("C30", "C31")
C30, C31 = map(Claim, CLAIMS)
CROSSOVER = 0.05
"""Crossover probability of the first view; that of the second is `SECOND`."""
SECOND = 0.2
RATE = 0.5
PRESENT = 0.8
"""Probability that a view is present."""
WRONG = 0.1
"""Share of query letters that belong to another item."""
FLIPS = 0.06
"""Share of the query's letters that may be flipped."""
EXACT = (
    "matched",
    "wrong decoder",
    "wrong pairs",
    "flips, codeword unseen",
    "flips, codeword seen",
)
DRAWN = ("missing views", "planted items")
FACTORS = (0.8, 1.2)
KNOWN_RATES = (0.25, 0.5, 0.75)
KNOWN_BOTTLENECK = (0.1773697, 0.3496156, 0.5132577)
"""IB(R) of two views that may be missing, in bits, at those rates."""
RULES = ("fitted", "equal", "inverse entropy", "entropy")
KNOWN_LOSSES = (0.1, 0.2, 0.3)
KNOWN_SEVERAL = (0.9131147, 0.2534747, 0.0067213)
"""Bits for two targets of four at these losses of the average precision."""
CONFIDENCE = 1 - 1e-8
PLANTED = 0.5
"""Share of the items that an adversary has planted, whose codewords are the ones that pass the most queries."""


@dataclass(frozen=True)
class Config:
    """What is computed."""

    letters: tuple[int, ...] = (50, 200, 500)
    """Letters of an item."""
    trials: int = 2000
    """Queries drawn where the sum is not exact."""
    sources: int = 12
    """Random pairs of views whose temperatures are compared."""
    targets: tuple[int, ...] = (1, 2, 5, 10)
    """Numbers of relevant items."""
    log2_items: float = 7.0
    """log2 of the number of items that are ranked."""
    losses: int = 8
    """Points along the loss."""


SMOKE = Config(letters=(50, 500), trials=2000, sources=3, targets=(1, 2), log2_items=6.0, losses=3)
QUICK = Config()
FULL = Config(letters=(50, 200, 800, 3200), trials=20_000, sources=400, log2_items=10.0, losses=40)


def run(
    config: Config, key: jax.Array, checkpoint: Checkpoint = without_checkpoint
) -> xarray.Dataset:
    """Compute thresholds, errors of codes about them, temperatures by rules, and rates of several targets."""
    draw_key, rule_key = jax.random.split(key)
    levels = checkpoint("thresholds", _thresholds)
    exact = checkpoint("exact", _exact, config, levels)
    drawn = [
        checkpoint(f"drawn-{name.replace(' ', '-')}", _drawn, config, draw_key, name, levels)
        for name in DRAWN
    ]
    rules = checkpoint("temperatures", _temperatures, config, rule_key)
    several = checkpoint("several-targets", _several, config)
    bits, one = {"units": "bits per letter"}, {"units": "1"}
    situations = [*EXACT, *DRAWN]
    table = ("situation", "factor", "n")
    errors = {
        # Exact errors are their own interval.
        end: np.concatenate([exact["error"], [part[end] for part in drawn]])
        for end in ("error", "lower", "upper")
    }
    return xarray.Dataset(
        {
            "threshold": ("situation", [levels[name] for name in situations], bits),
            **{name: (table, values, one) for name, values in errors.items()},
            "bottleneck": ("known_rate", levels["bottleneck"], bits),
            "honest_threshold": ((), levels["wrong decoder"], bits),
            "rule_share": (("source", "rule"), rules["share"], one),
            "several_rate": (("targets", "loss"), several["rate"], {"units": "bits"}),
            "several_gap": (("targets", "loss"), several["gap"], {"units": "bits"}),
            "several_known": ("known_loss", several["known"], {"units": "bits"}),
        },
        coords={
            "situation": situations,
            "factor": list(FACTORS),
            "n": ("n", list(config.letters), {"units": "letters"}),
            "known_rate": list(KNOWN_RATES),
            "rule": list(RULES),
            "targets": list(config.targets),
            "loss": several["loss"],
            "known_loss": list(KNOWN_LOSSES),
        },
        attrs={"log2_items": config.log2_items},
    )


def _cascade(first: float, second: float) -> float:
    """Crossover of two binary symmetric channels, one after the other."""
    return first * (1 - second) + (1 - first) * second


def _stored() -> float:
    """Crossover between an item's letter and its stored one at the rate."""
    return float(inverse_binary_entropy(jnp.asarray(1 - RATE)))


def _channel(crossover: float) -> np.ndarray:
    return np.array([[1 - crossover, crossover], [crossover, 1 - crossover]])


def _crossovers() -> dict[str, float]:
    """Crossover of query and item letter where one binary letter is all the decoder reads."""
    return {
        "matched": CROSSOVER,
        # A missing view is read as a zero, which is right half of the time.
        "wrong decoder": PRESENT * CROSSOVER + (1 - PRESENT) / 2,
        "wrong pairs": _cascade(CROSSOVER, WRONG / 2),
        "flips, codeword unseen": _cascade(CROSSOVER, FLIPS),
    }


def _read_as_zero() -> np.ndarray:
    """P(x,u) of a view that is read as a zero where it is missing, and the stored letter."""
    seen = sources.with_missing(sources.dsbs(CROSSOVER).joint, presence=[PRESENT])
    # Letter 0 of the stacked query says that nothing is there; 1 and 2 are the letters of the view.
    zeros = sources.with_changed_queries(seen, [[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    return np.asarray(zeros.joint) @ _channel(_stored())


def _two_views() -> sources.DiscreteSource:
    views = sources.multimodal([0.5, 0.5], [_channel(CROSSOVER), _channel(SECOND)])
    return sources.with_missing(views, presence=[PRESENT, PRESENT])


def _thresholds() -> dict[str, Any]:
    """The threshold of each situation in bits per letter, by the limits alone."""
    stored, matches = _channel(_stored()), np.eye(2)

    def gmi(joint: np.ndarray, scores: np.ndarray) -> float:
        return float(limits.generalized_mutual_information(joint, scores).information)

    pair = sources.dsbs(CROSSOVER)
    wrong = sources.with_wrong_pairs(pair, share=WRONG)
    flipped = sources.with_changed_queries(pair, _channel(FLIPS))
    seen = _cascade(CROSSOVER, _stored()) + FLIPS
    views = np.asarray(_two_views().joint)
    zeros = _read_as_zero()
    # Planted codewords: the rate-distortion function of the query at the distortion of its target.
    mean = float(np.sum(zeros * (1 - matches)))
    planted = limits.rate_at(zeros.sum(axis=1), 1 - matches, mean)
    return {
        "matched": gmi(np.asarray(pair.joint) @ stored, matches),
        "wrong decoder": gmi(zeros, matches),
        "wrong pairs": gmi(np.asarray(wrong.joint) @ stored, matches),
        "flips, codeword unseen": gmi(np.asarray(flipped.joint) @ stored, matches),
        # Every flip is spent where query and stored codeword agree: the distance grows by the budget.
        "flips, codeword seen": gmi(0.5 * _channel(seen), matches),
        "missing views": float(sources.discrete(views @ stored).mutual_information),
        "planted items": float(planted.value),
        "bottleneck": np.asarray(
            limits.bottleneck_at(views, list(KNOWN_RATES), compress="columns").value
        ),
    }


def _exact(config: Config, levels: dict[str, Any]) -> dict[str, np.ndarray]:
    """Errors of random codebooks of nearest codewords, averaged exactly."""
    found = np.empty((len(EXACT), len(FACTORS), len(config.letters)))
    for column, n in enumerate(config.letters):
        for row, name in enumerate(EXACT):
            sizes = n * levels[name] * np.array(FACTORS)
            if name in _crossovers():
                p = _crossovers()[name]
                error = np.asarray(codes.dsbs_ensemble(p, sizes, "error", n=n, rate=RATE))
            else:
                error = _shifted(n, sizes)
            found[row, :, column] = error
    return {"error": found}


def _shifted(n: int, log2_size: np.ndarray) -> np.ndarray:
    """The error where the distance of the target has grown by the budget of flips."""
    found = codes.dsbs_distances(CROSSOVER, n=n, rate=RATE)
    budget = round(FLIPS * n)
    farther = np.minimum(np.arange(n + 1) + budget, n)
    error = ranking.expected_loss(
        log2_size[:, None],
        "error",
        log_a=found.log_nearer[farther],
        log_e=found.log_tied[farther],
    )
    return np.asarray(error @ found.target)


def _drawn(
    config: Config, key: jax.Array, name: str, levels: dict[str, Any]
) -> dict[str, np.ndarray]:
    """Errors of codewords drawn through the test channel: drawn queries, competitors by their probability."""
    if name == "missing views":
        joint = np.asarray(_two_views().joint) @ _channel(_stored())
        scores, codewords = _lattice(joint), [joint.sum(axis=0)]
    else:
        joint, scores = _read_as_zero(), np.eye(2)
        codewords = [joint.sum(axis=0), _planted_codewords(joint)]
    shape = (len(FACTORS), len(config.letters))
    mean, lower, upper = np.empty((3, *shape))
    for column, n in enumerate(config.letters):
        x, u = sources.discrete(joint).sample(jax.random.fold_in(key, n), (config.trials, n))
        target = np.asarray(jnp.asarray(scores)[x, u].sum(axis=1))
        log_a, log_e = _competitor(x, target, scores, codewords[0])
        if len(codewords) > 1:
            a, e = _competitor(x, target, scores, codewords[1])
            log_a, log_e = ranking.with_planted_items(
                log_a=log_a, log_e=log_e, share=PLANTED, planted_log_a=a, planted_log_e=e
            )
        for row, factor in enumerate(FACTORS):
            size = n * factor * levels[name]
            samples = ranking.expected_loss(size, "error", log_a=log_a, log_e=log_e)
            found = intervals.empirical_bernstein(np.asarray(samples), confidence=CONFIDENCE)
            mean[row, column] = float(found.mean)
            lower[row, column], upper[row, column] = float(found.lower), float(found.upper)
    return {"error": mean, "lower": lower, "upper": upper}


def _lattice(joint: np.ndarray) -> np.ndarray:
    """Information densities rounded to a sixteenth of a bit: sums then lie on a lattice."""
    return np.asarray(jnp.round(16 * information_density(jnp.asarray(joint))) / 16)


def _planted_codewords(joint: np.ndarray) -> np.ndarray:
    """The distribution of codewords that pass the most queries: the output marginal of R(D)."""
    p, d = joint.sum(axis=1), 1 - np.eye(2)
    mean = float(np.sum(joint * d))
    # Of a binary source under Hamming distortion.
    marginal = np.maximum((p - mean) / (1 - 2 * mean), 0.0)
    return np.asarray(marginal / marginal.sum())


def _competitor(
    x: jax.Array, target: np.ndarray, scores: np.ndarray, codewords: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Ln of the probabilities that a codeword of this distribution passes, or ties with, each target."""
    # Query letters whose scores have one distribution are counted together.
    pairs = [tuple(sorted(zip(row, codewords.round(12), strict=True))) for row in scores.tolist()]
    kinds = sorted(set(pairs))
    kind = np.array([kinds.index(pair) for pair in pairs])[np.asarray(x)]
    counts = np.stack([(kind == k).sum(axis=1) for k in range(len(kinds))], axis=1).astype(float)
    table = np.array(kinds)
    tail = ranking.saddlepoint_tail(table[:, :, 0], table[:, :, 1], counts, target)
    log_a, log_e = np.asarray(tail.log_tail), np.asarray(tail.log_tie)
    # Approximations may add up to a little more than one.
    excess = np.maximum(np.logaddexp(log_a, log_e), 0.0)
    return log_a - excess, log_e - excess


def _temperatures(config: Config, key: jax.Array) -> dict[str, np.ndarray]:
    """The share of I(X_1 X_2;U) that a rule for the temperatures of two views keeps.

    Each view repeats one of four letters or gives another one at random; its score is whether it agrees.
    Rules set the temperature by the conditional entropy of the view given the item, larger for a noisier one.
    """
    drawn = np.asarray(jax.random.uniform(key, (config.sources, 2), minval=0.02, maxval=0.65))
    return {"share": np.array([_shares(*pair) for pair in drawn.tolist()])}


def _shares(first: float, second: float) -> list[float]:
    letters = 4
    noise = np.array([first, second])
    views = [np.asarray(sources.symmetric(letters, p).joint) * letters for p in noise]
    joint = np.asarray(
        sources.multimodal(np.full(letters, 1 / letters), [v.T for v in views]).joint_with().joint
    )
    agree = [np.repeat(np.eye(letters), letters, axis=0), np.tile(np.eye(letters), (letters, 1))]
    entropy = -scipy.special.xlogy(noise, noise / (letters - 1)) - scipy.special.xlog1py(
        1 - noise, -noise
    )
    weights: dict[str, np.ndarray] = {
        "fitted": np.log((1 - noise) * (letters - 1) / noise),
        "equal": np.ones(2),
        # A temperature inversely proportional to the entropy is a weight proportional to it.
        "inverse entropy": entropy,
        "entropy": 1 / entropy,
    }
    information = float(sources.discrete(joint).mutual_information)
    found = [
        limits.generalized_mutual_information(joint, w[0] * agree[0] + w[1] * agree[1])
        for w in (weights[rule] for rule in RULES)
    ]
    return [float(one.information) / information for one in found]


def _several(config: Config) -> dict[str, np.ndarray]:
    """Bits for the average precision of several targets."""
    loss = np.linspace(0.05, 0.85, config.losses)
    found = [
        limits.rank_rate_several_targets(
            config.log2_items, "average_precision", targets=P, distortion=loss
        )
        for P in config.targets
    ]
    known = limits.rank_rate_several_targets(
        2.0, "average_precision", targets=2, distortion=list(KNOWN_LOSSES)
    )
    return {
        "loss": loss,
        "rate": np.stack([np.asarray(one.value) for one in found]),
        "gap": np.stack([np.asarray(one.gap) for one in found]),
        "known": np.asarray(known.value),
    }


def checks(dataset: xarray.Dataset) -> list[Check]:
    """Check errors below and above each threshold, known values, and the rules for temperatures."""
    below, above = dataset.sel(factor=FACTORS[0]), dataset.sel(factor=FACTORS[1])
    exact = {"situation": list(EXACT)}
    threshold = {
        str(s): float(dataset.threshold.sel(situation=s)) for s in dataset.situation.values
    }
    rule = dataset.rule_share
    # Of the rules each keeps less on average than the next one.
    return [
        C30.exact.at_most(
            "largest rise of an exact error at 0.8 of its threshold from one number of letters to the next",
            below.error.sel(exact).diff("n").max(),
            0.0,
        ),
        C30.exact.at_most(
            "largest fall of an exact error at 1.2 of its threshold from one number of letters to the next",
            (-above.error.sel(exact).diff("n")).max(),
            0.0,
        ),
        C30.monte_carlo.at_most(
            "upper end of the error at 0.8 of the threshold less the lower end for the shortest items, largest",
            (below.upper.isel(n=-1) - below.lower.isel(n=0)).max(),
            0.0,
        ),
        C30.monte_carlo.at_most(
            "upper end of the error at 1.2 of the threshold for the shortest items less the lower end for the longest",
            (above.upper.isel(n=0) - above.lower.isel(n=-1)).max(),
            0.0,
        ),
        C30.exact.at_most(
            "planted items against the wrong decoder, threshold over that of other items",
            threshold["planted items"] / threshold["wrong decoder"],
            1.0,
        ),
        C30.closed_form.close(
            "threshold where every flip is spent on an agreeing letter, bits",
            threshold["flips, codeword seen"],
            1 - float(binary_entropy(jnp.asarray(_cascade(CROSSOVER, _stored()) + FLIPS))),
            1e-9,
        ),
        C30.closed_form.at_most(
            "distance of the bottleneck of two views that may be missing from known values, bits",
            abs(dataset.bottleneck - np.array(KNOWN_BOTTLENECK)).max(),
            2e-7,
        ),
        C30.exact.at_most(
            "distance of the information kept by fitted temperatures from all of it",
            abs(rule.sel(rule="fitted") - 1).max(),
            1e-9,
        ),
        C30.exact.at_most(
            "share of the information that temperatures inverse to the entropy keep, mean over sources",
            rule.sel(rule="inverse entropy").mean(),
            rule.sel(rule="equal").mean(),
        ),
        C30.exact.at_most(
            "share of the information that equal temperatures keep, mean over sources",
            rule.sel(rule="equal").mean(),
            rule.sel(rule="entropy").mean(),
        ),
        C30.exact.at_most(
            "share of the information that temperatures proportional to the entropy keep, mean over sources",
            rule.sel(rule="entropy").mean(),
            1.0,
        ),
        C30.exact.at_most(
            "sources on which temperatures inverse to the entropy keep more than equal ones",
            (rule.sel(rule="inverse entropy") > rule.sel(rule="equal") + 1e-9).sum(),
            0,
        ),
        C31.closed_form.at_most(
            "distance of the bits for two targets of four from known values",
            abs(dataset.several_known - np.array(KNOWN_SEVERAL)).max(),
            5e-8,
        ),
        C31.exact.at_most(
            "largest certified gap of the bits for several targets", dataset.several_gap.max(), 1e-9
        ),
    ]
