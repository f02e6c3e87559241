"""Names as queries for pictures of emoji that the encoders never saw, beside the converse and predictions of them."""

import dataclasses
import functools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import xarray
from flax import nnx
from jaxtyping import Array, Float, Key

from experiments.runner import Check, Checkpoint, without_checkpoint
from experiments.shared import embedding_checks, pictures, predictions
from experiments.shared.ngrams import hashed_ngrams
from rdsim.learning import Schedule, train
from rdsim.learning.training.batches import RowBatch

CLAIMS = ("C1", "C4", "C27", "C29")
PRESETS = ("full",)
"""It takes minutes, and needs a font that not every machine has."""


@dataclass(frozen=True)
class Config:
    """What is computed."""

    bits: tuple[int, ...] = (2, 4, 8, 16, 32, 64)
    """Bits stored a picture."""
    pixels: int = 32
    """Side of a picture, a multiple of 32."""
    features: int = 2048
    """Hashed n-grams of a name."""
    dimension: int = 64
    """Coordinates of an embedding."""
    encoder_share: float = 0.5
    """Fraction of the emoji that the encoders are trained on; they never see the rest."""
    encoder_steps: int = 1000
    """Steps of the encoders' training."""
    batch: int = 128
    """Pairs of a step."""
    learned: tuple[int, ...] = ()
    """Bits of the learned code, trained on half of the emoji new to the encoders."""


SMOKE = Config(bits=(2, 16), features=128, dimension=8, encoder_steps=4)
QUICK = Config(encoder_steps=300)
FULL = Config(learned=(2, 8, 32))


class Encoders(nnx.Module):
    """A small convolutional encoder of pictures and a linear one of n-grams, into one sphere."""

    def __init__(self, features: int, dimension: int, rngs: nnx.Rngs) -> None:
        """Make three convolutions, sixteen times smaller maps at the end, and a map from n-grams."""
        shapes = ((3, 16, 5, 4), (16, 32, 3, 2), (32, 64, 3, 2))
        self.convolutions = nnx.List(
            nnx.Conv(inner, outer, kernel_size=(size, size), strides=stride, rngs=rngs)
            for inner, outer, size, stride in shapes
        )
        self.picture_out = nnx.Linear(4 * shapes[-1][1], dimension, rngs=rngs)
        self.name_out = nnx.Linear(features, dimension, rngs=rngs)
        self.log_scale = nnx.Param(jnp.full((), math.log(4.0), jnp.float32))

    def pictures(self, points: Array) -> Array:
        """Embed pictures (N, pixels, pixels, 3) with entries in [-1, 1]."""
        maps = jnp.asarray(points, jnp.float32)
        for convolution in self.convolutions:
            maps = jax.nn.gelu(convolution(maps))
        # Means over the four quarters keep coarse positions.
        side = maps.shape[1] // 2
        parts = maps.reshape(len(maps), 2, side, 2, side, -1).mean(axis=(2, 4))
        return _unit(self.picture_out(parts.reshape(len(maps), -1)))

    def names(self, rows: Array) -> Array:
        """Embed hashed n-grams (N, features)."""
        return _unit(self.name_out(jnp.asarray(rows, jnp.float32)))


def _unit(points: Array) -> Array:
    return points / jnp.sqrt(jnp.sum(points**2, axis=-1, keepdims=True) + 1e-12)


@dataclasses.dataclass(frozen=True, kw_only=True)
class EncoderLearner:
    """Trains both encoders to tell pairs from mismatches, in both directions; a `Learner`.

    Attributes:
        features: hashed bins of a name.
        dimension: coordinates of an embedding.
        dropped: fraction of the n-grams hidden in each step.
        shifted: largest shift of the pictures of a step, pixels.

    """

    features: int
    dimension: int
    dropped: float = 0.5
    shifted: int = 2

    def build(self, rngs: nnx.Rngs) -> Encoders:
        """Make the encoders."""
        return Encoders(self.features, self.dimension, rngs)

    def loss(
        self, model: Any, batch: Any, key: Key[Array, ""], setting: Any, progress: Array
    ) -> tuple[Float[Array, ""], Mapping[str, Float[Array, ""]]]:
        """Mean of the contrastive losses of both directions, nats."""
        del setting
        rows, points = batch
        training = progress < 1
        hide, move = jax.random.split(key)
        noise = jax.random.uniform(hide, (rows.shape[0], rows.shape[1] + 4), jnp.float32)
        rows = jnp.where(training & (noise[:, 4:] < self.dropped), 0.0, rows)
        steps = jax.random.bits(move, (2,), jnp.uint32) % (2 * self.shifted + 1)
        shift = jnp.where(training, steps.astype(jnp.int32) - self.shifted, 0)
        points = jnp.roll(points, shift, axis=(1, 2))
        # Colours fade by up to a half, each picture and channel by itself; half are mirrored.
        faded = 1 - 0.5 * training * noise[:, None, None, :3]
        mirrored = training & (noise[:, 3, None, None, None] < 0.5)
        points = 1 - faded * (1 - jnp.where(mirrored, points[:, :, ::-1], points))
        scores = jnp.exp(model.log_scale[...]) * model.names(rows) @ model.pictures(points).T
        own = jnp.diagonal(scores)
        both = sum(jax.nn.logsumexp(scores, axis=axis) - own for axis in (0, 1))
        return 0.5 * jnp.mean(both), {}


def run(
    config: Config, key: jax.Array, checkpoint: Checkpoint = without_checkpoint
) -> xarray.Dataset:
    """Train the encoders on one part of the emoji and measure every system on the others."""
    font = pictures.find_font()
    learn, measure = jax.random.split(key)
    new = checkpoint("encoders", functools.partial(_embedded, font=font), config, learn)
    report = embedding_checks.measured(
        measure,
        new["names"],
        new["pictures"],
        config.bits,
        learned=config.learned,
        held_out=0.5,
        checkpoint=checkpoint,
    )
    return report.assign(
        encoder_pairs=((), new["encoder_pairs"], {"units": "pairs"}),
        held_out_loss=("check", new["held_out_loss"], {"units": "nats"}),
    )


def _embedded(config: Config, key: jax.Array, *, font: Path) -> dict[str, Any]:
    """Embeddings of names and pictures that no encoder was trained on."""
    shown, names = pictures.emoji(font, config.pixels)
    split, learn = jax.random.split(key)
    order = np.asarray(jax.random.permutation(split, len(names)))
    points = (shown[order] / 127.5 - 1).astype(np.float32)
    rows = hashed_ngrams(np.array(names)[order], config.features)
    seen = round(config.encoder_share * len(order))
    held_out = seen // 8
    model, losses = encoders(
        learn,
        config,
        (rows[held_out:seen], points[held_out:seen]),
        (rows[:held_out], points[:held_out]),
    )
    return {
        "names": np.asarray(model.names(jnp.asarray(rows[seen:])), float),
        "pictures": np.asarray(model.pictures(jnp.asarray(points[seen:])), float),
        "encoder_pairs": np.array(seen - held_out),
        "held_out_loss": losses,
    }


def encoders(
    key: jax.Array, config: Config, data: Any, held_out: Any
) -> tuple[Encoders, np.ndarray]:
    """Train the encoders on pairs (rows of n-grams, pictures); return them and the held-out losses."""
    trained = train(
        key,
        EncoderLearner(features=config.features, dimension=config.dimension),
        RowBatch(min(config.batch, len(data[0]))),
        tuple(map(jnp.asarray, data)),
        tuple(map(jnp.asarray, held_out)),
        jnp.zeros(1),
        schedule=Schedule(
            steps=config.encoder_steps,
            learning_rate=1e-3,
            weight_decay=0.3,
            evaluate_every=max(1, config.encoder_steps // 10),
        ),
    )
    return trained.model(0), trained.held_out[0]


def checks(dataset: xarray.Dataset) -> list[Check]:
    """Check that no system beats the converse, or that at the entropy of what it stores, and what was predicted."""
    return embedding_checks.checks(dataset) + predictions.checks(dataset)
