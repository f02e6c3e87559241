r"""Newton's method on all atoms and dual variables of an encoder together (C11).

Near the optimum of the linear program of `_envelope` alternating minimisation shrinks the error by a factor close
to one; Newton's method on the conditions of stationarity converges quadratically. Its system, of size n^2, is
solved by block elimination, and damped where it is singular. In nats; lanes side by side along the
leading axis L, as in `_ascent`, which decides whether a result is kept.
"""

from typing import Final

import numpy as np

from rdsim.limits.bottleneck._envelope import EnvelopeProblem, atoms_of, gradients, solve

_NEWTON_STEPS: Final = 6
"""Newton steps in a round: quadratic convergence needs four from an error of 0.1 to 1e-16."""

_DAMPING: Final = 1e-12
"""Damping of a singular Newton system, relative to its largest squared column or eigenvalue."""

_STILL: Final = 1e-9
"""Newton's method ends when no logarithm of a mass has moved by more: the next step is its square."""

_SHORT: Final = 1e-2
"""Change of ln m up to which a step of an exact solution is not examined for singularity."""


def newton(
    masses: np.ndarray, dual: np.ndarray, problem: EnvelopeProblem, damped: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    r"""Newton's method on all atoms and dual variables together, from masses that are near.

    Its unknowns are $\ln m_{uy}$, which keeps masses positive, and $\lambda_y$; its equations the
    conditions of stationarity $P^T\ln(P\pi_u/P_X) - s\ln(\pi_u/P_Y) = \lambda$, an atom and a letter
    each, and $\sum_u m_u = P_Y$, a letter each. Masses that are zero stay so. The result is scaled,
    a letter at a time, to sum to P_Y.
    """
    py = problem.py
    m = masses
    for _ in range(_NEWTON_STEPS):
        log_step, dual_step = _newton_direction(m, dual, problem, damped)
        # No mass may change by more than a factor of e in one step.
        # Both steps are shortened by one factor, which keeps Newton's direction; shortening only
        # the logarithms would leave the dual variables ahead of the masses that they belong to.
        longest = np.abs(log_step).max(axis=(1, 2))
        length = np.maximum(1.0, longest)
        m = m * np.exp(log_step / length[:, None, None])
        dual = dual + dual_step / length[:, None]
        if longest.max() < _STILL:
            break
    return m * (py / m.sum(axis=1))[:, None], dual


def _newton_direction(
    m: np.ndarray, dual: np.ndarray, problem: EnvelopeProblem, damped: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    r"""Solve Newton's system by block elimination: changes of $\ln m$ and of $\lambda$.

    The change of an atom's logarithms is $e_u + \omega_u$ with $\langle \pi_u, e_u \rangle = 0$, for to
    scale all its masses leaves the atom as it is. With
    $B_u = (P^T \mathrm{diag}(1/P\pi_u) P - 1 1^T) \mathrm{diag}(\pi_u) - s I$ the equations are

    $$B_u e_u = \delta - r_u, \quad \langle \pi_u, \delta - r_u \rangle = 0, \quad
        \sum_u m_u (e_u + \omega_u) = P_Y - \sum_u m_u,$$

    r the gradients less the dual variables, whose change is delta. The $e_u$ are eliminated, a matrix
    of size n each, so that a system for delta and omega is left: all together $n^4$ operations in place
    of $n^6$.

    A singular system is damped where asked for. Where the best posteriors form a curve, atoms may slide
    along it, and B is singular: a damped least-squares step (Levenberg-Marquardt) leaves them in place.
    """
    py = problem.py
    used = m > 0
    pi = np.where(used, atoms_of(m, py), 0.0)
    residual = np.where(used, gradients(pi, problem) - dual[:, None], 0.0)
    missing = py - m.sum(axis=1)
    atom, of_lane = _atoms_with_mass(used, problem)
    # Rows and columns of letters without mass are cut down to -s on the diagonal: the block stays
    # regular, and since their residual and the change of lambda are masked, their logarithms do
    # not move.
    B = _curvatures(pi[atom], problem) * pi[atom][:, None]
    B = np.where(used[atom][:, :, None], B, 0.0)
    diagonal = np.arange(py.size)
    B[:, diagonal, diagonal] -= of_lane[:, None]
    inverse = np.zeros((*m.shape, py.size))
    inverse[atom] = solve(B, np.broadcast_to(np.eye(py.size), B.shape))
    log_step, dual_step = _eliminated(inverse, m, pi, used, residual, missing)
    # What is shorter cannot leave the neighbourhood, whether or not the system is singular.
    for lane in np.flatnonzero(damped & ~(np.abs(log_step).max(axis=(1, 2)) < _SHORT)):
        one = slice(lane, lane + 1)
        inverse = _damped_inverse(pi[one], used[one], problem.lanes(one))
        arguments = (part[one] for part in (m, pi, used, residual, missing))
        short, short_dual = _eliminated(inverse, *arguments, damped=True)
        # Off singular systems both agree; an exact step of more than twice the length is rounding.
        exact = np.append(log_step[lane], dual_step[lane])
        longest = 2 * max(np.abs(short).max(), np.abs(short_dual).max())
        if not np.abs(exact).max() <= longest:
            log_step[one], dual_step[one] = short, short_dual
    lost = ~(np.isfinite(log_step).all(axis=(1, 2)) & np.isfinite(dual_step).all(axis=1))
    log_step[lost], dual_step[lost] = 0.0, 0.0
    return log_step, dual_step


def _atoms_with_mass(used: np.ndarray, problem: EnvelopeProblem) -> tuple[np.ndarray, np.ndarray]:
    """Which atoms have mass, shape (L, k), and the slope of each of these."""
    atom: np.ndarray = np.any(used, axis=2)
    return atom, np.broadcast_to(problem.slope[:, None], atom.shape)[atom]


def _curvatures(pi: np.ndarray, problem: EnvelopeProblem) -> np.ndarray:
    r"""$P^T \mathrm{diag}(1/P\pi_u) P - 1 1^T$ of every atom, shape (..., n, n)."""
    P = problem.channel
    t = pi @ P.T
    return np.asarray((P / np.where(t > 0, t, 1.0)[..., None]).swapaxes(-1, -2) @ P - 1.0)


def _damped_inverse(pi: np.ndarray, used: np.ndarray, problem: EnvelopeProblem) -> np.ndarray:
    """Invert every B but for the directions in which it is singular.

    B is symmetric up to a scaling by the roots of the atom, and so is inverted by its eigenvalues.
    """
    atom, of_lane = _atoms_with_mass(used, problem)
    root = np.sqrt(pi[atom])
    scaled = _curvatures(pi[atom], problem) * root[:, :, None] * root[:, None, :]
    # With D = diag(sqrt(pi)), B = D^-1 (D C D - s I) D for the curvature matrix C: the inverse of
    # the symmetric part is built from eigenvalues, those near zero being damped, and scaled back.
    values, vectors = np.linalg.eigh(scaled)
    values = values - of_lane[:, None]
    damping = _DAMPING * (values**2).max(axis=1, keepdims=True)
    # v / (v^2 + damping) is 1/v for |v| above 1e-6 of the largest eigenvalue, and falls to zero
    # below: a direction that the equations do not determine gets no step, where 1/v would give
    # one of rounding.
    damped = (vectors * (values / (values**2 + damping))[:, None, :]) @ vectors.swapaxes(1, 2)
    inside = np.where(used[atom], 1.0 / np.where(used[atom], root, 1.0), 0.0)
    inverse = np.zeros((*pi.shape, pi.shape[2]))
    inverse[atom] = inside[:, :, None] * damped * root[:, None, :]
    return inverse


def _eliminated(
    inverse: np.ndarray,
    m: np.ndarray,
    pi: np.ndarray,
    used: np.ndarray,
    residual: np.ndarray,
    missing: np.ndarray,
    *,
    damped: bool = False,
) -> tuple[np.ndarray, np.ndarray]:
    r"""Solve Newton's system from the inverses of its blocks, shape (L, k, n, n).

    With $e_u = B_u^{-1} (\delta - r_u)$ put into the other two equations of `_newton_direction`, what is left
    is one dense system of size n + k a lane: the first n rows are the masses' sums, for each letter, the
    last k the conditions on each atom, and its unknowns are delta and omega.
    """
    lanes, count, n = m.shape
    # An atom without mass has no equation: its omega is set to zero.
    empty = ~used.any(axis=2)
    matrix = np.zeros((lanes, n + count, n + count))
    matrix[:, :n, :n] = np.einsum("luy,luyz,luz->lyz", m, inverse, used.astype(float))
    matrix[:, :n, n:] = np.swapaxes(m, 1, 2)
    matrix[:, n:, :n] = pi
    slots = np.arange(n, n + count)
    matrix[:, slots, slots] = empty
    offset = (inverse @ residual[..., None])[..., 0]
    right = np.concatenate(
        [missing + np.sum(m * offset, axis=1), np.sum(pi * residual, axis=2)], axis=1
    )[..., None]
    if damped:
        # Normal equations with a ridge. They square the condition number, so that digits are
        # lost; that is why this path is only taken where the exact system is singular or its step
        # is suspiciously long.
        gram = np.swapaxes(matrix, 1, 2) @ matrix
        largest = np.max(np.diagonal(gram, axis1=1, axis2=2), axis=1)
        gram = gram + (_DAMPING * largest)[:, None, None] * np.eye(n + count)
        found = solve(gram, np.swapaxes(matrix, 1, 2) @ right)[..., 0]
    else:
        found = solve(matrix, right)[..., 0]
    dual_step, omega = found[:, :n], found[:, n:]
    pulled = (inverse @ (used * dual_step[:, None])[..., None])[..., 0]
    log_step = np.where(used, pulled - offset + omega[..., None], 0.0)
    return log_step, dual_step
