import os

import numpy as np
import pytest
import xarray

from experiments import _store, _study
from experiments._store import CorruptError, Recipe


def recipe(seed=0):
    return Recipe.of(_study.discover()["lines"], "smoke", seed)


def state(workshop, seed=0):
    return str(_store.state(recipe(seed), workshop.home / "results"))


def test_a_dataset_survives_storage(workshop):
    made = xarray.Dataset(
        {
            "real": ("x", np.array([0.1, np.nan, -0.0])),
            "big": ("x", np.array([2**62, 1, -5])),
            "flag": ("x", np.array([True, False, True])),
        },
        coords={"x": ["a", "bb", "ccc"]},
    )
    stored = _store.save(made, recipe(), workshop.home / "results")
    read = _store.load(workshop.result())
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
    hashes = {_store.data_hash(dataset) for dataset in [base, *others]}
    assert len(hashes) == 6
    assert _store.data_hash(base.assign_attrs(more="text")) == _store.data_hash(base)


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
    assert _store.load(workshop.result()).sizes["cell"] == 3


IMPORTS = (
    "from {package} import _shared",
    "from {package}._shared import WIDTH",
    "import {package}._shared",
    "from . import _shared",
    "def later():\n    from ._shared import WIDTH",
)


@pytest.mark.parametrize("line", IMPORTS)
def test_a_change_of_what_a_study_imports_makes_it_stale(workshop, line):
    package = workshop.studies
    workshop.write(package, "_shared", f"from {package} import _deep\nWIDTH = 3\n")
    workshop.write(package, "_deep", "DEPTH = 1\n")
    workshop.write(package, "_other", "x = 1\n")
    workshop.study(more=f"\n{line.format(package=package)}\n")
    assert workshop.main("run lines --preset smoke") == 0
    workshop.write(package, "_other", "x = 2\n")
    assert state(workshop) == "fresh"
    workshop.write(package, "_deep", "DEPTH = 2\n")
    assert state(workshop) == "stale because code changed"
    workshop.write(package, "_deep", "DEPTH = 1\n")
    assert state(workshop) == "fresh"
    workshop.write(package, "_shared", f"from {package} import _deep\nWIDTH = 4\n")
    assert state(workshop) == "stale because code changed"


def test_modules_that_import_each_other_are_hashed_once(workshop):
    package = workshop.studies
    for name, other in (("_one", "_two"), ("_two", "_one")):
        workshop.write(package, name, f"from {package} import {other}\n")
    workshop.study(more=f"\nfrom {package} import _two\n")
    file = _study.discover()["lines"].file
    names = [path.name for path in _store.with_imports(file, package)]
    assert names == ["lines.py", "_one.py", "_two.py"]


def test_studies_here_hash_what_they_share():
    found = {
        name: [path.name for path in _store.with_imports(study.file, _study.PACKAGE)[1:]]
        for name, study in _study.discover().items()
    }
    assert found["digits"] == found["emoji"] == ["_gap.py"]
    assert found["coverage"] == ["excess.py"]
    assert found["rank_law"] == []


def test_a_figure_is_drawn_again_when_what_it_imports_changes(workshop, capsys):
    shared = '"""Widths."""\n\nWIDTH = {}\n'
    workshop.write(workshop.figures, "_shared", shared.format(3))
    text = (workshop.home / workshop.figures / "lines.py").read_text()
    workshop.write(workshop.figures, "lines", text + f"\nfrom {workshop.figures} import _shared\n")
    workshop.main("run lines --preset smoke")
    for width, outcome in ((3, "drawn"), (3, "fresh"), (4, "drawn"), (4, "fresh")):
        workshop.write(workshop.figures, "_shared", shared.format(width))
        capsys.readouterr()
        assert workshop.main("draw lines --preset smoke") == 0
        assert f"figure {outcome}" in capsys.readouterr().out


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9, 0.999])
def test_a_truncated_result_is_detected_and_computed_again(workshop, share):
    workshop.main("run lines --preset smoke")
    whole = workshop.result().read_bytes()
    workshop.result().write_bytes(whole[: int(share * len(whole))])
    assert state(workshop).startswith("corrupt because the file cannot be read")
    assert workshop.main("run lines --preset smoke") == 0
    assert workshop.result().read_bytes() == whole


def test_a_flipped_bit_in_the_data_is_detected(workshop):
    workshop.main("run lines --preset smoke")
    path = workshop.result()
    whole = path.read_bytes()
    values = _store.load(path).value.values.tobytes()
    damaged = bytearray(whole)
    damaged[whole.index(values) + 777] ^= 4
    path.write_bytes(damaged)
    assert state(workshop).startswith("corrupt because its data does not have the hash")
    assert workshop.main("run lines --preset smoke") == 0
    assert path.read_bytes() == whole


# h5netcdf cannot close a file that it failed to open, and says so when it is collected.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_no_flipped_byte_goes_unseen_and_changes_the_data(workshop):
    workshop.main("run lines --preset smoke")
    path = workshop.result()
    whole, made = path.read_bytes(), _store.load(path)
    for place in range(0, len(whole), len(whole) // 80):
        damaged = bytearray(whole)
        damaged[place] ^= 255
        path.write_bytes(damaged)
        try:
            read = _store.load(path)
        except CorruptError:
            continue
        xarray.testing.assert_equal(read, made)


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
    module.STOP_AT = None
    module.CALLS.clear()
    assert workshop.main("run lines") == 0
    assert module.CALLS == [3, 4]
    assert path.read_bytes() == uninterrupted
    assert os.listdir(path.parent) == ["lines.nc"]


def test_a_damaged_cell_is_computed_again(workshop):
    module = workshop.module()
    module.STOP_AT = 3
    workshop.main("run lines")
    (folder,) = (workshop.home / "results/quick/.cells").iterdir()
    (folder / "part-0.npz").write_bytes(b"PK")
    content = bytearray((folder / "part-1.npz").read_bytes())
    content[len(content) // 2] ^= 1
    (folder / "part-1.npz").write_bytes(content)
    module.STOP_AT = None
    module.CALLS.clear()
    assert workshop.main("run lines") == 0
    assert module.CALLS == [0, 1, 3, 4]


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
    assert not (workshop.home / "results/quick/.cells").exists()


def test_a_cell_name_is_plain_and_used_once(workshop):
    for name in ("a/b", "part-0"):
        workshop.study(
            more=f"""
def run(config, key, cell=call):
    cell("part-0", part, key, 0)
    cell({name!r}, part, key, 1)
"""
        )
        with pytest.raises(ValueError, match="cell"):
            workshop.main("run lines")


def test_all_reads_every_fresh_result_once(workshop, monkeypatch):
    workshop.study("more")
    workshop.main("figures")
    read = []
    load = _store.load
    monkeypatch.setattr(_store, "load", lambda path: read.append(path.name) or load(path))
    workshop.main("figures")
    assert sorted(read) == ["lines.nc", "more.nc"]
