"""The codes of faiss, judged as any other: its encoder and its decoder, and the scores its search uses.

`sa_encode` gives the bytes that an index stores; what they score is an inner product with the vector that
`sa_decode` gives (PQ, OPQ, RQ, LSQ, scalar quantizers), or follows from the factors beside the signs (RaBitQ). faiss's index of RaBitQ takes
signs of the coordinates as they come; the random rotation before them, which is part of the method, is a code of its own here,
since either ranks better on some data: without it where the noise has the spectrum of the items, with it where it is white.

References:
    Douze et al. (2024), "The Faiss library"; Jegou, Douze and Schmid (2011) for PQ; Ge et al. (2014) for OPQ; Chen, Guan
    and Wang (2010) for RQ; Martinez et al. (2018) for LSQ; Gao and Long (2024) for RaBitQ.

"""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any, Final, NamedTuple

import numpy as np

from rdsim.codes.quantizers.product_fits import most_block_bits
from rdsim.embeddings.data.formats import import_needed
from rdsim.embeddings.spaces import Space
from rdsim.embeddings.systems.code import FittedCode, Maker, Training, in_space
from rdsim.embeddings.systems.own import COORDINATES_A_BLOCK
from rdsim.threads import few_entries

_OPQ_ITERATIONS: Final = 15
"""Iterations that fit the rotation of OPQ; faiss's own 50 take three times as long and rank no better here."""

POINTS_A_CENTROID: Final = 39
"""Training points of each centroid that faiss asks for."""


def centroids(items: int) -> int:
    """Return how many centroids a block has that is fitted to so many items."""
    return 2**8 if most_block_bits(items) == 8 else 2**4


def maker(kind: str) -> Maker:
    """Return what fits the code of that name: PQ, OPQ, RQ, LSQ, RaBitQ, rotated RaBitQ, SQ4 or SQ8."""

    def make(training: Training, bits: int) -> FittedCode | None:
        index = _index(kind, training, bits)
        if index is None:
            return None
        with _threads_for(training.items.size):
            index.train(np.ascontiguousarray(training.items, np.float32))
        return of_index(index, training.space)

    return make


@contextlib.contextmanager
def _threads_for(entries: int) -> Iterator[None]:
    """Let faiss work on so many numbers in one thread if they are few: as those of BLAS, its threads wait actively."""
    import faiss

    threads = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1 if few_entries(entries) else threads)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(threads)


def of_index(index: Any, space: Space) -> FittedCode:
    """Make a code of a trained index whose vectors lie in a space."""
    import faiss

    bits = 8 * index.sa_code_size()

    def encode(points: np.ndarray) -> np.ndarray:
        with _threads_for(points.size):
            return np.asarray(index.sa_encode(np.ascontiguousarray(points, np.float32)))

    inner, changed = _unwrapped(index)
    if isinstance(inner, faiss.IndexRaBitQ):
        return FittedCode(
            bits=bits,
            encode=lambda raw: encode(space.items(raw)),
            decode=_rabitq(inner),
            readings={"": lambda raw: changed(space.queries(raw))},
        )
    return in_space(space, bits, encode, lambda codes: np.asarray(index.sa_decode(codes)))


def _rabitq(index: Any) -> Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]:
    r"""Scores of RaBitQ as inner products, from the bytes that it stores.

    With s the signs over $\sqrt d$, c the centre, and the stored factors A (an offset) and m (a scale), half the
    squared distance is $A/2 - m \langle s, q - c \rangle$ and what is the same for all items. The query is not
    quantized (faiss's `qb = 0`).
    """
    import faiss

    centre = faiss.vector_to_array(index.center)
    width = index.d
    ends = -(-width // 8)

    def decode(codes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        # The bits of a byte are counted from the lowest.
        bits = np.unpackbits(codes[:, :ends], axis=1, count=width, bitorder="little")
        factors = np.ascontiguousarray(codes[:, ends : ends + 8]).view(np.float32)
        moved = factors[:, 1:] * ((2 * bits.astype(np.float32) - 1) / np.float32(np.sqrt(width)))
        return moved, -0.5 * factors[:, 0].astype(float) - moved.astype(float) @ centre

    return decode


class Search(NamedTuple):
    """The exhaustive search of an index: inner products of queries, as it takes them, with vectors, plus offsets.

    Attributes:
        bits: stored per item, those of links included; numbers of items in inverted lists are not, for items may lie in the
            order of their lists.
        links: bits per item of the links of a graph between items (HNSW): the places for them, used or not, on all levels.
        queries: takes queries as they are given to those of the inner products, shape (n, F).
        vectors: of all items, shape (M, F).
        offsets: shape (M,).

    """

    bits: int
    links: int
    queries: Callable[[np.ndarray], np.ndarray]
    vectors: np.ndarray
    offsets: np.ndarray


def _unwrapped(index: Any) -> tuple[Any, Callable[[np.ndarray], np.ndarray]]:
    """Return the index behind changes of the vectors (rotations, principal axes), and what changes queries likewise."""
    import faiss

    changes = []
    inner = faiss.downcast_index(index)
    while isinstance(inner, faiss.IndexPreTransform):
        chain: Any = inner.chain  # a vector of C++, whatever its stub says
        changes += [chain.at(i) for i in range(chain.size())]
        inner = faiss.downcast_index(inner.index)
    owned = index, changes  # what changes the vectors is freed with the index

    def queries(points: np.ndarray) -> np.ndarray:
        for change in owned[1]:
            points = change.apply(np.ascontiguousarray(points, np.float32))
        return points

    return inner, queries


def _behind(change: Any, quantizer: Any) -> Any:
    """Put a change of the vectors before an index."""
    import faiss

    changed = faiss.IndexPreTransform(change, quantizer)
    # The index frees its two parts, and Python no longer does.
    for part in (change, quantizer):
        getattr(part, "this").disown()  # noqa: B009
    changed.own_fields = True
    return changed


def search_of(index: Any) -> Search:
    """Read how an index scores what it holds.

    Raises:
        RuntimeError: if it cannot be decoded, or has scores that do not follow from what it decodes to.

    """
    import faiss

    inner, queries = _unwrapped(index)
    links = 0
    if isinstance(inner, faiss.IndexHNSW):
        # Each is the number of an item, 32 bits, as faiss's own guidelines count it.
        graph: Any = inner.hnsw  # its stub does not name the links
        links = -(-32 * graph.neighbors.size() // max(inner.ntotal, 1))
        inner = faiss.downcast_index(inner.storage)

    bits = 8 * inner.sa_code_size() + links
    if isinstance(inner, faiss.IndexRaBitQ):
        stored: Any = inner  # its stub does not name the codes
        # Older releases of faiss know one bit alone.
        if (each := getattr(stored.rabitq, "nb_bits", 1)) > 1:
            raise RuntimeError(f"scores of RaBitQ with {each} bits a coordinate are not read here")
        codes = faiss.vector_to_array(stored.codes).reshape(inner.ntotal, -1)
        return Search(bits, links, queries, *_rabitq(inner)(codes))
    if "RaBitQ" in type(inner).__name__:
        raise RuntimeError(f"scores of {type(inner).__name__} are not those of decoded vectors")
    if isinstance(inner, faiss.IndexIVF):
        inner.make_direct_map()
    points = np.asarray(inner.reconstruct_n(0, inner.ntotal))
    if inner.metric_type == faiss.METRIC_INNER_PRODUCT:
        return Search(bits, links, queries, points, np.zeros(len(points)))
    if inner.metric_type != faiss.METRIC_L2:
        raise RuntimeError("its metric is neither the inner product nor L2")
    half = -0.5 * np.einsum("ij,ij->i", points, points, dtype=float)
    return Search(bits, links, queries, points, half)


def _index(kind: str, training: Training, bits: int) -> Any:
    """Make an index that is not trained yet; None where there is none of that size.

    faiss prints a warning where a centroid has fewer than `POINTS_A_CENTROID` training points; it is told not to,
    and the report says it.
    """
    import_needed("faiss")
    import faiss

    width = training.items.shape[1]
    metric = faiss.METRIC_L2 if training.space.similarity == "L2" else faiss.METRIC_INNER_PRODUCT
    if kind in ("SQ4", "SQ8"):
        each = int(kind[2:])
        name = {4: faiss.ScalarQuantizer.QT_4bit, 8: faiss.ScalarQuantizer.QT_8bit}[each]
        return faiss.IndexScalarQuantizer(width, name, metric) if bits == each * width else None
    if kind.endswith("RaBitQ"):
        signs = faiss.IndexRaBitQ(width, metric)
        if bits != 8 * signs.sa_code_size():
            return None
        if kind == "RaBitQ":
            return signs
        random = faiss.RandomRotationMatrix(width, width)
        random.init(training.seed % 2**31)
        return _behind(random, signs)
    each = centroids(len(training.items)).bit_length() - 1
    blocks = bits // each
    if bits % each or blocks * COORDINATES_A_BLOCK > width or len(training.items) < 2**each:
        return None
    if kind == "RQ":
        residual = faiss.IndexResidualQuantizer(width, blocks, each, metric)
        residual.rq.cp.min_points_per_centroid = 1
        return residual
    if kind == "LSQ":
        return faiss.IndexLocalSearchQuantizer(width, blocks, each, metric)
    if width % blocks:
        return None
    quantizer = faiss.IndexPQ(width, blocks, each, metric)
    quantizer.pq.cp.min_points_per_centroid = 1
    if kind == "PQ":
        return quantizer
    rotation = faiss.OPQMatrix(width, blocks)
    rotation.niter = _OPQ_ITERATIONS
    # Its own default has 256 centroids a block, whatever the blocks of the code have.
    rotation.pq = quantizer.pq
    return _behind(rotation, quantizer)
