r"""The rate of a code, measured: what its channel carries, and what its indices cost as real bits.

For a code with channel P(u|y) and items of pmf p, with $q = \sum_y p_y P(\cdot|y)$,

$$H(U) = I(U;Y) + H(U|Y).$$

- I(U;Y) is the rate of rate-distortion theory, a bound for every scheme.
- A code whose encoder draws its index with private randomness and sends it pays H(U): the
  randomness H(U|Y) is sent along. Huffman's code and a range coder come close to H(U) from above.
- Encoder and decoder that share randomness can save H(U|Y) by channel simulation, to within
  $\log_2(I + 1) + 5$ bits per item at a time.

A deterministic code has H(U|Y) = 0: all three meet. Every function raises a ValueError that names the
argument if a pmf is none, shapes differ or a number lies outside its range.
"""

import heapq
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from rdsim import information, validation
from rdsim.codes.distances import sum_in_chunks
from rdsim.codes.item_code import GivenItemCode, item_code, item_points
from rdsim.number_types import ArrayLike
from rdsim.results import result
from rdsim.transformations import on_host


@result
class CodeRates:
    """What the index U of a code carries of items Y, bits per item.

    Attributes:
        mutual_information: I(U;Y), what rate-distortion theory charges.
        index_entropy: H(U), what sending the index costs without shared randomness.
        randomness: H(U|Y), the part of the index that tells nothing of the item.
        output_marginal: distribution of U under these items, shape (K,).

    """

    mutual_information: Float[Array, ""]
    index_entropy: Float[Array, ""]
    randomness: Float[Array, ""]
    output_marginal: Float[Array, " k"]


@validation.needs_float64
def code_rates(
    code: GivenItemCode, items: ArrayLike, *, masses: ArrayLike | None = None
) -> CodeRates:
    r"""Compute I(U;Y), H(U) and H(U|Y) of a code under a distribution of items, exactly.

    $$I(U;Y) = H(U) - H(U|Y), \quad
        H(U|Y) = -\sum_y p_y \sum_u P(u|y) \log_2 P(u|y).$$

    Args:
        code: any `ItemCode`.
        items: support of the distribution, shape (N, d).
        masses: p, shape (N,), summing to one; None for equal masses.

    Returns:
        The rates in bits. For N drawn items they are those of the empirical distribution, whose mutual
        information exceeds that of the true one on average.

    """
    points = item_points(items, item_code("code", code).codewords.shape[1])
    p = item_masses(masses, points.shape[0])
    return _code_rates(code, points, p)


def item_masses(masses: ArrayLike | None, number: int) -> Float[Array, " n"]:
    """Check the masses of a number of items; None stands for equal ones."""
    if masses is None:
        return jnp.full(number, 1.0 / number)
    p = validation.pmf("masses", masses)
    if p.shape[0] != number:
        raise ValueError(f"masses must have one entry an item, shape ({number},), got {p.shape}")
    return p


@jax.jit
def _code_rates(
    code: GivenItemCode, items: Float[Array, "n d"], p: Float[Array, " n"]
) -> CodeRates:
    K = code.codewords.shape[0]

    def chunk(rows: tuple[Array, Array]) -> tuple[Array, Array]:
        Q = code.channel(rows[0])
        return rows[1] @ Q, rows[1] @ information.entropy(Q)

    q, randomness = sum_in_chunks(chunk, (items, p), K)
    # Rounded above one, q would have an entropy just below zero.
    q = q / jnp.sum(q)
    index_entropy = information.entropy(q)
    return CodeRates(
        mutual_information=jnp.maximum(index_entropy - randomness, 0.0),
        index_entropy=index_entropy,
        randomness=randomness,
        output_marginal=q,
    )


@result
class RangeCoded:
    r"""Indices as a range coder wrote them, and what the coder's model promised.

    Attributes:
        total_bits: length of the compressed message in bits, whole 32-bit words.
        bits_per_symbol: the same by symbol, all overhead included.
        cross_entropy: $-\tfrac1N \sum_i \log_2 q(u_i)$ in bits, the model's ideal length.

    """

    total_bits: int
    bits_per_symbol: float
    cross_entropy: float

    @property
    def overhead(self) -> float:
        """Bits a symbol above the model's ideal length; negative where masses below 2^-24 were coded."""
        return self.bits_per_symbol - self.cross_entropy


@on_host
def entropy_coded_bits(symbols: ArrayLike, p: ArrayLike) -> RangeCoded:
    r"""Write indices with a range coder, read them back, and count the bits.

    The coder keeps q to 24 binary digits, with at least the last of them for every symbol, and writes
    whole 32-bit words. If all masses of the message lie well above $2^{-24}$, its N symbols cost
    $-\sum_i \log_2 q(u_i)$ bits plus about a word. A mass near $2^{-24}$ or below is rounded up to that:
    the symbol costs at most 24 bits, fewer than its mass says, and the others pay for it.
    A prefix code of single symbols is no part of it; see `huffman_lengths`.

    Args:
        symbols: indices u_i in 0..K-1, integers of shape (N,), N at least 1.
        p: the coder's model q, shape (K,), with mass on every symbol to be coded.

    Returns:
        The count of bits. Encoder and decoder both know the model, which is not counted.

    Raises:
        ImportError: if the package constriction is missing; it comes with `pip install "rdsim[codes]"`.
        RuntimeError: if the message read back differs from the one written.

    References:
        Martin (1979), Video and Data Recording Conference (range coding); the coder is that of
        the library `constriction` (Bamler 2022, arXiv:2201.01741).

    """
    q = np.asarray(validation.pmf("p", p))
    message = _check_symbols(symbols, q)
    mass = q[message]
    # The coder wants two symbols or more; a single one needs no bits.
    if q.size == 1:
        return RangeCoded(total_bits=0, bits_per_symbol=0.0, cross_entropy=0.0)
    constriction = _range_coder_library()
    model = constriction.stream.model.Categorical(q, perfect=False)
    encoder = constriction.stream.queue.RangeEncoder()
    encoder.encode(message, model)
    compressed = encoder.get_compressed()
    # Bits count only if they can be read: the message is decoded and compared.
    decoded = constriction.stream.queue.RangeDecoder(compressed).decode(model, message.size)
    if not np.array_equal(decoded, message):
        raise RuntimeError("entropy_coded_bits: the message read back differs from that written")
    total = 32 * compressed.size
    return RangeCoded(
        total_bits=total,
        bits_per_symbol=total / message.size,
        cross_entropy=float(-np.mean(np.log2(mass))),
    )


def _range_coder_library() -> Any:
    try:
        import constriction
    except ImportError as error:
        raise ImportError(
            "entropy_coded_bits writes real bits with the package constriction: "
            'pip install "rdsim[codes]"'
        ) from error
    return constriction


def _check_symbols(symbols: ArrayLike, q: np.ndarray) -> np.ndarray:
    message = validation.integer_array("symbols", symbols)
    if message.ndim != 1 or message.size == 0:
        raise ValueError(f"symbols must have shape (N,) with N >= 1, got {message.shape}")
    outside = (message < 0) | (message >= q.size)
    if outside.any():
        raise ValueError(
            f"symbols must lie in [0, {q.size - 1}], got {message[outside][0]} at index "
            f"{int(np.argmax(outside))}"
        )
    lost = q[message] == 0
    if lost.any():
        raise ValueError(
            f"p must have mass on every symbol coded, got none on symbol {message[lost][0]}"
        )
    return message.astype(np.int32)


@on_host
def huffman_lengths(p: ArrayLike) -> Float[Array, " k"]:
    r"""Codeword lengths of Huffman's code, the least expected length of any prefix code.

    $$H(q) \le \sum_u q_u \ell_u < H(q) + 1.$$

    Args:
        p: q, the distribution of the symbols, shape (K,).

    Returns:
        Lengths in bits, shape (K,): inf where q has no mass (no codeword), 0 for a lone symbol.

    References:
        Huffman (1952), Proc. IRE 40(9).

    """
    q = np.asarray(validation.pmf("p", p))
    used = np.flatnonzero(q)
    lengths = np.where(q > 0, 0.0, np.inf)
    # A subtree is its mass and its number; numbers grow with age and break ties of the mass.
    heap: list[tuple[float, int]] = [(float(q[u]), i) for i, u in enumerate(used)]
    heapq.heapify(heap)
    parent = np.zeros(max(2 * used.size - 1, 1), int)
    for node in range(used.size, 2 * used.size - 1):
        (first, a), (second, b) = heapq.heappop(heap), heapq.heappop(heap)
        parent[[a, b]] = node
        heapq.heappush(heap, (first + second, node))
    depth = np.zeros(parent.size)
    for node in range(parent.size - 2, -1, -1):
        depth[node] = depth[parent[node]] + 1
    lengths[used] = depth[: used.size]
    return jnp.asarray(lengths)
