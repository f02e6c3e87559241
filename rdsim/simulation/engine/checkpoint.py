"""Checkpoints of a Monte Carlo run: whole files or none, never taken for those of another run."""

import dataclasses
import hashlib
import json
import re
import time
from pathlib import Path
from typing import Any, Final

import jax
import jax.numpy as jnp
import jaxlib
import numpy as np
from jax.experimental import multihost_utils

from rdsim import files

FORMAT: Final = 1
"""Version of the file's format, part of every fingerprint."""
_ABSENT: Final = -1
_UNREADABLE: Final = -2
"""Sent by process 0 to the others in the place of the length of a file that it cannot read."""


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
    files.write(path, content)


def load(
    path: Path, fingerprint: dict[str, Any], shape: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray] | None:
    """Read the numbers of trials and the exact sums (settings, columns), None if there is no file.

    Process 0 reads; every process gets its bytes and comes to the same answer or error.

    Raises:
        CheckpointMismatchError: the file is of another run; the message lists what differs.
        CheckpointDamagedError: the file is truncated or altered.
        OSError: it cannot be read, or not be written later.

    """
    content = _read(path)
    if content is None:
        return None
    try:
        document = json.loads(content)
        body = document["body"]
        intact = document["sha256"] == _hash(body)
        found = dict(body["fingerprint"])
    except (ValueError, KeyError, TypeError, RecursionError):
        intact, found = False, {}
    if not intact:
        raise CheckpointDamagedError(
            f"checkpoint {path} is damaged; delete it to start from trial 0"
        )
    refuse_other(path, found, fingerprint)
    return (
        np.array(body["trials"], np.int64).reshape(shape[0]),
        np.array(body["totals"], object).reshape(shape),
    )


def refuse_other(path: Path, found: dict[str, Any], wanted: dict[str, Any]) -> None:
    """Raise CheckpointMismatchError if two fingerprints differ, and say in what."""
    differing = [
        f"{name} (then {_short(found.get(name))}, now {_short(wanted.get(name))})"
        for name in sorted({*found, *wanted})
        if found.get(name) != wanted.get(name)
    ]
    if differing:
        raise CheckpointMismatchError(
            f"checkpoint {path} belongs to another run; different are {', '.join(differing)}. "
            "Delete it or choose another path"
        )


@dataclasses.dataclass
class Saver:
    """Writes a run's checkpoint when it is due; does nothing without a path.

    Attributes:
        path: of the file, or None.
        fingerprint: of the run.
        pause: least seconds between two writes that are due.
        saved: when the file was last written, by the monotonic clock.

    """

    path: Path | None
    fingerprint: dict[str, Any]
    pause: float
    saved: float = dataclasses.field(default_factory=time.monotonic)

    def now(self, trials: np.ndarray, totals: np.ndarray) -> None:
        """Write the file."""
        if self.path is not None:
            save(self.path, self.fingerprint, trials, totals)
            self.saved = time.monotonic()

    def if_due(self, trials: np.ndarray, totals: np.ndarray) -> None:
        """Write the file if the pause is over."""
        if self.path is not None and time.monotonic() - self.saved >= self.pause:
            self.now(trials, totals)


def digest(*parts: bytes) -> str:
    """Hash the parts with their lengths, so that no two lists of parts read alike."""
    total = hashlib.sha256()
    for part in parts:
        total.update(len(part).to_bytes(8, "little") + part)
    return total.hexdigest()[:32]


def of_program(lowered: jax.stages.Lowered) -> str:
    """Hash what a function computes, constants included, whatever it is called."""
    return digest(lowered.as_text().encode())


def of_arrays(tree: Any) -> str:
    """Hash the structure, the types and the values of a PyTree of arrays."""
    leaves, structure = jax.tree.flatten(tree)
    arrays = [
        np.asarray(jax.random.key_data(leaf) if is_key(leaf) else leaf, order="C")
        for leaf in leaves
    ]
    contents = [f"{array.dtype} {array.shape}".encode() + array.tobytes() for array in arrays]
    return digest(str(structure).encode(), *contents)


def of_key(key: Any) -> str:
    """Return a PRNG key as an array that can be saved."""
    data = np.asarray(jax.random.key_data(key))
    return f"{jax.random.key_impl(key)} {data.tobytes().hex()}"


def of_function(function: Any) -> str:
    """Name a function, or represent an object, without its module and addresses in memory.

    The module is __main__ today and the name of a file tomorrow. A name identifies nothing by
    itself: it only says what differs, beside the hash of the program.
    """
    inner = getattr(function, "func", function)
    return str(getattr(inner, "__qualname__", re.sub(r" at 0x[0-9a-f]+", "", repr(inner))))


def of_software(device: Any) -> str:
    """Return the names of the devices and versions on which rounding depends."""
    return f"jax {jax.__version__}, jaxlib {jaxlib.__version__}, {device.device_kind}"


def is_key(leaf: Any) -> bool:
    """Whether a leaf is an array of typed PRNG keys."""
    return isinstance(leaf, jax.Array) and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 100 else f"{text[:97]}..."


def _hash(body: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()


def _read(path: Path) -> bytes | None:
    error: OSError | None = None
    content, length = b"", _ABSENT
    if jax.process_index() == 0:
        try:
            files.writable(path)  # an error is raised before the work, not after it
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
        raise OSError(f"process 0 cannot read or write the checkpoint {path}")
    return None if length == _ABSENT else content
