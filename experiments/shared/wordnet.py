"""WordNet: its synonyms as queries and their definitions as items, from the files of a Linux distribution."""

from pathlib import Path
from typing import Final

from experiments.shared.places import place
from experiments.shared.word_vectors import MissingDataError

FOLDER: Final = Path("/usr/share/wordnet")
VARIABLE: Final = "RDSIM_WORDNET"
"""Environment variable: the folder of WordNet's files data.noun ..., where it is not Debian's."""
_PARTS: Final = ("noun", "verb", "adj", "adv")


def pairs(folder: Path | None = None) -> tuple[list[str], list[str]]:
    """Return the synonyms and the definition of every synset, without its example sentences.

    A line of data.noun is "offset file type count word id word id ... | definition; "example""; count is
    hexadecimal, lines that start with two blanks are the licence, and an adjective may carry a marker
    such as "(p)".

    Raises:
        MissingDataError: if a file is missing; it says which package holds it.

    """
    folder = place(VARIABLE, FOLDER) if folder is None else folder
    queries, items = [], []
    for part in _PARTS:
        path = folder / f"data.{part}"
        if not path.is_file():
            raise MissingDataError(
                f"WordNet is not on this machine (looked for {path}): install it, on Debian and Ubuntu "
                f"by apt install wordnet-base, or set {VARIABLE} to the folder that holds its files"
            )
        for line in path.read_text().splitlines():
            if line.startswith("  "):
                continue
            head, gloss = line.split(" | ", 1)
            fields = head.split()
            words = fields[4 : 4 + 2 * int(fields[3], 16) : 2]
            queries.append(", ".join(word.split("(")[0].replace("_", " ") for word in words))
            items.append(gloss.split('; "')[0].strip())
    return queries, items
