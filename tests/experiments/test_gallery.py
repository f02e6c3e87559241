"""The page of figures: whole, closed to the network, and true to the results."""

import base64
import csv
import dataclasses
import json
import re
from pathlib import Path

import numpy as np
import pytest
import xarray
from gallery_page import NAMES, TESTS, Page

from experiments.runner import csv_files as _csv
from experiments.runner import gallery as _gallery
from experiments.runner.ledger import Ledger, Row
from experiments.runner.markup import tag


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
        f"rdsim run {name} --preset smoke",
        f"rdsim draw {name} --preset smoke",
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


def test_what_a_result_says_of_itself_is_text_and_no_markup(gallery):
    """As someone would write it who knows how the hashes are made."""
    bad = "C5,<img src=x onerror=alert(1)>,\"'><script>alert(2)</script>"
    (study, dataset), *others = gallery.entries
    attributes = {
        name: json.dumps({bad: bad}) if name.endswith("_json") else bad
        for name, value in dataset.attrs.items()
        if isinstance(value, str)
    }
    changed = dataset.assign_attrs(attributes)
    rows = [
        dataclasses.replace(
            row("holds"),
            **dict.fromkeys(("claim", "statement", "method", "wanted", "verdict"), bad),
        ),
        dataclasses.replace(row("holds"), study=bad, result=bad),
    ]
    found = Ledger(rows, [bad])
    page = _gallery.write([(study, changed), *others], found, gallery.output, "full", TESTS)
    text = page.read_text()
    page.unlink()
    shown = Page(text)
    assert shown.errors == []
    assert "<img src=x" not in text
    assert not [e for e in shown.elements if any(name.startswith("on") for name in e.at)]
    assert len([e for e in shown.elements if e.name == "script"]) == 2


def test_with_scripts_off_all_but_the_explorer_is_there_to_read(gallery, page):
    hidden = [e for e in page.elements if "hidden" in e.at]
    assert [e.at.get("id", e.name) for e in hidden] == ["form"]
    without = " ".join(e.text for e in page.elements if e.name == "noscript")
    assert "The explorer needs scripts." in without
    for study, _ in gallery.entries:
        picture = next(e for e in page.elements if e.at.get("src") == f"{study.name}.png")
        assert picture.at["alt"] in page.one(id=f"figure-{study.name}").text
    ledger = page.one(id="ledger").text
    assert all(row.statement in ledger for row in gallery.found.rows)


def test_elements_escape_what_is_no_markup():
    assert tag("p", "a < b", tag("code", "&")) == "<p>a &lt; b<code>&amp;</code></p>"
    assert tag("td", class_="x y", data_value='"', hidden=True, open=False) == (
        '<td class="x y" data-value="&quot;" hidden></td>'
    )
    assert tag("ul", [tag("li", "1"), [tag("li", "2")]]) == "<ul><li>1</li>\n<li>2</li></ul>"
    assert tag("img", src="a.png") == '<img src="a.png">'


def row(verdict, measured=1.25, expected=2.5):
    return Row(
        "C1",
        "stated",
        "exact",
        measured,
        expected,
        "wanted",
        verdict,
        "rank_distribution",
        "fresh",
        3,
    )


def test_one_failed_check_fails_its_claim():
    assert Ledger([row("holds"), row("fails")], []).verdict("C1") == "fails"
    assert Ledger([row("no result yet"), row("holds")], []).verdict("C1") == "holds"
    assert Ledger([row("no result yet")], []).verdict("C1") == "no result yet"


def test_a_number_of_the_ledger_has_six_digits_and_stands_in_its_column():
    assert _gallery._number(0.123456789).endswith('title="0.123456789">0.123457</td>')
    text = _gallery._ledger(Ledger([row("holds")], []), set())
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
            "direct_error": ("x", one, units),
            "direct_upper": ("x", one, units),
            "sum": ("x", one, units),
            "sum_error": ("x", one, units),
            "other": ("x", one, {"units": "nats"}),
            "other_lower": ("x", one, units),
        }
    )
    assert _csv.bounds(dataset) == {
        "rate": {"gap": "gap", "lower": "lower"},
        "drawn_mean": {"lower": "drawn_lower", "upper": "drawn_upper"},
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
