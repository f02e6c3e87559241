"""The command rdsim: limits and the report on embeddings; in a checkout, the studies too."""

import contextlib
import importlib
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, NoReturn

import jax
import tyro

import rdsim
from rdsim import compilation
from rdsim.cli import interrupt
from rdsim.cli.messages import CommandError, kept_now, needing, say

CHECKOUT = Path(rdsim.__file__).parent.parent
"""Folder that holds the studies beside the library, if this is a checkout of the project."""

Command = Callable[..., int]


def gap(
    queries: Annotated[
        str,
        tyro.conf.arg(
            metavar="FILE",
            help="vectors of queries: .npy, .npz, a folder of shards, .fvecs, .fbin, .hdf5, .safetensors, "
            ".parquet",
        ),
    ],
    items: Annotated[str, tyro.conf.arg(metavar="FILE", help="vectors of items")],
    targets: Annotated[
        str | None,
        tyro.conf.arg(
            metavar="FILE",
            help="item rows of each query (integers, -1 where there is none; .txt lines; qrels .tsv with "
            "grades); by default row i",
        ),
    ] = None,
    output: Annotated[Path, tyro.conf.arg(metavar="DIR", help="folder of the report")] = Path(
        "gap"
    ),
    bits: Annotated[
        str | None,
        tyro.conf.arg(
            help="stored bits per item, separated by commas; by default powers of two from 8 to the bits of a float16 vector"
        ),
    ] = None,
    similarity: Annotated[str, tyro.conf.arg(help="cosine, inner product or L2")] = "cosine",
    space: Annotated[
        str,
        tyro.conf.arg(
            help="coordinates in which codes are fitted: auto, as given, centred, canonical, shared canonical"
        ),
    ] = "auto",
    systems: Annotated[
        str,
        tyro.conf.arg(
            help="names of codes, separated by commas (by semicolons if a name has a comma); or usual, or all"
        ),
    ] = "usual",
    learned: Annotated[
        str | None,
        tyro.conf.arg(help="bits at which to train the learned code too; it takes minutes"),
    ] = None,
    codes: Annotated[
        str | None,
        tyro.conf.arg(metavar="FILE", help="your own codes of all items, or a faiss index"),
    ] = None,
    decoded: Annotated[
        str | None, tyro.conf.arg(metavar="FILE", help="the vectors that your codes stand for")
    ] = None,
    scores: Annotated[
        str | None,
        tyro.conf.arg(
            metavar="FILE",
            help="in place of --decoded: the scores of your codes, a row for each query",
        ),
    ] = None,
    held_out: Annotated[float, tyro.conf.arg(help="fraction of the groups that are ranked")] = 0.4,
    folds: Annotated[
        int | None,
        tyro.conf.arg(
            help="number of parts, each ranked by codes fitted to the others, instead of --held-out"
        ),
    ] = None,
    fit_queries: Annotated[
        str | None,
        tyro.conf.arg(
            metavar="FILE",
            help="vectors of queries to fit to; then all of --queries and --items are ranked",
        ),
    ] = None,
    fit_items: Annotated[
        str | None, tyro.conf.arg(metavar="FILE", help="vectors of items to fit to")
    ] = None,
    fit_targets: Annotated[
        str | None, tyro.conf.arg(metavar="FILE", help="their targets, as --targets")
    ] = None,
    rescore: Annotated[
        int,
        tyro.conf.arg(
            help="number of items, the first of every code's ranking, that are ranked again by the vectors themselves"
        ),
    ] = 0,
    most_queries: Annotated[
        int, tyro.conf.arg(help="largest number of queries to rank, chosen at random")
    ] = 10_000,
    models: Annotated[
        bool,
        tyro.conf.arg(
            help="leave out the models and the predictions for other sizes of the database"
        ),
    ] = True,
    seed: Annotated[int, tyro.conf.arg(help="seed of the random numbers")] = 0,
    json: Annotated[bool, tyro.conf.arg(help="print the report as JSON")] = False,
) -> int:
    """Measure codes for your own embeddings at equal bits, beside what no system can exceed.

    Codes are fitted to one part of the pairs and rank the other. A page (gap.html) says what each keeps of
    the uncompressed quality at how many bits, what is proved of all systems (C4), what models of the data
    say, and what becomes of it in databases of up to 10^9 items. If it is interrupted, the same
    command continues with what was not finished.

    Example: rdsim gap --queries q.npy --items y.npy --output report
    """
    if (fit_queries is None) != (fit_items is None):
        raise CommandError("--fit-queries and --fit-items belong together")
    if codes is None and (decoded is not None or scores is not None):
        raise CommandError("--decoded and --scores say what --codes stand for: give it too")
    with needing("studies"):
        from rdsim.cli import gap as report
        from rdsim.cli.gap_output import as_json, conclusions, table

    request = report.Request(
        queries=queries,
        items=items,
        targets=targets,
        fit=None if fit_queries is None else (fit_queries, str(fit_items), fit_targets),
        own=None if codes is None else (codes, decoded, scores),
        options=report.options(
            bits=bits,
            learned=learned,
            systems=systems,
            similarity=similarity,
            space=space,
            held_out=held_out,
            folds=folds,
            rescore=rescore,
            most_queries=most_queries,
        ),
    )
    found, _ = report.run(request, output, seed=seed, models=models)
    if json:
        say(as_json(found))
    else:
        say(table(found))
        # Last, so that they stand on the screen when a long table has scrolled by.
        for sentence in conclusions(found):
            say(sentence)
        say(f"wrote {', '.join(report.FILES)} into {output.as_posix()}")
    return 0


def _limit() -> int:
    """Compute a limit from numbers or a table of yours, with its proved bounds.

    Example: rdsim limit rank --log2-size 20 --bits 8 (more by rdsim limit --help)
    """
    return main(["limit"])


def _of_studies() -> dict[str, Command]:
    """Return the commands about studies, none where the library was installed without them."""
    if not (CHECKOUT / "experiments" / "runner" / "commands.py").exists():
        return {}
    # Before all else, so that a folder of the user that is called experiments hides nothing.
    if sys.path[0] != str(CHECKOUT):
        sys.path.insert(0, str(CHECKOUT))
    found: dict[str, Command] = importlib.import_module("experiments.runner.commands").COMMANDS
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    # A choice made for other programs does not hold for this command, which computes limits.
    os.environ["JAX_ENABLE_X64"] = "1"  # and for the processes that it starts
    jax.config.update("jax_enable_x64", True)
    given = list(sys.argv[1:] if arguments is None else arguments)
    if given[:1] == ["limit"]:
        from rdsim.cli import limit  # --help of the whole command does not wait for the library

        prog, commands, given = "rdsim limit", limit.COMMANDS, given[1:] or ["--help"]
        description = (
            "One limit, with its proved bounds, from numbers or a table of yours. Rates are in bits; "
            "rdsim limit NAME --help explains one, --plot FILE draws it."
        )
    else:
        studies = _of_studies()
        prog, commands = "rdsim", {"limit": _limit, "gap": gap, **studies}
        description = (
            "How many bits does cross-modal retrieval need, and how close does a code come? 'limit' "
            "and 'gap' answer for your source and your embeddings"
        ) + ("; the others compute, draw and check the studies." if studies else ".")
    try:
        _refuse_old_options(given)
        with interrupt.raising_lost_interrupts():
            return tyro.extras.subcommand_cli_from_dict(
                commands,
                prog=prog,
                description=description,
                args=given,
                config=(tyro.conf.FlagCreatePairsOff,),
            )
    except CommandError as error:
        say(str(error), error=True)
        return 2
    except OSError as error:
        say("; ".join((str(error), *_notes(error))), error=True)
        return 1
    except KeyboardInterrupt as error:
        say("; ".join(("interrupted", *_notes(error))), error=True)
        return interrupt.CODE


def _refuse_old_options(given: Sequence[str]) -> None:
    """Name the options of earlier versions of `rdsim gap`, and what to write instead."""
    steps = any(one == "--steps" or one.startswith("--steps=") for one in given)
    if given[:1] == ["gap"] and steps:
        raise CommandError(
            "--steps is no longer an option of rdsim gap: the learned code is trained where --learned BITS asks for it, for "
            "a fixed number of steps, and the state that ranks held-out pairs best is kept"
        )


def entry() -> NoReturn:
    """Run the command line as a process of its own, which Ctrl-C ends within seconds."""
    code: int = interrupt.CODE
    compilation.keep_compiled_programs()
    with (
        contextlib.suppress(KeyboardInterrupt),
        interrupt.ending_after_interrupt(
            lambda: say("; ".join(("interrupted", *kept_now())), error=True)
        ),
    ):
        code = main()
    if code == interrupt.CODE:
        interrupt.end()
    sys.exit(code)


def _notes(error: BaseException) -> tuple[str, ...]:
    """Return what is known of the work that an error ended."""
    return tuple(getattr(error, "__notes__", ()))
