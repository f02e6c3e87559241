"""Studies: their configurations, and the claims on which they bear."""

import dataclasses
import functools
import html
import importlib
from typing import Any

from _pages import gallery


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
    """Return a link to the figure of a study, its bare name where the gallery does not show it."""
    place = f"figure-{study}"
    return f"[{study}](gallery.md#{place})" if gallery.shows(place) else html.escape(study)


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
