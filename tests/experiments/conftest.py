"""A workshop of its own for each test (two fake studies, their figures), and a page of figures."""

import importlib
import itertools
import sys
from dataclasses import dataclass
from pathlib import Path

import gallery_page
import pytest

from experiments.runner import discovery, drawing, store
from rdsim.cli.app import main

STUDY = '''"""A {name} of lines."""

from dataclasses import dataclass

import jax
import numpy as np
import xarray

from experiments.runner import Claim, without_checkpoint

CLAIMS = ("C5", "C6")
C5, C6 = map(Claim, CLAIMS)
CALLS = []
STOP_AT = None


@dataclass(frozen=True)
class Config:
    cells: int = 5
    sizes: tuple[int, ...] = (3, 4)


SMOKE = Config(cells=2)
QUICK = Config()
FULL = Config(cells=9)


def part(key, index):
    CALLS.append(index)
    if index == STOP_AT:
        raise KeyboardInterrupt
    return {{"value": jax.random.normal(jax.random.fold_in(key, index), (1000,))}}


def run(config, key, checkpoint=without_checkpoint):
    parts = [checkpoint(f"part-{{i}}", part, key, i)["value"] for i in range(config.cells)]
    return xarray.Dataset(
        {{
            "value": (("cell", "x"), np.stack(parts), {{"units": "bits"}}),
            "flag": ("cell", np.arange(config.cells) % 2 == 0),
            "gap": ("cell", np.where(np.arange(config.cells) == 1, np.nan, 1.0)),
        }},
        coords={{"cell": [f"part {{i}}" for i in range(config.cells)]}},
    )


def checks(dataset):
    largest = abs(dataset.value).max()
    return [
        C5.exact.at_most("largest value", largest, {bound}),
        C6.exact.inside("largest value", largest, 1, 9),
    ]
'''

FIGURE = '''"""A figure of lines."""

from rdsim.plotting import style

CAPTION = "Lines of noise."


def draw(dataset):
    figure, axes = style.panels(1, 2, width=style.DOUBLE)
    for part in dataset.value[:, :20]:
        axes[0, 0].plot(part)
        axes[0, 1].plot(part, "o")
    axes[0, 0].set(xlabel="x", ylabel="value [bits]")
    return figure
'''

_number = itertools.count()


@dataclass
class Workshop:
    """A package of studies, a package of figures, a library file and a working directory."""

    home: Path
    studies: str
    figures: str

    def write(self, package: str, name: str, text: str) -> None:
        (self.home / package / f"{name}.py").write_text(text)
        sys.modules.pop(f"{package}.{name}", None)
        importlib.invalidate_caches()

    def study(self, name: str = "lines", *, bound: float = 9.0, more: str = "") -> None:
        self.write(self.studies, name, STUDY.format(name=name, bound=bound) + more)

    def module(self, name: str = "lines"):
        return importlib.import_module(f"{self.studies}.{name}")

    def result(self, name: str = "lines", preset: str = "smoke") -> Path:
        return self.home / "results" / preset / f"{name}.nc"

    def main(self, command: str) -> int:
        return main(command.split())


@pytest.fixture
def workshop(tmp_path, monkeypatch):
    number = next(_number)
    made = Workshop(tmp_path, f"fake_studies_{number}", f"fake_figures_{number}")
    for package in (made.studies, made.figures):
        (tmp_path / package).mkdir()
        (tmp_path / package / "__init__.py").write_text('"""Fake."""\n')
    (tmp_path / "library.py").write_text("x = 1\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.setattr(discovery, "PACKAGE", made.studies)
    monkeypatch.setattr(drawing, "PACKAGE", made.figures)
    monkeypatch.setattr(store, "library_files", lambda: [tmp_path / "library.py"])
    made.study()
    made.write(made.figures, "lines", FIGURE)
    yield made
    for name in list(sys.modules):
        if name.startswith((made.studies, made.figures)):
            del sys.modules[name]


@pytest.fixture(scope="module")
def gallery(tmp_path_factory):
    return gallery_page.written(tmp_path_factory.mktemp("gallery"))
