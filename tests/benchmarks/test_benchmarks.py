"""Every benchmark at its smallest: both sides agree, and the tables are those of the results."""

import dataclasses
import importlib.util
import itertools
import json
import math
import re
from pathlib import Path

import numpy as np
import pytest

import rdsim
from benchmarks import _report, _rows, bottleneck, first_calls
from benchmarks.__main__ import module, names
from benchmarks._rows import LATE, Row, Side, compare
from benchmarks.rate_distortion import conic, gaps


def agree_rate_distortion(rows):
    assert len(rows) == 17
    for row in rows:
        if row.side.startswith("rdsim"):
            assert row.numbers["gap_bits"] <= (1e-9 if "1e-09" in row.side else 1e-6)
            assert row.numbers.get("closed_form_error_bits", 0.0) <= row.numbers["gap_bits"] + 1e-12
        elif "JAX" in row.side:
            assert row.numbers["gap_bits"] <= 1.001e-6
            assert row.numbers[LATE] == 0
        elif row.status == "measured":
            assert -1e-12 <= row.numbers["gap_bits"] < 0.3


def agree_bottleneck(rows):
    ours, *peers = rows
    assert abs(ours.numbers["missing_bits"]) <= 1e-9
    assert ours.numbers["points_below_constant"] == 0
    for row in peers:
        if row.status == "measured":
            assert -1e-9 <= row.numbers["missing_bits"] < 2  # log2 of the letters is 1.6


def agree_rank_distribution(rows):
    exact, simulated = rows
    assert simulated.numbers["lower"] <= exact.numbers["mean"] <= simulated.numbers["upper"]


def agree_monte_carlo(rows):
    engine, plain, exact = rows
    error, trials = exact.numbers["error"], module("monte_carlo").SMOKE.trials
    room = 5.5 * math.sqrt(error * (1 - error) / trials)  # false alarm below 1e-6 with the skew
    assert abs(engine.numbers["error"] - error) < room
    assert abs(plain.numbers["error"] - error) < room


def agree_product_quantizer(rows):
    fit, peer_fit, _, store, peer_store, _, search, peer_search = rows
    assert store.numbers["share_same"] == search.numbers["share_same"] == 1
    if peer_fit.status == "not installed":
        return
    assert fit.numbers["distortion"] < 1.05 * peer_fit.numbers["distortion"]
    assert peer_store.numbers["share_same"] > 0.999
    assert peer_search.numbers["share_same"] > 0.99


def agree_hot_paths(rows):
    yardsticks = [row for row in rows if row.problem == "yardsticks"]
    assert all(value > 0 for row in yardsticks for value in row.numbers.values())
    paths = rows[len(yardsticks) :]
    assert len(paths) == 6
    assert all(any(name.startswith("share_of") for name in row.numbers) for row in paths)


def agree_ensembles(rows):
    assert 0 < rows[0].numbers["error"] < 1
    assert rows[1].numbers["gap_bits"] <= 1e-9


def agree_replications(rows):
    batch, alone = rows
    # Twice N times the excess is about chi-square with at most two degrees of freedom.
    size = module("replications").SMOKE
    scale = 1 / size.samples
    assert 0 <= batch.numbers["excess_nats"] < 8 * scale
    assert 0 <= alone.numbers["excess_nats"] < 8 * scale


def agree_embeddings(rows):
    ours, dense, peer, report = rows
    assert ours.numbers == dense.numbers
    assert report.numbers["cpu_seconds"] > 0
    assert 0.05 < report.numbers["peak_gib"] < 8
    assert report.numbers["lines"] > 10
    assert peer.status == "not installed" or peer.numbers["recall"] == ours.numbers["recall"]


def agree_presets(rows):
    row, total = rows
    assert row.numbers["cpu_seconds"] > 0.1
    assert 0.05 < row.numbers["peak_memory_gib"] < 8
    assert total.numbers == row.numbers
    assert total.status == "measured"


def agree_training(rows):
    ours, *plain = rows
    # Other starts, and other batches: one loss up to what they differ.
    for row in plain:
        assert row.numbers["cpu_seconds"] > 0
        assert abs(row.numbers["loss_nats"] - ours.numbers["loss_nats"]) < 1


def agree_growth(rows):
    kinds = [row.problem.split(",")[0] for row in rows]
    assert kinds == ["Wyner-Ziv", "bottleneck", "bottleneck", "R(D)"]
    grown = [row for row in rows if "growth_exponent" in row.numbers]
    assert [row.problem for row in grown] == ["bottleneck, local, 4 x 4"]
    assert all(0 <= row.numbers["gap_bits"] < 2 for row in rows)


def agree_grids(rows):
    assert len(rows) == 3 * len(module("grids").SMOKE.slopes)
    for by_axes, hidden, _ in zip(*[iter(rows)] * 3, strict=True):
        for row in (by_axes, hidden):
            assert row.numbers["gap_bits"] <= 1e-9
        assert abs(by_axes.numbers["rate_bits"] - hidden.numbers["rate_bits"]) < 1e-4


def agree_devices(rows):
    assert len(rows) == 3
    assert len({row.numbers["mean"] for row in rows}) == 1
    assert rows[0].numbers["mean"] == pytest.approx(math.sqrt(0.5), abs=0.02)  # 14 deviations


def agree_first_calls(rows):
    cold, warm = "no programs kept", "programs kept"
    assert [row.side for row in rows] == [cold, warm, f"a new shape after it, {cold}", cold, warm]
    assert all(0 < row.numbers["cpu_seconds"] < 300 for row in rows)


def test_first_calls_are_those_of_every_function_that_readme_and_tutorials_name():
    root = Path(__file__).parents[2]
    texts = [root / "README.md", *sorted((root / "docs" / "tutorials").glob("*.md"))]
    named = set()
    for text in texts:
        code = text.read_text(encoding="utf-8")
        for package, name in re.findall(r"\b([a-z_]+)\.([a-z_0-9]+)", code):
            if package in rdsim.__all__ and name in getattr(rdsim, package).__dict__.get(
                "__all__", ()
            ):
                value = getattr(getattr(rdsim, package), name)
                if callable(value) and not isinstance(value, type):
                    named.add(f"{package}.{name}")
    assert len(named) > 25
    timed = {name for names in first_calls.CALLS for name in names.split(", ")}
    assert named <= timed, named - timed


AGREE = {name.removeprefix("agree_"): f for name, f in globals().items() if "agree_" in name}


def test_every_benchmark_is_tested():
    assert set(AGREE) == set(names())


@pytest.mark.parametrize("name", AGREE)
def test_sides_agree(name):
    benchmark = module(name)
    rows = benchmark.run(benchmark.SMOKE)
    AGREE[name](rows)
    for row in rows:
        assert row.status in ("measured", "not installed")
        assert row.status != "measured" or row.problem == "yardsticks" or row.seconds > 0
    saved = {"cpu": {"machine": MACHINE, "benchmarks": {name: _report.entry("T", rows)}}}
    page = _report.markdown(json.loads(json.dumps(saved)))
    assert page.count("\n| ") == 2 + len(rows)


MACHINE = {"cores": 3, "memory_gib": 7, "accelerators": 0, "versions": {"jax": "1"}}


def test_tables_are_those_of_the_results():
    assert _report.TABLES.read_text(encoding="utf-8") == _report.markdown(_report.read())


def test_results_name_the_machine_by_cores_and_memory_only():
    for run in _report.read().values():
        assert set(run["machine"]) == {"cores", "memory_gib", "accelerators", "versions"}
        assert set(run["benchmarks"]) <= set(names())


def test_a_missing_peer_is_said_to_be():
    sides = [
        Side("ours", lambda: 1.0),
        Side("peer", lambda: 1 / 0, package="no_such_package"),
    ]
    ours, peer = compare("p", sides, 1)
    assert ours.status == "measured"
    assert (peer.status, peer.result, peer.seconds) == ("not installed", "not installed", None)


def test_a_peer_is_stopped_at_its_limit():
    def forever():
        for number in itertools.count():
            math.sqrt(number)

    _, peer = compare(
        "p", [Side("ours", lambda: 1.0), Side("peer", forever, compiles=False, limit=0.05)], 2
    )
    assert peer.status == "stopped"
    assert peer.ratio_high is None
    assert _report.cells(vars(peer))[4].startswith("at least ")


def test_a_study_is_stopped_at_its_limit():
    presets = module("presets")
    row, total = presets.run(dataclasses.replace(presets.SMOKE, limit=0.2))
    assert row.status == total.status == "stopped"
    assert total.result.endswith("0 of 1 ran to their end")
    assert row.result.startswith("stopped unfinished")
    assert row.seconds < 10


def test_a_study_that_fails_is_reported_as_failed(tmp_path):
    row = module("presets")._row("p", "s", ["run", "no_such_study"], str(tmp_path))
    assert row.status == "failed"
    assert row.result.startswith("ended with ")


def test_ratios_are_within_a_turn_and_compilation_is_apart(monkeypatch):
    # Times of: first calls of a and b, turn one (a, b), turn two in reversed order (b, a).
    clock = iter([5.0, 9.0, 1.0, 2.0, 8.0, 2.0])
    monkeypatch.setattr(_rows, "timed", lambda call: (call(), next(clock)))
    a, b = compare("p", [Side("a", lambda: 1), Side("b", lambda: 2, share=0.5)], 2)
    assert (a.seconds, a.fastest, a.slowest, a.compiling) == (1.5, 1.0, 2.0, 3.5)
    assert (b.fastest, b.slowest, b.ratio_low, b.ratio_high, b.ratio) == (4.0, 16.0, 4.0, 8.0, 6.0)
    assert b.compiling == 9.0 - 10.0 * 0.5


def test_C5_gap_of_any_marginal_is_an_upper_bound():
    p, d = np.array([0.5, 0.3, 0.2]), 1.0 - np.eye(3)
    measured = gaps(p, d, np.array([2.0]), np.array([[0.5, 0.3, 0.2]]))[0]
    K = np.exp2(-2.0 * d)
    Z = K @ p
    assert measured == pytest.approx(np.log2(max((p / Z) @ K)), abs=1e-14)


@pytest.mark.skipif(importlib.util.find_spec("clarabel") is None, reason="no clarabel")
def test_conic_solver_finds_the_uniform_marginal():
    q = conic(np.full(4, 0.25), 1.0 - np.eye(4), 3.0)
    assert q == pytest.approx(np.full(4, 0.25), abs=1e-6)


def test_information_of_a_table():
    assert bottleneck.information(np.eye(4)) == pytest.approx(2.0)
    assert bottleneck.information(np.ones((2, 3))) == pytest.approx(0.0, abs=1e-15)


def test_rows_render_with_units():
    row = Row("p|q", "s", 0.0021, 0.002, 0.0025, 3.2, 4.0, 3.0, 5.0, "r")
    cells = _report.cells(vars(row))
    assert cells[2:5] == ["2.1 ms (2 ms to 2.5 ms)", "3.2 s", "4 (3 to 5)"]
