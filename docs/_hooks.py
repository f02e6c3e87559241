r"""What the build adds to the pages: numbers from result files, formulas as MathML, public names.

A page writes `{{ name: arguments }}`; nothing that was measured is typed in. Names:

- `check: STUDY | CLAIM | START OF THE STATEMENT | measured or expected [| FORMAT [| negated]]`
- `result: STUDY.VARIABLE[dimension=value, ...] [| max or min or mean] [| FORMAT]`
- `config: PRESET STUDY.FIELD`, `presets`, `ledger`, `gallery`, `benchmarks`
- `evidence: CLAIM` (the studies, checks and tests of one claim), `studies: CLAIM`, `include: FILE`
- `api: ROOM.NAME` (a link to it), `rest: MODULE` (its public names that the page does not name)

A number whose result file is absent is replaced by a visible note; one that a result file should
hold and does not is an error, in every build.
"""

import ast
import dataclasses
import functools
import html
import importlib
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import latex2mathml.converter
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File

ROOT: Final = Path(__file__).parents[1]
RESULTS: Final = ROOT / "results" / "quick"
FIGURES: Final = ROOT / "figures" / "output"
ABSENT: Final = '<span class="placeholder">(run `make figures`)</span>'

_PLACEHOLDER: Final = re.compile(r"\{\{\s*(\w+)(?::\s*(.*?))?\s*\}\}")
_INLINE: Final = re.compile(r'<span class="arithmatex">\\\((.*?)\\\)</span>', re.DOTALL)
_DISPLAY: Final = re.compile(r'<div class="arithmatex">\\\[(.*?)\\\]</div>', re.DOTALL)

if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))


# ---------------------------------------------------------------------------- what mkdocs calls


def on_files(files: Any, config: Any) -> Any:
    """Add the drawn figures to the site, as figures/NAME.png."""
    _rows.cache_clear()
    _drawn.cache_clear()
    for name in sorted(_drawn()):
        image = (FIGURES / f"{name}.png").resolve()
        files.append(File.generated(config, f"figures/{name}.png", abs_src_path=str(image)))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Replace the placeholders of a page."""
    return defined(expand(markdown, page.file.src_uri))


def on_page_content(content: str, page: Any, **_: Any) -> str:
    """Turn the formulas of a page into MathML."""
    return formulas(content, page.file.src_uri)


# ---------------------------------------------------------------------------- formulas


def mathml(latex: str, display: str = "inline") -> str:
    """Return a formula as MathML; raise where a command is unknown."""
    # Three things that the converter lacks; braces grow by themselves.
    known = latex.strip().replace(r"\arg", r"\operatorname{arg}").replace(r"\_", "_")
    known = re.sub(r"\\[Bb]igg?[lr]?(?=\\[{}|])", "", known)
    try:
        converted = latex2mathml.converter.convert(known, display=display)
    except Exception as error:  # each unknown command fails in a way of its own
        raise PluginError(f"formula {latex!r} does not convert: {error!r}") from error
    # The converter copies what it does not know as it stands.
    if "\\" in converted or "&#x0005C;" in converted:
        raise PluginError(f"formula {latex!r} does not convert: unknown command")
    return converted


def formulas(content: str, page: str = "") -> str:
    """Return the HTML of a page with every formula as MathML."""
    content = _INLINE.sub(lambda found: mathml(html.unescape(found[1])), content)
    content = _DISPLAY.sub(lambda found: mathml(html.unescape(found[1]), "block"), content)
    if "arithmatex" in content:
        place = content.index("arithmatex")
        raise PluginError(f"{page}: a formula was not converted: {content[place : place + 200]!r}")
    return content


# ---------------------------------------------------------------------------- placeholders


def expand(markdown: str, page: str = "") -> str:
    """Return the text of a page with its placeholders replaced."""

    def replaced(found: re.Match[str]) -> str:
        name, arguments = found[1], found[2] or ""
        if name not in _SOURCES:
            raise PluginError(f"{page}: unknown placeholder {found[0]!r}")
        try:
            if name == "rest":
                return _rest(arguments, markdown)
            given = [part.strip() for part in arguments.split(" | ")] if arguments else []
            return _SOURCES[name](*given)
        except (LookupError, TypeError, ValueError, AttributeError) as error:
            raise PluginError(f"{page}: {found[0]!r} cannot be resolved: {error!r}") from error

    return _PLACEHOLDER.sub(replaced, markdown)


@functools.cache
def _rows() -> tuple[dict[str, Any], ...]:
    path = RESULTS / "claims.json"
    if not path.is_file():
        return ()
    return tuple(json.loads(path.read_text(encoding="utf-8"))["rows"])


def _computed(study: str) -> bool:
    return bool(_rows()) and (RESULTS / f"{study}.nc").is_file()


def _number(value: Any, form: str) -> str:
    return format(float(value), form)


def _check(
    study: str, claim: str, start: str, field: str, form: str = ".4g", sign: str = ""
) -> str:
    if sign not in ("", "negated"):
        raise ValueError(f"negated or nothing is wanted, got {sign!r}")
    _known(study)
    if not _computed(study):
        return ABSENT
    rows = [
        row
        for row in _rows()
        if row["study"] == study and row["claim"] == claim and row["statement"].startswith(start)
    ]
    if len(rows) != 1:
        found = [row["statement"] for row in rows]
        raise LookupError(f"one check wanted, {len(rows)} found: {found}")
    value = rows[0][field]
    if not isinstance(value, int | float):
        return str(value)
    return _number(-value if sign else value, form)


_RESULT: Final = re.compile(r"(\w+)\.(\w+)(?:\[(.*)\])?")
_REDUCTIONS: Final = ("max", "min", "mean")


def _result(what: str, *options: str) -> str:
    import numpy as np
    import xarray

    parsed = _RESULT.fullmatch(what)
    if parsed is None:
        raise ValueError("STUDY.VARIABLE[dimension=value, ...] is wanted")
    study, variable, selection = parsed.groups()
    _known(study)
    if not (RESULTS / f"{study}.nc").is_file():
        return ABSENT
    with xarray.open_dataset(RESULTS / f"{study}.nc", engine="h5netcdf") as dataset:
        array = dataset[variable]
        call = ast.parse(f"dict({selection or ''})", mode="eval").body
        for word in call.keywords if isinstance(call, ast.Call) else ():
            value = ast.literal_eval(word.value)
            near: dict[str, Any] = (
                {"method": "nearest", "tolerance": 1e-9} if isinstance(value, float) else {}
            )
            array = array.sel({word.arg: value}, **near)
        form = ".4g"
        for option in options:
            if option in _REDUCTIONS:
                array = getattr(array, option)()
            else:
                form = option
        numbers = np.asarray(array)
        if numbers.shape != ():
            raise ValueError(f"one number is wanted, found shape {numbers.shape}")
        return _number(numbers, form)


def _config(where: str) -> str:
    preset, _, what = where.partition(" ")
    study, _, field = what.partition(".")
    value = getattr(getattr(_module(study), preset.upper()), field)
    return _short(value)


def _presets() -> str:
    lines = ["| study | field | quick | full |", "|---|---|---|---|"]
    for name in _studies():
        module = _module(name)
        if not (hasattr(module, "QUICK") and hasattr(module, "FULL")):
            lines.append(f"| {name} | has one preset only | | |")
            continue
        quick, full = dataclasses.asdict(module.QUICK), dataclasses.asdict(module.FULL)
        differing = [key for key in quick if quick[key] != full[key]]
        for key in differing:
            lines.append(f"| {name} | {key} | {_short(quick[key])} | {_short(full[key])} |")
        if not differing:
            lines.append(f"| {name} | nothing differs | | |")
    return "\n".join(lines)


def _short(value: Any) -> str:
    if isinstance(value, list | tuple) and len(value) > 6:
        return f"{len(value)} values, {_short(value[0])} to {_short(value[-1])}"
    if isinstance(value, list | tuple):
        return ", ".join(_short(each) for each in value)
    return str(value)


def _ledger() -> str:
    rows = _rows()
    if not rows:
        return ABSENT
    lines = [
        "| claim | what was checked | how | measured | wanted | verdict | study |",
        "|---|---|---|--:|--:|---|---|",
    ]
    for row in rows:
        found = "" if row["measured"] is None else f"{row['measured']:.6g}"
        claim = f"[{row['claim']}](theory.md#{row['claim'].lower()})"
        cells = (row["statement"], row["method"], found, row["wanted"], row["verdict"])
        text = " | ".join(_cell(cell) for cell in cells)
        lines.append(f"| {claim} | {text} | {_study_link(row['study'])} |")
    return "\n".join(lines)


def _cell(text: str) -> str:
    return html.escape(text, quote=False).replace("|", "&#124;").replace("*", "&#42;")


def _study_link(study: str, up: str = "") -> str:
    return f"[{study}]({up}gallery.md#{study})" if study else ""


def _evidence(claim: str) -> str:
    from experiments._claims import STATEMENTS, guards

    if claim not in STATEMENTS and not guards(ROOT / "tests").get(claim):
        raise LookupError(f"{claim} is neither in the ledger nor guarded by a test")
    studies = [name for name, study in _studies().items() if claim in study.claims]
    tests = sorted({name.partition("::")[0] for name in guards(ROOT / "tests").get(claim, [])})
    rows = [row for row in _rows() if row["claim"] == claim and row["measured"] is not None]
    held = sum(row["verdict"] == "holds" for row in rows)
    relative = [f"`{Path(file).relative_to(ROOT).as_posix()}`" for file in tests]
    checks = f"{held} of {len(rows)} hold ([ledger](claims.md))" if rows else ABSENT
    if not studies:
        checks = "none, no study bears on it"
    count = len(guards(ROOT / "tests").get(claim, []))
    return (
        f"*Studies and figures:* {', '.join(map(_study_link, studies)) or 'none'}. "
        f"*Checks:* {checks}. *Tests:* {count}, named `test_{claim}_...`, in "
        f"{', '.join(relative) or 'no file'}."
    )


def _bearing(claim: str) -> str:
    found = [name for name, study in _studies().items() if claim in study.claims]
    if not found:
        raise LookupError(f"no study bears on {claim}")
    return ", ".join(map(_study_link, found))


@functools.cache
def _drawn() -> frozenset[str]:
    # Once a build: a figure that is drawn in the meantime waits for the next.
    return frozenset(image.stem for image in FIGURES.glob("*.png"))


def _gallery() -> str:
    parts = []
    for name, study in _studies().items():
        title = study.title.rstrip(".")
        claims = ", ".join(f"[{claim}](theory.md#{claim.lower()})" for claim in study.claims)
        image = f"![{html.escape(title)}](figures/{name}.png)" if name in _drawn() else ABSENT
        parts.append(
            f"## {title} {{ #{name} }}\n\n{image}\n\n{_caption(name)}\n\n"
            f"Claims: {claims or 'none'}. Study: `experiments/{name}.py`; "
            f"`python -m experiments trace {name}` prints its configuration, versions and hashes.\n"
        )
    return "\n".join(parts)


def _caption(name: str) -> str:
    path = ROOT / "figures" / f"{name}.py"
    if not path.is_file():
        return ""
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if not isinstance(node, ast.Assign | ast.AnnAssign) or node.value is None:
            continue
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        if any(isinstance(target, ast.Name) and target.id == "CAPTION" for target in targets):
            return html.escape(ast.literal_eval(node.value), quote=False)
    raise LookupError(f"figures/{name}.py has no CAPTION")


def _rest(module: str, markdown: str) -> str:
    """Name the public names of a module that its page does not name by itself."""
    present = set(re.findall(rf"^::: {re.escape(module)}\.(\w+)", markdown, re.MULTILINE))
    missing = [name for name in public_names(module) if name not in present]
    return "\n\n".join(f"::: {module}.{name}" for name in missing)


_DIRECTIVE: Final = re.compile(r"^::: ([\w.]+)\.(\w+)$", re.MULTILINE)


def defined(markdown: str) -> str:
    """Name public objects by where they are defined, where a file has the same name as they."""
    return _DIRECTIVE.sub(lambda found: f"::: {identifier(found[1], found[2])}", markdown)


def identifier(module: str, name: str) -> str:
    """Return the identifier of a public name, which is also its anchor on the page of its room.

    `rdsim.limits.rate_distortion` is a function to whoever imports it, and a file to a reader of
    the source text.
    """
    folder = ROOT / module.replace(".", "/")
    if not (folder / f"{name}.py").is_file():
        return f"{module}.{name}"
    for node in ast.parse((folder / "__init__.py").read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ImportFrom) and any(part.name == name for part in node.names):
            return f"{module}.{name}" if node.module == module else f"{node.module}.{name}"
    return f"{module}.{name}"


def _api(what: str) -> str:
    room, _, name = what.rpartition(".")
    module = f"rdsim.{room}"
    if name not in public_names(module):
        raise LookupError(f"{name} is not a public name of {module}")
    return f"[`{name}`][{identifier(module, name)}]"


def public_names(module: str) -> list[str]:
    """Return what `__all__` of a module lists, or its public functions and classes, unimported."""
    path = ROOT / module.replace(".", "/")
    file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    body = ast.parse(file.read_text(encoding="utf-8")).body
    for node in body:
        if isinstance(node, ast.Assign) and any(
            isinstance(target, ast.Name) and target.id == "__all__" for target in node.targets
        ):
            return list(ast.literal_eval(node.value))
    defined = (node for node in body if isinstance(node, ast.FunctionDef | ast.ClassDef))
    return [node.name for node in defined if not node.name.startswith("_")]


def _include(file: str) -> str:
    path = ROOT / file
    if not path.is_file():
        return f"`{file}` is not there yet."
    text = path.read_text(encoding="utf-8")
    # Links of a file at the top of the repository lead nowhere on the site: keep their words.
    text = re.sub(r"(?<!!)\[([^\]]+)\]\((?!https?:|#)[^)]+\)", r"\1", text)
    return re.sub(r"^# .*\n", "", text, count=1)


def _benchmarks() -> str:
    if not (ROOT / "benchmarks" / "RESULTS.md").is_file():
        return '<span class="placeholder">(run `make bench`)</span>'
    return re.sub(r"^#", "##", _include("benchmarks/RESULTS.md"), flags=re.MULTILINE)


@functools.cache
def _studies() -> dict[str, Any]:
    from experiments._study import discover

    return discover()


def _known(study: str) -> None:
    if study not in _studies():
        raise LookupError(f"unknown study {study}")


@functools.cache
def _module(study: str) -> Any:
    _known(study)
    return importlib.import_module(f"experiments.{study}")


_SOURCES: Final[dict[str, Callable[..., str]]] = {
    "check": _check,
    "result": _result,
    "config": _config,
    "presets": _presets,
    "ledger": _ledger,
    "gallery": _gallery,
    "benchmarks": _benchmarks,
    "evidence": _evidence,
    "studies": _bearing,
    "rest": _rest,
    "api": _api,
    "include": _include,
}
