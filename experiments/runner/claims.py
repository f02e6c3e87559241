"""Claims: what each says, how a study checks one, and which tests guard it."""

import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, SupportsFloat, get_args

Method = Literal["exact", "property test", "Monte Carlo", "closed form"]

STATEMENTS: Final = {
    "C1": "The rank of the target is binomial given its score, so one evaluation gives every rank "
    "metric at every database size.",
    "C2": "The rate that a ranking of M items needs is log2 M less the largest entropy of a law "
    "of the rank within the distortion; the maximiser is Gibbs.",
    "C3": "With a prior on the targets the rate is at least H(p) less the largest entropy of a "
    "law of the rank within the distortion, with equality exactly where that law majorises the "
    "prior.",
    "C4": "Any retrieval system spends at least the rank rate: it is at most I(X;U), hence at "
    "most the information bottleneck at the stored rate.",
    "C5": "Every returned rate-distortion point is achievable, and the curve lies below it by no "
    "more than the certified gap log2 max c.",
    "C6": "The solver agrees with the closed forms: binary, uniform and other Hamming, erasure, "
    "and on a fine grid the Gaussian.",
    "C7": "Atoms added where c(u) is largest over a continuous space bring the certified gap of a "
    "continuous source to the tolerance; the Gaussian meets its closed form.",
    "C8": "The derivatives of the Lagrangian, of the distortion and of the rate through the "
    "solver agree with finite differences.",
    "C9": "Items are identified reliably exactly when their number grows at less than IB(R) bits "
    "a letter.",
    "C10": "The information bottleneck of the doubly symmetric binary source has a closed form, "
    "and its inverse.",
    "C11": "At a fixed slope the information bottleneck is a concave envelope at P(Y): certified "
    "up to three letters, local with a dual bound beyond.",
    "C12": "The retrieval rate-distortion function lies between the bottleneck inverse of the "
    "rank rate and the exact loss of single channels used for every item.",
    "C13": "With competitors fixed, retrieval is an ordinary distortion; the self-consistent "
    "fixed point is met within its residual.",
    "C14": "The average error, MRR and recall of random codebooks for the doubly symmetric binary "
    "source are exact finite sums.",
    "C15": "The chance that a competitor's summed score exceeds a level is an exact convolution; on "
    "a lattice, from 50 letters on, the saddlepoint is within one per cent of it, and importance "
    "sampling reaches what no plain simulation can; random codes of any discrete source follow.",
    "C16": "At block length n the best rate lies between the converse and random coding, and the "
    "Gaussian approximation lies near both.",
    "C17": "The entropy-weighted stochastic quantizer with temperatures fitted to each modality is "
    "held against fixed temperatures, averaged cosines and the frontier, at its measured bits.",
    "C18": "Twice N times the excess of a code learned from N samples tends to a chi-square law "
    "with one degree of freedom less than it has active codewords.",
    "C19": "A code that serves K targets needs the mean entropy, less the ranking's, plus the "
    "entropy gap over K; for two targets with equality where both priors are majorised.",
    "C20": "The price of an equal allocation over unequal Gaussian modalities is K/2 log2 of AM "
    "over GM: quadratic for small entropy gaps, linear for large, so no positive kappa bounds it "
    "below near zero.",
    "C21": "With chance at least 1 - delta the excess of a code learned from N samples is below a "
    "bound with explicit constants.",
    "C22": "The retrieval error of a code learned from N samples, and how its excess grows with "
    "the number of modalities and the entropy gap.",
    "C23": "With query and items both compressed, identification lies between time-shared long "
    "Markov chains and the tighter of the two one-sided bottlenecks.",
    "C24": "A codebook made for another law costs its mismatched rate, and the minimax rate over "
    "a divergence ball is met by one codebook.",
    "C25": "With one encoder for all items the expected reward is a concave function of the "
    "distribution of the posteriors, so that the least rate for a rank loss is a convex problem.",
    "C26": "No encoder, not even one that sees the whole database, does better than a single-letter "
    "programme in which the target's rank is the quantile of its posterior.",
}
"""What each claim says, in one line; the numbers are those of the docs."""

_TEST = re.compile(r"^[ \t]*def (test_(C\d+[a-z]?)_\w+)", re.MULTILINE)


@dataclass(frozen=True)
class Check:
    """One number of a study beside what a claim says it should be.

    Make it by `close`, `at_most` or `inside`, which decide whether it holds.

    Attributes:
        claim: number of the claim, for example "C5".
        statement: what was checked, in one line.
        method: exact, property test, Monte Carlo or closed form.
        measured: the number that was found.
        expected: the number, or the bound, or the middle of the interval it should meet.
        tolerance: largest distance from it; 0 for a bound.
        wanted: the two in words, for example "0.5 ± 1e-09" or "≤ 1e-09".
        holds: whether the claim stands; never for NaN.

    """

    claim: str
    statement: str
    method: Method
    measured: float
    expected: float
    tolerance: float
    wanted: str
    holds: bool

    def __post_init__(self) -> None:
        if self.method not in get_args(Method):
            raise ValueError(f"method must be one of {get_args(Method)}, got {self.method!r}")

    @classmethod
    def close(
        cls,
        claim: str,
        statement: str,
        method: Method,
        measured: SupportsFloat,
        expected: SupportsFloat,
        tolerance: SupportsFloat,
    ) -> "Check":
        """Check that the number is within the tolerance of the expected one."""
        found, target, room = float(measured), float(expected), float(tolerance)
        holds = abs(found - target) <= room
        wanted = f"{target:.6g} ± {room:.2g}"
        return cls(claim, statement, method, found, target, room, wanted, holds)

    @classmethod
    def at_most(
        cls,
        claim: str,
        statement: str,
        method: Method,
        measured: SupportsFloat,
        bound: SupportsFloat,
    ) -> "Check":
        """Check that the number does not exceed the bound."""
        found, most = float(measured), float(bound)
        return cls(claim, statement, method, found, most, 0.0, f"≤ {most:.6g}", found <= most)

    @classmethod
    def inside(
        cls,
        claim: str,
        statement: str,
        method: Method,
        measured: SupportsFloat,
        low: SupportsFloat,
        high: SupportsFloat,
    ) -> "Check":
        """Check that the number lies in the closed interval."""
        found, least, most = float(measured), float(low), float(high)
        middle, half = (least + most) / 2, (most - least) / 2
        wanted = f"[{least:.6g}, {most:.6g}]"
        holds = least <= found <= most
        return cls(claim, statement, method, found, middle, half, wanted, holds)


def order(claim: str) -> tuple[int, str]:
    """Sort key that puts C9 before C10 and C11 before C11b."""
    number = re.fullmatch(r"C(\d+)([a-z]?)", claim)
    return (int(number[1]), number[2]) if number else (sys.maxsize, claim)


def guards(folder: Path = Path("tests")) -> dict[str, list[str]]:
    """Find the tests of each claim by their names, test_C5_...: claim to FILE::TEST.

    Nothing at all is found outside a checkout: what guards a claim is then not known.
    """
    found: dict[str, list[str]] = {}
    for file in sorted(folder.rglob("test_*.py")):
        for match in _TEST.finditer(file.read_text(encoding="utf-8")):
            found.setdefault(match[2], []).append(f"{file.as_posix()}::{match[1]}")
    return found
