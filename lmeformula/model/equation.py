"""Design and family -> the model in a statistician's notation: text for the REPL, LaTeX for papers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from lmeformula.design.design import Design
from lmeformula.formula.latex import aligned
from lmeformula.model.priors import NO_PRIORS, Assigned, Priors
from lmeformula.model.scripts import LATEX, TEXT, Script
from lmeformula.model.symbols import (
    GLUE,
    Coefficient,
    Effects,
    Predictor,
    SymbolicModel,
    shortened,
    symbolic_model,
    wrap_glued,
)

TEXT_WIDTH = 100
# Beyond this many fixed effects the middle ones are left out.
MOST_WRITTEN = 12
# And of the effects of one term.
MOST_WRITTEN_EFFECTS = 6
# Of more parameters with one prior the name that they have together is written.
MOST_NAMED = 4
# Priors whose last number is a standard deviation.
SPREAD = ("normal", "half_normal", "lognormal")
# Summands on one line of LaTeX.
LATEX_SUMMANDS = 6


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
    design: Design,
    *,
    family: Any = "gaussian",
    sigma: float | None = None,
    priors: Priors = NO_PRIORS,
) -> Equation:
    """Write a model as an equation.

    Rows are indexed by i, the levels of a grouping factor by a letter of its own; j[i] is the level
    that row i belongs to (the notation of the reference).

    Args:
      design: the data as arrays.
      family: the response's family, by name or as a record with a `name` and optionally a `link`.
      sigma: the residual standard deviation where it is fixed.
      priors: of parameters; each is a line.
    Returns:
      equation: its text uses the names of the joint distribution's variables, its LaTeX Greek letters.
    References:
      Gelman and Hill (2007), Data Analysis Using Regression and Multilevel/Hierarchical Models,
      section 1.1 and chapter 11.
    Example:
      >>> from lmeformula.design import design
      >>> data = {"y": [1.0, 2.0, 4.0], "g": ["a", "a", "b"]}
      >>> build_equation(design("y ~ 1 + (1 | g)", data))
      y_i = intercept + g_j[i] + e_i
      g_j ~ Normal(0, stddev_g²)    j = 1 … 2
      e_i ~ Normal(0, sigma²)       i = 1 … 3
    """
    model = symbolic_model(design, family=family, sigma=sigma)
    text, latex = (
        [*model_lines(model, script), *(prior_line(one, script) for one in priors)]
        for script in (TEXT, LATEX)
    )
    return Equation(text_lines(text), latex_lines(latex))


# ---- what is written, in either script ---------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Line:
    """left relation summands, for an index that counts to a number (or "", 0)."""

    left: str
    relation: str
    summands: tuple[str, ...]
    index: str = ""
    count: int = 0


def model_lines(model: SymbolicModel, script: Script) -> Iterator[Line]:
    """The response, the random effects, the residuals, then what the symbols of these stand for."""
    response = script.indexed(script.label(model.label), "i")
    sums = [tuple(summands(predictor, script)) for predictor in model.predictors]
    effects = [line for each in model.effects for line in effect_lines(each, script)]
    if not model.has_residual:
        yield Line(response, "=", sums[0])
        yield from effects
    elif model.is_additive:
        residual = script.indexed(script.residual, "i")
        (own,) = model.own
        spread = script.own(own) if own == model.notation.own else own
        error = script.function(
            "Normal", f"0, {spread}{script.squared}{over_weights(model, script)}"
        )
        yield Line(response, "=", (*sums[0], residual))
        yield from effects
        yield Line(residual, "~", (error,), "i", model.num_rows)
    else:
        symbols = [script.indexed(script.parameter(each), "i") for each in model.predictors]
        yield response_line(model, response, symbols, script)
        for predictor, symbol, found in zip(model.predictors, symbols, sums, strict=True):
            yield Line(predictor.left(symbol, script.function), "=", found or ("0",))
        yield from effects
    yield from (covariance_line(each, script) for each in model.effects if each.is_correlated)


def prior_line(assigned: Assigned, script: Script) -> Line:
    """Parameters, by the names that they are reported by, and the prior that each has."""
    unit = "" if not assigned.is_relative else "/sigma" if assigned.of == "sd" else "/sigma^2"
    names = assigned.names if len(assigned.names) <= MOST_NAMED else (assigned.key,)
    left = ", ".join(script.label(f"{name}{unit}") for name in names)
    name, _, numbers = assigned.prior.text.partition("(")
    words = "LKJ" if name == "lkj" else "".join(map(str.capitalize, name.split("_")))
    # A normal distribution is written by its variance, as above.
    squared = script.squared if name in SPREAD else ""
    return Line(left, "~", (script.function(words, numbers[:-1] + squared),))


def response_line(
    model: SymbolicModel, response: str, symbols: Sequence[str], script: Script
) -> Line:
    """The response's distribution; of ordered categories their chances, such as that of one or a lower one."""
    notation = model.notation
    if notation.is_ordered:
        event = notation.chance.format(y=response, le=script.at_most)
        link = script.function(notation.link, script.function("P", event))
        pair = (script.indexed(script.own(model.own[0]), "k"), symbols[0])
        first, second = reversed(pair) if notation.is_above else pair
        spread = f"{first} - {second}"
        # The one further predictor of ordered categories is that of the latent scale.
        scaled = [f"{scale}{script.times}({spread})" for scale in symbols[1:]]
        return Line(link, "=", tuple(scaled) or (spread,), "k", model.num_thresholds)
    trials = [script.indexed(script.label("trials"), "i")] if notation.has_trials else []
    reference = ["0"] if notation.distribution == "Softmax" else []
    arguments = [*trials, *reference, *symbols, *map(script.own, model.own)]
    if notation.distribution == "Normal":
        arguments[-1] += script.squared + over_weights(model, script)
    drawn = script.function(notation.distribution, ", ".join(arguments))
    if notation.has_weights and model.has_prior_weights:
        drawn = script.power(drawn, script.indexed(script.label("weights"), "i"))
    return Line(response, "~", (drawn,), "i", model.num_rows)


def over_weights(model: SymbolicModel, script: Script) -> str:
    """What a variance is divided by."""
    weights = script.indexed(script.label("weights"), "i")
    return f" / {weights}" if model.has_prior_weights else ""


def summands(predictor: Predictor, script: Script) -> Iterator[str]:
    """The coefficients of a linear predictor times their columns, and its offset."""
    fixed = [
        summand(script.effect(each.name, each.label), each, script) for each in predictor.fixed
    ]
    yield from shortened(fixed, MOST_WRITTEN, 4, script.dots)
    for _, group in groupby(predictor.random, key=lambda each: each.name.partition("[")[0]):
        found = [summand(of_level(each, script), each, script) for each in group]
        yield from shortened(found, MOST_WRITTEN_EFFECTS, 2, script.dots)
    if predictor.has_offset:
        yield script.indexed(script.label("offset"), "i")


def of_level(effect: Coefficient, script: Script) -> str:
    """A random effect of row i: that of its level, or the sum of those of its members, by their shares."""
    symbol = script.label(effect.label)
    if not effect.has_members:
        return script.indexed(symbol, f"{effect.letter}[i]")
    share = script.indexed(script.label("share"), "im")
    own = script.indexed(symbol, f"{effect.letter}[i,m]")
    return f"{script.sum_over('m')}{share}{script.times}{own}"


def summand(symbol: str, coefficient: Coefficient, script: Script) -> str:
    """A coefficient's symbol, times the column in row i unless it is an intercept."""
    column = coefficient.column
    return symbol + (script.times + script.indexed(script.label(column), "i") if column else "")


def effect_lines(effects: Effects, script: Script) -> Iterator[Line]:
    """How the random effects of a term are distributed: jointly where they are correlated."""
    letter, num_levels = effects.letter, effects.num_levels
    labels = [each.label for each in effects.coefficients]
    symbols = [script.indexed(script.label(label), letter) for label in labels]
    if effects.relation:
        yield related_line(effects, symbols, script)
        return
    if effects.is_correlated:
        drawn = drawn_from(effects, script.covariance(effects.label), script)
        yield Line(f"({', '.join(symbols)})", "~", (drawn,), letter, num_levels)
        return
    if effects.has_one_variance and len(symbols) > MOST_WRITTEN_EFFECTS:
        spread = script.spread(effects.name, effects.label, None)
        drawn = drawn_from(effects, spread + script.squared * (not effects.has_df), script)
        every = ", ".join(shortened(symbols, MOST_WRITTEN_EFFECTS, 1, script.dots))
        yield Line(every, "~", (drawn,), letter, num_levels)
        return
    for place, (label, symbol) in enumerate(zip(labels, symbols, strict=True)):
        of = effects.label if effects.has_one_variance else label
        in_vector = len(labels) > 1 and not effects.has_one_variance
        spread = script.spread(effects.name, of, place if in_vector else None)
        # A normal distribution is written by its variance, a t by its scale.
        drawn = drawn_from(effects, spread + script.squared * (not effects.has_df), script)
        yield Line(symbol, "~", (drawn,), letter, num_levels)


def related_line(effects: Effects, symbols: list[str], script: Script) -> Line:
    """How the effects of all levels are distributed together, where a covariance between these is known."""
    known = script.label(effects.relation)
    if effects.is_correlated:
        spread = script.covariance(effects.label)
    else:
        spread = script.spread(effects.name, effects.label, None) + script.squared
    drawn = script.function("Normal", f"0, {spread}{script.times}{known}")
    joined = symbols[0] if len(symbols) == 1 else f"({', '.join(symbols)})"
    return Line(joined, "~", (drawn,), effects.letter, effects.num_levels)


def drawn_from(effects: Effects, spread: str, script: Script) -> str:
    """The distribution of a term's effects."""
    if effects.has_df:
        return script.function("StudentT", f"{script.own('df')}, 0, {spread}")
    return script.function("Normal", f"0, {spread}")


def covariance_line(effects: Effects, script: Script) -> Line:
    """A covariance matrix in terms of the standard deviations."""
    name, label = effects.name, effects.label
    if effects.structure.correlations in ("known", "factors"):
        whole = script.matrix(effects.structure, name, label, len(effects.columns))
        return Line(script.covariance(label), "=", (whole,))
    spread = script.spread(name, label, None)
    scaled = script.shared(spread) if effects.has_one_variance else script.correlated(spread)
    factors = scaled + script.matrix(effects.structure, name, label, len(effects.columns))
    return Line(script.covariance(label), "=", (factors,))


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
    start = f"{line.left} {line.relation} "
    sums = f"{GLUE}+ ".join(summand.replace(" ", GLUE) for summand in line.summands)
    return wrap_glued(start.replace(" ", GLUE) + sums, TEXT_WIDTH, len(start))


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
    return aligned(written)
