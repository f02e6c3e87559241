"""Draws saved results with their numbers beside them, and traces a figure to where it came from."""

import importlib
import importlib.metadata
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import xarray
from PIL import Image

from experiments.runner import csv_files
from experiments.runner.claims import STATEMENTS, guards
from experiments.runner.discovery import Preset, Study
from rdsim.cli.messages import CommandError
from rdsim.cli.provenance import hash_files, source_file
from rdsim.plotting import style

PACKAGE = "figures"
"""The package whose modules draw; each bears the name of its study."""

Outcome = Literal["drawn", "fresh", "no figure file"]


def folder(output: Path, preset: Preset) -> Path:
    """Return where the figures of a preset go; those of quick are the ones readers see first."""
    return output if preset == "quick" else output / preset


def draw(study: Study, dataset: xarray.Dataset, target: Path) -> Outcome:
    """Write NAME.csv, NAME.pdf and NAME.png into the target, unless they show this data already."""
    module, file = f"{PACKAGE}.{study.name}", source_file(f"{PACKAGE}.{study.name}")
    if file is None:
        return "no figure file"
    metadata = {
        "Claims": ", ".join(dataset.attrs["claims"].split(",")),
        "Study": study.name,
        "Data": dataset.attrs["data_hash"],
        "Code": hash_files([file, *sorted(Path(style.__file__).parent.glob("*.py"))]),
        "Matplotlib": importlib.metadata.version("matplotlib"),
    }
    stem = target / study.name
    try:
        numbers = csv_files.write(dataset, stem.with_suffix(".csv"))
        if _whole(stem, metadata):
            return "fresh" if numbers == "fresh" else "drawn"
        with style.applied():
            style.save(importlib.import_module(module).draw(dataset), stem, metadata)
    except (OSError, MemoryError):
        raise
    except Exception as error:  # of other code, or made up: whatever the figure lacks in it
        raise CommandError(
            f"{study.name} cannot be drawn from its result ({type(error).__name__}: {error}); "
            f"compute it again: rdsim run {study.name} --force"
        ) from error
    return "drawn"


def _whole(stem: Path, metadata: Mapping[str, str]) -> bool:
    """Whether both files of a figure are there, undamaged, and of this origin."""
    found = dict(_metadata(stem.with_suffix(".png")))
    try:
        pdf = stem.with_suffix(".pdf").read_bytes()
    except OSError:
        return False
    return found.items() >= {**metadata, "PDF": style.digest(pdf)}.items()


def trace(study: Study, dataset: xarray.Dataset, target: Path) -> list[tuple[str, str]]:
    """Return the provenance of a figure as (what, which), with whether its file shows this data."""
    if source_file(f"{PACKAGE}.{study.name}") is None:
        raise CommandError(f"{study.name} has no figure: there is no figures/{study.name}.py")
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
    none = "none yet" if guarded else "not known outside a checkout"
    return [
        *((f"claim {claim}", STATEMENTS.get(claim, "")) for claim in claims),
        ("study", f"{study.name} ({attributes['preset']})"),
        ("config", attributes["config_json"]),
        ("seed", str(attributes["seed"])),
        ("versions", ", ".join(f"{name} {version}" for name, version in versions.items())),
        ("data hash", attributes["data_hash"]),
        *((f"tests of {claim}", ", ".join(guarded.get(claim, [])) or none) for claim in claims),
    ]


def _metadata(png: Path) -> set[tuple[str, str]]:
    try:
        with Image.open(png) as image:
            found = {(str(key), str(value)) for key, value in image.info.items()}
            image.verify()
    except Exception:  # missing, no PNG, or one whose checksums are wrong: it is drawn again
        return set()
    return found
