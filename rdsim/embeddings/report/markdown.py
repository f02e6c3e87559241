"""The report in words and tables: its sentences and rows, and all of it as Markdown."""

import math
from collections.abc import Iterable
from typing import Final

import numpy as np

from rdsim.embeddings.diagnostics import MEANING
from rdsim.embeddings.models.twin import GAUSSIAN, Twin
from rdsim.embeddings.quality import METRICS
from rdsim.embeddings.result import EmbeddingReport

FRACTIONS: Final = (0.90, 0.95, 0.99)
NOTE: Final = (
    "Intervals (95 %) are over groups of queries, for this database and these fitted codes; ties count as "
    "their average. Bits are those stored an item; queries are kept as they are, but where a line says "
    "Hamming. No system of any kind passes the converse, which is one and says nothing from as many bits on "
    "as name an item. The best of as few bits are marked by *."
)
_SIZES: Final = (1e6, 1e9)
_FAR: Final = 1.5
"""Measured bits by those of the twin from which on a better code is worth looking for."""
_MOVED: Final = 0.1
"""Calibration error of the MRR from which on a twin is not relied on."""
Rows = tuple[tuple[str, ...], list[tuple[str, ...]]]


def sentences(found: EmbeddingReport) -> list[str]:
    """Say in three sentences what was found, and then what to do."""
    mrr, plain = found.values("mrr"), found.reference
    said = [
        f"{len(found.group)} queries find their target among {found.database} items with an MRR of "
        f"{mrr[plain]:.3f} [{found.quality.lower[plain, 0]:.3f}, {found.quality.upper[plain, 0]:.3f}] "
        f"uncompressed ({found.lines[plain]}, {found.bits[plain]} bits per item)."
    ]
    line = found.line_for(0.95)
    if line is None:
        said.append("No code that was measured keeps 95 % of it.")
    else:
        said.append(
            f"{found.lines[line]} keeps {found.kept.value[line, 0]:.1%} of it at {found.bits[line]} "
            f"bits per item, {found.bits[plain] / found.bits[line]:.0f} times fewer."
        )
    proved, twin = found.bits_by_proof(0.95), _gaussian(found)
    limit = (
        f"Below {_floor(proved)} bits per item no system of any kind keeps 95 %, which is proved for all data"
        if proved > 0
        else "No number of bits is proved to be too few for 95 %"
    )
    if twin is not None:
        bits = twin.bits_for(0.95 * float(mrr[plain]))
        model = "more bits than were computed" if bits is None else f"{bits:.0f} bits"
        limit += f"; ideal codes of the {twin.name}, a model of these data, would need {model}"
    said.append(limit + ".")
    said.append(advice(found))
    return said


def advice(found: EmbeddingReport) -> str:
    """Say what to store."""
    line, twin, mrr = found.line_for(0.95), _gaussian(found), found.values("mrr")
    spaces = [i for i, kind in enumerate(found.kinds) if kind == "space"]
    best = max(spaces, key=lambda i: mrr[i])
    said = []
    if found.kept.lower[best, 0] > 1:
        said.append(
            f"Compare vectors in the space “{found.lines[best]}”: uncompressed it has an MRR of "
            f"{mrr[best]:.3f}."
        )
    if line is None:
        said.append("Keep the vectors, or rank the first candidates of a code again by them.")
        return " ".join(said)
    said.append(f"Store {found.bits[line]} bits per item by {found.lines[line]}.")
    needed = None if twin is None else twin.bits_for(0.95 * float(mrr[found.reference]))
    if needed is not None and twin is not None and not twin.refuted_by(found).size:
        ratio = found.bits[line] / needed
        if ratio > _FAR:
            said.append(f"Ideal codes of the Gaussian twin need {ratio:.1f} times fewer.")
        else:
            said.append("By the model, better codes would save little.")
    yours = [i for i, kind in enumerate(found.kinds) if kind == "yours"]
    for own in yours:
        as_few = [i for i in found.pareto() if found.bits[i] <= found.bits[own]]
        if as_few and mrr[as_few[-1]] > mrr[own]:
            other = as_few[-1]
            said.append(
                f"Yours ({found.lines[own]}, {found.bits[own]} bits, MRR {mrr[own]:.3f}) is below "
                f"{found.lines[other]} at {found.bits[other]} bits ({mrr[other]:.3f})."
            )
    return " ".join(said)


def report(found: EmbeddingReport) -> str:
    """Write all of the report but the figures."""
    header, *rows = system_rows(found)
    parts = [
        "# Codes for given embeddings\n",
        " ".join(sentences(found)) + "\n",
        setting(found) + "\n",
        "## Bits for a target\n",
        table(*target_rows(found)),
        *([model_words(found) + "\n"] if found.models is not None else []),
        *(line + "\n" for line in verdicts(found)),
    ]
    if found.models is not None and found.models.sizes is not None:
        parts += ["## Other databases\n", table(*size_rows(found))]
    parts += [
        "## Systems at equal bits\n",
        NOTE + "\n",
        table([name for name, _ in header], ([cell for cell, _ in row] for row in rows)),
        "## The limit of all systems\n",
        _limit(found),
        "## Bits by coordinate\n",
        "The transform code keeps so many canonical coordinates, each with its own number of bits.\n",
        table(*allocation_rows(found)),
        "## Diagnostics\n",
        table(
            ("quantity", "value"),
            ((MEANING[name], f"{value:.4g}") for name, value in found.diagnostics.items()),
        ),
    ]
    return "\n".join(parts)


def table(header: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    """Write a table of Markdown."""
    names = tuple(header)
    lines = [names, ("---",) * len(names), *rows]
    return "".join(f"| {' | '.join(map(str, line))} |\n" for line in lines)


def setting(found: EmbeddingReport) -> str:
    """Say how it was measured."""
    whole = ""
    if found.whole is not None:
        values = ", ".join(
            f"{name} {value:.4f}"
            for name, value in zip(METRICS, found.whole.quality.value, strict=True)
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
        f"{found.fitted} pairs ({found.split}), and never to what is ranked. Intervals "
        f"({found.confidence:.0%}) are over groups of queries, for this database and these codes.{left_out}"
        f"{copies}{whole}"
    )


def target_rows(found: EmbeddingReport) -> Rows:
    """Bits for each fraction: the best code, what models say, and what is proved."""
    twins = () if found.models is None else found.models.twins
    header = ["of the uncompressed MRR", "fewest bits that were measured to do"]
    for twin in twins:
        header.append(f"ideal codes of the {twin.name} (model)")
        if np.isfinite(twin.converse).any():
            header.append(f"any code of the {twin.name} (model)")
    header.append("any system on any data (proved)")

    def row(fraction: float) -> tuple[str, ...]:
        line, proved = found.line_for(fraction), found.bits_by_proof(fraction)
        wanted = fraction * float(found.values("mrr")[found.reference])
        cells = [
            f"{fraction:.0%}",
            "none measured" if line is None else f"{found.bits[line]}: {found.lines[line]}",
        ]
        for twin in twins:
            bits, least = twin.bits_for(wanted), twin.bits_by_converse(wanted)
            cells.append(f"over {twin.bits[-1]:.0f}" if bits is None else f"about {bits:.0f}")
            if np.isfinite(twin.converse).any():
                cells.append("nothing said" if least is None else f"more than {least:.0f}")
        cells.append(f"at least {_floor(proved)}" if proved > 0 else "nothing proved")
        return tuple(cells)

    return tuple(header), [row(fraction) for fraction in FRACTIONS]


def model_words(found: EmbeddingReport) -> str:
    """Say what the models are, and how well each met the data before it was calibrated."""
    models = found.models
    if models is None:
        return ""
    said = []
    for twin in models.twins:
        said.append(
            f"The {twin.name} takes the data for {twin.assumes}. Before calibration its MRR at unlimited "
            f"bits was {twin.error:+.3f} beside the {found.values('mrr')[models.calibrated_to]:.3f} of "
            f"{found.lines[models.calibrated_to]} ({found.bits[models.calibrated_to]} bits), to which it "
            "is calibrated, the best that was measured."
        )
    if models.twins and not any(np.isfinite(twin.converse).any() for twin in models.twins):
        said.append("Queries have several targets: the models' converses are of one, and left out.")
    return " ".join([*said, *models.missing])


def verdicts(found: EmbeddingReport) -> list[str]:
    """Say of each model whether the measured codes contradict it."""
    said = []
    for twin in () if found.models is None else found.models.twins:
        if abs(twin.error) > _MOVED:
            said.append(
                f"Calibration moved the {twin.name} far ({twin.error:+.3f}): its correlations are not those "
                "of the data, as happens where too few pairs were fitted for so many coordinates. Do not rely "
                "on its lines."
            )
        if not np.isfinite(twin.converse).any():
            continue
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
        else:
            said.append(
                f"No measured code contradicts the {twin.name}. Its converse still is true of the model, "
                "not of the data."
            )
    return said


def size_rows(found: EmbeddingReport) -> Rows:
    """MRR in this database and in larger ones."""
    models = found.models
    if models is None or models.sizes is None:
        return (), []
    sizes = models.sizes
    shown = [
        size
        for size in (found.database / 16, float(found.database), *_SIZES)
        if size in (found.database, found.database / 16) or size > found.database
    ]
    places = [int(np.abs(sizes.log2_size - math.log2(max(size, 16))).argmin()) for size in shown]
    header = (
        "system",
        "bits",
        *(f"{_items(2.0 ** sizes.log2_size[place])} items" for place in places),
        "predicted by",
    )

    def row(k: int) -> tuple[str, ...]:
        line = int(sizes.line[k])
        cells = []
        for place in places:
            value, low, high = (end[k, place] for end in (sizes.value, sizes.lower, sizes.upper))
            band = f" [{low:.3f}, {high:.3f}]" if low < high else ""
            cells.append(f"{value:.3f}{band}")
        return found.lines[line], str(found.bits[line]), *cells, str(sizes.method[k, -1])

    return header, [row(k) for k in range(len(sizes.line))]


def system_rows(found: EmbeddingReport) -> list[list[tuple[str, str]]]:
    """Rows of all systems by rising bits, a header first; with each cell the kind of its row."""
    header = (
        *("system", "space", "bits", "bytes", "entropy"),
        *METRICS,
        *("kept", "train s", "encode s", "search s"),
    )
    front = set(found.pareto().tolist())
    rows = [[(name, "") for name in header]]
    for line in np.lexsort((-found.values("mrr"), found.bits)).tolist():
        mean = found.quality
        metrics = [
            f"{mean.value[line, k]:.3f} [{mean.lower[line, k]:.3f}, {mean.upper[line, k]:.3f}]"
            if k == 0
            else f"{mean.value[line, k]:.3f}"
            for k in range(len(METRICS))
        ]
        entropy = found.code_bits[line]
        seconds = (found.train_seconds, found.encode_seconds, found.search_seconds)
        kind = "best" if line in front else found.kinds[line]
        cells = (
            found.lines[line] + (" *" if line in front else ""),
            found.spaces[line],
            str(found.bits[line]),
            f"{found.bits[line] / 8:g}",
            "" if math.isnan(entropy) else f"{entropy:.1f}",
            *metrics,
            f"{found.kept.value[line, 0]:.1%}",
            *(f"{part[line]:.2g}" for part in seconds),
        )
        rows.append([(cell, kind) for cell in cells])
    return rows


def allocation_rows(found: EmbeddingReport) -> Rows:
    """Coordinates kept at each number of bits, and bits of each."""

    def row(bits: int, dealt: np.ndarray) -> tuple[str, ...]:
        used = np.flatnonzero(dealt)
        counts = ", ".join(
            f"{int((dealt == b).sum())} of {b}" for b in sorted(set(dealt[used]), reverse=True)
        )
        return str(bits), str(len(used)), counts

    rows = [
        row(int(b), dealt)
        for b, dealt in zip(found.converse_bits, found.allocation, strict=True)
        if dealt.sum() >= b
    ]
    return ("bits", "coordinates", "with bits each"), rows


def _limit(found: EmbeddingReport) -> str:
    said = (
        "At so many bits per item no system of any kind ranks better, whatever the data (C4). From "
        f"{found.log2_groups:.2f} bits for a query's group on, so many bits can name it, and no bound that "
        "holds for all data exists.\n\n"
    )
    rows = (
        (bits, *("" if math.isnan(value) else f"{value:.4f}" for value in bound))
        for bits, bound in zip(found.converse_bits, found.converse, strict=True)
    )
    return said + table(("bits", *METRICS), rows)


def _gaussian(found: EmbeddingReport) -> Twin | None:
    """Return the twin that sentences speak of: none that calibration had to move far."""
    twin = None if found.models is None else found.models.twin(GAUSSIAN)
    return None if twin is None or abs(twin.error) > _MOVED else twin


def _floor(bits: float) -> str:
    """Write a proved number of bits, rounded down."""
    return f"{math.floor(bits * 100) / 100:.2f}"


def _items(size: float) -> str:
    return f"{size:,.0f}"
