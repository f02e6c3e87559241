"""The report of given embeddings: what must hold of its numbers, and how it is put together."""

import dataclasses
import io
import math

import jax
import numpy as np
import pytest
import xarray
from hypothesis import given, settings
from hypothesis import strategies as st

from rdsim import limits
from rdsim.cli.provenance import ENGINE, data_hash
from rdsim.embeddings import (
    METRICS,
    measure_embeddings,
    own_code,
    retrieval_task,
    split_task,
)
from rdsim.embeddings.converse import (
    _multisets,
    codebook_converse,
    converse,
    group_code,
    group_sizes,
)
from rdsim.embeddings.quality import CUTOFFS
from rdsim.embeddings.spaces import simplest

KEY = jax.random.key(5)
OWN = ("transform code", "rotated PQ", "ITQ")


def planted(count, seed=0, width=16):
    rng = np.random.default_rng(seed)
    rho = 0.97 * np.arange(1, width + 1) ** -0.3
    y = rng.normal(size=(count, width)).astype(np.float32)
    noise = rng.normal(size=y.shape).astype(np.float32)
    return (rho * y + np.sqrt(1 - rho**2) * noise).astype(np.float32), y


@pytest.fixture(scope="module")
def task():
    return retrieval_task(*planted(200))


@pytest.fixture(scope="module")
def report(task):
    return measure_embeddings(KEY, task, (2, 4, 8, 32), systems=OWN)


@pytest.mark.parametrize("to_captions", [False, True])
def test_perfect_data_of_five_captions_has_recall_one_in_both_directions(to_captions):
    rng = np.random.default_rng(0)
    images = rng.normal(size=(60, 8)).astype(np.float32)
    captions = np.repeat(images, 5, axis=0) + 1e-3 * rng.normal(size=(300, 8)).astype(np.float32)
    targets = np.arange(300).reshape(60, 5) if to_captions else np.repeat(np.arange(60), 5)
    sides = (images, captions) if to_captions else (captions, images)
    found = measure_embeddings(KEY, retrieval_task(*sides, targets), (8,), systems=("float16",))
    recall = found.values("recall@1")
    assert recall[found.reference] == 1.0
    assert recall[found.lines.index("float16")] == 1.0
    np.testing.assert_array_equal(found.whole.quality.value, 1.0)
    # Some 40 % of the images, with all of their captions.
    assert found.database == 24 * (5 if to_captions else 1)
    assert (found.fitted, found.training_items) == (180, 36 * (5 if to_captions else 1))
    assert np.isnan(found.converse[:, -1]).all() == to_captions


def test_C4_no_code_of_a_planted_model_passes_the_converse(report):
    codes = np.array([kind == "code" for kind in report.kinds])
    for column, _ in enumerate(METRICS):
        bound = np.interp(report.bits, report.converse_bits, report.converse[:, column])
        low = report.quality.lower[:, column]
        assert (low[codes] <= bound[codes] + 1e-9).all()
    needed = limits.rank_rate(
        math.log2(report.database), "reciprocal_rank", distortion=1 - report.values("mrr")
    ).lower
    # Every item is a target once: then the bound holds of this very database.
    assert (np.asarray(needed)[codes] <= report.code_bits[codes] + 1e-9).all()


def test_C4_the_converse_of_single_targets_is_that_of_the_database(task):
    bound, log2_size = converse(task, np.array([2, 5, 20]))
    assert log2_size == math.log2(200)
    for column, loss in enumerate(["reciprocal_rank", *(("miss", k) for k in (1, 5, 10)), "dcg"]):
        rate = np.minimum([2.0, 5.0, 20.0], log2_size)
        wanted = 1 - np.asarray(limits.rank_loss(log2_size, loss, rate=rate).lower)
        np.testing.assert_allclose(bound[:, column], wanted, rtol=0, atol=1e-12)


def test_C4_no_ranking_by_group_codes_passes_the_converse_of_groups():
    """Groups of one to three items with unequal queries: the best decoder of coded items, exactly.

    Every item stores one bit. A decoder that knows which group is asked ranks all items of the codes
    that this group has first; nothing ranks the group's code better.
    """
    rng = np.random.default_rng(2)
    for _ in range(5):
        sizes = rng.integers(1, 4, 12)
        group = np.repeat(np.arange(12), sizes)
        code = rng.integers(0, 2, len(group))
        asked = np.concatenate([np.arange(12), rng.integers(0, 12, 6)])
        targets = np.full((len(asked), 3), -1)
        best = np.zeros(len(asked))
        for row, g in enumerate(asked):
            mine = np.flatnonzero(group == g)
            targets[row, : len(mine)] = mine
            for bit in (0, 1):
                t, m = (code == bit).sum(), (code[mine] == bit).sum()
                miss, mean = 1.0, 0.0
                for j in range(1, t + 1):
                    after = miss * (t - j + 1 - m) / (t - j + 1) if m else miss
                    mean, miss = mean + (miss - after) / j, after
                best[row] = max(best[row], mean)
        points = rng.normal(size=(len(group), 2))
        made = retrieval_task(rng.normal(size=(len(asked), 2)), points, targets)
        k, shares = group_sizes(made)
        size, entropy = group_code(shares)
        assert k == len(asked) // np.bincount(asked).max()
        assert size == pytest.approx(sizes[asked].mean(), rel=1e-12, abs=0)
        assert entropy <= math.log2(3)
        bound, _ = converse(made, np.array([1]))
        assert best.mean() <= codebook_converse(k, shares, np.ones(1), 0)[0] <= bound[0, 0]


REWARDS = (
    lambda rank: 1 / rank,
    *(lambda rank, k=k: (rank <= k).astype(float) for k in CUTOFFS),
    lambda rank: np.where(rank <= 10, 1 / np.log2(1 + rank), 0.0),
)
"""Of a rank, in the order of METRICS."""


@settings(max_examples=40)
@given(
    st.lists(st.integers(0, 5), min_size=2, max_size=40).filter(lambda asked: sum(asked) > 0),
    st.integers(1, 9),
    st.integers(0, 2**31),
)
def test_C27_no_decoder_that_is_told_the_codeword_passes_the_converse_of_one_codebook(
    asked, words, seed
):
    """Items that are asked for any number of times, or never, and codewords in any way: every item is tied with its like."""
    generator, asked = np.random.default_rng(seed), np.array(asked)
    codeword = generator.integers(0, words, asked.size)
    times = np.bincount(codeword, minlength=words)[codeword]
    k, shares = int(asked.sum() // asked.max()), np.array([0.0, 1.0])
    for column, reward in enumerate(REWARDS):
        mean = np.cumsum(reward(np.arange(1.0, asked.size + 1))) / np.arange(1, asked.size + 1)
        told = float(asked / asked.sum() @ mean[times - 1])
        bound = codebook_converse(k, shares, np.array([math.log2(words)]), column)
        assert told <= bound[0] + 1e-12


@pytest.mark.parametrize("column", range(5))
@pytest.mark.parametrize(("items", "words"), [(12, 3), (1000, 16), (40, 40), (7, 1)])
def test_C27_equal_codewords_of_given_items_reach_the_converse_of_one_codebook(
    column, items, words
):
    times = np.bincount(np.arange(items) % words)
    rewards = np.cumsum(REWARDS[column](np.arange(1.0, items + 1)))
    reached = rewards[times - 1].sum() / items
    bound = codebook_converse(items, np.array([0.0, 1.0]), np.array([math.log2(words)]), column)
    assert bound[0] == pytest.approx(reached, rel=1e-9, abs=0)


@settings(max_examples=40)
@given(
    st.integers(2, 3000),
    st.lists(st.floats(0.05, 1.0), min_size=1, max_size=4),
    st.floats(0.0, 12.0),
)
def test_C27_one_codebook_is_bounded_by_no_more_than_any_system(k, numbers, bits):
    """Groups of one item to four, in any shares, and any metric."""
    shares = np.append(0.0, numbers) / np.sum(numbers)
    size, entropy = group_code(shares)
    rate = min(bits * size + entropy, math.log2(k))
    losses = ["reciprocal_rank", *(("miss", cutoff) for cutoff in CUTOFFS if cutoff < k)]
    for column, loss in enumerate(losses):
        most = 1 - float(limits.rank_loss(math.log2(k), loss, rate=rate).lower)
        assert codebook_converse(k, shares, np.array([bits]), column)[0] <= most + 1e-9


@pytest.mark.parametrize("codewords", [1.0, 2.0, 7.0, 1000.0])
@pytest.mark.parametrize("m", [1, 2, 5, 40])
def test_multisets_are_counted_and_not_too_few(codewords, m):
    exact = math.comb(int(codewords) + m - 1, m)
    found = float(_multisets(np.array([codewords]), m)[0])
    assert exact * (1 - 1e-13) <= found <= exact * (1 + 1e-11)


def test_C27_no_code_passes_the_converse_of_one_codebook(report):
    """Every code at its own bits, exactly: the items are those that are there, and no interval is allowed for."""
    codes = np.array([kind == "code" for kind in report.kinds])
    bound = report.codebook_converse(report.bits)
    assert (report.quality.value[codes] <= bound[codes] + 1e-12).all()
    assert (bound[codes & (report.bits <= 4), 0] < 0.5).all()
    assert (report.codebook_converse(report.converse_bits) <= report.converse + 1e-9).all()
    of_lines = report.to_xarray().codebook_converse_of_line.values
    np.testing.assert_array_equal(of_lines[codes], bound[codes])
    assert np.isnan(of_lines[~codes]).all()


def test_C27_the_proved_bits_of_one_codebook_invert_its_converse(report):
    for fraction in (0.5, 0.95):
        wanted = fraction * report.values("mrr")[report.reference]
        bits = report.bits_by_proof(fraction, systems="one codebook")
        assert bits >= report.bits_by_proof(fraction)
        below, above = report.codebook_converse([bits * (1 - 1e-9), bits * (1 + 1e-9)])[:, 0]
        assert below <= wanted <= above
    with pytest.raises(ValueError, match="systems must be one of"):
        report.bits_by_proof(0.5, systems="all")


def test_streaming_and_dense_agree_on_the_uncompressed(report, task):
    (part,) = split_task(jax.random.split(KEY, 3)[0], task)
    x, y = (
        side.rows(slice(None)).astype(float) for side in (part.ranked.queries, part.ranked.items)
    )
    x, y = (side / np.linalg.norm(side, axis=1, keepdims=True) for side in (x, y))
    scores = x @ y.T
    own = np.take_along_axis(scores, part.ranked.targets.item[:, None], axis=1)
    np.testing.assert_array_equal(
        report.ahead[report.lines.index("as given")], (scores > own + 1e-12).sum(axis=1)
    )


def without_times(report):
    dataset = report.to_xarray()
    return dataset.drop_vars(["train_seconds", "encode_seconds", "search_seconds"])


def test_a_report_continues_from_its_parts_to_the_same_digits(report, task):
    finished, computed = {}, []

    def checkpoint(name, function):
        if name not in finished:
            # As they are read back from a file: arrays, and nothing else.
            finished[name] = {field: np.array(value) for field, value in function().items()}
            computed.append(name)
            if len(computed) % 3 == 0:
                raise KeyboardInterrupt
        return finished[name]

    for _ in range(20):
        try:
            again = measure_embeddings(KEY, task, (2, 4, 8, 32), systems=OWN, checkpoint=checkpoint)
            break
        except KeyboardInterrupt:
            continue
    assert len(computed) == len(set(computed)) > 10
    assert without_times(again).identical(without_times(report))


def test_the_front_and_the_bits_for_a_target(report):
    values, front = report.values("mrr"), report.pareto()
    assert (np.diff(report.bits[front]) > 0).all()
    assert (np.diff(values[front]) > 0).all()
    line = report.line_for(0.5)
    enough = (report.kept.value[:, 0] >= 0.5) & (np.array(report.kinds) == "code")
    assert report.bits[line] == report.bits[enough].min()
    assert report.line_for(2.0) is None
    proved = report.bits_by_proof(1.0)
    bound = np.interp(report.converse_bits, [proved], [values[report.reference]])
    below = report.converse_bits < proved
    assert (report.converse[below, 0] < bound[below]).all()
    assert (report.converse[~below, 0] >= bound[~below] - 1e-9).all()


def test_a_saved_report_is_read_back_as_it_was(report):
    dataset = report.to_xarray()
    body = bytes(dataset.to_netcdf(engine=ENGINE))
    read = xarray.load_dataset(io.BytesIO(body), engine=ENGINE)
    # The name "coordinates" of an attribute, for one, is one that NetCDF readers take for their own and drop.
    assert set(read.coords) == set(dataset.coords)
    assert data_hash(read) == data_hash(dataset)


def test_the_report_says_what_was_found(report):
    text = report.report()
    assert "80 queries find their targets among 80 items" in text
    assert "| rotated PQ |" in text
    assert "| at least " in text
    assert report.to_xarray().quality.sizes == {"line": len(report.lines), "metric": 5, "end": 3}
    assert len(report.plot().axes) == 2


def test_a_given_split_ranks_all_items_and_folds_rank_each_once(task):
    rest = retrieval_task(*planted(120, seed=9))
    found = measure_embeddings(KEY, task, (4,), systems=("ITQ",), fit=rest)
    assert found.database == len(found.group) == 200
    given = found.lines.index("as given")
    np.testing.assert_array_equal(found.quality.value[given], found.whole.quality.value)
    assert "none of the items that are ranked" in found.report()
    with pytest.raises(
        ValueError, match="folds must be None where pairs to fit to are given, got 4"
    ):
        measure_embeddings(KEY, task, (4,), fit=rest, folds=4)
    folded = measure_embeddings(KEY, task, (4,), systems=("ITQ",), folds=4)
    assert len(folded.group) == 200
    assert folded.database == 50


def test_a_report_says_that_codes_were_fitted_to_items_that_are_ranked(task):
    x, y = planted(200)
    seen = retrieval_task(x[:100], np.concatenate([y[:50], planted(50, seed=4)[1]]))
    found = measure_embeddings(KEY, task, (4,), systems=("ITQ",), fit=seen)
    assert found.diagnostics["fitted_items"] == 50 / 200
    assert "25.0% of the items that are ranked are among those of these pairs" in found.report()


def test_a_report_counts_the_items_that_codebooks_were_fitted_to_and_not_the_pairs():
    pytest.importorskip("faiss")
    y = planted(200)[1]
    task = retrieval_task(np.repeat(y, 2, axis=0) + 0.1, y, np.repeat(np.arange(200), 2))
    found = measure_embeddings(KEY, task, (8,), systems=("PQ",))
    assert "16 centroids were fitted to 120 items, where faiss asks for 624:" in found.report()


def test_of_spaces_that_are_about_as_good_the_simplest_is_chosen():
    rng = np.random.default_rng(0)
    group, base = np.repeat(np.arange(100), 2), rng.uniform(size=200)
    noise = rng.normal(size=(3, 200))
    noise -= noise.mean(axis=1, keepdims=True)
    error = np.sqrt(2 * 2) / np.sqrt(
        200
    )  # of two noises, whose groups of two are about twice as bad at worst
    even = np.stack([base + noise[0], base + noise[1] + 0.3 * error, base + noise[2]])
    assert simplest(even, group, [2, 0, 1]) == 2
    apart = even + np.array([0.0, 9 * error, -9 * error])[:, None]
    assert simplest(apart, group, [2, 0, 1]) == 1
    # Queries of one group that agree tell no more than one of them does: 200 of them are 100.
    once = np.zeros((2, 100))
    once[1, :7], once[1, 7:9] = 1.0, -1.0  # a mean of 0.05, with a standard error of 0.029
    assert simplest(once, np.arange(100), [0, 1]) == 1
    assert simplest(np.repeat(once, 4, axis=1), np.repeat(np.arange(100), 4), [0, 1]) == 1
    assert simplest(once, np.arange(100) // 20, [0, 1]) == 0


def test_uncompressed_is_the_space_in_which_codes_work_in_tables_and_figures():
    """Coordinates of the queries in another order: as given, pairs rank as by chance; canonical variables find them."""
    x, y = planted(400)
    found = measure_embeddings(
        KEY, retrieval_task(x[:, ::-1], y), (8,), systems=("rotated PQ", "float16"), rescore=160
    )
    mrr, given = found.values("mrr"), found.lines.index("as given")
    assert found.chosen_space == found.lines[found.reference] == "canonical"
    assert mrr[given] < 0.1 < 0.4 < mrr[found.reference]
    np.testing.assert_allclose(found.kept.value[:, 0], mrr / mrr[found.reference], rtol=1e-12)
    code = found.lines.index("rotated PQ, rescored 160")
    np.testing.assert_array_equal(found.ahead[code], found.ahead[found.reference])
    levels = [
        line.get_ydata()[0]
        for line in found.plot().axes[0].lines
        if len(set(line.get_ydata())) == 1 and len(line.get_ydata()) == 2
    ]
    for share in (0.9, 0.95, 0.99, 1.0):
        assert share * mrr[found.reference] in levels


@pytest.mark.parametrize(
    ("written", "name"), [("Cosine", "cosine"), ("l2", "L2"), ("Inner Product", "inner product")]
)
def test_a_similarity_may_be_written_in_any_case(task, written, name):
    found = measure_embeddings(KEY, task, (2,), systems=(), similarity=written, space="as given")
    assert found.similarity == name


def test_rescoring_as_many_items_as_there_are_is_the_uncompressed(task):
    found = measure_embeddings(KEY, task, (8,), systems=("ITQ",), rescore=80)
    line = found.lines.index("ITQ, Hamming, rescored 80")
    assert (found.kinds[line], found.bits[line]) == ("rescored", 8)
    np.testing.assert_array_equal(found.ahead[line], found.ahead[found.reference])
    assert line not in found.pareto()
    few = measure_embeddings(KEY, task, (8,), systems=("ITQ",), rescore=10)
    first, again = (few.lines.index(f"ITQ, float query{end}") for end in ("", ", rescored 10"))
    assert few.values("mrr")[first] < few.values("mrr")[again] <= few.values("mrr")[few.reference]


@pytest.mark.parametrize("by", ["decoded", "scores"])
def test_every_stage_says_how_far_it_is(by):
    """Each is done when it ends, but for fits, whose length nobody knows."""
    x, y = planted(60, width=4)
    seen: dict[str, list[tuple[int, int]]] = {}

    def progress(stage, done, total):
        seen.setdefault(stage, []).append((done, total))

    task = retrieval_task(x, y, progress=progress)
    given = y if by == "decoded" else x @ y.T
    own = own_code(60, codes=np.round(y).astype(np.int8), **{by: given}, progress=progress)
    measure_embeddings(
        KEY, task, (2,), systems=("ITQ",), own=own, rescore=5, space="as given", progress=progress
    )
    stages = [
        "checking queries",
        "checking items",
        "looking for equal items",
        f"checking {by}",
        "canonical correlations",
        "as given",
        "ITQ 2: encoding",
        "ITQ 2",
        "ITQ 2: candidates",
        "ITQ 2: ranking again",
        "yours",
        "looking for items that were fitted to",
    ]
    for stage in [*stages, "all items, as given"]:
        done, total = seen[stage][-1]
        assert done == total > 0
        assert all(0 <= d <= t for d, t in seen[stage])
    assert ("yours: looking for equal vectors" in seen) == (by == "decoded")
    assert seen["ITQ 2: fitting"] == [(0, 1)]
    assert list(seen)[:4] == stages[:4]


def test_own_codes_are_judged_as_the_vectors_that_they_decode_to(task):
    y = task.items.rows(slice(None))
    rounded = np.round(y * 4).astype(np.int8)
    decoded = own_code(200, codes=rounded, decoded=rounded / 4)
    found = measure_embeddings(KEY, task, (2,), systems=("ITQ",), own=decoded)
    line = found.kinds.index("yours")
    assert found.bits[line] == 8 * 16
    assert found.kept.value[line, 0] > 0.8
    # The same by its scores.
    x = task.queries.rows(slice(None)).astype(float)
    points = rounded / np.linalg.norm(rounded, axis=1, keepdims=True)
    scored = own_code(200, codes=rounded, scores=x @ points.T)
    again = measure_embeddings(KEY, task, (2,), systems=("ITQ",), own=scored)
    np.testing.assert_array_equal(again.ahead[line], found.ahead[line])
    np.testing.assert_allclose(again.code_bits[line], found.code_bits[line], rtol=0, atol=1e-9)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"bits": [8, 4]}, r"bits must rise without repeats, got \[8, 4\]"),
        ({"similarity": "dot"}, "similarity must be one of 'cosine'"),
        ({"space": "mine"}, "space must be one of 'auto'"),
        ({"systems": ["x"]}, "systems must be among"),
        ({"folds": 1}, "folds must be at least 2"),
        ({"held_out": 0.99}, "held_out must lie in"),
        ({"most_queries": 1}, "most_queries must be at least 2"),
    ],
)
def test_what_is_wrong_with_the_options_is_said(task, options, message):
    with pytest.raises(ValueError, match=message):
        measure_embeddings(KEY, task, **{"bits": (4,)} | options)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "decoded or scores must be given"),
        ({"decoded": np.ones((3, 2)), "bits": 4}, "decoded must have a row for each of 4 items"),
        ({"decoded": np.ones((4, 2))}, "bits of your code must be given"),
        ({"scores": np.ones((9, 3)), "bits": 4}, "scores must have a column for each of 4 items"),
    ],
)
def test_what_is_wrong_with_own_codes_is_said(given, message):
    with pytest.raises(ValueError, match=message):
        own_code(4, **given)


def test_dimensions_may_differ():
    x, y = planted(200)
    found = measure_embeddings(
        KEY, retrieval_task(x[:, :10].copy(), y), (16,), systems=("transform code", "signs")
    )
    assert found.chosen_space == "canonical"
    assert found.whole is None
    assert set(found.spaces) == {"canonical"}
    assert dataclasses.is_dataclass(found)
