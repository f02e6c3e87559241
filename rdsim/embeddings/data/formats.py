"""Reads vectors from the files that people have, unread where the format allows it.

| file | read by |
|---|---|
| .npy (bfloat16 too), .npz with one array or one of the given name | NumPy; .npy is memory-mapped |
| a folder of shards (img_emb_0.npy, img_emb_1.npy, ...) | in the order of their numbers |
| .fvecs, .ivecs, .bvecs (the TEXMEX sets); .fbin, .u8bin, .i8bin, .ibin (BIGANN) | memory-mapped |
| .h5, .hdf5 (ann-benchmarks: train, test, neighbors) | h5py, read in blocks |
| .safetensors, .parquet | the extra `embeddings` |

Which of several arrays of a file is meant is said after a colon: `set.hdf5:test`.
"""

import re
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import ml_dtypes
import numpy as np

from rdsim.embeddings.data.vectors import Vectors


class MissingPackageError(ImportError):
    """A file needs an optional package; the message says which extra brings it."""


def read_vectors(path: str | Path, name: str = "vectors") -> Vectors:
    """Open a file, or a folder of shards, of vectors.

    Args:
        path: of the file; `file:array` chooses one of several arrays.
        name: of the argument, for messages; also of the array that is preferred in a file of several.

    Returns:
        The vectors. Of .npy, .fvecs, .fbin and HDF5 files nothing but the header is read yet.

    """
    path, _, member = str(path).partition(":") if not Path(path).exists() else (str(path), "", "")
    place = Path(path)
    if not place.exists():
        raise ValueError(f"{name}: there is no file {place}")
    files = shards(place, name) if place.is_dir() else [place]
    sources = [_open(file, name, member) for file in files]
    for file, source in zip(files, sources, strict=True):
        if len(source.shape) != 2 or 0 in source.shape:
            raise ValueError(
                f"{name} must have shape (rows, coordinates), one vector a row; {file} holds shape "
                f"{tuple(source.shape)}"
            )
        if source.shape[1] != sources[0].shape[1] or source.dtype != sources[0].dtype:
            raise ValueError(
                f"{name}: every shard must have the width and type of the first, {files[0].name}: "
                f"{sources[0].shape[1]} of {sources[0].dtype}; {file.name} has {source.shape[1]} of "
                f"{source.dtype}"
            )
    return Vectors(sources)


def read_table(path: str | Path, name: str) -> np.ndarray:
    """Read a whole array of numbers of one or two dimensions, such as target rows."""
    place, _, member = str(path).partition(":") if not Path(path).exists() else (str(path), "", "")
    if not Path(place).is_file():
        raise ValueError(f"{name}: there is no file {place}")
    source = _open(Path(place), name, member)
    return np.asarray(source[()] if not isinstance(source, np.ndarray) else source)


def shards(folder: Path, name: str) -> list[Path]:
    """List the files of a folder that can be read, in the order of the numbers in their names."""
    found = [file for file in folder.iterdir() if file.suffix.lower() in READERS]
    if not found:
        raise ValueError(f"{name}: no file of vectors in the folder {folder}")
    kinds = sorted({file.suffix.lower() for file in found})
    if len(kinds) > 1:
        raise ValueError(f"{name}: the shards in {folder} must be of one kind, got {kinds}")
    return sorted(found, key=lambda file: [int(n) for n in re.findall(r"\d+", file.stem)])


def _open(path: Path, name: str, member: str) -> Any:
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        raise ValueError(f"{name}: {path} must be one of {', '.join(READERS)}")
    try:
        found = reader(path, member or name)
    except MissingPackageError:
        raise
    except Exception as error:  # zip, HDF5, parquet and the parser of headers fail in many ways
        why = str(error) or type(error).__name__
        raise ValueError(f"{name}: {path} cannot be read: {why}") from error
    kind = np.dtype(found.dtype)
    if kind.kind not in "biuf" and kind.type not in _SMALL:
        raise ValueError(f"{name}: {path} must hold real numbers, its type is {kind}")
    return found


_SMALL: Final = (ml_dtypes.bfloat16, ml_dtypes.float8_e4m3fn, ml_dtypes.float8_e5m2)


_MAGIC: Final = b"\x93NUMPY"


def _npy(path: Path, _: str) -> np.ndarray:
    with path.open("rb") as file:
        # NumPy takes what does not begin so for pickled objects, and advises to load it unsafely.
        if not file.read(6).startswith(_MAGIC):
            raise ValueError("it does not begin as a .npy file does")
    found = np.load(path, mmap_mode="r", allow_pickle=False)
    # NumPy stores bfloat16 as two bytes without a name.
    return found.view(ml_dtypes.bfloat16) if found.dtype == np.dtype("V2") else found


def _npz(path: Path, member: str) -> np.ndarray:
    with np.load(path, allow_pickle=False) as archive:
        return np.asarray(archive[_chosen(list(archive.files), member)])


def _chosen(held: list[str], member: str) -> str:
    if member in held:
        return member
    if len(held) == 1:
        return held[0]
    raise ValueError(
        f"it holds {', '.join(sorted(held)[:8]) or 'nothing'}: choose one by FILE:NAME"
    )


def _vecs(kind: Any) -> Callable[[Path, str], np.ndarray]:
    """Read rows that each begin with their length, int32 (fvecs, ivecs, bvecs)."""

    def read(path: Path, _: str) -> np.ndarray:
        raw = np.memmap(path, np.uint8, "r")
        width = struct.unpack("<i", raw[:4].tobytes())[0]
        bytes_a_row = 4 + width * np.dtype(kind).itemsize
        if width < 1 or raw.size % bytes_a_row:
            raise ValueError(f"its first row says {width} coordinates, which {raw.size} bytes miss")
        table = raw.reshape(-1, bytes_a_row)
        if (table[:, :4] != table[0, :4]).any():
            raise ValueError("its rows have different lengths")
        return table[:, 4:].view(kind)

    return read


def _bin(kind: Any) -> Callable[[Path, str], np.ndarray]:
    """Read a matrix after its numbers of rows and of columns, int32 each (fbin, u8bin)."""

    def read(path: Path, _: str) -> np.ndarray:
        with path.open("rb") as file:
            rows, width = struct.unpack("<ii", file.read(8))
        wanted = 8 + rows * width * np.dtype(kind).itemsize
        if min(rows, width) < 1 or path.stat().st_size != wanted:
            raise ValueError(f"its header says {rows} x {width}, {wanted} bytes in all")
        return np.memmap(path, kind, "r", offset=8, shape=(rows, width))

    return read


def _hdf5(path: Path, member: str) -> Any:
    import_needed("h5py")
    import h5py

    file = h5py.File(path, "r")
    held = [key for key in file if isinstance(file[key], h5py.Dataset)]
    # ann-benchmarks calls the items train and the queries test.
    usual = {"items": "train", "queries": "test", "targets": "neighbors"}.get(member, member)
    return file[_chosen(held, member if member in held else usual)]


def _safetensors(path: Path, member: str) -> np.ndarray:
    import_needed("safetensors")
    from safetensors import safe_open

    with safe_open(path, "np") as file:
        return np.asarray(file.get_tensor(_chosen(list(file.keys()), member)))


def _parquet(path: Path, member: str) -> np.ndarray:
    """Read a column of lists of one length, or all columns of numbers side by side."""
    import_needed("pyarrow")
    from pyarrow import parquet, types

    table = parquet.read_table(path)
    lists = [field.name for field in table.schema if types.is_nested(field.type)]
    if lists:
        column = table[_chosen(lists, member)].combine_chunks()
        if column.null_count:
            raise ValueError(f"{column.null_count} of its rows have no vector")
        flat = column.flatten().to_numpy(zero_copy_only=False)
        if flat.size % len(column):
            raise ValueError("its lists have different lengths")
        return np.asarray(flat.reshape(len(column), -1))
    numbers = [column.to_numpy() for column in table.columns]
    return np.stack(numbers, axis=1)


def import_needed(package: str) -> None:
    """See that an optional package is there."""
    import importlib

    try:
        importlib.import_module(package)
    except ModuleNotFoundError as error:
        raise MissingPackageError(
            f'this needs {package}, which is not installed: pip install "rdsim[embeddings]"',
            name=package,
        ) from error


READERS: Final[dict[str, Callable[[Path, str], Any]]] = {
    ".npy": _npy,
    ".npz": _npz,
    ".fvecs": _vecs("<f4"),
    ".ivecs": _vecs("<i4"),
    ".bvecs": _vecs(np.uint8),
    ".fbin": _bin("<f4"),
    ".ibin": _bin("<i4"),
    ".u8bin": _bin(np.uint8),
    ".i8bin": _bin(np.int8),
    ".h5": _hdf5,
    ".hdf5": _hdf5,
    ".safetensors": _safetensors,
    ".parquet": _parquet,
}
"""Readers of files, by the ending of the name."""
