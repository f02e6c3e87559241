"""Public names: which there are, and under which anchor the page of their room shows them."""

import ast
import re
from typing import Final

from _pages import ROOT

_ROOMS: Final = "sources|retrieval|limits|codes|simulation|finite_sample|learning"
_CODE: Final = re.compile(rf"(?<![`\w])`((?:{_ROOMS})\.\w+)`(?!`)")
_DIRECTIVE: Final = re.compile(r"^::: ([\w.]+)\.(\w+)$", re.MULTILINE)


def public_names(module: str) -> list[str]:
    """Return what `__all__` of a module lists, or its public functions and classes, unimported."""
    path = ROOT / module.replace(".", "/")
    file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    body = ast.parse(file.read_text(encoding="utf-8")).body
    for node in body:
        if isinstance(node, ast.Assign) and any(
            isinstance(target, ast.Name) and target.id == "__all__" for target in node.targets
        ):
            return list(ast.literal_eval(node.value))
    defined = (node for node in body if isinstance(node, ast.FunctionDef | ast.ClassDef))
    return [node.name for node in defined if not node.name.startswith("_")]


def identifier(module: str, name: str) -> str:
    """Return the identifier of a public name, which is also its anchor on the page of its room.

    `rdsim.limits.rate_distortion` is a function to whoever imports it, and a file to a reader of
    the source text.
    """
    folder = ROOT / module.replace(".", "/")
    if not (folder / f"{name}.py").is_file():
        return f"{module}.{name}"
    for node in ast.parse((folder / "__init__.py").read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ImportFrom) and any(part.name == name for part in node.names):
            return f"{module}.{name}" if node.module == module else f"{node.module}.{name}"
    return f"{module}.{name}"


def defined(markdown: str) -> str:
    """Name public objects by where they are defined, where a file has the same name as they."""
    return _DIRECTIVE.sub(lambda found: f"::: {identifier(found[1], found[2])}", markdown)


def linked(markdown: str) -> str:
    """Ask for a link where a page writes `ROOM.NAME`: it reads well where nothing is built too."""
    return _CODE.sub(r"{{ api: \1 }}", markdown)


def rest(module: str, markdown: str) -> str:
    """Name the public names of a module that its page does not name by itself."""
    present = set(re.findall(rf"^::: {re.escape(module)}\.(\w+)", markdown, re.MULTILINE))
    missing = [name for name in public_names(module) if name not in present]
    return "\n\n".join(f"::: {module}.{name}" for name in missing)


def api(what: str) -> str:
    """Return a link to ROOM.NAME."""
    room, _, name = what.rpartition(".")
    module = f"rdsim.{room}"
    if name not in public_names(module):
        raise LookupError(f"{name} is not a public name of {module}")
    return f"[`{name}`][{identifier(module, name)}]"
