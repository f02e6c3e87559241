"""The page of figures, alive in a real browser."""

import json
import os
import shutil
import subprocess

import numpy as np
import pytest
from gallery_page import Page

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
for (const name of ["measured", "claim", "what was checked"]) {
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
    {"source": 1, "loss_name": 1, "log2_size": 1, "block_length": 1, "rate": 1},
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
        BROWSER,
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--hide-scrollbars",
        "--no-first-run",
        f"--user-data-dir={home}",
        f"--window-size={max(width, 500)},900",
        "--virtual-time-budget=20000",
        "--dump-dom",
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
    assert len(report["sorts"]["what was checked"][0][1]) == len(gallery.found.rows)
    assert report["sorts"]["what was checked"][0][1] != report["sorts"]["what was checked"][1][1]
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
    claims = set()
    for choice, seen in zip(CHOICES, report["explored"], strict=True):
        there = {dim: choice[dim] for dim in DIMS}
        parts = [dataset[f"best_loss{end}"].isel(there).item() for end in ("", "_lower", "_upper")]
        every = {"C4": parts[0]}
        if (choice["loss_name"], choice["log2_size"]) == (1, 1):  # those that the figure draws
            more = dataset.converse_loss.isel(
                {dim: choice[dim] for dim in ("source", "block_length", "rate")}
            )
            # Where another converse is the tightest there is no number.
            every |= {
                str(claim): value.item()
                for claim, value in zip(dataset.converse.values, more, strict=True)
                if not np.isnan(value)
            }
        claim = max(every, key=every.__getitem__)
        claims.add(claim)
        assert float(seen["value"]) == float(seen["row"][3]) == every[claim]
        assert seen["row"][4] == claim
        assert f"({claim})" in seen["text"]
        assert [float(text) for text in seen["row"][5:7]] == parts[1:]
        assert float(seen["row"][0]) == dataset.rate[choice["rate"]]
        information = dataset.information.isel(source=choice["source"], rate=choice["rate"]).item()
        assert float(seen["row"][1]) == information
        assert len(seen["curve"].split()) == dataset.sizes["rate"]
        assert "loss_name=" in seen["fragment"]
        curves.add(seen["curve"])
    assert len(curves) == len(CHOICES)
    assert claims == {"C4", "C26", "C27"}
    code = dataset.code_loss.sel(
        code_loss_name="reciprocal_rank", code_source="DSBS, p = 0.1", log2_size=10, code_rate=0.5
    )
    assert float(report["explored"][1]["row"][7]) == float(code)
    assert "Random codes" in report["explored"][1]["text"]
    assert "Random codes" not in report["explored"][2]["text"]
