"""Learned systems measured against the limit: modules of flax.nnx, one training loop, exact points.

Learning runs in float32; what is reported of a learned system is computed in float64 from its exact
discrete code. Before anything is drawn or compiled, a number out of range or a wrong shape is refused by
a ValueError, a key, schedule, model or source of another type by a TypeError, each naming the argument;
exact points need float64 and raise a RuntimeError without it. It needs flax, optax and orbax: `pip install "rdsim[learning]"`.
"""

try:
    import flax  # noqa: F401
    import optax  # noqa: F401
    import orbax.checkpoint  # noqa: F401
except ModuleNotFoundError as error:
    raise ImportError(
        f'rdsim.learning needs {error.name}: pip install "rdsim[learning]"', name=error.name
    ) from error

from rdsim.learning.families import (
    FAMILIES,
    AdversarialFamily,
    CanonicalCorrelations,
    ContrastiveLearner,
    DualEncoder,
    DualEncoderFamily,
    EmbeddedCode,
    GapFamily,
    HashingFamily,
    ItemPairs,
    QuantizedFamily,
    RankFusionFamily,
    RegionAttentionFamily,
    RobustFamily,
    UnpairedFamily,
    array_pairs,
    canonical_correlation_analysis,
    distillation_loss,
    embedded_code,
    fit_family,
    fitted_models,
    info_nce_loss,
    item_pairs,
    log_overlap,
    product_of_experts,
    quantized_system,
    quantized_systems,
    stored_systems,
    total_correlation,
    triplet_loss,
    with_hamming,
)
from rdsim.learning.held_out_points import HeldOutPoint, held_out_point
from rdsim.learning.operating_points import OperatingPoint, operating_point
from rdsim.learning.product_code import ProductCode, product_codes
from rdsim.learning.stacking import StackedCode, stacked_systems
from rdsim.learning.stochastic import (
    DiscreteCode,
    GaussianCodePoint,
    LetterBatch,
    NeuralCode,
    NeuralItemCode,
    Pairs,
    RetrievalCodeLearner,
    StochasticCodeLearner,
    discrete_code,
    exact_point,
    gaussian_code_point,
    gaussian_code_points,
    information_bounds,
    learned_decoder,
    letter_table,
    neural_item_code,
    whole_source,
    whole_table,
)
from rdsim.learning.streaming import streamed_codes
from rdsim.learning.training import (
    MLP,
    ConvNet,
    Learner,
    Recurrent,
    Schedule,
    Trained,
    TrainingDivergedError,
    Transformer,
    architecture,
    train,
)

__all__ = [
    "FAMILIES",
    "MLP",
    "AdversarialFamily",
    "CanonicalCorrelations",
    "ContrastiveLearner",
    "ConvNet",
    "DiscreteCode",
    "DualEncoder",
    "DualEncoderFamily",
    "EmbeddedCode",
    "GapFamily",
    "GaussianCodePoint",
    "HashingFamily",
    "HeldOutPoint",
    "ItemPairs",
    "Learner",
    "LetterBatch",
    "NeuralCode",
    "NeuralItemCode",
    "OperatingPoint",
    "Pairs",
    "ProductCode",
    "QuantizedFamily",
    "RankFusionFamily",
    "Recurrent",
    "RegionAttentionFamily",
    "RetrievalCodeLearner",
    "RobustFamily",
    "Schedule",
    "StackedCode",
    "StochasticCodeLearner",
    "Trained",
    "TrainingDivergedError",
    "Transformer",
    "UnpairedFamily",
    "architecture",
    "array_pairs",
    "canonical_correlation_analysis",
    "discrete_code",
    "distillation_loss",
    "embedded_code",
    "exact_point",
    "fit_family",
    "fitted_models",
    "gaussian_code_point",
    "gaussian_code_points",
    "held_out_point",
    "info_nce_loss",
    "information_bounds",
    "item_pairs",
    "learned_decoder",
    "letter_table",
    "log_overlap",
    "neural_item_code",
    "operating_point",
    "product_codes",
    "product_of_experts",
    "quantized_system",
    "quantized_systems",
    "stacked_systems",
    "stored_systems",
    "streamed_codes",
    "total_correlation",
    "train",
    "triplet_loss",
    "whole_source",
    "whole_table",
    "with_hamming",
]
