"""Formulas as MathML: no script of others turns them into pictures in the browser."""

import html
import re
from typing import Final

import latex2mathml.converter
from mkdocs.exceptions import PluginError

_INLINE: Final = re.compile(r'<span class="arithmatex">\\\((.*?)\\\)</span>', re.DOTALL)
_DISPLAY: Final = re.compile(r'<div class="arithmatex">\\\[(.*?)\\\]</div>', re.DOTALL)


def mathml(latex: str, display: str = "inline") -> str:
    """Return a formula as MathML; raise where a command is unknown."""
    # Three things that the converter lacks; braces grow by themselves.
    known = latex.strip().replace(r"\arg", r"\operatorname{arg}").replace(r"\_", "_")
    known = re.sub(r"\\[Bb]igg?[lr]?(?=\\[{}|])", "", known)
    try:
        converted = latex2mathml.converter.convert(known, display=display)
    except Exception as error:  # each unknown command fails in a way of its own
        raise PluginError(f"formula {latex!r} does not convert: {error!r}") from error
    # The converter copies what it does not know as it stands.
    if "\\" in converted or "&#x0005C;" in converted:
        raise PluginError(f"formula {latex!r} does not convert: unknown command")
    return converted


def formulas(content: str, page: str = "") -> str:
    """Return the HTML of a page with every formula as MathML."""
    content = _INLINE.sub(lambda found: mathml(html.unescape(found[1])), content)
    content = _DISPLAY.sub(lambda found: mathml(html.unescape(found[1]), "block"), content)
    if "arithmatex" in content:
        place = content.index("arithmatex")
        raise PluginError(f"{page}: a formula was not converted: {content[place : place + 200]!r}")
    return content
