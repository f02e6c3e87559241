"""Every study at its smallest: it runs, its checks hold, its figure is drawn from the file."""

import importlib

import numpy as np
import pytest
from matplotlib.container import ErrorbarContainer

from experiments.runner.claims import STATEMENTS
from experiments.runner.discovery import discover
from experiments.runner.drawing import draw
from experiments.runner.run import compute
from rdsim.plotting import style

STUDIES = discover("smoke")
COMPUTED_ABSCISSAE = ("codebooks", "phase_transition")
"""Figures against a difference or a ratio of what is saved."""


@pytest.mark.parametrize("name", STUDIES)
def test_study(name, tmp_path):
    study = STUDIES[name]
    assert set(study.claims) <= set(STATEMENTS)
    _, dataset = compute(study, "smoke", 0, tmp_path)
    checks = study.module().checks(dataset)
    assert {check.claim for check in checks} == set(study.claims)
    assert [check for check in checks if not check.holds] == []
    assert draw(study, dataset, tmp_path) == "drawn"
    figure = importlib.import_module(f"figures.{name}")
    assert figure.CAPTION
    if name not in COMPUTED_ABSCISSAE:
        assert_points_stand_where_they_were_measured(figure.draw, dataset)


def assert_points_stand_where_they_were_measured(draw_figure, dataset):
    """No marker with an interval is drawn beside its abscissa, to be told from its neighbours."""
    saved = [
        variable.values.ravel()
        for variable in dataset.variables.values()
        if variable.dtype.kind in "iuf"
    ]
    with style.applied():
        axes = draw_figure(dataset).axes
    for axis in axes:
        for bars in axis.containers:
            if isinstance(bars, ErrorbarContainer):
                assert np.isin(bars[0].get_xdata(), np.concatenate(saved)).all()
