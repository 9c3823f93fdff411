"""Families in pickles: those of the table go by name, as their functions cannot go themselves."""

from __future__ import annotations

import copyreg
from collections.abc import Callable
from typing import Any

from lmeformula.family.built_in import FAMILIES
from lmeformula.family.built_in import family as find_family
from lmeformula.family.predicted import with_predictors
from lmeformula.family.record import Family

HOME = __name__.rpartition(".")[0]


def is_from_table(family: Family) -> bool:
    """Whether the table of families has this very record, and not one of the same name."""
    functions = [part for part in family if callable(part)]
    return family.name in FAMILIES and all(
        getattr(part, "__module__", "").startswith(HOME) for part in functions
    )


def by_name(family: Family) -> tuple[str, tuple[str, ...]] | None:
    """What `found` makes a family from again, or None for one of the user's.

    Returns:
      written: the family with one predictor, as users write it.
      names: of its further predictors.
    """
    return (family.base.written, family.further) if is_from_table(family.base) else None


def found(written: str, names: tuple[str, ...]) -> Family:
    """The family of that name, with further predictors where names say so.

    Example:
      >>> found("poisson(log)", ()) is FAMILIES["poisson"]
      True
    """
    family = find_family(written)
    return with_predictors(family, names)


def reduced(family: Family) -> tuple[Callable[..., Family], tuple[Any, ...]]:
    """What pickles and copies make a family from again: a function of this package, and its arguments."""
    named = by_name(family)
    return (Family, tuple(family)) if named is None else (found, named)


# Said here and not in the record, which stands below the families that the table has.
copyreg.pickle(Family, reduced)
