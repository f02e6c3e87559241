"""The study of stamps: its readers, its features, and what it does where the package is missing."""

import jax
import numpy as np
import pytest
from PIL import Image

from experiments import stamps as study
from experiments.shared import stamps
from experiments.shared.ngrams import hashed_ngrams
from experiments.shared.word_vectors import MissingDataError
from rdsim.files import without_checkpoint
from rdsim.learning import canonical_correlation_analysis

PICTURE_TO_ENGLISH = "picture → English"


def stamp(folder, name, text, *, picture=True):
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.txt").write_text(text, encoding="utf-8")
    if picture:
        Image.new("RGBA", (4, 2), (255, 0, 0, 255)).save(folder / f"{name}.png")


def test_stamps_are_read_once_with_picture_and_languages(tmp_path):
    stamp(tmp_path, "a/frog", "A frog.\nes.utf8=Una rana.\nde.utf8=Ein Frosch.\n")
    stamp(tmp_path, "b/frog", "A Frog.\nes.utf8=Otra rana.\n")
    stamp(tmp_path, "b/drawn", "A drawing.\nes.utf8=Un dibujo.\n", picture=False)
    stamp(tmp_path, "c/newt", "A newt.\nes.utf8=\nde.utf8=Ein Molch.\n")
    (found,) = stamps.stamps(("es",), tmp_path)
    assert found.texts == {"en": "A frog.", "es": "Una rana.", "de": "Ein Frosch."}
    assert found.picture == tmp_path / "a" / "frog.png"
    assert [one.texts["en"] for one in stamps.stamps(("de",), tmp_path)] == ["A frog.", "A newt."]


def test_the_folder_is_the_one_that_the_environment_names(tmp_path, monkeypatch):
    stamp(tmp_path, "frog", "A frog.")
    monkeypatch.setenv(stamps.VARIABLE, str(tmp_path))
    assert [one.picture for one in stamps.stamps(())] == [tmp_path / "frog.png"]


def test_recordings_are_those_of_the_stamp(tmp_path):
    stamp(tmp_path, "frog", "A frog.")
    for name in ("frog.ogg", "frog_desc.ogg", "frog_desc_pt_BR.wav", "frog_description.ogg"):
        (tmp_path / name).touch()
    spoken = stamps.stamps((), tmp_path)[0].spoken()
    assert {language: path.name for language, path in spoken.items()} == {
        "en": "frog_desc.ogg",
        "pt_BR": "frog_desc_pt_BR.wav",
    }
    assert len(stamps.stamps((), tmp_path, spoken=("en", "pt_BR"))) == 1
    with pytest.raises(MissingDataError):
        stamps.stamps((), tmp_path, spoken=("en", "es"))


def test_a_missing_package_is_named_and_skipped(tmp_path, monkeypatch):
    with pytest.raises(MissingDataError, match="apt install tuxpaint-stamps-default"):
        stamps.stamps((), tmp_path / "none")
    monkeypatch.setenv(stamps.VARIABLE, str(tmp_path))
    dataset = study.run(study.SMOKE, jax.random.key(0), without_checkpoint)
    for told in ("tuxpaint-stamps-default", stamps.VARIABLE, str(tmp_path)):
        assert told in dataset.attrs["skipped"]
    checks = study.checks(dataset)
    assert {check.claim for check in checks} == set(study.CLAIMS)
    assert all("skipped" in check.statement and check.holds for check in checks)


def test_pairs_with_recordings_need_their_features():
    texts = dict.fromkeys(("en", *study.LANGUAGES))
    silent = study._pairs(texts)
    assert PICTURE_TO_ENGLISH in silent
    assert not set(silent) & {*study.READ_OUT, "spoken Spanish → picture"}
    assert study._pairs(texts | {"spoken es": None, "spoken fr": None}) == study.PAIRS


def test_a_picture_is_cut_out_and_keeps_its_shape_on_white(tmp_path):
    page = Image.new("RGBA", (40, 40), (0, 0, 0, 0))
    page.paste((255, 0, 0, 255), (10, 20, 26, 24))
    page.save(tmp_path / "a.png")
    (shown,) = stamps.pixels([tmp_path / "a.png"], 8)
    expected = np.full((8, 8, 3), 255)
    expected[3:5, :, 1:] = 0
    np.testing.assert_array_equal(shown, expected)


def test_histograms_are_roots_of_shares():
    points = np.zeros((2, 2, 2, 3), np.uint8)
    points[0, 0, 0] = (255, 0, 127)
    points[1] = 255
    found = stamps.colour_histograms(points, 2)
    expected = np.zeros((2, 8))
    expected[0, [0, 4]] = np.sqrt([0.75, 0.25])
    expected[1, 7] = 1
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-15)


def test_names_are_hashed_the_same_everywhere():
    rows = hashed_ngrams(["CAT FACE", "CAT FACE", "HEAVY BLACK HEART"], 512)
    np.testing.assert_array_equal(rows[0], rows[1])
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1.0, rtol=0, atol=1e-6)
    assert rows[0] @ rows[2] < 0.5
    alike = hashed_ngrams(["DOG FACE", "CAT FACE", "TRIANGULAR RULER"], 512)
    assert alike[0] @ alike[1] > alike[0] @ alike[2] + 0.1
    # CRC-32 of "<x>" is fixed by its standard.
    assert np.flatnonzero(hashed_ngrams(["X"], 1 << 16)[0]).tolist() == [11187]


def test_all_principal_axes_lose_nothing_of_penalised_correlations():
    generator = np.random.default_rng(0)
    x, y = generator.normal(size=(30, 50)), generator.normal(size=(30, 4))
    fitted = np.arange(20)
    found = study.principal(x, fitted)
    assert found.shape == (30, 19)
    unit = np.sqrt(np.var(x[fitted], axis=0).sum())
    np.testing.assert_allclose(np.sum(found[fitted] ** 2) / 20, 1, rtol=1e-12)
    whole, reduced = (
        canonical_correlation_analysis(part[fitted], y[fitted], 4, regularisation=0.1)
        for part in (x / unit, found)
    )
    np.testing.assert_allclose(
        reduced.variables_x(found), whole.variables_x(x / unit), rtol=0, atol=1e-8
    )


def test_few_axes_are_the_widest():
    points = np.diag([5.0, 3.0, 2.0, 1.0]).repeat(2, axis=0) * np.array([1, -1] * 4)[:, None]
    found = study.principal(points, np.arange(8), 2)
    np.testing.assert_allclose(found.std(axis=0) ** 2, np.array([25, 9]) / 34, rtol=1e-12)
