"""The site builds strictly, asks for nothing from a network, and covers claims and public names."""

import importlib
import inspect
import json
import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import ClassVar

import public_classes
import pytest
import xarray
from mkdocs.exceptions import PluginError

from experiments.runner import gallery, store
from experiments.runner.claims import STATEMENTS
from experiments.runner.discovery import discover
from experiments.runner.ledger import Ledger, Row
from experiments.runner.store import Recipe

ROOT = Path(__file__).parents[2]
ROOMS = ("sources", "ranking", "limits", "codes", "simulation", "finite_sample", "learning")
CLAIMS = (*STATEMENTS, "C11b")
# As mkdocs does it, so that the hook finds what lies beside it.
sys.path.insert(0, str(ROOT / "docs"))
hooks = importlib.import_module("_hooks")
formulas = importlib.import_module("_pages.formulas")
names = importlib.import_module("_pages.names")
numbers = importlib.import_module("_pages.results")
shown = importlib.import_module("_pages.gallery")
sys.path.remove(str(ROOT / "docs"))


class Page(HTMLParser):
    """What a browser fetches to show a page, its anchors and its text."""

    FETCHED: ClassVar = {
        "script": "src",
        "img": "src",
        "link": "href",
        "iframe": "src",
        "source": "src",
    }

    def __init__(self, path):
        super().__init__()
        self.fetched, self.anchors, self.text = [], set(), path.read_text(encoding="utf-8")
        self.feed(self.text)

    def handle_starttag(self, tag, attrs):
        found = dict(attrs)
        if name := found.get(self.FETCHED.get(tag, "")):
            self.fetched.append(name)
        if "id" in found:
            self.anchors.add(found["id"])


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The site, built once and strictly: any warning is an error. About 15 s of CPU."""
    target = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(target)]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1", "PYTHONWARNINGS": "ignore"}
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return target


@pytest.fixture(scope="module")
def pages(site):
    return {path.relative_to(site).as_posix(): Page(path) for path in sorted(site.rglob("*.html"))}


def test_the_site_has_its_pages_and_fetches_nothing_from_a_network(site, pages):
    tutorials = {f"tutorials/{path.stem}.html" for path in ROOT.glob("docs/tutorials/*.md")}
    wanted = {"index.html", "theory.html", "note.html", "findings.html", "cost.html", *tutorials}
    assert wanted <= set(pages)
    for name, page in pages.items():
        assert len(page.fetched) > 2, name
        for address in page.fetched:
            assert not re.match(r"(https?:)?//", address), (name, address)
            if name != "404.html":
                target = (site / name).parent / address.split("?")[0].split("#")[0]
                assert target.resolve().is_file() or address in (".", ".."), (name, address)
    for sheet in site.rglob("*.css"):
        foreign = re.findall(r"(?:url\(|@import)\s*[\"']?(?:https?:)?//", sheet.read_text("utf-8"))
        assert not foreign, sheet


def test_every_claim_has_its_section_with_function_and_evidence(pages):
    theory = (ROOT / "docs" / "theory.md").read_text(encoding="utf-8")
    sections = dict(re.findall(r"^## (C\d+b?): (.*?)(?=^## |\Z)", theory, re.MULTILINE | re.DOTALL))
    assert list(sections) == sorted(
        CLAIMS, key=lambda claim: (int(re.sub(r"\D", "", claim)), claim)
    )
    for claim, text in sections.items():
        assert claim.lower() in pages["theory.html"].anchors
        assert "*Computed by*" in text, claim
        assert "{{ api: " in text, claim
        assert re.search(r"\*(Why|Source|Proof|Proof sketch)[.*]", text), claim
        assert f"{{{{ evidence: {claim} }}}}" in text, claim
        assert (f"{{{{ claim: {claim} }}}}" in text) == (claim in STATEMENTS), claim


def test_the_note_holds_the_sections_of_the_theory_page(pages):
    for claim in ("C25", "C26", "C27", "C28", "C29"):
        assert claim.lower() in pages["note.html"].anchors
        assert STATEMENTS[claim].partition(" ")[0] in pages["note.html"].text
    assert "](theory.md#c4)" in hooks.expand("{{ theory: C26 }}")
    for unknown in ("{{ theory: C999 }}", "{{ figure: no_such_study }}"):
        with pytest.raises(PluginError):
            hooks.expand(unknown)
    assert "make figures" in hooks.expand("{{ figure: rank_distortion }}") or "output/" in (
        hooks.expand("{{ figure: rank_distortion }}")
    )


def test_every_public_name_is_on_the_page_of_its_room(pages):
    for room in (*ROOMS, "information", "certified"):
        listed = names.public_names(f"rdsim.{room}")
        assert listed, room
        for name in listed:
            anchor = f"rdsim.{room}.{name}"
            assert anchor in pages[f"api/{room}.html"].anchors, anchor
    for part in ("closed_forms", "finite_blocklength"):
        for name in names.public_names(f"rdsim.limits.{part}"):
            anchor = f"rdsim.limits.{part}.{name}"
            assert anchor in pages["api/limits.html"].anchors, anchor


def test_a_class_that_is_returned_is_on_the_page_of_the_function(pages):
    """A result that only functions make is not listed by its package, but documented beside them."""
    for room in ROOMS:
        listed = public_classes.listed_classes(room)
        for name, cls in public_classes.returned_classes(room).items():
            anchor = f"{cls.__module__}.{name}"
            if name not in listed:
                assert anchor in pages[f"api/{room}.html"].anchors, anchor


def test_the_page_of_sources_lists_every_function_of_a_source():
    listed = re.findall(r"`(\w+\.\w+)`", (ROOT / "docs/api/sources.md").read_text())
    packages = {room: importlib.import_module(f"rdsim.{room}") for room in ROOMS}
    taking = {
        f"{room}.{name}"
        for room, package in packages.items()
        for name in package.__all__
        if inspect.isfunction(function := getattr(package, name))
        and "source" in inspect.signature(function).parameters
    }
    assert set(listed) == taking


def test_public_names_are_those_that_python_exports():
    for room in ROOMS:
        module = importlib.import_module(f"rdsim.{room}")
        assert sorted(names.public_names(f"rdsim.{room}")) == sorted(module.__all__)


def test_every_formula_became_mathml(pages):
    found = 0
    for name, page in pages.items():
        found += page.text.count("<math")
        assert "arithmatex" not in page.text, name
        prose = re.sub(r"<(code|pre|math)\b.*?</\1>", "", page.text, flags=re.DOTALL)
        assert "$$" not in prose, name
        assert not re.search(r"\$[^$<>\n]*\\[a-z]+[^$<>\n]*\$", prose), name
        assert "{{" not in prose, name
    assert found > 300


def test_every_docstring_formula_converts():
    files = [*(ROOT / "rdsim").rglob("*.py")]
    found = 0
    for file in files:
        text = file.read_text(encoding="utf-8")
        for docstring in re.findall(r'r"""(.*?)"""', text, re.DOTALL):
            for display, inline in re.findall(r"\$\$(.+?)\$\$|\$([^$]+?)\$", docstring, re.DOTALL):
                found += 1
                formulas.mathml(" ".join((display or inline).split()))
    assert found > 500


@pytest.mark.parametrize(
    "latex", [r"\frac{1}{", r"\nosuchcommand{x}", r"\begin{cases} a", r"x \undefined y"]
)
def test_a_formula_that_does_not_convert_is_an_error(latex):
    with pytest.raises(PluginError, match="does not convert"):
        formulas.mathml(latex)


def test_formulas_keep_their_meaning():
    assert "<munder>" in formulas.mathml(r"\sum_y p_y", "block")
    assert "<msubsup>" in formulas.mathml(r"y'_1")
    assert "&#x0003E;" in formulas.mathml("a > b")
    assert "arg" in formulas.mathml(r"\arg\min_q F(q)")
    assert "two_words" in formulas.mathml(r"\text{two\_words}")
    assert formulas.mathml(r"\max\Big\{a\Big\}") == formulas.mathml(r"\max\{a\}")
    with pytest.raises(PluginError, match="not converted"):
        formulas.formulas('<span class="arithmatex">left over</span>')


@pytest.fixture
def results(tmp_path, monkeypatch):
    """A folder of results with one study, one check and one number."""
    row = {
        "claim": "C1",
        "statement": "error | of a thing",
        "measured": 0.12345,
        "wanted": "≤ 1",
        "verdict": "holds",
        "study": "rank_distribution",
        "method": "exact",
        "expected": 1.0,
    }
    folder = tmp_path / "quick"
    folder.mkdir()
    (folder / "claims.json").write_text(json.dumps({"problems": [], "rows": [row]}), "utf-8")
    table = xarray.Dataset(
        {"loss": (("name", "size"), [[0.5, 0.25], [2.0, 1.0]])},
        coords={"name": ["a, b", "c"], "size": [1.0, 2.5]},
    )
    store.save(table, Recipe.of(discover()["rank_distribution"], "quick"), tmp_path)
    monkeypatch.setattr(numbers, "RESULTS", folder)
    numbers.rows.cache_clear()
    yield folder
    numbers.rows.cache_clear()


@pytest.mark.usefixtures("results")
def test_numbers_come_from_result_files():
    assert hooks.expand("{{ check: rank_distribution | C1 | error | measured | .2f }}") == "0.12"
    assert (
        hooks.expand("{{ check: rank_distribution | C1 | error | measured | .2f | negated }}")
        == "-0.12"
    )
    assert hooks.expand("{{ check: rank_distribution | C1 | error | wanted }}") == "≤ 1"
    assert (
        hooks.expand('{{ result: rank_distribution.loss[name="a, b", size=2.5] | .3f }}') == "0.250"
    )
    assert hooks.expand('{{ result: rank_distribution.loss[name="c"] | max | .1f }}') == "2.0"
    assert "error &#124; of a thing" in hooks.expand(
        "{{ check: rank_distribution | C1 | error | statement }}"
    )


@pytest.mark.usefixtures("results")
@pytest.mark.parametrize(
    "placeholder",
    [
        "{{ check: rank_distribution | C1 | no such statement | measured }}",
        "{{ check: rank_distribution | C2 | error | measured }}",
        "{{ check: rank_distribution | C1 | error | no_such_field }}",
        "{{ check: no_such_study | C1 | error | measured }}",
        "{{ result: rank_distribution.no_such_variable }}",
        '{{ result: rank_distribution.loss[name="d", size=1.0] }}',
        '{{ result: rank_distribution.loss[name="c", size=1.5] }}',
        '{{ result: rank_distribution.loss[name="c"] }}',
        "{{ evidence: C99 }}",
        "{{ claim: C99 }}",
        "{{ api: limits.no_such_name }}",
        "{{ config: quick rank_distribution.no_such_field }}",
        "{{ nothing: known }}",
    ],
)
def test_a_number_that_a_result_should_hold_and_does_not_is_an_error(placeholder):
    with pytest.raises(PluginError):
        hooks.expand(placeholder, "page.md")


def test_a_result_of_older_code_may_lack_what_a_page_asks_for(results):
    older = Recipe(discover()["rank_distribution"], "quick", 0, "of another day")
    store.save(store.load(results / "rank_distribution.nc"), older, results.parent)
    for placeholder in (
        "{{ check: rank_distribution | C1 | no such statement | measured }}",
        "{{ result: rank_distribution.no_such_variable }}",
    ):
        assert "make figures" in hooks.expand(placeholder)
    assert hooks.expand("{{ check: rank_distribution | C1 | error | measured | .2f }}") == "0.12"


def test_a_damaged_result_is_an_error_that_says_what_to_do(results):
    path = results / "rank_distribution.nc"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(
        PluginError, match=r"rank_distribution.nc is damaged: .*rdsim run rank_distribution"
    ):
        hooks.expand('{{ result: rank_distribution.loss[name="c"] | max | .1f }}')
    (results / "claims.json").write_text('{"rows": ')
    numbers.rows.cache_clear()
    with pytest.raises(PluginError, match=r"claims.json is damaged; .*rdsim claims"):
        hooks.expand("{{ check: rank_distribution | C1 | error | measured }}")


def test_what_a_ledger_holds_is_text_and_no_markup(results):
    path = results / "claims.json"
    content = json.loads(path.read_text())
    content["rows"][0] |= {"wanted": "<script>alert(1)</script>"}
    path.write_text(json.dumps(content))
    numbers.rows.cache_clear()
    assert "&lt;script" in hooks.expand("{{ check: rank_distribution | C1 | error | wanted }}")


@pytest.fixture
def page(tmp_path, monkeypatch):
    """A gallery without figures, as `make figures` writes it, and one picture beside it."""
    row = Row("C5", "a check", "exact", 1.0, 1.0, "≤ 1", "holds", "rank_distribution", "fresh", 1)
    output = tmp_path / "figures" / "output"
    written = gallery.write([], Ledger([row], []), output, "quick", tmp_path)
    monkeypatch.setattr(shown, "PAGE", written)
    shown.forget()
    yield written
    shown.forget()


@pytest.mark.usefixtures("page")
def test_the_site_shows_the_gallery_that_make_figures_wrote():
    text = hooks.expand("{{ gallery }}")
    assert text.strip().startswith('<div class="gallery">')
    assert "a check" in text
    assert STATEMENTS["C5"] in text
    assert '<a href="theory.html#c5" title="theory">C5</a>' in text
    assert "<script>" not in text
    assert shown.shows("ledger")
    assert not shown.shows("figure-rank_distribution")
    assert "[ledger](gallery.md#ledger)" in hooks.expand("{{ evidence: C5 }}") or not numbers.rows()


def test_pictures_and_tables_beside_the_gallery_become_part_of_the_site(page):
    picture = page.parent / "output" / "a.png"
    picture.parent.mkdir()
    picture.write_bytes(b"PNG")
    more = '<img src="output/a.png"><a href="output/absent.csv"></a><a href="#ledger"></a>'
    page.write_text(page.read_text("utf-8").replace(gallery.END, more + gallery.END), "utf-8")
    shown.forget()
    assert shown.beside() == {"output/a.png": picture}


def test_a_damaged_gallery_is_an_error_and_an_absent_one_a_visible_note(page):
    page.write_text("<html>")
    shown.forget()
    with pytest.raises(PluginError, match="make figures"):
        hooks.expand("{{ gallery }}")
    page.unlink()
    shown.forget()
    assert "make figures" in hooks.expand("{{ gallery }}")
    assert "gallery.md" not in hooks.expand("{{ studies: C1 }}")


def test_without_results_a_visible_note_stands_in(tmp_path, monkeypatch):
    monkeypatch.setattr(numbers, "RESULTS", tmp_path)
    numbers.rows.cache_clear()
    for placeholder in (
        "{{ check: rank_distribution | C1 | error | measured }}",
        "{{ result: rank_distribution.loss }}",
    ):
        assert "make figures" in hooks.expand(placeholder)
    numbers.rows.cache_clear()


# What may stand in a page: settings, bounds that are asked for, versions and the numbers of theorems.
TYPED = {
    "README.md": {"3.11", "3.13", "0.10", "0.12", "2509.11054", "2.0"},
    "CHANGELOG.md": {"0.1", "0.12", "1.0"},
    "CONTRIBUTING.md": set(),
    "docs/index.md": {"3.11"},
    "docs/gallery.md": set(),
    "docs/cost.md": set(),
    "docs/note.md": set(),
    "docs/findings.md": {"2509.11054", "0.05", "0.9", "1.1"},
    "docs/theory.md": {
        # Theorems.
        "4.12",
        "5.2",
        "10.3",
        "12.1",
        # Settings of the studies.
        "0.05",
        "0.1",
        "0.3",
        "0.1918",
        "99.99",
    },
}


@pytest.mark.parametrize("page", TYPED)
def test_no_measured_number_is_typed(page):
    text = (ROOT / page).read_text(encoding="utf-8")
    text = re.sub(r"^## \d+\.\d+\.\d+ .*$", "", text, flags=re.MULTILINE)  # a released version
    # `make coverage` writes its own table, which tests/test_readme.py compares with what was measured.
    text = re.sub("<!-- coverage.*?end of coverage -->", "", text, flags=re.DOTALL)
    prose = re.sub(r"```.*?```|\{\{.*?\}\}|\$.*?\$|\]\(.*?\)|`.*?`", "", text, flags=re.DOTALL)
    assert set(re.findall(r"\d+\.\d+(?!\d*\])|\d+ ?%", prose)) - {"95 %"} <= TYPED[page]


def test_a_tutorial_links_public_names_and_reads_well_unbuilt():
    assert names.linked("`limits.rank_rate`") == "{{ api: limits.rank_rate }}"
    assert "[`rank_rate`][" in hooks.expand(names.linked("see `limits.rank_rate`."))
    for left in ("``limits.rank_rate``", "`limits.rank_rate(3)`", "`np.save`"):
        assert names.linked(left) == left
    with pytest.raises(PluginError):
        hooks.expand(names.linked("`limits.no_such_name`"))
    for tutorial in ROOT.glob("docs/tutorials/*.md"):
        assert "{{" not in tutorial.read_text(encoding="utf-8")
