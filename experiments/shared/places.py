"""Where data of other packages lie: in Debian's places, or where an environment variable says."""

import os
from pathlib import Path


def place(variable: str, usual: Path) -> Path:
    """Return the folder or file that the environment variable names, or the usual one."""
    return Path(os.environ.get(variable) or usual)
