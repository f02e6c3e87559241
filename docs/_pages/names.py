"""Public names: which there are, and under which anchor the page of their package shows them."""

import ast
import re
from typing import Final

from _pages import ROOT

_ROOMS: Final = "sources|ranking|limits|codes|simulation|finite_sample|learning|embeddings"
_CODE: Final = re.compile(rf"(?<![`\w])`((?:{_ROOMS})\.\w+)`(?!`)")


def public_names(module: str) -> list[str]:
    """Return what `__all__` of a module lists, or its public functions and classes, unimported."""
    path = ROOT / module.replace(".", "/")
    file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    body = ast.parse(file.read_text(encoding="utf-8")).body
    listed: list[str] = []
    for node in body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            listed += ast.literal_eval(node.value)
        elif isinstance(node, ast.AugAssign) and ast.unparse(node.target) == "__all__":
            # `__all__ += part.__all__`, the names of a package inside this one
            listed += public_names(f"{module}.{ast.unparse(node.value).removesuffix('.__all__')}")
    if listed:
        return listed
    defined = (node for node in body if isinstance(node, ast.FunctionDef | ast.ClassDef))
    return [node.name for node in defined if not node.name.startswith("_")]


def linked(markdown: str) -> str:
    """Ask for a link where a page writes `PACKAGE.NAME`: it reads well where nothing is built too."""
    return _CODE.sub(r"{{ api: \1 }}", markdown)


def rest(module: str, markdown: str) -> str:
    """Name the public names of a module that its page does not name by itself."""
    present = set(re.findall(rf"^::: {re.escape(module)}\.(\w+)", markdown, re.MULTILINE))
    missing = [name for name in public_names(module) if name not in present]
    return "\n\n".join(f"::: {module}.{name}" for name in missing)


def api(what: str) -> str:
    """Return a link to PACKAGE.NAME."""
    package, _, name = what.rpartition(".")
    module = f"rdsim.{package}"
    if name not in public_names(module):
        raise LookupError(f"{name} is not a public name of {module}")
    return f"[`{name}`][{module}.{name}]"
