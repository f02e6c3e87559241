import gc
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from PIL import Image

from experiments.runner import discovery
from rdsim.cli import interrupt
from rdsim.plotting import style


def test_list_names_the_studies_without_importing_them(workshop, capsys):
    assert workshop.main("list") == 0
    assert capsys.readouterr().out.split() == ["lines", "C5,", "C6", "A", "lines", "of", "lines."]
    assert f"{workshop.studies}.lines" not in sys.modules


@pytest.mark.parametrize("command", ["run nothing", "draw nothing", "trace nothing", "run"])
def test_an_unknown_study_is_answered_with_the_known_ones(workshop, capsys, command):
    assert workshop.main(command) == 2
    assert "lines" in capsys.readouterr().err


def test_a_file_that_is_no_study_is_named(workshop, capsys):
    workshop.write(workshop.studies, "wrong", "x = 1\n")
    assert workshop.main("list") == 2
    assert "wrong is no study" in capsys.readouterr().err


def test_help_waits_for_nothing_that_only_some_commands_need():
    code = (
        "import sys; from rdsim.cli.app import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: pass\n"
        "print([m for m in ('xarray', 'matplotlib', 'flax', 'optax', 'h5py', 'PIL') if m in sys.modules])"
    )
    root = Path(discovery.__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "[]"


def test_status_says_what_is_fresh_missing_stale_corrupt(workshop, capsys):
    def status():
        workshop.main("status --preset smoke")
        return capsys.readouterr().out.split(maxsplit=1)[1].strip()

    assert status() == "missing"
    workshop.main("run lines --preset smoke")
    capsys.readouterr()
    assert status() == "fresh"
    (workshop.home / "library.py").write_text("x = 2\n")
    assert status() == "stale because code changed"
    workshop.result().write_bytes(b"\x89HDF")
    assert status().startswith("corrupt")


def test_results_may_live_elsewhere(workshop):
    assert workshop.main("run lines --preset smoke --results other") == 0
    assert (workshop.home / "other/smoke/lines.nc").exists()
    assert not (workshop.home / "results").exists()


def test_all_computes_and_draws_once(workshop, capsys):
    assert workshop.main("figures --preset smoke") == 1
    assert "computed (missing); figure drawn" in capsys.readouterr().out
    target = workshop.home / "figures/output/smoke"
    names = ["index.html", "lines.csv", "lines.pdf", "lines.png"]
    assert sorted(p.name for p in target.iterdir()) == names
    text = (target / "index.html").read_text()
    assert "Lines of noise." in text
    assert 'src="lines.png"' in text
    workshop.main("figures --preset smoke")
    assert "lines: fresh; figure fresh" in capsys.readouterr().out


def test_a_study_may_lack_a_figure(workshop, capsys):
    workshop.study("bare")
    workshop.main("figures --preset smoke")
    assert "bare: computed (missing); figure no figure file" in capsys.readouterr().out
    assert workshop.main("trace bare --preset smoke") == 2


def test_draw_needs_a_result_and_sees_what_changed(workshop, capsys):
    assert workshop.main("draw lines") == 1
    assert "missing; run it first" in capsys.readouterr().out
    workshop.main("run lines")
    capsys.readouterr()

    def drawn():
        assert workshop.main("draw") == 0
        return capsys.readouterr().out.split()[-1]

    assert [drawn(), drawn()] == ["drawn", "fresh"]
    figure = workshop.home / workshop.figures / "lines.py"
    workshop.write(workshop.figures, "lines", figure.read_text() + "\nX = 1\n")
    assert [drawn(), drawn()] == ["drawn", "fresh"]
    (workshop.home / "figures/output/lines.pdf").unlink()
    assert drawn() == "drawn"
    (workshop.home / "figures/output/lines.png").write_bytes(b"\x89PNG")
    assert drawn() == "drawn"
    workshop.main("run lines --seed 1")
    workshop.main("draw lines")
    assert "figure drawn (the result is stale because seed changed)" in capsys.readouterr().out


def test_figures_have_fixed_bytes_and_name_their_origin(workshop):
    workshop.main("run lines")
    files = [workshop.home / "figures/output" / name for name in ("lines.png", "lines.pdf")]
    found = []
    for _ in range(2):
        workshop.main("draw lines")
        found.append([file.read_bytes() for file in files])
        for file in files[::-1]:
            file.unlink()
    assert found[0] == found[1]
    assert b"CreationDate" not in found[0][1]
    workshop.main("draw lines")
    with Image.open(files[0]) as image:
        assert image.info["Software"] == "rdsim"
        assert (image.info["Claims"], image.info["Study"]) == ("C5, C6", "lines")
        assert len(image.info["Data"]) == 64
        assert image.size[0] == round(style.DOUBLE * 200)


def test_trace_names_everything_a_figure_came_from(workshop, capsys):
    workshop.main("figures")
    capsys.readouterr()
    assert workshop.main("trace lines") == 0
    lines = capsys.readouterr().out
    for word in (
        "claim C5",
        '"cells": 5',
        "seed",
        "jax ",
        "data hash",
        "tests of C6",
        "shows this",
    ):
        assert word in lines


def test_the_ledger_for_machines(workshop, capsys):
    workshop.main("run lines")
    capsys.readouterr()
    assert workshop.main("claims --json") == 1
    printed = capsys.readouterr().out
    saved = (workshop.home / "results/quick/claims.json").read_text()
    assert json.loads(printed) == json.loads(saved)


SIDE_BY_SIDE = """
import sys
import time
from pathlib import Path

from experiments.runner import drawing
from experiments.runner import store
from experiments.runner import discovery, store
from rdsim.cli.app import main

# At module level: the processes that compute import this file too.
discovery.PACKAGE, drawing.PACKAGE = {studies!r}, {figures!r}
store.library_files = lambda: [Path("library.py")]

if __name__ == "__main__":
    sys.exit(main(["figures", "--results", "others", "--jobs", "2"]))
"""


NEEDY = """
from rdsim.cli.messages import CommandError

def run(config, key, checkpoint=without_checkpoint):
    raise CommandError("there is no font")
"""


def test_a_study_that_cannot_run_here_is_left_out_and_said(workshop, capsys):
    workshop.study("more")
    workshop.study("needy", more=NEEDY)
    assert workshop.main("figures") == 1
    printed = capsys.readouterr()
    assert "needy: not computed: there is no font" in printed.err
    assert "more: computed (missing)" in printed.out
    assert workshop.result("more", "quick").exists()
    assert not workshop.result("needy", "quick").exists()
    assert workshop.main("run needy") == 2
    assert "there is no font" in capsys.readouterr().err


def test_studies_side_by_side_give_the_same_results_and_a_failure_says_why(workshop):
    names = ("lines", "more")
    workshop.study("more")
    workshop.main("figures")
    workshop.study("needy", more=NEEDY)
    workshop.study(
        "wrong",
        more="def run(config, key, checkpoint=without_checkpoint):\n    raise ValueError('broken')\n",
    )
    script = SIDE_BY_SIDE.format(studies=workshop.studies, figures=workshop.figures)
    (workshop.home / "side_by_side.py").write_text(script)
    paths = os.pathsep.join([str(Path(__file__).parents[2]), str(workshop.home)])
    found = subprocess.run(
        [sys.executable, "side_by_side.py"],
        env={**os.environ, "PYTHONPATH": paths},
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.returncode not in (0, 2)
    assert "ValueError: broken" in found.stderr
    assert "needy: not computed: there is no font" in found.stderr
    for name in names:
        assert f"{name}: computed (missing)" in found.stdout, found.stderr
        other = workshop.home / "others" / "quick" / f"{name}.nc"
        assert other.read_bytes() == workshop.result(name, "quick").read_bytes()


def test_no_process_cannot_compute(workshop, capsys):
    assert workshop.main("figures --jobs 0") == 2
    assert "jobs must be at least 1, got 0" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["run lines", "figures"])
@pytest.mark.parametrize("place", ["taken", "taken/below"])
def test_results_that_cannot_be_written_are_refused_before_the_work(
    workshop, capsys, command, place
):
    (workshop.home / "taken").write_text("mine")
    assert workshop.main(f"{command} --results {place}") == 2
    assert f"--results: files cannot be written into {place}" in capsys.readouterr().err
    assert workshop.module().CALLS == []


def test_cells_that_cannot_be_kept_are_said_before_the_work(workshop, capsys):
    (workshop.home / "out/quick").mkdir(parents=True)
    (workshop.home / "out/quick/.checkpoints").write_text("mine")
    assert workshop.main("run lines --results out") == 2
    assert "out/quick/.checkpoints: it is no folder" in capsys.readouterr().err
    assert workshop.module().CALLS == []


@pytest.mark.parametrize("kind", ["callback", "destructor"])
def test_an_interruption_that_cannot_be_raised_where_it_comes_is_not_lost(kind):
    def interrupted(*_):
        raise KeyboardInterrupt

    def collected():
        gc.callbacks.append(interrupted)
        try:
            gc.collect()
        finally:
            gc.callbacks.remove(interrupted)

    with pytest.raises(KeyboardInterrupt), interrupt.raising_lost_interrupts():  # noqa: PT012
        if kind == "callback":
            collected()
        else:
            type("Dying", (), {"__del__": interrupted})()
        for _ in range(1000):
            time.sleep(0.01)


def test_what_else_cannot_be_raised_is_reported_as_before(monkeypatch):
    seen = []
    monkeypatch.setattr(sys, "unraisablehook", seen.append)

    def broken(_):
        raise ValueError("broken")

    with interrupt.raising_lost_interrupts():
        type("Dying", (), {"__del__": broken})()
    assert [found.exc_type for found in seen] == [ValueError]


@pytest.mark.parametrize("command", ["run lines", "run lines --preset smoke", "figures"])
def test_results_that_cannot_be_written_are_said_before_the_work(workshop, capsys, command):
    (workshop.home / "file").write_bytes(b"")
    assert workshop.main(f"{command} --results file/results") == 2
    assert "--results: files cannot be written into file/results" in capsys.readouterr().err
    assert f"{workshop.studies}.lines" not in sys.modules or not workshop.module().CALLS
