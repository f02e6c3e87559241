"""Results on disk: one NetCDF file a study, which itself says what it was made from.

There is no database beside the files. A file is fresh when its hashes of the configuration and of
the code are today's; it is corrupt when it cannot be read or its data no longer has its own hash.
"""

import ast
import dataclasses
import functools
import hashlib
import importlib.metadata
import importlib.util
import io
import json
import platform
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import xarray

from experiments import _study
from experiments._study import Preset, Study, source_file

ENGINE: Final = "h5netcdf"
"""The scipy engine would narrow 64-bit integers."""

_PROVENANCE: Final = frozenset(
    (
        *("study", "title", "claims", "preset", "seed", "config_json", "config_hash"),
        *("code_hash", "versions_json", "data_hash"),
    )
)
"""Attributes about the making of a result; a study may add others about its data."""

_APPARATUS: Final = ("_cells", "_claims", "_csv", "_draw", "_store", "_study", "_tables")
"""Modules that describe, judge and store what studies compute: no number comes from them."""


class CorruptError(Exception):
    """A result that cannot be read, or whose data is not what was written."""


@dataclass(frozen=True)
class Recipe:
    """All that decides what a run of a study computes.

    Attributes:
        study: the study.
        preset: which of its configurations.
        seed: of the PRNG key.
        code_hash: SHA-256 of the study's file, of those beside it that it imports, and of every file
            of the library.

    """

    study: Study
    preset: Preset
    seed: int
    code_hash: str

    @classmethod
    def of(cls, study: Study, preset: Preset, seed: int = 0) -> "Recipe":
        """Gather the recipe of a study as its files stand now."""
        return cls(study, preset, seed, code_hash(study))

    @functools.cached_property
    def config_json(self) -> str:
        """The configuration as JSON, keys sorted; the first to ask imports the study."""
        return json.dumps(dataclasses.asdict(self.study.config(self.preset)), sort_keys=True)

    @property
    def config_hash(self) -> str:
        """SHA-256 of config_json."""
        return _sha256(self.config_json.encode())

    def path(self, results: Path) -> Path:
        """Return the file that holds the result."""
        return results / self.preset / f"{self.study.name}.nc"

    def attributes(self) -> dict[str, Any]:
        """Return what the result says about its own making."""
        return {
            "study": self.study.name,
            "title": self.study.title,
            "claims": ",".join(self.study.claims),
            "preset": self.preset,
            "seed": self.seed,
            "config_json": self.config_json,
            "config_hash": self.config_hash,
            "code_hash": self.code_hash,
            "versions_json": json.dumps(versions(), sort_keys=True),
        }


@dataclass(frozen=True)
class State:
    """Whether a stored result can be used.

    Attributes:
        kind: fresh, stale, missing or corrupt.
        reason: why it is stale or corrupt, empty otherwise.
        dataset: what was read, where it could be read.

    """

    kind: Literal["fresh", "stale", "missing", "corrupt"]
    reason: str = ""
    dataset: xarray.Dataset | None = None

    def __str__(self) -> str:
        return f"{self.kind} because {self.reason}" if self.reason else self.kind


def state(recipe: Recipe, results: Path) -> State:
    """Compare the stored result with what a run would compute now."""
    try:
        dataset = load(recipe.path(results))
    except (FileNotFoundError, NotADirectoryError):
        return State("missing")
    except OSError as error:
        return State("corrupt", f"it cannot be read: {error.strerror}")
    except CorruptError as error:
        return State("corrupt", str(error))
    found = dataset.attrs
    # The code says what the configuration of a preset is. Where both are the same the study need
    # not be imported, and with it JAX and the library.
    same = (found.get("code_hash"), found.get("preset")) == (recipe.code_hash, recipe.preset)
    changed = [
        word
        for word, differs in (
            ("config", not same and found.get("config_hash") != recipe.config_hash),
            ("code", found.get("code_hash") != recipe.code_hash),
            ("seed", found.get("seed") != recipe.seed),
        )
        if differs
    ]
    if changed:
        return State("stale", f"{' and '.join(changed)} changed", dataset)
    return State("fresh", dataset=dataset)


def save(dataset: xarray.Dataset, recipe: Recipe, results: Path) -> xarray.Dataset:
    """Write the result with its provenance in one step, and return it as it reads back."""
    labelled = dataset.assign_attrs(dataset.attrs | recipe.attributes())
    labelled.attrs["data_hash"] = data_hash(labelled)
    body = bytes(labelled.to_netcdf(engine=ENGINE))
    content = sealed(body)
    stored = _decoded(content)
    write_file(recipe.path(results), content)
    return stored


def write_file(path: Path, content: bytes) -> None:
    """Write a file whole or not at all."""
    from rdsim import files  # so that reading a result does not wait for the library

    files.write(path, content)


def load(path: Path) -> xarray.Dataset:
    """Read a result into memory and check it against its own hash.

    Raises:
        FileNotFoundError: there is no such file.
        CorruptError: it is truncated, damaged, or no result.

    """
    if path.exists() and not path.is_file():
        raise CorruptError("it is no regular file")  # to read a named pipe is to wait for a writer
    return _decoded(path.read_bytes())


def sealed(body: bytes) -> bytes:
    """Put the hash of a file after its end, where readers of HDF5 and of zip do not look."""
    return body + b"\nSHA-256 " + _sha256(body).encode()


def unsealed(content: bytes) -> bytes:
    """Return what was sealed.

    Raises:
        CorruptError: it is cut off or altered.

    """
    body = content[: -len(sealed(b""))]
    if content != sealed(body):
        raise CorruptError("the file is not what was saved: it is cut off or altered")
    return body


def data_hash(dataset: xarray.Dataset) -> str:
    """Hash the variables: their names, dimensions, types, attributes and values.

    So are the attributes that the study itself gave the dataset, not those about its making.
    """
    own = {name: dataset.attrs[name] for name in dataset.attrs if name not in _PROVENANCE}
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


def code_hash(study: Study) -> str:
    """Hash the study's file, what it imports from beside it, and the library that it calls."""
    return hash_files([*with_imports(study.file, _study.PACKAGE), *library_files()])


def with_imports(file: Path, package: str) -> list[Path]:
    """List a file of a package and, sorted, all files of the package that it imports by any way.

    They are found in the text of the files: nothing is imported. The apparatus is left out.
    """
    found = {file}
    waiting = [file]
    while waiting:
        for name in _imported(waiting.pop().read_text(encoding="utf-8"), package):
            other = None if name in _APPARATUS else source_file(f"{package}.{name}")
            if other is not None and other not in found:
                found.add(other)
                waiting.append(other)
    return [file, *sorted(found - {file})]


@functools.lru_cache(maxsize=256)
def _imported(text: str, package: str) -> frozenset[str]:
    """Names that a module's text imports from a package, wherever in the text it does."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            origin = package if node.level else ""
            module = ".".join(filter(None, (origin, node.module)))
            names.update(f"{module}.{alias.name}" for alias in node.names)
    inside = f"{package}."
    return frozenset(
        name.removeprefix(inside).partition(".")[0] for name in names if name.startswith(inside)
    )


def library_files() -> list[Path]:
    """List every Python file of rdsim, without importing it."""
    root = source_file("rdsim")
    return sorted(root.parent.rglob("*.py")) if root else []


def hash_files(files: Iterable[Path]) -> str:
    """Hash the names and contents of files."""
    digest = hashlib.sha256()
    for file in files:
        digest.update(f"{file.name}:{_sha256(file.read_bytes())};".encode())
    return digest.hexdigest()


def versions() -> dict[str, str]:
    """Name the software and the kind of machine that compute now."""
    import jax  # so that reading a result does not wait for JAX

    packages = ("rdsim", "jax", "jaxlib", "numpy", "scipy")
    # Only the studies of learned systems need these.
    learning = tuple(name for name in ("flax", "optax") if importlib.util.find_spec(name))
    return {name: importlib.metadata.version(name) for name in (*packages, *learning)} | {
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
        "backend": jax.default_backend(),
    }


def _decoded(content: bytes) -> xarray.Dataset:
    # Damage is found before HDF5 sees the file: there are bits that send it into an endless loop.
    body = unsealed(content)
    try:
        dataset = xarray.load_dataset(io.BytesIO(body), engine=ENGINE)
        found = data_hash(dataset)
    except Exception as error:  # what is no NetCDF fails in many ways, all meaning the same
        raise CorruptError(f"the file cannot be read ({type(error).__name__})") from error
    attributes = dataset.attrs
    if missing := sorted(_PROVENANCE - set(attributes)):
        raise CorruptError(f"it does not say its {', '.join(missing)}")
    if attributes["data_hash"] != found:
        raise CorruptError("its data does not have the hash it was saved with")
    try:
        readable = (
            all(isinstance(attributes[name], str) for name in _PROVENANCE - {"seed"})
            and all(
                isinstance(json.loads(attributes[name]), dict)
                for name in ("config_json", "versions_json")
            )
            and int(attributes["seed"]) == attributes["seed"]
        )
    except (ValueError, TypeError, RecursionError):
        readable = False
    if not readable:
        raise CorruptError("its attributes are not of the types they were saved with")
    return dataset


def _plain(attributes: Mapping[Any, Any]) -> str:
    """Write attributes as text that is the same before they were stored and after."""
    named = {str(name): np.atleast_1d(value).tolist() for name, value in attributes.items()}
    return json.dumps(named, sort_keys=True)


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
