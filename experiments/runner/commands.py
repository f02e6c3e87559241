"""The commands about studies: list, run, draw, figures, claims, status and trace."""

import sys
import time
from collections import Counter
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from experiments.runner import discovery
from experiments.runner.discovery import Preset
from rdsim.cli.messages import CommandError, noting_what_is_kept, say, writable

if TYPE_CHECKING:
    from experiments.runner.store import State

# xarray and matplotlib are imported by the commands that need them: --help answers at once.

OUTPUT = Path("figures/output")

Names = tyro.conf.Positional[Annotated[tuple[str, ...], tyro.conf.arg(metavar="NAME")]]
Results = Annotated[Path, tyro.conf.arg(metavar="DIR", help="folder of the saved results")]
Seed = Annotated[int, tyro.conf.arg(help="seed of the random numbers")]
Force = Annotated[bool, tyro.conf.arg(help="compute a result again although it is fresh")]
Jobs = Annotated[int, tyro.conf.arg(help="studies computed side by side")]
Json = Annotated[bool, tyro.conf.arg(name="json", help="print the ledger as JSON")]
Which = Annotated[Preset, tyro.conf.arg(help="size of the studies")]

DEFAULT = Path("results")


def list_() -> int:
    """List the studies with the claims on which they bear and their titles."""
    for study in discovery.discover().values():
        say(f"{study.name:<20} {', '.join(study.claims):<16} {study.title}")
    return 0


def run(
    names: Names,
    /,
    preset: Which = "quick",
    seed: Seed = 0,
    results: Results = DEFAULT,
    force: Force = False,
) -> int:
    """Compute the named studies whose results are not fresh.

    Example: rdsim run rank_distribution bottleneck
    """
    if not names:
        raise CommandError(f"name a study to run: {', '.join(discovery.discover()) or 'none yet'}")
    studies = discovery.chosen(names, preset)
    writable(results, "--results")
    from experiments.runner.run import compute

    with _continued(force):
        for study in studies:
            before, _ = compute(study, preset, seed, results, force=force)
            say(f"{study.name}: {_done(before, force)}")
    return 0


def draw(names: Names = (), /, preset: Which = "quick", results: Results = DEFAULT) -> int:
    """Draw the saved results of the named studies, or of all."""
    studies = discovery.chosen(names, preset)
    writable(OUTPUT, "the folder of figures")
    from experiments.runner import drawing
    from experiments.runner.store import Recipe, state

    lacking = False
    for study in studies:
        now = state(Recipe.of(study, preset), results)
        if now.dataset is None:
            say(f"{study.name}: the result is {now}; run it first")
            lacking |= bool(names) or now.kind == "corrupt"
            continue
        try:
            outcome = drawing.draw(study, now.dataset, drawing.folder(OUTPUT, preset))
        except CommandError as error:
            say(str(error), error=True)
            lacking = True
            continue
        note = f" (the result is {now})" if now.kind == "stale" else ""
        say(f"{study.name}: figure {outcome}{note}")
    return int(lacking)


def figures(preset: Which = "quick", results: Results = DEFAULT, jobs: Jobs = 1) -> int:
    """Compute what is not fresh, draw every figure, write the gallery and the ledger.

    Then open figures/index.html from disk. If it is interrupted, the same command continues where
    it stopped. A study that this machine cannot run is left out. The exit code is 1 if a study was
    left out, or if a claim fails, has no check or, in a checkout, no test.
    """
    began = time.monotonic()
    if jobs < 1:
        raise CommandError(f"--jobs must be at least 1, got {jobs}")
    writable(results, "--results")
    writable(OUTPUT, "the folder of figures")
    from experiments.runner import drawing, gallery, programs
    from experiments.runner.ledger import ledger
    from experiments.runner.run import compute_all
    from experiments.runner.store import State

    programs.compile_quickly(preset)  # before JAX starts
    target = drawing.folder(OUTPUT, preset)
    entries, states = [], {}
    studies = discovery.chosen((), preset)
    outcomes: Counter[str] = Counter()
    left_out = []
    with _continued():
        computed = compute_all(studies, preset, 0, results, jobs)
        for study, found in zip(studies, computed, strict=True):
            if isinstance(found, CommandError):
                say(f"{study.name}: not computed: {found}", error=True)
                left_out.append(study.name)
                continue
            before, dataset = found
            states[study.name] = State("fresh", dataset=dataset)
            try:
                outcome = drawing.draw(study, dataset, target)
            except CommandError as error:
                say(f"{study.name}: {_done(before)}; {error}", error=True)
                left_out.append(study.name)
                continue
            say(f"{study.name}: {_done(before)}; figure {outcome}")
            outcomes[outcome] += 1
            if outcome != "no figure file":
                entries.append((study, dataset))
        verdicts = ledger(results, preset, states=states)
        saved = verdicts.save(results, preset)
        page = gallery.write(entries, verdicts, OUTPUT, preset)
    say(f"figures: {outcomes['drawn']} drawn, {outcomes['fresh']} fresh")
    if left_out:
        say(f"left out: {', '.join(left_out)}")
    for line in verdicts.summary():
        say(line)
    say(f"ledger: {saved.as_posix()} (rdsim claims prints it)")
    say(f"gallery: {page.as_posix()}")
    say(f"time: {_duration(time.monotonic() - began)}")
    return int(bool(verdicts.problems or left_out))


def claims(preset: Which = "quick", results: Results = DEFAULT, as_json: Json = False) -> int:
    """Print every check of every claim; exit with 1 if a claim fails, has no check or no test.

    Outside a checkout the tests are not known, and a missing one is no failure.

    Example: rdsim claims (after rdsim figures, which computes what is checked)
    """
    from experiments.runner.ledger import ledger

    found = ledger(results, preset)
    found.save(results, preset)
    if as_json:
        sys.stdout.write(found.json())
        return int(bool(found.problems))
    say(found.table())
    for problem in found.problems:
        say(problem, error=True)
    return int(bool(found.problems))


def status(preset: Which = "quick", results: Results = DEFAULT) -> int:
    """Say of every result whether it is fresh, stale, missing or corrupt, and why."""
    from experiments.runner.store import Recipe, state

    for study in discovery.discover(preset).values():
        say(f"{study.name:<20} {state(Recipe.of(study, preset), results)}")
    return 0


def trace(
    figure: tyro.conf.Positional[str],
    /,
    preset: Which = "quick",
    results: Results = DEFAULT,
) -> int:
    """Say where a figure comes from: its claims, study, configuration, seed, versions and tests.

    Example: rdsim trace phase_transition
    """
    (study,) = discovery.chosen((figure,), preset)
    from experiments.runner import drawing
    from experiments.runner.store import Recipe, state

    now = state(Recipe.of(study, preset), results)
    if now.dataset is None:
        say(f"{study.name}: the result is {now}; run it first")
        return 1
    for key, value in drawing.trace(study, now.dataset, drawing.folder(OUTPUT, preset)):
        say(f"{key:<12} {value}")
    say(f"{'result':<12} {now}")
    return 0


def _continued(force: bool = False) -> AbstractContextManager[None]:
    """Let an interruption of studies say that finished results and checkpoints are kept."""
    same = "the same command without --force" if force else "the same command"
    return noting_what_is_kept(
        lambda: f"what was finished is kept; {same} continues where it stopped"
    )


def _done(before: "State", force: bool = False) -> str:
    if before.kind == "fresh":
        return "fresh, computed again" if force else "fresh"
    return f"computed ({before})"


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


COMMANDS = {
    "list": list_,
    "run": run,
    "draw": draw,
    "figures": figures,
    "claims": claims,
    "status": status,
    "trace": trace,
}
