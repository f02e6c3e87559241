"""Static word vectors that a Python package carries: a text is the mean of its tokens' vectors.

The package wordllama holds one file of vectors and one of its tokenizer. They are read from where it is
installed, by their names; nothing is fetched.
"""

import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

_WEIGHTS: Final = "weights/l2_supercat_256.safetensors"
_TOKENIZER: Final = "tokenizers/l2_supercat_tokenizer_config.json"
_AT_ONCE: Final = 1 << 14  # texts that are embedded at a time


class MissingDataError(Exception):
    """Data that a study needs are not on this machine; the message says how to get them."""


@dataclass(frozen=True)
class WordVectors:
    """A tokenizer and the vector of each of its tokens, shape (V, d), float32."""

    tokenizer: Any
    vectors: np.ndarray

    def embed(self, texts: list[str]) -> np.ndarray:
        """Average the vectors of the tokens of every text and scale to unit length, float32.

        Raises:
            ValueError: if a text has no token.

        """
        out = np.empty((len(texts), self.vectors.shape[1]), np.float32)
        for start in range(0, len(texts), _AT_ONCE):
            part = texts[start : start + _AT_ONCE]
            encoded = self.tokenizer.encode_batch(part, add_special_tokens=False)
            number = np.array([len(one.ids) for one in encoded])
            if not number.all():
                raise ValueError(f"texts must have tokens, got {part[int(number.argmin())]!r}")
            tokens = np.concatenate([one.ids for one in encoded])
            first = np.cumsum(number) - number
            total = np.add.reduceat(self.vectors[tokens], first, axis=0)
            out[start : start + len(part)] = total / np.linalg.norm(total, axis=1, keepdims=True)
        return out


def load() -> WordVectors:
    """Read vectors and tokenizer from the installed package.

    Raises:
        MissingDataError: if one of the packages is not installed.

    """
    spec = importlib.util.find_spec("wordllama")
    needed = ("wordllama", "tokenizers", "safetensors")
    if spec is None or not all(importlib.util.find_spec(name) for name in needed):
        raise MissingDataError(
            "the word vectors need the packages wordllama, tokenizers and safetensors: "
            'pip install ".[words]"'
        )
    from safetensors.numpy import load_file
    from tokenizers import Tokenizer

    folder = Path(str(spec.origin)).parent
    vectors = load_file(folder / _WEIGHTS)["embedding.weight"].astype(np.float32)
    tokenizer = Tokenizer.from_file(str(folder / _TOKENIZER))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return WordVectors(tokenizer, vectors)
