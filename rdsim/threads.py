"""Threads: one of BLAS for many small products of matrices, or one a core for independent parts.

A product of a few thousand numbers is no work for several threads: they wait for one another actively, and where
another process uses a core, each product takes a hundred times as long.
"""

import functools
import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from typing import Any, TypeVar

from threadpoolctl import ThreadpoolController

_T = TypeVar("_T")


def one_blas_thread() -> AbstractContextManager[Any]:
    """Run NumPy's products of matrices inside this context in one thread."""
    return _controller().limit(limits=1, user_api="blas")


@functools.cache
def _controller() -> ThreadpoolController:
    return ThreadpoolController()


def side_by_side(function: Callable[..., _T], *arguments: Iterable[Any]) -> list[_T]:
    """Apply a function to independent parts in threads, one a core: NumPy's loops run outside of Python's lock."""
    with one_blas_thread(), ThreadPoolExecutor(os.cpu_count()) as pool:
        return list(pool.map(function, *arguments))
