"""Writes HTML elements: what is inside is text and is escaped, unless it is markup already."""

from collections.abc import Iterable, Iterator
from html import escape
from typing import Final

_VOID: Final = frozenset({"img", "input"})
_BLOCKS: Final = frozenset(
    {"article", "details", "div", "dl", "figure", "form", "header", "nav", "section", "select"}
    | {"table", "tbody", "thead", "tr", "ul"}
)
"""Elements whose parts stand on lines of their own; elsewhere a line break would be seen."""


class Markup(str):
    """HTML that is written as it stands."""

    __slots__ = ()


Inside = str | Iterable["Inside"]


def tag(name: str, /, *inside: Inside, **attributes: str | bool) -> Markup:
    """Return one element.

    Attributes are named as in Python: `class_` is class, `data_value` is data-value. One that is
    True stands without a value, one that is False is left out.

    Args:
        name: of the element.
        *inside: its text, its elements, and nested sequences of both.
        **attributes: its attributes.

    """
    words = [name]
    for key, value in attributes.items():
        label = key.rstrip("_").replace("_", "-")
        if value is True:
            words.append(label)
        elif value is not False:
            words.append(f'{label}="{escape(value)}"')
    opened = f"<{' '.join(words)}>"
    if name in _VOID:
        return Markup(opened)
    between = "\n" if name in _BLOCKS else ""
    return Markup(f"{opened}{joined(inside, between)}</{name}>")


def joined(inside: Inside, between: str = "\n") -> Markup:
    """Return elements and escaped texts one after another."""
    return Markup(between.join(_flat(inside)))


def _flat(inside: Inside) -> Iterator[str]:
    if isinstance(inside, str):
        yield inside if isinstance(inside, Markup) else escape(inside)
    else:
        for part in inside:
            yield from _flat(part)
