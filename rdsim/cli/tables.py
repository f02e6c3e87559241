"""Reads a user's numbers from .npy, .npz and .csv: checked before memory is taken for them.

A header is believed only as far as the file's size allows, so that a few damaged or hostile bytes
cannot ask for terabytes. Nothing is unpickled.
"""

import math
import warnings
import zipfile
from collections.abc import Callable
from functools import partial
from io import BufferedIOBase
from pathlib import Path
from typing import Any, Final

import ml_dtypes
import numpy as np

from rdsim.cli.messages import CommandError

_ALWAYS_UNPACKED: Final = 2**28
"""Bytes to which a compressed array may unpack, however small it is packed."""

_LARGEST_RATIO: Final = 100
"""How many times its packed size a larger one may have: measured numbers hardly shrink."""

_REMEDY: Final = (
    "save one array of float32 or float64 numbers with numpy.save, or as UTF-8 text of numbers with "
    "decimal points, split by commas, without headings"
)


def read_array(path: Path, name: str, ndim: int | None = None) -> np.ndarray:
    """Read an array of real numbers, in the type it was stored in.

    Args:
        path: a .npy file, a .npz file with one array or one called `name`, or a .csv file of numbers
            split by commas, without headings.
        name: of the argument, for messages.
        ndim: wanted number of dimensions, any if None; a .csv file has 2.

    Raises:
        CommandError: if there is no such array; it names the argument and the file, and says why and
            what to do.

    """
    readers: dict[str, Callable[[Path], np.ndarray]] = {
        ".npy": _from_npy,
        ".npz": partial(_from_npz, name=name),
        ".csv": _from_csv,
    }
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise CommandError(f"{name}: {path} must be a .npy, .npz or .csv file")
    if not path.exists():
        raise CommandError(f"{name}: there is no file {path}")
    if not path.is_file():
        raise CommandError(f"{name}: {path} is no regular file")
    try:
        found = reader(path)
    except Exception as error:  # zip, zlib and the parser of headers fail in many ways
        why = str(error) or type(error).__name__
        raise CommandError(
            f"{name}: {path} cannot be read as an array: {why}; {_REMEDY}"
        ) from error
    if found.size == 0:
        raise CommandError(f"{name}: {path} holds no numbers, it has shape {found.shape}")
    if ndim is not None and found.ndim != ndim:
        raise CommandError(
            f"{name}: {path} must have {ndim} dimensions, it has shape {found.shape}"
        )
    return found


def _from_npy(path: Path) -> np.ndarray:
    with path.open("rb") as file:
        return _decoded(file, path.stat().st_size)


def _from_npz(path: Path, name: str) -> np.ndarray:
    with zipfile.ZipFile(path) as archive:
        member = _member({info.filename: info for info in archive.infolist()}, name.lstrip("-"))
        size, packed = member.file_size, member.compress_size
        if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise ValueError(f"{member.filename} is packed as numpy.savez packs nothing")
        if size > max(_ALWAYS_UNPACKED, _LARGEST_RATIO * packed):
            raise ValueError(
                f"{member.filename} claims to unpack from {packed} to {size} bytes, more than "
                f"{_LARGEST_RATIO} times as many; store it as it is, in a .npy file"
            )
        with archive.open(member) as file:
            return _decoded(file, size)


def _member(members: dict[str, zipfile.ZipInfo], name: str) -> zipfile.ZipInfo:
    if f"{name}.npy" in members:
        return members[f"{name}.npy"]
    if len(members) == 1:
        return next(iter(members.values()))
    held = ", ".join(sorted(members)[:5]) or "none"
    raise ValueError(
        f"it must hold one array, or one named {name}; it holds "
        f"{held}{', ...' if len(members) > 5 else ''}"
    )


def _from_csv(path: Path) -> np.ndarray:
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*input contained no data")
            # Spreadsheets begin UTF-8 with a byte order mark.
            return np.loadtxt(path, delimiter=",", ndmin=2, encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"its text is not UTF-8 ({error.reason})") from error


def _decoded(file: BufferedIOBase, size: int) -> np.ndarray:
    """Decode the .npy format of a stream of so many bytes, its header checked against them."""
    shape, order, kind = _header(file)
    if kind.hasobject:
        raise ValueError("it holds pickled objects, which are not opened")
    if kind == np.dtype("V2"):
        kind = np.dtype(ml_dtypes.bfloat16)  # NumPy stores it as two bytes without a name
    elif kind.names is not None or kind.kind not in "buif":
        raise ValueError(
            f"real numbers are wanted, its type is {kind} (float8 and int4 are stored without "
            f"their names)"
        )
    wanted = math.prod(shape) * kind.itemsize
    there = size - file.tell()
    if min(shape, default=0) < 0 or wanted != there:
        raise ValueError(
            f"its header says shape {shape} of {kind}, {wanted} bytes, and {there} bytes follow: "
            f"it is damaged, cut off, or holds more than one array"
        )
    content = file.read(wanted)
    if len(content) != wanted or file.read(1):
        raise ValueError(f"it ends after {len(content)} of {wanted} bytes")
    return np.frombuffer(content, kind).reshape(shape, order=order)


def _header(file: BufferedIOBase) -> tuple[tuple[int, ...], Any, np.dtype]:
    """Read the header of the .npy format: shape, order (C or F) and type."""
    readers = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }
    version = np.lib.format.read_magic(file)
    if version not in readers:  # 3.0 is for names of fields that are not Latin
        raise ValueError(f"version {version} of the format is for structured arrays")
    try:
        shape, fortran, kind = readers[version](file)
    except Exception as error:  # it is parsed as Python
        raise ValueError(f"its header is damaged ({error})") from error
    return shape, "F" if fortran else "C", kind
