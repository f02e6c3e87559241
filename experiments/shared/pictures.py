"""Pictures for the studies of real pairs: handwritten digits that ship with the project, emoji of an installed font."""

import os
import unicodedata
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from rdsim.cli.messages import CommandError

_DIGITS: Final = Path(__file__).parents[1] / "data" / "digits.npz"
FONTS: Final = (
    "/usr/share/fonts/truetype/noto/NotoColorEmoji.ttf",
    "/usr/share/fonts/noto/NotoColorEmoji.ttf",
    "/usr/share/fonts/google-noto-emoji/NotoColorEmoji.ttf",
    "/usr/share/fonts/google-noto-color-emoji-fonts/NotoColorEmoji.ttf",
)
"""Where Linux distributions put the colour-emoji font."""
VARIABLE: Final = "RDSIM_EMOJI_FONT"
"""Environment variable: the file of the font, where it is in none of these places."""
_STRIKE: Final = 109
"""Pixels of the font's only size."""
_CANVAS: Final = (136, 128)
_BLOCKS: Final = ((0x2190, 0x3300), (0x1F000, 0x1FB00))
"""Code points among which there are emoji."""


def digit_halves(count: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Return left and right halves of the digits (see experiments/data/README.md), shape (N, 32) each."""
    with np.load(_DIGITS) as file:
        images = file["images"][:count].astype(float)
    return images[:, :, :4].reshape(len(images), -1), images[:, :, 4:].reshape(len(images), -1)


def find_font(places: Iterable[str] | None = None) -> Path:
    """Return the first of these files that exists, by default the one named by `VARIABLE` or the usual ones.

    Raises:
        CommandError: if none does; it says how to get the font.

    """
    if places is None:
        named = os.environ.get(VARIABLE)
        places = (named,) if named else FONTS
    for place in places:
        if Path(place).is_file():
            return Path(place)
    raise CommandError(
        "emoji needs the colour-emoji font Noto Color Emoji, which is not on this machine "
        f"(looked for {', '.join(places)}). Install it, on Debian and Ubuntu by "
        f"apt install fonts-noto-color-emoji, or set {VARIABLE} to its file, and run again"
    )


def emoji(font: Path, pixels: int) -> tuple[np.ndarray, list[str]]:
    """Render every single-character emoji of the font that has a name, equal pictures once.

    Returns:
        Pictures on white, uint8, shape (N, pixels, pixels, 3), and their Unicode names.

    """
    face = ImageFont.truetype(font, _STRIKE)
    shown: dict[bytes, np.ndarray] = {}
    names = []
    for low, high in _BLOCKS:
        for character in map(chr, range(low, high)):
            name = unicodedata.name(character, "")
            drawn = Image.new("RGBA", _CANVAS, (255, 255, 255, 0))
            ImageDraw.Draw(drawn).text(
                (0, 0), character, fill="black", font=face, embedded_color=True
            )
            if not name or drawn.getbbox() is None:
                continue
            page = Image.new("RGBA", _CANVAS, "white")
            page.alpha_composite(drawn)
            small = page.convert("RGB").resize((pixels, pixels), Image.Resampling.LANCZOS)
            picture = np.asarray(small)
            if picture.tobytes() in shown:
                continue
            shown[picture.tobytes()] = picture
            names.append(name)
    return np.stack(list(shown.values())), names
