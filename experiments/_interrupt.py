"""Ctrl-C ends a command wherever it comes."""

import _thread
import contextlib
import sys
import threading
from collections.abc import Iterator
from typing import Any


@contextlib.contextmanager
def felt() -> Iterator[None]:
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
