"""Writes the numbers of a saved result as one table, each with its bounds beside it.

The table has one row for every number. Its columns are the variable, its units, the coordinates of
the dataset (empty where the variable has none; a dimension without labels is counted from 0), the
value, and what certifies the value: lower, upper, gap, standard_error. The lines above the table
begin with # and say where the numbers come from; the last of them is a hash of the table.
"""

import csv
import hashlib
import io
import itertools
import json
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import xarray

from rdsim import files
from rdsim.cli.provenance import hash_files

COLUMNS: Final = {"lower": "lower", "upper": "upper", "gap": "gap", "error": "standard_error"}
"""The last word of a bounding variable's name, and the column it becomes."""

_BOUNDED: Final = ("", "mean", "value", "rate")
"""Last word of what it bounds: STEM_lower bounds STEM, or else STEM_mean, STEM_value or STEM_rate."""


def write(dataset: xarray.Dataset, path: Path) -> Literal["written", "fresh"]:
    """Write the table of a saved result, unless the file holds it already."""
    header = "".join(
        f"# {key}: {_line(value)}\n" for key, value in _facts(dataset).items()
    ).encode()
    if _whole(path, header):
        return "fresh"
    body = _table(dataset).encode()
    files.write(path, header + _seal(body) + body)
    return "written"


def bounds(dataset: xarray.Dataset) -> dict[str, dict[str, str]]:
    """Find what bounds each variable, by their names: {variable: {column: the variable that bounds it}}.

    STEM_lower bounds STEM, or else STEM_mean, STEM_value or STEM_rate, the first that is a variable of the same
    dimensions and units; where the stem is empty, `lower` bounds `mean`, `value` or `rate`. The same holds for upper,
    gap and error. Any other variable that ends so is shown as a variable of its own.
    """
    found: dict[str, dict[str, str]] = {}
    for name in map(str, dataset.data_vars):
        stem, _, word = name.rpartition("_")
        if word not in COLUMNS:
            continue
        bases = ("_".join(filter(None, (stem, last))) for last in _BOUNDED)
        base = next((base for base in bases if base and _fits(dataset, base, name)), None)
        if base is not None:
            found.setdefault(base, {})[COLUMNS[word]] = name
    return found


def _fits(dataset: xarray.Dataset, base: str, name: str) -> bool:
    if base not in dataset.data_vars:
        return False
    value, bound = dataset[base], dataset[name]
    return value.dims == bound.dims and value.attrs.get("units") == bound.attrs.get("units")


def _facts(dataset: xarray.Dataset) -> dict[str, Any]:
    attributes = dataset.attrs
    versions = json.loads(attributes["versions_json"])
    return {
        "study": attributes["study"],
        "claims": ", ".join(attributes["claims"].split(",")),
        "preset": attributes["preset"],
        "seed": attributes["seed"],
        "config": attributes["config_json"],
        "config hash": attributes["config_hash"],
        "code hash": attributes["code_hash"],
        "data hash": attributes["data_hash"],
        "versions": ", ".join(f"{name} {version}" for name, version in versions.items()),
        "layout": hash_files([Path(__file__)]),
    }


def _line(value: Any) -> str:
    """Write a value on one line, so that no attribute can add a row to the table."""
    return " ".join(str(value).splitlines())


def _seal(body: bytes) -> bytes:
    return f"# table hash: {hashlib.sha256(body).hexdigest()}\n".encode()


def _whole(path: Path, header: bytes) -> bool:
    try:
        content = path.read_bytes()
    except OSError:
        return False
    if not content.startswith(header):
        return False
    seal, _, body = content[len(header) :].partition(b"\n")
    return seal + b"\n" == _seal(body)


def _table(dataset: xarray.Dataset) -> str:
    bounding = bounds(dataset)
    inside = {name for columns in bounding.values() for name in columns.values()}
    shown = [name for name in map(str, dataset.data_vars) if name not in inside]
    dims = dict.fromkeys(str(dim) for name in shown for dim in dataset[name].dims)
    aside = [str(name) for name in dataset.coords if name not in dims]
    certificates = [
        column
        for column in COLUMNS.values()
        if any(column in columns for columns in bounding.values())
    ]
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(["variable", "units", *dims, *aside, "value", *certificates])
    for name in shown:
        variable = dataset[name]
        columns: list[list[str] | itertools.repeat[str]] = [
            itertools.repeat(name, variable.size),
            itertools.repeat(str(variable.attrs.get("units", ""))),
            *(_labels(variable, dim) for dim in dims),
            *(_aside(variable, coordinate) for coordinate in aside),
            _texts(variable.values),
        ]
        for column in certificates:
            bound = bounding.get(name, {}).get(column)
            columns.append(_texts(dataset[bound].values) if bound else itertools.repeat(""))
        writer.writerows(zip(*columns, strict=False))
    return buffer.getvalue()


def _labels(variable: xarray.DataArray, dim: str) -> list[str] | itertools.repeat:
    """Repeat the labels of one dimension in the order of the values."""
    if dim not in variable.dims:
        return itertools.repeat("")
    axis = variable.dims.index(dim)
    labels = variable[dim].values if dim in variable.coords else np.arange(variable.shape[axis])
    shape = [-1 if place == axis else 1 for place in range(variable.ndim)]
    return _texts(np.broadcast_to(np.asarray(labels).reshape(shape), variable.shape))


def _aside(variable: xarray.DataArray, coordinate: str) -> list[str] | itertools.repeat:
    """Repeat a coordinate that is no dimension, where the variable has it."""
    if coordinate not in variable.coords or not variable.coords[coordinate].ndim:
        return itertools.repeat("")
    there = variable.coords[coordinate]
    repeated = there.broadcast_like(variable).transpose(*variable.dims)
    return _texts(repeated.values)


def _texts(values: np.ndarray) -> list[str]:
    """Write each value so that reading it gives the same number."""
    flat = np.asarray(values).ravel().tolist()
    return [value if isinstance(value, str) else repr(value) for value in flat]
