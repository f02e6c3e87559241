r"""Hulls and tents: what mixtures of two lengths of codewords exceed, and what the excess between two lengths is at most.

See `bounds` for $F$, $q = 2^{-r}$ and the two hulls: `in_q` is that of codes of fixed length, and otherwise that of an entropy.
"""

import numpy as np

from rdsim.information import LN2
from rdsim.limits.converses._recalls import Reals


def chords(
    bits: float,
    long: Reals,
    excess_of_long: Reals,
    short: Reals,
    excess_of_short: Reals,
    *,
    in_q: bool,
) -> Reals:
    """Excess of a mixture of long and short codewords of R bits, shape (long, short)."""
    mass, rest = parts_of(bits, long, short, in_q=in_q)
    return mass * excess_of_long[:, None] + rest * excess_of_short


def parts_of(bits: float, long: Reals, short: Reals, *, in_q: bool) -> tuple[Reals, Reals]:
    r"""Probabilities of the long and of the short codewords in a mixture of R bits, shape (long, short) each.

    In q their mass is $\sum q = 1$ at $2^R$ codewords: with $x = 2^{R-r} \le 1$ of a long one and $u = 2^{r-R} \le 1$ of a
    short one, $\frac{(1-u)\,x F_{long} + (1-x) F_{short}}{1 - xu}$. Nothing overflows, however many bits there are, and no difference
    is lost to rounding: $1 - xu = (1-x) + x(1-u)$, so that exponentials are taken of lengths, not of pairs.
    """
    more, less = (long - bits)[:, None], bits - short
    if not in_q:
        width = more + less
        share = np.where(width > 0, less / np.where(width > 0, width, 1.0), 1.0)
        return share, 1 - share
    of_long, of_short = -np.expm1(-more * LN2), np.exp2(-more) * -np.expm1(-less * LN2)
    whole = of_long + of_short
    apart = whole > 0
    if not apart.all():  # a length of R with itself
        whole, of_short = np.where(apart, whole, 1.0), np.where(apart, of_short, 1.0)
    return of_short / whole, of_long / whole


def tents(
    r: Reals, excess: Reals, lowest: Reals, highest: Reals, *, in_q: bool
) -> tuple[Reals, Reals]:
    r"""Lengths and heights of the apexes of lines above F between neighbouring lengths, shape (.., r - 1).

    With D the slope of $qF$ in q, $F \le D + (F_0 - D) 2^{r - r_0}$ with the lowest D from the shorter codeword and
    $F \le D + (F_1 - D) 2^{r - r_1}$ with the highest D from the longer one, for F rises with r and D is no larger than F:
    lines in q, and in $1/q$. In r the slope of F is $(F - D) \ln 2$.
    """
    short, long, width = excess[..., :-1], excess[..., 1:], np.diff(r)
    if in_q:
        # The slopes are known up to rounding; cutting them to D <= F keeps the two lines of the
        # tent in order. The lowest slope belongs to the line from the shorter codeword, see the
        # docstring.
        highest = np.minimum(highest, long)
        lowest = np.minimum(np.minimum(lowest, short), highest)
        spread = highest - lowest
        whole = (
            spread + (short - long) + (short - lowest) * np.expm1(np.minimum(width * LN2, 700.0))
        )
        # Where the two lines cross: part = 2^(r - r_1) solves highest + (F_1 - highest) part =
        # lowest + (F_0 - lowest) 2^(r_1 - r_0) part, linear in it. The exponent is cut before it
        # overflows.
        part = np.where(whole > 0, spread / np.where(whole > 0, whole, 1.0), 1.0)
        part = np.clip(part, np.exp2(-width), 1.0)  # 2^(r - r_1)
        # An apex a thousand bits away is put at the shorter length, where the excess is larger.
        near = part > 1e-290
        at = np.where(near, r[1:] + np.log2(np.where(near, part, 1.0)), r[:-1])
        return at, highest + (long - highest) * part
    steepest = LN2 * np.maximum(long - lowest, 0.0)
    flattest = LN2 * np.maximum(short - highest, 0.0)
    spread = steepest - flattest
    place = (long - short - flattest * width) / np.where(spread > 0, spread, 1.0)
    place = np.clip(np.where(spread > 0, place, width), 0.0, width)
    return r[:-1] + place, np.minimum(short + steepest * place, long)
