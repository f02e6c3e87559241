"""Families of learned cross-modal codes from the literature, fitted to a source or to arrays.

`fit_family` fits any of `FAMILIES`, or one of your own; `catalogue` says how to write one.
"""

from rdsim.learning.families.adversarial import AdversarialFamily
from rdsim.learning.families.beyond_pairs import UnpairedFamily
from rdsim.learning.families.canonical_correlations import (
    canonical_correlation_analysis,
)
from rdsim.learning.families.catalogue import FAMILIES, fit_family
from rdsim.learning.families.cca import CCAFamily
from rdsim.learning.families.dual_encoder import (
    ContrastiveLearner,
    DualEncoder,
    DualEncoderFamily,
    info_nce_loss,
    triplet_loss,
)
from rdsim.learning.families.hashing import HashingFamily, with_hamming
from rdsim.learning.families.pairs import ItemPairs, array_pairs, fitted_models, item_pairs
from rdsim.learning.families.rankers import RegionAttentionFamily
from rdsim.learning.families.stored.embedded_codes import embedded_code
from rdsim.learning.families.stored_embeddings import (
    quantized_system,
    stored_systems,
)
from rdsim.learning.families.variants import GapFamily, RobustFamily

__all__ = [
    "FAMILIES",
    "AdversarialFamily",
    "CCAFamily",
    "ContrastiveLearner",
    "DualEncoder",
    "DualEncoderFamily",
    "GapFamily",
    "HashingFamily",
    "ItemPairs",
    "RegionAttentionFamily",
    "RobustFamily",
    "UnpairedFamily",
    "array_pairs",
    "canonical_correlation_analysis",
    "embedded_code",
    "fit_family",
    "fitted_models",
    "info_nce_loss",
    "item_pairs",
    "quantized_system",
    "stored_systems",
    "triplet_loss",
    "with_hamming",
]
