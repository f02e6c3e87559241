"""Real paired embeddings: quantized, ranked, and set against the limit."""

from rdsim.learning.embeddings.gap import EmbeddingGap, embedding_gap
from rdsim.learning.embeddings.paired_embeddings import (
    PairSplit,
    SharedSpace,
    check_pairs,
    shared_space,
    split_pairs,
)
from rdsim.learning.embeddings.product_code import ProductCode, product_codes
from rdsim.learning.embeddings.rank_quality import RankQuality

__all__ = [
    "EmbeddingGap",
    "PairSplit",
    "ProductCode",
    "RankQuality",
    "SharedSpace",
    "check_pairs",
    "embedding_gap",
    "product_codes",
    "shared_space",
    "split_pairs",
]
