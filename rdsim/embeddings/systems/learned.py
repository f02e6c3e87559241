"""The learned stochastic code, trained where it is asked for."""

import time
from typing import Any

import numpy as np

from rdsim.embeddings.data.task import RetrievalTask
from rdsim.embeddings.spaces import MOST_PAIRS, paired
from rdsim.embeddings.systems.code import FittedCode
from rdsim.sources.host_random import split_key


def learned_codes(
    key: Any, fit: RetrievalTask, validate: RetrievalTask, bits: tuple[int, ...]
) -> tuple[list[FittedCode], float]:
    """Train a code of each number of bits on pairs as given; also return the seconds of all."""
    # Learning needs packages that nothing else here needs.
    from rdsim.learning.product_code import product_codes

    train, draw = split_key(key, 2)
    began = time.perf_counter()
    codes, _ = product_codes(
        train, *paired(fit, MOST_PAIRS), bits, validate=paired(validate, MOST_PAIRS)
    )
    seconds = time.perf_counter() - began

    def of(code: Any, size: int) -> FittedCode:
        def decode(digits: np.ndarray) -> tuple[np.ndarray, None]:
            return np.asarray(code.item_features(digits)), None

        return FittedCode(
            bits=size,
            encode=lambda raw: np.asarray(code.store(draw, raw)),
            decode=decode,
            readings={"": lambda raw: np.asarray(code.query_features(raw))},
        )

    return [of(code, size) for code, size in zip(codes, bits, strict=True)], seconds
