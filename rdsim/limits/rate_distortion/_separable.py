r"""Distortions of product grids: sums over two axes, whose kernels are Kronecker products.

Where $d((y_1,y_2),(u_1,u_2)) = d_1(y_1,u_1) + d_2(y_2,u_2)$, as the squared error on a grid of the plane, the kernel is
$K = K_1 \otimes K_2$, and of n letters

- a product with K costs $n^{1.5}$ instead of $n^2$: $Kq = K_1 Q K_2^\top$, Q being q on the grid;
- the Newton matrix $H = K^\top D K$ costs $n^{2.5}$ instead of $n^3$: first over $y_1$, then over $y_2$.

The Newton equations are solved by conjugate gradients, at the cost of products. Where letters are near to one
another for their kernels that takes too many steps, and the part of the matrix that belongs to letters in use is
factored for a preconditioner: at most slopes a few hundred of some thousand letters stay in use, and the others, whose
q falls to zero, are solved by their diagonals.
"""

import itertools
from collections.abc import Callable
from typing import Any, Final, NamedTuple

import numpy as np
import scipy
from jaxtyping import Float

from rdsim.limits.rate_distortion._interior_point import RIDGE, shifted_kernel
from rdsim.namespaces import positive_definite_solver

_FEWEST: Final = 256
"""Letters from which on a sum over axes is looked for."""
_LOOKED_AT: Final = 64
"""Entries by which most ways to cut the letters into two axes are refuted."""
_VANISHES: Final = 1e-200
"""A smaller entry of a factor is set to zero: no digit of a sum changes, and numbers below 1e-308 are slow."""
_PRECISE: Final = 1e-3
"""Residuals at which conjugate gradients stop. They enter the products q w alone, in whose mean they are measured: the
linear equations of the interior point hold whatever dq is."""
_MOST_STEPS: Final = 0.25
"""Steps of conjugate gradients with a diagonal preconditioner, in units of the letters, after which a part is factored: in
this and in all later equations of a solution, which are harder."""
_SETTLED: Final = 0.1
"""Share of H in a diagonal entry of H + diag(w / q) up to which a letter is left to its diagonal. Smaller ones factor more
letters and save few steps."""
_NEGLIGIBLE: Final = 1e-25
"""Entries of the Newton matrix below this, relative to its diagonal, are set to zero: far letters of a grid leave a
band, whose factorisation costs the square of its width a letter."""
_PAIRS_AT_ONCE: Final = 64
"""Pairs of letters of the first axis whose blocks of the Newton matrix are computed at a time."""


_Linear = Callable[[np.ndarray], np.ndarray]


class Kronecker:
    r"""The matrix $A \otimes B$, for products with vectors."""

    # NumPy leaves `vector @ matrix` to `__rmatmul__`.
    __array_ufunc__ = None

    def __init__(self, A: np.ndarray, B: np.ndarray) -> None:
        """Keep the factors, of shapes (m1, n1) and (m2, n2)."""
        self.A, self.B = A, B
        self.shape = A.shape[0] * B.shape[0], A.shape[1] * B.shape[1]
        self.size = self.shape[0] * self.shape[1]
        self._factors = False  # whether conjugate gradients alone have taken too long

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

    def argmax(self, axis: int) -> np.ndarray:
        """The column of the largest entry of each row; entries are not negative."""
        first, second = self.A.argmax(axis), self.B.argmax(axis)
        return np.asarray(first[:, None] * self.B.shape[1] + second).ravel()

    def normal_equations(
        self, weight: np.ndarray, q: np.ndarray, w: np.ndarray
    ) -> Callable[[np.ndarray], np.ndarray]:
        """Return b -> x with (K^T diag(weight) K + diag(w / q)) x = b, to the digits that Newton's method needs."""
        table = weight.reshape(self.A.shape[0], -1)
        H = ((self.A**2).T @ table @ self.B**2).ravel()  # its diagonal
        # Jacobi scaling: rest is then the share of w/q in each diagonal entry, between 0 (a
        # letter in use) and 1 (one whose q vanishes, for which the matrix is nearly the
        # identity).
        scale = 1 / np.sqrt(H + w / q)  # makes the diagonal of the whole matrix one
        rest = scale**2 * (w / q)
        # What an error of the residual does to q w, over what may be left of it: conjugate
        # gradients stop where all of these are below one.
        per_product = q / scale / (_PRECISE * (q @ w) / q.size)
        rows, columns = np.ascontiguousarray(self.A.T), np.ascontiguousarray(self.B.T)
        precondition: list[_Linear] = []

        def apply(x: np.ndarray) -> np.ndarray:
            seen = self.A @ (scale * x).reshape(rows.shape[0], -1) @ columns
            seen *= table
            return scale * (rows @ seen @ self.B).ravel() + rest * x

        def solve(b: np.ndarray) -> np.ndarray:
            if not self._factors:
                most = int(_MOST_STEPS * b.size)
                x, solved = conjugate_gradients(apply, scale * b, per_product, most)
                if solved:
                    return scale * x
                self._factors = True
            if not precondition:
                # Letters of rest near one are solved by their diagonal; the block of all others
                # is factored once for each set of equations, as preconditioner.
                used = np.flatnonzero(rest < 1 - _SETTLED)
                precondition.append(self._solver_of(used, table, scale))
            x, _ = conjugate_gradients(apply, scale * b, per_product, b.size, precondition[0])
            return scale * x

        return solve

    def _solver_of(self, used: np.ndarray, table: np.ndarray, scale: np.ndarray) -> _Linear:
        """Solve for some letters, and leave the others as they are."""
        matrix, diagonals = self._scaled_newton_matrix(table, scale)
        if len(used) == len(matrix):
            return _band_solver(matrix, diagonals)
        if not len(used):
            return lambda b: b
        # The widest row of the band among the letters that are left.
        within = np.searchsorted(used, used + diagonals) - np.arange(len(used))
        some = _band_solver(matrix[np.ix_(used, used)], int(within.max()))

        def solve(b: np.ndarray) -> np.ndarray:
            x = b.copy()
            x[used] = some(b[used])
            return x

        return solve

    def _scaled_newton_matrix(self, table: np.ndarray, scale: np.ndarray) -> tuple[np.ndarray, int]:
        """K^T D K above its diagonal, with D on the grid of the rows, and how many diagonals are not zero.

        Rows and columns are scaled so that its diagonal, with what is added to it, becomes one.
        """
        n1, n2 = self.A.shape[1], self.B.shape[1]
        scales = scale.reshape(n1, n2)
        H = np.zeros((n1, n2, n1, n2))
        first, second = np.triu_indices(n1)
        # H[(u1,u2),(v1,v2)] = sum over y1, y2 of D A A B B: summed over y1 for every pair (u1,
        # v1) first, then over y2.
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


def _band_solver(matrix: np.ndarray, diagonals: int) -> _Linear:
    """Factor a symmetric positive definite matrix given above its diagonal; NaN where that fails."""
    if 2 * diagonals > len(matrix):
        return positive_definite_solver(matrix)
    # LAPACK keeps a diagonal in a row: column j of its array is row j of the matrix, from the diagonal on.
    band = np.zeros((len(matrix), diagonals))
    for j, row in enumerate(matrix):
        part = row[j : j + diagonals]
        band[j, : len(part)] = part
    factor, failed = scipy.linalg.lapack.dpbtrf(band.T, lower=1, overwrite_ab=1)
    if failed:
        return lambda b: np.full_like(b, np.nan)
    return lambda b: np.asarray(scipy.linalg.lapack.dpbtrs(factor, b, lower=1)[0])


def conjugate_gradients(
    apply: _Linear,
    b: np.ndarray,
    weights: np.ndarray,
    most: int,
    precondition: _Linear = lambda residual: residual,
) -> tuple[np.ndarray, bool]:
    """Solve a symmetric positive definite system until residuals times weights are at most one.

    Also say whether they are, after at most so many steps.
    """
    x, residual = np.zeros_like(b), b.copy()
    towards = precondition(residual)
    direction, square = towards.copy(), residual @ towards
    for _ in range(most):
        if not np.abs(weights * residual).max() > 1:  # NaN ends it too
            break
        moved = apply(direction)
        # The method of Hestenes and Stiefel; square is the squared residual in the preconditioned
        # norm.
        length = square / (direction @ moved)
        x += length * direction
        residual -= length * moved
        towards = precondition(residual)
        before, square = square, residual @ towards
        direction *= square / before
        direction += towards
    return x, bool(np.abs(weights * residual).max() <= 1)


class SumOfAxes(NamedTuple):
    """Distortions $d_1(y_1,u_1) + d_2(y_2,u_2)$, each row of either axis at least zero."""

    first: Float[np.ndarray, "y1 u1"]
    second: Float[np.ndarray, "y2 u2"]

    @classmethod
    def found_in(cls, excess: Float[np.ndarray, "y u"]) -> "SumOfAxes | None":
        """The axes of a table that is such a sum, exactly, with the least work of a product; None if it is not."""
        m, n = excess.shape
        # Below so many letters the table is no burden, and looking for axes would cost more than
        # they save.
        if min(m, n) < _FEWEST or not np.isfinite(excess).all():
            return None
        draws = np.random.default_rng(0)
        some = draws.integers(m, size=_LOOKED_AT), draws.integers(n, size=_LOOKED_AT)
        cuts = itertools.product(_divisors(m), _divisors(n))
        # The cheapest cut first. Most are refuted by a few random entries, and the one that is
        # not by all.
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
