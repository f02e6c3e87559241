r"""Checkpoints of a training by orbax: the newest whole state, never taken for another training's."""

import hashlib
import json
import re
import shutil
from pathlib import Path
from typing import Any, Final

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp

from rdsim.simulation.checkpoint import CheckpointMismatchError

_NAME: Final = "training.json"


def fingerprint(
    key: Any, learner: Any, plan: Any, functions: tuple[Any, Any], arrays: Any
) -> dict[str, str]:
    """Say in words and hashes what decides a training, so that no other one is continued.

    Args:
        key: PRNG key.
        learner: known by its representation.
        plan: schedule.
        functions: what draws batches and what observes; a function is known by its name.
        arrays: settings, data and held-out batch.

    """
    digest = hashlib.sha256()
    for path, leaf in jax.tree_util.tree_leaves_with_path(arrays):
        value = np.asarray(leaf)
        digest.update(f"{jax.tree_util.keystr(path)}{value.dtype.str}{value.shape}".encode())
        digest.update(value.tobytes())
    return {
        "key": str(jax.random.key_data(key).tolist()),
        "learner": _named(learner),
        "draw": _named(functions[0]),
        "observe": _named(functions[1]),
        "schedule": repr(plan),
        "data": digest.hexdigest(),
        "jax": jax.__version__,
    }


def _named(thing: Any) -> str:
    """Name a function, or represent an object, without the addresses of one process."""
    if hasattr(thing, "__qualname__"):
        return f"{thing.__module__}.{thing.__qualname__}"
    return re.sub(r" at 0x[0-9a-f]+", "", repr(thing))


class Folder:
    """A folder with the newest states of one training."""

    def __init__(self, path: Path, training: dict[str, str]) -> None:
        """Open or make the folder.

        Raises:
            CheckpointMismatchError: if it holds another training; the message lists what differs.

        """
        self._path = path.absolute()
        note = self._path / _NAME
        if note.exists():
            found = json.loads(note.read_text())
            differing = sorted(name for name in training if found.get(name) != training[name])
            if differing:
                raise CheckpointMismatchError(
                    f"checkpoint {path} belongs to another training; different are "
                    f"{', '.join(differing)}. Delete it or choose another path"
                )
        else:
            self._path.mkdir(parents=True, exist_ok=True)
            temporary = note.with_suffix(".tmp")
            temporary.write_text(json.dumps(training))
            temporary.replace(note)

    def save(self, carry: dict[str, Any], records: list[dict[str, Any]]) -> None:
        """Write a state in one step, and then forget those before."""
        step = int(carry["step"])
        with ocp.PyTreeCheckpointer() as writer:
            writer.save(self._path / f"step-{step}", _flat(carry, records), force=True)
        for old in self._states()[:-1]:
            shutil.rmtree(old, ignore_errors=True)

    def restore(self, carry: dict[str, Any]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        """Read the newest state; without one return the given, with no records."""
        states = self._states()
        if not states:
            return carry, []
        with ocp.PyTreeCheckpointer() as reader:
            found = reader.restore(states[-1])
        return _unflat(found, carry)

    def _states(self) -> list[Path]:
        """Whole states, oldest first; orbax renames a state to its name when it is whole."""
        named = [path for path in self._path.glob("step-*") if path.name[5:].isdigit()]
        return sorted(named, key=lambda path: int(path.name[5:]))


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
