"""The emoji study in small: a missing font, pictures of any font, encoders, and its presets."""

from pathlib import Path

import jax
import matplotlib
import numpy as np
import pytest

from experiments import emoji
from experiments.runner import discovery
from experiments.shared import pictures
from rdsim.cli.app import main
from rdsim.cli.messages import CommandError

DEJAVU = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"


def test_a_missing_font_is_said_clearly(monkeypatch, capsys, tmp_path):
    with pytest.raises(CommandError, match=r"Noto Color Emoji.*apt install fonts-noto-color-emoji"):
        pictures.find_font((str(tmp_path / "none.ttf"),))
    monkeypatch.setenv(pictures.VARIABLE, str(tmp_path / "none.ttf"))
    results = str(tmp_path / "results")
    assert main(["run", "emoji", "--preset", "full", "--results", results]) == 2
    assert "Noto Color Emoji" in capsys.readouterr().err
    assert pictures.find_font((str(tmp_path / "none.ttf"), str(DEJAVU))) == DEJAVU


def test_it_is_computed_in_the_full_preset_only(capsys, tmp_path):
    assert "emoji" not in discovery.discover("quick")
    assert "emoji" in discovery.discover("full")
    assert "emoji" in discovery.discover()
    assert "emoji" not in {study.name for study in discovery.chosen((), "smoke")}
    assert main(["run", "emoji", "--results", str(tmp_path)]) == 2
    assert "emoji is not computed in the preset quick, but in: full" in capsys.readouterr().err


def test_pictures_have_names_and_something_on_them(monkeypatch):
    monkeypatch.setattr(pictures, "_BLOCKS", ((0x2654, 0x2660),))
    shown, names = pictures.emoji(DEJAVU, 16)
    assert shown.shape == (12, 16, 16, 3)
    assert names[0] == "WHITE CHESS KING"
    assert (shown.reshape(12, -1).std(axis=1) > 5).all()
    assert len(np.unique(shown, axis=0)) == 12


def test_encoders_learn_on_one_part_and_embed_the_other(monkeypatch):
    monkeypatch.setattr(pictures, "_BLOCKS", ((0x2600, 0x2690),))
    found = emoji._embedded(emoji.SMOKE, jax.random.key(0), font=DEJAVU)
    count = len(pictures.emoji(DEJAVU, 4)[1])
    assert len(found["names"]) == len(found["pictures"]) == count - round(count / 2)
    for side in ("names", "pictures"):
        np.testing.assert_allclose(np.linalg.norm(found[side], axis=1), 1.0, rtol=0, atol=1e-5)
        assert len(np.unique(found[side], axis=0)) > 30
    # The best state is kept: no evaluation of it is worse than before training.
    assert np.nanmin(found["held_out_loss"]) <= found["held_out_loss"][0]
