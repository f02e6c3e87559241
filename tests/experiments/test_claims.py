import json
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
import xarray

from experiments.runner import ledger
from experiments.runner.claims import STATEMENTS, Claim, guards, order

NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("measured", "expected", "tolerance", "holds"),
    [
        (1.0, 1.0, 0.0, True),
        (1.1, 1.0, 0.2, True),
        (0.7, 1.0, 0.2, False),
        (NAN, 1.0, 9.0, False),
        (1.0, NAN, 9.0, False),
        (1.0, 1.0, NAN, False),
        (INF, INF, 1.0, False),
    ],
)
def test_close(measured, expected, tolerance, holds):
    assert Claim("C1").exact.close("x", measured, expected, tolerance).holds is holds


@pytest.mark.parametrize(
    ("measured", "bound", "holds"),
    [(1, 1, True), (1.01, 1, False), (-INF, 0, True), (NAN, 1, False), (0, NAN, False)],
)
def test_at_most(measured, bound, holds):
    assert Claim("C1").exact.at_most("x", measured, bound).holds is holds


@pytest.mark.parametrize(
    ("measured", "low", "high", "holds"),
    [(0, 0, 1, True), (1, 0, 1, True), (2, 0, 1, False), (NAN, 0, 1, False), (0, NAN, 1, False)],
)
def test_inside(measured, low, high, holds):
    assert Claim("C1").monte_carlo.inside("x", measured, low, high).holds is holds


@pytest.mark.parametrize("kind", [np.float64, jnp.asarray, xarray.DataArray])
def test_a_check_takes_numbers_of_any_library_and_keeps_floats(kind):
    check = Claim("C1").exact.close("x", kind(0.25), kind(0.25), 0)
    assert type(check.measured) is float
    assert check.holds is True


@pytest.mark.parametrize("way", ["exact", "closed_form", "monte_carlo", "property_test"])
def test_a_check_says_what_was_checked_and_how(way):
    check = getattr(Claim("C7"), way).at_most("largest", 0, 1)
    assert (check.claim, check.statement) == ("C7", "largest")
    assert check.method.lower().replace(" ", "_") == way


def test_claims_are_ordered_by_number():
    assert sorted(["C10", "C11b", "C9", "C11"], key=order) == ["C9", "C10", "C11", "C11b"]


def test_tests_are_found_by_name(tmp_path):
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "test_a.py").write_text(
        "def test_C5_x():\n    pass\n\nclass TestA:\n    def test_C11b_y(self): ...\n"
        "def test_other(): ...\n# def test_C6_no(): ...\ndef test_C5_z(): ...\n"
    )
    found = guards(tmp_path)
    assert {claim: len(names) for claim, names in found.items()} == {"C5": 2, "C11b": 1}
    assert found["C11b"][0].endswith("deep/test_a.py::test_C11b_y")


@pytest.fixture
def guarded(workshop, monkeypatch):
    """A workshop whose only claims are those of its study, each with a test."""
    for claim in set(STATEMENTS) - {"C5", "C6"}:
        monkeypatch.delitem(STATEMENTS, claim)
    (workshop.home / "tests").mkdir()
    (workshop.home / "tests" / "test_a.py").write_text(
        "def test_C5_a(): ...\ndef test_C6_a(): ...\ndef test_C6_b(): ...\n"
    )
    return workshop


def rows():
    return {row.claim: row for row in ledger.ledger(Path("results"), "quick").rows}


def test_the_ledger_holds_when_every_claim_has_a_check_and_a_test(guarded, capsys):
    assert guarded.main("claims") == 1
    assert "C5 has no check with a result" in capsys.readouterr().err
    assert rows()["C5"].verdict == "no result yet"
    assert guarded.main("figures") == 0
    assert guarded.main("claims") == 0
    found = rows()
    assert (found["C5"].verdict, found["C5"].study, found["C5"].tests) == ("holds", "lines", 1)
    assert found["C6"].tests == 2
    assert json.loads(Path("results/quick/claims.json").read_text())["problems"] == []


def test_the_ledger_fails_when_a_check_fails(guarded, capsys):
    guarded.study(bound=1.0)
    assert guarded.main("figures") == 1
    said = capsys.readouterr().out.splitlines()
    assert said[1:-3] == [
        "figures: 1 drawn, 0 fresh",
        "checks: Of 2 checks 1 hold",
        "C5 fails in lines: largest value",
    ]
    assert [line.partition(":")[0] for line in said[-3:]] == ["ledger", "gallery", "time"]
    assert guarded.main("claims") == 1
    assert "C5 fails in lines: largest value" in capsys.readouterr().err
    assert rows()["C5"].verdict == "fails"


def test_the_ledger_fails_when_a_claim_has_no_test(guarded, capsys):
    (guarded.home / "tests" / "test_a.py").write_text("def test_C5_a(): ...\n")
    assert guarded.main("figures") == 1
    assert "claims without a test: C6\n" in capsys.readouterr().out
    assert guarded.main("claims") == 1
    assert "C6 has no test" in capsys.readouterr().err


def test_outside_a_checkout_tests_are_not_known_and_only_a_failed_check_fails(guarded, capsys):
    (guarded.home / "tests" / "test_a.py").unlink()
    assert guarded.main("figures") == 0
    assert "without a test" not in capsys.readouterr().out
    assert guarded.main("claims") == 0
    said = capsys.readouterr()
    assert "has no test" not in said.err
    assert "not known" in said.out
    assert {row.tests for row in rows().values()} == {None}
    page = Path("figures/index.html").read_text()
    assert "Which tests guard it is not known" in page
    assert '<td data-value="">not known</td>' in page
    assert guarded.main("trace lines") == 0
    assert "not known outside a checkout" in capsys.readouterr().out
    guarded.study(bound=1.0)
    assert guarded.main("figures") == 1


def test_a_check_that_is_not_a_number_fails_and_the_ledger_stays_json(guarded):
    guarded.study(bound=float("nan"))
    guarded.write(
        guarded.studies,
        "lines",
        (guarded.home / guarded.studies / "lines.py").read_text().replace(", nan)", ", np.nan)"),
    )
    assert guarded.main("figures") == 1
    assert rows()["C5"].expected is None


def test_a_stale_result_without_what_checks_need_waits(guarded):
    guarded.main("run lines")
    guarded.study(more="\n\ndef checks(dataset):\n    return [dataset.newer]\n")
    found = rows()["C5"]
    assert (found.verdict, found.result) == ("no result yet", "stale")


def test_a_check_is_made_once_for_the_same_result_and_code(guarded):
    guarded.study(
        more="\n\nMADE = []\n_checks = checks\n\n\ndef checks(dataset):\n    MADE.append(1)\n    return _checks(dataset)\n"
    )
    guarded.main("run lines")
    first = rows()
    made = guarded.module().MADE
    assert len(made) == 1
    assert rows() == first
    assert len(made) == 1
    remembered = Path("results/quick/.checks/lines.json")
    whole = remembered.read_text()
    for damaged in ("", "[]", "{}", whole[:-9], whole.replace('"holds": true', '"holds": false')):
        assert damaged != whole
        remembered.write_text(damaged)
        assert rows() == first
        assert remembered.read_text() == whole
    assert len(made) == 6
    (guarded.home / "library.py").write_text("x = 2\n")
    assert rows()["C5"].result == "stale"
    assert len(made) == 7
    guarded.main("run lines --seed 1")
    assert rows()["C5"].measured != first["C5"].measured


def test_a_changed_study_is_checked_anew(guarded):
    guarded.main("run lines")
    assert rows()["C5"].verdict == "holds"
    guarded.study(bound=1.0)
    assert rows()["C5"].verdict == "fails"


def test_the_summary_names_a_few_failures_and_counts_the_others():
    failing = [f"C5 fails in a{k}: too large" for k in range(8)]
    lines = ledger.Ledger([], failing).summary()
    assert lines == ["checks: Of 0 checks 0 hold", *failing[:5], "and 3 more that fail"]


def test_the_summary_names_the_claims_that_wait_for_a_check(guarded, capsys):
    guarded.study("more", more='CLAIMS = ("C5", "C7")\n')
    STATEMENTS["C7"] = "A claim that nothing checks."
    try:
        assert guarded.main("figures") == 1
    finally:
        del STATEMENTS["C7"]
    said = capsys.readouterr().out
    assert "claims without a check: C7\n" in said
    assert "wait for a result" in said
