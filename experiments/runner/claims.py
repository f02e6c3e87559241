"""Claims: what each one says, how a study checks it, and which tests guard it."""

import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final, SupportsFloat

STATEMENTS: Final = {
    "C1": "The rank of the target is binomial given its score, so one evaluation gives every rank "
    "metric at every database size.",
    "C2": "The rate that a ranking of M items needs is log2 M minus the largest entropy that a "
    "distribution of the rank can have within the distortion; the maximiser is a Gibbs "
    "distribution.",
    "C3": "With a prior p on the targets the rate is at least H(p) minus the largest entropy that a "
    "distribution of the rank can have within the distortion, with equality exactly where that "
    "distribution majorises the prior.",
    "C4": "No retrieval system needs less than the rank rate: that rate is at most I(X;U), hence at "
    "most the information bottleneck at the stored rate.",
    "C5": "Every returned rate-distortion point is achievable, and the curve lies below it by no "
    "more than the certified gap log2 max c.",
    "C6": "The solver agrees with the closed forms of the binary source, of uniform and other sources "
    "under Hamming distortion, of erasure distortion, and on a fine grid of the Gaussian.",
    "C7": "Atoms added where c(u) is largest over a continuous space bring the certified gap of a "
    "continuous source to the tolerance; the Gaussian meets its closed form.",
    "C8": "The derivatives of the Lagrangian, of the distortion and of the rate through the "
    "solver agree with finite differences.",
    "C9": "Items are identified reliably exactly when their number grows at less than IB(R) bits "
    "a letter.",
    "C10": "The information bottleneck of the doubly symmetric binary source and its inverse have "
    "closed forms.",
    "C11": "At a fixed slope the information bottleneck is a concave envelope at P(Y). It is "
    "certified for up to three letters of Y; beyond, the solution is a local one with a dual bound.",
    "C12": "The retrieval rate-distortion function lies between the bottleneck inverse of the "
    "rank rate and the exact loss of single channels used for every item.",
    "C13": "With competitors fixed, retrieval is an ordinary distortion; the self-consistent "
    "fixed point is met within its residual.",
    "C14": "The average error, MRR and recall of random codebooks for the doubly symmetric binary "
    "source are exact finite sums.",
    "C15": "The probability that a competitor's summed score exceeds a level is an exact convolution. "
    "On a lattice, from 50 letters on, the saddlepoint approximation is within one per cent of it, and "
    "importance sampling reaches probabilities that plain simulation cannot. The averages over random "
    "codes of any discrete source follow.",
    "C16": "At block length n the best rate lies between the converse and random coding, and the "
    "Gaussian approximation lies near both.",
    "C17": "The entropy-weighted stochastic quantizer with temperatures fitted to each modality is "
    "compared with fixed temperatures, averaged cosines and the frontier, at its measured bits.",
    "C18": "2N times the excess of a code learned from N samples tends to a chi-square distribution "
    "with one degree of freedom less than the code has active codewords.",
    "C19": "A code that serves K targets needs at least the mean of their entropies, minus the "
    "entropy of the rank, plus the entropy difference divided by K. For two targets this is an equality "
    "where both priors are majorised.",
    "C20": "An equal allocation of the rate over K unequal Gaussian modalities costs K/2 log2 of the "
    "ratio of the arithmetic to the geometric mean of their variances. The cost is quadratic for small "
    "entropy differences and linear for large ones, so near zero no positive multiple of the difference bounds it "
    "from below.",
    "C21": "With probability at least 1 - delta the excess of a code learned from N samples is below a "
    "bound with explicit constants.",
    "C22": "The excess retrieval error of a code learned from N samples is bounded by a divergence, "
    "and its growth with the number of modalities and with the entropy difference is measured.",
    "C23": "With query and items both compressed, identification lies between time-shared long "
    "Markov chains and the tighter of the two one-sided bottlenecks.",
    "C24": "A codebook designed for another distribution needs its mismatched rate, and one codebook "
    "attains the minimax rate over a divergence ball.",
    "C25": "With one encoder for all items the expected reward is a concave function of the "
    "distribution of the posteriors, so that the least rate for a rank loss is a convex problem.",
    "C26": "No encoder, not even one that sees the whole database, does better than a single-letter "
    "programme in which the target's rank is the quantile of its posterior.",
    "C27": "Given that an item lies in a half-space of probability 2^-R, its query must lie in one of "
    "probability K/M: this bounds the recall at K of equally probable codewords of R bits for Gaussian pairs, of "
    "any dimension; its concave hull over half-spaces bounds all others, and with them every rank loss.",
    "C28": "Random codes for directions have an exact mean rank loss at every dimension, number of bits and "
    "database size: a one-dimensional integral over the angle between an item and its codeword and over "
    "the query's angle from the codeword. None passes the bound of caps for its notion of rate.",
    "C29": "The rank distribution of Gaussian vectors with unequal canonical correlations is a contour "
    "integral of a quadratic form; and a reference distribution in which strong modes are shrunk makes "
    "half-spaces a converse for them.",
    "C30": "Words ranked by scores made for another distribution serve a database that grows at less than the "
    "generalized mutual information, bits per letter. Missing modalities, wrong pairs and flipped queries are "
    "other sources; planted items meet the rate-distortion function of the query.",
    "C31": "With P relevant items of M the rate is log2 of the number of sets of P minus the largest entropy "
    "that a distribution of their places can have within the distortion; the maximiser is a Gibbs "
    "distribution.",
}
"""What each claim says. The ledger, the gallery and the theory page all show these words."""

_TEST = re.compile(r"^[ \t]*def (test_(C\d+[a-z]?)_\w+)", re.MULTILINE)


@dataclass(frozen=True)
class Check:
    """One number of a study beside what a claim says it should be; a `Claim` makes it.

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
    method: str
    measured: float
    expected: float
    tolerance: float
    wanted: str
    holds: bool


@dataclass(frozen=True)
class Checked:
    """A claim and how a study checks it: every kind of check says its statement and its numbers."""

    claim: str
    method: str

    def close(
        self,
        statement: str,
        measured: SupportsFloat,
        expected: SupportsFloat,
        tolerance: SupportsFloat,
    ) -> Check:
        """Check that the number is within the tolerance of the expected one."""
        found, target, margin = float(measured), float(expected), float(tolerance)
        holds = abs(found - target) <= margin
        wanted = f"{target:.6g} ± {margin:.2g}"
        return Check(self.claim, statement, self.method, found, target, margin, wanted, holds)

    def at_most(self, statement: str, measured: SupportsFloat, bound: SupportsFloat) -> Check:
        """Check that the number does not exceed the bound."""
        found, most = float(measured), float(bound)
        wanted = f"≤ {most:.6g}"
        return Check(self.claim, statement, self.method, found, most, 0.0, wanted, found <= most)

    def inside(
        self, statement: str, measured: SupportsFloat, low: SupportsFloat, high: SupportsFloat
    ) -> Check:
        """Check that the number lies in the closed interval."""
        found, least, most = float(measured), float(low), float(high)
        middle, half = (least + most) / 2, (most - least) / 2
        wanted = f"[{least:.6g}, {most:.6g}]"
        holds = least <= found <= most
        return Check(self.claim, statement, self.method, found, middle, half, wanted, holds)


@dataclass(frozen=True)
class Claim:
    """A claim by its number, such as "C5": `Claim("C5").exact.at_most("largest gap, bits", gap, 1e-9)`."""

    number: str

    @property
    def exact(self) -> Checked:
        """Check it by numbers that have no error but rounding."""
        return Checked(self.number, "exact")

    @property
    def closed_form(self) -> Checked:
        """Check it against a formula."""
        return Checked(self.number, "closed form")

    @property
    def monte_carlo(self) -> Checked:
        """Check it by simulation, within its error."""
        return Checked(self.number, "Monte Carlo")

    @property
    def property_test(self) -> Checked:
        """Check it on random cases."""
        return Checked(self.number, "property test")


def order(claim: str) -> tuple[int, str]:
    """Sort key that puts C9 before C10 and C11 before C11b."""
    number = re.fullmatch(r"C(\d+)([a-z]?)", claim)
    return (int(number[1]), number[2]) if number else (sys.maxsize, claim)


def guards(folder: Path = Path("tests")) -> dict[str, list[str]]:
    """Find the tests of each claim by their names, test_C5_...: from the claim to its FILE::TEST.

    Outside a checkout nothing is found: what guards a claim is then not known.
    """
    found: dict[str, list[str]] = {}
    for file in sorted(folder.rglob("test_*.py")):
        for match in _TEST.finditer(file.read_text(encoding="utf-8")):
            found.setdefault(match[2], []).append(f"{file.as_posix()}::{match[1]}")
    return found
