"""Writes the gallery: one page that opens from disk, with every figure, the ledger and an explorer.

The page is a pure function of saved results, the ledger and the names of the tests. It asks for
nothing from a network: style and script are inside, pictures lie beside it.
"""

import base64
import importlib
import json
import os
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
import xarray

from experiments.runner import drawing
from experiments.runner.claims import STATEMENTS, guards, order
from experiments.runner.discovery import Preset, Study
from experiments.runner.ledger import NOT_KNOWN, Ledger, Row
from rdsim import files

EXPLORER = "explorer"
"""The study whose curves the page lets one choose from."""

_HERE = Path(__file__).parent
_RAISED = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")


def path(output: Path, preset: Preset) -> Path:
    """Return where the page of a preset is: quick's above its figures, another's beside them."""
    parent = output.parent if preset == "quick" else drawing.folder(output, preset)
    return parent / "index.html"


def write(
    entries: Sequence[tuple[Study, xarray.Dataset]],
    found: Ledger,
    output: Path,
    preset: Preset,
    tests: Path = Path("tests"),
) -> Path:
    """Write the page of these figures and this ledger, and return its path."""
    page = path(output, preset)
    shown = os.path.relpath(drawing.folder(output, preset), page.parent)
    folder = "" if shown == "." else f"{Path(shown).as_posix()}/"
    guarded = guards(tests)
    content = "\n".join(
        [
            "<!DOCTYPE html>",
            '<html lang="en">',
            "<head>",
            '<meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            "<title>rdsim: figures and claims</title>",
            f"<style>\n{(_HERE / 'gallery.css').read_text(encoding='utf-8')}</style>",
            "</head>",
            "<body>",
            *_opening(entries, found, preset),
            "<main>",
            *_explorer(entries),
            *_claims(entries, found, folder, guarded),
            *_ledger(found, {study.name for study, _ in entries}),
            "</main>",
            '<dialog id="enlarged" aria-label="enlarged figure"><form method="dialog">'
            "<button>close</button></form><div></div></dialog>",
            f"<script>\n{(_HERE / 'gallery.js').read_text(encoding='utf-8')}</script>",
            "</body>",
            "</html>",
            "",
        ]
    )
    files.write(page, content.encode())
    return page


def _opening(
    entries: Sequence[tuple[Study, xarray.Dataset]], found: Ledger, preset: Preset
) -> Iterable[str]:
    verdicts = [row.verdict for row in found.rows]
    waiting = verdicts.count("no result yet")
    wait = f", {waiting} wait for a result" if waiting else ""
    yield "<header>"
    yield "<h1>rdsim: figures and claims</h1>"
    yield (
        f"<p>{len(entries)} figures of the {escape(preset)} preset. Of {len(verdicts) - waiting} "
        f"checks {verdicts.count('holds')} hold{wait}. "
        "Every number here is read from a saved result.</p>"
    )
    if found.problems:
        yield f"<details class='problems' open><summary>{len(found.problems)} open</summary><ul>"
        yield from (f"<li>{escape(problem)}</li>" for problem in found.problems)
        yield "</ul></details>"
    yield '<nav aria-label="claims">'
    if any(study.name == EXPLORER for study, _ in entries):
        yield '<a href="#explorer">explorer</a>'
    yield '<a href="#ledger">ledger</a>'
    for claim in _numbers(entries):
        verdict = _verdict(row for row in found.rows if row.claim == claim)
        title = escape(f"{STATEMENTS.get(claim, '')} ({verdict})")
        named = escape(claim)
        yield f'<a href="#{named}" class="{_word(verdict)}" title="{title}">{named}</a>'
    yield "</nav>"
    yield '<details class="names"><summary>Every figure by its name</summary><ul>'
    for study, _ in entries:
        yield (
            f'<li><a href="#figure-{study.name}">{study.name}</a>: {escape(study.title.rstrip("."))} '
            f"({escape(', '.join(study.claims))})</li>"
        )
    yield "</ul></details>"
    yield "</header>"


def _numbers(entries: Sequence[tuple[Study, xarray.Dataset]]) -> list[str]:
    """List every claim there is, and those only a study names, by number."""
    named = {claim for _, dataset in entries for claim in dataset.attrs["claims"].split(",")}
    return sorted(named | set(STATEMENTS), key=order)


def _claims(
    entries: Sequence[tuple[Study, xarray.Dataset]],
    found: Ledger,
    folder: str,
    guarded: dict[str, list[str]],
) -> Iterable[str]:
    """Lay out every claim with its figures; a figure of several claims is shown with the first."""
    shown: set[str] = set()
    for claim in _numbers(entries):
        rows = [row for row in found.rows if row.claim == claim]
        verdict = _verdict(rows)
        named = escape(claim)
        yield f'<section class="claim" id="{named}" aria-labelledby="{named}-title">'
        yield (
            f'<h2 id="{named}-title">{named} '
            f'<span class="verdict {_word(verdict)}">{verdict}</span></h2>'
        )
        yield f'<p class="statement">{escape(STATEMENTS.get(claim, ""))}</p>'
        yield from _tests(guarded.get(claim, []) if guarded else None)
        for study, dataset in entries:
            if claim not in dataset.attrs["claims"].split(","):
                continue
            if study.name in shown:
                yield (f'<p>See <a href="#figure-{study.name}">{escape(study.title)}</a></p>')
                continue
            shown.add(study.name)
            yield from _figure(study, dataset, found, folder)
        yield "</section>"


def _figure(study: Study, dataset: xarray.Dataset, found: Ledger, folder: str) -> Iterable[str]:
    name, attributes = study.name, dataset.attrs
    preset = attributes["preset"]
    caption = importlib.import_module(f"{drawing.PACKAGE}.{name}").CAPTION
    rows = [row for row in found.rows if row.study == name]
    source = f"{study.file.parent.name}/{study.file.name}"
    yield f'<article class="figure" id="figure-{name}" aria-labelledby="figure-{name}-title">'
    yield f'<h3 id="figure-{name}-title">{escape(study.title)}</h3>'
    yield "<figure>"
    yield (
        f'<button class="enlarge" type="button" aria-label="enlarge {escape(name)}">'
        f'<img src="{folder}{name}.png" alt="{escape(caption)}"></button>'
    )
    yield f"<figcaption>{escape(caption)}</figcaption>"
    yield "</figure>"
    yield (
        f'<p class="files"><a href="{folder}{name}.pdf">PDF</a> '
        f'<a href="{folder}{name}.csv">numbers (CSV)</a> '
        f"<span>study <code>{escape(source)}</code></span></p>"
    )
    yield "<h4>Claims and measured numbers</h4>"
    yield '<dl class="claims">'
    for claim in attributes["claims"].split(","):
        named = escape(claim)
        yield f'<dt><a href="#{named}">{named}</a></dt><dd>{escape(STATEMENTS.get(claim, ""))}</dd>'
    yield "</dl>"
    yield from _checks(rows)
    yield "<details><summary>Configuration and origin</summary>"
    yield from _table("configuration", json.loads(attributes["config_json"]))
    yield from _table(
        "origin",
        {
            "seed": str(attributes["seed"]),
            "data hash": attributes["data_hash"],
            "configuration hash": attributes["config_hash"],
            "code hash": attributes["code_hash"],
            **json.loads(attributes["versions_json"]),
        },
    )
    yield "</details>"
    seed = "" if attributes["seed"] == 0 else f" --seed {int(attributes['seed'])}"
    size = "" if preset == "quick" else f" --preset {escape(preset)}"
    yield "<h4>Made by</h4>"
    yield (
        f'<pre class="command">python -m experiments run {name}{size}{seed}\n'
        f"python -m experiments draw {name}{size}</pre>"
    )
    yield "</article>"


def _checks(rows: Sequence[Row]) -> Iterable[str]:
    yield '<div class="scroll"><table class="checks"><thead><tr>'
    for heading in ("claim", "checked", "how", "measured", "wanted", "verdict"):
        yield f'<th scope="col">{heading}</th>'
    yield "</tr></thead><tbody>"
    for row in rows:
        yield (
            f"<tr><td>{escape(row.claim)}</td><td>{escape(row.statement)}</td>"
            f"<td>{escape(row.method)}</td>"
            f"{_number(row.measured)}<td>{escape(row.wanted)}</td>"
            f'<td class="{_word(row.verdict)}">{escape(row.verdict)}</td></tr>'
        )
    yield "</tbody></table></div>"


def _ledger(found: Ledger, drawn: set[str]) -> Iterable[str]:
    yield '<section id="ledger" aria-labelledby="ledger-title">'
    yield '<h2 id="ledger-title">Ledger</h2>'
    yield (
        "<p>Every check of every claim. A heading sorts by its column, once more turns it "
        "round.</p>"
    )
    yield '<form class="filters" role="search">'
    yield '<label>show rows with <input type="search" id="ledger-words"></label>'
    yield '<label>verdict <select id="ledger-verdict"><option value="">any</option>'
    for verdict in dict.fromkeys(row.verdict for row in found.rows):
        yield f"<option>{escape(verdict)}</option>"
    yield '</select></label> <output id="ledger-count"></output></form>'
    yield '<div class="scroll" tabindex="0" role="region" aria-label="ledger of claims">'
    yield '<table class="sortable" id="ledger-table"><thead><tr>'
    headings = (
        *("claim", "checked", "how", "measured", "expected", "wanted"),
        *("verdict", "study", "result", "tests"),
    )
    for heading in headings:
        yield f'<th scope="col" aria-sort="none"><button type="button">{heading}</button></th>'
    yield "</tr></thead><tbody>"
    for row in found.rows:
        place, letter = order(row.claim)
        claim, study = escape(row.claim), escape(row.study)
        if row.study in drawn:
            study = f'<a href="#figure-{study}">{study}</a>'
        yield (
            f'<tr data-verdict="{escape(row.verdict)}">'
            f'<td data-value="{place + bool(letter) / 2}"><a href="#{claim}">{claim}</a></td>'
            f"<td>{escape(row.statement)}</td><td>{escape(row.method)}</td>"
            f"{_number(row.measured)}{_number(row.expected)}<td>{escape(row.wanted)}</td>"
            f'<td class="{_word(row.verdict)}">{escape(row.verdict)}</td><td>{study}</td>'
            f"<td>{escape(row.result)}</td>{_count(row.tests)}</tr>"
        )
    yield "</tbody></table></div></section>"


def _tests(names: list[str] | None) -> Iterable[str]:
    if names is None:
        yield "<p>Which tests guard it is not known outside a checkout.</p>"
        return
    yield f"<details><summary>{len(names)} tests guard it</summary><ul class='tests'>"
    yield from (f"<li><code>{escape(name)}</code></li>" for name in names)
    yield "</ul></details>"


def _table(title: str, content: dict[str, Any]) -> Iterable[str]:
    yield f'<table class="facts"><caption>{title}</caption><tbody>'
    for key, value in content.items():
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        yield f'<tr><th scope="row">{escape(key)}</th><td>{escape(text)}</td></tr>'
    yield "</tbody></table>"


def _number(value: float | None) -> str:
    """Show six digits; the integer is in the cell's title, and sorts it."""
    if value is None:
        return '<td class="number"></td>'
    return f'<td class="number" data-value="{value!r}" title="{value!r}">{value:.6g}</td>'


def _count(tests: int | None) -> str:
    # Without a value a row stays last in either order.
    if tests is None:
        return f'<td data-value="">{NOT_KNOWN}</td>'
    return f'<td data-value="{tests}">{tests}</td>'


def _verdict(rows: Iterable[Row]) -> str:
    verdicts = {row.verdict for row in rows}
    if "fails" in verdicts:
        return "fails"
    return "holds" if "holds" in verdicts else "no result yet"


def _word(verdict: str) -> str:
    return escape(verdict.partition(" ")[0])


def _explorer(entries: Sequence[tuple[Study, xarray.Dataset]]) -> Iterable[str]:
    """Give the page the saved arrays of the explorer, bit by bit, and what to choose from."""
    dataset = next((dataset for study, dataset in entries if study.name == EXPLORER), None)
    if dataset is None or "best_loss" not in dataset:
        return
    labels = {
        name: dataset[name].values.tolist()
        for name in (*dataset.best_loss.dims, *dataset.code_loss.dims)
    }
    content = {
        "labels": labels,
        "code_length": int(dataset.attrs["code_length"]),
        "arrays": {
            str(name): {
                "dims": list(map(str, variable.dims)),
                "base64": base64.b64encode(
                    np.ascontiguousarray(variable.values, "<f8").tobytes()
                ).decode(),
            }
            for name, variable in dataset.data_vars.items()
        },
    }
    yield '<section id="explorer" aria-labelledby="explorer-title">'
    yield '<h2 id="explorer-title">Frontier explorer</h2>'
    yield (
        "<p>Items of n letters are stored at R bits a letter; a query finds its target among M. "
        "No system has a smaller expected loss than D*, the least D with "
        "<span class='formula'>R<sub>ρ</sub>(D; M) ≤ n IB(R)</span>, where R<sub>ρ</sub> is the "
        'rank-distortion function and IB the information bottleneck (<a href="#C4">C4</a>). '
        "Lines join saved values; the chosen point is one of them, with its certificate.</p>"
    )
    yield '<form class="choices">'
    for key, label, shown in (
        ("source", "source", [str(name) for name in labels["source"]]),
        ("loss_name", "loss", [str(name).replace("_", " ") for name in labels["loss_name"]]),
        ("log2_size", "items M", [f"2{str(k).translate(_RAISED)}" for k in labels["log2_size"]]),
        ("block_length", "letters n", [str(n) for n in labels["block_length"]]),
    ):
        yield f'<label>{label} <select id="choose-{key}">'
        yield from (f'<option value="{k}">{escape(text)}</option>' for k, text in enumerate(shown))
        yield "</select></label>"
    most = len(labels["rate"]) - 1
    yield (
        '<label>rate R <input type="range" id="choose-rate" min="0" '
        f'max="{most}" step="1" value="{most // 2}"> <output id="chosen-rate"></output></label>'
    )
    yield "</form>"
    yield '<p id="explorer-answer" aria-live="polite"></p>'
    yield '<div id="explorer-curve"></div>'
    yield (
        '<p class="legend"><span class="least">chosen n</span> <span class="other">other n</span> '
        '<span class="code">random codes, where they were computed</span></p>'
    )
    yield '<details><summary>The curve as a table</summary><div class="scroll" id="explorer-table">'
    yield "</div></details>"
    text = json.dumps(content, ensure_ascii=False, sort_keys=True).replace("<", "\\u003c")
    yield f'<script type="application/json" id="explorer-data">{text}</script>'
    yield "</section>"
