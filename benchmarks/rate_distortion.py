"""Certified rate-distortion curves beside Blahut-Arimoto (JAX, dit) and a conic solver (clarabel).

Every side returns output marginals; the gap of each is measured by the one certificate.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
import numpy as np
import scipy.sparse

from benchmarks._blahut_arimoto import Found, blahut_arimoto
from benchmarks._rows import LATE, Row, Side, compare
from experiments.certified_curves import gaussian_grid
from rdsim import limits
from rdsim.limits import closed_forms
from rdsim.limits.rate_distortion._point import excess_distortions, tilted_channel

TITLE = "Certified R(D) curves"
GAP = 1e-9
PEER_GAP = 1e-6


@dataclass(frozen=True)
class Config:
    """What is timed."""

    letters: int = 256
    """Letters of the random source and of its reproduction."""
    random_slopes: int = 64
    """Slopes of the random source."""
    grid: int = 1000
    """Points of the Gaussian."""
    gaussian_slopes: int = 32
    """Slopes of the Gaussian."""
    few: int = 4
    """Slopes of the comparisons with slow peers, spread over those of the curve."""
    hamming_letters: int = 16
    """Letters of the source with Hamming distortion."""
    repeats: int = 3
    """Turns of the comparisons with fast sides; slow ones have one."""
    limit: float = 45.0
    """Seconds that a peer has for a problem."""
    long_limit: float = 120.0
    """Seconds that Blahut-Arimoto has for a few slopes of the Gaussian."""


# One shape for all problems, which is compiled once.
SMOKE = Config(
    letters=6,
    random_slopes=2,
    grid=6,
    gaussian_slopes=2,
    few=2,
    hamming_letters=6,
    repeats=1,
    limit=20.0,
)
FULL = Config()


def run(config: Config) -> list[Row]:
    """Compare all sides on the random source, the Gaussian and a closed form."""
    generator = np.random.default_rng(0)
    size = config.letters
    random = generator.dirichlet(np.ones(size)), generator.uniform(size=(size, size))
    gaussian = gaussian_grid(config.grid)[1:]
    hamming = (
        generator.dirichlet(np.ones(config.hamming_letters)),
        1.0 - np.eye(config.hamming_letters),
    )
    steep = np.geomspace(0.1, 300, config.random_slopes)
    fine = np.geomspace(0.75, 72, config.gaussian_slopes)
    name = f"random {size} x {size}"
    points = f"Gaussian, {config.grid} points"
    letters = f"Hamming, {config.hamming_letters} letters"
    few = config.few
    rows = compare(
        f"{name}, {len(steep)} slopes",
        [*_ours(*random, steep), _jax_peer(*random, steep, config.limit)],
        config.repeats,
    )
    some = _spread(steep, few)
    rows += compare(
        f"{name}, {few} slopes of these",
        [*_ours(*random, some), *_slow_peers(*random, some, config)],
        1,
    )
    rows += compare(
        f"{points}, {len(fine)} slopes",
        [*_ours(*gaussian, fine), _jax_peer(*gaussian, fine, config.limit)],
        1,
    )
    some = _spread(fine, few)
    rows += compare(
        f"{points}, {few} slopes of these",
        [_ours(*gaussian, some)[0], _jax_peer(*gaussian, some, config.long_limit)],
        1,
    )
    form = _spread(np.geomspace(5.0, 20.0, 2 * few), few)
    rows += compare(
        f"{letters}, {few} slopes",
        [
            *_ours(*hamming, form, closed=closed_forms.hamming),
            _jax_peer(*hamming, form, config.limit),
            *_slow_peers(*hamming, form, config),
        ],
        config.repeats,
    )
    return rows


def _spread(slopes: np.ndarray, number: int) -> np.ndarray:
    return slopes[np.linspace(0, len(slopes) - 1, number).round().astype(int)]


def gaps(p: np.ndarray, d: np.ndarray, slopes: np.ndarray, q: np.ndarray) -> np.ndarray:
    r"""Measure $\log_2 \max_u c_u$ of output marginals (S, |U|), of any solver."""
    excess, _ = excess_distortions(jnp.asarray(d))
    found = []
    for slope, marginal in zip(slopes, q, strict=True):
        _, K, Z = tilted_channel(excess, jnp.asarray(slope), jnp.asarray(marginal / marginal.sum()))
        with np.errstate(divide="ignore", invalid="ignore"):
            found.append(np.log2(np.max((p / np.asarray(Z)) @ np.asarray(K))))
    return np.array(found)


def _ours(
    p: np.ndarray, d: np.ndarray, slopes: np.ndarray, closed: Callable[..., Any] | None = None
) -> list[Side]:
    def side(gap: float) -> Side:
        def describe(curve: limits.RateDistortionCurve) -> tuple[str, dict[str, float]]:
            worst = float(curve.gap.max())
            numbers = {"gap_bits": worst, "rate_sum_bits": float(curve.rate.value.sum())}
            words = f"gap {worst:.1e} bits, certified"
            if closed is not None:
                error = float(jnp.abs(curve.rate - closed(p, distortion=curve.distortion)).max())
                numbers["closed_form_error_bits"] = error
                words += f"; {error:.1e} from the closed form"
            return words, numbers

        return Side(
            f"rdsim, gap {gap:.0e}",
            lambda: limits.rate_distortion_curve(p, d, slopes, tolerance=gap),
            describe,
        )

    return [side(GAP), side(PEER_GAP)]


def _jax_peer(p: np.ndarray, d: np.ndarray, slopes: np.ndarray, limit: float) -> Side:
    def describe(found: Found) -> tuple[str, dict[str, float]]:
        measured = gaps(p, d, slopes, found.q)
        late = int((measured > PEER_GAP * 1.001).sum())
        words = f"gap {measured.max():.1e} bits, at most {found.steps.max()} steps a slope"
        if late:
            words += f"; {late} of {len(slopes)} slopes stopped at the limit of {limit:g} s"
        return words, {
            "gap_bits": float(measured.max()),
            "steps": float(found.steps.sum()),
            LATE: float(late),
        }

    return Side(
        f"Blahut-Arimoto in JAX, gap {PEER_GAP:.0e}",
        lambda: blahut_arimoto(p, d, slopes, PEER_GAP, limit),
        describe,
        prepare=lambda: blahut_arimoto(p, d, slopes, PEER_GAP, 0.0, 1),
    )


def _slow_peers(
    p: np.ndarray, d: np.ndarray, slopes: np.ndarray, config: Config
) -> tuple[Side, ...]:
    def describe(q: np.ndarray) -> tuple[str, dict[str, float]]:
        worst = float(gaps(p, d, slopes, q).max())
        return f"gap {worst:.1e} bits", {"gap_bits": worst}

    return (
        Side(
            "dit, Blahut-Arimoto",
            lambda: _dit(p, d, slopes),
            describe,
            compiles=False,
            package="dit",
            limit=config.limit,
        ),
        Side(
            "clarabel, exponential cones",
            lambda: np.stack([conic(p, d, slope) for slope in slopes]),
            describe,
            compiles=False,
            package="clarabel",
            limit=config.limit,
        ),
    )


def _dit(p: np.ndarray, d: np.ndarray, slopes: np.ndarray) -> np.ndarray:
    """Run dit's Blahut-Arimoto from its uniform start until it stops by itself."""
    from dit.rate_distortion.blahut_arimoto import blahut_arimoto as peer

    found = []
    for slope in slopes:
        _, joint = peer(p, slope, lambda *_: d, max_iters=1_000_000, restarts=1)
        found.append(joint.sum(axis=0))
    return np.stack(found)


def conic(p: np.ndarray, d: np.ndarray, slope: float) -> np.ndarray:
    r"""Output marginal of one slope by clarabel: $\max \sum p_y t_y$, $(t_y, 1, (Kq)_y)$ in the cone.

    The variables are q and t, the constraints $q \ge 0$, $\sum q = 1$ and one exponential cone a
    source letter.
    """
    import clarabel

    rows, letters = d.shape
    K = np.exp2(-slope * (d - d.min(axis=1, keepdims=True)))
    ones = np.ones((1, letters))
    cone = scipy.sparse.lil_matrix((3 * rows, letters + rows))
    cone[2::3, :letters] = -K
    cone[0::3, letters:] = -scipy.sparse.eye(rows)
    A = scipy.sparse.vstack(
        [
            scipy.sparse.hstack(
                [scipy.sparse.csc_matrix(ones), scipy.sparse.csc_matrix((1, rows))]
            ),
            scipy.sparse.hstack(
                [-scipy.sparse.eye(letters), scipy.sparse.csc_matrix((letters, rows))]
            ),
            cone,
        ],
        format="csc",
    )
    b = np.concatenate([[1.0], np.zeros(letters), np.tile([0.0, 1.0, 0.0], rows)])
    settings = clarabel.DefaultSettings()
    settings.verbose = False
    settings.tol_gap_abs = settings.tol_gap_rel = settings.tol_feas = 1e-12
    size = letters + rows
    solver = clarabel.DefaultSolver(
        scipy.sparse.csc_matrix((size, size)),
        np.concatenate([np.zeros(letters), -p]),
        A,
        b,
        [
            clarabel.ZeroConeT(1),
            clarabel.NonnegativeConeT(letters),
            *[clarabel.ExponentialConeT()] * rows,
        ],
        settings,
    )
    q = np.maximum(np.asarray(solver.solve().x)[:letters], 0.0)
    return q / q.sum()
