"""Targets of every form, their groups, and splits that divide none."""

import re

import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rdsim.embeddings import read_targets, retrieval_task, split_task

KEY = jax.random.key(3)


def points(count, dimension=3, seed=0):
    return np.random.default_rng(seed).normal(size=(count, dimension)).astype(np.float32)


def test_queries_without_a_target_are_counted_and_left_out():
    task = retrieval_task(points(4), points(3), np.array([[2, -1], [-1, -1], [0, 2], [-1, 1]]))
    assert task.without_target == 1
    assert len(task.queries) == 3
    assert task.targets.query.tolist() == [0, 1, 1, 2]
    assert task.targets.item.tolist() == [2, 0, 2, 1]
    # Items 0 and 2 have a query in common.
    assert task.item_group[0] == task.item_group[2] != task.item_group[1]


def test_grades_of_zero_are_no_targets_and_a_pair_counts_once():
    graded = np.array([[0, 1, 2.0], [0, 2, 0.0], [0, 1, 3.0], [1, 0, 1.0]])
    task = retrieval_task(points(2), points(3), graded)
    assert task.targets.item.tolist() == [1, 0]
    assert task.targets.grade.tolist() == [3.0, 1.0]


@pytest.mark.parametrize(
    ("targets", "message"),
    [
        (None, "4 queries and 3 items"),
        (np.array([0, 1, 2]), "a row for each of the 4 queries"),
        (np.array([0, 1, 2, 3]), "rows 0 to 2 of the items, got 3"),
        (np.full(4, -1), "a target of some query"),
        (np.array([[0.5, 1, 1]]), "name queries and items by integers, got 0.5"),
        (np.array([0.0, 1.0]), r"got float64 of shape \(2,\)"),
        (np.array([[9.0, 1, 1]]), "rows 0 to 3 of the queries, got 9"),
    ],
)
def test_what_is_wrong_with_targets_is_said(targets, message):
    with pytest.raises(ValueError, match=f"targets.*{message}|{message}"):
        retrieval_task(points(4), points(3), targets)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        (
            "t.tsv",
            "query\titem\tgrade\n\n0\t1\t1\n1\tx\t1\n",
            "line 4 must hold an integer, got 'x'",
        ),
        (
            "t.tsv",
            "query-id\tcorpus-id\tscore\nPLAIN-2\tMED-2427\t2\n",
            "line 2 must hold an integer, got 'PLAIN-2': queries and items are named by the numbers of their rows in the "
            "files of vectors, from 0. For names, number them in the order of the rows",
        ),
        ("t.tsv", "0 1 1\n1 0.5 1\n", "line 2 must hold an integer, got '0.5'"),
        ("t.tsv", "0 1 1\n1 1 nan\n", "line 2 must hold a finite number, got 'nan'"),
        ("t.qrels", "0 1 1\n1 2\n", "line 2 must hold query, item and grade, got '1 2'"),
        ("t.txt", "0 1\n\n2, y\n", "line 3 must hold an integer, got 'y'"),
        ("t.txt", "0 1\n", "must have a line for each of the 4 queries, got 1"),
    ],
)
def test_what_is_wrong_with_a_file_of_targets_is_said_with_its_line(tmp_path, name, text, message):
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(ValueError, match=f"^targets: {re.escape(str(path))}.*{re.escape(message)}"):
        read_targets(path, 4)


@given(st.integers(0, 10**6), st.sampled_from([None, 2, 3]))
def test_a_split_divides_no_group_and_loses_nothing(seed, folds):
    rng = np.random.default_rng(seed)
    items = points(180, seed=seed)
    items[170] = items[3]  # a copy
    # Five captions of each of 30 images, a few queries between two images, thirty distractors.
    targets = np.full((150, 2), -1)
    targets[:, 0] = np.arange(150)
    targets[rng.choice(150, 3, replace=False), 1] = rng.integers(0, 150, 3)
    task = retrieval_task(points(150), items, targets)
    parts = split_task(jax.random.key(seed), task, held_out=0.4, folds=folds)
    assert len(parts) == (folds or 1)
    for part in parts:
        fit, ranked = part.fit, part.ranked
        assert not set(fit.item_group) & set(ranked.item_group)
        assert not set(fit.query_group) & set(ranked.query_group)
        assert len(fit.items) + len(ranked.items) == 180
        for side in (fit, ranked):
            rows = side.queries.chosen[side.targets.query], side.items.chosen[side.targets.item]
            assert {(q, i) for q, i in zip(*rows, strict=True)} <= {
                (q, i) for q, row in enumerate(targets) for i in row if i >= 0
            }
    if folds:
        ranked = np.concatenate([part.ranked.items.chosen for part in parts])
        assert sorted(ranked.tolist()) == list(range(180))


def test_too_few_groups_are_refused():
    with pytest.raises(ValueError, match=r"held_out=0.4 leaves 12 of 30 groups"):
        split_task(KEY, retrieval_task(points(30), points(30)))
