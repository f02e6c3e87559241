"""Compiled programs are kept on disk, so that the next process need not compile them again.

Most of the time of a first call is XLA's compiler. JAX can read compiled programs from a folder, by a key that names the
program, its options, the flags of XLA and the version of jaxlib; a program that is read back is the same machine
code, and no digit changes. JAX writes into that folder in place, so that a reader may see half of a file, and a
process that is killed leaves one. Here each process therefore has a folder of its own: it begins with links to
all programs that are shared, and what it compiled is linked into the shared folder, each file in one step, when the
process ends or calls `exchange`.
"""

import contextlib
import hashlib
import os
import platform
import shutil
import tempfile
from multiprocessing.util import Finalize
from pathlib import Path
from typing import Final

import jax
import jaxlib

from rdsim.files import locked

SWITCH: Final = "RDSIM_CACHE"
"""Environment variable: a folder for the compiled programs, or "off"."""
_MOST_BYTES: Final = 512 * 1024**2  # of shared programs; the oldest are removed first
_MOST_PROGRAMS: Final = 5000
"""Most shared programs: each is linked when a process begins, 20 microseconds of its time, and again when it ends."""
_LEAST_SECONDS: Final = 0.005
"""Least time of compilation of a program that is kept: reading one takes a millisecond or two. A single operation takes ten to
compile, and a first call has dozens of them."""

QUICKLY: Final = {"xla_backend_optimization_level": 0}
"""Options of a program that runs a few times: without LLVM's optimisations it compiles in a third to a half of the time."""

_folders: tuple[Path, Path] | None = None
"""The folder of this process, and the shared one."""


def keep_compiled_programs(folder: str | os.PathLike[str] | None = None) -> Path | None:
    """Read compiled programs from a folder, and keep there what this process compiles.

    Call it once, before the first computation. Programs compiled by this version of jaxlib for this kind of
    processor are shared by all processes of the user; at most 5000, and 512 MB, are kept. Where the
    environment variable JAX_COMPILATION_CACHE_DIR names a folder, JAX's own cache is left as it is. A folder that
    cannot be written is not used, and nothing else changes.

    Args:
        folder: where to keep them. Without it, the environment variable RDSIM_CACHE says where; "off" there
            switches the cache off. Without both it is the folder `rdsim` in the cache folder of the user.

    Returns:
        Folder of the shared programs, None where none is used.

    """
    chosen = os.fspath(folder) if folder is not None else os.environ.get(SWITCH, "")
    if "JAX_COMPILATION_CACHE_DIR" in os.environ or chosen == "off":
        return None
    try:
        shared = (Path(chosen) if chosen else _user_cache() / "rdsim") / _machine()
        own = _own_folder(shared)
    except OSError:
        return None
    global _folders
    _folders = own, shared
    jax.config.update("jax_compilation_cache_dir", str(own))
    # XLA's own caches would write the name of this folder, which is new in every process, into the key.
    jax.config.update("jax_persistent_cache_enable_xla_caches", "none")
    jax.config.update("jax_persistent_cache_min_compile_time_secs", _LEAST_SECONDS)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
    return shared


def _user_cache() -> Path:
    """Return the folder in which this user's programs keep what can be computed again."""
    for variable in ("XDG_CACHE_HOME", "LOCALAPPDATA"):
        if os.environ.get(variable):
            return Path(os.environ[variable])
    return Path.home() / ".cache"


def _machine() -> str:
    """Name the kind of machine: a program uses every instruction of the processor that it was compiled on."""
    try:
        flags = [
            line
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith(("flags", "Features", "model name"))
        ]
    except OSError:
        flags = [platform.processor()]
    described = "\n".join([platform.system(), platform.machine(), *sorted(set(flags))])
    return f"jaxlib-{jaxlib.__version__}-{hashlib.sha256(described.encode()).hexdigest()[:12]}"


def _own_folder(shared: Path) -> Path:
    """Make this process's folder with links to all shared programs, to be published when it ends."""
    processes = shared / "processes"
    processes.mkdir(parents=True, exist_ok=True)
    _remove_abandoned(processes)
    own = Path(tempfile.mkdtemp(dir=processes))
    # The lock lasts as long as the process, and tells others that the folder is in use.
    lock = os.open(own / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    locked(lock, wait=True)
    _link_programs(shared, own)
    # Unlike atexit, this also runs at the end of the processes that multiprocessing starts.
    Finalize(None, _publish, args=(own, shared, os.getpid()), exitpriority=0)
    return own


def exchange() -> None:
    """Share what this process has compiled, and take over what others have shared since it began.

    Not to be called while another thread compiles, whose file may be incomplete.
    """
    if _folders is not None:
        own, shared = _folders
        _link_programs(own, shared)
        _link_programs(shared, own)


def _link_programs(source: Path, target: Path) -> None:
    # Most are there already. Of thousands, two lists of names show it in a tenth of the time that as many refused
    # links take.
    for name in set(os.listdir(source)) - set(os.listdir(target)):
        if name.endswith("-cache"):
            # Another process may have been faster, or have removed it meanwhile.
            with contextlib.suppress(OSError):
                os.link(source / name, target / name)


def _publish(own: Path, shared: Path, process: int) -> None:
    """Share what this process compiled, and remove its own folder."""
    if os.getpid() != process:  # a forked child inherits this, but not the folder
        return
    _link_programs(own, shared)
    shutil.rmtree(own, ignore_errors=True)
    _make_space(shared)


def _make_space(shared: Path) -> None:
    """Remove the oldest shared programs until the rest is few and small enough."""
    with contextlib.suppress(OSError):
        programs = [(file.stat(), file) for file in shared.glob("*-cache")]
        kept = 0
        newest_first = sorted(programs, key=lambda entry: -entry[0].st_mtime)
        for number, (state, file) in enumerate(newest_first):
            kept += state.st_size
            if kept > _MOST_BYTES or number >= _MOST_PROGRAMS:
                file.unlink()


def _remove_abandoned(processes: Path) -> None:
    """Remove the folders of processes that were killed: their lock ended with them.

    Their programs may be incomplete, so they are not published.
    """
    for folder in processes.iterdir():
        with contextlib.suppress(OSError), (folder / "lock").open("rb") as file:
            if locked(file.fileno(), wait=False):
                shutil.rmtree(folder, ignore_errors=True)
