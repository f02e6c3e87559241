"""Numbers: read from the result files of the quick preset, none is typed into a page."""

import ast
import functools
import html
import json
import re
from typing import Any, Final

from _pages import ABSENT, ROOT, studies

RESULTS: Final = ROOT / "results" / "quick"


@functools.cache
def rows() -> tuple[dict[str, Any], ...]:
    """Return the rows of the ledger, none where it was not computed."""
    path = RESULTS / "claims.json"
    if not path.is_file():
        return ()
    try:
        return tuple(json.loads(path.read_text(encoding="utf-8"))["rows"])
    except (ValueError, TypeError, KeyError) as error:
        raise LookupError(f"{path.name} is damaged; write it anew: rdsim claims") from error


def _computed(study: str) -> bool:
    # A result that was run after the ledger was written waits for the next.
    checked = any(row["study"] == study and row["verdict"] != "no result yet" for row in rows())
    return checked and (RESULTS / f"{study}.nc").is_file()


def _older(study: str) -> bool:
    """Whether other code than today's computed the result, which may lack what it has today."""
    from experiments.runner.store import code_hash

    return bool(_load(study).attrs["code_hash"] != code_hash(studies.every()[study]))


def _load(study: str) -> Any:
    """Read a result, which must be undamaged."""
    from experiments.runner.store import load
    from rdsim.cli.provenance import CorruptError

    try:
        return load(RESULTS / f"{study}.nc")
    except CorruptError as error:
        raise LookupError(f"{study}.nc is damaged: {error}; rdsim run {study}") from error


def check(study: str, claim: str, start: str, field: str, form: str = ".4g", sign: str = "") -> str:
    """Return one field of the check of a study and claim whose statement starts so."""
    if sign not in ("", "negated"):
        raise ValueError(f"negated or nothing is wanted, got {sign!r}")
    studies.known(study)
    if not _computed(study):
        return ABSENT
    found = [
        row
        for row in rows()
        if row["study"] == study and row["claim"] == claim and row["statement"].startswith(start)
    ]
    if not found and _older(study):
        return ABSENT
    if len(found) != 1:
        statements = [row["statement"] for row in found]
        raise LookupError(f"one check wanted, {len(found)} found: {statements}")
    value = found[0][field]
    if not isinstance(value, int | float):
        return _cell(str(value))
    return _number(-value if sign else value, form)


_RESULT: Final = re.compile(r"(\w+)\.(\w+)(?:\[(.*)\])?")
_REDUCTIONS: Final = ("max", "min", "mean")


def result(what: str, *options: str) -> str:
    """Return one number of the saved dataset of a study."""
    import numpy as np

    parsed = _RESULT.fullmatch(what)
    if parsed is None:
        raise ValueError("STUDY.VARIABLE[dimension=value, ...] is wanted")
    study, variable, selection = parsed.groups()
    studies.known(study)
    if not (RESULTS / f"{study}.nc").is_file():
        return ABSENT
    dataset = _load(study)
    if variable not in dataset and _older(study):
        return ABSENT
    array = dataset[variable]
    call = ast.parse(f"dict({selection or ''})", mode="eval").body
    for word in call.keywords if isinstance(call, ast.Call) else ():
        value = ast.literal_eval(word.value)
        near: dict[str, Any] = (
            {"method": "nearest", "tolerance": 1e-9} if isinstance(value, float) else {}
        )
        array = array.sel({word.arg: value}, **near)
    form = ".4g"
    for option in options:
        if option in _REDUCTIONS:
            array = getattr(array, option)()
        else:
            form = option
    numbers = np.asarray(array)
    if numbers.shape != ():
        raise ValueError(f"one number is wanted, found shape {numbers.shape}")
    return _number(numbers, form)


def _number(value: Any, form: str) -> str:
    return format(float(value), form)


def ledger() -> str:
    """Return every row of the ledger as a table."""
    if not rows():
        return ABSENT
    lines = [
        "| claim | what was checked | how | measured | wanted | verdict | study |",
        "|---|---|---|--:|--:|---|---|",
    ]
    for row in rows():
        found = "" if row["measured"] is None else f"{row['measured']:.6g}"
        claim = f"[{_cell(row['claim'])}](theory.md#{_cell(row['claim'].lower())})"
        cells = (row["statement"], row["method"], found, row["wanted"], row["verdict"])
        text = " | ".join(_cell(cell) for cell in cells)
        lines.append(f"| {claim} | {text} | {studies.link(row['study'])} |")
    return "\n".join(lines)


def _cell(text: str) -> str:
    return html.escape(text, quote=False).replace("|", "&#124;").replace("*", "&#42;")
