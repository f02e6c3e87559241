"""Studies: their configurations, what they bear on, their figures and captions."""

import ast
import dataclasses
import functools
import html
import importlib
from typing import Any, Final

from _pages import ABSENT, ROOT

FIGURES: Final = ROOT / "figures" / "output"


@functools.cache
def every() -> dict[str, Any]:
    """Return the studies by name."""
    from experiments.runner.discovery import discover

    return discover()


@functools.cache
def _module(study: str) -> Any:
    known(study)
    return importlib.import_module(f"experiments.{study}")


def known(study: str) -> None:
    """Raise where there is no such study."""
    if study not in every():
        raise LookupError(f"unknown study {study}")


def link(study: str) -> str:
    """Return a link to a study in the gallery, the bare name of one that is no longer there."""
    return f"[{study}](gallery.md#{study})" if study in every() else html.escape(study)


def bearing(claim: str) -> str:
    """Return links to the studies that bear on a claim."""
    found = [name for name, study in every().items() if claim in study.claims]
    if not found:
        raise LookupError(f"no study bears on {claim}")
    return ", ".join(map(link, found))


def config(where: str) -> str:
    """Return PRESET STUDY.FIELD of the configurations."""
    preset, _, what = where.partition(" ")
    study, _, field = what.partition(".")
    value = getattr(getattr(_module(study), preset.upper()), field)
    return _short(value)


def presets() -> str:
    """Return as a table where the presets of every study differ."""
    lines = ["| study | field | quick | full |", "|---|---|---|---|"]
    for name in every():
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


@functools.cache
def drawn() -> frozenset[str]:
    """Return the names of the figures that there are."""
    # Once a build: a figure that is drawn in the meantime waits for the next.
    return frozenset(image.stem for image in FIGURES.glob("*.png"))


def gallery() -> str:
    """Return every figure with its caption and claims."""
    parts = []
    for name, study in every().items():
        title = study.title.rstrip(".")
        claims = ", ".join(f"[{claim}](theory.md#{claim.lower()})" for claim in study.claims)
        image = f"![{html.escape(title)}](figures/{name}.png)" if name in drawn() else ABSENT
        parts.append(
            f"## {html.escape(title, quote=False)} {{ #{name} }}\n\n{image}\n\n{_caption(name)}\n\n"
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
