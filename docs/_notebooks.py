"""Runs the code of the notebooks in order, and writes their badge "Open in Colab".

`python docs/_notebooks.py OWNER/NAME` makes the badges lead to the notebooks of that repository on
GitHub; as they are stored here they lead to Colab's dialogue for notebooks on GitHub, and say so. Outputs are
not stored: a notebook shows what the reader's own version computes.
"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

NOTEBOOKS: Final = tuple(sorted((Path(__file__).parent / "notebooks").glob("*.ipynb")))

_COLAB: Final = "https://colab.research.google.com"
_UPLOAD: Final = "In this copy the badge leads to Colab's start page; upload this file there."


def cells(path: Path, kind: str) -> list[str]:
    """Return the texts of the cells of a notebook, those of code or those of markdown."""
    content = json.loads(path.read_text(encoding="utf-8"))
    return ["".join(cell["source"]) for cell in content["cells"] if cell["cell_type"] == kind]


def run(path: Path) -> Iterator[dict[str, Any]]:
    """Run the cells of code one after another in one namespace, and yield it after each."""
    namespace: dict[str, Any] = {"__name__": "__notebook__"}
    for number, code in enumerate(cells(path, "code"), 1):
        exec(compile(code, f"{path.name}, cell of code {number}", "exec"), namespace)
        yield namespace


def badge(path: Path, repository: str = "") -> str:
    """Return the badge of a notebook, in Markdown."""
    place = f"{repository}/blob/main/docs/notebooks/{path.name}" if repository else ""
    picture = f"{_COLAB}/assets/colab-badge.svg"
    link = f"[![Open in Colab]({picture})]({_COLAB}/github/{place})"
    return link if place else f"{link}\n\n{_UPLOAD}"


def with_badge(path: Path, repository: str = "") -> str:
    """Return the text of a notebook whose first cell is the badge."""
    content = json.loads(path.read_text(encoding="utf-8"))
    content["cells"][0]["source"] = [badge(path, repository)]
    return json.dumps(content, indent=1, ensure_ascii=False) + "\n"


def main() -> None:
    """Write the badges for a repository, or for none."""
    for path in NOTEBOOKS:
        path.write_text(with_badge(path, *sys.argv[1:2]), encoding="utf-8")


if __name__ == "__main__":
    main()
