"""The ledger of claims: computed from saved results, their checks and the names of the tests."""

import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from rich.table import Table
from rich.text import Text

from experiments._claims import STATEMENTS, Check, guards, order
from experiments._store import Recipe, State, state
from experiments._study import Preset, Study, discover
from figures import _atomic

Verdict = Literal["holds", "fails", "no result yet"]
_COLORS = {"holds": "green", "fails": "bold red", "no result yet": "yellow"}


@dataclass(frozen=True)
class Row:
    """One check of one claim by one study, or a claim that waits for one.

    Attributes:
        claim: number of the claim.
        statement: what was checked, or the claim itself where nothing was.
        method: how it was checked.
        measured: the number that was found, None if there is none or it is not finite.
        expected: what it should be.
        wanted: the same in words, with the tolerance.
        verdict: holds, fails, or no result yet.
        study: that checked it.
        result: the state of the study's result.
        tests: how many tests carry the claim in their name.

    """

    claim: str
    statement: str
    method: str
    measured: float | None
    expected: float | None
    wanted: str
    verdict: Verdict
    study: str
    result: str
    tests: int


@dataclass(frozen=True)
class Ledger:
    """Every check of a preset, and what is wrong."""

    rows: list[Row]
    problems: list[str]

    def json(self) -> str:
        """Return the ledger for machines."""
        content = {"problems": self.problems, "rows": [asdict(row) for row in self.rows]}
        return json.dumps(content, indent=2, allow_nan=False, ensure_ascii=False) + "\n"

    def table(self) -> Table:
        """Return the ledger for people."""
        table = Table("claim", "statement", "method", title="Claims")
        for column in ("measured", "expected"):
            table.add_column(column, justify="right", overflow="fold")
        for column in ("verdict", "study", "result", "tests"):
            table.add_column(column)
        for row in self.rows:
            table.add_row(
                row.claim,
                Text(row.statement),
                row.method,
                "" if row.measured is None else f"{row.measured:.6g}",
                Text(row.wanted),
                Text(row.verdict, style=_COLORS[row.verdict]),
                row.study,
                row.result,
                str(row.tests),
            )
        return table

    def save(self, results: Path, preset: Preset) -> Path:
        """Write claims.json beside the results of the preset."""
        path = results / preset / "claims.json"
        _atomic.write(path, self.json().encode())
        return path


def ledger(results: Path, preset: Preset, tests: Path = Path("tests")) -> Ledger:
    """Check every saved result of the preset and count the tests of every claim."""
    guarded = {claim: len(names) for claim, names in guards(tests).items()}
    rows: list[Row] = []
    problems: list[str] = []
    for study in discover().values():
        now = state(Recipe.of(study, preset), results)
        checks = _checks(study, now)
        for check in checks:
            rows.append(_row(check, study, now, guarded.get(check.claim, 0)))
            if not check.holds:
                problems.append(f"{check.claim} fails in {study.name}: {check.statement}")
        for claim in sorted(set(study.claims) - {check.claim for check in checks}, key=order):
            rows.append(_waiting(claim, guarded.get(claim, 0), study.name, now.kind))
    for claim in STATEMENTS:
        if not any(row.claim == claim for row in rows):
            rows.append(_waiting(claim, guarded.get(claim, 0)))
        if not any(row.claim == claim and row.verdict != "no result yet" for row in rows):
            problems.append(f"{claim} has no check with a result")
        if not guarded.get(claim):
            problems.append(f"{claim} has no test")
    return Ledger(sorted(rows, key=lambda row: order(row.claim)), problems)


def _checks(study: Study, now: State) -> list[Check]:
    if now.dataset is None:
        return []
    try:
        return list(study.module().checks(now.dataset))
    except Exception:
        # A result of older code may lack what the checks of today look for; a fresh one may not.
        if now.kind == "stale":
            return []
        raise


def _row(check: Check, study: Study, now: State, tests: int) -> Row:
    return Row(
        check.claim,
        check.statement,
        check.method,
        _finite(check.measured),
        _finite(check.expected),
        check.wanted,
        "holds" if check.holds else "fails",
        study.name,
        now.kind,
        tests,
    )


def _waiting(claim: str, tests: int, study: str = "", result: str = "") -> Row:
    empty: dict[str, Any] = {"method": "", "measured": None, "expected": None, "wanted": ""}
    return Row(
        claim,
        STATEMENTS.get(claim, "not among the statements of experiments/_claims.py"),
        verdict="no result yet",
        study=study,
        result=result,
        tests=tests,
        **empty,
    )


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
