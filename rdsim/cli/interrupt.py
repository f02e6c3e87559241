"""Ctrl-C: seen within seconds, also while XLA computes or compiles, and answered in one line."""

import _thread
import contextlib
import multiprocessing
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any, Final, NoReturn

CODE: Final = 130
"""Exit code of a process that was ended by SIGINT, as shells report it."""

_PATIENCE: Final = 3.0
"""Seconds that the work has to end by itself, and to write what it has."""


@contextlib.contextmanager
def ending_after_interrupt(say: Callable[[], None]) -> Iterator[None]:
    """End this process some seconds after SIGINT unless it has left this context by then.

    Python handles a signal in its main thread between two of its own instructions, and one call of
    XLA may last for minutes. The C handler writes to a socket at once, where another thread hears of
    it. Files are written whole or not at all, so that the process may end at any moment.

    Args:
        say: called in that thread before the end.

    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    reader, writer = socket.socketpair()
    writer.setblocking(False)
    finished = threading.Event()

    def watch() -> None:
        while number := reader.recv(1):
            if number[0] == signal.SIGINT and not finished.wait(_PATIENCE):
                say()
                end()

    before = signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
    threading.Thread(target=watch, daemon=True).start()
    try:
        yield
    finally:
        finished.set()
        signal.set_wakeup_fd(before)
        writer.close()


def end() -> NoReturn:
    """End the process now: threads of XLA that still compute would delay an exit, or crash in it."""
    end_children()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(CODE)


def end_children() -> None:
    """End the processes that compute for this one."""
    for child in multiprocessing.active_children():
        child.kill()


def die_silently() -> None:
    """Let SIGINT end a process that computes at once, without a traceback: another one answers."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@contextlib.contextmanager
def raising_lost_interrupts() -> Iterator[None]:
    """Raise an interruption again that Python could not raise where it came.

    What is raised in a callback of the garbage collector (JAX has one) or in a destructor is
    reported and then forgotten, a KeyboardInterrupt too, and the work would go on to its end.
    """
    before = sys.unraisablehook
    waiting: list[threading.Timer] = []

    def again(found: Any) -> None:
        if not issubclass(found.exc_type, KeyboardInterrupt):
            before(found)
            return
        # A moment later, by another thread: what this hook itself raises would be forgotten too.
        waiting.append(threading.Timer(0.01, _thread.interrupt_main))
        waiting[-1].start()

    sys.unraisablehook = again
    try:
        yield
    finally:
        sys.unraisablehook = before
        for timer in waiting:
            timer.cancel()
