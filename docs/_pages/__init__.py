"""What the build writes into the pages, one kind a file; docs/_hooks.py is what mkdocs calls."""

from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]

ABSENT: Final = '<span class="placeholder">(run `make figures`)</span>'
"""What stands for a number or a figure that has not been computed."""
