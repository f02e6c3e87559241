"""Results on disk: one NetCDF file a study, which itself says what it was made from.

There is no database beside the files. A file is fresh when its hashes of the configuration and of
the code are today's; it is corrupt when it cannot be read or its data no longer has its own hash.
"""

import dataclasses
import functools
import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import xarray

from experiments.runner.discovery import Preset, Study
from rdsim import files
from rdsim.cli.provenance import (
    ENGINE,
    PROVENANCE,
    CorruptError,
    data_hash,
    hash_files,
    library_files,
    sealed,
    sha256,
    unsealed,
    versions,
)


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
        return sha256(self.config_json.encode())

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
    files.write(recipe.path(results), content)
    return stored


def load(path: Path) -> xarray.Dataset:
    """Read a result into memory and check it against its own hash.

    Raises:
        FileNotFoundError: there is no such file.
        CorruptError: it is truncated, damaged, or no result.

    """
    if path.exists() and not path.is_file():
        raise CorruptError("it is no regular file")  # to read a named pipe is to wait for a writer
    return _decoded(path.read_bytes())


def _decoded(content: bytes) -> xarray.Dataset:
    # Damage is found before HDF5 sees the file: there are bits that send it into an endless loop.
    body = unsealed(content)
    try:
        dataset = xarray.load_dataset(io.BytesIO(body), engine=ENGINE)
        found = data_hash(dataset)
    except Exception as error:  # what is no NetCDF fails in many ways, all meaning the same
        raise CorruptError(f"the file cannot be read ({type(error).__name__})") from error
    attributes = dataset.attrs
    if missing := sorted(PROVENANCE - set(attributes)):
        raise CorruptError(f"it does not say its {', '.join(missing)}")
    if attributes["data_hash"] != found:
        raise CorruptError("its data does not have the hash it was saved with")
    try:
        readable = (
            all(isinstance(attributes[name], str) for name in PROVENANCE - {"seed"})
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


def code_hash(study: Study) -> str:
    """Hash the study's file, what the studies share, and the library that they call."""
    shared = sorted(study.file.parent.glob("shared/*.py"))
    return hash_files([study.file, *shared, *library_files()])
