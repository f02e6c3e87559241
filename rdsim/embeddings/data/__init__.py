"""Vectors and targets as people have them: files, blocks of rows, and what is to be found for each query."""

from rdsim.embeddings.data.formats import read_vectors
from rdsim.embeddings.data.splits import Split, split_task
from rdsim.embeddings.data.task import RetrievalTask, Targets, read_targets, retrieval_task
from rdsim.embeddings.data.vectors import Vectors

__all__ = [
    "RetrievalTask",
    "Split",
    "Targets",
    "Vectors",
    "read_targets",
    "read_vectors",
    "retrieval_task",
    "split_task",
]
