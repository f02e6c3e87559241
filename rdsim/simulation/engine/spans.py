"""The host's loop of a Monte Carlo run: spans of trials, then looks, then checkpoints."""

import dataclasses
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import jax
import numpy as np
from jax.sharding import Mesh

from rdsim.simulation.engine import checkpoint, exact_sums, progress
from rdsim.simulation.engine.exact_sums import Layout
from rdsim.simulation.engine.stopping import StoppingRule
from rdsim.simulation.intervals import Estimate

_SECONDS_A_CALL: Final = 2.0
"""How long one call may take if a block allows it: between calls an interrupt is seen."""


@dataclasses.dataclass(frozen=True)
class State:
    """All that a run has found.

    Attributes:
        trials: trials counted of each setting; all settings still running have the same number.
        totals: exact sums as Python integers, (settings, columns).

    """

    trials: np.ndarray
    totals: np.ndarray


@dataclasses.dataclass(frozen=True, kw_only=True)
class Run:
    """One validated run; the fields are the arguments of run_trials."""

    trial: Callable[[Any, Any], Any]
    key: Any
    arguments: Any
    settings: str
    count: int
    layout: Layout
    rule: StoppingRule
    block: int
    chunk: int
    mesh: Mesh
    path: Path | None
    pause: float

    def to_the_end(self, show_progress: bool) -> tuple[State, list[Estimate], list[np.ndarray]]:
        """Run until every setting has stopped, from the checkpoint if there is one.

        A span of trials ends at the next look of the stopping rule or earlier, so that one call takes about
        `_SECONDS_A_CALL`. The sums are exact integers, so that the cut into spans changes no digit; whether a setting
        stops is decided at looks alone.
        """
        fingerprint = self._fingerprint() if self.path else {}
        state = self._start(fingerprint)
        saver = checkpoint.Saver(self.path, fingerprint, self.pause)
        arguments = exact_sums.replicate(self.mesh, self.arguments)
        active, expected = self._active(state)
        portion = 1 if jax.process_count() == 1 else self.chunk
        label, done = checkpoint.of_function(self.trial), int(state.trials.max())
        with progress.shown(show_progress, label, done, expected) as report:
            try:
                while active.size:
                    first = int(state.trials[active[0]])
                    ahead = (first // self.block + portion * self.mesh.size) * self.block
                    last = min(self.rule.next_look(first), ahead)
                    began = time.monotonic()
                    # One assignment: an interrupt sees the state before this span or after it.
                    state = self._advanced(state, arguments, active, first, last)
                    # Of several processes all must make the same calls, whatever their clocks say.
                    if jax.process_count() == 1:
                        ratio = _SECONDS_A_CALL / max(time.monotonic() - began, 1e-9)
                        portion = min(self.chunk, max(1, int(portion * ratio)))
                    if last in self.rule.looks:
                        active, expected = self._active(state)
                    report(last, expected)
                    saver.if_due(state.trials, state.totals)
            except KeyboardInterrupt:
                saver.now(state.trials, state.totals)
                raise
        saver.now(state.trials, state.totals)
        estimates, variances = self.rule.estimates(self.layout, state.totals, state.trials)
        return state, estimates, variances

    def _advanced(
        self, state: State, arguments: Any, active: np.ndarray, first: int, last: int
    ) -> State:
        """Add the trials first..last-1 of the active settings to the state.

        Raises:
            ValueError: if a loss of one of them is outside its declared range, or NaN.

        """

        def everywhere(array: Any) -> Any:
            return exact_sums.replicate(self.mesh, np.asarray(array))

        # One shape, however many settings are still active: one compilation serves the whole run.
        padded = np.zeros(self.count, np.int64)
        padded[: active.size] = active
        limbs = exact_sums.span_sums(
            everywhere(jax.random.key_data(self.key)),
            arguments,
            everywhere(padded),
            everywhere(np.int64(active.size)),
            everywhere(np.int64(first)),
            everywhere(np.int64(last)),
            trial=self.trial,
            layout=self.layout,
            block=self.block,
            mesh=self.mesh,
            implementation=str(jax.random.key_impl(self.key)),
            fold_setting=self.settings == "independent",
        )
        found = exact_sums.whole(limbs)
        for outcome, part in zip(self.layout.outcomes, self.layout.parts(found), strict=True):
            outside = outcome.outside(part)
            if outside.any():
                where = "" if self.settings == "single" else f" of setting {outside.argmax()}"
                raise ValueError(
                    f"loss {outcome.name!r} must lie in [{outcome.low:g}, {outcome.high:g}]; "
                    f"{outside.max()} values{where} in trials {first}..{last - 1} do not or are NaN"
                )
        trials = state.trials.copy()
        trials[active] = last
        return State(trials, state.totals + found)

    def _active(self, state: State) -> tuple[np.ndarray, int]:
        """Settings still running, and a guess of the trials they will need.

        A pure function of the state: a resumed run repeats the decisions of the look it stands at.
        """
        end = self.rule.looks[-1]
        at_look = np.isin(state.trials, self.rule.looks)
        excess = np.full(self.count, np.inf)
        if at_look.any():
            totals, trials = state.totals[at_look], state.trials[at_look]
            excess[at_look] = self.rule.excess(self.rule.estimates(self.layout, totals, trials)[0])
        active = np.flatnonzero((state.trials < end) & (excess > 1))
        if not active.size:
            return active, int(state.trials.max())
        # Widths fall about as one over the root of the number of trials.
        guess = state.trials[active[0]] * min(float(excess[active].max()), 1e6) ** 2
        return active, int(min(end, max(guess, 0))) if at_look[active[0]] else end

    def _start(self, fingerprint: dict[str, Any]) -> State:
        shape = (self.count, self.layout.columns)
        empty = State(np.zeros(self.count, np.int64), np.zeros(shape, np.int64).astype(object))
        if self.path is None:
            return empty
        kept = checkpoint.load(self.path, fingerprint, shape)
        if kept is None:
            return empty
        if kept[0].max() > self.rule.looks[-1]:
            raise ValueError(
                f"trials must be at least the {kept[0].max()} that checkpoint {self.path} holds, "
                f"got {self.rule.looks[-1]}"
            )
        return State(*kept)

    def _fingerprint(self) -> dict[str, Any]:
        """All that the sums depend on. Devices and chunks are not here: nothing depends on them."""
        leaves, structure = jax.tree.flatten(self.arguments)
        shapes = [jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype) for leaf in leaves]
        number = jax.ShapeDtypeStruct((), np.int64)
        lowered = jax.jit(exact_sums.block_sums, static_argnums=(0, 1, 2)).lower(
            self.trial,
            self.layout,
            self.block,
            jax.eval_shape(lambda: self.key),
            jax.tree.unflatten(structure, shapes),
            number,
            number,
            number,
        )
        return {
            "format": checkpoint.FORMAT,
            "trial": checkpoint.of_function(self.trial),
            "program": checkpoint.of_program(lowered),
            "key": checkpoint.of_key(self.key),
            "arguments": checkpoint.of_arrays(self.arguments),
            "settings": self.settings,
            "block": self.block,
            "rule": self.rule.describe(),
            "software": checkpoint.of_software(self.mesh.devices.flat[0]),
        }
