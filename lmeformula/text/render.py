"""One Table record as plain text, Markdown, HTML or LaTeX."""

from __future__ import annotations

import html
import textwrap
from collections.abc import Sequence

from lmeformula.text.names import one_line
from lmeformula.text.numbers import format_column
from lmeformula.text.table import Kind, Table

_LATEX_ESCAPES = str.maketrans(
    {
        "\\": r"\textbackslash{}",
        "&": r"\&",
        "%": r"\%",
        "$": r"\$",
        "#": r"\#",
        "_": r"\_",
        "{": r"\{",
        "}": r"\}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "|": r"\textbar{}",
        "<": r"\textless{}",
        ">": r"\textgreater{}",
    }
)

# A name is neither a link, nor an element, nor mathematics.
_MARKDOWN_ESCAPES = str.maketrans(
    {letter: f"\\{letter}" for letter in "\\|*_`[]$~"} | {"<": "&lt;", ">": "&gt;"}
)


def to_text(table: Table, width: int = 80) -> str:
    """Render a table as aligned plain text.

    Args:
      table: the table.
      width: columns of the terminal; a wider table is cut into blocks that repeat its first
        column, and notes are wrapped.
    Returns:
      text: title, table and notes; no newline at the end.
    Example:
      >>> from lmeformula.text.table import Column
      >>> names, values = Column("", ("x", "z"), "text"), Column("estimate", (1.5, 22.0))
      >>> print(to_text(Table("", (names, values))))
         estimate
      x     1.500
      z    22.000
    """
    columns = [_aligned(texts, table, j) for j, texts in enumerate(_cells(table))]
    lines = [one_line(table.title)] if table.title else []
    for number, block in enumerate(_blocks([len(column[0]) for column in columns], width)):
        lines += [""] if number else []
        rows = zip(*(columns[j] for j in block), strict=True)
        lines += ["  ".join(row).rstrip() for row in rows]
    for note in table.notes:
        lines += textwrap.wrap(note, width)
    return "\n".join(lines)


def to_markdown(table: Table) -> str:
    """Render a table in GitHub's Markdown.

    Args:
      table: the table.
    Returns:
      text: the title in bold, the table, the notes as paragraphs.
    """
    rows = zip(*([markdown_text(text) for text in texts] for texts in _cells(table)), strict=True)
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    rules = (":---" if column.kind == "text" else "---:" for column in table.columns)
    lines.insert(1, "| " + " | ".join(rules) + " |")
    parts = [f"**{markdown_text(table.title)}**"] if table.title else []
    return "\n\n".join([*parts, "\n".join(lines), *map(markdown_text, table.notes)])


def to_html(table: Table) -> str:
    """Render a table as HTML without colours of its own, so that it suits light and dark pages.

    Args:
      table: the table.
    Returns:
      text: a `table` element; the notes stand in its foot.
    """
    headings, *rows = zip(*_cells(table), strict=True)
    kinds = [column.kind for column in table.columns]
    parts = ['<table class="lmeformula">']
    if table.title:
        parts.append(f"<caption>{html.escape(table.title)}</caption>")
    parts.append(f"<thead>{_html_row('th', headings, kinds)}</thead>")
    body = "".join(_html_row("td", row, kinds) for row in rows)
    parts.append(f"<tbody>{body}</tbody>")
    if table.notes:
        notes = "<br>".join(html.escape(note) for note in table.notes)
        parts.append(f'<tfoot><tr><td colspan="{len(kinds)}">{notes}</td></tr></tfoot>')
    return "\n".join([*parts, "</table>"])


def to_latex(table: Table) -> str:
    r"""Render a table as LaTeX with the rules of the booktabs package.

    Args:
      table: the table.
    Returns:
      text: a `table` environment when there is a title, else a bare `tabular`.
    """
    headings, *rows = zip(*_cells(table), strict=True)
    layout = "".join("l" if column.kind == "text" else "r" for column in table.columns)
    lines = [rf"\begin{{tabular}}{{{layout}}}", r"\toprule", _latex_row(headings), r"\midrule"]
    lines += [_latex_row(row) for row in rows]
    lines += [r"\bottomrule", r"\end{tabular}"]
    lines += [rf"\par {note.translate(_LATEX_ESCAPES)}" for note in table.notes]
    if table.title:
        caption = rf"\caption{{{one_line(table.title).translate(_LATEX_ESCAPES)}}}"
        lines = [r"\begin{table}", r"\centering", caption, *lines, r"\end{table}"]
    return "\n".join(lines)


def facts_lines(facts: Sequence[tuple[str, str]], width: int) -> list[str]:
    """Render labels and texts, one or several, as lines in which the texts stand below one another."""
    indent = 2 + max(len(label) for label, _ in facts) + 2
    lines: list[str] = []
    for label, text in facts:
        first = f"  {label}".ljust(indent)
        lines += textwrap.wrap(text, width, initial_indent=first, subsequent_indent=" " * indent)
    return lines


def facts_html(facts: Sequence[tuple[str, str]]) -> str:
    """Render labels and texts as a table."""
    rows = (
        f"<tr><th style='text-align: left'>{html.escape(label)}</th>"
        f"<td style='text-align: left'>{html.escape(text)}</td></tr>"
        for label, text in facts
    )
    return f"<table>{''.join(rows)}</table>"


def _cells(table: Table) -> list[tuple[str, ...]]:
    """The texts of each column, its heading first."""
    columns = ((column.heading, *format_column(column)) for column in table.columns)
    return [tuple(map(one_line, texts)) for texts in columns]


def _aligned(texts: tuple[str, ...], table: Table, j: int) -> list[str]:
    width = max(map(len, texts))
    left = table.columns[j].kind == "text"
    return [text.ljust(width) if left else text.rjust(width) for text in texts]


def _blocks(widths: list[int], width: int) -> list[list[int]]:
    """Share the columns out over blocks that fit; each later block starts with column 0 again."""
    blocks, used = [[0]], widths[0]
    for j, wide in enumerate(widths[1:], start=1):
        if used + 2 + wide > width and len(blocks[-1]) > 1:
            blocks.append([0])
            used = widths[0]
        blocks[-1].append(j)
        used += 2 + wide
    return blocks


def markdown_text(text: str) -> str:
    """A text as Markdown shows it letter by letter."""
    return one_line(text).translate(_MARKDOWN_ESCAPES)


def _html_row(tag: str, texts: tuple[str, ...], kinds: list[Kind]) -> str:
    sides = ("left" if kind == "text" else "right" for kind in kinds)
    cells = (
        f'<{tag} style="text-align: {side}">{html.escape(text)}</{tag}>'
        for text, side in zip(texts, sides, strict=True)
    )
    return f"<tr>{''.join(cells)}</tr>"


def _latex_row(texts: tuple[str, ...]) -> str:
    escaped = (text.translate(_LATEX_ESCAPES) for text in texts)
    return " & ".join(_latex_minus(text) for text in escaped) + r" \\"


def _latex_minus(text: str) -> str:
    """A hyphen before a digit is a minus sign."""
    is_negative = len(text) > 1 and text[0] == "-" and text[1].isdigit()
    return f"$-${text[1:]}" if is_negative else text
