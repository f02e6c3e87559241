"""The report of one's own embeddings: what is refused, and what is in the files."""

import csv
import json
import math
import pickle

import numpy as np
import pytest
import xarray
from PIL import Image

from experiments import _gap
from experiments.__main__ import main
from experiments._study import StudyError


def points(count, dimension, seed=0):
    return np.random.default_rng(seed).normal(size=(count, dimension))


GOOD = points(50, 3)


@pytest.fixture
def save(tmp_path):
    def saved(name, array):
        np.save(tmp_path / name, array)
        return str(tmp_path / name)

    return saved


def refused(capsys, *arguments):
    assert main(["gap", *map(str, arguments)]) == 2
    return " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize(
    ("queries", "items", "message"),
    [
        (GOOD[0], GOOD, "queries must have shape (rows, coordinates)"),
        (GOOD, np.where(GOOD[2, 1] == GOOD, np.nan, GOOD), "got nan at index (2, 1)"),
        (GOOD, GOOD[:-3], "got 50 queries and 47 items"),
        (GOOD, np.repeat(GOOD[:25], 2, axis=0), "but row 1 equals row 0"),
        (GOOD, np.array([["a"]] * 50), "items must hold real numbers"),
        (GOOD[:20], GOOD[:20], "at least 40 pairs are needed, got 20"),
    ],
)
def test_what_is_wrong_with_the_pairs_is_said(save, capsys, queries, items, message):
    found = refused(capsys, "--queries", save("q.npy", queries), "--items", save("y.npy", items))
    assert message in found
    assert ("--allow-duplicates" in found) == ("equals" in message)


@pytest.mark.parametrize("bits", ["", "4,x", "2.5", "0,4", "4096"])
def test_what_is_wrong_with_the_bits_is_said(save, capsys, bits):
    path = save("q.npy", GOOD)
    assert "bits must" in refused(capsys, "--queries", path, "--items", path, "--bits", bits)


def test_files_that_are_no_plain_arrays_are_refused(tmp_path, save):
    class Bomb:
        def __reduce__(self):
            return (open, (str(tmp_path / "exploded"), "w"))

    np.save(tmp_path / "pickled.npy", np.array([Bomb()], dtype=object), allow_pickle=True)
    (tmp_path / "bare.npy").write_bytes(pickle.dumps(Bomb()))
    np.savez(tmp_path / "pickled.npz", queries=np.array([Bomb()], dtype=object))
    (tmp_path / "empty.npy").write_bytes(b"")
    (tmp_path / "text.npz").write_text("no archive")
    (tmp_path / "archive.csv").write_text("1,2")
    for name, message in (
        ("pickled.npy", "is no plain array of numbers"),
        ("bare.npy", "is no plain array of numbers"),
        ("pickled.npz", "is no plain array of numbers"),
        ("empty.npy", "is no plain array of numbers"),
        ("text.npz", "is no plain array of numbers"),
        ("archive.csv", "must be a .npy or .npz file"),
        ("none.npy", "there is no file"),
    ):
        with pytest.raises(StudyError, match=f"queries: .*{name}|queries: there") as caught:
            _gap.read(tmp_path / name, "queries")
        assert message in str(caught.value)
    assert not (tmp_path / "exploded").exists()


def test_an_archive_holds_one_array_or_named_ones(tmp_path):
    np.savez(tmp_path / "both.npz", queries=GOOD, items=2 * GOOD)
    np.savez(tmp_path / "one.npz", anything=3 * GOOD)
    np.savez(tmp_path / "two.npz", first=GOOD, second=GOOD)
    assert (_gap.read(tmp_path / "both.npz", "items") == 2 * GOOD).all()
    assert (_gap.read(tmp_path / "both.npz", "queries") == GOOD).all()
    assert (_gap.read(tmp_path / "one.npz", "items") == 3 * GOOD).all()
    with pytest.raises(StudyError, match=r"one named items; it holds first, second"):
        _gap.read(tmp_path / "two.npz", "items")


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """Pairs that a fine code can tell without an error, in 48 bits and not in 2."""
    folder = tmp_path_factory.mktemp("report")
    y = points(120, 16)
    np.save(folder / "q.npy", (y + 0.02 * points(120, 16, 1)).astype(np.float32))
    np.savez(folder / "y.npz", items=y.astype(np.float32))
    arguments = ["--queries", folder / "q.npy", "--items", folder / "y.npz", "--bits", "48,2,24"]
    assert main(["gap", *map(str, arguments), "--steps", "8", "--output", str(folder / "out")]) == 0
    return folder / "out"


def test_the_product_quantizer_reaches_the_exact_ranks_at_many_bits(report):
    found = xarray.load_dataset(report / "gap.nc", engine="h5netcdf")
    assert found.bits.values.tolist() == [2, 24, 48]
    assert (int(found.database), int(found.queries), int(found.fitted)) == (48, 48, 72)
    assert float(found.uncompressed_mrr.sel(end="value")) == 1.0
    quantizer = found.sel(system="product quantizer")
    assert float(quantizer.mrr.sel(bits=48, end="value")) == 1.0
    assert float(quantizer.recall.sel(bits=48, end="value", cutoff=1)) == 1.0
    # All 48 of 48 hit: Clopper and Pearson's lower end, at 95 %.
    sure = float(quantizer.recall.sel(bits=48, end="lower", cutoff=1))
    assert sure == pytest.approx(0.025 ** (1 / 48), abs=1e-6)
    # Two bits name one of four cells: at best a lot among a quarter of the items.
    assert 0 < float(quantizer.mrr.sel(bits=2, end="value")) < 0.45
    # A rotated hash has no more bits than coordinates.
    rotated = found.mrr.sel(system="rotated hash (ITQ)", end="value")
    assert np.isfinite(rotated.values).tolist() == [True, False, False]


def test_C4_holds_in_the_report(report):
    found = xarray.load_dataset(report / "gap.nc", engine="h5netcdf")
    assert [check for check in _gap.checks(found) if not check.holds] == []
    assert (found.mrr_frontier.sel(end="value") <= found.mrr_converse + 1e-12).all()
    assert (found.mrr_frontier.sel(end="lower") <= found.mrr_frontier.sel(end="upper")).all()
    # From log2 M bits on, the converse leaves nothing to say.
    np.testing.assert_allclose(found.mrr_converse.sel(bits=[24, 48]), 1.0, rtol=0, atol=1e-9)
    assert float(found.mrr_converse.sel(bits=2)) < 0.6
    assert math.log2(48) >= float(found.information.sel(end="value")) > 4
    lower, value, upper = (found.mrr.sel(end=end).values for end in ("lower", "value", "upper"))
    seen = np.isfinite(value)
    assert ((lower <= value) & (value <= upper))[seen].all()


def test_checks_see_a_system_beyond_the_converse(report):
    found = xarray.load_dataset(report / "gap.nc", engine="h5netcdf")
    found.mrr.loc[{"bits": 2, "system": "hyperplane hash"}] = 0.99
    failing = [check.statement for check in _gap.checks(found) if not check.holds]
    assert len(failing) == 2
    found = found.assign(information=found.information * 0)
    assert any("estimated information" in c.statement for c in _gap.checks(found) if not c.holds)


def test_the_report_says_where_it_comes_from(report):
    found = xarray.load_dataset(report / "gap.nc", engine="h5netcdf")
    assert found.attrs["seed"] == 0
    assert json.loads(found.attrs["queries_shape"]) == [120, 16]
    assert "jax" in json.loads(found.attrs["versions_json"])
    assert "no limit" in found.attrs["note"]
    assert found.code_bits.attrs["units"] == "bits"
    with Image.open(report / "gap.png") as image:
        assert image.info["Data"] == found.attrs["data_hash"]
    assert (report / "gap.pdf").exists()
    rows = list(csv.DictReader((report / "gap.csv").read_text().splitlines()))
    line = next(r for r in rows if r["system"] == "product quantizer" and r["bits"] == "2")
    exact = found.sel(system="product quantizer", bits=2)
    assert float(line["mrr"]) == float(exact.mrr.sel(end="value"))
    assert float(line["recall@10_upper"]) == float(exact.recall.sel(cutoff=10, end="upper"))
    assert {r["system"] for r in rows} >= {
        "converse (proved)",
        "estimated frontier",
        "uncompressed",
    }
    shown = _gap.table(found)
    assert shown.row_count == len(rows)
