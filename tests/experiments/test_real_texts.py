"""The study of real texts: its readers, its counts in blocks, and what it does where data are missing."""

import jax
import numpy as np
import pytest

from experiments import real_texts
from experiments.shared import word_vectors, wordnet
from rdsim.files import without_checkpoint


def test_synsets_are_read_without_examples_and_markers(tmp_path):
    for part in ("noun", "verb", "adj", "adv"):
        (tmp_path / f"data.{part}").write_text("  1 a line of the licence\n")
    (tmp_path / "data.adj").write_text(
        '00001 00 a 02 able(p) 0 not_unable 1 001 = 05200169 n 0000 | having skill; "able to swim"  \n'
    )
    assert wordnet.pairs(tmp_path) == (["able, not unable"], ["having skill"])


def test_missing_data_are_named_and_skipped(tmp_path, monkeypatch):
    with pytest.raises(word_vectors.MissingDataError, match="apt install wordnet-base"):
        wordnet.pairs(tmp_path)
    monkeypatch.setenv(wordnet.VARIABLE, str(tmp_path))
    dataset = real_texts.run(real_texts.SMOKE, jax.random.key(0), without_checkpoint)
    assert "wordnet-base" in dataset.attrs["skipped"]
    assert wordnet.VARIABLE in dataset.attrs["skipped"]
    checks = real_texts.checks(dataset)
    assert {check.claim for check in checks} == set(real_texts.CLAIMS)
    assert all("skipped" in check.statement and check.holds for check in checks)


def test_a_text_is_the_mean_of_its_tokens():
    class Tokenizer:
        def encode_batch(self, texts, *, add_special_tokens):
            assert not add_special_tokens
            return [type("Encoding", (), {"ids": list(map(int, text.split()))}) for text in texts]

    vectors = np.array([[1.0, 0], [0, 1], [0, -3]], np.float32)
    words = word_vectors.WordVectors(Tokenizer(), vectors)
    np.testing.assert_allclose(
        words.embed(["0", "0 1", "1 1 2"]),
        [[1, 0], [0.5**0.5, 0.5**0.5], [0, -1]],
        rtol=1e-6,
        atol=1e-7,
    )
    with pytest.raises(ValueError, match="texts must have tokens, got ''"):
        words.embed(["0", ""])


def test_counts_in_blocks_are_those_of_all_scores(monkeypatch):
    monkeypatch.setattr(real_texts, "_AT_ONCE", 3)
    generator = np.random.default_rng(0)
    points = generator.normal(size=(2, 10, 3)).astype(np.float32)
    queries, items = points / np.linalg.norm(points, axis=2, keepdims=True)
    items[7] = items[2]
    found = real_texts._ranks(queries[:5], items)
    scores = queries[:5].astype(float) @ items.T.astype(float)
    own = np.diag(scores)[:, None]
    assert (found["ahead"] == (scores > own + 1e-6).sum(axis=1)).all()
    assert found["tied"].tolist() == [1, 1, 2, 1, 1]
