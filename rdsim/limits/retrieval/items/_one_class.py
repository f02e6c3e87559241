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
    By weak duality its value at any theta, converged or not, bounds reward over lambda less rate.

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
    # The exponents range over reach / lambda nats. In trials Newton's method from theta = 0
    # converged for ranges up to 1e4 and not for 1e6. So lambda is lowered to its value by factors
    # of four, from a range of at most eight: stages are cheap, a few steps each.
    stages = max(int(np.ceil(np.log(reach / (8.0 * multiplier)) / np.log(4.0))), 0) if reach else 0
    for stage in range(stages if start is None else 0, -1, -1):
        # Homotopy: the dual is smoother at a larger multiplier, and its minimiser a good start for the next.
        larger = multiplier * 4.0**stage
        # Letters along the first axis, cells along the second: sums over few letters are fast.
        score = np.log(py)[:, None] + direction[:, None] * (steps.slope / larger)

        def solved(theta: np.ndarray, score: np.ndarray = score) -> tuple[float, np.ndarray]:
            # Log-sum-exp over the letters of each cell, with the largest exponent taken off.
            logits = score - theta[:, None]
            top = logits.max(axis=0)
            weight = np.exp(logits - top)
            total = weight.sum(axis=0)
            value = length @ (top + np.log(total)) + py @ theta
            return float(value), weight / total

        value, posterior = solved(theta)
        for _ in range(_NEWTON_STEPS):
            mass = posterior @ length
            # The gradient is what the channel misses of P_Y; below 1e-14 that is the rounding of
            # the sums.
            gradient = py - mass
            if np.abs(gradient).max() < 1e-14:
                break
            hessian = np.diag(mass) - (posterior * length) @ posterior.T
            # Adding a constant to theta changes nothing, so that the constants span the null space of the Hessian.
            # The matrix of ones, added to it, makes the system regular; the gradient sums to zero, so that the step
            # is the same but for its mean. Least squares, for a letter of tiny mass may still make it singular.
            step = np.linalg.lstsq(hessian + 1.0, -gradient, rcond=1e-15)[0]
            # Half of Newton's decrement is what the value is expected to fall by: where that is below the last
            # digit of the value, a last full step is taken without a test, which could only compare rounding.
            decrement = -float(gradient @ step)
            if decrement <= 1e-17 * (1.0 + abs(value)):
                theta = theta + step
                value, posterior = solved(theta)
                break
            # Armijo's rule with its usual constant 1e-4, and an allowance for the rounding of both values. A step
            # of 1e-6 is taken whatever it gives: by then only rounding stands against it.
            step_size = 1.0
            while True:
                tried = theta + step_size * step
                tried_value, tried_posterior = solved(tried)
                needed = 1e-4 * step_size * decrement - 1e-15 * abs(value)
                if tried_value <= value - needed or step_size < 1e-6:
                    break
                step_size *= 0.5
            theta, value, posterior = tried, tried_value, tried_posterior
        # Theta is in units of lambda, as the exponents are: at a quarter of lambda it is four times as large.
        theta = theta * (4.0 if stage else 1.0)
    return (posterior * length).T, value, theta
