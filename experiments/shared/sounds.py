"""Recorded words as log-mel spectrograms of one length: what a sound is, in numbers, with nothing fitted.

The package soundfile decodes the recordings (Ogg Vorbis); its wheel carries libsndfile.
"""

import importlib.util
import math
from pathlib import Path
from typing import Final

import numpy as np

from experiments.shared.word_vectors import MissingDataError

BANDS: Final = 24
"""Mel bands; a speaker's pitch is not resolved, the formants of the vowels are."""
_LOWEST, _HIGHEST = 100.0, 8000.0
_WINDOW: Final = 0.025
_HOP: Final = 0.01
"""Seconds of a frame, and between frames, as usual for speech."""
_QUIET: Final = 50.0
"""Decibels below the loudest frame from which on there is silence: it is cut from both ends, and a floor within."""


def require_decoder() -> None:
    """Raise an error that says how to get the decoder.

    Raises:
        MissingDataError: if soundfile is not installed.

    """
    if importlib.util.find_spec("soundfile") is None:
        raise MissingDataError(
            'the recordings need the package soundfile, which decodes them: pip install ".[words]"'
        )


def spoken_features(recordings: list[Path], parts: int) -> np.ndarray:
    """Read recordings; features as `features` returns them, shape (N, parts * BANDS + 1)."""
    import soundfile

    rows = []
    for path in recordings:
        samples, rate = soundfile.read(path, always_2d=True)
        rows.append(features(samples.mean(axis=1), rate, parts))
    return np.stack(rows)


def features(samples: np.ndarray, rate: int, parts: int) -> np.ndarray:
    """Log-mel spectrogram between the first and the last sound, averaged over equal parts of its duration.

    Each band loses its mean over time, which is that of voice and microphone. The last number is the logarithm of the
    duration in seconds: long texts are read for long.

    Args:
        samples: of one channel, shape (T,).
        rate: samples a second.
        parts: of the duration.

    Returns:
        Level of each band about its mean, in units of `_QUIET`, part by part, and the logarithm; shape
        (parts * BANDS + 1,).

    """
    decibels = log_mel(samples, rate)
    loud = decibels.max(axis=1) > decibels.max() - _QUIET
    first, last = loud.argmax(), len(loud) - loud[::-1].argmax()
    spoken = np.maximum(decibels[first:last], decibels.max() - _QUIET) / _QUIET
    spoken = spoken - spoken.mean(axis=0)
    # Parts may begin within a frame: the mean over a part is a difference of the running sum.
    total = np.vstack([np.zeros(BANDS), np.cumsum(spoken, axis=0)])
    ends = np.linspace(0, len(spoken), parts + 1)
    place = np.minimum(ends.astype(int), len(spoken) - 1)
    running = total[place] + (ends - place)[:, None] * spoken[place]
    means = np.diff(running, axis=0) / (len(spoken) / parts)
    return np.append(means.ravel(), math.log(len(spoken) * _HOP))


def log_mel(samples: np.ndarray, rate: int) -> np.ndarray:
    """Decibels of the power in each mel band of each frame, shape (frames, BANDS)."""
    length, hop = round(_WINDOW * rate), round(_HOP * rate)
    padded = np.pad(np.asarray(samples, float), (0, max(0, length - len(samples))))
    frames = np.lib.stride_tricks.sliding_window_view(padded, length)[::hop]
    power = np.abs(np.fft.rfft(frames * np.hanning(length), axis=1)) ** 2
    return np.asarray(10 * np.log10(power @ mel_filters(length, rate).T + 1e-10))


def mel_filters(length: int, rate: int) -> np.ndarray:
    """Triangles, equally wide on the mel scale 2595 log10(1 + f/700), over the frequencies of a Fourier transform."""
    low, high = (2595 * math.log10(1 + f / 700) for f in (_LOWEST, _HIGHEST))
    corners = 700 * (10 ** (np.linspace(low, high, BANDS + 2) / 2595) - 1)
    frequency = np.fft.rfftfreq(length, 1 / rate)
    rising = (frequency - corners[:-2, None]) / np.diff(corners)[:-1, None]
    falling = (corners[2:, None] - frequency) / np.diff(corners)[1:, None]
    return np.maximum(np.minimum(rising, falling), 0.0)
