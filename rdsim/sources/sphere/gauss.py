"""Gauss quadrature for any distribution on the line, of which a fine table is given."""

import numpy as np

from rdsim.sources.sphere.caps import Reals


def gauss_rule(points: Reals, weights: Reals, count: int) -> tuple[Reals, Reals]:
    """Return nodes and weights that integrate polynomials of degree 2 count - 1 as the table does.

    Lanczos' recursion with full reorthogonalisation gives the Jacobi matrix of the distribution, whose
    eigenvalues are the nodes (Golub and Welsch 1969). A table of fewer points is returned as it is.
    """
    total = weights.sum()
    used = weights > 0
    points, weights = points[used], weights[used] / total
    if points.size <= count:
        return points, weights * total
    basis = [np.sqrt(weights)]
    diagonal, beside = [], []
    for _ in range(count):
        vector = points * basis[-1]
        diagonal.append(float(vector @ basis[-1]))
        for _ in range(2):
            # Twice: one pass of Gram and Schmidt leaves errors of the size of what cancels, and lost orthogonality would
            # repeat eigenvalues.
            known = np.array(basis)
            vector = vector - known.T @ (known @ vector)
        beside.append(float(np.linalg.norm(vector)))
        basis.append(vector / beside[-1])
    jacobi = np.diag(diagonal) + np.diag(beside[:-1], 1) + np.diag(beside[:-1], -1)
    nodes, vectors = np.linalg.eigh(jacobi)
    return nodes, total * vectors[0] ** 2
