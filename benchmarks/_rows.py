"""A row of results, and how rows are timed: in turns, compilation apart, ratios within a turn."""

import contextlib
import importlib
import importlib.util
import signal
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from types import FrameType
from typing import Any

import jax

LATE = "stopped_slopes"
"""Name of the number of slopes that a side had to leave at its own time limit."""


@dataclass(frozen=True)
class Row:
    """One side of one problem.

    Attributes:
        problem: what was solved; sides of one problem did the same work, or the row says how much.
        side: who solved it.
        seconds: a run, median; None if there is none.
        fastest: of the runs, seconds.
        slowest: of the runs, seconds.
        compiling: a first call less a later one, or a first call that does next to no work, seconds;
            None where nothing is compiled.
        ratio: time over that of the first side, median of the turns; None for the first side.
        ratio_low: least of the turns; of a side stopped at its limit, all that is known.
        ratio_high: largest of the turns; None if the side was stopped at its limit.
        result: what came out, in words.
        numbers: what came out, by name with unit.
        status: "measured", "stopped" (at the time limit), "failed" or "not installed".

    """

    problem: str
    side: str
    seconds: float | None = None
    fastest: float | None = None
    slowest: float | None = None
    compiling: float | None = None
    ratio: float | None = None
    ratio_low: float | None = None
    ratio_high: float | None = None
    result: str = ""
    numbers: dict[str, float] = field(default_factory=dict)
    status: str = "measured"


@dataclass(frozen=True)
class Side:
    """One way to solve a problem.

    Attributes:
        name: in the table.
        call: does the work and returns what `describe` reads.
        describe: the result in words, and its numbers by name.
        compiles: whether the first call compiles, and is to be kept apart.
        prepare: call of next to no work that compiles all; else the whole call is made once before.
        package: that it needs; None for none.
        limit: seconds after which it is interrupted, for peers in Python; None for no limit.
        share: part of the work that the call does; its time is divided by it.

    """

    name: str
    call: Callable[[], Any]
    describe: Callable[[Any], tuple[str, dict[str, float]]] = lambda _: ("", {})
    compiles: bool = True
    prepare: Callable[[], Any] | None = None
    package: str | None = None
    limit: float | None = None
    share: float = 1.0


class _TimeLimitError(Exception):
    """The alarm of `limited`."""


@contextlib.contextmanager
def limited(seconds: float | None) -> Iterator[None]:
    """Interrupt Python code after so many seconds; what runs in one compiled call is not."""

    def ring(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
        raise _TimeLimitError

    if seconds is None:
        yield
        return
    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def installed(package: str) -> bool:
    """Whether a package can be imported."""
    return importlib.util.find_spec(package) is not None


def timed(call: Callable[[], Any]) -> tuple[Any, float]:
    """Return what a call returns, all of it computed, and its seconds."""
    start = time.perf_counter()
    value = call()
    jax.block_until_ready(jax.tree.leaves(value))
    return value, time.perf_counter() - start


def compare(problem: str, sides: list[Side], repeats: int) -> list[Row]:
    """Time all sides in turns, the order reversed every other turn; ratios are to the first side.

    Turns let the load of the machine meet all sides alike. Every side that compiles is called once
    before. A side stopped at its limit is not called again.
    """
    missing = [side for side in sides if side.package and not installed(side.package)]
    rows = {
        side.name: Row(problem, side.name, status="not installed", result="not installed")
        for side in missing
    }
    running = [side for side in sides if side not in missing]
    values: dict[str, Any] = {}
    first: dict[str, float] = {}
    times: dict[str, list[float]] = {side.name: [] for side in running}
    stopped: set[str] = set()
    for side in running:
        if side.package:
            importlib.import_module(side.package)
        if side.compiles:
            values[side.name], first[side.name] = timed(side.prepare or side.call)
    for turn in range(repeats):
        for side in running if turn % 2 == 0 else running[::-1]:
            if side.name in stopped:
                continue
            start = time.perf_counter()
            try:
                with limited(side.limit):
                    values[side.name], took = timed(side.call)
            except _TimeLimitError:
                took = time.perf_counter() - start
                stopped.add(side.name)
            times[side.name].append(took / side.share)
    base = times[running[0].name]
    for side in running:
        name, found = side.name, times[side.name]
        ratios = [one / ours for one, ours in zip(found, base, strict=False)]
        cut = name in stopped
        words, numbers = ("", {}) if cut else side.describe(values[name])
        # A peer that minds its own clock says how much of the work it left.
        late = cut or numbers.get(LATE, 0) > 0
        compiling = first.get(name)
        if compiling is not None and side.prepare is None:
            compiling = max(compiling - statistics.median(found) * side.share, 0.0)
        is_base = side is running[0]
        rows[name] = Row(
            problem=problem,
            side=name,
            seconds=statistics.median(found),
            fastest=min(found),
            slowest=max(found),
            compiling=compiling,
            ratio=None if is_base else statistics.median(ratios),
            ratio_low=None if is_base else min(ratios),
            ratio_high=None if is_base or late else max(ratios),
            result=f"stopped after {found[-1]:.3g} s" if cut else words,
            numbers=numbers,
            status="stopped" if late else "measured",
        )
    return [rows[side.name] for side in sides]
