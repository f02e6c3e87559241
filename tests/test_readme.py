"""The README's example prints what the README shows, and its coverage is the one that was measured."""

import importlib.util
import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
TEXT = README.read_text(encoding="utf-8")


def module(name):
    """Import a file of docs by its path."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "docs" / f"{name}.py")
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    return made


coverage = module("_coverage")


def test_the_example_of_the_readme_prints_what_stands_under_it(capsys):
    ((example, shown),) = re.findall(r"```python\n(.*?)```\n\n```text\n(.*?)```", TEXT, re.DOTALL)
    assert len([line for line in example.splitlines() if line]) <= 10
    exec(compile(example, str(README), "exec"), {})
    assert capsys.readouterr().out == shown


def test_the_readme_shows_files_that_exist():
    for target in re.findall(r"\]\(([^)]+)\)", TEXT):
        assert (README.parent / target).is_file(), target


def test_the_table_of_extras_names_every_extra():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"][
        "optional-dependencies"
    ]
    table = TEXT.partition('| `pip install ".[NAME]"`')[2].partition("\n\n")[0]
    named = {
        name
        for cell in re.findall(r"^\| `([\w,]+)` ", table, re.MULTILINE)
        for name in cell.split(",")
    }
    assert named == set(extras)
    for extra in ("codes", "learning", "studies", "bench"):
        for package in extras[extra]:
            name = re.split(r"[\[><=]", package)[0]
            assert name in table or name == "rdsim", name


def test_the_coverage_in_the_readme_is_what_was_measured():
    assert coverage.BEGIN in TEXT
    assert coverage.written(TEXT, coverage.kept()) == TEXT


def test_a_measured_coverage_becomes_a_table():
    report = {"totals": {"percent_covered": 87.654, "num_statements": 1234}}
    found = coverage.measured(report)
    assert found["tests"] > 1000
    table = coverage.table(found)
    assert "| 87.7 % of 1234 |" in table
    written = coverage.written(TEXT, found)
    assert table in written
    assert coverage.written(written, coverage.kept()) == TEXT
