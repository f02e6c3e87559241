r"""One item Y seen through K query modalities X_1..X_K, discrete or Gaussian.

A part W that every modality sees makes them redundant: together they have less information about
the item than the sum of what each has.
"""

import functools
import math
from collections.abc import Sequence
from typing import Final

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key

from rdsim import validation
from rdsim.number_types import ArrayLike
from rdsim.results import result
from rdsim.sources.gaussian_pairs import GaussianSource
from rdsim.sources.modalities import chosen_modalities
from rdsim.sources.tables import DiscreteSource, draw_letters, draw_outputs

_LEAST_NOISE: Final = 1e-12
"""Least noise over the variance: the roundings of a covariance, 1e-16, are then 1e-4 of it and move 1e-4 bits."""
_MAX_TABLE: Final = 1 << 26
"""Most entries of a joint table, 512 MiB in float64: who asks for more has made a mistake."""


@result
class MultimodalSource:
    r"""A discrete item Y and K modalities $X_k = (W, V_k)$.

    The common part W and the own parts V_1..V_K are independent given Y. Without a common part
    $X_k = V_k$, and the modalities are independent given the item.

    Attributes:
        py: pmf of the item, shape (|Y|,).
        channels: P(V_k|Y) for each k, shapes (|Y|, |V_k|).
        common: P(W|Y), shape (|Y|, |W|), or None.

    """

    py: Float[Array, " y"]
    channels: tuple[Float[Array, "y v"], ...]
    common: Float[Array, "y w"] | None

    @property
    def letters(self) -> tuple[int, ...]:
        """Number of letters |W| |V_k| of each modality."""
        shared = 1 if self.common is None else self.common.shape[-1]
        return tuple(shared * channel.shape[-1] for channel in self.channels)

    def joint_with(self, modalities: ArrayLike | None = None) -> DiscreteSource:
        """The exact joint distribution of a set of modalities and the item.

        Args:
            modalities: which ones; None for all K.

        Returns:
            A source whose query letter stands for (W, V_k for k in the order given), the last
            counting fastest; the common part is counted once. For one modality it is X_k itself.

        Raises:
            ValueError: also if the table would have more than 2^26 entries.

        """
        chosen = chosen_modalities(modalities, len(self.channels))
        parts = [self.channels[k] for k in chosen]
        if self.common is not None:
            parts = [self.common, *parts]
        size = self.py.shape[-1] * math.prod(part.shape[-1] for part in parts)
        if size > _MAX_TABLE:
            raise ValueError(
                f"the joint table of modalities {chosen} would have {size} entries, more than "
                f"{_MAX_TABLE}"
            )
        return DiscreteSource(joint=_joint(self.py, tuple(parts)))

    def mutual_information(self, modalities: ArrayLike | None = None) -> Float[Array, ""]:
        """I(X_S; Y) of a set of modalities and the item in bits, exact.

        Args:
            modalities: which ones; None for all K.

        Returns:
            Bits.

        """
        return self.joint_with(modalities).mutual_information

    @property
    def redundancy(self) -> Float[Array, ""]:
        r"""Sum of the modalities' informations about the item less the joint one, in bits.

        $$\sum_k I(X_k;Y) - I(X_1..X_K;Y) = (K-1)\, I(W;Y) + T(V_1..V_K|W),$$

        T the conditional total correlation $\sum_k H(V_k|W) - H(V_1..V_K|W)$. In general this
        difference is positive where modalities repeat one another and negative where they inform
        only together (synergy; for K = 2 it is minus the interaction information I(X_1;X_2;Y) in
        the sign of McGill). Here, with all parts independent given Y, it is never negative.

        Reference: McGill (1954), "Multivariate information transmission".
        """
        single = sum(self.mutual_information(k) for k in range(len(self.channels)))
        return single - self.mutual_information()

    def sample(
        self, key: Key[Array, ""], shape: tuple[int, ...] = ()
    ) -> tuple[Int[Array, "... k"], Int[Array, "..."]]:
        """Independent queries, shape (*shape, K), and items of the given shape, both int32.

        The letter of X_k is w |V_k| + v_k.
        """
        validation.prng_key("key", key)
        return _sample(key, self, tuple(shape))


@jax.jit
def _joint(py: Float[Array, " y"], parts: tuple[Float[Array, "y _"], ...]) -> Float[Array, "x y"]:
    """Joint distribution of the parts, as one letter, and the item."""
    return (py[:, None] * functools.reduce(_product, parts)).T


def _product(first: Float[Array, "y a"], second: Float[Array, "y b"]) -> Float[Array, "y ab"]:
    """The two outputs as one letter, given the item; the second counts fastest."""
    return (first[:, :, None] * second[:, None, :]).reshape(first.shape[0], -1)


@jax.jit(static_argnames="shape")
def _sample(
    key: Key[Array, ""], source: MultimodalSource, shape: tuple[int, ...]
) -> tuple[Int[Array, "... k"], Int[Array, "..."]]:
    key_item, key_common, *keys = jax.random.split(key, 2 + len(source.channels))
    y = draw_letters(key_item, source.py, shape)
    own = [draw_outputs(k, c, y) for k, c in zip(keys, source.channels, strict=True)]
    if source.common is not None:
        w = draw_outputs(key_common, source.common, y)
        own = [w * c.shape[1] + v for c, v in zip(source.channels, own, strict=True)]
    return jnp.stack(own, axis=-1), y


def multimodal(
    p: ArrayLike, channels: Sequence[ArrayLike], *, common: ArrayLike | None = None
) -> MultimodalSource:
    r"""A discrete item with K modalities, independent given it except for a common part.

    Args:
        p: pmf of the item, shape (|Y|,), summing to one.
        channels: P(V_k|Y) of every modality, one or more, shapes (|Y|, |V_k|), rows summing to one.
        common: P(W|Y), shape (|Y|, |W|), of a part that every modality sees; None for no such part.

    Returns:
        The source, with $X_k = (W, V_k)$. All rows are rescaled to sum to one to the last digit.

    """
    item = validation.pmf("p", p)
    if not isinstance(channels, Sequence) or isinstance(channels, str):
        raise TypeError(f"channels must be a list of tables, got {type(channels)}")
    if len(channels) == 0:
        raise ValueError("channels must hold at least one modality, got none")
    tables = tuple(_checked_channel(f"channels[{k}]", c, item.size) for k, c in enumerate(channels))
    shared = None if common is None else _checked_channel("common", common, item.size)
    return MultimodalSource(py=item, channels=tables, common=shared)


def _checked_channel(name: str, value: ArrayLike, inputs: int) -> Float[Array, "y v"]:
    table = validation.channel(name, value)
    if table.shape[0] != inputs:
        raise ValueError(
            f"{name} must have {inputs} rows, one for each item letter, got shape {table.shape}"
        )
    return table


def gaussian_multimodal(
    noise_variances: ArrayLike, common_noise: ArrayLike = 0.0, *, variance: ArrayLike = 1.0
) -> GaussianSource:
    r"""A Gaussian item seen K times: $X_k = Y + Z + N_k$, the noise Z common to all modalities.

    $$I(X_1..X_K; Y) = \tfrac12 \log_2 \left(1 +
      \frac{\sigma^2}{\sigma_Z^2 + (\sum_k 1/\sigma_k^2)^{-1}}\right).$$

    Args:
        noise_variances: variances of the modalities' own noises N_k, positive, shape (K,).
        common_noise: variance of Z, non-negative, a scalar.
        variance: of the item, positive, a scalar.

    Returns:
        The source: X has K coordinates, Y one.

    Raises:
        ValueError: also if the noise of all modalities together is below 1e-12 of the variance, or one's own below 1e-12 of what several
            have in common.

    """
    own = validation.positive("noise_variances", noise_variances, ndim=1)
    validation.not_empty("noise_variances", own)
    shared = validation.non_negative("common_noise", common_noise, ndim=0)
    item = validation.positive("variance", variance, ndim=0)
    if not validation.is_traced(own, shared, item):
        each, whole = np.asarray(own), float(item + shared)
        pairs = [(float(shared) + 1 / float(np.sum(1 / each)), float(item))]
        if each.size > 1:
            # What several modalities differ by is their own noise alone.
            pairs.append((float(each.min()), whole))
        for least, of in pairs:
            if least < _LEAST_NOISE * of:
                raise ValueError(
                    f"noise_variances, each and with common_noise, must be at least {_LEAST_NOISE:g} of what all modalities "
                    f"have in common, for a covariance rounds less away; got {least:.3g} for a variance of {of:.3g}"
                )
    return GaussianSource(
        covariance_x=jnp.diag(own) + (item + shared),
        covariance_y=item[None, None],
        cross_covariance=jnp.broadcast_to(item, (own.size, 1)),
    )
