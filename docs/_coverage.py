"""Puts the measured coverage of the tests into the README; nobody types it.

`make coverage` writes coverage.json, and then `python docs/_coverage.py` keeps its total in
docs/coverage.json and writes the table between the two marks of README.md. A test compares the two.
"""

import json
import platform
import re
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).parents[1]
KEPT: Final = ROOT / "docs" / "coverage.json"
README: Final = ROOT / "README.md"

BEGIN, END = "<!-- coverage: written by make coverage -->", "<!-- end of coverage -->"
_BLOCK: Final = re.compile(f"{BEGIN}\n.*?{END}", re.DOTALL)


def measured(report: dict[str, Any]) -> dict[str, Any]:
    """Return what is kept of a report that `coverage json` wrote, and of which versions it is."""
    tests = (file.read_text(encoding="utf-8") for file in ROOT.glob("tests/**/test_*.py"))
    return {
        "percent": round(report["totals"]["percent_covered"], 1),
        "statements": report["totals"]["num_statements"],
        "tests": sum(len(re.findall(r"^ *def test_", text, re.MULTILINE)) for text in tests),
        "rdsim": version("rdsim"),
        "jax": version("jax"),
        "python": platform.python_version(),
    }


def table(kept: dict[str, Any] | None) -> str:
    """Return the table of the README, or what stands there before anything was measured."""
    if kept is None:
        return "The coverage of the tests has not been measured: `make coverage` writes it here."
    rows = (
        (
            "statements of `rdsim` that the tests run",
            f"{kept['percent']} % of {kept['statements']}",
        ),
        ("test functions", kept["tests"]),
        ("measured with", f"rdsim {kept['rdsim']}, JAX {kept['jax']}, Python {kept['python']}"),
    )
    lines = ["| tests | |", "|---|---|", *(f"| {what} | {which} |" for what, which in rows)]
    return "\n".join(lines)


def kept() -> dict[str, Any] | None:
    """Return what was measured last, None if nothing was."""
    return json.loads(KEPT.read_text(encoding="utf-8")) if KEPT.is_file() else None


def written(readme: str, found: dict[str, Any] | None) -> str:
    """Return the text of the README with the table of these numbers."""
    return _BLOCK.sub(lambda _: f"{BEGIN}\n{table(found)}\n{END}", readme)


def main() -> None:
    """Keep the total of coverage.json, and write it into the README."""
    report = json.loads((ROOT / "coverage.json").read_text(encoding="utf-8"))
    KEPT.write_text(json.dumps(measured(report), indent=1) + "\n", encoding="utf-8")
    text = README.read_text(encoding="utf-8")
    README.write_text(written(text, kept()), encoding="utf-8")


if __name__ == "__main__":
    main()
