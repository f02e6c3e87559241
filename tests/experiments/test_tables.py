"""A user's file is read whole and exactly, or refused by an error that names it and says what to do."""

import io
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rdsim.cli import tables
from rdsim.cli.messages import CommandError
from rdsim.cli.tables import read_array

NUMBERS = np.arange(12.0).reshape(3, 4) / 7
HUGE = "{'descr': '<f8', 'fortran_order': False, 'shape': (100000000, 1000000), }"


def npy(array: np.ndarray, *, pickled: bool = False) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=pickled)
    return buffer.getvalue()


def headed(text: str, body: bytes = b"", version: int = 1) -> bytes:
    """A .npy file of any header."""
    line = text.encode("latin1")
    return b"\x93NUMPY" + bytes([version, 0]) + struct.pack("<H", len(line)) + line + body


def npz(packing: int = zipfile.ZIP_DEFLATED, **members: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", packing) as archive:
        for name, content in members.items():
            archive.writestr(f"{name}.npy", content)
    return buffer.getvalue()


def bomb() -> bytes:
    """An archive whose directory says that a thousand bytes unpack to four gigabytes."""
    small = npz(a=headed(HUGE, bytes(1000)))
    place = small.index(b"PK\x01\x02")
    # Size and packed size in the central directory, from which archives are read.
    return small[: place + 20] + struct.pack("<II", 1000, 2**32 - 2) + small[place + 28 :]


@pytest.mark.parametrize("kind", ["<f4", ">f8", "<f2", "|i1", "<u8", "|b1", "<i4"])
@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("suffix", [".npy", ".npz", ".NPY"])
def test_arrays_are_read_as_they_were_stored(
    tmp_path: Path, kind: str, order: str, suffix: str
) -> None:
    array = np.asarray(NUMBERS, kind, order=order)
    path = tmp_path / f"table{suffix}"
    path.write_bytes(npz(only=npy(array)) if suffix == ".npz" else npy(array))
    found = read_array(path, "--joint", ndim=2)
    assert found.dtype == array.dtype
    np.testing.assert_array_equal(found, array)


def test_bfloat16_which_numpy_stores_without_its_name_is_read(tmp_path: Path) -> None:
    array = NUMBERS.astype(ml_dtypes.bfloat16)
    np.save(tmp_path / "q.npy", array)
    np.testing.assert_array_equal(read_array(tmp_path / "q.npy", "--queries"), array)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_the_array_of_an_archive_that_bears_the_name_is_read(
    tmp_path: Path, save: Callable
) -> None:
    save(tmp_path / "both.npz", queries=NUMBERS, items=-NUMBERS)
    np.testing.assert_array_equal(read_array(tmp_path / "both.npz", "--items"), -NUMBERS)
    with pytest.raises(CommandError, match="one named joint; it holds items"):
        read_array(tmp_path / "both.npz", "joint")


@pytest.mark.parametrize("mark", ["", "\ufeff"], ids=["plain", "byte order mark"])
def test_a_table_of_text_is_read(tmp_path: Path, mark: str) -> None:
    (tmp_path / "p.csv").write_text(f"{mark}.5,.25\r\n.125,.125\r\n", encoding="utf-8")
    np.testing.assert_array_equal(
        read_array(tmp_path / "p.csv", "--joint", ndim=2), [[0.5, 0.25], [0.125, 0.125]]
    )


REFUSED = {
    "no suffix": ("p.txt", b"1,2", "must be a .npy, .npz or .csv file"),
    "empty": ("p.npy", b"", "cannot be read as an array"),
    "huge": ("p.npy", headed(HUGE, bytes(80)), "800000000000000 bytes, and 80 bytes follow"),
    "overflow": (
        "p.npy",
        headed(HUGE.replace("100000000,", f"{2**62}, 4,"), bytes(80)),
        "80 bytes follow",
    ),
    "negative": ("p.npy", headed(HUGE.replace("100000000,", "-1, -80,")), "header says shape"),
    "true as a size": ("p.npy", headed(HUGE.replace("100000000,", "'x',")), "header"),
    "nested": ("p.npy", headed("(" * 9000), "cannot be read as an array"),
    "cut": ("p.npy", npy(NUMBERS)[:-8], "88 bytes follow"),
    "two arrays": ("p.npy", npy(NUMBERS) * 2, "more than one array"),
    "pickle": ("p.npy", npy(np.array([{}], object), pickled=True), "pickled objects"),
    "structured": (
        "p.npy",
        npy(np.zeros(3, [("a", "<f8"), ("b", "<f8")])),
        "real numbers are wanted",
    ),
    "complex": ("p.npy", npy(NUMBERS + 1j), "real numbers are wanted, its type is complex128"),
    "text": ("p.npy", npy(np.array(["a", "b"])), "real numbers are wanted"),
    "float8": ("p.npy", npy(NUMBERS.astype(ml_dtypes.float8_e4m3fn)), "float8 and int4"),
    "days": ("p.npy", npy(np.zeros(3, "M8[D]")), "real numbers are wanted"),
    "no numbers": ("p.npy", npy(np.zeros((0, 3))), "holds no numbers"),
    "three dimensions": ("p.npy", npy(np.zeros((2, 2, 2))), "must have 2 dimensions"),
    "no archive": ("p.npz", npy(NUMBERS), "not a zip file"),
    "empty archive": ("p.npz", npz(), "it holds none"),
    "huge in an archive": ("p.npz", npz(a=headed(HUGE, bytes(80))), "80 bytes follow"),
    "bomb": ("p.npz", bomb(), "claims to unpack from 1000 to 4294967294 bytes"),
    "pickle in an archive": (
        "p.npz",
        npz(a=npy(np.array([{}], object), pickled=True)),
        "pickled objects",
    ),
    "no array in it": ("p.npz", npz(a=b"hello"), "cannot be read as an array"),
    "other packing": (
        "p.npz",
        npz(zipfile.ZIP_LZMA, a=npy(NUMBERS)),
        "as numpy.savez packs nothing",
    ),
    "no text": ("p.csv", b"\xff\xfe1\x00,\x002\x00", "not UTF-8"),
    "empty text": ("p.csv", b"", "holds no numbers"),
    "headings": ("p.csv", b"x,y\n1,2\n", "without headings"),
    "semicolons": ("p.csv", b"0,5;0,5\n", "decimal points"),
    "ragged": ("p.csv", b"1,2\n3\n", "split by commas"),
    "complex text": ("p.csv", b"1+2j,3\n", "split by commas"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_no_array_is_refused_by_name(tmp_path: Path, case: str) -> None:
    file, content, message = REFUSED[case]
    (tmp_path / file).write_bytes(content)
    with pytest.raises(CommandError, match=rf"^--joint: .*p\.\w+.*{message}"):
        read_array(tmp_path / file, "--joint", ndim=2)


def test_an_array_unpacks_to_a_bounded_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tables, "_ALWAYS_UNPACKED", 10_000)
    for packing in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        (tmp_path / "p.npz").write_bytes(npz(packing, a=npy(np.zeros(2000))))
        if packing == zipfile.ZIP_STORED:
            assert read_array(tmp_path / "p.npz", "--joint").shape == (2000,)
        else:
            with pytest.raises(CommandError, match="more than 100 times as many"):
                read_array(tmp_path / "p.npz", "--joint")


def test_what_is_no_file_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "folder.npy").mkdir()
    with pytest.raises(CommandError, match=r"--joint: .*is no regular file"):
        read_array(tmp_path / "folder.npy", "--joint")
    with pytest.raises(CommandError, match="--joint: there is no file"):
        read_array(tmp_path / "none.npy", "--joint")


WHOLE = {
    ".npy": npy(NUMBERS.astype(np.float32)),
    ".npz": npz(zipfile.ZIP_STORED, a=npy(NUMBERS), b=npy(-NUMBERS)),
    ".NPZ": npz(a=npy(NUMBERS), b=npy(-NUMBERS)),
}


@given(st.data())
def test_a_damaged_file_is_read_or_refused_and_nothing_else(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """Archives have checksums, and give the right numbers or none."""
    suffix = data.draw(st.sampled_from(sorted(WHOLE)))
    content = bytearray(WHOLE[suffix])
    if data.draw(st.booleans()):
        del content[data.draw(st.integers(0, len(content))) :]
    for _ in range(data.draw(st.integers(0, 3))):
        if content:
            content[data.draw(st.integers(0, len(content) - 1))] ^= 1 << data.draw(
                st.integers(0, 7)
            )
    path = tmp_path_factory.mktemp("damaged") / f"a{suffix}"
    path.write_bytes(content)
    try:
        found = read_array(path, "a")
    except CommandError:
        return
    if suffix != ".npy":
        np.testing.assert_array_equal(np.sort(np.abs(found), axis=None), NUMBERS.ravel())
