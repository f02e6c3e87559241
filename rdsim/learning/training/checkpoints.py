r"""Checkpoints of a training by orbax: the newest whole state, never taken for another training's."""

import contextlib
import json
import re
import secrets
import shutil
import time
from pathlib import Path
from typing import Any, Final

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp

from rdsim import files
from rdsim.simulation.engine import checkpoint
from rdsim.simulation.engine.checkpoint import CheckpointDamagedError

_NAME: Final = "training.json"
_SEAL: Final = ".sealed"
"""Suffix of the file with the hash of a state, written once the state is whole."""
_LONGEST_WRITE: Final = 3600.0
"""Seconds after which a state without a seal is taken for that of a killed process."""


def fingerprint(
    key: Any,
    learner: Any,
    plan: Any,
    functions: tuple[Any, Any],
    arrays: Any,
    programs: tuple[jax.stages.Lowered, ...],
) -> dict[str, str]:
    """Say in words and hashes what decides a training, so that no other one is continued.

    Args:
        key: PRNG key.
        learner: what is trained.
        plan: schedule.
        functions: what draws batches and what observes.
        arrays: settings, data and held-out batch.
        programs: all that is computed from them, lowered: names alone would not tell an edited loss
            from the one before.

    """
    draw, observe = functions
    return {
        "format": "vectors, sealed",
        "learner": re.sub(r" at 0x[0-9a-f]+", "", repr(learner)),
        "draw": checkpoint.of_function(draw),
        "observe": checkpoint.of_function(observe),
        "schedule": repr(plan),
        "program": checkpoint.digest(*(program.as_text().encode() for program in programs)),
        "key": checkpoint.of_key(key),
        "data": checkpoint.of_arrays(arrays),
        "jax": jax.__version__,
    }


class Folder:
    """A folder with the newest states of one training.

    Several processes may train the same into one folder: each writes states of its own names.
    """

    def __init__(self, path: Path, training: dict[str, str]) -> None:
        """Open or make the folder.

        Raises:
            CheckpointMismatchError: if it holds another training; the message lists what differs.
            CheckpointDamagedError: if what it holds cannot be read.
            OSError: if it cannot be written.

        """
        self._path = path.absolute()
        note = self._path / _NAME
        files.writable(note)
        if note.exists():
            try:
                found = dict(json.loads(note.read_bytes()))
            except (ValueError, TypeError, RecursionError) as error:
                raise self._damaged(note) from error
            checkpoint.refuse_other(path, found, training)
        elif self._states():
            raise self._damaged(note)
        else:
            files.write(note, json.dumps(training).encode())
        sealed = self._states()
        for state in self._path.glob("step-*"):
            with contextlib.suppress(OSError):
                if state.is_dir() and state not in sealed and _age(state) > _LONGEST_WRITE:
                    shutil.rmtree(state)

    def save(self, carry: dict[str, Any], records: list[dict[str, Any]]) -> None:
        """Write a state, seal it in one step, and then forget those before."""
        state = self._path / f"step-{int(carry['step'])}-{secrets.token_hex(4)}"
        with ocp.PyTreeCheckpointer() as writer:
            writer.save(state, _flat(carry, records))
        files.write(state.with_suffix(_SEAL), _hash(state).encode())
        for old in self._states()[:-1]:
            old.with_suffix(_SEAL).unlink(missing_ok=True)
            shutil.rmtree(old, ignore_errors=True)

    def restore(self, carry: dict[str, Any]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        """Read the newest state; without one return the given, with no records.

        Raises:
            CheckpointDamagedError: if it is not what was written.

        """
        while states := self._states():
            newest = states[-1]
            try:
                # orbax finds damage in some of its files only, and is not clean after it.
                intact = newest.with_suffix(_SEAL).read_text() == _hash(newest)
                if intact:
                    with ocp.PyTreeCheckpointer() as reader:
                        return _unflat(reader.restore(newest), carry)
            except (OSError, ValueError):
                intact = False
            if not intact and newest in self._states():  # no other process forgot it meanwhile
                raise self._damaged(newest)
        return carry, []

    def _damaged(self, part: Path) -> CheckpointDamagedError:
        return CheckpointDamagedError(
            f"checkpoint {self._path} is damaged in {part.name}; delete the folder to train from "
            "the start"
        )

    def _states(self) -> list[Path]:
        """Saved states with their check sums, oldest first."""
        sealed = [
            path.with_suffix("")
            for path in self._path.glob(f"step-*{_SEAL}")
            if re.fullmatch(r"step-\d+-[0-9a-f]+", path.stem)
        ]
        return sorted(sealed, key=lambda path: (int(path.name.split("-")[1]), path.name))


def _age(state: Path) -> float:
    return time.time() - state.stat().st_mtime


def _hash(state: Path) -> str:
    """Hash the names and contents of all files of a state."""
    parts = [path for path in sorted(state.rglob("*")) if path.is_file()]
    return checkpoint.digest(
        *(
            part
            for path in parts
            for part in (str(path.relative_to(state)).encode(), path.read_bytes())
        )
    )


def _flat(carry: dict[str, Any], records: list[dict[str, Any]]) -> dict[str, Any]:
    """Host arrays by name: orbax then writes no device layout, which another machine would lack."""
    leaves = [np.asarray(leaf) for leaf in jax.tree.leaves(carry)]
    return {
        "carry": {str(index): leaf for index, leaf in enumerate(leaves)},
        "records": {
            str(index): {
                f"{place}/{name}": np.asarray(value)
                for place, part in record.items()
                for name, value in (part.items() if isinstance(part, dict) else [("", part)])
            }
            for index, record in enumerate(records)
        },
    }


def _unflat(
    found: dict[str, Any], carry: dict[str, Any]
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    leaves = [jnp.asarray(found["carry"][str(i)]) for i in range(len(jax.tree.leaves(carry)))]
    records = []
    for index in range(len(found["records"])):
        record: dict[str, Any] = {"recorded": {}, "observed": {}}
        for name, value in found["records"][str(index)].items():
            place, _, inner = name.partition("/")
            if inner:
                record[place][inner] = value
            else:
                record[place] = value
        records.append(record)
    return jax.tree.unflatten(jax.tree.structure(carry), leaves), records
