"""What the variables of a model and the parameters of its family are called; no TensorFlow."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from keyword import iskeyword
from typing import Any

from lmeformula.covariance.table import structure_of
from lmeformula.design.design import Design, TermBlock
from lmeformula.family.built_in import FAMILIES
from lmeformula.family.notation import Notation

# Arguments of the methods of a TFP joint distribution besides the values of its parts.
RESERVED = frozenset({"name", "sample_shape", "seed", "self", "value"})


@dataclass(frozen=True, slots=True)
class Names:
    """What the random variables and the fixed effects of a model are called in code.

    Attributes:
      terms: one name per random-effects term.
      response: the response's name.
      effects: one name per fixed column: `intercept`, or `effect_` with the column's name.
    """

    terms: tuple[str, ...]
    response: str
    effects: tuple[str, ...]


def names_of(design: Design) -> Names:
    """Name the random variables and the fixed effects of a design.

    Args:
      design: the data as arrays; the response of a one-sided formula is called "y".
    Returns:
      names: distinct identifiers.
    """
    response = "y" if design.response is None else design.response.name
    *terms, response = identifiers([*(term.name for term in design.terms), response])
    effects = ["intercept" if name == "Intercept" else f"effect_{name}" for name in design.names]
    return Names(tuple(terms), response, identifiers(effects))


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


def is_correlated(term: TermBlock) -> bool:
    """Whether the term's coefficients have correlations."""
    return len(term.columns) > 1 and structure_of(term).correlations != "none"


# ---- families ----------------------------------------------------------------------------------


def family_notation(family: Any, design: Design) -> Notation:
    """The notation of a family, given by name or as a record with a `name` and optionally a `link`.

    A family without an entry is written by its own name and parameters, with mean μ. Binomial responses of
    single trials are written as Bernoulli.

    Example:
      >>> from lmeformula.design import design
      >>> data = {"y": [1, 2, 0], "g": [1, 2, 2]}
      >>> family_notation("poisson", design("y ~ 1 + (1 | g)", data)).link
      'log'
    """
    written, _, link = family.partition("(") if isinstance(family, str) else (family.name, "", "")
    link = link.rstrip(") ").partition(",")[0].strip()
    name = written.strip()
    link = ("" if "=" in link else link) or getattr(family, "link", "")
    of_table = FAMILIES[name].notation if name in FAMILIES else None
    known: Notation | None = getattr(family, "notation", of_table)
    if known is None:
        title = name.replace("_", " ").title().replace(" ", "")
        own = getattr(family, "own_names", ())
        elements = own if len(own) > 1 else ()
        known = Notation(
            title,
            "μ",
            r"\mu",
            "g",
            has_trials=getattr(family, "has_trials", False),
            has_weights=getattr(family, "has_weights", False),
            own="_".join(own),
            elements=elements,
        )
    response = design.response
    if known.alone is not None and response is not None:
        counts = response.trials is not None or response.values.ndim == 2
        if not counts and design.weights is None:
            known = known.alone
    if not link or link == known.link or not known.parameter:
        return known
    return replace(known, link=link)


def parameters(
    family: Any, design: Design
) -> tuple[Notation, tuple[tuple[str, str, str], ...], tuple[str, ...]]:
    """The parameters of a response's distribution.

    Args:
      family: by name or as a record, perhaps with several linear predictors.
      design: the data as arrays.
    Returns:
      notation: of the family, its own parameters those without a predictor.
      predicted: symbol, LaTeX ("" for the name) and link of each parameter with a predictor.
      own: the names of those without one.
    """
    names = getattr(family, "predictors", ())
    is_several = len(names) > 1
    if is_several and family.base.grow is not None:
        return Notation("Softmax", "eta"), tuple((f"eta[{name}]", "", "") for name in names), ()
    notation = family_notation(family.base if is_several else family, design.first)
    link = "" if notation.is_ordered else notation.link
    own = notation.elements or ((notation.own,) if notation.own else ())
    if not is_several:
        return notation, ((notation.parameter or "eta", notation.latex, link),), own
    rules = {rule.name: rule.link for rule in family.base.predicted}
    rest = tuple(name for name in own if name not in names)
    first = "eta" if notation.is_ordered else "mu"
    predicted = ((first, "", link), *((name, "", rules[name]) for name in names[1:]))
    notation = replace(notation, parameter=first, own="_and_".join(rest), elements=())
    return notation, predicted, rest
