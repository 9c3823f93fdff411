"""The default of arguments that change a fit: what is not given stays as it was."""

from __future__ import annotations

import enum
from typing import Any

from lmeformula.arguments.kinds import Check


class Kept(enum.Enum):
    """One value, for None means something else: no weights, no fixed sigma."""

    KEPT = "as it was"

    def __repr__(self) -> str:
        return self.value


KEPT = Kept.KEPT


def unless_kept(check: Check) -> Check:
    """What a check takes, or that it stays as it was."""
    return lambda name, value: None if value is KEPT else check(name, value)


def given(**arguments: Any) -> dict[str, Any]:
    """Those that were given.

    Example:
      >>> given(sigma=None, weights=KEPT)
      {'sigma': None}
    """
    return {name: value for name, value in arguments.items() if value is not KEPT}


def or_kept(value: Any, before: Any) -> Any:
    """A value that was given, else what it was before."""
    return before if value is KEPT else value
