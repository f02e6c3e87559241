r"""The distribution to which 2N times the excess of a plug-in code tends (C18), and when it does.

Let $a_u(y) = K_{yu}/Z^*_y$, $H = E[a a^T]$ and $g = \hat E[a] - 1$ on the letters in contact,
$c_u = 1$. As $N \to \infty$ the step $v = q_N - q^*$ minimises $\tfrac12 v^T H v - g^T v$ over
$1^T v = 0$, $v_u \ge 0$ where $q^*_u = 0$, and the excess is $\tfrac12 v^T H v$. Since
$N \mathrm{Cov}\, g = H - 1 1^T$ and $H q^* = 1$, the vector $\sqrt N H^{-1/2} g$ is standard normal
off the direction $H^{1/2} q^*$. So 2N excess is the squared length of a standard normal vector

- on a space of dimension $|A| - 1$ if no letter in contact is unused: $\chi^2_{|A|-1}$; linear
  dependence among the columns of A leaves only their rank in place of $|A|$;
- projected on a cone if t letters are tied ($q^*_u = 0$ and $c_u = 1$): a mixture of
  $\chi^2_{|A|-1}, \dots, \chi^2_{|A|-1+t}$, with weights one half each for a single tied letter.
"""

import math
from typing import Final

import jax.numpy as jnp
import numpy as np
import scipy
from jaxtyping import Array, Bool, Float, Int

from rdsim import validation
from rdsim.finite_sample._tied_letters import NULL, cone_weights, standard_margin, tied_covariance
from rdsim.finite_sample.plug_in_optimum import checked_problem, solved_source
from rdsim.number_types import ArrayLike
from rdsim.results import result
from rdsim.root_finding import bisect_on_host
from rdsim.transformations import on_host

_MOST_TIED: Final = 3
"""Most tied letters: the probability of an orthant has a closed form up to three dimensions."""
_ZERO: Final = 1e-6
"""Masses and slacks up to this count as zero: the solver meets an exact tie to about 1e-7, the square root of its gap."""
_HALVINGS: Final = 100
"""Bisection steps for a quantile. They leave 2^-100, about 1e-30, of its bracket: all 53 bits of a number,
however small it is."""


@result
class ExcessDistribution:
    r"""Limit distribution of $2N (F(q_N) - F(q^*))$, nats, with the conditions it rests on.

    Attributes:
        output_marginal: $q^*$, shape (|U|,).
        slack: $1 - c_u$, shape (|U|,); zero for a letter in contact.
        active: letters used by $q^*$, shape (|U|,).
        tied: letters in contact but unused, shape (|U|,).
        degrees: degrees of freedom of the chi-square parts, shape (t + 1,); the first is the rank
            of the active columns less one.
        weights: their probabilities, shape (t + 1,); a single 1 if no letter is tied.
        unique: whether the columns in contact are linearly independent, so that $q^*$ is the only
            optimum.
        strictly_complementary: whether no letter is tied.
        independent: whether the active columns are linearly independent.
        least_mass: smallest $q^*_u$ of an active letter.
        least_slack: smallest $1 - c_u$ of a letter not in contact; inf if there is none.
        least_correlation: smallest squared canonical correlation of (Y, U), in [0, 1]; zero if the
            active columns are dependent.
        standard_margin: smallest ratio of such a mass or slack to the standard deviation that one
            sample gives it, so that with N samples the support of $q_N$ is that of $q^*$ but for
            events of probability about $\Phi(-\sqrt N \cdot \text{standard\_margin})$ each. Zero
            where a condition fails.
        suboptimality: certified bound on $F(q^*) - \min F$, nats, for the $q^*$ that was computed.

    """

    output_marginal: Float[Array, " u"]
    slack: Float[Array, " u"]
    active: Bool[Array, " u"]
    tied: Bool[Array, " u"]
    degrees: Int[Array, " k"]
    weights: Float[Array, " k"]
    unique: Bool[Array, ""]
    strictly_complementary: Bool[Array, ""]
    independent: Bool[Array, ""]
    least_mass: Float[Array, ""]
    least_slack: Float[Array, ""]
    least_correlation: Float[Array, ""]
    standard_margin: Float[Array, ""]
    suboptimality: Float[Array, ""]

    @property
    def holds(self) -> Bool[Array, ""]:
        r"""Whether the conditions of C18 hold, so that the limit is $\chi^2_{|A|-1}$."""
        return self.unique & self.strictly_complementary & self.independent

    def mean(self, samples: ArrayLike) -> Float[Array, "..."]:
        r"""Return the mean excess in nats that the limit predicts at N samples, shape of N.

        It is $(|A|-1)/(2N)$, or that of the mixture.
        """
        N = validation.interval("samples", samples, low=1.0)
        return jnp.sum(self.weights * self.degrees) / (2 * N)

    def variance(self, samples: ArrayLike) -> Float[Array, "..."]:
        r"""Return the variance of the excess at N samples in squared nats, shape of N.

        It is $(|A|-1)/(2N^2)$, or that of the mixture.
        """
        N = validation.interval("samples", samples, low=1.0)
        mean = jnp.sum(self.weights * self.degrees)
        # E X^2 of a chi-square variable of r degrees of freedom is r (r + 2).
        second = jnp.sum(self.weights * self.degrees * (self.degrees + 2))
        return (second - mean**2) / (4 * N**2)

    @on_host
    def cdf(self, scaled: ArrayLike) -> np.ndarray:
        r"""Return the probability that 2N times the excess in nats is at most each given value."""
        x = np.asarray(validation.real_array("scaled", scaled))
        degrees, weights = np.asarray(self.degrees), np.asarray(self.weights)
        inside = np.where(x >= 0, x, 0.0)[..., None]
        # A chi-square variable of no degrees of freedom is zero.
        parts = np.where(
            degrees > 0, scipy.special.gammainc(np.maximum(degrees, 1) / 2, inside / 2), 1.0
        )
        return np.where(x >= 0, parts @ weights, 0.0)

    @on_host
    def upper_quantile(self, level: ArrayLike) -> np.ndarray:
        r"""Return what 2N times the excess in nats exceeds with each given probability in (0, 1)."""
        wanted = np.asarray(
            validation.interval("level", level, low=0.0, high=1.0, open_low=True, open_high=True)
        )
        # The part with the most degrees of freedom is stochastically largest: its quantile is not
        # below that of the mixture.
        largest = scipy.special.chdtri(max(int(self.degrees[-1]), 1), wanted)
        _, found = bisect_on_host(
            lambda x: ~(1 - self.cdf(x) > wanted),
            np.zeros(wanted.shape),
            np.asarray(largest),
            steps=_HALVINGS,
        )
        return found

    @on_host
    def kolmogorov_distance(self, scaled: ArrayLike) -> float:
        r"""Return the largest distance between this and the empirical distribution function.

        With R values drawn from this distribution it is below $\sqrt{\ln(2/\alpha)/(2R)}$ with
        probability $1 - \alpha$ (Massart 1990).

        Args:
            scaled: measured values of 2N times the excess in nats, shape (R,). Those below 1e-9,
                the rounding of a code that equals the optimum, count as zero.

        Returns:
            The distance, in [0, 1].

        """
        values = np.sort(np.asarray(validation.real_array("scaled", scaled, ndim=1)))
        validation.not_empty("scaled", values)
        values = np.where(values < 1e-9, 0.0, values)
        expected = self.cdf(values)
        below = np.where(values > 0, expected, 0.0)  # zero alone has a positive probability
        # The largest distance is reached at a value, from above (its own step counted) or from below (not counted):
        # both are looked at.
        at = np.searchsorted(values, values, side="right") / values.size
        before = np.searchsorted(values, values, side="left") / values.size
        return float(max(np.max(np.abs(at - expected)), np.max(np.abs(before - below))))

    @on_host
    def samples_needed(self, deviations: ArrayLike = 5.0) -> float:
        """Return the least N at which every margin is that many standard errors of its estimate.

        With fewer samples the learned code often uses other letters, and the limit is no good
        approximation.

        Args:
            deviations: standard errors wanted, > 0.

        Returns:
            N; inf where a condition fails.

        """
        wanted = float(validation.interval("deviations", deviations, low=0.0, ndim=0))
        margin = float(self.standard_margin)
        return math.inf if margin == 0 else (wanted / margin) ** 2


@on_host
@validation.needs_float64
def excess_distribution(
    p: ArrayLike, distortions: ArrayLike, slope: ArrayLike
) -> ExcessDistribution:
    r"""Compute the limit distribution of the excess of a plug-in code, and check its conditions.

    $$2N \left(F(q_N) - F(q^*)\right) \to \sum_j w_j \chi^2_{r - 1 + j},$$

    r the rank of the active columns, j from 0 to the number of tied letters.

    Args:
        p: true source pmf, shape (|Y|,).
        distortions: d(y,u), shape (|Y|, |U|), each finite and >= 0.
        slope: s > 0, bits per unit of distortion, finite.

    Returns:
        The distribution, its conditions and their margins.

    Raises:
        ValueError: also if the limit is not known, which is so for more than three tied letters and for tied
            letters whose columns depend on those of the others.

    References:
        Chernoff (1954), Ann. Math. Stat. 25(3), Theorem 1; Shapiro (1985), Biometrika 72(1), for
        the weights of the mixture.

    """
    problem = solved_source(*checked_problem(p, distortions, slope))
    pmf, K, q, Z, slack, *_ = (np.asarray(leaf) for leaf in problem)
    # Letters in use, letters tied (no mass, no slack: either may appear), and the contact set of both.
    active = q > _ZERO
    tied = ~active & (slack <= _ZERO)
    contact = active | tied
    # Squared canonical correlations of (Y, U); a tied letter is scaled as if its mass were one.
    root = np.sqrt(np.where(active, q, 1.0))
    scaled = np.sqrt(pmf)[:, None] * K / np.where(pmf > 0, Z, 1.0)[:, None] * root
    correlations = np.linalg.svd(scaled[:, active], compute_uv=False) ** 2
    # Each correlation is at most one, the largest of all letters in contact may be more: hence the relative threshold
    # below.
    rank = int((correlations > NULL).sum())
    full = np.linalg.svd(scaled[:, contact], compute_uv=False) ** 2
    joint_rank = int((full > NULL * full[0]).sum())
    count = int(tied.sum())
    if count > _MOST_TIED or (count and joint_rank < rank + count):
        raise ValueError(
            f"the limit distribution is known for at most {_MOST_TIED} tied letters with columns "
            f"independent of the others, got {count} tied letters, which raise the rank from "
            f"{rank} to {joint_rank}; tied are {np.flatnonzero(tied).tolist()}"
        )
    independent = rank == int(active.sum())
    positive_slack = slack[~contact]
    return ExcessDistribution(
        output_marginal=problem.q,
        slack=problem.slack,
        active=jnp.asarray(active),
        tied=jnp.asarray(tied),
        degrees=jnp.arange(rank - 1, rank + count),
        weights=jnp.asarray(cone_weights(tied_covariance(scaled, active, tied))),
        unique=jnp.asarray(joint_rank == int(contact.sum())),
        strictly_complementary=jnp.asarray(count == 0),
        independent=jnp.asarray(independent),
        least_mass=jnp.asarray(q[active].min()),
        least_slack=jnp.asarray(positive_slack.min() if positive_slack.size else np.inf),
        least_correlation=jnp.asarray(correlations[-1] if independent else 0.0),
        standard_margin=jnp.asarray(
            standard_margin(problem, active) if independent and count == 0 else 0.0
        ),
        suboptimality=problem.suboptimality,
    )
