"""The report of one's own embeddings: what is refused, what is in the files, what is kept."""

import csv
import hashlib
import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import xarray
from PIL import Image

from experiments.shared import embedding_checks
from rdsim.cli import gap
from rdsim.cli.app import main
from rdsim.embeddings import METRICS
from rdsim.embeddings.systems.catalogue import LEARNED, SYSTEMS
from rdsim.plotting import gap as gap_figure


def points(count, dimension, seed=0):
    return np.random.default_rng(seed).normal(size=(count, dimension))


GOOD = points(60, 3)


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
        (GOOD, np.where(GOOD[2, 1] == GOOD, np.nan, GOOD), "items must be finite"),
        (GOOD, GOOD[:-3], "60 queries and 57 items"),
        (GOOD, np.array([["a"]] * 60), "items: "),
        (GOOD[:20], GOOD[:20], "leaves 8 of 20 groups"),
        (GOOD, GOOD.astype(complex), "must hold real numbers, its type is complex128"),
        (GOOD, GOOD.astype("f8,f8"), "must hold real numbers, its type is [('f0'"),
    ],
)
def test_what_is_wrong_with_the_pairs_is_said(save, capsys, tmp_path, queries, items, message):
    found = refused(
        capsys,
        "--queries",
        save("q.npy", queries),
        "--items",
        save("y.npy", items),
        "--output",
        tmp_path / "out",
    )
    assert message in found


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--steps", "40"], "--steps is no longer an option of rdsim gap: the learned code"),
        (["--steps=40"], "where --learned BITS asks for it"),
        (["--bits", ""], "bits must be integers"),
        (["--bits", "4,x"], "bits must be integers"),
        (["--bits", "0,4"], "bits must be at least 1"),
        (["--fit-queries", "q.npy"], "--fit-queries and --fit-items belong together"),
        (["--decoded", "y.npy"], "say what --codes stand for"),
        (["--systems", "HNSW"], "systems must be among"),
        (["--similarity", "dot"], "similarity must be one of"),
        (["--targets", "none.tsv"], "targets: there is no file none.tsv"),
        (["--codes", "none.faissindex"], "codes: there is no file none.faissindex"),
        (["--codes", "{q}"], "q.npy is no faiss index: decoded or scores must be given too"),
        (["--codes", __file__], "other codes need their decoded vectors or scores"),
    ],
)
def test_what_is_wrong_with_the_options_is_said(save, capsys, tmp_path, options, message):
    path = save("q.npy", GOOD)
    common = ["--queries", path, "--items", path, "--output", tmp_path / "out"]
    given = (str(option).format(q=path) for option in options)
    assert message in refused(capsys, *common, *given)


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """Captions in pairs that find their item for certain uncompressed, and not by two bits."""
    folder = tmp_path_factory.mktemp("report")
    y = points(120, 16).astype(np.float32)
    x = np.repeat(y, 2, axis=0) + 0.02 * points(240, 16, 1)
    np.save(folder / "q.npy", x.astype(np.float32))
    np.savez(folder / "y.npz", items=y)
    np.save(folder / "codes.npy", np.round(8 * y).astype(np.int8))
    np.save(folder / "decoded.npy", np.round(8 * y) / 8)
    (folder / "t.tsv").write_text("".join(f"{q}\t{q // 2}\t1\n" for q in range(240)))
    arguments = [
        "gap",
        "--queries",
        folder / "q.npy",
        "--items",
        folder / "y.npz",
        "--targets",
        folder / "t.tsv",
        "--bits",
        "32,2,24",
        "--output",
        folder / "out",
        "--codes",
        folder / "codes.npy",
        "--decoded",
        folder / "decoded.npy",
        "--systems",
        "rotated PQ, ITQ, float16",
    ]
    assert main([*map(str, arguments)]) == 0
    return folder / "out"


def test_the_files_hold_what_was_measured(report):
    found = xarray.load_dataset(report / "gap.nc", engine="h5netcdf")
    assert found.attrs["database"] == 48
    assert found.sizes["query_row"] == 96
    quality = found.quality.sel(metric="recall@1", end="value")
    for line in ("as given | 512", "float16 | 256", "rotated PQ | 32", "yours (codes.npy) | 128"):
        assert float(quality.sel(line=line)) == 1.0
    assert float(quality.sel(line="rotated PQ | 2")) < 0.45
    assert "ITQ, Hamming | 2" in found.line.values
    assert "ITQ, Hamming | 24" not in found.line.values
    rows = list(csv.DictReader((report / "gap.csv").read_text().splitlines()))
    line = next(r for r in rows if r["system"] == "rotated PQ" and r["bits"] == "2")
    for metric in METRICS:
        for end, suffix in (("value", ""), ("upper", "_upper")):
            exact = found.quality.sel(line="rotated PQ | 2", metric=metric, end=end)
            assert float(line[metric + suffix]) == float(exact)
    for name in ("converse (proved)", "converse, one codebook (proved)"):
        assert sum(r["system"] == name for r in rows) == 3
    with Image.open(report / "gap.png") as image:
        assert image.info["Data"] == found.attrs["data_hash"]
    assert "96 queries find their targets among 48 items" in (report / "gap.md").read_text()
    page = (report / "gap.html").read_text()
    assert "96 queries find their targets among 48 items" in page
    assert "Models need 64 items or more; 48 were ranked." in page
    assert "yours (codes.npy)" in page
    assert "jax" in json.loads(found.attrs["versions_json"])
    assert sorted(path.name for path in report.iterdir()) == sorted(gap.FILES)


def test_C4_holds_in_the_report_and_checks_see_a_system_beyond_the_converse(report):
    found = xarray.load_dataset(report / "gap.nc", engine="h5netcdf")
    assert [check for check in embedding_checks.checks(found) if not check.holds] == []
    found.quality.loc[{"line": "ITQ, Hamming | 2"}] = 0.99
    failing = [check.statement for check in embedding_checks.checks(found) if not check.holds]
    # Both converses see it: C4 in three checks, that of one codebook in one.
    assert len(failing) == 4
    assert sum("one codebook" in statement for statement in failing) == 1


def test_every_marker_stands_at_its_bits(report):
    found = xarray.load_dataset(report / "gap.nc", engine="h5netcdf")
    figure = gap_figure.draw(found)
    codes = found.isel(line=np.flatnonzero(found.kind.values == "code"))
    for axis, metric in zip(figure.axes, ("mrr", "recall@10"), strict=True):
        drawn = {bars.get_label(): bars for bars in axis.containers}
        assert list(drawn) == list(dict.fromkeys(codes.system.values.tolist()))
        for name, bars in drawn.items():
            part = codes.isel(line=np.flatnonzero(codes.system.values == name))
            np.testing.assert_array_equal(bars[0].get_xdata(), part.bits)
            values = part.quality.sel(metric=metric, end="value")
            np.testing.assert_array_equal(bars[0].get_ydata(), values)
        stars = [line for line in axis.lines if line.get_marker() == "*"]
        assert [star.get_label() for star in stars] == ["yours (codes.npy)"]


def test_a_long_name_of_ones_own_code_stays_within_the_figure(report):
    found = xarray.load_dataset(report / "gap.nc", engine="h5netcdf")
    names = found.system.values.astype(object)
    names[found.kind.values == "yours"] = (
        f"yours ({'my_long_name_of_an_index' * 2}, 550 bits of them links)"
    )
    figure = gap_figure.draw_one(
        found.assign_coords(system=("line", names.astype(str))), "mrr", "MRR"
    )
    figure.draw_without_rendering()
    assert figure.bbox.x0 <= figure.legends[0].get_window_extent().x0
    assert figure.legends[0].get_window_extent().x1 <= figure.bbox.x1


def test_every_kind_of_code_has_a_marker_of_its_own(report):
    found = xarray.load_dataset(report / "gap.nc", engine="h5netcdf")
    # What stands after a comma is a second reading of a kind, whose markers are open.
    names = [*dict.fromkeys(s.name.partition(", ")[0] for s in SYSTEMS), LEARNED]
    of_all = found.isel(line=[0] * len(names)).assign_coords(
        system=("line", names), kind=("line", ["code"] * len(names))
    )
    figure = gap_figure.draw_one(of_all.assign_attrs(reference=0), "mrr", "MRR")
    markers = [bars[0].get_marker() for bars in figure.axes[0].containers]
    assert len(set(markers)) == len(names)
    assert "*" not in markers


def test_what_was_found_stands_below_the_table(save, tmp_path, capsys):
    y = points(60, 4)
    command = ["gap", "--queries", save("q.npy", y + 0.01), "--items", save("y.npy", y)]
    command += ["--bits", "4", "--systems", "ITQ", "--output", str(tmp_path / "out"), "--no-models"]
    assert main(command) == 0
    said = capsys.readouterr().out
    places = [
        said.index(part) for part in ("A row is marked", "\nUncompressed", "\nwrote gap.html")
    ]
    assert places == sorted(places)
    assert "nDCG@10" in said


def test_the_report_for_programs_is_json(save, tmp_path, capsys):
    y = points(60, 4)
    command = ["gap", "--queries", save("q.npy", y + 0.01), "--items", save("y.npy", y), "--json"]
    command += ["--bits", "4", "--systems", "ITQ", "--output", str(tmp_path / "out")]
    assert main(command) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["database"] == 24
    assert {"ITQ, float query", "as given", "converse (proved)"} <= {
        line["system"] for line in found["lines"]
    }
    assert "24 were ranked" in found["models"]["missing"][0]
    assert found["bits_for"].keys() == {"90%", "95%", "99%"}


def test_files_are_hashed_in_pieces_and_say_how_far_they_are(tmp_path, monkeypatch):
    monkeypatch.setattr(gap, "_PIECE", 1 << 20)
    shards, seen = [bytes(3 << 19), b"two"], []
    for number, content in enumerate(shards):
        (tmp_path / f"shard_{number}").write_bytes(content)
    digests = [hashlib.sha256(content).digest() for content in shards]
    for path, wanted in ((tmp_path, b"".join(digests)), (tmp_path / "shard_1", digests[1])):
        found = gap._file_hash(str(path), lambda *stage: seen.append(stage))
        assert found == hashlib.sha256(wanted).hexdigest()
    whole = f"hashing {tmp_path.name}, MiB"
    assert seen == [(whole, 1, 2), (whole, 2, 2), (whole, 2, 2), ("hashing shard_1, MiB", 1, 1)]


@pytest.mark.parametrize(
    "kind",
    ["file", "below a file", "taken", "checkpoints taken", "broken link", "below a broken link"],
)
def test_an_output_that_cannot_be_written_is_refused_before_the_work(
    save, tmp_path, capsys, monkeypatch, kind
):
    monkeypatch.setattr(
        gap, "measure_embeddings", lambda *_, **__: pytest.fail("the work has begun")
    )
    (tmp_path / "file").write_text("mine")
    (tmp_path / "out/gap.pdf").mkdir(parents=True)
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept/.checkpoints").write_text("mine")
    (tmp_path / "link").symlink_to("nowhere")
    output, why = {
        "file": ("file", "it is no folder"),
        "below a file": ("file/out", f"{tmp_path / 'file'} is no folder"),
        "taken": ("out", "gap.pdf must be no folder"),
        "checkpoints taken": ("kept", f"{tmp_path / 'kept/.checkpoints'}: it is no folder"),
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
    assert (tmp_path / "file").read_text() == (tmp_path / "kept/.checkpoints").read_text() == "mine"
    assert not (tmp_path / "nowhere").exists()


def test_an_interrupted_report_keeps_finished_systems_and_continues(tmp_path, monkeypatch):
    """Ended by Ctrl-C while it works, it continues to the numbers of a run in one go."""
    y = points(400, 32).astype(np.float32)
    np.save(tmp_path / "q.npy", y + points(400, 32, 1).astype(np.float32))
    np.save(tmp_path / "y.npy", y)
    arguments = [
        "gap",
        "--queries",
        "q.npy",
        "--items",
        "y.npy",
        "--bits",
        "8,16,32",
        "--no-models",
    ]
    arguments += ["--systems", "rotated PQ, ITQ, hyperplane hash", "--output"]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    where = {"cwd": tmp_path, "env": environment, "text": True}
    with subprocess.Popen(
        [sys.executable, "-m", "experiments", *arguments, "out"],
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        **where,
    ) as process:
        while not list(tmp_path.glob("out/.checkpoints/*/space-centred.npz")):
            assert process.poll() is None
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate()
    assert process.returncode == 130
    said = " ".join(said.split())
    assert "finished parts are kept in out/.checkpoints/gap-" in said
    assert "the same command continues" in said
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [".checkpoints"]
    monkeypatch.chdir(tmp_path)
    assert main([*arguments, "whole"]) == 0
    assert main([*arguments, "out"]) == 0
    one, other = (
        xarray.load_dataset(tmp_path / name / "gap.nc", engine="h5netcdf").drop_vars(
            ["train_seconds", "encode_seconds", "search_seconds"]
        )
        for name in ("out", "whole")
    )
    assert one.drop_attrs().identical(other.drop_attrs())
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted(gap.FILES)


@pytest.mark.parametrize("change", ["seed", "data", "code"])
def test_finished_parts_of_another_report_are_not_used(save, tmp_path, capsys, monkeypatch, change):
    seen = []

    def interrupted(*_, checkpoint, **__):
        checkpoint("part", lambda: seen.append("computed") or {"value": np.array(1.0)})
        raise KeyboardInterrupt

    monkeypatch.setattr(gap, "measure_embeddings", interrupted)
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

    monkeypatch.setattr(gap, "measure_embeddings", interrupted)
    path = save("q.npy", GOOD)
    command = ["gap", "--queries", path, "--items", path, "--output", str(tmp_path / "out")]
    assert main(command) == 130
    said = capsys.readouterr().err
    assert "interrupted; nothing was finished, so that nothing is kept" in " ".join(said.split())
