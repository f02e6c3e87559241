"""Learned systems measured against the limit: modules of flax.nnx, one training loop, exact points.

Learning runs in float32; what is reported of a learned system is computed in float64 from its exact
discrete code.
"""

from rdsim.learning.adversarial import (
    AdversarialLearner,
    AlignedEncoder,
    fit_adversarial,
    reverse_gradient,
)
from rdsim.learning.bottleneck_objective import Pairs, StochasticCodeLearner, information_bounds
from rdsim.learning.cca import (
    CanonicalCorrelations,
    canonical_correlation_analysis,
    canonical_systems,
    fit_cca,
)
from rdsim.learning.cross_attention import (
    CrossAttention,
    CrossAttentionLearner,
    fit_cross_attention,
)
from rdsim.learning.deep_cca import DeepCCALearner, fit_deep_cca, total_correlation
from rdsim.learning.discrete_code import (
    DiscreteCode,
    LetterBatch,
    discrete_code,
    exact_point,
    letter_table,
    whole_table,
)
from rdsim.learning.distillation import DistillationLearner, distillation_loss, fit_distillation
from rdsim.learning.dual_encoder import (
    DualEncoder,
    InfoNCELearner,
    TripletLearner,
    fit_info_nce,
    fit_info_nce_product,
    fit_triplet,
    info_nce_loss,
    triplet_loss,
)
from rdsim.learning.embedded_code import EmbeddedCode, embedded_code
from rdsim.learning.embedding_gap import EmbeddingGap, embedding_gap
from rdsim.learning.fusion import (
    FusedEncoder,
    FusionLearner,
    fit_early_fusion,
    fit_intermediate_fusion,
    fit_late_fusion,
)
from rdsim.learning.gaussian_code import (
    GaussianCodePoint,
    gaussian_code_point,
    gaussian_code_points,
)
from rdsim.learning.learned_hashing import (
    HashLearner,
    fit_supervised_hashing,
    fit_unsupervised_hashing,
    hashing_system,
    sign_code,
    with_hamming,
)
from rdsim.learning.networks import MLP
from rdsim.learning.neural_item_code import NeuralItemCode, learned_decoder, neural_item_code
from rdsim.learning.operating_point import OperatingPoint, operating_point
from rdsim.learning.pair_ranking import (
    PairRanks,
    contrastive_information,
    pair_ranks,
    recalls,
    reciprocal_ranks,
)
from rdsim.learning.paired_embeddings import (
    PairSplit,
    SharedSpace,
    check_pairs,
    shared_space,
    split_pairs,
)
from rdsim.learning.pairs import ItemPairs, draw_batch, fitted_models, item_pairs
from rdsim.learning.product_code import ProductCode, ProductCodeLearner, group_words, product_codes
from rdsim.learning.quantized_embedding import (
    quantize_embeddings,
    quantized_system,
    quantized_systems,
)
from rdsim.learning.rank_quality import RankQuality
from rdsim.learning.retrieval_objective import RetrievalCodeLearner, whole_source
from rdsim.learning.shared_latent import (
    SharedLatent,
    SharedLatentLearner,
    fit_shared_latent,
    log_overlap,
    product_of_experts,
)
from rdsim.learning.stochastic_code import NeuralCode
from rdsim.learning.stored_codes import (
    LongHash,
    LongProductQuantizer,
    long_hyperplane_hash,
    long_product_quantizer,
    rotated_hash,
)
from rdsim.learning.training import Schedule, Trained, TrainingDivergedError, train

__all__ = [
    "MLP",
    "AdversarialLearner",
    "AlignedEncoder",
    "CanonicalCorrelations",
    "CrossAttention",
    "CrossAttentionLearner",
    "DeepCCALearner",
    "DiscreteCode",
    "DistillationLearner",
    "DualEncoder",
    "EmbeddedCode",
    "EmbeddingGap",
    "FusedEncoder",
    "FusionLearner",
    "GaussianCodePoint",
    "HashLearner",
    "InfoNCELearner",
    "ItemPairs",
    "LetterBatch",
    "LongHash",
    "LongProductQuantizer",
    "NeuralCode",
    "NeuralItemCode",
    "OperatingPoint",
    "PairRanks",
    "PairSplit",
    "Pairs",
    "ProductCode",
    "ProductCodeLearner",
    "RankQuality",
    "RetrievalCodeLearner",
    "Schedule",
    "SharedLatent",
    "SharedLatentLearner",
    "SharedSpace",
    "StochasticCodeLearner",
    "Trained",
    "TrainingDivergedError",
    "TripletLearner",
    "canonical_correlation_analysis",
    "canonical_systems",
    "check_pairs",
    "contrastive_information",
    "discrete_code",
    "distillation_loss",
    "draw_batch",
    "embedded_code",
    "embedding_gap",
    "exact_point",
    "fit_adversarial",
    "fit_cca",
    "fit_cross_attention",
    "fit_deep_cca",
    "fit_distillation",
    "fit_early_fusion",
    "fit_info_nce",
    "fit_info_nce_product",
    "fit_intermediate_fusion",
    "fit_late_fusion",
    "fit_shared_latent",
    "fit_supervised_hashing",
    "fit_triplet",
    "fit_unsupervised_hashing",
    "fitted_models",
    "gaussian_code_point",
    "gaussian_code_points",
    "group_words",
    "hashing_system",
    "info_nce_loss",
    "information_bounds",
    "item_pairs",
    "learned_decoder",
    "letter_table",
    "log_overlap",
    "long_hyperplane_hash",
    "long_product_quantizer",
    "neural_item_code",
    "operating_point",
    "pair_ranks",
    "product_codes",
    "product_of_experts",
    "quantize_embeddings",
    "quantized_system",
    "quantized_systems",
    "recalls",
    "reciprocal_ranks",
    "reverse_gradient",
    "rotated_hash",
    "shared_space",
    "sign_code",
    "split_pairs",
    "total_correlation",
    "train",
    "triplet_loss",
    "whole_source",
    "whole_table",
    "with_hamming",
]
