"""Decoders that rank codewords by similarities to the queries of several modalities."""

from jaxtyping import Array, Float

from rdsim import validation
from rdsim.number_types import ArrayLike
from rdsim.ranking.similarity import averaged_cosine, fuse, negative_squared_distance
from rdsim.simulation.coded_items import Decoder
from rdsim.transformations import on_host


@on_host
def distance_decoder(codewords: ArrayLike, temperatures: ArrayLike) -> Decoder:
    r"""Make the decoder that ranks by squared distances, with a temperature for each modality.

    $$s(x, u) = -\sum_k |x_k - u|^2 / (2 \tau_k).$$

    Args:
        codewords: u, shape (K, d).
        temperatures: $\tau_k > 0$, shape (modalities,); an infinite one leaves its modality out.

    Returns:
        The decoder, for `simulate_item_code`.

    """
    points = validation.coordinates("codewords", codewords, ndim=2)
    tau = validation.interval("temperatures", temperatures, low=0.0, open_low=True, ndim=1)
    return Decoder(_fused_distance, (points, tau))


@on_host
def cosine_decoder(codewords: ArrayLike) -> Decoder:
    """Make the decoder that ranks by the mean cosine of a codeword and the queries.

    Args:
        codewords: u, shape (K, d).

    Returns:
        The decoder, for `simulate_item_code`.

    """
    return Decoder(_mean_cosine, validation.coordinates("codewords", codewords, ndim=2))


def _fused_distance(
    parameters: tuple[Float[Array, "k d"], Float[Array, " s"]], queries: Float[Array, "m d"]
) -> Float[Array, " k"]:
    codewords, temperatures = parameters
    return fuse(negative_squared_distance(queries, codewords), temperatures)


def _mean_cosine(
    codewords: Float[Array, "k d"], queries: Float[Array, "m d"]
) -> Float[Array, " k"]:
    return averaged_cosine(queries, codewords)
