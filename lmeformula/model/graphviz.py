"""Graphviz, which lays out text in the DOT language as a picture."""

from __future__ import annotations

import shutil
import subprocess

from lmeformula.errors import LmeFormulaError

DOT_TIMEOUT = 60.0  # seconds


def run_dot(source: str, file_format: str) -> bytes:
    """Let graphviz lay out DOT text."""
    program = shutil.which("dot")
    if program is None:
        raise LmeFormulaError(
            f"drawing {file_format.upper()} needs graphviz's `dot` program, which is not installed",
            hint="Install graphviz with your system's packages, or use .text() or .dot().",
        )
    # The program is fixed and the text goes in by standard input: nothing of it is a command.
    done = subprocess.run(  # noqa: S603
        [program, f"-T{file_format}"],
        input=source.encode("utf-8"),
        capture_output=True,
        timeout=DOT_TIMEOUT,
        check=False,
    )
    if done.returncode != 0:
        message = done.stderr.decode("utf-8", "replace").strip()
        raise LmeFormulaError(f"graphviz could not draw the model: {message}")
    return done.stdout
