"""Second stage: say something that does not stop the fit."""

from __future__ import annotations

import sys
import warnings

from lmeformula.errors import LmeFormulaWarning


def warn(code: str, message: str) -> None:
    """Warn with a code of the language reference, at the line outside this package that called us."""
    level, frame = 2, sys._getframe(1)
    while frame.f_back is not None and frame.f_globals.get("__name__", "").startswith("lmeformula"):
        level, frame = level + 1, frame.f_back
    warnings.warn(f"{code}: {message}" if code else message, LmeFormulaWarning, stacklevel=level)
