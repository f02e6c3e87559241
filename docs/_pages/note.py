"""The technical note: sections of the theory page and figures, so that nothing is written twice."""

import importlib
import re

from _pages import ABSENT, ROOT, gallery, studies

_PAGE = ROOT / "docs" / "theory.md"


def section(claim: str) -> str:
    """Return the section of a claim with its placeholders; links to other sections lead to the theory page."""
    text = _PAGE.read_text(encoding="utf-8")
    found = re.search(rf"^## {claim}: .*?(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
    if found is None:
        raise LookupError(f"{claim} has no section")
    # Anchors of a section are its own on either page; only the theory page has all of them.
    return re.sub(r"\]\((#c\d+b?)\)", r"](theory.md\1)", found[0]).strip()


def figure(study: str) -> str:
    """Return the picture of a study and its caption, a visible note where it was not drawn."""
    studies.known(study)
    address = f"output/{study}.png"
    if address not in gallery.beside():
        return f"*Figure {study}:* {ABSENT}"
    caption = importlib.import_module(f"figures.{study}").CAPTION
    return f"![{study}]({address})\n\n*{caption}*"
