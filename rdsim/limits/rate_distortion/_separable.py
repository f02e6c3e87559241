r"""Distortions of product grids: sums over two axes, whose kernels are Kronecker products.

Where $d((y_1,y_2),(u_1,u_2)) = d_1(y_1,u_1) + d_2(y_2,u_2)$, as the squared error on a grid of the plane, the kernel is
$K = K_1 \otimes K_2$, and of n letters

- a product with K costs $n^{1.5}$ instead of $n^2$: $Kq = K_1 Q K_2^\top$, Q being q on the grid;
- the Newton matrix $H = K^\top D K$ costs $n^{2.5}$ instead of $n^3$: first over $y_1$, then over $y_2$.

Where letters are far apart for their kernels the Newton equations are solved by conjugate gradients, at the cost of
products; else by a factorisation.
"""

import itertools
from collections.abc import Callable
from typing import Any, Final, NamedTuple

import numpy as np
from jaxtyping import Float
from scipy.linalg import lapack

from rdsim.limits.rate_distortion._interior_point import RIDGE, shifted_kernel
from rdsim.namespaces import positive_definite_solver

_FEWEST: Final = 256
"""Letters from which on a sum over axes is looked for."""
_LOOKED_AT: Final = 64
"""Entries by which most ways to cut the letters into two axes are refuted."""
_VANISHES: Final = 1e-200
"""A smaller entry of a factor is set to zero: no digit of a sum changes, and numbers below 1e-308 are slow."""
_PRECISE: Final = 1e-8
"""Relative residual of conjugate gradients. What is left enters the products q w alone: the linear equations of the
interior point hold whatever dq is."""
_MOST_STEPS: Final = 0.5
"""Steps of conjugate gradients in units of the letters, at which they have cost about as much as a factorisation."""
_NEGLIGIBLE: Final = 1e-25
"""Entries of the Newton matrix below this, relative to its diagonal, are set to zero: far letters of a grid leave a
band, whose factorisation costs the square of its width a letter."""
_PAIRS_AT_ONCE: Final = 64
"""Pairs of letters of the first axis whose blocks of the Newton matrix are computed at a time."""


class Kronecker:
    r"""The matrix $A \otimes B$, for products with vectors."""

    # NumPy leaves `vector @ matrix` to `__rmatmul__`.
    __array_ufunc__ = None

    def __init__(self, A: np.ndarray, B: np.ndarray) -> None:
        """Keep the factors, of shapes (m1, n1) and (m2, n2)."""
        self.A, self.B = A, B
        self.shape = A.shape[0] * B.shape[0], A.shape[1] * B.shape[1]
        self.size = self.shape[0] * self.shape[1]

    def __array_namespace__(self) -> Any:
        """Name the namespace of its factors."""
        return np

    def __matmul__(self, q: np.ndarray) -> np.ndarray:
        """The product with a column."""
        return np.asarray(self.A @ q.reshape(self.A.shape[1], -1) @ self.B.T).ravel()

    def __rmatmul__(self, nu: np.ndarray) -> np.ndarray:
        """The product with a row."""
        return np.asarray(self.A.T @ nu.reshape(self.A.shape[0], -1) @ self.B).ravel()

    def sum(self) -> float:
        """Sum of all entries."""
        return float(self.A.sum() * self.B.sum())

    def normal_equations(
        self, weight: np.ndarray, diagonal: np.ndarray
    ) -> Callable[[np.ndarray], np.ndarray]:
        """Return b -> x with (K^T diag(weight) K + diag(diagonal)) x = b, to the digits that Newton's method needs."""
        table = weight.reshape(self.A.shape[0], -1)
        largest = ((self.A**2).T @ table @ self.B**2).ravel()
        # Jacobi's preconditioner: a letter that is leaving has a large q^-1 w, and is solved by it.
        scale = 1 / np.sqrt(largest + diagonal)
        rest = scale**2 * diagonal
        rows, columns = np.ascontiguousarray(self.A.T), np.ascontiguousarray(self.B.T)
        factor: list[Callable[[np.ndarray], np.ndarray]] = []

        def apply(x: np.ndarray) -> np.ndarray:
            seen = self.A @ (scale * x).reshape(rows.shape[0], -1) @ columns
            seen *= table
            return scale * (rows @ seen @ self.B).ravel() + rest * x

        def solve(b: np.ndarray) -> np.ndarray:
            if not factor:
                x, solved = conjugate_gradients(apply, scale * b, int(_MOST_STEPS * b.size))
                if solved:
                    return scale * x
                factor.append(_band_solver(*self._scaled_newton_matrix(table, scale)))
            return scale * factor[0](scale * b)

        return solve

    def _scaled_newton_matrix(self, table: np.ndarray, scale: np.ndarray) -> tuple[np.ndarray, int]:
        """K^T D K above its diagonal, with D on the grid of the rows, and how many diagonals are not zero.

        Rows and columns are scaled so that its diagonal, with what is added to it, becomes one.
        """
        n1, n2 = self.A.shape[1], self.B.shape[1]
        scales = scale.reshape(n1, n2)
        H = np.zeros((n1, n2, n1, n2))
        first, second = np.triu_indices(n1)
        over_first = (self.A[:, first] * self.A[:, second]).T @ table
        reach = 0
        for start in range(0, len(first), _PAIRS_AT_ONCE):
            u, v = first[start : start + _PAIRS_AT_ONCE], second[start : start + _PAIRS_AT_ONCE]
            part = over_first[start : start + _PAIRS_AT_ONCE]
            blocks = np.matmul(self.B.T * scales[u, :, None], part[:, :, None] * self.B)
            blocks *= scales[v, None, :]
            blocks[blocks < _NEGLIGIBLE] = 0.0
            H[u, :, v, :] = blocks
            reach = max(reach, int((v - u)[blocks.any(axis=(1, 2))].max(initial=0)))
        matrix = H.reshape(n1 * n2, n1 * n2)
        np.fill_diagonal(matrix, 1 + RIDGE)
        return matrix, min((reach + 1) * n2, n1 * n2)


def _band_solver(matrix: np.ndarray, diagonals: int) -> Callable[[np.ndarray], np.ndarray]:
    """Factor a symmetric positive definite matrix given above its diagonal; NaN where that fails."""
    if 2 * diagonals > len(matrix):
        return positive_definite_solver(matrix)
    # LAPACK keeps a diagonal in a row: column j of its array is row j of the matrix, from the diagonal on.
    band = np.zeros((len(matrix), diagonals))
    for j, row in enumerate(matrix):
        part = row[j : j + diagonals]
        band[j, : len(part)] = part
    factor, failed = lapack.dpbtrf(band.T, lower=1, overwrite_ab=1)
    if failed:
        return lambda b: np.full_like(b, np.nan)
    return lambda b: np.asarray(lapack.dpbtrs(factor, b, lower=1)[0])


def conjugate_gradients(
    apply: Callable[[np.ndarray], np.ndarray], b: np.ndarray, most: int
) -> tuple[np.ndarray, bool]:
    """Solve a symmetric positive definite system; also say whether the residual became small in so many steps."""
    x, residual = np.zeros_like(b), b.copy()
    direction, square = b.copy(), b @ b
    wanted = _PRECISE**2 * square
    for _ in range(most):
        if not square > wanted:  # NaN ends it too
            break
        moved = apply(direction)
        length = square / (direction @ moved)
        x += length * direction
        residual -= length * moved
        before, square = square, residual @ residual
        direction *= square / before
        direction += residual
    return x, bool(square <= wanted)


class SumOfAxes(NamedTuple):
    """Distortions $d_1(y_1,u_1) + d_2(y_2,u_2)$, each row of either axis at least zero."""

    first: Float[np.ndarray, "y1 u1"]
    second: Float[np.ndarray, "y2 u2"]

    @classmethod
    def found_in(cls, excess: Float[np.ndarray, "y u"]) -> "SumOfAxes | None":
        """The axes of a table that is such a sum, exactly, with the least work of a product; None if it is not."""
        m, n = excess.shape
        if min(m, n) < _FEWEST or not np.isfinite(excess).all():
            return None
        draws = np.random.default_rng(0)
        some = draws.integers(m, size=_LOOKED_AT), draws.integers(n, size=_LOOKED_AT)
        cuts = itertools.product(_divisors(m), _divisors(n))
        for m1, n1 in sorted(cuts, key=lambda cut: cut[0] * cut[1] + (m // cut[0]) * (n // cut[1])):
            m2, n2 = m // m1, n // n1
            table = excess.reshape(m1, m2, n1, n2)
            # Axes that begin with letters at distance zero, as grids do, give both parts without rounding.
            axes = cls(table[:, 0, :, 0] - excess[0, 0], table[0, :, 0, :])
            if min(axes.first.min(), axes.second.min()) < 0:
                continue
            row, column = divmod(some[0], m2), divmod(some[1], n2)
            total = axes.first[row[0], column[0]] + axes.second[row[1], column[1]]
            if (total == excess[some]).all() and all(
                np.array_equal(axes.first[i][None, :, None] + axes.second[:, None, :], table[i])
                for i in range(m1)
            ):
                return cls(*map(np.ascontiguousarray, axes))
        return None

    def kernel(self, slope: float) -> Kronecker:
        """Their kernel at a slope."""
        return Kronecker(*(_flushed(shifted_kernel(axis, slope)) for axis in self))

    def columns(self, letters: np.ndarray) -> Float[np.ndarray, "y u"]:
        """Distortions of some letters."""
        u1, u2 = divmod(letters, self.second.shape[1])
        return (self.first[:, None, u1] + self.second[None, :, u2]).reshape(-1, len(letters))


def _divisors(n: int) -> list[int]:
    """Divisors other than 1 and n."""
    return [k for k in range(2, n) if n % k == 0]


def _flushed(K: np.ndarray) -> np.ndarray:
    return np.where(K < _VANISHES, 0.0, K)


class Cost:
    """Kernel times distortions, a sum of two Kronecker products."""

    def __init__(self, axes: SumOfAxes, K: Kronecker) -> None:
        """Multiply on either axis."""
        self._parts = Kronecker(K.A * axes.first, K.B), Kronecker(K.A, K.B * axes.second)

    def __matmul__(self, q: np.ndarray) -> np.ndarray:
        """The product with a column."""
        first, second = self._parts
        return first @ q + second @ q
