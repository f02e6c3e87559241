import ast
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import xarray

from experiments.runner import discovery, store
from experiments.runner.store import Recipe
from rdsim.cli import provenance
from rdsim.cli.checkpoints import Checkpoints
from rdsim.cli.provenance import CorruptError
from rdsim.plotting import style

ROOT = Path(__file__).parents[2]


def recipe(seed=0):
    return Recipe.of(discovery.discover()["lines"], "smoke", seed)


def state(workshop, seed=0):
    return str(store.state(recipe(seed), workshop.home / "results"))


def test_a_dataset_survives_storage(workshop):
    made = xarray.Dataset(
        {
            "real": ("x", np.array([0.1, np.nan, -0.0])),
            "big": ("x", np.array([2**62, 1, -5])),
            "flag": ("x", np.array([True, False, True])),
        },
        coords={"x": ["a", "bb", "ccc"]},
    )
    stored = store.save(made, recipe(), workshop.home / "results")
    read = store.load(workshop.result())
    xarray.testing.assert_identical(stored, read)
    xarray.testing.assert_equal(read, made)
    assert {name: v.dtype.kind for name, v in read.data_vars.items()} == {
        "real": "f",
        "big": "i",
        "flag": "b",
    }
    assert read.attrs["claims"] == "C5,C6"


def test_the_data_hash_sees_names_dimensions_units_and_values():
    base = xarray.Dataset({"a": (("x", "y"), np.eye(2), {"units": "bits"})})
    others = [
        base.rename(a="b"),
        base.rename(x="y", y="x"),
        base.assign(a=base.a + 1e-16 * np.eye(2)[::-1]),
        base.astype(np.float32),
        xarray.Dataset({"a": (("x", "y"), np.eye(2), {"units": "nats"})}),
    ]
    others.append(base.assign_attrs(code_length=8))  # what a study says about its data is data
    hashes = {provenance.data_hash(dataset) for dataset in [base, *others]}
    assert len(hashes) == 7
    assert provenance.data_hash(base.assign_attrs(seed=8)) == provenance.data_hash(base)


def test_a_fresh_result_is_not_computed_again(workshop):
    assert state(workshop) == "missing"
    assert workshop.main("run lines --preset smoke") == 0
    before = workshop.result().read_bytes()
    assert state(workshop) == "fresh"
    assert workshop.main("run lines --preset smoke") == 0
    assert workshop.module().CALLS == [0, 1]
    assert workshop.main("run lines --preset smoke --force") == 0
    assert workshop.module().CALLS == [0, 1, 0, 1]
    assert workshop.result().read_bytes() == before


def test_a_change_makes_a_result_stale_and_says_which(workshop):
    workshop.main("run lines --preset smoke")
    assert state(workshop, seed=3) == "stale because seed changed"
    (workshop.home / "library.py").write_text("x = 2\n")
    assert state(workshop) == "stale because code changed"
    workshop.main("run lines --preset smoke")
    assert state(workshop) == "fresh"
    workshop.study(more="\nSMOKE = Config(cells=3)\n")
    assert state(workshop) == "stale because config and code changed"
    workshop.main("run lines --preset smoke")
    assert store.load(workshop.result()).sizes["cell"] == 3


def test_a_change_of_what_studies_share_makes_them_stale_and_another_study_does_not(workshop):
    (workshop.home / workshop.studies / "shared").mkdir()
    workshop.write(workshop.studies, "shared/widths", "WIDTH = 3\n")
    assert workshop.main("run lines --preset smoke") == 0
    workshop.study("more")
    assert state(workshop) == "fresh"
    workshop.write(workshop.studies, "shared/widths", "WIDTH = 4\n")
    assert state(workshop) == "stale because code changed"
    workshop.write(workshop.studies, "shared/widths", "WIDTH = 3\n")
    assert state(workshop) == "fresh"


def imported(file):
    """Modules that a file imports, wherever in its text it does."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file} imports by a relative name"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize(
    ("package", "allowed"),
    [("experiments", ("experiments.runner.", "experiments.shared.")), ("figures", ())],
)
def test_nothing_that_studies_and_figures_import_is_left_out_of_their_hash(package, allowed):
    files = [*(ROOT / package).glob("*.py"), *(ROOT / package).glob("shared/*.py")]
    assert len(files) > 20
    inside = [
        (file.name, name)
        for file in files
        for name in imported(file)
        if name.startswith(f"{package}.") and not name.startswith(allowed or "-")
    ]
    assert inside == []


def test_no_number_comes_from_the_command_so_that_it_may_change():
    names = {path.relative_to(ROOT).as_posix() for path in provenance.library_files()}
    assert "rdsim/limits/rate_distortion/discrete.py" in names
    assert not {name for name in names if name.startswith(("rdsim/cli/", "rdsim/plotting/"))}


def test_a_figure_is_drawn_again_when_the_look_changes(workshop, capsys, monkeypatch):
    look = workshop.home / "look"
    look.mkdir()
    monkeypatch.setattr(style, "__file__", str(look / "style.py"))
    workshop.main("run lines --preset smoke")
    for width, outcome in ((3, "drawn"), (3, "fresh"), (4, "drawn"), (4, "fresh")):
        (look / "style.py").write_text(f"WIDTH = {width}\n")
        capsys.readouterr()
        assert workshop.main("draw lines --preset smoke") == 0
        assert f"figure {outcome}" in capsys.readouterr().out


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9, 0.999])
def test_a_truncated_result_is_detected_and_computed_again(workshop, share):
    workshop.main("run lines --preset smoke")
    whole = workshop.result().read_bytes()
    workshop.result().write_bytes(whole[: int(share * len(whole))])
    assert state(workshop).startswith("corrupt because the file is not what was saved")
    assert workshop.main("run lines --preset smoke") == 0
    assert workshop.result().read_bytes() == whole


def test_no_damage_goes_unseen(workshop):
    """Flipped bits all over the file, among them some of every attribute."""
    workshop.main("run lines --preset smoke")
    path = workshop.result()
    whole, made = path.read_bytes(), store.load(path)
    random = np.random.default_rng(17)
    texts = [str(value).encode() for value in made.attrs.values() if isinstance(value, str)]
    assert len(texts) >= 9
    places = [
        *range(0, len(whole), len(whole) // 80),
        *(whole.index(text) + len(text) // 2 for text in texts),
        whole.index(made.value.values.tobytes()) + 777,
        *random.integers(0, len(whole), 100).tolist(),
    ]
    for place in places:
        damaged = bytearray(whole)
        damaged[place] ^= int(random.choice([255, 1, 2, 64]))
        path.write_bytes(damaged)
        with pytest.raises(CorruptError, match="cut off or altered"):
            store.load(path)
    assert workshop.main("run lines --preset smoke") == 0
    assert path.read_bytes() == whole


def test_other_programs_read_a_result(workshop):
    workshop.main("run lines --preset smoke")
    made = store.load(workshop.result())
    with xarray.open_dataset(workshop.result(), engine=provenance.ENGINE) as read:
        xarray.testing.assert_identical(read.load(), made)


def rewritten(path, **attributes):
    """Change attributes of a stored result as someone would who knows how the hash is made."""
    dataset = store.load(path)
    for name, value in attributes.items():
        if value is None:
            del dataset.attrs[name]
        else:
            dataset.attrs[name] = value
    body = bytes(dataset.to_netcdf(engine=provenance.ENGINE))
    path.write_bytes(provenance.sealed(body))


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        *((name, None, f"it does not say its {name}") for name in sorted(provenance.PROVENANCE)),
        ("claims", 3, "not of the types"),
        ("seed", "three", "not of the types"),
        ("config_json", "{", "not of the types"),
        ("versions_json", "[]", "not of the types"),
        ("versions_json", "[" * 100_000, "not of the types"),
    ],
)
def test_an_attribute_that_is_missing_or_no_such_thing_is_named(workshop, name, value, message):
    workshop.main("run lines --preset smoke")
    rewritten(workshop.result(), **{name: value})
    assert message in state(workshop)
    assert workshop.main("run lines --preset smoke") == 0
    assert state(workshop) == "fresh"


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir])
def test_what_is_no_file_is_no_result_and_nobody_waits_for_it(tmp_path, make):
    make(tmp_path / "lines.nc")
    with pytest.raises(CorruptError, match="no regular file"):
        store.load(tmp_path / "lines.nc")


def test_one_damaged_result_does_not_stop_the_others(workshop, capsys):
    for name in ("another", "more"):
        workshop.study(name)
        figure = workshop.home / workshop.figures / "lines.py"
        workshop.write(workshop.figures, name, figure.read_text())
    workshop.main("figures")
    whole = workshop.result("lines", "quick").read_bytes()
    workshop.result("lines", "quick").write_bytes(whole[:1000])
    # One is readable, and lacks what the figure and the checks look for.
    recipe = Recipe.of(discovery.discover()["another"], "quick")
    store.save(xarray.Dataset({"other": 1.0}), recipe, workshop.home / "results")
    capsys.readouterr()
    assert workshop.main("draw") == 1
    printed = capsys.readouterr()
    assert "lines: the result is corrupt because the file is not what was saved" in printed.out
    assert "another cannot be drawn from its result (AttributeError" in printed.err
    assert "rdsim run another --force" in printed.err
    assert "more: figure fresh" in printed.out
    assert workshop.main("claims") == 1
    printed = capsys.readouterr()
    assert "the checks of another failed to run (AttributeError" in printed.err
    assert workshop.main("status") == 0
    assert workshop.main("figures") == 1
    printed = capsys.readouterr()
    assert "lines: computed (corrupt because" in printed.out
    assert "more: fresh; figure fresh" in printed.out
    assert workshop.result("lines", "quick").read_bytes() == whole
    workshop.result("lines", "quick").unlink()
    workshop.result("lines", "quick").mkdir()
    capsys.readouterr()
    assert workshop.main("status") == 0
    printed = capsys.readouterr().out
    assert "corrupt because it is no regular file" in printed
    assert "more" in printed


@pytest.mark.parametrize("suffix", [".png", ".pdf", ".csv"])
def test_a_damaged_figure_is_drawn_again(workshop, suffix):
    workshop.main("run lines")
    workshop.main("draw lines")
    path = workshop.home / f"figures/output/lines{suffix}"
    whole, random = path.read_bytes(), np.random.default_rng(3)
    for place in random.integers(0, len(whole), 3):
        damaged = bytearray(whole)
        damaged[place] ^= 4
        for content in (bytes(damaged), whole[:place]):
            path.write_bytes(content)
            assert workshop.main("draw lines") == 0
            assert path.read_bytes() == whole


def test_an_interrupted_run_continues_and_gives_the_same_bytes(workshop, capsys):
    workshop.main("run lines")
    path = workshop.result(preset="quick")
    uninterrupted = path.read_bytes()
    path.unlink()
    module = workshop.module()
    module.CALLS.clear()
    module.STOP_AT = 3
    assert workshop.main("run lines") == 130
    assert "continues where it stopped" in capsys.readouterr().err
    assert not path.exists()
    assert module.CALLS == [0, 1, 2, 3]
    module.CALLS.clear()
    # A forced run begins anew each time, so that only a run without --force continues it.
    assert workshop.main("run lines --force") == 130
    assert "the same command without --force continues" in capsys.readouterr().err
    assert module.CALLS == [0, 1, 2, 3]
    module.STOP_AT = None
    module.CALLS.clear()
    assert workshop.main("run lines") == 0
    assert module.CALLS == [3, 4]
    assert path.read_bytes() == uninterrupted
    assert os.listdir(path.parent) == ["lines.nc"]


def test_a_damaged_cell_is_computed_again(workshop):
    workshop.main("run lines --seed 4")
    whole = workshop.result(preset="quick").read_bytes()
    random = np.random.default_rng(23)
    module = workshop.module()
    for cut in (True, False):
        module.STOP_AT = 3
        workshop.main("run lines --seed 4 --force")
        (folder,) = (workshop.home / "results/quick/.checkpoints").iterdir()
        for name in ("part-0", "part-2"):
            content = bytearray((folder / f"{name}.npz").read_bytes())
            place = int(random.integers(len(content)))
            if cut:
                del content[place:]
            else:
                content[place] ^= 1 << int(random.integers(8))
            (folder / f"{name}.npz").write_bytes(content)
        module.STOP_AT = None
        module.CALLS.clear()
        workshop.result(preset="quick").unlink()
        assert workshop.main("run lines --seed 4") == 0
        assert module.CALLS == [0, 2, 3, 4]
        assert workshop.result(preset="quick").read_bytes() == whole


@pytest.mark.parametrize("change", ["seed", "code"])
def test_cells_of_another_recipe_are_not_used(workshop, change):
    module = workshop.module()
    module.STOP_AT = 2
    workshop.main("run lines")
    if change == "code":
        (workshop.home / "library.py").write_text("x = 3\n")
    module.STOP_AT = None
    module.CALLS.clear()
    assert workshop.main(f"run lines{' --seed 1' if change == 'seed' else ''}") == 0
    assert module.CALLS == [0, 1, 2, 3, 4]
    assert not (workshop.home / "results/quick/.checkpoints").exists()


def test_a_cell_name_is_plain_and_used_once(workshop):
    for name in ("a/b", "part-0"):
        workshop.study(
            more=f"""
def run(config, key, checkpoint=without_checkpoint):
    checkpoint("part-0", part, key, 0)
    checkpoint({name!r}, part, key, 1)
"""
        )
        with pytest.raises(ValueError, match="part"):
            workshop.main("run lines")


def test_runs_side_by_side_may_remove_the_folder_that_they_share(tmp_path):
    parent = tmp_path / "checkpoints"

    def run(name):
        for number in range(100):
            checkpoints = Checkpoints(name, parent, {"number": number})
            checkpoints.writable("--output")
            checkpoints("part", lambda: {"x": np.arange(3)})
            checkpoints.clear()  # the last one that has something there removes the folder of all

    with ThreadPoolExecutor(4) as pool:
        for done in [pool.submit(run, name) for name in "abcd"]:
            done.result()
    assert not parent.exists()


def test_all_reads_every_fresh_result_once(workshop, monkeypatch):
    workshop.study("more")
    workshop.main("figures")
    read = []
    load = store.load
    monkeypatch.setattr(store, "load", lambda path: read.append(path.name) or load(path))
    workshop.main("figures")
    assert sorted(read) == ["lines.nc", "more.nc"]
