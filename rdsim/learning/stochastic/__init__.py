"""The neural stochastic code and its objectives, and its exact rate and loss on known sources."""

from rdsim.learning.stochastic.bottleneck_objective import (
    Pairs,
    StochasticCodeLearner,
)
from rdsim.learning.stochastic.gaussian import (
    gaussian_code_points,
)
from rdsim.learning.stochastic.items import NeuralItemCode, learned_decoder, neural_item_code
from rdsim.learning.stochastic.letters import (
    LetterBatch,
    discrete_code,
    exact_point,
    letter_table,
)
from rdsim.learning.stochastic.neural_code import NeuralCode
from rdsim.learning.stochastic.retrieval_objective import RetrievalCodeLearner

__all__ = [
    "LetterBatch",
    "NeuralCode",
    "NeuralItemCode",
    "Pairs",
    "RetrievalCodeLearner",
    "StochasticCodeLearner",
    "discrete_code",
    "exact_point",
    "gaussian_code_points",
    "learned_decoder",
    "letter_table",
    "neural_item_code",
]
