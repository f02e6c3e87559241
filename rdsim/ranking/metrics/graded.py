r"""Metrics of items that are relevant to a degree, exact over the order of tied items.

With grades $l_j \ge 0$ and gains $g_j = l_j$ ("linear") or $2^{l_j} - 1$ ("exponential"),

$$\mathrm{DCG@}k = \sum_{r=1}^{k} \frac{e_r}{\log_2(1+r)}, \qquad
  \mathrm{NDCG@}k = \frac{\mathrm{DCG@}k}{\text{DCG@}k\text{ of the list whose gains fall}},$$

$e_r$ the mean gain of the tie group that holds rank r (McSherry and Najork 2008, ECIR). What `expected`
says of items that were not retrieved, and of short lists, holds here.
"""

from functools import partial
from typing import Any, Final

import numpy as np
from jaxtyping import Array, Float

from rdsim import validation
from rdsim.number_types import ArrayLike, Boolean, Integer
from rdsim.ranking.metrics import tie_groups
from rdsim.ranking.metrics.judgements import flag, judged_grades
from rdsim.transformations import not_differentiable

GAINS: Final = ("linear", "exponential")
_LARGEST_GRADE: Final = 512.0
"""Above it $2^l$ leaves float64 when many are added."""

_STEPS: Final = "a rank metric is constant but for jumps where the order changes"


@not_differentiable(scores=_STEPS)
def dcg(
    scores: ArrayLike,
    grades: ArrayLike,
    k: Integer | None = None,
    *,
    gain: str = "linear",
    normalised: Boolean = False,
    retrieved: ArrayLike | None = None,
) -> Float[Array, "..."]:
    """Expect the discounted cumulative gain of the first k items.

    Args:
        scores: shape (..., M), M >= 2, infinities allowed; higher is better.
        grades: of the items, at least 0 (and at most 512 where the gain is exponential), shape
            (..., M), one above zero in each query.
        k: length of the list, an integer of at least 1; None for all M items.
        gain: "linear", the grade itself, or "exponential", $2^l - 1$.
        normalised: whether to divide by the DCG of the best order of all items: the NDCG, which with
            grades 0 and 1 is `ndcg`.
        retrieved: boolean mask of shape (..., M) of the items that the list holds; None if it
            holds all.

    Returns:
        One value of at least 0 per query, in [0, 1] where normalised, shape (...).

    References:
        Järvelin and Kekäläinen (2002), ACM TOIS 20(4), for the linear gain; Burges et al. (2005),
        "Learning to rank using gradient descent", ICML, for the exponential one.

    """
    validation.choice("gain", gain, GAINS)
    metric = tie_groups.graded_ndcg if flag("normalised", normalised) else tie_groups.dcg
    given = judged_grades(scores, grades, retrieved)
    if gain == "exponential":
        validation.interval("grades", given.positives, low=0.0, high=_LARGEST_GRADE)
    length = given.scores.shape[-1] if k is None else validation.integer("k", k, low=1)
    return tie_groups.evaluate(
        lambda g: metric(g, length), given, partial(_gain, exponential=gain == "exponential")
    )


def _gain(grades: Any, *, exponential: bool) -> Any:
    # Two to the power of an integer is exact, so that grades 0 and 1 have gains 0 and 1.
    return 2.0**grades - 1.0 if exponential else grades * np.ones((), float)
