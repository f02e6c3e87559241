"""Runs the tutorials and compares what they print with what their pages show.

A page is run from top to bottom in one namespace, in an empty folder. A block of text right after a
block of code shows what that code prints, to the letter. `python docs/_tutorials.py` writes what is
printed now into those blocks (in a new page: leave them empty).
"""

import contextlib
import importlib.util
import io
import os
import re
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).parents[1]
TUTORIALS: Final = tuple(sorted((ROOT / "docs" / "tutorials").glob("*.md")))

_NEEDS: Final = {"real_texts": ("wordllama", Path("/usr/share/wordnet/data.noun"))}
"""A module and a file without which a page cannot run."""

# The block of text, if there is one, may only be parted from the code by empty lines.
_BLOCK: Final = re.compile(r"```python\n(.*?)```\n(?:\n*```text\n(.*?)```\n)?", re.DOTALL)


def missing(name: str) -> str | None:
    """What the page of this name needs and is not on this machine."""
    module, file = _NEEDS.get(name, ("sys", ROOT))
    if importlib.util.find_spec(module) is None:
        return f"{name} needs the package {module}"
    return None if file.exists() else f"{name} needs {file}"


def printed(page: str, name: str = "tutorial") -> Iterator[tuple[str, str | None, str]]:
    """Run a page; yield the code of each block, what the page shows and what was printed."""
    namespace: dict[str, Any] = {"__name__": "__tutorial__"}
    for found in _BLOCK.finditer(page):
        code, shown = found.groups()
        line = page.count("\n", 0, found.start(1))
        said = io.StringIO()
        with contextlib.redirect_stdout(said):
            # The empty lines make the traceback name the line of the page.
            exec(compile("\n" * line + code, name, "exec"), namespace)
        yield code, shown, said.getvalue()


def rewritten(page: str, name: str = "tutorial") -> str:
    """Return the page with every shown output replaced by what is printed now."""
    outputs = iter([said for _, _, said in printed(page, name)])

    def block(found: re.Match[str]) -> str:
        said = next(outputs)
        text = f"```python\n{found[1]}```\n"
        return text if found[2] is None else f"{text}\n```text\n{said}```\n"

    return _BLOCK.sub(block, page)


def main() -> None:
    """Write what is printed now into the pages, all or those named."""
    wanted = sys.argv[1:]
    for path in TUTORIALS:
        if wanted and path.stem not in wanted:
            continue
        if (lacking := missing(path.stem)) is not None:
            sys.stderr.write(f"left as it is: {lacking}\n")
            continue
        text = path.read_text(encoding="utf-8")
        with tempfile.TemporaryDirectory() as folder:
            before = Path.cwd()
            os.chdir(folder)
            try:
                new = rewritten(text, str(path))
            finally:
                os.chdir(before)
        if new != text:
            path.write_text(new, encoding="utf-8")


if __name__ == "__main__":
    main()
