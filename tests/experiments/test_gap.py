"""The report of one's own embeddings: what is refused, what is in the files, what is kept."""

import csv
import importlib
import json
import math
import os
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import xarray
from matplotlib.colors import same_color
from PIL import Image
from rich.markup import escape

from experiments.shared import embedding_checks
from rdsim.cli import gap
from rdsim.cli.app import main
from rdsim.plotting import gap as gap_figure


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
        (GOOD, np.array([["a"]] * 50), "items: "),
        (GOOD[:20], GOOD[:20], "at least 40 pairs are needed, got 20"),
        (GOOD, GOOD.astype(complex), "real numbers are wanted, its type is complex128"),
        (
            GOOD.astype("f8,f8"),
            GOOD,
            "real numbers are wanted, its type is [('f0'",
        ),
        (GOOD, np.where(GOOD[7] == GOOD, 0.0, GOOD), "0.0 at index 7"),
    ],
)
def test_what_is_wrong_with_the_pairs_is_said(save, capsys, queries, items, message):
    found = refused(capsys, "--queries", save("q.npy", queries), "--items", save("y.npy", items))
    assert message in found
    assert "allow" not in found
    assert ("Give each distinct item once" in found) == ("equals" in message)


@pytest.mark.parametrize("bits", ["", "4,x", "2.5", "0,4", "4096"])
def test_what_is_wrong_with_the_bits_is_said(save, capsys, bits):
    path = save("q.npy", GOOD)
    assert "bits must" in refused(capsys, "--queries", path, "--items", path, "--bits", bits)


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
    for query in ("float query", "Hamming"):
        rotated = found.mrr.sel(system=f"rotated hash (ITQ), {query}", end="value")
        assert np.isfinite(rotated.values).tolist() == [True, False, False]


def test_the_hashes_that_keep_the_query_are_named_apart_from_hamming(report):
    found = xarray.load_dataset(report / "gap.nc", engine="h5netcdf")
    own, signs = (
        found.sel(system=f"hyperplane hash, {query}") for query in ("float query", "Hamming")
    )
    # The same stored items; another score.
    np.testing.assert_array_equal(own.code_bits, signs.code_bits)
    assert not np.array_equal(own.recall, signs.recall)


def test_C4_holds_in_the_report(report):
    found = xarray.load_dataset(report / "gap.nc", engine="h5netcdf")
    assert [check for check in embedding_checks.checks(found) if not check.holds] == []
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
    found.mrr.loc[{"bits": 2, "system": "hyperplane hash, Hamming"}] = 0.99
    failing = [check.statement for check in embedding_checks.checks(found) if not check.holds]
    assert len(failing) == 2
    found = found.assign(information=found.information * 0)
    assert any(
        "estimated information" in c.statement
        for c in embedding_checks.checks(found)
        if not c.holds
    )


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
    shown = gap.table(found)
    assert shown.row_count == len(rows)


def test_every_marker_stands_at_its_bits(report):
    found = xarray.load_dataset(report / "gap.nc", engine="h5netcdf")
    figure = gap_figure.draw(found)
    for axis, values in zip(figure.axes, (found.mrr, found.recall.isel(cutoff=-1)), strict=True):
        drawn = {bars.get_label(): bars for bars in axis.containers}
        assert list(drawn) == found.system.values.tolist()
        for name, bars in drawn.items():
            line, _, (stems,) = bars
            np.testing.assert_array_equal(line.get_xdata(), found.bits)
            np.testing.assert_array_equal(
                line.get_ydata(), values.sel(system=name, end="value").values
            )
            places = {x for stem in stems.get_segments() if len(stem) for x in stem[:, 0]}
            assert places <= {2.0, 24.0, 48.0}
            assert same_color(line.get_markerfacecolor(), "white") == name.endswith("Hamming")


@pytest.mark.parametrize(
    "kind", ["file", "below a file", "taken", "cells taken", "broken link", "below a broken link"]
)
def test_an_output_that_cannot_be_written_is_refused_before_the_work(
    save, tmp_path, capsys, monkeypatch, kind
):
    monkeypatch.setattr(gap, "measure", lambda *_, **__: pytest.fail("the work has begun"))
    (tmp_path / "file").write_text("mine")
    (tmp_path / "out/gap.pdf").mkdir(parents=True)
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept/.cells").write_text("mine")
    (tmp_path / "link").symlink_to("nowhere")
    output, why = {
        "file": ("file", "it is no folder"),
        "below a file": ("file/out", f"{tmp_path / 'file'} is no folder"),
        "taken": ("out", "gap.pdf must be no folder"),
        "cells taken": ("kept", f"{tmp_path / 'kept/.cells'}: it is no folder"),
        "broken link": ("link", "is a symbolic link to nowhere, which does not exist"),
        "below a broken link": (
            "link/out",
            f"{tmp_path / 'link'} is a symbolic link to nowhere, which does not exist",
        ),
    }[kind]
    path = save("q.npy", GOOD)
    found = refused(capsys, "--queries", path, "--items", path, "--output", tmp_path / output)
    assert found.startswith("--output: ")
    assert str(tmp_path / output) in found
    assert why in found
    assert (tmp_path / "file").read_text() == (tmp_path / "kept/.cells").read_text() == "mine"
    assert not (tmp_path / "nowhere").exists()


def test_names_are_no_markup_in_the_table(report):
    found = xarray.load_dataset(report / "gap.nc", engine="h5netcdf")
    names = [f"[red]{name}[/red]" for name in found.system.values]
    shown = gap.table(found.assign_coords(system=names).assign_attrs(space="[bold]given"))
    (column, *_) = shown.columns
    assert next(iter(column.cells)) == escape(names[0])
    assert escape("[bold]given") in str(shown.title)


def test_an_interrupted_report_keeps_finished_systems_and_continues(tmp_path, report, monkeypatch):
    """Ended by Ctrl-C while it trains, it continues to the very files of a run in one go."""
    (tmp_path / "q.npy").write_bytes((report.parent / "q.npy").read_bytes())
    shutil.copy(report.parent / "y.npz", tmp_path / "y.npz")
    arguments = [
        "gap",
        "--queries",
        "q.npy",
        "--items",
        "y.npz",
        "--bits",
        "48,2,24",
        "--steps",
        "400",
        "--output",
    ]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    where = {"cwd": tmp_path, "env": environment, "text": True}
    with subprocess.Popen(
        [sys.executable, "-m", "experiments", *arguments, "out"],
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        **where,
    ) as process:
        while not list(tmp_path.glob("out/.cells/*/shared-space-critic.npz")):
            assert process.poll() is None
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate()
    assert process.returncode == 130
    said = " ".join(said.split())
    (folder,) = (tmp_path / "out/.cells").iterdir()
    # Seven fits (the rotated hash has no more bits than 16), the uncompressed and the critic.
    assert len(list(folder.iterdir())) == 7 + 1 + 1
    assert "interrupted; 9 finished parts are kept in out/.cells/gap-" in said
    assert "the same command continues" in said
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [".cells"]
    monkeypatch.chdir(tmp_path)
    assert main([*arguments, "whole"]) == 0
    with monkeypatch.context() as patch:
        library = importlib.import_module("rdsim.learning.embeddings.gap")
        for name in ("_fitted", "_scaled"):
            patch.setattr(library, name, lambda *_: pytest.fail("computed again"))
        assert main([*arguments, "out"]) == 0
    for name in gap.FILES:
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted(gap.FILES)


@pytest.mark.parametrize("change", ["seed", "data", "code"])
def test_finished_parts_of_another_report_are_not_used(save, tmp_path, capsys, monkeypatch, change):
    seen = []

    def interrupted(*_, keep, **__):
        keep("part", lambda: seen.append("computed") or {"value": np.array(1.0)})
        raise KeyboardInterrupt

    monkeypatch.setattr(gap, "measure", interrupted)
    arguments = ["gap", "--items", save("y.npy", GOOD), "--output", str(tmp_path / "out")]

    def run(queries, *more):
        assert main([*arguments, "--queries", save("q.npy", queries), *more]) == 130

    run(GOOD)
    run(GOOD)
    assert seen == ["computed"]
    assert "1 finished part is kept in" in capsys.readouterr().err
    if change == "code":
        monkeypatch.setattr(gap, "library_files", list)
    run(GOOD + (change == "data"), *(("--seed", "1") if change == "seed" else ()))
    assert seen == ["computed"] * 2


def test_nothing_is_said_to_be_kept_where_nothing_is(save, tmp_path, capsys, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(gap, "measure", interrupted)
    path = save("q.npy", GOOD)
    command = ["gap", "--queries", path, "--items", path, "--output", str(tmp_path / "out")]
    assert main(command) == 130
    said = capsys.readouterr().err
    assert "interrupted; nothing was finished, so that nothing is kept" in " ".join(said.split())
