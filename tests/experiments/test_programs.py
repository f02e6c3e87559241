"""Compiled programs: which generator makes them, and when they are forgotten."""

import os

import jax
import numpy as np
import pytest

from experiments.runner import programs

FLAG = "--xla_cpu_use_fusion_emitters=false"
WHOLE = "--xla_cpu_parallel_codegen_split_count=1"


@pytest.fixture
def users_flags(monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", "--xla_force_host_platform_device_count=2")


def flags(preset):
    programs.compile_quickly(preset)
    return os.environ["XLA_FLAGS"].split()


needs_the_generator = pytest.mark.skipif(
    not programs._starts_with(f"{FLAG} {WHOLE}"), reason="this jaxlib has no older generator"
)


@needs_the_generator
@pytest.mark.usefixtures("users_flags")
def test_the_quick_preset_is_compiled_by_the_older_generator_and_flags_of_the_user_stay():
    assert flags("quick") == ["--xla_force_host_platform_device_count=2", FLAG, WHOLE]
    assert flags("quick").count(FLAG) == 1


@pytest.mark.usefixtures("users_flags")
def test_other_presets_are_compiled_as_users_code_is():
    assert flags("full") == flags("smoke") == ["--xla_force_host_platform_device_count=2"]


@pytest.mark.usefixtures("users_flags")
def test_the_choice_of_the_user_stands(monkeypatch):
    chosen = ["--xla_cpu_use_fusion_emitters=true", "--xla_cpu_parallel_codegen_split_count=3"]
    monkeypatch.setenv("XLA_FLAGS", " ".join(chosen))
    assert flags("quick") == chosen


@pytest.mark.usefixtures("users_flags")
def test_a_jaxlib_that_does_not_know_the_flag_is_not_given_it(monkeypatch):
    monkeypatch.setattr(programs, "_OLDER_GENERATOR", "--xla_no_such_flag=false")
    kept = [flag for flag in [WHOLE] if programs._starts_with(flag)]
    assert flags("quick") == ["--xla_force_host_platform_device_count=2", *kept]
    monkeypatch.setenv("XLA_FLAGS", "")
    monkeypatch.setattr(programs, "_IN_ONE_PIECE", "--xla_nor_this=1")
    assert flags("quick") == []


def test_jax_starts_with_no_flag_and_not_with_one_that_is_unknown():
    assert programs._starts_with("")
    assert not programs._starts_with("--xla_no_such_flag=1")


def test_programs_share_a_context_and_a_new_one_is_made_after_some(monkeypatch):
    mlir = pytest.importorskip("jax._src.interpreters.mlir")
    make, made = mlir.make_ir_context, []
    monkeypatch.setattr(mlir, "make_ir_context", lambda: made.append(make()) or made[-1])
    monkeypatch.setattr(programs, "_IN_A_CONTEXT", 2)
    alone = jax.jit(lambda x: 2 * x + 1).lower(np.ones(3)).as_text()
    programs.share_contexts.__wrapped__()
    made.clear()
    texts = [jax.jit(lambda x: 2 * x + 1).lower(np.ones(3)).as_text() for _ in range(3)]
    assert texts == [alone] * 3
    assert len(made) == 2


@pytest.mark.parametrize(("most", "forgotten"), [(0, True), (10**9, False)])
def test_programs_are_forgotten_once_there_are_many(monkeypatch, most, forgotten):
    calls = []
    monkeypatch.setattr(jax, "clear_caches", lambda: calls.append(1))
    monkeypatch.setattr(programs, "_MANY_MAPPINGS", most)
    programs.forget_if_many()
    assert bool(calls) == forgotten


def test_programs_are_forgotten_where_their_number_is_unknown(monkeypatch):
    calls = []
    monkeypatch.setattr(jax, "clear_caches", lambda: calls.append(1))

    def missing(_path):
        raise FileNotFoundError

    monkeypatch.setattr(programs.Path, "read_bytes", missing)
    programs.forget_if_many()
    assert calls
