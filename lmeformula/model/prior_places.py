"""The parameters of a model that may have a prior, each with its name and where it lies."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, NamedTuple

from lmeformula.family.bounded import ANYTHING, CHANCE, POSITIVE, Bounded
from lmeformula.family.own import Ascending, Held, Own, Positive
from lmeformula.family.thresholds import Patterned
from lmeformula.model.params import ParamSpace, TermShape
from lmeformula.priors.record import Support

# What a prior may be of: a coefficient, a standard deviation, a correlation or a covariance matrix of a term,
# an own parameter of the family, or of a term's covariance structure, such as its range or its one correlation.
Of = Literal["fixed", "sd", "cor", "cov", "own", "structure"]
# Structures whose correlations are one number, or a few, each of which may have a prior of its own.
WITH_OWN = ("one", "two", "lags")


class Place(NamedTuple):
    """A parameter that may have a prior.

    Attributes:
      name: as it is reported; of a matrix "cor(g)" or "cov(g)".
      of: what it is.
      support: where it lies.
      number: of a coefficient, or an own parameter, its number; of a standard deviation that of its
        coefficient; of a structure's parameter that among those it reports.
      term: the number of the term; -1 of the others.
    """

    name: str
    of: Of
    support: Support
    number: int
    term: int = -1


def places_of(space: ParamSpace) -> Iterator[Place]:
    """All parameters that may have a prior."""
    for index, name in enumerate(space.fixed_names):
        yield Place(name, "fixed", "real", index)
    theta = list(space.names[space.num_fixed : space.own_slice.start])
    start = 0
    for number, term in enumerate(space.terms):
        labels = term.structure.labels(term.columns)
        names = theta[start : start + len(labels)]
        start += len(labels)
        k = len(term.columns)
        num_sds, has_own = term.structure.num_sds(k), _has_own(term)
        for place, ((kind, _), name) in enumerate(zip(labels, names, strict=True)):
            if term.structure.correlations == "known":
                continue  # The scale of a matrix is no standard deviation.
            if kind == "sd" and place < num_sds:
                # Of coefficients with one in common that of the first.
                yield Place(name, "sd", "positive", place * (k // num_sds), number)
            elif has_own:
                where: Support = "within" if kind == "cor" else "positive"
                yield Place(name, "structure", where, place, number)
        if term.structure.correlations == "each":
            if len(term.columns) > 1:
                yield Place(f"cor({term.name})", "cor", "correlation", 0, number)
            yield Place(f"cov({term.name})", "cov", "covariance", 0, number)
    for index, (name, support) in enumerate(
        zip(space.own.names, _supports(space.own), strict=True)
    ):
        if support is not None:
            yield Place(name, "own", support, index)


def _has_own(term: TermShape) -> bool:
    """Whether what gives a term's correlations are parameters by themselves, and not elements of a matrix."""
    structure = term.structure
    if structure.correlations == "blocks":
        structure = structure.structure  # type: ignore[attr-defined]
    return structure.correlations in WITH_OWN


def _supports(own: Own) -> list[Support | None]:
    """(f) where each own parameter lies; None where no prior is for that."""
    scale = own.scale
    if isinstance(scale, Held):
        scale = scale.scale
    if isinstance(scale, Patterned):
        return ["positive" if low == 0.0 else "real" for low, _ in scale.bounds]
    if own.report is not None:
        return [None] * own.size
    if isinstance(scale, Positive):
        return ["positive"] * own.size
    if isinstance(scale, Ascending):
        return ["real"] * own.size
    if isinstance(scale, Bounded):
        named: dict[tuple[float, float], Support] = {
            ANYTHING: "real",
            POSITIVE: "positive",
            CHANCE: "share",
        }
        return [named.get(one) for one in scale.bounds]
    return [None] * own.size
