"""Codes for real vectors: faiss's neighbours, the allocation of bits, what is stored and what is scored."""

import dataclasses

import numpy as np
import pytest

from rdsim.embeddings import retrieval_task
from rdsim.embeddings.canonical import Canonical, variables
from rdsim.embeddings.data.splits import kept_back
from rdsim.embeddings.data.vectors import Vectors
from rdsim.embeddings.ranks import streamed_ranks
from rdsim.embeddings.spaces import plain_spaces
from rdsim.embeddings.systems import faiss_codes, own
from rdsim.embeddings.systems.catalogue import SYSTEMS, chosen, usual_bits
from rdsim.embeddings.systems.code import FittedCode, Training, encoded
from rdsim.embeddings.systems.given import own_ranks, read_own_code
from rdsim.embeddings.systems.transform_code import allocation, gaussian_quantizers, transform_code

WIDTH = 16


def planted(count, seed=0, first=0.97):
    """Pairs with correlation first * i^-0.4 in the i-th coordinate of sixteen."""
    rng = np.random.default_rng(seed)
    rho = first * np.arange(1, WIDTH + 1) ** -0.4
    y = rng.normal(size=(count, WIDTH))
    return rho * y + np.sqrt(1 - rho**2) * rng.normal(size=y.shape), y, rho


def training(similarity, count=400):
    import jax

    x, y, _ = planted(count)
    task = retrieval_task(x.astype(np.float32), y.astype(np.float32))
    rest, validated = kept_back(jax.random.key(0), task, 0.2)
    space = plain_spaces(task, similarity)[1]
    raw = task.items.rows(slice(None))
    return Training(
        seed=1,
        space=space,
        plain=plain_spaces(task, similarity)[0],
        items=space.items(raw),
        raw=raw,
        variables=tuple(variables(rest, validated, similarity)),
    )


@pytest.mark.parametrize("similarity", ["inner product", "L2"])
@pytest.mark.parametrize(
    "kind", ["PQ", "OPQ", "RQ", "LSQ", "SQ8", "SQ4", "RaBitQ", "rotated RaBitQ"]
)
def test_scores_are_those_of_the_search_of_faiss(kind, similarity):
    """The same neighbours in the same order, but where two scores differ by rounding."""
    given = training(similarity)
    bits = {"SQ8": 8 * WIDTH, "SQ4": 4 * WIDTH}.get(kind, 16)
    if signs := kind.endswith("RaBitQ"):
        bits = WIDTH + 64
    index = faiss_codes._index(kind, given, bits)
    index.train(given.items)
    index.add(given.items)
    if signs:
        faiss_codes._unwrapped(index)[0].qb = 0
    code = faiss_codes.of_index(index, given.space)
    assert code.bits == bits
    stored, _ = encoded(code, Vectors([given.raw]))
    features, bias = stored.features(stored.label)
    queries = planted(30, seed=5)[0].astype(np.float32)
    scores = code.readings[""](queries).astype(float) @ features.T.astype(float)
    scores += 0.0 if bias is None else bias
    _, wanted = index.search(given.space.queries(queries), 10)
    best = np.sort(scores, axis=1)[:, ::-1][:, :10]
    found = np.take_along_axis(scores, wanted, axis=1)
    np.testing.assert_allclose(found, best, rtol=0, atol=2e-5 * np.abs(scores).max())


@pytest.mark.parametrize("white", [True, False])
def test_signs_of_rotated_coordinates_are_better_where_noise_is_white_and_else_worse(white):
    """Coordinates of 64 falling standard deviations; the MRR differs by far more than its error, .02."""
    rng = np.random.default_rng(0)
    spread = np.arange(1, 65) ** -1.0
    y = (rng.normal(size=(1500, 64)) * spread).astype(np.float32)
    noise = rng.normal(size=(500, 64)) * (0.1 if white else 0.7 * spread)
    task = retrieval_task((y[:500] + noise).astype(np.float32), y, np.arange(500))
    space = plain_spaces(task, "cosine")[0]
    given = Training(seed=1, space=space, plain=space, items=space.items(y), raw=y, variables=())
    mrr = {}
    for kind in ("RaBitQ", "rotated RaBitQ"):
        code = faiss_codes.maker(kind)(given, 128)
        stored, _ = encoded(code, task.items)
        features = code.readings[""](task.queries.rows(slice(None)))
        found = streamed_ranks(features, stored, task.targets.query, task.targets.item)
        mrr[kind] = (1 / (1 + found.ahead)).mean()
    ratio = mrr["rotated RaBitQ"] / mrr["RaBitQ"]
    assert ratio > 1.5 if white else ratio < 0.8


@pytest.mark.parametrize("similarity", ["cosine", "inner product", "L2"])
@pytest.mark.parametrize("factory", ["PQ4x4", "IVF4,PQ4x4", "PCAR8,SQ8", "HNSW8,Flat", "RaBitQ"])
def test_an_index_of_ones_own_has_the_ranks_of_its_own_search(tmp_path, factory, similarity):
    """All neighbours that faiss finds in the file, for items that were scaled to length one for the cosine."""
    faiss = pytest.importorskip("faiss")
    x, y, _ = planted(120)
    task = retrieval_task(x.astype(np.float32), y.astype(np.float32))
    space = plain_spaces(task, similarity)[0]
    items, queries = (
        np.ascontiguousarray(space.items(side.rows(slice(None))))
        for side in (task.items, task.queries)
    )
    # Vectors of length one are often kept for L2.
    product = similarity == "inner product"
    index = faiss.index_factory(
        WIDTH, factory, faiss.METRIC_INNER_PRODUCT if product else faiss.METRIC_L2
    )
    index.train(np.tile(items, (6, 1)))
    index.add(items)
    for name in ("nprobe", "qb"):  # every list, and queries as they are
        if hasattr(index, name):
            setattr(index, name, {"nprobe": 4, "qb": 0}[name])
    if factory.startswith("HNSW"):
        index.hnsw.efSearch = 400
    faiss.write_index(index, str(tmp_path / "my.index"))
    own_index = read_own_code(tmp_path / "my.index", 120)
    found = own_ranks(own_index, task, space)
    if factory.startswith("HNSW"):
        # Links of 32 bits: places for 16 on the lowest level, and for 8 on each of those above that an item has.
        above = faiss.vector_to_array(index.hnsw.levels).sum() - 120
        links = -(-32 * (16 * 120 + 8 * int(above)) // 120)
        assert found["bits"] == 32 * WIDTH + links
        assert own_index.name == f"yours (my.index, {links} bits of them links)"
    else:
        assert found["bits"] == 8 * index.sa_code_size()
    scores, label = index.search(queries, 120)
    scores = scores if product else -scores
    own = np.take_along_axis(scores, np.argsort(label, axis=1), axis=1)[
        np.arange(120), np.arange(120)
    ]
    near = 1e-5 * np.abs(scores).max()
    ahead = (scores > own[:, None] + near).sum(axis=1)
    level = (np.abs(scores - own[:, None]) <= near).sum(axis=1)
    assert (ahead <= found["ahead"]).all()
    assert (found["ahead"] + found["tied"] <= ahead + level).all()
    assert found["ahead"].max() > 0


def test_an_index_of_scores_that_are_not_read_is_refused(tmp_path):
    """RaBitQ with several bits a coordinate keeps other factors than with one."""
    faiss = pytest.importorskip("faiss")
    index = faiss.IndexRaBitQ(WIDTH, faiss.METRIC_L2, 4)
    items = planted(50)[1].astype(np.float32)
    index.train(items)
    index.add(items)
    faiss.write_index(index, str(tmp_path / "my.index"))
    with pytest.raises(
        ValueError, match=r"decoded vectors or scores .*RaBitQ with 4 bits a coordinate"
    ):
        read_own_code(tmp_path / "my.index", 50)


def test_bits_are_dealt_as_exhaustive_search_deals_them():
    rho = np.array([0.9, 0.7, 0.4])
    _, distortion = gaussian_quantizers()
    information = -0.5 * np.log2(1 - rho[:, None] ** 2 * (1 - distortion))
    for bits in (1, 2, 5, 9):
        dealt = allocation(rho, bits)
        assert dealt.sum() == bits
        best = max(
            information[0, a] + information[1, b] + information[2, bits - a - b]
            for a in range(min(8, bits) + 1)
            for b in range(min(8, bits - a) + 1)
            if bits - a - b <= 8
        )
        reached = information[np.arange(3), dealt].sum()
        # Greedy over several bits at once is optimal but for the last few.
        assert reached >= best - 0.02
    assert allocation(rho, 1000).tolist() == [8, 8, 8]
    # Panter and Dite: the distortion of Lloyd and Max's quantizers, (sqrt(3) pi / 2) 4^-b.
    assert distortion[1] == pytest.approx(1 - 2 / np.pi, rel=1e-9, abs=0)
    assert distortion[8] * 4**8 == pytest.approx(np.sqrt(3) * np.pi / 2, rel=0.02, abs=0)


def test_the_transform_code_scores_by_the_likelihood_of_what_it_stores():
    """Of an exactly known Gaussian, the score is the log-likelihood ratio of the stored cell means."""
    rho = np.array([0.95, 0.6])
    one = Canonical(
        name="canonical",
        correlations=rho,
        ridge=0.0,
        unit_first=False,
        **{f"{side}_centre": np.zeros(2) for side in ("query", "item")},
        **{f"{side}_map": np.eye(2) for side in ("query", "item")},
    )
    y = np.random.default_rng(0).normal(size=(20_000, 2))
    given = dataclasses.replace(training("cosine"), raw=y, items=y, variables=(one,))
    code = transform_code(given, 5)
    codes = code.encode(y[:50])
    features, bias = code.decode(codes)
    x = np.array([[0.3, -1.2], [2.0, 0.1]])
    scores = code.readings[""](x).astype(float) @ features.T + bias
    # What is stored stands for the mean of its cell, by many items of it.
    whole = code.encode(y)
    cells = [np.bincount(w, v) / np.bincount(w) for w, v in zip(whole.T, y.T, strict=True)]
    spread = np.stack([cell[w] for cell, w in zip(cells, whole.T, strict=True)]).std(axis=1)
    # Beside a Gaussian's own, 1 - D, whose square root has a standard error of 0.005.
    _, distortion = gaussian_quantizers()
    known = np.sqrt(1 - distortion[allocation(rho, 5)])
    np.testing.assert_allclose(spread, known, rtol=0, atol=0.03)
    c = rho * spread
    z = np.stack([cell[w] for cell, w in zip(cells, codes.T, strict=True)], axis=1) / spread

    def density(v, mean, variance):
        return -((v - mean) ** 2) / (2 * variance) - 0.5 * np.log(variance)

    ratio = (density(z[None], c * x[:, None], 1 - c**2) - density(z[None], 0.0, 1.0)).sum(axis=2)
    by_query = scores - ratio
    # Equal up to a number of each query, which no rank sees.
    assert np.ptp(by_query, axis=1).max() < 1e-4 * np.ptp(ratio)


def test_canonical_variables_are_those_of_the_model():
    import jax

    x, y, rho = planted(4000)
    task = retrieval_task(x @ np.diag(np.linspace(1, 9, WIDTH)), y[:, ::-1].copy())
    rest, validated = kept_back(jax.random.key(0), task, 0.2)
    found = variables(rest, validated, "inner product")[0]
    # Standard errors of held-back correlations: at most 0.035 with 800 pairs.
    np.testing.assert_allclose(np.sort(found.correlations)[::-1][:4], rho[:4], rtol=0, atol=0.12)
    held = found.measured(retrieval_task(x, y))
    assert held.shape == (WIDTH,)


def test_truncation_keeps_first_coordinates_in_half_precision():
    given = training("cosine")
    code = own.truncation(given, 64)
    points, bias = code.decode(code.encode(given.raw[:9]))
    cut = given.raw[:9, :4]
    np.testing.assert_allclose(
        points, cut / np.linalg.norm(cut, axis=1, keepdims=True), rtol=0, atol=1e-3
    )
    assert bias is None
    assert own.truncation(given, 60) is None
    assert own.shorter(given, 16 * WIDTH) is None
    assert own.truncation(given, 16 * WIDTH).bits == 16 * WIDTH
    long = own.truncation(training("L2"), 64)
    with pytest.raises(ValueError, match=r"at most 65504 in size to be kept as float16, got [0-9]"):
        long.encode(1e6 * given.raw[:9])


def test_a_rotated_product_quantizer_scores_as_the_points_that_it_stands_for():
    from rdsim.codes import long_product_quantizer

    given = training("inner product")
    code = own.rotated_product_quantizer(given, 16)
    import jax

    made = long_product_quantizer(jax.random.key(1), given.items, 16, starts=1, iterations=12)
    codes = code.encode(given.raw)
    np.testing.assert_array_equal(codes, made.store(jax.random.key(0), given.items))
    u = made.item_features(codes.astype(np.int64))[:, :-1] @ np.asarray(made.rotation) + np.asarray(
        made.centre
    )
    x = planted(5, seed=3)[0]
    scores = code.readings[""](x) @ code.decode(codes)[0].T
    np.testing.assert_allclose(scores, given.space.queries(x) @ u.T, rtol=0, atol=1e-4)
    assert own.rotated_product_quantizer(given, 8 * WIDTH) is None


@pytest.mark.parametrize("maker", [own.itq, own.signs, own.hyperplane_hash])
def test_hashes_store_a_bit_a_sign(maker):
    given = training("cosine")
    code = maker(given, WIDTH)
    codes = code.encode(given.raw)
    assert codes.dtype == np.uint8
    assert codes.shape == (400, WIDTH // 8)
    assert set(np.unique(code.decode(codes)[0])) == {-1.0, 1.0}
    float_query, hamming = (code.readings[name](given.raw) for name in ("float query", "Hamming"))
    np.testing.assert_array_equal(np.sign(float_query), hamming)
    assert isinstance(code, FittedCode)


def test_systems_are_chosen_by_name():
    assert [s.name for s in chosen(["PQ", "ITQ"])] == ["PQ (faiss)", "ITQ"]
    assert chosen(["all"]) == SYSTEMS
    assert {s.name for s in chosen(None)} < {s.name for s in SYSTEMS}
    with pytest.raises(ValueError, match="systems must be among transform code"):
        chosen(["HNSW"])
    assert usual_bits(64) == (8, 16, 32, 64, 128, 256, 512, 1024)
    sizes = {s.name: s.sizes((8, 64, 2048), 65) for s in SYSTEMS}
    assert sizes["RaBitQ (faiss)"] == [72 + 64]
    assert sizes["signs"] == [65]
    assert sizes["RQ (faiss)"] == [8, 64]
