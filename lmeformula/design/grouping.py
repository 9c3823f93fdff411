"""Second stage: grouping factors - single ones, and several joined by ":" with their observed combinations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from lmeformula.arrays import Ints
from lmeformula.design.values import Categories, drop_unused, places_of, recode


@dataclass(frozen=True, eq=False)
class Grouping:
    """A grouping factor of the data of the fit: what new rows are matched against.

    Attributes:
      parts: (m) for each of its columns, the names of the observed levels.
      pairs: (m - 1) for the second and each further column, the sorted keys of the combinations that were
        observed: (code so far) * (number of the column's levels) + (the column's code). A key's place is the
        code of the combination.
      levels: (l) the displayed names, "g1:h1".
    """

    parts: tuple[tuple[str, ...], ...]
    pairs: tuple[Ints, ...]
    levels: tuple[str, ...]

    @cached_property
    def places(self) -> tuple[dict[str, int], ...]:
        """(m) for each of the columns, the places of its levels: made once for all new rows."""
        return tuple(map(places_of, self.parts))

    def __getstate__(self) -> dict[str, Any]:
        """What is copied and pickled: no places."""
        return {name: value for name, value in self.__dict__.items() if name != "places"}


def group_rows(factors: Sequence[Categories]) -> tuple[Grouping, Ints]:
    """Number the levels of a grouping factor: the first column is major, only observed combinations count.

    Args:
      factors: (m) the columns on the rows used, none missing.
    Returns:
      The grouping, and (n,) each row's level.
    """
    used = [drop_unused(factor) for factor in factors]
    codes, names = used[0].codes, used[0].levels
    pairs = []
    for factor in used[1:]:
        width = len(factor.levels)
        keys, codes = _number(codes.astype(np.int64) * width + factor.codes, len(names) * width)
        earlier, later = np.divmod(keys, width)
        places = list(zip(earlier.tolist(), later.tolist(), strict=True))
        made = tuple(f"{names[i]}:{factor.levels[j]}" for i, j in places)
        if len(set(made)) < len(made):
            # "a:b" with "c", and "a" with "b:c".
            made = tuple(f"{_quoted(names[i])}:{_quoted(factor.levels[j])}" for i, j in places)
        names = made
        pairs.append(keys)
    return Grouping(tuple(factor.levels for factor in used), tuple(pairs), names), codes


def _quoted(name: str) -> str:
    """A level's name, in backticks where it has a colon of its own."""
    return f"`{name}`" if ":" in name else name


def match_rows(grouping: Grouping, factors: Sequence[Categories]) -> tuple[Ints, tuple[str, ...]]:
    """Find each new row's level of a known grouping factor.

    Args:
      grouping: the levels of the data of the fit.
      factors: (m) the columns of the new rows, none missing.
    Returns:
      (n,) the levels, -1, -2, ... where the level or combination was not observed: the first, second, ... of
      the names that come second.
    """
    each = zip(factors, grouping.parts, grouping.places, strict=True)
    found = [recode(factor, part, places)[0] for factor, part, places in each]
    codes = found[0]
    for later, part, keys in zip(found[1:], grouping.parts[1:], grouping.pairs, strict=True):
        wanted = codes * len(part) + later
        place = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
        is_known = (codes >= 0) & (later >= 0) & (keys[place] == wanted)
        codes = np.where(is_known, place, -1)
    rows = np.flatnonzero(codes < 0)
    if rows.size == 0:
        return codes, ()
    columns = [[factor.levels[i] for i in factor.codes[rows].tolist()] for factor in factors]
    labels = [":".join(row) for row in zip(*columns, strict=True)]
    names = {name: place for place, name in enumerate(dict.fromkeys(labels))}
    codes[rows] = [-1 - names[name] for name in labels]
    return codes, tuple(names)


def _number(keys: Ints, bound: int) -> tuple[Ints, Ints]:
    """Give the distinct keys, sorted, and each row's place among them."""
    if bound <= 8 * keys.size + 1024:  # a table of all possible keys is cheaper than a sort
        seen = np.zeros(bound, dtype=bool)
        seen[keys] = True
        place = np.cumsum(seen) - 1
        return np.flatnonzero(seen), place[keys]
    distinct, inverse = np.unique(keys, return_inverse=True)
    return distinct, inverse.astype(np.int64)
