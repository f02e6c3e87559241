"""Compiled programs are shared by processes: the second compiles nothing, and no digit changes."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from rdsim import compilation

CODE = """
import jax, jax.numpy as jnp, rdsim
from jax import monitoring
events = []
monitoring.register_event_listener(lambda name, **_: events.append(name))
print(rdsim.keep_compiled_programs({folder!r}) is not None)
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
print(float(jax.jit(lambda x: jnp.sin(x).sum())(jnp.arange(7.0))).hex())
print(sum(name.endswith("cache_hits") for name in events))
"""


def run(folder: Path, **environment: str) -> list[str]:
    kept = {
        k: v
        for k, v in os.environ.items()
        if k not in {"JAX_COMPILATION_CACHE_DIR", compilation.SWITCH}
    }
    found = subprocess.run(
        [sys.executable, "-c", CODE.format(folder=str(folder))],
        env={**kept, **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    return found.stdout.split()


def test_the_second_process_reads_what_the_first_compiled_and_computes_the_same_digits(tmp_path):
    first, second = run(tmp_path), run(tmp_path)
    assert first[0] == second[0] == "True"
    assert first[1] == second[1]
    assert int(first[2]) == 0
    assert int(second[2]) > 0
    (shared,) = tmp_path.iterdir()
    assert list(shared.glob("*-cache"))
    assert not list((shared / "processes").iterdir())  # each process has removed its own folder


def test_the_users_own_cache_and_the_switch_stand(tmp_path):
    assert run(tmp_path / "a", JAX_COMPILATION_CACHE_DIR=str(tmp_path / "own"))[0] == "False"
    assert not (tmp_path / "a").exists()
    code = "import rdsim; print(rdsim.keep_compiled_programs())"
    environment = {k: v for k, v in os.environ.items() if k != "JAX_COMPILATION_CACHE_DIR"}
    off = subprocess.run(
        [sys.executable, "-c", code],
        env={**environment, compilation.SWITCH: "off"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert off.stdout.strip() == "None"


def test_a_folder_that_cannot_be_made_is_not_used(tmp_path):
    (tmp_path / "file").write_text("")
    assert run(tmp_path / "file")[0] == "False"


def test_programs_are_exchanged_while_both_processes_run(tmp_path, monkeypatch):
    own, shared = tmp_path / "own", tmp_path / "shared"
    for folder, name in ((own, "a"), (shared, "b")):
        folder.mkdir()
        (folder / f"{name}-cache").write_text(name)
    monkeypatch.setattr(compilation, "_folders", (own, shared))
    compilation.exchange()
    for folder in (own, shared):
        assert {file.name: file.read_text() for file in folder.iterdir()} == {
            "a-cache": "a",
            "b-cache": "b",
        }


def test_the_folder_of_a_killed_process_is_removed_and_that_of_a_running_one_is_not(tmp_path):
    code = (
        "import sys; from pathlib import Path; from rdsim import compilation;"
        f"compilation._own_folder(Path({str(tmp_path)!r})); print('ready', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout.readline() == "ready\n"
        compilation._remove_abandoned(tmp_path / "processes")
        assert len(list((tmp_path / "processes").iterdir())) == 1
        process.kill()
    compilation._remove_abandoned(tmp_path / "processes")
    assert not list((tmp_path / "processes").iterdir())


@pytest.mark.parametrize(("limit", "value"), [("_MOST_BYTES", 10), ("_MOST_PROGRAMS", 2)])
def test_the_oldest_programs_make_way(limit, value, tmp_path, monkeypatch):
    for age, name in enumerate("abc"):
        file = tmp_path / f"{name}-cache"
        file.write_text("12345")
        os.utime(file, (1e9 - age, 1e9 - age))
    monkeypatch.setattr(compilation, limit, value)
    compilation._make_space(tmp_path)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["a-cache", "b-cache"]


@pytest.mark.parametrize(("variable", "value"), [("XDG_CACHE_HOME", "/somewhere")])
def test_the_cache_folder_is_the_users(variable, value, monkeypatch):
    monkeypatch.setenv(variable, value)
    assert compilation._user_cache() == Path(value)
