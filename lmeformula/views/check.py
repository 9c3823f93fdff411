"""View stage: what a check found, as text and as HTML."""

from __future__ import annotations

import html
import math
import textwrap
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lmeformula.result.check import Check, Finding

# Smaller chances are not told apart.
SMALLEST = 1e-4


def check_text(found: Check, width: int = 80) -> str:
    """Say what seems wrong and what to try.

    Args:
      found: the record.
      width: columns of the terminal.
    Returns:
      text: no newline at the end.
    """
    lines = textwrap.wrap(_head(found), width)
    for finding in found.findings:
        lines += textwrap.wrap(f"- {_what(finding)}", width, subsequent_indent="  ")
        lines += textwrap.wrap(finding.advice, width, initial_indent="  ", subsequent_indent="  ")
    return "\n".join(lines)


def check_html(found: Check) -> str:
    """The same as HTML."""
    items = "".join(
        f"<li>{html.escape(_what(finding))}<br>{html.escape(finding.advice)}</li>"
        for finding in found.findings
    )
    return f"<p>{html.escape(_head(found))}</p>" + (f"\n<ul>{items}</ul>" if items else "")


def _head(found: Check) -> str:
    looked = f"Looked at: {', '.join(found.looked_at)}."
    skipped = "".join(f" Not at {reason}." for reason in found.skipped)
    if not found.findings:
        return f"Nothing seems wrong. {looked}{skipped}"
    count = len(found.findings)
    return f"{count} {'thing seems' if count == 1 else 'things seem'} wrong. {looked}{skipped}"


def _what(finding: Finding) -> str:
    if math.isnan(finding.p_value):
        return f"{finding.name}: {finding.what}."
    chance = "< 0.0001" if finding.p_value < SMALLEST else f"= {finding.p_value:.2g}"
    return f"{finding.name}: {finding.what} (p {chance})."
