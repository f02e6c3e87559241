"""Recorded words in numbers: what of a sound they keep, and what the study does without a decoder."""

import importlib.util

import numpy as np
import pytest

from experiments.shared import sounds
from experiments.shared.word_vectors import MissingDataError

RATE = 16_000


def tones(*frequencies, seconds=0.2):
    """One tone after the other."""
    time = np.arange(round(seconds * RATE)) / RATE
    return np.concatenate([np.sin(2 * np.pi * f * time) for f in frequencies])


def test_a_tone_is_loudest_in_its_own_band():
    ends = 2595 * np.log10(1 + np.array([100.0, 8000.0]) / 700)
    centres = 700 * (10 ** (np.linspace(*ends, sounds.BANDS + 2)[1:-1] / 2595) - 1)
    for band in (2, 9, 20):
        level = sounds.log_mel(tones(centres[band]), RATE)
        assert level.shape[1] == sounds.BANDS
        assert (level.argmax(axis=1) == band).all()


def test_what_is_said_counts_not_how_loud_or_after_how_much_silence():
    spoken = tones(300.0, 2000.0, 900.0, 4000.0)
    first = sounds.features(spoken, RATE, 4)
    assert first.shape == (4 * sounds.BANDS + 1,)
    np.testing.assert_allclose(sounds.features(0.05 * spoken, RATE, 4), first, rtol=0, atol=1e-6)
    silence = np.zeros(RATE // 2)
    # Frames at both ends hold a tone in part.
    late = sounds.features(np.concatenate([silence, spoken, silence]), RATE, 4)
    np.testing.assert_allclose(late, first, rtol=0, atol=0.06)
    turned = sounds.features(tones(4000.0, 900.0, 2000.0, 300.0), RATE, 4)
    assert np.abs(turned[:-1] - first[:-1]).max() > 0.5
    # Parts of the turned sound in turn are those of the first.
    parts = first[:-1].reshape(4, -1)
    np.testing.assert_allclose(turned[:-1].reshape(4, -1)[::-1], parts, rtol=0, atol=0.05)


def test_slower_speech_has_the_same_parts_and_another_duration():
    quick, slow = (
        sounds.features(tones(300.0, 2000.0, 900.0, seconds=s), RATE, 3) for s in (0.2, 0.4)
    )
    np.testing.assert_allclose(slow[:-1], quick[:-1], rtol=0, atol=0.05)
    assert slow[-1] - quick[-1] == pytest.approx(np.log(2), rel=0, abs=0.05)


def test_the_mean_of_all_parts_is_that_of_the_whole():
    noise = np.random.default_rng(0).normal(size=RATE // 3)
    for parts in (1, 3, 7):
        level = sounds.features(noise, RATE, parts)[:-1].reshape(parts, -1)
        np.testing.assert_allclose(level.mean(axis=0), 0.0, rtol=0, atol=1e-12)


def test_silence_and_a_click_have_features():
    for samples in (np.zeros(RATE), np.ones(1)):
        assert np.isfinite(sounds.features(samples, RATE, 8)).all()


def test_recordings_are_read_and_their_channels_averaged(tmp_path):
    soundfile = pytest.importorskip("soundfile")
    spoken = tones(300.0, 2000.0)
    paths = [tmp_path / "one.ogg", tmp_path / "two.wav"]
    for path in paths:
        soundfile.write(path, np.stack([1.5 * spoken, 0.5 * spoken], axis=1) / 2, RATE)
    compressed, plain = sounds.spoken_features(paths, 2)
    np.testing.assert_allclose(plain, sounds.features(spoken / 2, RATE, 2), rtol=0, atol=0.02)
    # Vorbis leaves noise where there was silence, 40 decibels below.
    np.testing.assert_allclose(compressed, plain, rtol=0, atol=0.3)


def test_a_missing_decoder_is_named(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingDataError, match=r"soundfile.*pip install"):
        sounds.require_decoder()
