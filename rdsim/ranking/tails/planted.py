"""Items that an adversary adds to a database: the probability that a competitor wins, with some of them planted."""

import math

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from rdsim import validation
from rdsim.number_types import ArrayLike
from rdsim.transformations import on_host


@on_host
def with_planted_items(
    *,
    log_a: ArrayLike,
    log_e: ArrayLike,
    share: ArrayLike,
    planted_log_a: ArrayLike,
    planted_log_e: ArrayLike = -math.inf,
) -> tuple[Float[np.ndarray, "..."], Float[np.ndarray, "..."]]:
    r"""Let a share of the competitors be planted, with probabilities of their own to win and to tie.

    $$a' = (1-\varepsilon)\, a + \varepsilon\, a_p, \qquad e' = (1-\varepsilon)\, e + \varepsilon\, e_p,$$

    each competitor being planted with probability $\varepsilon$, independently of the others. `expected_loss` then
    holds as it stands (C1, C30). A planted item whose score is chosen wins or ties with probability zero or one given the
    target's score.

    Args:
        log_a: natural log of a, the probability that an ordinary competitor wins strictly, any shape.
        log_e: natural log of e, the probability that it ties; a + e <= 1.
        share: epsilon in [0, 1].
        planted_log_a: natural log of the probability that a planted competitor wins strictly.
        planted_log_e: natural log of the probability that it ties; none does by default.

    Returns:
        ln a' and ln e', each of the broadcast shape of all arguments.

    """
    planted = np.asarray(validation.interval("share", share, low=0.0, high=1.0))
    ordinary = _pair(("log_a", log_a), ("log_e", log_e))
    hostile = _pair(("planted_log_a", planted_log_a), ("planted_log_e", planted_log_e))
    names = ("share", "log_a", "log_e", "planted_log_a", "planted_log_e")
    arrays = (planted, *ordinary, *hostile)
    validation.broadcast(**{n: jnp.asarray(a) for n, a in zip(names, arrays, strict=True)})
    with np.errstate(divide="ignore"):
        kept, added = np.log1p(-planted), np.log(planted)
    mixed = [
        np.logaddexp(kept + own, added + other)
        for own, other in zip(ordinary, hostile, strict=True)
    ]
    above, tied = np.broadcast_arrays(*mixed)
    return np.array(above), np.array(tied)


def _pair(*named: tuple[str, ArrayLike]) -> list[np.ndarray]:
    """Read ln a and ln e, which are logarithms of probabilities with a sum of at most one."""
    read = {name: validation.interval(name, value, high=1e-12) for name, value in named}
    validation.broadcast(**read)
    a, e = map(np.asarray, read.values())
    total = float(np.max(np.exp(a) + np.exp(e), initial=0.0))
    if total > 1 + 1e-9:
        raise ValueError(
            f"{named[0][0]} and {named[1][0]} must be logs of probabilities with a + e <= 1, "
            f"got a + e = {total!r}"
        )
    return [a, e]
