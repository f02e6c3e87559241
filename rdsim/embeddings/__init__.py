r"""Real embeddings: how many bits per item do they need, and what do codes of so many bits keep?

Vectors come as arrays or files (`read_vectors`), targets as rows, lists or qrels (`read_targets`); a
`retrieval_task` holds both. `measure_embeddings` fits codes to one part of it, ranks the other and returns an
`EmbeddingReport`: every code at equal bits, beside the vectors uncompressed and what no system exceeds (C4).

A ValueError or TypeError names the argument that is wrong; an ImportError names the extra that brings an
optional package.
"""

from rdsim.embeddings import data
from rdsim.embeddings.data import *
from rdsim.embeddings.measure import measure_embeddings
from rdsim.embeddings.models.twins import with_models
from rdsim.embeddings.quality import METRICS
from rdsim.embeddings.result import EmbeddingReport
from rdsim.embeddings.systems import SYSTEMS, System, own_code, read_own_code

__all__ = [
    "METRICS",
    "SYSTEMS",
    "EmbeddingReport",
    "System",
    "measure_embeddings",
    "own_code",
    "read_own_code",
    "with_models",
]
__all__ += data.__all__
