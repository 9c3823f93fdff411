"""The names and symbols of a model, shared by its joint distribution, graph and equation; no TensorFlow."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from keyword import iskeyword
from typing import Any

import numpy as np

from lmeformula.design.design import Design, TermBlock

# Arguments of the methods of a TFP joint distribution besides the values of its parts.
RESERVED = frozenset({"name", "sample_shape", "seed", "self", "value"})


@dataclass(frozen=True, slots=True)
class PartNames:
    """What the parts and parameters of a model are called in code.

    Attributes:
      terms: one name per random-effects term.
      response: the response's name.
      effects: one name per fixed column: `intercept`, or `effect_` with the column's name.
    """

    terms: tuple[str, ...]
    response: str
    effects: tuple[str, ...]


def part_names(design: Design) -> PartNames:
    """Name the parts of a design.

    Args:
      design: the data as arrays; the response of a one-sided formula is called "y".
    Returns:
      names: distinct identifiers.
    """
    response = "y" if design.response is None else design.response.name
    *terms, response = identifiers([*(term.name for term in design.terms), response])
    effects = ["intercept" if name == "Intercept" else f"effect_{name}" for name in design.names]
    return PartNames(tuple(terms), response, identifiers(effects))


def identifiers(labels: Iterable[str]) -> tuple[str, ...]:
    """Map display names to distinct names that Python, TFP and TensorFlow accept, in order.

    Whatever cannot stand in an identifier becomes "_"; keywords and the argument names of TFP's
    methods get a trailing "_"; later names that would collide get "_2", "_3", and so on.

    Example:
      >>> identifiers(["cask:batch", "cask_batch", "period[T.2]", "class", "2nd"])
      ('cask_batch', 'cask_batch_2', 'period_T_2', 'class_', 'x2nd')
    """
    found: list[str] = []
    for label in labels:
        name = re.sub(r"\W+", "_", label).strip("_") or "x"
        name = name if name.isidentifier() else "x" + name
        name = name + "_" if iskeyword(name) or name in RESERVED else name
        candidate, count = name, 1
        while candidate in found:
            count += 1
            candidate = f"{name}_{count}"
        found.append(candidate)
    return tuple(found)


def is_intercept(term: TermBlock) -> bool:
    """Whether the term is a random intercept and nothing else."""
    return term.columns == ("Intercept",)


def is_correlated(term: TermBlock) -> bool:
    """Whether the term's coefficients have correlations."""
    return len(term.columns) > 1 and term.covariance != "diag"


def data_columns(design: Design) -> tuple[str, ...]:
    """The columns that multiply a coefficient, fixed or random, in order of appearance."""
    columns = [*design.names, *(column for term in design.terms for column in term.columns)]
    if design.parts:
        bare = bare_columns(design)
        columns = [bare[column] for column in columns]
    return tuple(dict.fromkeys(column for column in columns if column != "Intercept"))


def bare_columns(design: Design) -> dict[str, str]:
    """The columns of the data behind the columns of a design, such as "x" for "sigma_x"."""
    if not design.parts:
        columns = [*design.names, *(column for term in design.terms for column in term.columns)]
        return {column: column for column in columns}
    found = {}
    pairs = [
        *zip(design.names, design.column_predictors, strict=True),
        *(pair for t in design.terms for pair in zip(t.columns, t.predictors, strict=True)),
    ]
    for column, predictor in pairs:
        found[column] = design.parts[predictor].bare(column)
    return found


def has_offset(design: Design) -> bool:
    """Whether any row has an offset, in any of the linear predictors."""
    return any(bool(np.any(offset != 0.0)) for offset in (design.offset, *design.further_offsets))


# ---- families ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class FamilyNotation:
    """How a response family is written.

    Attributes:
      distribution: name, such as "Poisson".
      parameter: the symbol that the link is applied to; "" where the predictor is the mean.
      latex: that symbol in LaTeX.
      link: name of the link function; "" for the identity.
      has_sigma: whether there is a residual standard deviation.
      has_trials: whether the distribution also takes a number of trials.
      own: what its own parameter is called, other than a residual sd; "" where there is none.
      parts: what the elements of `own` are called, where it has several.
      is_ordered: whether `own` are thresholds, from which the predictor is taken away.
      chance: the event of which the link of ordered categories takes the chance, for the kth threshold; {y} is
        the response, {le} at most.
      is_above: whether that is the chance of higher categories: thresholds are taken from the predictor then.
      predictors: symbol and link of each linear predictor, where there are several.
      rest: the own parameters without one, then.
    """

    distribution: str
    parameter: str = ""
    latex: str = ""
    link: str = ""
    has_sigma: bool = False
    has_trials: bool = False
    own: str = ""
    parts: tuple[str, ...] = ()
    is_ordered: bool = False
    chance: str = ""
    is_above: bool = False
    predictors: tuple[tuple[str, str], ...] = ()
    rest: tuple[str, ...] = ()


def _ordinal(distribution: str, chance: str, *, is_above: bool = False) -> FamilyNotation:
    return FamilyNotation(
        distribution,
        "η",
        r"\eta",
        "logit",
        own="thresholds",
        is_ordered=True,
        chance=chance,
        is_above=is_above,
    )


FAMILY_NOTATIONS = {
    "gaussian": FamilyNotation("Normal", has_sigma=True),
    "bernoulli": FamilyNotation("Bernoulli", "p", "p", "logit"),
    "binomial": FamilyNotation("Binomial", "p", "p", "logit", has_trials=True),
    "poisson": FamilyNotation("Poisson", "μ", r"\mu", "log"),
    "nbinom2": FamilyNotation("NB2", "μ", r"\mu", "log", own="dispersion"),
    "nbinom1": FamilyNotation("NB1", "μ", r"\mu", "log", own="dispersion"),
    "generalized_poisson": FamilyNotation(
        "GeneralizedPoisson", "μ", r"\mu", "log", own="dispersion"
    ),
    "zero_inflated_poisson": FamilyNotation(
        "ZeroInflatedPoisson", "μ", r"\mu", "log", own="zero_probability"
    ),
    "zero_inflated_nbinom2": FamilyNotation(
        "ZeroInflatedNB2",
        "μ",
        r"\mu",
        "log",
        own="dispersion_and_zero",
        parts=("dispersion", "zero_probability"),
    ),
    "hurdle_poisson": FamilyNotation("HurdlePoisson", "μ", r"\mu", "log", own="zero_probability"),
    "hurdle_nbinom2": FamilyNotation(
        "HurdleNB2",
        "μ",
        r"\mu",
        "log",
        own="dispersion_and_zero",
        parts=("dispersion", "zero_probability"),
    ),
    "student": FamilyNotation(
        "StudentT", "μ", r"\mu", "identity", own="scale_df", parts=("scale", "df")
    ),
    "lognormal": FamilyNotation("LogNormal", "μ", r"\mu", "identity", own="sigma"),
    "inverse_gaussian": FamilyNotation("InverseGaussian", "μ", r"\mu", "log", own="shape"),
    "beta_binomial": FamilyNotation(
        "BetaBinomial", "p", "p", "logit", has_trials=True, own="precision"
    ),
    "tweedie": FamilyNotation(
        "Tweedie",
        "μ",
        r"\mu",
        "log",
        own="dispersion_power",
        parts=("dispersion", "power"),
    ),
    "gamma": FamilyNotation("Gamma", "μ", r"\mu", "log", own="shape"),
    "beta": FamilyNotation("Beta", "μ", r"\mu", "logit", own="precision"),
    "cumulative": _ordinal("Cumulative", "{y} {le} k"),
    "sratio": _ordinal("StoppingRatio", "{y} = k | k {le} {y}"),
    "cratio": _ordinal("ContinuationRatio", "k < {y} | k {le} {y}", is_above=True),
    "acat": _ordinal("AdjacentCategory", "{y} = k + 1 | k {le} {y} {le} k + 1", is_above=True),
}


def family_notation(family: Any, design: Design) -> FamilyNotation:
    """The notation of a family, given by name or as a record with a `name` and optionally a `link`.

    A family without an entry is written by its own name and parameters, with mean μ. Binomial responses of
    single trials are written as Bernoulli.

    Example:
      >>> FAMILY_NOTATIONS["poisson"].link
      'log'
    """
    if getattr(family, "predictors", ()):
        return _several(family, design)
    written, _, link = family.partition("(") if isinstance(family, str) else (family.name, "", "")
    link = link.rstrip(") ").partition(",")[0].strip()
    name = written.strip()
    link = ("" if "=" in link else link) or getattr(family, "link", "")
    known = FAMILY_NOTATIONS.get(name)
    if known is None:
        title = name.replace("_", " ").title().replace(" ", "")
        own = getattr(family, "own_names", ())
        parts = own if len(own) > 1 else ()
        known = FamilyNotation(title, "μ", r"\mu", "g", own="_".join(own), parts=parts)
    response = design.response
    if name == "binomial" and response is not None:
        counts = response.trials is not None or response.values.ndim == 2
        if not counts and design.weights is None:
            known = FAMILY_NOTATIONS["bernoulli"]
    if not link or link == known.link or not known.parameter:
        return known
    return replace(known, link=link)


def _several(family: Any, design: Design) -> FamilyNotation:
    """The notation of a family with several linear predictors."""
    if family.base.grow is not None:
        symbols = tuple((f"eta[{name}]", "") for name in family.predictors)
        return FamilyNotation("Softmax", "eta", predictors=symbols)
    first = family_notation(family.base, design.first)
    names = family.predictors[1:]
    rules = {rule.name: rule.link for rule in family.base.parts}
    owned = ("sigma",) if first.has_sigma else first.parts or ((first.own,) if first.own else ())
    return replace(
        first,
        parameter=first.parameter or "mu",
        has_sigma=False,
        own="_and_".join(name for name in owned if name not in names),
        parts=(),
        predictors=(
            ("eta", "") if first.is_ordered else ("mu", first.link),
            *((name, rules[name]) for name in names),
        ),
        rest=tuple(name for name in owned if name not in names),
    )
