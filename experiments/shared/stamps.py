"""Stamps of Tux Paint: pictures and what they show in many languages, from a Debian package.

A stamp is a picture (name.png, or a drawing name.svg), a text (name.txt) and spoken texts
(name_desc.ogg in English, name_desc_es.ogg in Spanish ...). The first line of a text is English; the
others are "language.utf8=text".

Two parts of the package are left out. Of the 952 stamps 165 are drawings alone, and no package that the
project depends on renders SVG. And 115 of those with a picture and a text have a sound of what they show, too few pairs
to fit to: fitted to half of them, sounds found the pictures of the others no better than chance does, within the noise.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from PIL import Image

from experiments.shared.places import place
from experiments.shared.word_vectors import MissingDataError

FOLDER: Final = Path("/usr/share/tuxpaint/stamps")
VARIABLE: Final = "RDSIM_STAMPS"
"""Environment variable: the folder of the stamps, where it is not Debian's."""
_MARK: Final = ".utf8="
ENGLISH: Final = "en"


@dataclass(frozen=True)
class Stamp:
    """A stamp whose picture can be read.

    Attributes:
        picture: the PNG.
        texts: language -> what the picture shows; English is "en".

    """

    picture: Path
    texts: dict[str, str]

    def spoken(self) -> dict[str, Path]:
        """Return language -> recording of its text; `sounds` decodes them."""
        stem = f"{self.picture.stem}_desc"
        found = {}
        for path in sorted(self.picture.parent.glob(f"{stem}*")):
            language = path.stem.removeprefix(stem).removeprefix("_") or ENGLISH
            if path.suffix in (".ogg", ".wav") and (path.stem == stem or f"{stem}_" in path.stem):
                found[language] = path
        return found


def stamps(
    languages: tuple[str, ...], folder: Path | None = None, *, spoken: tuple[str, ...] = ()
) -> list[Stamp]:
    """Read the stamps with a PNG, a text in all of these languages and recordings in others, one for each English text.

    Several stamps have the same text ("A flower."): the first in the order of their paths is kept, for
    the copies of a target would count as its competitors.

    Raises:
        MissingDataError: if there is none; it says which package holds them.

    """
    folder = place(VARIABLE, FOLDER) if folder is None else folder
    found: dict[str, Stamp] = {}
    for path in sorted(folder.rglob("*.txt")):
        texts = texts_of(path.read_text(encoding="utf-8"))
        picture = path.with_suffix(".png")
        if not picture.is_file() or not all(texts.get(name) for name in (ENGLISH, *languages)):
            continue
        stamp = Stamp(picture, texts)
        if stamp.spoken().keys() >= set(spoken):
            found.setdefault(texts[ENGLISH].lower(), stamp)
    if not found:
        raise MissingDataError(
            f"the stamps of Tux Paint are not on this machine (looked in {folder}): install them, on "
            "Debian and Ubuntu by apt install tuxpaint-stamps-default (160 MB), or set "
            f"{VARIABLE} to the folder that holds them"
        )
    return list(found.values())


def texts_of(content: str) -> dict[str, str]:
    """Read the texts of a file: English first, then a line a language."""
    first, *others = content.splitlines() or [""]
    texts = {ENGLISH: first.strip()}
    for line in others:
        language, mark, text = line.partition(_MARK)
        if mark and text.strip():
            texts[language] = text.strip()
    return texts


def pixels(pictures: list[Path], side: int) -> np.ndarray:
    """Read pictures on white, scaled into a square without distortion, uint8, shape (N, side, side, 3)."""
    out = np.empty((len(pictures), side, side, 3), np.uint8)
    for row, path in zip(out, pictures, strict=True):
        with Image.open(path) as image:
            drawn = image.convert("RGBA")
        drawn = drawn.crop(drawn.getbbox(alpha_only=True))
        drawn.thumbnail((side, side), Image.Resampling.BOX)
        page = Image.new("RGBA", (side, side), "white")
        page.alpha_composite(drawn, ((side - drawn.width) // 2, (side - drawn.height) // 2))
        row[:] = np.asarray(page.convert("RGB"))
    return out


def colour_histograms(points: np.ndarray, levels: int) -> np.ndarray:
    """Square roots of the shares of the colours, levels a channel, shape (N, levels^3), unit length.

    Inner products of square roots are the affinities of Bhattacharyya: no colour that fills half a
    picture drowns the others.
    """
    cells = points.astype(np.int64) * levels // 256
    index = (cells[..., 0] * levels + cells[..., 1]) * levels + cells[..., 2]
    flat = index.reshape(len(points), -1) + np.arange(len(points))[:, None] * levels**3
    counts = np.bincount(flat.ravel(), minlength=len(points) * levels**3)
    return np.sqrt(counts.reshape(len(points), levels**3) / flat.shape[1])
