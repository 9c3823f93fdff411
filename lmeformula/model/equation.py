"""Design and family -> the model in a statistician's notation: text for the REPL, LaTeX for papers."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np

from lmeformula.covariance.table import structure_of
from lmeformula.design.design import Design, TermBlock
from lmeformula.model.family.categories import categories
from lmeformula.model.family.notation import Notation
from lmeformula.model.notation import (
    bare_columns,
    family_notation,
    is_correlated,
    part_names,
)
from lmeformula.model.scripts import LATEX, TEXT, Script

TEXT_WIDTH = 100
# Beyond this many fixed effects the middle ones are left out.
MOST_WRITTEN = 12
# Summands on one line of LaTeX.
LATEX_SUMMANDS = 6
# i counts rows; every grouping factor has its own letter.
LEVEL_LETTERS = "jklmqrstuvw"


@dataclass(frozen=True, slots=True)
class Equation:
    """A model as an equation.

    Attributes:
      text: plain Unicode, at most 100 columns wide where names allow.
      latex: an `aligned` environment, for amsmath, MathJax or KaTeX; without dollar signs.
    """

    text: str
    latex: str

    def __repr__(self) -> str:
        return self.text

    def _repr_latex_(self) -> str:
        return f"$$\n{self.latex}\n$$"


def build_equation(
    design: Design, *, family: Any = "gaussian", sigma: float | None = None
) -> Equation:
    """Write a model as an equation.

    Rows are indexed by i, the levels of a grouping factor by a letter of its own; j[i] is the level
    that row i belongs to (the notation of the reference).

    Args:
      design: the data as arrays.
      family: the response's family, by name or as a record with a `name` and optionally a `link`.
      sigma: the residual standard deviation where it is fixed.
    Returns:
      equation: its text uses the names of the joint distribution's variables, its LaTeX Greek letters.
    References:
      Gelman and Hill (2007), Data Analysis Using Regression and Multilevel/Hierarchical Models,
      section 1.1 and chapter 11.
    Example:
      >>> import numpy as np
      >>> from lmeformula.design.design import ResponseBlock
      >>> from lmeformula.formula.formula import Formula
      >>> from lmeformula.formula.ir import Column, FixedPart, Response, TermSum
      >>> term = TermBlock("g", ("Intercept",), np.ones((3, 1)), "g", ("g",), ("a", "b"),
      ...                  np.array([0, 0, 1], np.int32))
      >>> formula = Formula(Response(Column("y")), FixedPart(TermSum(True, ())), ())
      >>> design = Design(formula, ResponseBlock("y", "numeric", np.array([1.0, 2.0, 4.0])),
      ...                 np.ones((3, 1)), ("Intercept",), (term,), (np.zeros(3),), None, np.arange(3))
      >>> build_equation(design)
      y_i = intercept + g_j[i] + e_i
      g_j ~ Normal(0, stddev_g²)    j = 1 … 2
      e_i ~ Normal(0, sigma²)       i = 1 … 3
    """
    notation = family_notation(family, design)
    text = text_lines(model_lines(design, notation, sigma, TEXT))
    latex = latex_lines(model_lines(design, notation, sigma, LATEX))
    return Equation(text, latex)


# ---- what is written, in either script ---------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Line:
    """left relation summands, for an index that counts to a number (or "", 0)."""

    left: str
    relation: str
    summands: tuple[str, ...]
    index: str = ""
    count: int = 0


def model_lines(
    design: Design, notation: Notation, sigma: float | None, script: Script
) -> list[Line]:
    """The response, the random effects, the residuals, then what the symbols of these stand for."""
    letters = level_letters(design)
    sums = [list(fixed_summands(design, script, k)) for k in range(design.num_predictors)]
    effects: list[Line] = []
    matrices: list[Line] = []
    for term, part in zip(design.terms, part_names(design).terms, strict=True):
        for k, found in enumerate(sums):
            found += random_summands(design, term, letters[term.group], script, k)
        effects += effect_lines(term, part, letters[term.group], script)
        matrices += [covariance_line(term, part, script)] if is_correlated(term) else []
    for found, offset in zip(sums, design.offsets, strict=True):
        if np.any(offset != 0.0):
            found.append(script.indexed(script.label("offset"), "i"))

    label = "y" if design.response is None else design.response.name
    response = script.indexed(script.label(label), "i")
    if notation.predictors:
        return [*predictor_lines(notation, response, sums, design, script), *effects, *matrices]
    summands = sums[0]
    if not notation.parameter:
        residual = script.indexed(script.residual, "i")
        spread = script.sigma if sigma is None else f"{sigma:g}"
        variance = spread + script.squared
        if design.weights is not None:
            variance += " / " + script.indexed(script.label("weights"), "i")
        error = script.function(notation.distribution, f"0, {variance}")
        return [
            Line(response, "=", (*summands, residual)),
            *effects,
            Line(residual, "~", (error,), "i", design.n),
            *matrices,
        ]
    mean = script.indexed(script.mean(notation), "i")
    if notation.is_ordered:
        return [
            *ordered_lines(notation, mean, response, tuple(summands), design, script),
            *effects,
            *matrices,
        ]
    trials = script.indexed(script.label("trials"), "i") + ", " if notation.has_trials else ""
    names = notation.parts or ((notation.own,) if notation.own else ())
    own = "".join(f", {script.own(name)}" for name in names)
    drawn = script.function(notation.distribution, trials + mean + own)
    linked = mean if notation.link == "identity" else script.function(notation.link, mean)
    return [
        Line(response, "~", (_weighted(drawn, notation, design, script),), "i", design.n),
        Line(linked, "=", tuple(summands) or ("0",)),
        *effects,
        *matrices,
    ]


def ordered_lines(
    notation: Notation,
    predictor: str,
    response: str,
    summands: tuple[str, ...],
    design: Design,
    script: Script,
) -> list[Line]:
    """Chances of categories by thresholds, such as that of one or a lower one, then the predictor."""
    event = notation.chance.format(y=response, le=script.at_most)
    link = script.function(notation.link, script.function("P", event))
    threshold = script.indexed(script.own(notation.own), "k")
    last = len(categories(design)[1]) - 1
    first, second = (predictor, threshold) if notation.is_above else (threshold, predictor)
    spread = f"{first} {script.minus} {second}"
    return [
        Line(link, "=", (spread,), "k", last),
        Line(predictor, "=", summands or ("0",)),
    ]


def level_letters(design: Design) -> dict[str, str]:
    """An index letter for each grouping factor."""
    groups = dict.fromkeys(term.group for term in design.terms)
    more = (f"{letter}'" for letter in LEVEL_LETTERS)
    return dict(zip(groups, [*LEVEL_LETTERS, *more], strict=False))


def predictor_lines(
    notation: Notation,
    response: str,
    sums: Sequence[Sequence[str]],
    design: Design,
    script: Script,
) -> list[Line]:
    """The response by the parameters that have predictors and those that have none, then each predictor."""
    symbols = [script.indexed(script.own(name), "i") for name, _ in notation.predictors]
    if notation.is_ordered:
        # The one further predictor of ordered categories is that of the latent scale.
        (chance, *_) = ordered_lines(notation, symbols[0], response, (), design, script)
        scaled = f"{symbols[1]}{script.times}({chance.summands[0]})"
        lines = [Line(chance.left, "=", (scaled,), chance.index, chance.count)]
    else:
        trials = [script.indexed(script.label("trials"), "i")] if notation.has_trials else []
        reference = ["0"] if notation.distribution == "Softmax" else []
        arguments = [*trials, *reference, *symbols, *map(script.own, notation.rest)]
        if notation.distribution == "Normal":
            weights = script.indexed(script.label("weights"), "i")
            weighted = "" if design.weights is None else f" / {weights}"
            arguments[-1] += script.squared + weighted
        drawn = script.function(notation.distribution, ", ".join(arguments))
        drawn = _weighted(drawn, notation, design, script)
        lines = [Line(response, "~", (drawn,), "i", design.n)]
    for (_, link), symbol, summands in zip(notation.predictors, symbols, sums, strict=True):
        left = symbol if link in ("", "identity") else _linked(link, symbol, script)
        lines.append(Line(left, "=", tuple(summands) or ("0",)))
    return lines


def _weighted(drawn: str, notation: Notation, design: Design, script: Script) -> str:
    """A density to the power of its weight, where the family's are multiplied by prior weights."""
    if not notation.has_weights or design.weights is None:
        return drawn
    return script.power(drawn, script.indexed(script.label("weights"), "i"))


def _linked(link: str, symbol: str, script: Script) -> str:
    name, _, shifted = link.partition("(")
    # A dot stands for the parameter, but where it is a number's.
    within = re.sub(r"(?<!\d)\.(?!\d)", lambda _: symbol, shifted.rstrip(")"))
    return script.function(name, within or symbol)


def fixed_summands(design: Design, script: Script, predictor: int = 0) -> list[str]:
    """The fixed effects of a predictor times their columns."""
    summands = []
    bare = bare_columns(design)
    places = design.column_predictors
    for name, whole, place in zip(part_names(design).effects, design.names, places, strict=True):
        if place != predictor:
            continue
        column = bare[whole]
        effect = script.effect(name, whole)
        if column != "Intercept":
            effect += script.times + script.indexed(script.label(column), "i")
        summands.append(effect)
    if len(summands) > MOST_WRITTEN:
        return [*summands[:4], script.dots, summands[-1]]
    return summands


def random_summands(
    design: Design, term: TermBlock, letter: str, script: Script, predictor: int = 0
) -> list[str]:
    """The random effects of each row times their columns, of those of a predictor."""
    summands = []
    bare = bare_columns(design)
    places = term.predictors
    for whole, label, place in zip(term.columns, coefficient_labels(term), places, strict=True):
        if place != predictor:
            continue
        column = bare[whole]
        effect = script.indexed(script.label(label), f"{letter}[i]")
        if column != "Intercept":
            effect += script.times + script.indexed(script.label(column), "i")
        summands.append(effect)
    return summands


def coefficient_labels(term: TermBlock) -> tuple[str, ...]:
    """A term's coefficients: the group's name, with the column's unless it is a random intercept."""
    if term.columns == ("Intercept",):
        return (term.name,)
    return tuple(f"{term.group}.{column}" for column in term.columns)


def effect_lines(term: TermBlock, part: str, letter: str, script: Script) -> list[Line]:
    """How the random effects of a term are distributed: jointly where they are correlated."""
    k, num_levels = len(term.columns), len(term.levels)
    labels = coefficient_labels(term)
    symbols = [script.indexed(script.label(label), letter) for label in labels]
    if is_correlated(term):
        drawn = drawn_from(term, script.covariance(term.name), script)
        return [Line(f"({', '.join(symbols)})", "~", (drawn,), letter, num_levels)]
    lines = []
    for place, (label, symbol) in enumerate(zip(labels, symbols, strict=True)):
        is_shared = k > 1 and term.homogeneous
        in_vector = k > 1 and not term.homogeneous
        spread = script.spread(
            part, term.name if is_shared else label, place if in_vector else None
        )
        squared = script.squared if term.distribution == "gaussian" else ""
        drawn = drawn_from(term, spread + squared, script)
        lines.append(Line(symbol, "~", (drawn,), letter, num_levels))
    return lines


def drawn_from(term: TermBlock, spread: str, script: Script) -> str:
    """The distribution of a term's effects: by variance where it is normal, by scale where it is a t."""
    if term.distribution == "student":
        return script.function("StudentT", f"{script.own('df')}, 0, {spread}")
    return script.function("Normal", f"0, {spread}")


def covariance_line(term: TermBlock, part: str, script: Script) -> Line:
    """A covariance matrix in terms of the standard deviations."""
    spread = script.spread(part, term.name, None)
    scaled = script.shared(spread) if term.homogeneous else script.correlated(spread)
    factors = scaled + script.matrix(structure_of(term), part, term.name, len(term.columns))
    return Line(script.covariance(term.name), "=", (factors,))


# ---- laying out --------------------------------------------------------------------------------


def text_lines(lines: Sequence[Line]) -> str:
    """Set lines as text: neighbouring distributions aligned, long sums continued after their sign."""
    written: list[str] = []
    for is_drawn, block in groupby(lines, key=lambda line: bool(line.index)):
        if is_drawn:
            written += aligned_distributions(list(block))
        else:
            for line in block:
                written += wrapped_sum(line)
    return "\n".join(written)


def aligned_distributions(lines: Sequence[Line]) -> list[str]:
    """Distributions in columns: symbol, distribution, range of the index."""
    left = max(len(line.left) for line in lines)
    right = max(len(line.summands[0]) for line in lines)
    return [
        f"{line.left:<{left}} {line.relation} {line.summands[0]:<{right}}    {line.index} = 1 … {line.count:,}"
        for line in lines
    ]


def wrapped_sum(line: Line) -> list[str]:
    """A sum, broken only between its summands."""
    glue = "\N{NO-BREAK SPACE}"
    start = f"{line.left} {line.relation} "
    sums = f"{glue}+ ".join(summand.replace(" ", glue) for summand in line.summands)
    rows = textwrap.wrap(
        start.replace(" ", glue) + sums,
        TEXT_WIDTH,
        subsequent_indent=" " * len(start),
        break_long_words=False,
        break_on_hyphens=False,
    )
    return [row.replace(glue, " ") for row in rows]


def latex_lines(lines: Sequence[Line]) -> str:
    """Set lines in an aligned environment."""
    written = []
    for line in lines:
        relation = r"\sim" if line.relation == "~" else "="
        rows = [
            " + ".join(line.summands[start : start + LATEX_SUMMANDS])
            for start in range(0, len(line.summands), LATEX_SUMMANDS)
        ]
        written.append(f"{line.left} &{relation} {rows[0]}")
        if line.index:
            count = f"{line.count:,}".replace(",", "{,}")
            written[-1] += rf", \quad {line.index} = 1, \dots, {count}"
        written += [rf"&\quad + {row}" for row in rows[1:]]
    return "\n".join([r"\begin{aligned}", " \\\\\n".join(written), r"\end{aligned}"])
