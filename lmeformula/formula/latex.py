"""IR to LaTeX: the equation of the model that a formula describes."""

from __future__ import annotations

from collections.abc import Iterator

from lmeformula.formula import ir
from lmeformula.formula.show import call_text, expression_text, name_text

SPECIAL = {
    "\\": r"\textbackslash{}",
    "^": r"\textasciicircum{}",
    "~": r"\textasciitilde{}",
    **{character: "\\" + character for character in "&%$#_{}"},
}
STRUCTURES = {
    "diag": r"\operatorname{diag}",
    "cs": r"\operatorname{CS}",
    "ar1": r"\operatorname{AR}_1",
}


def formula_latex(formula: ir.Formula) -> str:
    """Write the model's equation: the linear predictor, and how the random effects vary.

    Args:
      formula: any formula.
    Returns:
      LaTeX for display mathematics, without its delimiters. A term of a factor stands for all its columns,
      whose number only the data tells.
    Example:
      >>> from lmeformula.formula import parse
      >>> print(formula_latex(parse("y ~ x + (1 | g)")))
      \\begin{aligned}
      \\operatorname{E}(\\text{y}_i \\mid b) &= h(\\eta_i) \\\\
      \\eta_i &= \\beta_{0} + \\beta_{1}\\,\\text{x}_i + b_{1,\\text{g}[i]} \\\\
      b_{1,j} &\\sim \\mathcal{N}(0, \\sigma_{1}^2)
      \\end{aligned}
    """
    lines = []
    if formula.response is not None:
        name = text(expression_text(formula.response.expression))
        lines.append(rf"\operatorname{{E}}({name}_i \mid b) &= h(\eta_i)")
    addends = [*fixed_addends(formula.fixed)]
    for number, term in enumerate(formula.random, 1):
        addends += random_addends(term, number)
    lines.append(rf"\eta_i &= {' + '.join(addends) or '0'}")
    lines += (distribution(term, number) for number, term in enumerate(formula.random, 1))
    body = " \\\\\n".join(lines)
    return f"\\begin{{aligned}}\n{body}\n\\end{{aligned}}"


def text(name: str) -> str:
    """Set a name upright, its special characters escaped."""
    return r"\text{" + "".join(SPECIAL.get(character, character) for character in name) + "}"


def product(term: ir.Term) -> str:
    """Write a term's value in row i."""
    return r"\,".join(f"{text(expression_text(variable))}_i" for variable in term.variables)


def fixed_addends(part: ir.FixedPart) -> Iterator[str]:
    """Yield the addends of the fixed part."""
    if part.sum.intercept:
        yield r"\beta_{0}"
    for number, term in enumerate(part.sum.terms, 1):
        yield rf"\beta_{{{number}}}\,{product(term)}"
    for offset in part.offsets:
        yield f"{text(expression_text(offset))}_i"


def level(group: ir.GroupingFactor) -> str:
    """Write the level of a grouping factor in row i."""
    names = (call_text(group.reserved),) if group.reserved else map(name_text, group.names)
    return text(":".join(names)) + "[i]"


def random_addends(term: ir.RandomTerm, number: int) -> Iterator[str]:
    """Yield the addends of a random-effects term; `number` counts the terms from 1."""
    where = level(term.group)
    products = [""] if term.columns.intercept else []
    products += (r"\," + product(columns) for columns in term.columns.terms)
    for position, factor in enumerate(products, 1):
        index = f"{number}" if len(products) == 1 else f"{number}{position}"
        yield f"b_{{{index},{where}}}{factor}"


def distribution(term: ir.RandomTerm, number: int) -> str:
    """Write the distribution of a random-effects term's coefficients."""
    is_heavy = term.group.distribution == "student"
    family = rf"\mathrm{{t}}_{{\nu_{{{number}}}}}" if is_heavy else r"\mathcal{N}"
    if term.columns.intercept + len(term.columns.terms) == 1 and not term.block:
        return rf"b_{{{number},j}} &\sim {family}(0, \sigma_{{{number}}}^2)"
    index = text(term.block) if term.block else str(number)
    covariance = rf"\Sigma_{{{index}}}"
    if term.covariance.kind != "us":
        name = STRUCTURES.get(term.covariance.kind, text(term.covariance.kind))
        covariance = f"{name}(\\sigma_{{{number}}})"
    return rf"\mathbf{{b}}_{{{number},j}} &\sim {family}(\mathbf{{0}}, {covariance})"
