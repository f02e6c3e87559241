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
"""Where the studies lie beside the library, if this is a checkout of the project."""

Command = Callable[..., int]


def gap(
    queries: Annotated[
        Path, tyro.conf.arg(metavar="FILE", help="embeddings of queries, .npy or .npz")
    ],
    items: Annotated[Path, tyro.conf.arg(metavar="FILE", help="row i is the target of query i")],
    bits: Annotated[
        str, tyro.conf.arg(help="stored bits per item, separated by commas")
    ] = "4,8,16,32,64",
    output: Annotated[Path, tyro.conf.arg(metavar="DIR", help="folder of the report")] = Path(
        "gap"
    ),
    seed: Annotated[int, tyro.conf.arg(help="seed of the random numbers")] = 0,
    held_out: Annotated[float, tyro.conf.arg(help="fraction of the pairs that are ranked")] = 0.4,
    steps: Annotated[int, tyro.conf.arg(help="training steps of the learned code")] = 600,
) -> int:
    """Compare codes for your own paired embeddings with what no system can exceed.

    Codes are fitted to one part of the pairs and rank the other. A table and a figure show their MRR
    and recall beside the rank converse at the same bits (C4). If it is interrupted, the same command
    continues with the systems that were not finished.

    Example: rdsim gap --queries q.npy --items y.npy --bits 8,16 --output report
    """
    with needing("studies"):
        from rdsim.cli import gap as report

    rates = report.parse_bits(bits)
    dataset = report.run(
        queries, items, output, bits=rates, seed=seed, held_out=held_out, steps=steps
    )
    say(report.table(dataset))
    say(f"wrote gap.nc, gap.csv, gap.png and gap.pdf into {output.as_posix()}")
    return 0


def _limit() -> int:
    """Compute a limit from numbers or a table of yours, with its proved bounds.

    Example: rdsim limit rank --size 20 --bits 8 (more by rdsim limit --help)
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
        with interrupt.felt():
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


def entry() -> NoReturn:
    """Run the command line as a process of its own, which Ctrl-C ends within seconds."""
    code: int = interrupt.CODE
    compilation.keep_compiled_programs()
    with (
        contextlib.suppress(KeyboardInterrupt),
        interrupt.watched(lambda: say("; ".join(("interrupted", *kept_now())), error=True)),
    ):
        code = main()
    if code == interrupt.CODE:
        interrupt.end()
    sys.exit(code)


def _notes(error: BaseException) -> tuple[str, ...]:
    """Return what is known of the work that an error ended."""
    return tuple(getattr(error, "__notes__", ()))
