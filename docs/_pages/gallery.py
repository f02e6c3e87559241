"""The gallery: what `make figures` wrote into figures/index.html, shown as a page of the site."""

import functools
import re
from pathlib import Path
from typing import Final

from _pages import ABSENT, ROOT

PAGE: Final = ROOT / "figures" / "index.html"

_CLAIM: Final = re.compile(r'<h2 id="(C\d+)-title">C\d+')
_BESIDE: Final = re.compile(r'(?:src|href)="((?!#)[^":]+)"')


@functools.cache
def _written() -> str:
    """Return the part of the page that the site shows, once a build; empty where there is none."""
    from experiments.runner.gallery import BEGIN, END

    if not PAGE.is_file():
        return ""
    inside = PAGE.read_text(encoding="utf-8").partition(BEGIN)[2].partition(END)[0]
    if not inside:
        raise LookupError("figures/index.html is damaged; write it again: make figures")
    return inside


def gallery() -> str:
    """Return the figures, the ledger and the explorer; each claim leads to its theory."""
    linked = r'<h2 id="\1-title"><a href="theory.html#\1" title="theory">\1</a>'
    return _CLAIM.sub(lambda found: found.expand(linked).replace("#C", "#c"), _written()) or ABSENT


def shows(place: str) -> bool:
    """Whether the gallery has a part of this name, so that a page can lead there."""
    return f'id="{place}"' in _written()


def beside() -> dict[str, Path]:
    """Return the pictures and tables that the gallery shows: their addresses and their files."""
    names = sorted(set(_BESIDE.findall(_written())))
    return {name: PAGE.parent / name for name in names if (PAGE.parent / name).is_file()}


def forget() -> None:
    """Read the page again: a build shows what is there when it begins."""
    _written.cache_clear()
