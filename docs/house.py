"""What the documentation site needs to read the house's docstrings and tables as they are written."""

from __future__ import annotations

import re
from typing import Any
from xml.etree.ElementTree import Element

import griffe
from markdown import Markdown
from markdown.extensions import Extension
from markdown.treeprocessors import Treeprocessor
from markdown.util import AtomicString


class Sections(griffe.Extension):
    """Docstrings as griffe wants them: a blank line before a section, and sessions under "Examples:"."""

    def on_object(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        """Rewrite the docstring of one object, as it is read."""
        if obj.docstring is not None:
            apart = re.sub(r"(?<!\n)\n(?=\w+:$)", "\n\n", obj.docstring.value, flags=re.MULTILINE)
            obj.docstring.value = re.sub(r"^Example:$", "Examples:", apart, flags=re.MULTILINE)


class _Bars(Treeprocessor):
    def run(self, root: Element) -> None:
        for cell in root.iter("td"):
            for code in cell.iter("code"):
                code.text = AtomicString((code.text or "").replace("\\|", "|"))


class TablesAsOnGitHub(Extension):
    r"""In a table's code `\|` is a bar, as on GitHub; Python's Markdown shows the backslash."""

    def extendMarkdown(self, md: Markdown) -> None:
        """Go over the cells when their code has been found, which is done with priority 20."""
        md.treeprocessors.register(_Bars(md), "bars", 15)


def makeExtension(**config: Any) -> TablesAsOnGitHub:
    """The Markdown extension of this file."""
    return TablesAsOnGitHub(**config)
