"""The command rdsim limit: one limit, from numbers on the command line or a table in a file."""

import functools
import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import tyro

from rdsim import limits, ranking, sources, validation
from rdsim.cli.limit_output import check_plot, draw_curve, show_table, with_bounds
from rdsim.cli.messages import CommandError, say
from rdsim.cli.tables import read_array

Loss = Annotated[
    Literal["error", "reciprocal_rank", "dcg"] | str,
    tyro.conf.arg(
        metavar="LOSS", help="error, reciprocal_rank (1 - MRR), dcg, or miss_K (rank above K)"
    ),
]
Size = Annotated[
    float, tyro.conf.arg(help="log2 of the number M of items in the database, up to 1000")
]
Sizes = Annotated[
    tuple[float, ...],
    tyro.conf.arg(help="log2 of the number M of items in the database, one or several, up to 1000"),
]
Bits = Annotated[
    tuple[float, ...], tyro.conf.arg(help="bits stored for an item, one number or several")
]
Rates = Annotated[
    tuple[float, ...],
    tyro.conf.arg(help="bits stored for each letter of an item, one number or several"),
]
Plot = Annotated[
    Path | None,
    tyro.conf.arg(metavar="FILE", help="draw the curve through these points, .png/.pdf"),
]


@dataclass(frozen=True)
class Source:
    """The joint distribution of query X and item Y: exactly one of these."""

    joint: Annotated[
        Path | None, tyro.conf.arg(metavar="FILE", help="table P(x,y), rows x, .npy, .npz or .csv")
    ] = None
    dsbs: Annotated[
        float | None, tyro.conf.arg(metavar="P", help="doubly symmetric binary, crossover P")
    ] = None
    gaussian: Annotated[
        float | None, tyro.conf.arg(metavar="RHO", help="scalar Gaussian, correlation RHO")
    ] = None

    def given(self) -> tuple[str, Any]:
        """Return the one that is given, its table read.

        Raises:
            CommandError: if none or several are.

        """
        named = {"joint": self.joint, "dsbs": self.dsbs, "gaussian": self.gaussian}
        chosen = [(name, value) for name, value in named.items() if value is not None]
        if len(chosen) != 1:
            found = ", ".join(f"--{name}" for name, _ in chosen) or "none"
            raise CommandError(
                f"name one source: --joint FILE, --dsbs P or --gaussian RHO; got {found}"
            )
        name, value = chosen[0]
        return (name, read_array(value, "--joint", 2)) if isinstance(value, Path) else (name, value)


_POINTS = ("bits", "distortion", "rate", "target")
"""Arguments at whose values a limit is computed, one of each command."""

Where = tyro.conf.OmitArgPrefixes[Source]


def _refusing(command: Callable[..., int]) -> Callable[..., int]:
    """Say in one line what the library refuses: its errors name the argument and the value.

    Where a figure cannot be written is said before anything is computed.
    """
    signature = inspect.signature(command)

    @functools.wraps(command)
    def checked(*args: Any, **options: Any) -> int:
        given = signature.bind(*args, **options).arguments
        plot = given.get("plot")
        if plot is not None:
            check_plot(plot, next(given[name] for name in _POINTS if name in given))
        try:
            return command(*args, **options)
        except (ValueError, TypeError) as error:
            raise CommandError(str(error)) from error

    return checked


def rank(log2_size: Size, bits: Bits, loss: Loss = "reciprocal_rank", plot: Plot = None) -> int:
    """Least rank loss of any system that keeps some bits per item (C2, C4), whatever the data.

    Example: rdsim limit rank --log2-size 20 --bits 1 4 8 16
    """
    found = limits.rank_loss(log2_size, _loss(loss), rate=np.array(bits))
    columns = {"least loss": found.value, "lower bound": found.lower, "upper bound": found.upper}
    show_table("bits per item", bits, columns)

    def curve(x: np.ndarray) -> dict[str, Any]:
        return {
            f"least loss, M = 2^{log2_size:g}": limits.rank_loss(log2_size, _loss(loss), rate=x)
        }

    return draw_curve(plot, bits, curve, "bits per item", f"{loss} loss".replace("_", " "))


def rate_distortion(
    probabilities: Annotated[
        tuple[float, ...], tyro.conf.arg(help="of the source letters, summing to one")
    ],
    distortion: Annotated[
        tuple[float, ...], tyro.conf.arg(help="largest mean distortions D, one number or several")
    ],
    distortion_matrix: Annotated[
        Path | None,
        tyro.conf.arg(
            metavar="FILE",
            help="table of the distortion measure d(y,u), .npy, .npz or .csv; by default the Hamming distance",
        ),
    ] = None,
    plot: Plot = None,
) -> int:
    """Bits per letter that a distortion needs, R(D), certified (C5).

    Example: rdsim limit rate-distortion --probabilities .5 .25 .15 .1 --distortion .1 .2
    """
    d = (
        1 - np.eye(len(probabilities))
        if distortion_matrix is None
        else read_array(distortion_matrix, "--distortion-matrix", 2)
    )
    show_table(
        "D",
        distortion,
        with_bounds(limits.rate_at(probabilities, d, np.array(distortion)), "R(D) bits"),
    )

    def curve(x: np.ndarray) -> dict[str, Any]:
        return {"R(D)": limits.rate_at(probabilities, d, x)}

    return draw_curve(plot, distortion, curve, "distortion D", "rate R [bits per letter]")


def bottleneck(source: Where, rate: Rates, plot: Plot = None) -> int:
    """Most information about the query in codes of R bits per letter, IB(R), the information bottleneck (C9, C10).

    Example: rdsim limit bottleneck --dsbs .1 --rate .25 .5 .75
    """
    kind, parameter = source.given()

    def of(R: np.ndarray) -> Any:
        if kind == "joint":
            return limits.bottleneck_at(parameter, R, compress="columns")
        known = limits.bottleneck_dsbs if kind == "dsbs" else limits.bottleneck_gaussian
        return known(parameter, rate=R)

    found = of(np.array(rate))
    columns = with_bounds(found, "IB(R) bits") if kind == "joint" else {"IB(R) bits": found}
    show_table("R", rate, columns)

    def curve(x: np.ndarray) -> dict[str, Any]:
        return {"IB(R)": of(x)}

    return draw_curve(plot, rate, curve, "rate R [bits per letter]", "IB(R) [bits per letter]")


def retrieval(
    source: Where,
    log2_size: Size,
    target: Annotated[
        tuple[float, ...], tyro.conf.arg(help="expected losses to be met, such as 1 - MRR")
    ],
    letters: Annotated[int, tyro.conf.arg(help="letters in an item, n")] = 1,
    loss: Loss = "reciprocal_rank",
    plot: Plot = None,
) -> int:
    """Bits per item that a rank loss needs: no system needs fewer than the lower bound, one channel reaches it with the upper (C12).

    Example: rdsim limit retrieval --dsbs .1 --log2-size 10 --letters 32 --target .1 .3 .5
    """
    kind, parameter = source.given()
    make: Any = {"joint": sources.discrete, "dsbs": sources.dsbs, "gaussian": sources.gaussian}[
        kind
    ]
    whole = _loss_of_stored_items(kind, make(parameter), log2_size, letters, _loss(loss))

    def bounds(D: Sequence[float] | np.ndarray) -> Any:
        return limits.retrieval_bounds(
            make(parameter), log2_size, _loss(loss), n=letters, distortion=D
        )

    found = bounds(np.array(target))
    show_table(
        "loss",
        target,
        {"lower bound, bits per item": found.lower, "upper bound, bits per item": found.upper},
    )
    for D, upper in zip(target, np.asarray(found.upper), strict=True):
        if whole > D:
            say(f"loss {D:g}: out of reach, even items stored whole have a loss of {whole:.9f}")
        elif np.isinf(upper):
            say(f"loss {D:g}: no channel that was searched reaches it; items stored whole do")
    if plot is not None and max(target) < whole:
        raise CommandError(
            f"--plot has nothing to draw up to a loss of {max(target):g}: even items stored whole "
            f"have a loss of {whole:.6f}"
        )

    def curve(x: np.ndarray) -> dict[str, Any]:
        both = bounds(x)
        finite = [np.where(np.isfinite(b), b, np.nan) for b in (both.lower, both.upper)]
        return {"lower bound": finite[0], "upper bound": finite[1]}

    name = f"{loss} loss".replace("_", " ")
    return draw_curve(plot, target, curve, name, "bits per item")


def converse(
    source: Where,
    log2_size: Sizes,
    bits: Bits,
    letters: Annotated[
        int, tyro.conf.arg(help="letters, or coordinates, in an item; the bits are of all together")
    ] = 1,
    loss: Loss = "reciprocal_rank",
    rate: Annotated[
        Literal["fixed_length", "entropy", "information"],
        tyro.conf.arg(help="what is counted: bits of every codeword, of the mean one, or I(U;Y)"),
    ] = "fixed_length",
    encoder: Annotated[
        Literal["shared", "separate", "joint"],
        tyro.conf.arg(
            help="the same for every item, one for each, or one that sees the whole database"
        ),
    ] = "shared",
    plot: Plot = None,
) -> int:
    """Least rank loss of any code of so many bits per item for this source, by the tightest known bound (C27).

    Example: rdsim limit converse --gaussian .9 --letters 16 --log2-size 10 20 --bits 8 16 32
    """
    kind, parameter = source.given()
    if kind == "gaussian":
        n = validation.integer("letters", letters, low=1, high=4096)
        correlation = float(validation.interval("gaussian", parameter, low=-1.0, high=1.0, ndim=0))
        known: Any = sources.vector_gaussian(np.eye(n), np.eye(n), correlation * np.eye(n))
        options = {}
    else:
        known = sources.dsbs(parameter) if kind == "dsbs" else sources.discrete(parameter)
        options = {"letters": letters}

    names = [f"least loss, M = 2^{size:g}" for size in log2_size]

    def bound(x: np.ndarray) -> Any:
        sizes = np.array(log2_size)[:, None]
        return limits.retrieval_converse(
            known, sizes, _loss(loss), bits=x, rate=rate, encoder=encoder, **options
        )

    found = bound(np.array(bits))
    bounds = np.reshape(found.bound, found.loss.shape).tolist()
    for name, losses, by in zip(names, found.loss, bounds, strict=True):
        show_table("bits per item", bits, {name: losses, "bound": by})

    def curve(x: np.ndarray) -> dict[str, Any]:
        return dict(zip(names, bound(x).loss, strict=True))

    return draw_curve(plot, bits, curve, "bits per item", f"{loss} loss".replace("_", " "))


def _loss_of_stored_items(
    kind: str, source: Any, log2_size: float, letters: int, loss: Any
) -> float:
    if kind == "gaussian":
        correlation = float(source.canonical_correlations[0])
        return float(ranking.gaussian_rank_loss(correlation, log2_size, loss, n=letters).value)
    whole = np.eye(source.joint.shape[1])
    return float(ranking.block_loss(source.joint, whole, log2_size, loss, n=letters))


COMMANDS = {
    name: _refusing(command)
    for name, command in (
        ("rank", rank),
        ("rate-distortion", rate_distortion),
        ("bottleneck", bottleneck),
        ("retrieval", retrieval),
        ("converse", converse),
    )
}


def _loss(name: str) -> Any:
    kind, _, cutoff = name.partition("_")
    return ("miss", int(cutoff)) if kind == "miss" and cutoff.isdigit() else name
