"""Vectors from every kind of file: the same numbers, unread where that is promised."""

import struct
import sys

import h5py
import ml_dtypes
import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet
from safetensors.numpy import save_file

from rdsim.embeddings import Vectors, read_targets, read_vectors
from rdsim.embeddings.data.vectors import as_vectors, first_copies

X = np.random.default_rng(0).integers(-100, 100, (7, 5)).astype(np.float32)


def write(folder, kind):
    """X in a file of a kind; all its numbers are integers below 128, which every type holds."""
    path = folder / f"x{kind.partition(' ')[0]}"
    if kind.startswith(".npy"):
        name = kind.partition(" ")[2]
        dtype = {"": np.float32, "float16": np.float16, "int8": np.int8}.get(name)
        np.save(path, X.astype(dtype or ml_dtypes.bfloat16))
    elif kind == ".npz":
        np.savez(path, other=X[:2], items=X)
    elif kind in (".fvecs", ".bvecs"):
        kept = X if kind == ".fvecs" else np.abs(X)
        rows = [
            struct.pack("<i", 5) + r.astype("<f4" if kind == ".fvecs" else "u1").tobytes()
            for r in kept
        ]
        path.write_bytes(b"".join(rows))
    elif kind in (".fbin", ".i8bin"):
        body = X.astype("<f4" if kind == ".fbin" else "i1").tobytes()
        path.write_bytes(struct.pack("<ii", *X.shape) + body)
    elif kind == ".hdf5":
        with h5py.File(path, "w") as file:
            file["train"], file["test"] = X, X[:2]
    elif kind == ".safetensors":
        save_file({"items": X, "queries": X[:3]}, path)
    elif kind == ".parquet lists":
        parquet.write_table(pa.table({"id": list(range(7)), "items": list(X)}), path)
    else:
        parquet.write_table(pa.table({f"c{i}": X[:, i] for i in range(5)}), path)
    return path


KINDS = (
    ".npy",
    ".npy float16",
    ".npy bfloat16",
    ".npy int8",
    ".npz",
    ".fvecs",
    ".bvecs",
    ".fbin",
    ".i8bin",
    ".hdf5",
    ".safetensors",
    ".parquet lists",
    ".parquet columns",
)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_file_gives_its_rows_as_float32(tmp_path, kind):
    found = read_vectors(write(tmp_path, kind), "items")
    wanted = np.abs(X) if kind == ".bvecs" else X
    assert found.shape == X.shape
    for index in (slice(None), np.array([4, 4, 0]), slice(2, 5)):
        rows = found.rows(index)
        assert rows.dtype == np.float32
        np.testing.assert_array_equal(rows, wanted[index])
    np.testing.assert_array_equal(
        found.take(np.array([6, 1])).rows(np.array([1, 0])), wanted[[1, 6]]
    )


def test_shards_follow_one_another_by_their_numbers_and_stay_on_disk(tmp_path):
    for number in range(12):
        np.save(tmp_path / f"img_emb_{number}.npy", np.full((2, 3), number, np.float16))
    found = read_vectors(tmp_path)
    assert found.shape == (24, 3)
    np.testing.assert_array_equal(found.rows(slice(None))[:, 0], np.repeat(np.arange(12), 2))
    assert all(isinstance(source, np.memmap) for source in found._sources)


def test_an_array_of_a_file_is_chosen_after_a_colon(tmp_path):
    path = write(tmp_path, ".hdf5")
    np.testing.assert_array_equal(read_vectors(f"{path}:test", "items").rows(slice(None)), X[:2])


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("none.npy", None, "items: there is no file"),
        ("x.txt", b"1", "must be one of .npy"),
        ("x.npy", b"junk", "cannot be read: it does not begin as a .npy file does"),
        ("x.npy", b"", "cannot be read: it does not begin as a .npy file does"),
        ("x.fvecs", struct.pack("<i", 3) + b"1234", "its first row says 3 coordinates"),
        ("x.fbin", struct.pack("<ii", 3, 3) + b"1", "its header says 3 x 3"),
    ],
)
def test_what_is_wrong_with_a_file_is_said(tmp_path, name, content, message):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=message):
        read_vectors(tmp_path / name, "items")


def test_rows_without_a_vector_are_counted(tmp_path):
    pa, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    parquet.write_table(pa.table({"v": [[1.0, 2.0], None, [3.0, 4.0]]}), tmp_path / "v.parquet")
    with pytest.raises(ValueError, match="1 of its rows have no vector"):
        read_vectors(tmp_path / "v.parquet", "items")


def test_a_missing_package_names_the_extra(tmp_path, monkeypatch):
    path = write(tmp_path, ".parquet lists")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ImportError, match=r'pip install "rdsim\[embeddings\]"'):
        read_vectors(path, "items")


def test_targets_come_as_lists_and_as_qrels_with_grades(tmp_path):
    (tmp_path / "t.txt").write_text("0 3\n2\n\n1, 0, 2\n".replace("\n\n", "\n"))
    np.testing.assert_array_equal(
        read_targets(tmp_path / "t.txt", 3), [[0, 3, -1], [2, -1, -1], [1, 0, 2]]
    )
    (tmp_path / "q.tsv").write_text("query-id\tcorpus-id\tscore\n0\t3\t2\n1\t0\t0\n")
    np.testing.assert_array_equal(read_targets(tmp_path / "q.tsv", 2), [[0, 3, 2], [1, 0, 0]])
    with pytest.raises(ValueError, match="a line for each of the 4 queries, got 3"):
        read_targets(tmp_path / "t.txt", 4)


def test_what_is_not_finite_is_said_with_its_row():
    with pytest.raises(ValueError, match=r"items must be finite, .* got nan in row 3"):
        as_vectors("items", np.where(np.arange(5)[:, None] == 3, np.nan, np.ones((5, 2))))


def test_copies_are_found_across_blocks_and_zero_has_no_sign():
    rows = np.array([[0.0, 1.0], [2.0, 1.0], [-0.0, 1.0], [2.0, 1.0], [0.0, 1.5]])
    assert first_copies(Vectors([rows])).tolist() == [0, 1, 0, 1, 4]
