"""What `import rdsim` gives: a version, packages reachable by name, and nothing heavy before its use."""

import ast
import importlib
import inspect
import pkgutil
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import rdsim

ROOT = Path(__file__).parents[1]


def test_the_version_is_a_number_of_three_parts_and_the_citation_has_it():
    assert re.fullmatch(r"\d+\.\d+\.\d+", rdsim.__version__)
    citation = (ROOT / "CITATION.cff").read_text()
    assert f"version: {rdsim.__version__}\n" in citation
    date = re.search(r"^date-released: (.*)$", citation, re.MULTILINE)[1]
    newest = re.search(r"^## (\d.*)$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)[1]
    assert newest == f"{rdsim.__version__} ({date})"


def test_every_package_is_reachable_after_import_rdsim_and_comes_when_it_is_used():
    code = (
        "import sys, rdsim; late = {'flax', 'optax', 'scipy.stats', 'rdsim.limits', 'rdsim.learning'};"
        "assert not late & set(sys.modules), late & set(sys.modules);"
        "assert set(rdsim.__all__) <= set(dir(rdsim));"
        "print(rdsim.learning.train.__name__, rdsim.finite_sample.infonce.__name__)"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.split() == ["train", "infonce"]


@pytest.mark.parametrize("missing", ["flax", "optax", "orbax"])
def test_learning_without_its_packages_is_one_error_that_says_how_to_get_them(missing):
    code = (
        f"import sys, rdsim; sys.modules['{missing}'] = None;"
        "rdsim.limits.bottleneck_dsbs;"
        "from rdsim.learning.training import train"
    )
    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert found.returncode == 1
    last = found.stderr.strip().splitlines()[-1]
    assert last.startswith(f"ImportError: rdsim.learning needs {missing}")
    assert 'pip install "rdsim[learning]"' in last


OPTIONAL = (
    "constriction",
    "flax",
    "optax",
    "orbax",
    "matplotlib",
    "xarray",
    "h5py",
    "h5netcdf",
    "PIL",
)


def test_without_optional_packages_all_but_learning_works_and_says_what_brings_it():
    code = (
        "import sys\n"
        f"sys.modules.update(dict.fromkeys({OPTIONAL}))\n"  # None in its place hides a package
        "import rdsim, rdsim.cli.app as app\n"
        "for name in ('sources', 'ranking', 'limits', 'codes', 'simulation', 'finite_sample'):\n"
        "    getattr(rdsim, name)\n"
        "for use in (lambda: rdsim.learning, lambda: rdsim.codes.entropy_coded_bits([0, 1], [.5, .5])):\n"
        "    try: use()\n"
        "    except ImportError as error: print(error)\n"
        "print(app.main(['limit', 'rank', '--log2-size', '20', '--bits', '4']))\n"
        "print(app.main(['gap', '--queries', 'q.npy', '--items', 'y.npy']))\n"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert 'pip install "rdsim[learning]"' in found.stdout
    assert 'pip install "rdsim[codes]"' in found.stdout
    assert found.stdout.splitlines()[-2:] == ["0", "2"]
    assert 'pip install "rdsim[studies]"' in found.stderr


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        rdsim.nothing  # noqa: B018


def test_no_version_is_asked_of_what_is_not_installed_with_rdsim():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    named = [
        *project["dependencies"],
        *(name for extra in ("codes", "learning", "studies") for name in extras[extra]),
    ]
    dependencies = {re.split(r"[><=\[]", name)[0] for name in named} | {"rdsim"}
    asked = {
        name
        for path in (*ROOT.glob("rdsim/**/*.py"), *ROOT.glob("experiments/**/*.py"))
        for call in re.findall(
            r"packages = \(([^)]*)\)|metadata\.version\((\"[^)]*)\)", path.read_text()
        )
        for name in re.findall(r'"([^"]+)"', "".join(call))
    }
    assert {"jax", "matplotlib"} <= asked <= dependencies


def test_every_package_that_rdsim_imports_is_declared_and_every_base_package_is_imported():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = ("codes", "learning", "studies", "embeddings")
    imported_as = {"faiss-cpu": "faiss", "orbax-checkpoint": "orbax"}

    def names(requirements):
        found = (re.split(r"[><=\[]", text)[0] for text in requirements)
        return {imported_as.get(name, name) for name in found} - {"rdsim"}

    base = names(project["dependencies"])
    optional = names(name for extra in extras for name in project["optional-dependencies"][extra])
    imported = {
        module.partition(".")[0]
        for path in ROOT.glob("rdsim/**/*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        for module in (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [node.module]
            if isinstance(node, ast.ImportFrom)
            else []
        )
    } - {"rdsim", *sys.stdlib_module_names}
    assert imported - base - optional == set()
    assert base - imported == set()


def test_type_checkers_are_told_that_the_package_is_typed():
    assert (ROOT / "rdsim" / "py.typed").exists()


def modules():
    """Every module of rdsim, by its dotted name."""
    found = pkgutil.walk_packages(rdsim.__path__, "rdsim.")
    return {module.name: importlib.import_module(module.name) for module in found}


def test_no_module_is_hidden_by_a_function_of_its_name():
    hidden = []
    for name in modules():
        package, _, leaf = name.rpartition(".")
        if not inspect.ismodule(getattr(importlib.import_module(package), leaf)):
            hidden.append(name)
    assert hidden == []


def test_a_package_lists_what_it_offers_and_says_what_it_is_for():
    for name, module in modules().items():
        if hasattr(module, "__path__") and name != "rdsim.cli":  # a command, it offers no names
            assert module.__doc__, name
            assert all(hasattr(module, public) for public in module.__all__), name
            assert len(set(module.__all__)) == len(module.__all__), name


def test_limits_offers_what_its_packages_offer():
    for name, module in modules().items():
        package, _, leaf = name.rpartition(".")
        if (
            package == "rdsim.limits"
            and leaf not in ("finite_blocklength", "closed_forms")  # used by their own names
            and hasattr(module, "__path__")
        ):
            for public in module.__all__:
                assert getattr(rdsim.limits, public) is getattr(module, public)


def test_no_package_has_more_than_twelve_modules_on_a_level():
    for package in (ROOT / "rdsim").rglob("__init__.py"):
        modules = [p for p in package.parent.glob("*.py") if p != package]
        assert len(modules) <= 12, package.parent


def test_studies_take_public_names_from_their_packages():
    """Studies show how the library is used: what a package offers is not taken from one of its modules."""
    offered = {
        name: set(importlib.import_module(f"rdsim.{name}").__all__)
        for name in rdsim.__all__
        if hasattr(getattr(rdsim, name), "__path__")
    }
    reached = [
        (study.name, node.module, alias.name)
        for study in (ROOT / "experiments").rglob("*.py")
        for node in ast.walk(ast.parse(study.read_text(encoding="utf-8")))
        if isinstance(node, ast.ImportFrom) and (node.module or "").count(".") > 1
        for alias in node.names
        if alias.name in offered.get(node.module.split(".")[1], ())
    ]
    assert not reached


def test_arguments_and_entries_are_written_out_and_not_unpacked_from_a_tuple_in_place():
    """`f(*(a, b), c)` says nothing that `f(a, b, c)` does not."""
    found = [
        f"{path.relative_to(ROOT)}:{starred.lineno}"
        for folder in ("rdsim", "experiments", "figures", "tests", "benchmarks", "docs")
        for path in (ROOT / folder).rglob("*.py")
        for starred in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(starred, ast.Starred) and isinstance(starred.value, ast.Tuple | ast.List)
    ]
    assert not found
