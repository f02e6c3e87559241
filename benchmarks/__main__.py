"""Run the benchmarks and print their tables: `python -m benchmarks [NAME ...]`.

Without names all but those that say BY_NAME_ONLY run. Their results, or with --save those of the ones
that are named, are written to results.json and RESULTS.md. With --gpu they run on the accelerator, and their rows are kept beside those of the CPU.
"""

import argparse
import importlib
import pkgutil
import sys
from types import ModuleType

import jax
from rich.console import Console

PACKAGE = "benchmarks"


def names() -> list[str]:
    """Names of all benchmarks: the modules of the package without a leading underscore."""
    path = importlib.import_module(PACKAGE).__path__
    return sorted(m.name for m in pkgutil.iter_modules(path) if not m.name.startswith("_"))


def module(name: str) -> ModuleType:
    """Import one benchmark."""
    return importlib.import_module(f"{PACKAGE}.{name}")


def main(arguments: list[str] | None = None) -> int:
    """Run what the command line asks for; return the exit status."""
    known = names()
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(known)}")
    parser.add_argument("--gpu", action="store_true", help="run on the accelerator")
    parser.add_argument("--save", action="store_true", help="save also if only some are run")
    parser.add_argument("--smoke", action="store_true", help="the smallest sizes, not saved")
    options = parser.parse_args(arguments)
    if unknown := set(options.names) - set(known):
        parser.error(f"unknown benchmark {', '.join(sorted(unknown))}; known: {', '.join(known)}")
    if not options.gpu:
        jax.config.update("jax_platforms", "cpu")
    device = jax.default_backend()
    if options.gpu and device == "cpu":
        print("--gpu: JAX has no accelerator here; nothing was run", file=sys.stderr)  # noqa: T201
        return 1
    # Imported late: they compute with JAX, whose platform is chosen above.
    from benchmarks import _machine, _report

    machine, console = _machine.described(), Console(file=sys.stdout, width=150)
    console.print(_machine.in_words(machine))
    by_name_only = {name for name in known if getattr(module(name), "BY_NAME_ONLY", False)}
    done = {}
    for name in options.names or [name for name in known if name not in by_name_only]:
        benchmark = module(name)
        rows = benchmark.run(benchmark.SMOKE if options.smoke else benchmark.FULL)
        _report.show(benchmark.TITLE, rows, console)
        done[name] = _report.entry(benchmark.TITLE, rows)
    if not options.smoke and (options.save or not options.names):
        results = _report.read()
        before = results.get(device, {}).get("benchmarks", {})
        kept = {name: before[name] for name in before if options.names or name in by_name_only}
        found = {name: (kept | done)[name] for name in known if name in kept | done}
        results[device] = {"machine": machine, "benchmarks": found}
        _report.write(results)
    return 0


if __name__ == "__main__":
    sys.exit(main())
