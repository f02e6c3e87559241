"""The notebooks run from top to bottom as they are, store no output and say where to open them."""

import importlib.util
import json
from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt
import pytest

ROOT = Path(__file__).parents[2]
SPEC = importlib.util.spec_from_file_location("notebooks", ROOT / "docs" / "_notebooks.py")
notebooks = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(notebooks)

each = pytest.mark.parametrize("path", notebooks.NOTEBOOKS, ids=lambda path: path.stem)


def test_there_are_two_notebooks():
    assert [path.stem for path in notebooks.NOTEBOOKS] == ["embeddings", "limit"]


@each
def test_a_notebook_runs_and_draws(path, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(plt, "show", lambda: None)
    with mpl.rc_context({"backend": "agg"}):
        for _ in notebooks.run(path):
            pass
        drawn = len(plt.get_fignums())
        plt.close("all")
    assert drawn >= 1
    out = capsys.readouterr().out
    if path.stem == "limit":
        assert "every point is within its tolerance: True" in out
    else:
        assert (tmp_path / "gap.png").stat().st_size > 0
        assert out.count("no system has an MRR above") == 2


@each
def test_a_notebook_begins_with_a_badge_and_an_installation_and_stores_no_output(path):
    content = json.loads(path.read_text(encoding="utf-8"))
    code = [cell for cell in content["cells"] if cell["cell_type"] == "code"]
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in code)
    assert len({cell["id"] for cell in content["cells"]}) == len(content["cells"])
    assert '"pip", "install"' in notebooks.cells(path, "code")[0]
    assert notebooks.cells(path, "markdown")[0].startswith("[![Open in Colab](")


@each
def test_the_badge_is_written_for_a_repository(path, tmp_path):
    copy = tmp_path / path.name
    copy.write_text(notebooks.with_badge(path, "somebody/copy"), encoding="utf-8")
    place = f"github/somebody/copy/blob/main/docs/notebooks/{path.name})"
    assert notebooks.cells(copy, "markdown")[0].endswith(place)
    assert notebooks.cells(copy, "code") == notebooks.cells(path, "code")
