"""The command rdsim limit prints what the library computes and says in one line what it refuses."""

from pathlib import Path
from typing import Any

import matplotlib.figure
import numpy as np
import pytest

from rdsim import limits, ranking, sources
from rdsim.cli.app import main
from rdsim.cli.limit import COMMANDS, Source
from rdsim.cli.messages import CommandError


def numbers(text: str) -> list[float]:
    """Every number of nine decimals that was printed, row by row."""
    return [float(word) for word in text.split() if len(word.partition(".")[2]) == 9]


def test_rank_prints_the_certified_limit(capsys: pytest.CaptureFixture[str]) -> None:
    COMMANDS["rank"](10.0, (1.0, 4.0), "miss_5")
    found = limits.rank_loss(10.0, ("miss", 5), rate=np.array([1.0, 4.0]))
    expected = np.stack([found.value, found.lower, found.upper], axis=1).ravel()
    np.testing.assert_allclose(numbers(capsys.readouterr().out), expected, rtol=0, atol=6e-10)


def test_rate_distortion_reads_a_distortion_matrix_and_draws(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    matrix, plot = tmp_path / "d.csv", tmp_path / "curve.png"
    np.savetxt(matrix, 2 * (1 - np.eye(3)), delimiter=",")
    COMMANDS["rate-distortion"]((0.5, 0.3, 0.2), (0.2, 0.4), matrix, plot)
    hamming = limits.rate_at([0.5, 0.3, 0.2], 1 - np.eye(3), np.array([0.1, 0.2]))
    np.testing.assert_allclose(
        numbers(capsys.readouterr().out)[::3], np.asarray(hamming), rtol=0, atol=2e-9
    )
    assert plot.read_bytes().startswith(b"\x89PNG")


def test_a_plot_shows_the_certificate_as_a_band(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[matplotlib.figure.Figure] = []
    monkeypatch.setattr(
        matplotlib.figure.Figure, "savefig", lambda self, *_, **__: drawn.append(self)
    )
    COMMANDS["rank"](10.0, (1.0, 4.0), plot=tmp_path / "curve.png")
    (axis,) = drawn[0].axes
    (band,), (line,) = axis.collections, axis.lines
    found = limits.rank_loss(10.0, "reciprocal_rank", rate=line.get_xdata())
    (path,) = band.get_paths()
    for end in (found.lower, found.upper):
        corners = np.stack([line.get_xdata(), np.asarray(end)], axis=1)
        distance = np.abs(path.vertices[:, None] - corners).max(axis=2).min(axis=0)
        assert distance.max() == 0
    assert "wide" in str(band.get_label())


@pytest.mark.parametrize(
    ("source", "value"),
    [(Source(dsbs=0.1), 0.302684135), (Source(gaussian=0.8), 0.278071905)],
)
def test_C10_bottleneck_of_named_sources(
    source: Source, value: float, capsys: pytest.CaptureFixture[str]
) -> None:
    COMMANDS["bottleneck"](source, (0.5,))
    expected = value if source.dsbs else float(limits.bottleneck_gaussian(0.8, rate=0.5))
    assert numbers(capsys.readouterr().out) == pytest.approx([expected], abs=6e-10)


def test_retrieval_of_a_table_prints_both_bounds(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    np.save(tmp_path / "p.npy", [[0.45, 0.05], [0.05, 0.45]])
    COMMANDS["retrieval"](Source(joint=tmp_path / "p.npy"), 3.0, (0.3,), 4)
    outer, inner = numbers(capsys.readouterr().out)
    assert 0 < outer <= inner


@pytest.mark.parametrize(
    ("source", "known", "options"),
    [
        (Source(dsbs=0.1), sources.dsbs(0.1), {"letters": 8}),
        (
            Source(gaussian=0.8),
            sources.vector_gaussian(np.eye(8), np.eye(8), 0.8 * np.eye(8)),
            {},
        ),
    ],
)
def test_C27_converse_prints_the_tightest_bound_and_its_name(
    source: Source, known: Any, options: dict, capsys: pytest.CaptureFixture[str]
) -> None:
    COMMANDS["converse"](source, (10.0, 20.0), (2.0, 4.0), 8, "error", encoder="separate")
    sizes = np.array([10.0, 20.0])[:, None]
    found = limits.retrieval_converse(
        known, sizes, "error", bits=np.array([2.0, 4.0]), encoder="separate", **options
    )
    printed = capsys.readouterr().out
    losses = list(np.asarray(found.loss).ravel())
    assert numbers(printed) == pytest.approx(losses, rel=0, abs=6e-10)
    assert all(name in printed for name in found.bound)


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_a_table_of_smaller_floats_is_read_as_its_rescaled_float64(
    dtype, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = np.random.default_rng(3).dirichlet(np.ones(12)).reshape(3, 4).astype(dtype)
    double = table.astype(float)
    assert abs(double.sum() - 1) > 1e-9
    np.save(tmp_path / "small.npy", table)
    np.save(tmp_path / "double.npy", double / double.sum())
    printed = []
    for name in ("small.npy", "double.npy"):
        COMMANDS["bottleneck"](Source(joint=tmp_path / name), (0.5,))
        printed.append(numbers(capsys.readouterr().out))
    assert printed[0] == printed[1]


@pytest.mark.parametrize(
    ("source", "whole"),
    [
        (Source(dsbs=0.1), lambda: ranking.scored_loss(sources.dsbs(0.1).joint, 10.0, "error")),
        (Source(gaussian=0.5), lambda: ranking.gaussian_rank_loss(0.5, 10.0, "error").value),
    ],
)
def test_a_loss_out_of_reach_is_called_so_beside_that_of_items_stored_whole(
    source: Source, whole, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(CommandError, match=r"nothing to draw up to a loss of 0\.2"):
        COMMANDS["retrieval"](source, 10.0, (0.1, 0.2), 1, "error", tmp_path / "empty.png")
    assert not (tmp_path / "empty.png").exists()
    printed = capsys.readouterr().out
    assert "inf" not in printed
    assert printed.count("out of reach, even items stored whole have a loss of") == 2
    assert float(printed.split()[-1]) == pytest.approx(float(whole()), rel=0, abs=1e-9)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: COMMANDS["rate-distortion"]((0.5, 0.6), (0.1,)), "p must sum to one"),
        (lambda: COMMANDS["rank"](10.0, (-1.0,)), "rate must"),
        (lambda: COMMANDS["rank"](10.0, (1.0,), "miss_x"), "loss must"),
        (lambda: COMMANDS["rank"](10.0, (1.0, 2.0), plot=Path("curve.txt")), "must name a .png"),
        (lambda: COMMANDS["rank"](10.0, (1.0,), plot=Path("curve.png")), "two different points"),
        (lambda: COMMANDS["bottleneck"](Source(), (1.0,)), "got none"),
        (lambda: COMMANDS["converse"](Source(gaussian=1.2), (9.0,), (1.0,)), "gaussian must lie"),
        (lambda: COMMANDS["converse"](Source(gaussian=0.2), (9.0,), (1.0,), 0), "letters must"),
        (
            lambda: COMMANDS["converse"](Source(gaussian=0.2), (9.0,), (1.0,), encoder="joint"),
            "covered by no bound",
        ),
        (lambda: Source(dsbs=0.1, gaussian=0.2).given(), "got --dsbs, --gaussian"),
        (lambda: Source(joint=Path("nowhere.npy")).given(), "--joint: there is no file"),
    ],
)
def test_refusals_are_one_line(call, message: str) -> None:
    with pytest.raises(CommandError, match=message):
        call()


@pytest.mark.parametrize("name", list(COMMANDS))
def test_a_figure_that_cannot_be_written_is_said_before_the_work(
    tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_bytes(b"")
    (tmp_path / "folder.png").mkdir()
    arguments: dict[str, dict] = {
        "rank": {"log2_size": 10.0, "bits": (1.0, 2.0)},
        "rate-distortion": {"probabilities": (0.5, 0.5), "distortion": (0.1, 0.2)},
        "bottleneck": {"source": Source(dsbs=0.1), "rate": (0.1, 0.2)},
        "retrieval": {"source": Source(dsbs=0.1), "log2_size": 10.0, "target": (0.1, 0.2)},
        "converse": {"source": Source(dsbs=0.1), "log2_size": 10.0, "bits": (0.1, 0.2)},
    }
    for path in (tmp_path / "file" / "a.png", tmp_path / "folder.png"):
        with pytest.raises(CommandError, match="--plot"):
            COMMANDS[name](**arguments[name], plot=path)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(("error", "code"), [(KeyboardInterrupt(), 130), (OSError("full"), 1)])
def test_a_limit_keeps_nothing_and_does_not_say_that_it_does(
    error: BaseException,
    code: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def stopped(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr(limits, "rank_loss", stopped)
    assert main(["limit", "rank", "--log2-size", "20", "--bits", "8"]) == code
    assert capsys.readouterr().err.strip() == ("interrupted" if code == 130 else "full")
