"""The families by name, and the one function that fits any of them to a source or to arrays.

A family is a function (keys, data, bits, schedule) -> systems: it trains on `ItemPairs` and returns a
code and its decoder for each number of bits. One of your own, in one file, is used the same way:

    def my_family(keys, data, bits, schedule):
        learner = ContrastiveLearner(build=architecture(MyModule, size=data.item_size))
        (model,) = fitted_models(keys[0], learner, data, schedule)
        return stored_systems(keys[1], model, data.sample[1], bits)

    fit_family(key, my_family, source, bits=(2, 4), schedule=Schedule(), training=1024)

The families with options of their own are frozen dataclasses: `AdversarialFamily(strength=2.0)`.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final

import jax
from jaxtyping import Array, Key

from rdsim import validation
from rdsim.codes.item_code import item_code
from rdsim.compilation import QUICKLY
from rdsim.learning.families.adversarial import AdversarialFamily
from rdsim.learning.families.beyond_pairs import UnpairedFamily, graph_family
from rdsim.learning.families.cca import CCAFamily
from rdsim.learning.families.deep_cca import deep_cca_family
from rdsim.learning.families.dual_encoder import DualEncoderFamily, triplet_encoder
from rdsim.learning.families.fusion import early_fusion, intermediate_fusion, late_fusion
from rdsim.learning.families.hashing import HashingFamily
from rdsim.learning.families.pairs import ItemPairs, Source, System, item_pairs
from rdsim.learning.families.rankers import (
    RankFusionFamily,
    RegionAttentionFamily,
    generation_learner,
    hyperplane_family,
    kernel_cca_family,
    metric_family,
)
from rdsim.learning.families.reranking import cross_attention_learner, distilled_family
from rdsim.learning.families.shared_latent import shared_latent_family
from rdsim.learning.families.stored import LongCode
from rdsim.learning.families.stored.learned_quantizers import QuantizedFamily
from rdsim.learning.families.stored_embeddings import StoredFamily
from rdsim.learning.families.variants import GapFamily, RobustFamily, multi_task_encoder
from rdsim.learning.training.schedule import Schedule, checked_schedule
from rdsim.number_types import Integer
from rdsim.simulation.coded_items import Decoder
from rdsim.sources import GaussianSource
from rdsim.sources.mixture import GaussianMixtureSource
from rdsim.transformations import on_host

Family = Callable[[Key[Array, " 3"], ItemPairs, tuple[int, ...], Schedule], list[System]]

_MOST_BITS: Final = 1024

FAMILIES: Final[dict[str, Family]] = {
    "InfoNCE, k-means": DualEncoderFamily(),
    "InfoNCE, product": DualEncoderFamily(quantizer="product"),
    "triplet, k-means": DualEncoderFamily(learner=triplet_encoder),
    "CCA": CCAFamily(),
    "deep CCA": deep_cca_family,
    "random hyperplanes": hyperplane_family,
    "hashing, pairs": HashingFamily(by="pairs"),
    "hashing, classes": HashingFamily(by="classes"),
    "hashing, semi-supervised": HashingFamily(by="both"),
    "shared latent": shared_latent_family,
    "adversarial": AdversarialFamily(),
    "cross-attention": StoredFamily(learner=cross_attention_learner),
    "distilled": distilled_family,
    "early fusion": StoredFamily(learner=early_fusion),
    "intermediate fusion": StoredFamily(learner=intermediate_fusion),
    "late fusion": StoredFamily(learner=late_fusion),
    "reciprocal rank fusion": RankFusionFamily(rule="reciprocal ranks"),
    "Borda fusion": RankFusionFamily(rule="Borda"),
    "hybrid fusion": RankFusionFamily(rule="hybrid"),
    "metric": metric_family,
    "kernel CCA": kernel_cca_family,
    "residual quantization": QuantizedFamily(kind="residual"),
    "finite scalar quantization": QuantizedFamily(kind="finite scalar"),
    "generation": StoredFamily(learner=generation_learner),
    "graph network": graph_family,
    "unpaired translation": UnpairedFamily(),
    "region attention": RegionAttentionFamily(),
    "multi-task": DualEncoderFamily(learner=multi_task_encoder),
    "symmetric loss": RobustFamily(rule="symmetric"),
    "soft margin": RobustFamily(rule="soft margin"),
    "co-dividing": RobustFamily(rule="co-dividing"),
    "padding": GapFamily(reading="padding", gaps=True),
    "prediction": GapFamily(reading="prediction"),
    "experts": GapFamily(reading="experts", gaps=True),
}
"""Each family of the literature, as it is compared in the study `learned_families`."""


@on_host
def fit_family(
    key: Key[Array, ""],
    family: str | Family,
    source: Source | ItemPairs,
    *,
    bits: Sequence[Integer],
    schedule: Schedule | None = None,
    training: Integer = 1024,
) -> list[System]:
    """Draw pairs of a source, train a family on them, and store items at each number of bits.

    Args:
        key: PRNG key of the pairs, the training and the quantizers.
        family: a name of `FAMILIES`, or a family itself.
        source: distribution of items, queries and classes, a Gaussian mixture or Gaussian pairs of any
            dimension; or pairs of your own, from `array_pairs`.
        bits: of an item, 1 to 1024, one system each.
        schedule: how to train.
        training: number of training pairs drawn from a source, at least 2.

    Returns:
        A code and its decoder for each number of bits: for `operating_point` on a mixture in the plane
        and up to 12 bits, for `held_out_point` in every case.

    Raises:
        ValueError: also if a family of one's own does not return a system for each number of bits.
        TypeError: also if it returns what is no code with a decoder.

    """
    validation.prng_key("key", key)
    if isinstance(family, str):
        family = FAMILIES[validation.choice("family", family, FAMILIES)]
    validation.function("family", family)
    validation.instance("source", source, GaussianMixtureSource, GaussianSource, ItemPairs)
    plan = checked_schedule(Schedule() if schedule is None else schedule)
    number = validation.integer("training", training, low=2)
    counts = validation.integers("bits", bits, low=1, high=_MOST_BITS)
    pairs_key, keys = _keys(key)
    data = source if isinstance(source, ItemPairs) else item_pairs(pairs_key, source, number)
    return _checked_systems(family(keys, data, counts, plan), data, len(counts))


@partial(jax.jit, compiler_options=QUICKLY)
def _keys(key: Key[Array, ""]) -> tuple[Key[Array, ""], Key[Array, " 3"]]:
    """Keys of the pairs and of a family."""
    keys = jax.random.split(key, 4)
    return keys[0], keys[1:]


def _checked_systems(found: Any, data: ItemPairs, number: int) -> list[System]:
    """What a family returned, which must be as many systems, whose scores of a query fit the codewords."""
    if not isinstance(found, list | tuple) or len(found) != number:
        got = f"{len(found)}" if isinstance(found, list | tuple) else f"{type(found)}"
        raise ValueError(
            f"family must return a list of {number} systems, one for each number of bits, got {got}"
        )
    query = jax.ShapeDtypeStruct(data.sample[0].shape[1:], data.sample[0].dtype)
    for system in found:
        code, decoder = validation.pair("family: system", system)
        validation.instance("family: decoder", decoder, Decoder)
        if isinstance(code, LongCode):
            continue
        item_code("family: code", code)
        try:
            shape = jax.eval_shape(decoder.scores, decoder.parameters, query).shape
        except (TypeError, ValueError) as error:
            raise ValueError(
                f"family: decoder must score codewords for queries of shape {query.shape}: {error}"
            ) from error
        if shape != code.codewords.shape[:1]:
            raise ValueError(
                f"family: decoder must give a score to each of {len(code.codewords)} codewords, got shape {shape}"
            )
    return list(found)
