"""Checkpoints of a Monte Carlo run: whole files or none, never taken for those of another run."""

import hashlib
import json
import os
from pathlib import Path
from typing import Any, Final

import jax
import numpy as np
from jax.experimental import multihost_utils

FORMAT: Final = 1
_ABSENT: Final = -1
_UNREADABLE: Final = -2


class CheckpointMismatchError(ValueError):
    """The file was written by another run: other key, arguments, trial, rule or software."""


class CheckpointDamagedError(ValueError):
    """The file is not what was written; delete it to start from trial 0."""


def save(path: Path, fingerprint: dict[str, Any], trials: np.ndarray, totals: np.ndarray) -> None:
    """Write the numbers of trials and the exact sums in one step, from process 0 alone.

    An interruption, kill -9 included, leaves the previous file whole.
    """
    if jax.process_index() != 0:
        return
    body = {"fingerprint": fingerprint, "trials": trials.tolist(), "totals": totals.tolist()}
    content = json.dumps({"body": body, "sha256": _hash(body)}).encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    # One name for the temporary file: what a killed run leaves of it, the next one overwrites.
    temporary = path.with_name(f".{path.name}.tmp")
    with temporary.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def load(
    path: Path, fingerprint: dict[str, Any], shape: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray] | None:
    """Read the numbers of trials and the exact sums (settings, columns), None if there is no file.

    Process 0 reads; every process gets its bytes and comes to the same answer or error.

    Raises:
        CheckpointMismatchError: the file is of another run; the message lists what differs.
        CheckpointDamagedError: the file is truncated or altered.

    """
    content = _read(path)
    if content is None:
        return None
    try:
        document = json.loads(content)
        body = document["body"]
        intact = document["sha256"] == _hash(body)
    except (ValueError, KeyError, TypeError):
        intact = False
    if not intact:
        raise CheckpointDamagedError(
            f"checkpoint {path} is damaged; delete it to start from trial 0"
        )
    found = body["fingerprint"]
    differing = [
        f"{name} (then {found.get(name)!r}, now {fingerprint.get(name)!r})"
        for name in sorted({*found, *fingerprint})
        if found.get(name) != fingerprint.get(name)
    ]
    if differing:
        raise CheckpointMismatchError(
            f"checkpoint {path} belongs to another run; different are {', '.join(differing)}. "
            "Delete it or choose another path"
        )
    return (
        np.array(body["trials"], np.int64).reshape(shape[0]),
        np.array(body["totals"], object).reshape(shape),
    )


def digest(*parts: bytes) -> str:
    """Hash the parts, told apart by their lengths."""
    total = hashlib.sha256()
    for part in parts:
        total.update(len(part).to_bytes(8, "little") + part)
    return total.hexdigest()[:32]


def _hash(body: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()


def _read(path: Path) -> bytes | None:
    error: OSError | None = None
    content, length = b"", _ABSENT
    if jax.process_index() == 0:
        try:
            content = path.read_bytes()
            length = len(content)
        except FileNotFoundError:
            pass
        except OSError as caught:  # raised below, once the other processes know
            error, length = caught, _UNREADABLE
    if jax.process_count() > 1:
        length = int(multihost_utils.broadcast_one_to_all(np.int64(length)))
        if length > 0:
            buffer = np.frombuffer(content.ljust(length, b" "), np.uint8)
            content = bytes(np.asarray(multihost_utils.broadcast_one_to_all(buffer)))
    if error is not None:
        raise error
    if length == _UNREADABLE:
        raise OSError(f"process 0 cannot read the checkpoint {path}")
    return None if length == _ABSENT else content
