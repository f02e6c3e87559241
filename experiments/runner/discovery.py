"""What a study is, and how studies are found: by walking the package, no list to keep."""

import ast
import importlib
import importlib.util
import pkgutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, get_args

from rdsim.cli.messages import CommandError
from rdsim.cli.provenance import source_file

PACKAGE = "experiments"
"""The package whose modules without a leading underscore are the studies."""

Preset = Literal["smoke", "quick", "full"]
"""smoke: the smallest that runs, for tests; quick: minutes on two cores; full: for the paper."""
PRESETS: Final[tuple[Preset, ...]] = get_args(Preset)

_PARTS: Final = ("Config", "SMOKE", "QUICK", "FULL", "run", "checks")


@dataclass(frozen=True)
class Study:
    """A study as its file describes it; nothing of it has been imported yet.

    Attributes:
        name: of the module and of everything made from it.
        title: first line of the docstring.
        claims: numbers of the claims it bears on, for example ("C5", "C6").
        file: where it is written.
        presets: that it is computed in; all, unless the file names some as PRESETS.

    """

    name: str
    title: str
    claims: tuple[str, ...]
    file: Path
    presets: tuple[Preset, ...] = PRESETS

    def module(self) -> Any:
        """Import the study."""
        module = importlib.import_module(f"{PACKAGE}.{self.name}")
        if missing := [part for part in _PARTS if not hasattr(module, part)]:
            raise CommandError(f"{self.name} is no study: it does not define {', '.join(missing)}")
        return module

    def config(self, preset: Preset) -> Any:
        """Import the study and return the instance of its Config that the preset names."""
        return getattr(self.module(), preset.upper())


def discover(preset: Preset | None = None) -> dict[str, Study]:
    """Find every study, by name, from the text of its file: no study (and no JAX) is imported.

    With a preset only those that are computed in it.
    """
    package = importlib.import_module(PACKAGE)
    names = sorted(
        module.name
        for module in pkgutil.iter_modules(package.__path__)
        if not (module.ispkg or module.name.startswith("_"))
    )
    found = {name: _described(name) for name in names}
    return {
        name: study for name, study in found.items() if preset is None or preset in study.presets
    }


def chosen(names: tuple[str, ...], preset: Preset | None = None) -> list[Study]:
    """Return the studies of these names, all of them that are computed in the preset if none."""
    known = discover()
    if unknown := [name for name in names if name not in known]:
        raise CommandError(
            f"unknown study {', '.join(unknown)}; known are: {', '.join(known) or 'none yet'}"
        )
    for name in names:
        if preset is not None and preset not in known[name].presets:
            raise CommandError(
                f"{name} is not computed in the preset {preset}, but in: "
                f"{', '.join(known[name].presets)}"
            )
    return [known[name] for name in names or discover(preset)]


def _described(name: str) -> Study:
    file = source_file(f"{PACKAGE}.{name}")
    if file is None:
        raise CommandError(f"the source of the study {name} was not found")
    tree = ast.parse(file.read_text(encoding="utf-8"))
    title = (ast.get_docstring(tree) or "").partition("\n")[0]
    claims, presets = _assigned(tree, "CLAIMS"), _assigned(tree, "PRESETS")
    if not title or claims is None:
        raise CommandError(f"{name} is no study: it needs a docstring and CLAIMS = ('C1', ...)")
    return Study(name, title, tuple(claims), file, PRESETS if presets is None else tuple(presets))


def _assigned(tree: ast.Module, name: str) -> Any:
    """What the text of a module assigns to a name, None if nothing."""
    for node in tree.body:
        if isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None:
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            if any(isinstance(target, ast.Name) and target.id == name for target in targets):
                return ast.literal_eval(node.value)
    return None
