"""Which marginal means are asked for: by names, or in R's notation."""

from __future__ import annotations

import re
from collections.abc import Sequence

from lmeformula.errors import ModelError

_HOW = 'Write "~ a", "~ a * b", "~ a | b", "~ 1" for one mean, or names: ["a", "b"].'


def means_and_groups(
    specs: str | Sequence[str], by: str | Sequence[str] | None
) -> tuple[list[str], tuple[str, ...]]:
    """The variables that means are told apart by, and those within whose values contrasts are made.

    Args:
      specs: names, or a text as R's emmeans takes it: "~ a * b | c", and "~ 1", or "1", for one mean.
      by: names of further ones.
    Raises:
      ModelError: for a text that is neither.
    Example:
      >>> means_and_groups("~ a * b | c", None)
      (['a', 'b'], ('c',))
      >>> means_and_groups("a", ["b"]), means_and_groups("~ 1", None)
      ((['a'], ('b',)), ([], ()))
    """
    groups = (by,) if isinstance(by, str) else () if by is None else tuple(by)
    if not isinstance(specs, str):
        return list(specs), groups
    if specs.strip() == "1":
        return [], groups
    if "~" not in specs:
        return [specs], groups
    left, _, right = specs.partition("~")
    if left.strip():
        raise ModelError(
            f"the means {specs!r} have a left side",
            hint=f'Write "~{right}", and .contrasts({left.strip()!r}) of what it returns.',
        )
    means, bar, within = right.partition("|")
    named = _names(means, specs)
    return named, (*groups, *(_names(within, specs) if bar else ()))


def _names(part: str, specs: str) -> list[str]:
    if part.strip() == "1":
        return []
    names = [name.strip() for name in re.split(r"[*:+]", part)]
    if not all(names) or any("~" in name or "|" in name for name in names):
        raise ModelError(f"the means {specs!r} are not written as means are", hint=_HOW)
    return [name.strip("`") for name in names]
