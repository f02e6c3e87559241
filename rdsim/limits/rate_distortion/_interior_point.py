r"""The optimal output marginal of one slope: a primal-dual interior point on few columns at a time.

For a kernel $K_{yu} = 2^{-s d(y,u)}$ the rate-distortion problem at slope s is

$$\min_{q \ge 0} \; \sum_u q_u - \sum_y p_y \ln (Kq)_y ,$$

whose minimiser sums to one. With $Z = Kq$, $\nu = p/Z$ and $c = K^T \nu$ it is optimal if and only
if $w = 1 - c \ge 0$ and $q_u w_u = 0$: these are the conditions that Newton's method solves below,
all but the two products $\nu Z = p$ and $q w = \mu \to 0$ being linear (Koenker and Mizera 2014;
Mehrotra 1992 for the predictor and corrector). The corrector cycles in about one of a hundred
thousand problems: a late step that follows one without progress is a plain centring step, of one
length for primal and dual. Plain Blahut-Arimoto is $q \leftarrow q c$.

Row shifts replace the log domain: multiplying a row of K by a constant changes no minimiser, so each
row is divided by its largest entry. Then $Z_y \ge p_y$ at the optimum ($c_u \le 1$ at the row's own
best letter), and nothing that matters can underflow, however large the slope.
"""

from collections.abc import Callable
from typing import Final, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

_MAX_NEWTON_STEPS: Final = 60
_MAX_ROUNDS: Final = 60
"""Of column generation."""
_BOUNDARY: Final = 0.995
"""Fraction of the way to the boundary of the positive orthant that one step may go."""
_SETTLED: Final = 10
"""Steps by which most problems are solved; only later ones are suspected of cycling."""
_CENTRING: Final = 0.3
"""Target of a step without corrector, in units of the mean product q w."""
_RIDGE: Final = 1e-14
"""Added to the diagonal of the Newton matrix, relative to it: duplicate columns stay factorisable. It
moves no solution, for the right-hand side is exact."""
_BLOCKS: Final = 64
"""The letters are cut into so many blocks of neighbours; of each, one letter at most enters a round."""
_WORKING_SIZES: Final = (32, 64, 112, 160, 256, 512)
"""Sizes to which the working set is padded. Each is compiled apart (1.5 s), and a size too large costs
flops: few, and close to each other where random sources of 256 letters end."""
FEW_LETTERS: Final = 32
"""Up to so many letters, solving for all at once is as fast as column generation."""
_UNCOVERED_LOG2: Final = 200.0
"""log2 of the factor on the dual of a row that no working letter reaches: it attracts a letter."""


def shifted_kernel(excess: Float[Array, "y u"], slope: Float[Array, ""]) -> Float[Array, "y u"]:
    r"""$2^{-s e}$ with $e \ge 0$; 0 where e is infinite (also at s = 0), 1 where e = 0 (at s = inf).

    Its derivatives are $-s \ln 2\, 2^{-s e}$ also at e = 0, and zero at s = inf.
    """
    finite = (excess < jnp.inf) & (slope < jnp.inf)
    exponent = jnp.where(finite, slope, 0.0) * jnp.where(finite, excess, 0.0)
    return jnp.where(finite, jnp.exp2(-exponent), jnp.where(excess > 0, 0.0, 1.0))


class Newton(NamedTuple):
    """State of the interior point. Invariant: q, nu and w = 1 - K^T nu are all positive."""

    q: Float[Array, " u"]  # primal, not scaled to sum to one
    nu: Float[Array, " y"]  # dual variables of the rows
    w: Float[Array, " u"]  # dual slacks of the letters
    gap: Float[Array, ""]  # certified, bits, of q scaled to sum to one
    least: Float[Array, ""]  # least mean of q w so far: it falls unless the corrector cycles
    steps: Int[Array, ""]
    alive: Bool[Array, ""]  # whether the last step kept the invariant; else the one before is kept


def interior_point(
    K: Float[Array, "y u"],
    p: Float[Array, " y"],
    q_start: Float[Array, " u"],
    mixing: Float[Array, ""],
    tolerance: Float[Array, ""],
) -> tuple[Float[Array, " u"], Float[Array, " u"]]:
    r"""Minimise over the columns of K, each row of which has a positive entry.

    Args:
        K: kernel, row-shifted, shape (|Y|, k); columns of zeros are harmless padding.
        p: source pmf, shape (|Y|,).
        q_start: where to start, a pmf, shape (k,); zeros allowed.
        mixing: how much of the uniform pmf to mix into the start, in (0, 1): near 1 for a cold
            start, about the expected gap for a warm one.
        tolerance: certified gap in bits among these columns at which to stop.

    Returns:
        The pmf q and the dual slacks w, both (k,). Letter u is active where q > w.

    """
    end = primal_dual(K, p, q_start, mixing, tolerance)
    return end.q / end.q.sum(), end.w


def primal_dual(
    K: Float[Array, "y u"],
    p: Float[Array, " y"],
    q_start: Float[Array, " u"],
    mixing: Float[Array, ""],
    tolerance: Float[Array, ""],
) -> Newton:
    """Take the steps of `interior_point`, whose arguments these are: Mehrotra's predictor-corrector.

    Each step factorises the normal equations of the letters once, H + diag(w / q), and solves them
    twice: for the affine predictor, and for the corrector with the centring that it calls for.
    """
    size = K.shape[1]

    def gap_of(q: Float[Array, " u"]) -> Float[Array, ""]:
        return jnp.log2(jnp.max((p / (K @ (q / q.sum()))) @ K))

    def longest_step(x: Array, dx: Array, fraction: float) -> Array:
        """Step size, at most 1, that keeps x positive (ratio test)."""
        shrinking = dx < 0
        reach = jnp.where(shrinking, -x / jnp.where(shrinking, dx, -1.0), jnp.inf)
        return jnp.minimum(1.0, fraction * jnp.min(reach))

    def newton(state: Newton) -> Newton:
        """One predictor-corrector step. Invariant: q > 0, nu > 0 and w > 0, else the step is not taken."""
        q, nu, w = state.q, state.nu, state.w
        Z = K @ q
        mu = jnp.mean(q * w)  # the duality measure: zero at the optimum, where q_u w_u = 0
        # Eliminating dw and dnu leaves these equations for dq; H is -d c / d q.
        H = (K * (nu / Z)[:, None]).T @ K
        factor = jnp.linalg.cholesky(
            H + jnp.diag(w / q + _RIDGE * jnp.diagonal(H)), symmetrize_input=False
        )

        def direction(target: Array, qw: Array, nuZ: Array) -> tuple[Array, Array, Array, Array]:
            """Solve the linearised conditions q w + qw = target and nu Z + nuZ = p.

            The last two arguments are the second-order terms dq dw and dnu dZ of the predictor.
            """
            row = (p - nu * Z - nuZ) / Z
            dq = jax.scipy.linalg.cho_solve((factor, True), (target - q * w - qw) / q + row @ K)
            dZ = K @ dq
            dnu = row - nu / Z * dZ
            return dq, dZ, dnu, -(dnu @ K)

        def steps(dq: Array, dnu: Array, dw: Array, fraction: float) -> tuple[Array, Array]:
            dual = jnp.minimum(longest_step(nu, dnu, fraction), longest_step(w, dw, fraction))
            return longest_step(q, dq, fraction), dual

        # Predictor: straight for q w = 0. How far it could go says how much centring is needed.
        dq, dZ, dnu, dw = direction(jnp.zeros(()), jnp.zeros(()), jnp.zeros(()))
        primal, dual = steps(dq, dnu, dw, 1.0)
        mu_predicted = jnp.mean((q + primal * dq) * (w + dual * dw))
        # Corrector: Mehrotra's cube of the predicted decrease, and the predictor's second order.
        cycling = (state.steps >= _SETTLED) & (mu >= state.least)
        target = mu * jnp.where(cycling, _CENTRING, (mu_predicted / mu) ** 3)
        corrector = jnp.where(cycling, 0.0, 1.0)
        dq, _, dnu, dw = direction(target, corrector * dq * dw, corrector * dnu * dZ)
        primal, dual = steps(dq, dnu, dw, _BOUNDARY)
        both = jnp.minimum(primal, dual)
        primal, dual = jnp.where(cycling, both, primal), jnp.where(cycling, both, dual)
        q, nu, w = q + primal * dq, nu + dual * dnu, w + dual * dw
        gap = gap_of(q)
        # Rounding ends the progress sooner or later: the last sound iterate is kept, with its own gap.
        alive = jnp.isfinite(gap) & jnp.all(q > 0) & jnp.all(w > 0)
        after = Newton(q, nu, w, gap, jnp.minimum(state.least, mu), state.steps + 1, alive)
        return jax.tree.map(lambda new, old: jnp.where(alive, new, old), after, state)._replace(
            alive=alive, steps=state.steps + 1
        )

    def unfinished(state: Newton) -> Array:
        return state.alive & (state.gap > tolerance) & (state.steps < _MAX_NEWTON_STEPS)

    # A strictly positive start: q mixed with the uniform pmf, its dual shrunk until every w > 0.
    q = (1 - mixing) * q_start + mixing / size
    nu = p / (K @ q)
    c = nu @ K
    nu, w = nu * (1 - mixing) / jnp.max(c), 1 - c * (1 - mixing) / jnp.max(c)
    infinite = jnp.array(jnp.inf)
    start = Newton(q, nu, w, infinite, infinite, jnp.array(0), jnp.array(True))
    return jax.lax.while_loop(unfinished, newton, start)


class _Round(NamedTuple):
    """State of column generation."""

    working: Bool[Array, " u"]  # letters to solve on next
    seen: Bool[Array, " u"]  # letters that were in some working set
    pinned: Bool[Array, " u"]  # letters that came back, and never leave again
    q: Float[Array, " u"]
    slack: Float[Array, " u"]
    gap: Float[Array, ""]  # certified over all letters, bits
    rounds: Int[Array, ""]


def dense(
    p: Float[Array, " y"],
    excess: Float[Array, "y u"],
    slope: Float[Array, ""],
    tolerance: Float[Array, ""],
) -> tuple[Float[Array, " u"], Float[Array, " u"]]:
    """All letters at once: equal work for every slope, so it batches well (the accelerator's way)."""
    letters = excess.shape[1]
    K = shifted_kernel(excess, slope)
    uniform = jnp.full(letters, 1.0 / letters)
    return interior_point(K, p, uniform, jnp.array(0.5), tolerance / 4)


def column_generation(
    p: Float[Array, " y"],
    excess: Float[Array, "y u"],
    slope: Float[Array, ""],
    tolerance: Float[Array, ""],
) -> tuple[Float[Array, " u"], Float[Array, " u"]]:
    r"""Column generation: solve on a working set of letters, price all letters by $c_u$, exchange.

    The optimum lives on few letters (6 to 112 of 256 on random sources), and one step costs
    $|Y| k^2$ for k working letters. In each round letters that ended inactive leave, and of each
    block of neighbours the letter with the largest $c_u > 1$ enters. A letter that comes back is
    pinned, so the exchange ends.

    Args:
        p: source pmf, shape (|Y|,).
        excess: $d(y,u) - \min_u d(y,u)$, shape (|Y|, |U|); rows without mass must be zero.
        slope: s >= 0 in bits per unit of distortion, or inf.
        tolerance: certified gap in bits at which to stop.

    Returns:
        The pmf q and the dual slacks w, both (|U|,); zero for letters outside the working set.

    """
    letters = excess.shape[1]
    block = -(-letters // _BLOCKS)
    blocks = -(-letters // block)
    sizes = (*(k for k in _WORKING_SIZES if k < letters), letters)
    K = shifted_kernel(excess, slope)

    def best_of_blocks(score: Float[Array, " u"], threshold: Array) -> Bool[Array, " u"]:
        """The best letter of each block, if its score exceeds the threshold."""
        padded = jnp.pad(score, (0, blocks * block - letters), constant_values=-1.0)
        table = padded.reshape(blocks, block)
        best = jnp.arange(block)[None] == jnp.argmax(table, axis=1)[:, None]
        return (best & (table > threshold)).reshape(-1)[:letters]

    def solve_on(size: int) -> Callable[..., tuple[Array, Array, Array]]:
        def solve(
            letter: Array, q_previous: Array, mixing: Array, target: Array
        ) -> tuple[Array, Array, Array]:
            """Solve on the first `size` working letters; return q, w, and the dual nu of all rows."""
            index = letter[:size]
            columns = jnp.take(excess, index, axis=1, mode="fill", fill_value=jnp.inf)
            # Rows are shifted by their best working letter, not the best of all, which may be absent.
            shift = jnp.min(columns, axis=1)
            reached = shift < jnp.inf
            finite_shift = jnp.where(reached, shift, 0.0)
            k = shifted_kernel(columns - finite_shift[:, None], slope)
            k = jnp.where(reached[:, None], k, 1.0)
            start = jnp.take(q_previous, index, mode="fill", fill_value=0.0)
            q, w = interior_point(k, p, start / start.sum(), mixing, target)
            # In units of the full kernel, nu is larger by 2^(s shift), cut off where it would overflow.
            missing = jnp.where(shift > 0, slope, 0.0) * jnp.where(shift > 0, finite_shift, 0.0)
            missing = jnp.where(reached, jnp.minimum(missing, _UNCOVERED_LOG2), _UNCOVERED_LOG2)
            padding = (0, letters - size)
            return jnp.pad(q, padding), jnp.pad(w, padding), p / (k @ q) * jnp.exp2(missing)

        return solve

    branches = [solve_on(size) for size in sizes]

    def exchange(state: _Round) -> _Round:
        branch = jnp.searchsorted(jnp.array(sizes), state.working.sum())
        # Warm start: as far from the last q as its gap allows; early rounds are solved roughly.
        mixing = jnp.clip(state.gap, 1e-8, 0.5)
        target = jnp.maximum(tolerance / 4, 1e-4 * jnp.minimum(state.gap, 1.0))
        # The working letters come first, so that a branch of any size at least theirs takes all.
        letter = jnp.nonzero(state.working, size=letters, fill_value=letters)[0]
        *solved, nu = jax.lax.switch(branch, branches, letter, state.q, mixing, target)
        q, w = (jnp.zeros(letters).at[letter].set(part, mode="drop") for part in solved)
        # Pricing: c_u of every letter. Their largest certifies the round over all letters.
        c = nu @ K
        worst = jnp.max(c)
        violated = 1 + jnp.maximum(tolerance / 4, 1e-2 * (worst - 1))
        entering = best_of_blocks(jnp.where(state.working, 0.0, c), violated)
        pinned = state.pinned | (entering & state.seen)
        staying = state.working & ((q > 1e-3 * w) | pinned)
        working = staying | entering
        return _Round(
            working, state.seen | working, pinned, q, w, jnp.log2(worst), state.rounds + 1
        )

    def unfinished(state: _Round) -> Array:
        return (state.gap > tolerance) & (state.rounds < _MAX_ROUNDS)

    # The first working set: five Blahut-Arimoto steps, then the likeliest letter of each row.
    uniform = jnp.full(letters, 1.0 / letters)
    q = jax.lax.fori_loop(0, 5, lambda _, q: q * ((p / (K @ q)) @ K), uniform)
    likeliest = jnp.argmax(K * q, axis=1)
    working = best_of_blocks(jnp.zeros(letters).at[likeliest].add(p), jnp.zeros(()))
    none = jnp.zeros(letters, bool)
    start = _Round(working, working, none, q, jnp.zeros(letters), jnp.array(jnp.inf), jnp.array(0))
    end = jax.lax.while_loop(unfinished, exchange, start)
    return end.q, end.slack
