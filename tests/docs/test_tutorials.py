"""The tutorials run from top to bottom and print what their pages show."""

import importlib.util
from pathlib import Path

import matplotlib as mpl
import pytest

ROOT = Path(__file__).parents[2]
SPEC = importlib.util.spec_from_file_location("tutorials", ROOT / "docs" / "_tutorials.py")
tutorials = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(tutorials)


# The files that a page says it leaves behind.
LEFT = {
    "embeddings": ["gap/gap.nc", "gap/gap.csv", "gap/gap.png", "gap/gap.pdf"],
    "family": [],
    "limit": [],
    "monte_carlo": ["study.json"],
    "source": ["my_limit.png"],
}


def test_these_are_the_tutorials():
    assert [page.stem for page in tutorials.TUTORIALS] == list(LEFT)


@pytest.mark.parametrize("page", tutorials.TUTORIALS, ids=lambda page: page.stem)
def test_a_tutorial_prints_what_its_page_shows(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shown = []
    with mpl.rc_context():
        for code, text, said in tutorials.printed(page.read_text(encoding="utf-8"), str(page)):
            if text is not None:
                shown.append(text)
                assert said == text, f"{page.name}, after\n{code}"
    assert shown, "a tutorial shows something"
    for name in LEFT[page.stem]:
        assert (tmp_path / name).stat().st_size > 0


def test_a_page_that_shows_something_else_is_found_and_rewritten():
    page = "```python\nprint(1 + 1)\n```\n\n```text\n3\n```\n\n```python\nx = 1\n```\n"
    ((_, text, said), (_, nothing, silence)) = tutorials.printed(page)
    assert (text, said) == ("3\n", "2\n")
    assert (nothing, silence) == (None, "")
    assert tutorials.rewritten(page) == page.replace("3\n", "2\n")
    assert tutorials.rewritten(tutorials.rewritten(page)) == tutorials.rewritten(page)
