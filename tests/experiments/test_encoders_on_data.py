"""Encoders of pictures and texts on small real data: emoji, Tux Paint stamps, WordNet; skipped where they are missing."""

import jax
import numpy as np
import pytest

from experiments.shared import pictures, stamps, wordnet
from experiments.shared.word_vectors import MissingDataError
from rdsim.cli.messages import CommandError
from rdsim.learning.families.dual_encoder import DualEncoderFamily
from rdsim.learning.families.pairs import array_pairs
from rdsim.learning.held_out_points import held_out_point
from rdsim.learning.training.encoders import ConvNet, Recurrent, Transformer
from rdsim.learning.training.networks import architecture
from rdsim.learning.training.schedule import Schedule

SIDE, LENGTH, LETTERS = 8, 24, 128
"""Pixels of a side, letters of a text, letters of the alphabet: as few as can still be learned from."""
GRU = architecture(Recurrent, vocabulary=LETTERS, width=16)
LSTM = architecture(Recurrent, vocabulary=LETTERS, width=16, cell="lstm")
WORDS = architecture(Transformer, vocabulary=LETTERS, length=LENGTH, width=16, layers=1)
RESNET = architecture(ConvNet, shape=(SIDE, SIDE, 3), channels=8)
PATCHES = architecture(Transformer, shape=(SIDE, SIDE, 3), width=16, layers=1)


def letters(texts):
    """Codes of the letters, padded with -1."""
    rows = np.full((len(texts), LENGTH), -1.0)
    for row, text in zip(rows, texts, strict=True):
        codes = [ord(c) % LETTERS for c in text.lower()[:LENGTH]]
        row[: len(codes)] = codes
    return rows


def of_pictures(shown):
    return (shown / 127.5 - 1).reshape(len(shown), -1)


def emoji_pairs():
    shown, names = pictures.emoji(pictures.find_font(), SIDE)
    return letters(names), of_pictures(shown)


def stamp_pairs():
    found = stamps.stamps(("es",))[:300]
    pictures = stamps.pixels([stamp.picture for stamp in found], SIDE)
    return letters([stamp.texts["en"] for stamp in found]), of_pictures(pictures)


def wordnet_pairs():
    words, definitions = wordnet.pairs()
    # Definitions that name a part of their word in their first letters: letters alone can find those.
    shared = [
        i
        for i, (word, text) in enumerate(zip(words, definitions, strict=True))
        if any(len(part) > 3 and part in text.lower()[:LENGTH] for part in word.lower().split())
    ]
    chosen = np.random.default_rng(0).permutation(shared)[:1500]
    return letters([words[i] for i in chosen]), letters([definitions[i] for i in chosen])


CASES = {
    "emoji, GRU and residual network": (emoji_pairs, GRU, RESNET),
    "stamps, LSTM and patches": (stamp_pairs, LSTM, PATCHES),
    "WordNet, transformer and GRU": (wordnet_pairs, WORDS, GRU),
}


@pytest.mark.parametrize("name", CASES)
def test_encoders_learn_real_pairs(name, monkeypatch):
    make, query_encoder, item_encoder = CASES[name]
    # Some three hundred emoji: animals, food and things.
    monkeypatch.setattr(pictures, "_BLOCKS", ((0x1F400, 0x1F530),))
    try:
        queries, items = make()
    except (CommandError, MissingDataError) as error:
        pytest.skip(str(error))
    family = DualEncoderFamily(query_encoder=query_encoder, item_encoder=item_encoder)
    pairs = array_pairs(jax.random.key(0), queries, items, held_out=max(32, len(items) // 6))
    keys = jax.random.split(jax.random.key(1), 3)
    mrr = []
    for steps in (0, 100):
        (system,) = family(keys, pairs, (7,), Schedule(steps=steps, evaluate_every=20))
        point = held_out_point(jax.random.key(2), system, queries, items, confidence=1 - 1e-7)
        mrr.append(point.losses["reciprocal_rank"])
    # Most pairs are those it learned from: this asks that the encoders learn, not that they generalise.
    chance = np.mean(1 / np.arange(1, len(items) + 1))
    assert 1 - float(mrr[1].mean) > 1.5 * max(chance, 1 - float(mrr[0].mean))
