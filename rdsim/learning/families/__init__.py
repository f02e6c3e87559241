"""Families of learned cross-modal codes from the literature, fitted to a known mixture."""

from rdsim.learning.families.adversarial import (
    AdversarialLearner,
    AlignedEncoder,
    fit_adversarial,
    reverse_gradient,
)
from rdsim.learning.families.cca import (
    CanonicalCorrelations,
    canonical_correlation_analysis,
    canonical_systems,
    fit_cca,
)
from rdsim.learning.families.cross_attention import (
    CrossAttention,
    CrossAttentionLearner,
    fit_cross_attention,
)
from rdsim.learning.families.deep_cca import DeepCCALearner, fit_deep_cca, total_correlation
from rdsim.learning.families.distillation import (
    DistillationLearner,
    distillation_loss,
    fit_distillation,
)
from rdsim.learning.families.dual_encoder import (
    DualEncoder,
    InfoNCELearner,
    TripletLearner,
    fit_info_nce,
    fit_info_nce_product,
    fit_triplet,
    info_nce_loss,
    triplet_loss,
)
from rdsim.learning.families.embedded import EmbeddedCode, embedded_code
from rdsim.learning.families.fusion import (
    FusedEncoder,
    FusionLearner,
    fit_early_fusion,
    fit_intermediate_fusion,
    fit_late_fusion,
)
from rdsim.learning.families.hashing import (
    HashLearner,
    fit_supervised_hashing,
    fit_unsupervised_hashing,
    hashing_system,
    sign_code,
    with_hamming,
)
from rdsim.learning.families.pairs import ItemPairs, draw_batch, fitted_models, item_pairs
from rdsim.learning.families.quantized_embedding import (
    quantize_embeddings,
    quantized_system,
    quantized_systems,
)
from rdsim.learning.families.shared_latent import (
    SharedLatent,
    SharedLatentLearner,
    fit_shared_latent,
    log_overlap,
    product_of_experts,
)

__all__ = [
    "AdversarialLearner",
    "AlignedEncoder",
    "CanonicalCorrelations",
    "CrossAttention",
    "CrossAttentionLearner",
    "DeepCCALearner",
    "DistillationLearner",
    "DualEncoder",
    "EmbeddedCode",
    "FusedEncoder",
    "FusionLearner",
    "HashLearner",
    "InfoNCELearner",
    "ItemPairs",
    "SharedLatent",
    "SharedLatentLearner",
    "TripletLearner",
    "canonical_correlation_analysis",
    "canonical_systems",
    "distillation_loss",
    "draw_batch",
    "embedded_code",
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
    "hashing_system",
    "info_nce_loss",
    "item_pairs",
    "log_overlap",
    "product_of_experts",
    "quantize_embeddings",
    "quantized_system",
    "quantized_systems",
    "reverse_gradient",
    "sign_code",
    "total_correlation",
    "triplet_loss",
    "with_hamming",
]
