"""Files from the top of the repository, shown as pages."""

import re

from _pages import ROOT


def include(file: str) -> str:
    """Return the text of a file without its title."""
    path = ROOT / file
    if not path.is_file():
        return f"`{file}` is not there yet."
    text = path.read_text(encoding="utf-8")
    # Links of a file at the top of the repository lead nowhere on the site: keep their words.
    text = re.sub(r"(?<!!)\[([^\]]+)\]\((?!https?:|#)[^)]+\)", r"\1", text)
    return re.sub(r"^# .*\n", "", text, count=1)


def benchmarks() -> str:
    """Return the last run of the benchmarks, as sections of a page."""
    if not (ROOT / "benchmarks" / "RESULTS.md").is_file():
        return '<span class="placeholder">(run `make bench`)</span>'
    return re.sub(r"^#", "##", include("benchmarks/RESULTS.md"), flags=re.MULTILINE)
