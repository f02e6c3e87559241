"""Codes for real vectors: the project's own, those of faiss, the learned one, and one's own."""

from rdsim.embeddings.systems.catalogue import SYSTEMS, System
from rdsim.embeddings.systems.code import FittedCode, Training
from rdsim.embeddings.systems.given import own_code, read_own_code

__all__ = [
    "SYSTEMS",
    "FittedCode",
    "System",
    "Training",
    "own_code",
    "read_own_code",
]
