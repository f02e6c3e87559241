"""Draws saved results, writes the index of figures, and traces a figure to where it came from."""

import importlib
import importlib.metadata
import json
from pathlib import Path
from typing import Literal

import xarray
from PIL import Image

from experiments._claims import STATEMENTS, guards
from experiments._store import hash_files
from experiments._study import Preset, Study, StudyError, source_file
from figures import _atomic, _style

PACKAGE = "figures"
"""The package whose modules draw; each bears the name of its study."""

Outcome = Literal["drawn", "fresh", "no figure file"]


def folder(output: Path, preset: Preset) -> Path:
    """Return where the figures of a preset go; those of quick are the ones readers see first."""
    return output if preset == "quick" else output / preset


def draw(study: Study, dataset: xarray.Dataset, target: Path) -> Outcome:
    """Write NAME.png and NAME.pdf into the target, unless they show this data already."""
    module, file = f"{PACKAGE}.{study.name}", source_file(f"{PACKAGE}.{study.name}")
    if file is None:
        return "no figure file"
    metadata = {
        "Claims": ", ".join(dataset.attrs["claims"].split(",")),
        "Study": study.name,
        "Data": dataset.attrs["data_hash"],
        "Code": hash_files([file, Path(_style.__file__)]),
        "Matplotlib": importlib.metadata.version("matplotlib"),
    }
    stem = target / study.name
    if (
        _metadata(stem.with_suffix(".png")) >= metadata.items()
        and stem.with_suffix(".pdf").exists()
    ):
        return "fresh"
    with _style.applied():
        _style.save(importlib.import_module(module).draw(dataset), stem, metadata)
    return "drawn"


def index(entries: list[tuple[Study, xarray.Dataset]], target: Path) -> Path:
    """Write index.md: each figure with its caption and its whole provenance."""
    guarded = guards()
    lines = ["# Figures", ""]
    for study, dataset in entries:
        lines += [f"## {study.title}", "", f"![{study.title}]({study.name}.png)", ""]
        lines += [importlib.import_module(f"{PACKAGE}.{study.name}").CAPTION, ""]
        lines += [f"- {key}: {value}" for key, value in _facts(study, dataset, guarded)]
        lines += [f"- [PDF]({study.name}.pdf)", ""]
    path = target / "index.md"
    _atomic.write(path, "\n".join(lines).encode())
    return path


def trace(study: Study, dataset: xarray.Dataset, target: Path) -> list[tuple[str, str]]:
    """Return the provenance of a figure as (what, which), with whether its file shows this data."""
    if source_file(f"{PACKAGE}.{study.name}") is None:
        raise StudyError(f"{study.name} has no figure: there is no figures/{study.name}.py")
    shown = dict(_metadata(target / f"{study.name}.png")).get("Data")
    if shown is None:
        figure = "not drawn"
    elif shown == dataset.attrs["data_hash"]:
        figure = f"{(target / study.name).as_posix()}.png shows this data"
    else:
        figure = f"{(target / study.name).as_posix()}.png shows other data ({shown[:8]}); draw it"
    return [("figure", figure), *_facts(study, dataset, guards())]


def _facts(
    study: Study, dataset: xarray.Dataset, guarded: dict[str, list[str]]
) -> list[tuple[str, str]]:
    attributes = dataset.attrs
    claims = attributes["claims"].split(",")
    versions = json.loads(attributes["versions_json"])
    return [
        *((f"claim {claim}", STATEMENTS.get(claim, "")) for claim in claims),
        ("study", f"{study.name} ({attributes['preset']})"),
        ("config", attributes["config_json"]),
        ("seed", str(attributes["seed"])),
        ("versions", ", ".join(f"{name} {version}" for name, version in versions.items())),
        ("data hash", attributes["data_hash"]),
        *(
            (f"tests of {claim}", ", ".join(guarded.get(claim, [])) or "none yet")
            for claim in claims
        ),
    ]


def _metadata(png: Path) -> set[tuple[str, str]]:
    try:
        with Image.open(png) as image:
            return {(str(key), str(value)) for key, value in image.info.items()}
    except OSError:  # missing, or no PNG: it is drawn again
        return set()
