"""The report as one page of HTML: no script, nothing loaded from elsewhere, figures drawn inside it."""

import html
import io
import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from rdsim.embeddings.diagnostics import MEANING
from rdsim.embeddings.report.rows import allocation_rows, size_rows, system_rows, target_rows
from rdsim.embeddings.report.words import (
    NOTE,
    SIZES,
    allocation_words,
    cautions,
    model_words,
    proved_words,
    sentences,
    setting,
    verdicts,
)
from rdsim.embeddings.result import EmbeddingReport

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_STYLE: Final = """
:root { color-scheme: light; }
body { font: 16px/1.5 "DejaVu Sans", Verdana, sans-serif; color: #111; background: #fff;
  margin: 0 auto; max-width: 76rem; padding: 1rem; }
h1 { font-size: 1.5rem; margin: .2em 0 .5em; } h2 { font-size: 1.15rem; margin: 1.8em 0 .5em; }
.said { font-size: 1.05rem; border-left: 4px solid #0072B2; padding: .2em 0 .2em .9em; max-width: 62rem; }
.said p { margin: .45em 0; }
.advice { font-weight: bold; }
p, li { max-width: 62rem; } .small { font-size: .85rem; color: #444; }
.figures { display: grid; grid-template-columns: repeat(2, minmax(0, 1fr)); gap: 1.2rem; align-items: start; }
figure { margin: 0; } figure svg { width: 100%; height: auto; display: block; }
figcaption { font-size: .85rem; color: #333; }
.wide { overflow-x: auto; } table { border-collapse: collapse; font-size: .75rem; }
th, td { padding: .25em .4em; text-align: right; border-bottom: 1px solid #ccc; white-space: nowrap; }
th { border-bottom: 2px solid #333; vertical-align: bottom; } .words td, .words th { white-space: normal; min-width: 5.2em; }
th:first-child, td:first-child { text-align: left; position: sticky; left: 0; background: #fff; } tr.best td { font-weight: bold; background: #f0f0f0; }
tr.best td:first-child { background: #f0f0f0; } tr.space td { font-style: italic; }
@media (max-width: 760px) { body { padding: .7rem; } .figures { grid-template-columns: minmax(0, 1fr); }
  h1 { font-size: 1.25rem; } th, td { padding: .22em .4em; } .words td { font-size: .8rem; }
  .many, .many tbody, .many tr { display: block; } .many thead { display: none; }
  .many tr { border-top: 2px solid #333; padding: .3em 0; }
  .many td { display: flex; justify-content: space-between; gap: 1em; border: 0; }
  .many td::before { content: attr(data-name); text-align: left; color: #444; }
  .many td:first-child { position: static; font-weight: bold; text-align: right; } }
@media print { .wide { overflow: visible; } }
"""

_FEW_COLUMNS: Final = 3


def page(found: EmbeddingReport) -> str:
    """Write the whole page."""
    *findings, last = sentences(found)
    said = "".join(f"<p>{_text(one)}</p>" for one in findings)
    advice = f'<p class="advice">{_text(last)}</p>'
    header, *rows = system_rows(found)
    judged = "".join(f"<p>{_text(line)}</p>" for line in verdicts(found))
    parts = [
        "<h1>How many bits do these embeddings need?</h1>",
        f'<div class="said">{said}{advice}</div>',
        "".join(f"<p>{_text(one)}</p>" for one in cautions(found)),
        _figures(found),
        "<h2>Bits for a target</h2>",
        _table(*target_rows(found), words=True),
        f'<p class="small">{_text(proved_words(found))}</p>',
        f"<p>{_text(model_words(found))}</p>" if found.models is not None else "",
        judged,
        _sizes(found),
        "<h2>Systems at equal bits</h2>",
        f'<p class="small">{_text(NOTE)}</p>',
        _table(
            [name for name, _ in header],
            [[cell for cell, _ in row] for row in rows],
            classes=[kind for *_, (_, kind) in rows],
        ),
        "<h2>Bits by coordinate</h2>",
        f"<p>{_text(allocation_words(found))}</p>",
        _table(*allocation_rows(found), words=True),
        "<h2>Diagnostics</h2>",
        _table(
            ("quantity", "value"),
            [(MEANING[name], f"{value:.4g}") for name, value in found.diagnostics.items()],
            words=True,
        ),
        f'<p class="small">{_text(setting(found))}</p>',
    ]
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>Bits for given embeddings</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n"
        + "\n".join(part for part in parts if part)
        + "\n</body>\n</html>\n"
    )


def _sizes(found: EmbeddingReport) -> str:
    if found.models is None or found.models.sizes is None:
        return ""
    return f"<h2>Other databases</h2><p>{_text(SIZES)}</p>" + _table(*size_rows(found), words=True)


def _text(words: str) -> str:
    return html.escape(words, quote=False)


def _table(
    header: Iterable[str],
    rows: Iterable[Iterable[object]],
    *,
    classes: list[str] | None = None,
    words: bool = False,
) -> str:
    names = tuple(header)
    # A phone shows a row of many columns of words as a list, each cell beside the name of its column.
    many = words and len(names) > _FEW_COLUMNS
    head = "".join(f"<th>{_text(name)}</th>" for name in names)
    body = []
    for number, row in enumerate(rows):
        kind = f' class="{classes[number]}"' if classes and classes[number] else ""
        cells = "".join(
            f'<td data-name="{html.escape(name)}">{_text(str(cell))}</td>'
            if many
            else f"<td>{_text(str(cell))}</td>"
            for name, cell in zip(names, row, strict=True)
        )
        body.append(f"<tr{kind}>{cells}</tr>")
    kind = f' class="words{" many" if many else ""}"' if words else ""
    return (
        f'<div class="wide"><table{kind}><thead><tr>{head}</tr></thead>'
        f"<tbody>{''.join(body)}</tbody></table></div>"
    )


def _figures(found: EmbeddingReport) -> str:
    from rdsim.plotting import gap, gap_models, style  # optional: an extra brings it

    dataset = found.to_xarray()
    drawn = []
    with style.applied():
        bits = (
            "Shaded: proved to be out of reach on any data; dark, of any system (claim C4 of rdsim), light, of any code of one "
            "codebook, as all markers but the star are. Markers: codes that were "
            "measured, with intervals; grey: the best of them; horizontal lines: shares of the uncompressed MRR."
        )
        if found.models is not None and found.models.twins:
            bits += (
                " Dash-dotted: ideal codes of a model, which describe many items together; dotted: what no code of one "
                "codebook has in that model, at few bits less than those. Both are true of the models only."
            )
        drawn.append((gap.draw_one(dataset, "mrr", "MRR"), "Quality against bits.", bits))
        if found.models is not None and found.models.sizes is not None:
            drawn.append(
                (
                    gap_models.sizes(dataset),
                    "Quality against the size of the database.",
                    "Solid: exact averages over subsets. Dashed, with bands: predicted from the ranks of these "
                    "queries. Dotted, with open markers: ideal codes of as many bits in the Gaussian twin.",
                )
            )
        drawn.append(
            (
                gap.draw_one(dataset, "recall@10", "recall@10"),
                "Recall@10 against bits.",
                "As above.",
            )
        )
        if found.allocation.any():
            drawn.append(
                (
                    gap_models.coordinates(dataset),
                    "Correlations and bits by coordinate.",
                    "Above: correlation of query and item in each coordinate. Below: bits that the transform code gives it.",
                )
            )
        pictures = [
            f'<figure role="img" aria-label="{html.escape(title)}">{_svg(figure, str(number))}'
            f"<figcaption><b>{_text(title)}</b> {_text(words)}</figcaption></figure>"
            for number, (figure, title, words) in enumerate(drawn)
        ]
    return f'<div class="figures">{"".join(pictures)}</div>'


def _svg(figure: "Figure", salt: str) -> str:
    """Draw a figure as SVG inside HTML: letters stay letters, names of parts differ between figures."""
    import matplotlib as mpl  # optional: an extra brings it

    stream = io.StringIO()
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": salt}):
        figure.savefig(stream, format="svg", metadata={"Date": None, "Creator": None})
    text = stream.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    # HTML knows the namespaces of SVG; an address in the page would look like something to load.
    text = re.sub(r' xmlns(:\w+)?="[^"]*"', "", text)
    text = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", text, count=1)
    text = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", text, count=1)
    # Ids such as figure_1 are the same in all figures; those that are referred to are hashes.
    text = re.sub(r'(<g) id="[^"]*"', r"\1", text)
    return re.sub(r">\s+<", "><", text)
