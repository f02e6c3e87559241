"""Every study at its smallest: it runs, its checks hold, its figure is drawn from the file."""

import importlib

import pytest

from experiments._claims import STATEMENTS
from experiments._draw import draw
from experiments._run import compute
from experiments._study import discover

STUDIES = discover("smoke")


@pytest.mark.parametrize("name", STUDIES)
def test_study(name, tmp_path):
    study = STUDIES[name]
    assert set(study.claims) <= set(STATEMENTS)
    _, dataset = compute(study, "smoke", 0, tmp_path)
    checks = study.module().checks(dataset)
    assert {check.claim for check in checks} == set(study.claims)
    assert [check for check in checks if not check.holds] == []
    assert draw(study, dataset, tmp_path) == "drawn"
    assert importlib.import_module(f"figures.{name}").CAPTION
