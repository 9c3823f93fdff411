"""What priors a user gives, by name, -> which parameters of a model have which prior."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from lmeformula.arguments.kinds import shown
from lmeformula.design.design import Design
from lmeformula.errors import ModelError
from lmeformula.family import Family
from lmeformula.family.own import Ascending
from lmeformula.model.params import ParamSpace, TermShape
from lmeformula.model.prior_places import Of, Place, places_of
from lmeformula.priors.matrices import LKJ
from lmeformula.priors.parse import prior
from lmeformula.priors.real import Cauchy, Normal, Student
from lmeformula.priors.record import Matrix, Prior, Support
from lmeformula.priors.within import Within

EXAMPLE = '{"b": "normal(0, 2.5)", "sd": "half_student(3, 0, 2.5)"}'
# What is written after a standard deviation, or a covariance, that a prior is of relative to the residual's.
RELATIVE = re.compile(r"^(sd|cov)(\(.*\))?\s*/\s*(sigma(?:\s*(?:\^|\*\*)\s*2)?)$", re.DOTALL)
# What own parameters of families are called in brms and glmmTMB, and here.
OF_OTHERS = {
    "phi": ("precision", "dispersion"),
    "shape": ("dispersion", "shape"),
    "zi": ("zero_probability",),
    "hu": ("zero_probability",),
    "cutpoints": ("thresholds",),
    "residual": ("sigma",),
}
# What priors on each kind of support are.
FOR = {
    "real": 'normal, student or cauchy, such as "normal(0, 2.5)"',
    "positive": "half_normal, half_student, half_cauchy, exponential, gamma, inverse_gamma or lognormal, such "
    'as "half_student(3, 0, 2.5)"',
    "share": 'beta, such as "beta(2, 2)"',
    "within": "normal, student or cauchy, of which the part between the bounds is taken, or lkj, such as "
    '"normal(0, 0.5)"',
    "correlation": '"lkj(2)"',
    "covariance": '"wishart()" or inverse_wishart',
}


@dataclass(frozen=True, slots=True)
class Assigned:
    """A prior, and the parameters that have it, each by itself.

    Attributes:
      key: as the user named them.
      prior: the density.
      of: what they are.
      names: of the parameters.
      indices: their numbers; see `Place`.
      terms: of each the number of its term.
      is_relative: whether it is of what they are relative to the residual standard deviation.
    """

    key: str
    prior: Prior
    of: Of
    names: tuple[str, ...]
    indices: tuple[int, ...]
    terms: tuple[int, ...]
    is_relative: bool = False


@dataclass(frozen=True, slots=True)
class Priors:
    """The priors of a model; parameters without one have a flat density.

    Attributes:
      assigned: in the order in which they were given.
      by_default: the keys of those that nobody gave.
    """

    assigned: tuple[Assigned, ...] = ()
    by_default: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.assigned)

    def __iter__(self) -> Iterator[Assigned]:
        return iter(self.assigned)

    @property
    def given(self) -> dict[str, str]:
        """As they are written: {"b": "normal(0, 2.5)"}."""
        return {one.key: one.prior.text for one in self.assigned}

    @property
    def chosen(self) -> Priors:
        """Those that are not by default."""
        return Priors(tuple(one for one in self.assigned if one.key not in self.by_default))

    @property
    def is_proper(self) -> bool:
        """Whether each can be drawn from."""
        return all(one.prior.is_proper for one in self.assigned)

    def of(self, *kinds: Of) -> tuple[Assigned, ...]:
        """Those of coefficients, standard deviations, ..."""
        return tuple(one for one in self.assigned if one.of in kinds)

    def __repr__(self) -> str:
        lines = [f"{one.key}: {one.prior.text}, of {', '.join(one.names)}" for one in self.assigned]
        return "\n".join(lines) or "no priors"


NO_PRIORS = Priors()


def priors_of(
    given: Mapping[str, Any] | None, design: Design, family: Family, space: ParamSpace
) -> Priors:
    """Find which parameters each prior is of.

    The name of a single parameter counts before that of a term, "sd(g)", and that before "b", "sd", "cor" and
    "cov", which are all there are.

    Args:
      given: a prior by what it is of; None for none.
      design: the design.
      family: of the response.
      space: the parameters.
    Raises:
      ModelError: for a name that is none, a prior for other parameters, or two of one parameter.
    """
    if not given:
        return NO_PRIORS
    _check_model(space)
    places = tuple(places_of(space))
    found: list[tuple[int, str, bool, Prior, tuple[Place, ...]]] = []
    for key, value in given.items():
        name, is_relative = _without_unit(key.strip(), space)
        try:
            density = prior(value)
        except ModelError as error:
            raise ModelError(f"priors[{key!r}]: {error.problem}", hint=error.hint) from None
        rank, of_name = _named(name, places, design, family, space)
        density = density.given if isinstance(density, Within) else density
        _check_support(key, density, of_name, space)
        found.append((rank, key, is_relative, density, of_name))
    taken: dict[str, tuple[int, str]] = {}
    for rank, key, _, _, of_name in sorted(found, key=lambda one: one[0]):
        for place in of_name:
            before = taken.get(place.name)
            if before is not None and before[0] == rank:
                raise ModelError(
                    f"priors[{before[1]!r}] and priors[{key!r}] are both of {place.name}",
                    hint="Give each parameter one prior.",
                )
            taken.setdefault(place.name, (rank, key))
    assigned = []
    for _, key, is_relative, density, of_name in found:
        mine = tuple(place for place in of_name if taken[place.name][1] == key)
        for own, some in _alike(mine, density, space).items():
            assigned.append(
                Assigned(
                    key,
                    own,
                    some[0].of,
                    tuple(place.name for place in some),
                    tuple(place.number for place in some),
                    tuple(place.term for place in some),
                    is_relative,
                )
            )
    _check_once(tuple(assigned))
    return Priors(tuple(assigned))


def _alike(
    places: tuple[Place, ...], density: Prior, space: ParamSpace
) -> dict[Prior, list[Place]]:
    """Parameters by the density that each has: of single correlations it lies between their bounds."""
    found: dict[Prior, list[Place]] = {}
    for place in places:
        own = density
        if place.support == "within":
            term = space.terms[place.term]
            own = Within(density, term.structure.least_correlation(len(term.columns)))
        found.setdefault(own, []).append(place)
    return found


def log_orders(priors: Priors, space: ParamSpace) -> float:
    """The log number of orders that thresholds might have, where all have one prior, and one order is theirs.

    So much their density, given that they ascend, is above that of as many independent numbers.
    """
    own = [one for one in priors.of("own") for _ in one.indices]
    ascends = isinstance(space.own.scale, Ascending) and len(own) == space.own.size
    is_one = ascends and len({one.prior for one in own}) == 1
    return math.lgamma(len(own) + 1.0) if is_one else 0.0


def priors_left(
    given: Mapping[str, Any], design: Design, family: Family, space: ParamSpace
) -> Priors:
    """The same, without those of parameters that are not there."""
    left = {}
    for key, value in given.items():
        try:
            priors_of({key: value}, design, family, space)
        except ModelError:
            continue
        left[key] = value
    return priors_of(left, design, family, space)


def _check_model(space: ParamSpace) -> None:
    if space.has_no_residual:
        raise ModelError(
            "priors are not for models without a residual",
            hint="Leave priors out, or let a residual be estimated.",
        )
    if not space.has_normal_priors:
        raise ModelError(
            "priors of parameters are not for models with effects by Student's t distribution",
            hint="Leave priors out, or write (x | g), whose effects are normal.",
        )


def _without_unit(key: str, space: ParamSpace) -> tuple[str, bool]:
    """The name of what a prior is of, and whether it is relative to sigma."""
    found = RELATIVE.match(key)
    if found is None:
        return key, False
    kind, term, unit = found.group(1), found.group(2) or "", found.group(3)
    wanted = "sigma" if kind == "sd" else "sigma^2"
    if re.sub(r"\s|\*\*", lambda one: "^" if one.group() == "**" else "", unit) != wanted:
        raise ModelError(f"priors[{key!r}] has other units", hint=f'Write "{kind}{term}/{wanted}".')
    if "sigma" not in space.own.names:
        raise ModelError(
            f"priors[{key!r}] is relative to sigma, which this model does not estimate",
            hint=f'Write "{kind}{term}", without it.',
        )
    return f"{kind}{term}", True


def _named(
    name: str, places: tuple[Place, ...], design: Design, family: Family, space: ParamSpace
) -> tuple[int, tuple[Place, ...]]:
    """The parameters of a name, and how far it is from naming a single one.

    Raises:
      ModelError: if there are none; the message has the name that may be meant.
    """
    exact = tuple(one for one in places if one.name == name)
    inner = re.fullmatch(r"b\((.*)\)", name, re.DOTALL)
    if not exact and inner is not None:
        exact = tuple(one for one in places if one.of == "fixed" and one.name == inner.group(1))
    if exact:
        return 0, exact
    of_term = re.fullmatch(r"(\w+)\((.*)\)", name, re.DOTALL)
    if of_term is not None:
        kind, term = of_term.groups()
        some = tuple(
            one
            for one in places
            if one.term >= 0 and _kind(one) == kind and space.terms[one.term].name == term
        )
        if some:
            return 1, some
    groups = dict(_groups(places, design, family, space))
    if groups.get(name):
        return 2, groups[name]
    raise _unknown(name, places, [one for one, some in groups.items() if some], space)


def _groups(
    places: tuple[Place, ...], design: Design, family: Family, space: ParamSpace
) -> Iterator[tuple[str, tuple[Place, ...]]]:
    """Names of several parameters: "b", "sd", "cor", "cov", and those of a family's, such as "thresholds"."""
    numbers, predictors = design.column_predictors, design.predictors
    intercepts = {name for each in predictors for name in each.named(("Intercept",))}
    means = set(range(design.num_predictors)) if family.is_unordered else {0}

    def slopes(chosen: Callable[[int], bool]) -> tuple[Place, ...]:
        return tuple(
            one
            for one in places
            if one.of == "fixed" and chosen(numbers[one.number]) and one.name not in intercepts
        )

    yield "b", slopes(lambda number: number in means)
    for number, predictor in enumerate(predictors):
        if number:
            yield f"{predictor.name}_b", slopes(lambda one, number=number: one == number)  # type: ignore[misc]
    for kind in ("sd", "cor", "cov", "range", "smoothness"):
        yield kind, tuple(one for one in places if one.term >= 0 and _kind(one) == kind)
    if space.own.size > 1 and "_and_" not in space.own.variable:
        yield space.own.variable, tuple(one for one in places if one.of == "own")


def _kind(place: Place) -> str:
    """What a parameter of a term is: "sd", "cor", "cov", "range", ..."""
    return place.name.partition("(")[0]


def _unknown(
    name: str, places: tuple[Place, ...], groups: list[str], space: ParamSpace
) -> ModelError:
    known = [*(one.name for one in places), *groups]
    refused = _refused(name, known, space)
    if refused is not None:
        return refused
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    if not near and name in OF_OTHERS:
        near = [one for one in OF_OTHERS[name] if one in known]
    meant = f"Did you mean {near[0]!r}? " if near else ""
    most = 12
    listed = ", ".join(repr(one) for one in dict.fromkeys((*groups, *known[:most])))
    more = f" and {len(known) - most} more" if len(known) > most else ""
    return ModelError(
        f"priors[{name!r}] is of no parameter of this model",
        hint=f"{meant}Priors can be of {listed}{more}.",
    )


def _refused(name: str, known: list[str], space: ParamSpace) -> ModelError | None:
    """What to say of parameters that are there, and cannot have a prior."""
    of_term = re.fullmatch(r"(cor|cov)(?:\((.*)\))?", name, re.DOTALL)
    if name in space.names and name not in known:
        if of_term is not None:
            return ModelError(
                f"priors[{name!r}] is of a single correlation, and a prior is of the whole matrix",
                hint='Write "cor(g)": "lkj(2)" for a term (x | g) with correlations of their own.',
            )
        return ModelError(f"priors of {name} are not there", hint="Leave it out.")
    if of_term is None:
        return None
    kind, term = of_term.groups()
    some = [one for one in space.terms if term is None or one.name == term]
    if not some:
        return None
    what = "correlation matrix" if kind == "cor" else "covariance matrix"
    return ModelError(
        f"priors[{name!r}]: {_structures(some)} no {what} that a prior can be of",
        hint=f'Give priors of its standard deviations, "sd({some[0].name})".',
    )


def _structures(terms: list[TermShape]) -> str:
    return f"the term of {terms[0].name} has" if len(terms) == 1 else "no term has"


def _check_support(key: str, density: Prior, places: tuple[Place, ...], space: ParamSpace) -> None:
    for place in places:
        is_within = place.support == "within" and isinstance(
            density, Normal | Student | Cauchy | LKJ
        )
        if density.support != place.support and not is_within:
            raise ModelError(
                f"priors[{key!r}]: {density.text} is no prior of {place.name}, "
                f"{_lies(place.support)}",
                hint=f"Write {FOR[place.support]}.",
            )
        if place.of == "cov" and isinstance(density, Matrix):
            k = len(space.terms[place.term].columns)
            density.slope([[float(i == j) for j in range(k)] for i in range(k)])


def _lies(support: Support) -> str:
    return {
        "real": "which may be any number",
        "positive": "which is above zero",
        "share": "which lies between 0 and 1",
        "within": "which is a correlation",
        "correlation": "which is a matrix of correlations",
        "covariance": "which is a covariance matrix",
    }[support]


def _check_once(assigned: tuple[Assigned, ...]) -> None:
    """Refuse a covariance that has a prior as a whole, and others of its parts."""
    whole = {term: one.key for one in assigned if one.of == "cov" for term in one.terms}
    for one in assigned:
        for term in one.terms:
            if one.of in ("sd", "cor") and term in whole:
                raise ModelError(
                    f"priors[{whole[term]!r}] is of the whole covariance, and priors[{one.key!r}] of a part "
                    "of it",
                    hint="Give the one or the other.",
                )


def check_given(name: str, value: object) -> None:
    """What `priors` may be: a dictionary of texts, priors or distributions, by name."""
    if value is None:
        return
    if not isinstance(value, Mapping) or not all(isinstance(one, str) for one in value):
        raise ModelError(
            f"{name} is {shown(value)}",
            hint=f"Give a dictionary of priors by the names of parameters, {EXAMPLE}.",
        )
