"""The page of figures: whole, closed to the network, true to the results, and alive in a browser."""

import base64
import csv
import json
import os
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import xarray

from experiments import _csv, _draw, _gallery, _store
from experiments._ledger import Ledger, Row, ledger
from experiments._run import compute
from experiments._study import discover

NAMES = ("explorer", "wyner_ziv")
VOID = {"img", "input", "link", "meta", "br", "hr"}
TESTS = Path(__file__).parents[1]


def invented(name, function, config, *arguments):
    """Give the explorer numbers of the right shapes, falling with the rate."""
    sources, rates = len(config.sources), len(config.rates)
    menu = (sources, len(config.log2_sizes), len(config.block_lengths), rates)
    shape = {"bottlenecks": (sources, rates)}.get(name, menu)
    if name.startswith("codes-"):
        return {"loss": np.random.default_rng(9).random((1, len(config.log2_sizes), rates))}
    value = -np.sort(-np.random.default_rng(len(name)).random(shape), axis=-1)
    return {"value": value, "lower": value - 1e-9, "upper": value + 2e-9}


@pytest.fixture(scope="module")
def gallery(tmp_path_factory):
    """Two studies at their smallest, drawn, and their page; the explorer's numbers are made up."""
    home = tmp_path_factory.mktemp("gallery")
    results, output = home / "results", home / "figures" / "output"
    entries, states = [], {}
    explorer, wyner_ziv = (discover()[name] for name in NAMES)
    made = explorer.module().run(explorer.config("smoke"), None, invented)
    _store.save(made, _store.Recipe.of(explorer, "smoke"), results)
    for study in (explorer, wyner_ziv):
        _, dataset = compute(study, "smoke", 0, results)
        states[study.name] = _store.State("fresh", dataset=dataset)
        _draw.draw(study, dataset, _draw.folder(output, "smoke"))
        entries.append((study, dataset))
    found = ledger(results, "smoke", TESTS, states)
    page = _gallery.write(entries, found, output, "smoke", TESTS)
    return SimpleNamespace(page=page, entries=entries, found=found, output=output)


class Page(HTMLParser):
    """Elements and their text; complains where tags do not match."""

    def __init__(self, text):
        super().__init__()
        self.open, self.elements, self.errors = [], [], []
        self.feed(text)
        self.errors += [f"{name} is not closed" for name, *_ in self.open]

    def handle_starttag(self, name, attributes):
        element = SimpleNamespace(name=name, text="", at=dict(attributes))
        self.elements.append(element)
        if name not in VOID:
            self.open.append((name, element))

    def handle_endtag(self, name):
        if not self.open or self.open[-1][0] != name:
            self.errors.append(f"</{name}> at {self.getpos()}")
        else:
            self.open.pop()

    def handle_data(self, data):
        for _, element in self.open:
            element.text += data

    def one(self, **attributes):
        (found,) = (e for e in self.elements if attributes.items() <= e.at.items())
        return found

    def all(self, attribute):
        return [e.at[attribute] for e in self.elements if attribute in e.at]


@pytest.fixture(scope="module")
def page(gallery):
    return Page(gallery.page.read_text())


def test_every_tag_is_closed_and_every_name_is_used_once(page):
    assert page.errors == []
    assert page.elements[0].name == "html"
    names = page.all("id")
    assert len(set(names)) == len(names)


def test_the_page_opens_from_disk_without_a_network(gallery, page):
    text = gallery.page.read_text()
    assert not re.search(r"https?:|src=\"//|@import|url\(|fetch\(|XMLHttp", text)
    assert {e.name for e in page.elements}.isdisjoint({"link", "iframe", "object", "base"})
    for target in {*page.all("href"), *page.all("src")}:
        if target.startswith("#"):
            assert target[1:] in page.all("id")
        else:
            assert (gallery.page.parent / target).is_file(), target


@pytest.mark.parametrize("name", NAMES)
def test_a_figure_says_all_of_its_origin(gallery, page, name):
    ((study, dataset),) = (entry for entry in gallery.entries if entry[0].name == name)
    text = page.one(id=f"figure-{name}").text
    for part in (
        study.title,
        *study.claims,
        *(_gallery.STATEMENTS[claim] for claim in study.claims),
        *json.loads(dataset.attrs["config_json"]),
        dataset.attrs["data_hash"],
        *json.loads(dataset.attrs["versions_json"]).values(),
        "seed",
        f"experiments/{name}.py",
        f"python -m experiments run {name} --preset smoke",
        f"python -m experiments draw {name} --preset smoke",
    ):
        assert part in text
    for ending in ("png", "pdf", "csv"):
        assert f"{name}.{ending}" in {*page.all("href"), *page.all("src")}
    assert page.one(id=study.claims[0]).text.count(study.title) == 1


@pytest.mark.parametrize("name", NAMES)
def test_every_number_is_that_of_the_saved_result(gallery, page, name):
    ((study, dataset),) = (entry for entry in gallery.entries if entry[0].name == name)
    article = (
        gallery.page.read_text().partition(f'id="figure-{name}"')[2].partition("</article>")[0]
    )
    found = [float(e.at["data-value"]) for e in Page(f"<article>{article}</article>").elements
             if e.at.get("class") == "number"]  # fmt: skip
    checks = sorted(study.module().checks(dataset), key=lambda check: _gallery.order(check.claim))
    assert found == [check.measured for check in checks]
    for check in checks:
        assert check.statement in page.one(id=f"figure-{name}").text
        assert check.wanted in page.one(id="ledger").text


def test_the_ledger_is_whole(gallery, page):
    rows = [e for e in page.elements if "data-verdict" in e.at]
    assert [row.at["data-verdict"] for row in rows] == [row.verdict for row in gallery.found.rows]
    for row, shown in zip(gallery.found.rows, rows, strict=True):
        assert row.statement in shown.text
    assert f"{len(gallery.found.problems)} open" in page.one(**{"class": "problems"}).text


def test_the_head_counts_the_checks_and_names_every_figure(gallery, page):
    verdicts = [row.verdict for row in gallery.found.rows]
    checked = len(verdicts) - verdicts.count("no result yet")
    assert 0 < checked < len(verdicts)
    (head,) = (e for e in page.elements if e.name == "header")
    assert f"Of {checked} checks {verdicts.count('holds')} hold" in head.text
    assert f"{len(verdicts) - checked} wait for a result" in head.text
    named = page.one(**{"class": "names"}).text
    for study, _ in gallery.entries:
        assert f"{study.name}: {study.title.rstrip('.')} ({', '.join(study.claims)})" in named


def test_the_explorer_holds_the_saved_arrays_to_the_last_bit(gallery, page):
    dataset = gallery.entries[0][1]
    content = json.loads(page.one(id="explorer-data").text)
    assert set(content["arrays"]) == set(dataset.data_vars)
    for name, array in content["arrays"].items():
        values = np.frombuffer(base64.b64decode(array["base64"]), "<f8")
        assert array["dims"] == list(dataset[name].dims)
        np.testing.assert_array_equal(values, dataset[name].values.ravel())
        for dim in array["dims"]:
            assert content["labels"][dim] == dataset[dim].values.tolist()


def test_the_same_results_give_the_same_page(gallery):
    before = gallery.page.read_bytes()
    _gallery.write(gallery.entries, gallery.found, gallery.output, "smoke", TESTS)
    assert gallery.page.read_bytes() == before


def test_the_page_of_quick_lies_above_its_figures(workshop):
    workshop.main("figures")
    text = Path("figures/index.html").read_text()
    assert 'src="output/lines.png"' in text
    assert 'href="output/lines.csv"' in text
    assert "Lines of noise." in text
    assert 'id="explorer"' not in text
    assert Page(text).errors == []


def test_what_a_study_writes_is_text_and_no_markup(workshop):
    file = workshop.home / workshop.studies / "lines.py"
    text = file.read_text().replace('"""A lines of', '"""A <b>lines</b> & of')
    workshop.write(workshop.studies, "lines", text.replace('"largest value"', '"|x| < 1 & </td>"'))
    workshop.main("figures")
    written = Path("figures/index.html").read_text()
    assert Page(written).errors == []
    assert "A &lt;b&gt;lines&lt;/b&gt; &amp; of" in written


def row(verdict, measured=1.25, expected=2.5):
    return Row(
        "C1", "stated", "exact", measured, expected, "wanted", verdict, "rank_law", "fresh", 3
    )


def test_one_failed_check_fails_its_claim():
    assert _gallery._verdict([row("holds"), row("fails")]) == "fails"
    assert _gallery._verdict([row("no result yet"), row("holds")]) == "holds"
    assert _gallery._verdict([row("no result yet")]) == "no result yet"


def test_a_number_of_the_ledger_has_six_digits_and_stands_in_its_column():
    assert _gallery._number(0.123456789).endswith('title="0.123456789">0.123457</td>')
    text = "".join(_gallery._ledger(Ledger([row("holds")], []), set()))
    assert -1 < text.index(">1.25</td>") < text.index(">2.5</td>")
    assert -1 < text.index(">measured<") < text.index(">expected<")


# The numbers beside each figure


def read(path):
    lines = path.read_text().splitlines()
    header = dict(line[2:].split(": ", 1) for line in lines if line.startswith("# "))
    return header, list(csv.DictReader(line for line in lines if not line.startswith("# ")))


def column(rows, variable, name="value"):
    return np.array([float(row[name]) for row in rows if row["variable"] == variable])


@pytest.mark.parametrize("name", NAMES)
def test_a_table_holds_every_number_with_its_bounds_and_its_origin(gallery, name):
    ((_, dataset),) = (entry for entry in gallery.entries if entry[0].name == name)
    header, rows = read(gallery.page.parent / f"{name}.csv")
    attributes = dataset.attrs
    for key, value in (
        ("seed", "0"), ("study", name), ("preset", "smoke"), ("config", attributes["config_json"]),
        ("data hash", attributes["data_hash"]), ("code hash", attributes["code_hash"]),
    ):  # fmt: skip
        assert header[key] == value
    for package, version in json.loads(attributes["versions_json"]).items():
        assert f"{package} {version}" in header["versions"]
    beside = _csv.bounds(dataset)
    assert beside
    bounding = {bound for columns in beside.values() for bound in columns.values()}
    for variable, values in dataset.data_vars.items():
        if variable in bounding:
            continue
        np.testing.assert_array_equal(column(rows, variable), values.values.ravel())
        there = [row for row in rows if row["variable"] == variable]
        assert {row["units"] for row in there} == {values.attrs.get("units", "")}
        for label, bound in beside.get(variable, {}).items():
            np.testing.assert_array_equal(
                column(rows, variable, label), dataset[bound].values.ravel()
            )
        for dim in values.dims:
            labels = np.broadcast_to(values[dim], values.transpose(..., dim).shape)
            labels = np.moveaxis(labels, -1, values.dims.index(dim)).ravel()
            assert [row[dim] for row in there] == list(map(str, labels.tolist()))


def test_what_bounds_what():
    one, units = np.ones(3), {"units": "bits"}
    dataset = xarray.Dataset(
        {
            "rate": ("x", one, units),
            "gap": ("x", 0 * one, units),
            "drawn_mean": ("x", one, units),
            "drawn_lower": ("x", one - 1, units),
            "drawn_upper": ("x", one + 1, units),
            "middle": ("x", one, units),
            "lower": ("x", one - 1, units),
            "upper": ("x", one - 0.5, units),
            "direct_error": ("x", one, units),
            "direct_upper": ("x", one, units),
            "sum": ("x", one, units),
            "sum_error": ("x", one, units),
            "other": ("x", one, {"units": "nats"}),
            "other_lower": ("x", one, units),
        }
    )
    assert _csv.bounds(dataset) == {
        "rate": {"gap": "gap"},
        "drawn_mean": {"lower": "drawn_lower", "upper": "drawn_upper"},
        "middle": {"lower": "lower"},
        "direct_error": {"upper": "direct_upper"},
        "sum": {"standard_error": "sum_error"},
    }


def test_a_table_is_written_once_and_again_when_damaged(workshop):
    workshop.main("run lines")
    workshop.main("draw lines")
    path = workshop.home / "figures/output/lines.csv"
    whole, seen = path.read_bytes(), path.stat().st_mtime_ns
    _, rows = read(path)
    assert [row["cell"] for row in rows if row["variable"] == "flag"][1] == "part 1"
    assert {row["value"] for row in rows if row["variable"] == "flag"} == {"True", "False"}
    assert [row["value"] for row in rows if row["variable"] == "gap"][1] == "nan"
    workshop.main("draw lines")
    assert path.stat().st_mtime_ns == seen
    for damaged in (whole[:-1], whole.replace(b"part 3", b"part 4"), whole[1:], b""):
        path.write_bytes(damaged)
        workshop.main("draw lines")
        assert path.read_bytes() == whole
    workshop.main("run lines --seed 1")
    workshop.main("draw lines")
    assert read(path)[0]["seed"] == "1"


# In a real browser

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome", "chrome-headless-shell")
BROWSER = os.environ.get("RDSIM_BROWSER") or next(filter(None, map(shutil.which, BROWSERS)), None)

needs_browser = pytest.mark.skipif(
    BROWSER is None,
    reason="no browser: install chromium, or name one in RDSIM_BROWSER, to open the gallery in it",
)

WATCH = """<script>
window.problems = [];
addEventListener("error", (e) => problems.push(e.message || e.target.src || "error"), true);
console.error = (...words) => problems.push(words.join(" "));
</script>"""

# All at once when everything is loaded: the page is written down after that, and waits for nothing.
VISIT = """<script>
addEventListener("load", () => {
const report = {};
// A window is never narrower than 500 pixels; magnified, it has room for fewer.
document.documentElement.style.zoom = innerWidth / window.wanted;
const pictures = [...document.querySelectorAll("figure img")];
report.images = pictures.map((image) => [image.getAttribute("src"), image.naturalWidth]);
report.width = innerWidth;
report.scroll = document.documentElement.scrollWidth;

// Boxes of all text that is seen, cut by what scrolls around it.
function boxes() {
  const found = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let node = walker.nextNode(); node; node = walker.nextNode()) {
    const parent = node.parentElement;
    if (!node.textContent.trim() || parent.closest("script, style, dialog, option, sub")) continue;
    if (!parent.checkVisibility({ contentVisibilityAuto: true })) continue;
    const range = document.createRange();
    range.selectNodeContents(node);
    const cut = parent.closest(".scroll, pre")?.getBoundingClientRect();
    for (const box of range.getClientRects()) {
      const right = cut ? Math.min(box.right, cut.right) : box.right;
      if (right - box.left > 1 && box.height > 1)
        found.push({ left: box.left, right, top: box.top, bottom: box.bottom, text: node.textContent.trim() });
    }
  }
  return found.sort((a, b) => a.top - b.top);
}
const seen = boxes();
report.texts = seen.length;
report.outside = seen.filter((box) => box.right > innerWidth + 1 || box.left < -1).map((box) => box.text);
report.overlaps = [];
for (let i = 0; i < seen.length; i++)
  for (let j = i + 1; j < seen.length && seen[j].top < seen[i].bottom - 3; j++)
    if (Math.min(seen[i].right, seen[j].right) - Math.max(seen[i].left, seen[j].left) > 2)
      report.overlaps.push([seen[i].text, seen[j].text]);

const table = document.getElementById("ledger-table");
const column = (k) => [...table.tBodies[0].rows].map((row) => row.cells[k].dataset.value ?? row.cells[k].textContent);
const heading = (name) => [...table.tHead.rows[0].cells].find((cell) => cell.textContent === name);
report.sorts = {};
for (const name of ["measured", "claim", "checked"]) {
  const cell = heading(name), button = cell.querySelector("button"), runs = [];
  for (let k = 0; k < 2; k++) {
    button.focus();
    button.click();
    runs.push([cell.getAttribute("aria-sort"), column(cell.cellIndex)]);
  }
  report.sorts[name] = runs;
  report.focused = document.activeElement === button;
}
report.headings = [...table.tHead.rows[0].cells].map((cell) => cell.getAttribute("aria-sort"));
const say = (id, value, event) => {
  const control = document.getElementById(id);
  control.value = value;
  control.dispatchEvent(new Event(event, { bubbles: true }));
};
const left = () => [...table.tBodies[0].rows].filter((row) => !row.hidden).map((row) => row.textContent);
say("ledger-words", "explorer fano", "input");
report.filtered = left();
say("ledger-words", "", "input");
say("ledger-verdict", "no result yet", "change");
report.waiting = left().length;
report.count = document.getElementById("ledger-count").textContent;

report.first = document.getElementById("explorer-value").dataset.value;
report.explored = [];
for (const choice of window.choices) {
  for (const [key, place] of Object.entries(choice)) say(`choose-${key}`, place, "input");
  const row = document.querySelectorAll("#explorer-table tbody tr")[choice.rate];
  report.explored.push({
    value: document.getElementById("explorer-value").dataset.value,
    text: document.getElementById("explorer-answer").textContent,
    row: [...row.cells].map((cell) => cell.textContent),
    curve: document.querySelector("#explorer-curve .least").getAttribute("points"),
    fragment: location.hash,
  });
}
document.querySelector(".enlarge").click();
report.enlarged = [document.getElementById("enlarged").open, document.querySelector("dialog img").src];
report.problems = window.problems;
const out = document.createElement("pre");
out.id = "report";
out.textContent = JSON.stringify(report);
document.body.append(out);
});
</script>"""

CHOICES = [
    {"source": 0, "loss_name": 0, "log2_size": 0, "block_length": 0, "rate": 1},
    {"source": 0, "loss_name": 1, "log2_size": 1, "block_length": 1, "rate": 2},
    {"source": 1, "loss_name": 1, "log2_size": 1, "block_length": 0, "rate": 3},
]
DIMS = ("source", "loss_name", "log2_size", "block_length", "rate")


def visit(page, width, fragment, home):
    """Open a copy of the page that works itself and writes down what it saw."""
    text = page.read_text()
    choices = f"<script>var wanted = {width}, choices = {json.dumps(CHOICES)};</script>"
    text = text.replace("<head>", f"<head>{WATCH}", 1).replace(
        "</body>", f"{choices}{VISIT}</body>", 1
    )
    copy = page.with_name(f"visited-{width}.html")
    copy.write_text(text)
    command = [
        *(BROWSER, "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"),
        *("--hide-scrollbars", "--no-first-run", f"--user-data-dir={home}"),
        *(f"--window-size={max(width, 500)},900", "--virtual-time-budget=20000", "--dump-dom"),
        f"{copy.as_uri()}{fragment}",
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=180, check=True)
    return json.loads(Page(done.stdout).one(id="report").text)


@pytest.fixture(scope="module", params=[1280, 400])
def report(request, gallery, tmp_path_factory):
    fragment = "#source=Gaussian%2C+r+%3D+0.8&loss_name=error&log2_size=10&block_length=32&rate=0.5"
    return visit(gallery.page, request.param, fragment, tmp_path_factory.mktemp("browser"))


@needs_browser
def test_a_browser_shows_every_picture_and_complains_of_nothing(report):
    assert report["problems"] == []
    assert [source for source, _ in report["images"]] == ["explorer.png", "wyner_ziv.png"]
    assert all(width > 0 for _, width in report["images"])
    assert report["enlarged"][0] is True
    assert report["enlarged"][1].endswith("/explorer.png")


@needs_browser
def test_no_text_is_cut_off_or_overlaps(report):
    assert report["width"] in (1280, 500)
    assert report["texts"] > 100
    assert report["scroll"] <= report["width"]
    assert report["outside"] == []
    assert report["overlaps"] == []


@needs_browser
def test_the_ledger_sorts_and_filters(gallery, report):
    for name, (up, down) in report["sorts"].items():
        assert (up[0], down[0]) == ("ascending", "descending")
        kinds = {"measured": float, "claim": float}.get(name, str)
        filled = [[kinds(text) for text in run if text] for _, run in (up, down)]
        if kinds is float:
            assert filled[0] == sorted(filled[0])
        assert filled[1] == sorted(filled[1], reverse=True) or kinds is str
        assert sorted(filled[0]) == sorted(filled[1])
        assert len(filled[0]) > 5
        assert "" not in up[1][: len(filled[0])]
        assert "" not in down[1][: len(filled[0])]
    assert len(report["sorts"]["checked"][0][1]) == len(gallery.found.rows)
    assert report["sorts"]["checked"][0][1] != report["sorts"]["checked"][1][1]
    assert report["focused"]
    assert sum(state != "none" for state in report["headings"]) == 1
    (kept,) = report["filtered"]
    assert "Fano" in kept
    waiting = sum(row.verdict == "no result yet" for row in gallery.found.rows)
    assert report["waiting"] == waiting
    assert report["count"] == f"{waiting} of {len(gallery.found.rows)} rows"


@needs_browser
def test_the_explorer_gives_the_saved_numbers(gallery, report):
    dataset = gallery.entries[0][1]
    asked = {"source": "Gaussian, r = 0.8", "loss_name": "error", "log2_size": 10, "block_length": 32, "rate": 0.5}  # fmt: skip
    assert float(report["first"]) == float(dataset.best_loss.sel(asked))
    curves = set()
    for choice, seen in zip(CHOICES, report["explored"], strict=True):
        there = {dim: choice[dim] for dim in DIMS}
        parts = [dataset[f"best_loss{end}"].isel(there).item() for end in ("", "_lower", "_upper")]
        assert float(seen["value"]) == parts[0]
        assert [float(text) for text in seen["row"][3:6]] == parts
        assert float(seen["row"][0]) == dataset.rate[choice["rate"]]
        information = dataset.information.isel(source=choice["source"], rate=choice["rate"]).item()
        assert float(seen["row"][1]) == information
        assert len(seen["curve"].split()) == dataset.sizes["rate"]
        assert "loss_name=" in seen["fragment"]
        curves.add(seen["curve"])
    assert len(curves) == len(CHOICES)
    code = dataset.code_loss.sel(
        code_loss_name="reciprocal_rank", code_source="DSBS, p = 0.1", log2_size=10, code_rate=0.5
    )
    assert float(report["explored"][1]["row"][6]) == float(code)
    assert "Random codes" in report["explored"][1]["text"]
    assert "Random codes" not in report["explored"][2]["text"]
