"""The dual of one class of queries: an entropic transport between quantiles and letters (C25, C26)."""

from typing import Final

import numpy as np

from rdsim.limits.retrieval.items._ranks import Steps

_NEWTON_STEPS: Final = 60
"""Most Newton steps; they stop earlier where the gradient has fallen to rounding."""


def one_class(
    steps: Steps,
    direction: np.ndarray,
    py: np.ndarray,
    multiplier: float,
    start: np.ndarray | None = None,
) -> tuple[np.ndarray, float, np.ndarray]:
    r"""Minimise the dual of one class, a smooth convex function of theta.

    $$\sum_j L_j \ln\sum_y P_y e^{e(y)\omega_j/\lambda - \theta_y} + \sum_y P_y \theta_y.$$

    Newton's method in theta with halved steps (the function is convex, smooth, and flat along the
    constants), from a start or from the solution at a larger multiplier where the multiplier is small.

    Args:
        steps: omega on cells of the quantile.
        direction: e, shape (|Y|,).
        py: P(y) > 0, shape (|Y|,).
        multiplier: Lagrange multiplier lambda of the rate, reward per nat.
        start: theta to begin with.

    Returns:
        P(cell, y), whose columns are P_Y up to rounding; the least value of the dual; and theta.

    """
    length, reach = steps.length, float(np.ptp(steps.slope)) * float(np.ptp(direction))
    theta = np.zeros(py.size) if start is None else start
    stages = max(int(np.ceil(np.log(reach / (8.0 * multiplier)) / np.log(4.0))), 0) if reach else 0
    for stage in range(stages if start is None else 0, -1, -1):
        # Homotopy: the dual is smoother at a larger multiplier, and its minimiser a good start for the next.
        larger = multiplier * 4.0**stage
        # Letters along the first axis, cells along the second: sums over few letters are fast.
        score = np.log(py)[:, None] + direction[:, None] * (steps.slope / larger)

        def solved(theta: np.ndarray, score: np.ndarray = score) -> tuple[float, np.ndarray]:
            logits = score - theta[:, None]
            top = logits.max(axis=0)
            weight = np.exp(logits - top)
            total = weight.sum(axis=0)
            value = length @ (top + np.log(total)) + py @ theta
            return float(value), weight / total

        value, posterior = solved(theta)
        for _ in range(_NEWTON_STEPS):
            mass = posterior @ length
            gradient = py - mass
            if np.abs(gradient).max() < 1e-14:
                break
            hessian = np.diag(mass) - (posterior * length) @ posterior.T
            # The constants are taken out of the null space.
            step = np.linalg.lstsq(hessian + 1.0, -gradient, rcond=1e-15)[0]
            decrement = -float(gradient @ step)
            if decrement <= 1e-17 * (1.0 + abs(value)):
                theta = theta + step
                value, posterior = solved(theta)
                break
            share = 1.0
            while share > 1e-6:
                tried, there = solved(theta + share * step)
                if tried <= value - 1e-4 * share * decrement + 1e-15 * abs(value):
                    break
                share *= 0.5
            theta = theta + share * step
            value, posterior = tried, there
        theta = theta * (4.0 if stage else 1.0)
    return (posterior * length).T, value, theta
