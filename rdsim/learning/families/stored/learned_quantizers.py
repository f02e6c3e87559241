r"""Quantizers trained together with the encoders: residual quantization, and finite scalar quantization.

Queries are compared with what is read back of an item, $s(x, y) = \langle f(x), v \rangle / \tau$, in training as
in use, so that the codewords lie where they tell items apart. With an item's network g,

$$v = \sum_{s=1}^{S} c_{s, j_s}, \quad j_s = \arg\min_j \Bigl| g(y) - \sum_{t<s} c_{t, j_t} - c_{sj} \Bigr|^2
    \ \text{(residual)}, \qquad
  v_i = \mathrm{round}_W(\tanh g_i(y)), \ i \le S \ \text{(finite scalar)},$$

$\mathrm{round}_W$ to the nearest of W equal steps in [-1, 1]. Gradients pass straight through: of a residual
stage through the mean of its codewords with softmax weights of minus the distances, which moves all
codewords and lets none die; of a rounding as if it were not there.
"""

import dataclasses
import math
from collections.abc import Callable
from typing import Any, Final

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, Int, Key

from rdsim import validation
from rdsim.codes.quantizers.vector import VectorQuantizer
from rdsim.learning.families.dual_encoder import DualEncoder, info_nce_loss
from rdsim.learning.families.pairs import ItemPairs, System, fitted_models
from rdsim.learning.families.stored.embedded_codes import Chain, embedded_code, embeddings_of
from rdsim.learning.families.stored.long_codes import MOST_LISTED_BITS, LongCode
from rdsim.learning.families.stored_embeddings import Comparison
from rdsim.learning.training.learner import LossAndRecord
from rdsim.learning.training.schedule import Schedule
from rdsim.number_types import ArrayLike
from rdsim.simulation.coded_items import Decoder
from rdsim.transformations import with_derivatives_of

KINDS: Final = ("residual", "finite scalar")
_STAGE_BITS: Final = {"residual": 6, "finite scalar": 2}
"""Most bits of a stage: 64 codewords, or 4 steps of a coordinate."""
_SHARPNESS: Final = 8.0
"""Inverse temperature of the softmax weights of a residual stage, relative to the batch's mean squared distance."""


class QuantizedEncoder(DualEncoder):
    """A dual encoder whose items are read back from S stages of W levels.

    Attributes:
        codebooks: of the stages, shape (S, W, e), or None for finite scalar quantization, whose e = S.
        levels: W.

    """

    def __init__(
        self,
        *,
        kind: str,
        stages: int,
        levels: int,
        dimension: int = 8,
        rngs: nnx.Rngs,
        **sizes: Any,
    ) -> None:
        """Make networks and codebooks.

        Args:
            kind: "residual" or "finite scalar".
            stages: S.
            levels: W.
            dimension: e of the embeddings of residual quantization.
            rngs: of the first parameters.
            **sizes: the others of a `DualEncoder`.

        """
        self.levels = levels
        residual = kind == "residual"
        super().__init__(
            dimension=dimension if residual else stages,
            unit=False,
            temperature=1.0 if residual else math.sqrt(stages),
            rngs=rngs,
            **sizes,
        )
        shape = (stages, levels, dimension)
        # Later stages refine: their codewords start smaller than those before.
        scales = 0.5 * 0.8 ** jnp.arange(stages, dtype=jnp.float32)[:, None, None]
        self.codebooks = (
            nnx.Param(jax.random.normal(rngs.params(), shape, jnp.float32) * scales)
            if residual
            else None
        )

    def read_back(self, embeddings: Float[Array, "n e"], stages: Any) -> Float[Array, "n e"]:
        """Decode embeddings stored by the first stages, with straight-through gradients."""
        if self.codebooks is None:
            used = jnp.arange(embeddings.shape[-1]) < stages
            bounded = jnp.tanh(embeddings)
            steps = self.levels - 1
            rounded = 2 * jnp.round((bounded + 1) / 2 * steps) / steps - 1
            return jnp.where(used, with_derivatives_of(rounded, bounded), 0.0)
        books = self.codebooks[...]
        keep = (jnp.arange(books.shape[0]) < stages).astype(books.dtype)

        def stage(read: Array, one: tuple[Array, Array]) -> tuple[Array, None]:
            book, used = one
            # By products of matrices: a table of all differences (n, W, e), and its derivative, took twice as long for a whole step.
            left = embeddings - read
            distance = jnp.sum(left**2, axis=-1, keepdims=True) + jnp.sum(book**2, axis=-1)
            distance -= 2 * left @ book.T
            scale = _SHARPNESS / jax.lax.stop_gradient(jnp.mean(distance))
            soft = jax.nn.softmax(-scale * distance, axis=-1) @ book
            hard = book[jnp.argmin(distance, axis=-1)]
            return read + used * with_derivatives_of(hard, soft), None

        return jax.lax.scan(stage, jnp.zeros_like(embeddings), (books, keep))[0]


@dataclasses.dataclass(frozen=True, kw_only=True)
class QuantizedLearner:
    """Train a `QuantizedEncoder` by InfoNCE of what is stored; a run's setting is its stages.

    Attributes:
        build: makes the encoder.
        commitment: weight of the squared distance between embeddings and what is read back.

    References:
        Lee et al. (2022), "Autoregressive image generation using residual quantization", CVPR, and
        van den Oord, Vinyals and Kavukcuoglu (2017), NIPS, for the commitment; Mentzer et al.
        (2024), "Finite scalar quantization", ICLR; Chen, Li and Sun (2020), "Differentiable product
        quantization", ICML, for the softmax.

    """

    build: Callable[[nnx.Rngs], Any]
    commitment: float = 0.1

    def loss(
        self, model: Any, batch: Any, _: Key[Array, ""], setting: Any, *__: Any
    ) -> LossAndRecord:
        """Loss of a batch (queries, items, ...); records the squared error of what is read back."""
        embeddings = model.embed_items(batch[1])
        read = model.read_back(embeddings, setting)
        scores = model.embed_queries(batch[0]) @ read.T / jnp.exp(model.log_temperature[...])
        error = jnp.mean(jnp.sum((embeddings - read) ** 2, axis=1))
        if model.codebooks is None:
            return info_nce_loss(scores), {"error": error}
        return info_nce_loss(scores) + self.commitment * error, {"error": error}


@dataclasses.dataclass(frozen=True)
class StageDigits:
    """Digits of a residual quantizer (codebooks (S, W, e)), or of a finite scalar one (None).

    Attributes:
        codebooks: of the stages in use.
        stages: S.
        levels: W.

    """

    codebooks: Any
    stages: int
    levels: int

    def digits(self, embeddings: Float[np.ndarray, "n e"]) -> Int[np.ndarray, "n s"]:
        """Nearest codeword of each residual, or nearest step of each coordinate."""
        if self.codebooks is None:
            steps = self.levels - 1
            return np.rint((np.tanh(embeddings[:, : self.stages]) + 1) / 2 * steps).astype(np.int16)
        left, found = embeddings, []
        for book in self.codebooks:
            square = (book**2).sum(axis=1) - 2 * left @ book.T
            found.append(square.argmin(axis=1))
            left = left - book[found[-1]]
        return np.stack(found, axis=1)

    def points(self, digits: Int[np.ndarray, "m s"]) -> Float[np.ndarray, "m e"]:
        """Decode stored embeddings."""
        if self.codebooks is None:
            return 2.0 * digits / (self.levels - 1) - 1.0
        return np.asarray(sum(book[digits[:, s]] for s, book in enumerate(self.codebooks)))


@dataclasses.dataclass(frozen=True, kw_only=True)
class QuantizedFamily:
    """Train encoders and quantizer together, for all numbers of bits side by side.

    Attributes:
        kind: "residual" or "finite scalar".

    """

    kind: str

    def __post_init__(self) -> None:
        validation.choice("kind", self.kind, KINDS)

    def __call__(
        self, keys: Key[Array, " 3"], data: ItemPairs, bits: tuple[int, ...], schedule: Schedule
    ) -> list[System]:
        """Fit the systems, one for each number of bits."""
        common = math.gcd(*bits)
        most = _STAGE_BITS[self.kind]
        stage_bits = max(b for b in range(1, most + 1) if common % b == 0)
        learner = QuantizedLearner(
            build=data.encoders(
                QuantizedEncoder,
                kind=self.kind,
                stages=max(bits) // stage_bits,
                levels=2**stage_bits,
            )
        )
        stages = tuple(b // stage_bits for b in bits)
        models = fitted_models(keys[0], learner, data, schedule, settings=stages)
        items = data.sample[1]
        return [self._system(model, items, s) for model, s in zip(models, stages, strict=True)]

    def _system(self, model: QuantizedEncoder, items: ArrayLike, stages: int) -> System:
        (to_items, parameters), (to_queries, _) = embeddings_of(model)
        books = model.codebooks
        used = None if books is None else np.asarray(books[...], float)[:stages]
        digits = StageDigits(used, stages, model.levels)
        outputs = int(model.item_network.layers[-1].out_features)
        scores = Comparison(to_queries)
        if stages * math.log2(model.levels) > MOST_LISTED_BITS:
            long = LongCode(embed=to_items, parameters=parameters, digits=digits, width=outputs)
            return long, Decoder(scores, (parameters,))
        # Few codewords are listed, and the nearest of all is stored, not that found stage by stage.
        rows = np.indices((model.levels,) * stages).reshape(stages, -1).T
        points = digits.points(rows)
        codewords = np.pad(points, ((0, 0), (0, outputs - points.shape[1])))
        stored: tuple[Callable[[Any, Array], Array], Any] = to_items, parameters
        if books is None:
            stored = Chain(to_items, bounded), (parameters, jnp.asarray(stages))
        inner = VectorQuantizer(
            codewords=jnp.asarray(codewords),
            offsets=jnp.zeros(len(codewords)),
            masses=jnp.full(len(codewords), 1.0 / len(codewords)),
            distortion=jnp.zeros(()),
            converged=jnp.ones((), bool),
            iterations=jnp.zeros((), int),
        )
        code = embedded_code(*stored, inner, items)
        return code, Decoder(scores, (parameters, inner.codewords))


def bounded(stages: Int[Array, ""], embeddings: Float[Array, "n e"]) -> Float[Array, "n e"]:
    """Embeddings through a tanh, zero beyond the stages in use: nearest codewords are roundings."""
    used = jnp.arange(embeddings.shape[-1]) < stages
    return jnp.where(used, jnp.tanh(embeddings), 0.0)
