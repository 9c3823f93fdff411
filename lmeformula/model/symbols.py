"""Design and family -> the model in symbols, made once; equation and graph print what stands here."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from itertools import chain
from typing import Any, NamedTuple

import numpy as np

from lmeformula.covariance.structure import Structure
from lmeformula.covariance.table import structure_of
from lmeformula.design.design import Design, TermBlock
from lmeformula.family.categories import categories
from lmeformula.family.notation import Notation
from lmeformula.model.notation import is_correlated, names_of, parameters

# i counts rows; every grouping factor has its own letter.
LEVEL_LETTERS = "jklmqrstuvw"
# A space at which no line is broken.
GLUE = "\N{NO-BREAK SPACE}"


class Coefficient(NamedTuple):
    """A coefficient of a linear predictor.

    Attributes:
      name: in the joint distribution, such as "effect_x" or "g[1]".
      label: on display, such as "x" or "g.x".
      column: of the data, which it multiplies; "" for an intercept.
      letter: that counts the levels it varies over; "" for a fixed effect.
      has_members: whether a row has several of these levels, each with a share.
    """

    name: str
    label: str
    column: str
    letter: str = ""
    has_members: bool = False


class Predictor(NamedTuple):
    """A linear predictor.

    Attributes:
      symbol: the parameter of the response's distribution that it gives, "eta" where that is the mean itself.
      latex: that in LaTeX; "" where it is called by its name.
      link: of the parameter; "" or "identity" for none, and a dot stands for the parameter in "log(. - 1)".
      fixed, random: its summands.
      has_offset: whether any row has one.
    """

    symbol: str
    latex: str
    link: str
    fixed: tuple[Coefficient, ...]
    random: tuple[Coefficient, ...]
    has_offset: bool

    def left(self, symbol: str, function: Callable[[str, str], str]) -> str:
        """The left-hand side of its equation: a symbol for its parameter, in its link by `function`."""
        if self.link in ("", "identity"):
            return symbol
        name, _, shifted = self.link.partition("(")
        # A dot stands for the parameter, but where it is a number's.
        within = re.sub(r"(?<!\d)\.(?!\d)", lambda _: symbol, shifted.rstrip(")"))
        return function(name, within or symbol)


class Effects(NamedTuple):
    """The random effects of a term.

    Attributes:
      name: in the joint distribution.
      label: on display.
      letter: that counts levels.
      num_levels: how many there are.
      columns: as the design calls them.
      coefficients: one for each column.
      structure: of their covariance.
      is_correlated: whether they have correlations.
      has_one_variance: whether all k > 1 of them have the same.
      has_df: whether they have the degrees of freedom of a t distribution.
      relation: what the known covariance between the levels is called; "" where they are independent.
    """

    name: str
    label: str
    letter: str
    num_levels: int
    columns: tuple[str, ...]
    coefficients: tuple[Coefficient, ...]
    structure: Structure
    is_correlated: bool
    has_one_variance: bool
    has_df: bool
    relation: str = ""


@dataclass(frozen=True, slots=True)
class SymbolicModel:
    """A model in symbols.

    Attributes:
      label: the response's, on display.
      name: the response's, in the joint distribution.
      num_rows: the number of observations.
      notation: of the family.
      predictors: K of them.
      effects: one for each random-effects term.
      own: the parameters of the response's distribution that have no predictor: names, or a number that one is
        held at.
      num_thresholds: between ordered categories; 0 for other responses.
      has_prior_weights: whether rows have weights.
      columns: of the data that multiply a coefficient, fixed or random, in order of appearance.
    """

    label: str
    name: str
    num_rows: int
    notation: Notation
    predictors: tuple[Predictor, ...]
    effects: tuple[Effects, ...]
    own: tuple[str, ...]
    num_thresholds: int
    has_prior_weights: bool
    columns: tuple[str, ...]

    @property
    def is_additive(self) -> bool:
        """Whether the response is its one linear predictor, and a residual."""
        return not self.notation.parameter

    @property
    def has_residual(self) -> bool:
        """Whether there is one, of a model that is additive: its sd is not held at zero."""
        return self.own != ("0",) or not self.is_additive


def symbolic_model(
    design: Design, *, family: Any = "gaussian", sigma: float | None = None
) -> SymbolicModel:
    """Write a model in symbols.

    Args:
      design: the data as arrays.
      family: the response's family, by name or as a record with a `name` and optionally a `link`.
      sigma: the residual standard deviation where it is fixed.
    Returns:
      The model, its parameters and parts named as those of the joint distribution.
    Example:
      >>> from lmeformula.design import design
      >>> model = symbolic_model(design("y ~ 1 + (1 | g)", {"y": [1.0, 2.0, 0.0], "g": [1, 2, 2]}))
      >>> model.predictors[0].random, model.own
      ((Coefficient(name='g', label='g', column='', letter='j', has_members=False),), ('sigma',))
    """
    notation, predicted, own = parameters(family, design)
    names = names_of(design)
    letters = level_letters(design)
    fixed = [
        Coefficient(name, label, column_of(design, label, k))
        for name, label, k in zip(
            names.effects, design.names, design.column_predictors, strict=True
        )
    ]
    effects = tuple(
        effects_of(design, term, name, letters[term.group])
        for term, name in zip(design.terms, names.terms, strict=True)
    )
    random = list(chain.from_iterable(each.coefficients for each in effects))
    places = list(chain.from_iterable(term.predictors for term in design.terms))
    predictors = tuple(
        Predictor(
            *parameter,
            tuple(
                c for c, place in zip(fixed, design.column_predictors, strict=True) if place == k
            ),
            tuple(c for c, place in zip(random, places, strict=True) if place == k),
            bool(np.any(offset != 0.0)),
        )
        for k, (parameter, offset) in enumerate(zip(predicted, design.offsets, strict=True))
    )
    return SymbolicModel(
        "y" if design.response is None else design.response.name,
        names.response,
        design.num_observations,
        notation,
        predictors,
        effects,
        own if sigma is None else (f"{sigma:g}",),
        len(categories(design)[1]) - 1 if notation.is_ordered else 0,
        design.weights is not None,
        tuple(dict.fromkeys(each.column for each in (*fixed, *random) if each.column)),
    )


def column_of(design: Design, label: str, predictor: int) -> str:
    """The column of the data behind one of the design, such as "x" for "sigma_x"; "" for an intercept."""
    column = design.predictors[predictor].bare(label)
    return "" if column == "Intercept" else column


def effects_of(design: Design, term: TermBlock, name: str, letter: str) -> Effects:
    """The random effects of a term: called by the group, with the column's name unless it is an intercept."""
    k = len(term.columns)
    coefficients = tuple(
        Coefficient(
            name if k == 1 else f"{name}[{j}]",
            term.name
            if term.columns == ("Intercept",)
            else f"b.{label}"
            if term.smooth
            else f"{term.group}.{label}",
            column_of(design, label, place),
            letter,
            term.shares is not None,
        )
        for j, (label, place) in enumerate(zip(term.columns, term.predictors, strict=True))
    )
    return Effects(
        name,
        term.name,
        letter,
        len(term.levels),
        term.columns,
        coefficients,
        structure_of(term),
        is_correlated(term),
        k > 1 and bool(term.homogeneous),
        term.prior.has_df,
        "" if term.relation is None else term.relation.name,
    )


def level_letters(design: Design) -> dict[str, str]:
    """An index letter for each grouping factor."""
    groups = dict.fromkeys(term.group for term in design.terms)
    more = (f"{letter}'" for letter in LEVEL_LETTERS)
    return dict(zip(groups, [*LEVEL_LETTERS, *more], strict=False))


def shortened(summands: list[str], most: int, first: int, dots: str) -> list[str]:
    """Summands without the middle ones, where there are more than `most`."""
    return summands if len(summands) <= most else [*summands[:first], dots, summands[-1]]


def wrap_glued(text: str, width: int, indent: int) -> list[str]:
    """Text in lines, broken where a space is none of GLUE; later ones are indented."""
    lines = textwrap.wrap(
        text,
        width,
        subsequent_indent=" " * indent,
        break_long_words=False,
        break_on_hyphens=False,
    )
    return [line.replace(GLUE, " ") for line in lines]
