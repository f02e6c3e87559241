"""Valid sources, codes and samples that junk is put beside."""

from typing import Any, Final

import numpy as np
from fuzz_cases import ITEMS, JOINT, MIXTURE, VQ
from fuzz_junk import Argument

from rdsim import codes, sources
from rdsim.simulation import Decoder, RunOptions


def products(codewords: Any, queries: Any) -> Any:
    return codewords @ queries[0]


CHANNEL: Final = np.array([[0.8, 0.2], [0.3, 0.7]])
DISCRETE: Final = sources.discrete(JOINT)
GAUSSIAN: Final = sources.gaussian(0.8)
LINE_CODE: Final = codes.uniform_scalar_quantizer(ITEMS[:, :1], 2)
GRID: Final = MIXTURE.discretise_item(4)
DECODER: Final = Decoder(products, VQ.codewords)
SAMPLES: Final = np.random.default_rng(2).normal(size=40)
SQUARE: Final = np.random.default_rng(7).normal(size=(4, 4))


def checkpoint() -> Argument:
    return Argument(None, (3, [], object(), 1j))


def options() -> Argument:
    """How a run of trials is computed."""
    return Argument(RunOptions(block=4, chunk=1), ("x", 3, {}, object(), {"block": 4}))
