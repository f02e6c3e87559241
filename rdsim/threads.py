"""One thread of BLAS for many small products of matrices.

A product of a few thousand numbers is no work for several threads: they wait for one another actively, and where
another process uses a core, each product takes a hundred times as long.
"""

import functools
from contextlib import AbstractContextManager
from typing import Any

from threadpoolctl import ThreadpoolController


def one_blas_thread() -> AbstractContextManager[Any]:
    """Run NumPy's products of matrices inside this context in one thread."""
    return _controller().limit(limits=1, user_api="blas")


@functools.cache
def _controller() -> ThreadpoolController:
    return ThreadpoolController()
