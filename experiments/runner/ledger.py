"""The ledger of claims: computed from saved results, their checks and the names of the tests."""

import contextlib
import hashlib
import importlib.metadata
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from rich.table import Table
from rich.text import Text

from experiments.runner import claims
from experiments.runner.claims import STATEMENTS, Check, guards, order
from experiments.runner.discovery import Preset, Study, discover
from experiments.runner.store import Recipe, State, code_hash, state
from rdsim import files
from rdsim.cli.messages import CommandError
from rdsim.cli.provenance import hash_files

Verdict = Literal["holds", "fails", "no result yet"]
NOT_KNOWN = "not known"
"""What stands for the number of tests outside a checkout, where there are none to count."""
_PACKAGES = ("jax", "jaxlib", "numpy", "scipy", "xarray")
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
        tests: how many tests carry the claim in their name, None outside a checkout.

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
    tests: int | None


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
                NOT_KNOWN if row.tests is None else str(row.tests),
            )
        return table

    def save(self, results: Path, preset: Preset) -> Path:
        """Write claims.json beside the results of the preset."""
        path = results / preset / "claims.json"
        files.write(path, self.json().encode())
        return path


def ledger(
    results: Path,
    preset: Preset,
    tests: Path = Path("tests"),
    states: Mapping[str, State] | None = None,
) -> Ledger:
    """Check every saved result of the preset and count the tests of every claim.

    The state of a study is looked up unless it is among the `states`. Where no claim has a test
    there is no checkout: the counts are then not known, and no problem.
    """
    guarded = guards(tests)
    rows: list[Row] = []
    problems: list[str] = []
    for study in discover(preset).values():
        known = None if states is None else states.get(study.name)
        now = state(Recipe.of(study, preset), results) if known is None else known
        try:
            checks = _checks(study, now, results / preset / ".checks" / f"{study.name}.json")
        except CommandError as error:
            checks = []
            problems.append(str(error))
        for check in checks:
            rows.append(_row(check, study, now, _count(guarded, check.claim)))
            if not check.holds:
                problems.append(f"{check.claim} fails in {study.name}: {check.statement}")
        for claim in sorted(set(study.claims) - {check.claim for check in checks}, key=order):
            rows.append(_waiting(claim, _count(guarded, claim), study.name, now.kind))
    for claim in STATEMENTS:
        if not any(row.claim == claim for row in rows):
            rows.append(_waiting(claim, _count(guarded, claim)))
        if not any(row.claim == claim and row.verdict != "no result yet" for row in rows):
            problems.append(f"{claim} has no check with a result")
        if guarded and claim not in guarded:
            problems.append(f"{claim} has no test")
    return Ledger(sorted(rows, key=lambda row: order(row.claim)), problems)


def _count(guarded: Mapping[str, list[str]], claim: str) -> int | None:
    return len(guarded.get(claim, [])) if guarded else None


def _checks(study: Study, now: State, remembered: Path) -> list[Check]:
    """Check a result, or read how that went: same data, code and packages, same checks."""
    if now.dataset is None:
        return []
    origin = {
        "attributes": {
            name: np.asarray(value).tolist() for name, value in now.dataset.attrs.items()
        },
        "code": [code_hash(study), hash_files([Path(claims.__file__), Path(__file__)])],
        "packages": [importlib.metadata.version(name) for name in _PACKAGES],
    }
    key = hashlib.sha256(json.dumps(origin, sort_keys=True).encode()).hexdigest()
    with contextlib.suppress(OSError, ValueError, TypeError, KeyError, RecursionError):
        saved = json.loads(remembered.read_bytes())
        if saved["key"] == key and saved["hash"] == _hash(saved["checks"]):
            return [Check(**check) for check in saved["checks"]]
    try:
        checks = list(study.module().checks(now.dataset))
    except Exception as error:
        # A result of older code may lack what the checks of today look for; a fresh one may not.
        if now.kind == "stale":
            return []
        raise CommandError(
            f"the checks of {study.name} failed to run ({type(error).__name__}: {error}); compute it "
            f"again: rdsim run {study.name} --force"
        ) from error
    content = [asdict(check) for check in checks]
    saved = {"key": key, "hash": _hash(content), "checks": content}
    files.write(remembered, json.dumps(saved, indent=1).encode())
    return checks


def _hash(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _row(check: Check, study: Study, now: State, tests: int | None) -> Row:
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


def _waiting(claim: str, tests: int | None, study: str = "", result: str = "") -> Row:
    empty: dict[str, Any] = {"method": "", "measured": None, "expected": None, "wanted": ""}
    return Row(
        claim,
        STATEMENTS.get(claim, "not among the statements of experiments/claims.py"),
        verdict="no result yet",
        study=study,
        result=result,
        tests=tests,
        **empty,
    )


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
