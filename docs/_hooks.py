"""What the build adds to the pages: numbers from result files, formulas as MathML, public names.

A page writes `{{ name: arguments }}`; nothing that was measured is typed in. Names:

- `check: STUDY | CLAIM | START OF THE STATEMENT | measured or expected [| FORMAT [| negated]]`
- `result: STUDY.VARIABLE[dimension=value, ...] [| max or min or mean] [| FORMAT]`
- `config: PRESET STUDY.FIELD`, `presets`, `ledger`, `gallery`, `benchmarks`
- `evidence: CLAIM` (the studies, checks and tests of one claim), `studies: CLAIM`, `include: FILE`
- `api: ROOM.NAME` (a link to it; a tutorial writes the name as code instead)
- `rest: MODULE` (its public names that the page does not name)

A number whose result file is absent, or of older code that did not compute it, is replaced by a
visible note; one that a result file should hold and does not is an error, in every build.
"""

import re
from collections.abc import Callable
from typing import Any, Final

from _pages import evidence, files, formulas, names, results, studies
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File

_PLACEHOLDER: Final = re.compile(r"\{\{\s*(\w+)(?::\s*(.*?))?\s*\}\}")

_SOURCES: Final[dict[str, Callable[..., str]]] = {
    "check": results.check,
    "result": results.result,
    "ledger": results.ledger,
    "config": studies.config,
    "presets": studies.presets,
    "gallery": studies.gallery,
    "studies": studies.bearing,
    "evidence": evidence.evidence,
    "benchmarks": files.benchmarks,
    "include": files.include,
    "api": names.api,
}


def on_files(files: Any, config: Any) -> Any:
    """Add the drawn figures to the site, as figures/NAME.png."""
    results.rows.cache_clear()
    studies.drawn.cache_clear()
    for name in sorted(studies.drawn()):
        image = (studies.FIGURES / f"{name}.png").resolve()
        files.append(File.generated(config, f"figures/{name}.png", abs_src_path=str(image)))
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
