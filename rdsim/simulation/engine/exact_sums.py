r"""Exact sums of what trials return, the same in every order of addition.

An event adds an integer. A loss in [low, high] becomes the integer nearest to
$2^{50} (x - low)/(high - low)$, at most $2^{-50}$ (high - low) from it, rounding of float64 included;
that number and its square are then added as integers, the square as $2^{50} a^2 + 2^{26} ab + b^2$
with $q = 2^{25} a + b$. So there is one rounding a trial, and none in any sum.
"""

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any, Final

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, PartitionSpec
from jaxtyping import Array, Float, Int, Key

QUANTISATION: Final = 2.0**-50
"""Largest error of one loss, as a fraction of its declared range."""

MOST_TRIALS: Final = 2**32
"""Most trials of a run: fold_in takes 32-bit numbers. The limbs below would hold 2^31 blocks."""

_BITS: Final = 50
"""Binary digits of a loss as an integer q."""
_HALF: Final = 25
"""Binary digits of the halves a and b of q, whose products fit 64 bits."""
_LIMB: Final = 32
"""Binary digits of the lower limb of a sum over a block, so that limbs of 2^31 blocks fit 64 bits."""
_AXIS: Final = "trials"
_LOSS_COLUMNS: Final = 5
"""Integers of a loss: q, a a, a b, b b, and whether it lies outside the range."""


@dataclasses.dataclass(frozen=True)
class Outcome:
    """One leaf of what a trial returns.

    Attributes:
        name: where it stands in the PyTree, such as "error" or "loss.reciprocal_rank".
        shape: of one trial's value.
        is_event: whether it is a bool; otherwise a loss.
        low: least loss.
        high: largest loss.

    """

    name: str
    shape: tuple[int, ...]
    is_event: bool
    low: float = 0.0
    high: float = 1.0

    @property
    def columns(self) -> int:
        """Number of integers added for it."""
        return int(np.prod(self.shape, dtype=int)) * (1 if self.is_event else _LOSS_COLUMNS)

    def integers(self, values: Array) -> Int[Array, "trials columns"]:
        """Integers to add, one row a trial."""
        rows = values.reshape(values.shape[0], -1)
        if self.is_event:
            return rows.astype(jnp.int64)
        wide = rows.astype(jnp.float64)
        inside = (wide >= self.low) & (wide <= self.high)  # false for NaN
        fraction = (jnp.where(inside, wide, self.low) - self.low) / (self.high - self.low)
        # Sums of integers are exact in any order, so that devices and chunks change no digit of a mean. The square
        # q q = a a 2^50 + a b 2^26 + b b is added in three parts, for it does not fit 64 bits.
        q = jnp.round(jnp.clip(fraction, 0.0, 1.0) * 2.0**_BITS).astype(jnp.int64)
        a, b = q >> _HALF, q & (2**_HALF - 1)
        return jnp.concatenate([q, a * a, a * b, b * b, ~inside], axis=1)

    def counts(self, totals: np.ndarray) -> np.ndarray:
        """Numbers of trials in which the event happened, shape (settings, *shape)."""
        return totals.astype(np.int64).reshape(-1, *self.shape)

    def outside(self, totals: np.ndarray) -> np.ndarray:
        """Number of losses outside the declared range, NaN among them, for each setting."""
        if self.is_event:
            return np.zeros(totals.shape[0], np.int64)
        return self._split(totals)[-1].astype(np.int64).reshape(totals.shape[0], -1).sum(axis=1)

    def moments(
        self, totals: np.ndarray, trials: np.ndarray
    ) -> tuple[Float[np.ndarray, "..."], Float[np.ndarray, "..."]]:
        """Mean and unbiased variance of the losses rescaled to [0, 1], each rounded once."""
        q, aa, ab, bb, _ = self._split(totals)
        # Exact until the last step: integers of Python have no largest, and sum q^2 - (sum q)^2 / N does not cancel in them.
        count = trials.astype(object).reshape(-1, *(1,) * len(self.shape))
        square = aa * 2 ** (2 * _HALF) + ab * 2 ** (_HALF + 1) + bb
        # Python divides integers of any size with one rounding.
        mean = q / (count * 2**_BITS)
        variance = (count * square - q * q) / (count * (count - 1) * 2 ** (2 * _BITS))
        return mean.astype(float), variance.astype(float)

    def _split(self, totals: np.ndarray) -> list[np.ndarray]:
        parts = np.split(totals, _LOSS_COLUMNS, axis=1)
        return [part.reshape(-1, *self.shape) for part in parts]


@dataclasses.dataclass(frozen=True)
class Layout:
    """The outcome of a trial: the structure of its PyTree and the leaves in order."""

    structure: Any
    outcomes: tuple[Outcome, ...]

    @classmethod
    def of(
        cls,
        trial: Callable[..., Any],
        key: Any,
        arguments: Any,
        bounds: Mapping[str, tuple[float, float]],
    ) -> "Layout":
        """Trace one trial and name its leaves; key and arguments may be shapes alone."""
        leaves, structure = jax.tree_util.tree_flatten_with_path(
            jax.eval_shape(trial, key, arguments)
        )
        if not leaves:
            raise ValueError("trial must return at least one event (bool) or loss (float)")
        outcomes = []
        unused = dict(bounds)
        for path, leaf in leaves:
            name = jax.tree_util.keystr(path, simple=True, separator=".") or "value"
            if leaf.dtype == jnp.bool_:
                outcomes.append(Outcome(name, leaf.shape, is_event=True))
            elif jnp.issubdtype(leaf.dtype, jnp.floating):
                low, high = unused.pop(name, (0.0, 1.0))
                outcomes.append(Outcome(name, leaf.shape, False, low, high))
            else:
                raise TypeError(
                    f"trial must return bools (events) or floats (losses), got {leaf.dtype} "
                    f"for {name}"
                )
        if unused:
            names = [outcome.name for outcome in outcomes if not outcome.is_event]
            raise ValueError(f"bounds names {sorted(unused)}, but the losses are {names}")
        return cls(structure, tuple(outcomes))

    @property
    def columns(self) -> int:
        """Number of integers added a trial."""
        return sum(outcome.columns for outcome in self.outcomes)

    def parts(self, totals: np.ndarray) -> list[np.ndarray]:
        """Columns of each outcome."""
        ends = np.cumsum([outcome.columns for outcome in self.outcomes])[:-1]
        return np.split(totals, ends, axis=1)


def block_sums(
    trial: Callable[..., Any],
    layout: Layout,
    block: int,
    key: Key[Array, ""],
    arguments: Any,
    number: Int[Array, ""],
    first: Int[Array, ""],
    last: Int[Array, ""],
) -> Int[Array, "columns 2"]:
    """Sums over the trials of one block that lie in first..last-1, as upper and lower limbs.

    Trial t is lane t modulo the block, in a program of one shape. Side by side with others in
    another number, a trial's floats may round differently; so they never are.
    """
    numbers = number * block + jnp.arange(block)
    counted = (numbers >= first) & (numbers < last)
    keys = jax.vmap(partial(jax.random.fold_in, key))(numbers.astype(jnp.uint32))
    returned = jax.tree.leaves(jax.vmap(trial, in_axes=(0, None))(keys, arguments))
    rows = [outcome.integers(leaf) for outcome, leaf in zip(layout.outcomes, returned, strict=True)]
    integers = jnp.where(counted[:, None], jnp.concatenate(rows, axis=1), 0)
    # Upper and lower 32 bits are added apart: no sum over 2^31 blocks leaves 64 bits.
    limbs = jnp.stack([integers >> _LIMB, integers & (2**_LIMB - 1)], axis=-1)
    return limbs.sum(axis=0)


# LLVM's second level of optimisation, not XLA's third: to the same digits and as fast, but the third also unrolls whole
# loops over the last axis of a draw, of five to sixteen letters. Then one draw took a second to compile, not a quarter.
@partial(
    jax.jit,
    static_argnames=("trial", "layout", "block", "mesh", "implementation", "fold_setting"),
    compiler_options={"xla_backend_optimization_level": 2},
)
def span_sums(
    key_data: Array,
    arguments: Any,
    active: Int[Array, " settings"],
    active_count: Int[Array, ""],
    first: Int[Array, ""],
    last: Int[Array, ""],
    *,
    trial: Callable[..., Any],
    layout: Layout,
    block: int,
    mesh: Mesh,
    implementation: str,
    fold_setting: bool,
) -> Int[Array, "settings columns 2"]:
    """Sums of every active setting over the trials first..last-1, its blocks shared among the devices.

    The number of blocks is an argument of the compiled loop, not part of it: one program serves
    every chunk, and the loop is never unrolled into code that might round otherwise.
    """

    def one_device(
        key_data: Array,
        arguments: Any,
        active: Array,
        active_count: Array,
        first: Array,
        last: Array,
    ) -> Array:
        key = jax.random.wrap_key_data(key_data, impl=implementation)
        blocks = (last - 1) // block - first // block + 1
        device = jax.lax.axis_index(_AXIS)

        def add(step: Array, sums: Array) -> Array:
            # Pairs of a block and an active setting are numbered, and given to the devices in turn.
            item = device + step * mesh.size
            setting = active[item % active_count]
            chosen = jax.tree.map(lambda leaf: leaf[setting], arguments)
            setting_key = jax.random.fold_in(key, setting) if fold_setting else key
            number = first // block + item // active_count
            found = block_sums(trial, layout, block, setting_key, chosen, number, first, last)
            return sums.at[setting].add(found)

        steps = (blocks * active_count - device + mesh.size - 1) // mesh.size
        zeros = jnp.zeros((active.shape[0], layout.columns, 2), jnp.int64)
        return jax.lax.psum(jax.lax.fori_loop(0, steps, add, zeros), _AXIS)

    everywhere = PartitionSpec()
    return jax.shard_map(
        one_device, mesh=mesh, in_specs=(everywhere,) * 6, out_specs=everywhere, check_vma=False
    )(key_data, arguments, active, active_count, first, last)


def mesh_of(devices: Any) -> Mesh:
    """The devices in one line, all devices of all processes by default."""
    several = isinstance(devices, Iterable)
    chosen = jax.devices() if devices is None else list(devices) if several else []
    if not chosen or not all(isinstance(device, jax.Device) for device in chosen):
        raise TypeError(f"devices must be a sequence of JAX devices, got {devices!r}")
    if len(set(chosen)) < len(chosen):
        raise ValueError(f"devices must not repeat a device, got {devices!r}")
    missing = set(range(jax.process_count())) - {device.process_index for device in chosen}
    if missing:
        raise ValueError(f"devices must hold some of every process, got none of {sorted(missing)}")
    return Mesh(np.array(chosen), (_AXIS,))


def replicate(mesh: Mesh, tree: Any) -> Any:
    """Put the same arrays on every device of every process."""
    sharding = jax.sharding.NamedSharding(mesh, PartitionSpec())
    return jax.tree.map(
        lambda leaf: jax.make_array_from_callback(leaf.shape, sharding, lambda index: leaf[index]),
        tree,
    )


def whole(limbs: Any) -> np.ndarray:
    """Upper and lower limbs put together as Python integers, which have no largest."""
    parts = np.asarray(limbs).astype(object)
    return parts[..., 0] * 2**_LIMB + parts[..., 1]


def with_settings(arguments: Any, settings: str) -> tuple[Any, int]:
    """Arguments as host arrays with a leading settings axis, and the length of that axis."""
    arrays = jax.tree_util.tree_map_with_path(_host_array, arguments)
    if settings == "single":
        return jax.tree.map(lambda leaf: leaf[None], arrays), 1
    lengths = {leaf.shape[:1] for leaf in jax.tree.leaves(arrays)}
    if len(lengths) != 1 or lengths & {(), (0,)}:
        raise ValueError(
            f"arguments must share a leading settings axis (settings={settings!r}), "
            f"got leading lengths {sorted(lengths)}"
        )
    return arrays, lengths.pop()[0]


def _host_array(path: Any, leaf: Any) -> np.ndarray:
    try:
        array = np.asarray(leaf)
    except TypeError:  # a typed key
        array = np.asarray(None)
    if array.dtype.kind in "OSUMm":
        where = jax.tree_util.keystr(path, simple=True, separator=".")
        raise TypeError(f"arguments must hold arrays of numbers, got {type(leaf)} at {where!r}")
    return array
