"""Two records side by side."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

# A number that has moved by less, relative to the largest of its array, is one whose rounding has changed.
ROUNDING = 1e-8
# A fit may take so many times as long, or so many seconds more, on a machine that does other things besides.
SLOWER, SLOWER_BY = 1.3, 0.3


class Difference(NamedTuple):
    """One thing that is not as it was.

    Attributes:
      case: which call.
      what: of what it gives.
      kind: "moved", "rounding", "text", "saved", "slower", "gone", "new".
      words: how.
    """

    case: str
    what: str
    kind: str
    words: str


def differences(before: dict[str, Any], after: dict[str, Any]) -> Iterator[Difference]:
    """Yield what is not the same in two records of all cases."""
    for case in before["fits"].keys() | after["fits"].keys():
        if case not in after["fits"] or case not in before["fits"]:
            yield Difference(case, "", "gone" if case in before["fits"] else "new", "")
            continue
        yield from _of_fit(case, before["fits"][case], after["fits"][case])
    for case, words in before["refused"].items():
        now = after["refused"].get(case, "gone")
        if now != words:
            yield Difference(case, "refusal", "text", _changed(words, now))


def _of_fit(case: str, before: dict[str, Any], after: dict[str, Any]) -> Iterator[Difference]:
    for name, numbers in before["numbers"].items():
        now = after["numbers"].get(name)
        if now is None:
            yield Difference(case, name, "gone", "")
        elif now != numbers:
            off = _off(numbers, now)
            yield Difference(case, name, "rounding" if off < ROUNDING else "moved", f"by {off:.1e}")
    for name, text in before["texts"].items():
        if after["texts"].get(name) != text:
            yield Difference(case, name, "text", _changed(text, after["texts"].get(name, "")))
    if before["saved"] != after["saved"]:
        members = before["saved"].keys() | after["saved"].keys()
        apart = [m for m in members if before["saved"].get(m) != after["saved"].get(m)]
        yield Difference(case, "saved file", "saved", ", ".join(sorted(apart)))
    was, now = before["seconds"], after["seconds"]
    if now > SLOWER * was and now > was + SLOWER_BY:
        yield Difference(case, "seconds", "slower", f"{was:.2f}, then {now:.2f}")


def _off(before: list[str], after: list[str]) -> float:
    if len(before) != len(after):
        return float("inf")
    a, b = (np.array([float.fromhex(value) for value in values]) for values in (before, after))
    is_number = np.isfinite(a) & np.isfinite(b)
    if not np.array_equal(a[~is_number], b[~is_number], equal_nan=True):
        return float("inf")
    size = float(np.abs(a[is_number]).max(initial=0.0)) or 1.0
    return float(np.abs(a - b)[is_number].max(initial=0.0)) / size


def _changed(before: str, after: str) -> str:
    lines = difflib.unified_diff(before.splitlines(), after.splitlines(), lineterm="", n=0)
    return "\n".join(["", *(f"    {line}" for line in list(lines)[2:12])])
