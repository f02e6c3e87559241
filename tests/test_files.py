"""Files are written whole or not at all, by several processes at once, killed or not."""

import multiprocessing
import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from rdsim import files


def names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


@pytest.mark.parametrize("stage", ["fsync", "replace"])
@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError])
def test_an_interrupted_write_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stage: str, error: type[BaseException]
) -> None:
    path = tmp_path / "new" / "a.nc"
    files.write(path, b"old")

    def interrupt(*_: object) -> None:
        raise error

    monkeypatch.setattr(os, stage, interrupt)
    with pytest.raises(error):
        files.write(path, b"new")
    assert path.read_bytes() == b"old"
    assert names(path.parent) == ["a.nc"]


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    for first in (b"one", None):
        target, link = tmp_path / "disk" / f"{first}.bin", tmp_path / f"{first}.link"
        if first:
            target.write_bytes(first)
        link.symlink_to(Path("disk") / target.name)
        files.write(link, b"two")
        assert link.is_symlink()
        assert target.read_bytes() == b"two"


def test_permissions_are_those_of_any_new_file(tmp_path: Path) -> None:
    files.write(tmp_path / "a", b"a")
    (tmp_path / "b").write_bytes(b"b")
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == stat.S_IMODE(
        (tmp_path / "b").stat().st_mode
    )


def _writer(path: Path, letter: bytes) -> None:
    for _ in range(200):
        files.write(path, letter * 50_000)


def test_processes_that_write_one_file_do_not_disturb_each_other(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    writers = [
        context.Process(target=_writer, args=(tmp_path / "a [1].bin", letter))
        for letter in (b"x", b"y", b"z")
    ]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert [writer.exitcode for writer in writers] == [0, 0, 0]
    content = (tmp_path / "a [1].bin").read_bytes()
    assert len(content) == 50_000
    assert len(set(content)) == 1
    assert names(tmp_path) == ["a [1].bin"]


KILLED = """
import os, sys
from pathlib import Path

from rdsim import files

os.fsync = lambda _: (print("writing", flush=True), sys.stdin.read())
files.write(Path("a.bin"), b"new")
"""


def test_what_a_killed_write_left_is_swept_and_a_living_one_is_not(tmp_path: Path) -> None:
    files.write(tmp_path / "a.bin", b"old")
    with subprocess.Popen(
        [sys.executable, "-c", KILLED],
        cwd=tmp_path,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": str(Path(files.__file__).parents[1])},
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"writing\n"
        files.write(tmp_path / "a.bin", b"mine")
        assert len(names(tmp_path)) == 2  # it is still being written
        process.send_signal(signal.SIGKILL)
    assert (tmp_path / "a.bin").read_bytes() == b"mine"
    assert len(names(tmp_path)) == 2
    files.write(tmp_path / "a.bin", b"again")
    assert names(tmp_path) == ["a.bin"]


@pytest.mark.parametrize(
    ("path", "message"),
    [("folder", "folder, a file is"), ("file/a.json", "a.json cannot be written: (File|Not)")],
)
def test_what_cannot_be_written_is_said_before_any_work(
    tmp_path: Path, path: str, message: str
) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OSError, match=message):
        files.writable(tmp_path / path)


def test_looking_whether_a_file_can_be_written_leaves_it_alone(tmp_path: Path) -> None:
    (tmp_path / "a.bin").write_bytes(b"old")
    files.writable(tmp_path / "a.bin")
    files.writable(tmp_path / "new" / "b.bin")
    assert (tmp_path / "a.bin").read_bytes() == b"old"
    assert names(tmp_path / "new") == []
