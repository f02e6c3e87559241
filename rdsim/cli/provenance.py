"""Provenance of a file: hashes of the code and of the data, versions, and a check sum at its end."""

import hashlib
import importlib.metadata
import importlib.util
import json
import platform
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import jax
import numpy as np

import rdsim

if TYPE_CHECKING:
    import xarray

ENGINE: Final = "h5netcdf"
"""The scipy engine would narrow 64-bit integers."""

PROVENANCE: Final = frozenset(
    (
        "study",
        "title",
        "claims",
        "preset",
        "seed",
        "config_json",
        "config_hash",
        "code_hash",
        "versions_json",
        "data_hash",
    )
)
"""Attributes about the making of a result; a study may add others about its data."""

_NO_NUMBERS: Final = ("cli", "plotting", "__main__.py", "_version.py")
"""Parts of the library that ask, print, store and draw: no number comes from them."""


class CorruptError(Exception):
    """A result that cannot be read, or whose data is not what was written."""


def sealed(body: bytes) -> bytes:
    """Put the hash of a file after its end, where readers of HDF5 and of zip do not look."""
    return body + b"\nSHA-256 " + sha256(body).encode()


def unsealed(content: bytes) -> bytes:
    """Return what was sealed.

    Raises:
        CorruptError: it is cut off or altered.

    """
    body = content[: -len(sealed(b""))]
    if content != sealed(body):
        raise CorruptError("the file is not what was saved: it is cut off or altered")
    return body


def data_hash(dataset: "xarray.Dataset") -> str:
    """Hash the variables: their names, dimensions, types, attributes and values.

    So are the attributes that the study itself gave the dataset, not those about its making.
    """
    own = {name: dataset.attrs[name] for name in dataset.attrs if name not in PROVENANCE}
    digest = hashlib.sha256(_plain(own).encode())
    for name in sorted(map(str, dataset.variables)):
        variable = dataset.variables[name]
        values = np.asarray(variable.values)
        text = values.dtype.kind not in "biufc"
        if values.dtype.kind in "fc":
            # NaN has many bit patterns, and reading a file may change one for another.
            values = np.where(np.isnan(values), np.nan, values).astype(values.dtype)
        header = {
            "name": name,
            "coordinate": name in dataset.coords,
            "dims": list(map(str, variable.dims)),
            "shape": list(values.shape),
            "dtype": "text" if text else values.dtype.newbyteorder("<").str,
        }
        digest.update(json.dumps(header, sort_keys=True).encode() + _plain(variable.attrs).encode())
        little = values if text else values.astype(values.dtype.newbyteorder("<"))
        digest.update(json.dumps(values.tolist()).encode() if text else little.tobytes())
    return digest.hexdigest()


def source_file(module: str) -> Path | None:
    """Return the file of a module without importing it, None if there is no such module."""
    spec = importlib.util.find_spec(module)
    return Path(spec.origin) if spec is not None and spec.origin else None


def library_files() -> list[Path]:
    """List every Python file of the library from which a number may come."""
    root = Path(rdsim.__file__).parent
    found = sorted(root.rglob("*.py"))
    return [file for file in found if file.relative_to(root).parts[0] not in _NO_NUMBERS]


def hash_files(files: Iterable[Path]) -> str:
    """Hash the names and contents of files."""
    digest = hashlib.sha256()
    for file in files:
        digest.update(f"{file.name}:{sha256(file.read_bytes())};".encode())
    return digest.hexdigest()


def versions() -> dict[str, str]:
    """Name the software and the kind of machine that compute now."""
    packages = ("rdsim", "jax", "jaxlib", "numpy", "scipy", "flax", "optax")
    return {name: importlib.metadata.version(name) for name in packages} | {
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
        "backend": jax.default_backend(),
    }


def _plain(attributes: Mapping[Any, Any]) -> str:
    """Write attributes as text that is the same before they were stored and after."""
    named = {str(name): np.atleast_1d(value).tolist() for name, value in attributes.items()}
    return json.dumps(named, sort_keys=True)


def sha256(content: bytes) -> str:
    """Hash bytes, as hexadecimal digits."""
    return hashlib.sha256(content).hexdigest()
