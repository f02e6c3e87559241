"""The report in sentences: what was found, what to do, how it was measured, and what models are."""

import math
from typing import Final

import numpy as np

from rdsim.embeddings.models.twin import GAUSSIAN, ISOTROPIC, Twin
from rdsim.embeddings.quality import METRIC_NAMES
from rdsim.embeddings.result import EmbeddingReport
from rdsim.embeddings.systems.faiss_codes import POINTS_A_CENTROID, centroids
from rdsim.finite_sample.database_size.prediction import LINE

NOTE: Final = (
    "A row is marked by * if no measured code of as few bits has a higher MRR. Intervals are over groups of queries "
    "(queries that share an item are in one group), for this database and these fitted codes; ties count as their "
    "average. Bits are those stored for an item; “entropy” is that of the codes among these items, at most log2 of their number: where all codes differ it does not say what a "
    "coder would save. Queries are stored nowhere and keep their full "
    "precision, except in lines that say Hamming. RaBitQ of faiss has no random rotation before its signs unless it is called "
    "rotated. “kept” is the MRR divided by that of the uncompressed vectors in "
    "the space in which codes work, which is also what is called uncompressed elsewhere. Times are those of this machine, for all items and all queries together. Spaces: “as given”; “centred”, "
    "where queries and items each lose their mean; “canonical”, linear maps of queries and of items, fitted to pairs, "
    "whose coordinates are correlated in pairs alone; “shared canonical”, the same with one set of axes for both."
)
_PROVED: Final = (
    "Proved for all data. “Any system” (the rank converse, claim C4 of rdsim): whatever is stored at so many bits per item on average, by an encoder that "
    "sees all items. “One codebook”: every item is stored as one of 2 to the power of the bits codewords, by the same encoder, and scored by its codeword and the query alone, as by all "
    "codes here but those that are ranked again by the vectors; items of one codeword tie, so that at most as many as there are "
    "codewords are found for certain. It does not hold for scores that know the number of an item, nor for codes of variable length."
)
"""What the two converses for all data are about."""
SIZES: Final = (
    "Up to the measured size these are exact averages over subsets. Above it they are predicted from the "
    "ranks; the band is as wide as the errors of the same prediction between the data's own smaller sizes, "
    "and is no proof. The prediction is a mean over several forms, weighted by how well each did there. The last column "
    "says what the one of the largest weight assumes. Every query has a probability p that a random item beats its target; "
    "among these items p is counted down to about one divided by their number, and what decides in larger databases are "
    "smaller p, which nobody has seen: for them a form is assumed, of two numbers that are fitted to these ranks."
)
"""How to read the table of other databases."""
_FORMS: Final = {
    "normal in ln p": "the logarithm of p is normally distributed",
    "normal in probit p": "p is that of normally distributed scores of targets among normally distributed ones of items",
    "log-logistic": "the log-odds of p have a logistic distribution",
    "gamma": "minus the logarithm of p has a gamma distribution",
    "beta": "p has a beta distribution",
    "generalised Pareto": "minus the logarithm of p has a generalised Pareto distribution",
}
"""Distributions of `finite_sample.predict_quality` in words."""
_STRAIGHT: Final = (
    "the log-odds of the MRR fall by as much with every doubling as below the measured size"
)
LEAST_BITS: Final = 0.01
"""Proved bits from which on they are said: fewer are rounded down to nothing."""
_FAR: Final = 1.5
"""Measured bits by those of the twin from which on a better code is worth looking for."""
_ZEROS: Final = 0.005
"""Fraction of vectors of zeros from which on they are said: less is within half a unit of the second digit of a quality."""
_OF_ZEROS: Final = {"queries": "rank the items alike", "items": "tie with each other"}
_SATURATED: Final = 0.95
"""MRR beyond which ranks do not tell how strong correlations are."""
_MOVED: Final = 0.1
"""Calibration error of the MRR from which on a twin is not relied on."""
_LENGTHS_COUNT: Final = 1.0
"""Spread of lengths by their mean, times the root of the effective dimension n, from which on lengths matter.

Under L2 the score of a random item y for a query of its length varies by |y|^2 / sqrt(n) with its direction and by |y|^2
times the spread with its length: from one on, length decides more than direction does. Gaussian points of n equal
coordinates, whose lengths no model need treat apart, have 0.71."""


def sentences(found: EmbeddingReport) -> list[str]:
    """Say in three sentences what was found, and then what to do."""
    mrr, plain = found.values("mrr"), found.reference
    space = "" if found.lines[plain] == "as given" else f" in the space “{found.lines[plain]}”"
    said = [
        f"Uncompressed{space}, at {found.bits[plain]:,} bits per item, {len(found.group):,} queries find their targets "
        f"among {found.database:,} items with a mean reciprocal rank (MRR) of {mrr[plain]:.3f} "
        f"[{found.quality.lower[plain, 0]:.3f}, {found.quality.upper[plain, 0]:.3f}]."
    ]
    line = found.line_for(0.95)
    if line is None:
        said.append("No code that was measured keeps 95% of it.")
    else:
        said.append(
            f"The smallest measured code that keeps 95% of it is “{found.lines[line]}” at {found.bits[line]} bits "
            f"per item, {found.bits[plain] / found.bits[line]:.0f} times fewer; it has {found.kept.value[line, 0]:.1%} of it."
        )
    proved, twin = found.bits_by_proof(0.95, systems="one codebook"), _gaussian(found)
    limit = (
        f"It is proved that to keep 95% a code that stores every item as one codeword of the same codebook needs at least "
        f"{rounded_down(proved)} bits per item, and a system of any kind {rounded_down(found.bits_by_proof(0.95))}"
        if proved >= LEAST_BITS
        else "No number of bits is proved to be too few for 95%"
    )
    if twin is not None:
        bits = twin.bits_for(0.95 * float(mrr[plain]))
        model = "more bits than were computed" if bits is None else f"{bits:.0f} bits"
        limit += f"; in the {twin.name}, a model of these data, ideal codes would need {model}"
    said.append(limit + ".")
    said.append(advice(found))
    return said


def cautions(found: EmbeddingReport) -> list[str]:
    """Say what about the vectors a reader should know before the results: lengths that matter, and vectors of zeros."""
    said, known = [], found.diagnostics
    plain, cosine = found.reference, found.similarity == "cosine"
    # Under the cosine the lengths are those of the vectors as given, and the space compares directions.
    spread = known["item_norm_spread"] if cosine else found.item_length_spread[plain]
    level = _LENGTHS_COUNT / math.sqrt(max(found.item_dimension[plain], 1.0))
    if spread > level:
        if cosine:
            kept = (
                "The cosine leaves lengths out: if they mean something, such as how often an item is wanted, compare with "
                "the inner product as well."
            )
        else:
            first = "short" if found.similarity == "L2" else "long"
            kept = (
                f"Under the similarity {found.similarity} they count, and {first} items tend to rank first whatever the query "
                "is: compare with the cosine as well."
            )
        said.append(
            f"Lengths of items matter: their standard deviation is {spread:.0%} of their mean. From {level:.0%} on, one over "
            f"the root of the effective dimension, lengths would move scores as much as directions do. {kept}"
        )
    for side, lost in _OF_ZEROS.items():
        if (share := known[f"zero_{side}"]) >= _ZEROS:
            said.append(
                f"{share:.1%} of the {side} as given are zero in all coordinates. They {lost}, so that about that share of the "
                f"quality is lost (it is said from {_ZEROS:.1%} on, which shows in the digits that are printed). Leave them "
                "out if they stand for missing data."
            )
    return said


def advice(found: EmbeddingReport) -> str:
    """Say what to store."""
    line, twin, mrr = found.line_for(0.95), _gaussian(found), found.values("mrr")
    plain, said = found.reference, []
    spaces = {found.lines[i]: i for i, kind in enumerate(found.kinds) if kind == "space"}
    if found.lines[plain] != "as given":
        given = f", and {mrr[spaces['as given']]:.3f} as given" if "as given" in spaces else ""
        said.append(
            f"Compare vectors in the space “{found.lines[plain]}”, in which they have an MRR of {mrr[plain]:.3f} "
            f"uncompressed{given}."
        )
    best = max(spaces.values(), key=lambda i: mrr[i])
    if found.kept.lower[best, 0] > 1:
        said.append(
            f"Fit codes in the space “{found.lines[best]}” too: there, the vectors have an MRR of {mrr[best]:.3f}."
        )
    if line is None:
        said.append("Keep the vectors, or rank the first candidates of a code again by them.")
        return " ".join([*said, *_of_yours(found)])
    said.append(f"Store {found.bits[line]} bits per item with “{found.lines[line]}”.")
    needed = None if twin is None else twin.bits_for(0.95 * float(mrr[plain]))
    if needed is not None and twin is not None and not twin.refuted_by(found).size:
        ratio = found.bits[line] / needed
        if ratio > _FAR:
            said.append(
                f"If the Gaussian twin is true of these data, better codes could need {ratio:.1f} times fewer bits."
            )
        else:
            said.append(
                "If the Gaussian twin is true of these data, better codes would save few bits."
            )
    return " ".join([*said, *_of_yours(found)])


def _of_yours(found: EmbeddingReport) -> list[str]:
    """Hold one's own code against the best measured one of as few bits."""
    mrr, said = found.values("mrr"), []
    for own in (i for i, kind in enumerate(found.kinds) if kind == "yours"):
        # The lines of files are called "yours (NAME)".
        name = found.lines[own].removeprefix("yours").strip(" ()")
        mine = (
            f"Your code{f' “{name}”' if name else ''} ({found.bits[own]} bits, MRR {mrr[own]:.3f}"
            f"{_of_its_space(found, own)})"
        )
        as_few = [i for i in found.pareto() if found.bits[i] <= found.bits[own]]
        if not as_few:
            said.append(f"{mine} has fewer bits than every code that was measured.")
            continue
        other = as_few[-1]
        place = "below" if mrr[other] > mrr[own] else "not below"
        said.append(
            f"{mine} is {place} {found.lines[other]} at {found.bits[other]} bits ({mrr[other]:.3f}), the best measured "
            "of as few."
        )
    return said


def _of_its_space(found: EmbeddingReport, own: int) -> str:
    """Say what a code keeps of the vectors where it works, if that is not where other codes do."""
    mrr, space = found.values("mrr"), found.spaces[own]
    whole = [i for i, kind in enumerate(found.kinds) if kind == "space" and found.lines[i] == space]
    if not whole or whole[0] == found.reference or mrr[whole[0]] == 0:
        return ""
    return f", which is {mrr[own] / mrr[whole[0]]:.1%} of that of the vectors {space}"


def setting(found: EmbeddingReport) -> str:
    """Say how it was measured."""
    whole = ""
    if found.whole is not None:
        values = ", ".join(
            f"{name} {value:.4f}"
            for name, value in zip(METRIC_NAMES, found.whole.quality.value, strict=True)
        )
        whole = (
            f" Among all {found.whole.database} items, where nothing is held out, the vectors as given "
            f"have {values}."
        )
    left_out = (
        f" {found.without_target} queries have no target and were left out."
        if found.without_target
        else ""
    )
    copies = (
        f" {found.copies} items equal an earlier one: they tie with it." if found.copies else ""
    )
    return (
        f"Similarity: {found.similarity}. Codes work in the space {found.chosen_space}, fitted to "
        f"{found.fitted} pairs ({found.split}), {_seen(found)}. Intervals have a confidence of "
        f"{found.confidence:.0%}.{left_out}"
        f"{copies}{_few_points(found)}{_without_code(found)}{whole}"
    )


def _seen(found: EmbeddingReport) -> str:
    """Say whether codes saw what they rank."""
    seen = found.diagnostics["fitted_items"]
    if seen == 0:
        return "and to none of the items that are ranked"
    return f"but {seen:.1%} of the items that are ranked are among those of these pairs: codes may look better than they are"


def _without_code(found: EmbeddingReport) -> str:
    """Say which of the bits that were asked for no code has."""
    there = {int(bits) for bits in found.bits}
    missing = [f"{bits:,}" for bits in found.converse_bits.tolist() if bits not in there]
    return f" None of these codes was fitted at {', '.join(missing)} bits." if missing else ""


def _few_points(found: EmbeddingReport) -> str:
    """Say if codebooks of faiss were fitted to fewer items than it asks for."""
    number = centroids(found.training_items)
    if found.training_items >= POINTS_A_CENTROID * number:
        return ""
    if not any(name.startswith(("PQ", "OPQ", "RQ")) for name in found.lines):
        return ""
    return (
        f" Codebooks of faiss with {number} centroids were fitted to {found.training_items} items, where faiss asks for "
        f"{POINTS_A_CENTROID * number}: more of them could improve these codes."
    )


def proved_words(found: EmbeddingReport) -> str:
    """Say what the two converses for all data are about, and from how many bits on there is none."""
    return f"{_PROVED} From {found.log2_groups:.2f} bits on an item can name its group, and no bound holds for all data."


def model_words(found: EmbeddingReport) -> str:
    """Say what the models are, and how well each met the data before it was calibrated."""
    models = found.models
    if models is None:
        return ""
    said = []
    for twin in models.twins:
        said.append(
            f"The {twin.name} takes the data for {twin.assumes}. It is calibrated so that unlimited bits have the "
            f"best measured MRR, {found.values('mrr')[models.calibrated_to]:.3f} "
            f"({found.lines[models.calibrated_to]}, {found.bits[models.calibrated_to]} bits); before that its MRR "
            f"was off by {twin.error:+.3f}."
        )
    return " ".join([*said, *models.missing])


def verdicts(found: EmbeddingReport) -> list[str]:
    """Say of each model whether the measured codes contradict it."""
    said: list[str] = []
    if found.models is None:
        return said
    for twin in found.models.twins:
        doubted = doubts(found, twin)
        said += [f"{doubt} Do not rely on its lines." for doubt in doubted]
        above = twin.refuted_by(found)
        if above.size:
            first = above[np.argmin(found.bits[above])]
            at = np.searchsorted(twin.converse_bits, found.bits[first])
            said.append(
                f"The {twin.name} is refuted by these data: {len(above)} measured codes are above what any "
                f"code has in it, such as {found.lines[first]} at {found.bits[first]} bits with an MRR of "
                f"{found.values('mrr')[first]:.3f} (the model's converse: {twin.converse[at, 0]:.3f} at "
                f"{twin.converse_bits[at]:.0f} bits). Its lines say nothing of what better codes could do."
            )
        elif not doubted:
            said.append(
                f"No measured code contradicts the {twin.name}. Its converse is proved of the model all the same, "
                "not of the data."
            )
    return said


def doubts(found: EmbeddingReport, twin: Twin) -> list[str]:
    """Say why a model is not to be relied on, whether or not a measured code contradicts it."""
    said: list[str] = []
    assert found.models is not None  # it has this twin
    line = found.models.calibrated_to
    best, spread = found.values("mrr")[line], found.item_length_spread[line]
    if twin.name == ISOTROPIC and best > _SATURATED:
        said.append(
            f"Nearly all targets rank first (an MRR of {best:.3f}), so that ranks do not tell how strong the "
            f"correlations of pairs are: the {twin.name} may take them for far too strong, and its bits are then far "
            "too few."
        )
    if twin.name == ISOTROPIC and spread * math.sqrt(found.item_dimension[line]) > _LENGTHS_COUNT:
        said.append(
            f"The {twin.name} is a model of directions, and here lengths count: under the similarity "
            f"{found.similarity}, those of the items in the space “{found.spaces[line]}” decide more than directions do "
            f"(their standard deviation is {spread:.0%} of their mean). It does not count the bits that store a length."
        )
    if abs(twin.error) > _MOVED:
        said.append(
            f"Calibration moved the {twin.name} far ({twin.error:+.3f}): its correlations are not those "
            "of the data, as happens where too few pairs were fitted for so many coordinates."
        )
    return said


def standing(found: EmbeddingReport, twin: Twin) -> str:
    """Name what a twin is to the reader of a table."""
    if twin.refuted_by(found).size:
        return "refuted model"
    return "doubtful model" if doubts(found, twin) else "model"


def assumption(method: str) -> str:
    """Say in words what a prediction for larger databases assumes, given its name in `finite_sample.predict_quality`."""
    if method == LINE:
        return _STRAIGHT
    form, _, part = method.partition(", p < ")
    fewer = part.removesuffix("/M")
    where = f", for queries whose target fewer than {fewer} of the items beat" if fewer else ""
    return _FORMS[form] + where


def allocation_words(found: EmbeddingReport) -> str:
    """Say how to read the bits by coordinate."""
    return (
        f"In the space “{found.coordinate_space}”, where pairs held back from the fit share the most information, the "
        "transform code keeps the coordinates of the largest correlations, each with its own number of bits: “2 of 3” "
        "means two coordinates of three bits each."
    )


def _gaussian(found: EmbeddingReport) -> Twin | None:
    """Return the twin that sentences speak of: none that calibration had to move far."""
    twin = None if found.models is None else found.models.twin(GAUSSIAN)
    return None if twin is None or abs(twin.error) > _MOVED else twin


def rounded_down(bits: float) -> str:
    """Write a proved number of bits, rounded down."""
    return f"{math.floor(bits * 100) / 100:.2f}"
