"""Names of columns, levels and groups where not every letter can stand: pictures, tables, files."""

from __future__ import annotations

from collections.abc import Iterable

# Longer names are cut in pictures; and in names of files, which systems allow to be 255 bytes.
DRAWN, IN_FILES = 60, 60
# Names beside an axis: they take the width from what is drawn.
BESIDE = 30


def one_line(text: str) -> str:
    """A text without line breaks, tabs and other letters that move a terminal's cursor.

    Example:
      >>> one_line("two\\nlines\\x07")
      'two lines\ufffd'
    """
    if text.isprintable():
        return text
    kept = (" " if c.isspace() else c if c.isprintable() else "\ufffd" for c in text)
    return "".join(kept)


def drawn(text: str, most: int = DRAWN) -> str:
    r"""A text as matplotlib draws it letter by letter: what is between dollar signs is no mathematics to us.

    Args:
      text: any.
      most: letters; of a longer text the middle is left out.
    Example:
      >>> drawn("$a$"), drawn("x" * 100, 5)
      ('\\$a\\$', 'xx...xx')
    """
    line = one_line(text)
    if len(line) > most:
        line = f"{line[: most // 2]}...{line[-(most // 2) :]}"
    return line.replace("$", r"\$")


def file_names(names: Iterable[str]) -> dict[str, str]:
    """Part of a file's name for each name: letters and digits, not too long, no two alike on any system.

    Args:
      names: distinct.
    Example:
      >>> file_names(["a b", "a-b", "school"])
      {'a b': 'a-b', 'a-b': 'a-b-2', 'school': 'school'}
    """
    found: dict[str, str] = {}
    taken: set[str] = set()
    for name in names:
        safe = "".join(c if c.isascii() and c.isalnum() else "-" for c in name)[:IN_FILES]
        chosen, number = safe, 1
        # Some systems do not tell large letters from small ones.
        while chosen.lower() in taken:
            number += 1
            chosen = f"{safe}-{number}"
        taken.add(chosen.lower())
        found[name] = chosen
    return found
