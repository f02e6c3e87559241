"""The command rdsim, also python -m experiments."""

import contextlib
import os
import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import tyro
from rich.console import Console

from experiments import _interrupt, _study
from experiments._study import Preset, StudyError

if TYPE_CHECKING:
    from experiments._ledger import Ledger
    from experiments._store import State

# JAX, xarray and matplotlib are imported by the commands that need them: --help answers at once.

OUTPUT = Path("figures/output")

Names = tyro.conf.Positional[Annotated[tuple[str, ...], tyro.conf.arg(metavar="NAME")]]
Results = Annotated[Path, tyro.conf.arg(metavar="DIR", help="folder of the saved results")]
Seed = Annotated[int, tyro.conf.arg(help="seed of the random numbers")]
Force = Annotated[bool, tyro.conf.arg(help="compute again what is fresh")]
Jobs = Annotated[int, tyro.conf.arg(help="studies computed side by side")]
Json = Annotated[bool, tyro.conf.arg(name="json", help="print the ledger for machines")]
Which = Annotated[Preset, tyro.conf.arg(help="size of the studies")]

DEFAULT = Path("results")


def list_() -> int:
    """Name the studies, their titles and the claims on which they bear."""
    for study in _study.discover().values():
        _say(f"{study.name:<20} {', '.join(study.claims):<16} {study.title}")
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
        raise StudyError(f"name a study to run: {', '.join(_study.discover()) or 'none yet'}")
    studies = _study.chosen(names, preset)
    _study.writable(results, "--results")
    from experiments._run import compute

    with _continued(force):
        for study in studies:
            before, _ = compute(study, preset, seed, results, force=force)
            _say(f"{study.name}: {_done(before, force)}")
    return 0


def draw(names: Names = (), /, preset: Which = "quick", results: Results = DEFAULT) -> int:
    """Draw the saved results of the named studies, or of all."""
    studies = _study.chosen(names, preset)
    _study.writable(OUTPUT, "the folder of figures")
    from experiments import _draw
    from experiments._store import Recipe, state

    lacking = False
    for study in studies:
        now = state(Recipe.of(study, preset), results)
        if now.dataset is None:
            _say(f"{study.name}: the result is {now}; run it first")
            lacking |= bool(names) or now.kind == "corrupt"
            continue
        try:
            outcome = _draw.draw(study, now.dataset, _draw.folder(OUTPUT, preset))
        except StudyError as error:
            _say(str(error), error=True)
            lacking = True
            continue
        note = f" (the result is {now})" if now.kind == "stale" else ""
        _say(f"{study.name}: figure {outcome}{note}")
    return int(lacking)


def figures(preset: Which = "quick", results: Results = DEFAULT, jobs: Jobs = 1) -> int:
    """Compute what is not fresh, draw every figure, write the gallery and the ledger.

    Then open figures/index.html from disk. Interrupted, it continues where it stopped. A study that
    this machine cannot run is left out, and the exit code is 1.
    """
    if jobs < 1:
        raise StudyError(f"jobs must be at least 1, got {jobs}")
    _study.writable(results, "--results")
    _study.writable(OUTPUT, "the folder of figures")
    from experiments import _draw, _gallery, _programs
    from experiments._ledger import ledger
    from experiments._run import compute_all
    from experiments._store import State

    _programs.compile_quickly(preset)  # before a figure that is drawn first imports JAX
    target = _draw.folder(OUTPUT, preset)
    entries, states = [], {}
    studies = _study.chosen((), preset)
    lacking = False
    with _continued():
        computed = compute_all(studies, preset, 0, results, jobs)
        for study, found in zip(studies, computed, strict=True):
            if isinstance(found, StudyError):
                _say(f"{study.name}: not computed: {found}", error=True)
                lacking = True
                continue
            before, dataset = found
            states[study.name] = State("fresh", dataset=dataset)
            try:
                outcome = _draw.draw(study, dataset, target)
            except StudyError as error:
                _say(f"{study.name}: {_done(before)}; {error}", error=True)
                lacking = True
                continue
            _say(f"{study.name}: {_done(before)}; figure {outcome}")
            if outcome != "no figure file":
                entries.append((study, dataset))
        verdicts = ledger(results, preset, states=states)
        _say(f"wrote {verdicts.save(results, preset).as_posix()}")
        _say(f"wrote {_gallery.write(entries, verdicts, OUTPUT, preset).as_posix()}")
    return max(_verdict(verdicts), int(lacking))


def claims(preset: Which = "quick", results: Results = DEFAULT, as_json: Json = False) -> int:
    """Say which claims hold; exit with 1 if one fails, has no check or, in a checkout, no test.

    Example: rdsim claims (after rdsim figures, which computes what is checked)
    """
    from experiments._ledger import ledger

    found = ledger(results, preset)
    found.save(results, preset)
    if as_json:
        sys.stdout.write(found.json())
        return int(bool(found.problems))
    return _verdict(found)


def status(preset: Which = "quick", results: Results = DEFAULT) -> int:
    """Say which results are fresh, stale, missing or corrupt, and why."""
    from experiments._store import Recipe, state

    for study in _study.discover(preset).values():
        _say(f"{study.name:<20} {state(Recipe.of(study, preset), results)}")
    return 0


def trace(
    figure: tyro.conf.Positional[str],
    /,
    preset: Which = "quick",
    results: Results = DEFAULT,
) -> int:
    """Say where a figure comes from: claims, study, config, seed, versions, data, tests.

    Example: rdsim trace phase_transition
    """
    (study,) = _study.chosen((figure,), preset)
    from experiments import _draw
    from experiments._store import Recipe, state

    now = state(Recipe.of(study, preset), results)
    if now.dataset is None:
        _say(f"{study.name}: the result is {now}; run it first")
        return 1
    for key, value in _draw.trace(study, now.dataset, _draw.folder(OUTPUT, preset)):
        _say(f"{key:<12} {value}")
    _say(f"{'result':<12} {now}")
    return 0


def gap(
    queries: Annotated[
        Path, tyro.conf.arg(metavar="FILE", help="embeddings of queries, .npy or .npz")
    ],
    items: Annotated[Path, tyro.conf.arg(metavar="FILE", help="row i is the target of query i")],
    bits: Annotated[
        str, tyro.conf.arg(help="bits stored an item, split by commas")
    ] = "4,8,16,32,64",
    output: Annotated[Path, tyro.conf.arg(metavar="DIR", help="folder of the report")] = Path(
        "gap"
    ),
    seed: Seed = 0,
    held_out: Annotated[float, tyro.conf.arg(help="share of the pairs that are ranked")] = 0.4,
    steps: Annotated[int, tyro.conf.arg(help="training steps of the learned code")] = 600,
) -> int:
    """Hold codes for your own paired embeddings against what no system can pass.

    Codes are fitted to one part of the pairs and rank the other; their MRR and recall stand in a
    table and a figure beside the rank converse at the same bits (C4). Interrupted, it continues
    with the systems that were not finished.

    Example: rdsim gap --queries q.npy --items y.npy --bits 8,16 --output report
    """
    from experiments import _gap

    rates = _gap.parse_bits(bits)
    dataset = _gap.run(
        *(queries, items, output),
        bits=rates,
        seed=seed,
        held_out=held_out,
        steps=steps,
    )
    wide = Console() if sys.stdout.isatty() else Console(width=160)
    wide.print(_gap.table(dataset))
    _say(f"wrote gap.nc, gap.csv, gap.png and gap.pdf into {output.as_posix()}")
    return 0


def limit() -> int:
    """Compute a limit from numbers or a table of yours, with its proved bounds.

    Example: rdsim limit rank --size 20 --bits 8 (more by rdsim limit --help)
    """
    return main(["limit"])


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    commands: dict[str, Callable[..., int]] = {
        "limit": limit,
        "gap": gap,
        "list": list_,
        "run": run,
        "draw": draw,
        "figures": figures,
        "claims": claims,
        "status": status,
        "trace": trace,
    }
    # A choice made for other programs does not hold for this command, which computes limits.
    os.environ["JAX_ENABLE_X64"] = "1"
    given = list(sys.argv[1:] if arguments is None else arguments)
    prog = "rdsim"
    description = (
        "How many bits does cross-modal retrieval need, and how close does a code come? 'limit' and "
        "'gap' answer for your source and your embeddings; the others compute, draw and check the "
        "studies."
    )
    if given[:1] == ["limit"]:
        from experiments import _limit

        prog, commands = "rdsim limit", _limit.COMMANDS
        description = (
            "One limit, with its proved bounds, from numbers or a table of yours. Rates are in bits; "
            "rdsim limit NAME --help explains one, --plot FILE draws it."
        )
        given = given[1:] or ["--help"]
    try:
        with _interrupt.felt():
            return tyro.extras.subcommand_cli_from_dict(
                commands,
                prog=prog,
                description=description,
                args=given,
                config=(tyro.conf.FlagCreatePairsOff,),
            )
    except StudyError as error:
        _say(str(error), error=True)
        return 2
    except OSError as error:
        _say("; ".join((str(error), *_notes(error))), error=True)
        return 1
    except KeyboardInterrupt as error:
        _say("; ".join(("interrupted", *_notes(error))), error=True)
        return _interrupt.CODE


def entry() -> NoReturn:
    """Run the command line as a process of its own, which Ctrl-C ends within seconds."""
    code: int = _interrupt.CODE
    with (
        contextlib.suppress(KeyboardInterrupt),
        _interrupt.watched(
            lambda: _say("; ".join(("interrupted", *_study.kept_now())), error=True)
        ),
    ):
        code = main()
    if code == _interrupt.CODE:
        _interrupt.end()
    sys.exit(code)


def _continued(force: bool = False) -> AbstractContextManager[None]:
    """Let an interruption of studies say that finished results and cells are kept."""
    same = "the same command without --force" if force else "the same command"
    return _study.told(lambda: f"what was finished is kept; {same} continues where it stopped")


def _notes(error: BaseException) -> tuple[str, ...]:
    """Return what is known of the work that an error ended."""
    return tuple(getattr(error, "__notes__", ()))


def _say(text: str, *, error: bool = False) -> None:
    Console(stderr=error).print(text, markup=False, highlight=False, soft_wrap=True)


def _done(before: "State", force: bool = False) -> str:
    if before.kind == "fresh":
        return "fresh, computed again" if force else "fresh"
    return f"computed ({before})"


def _verdict(found: "Ledger") -> int:
    wide = Console() if sys.stdout.isatty() else Console(width=160)
    wide.print(found.table())
    for problem in found.problems:
        _say(problem, error=True)
    return int(bool(found.problems))


if __name__ == "__main__":
    entry()
