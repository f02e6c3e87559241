"""A page of figures to look at: two studies at their smallest, and a reader of its elements."""

from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace

import numpy as np

from experiments.runner import drawing, gallery, store
from experiments.runner.discovery import discover
from experiments.runner.ledger import ledger
from experiments.runner.run import compute

NAMES = ("explorer", "wyner_ziv")
VOID = {"img", "input", "link", "meta", "br", "hr"}
TESTS = Path(__file__).parents[1]


def invented(name, _function, config, *_arguments):
    """Give the explorer numbers of the right shapes, falling with the rate."""
    sources, rates = len(config.sources), len(config.rates)
    menu = (sources, len(config.log2_sizes), len(config.block_lengths), rates)
    shapes = {
        "bottlenecks": (sources, rates),
    }
    shape = shapes.get(name, menu)
    if name == "drawn":
        # For each converse some numbers that lie above all others, and some that lie below; or none.
        shape = (2, sources, len(config.block_lengths), rates)
        loss = np.random.default_rng(7).choice([np.nan, 0.001, 0.998, 0.999], shape)
        return {"loss": loss}
    if name == "codewords":
        return {"loss": np.random.default_rng(8).random((1, 3))}
    if name.startswith("codes-"):
        return {"loss": np.random.default_rng(9).random((1, len(config.log2_sizes), rates))}
    value = -np.sort(-np.random.default_rng(len(name)).random(shape), axis=-1)
    return {"value": value, "loss": value, "lower": value - 1e-9, "upper": value + 2e-9}


def written(home):
    """Two studies at their smallest, drawn, and their page; the explorer's numbers are made up."""
    results, output = home / "results", home / "figures" / "output"
    entries, states = [], {}
    explorer, wyner_ziv = (discover()[name] for name in NAMES)
    made = explorer.module().run(explorer.config("smoke"), None, invented)
    store.save(made, store.Recipe.of(explorer, "smoke"), results)
    for study in (explorer, wyner_ziv):
        _, dataset = compute(study, "smoke", 0, results)
        states[study.name] = store.State("fresh", dataset=dataset)
        drawing.draw(study, dataset, drawing.folder(output, "smoke"))
        entries.append((study, dataset))
    found = ledger(results, "smoke", TESTS, states)
    page = gallery.write(entries, found, output, "smoke", TESTS)
    return SimpleNamespace(page=page, entries=entries, found=found, output=output)


class Page(HTMLParser):
    """Elements and their text; complains where tags do not match."""

    def __init__(self, text):
        super().__init__()
        self.open, self.elements, self.errors = [], [], []
        self.feed(text)
        self.errors += [f"{name} is not closed" for name, *_ in self.open]

    def handle_starttag(self, name, attributes):
        element = SimpleNamespace(name=name, text="", at=dict(attributes))
        self.elements.append(element)
        if name not in VOID:
            self.open.append((name, element))

    def handle_endtag(self, name):
        if not self.open or self.open[-1][0] != name:
            self.errors.append(f"</{name}> at {self.getpos()}")
        else:
            self.open.pop()

    def handle_data(self, data):
        for _, element in self.open:
            element.text += data

    def one(self, **attributes):
        (found,) = (e for e in self.elements if attributes.items() <= e.at.items())
        return found

    def all(self, attribute):
        return [e.at[attribute] for e in self.elements if attribute in e.at]
