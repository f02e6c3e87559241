"""Every study at its smallest: it runs, its checks hold, its figure is drawn from the file."""

import importlib

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
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
def test_study(name, tmp_path, monkeypatch):
    study = STUDIES[name]
    assert set(study.claims) <= set(STATEMENTS)
    _, dataset = compute(study, "smoke", 0, tmp_path)
    checks = study.module().checks(dataset)
    assert {check.claim for check in checks} == set(study.claims)
    assert [check for check in checks if not check.holds] == []
    module = importlib.import_module(f"figures.{name}")
    assert module.CAPTION
    saved, make = [], module.draw
    monkeypatch.setattr(module, "draw", lambda data: saved.append(make(data)) or saved[-1])
    assert draw(study, dataset, tmp_path) == "drawn"
    (figure,) = saved
    with style.applied():
        assert_nothing_is_cut_off(figure)
    if name not in COMPUTED_ABSCISSAE:
        assert_points_stand_where_they_were_measured(figure, dataset)


def assert_nothing_is_cut_off(figure):
    """Titles, names of axes and legends lie on the page, to a point: letters that touch its edge are whole.

    At the resolution of the PNG, for which they were placed: the widths of letters are rounded to its pixels.
    """
    figure.set_dpi(style.PNG_DPI)
    point = style.PNG_DPI / 72
    renderer = FigureCanvasAgg(figure).get_renderer()
    figure.draw(renderer)
    width, height = figure.bbox.size
    texts = [t for axis in figure.axes for t in (axis.title, axis.xaxis.label, axis.yaxis.label)]
    legends = [*figure.legends, *(axis.get_legend() for axis in figure.axes)]
    for part in [*(text for text in texts if text.get_text()), *filter(None, legends)]:
        box = part.get_window_extent(renderer)
        inside = min(box.x0, box.y0) > -point and box.x1 < width + point and box.y1 < height + point
        name = part.get_text() if hasattr(part, "get_text") else "a legend"
        assert inside, f"{name!r} is cut off: {box} on a page of {width} x {height}"


def assert_points_stand_where_they_were_measured(figure, dataset):
    """No marker with an interval is drawn beside its abscissa, to be told from its neighbours."""
    saved = [
        variable.values.ravel()
        for variable in dataset.variables.values()
        if variable.dtype.kind in "iuf"
    ]
    for axis in figure.axes:
        for bars in axis.containers:
            if isinstance(bars, ErrorbarContainer):
                assert np.isin(bars[0].get_xdata(), np.concatenate(saved)).all()
