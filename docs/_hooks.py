"""What the build adds to the pages: numbers from result files, formulas as MathML, public names.

A page writes `{{ name: arguments }}`; nothing that was measured is typed in. Names:

- `check: STUDY | CLAIM | START OF THE STATEMENT | measured or expected [| FORMAT [| negated]]`
- `result: STUDY.VARIABLE[dimension=value, ...] [| max or min or mean] [| FORMAT]`
- `config: PRESET STUDY.FIELD`, `presets`, `gallery`, `benchmarks`
- `claim: CLAIM` (what it says), `evidence: CLAIM` (its studies, checks and tests), `studies: CLAIM`
- `include: FILE` (a file from the top of the repository)
- `theory: CLAIM` (its section of the theory page), `figure: STUDY` (the picture and its caption)
- `api: PACKAGE.NAME` (a link to it; a tutorial writes the name as code instead)
- `rest: MODULE` (its public names that the page does not name)

A number whose result file is absent, or of older code that did not compute it, is replaced by a
visible note; one that a result file should hold and does not is an error, in every build.
"""

import re
from collections.abc import Callable
from typing import Any, Final

from _pages import evidence, files, formulas, gallery, names, note, results, studies
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File

_PLACEHOLDER: Final = re.compile(r"\{\{\s*(\w+)(?::\s*(.*?))?\s*\}\}")

_SOURCES: Final[dict[str, Callable[..., str]]] = {
    "check": results.check,
    "result": results.result,
    "config": studies.config,
    "presets": studies.presets,
    "gallery": gallery.gallery,
    "studies": studies.bearing,
    "claim": evidence.claim,
    "evidence": evidence.evidence,
    "benchmarks": files.benchmarks,
    "include": files.include,
    "api": names.api,
    "theory": lambda claim: expand(note.section(claim)),
    "figure": note.figure,
}


def on_files(files: Any, config: Any) -> Any:
    """Add the pictures and tables that the gallery shows, with its style and its script."""
    from experiments.runner.gallery import SCRIPT, STYLE

    results.rows.cache_clear()
    gallery.forget()
    added = gallery.beside() | {"assets/gallery.css": STYLE, "assets/gallery.js": SCRIPT}
    for name, path in added.items():
        files.append(File.generated(config, name, abs_src_path=str(path.resolve())))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Replace the placeholders of a page, and link the public names of a tutorial."""
    uri = page.file.src_uri
    text = names.linked(markdown) if uri.startswith("tutorials/") else markdown
    return expand(text, uri)


def on_page_content(content: str, page: Any, **_: Any) -> str:
    """Turn the formulas of a page into MathML."""
    return formulas.formulas(content, page.file.src_uri)


def expand(markdown: str, page: str = "") -> str:
    """Return the text of a page with its placeholders replaced."""

    def replaced(found: re.Match[str]) -> str:
        name, arguments = found[1], found[2] or ""
        try:
            if name == "rest":
                return names.rest(arguments, markdown)
            if name not in _SOURCES:
                raise PluginError(f"{page}: unknown placeholder {found[0]!r}")
            given = [part.strip() for part in arguments.split(" | ")] if arguments else []
            return _SOURCES[name](*given)
        except (LookupError, TypeError, ValueError, AttributeError) as error:
            raise PluginError(f"{page}: {found[0]!r} cannot be resolved: {error!r}") from error

    return _PLACEHOLDER.sub(replaced, markdown)
