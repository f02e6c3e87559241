"""Threads: one of BLAS for many small products of matrices, or one a core for independent parts.

A product of a few thousand numbers is no work for several threads: they wait for one another actively, and where
another process uses a core, each product takes a hundred times as long.
"""

import functools
import os
import sys
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Final, TypeVar

from threadpoolctl import ThreadpoolController

_T = TypeVar("_T")
_ONE_THREAD: Final = 2**20
"""Entries of the largest table up to which products and decompositions of matrices run in one thread: several would spend
more time waiting for one another than computing."""


def one_blas_thread() -> AbstractContextManager[Any]:
    """Run NumPy's products of matrices inside this context in one thread."""
    return _controller("faiss" in sys.modules).limit(limits=1, user_api="blas")


def few_entries(entries: int) -> bool:
    """Whether work on tables of at most so many entries is done by one thread."""
    return entries <= _ONE_THREAD


def blas_threads_for(entries: int) -> AbstractContextManager[Any]:
    """Run NumPy's work on tables of at most so many entries in one thread if they are few, otherwise in all."""
    return one_blas_thread() if few_entries(entries) else nullcontext()


@functools.cache
def _controller(with_faiss: bool) -> ThreadpoolController:
    """Find the libraries of BLAS once, and once more when faiss has brought its own."""
    del with_faiss
    return ThreadpoolController()


def side_by_side(function: Callable[..., _T], *arguments: Iterable[Any]) -> list[_T]:
    """Apply a function to independent parts in threads, one a core: NumPy's loops run outside of Python's lock."""
    # One thread of BLAS in each: threads that started threads would be more than there are cores.
    with one_blas_thread(), ThreadPoolExecutor(os.cpu_count()) as pool:
        return list(pool.map(function, *arguments))
