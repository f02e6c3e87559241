"""Writes the gallery: every figure with its claims and numbers, the ledger and the explorer.

The page is a pure function of saved results, the ledger and the names of the tests. It opens from
disk and asks for nothing from a network: style and script are inside, and the pictures lie beside
it. The documentation shows the same page: what stands between `BEGIN` and `END`.
"""

import base64
import importlib
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import xarray

from experiments.runner import drawing
from experiments.runner.claims import STATEMENTS, guards, order
from experiments.runner.discovery import Preset, Study
from experiments.runner.ledger import NOT_KNOWN, Ledger, Row
from experiments.runner.markup import Markup, joined, tag
from rdsim import files

EXPLORER: Final = "explorer"
"""The study whose curves the page lets a reader choose from."""

BEGIN, END = Markup("<!-- gallery -->"), Markup("<!-- end of gallery -->")
"""What stands before and after the part of the page that the documentation shows."""

STYLE: Final = Path(__file__).with_name("gallery.css")
SCRIPT: Final = Path(__file__).with_name("gallery.js")

_EXPLAINED: Final = """Items of n letters are stored at R bits per letter; a query finds its target
among M. No system has a smaller expected loss than the least D with
<span class="formula">R<sub>ρ</sub>(D; M) ≤ n IB(R)</span>, where R<sub>ρ</sub> is the rank-distortion
function and IB the information bottleneck (<a href="#C4">C4</a>). For the loss and the size that
the figure draws two more converses were computed, for Gaussian pairs (<a href="#C27">C27</a>) and for items of one letter (<a href="#C26">C26</a>): D* is the largest of them,
and the answer names the one that gives it. Lines join saved values; the chosen
point is one of them, with its certificate."""
_WITHOUT_SCRIPTS: Final = """The explorer needs scripts. Without them, the figure of the study
<a href="#figure-explorer">explorer</a> draws some of the same curves, and its CSV file holds all of
their numbers."""
_COLUMNS: Final = [
    "claim",
    "what was checked",
    "how",
    "measured",
    "expected",
    "wanted",
    "verdict",
    "study",
    "result",
    "tests",
]
"""Columns of the ledger."""
_HEAD: Final = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>rdsim: figures and claims</title>"""

Entries = Sequence[tuple[Study, xarray.Dataset]]


def path(output: Path, preset: Preset) -> Path:
    """Return where the page of a preset is: quick's above its figures, another's beside them."""
    parent = output.parent if preset == "quick" else drawing.folder(output, preset)
    return parent / "index.html"


def write(
    entries: Entries, found: Ledger, output: Path, preset: Preset, tests: Path = Path("tests")
) -> Path:
    """Write the page of these figures and this ledger, and return its path."""
    page = path(output, preset)
    shown = os.path.relpath(drawing.folder(output, preset), page.parent)
    folder = "" if shown == "." else f"{Path(shown).as_posix()}/"
    inside = (
        _opening(entries, found, preset),
        _explorer(entries),
        _claims(entries, found, folder, guards(tests)),
        _ledger(found, {study.name for study, _ in entries}),
        tag(
            "dialog",
            tag("form", tag("button", "close"), method="dialog"),
            tag("div"),
            id="enlarged",
            aria_label="enlarged figure",
        ),
    )
    content = [
        Markup(_HEAD),
        tag("style", Markup(STYLE.read_text(encoding="utf-8"))),
        Markup('</head>\n<body class="alone">\n<h1>rdsim: figures and claims</h1>'),
        BEGIN,
        tag("div", inside, class_="gallery"),
        END,
        tag("script", Markup(SCRIPT.read_text(encoding="utf-8"))),
        Markup("</body>\n</html>\n"),
    ]
    files.write(page, joined(content).encode())
    return page


def _opening(entries: Entries, found: Ledger, preset: Preset) -> Markup:
    """Count the figures and the checks, name what is open, and link to every part of the page."""
    named = [
        tag(
            "li",
            tag("a", study.name, href=f"#figure-{study.name}"),
            f": {study.title.rstrip('.')} ({', '.join(study.claims)})",
        )
        for study, _ in entries
    ]
    wrong = [tag("li", problem) for problem in found.problems]
    open_ = tag("summary", f"{len(wrong)} open")
    problems = tag("details", open_, tag("ul", wrong), class_="problems", open=True)
    summary = f"{len(entries)} figures of the {preset} preset. {found.counted()}. "
    return tag(
        "header",
        tag("p", summary, "Every number here is read from a saved result."),
        problems if wrong else (),
        tag("nav", _links(entries, found), aria_label="claims"),
        tag(
            "details", tag("summary", "Every figure by its name"), tag("ul", named), class_="names"
        ),
    )


def _links(entries: Entries, found: Ledger) -> Iterator[Markup]:
    if any(study.name == EXPLORER for study, _ in entries):
        yield tag("a", "explorer", href="#explorer")
    yield tag("a", "ledger", href="#ledger")
    for claim in _numbers(entries):
        verdict = found.verdict(claim)
        title = f"{STATEMENTS.get(claim, '')} ({verdict})"
        yield tag("a", claim, href=f"#{claim}", class_=_word(verdict), title=title)


def _numbers(entries: Entries) -> list[str]:
    """List every claim there is, and those only a study names, by number."""
    named = {claim for _, dataset in entries for claim in dataset.attrs["claims"].split(",")}
    return sorted(named | set(STATEMENTS), key=order)


def _claims(
    entries: Entries, found: Ledger, folder: str, guarded: dict[str, list[str]]
) -> Iterator[Markup]:
    """Lay out every claim with its figures; a figure of several claims is shown with the first."""
    shown: set[str] = set()
    for claim in _numbers(entries):
        verdict = found.verdict(claim)
        inside = [
            tag(
                "h2",
                (claim, " ", tag("span", verdict, class_=f"verdict {_word(verdict)}")),
                id=f"{claim}-title",
            ),
            tag("p", STATEMENTS.get(claim, ""), class_="statement"),
            _tests(guarded.get(claim, []) if guarded else None),
        ]
        for study, dataset in entries:
            if claim not in dataset.attrs["claims"].split(","):
                continue
            if study.name in shown:
                inside.append(tag("p", "See ", tag("a", study.title, href=f"#figure-{study.name}")))
                continue
            shown.add(study.name)
            inside.append(_figure(study, dataset, found, folder))
        yield tag("section", inside, class_="claim", id=claim, aria_labelledby=f"{claim}-title")


def _figure(study: Study, dataset: xarray.Dataset, found: Ledger, folder: str) -> Markup:
    """Show one figure with its caption, files, claims, checks, configuration and commands."""
    name, attributes = study.name, dataset.attrs
    preset, beside = attributes["preset"], f"{folder}{name}"
    caption = importlib.import_module(f"{drawing.PACKAGE}.{name}").CAPTION
    image = tag("img", src=f"{beside}.png", alt=caption)
    statements = [
        (tag("dt", tag("a", claim, href=f"#{claim}")), tag("dd", STATEMENTS.get(claim, "")))
        for claim in attributes["claims"].split(",")
    ]
    origin = {
        "seed": str(attributes["seed"]),
        "data hash": attributes["data_hash"],
        "configuration hash": attributes["config_hash"],
        "code hash": attributes["code_hash"],
        **json.loads(attributes["versions_json"]),
    }
    seed = "" if attributes["seed"] == 0 else f" --seed {int(attributes['seed'])}"
    size = "" if preset == "quick" else f" --preset {preset}"
    command = f"rdsim run {name}{size}{seed}\nrdsim draw {name}{size}"
    return tag(
        "article",
        tag("h3", study.title, id=f"figure-{name}-title"),
        tag(
            "figure",
            tag("a", image, class_="enlarge", href=f"{beside}.png", aria_label=f"enlarge {name}"),
            tag("figcaption", caption),
        ),
        tag(
            "p",
            (tag("a", "PDF", href=f"{beside}.pdf"), " "),
            (tag("a", "numbers (CSV)", href=f"{beside}.csv"), " "),
            tag("span", "study ", tag("code", f"{study.file.parent.name}/{study.file.name}")),
            class_="files",
        ),
        tag("h4", "Claims and measured numbers"),
        tag("dl", statements, class_="claims"),
        _checks([row for row in found.rows if row.study == name]),
        tag(
            "details",
            tag("summary", "Configuration, origin and commands"),
            _facts("configuration", json.loads(attributes["config_json"])),
            _facts("origin", origin),
            tag("pre", command, class_="command"),
        ),
        class_="figure",
        id=f"figure-{name}",
        aria_labelledby=f"figure-{name}-title",
    )


def _checks(rows: Sequence[Row]) -> Markup:
    lines = [
        tag(
            "tr",
            (tag("td", row.claim), tag("td", row.statement), tag("td", row.method)),
            (_number(row.measured), tag("td", row.wanted)),
            tag("td", row.verdict, class_=_word(row.verdict)),
        )
        for row in rows
    ]
    headings = ("claim", "what was checked", "how", "measured", "wanted", "verdict")
    return tag("div", _table(headings, lines, class_="checks"), class_="scroll")


def _ledger(found: Ledger, drawn: set[str]) -> Markup:
    """Lay out every check of every claim in one table, which the script sorts and filters."""
    options = [tag("option", "any", value="")]
    options += [tag("option", word) for word in dict.fromkeys(row.verdict for row in found.rows)]
    filters = tag(
        "form",
        tag("label", "show rows with ", tag("input", type="search", id="ledger-words")),
        tag("label", "verdict ", tag("select", options, id="ledger-verdict")),
        tag("output", id="ledger-count"),
        class_="filters",
        role="search",
        hidden=True,  # until the script is at work
    )
    rows = [_row(row, drawn) for row in found.rows]
    table = _table(_COLUMNS, rows, class_="sortable", id="ledger-table")
    scroll = {"class_": "scroll", "tabindex": "0", "role": "region"}
    return tag(
        "section",
        tag("h2", "Ledger", id="ledger-title"),
        tag("p", "Every check of every claim. With scripts on, a heading sorts by its column."),
        filters,
        tag("div", table, aria_label="ledger of claims", **scroll),
        id="ledger",
        aria_labelledby="ledger-title",
    )


def _row(row: Row, drawn: set[str]) -> Markup:
    place, letter = order(row.claim)
    drawn_in = tag("a", row.study, href=f"#figure-{row.study}") if row.study in drawn else row.study
    # A cell without a value stays last in either order.
    tests = "" if row.tests is None else str(row.tests)
    return tag(
        "tr",
        tag(
            "td",
            tag("a", row.claim, href=f"#{row.claim}"),
            data_value=str(place + bool(letter) / 2),
        ),
        (tag("td", row.statement), tag("td", row.method)),
        (_number(row.measured), _number(row.expected), tag("td", row.wanted)),
        tag("td", row.verdict, class_=_word(row.verdict)),
        (tag("td", drawn_in), tag("td", row.result)),
        tag("td", tests or NOT_KNOWN, data_value=tests),
        data_verdict=row.verdict,
    )


def _tests(names: list[str] | None) -> Markup:
    if names is None:
        return tag("p", "Which tests guard it is not known outside a checkout.")
    return tag(
        "details",
        tag("summary", f"tests that guard it: {len(names)}"),
        tag("ul", [tag("li", tag("code", name)) for name in names], class_="tests"),
    )


def _table(headings: Iterable[str], rows: Iterable[Markup], **attributes: str) -> Markup:
    head = tag("tr", [tag("th", heading, scope="col") for heading in headings])
    return tag("table", tag("thead", head), tag("tbody", list(rows)), **attributes)


def _facts(title: str, content: dict[str, Any]) -> Markup:
    rows = [
        tag(
            "tr",
            tag("th", key, scope="row"),
            tag("td", value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)),
        )
        for key, value in content.items()
    ]
    return tag("table", tag("caption", title), tag("tbody", rows), class_="facts")


def _number(value: float | None) -> Markup:
    """Show six digits; the cell's title holds all of them, and they sort it."""
    if value is None:
        return tag("td", class_="number")
    exact = repr(value)
    return tag("td", f"{value:.6g}", class_="number", data_value=exact, title=exact)


def _word(verdict: str) -> str:
    return verdict.partition(" ")[0]


def _explorer(entries: Entries) -> Iterator[Markup]:
    """Give the script the saved arrays of the explorer, bit by bit; it builds all that one chooses."""
    dataset = next((dataset for study, dataset in entries if study.name == EXPLORER), None)
    if dataset is None or "best_loss" not in dataset:
        return
    dims = dict.fromkeys(dim for array in dataset.data_vars.values() for dim in array.dims)
    content = {
        "labels": {str(name): dataset[name].values.tolist() for name in dims},
        "code_length": int(dataset.attrs["code_length"]),
        "drawn_loss": str(dataset.attrs["drawn_loss"]),
        "drawn_log2_size": int(dataset.attrs["drawn_log2_size"]),
        "arrays": {str(name): _bits(array) for name, array in dataset.data_vars.items()},
    }
    saved = json.dumps(content, ensure_ascii=False, sort_keys=True).replace("<", "\\u003c")
    yield tag(
        "section",
        tag("h2", "Frontier explorer", id="explorer-title"),
        tag("p", Markup(_EXPLAINED)),
        tag("noscript", tag("p", Markup(_WITHOUT_SCRIPTS))),
        tag("div", id="explorer-live"),
        tag("script", Markup(saved), type="application/json", id="explorer-data"),
        id="explorer",
        aria_labelledby="explorer-title",
    )


def _bits(array: xarray.DataArray) -> dict[str, Any]:
    content = np.ascontiguousarray(array.values, "<f8").tobytes()
    return {"dims": list(map(str, array.dims)), "base64": base64.b64encode(content).decode()}
