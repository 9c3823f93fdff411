"""IR to LaTeX: the equation of the model that a formula describes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from lmeformula.formula import ir
from lmeformula.formula.kinds import KINDS, UNSTRUCTURED
from lmeformula.formula.show import expression_text, name_text
from lmeformula.formula.smooths import Smooth, is_smooth, smooth_of, smooths_of

SPECIAL = {
    "\\": r"\textbackslash{}",
    "^": r"\textasciicircum{}",
    "~": r"\textasciitilde{}",
    **{character: "\\" + character for character in "&%$#_{}"},
}


def formula_latex(formula: ir.FormulaRecord) -> str:
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
    lines += distributions(formula.random)
    lines += smooth_lines(formula)
    return aligned(lines)


def aligned(lines: Sequence[str]) -> str:
    """Set equations one below the other."""
    return "\n".join([r"\begin{aligned}", " \\\\\n".join(lines), r"\end{aligned}"])


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
    smooths = 0
    for number, term in enumerate(part.sum.terms, 1):
        if is_smooth(term.variables[0]):
            smooths += 1
            yield curve(smooth_of(term.variables[0]), smooths)
        else:
            yield rf"\beta_{{{number}}}\,{product(term)}"
    for offset in part.offsets:
        yield f"{text(expression_text(offset))}_i"


def curve(smooth: Smooth, number: int) -> str:
    """Write a smooth's value in row i; `number` counts the smooths from 1."""
    symbol = f"f_{{{number}}}"
    variables = list(map(expression_text, smooth.variables))
    if smooth.group is not None:
        symbol = f"f_{{{number},{text(variables.pop())}[i]}}"
    inside = ", ".join(f"{text(variable)}_i" for variable in variables)
    times = "" if smooth.by is None else rf"\,{text(expression_text(smooth.by))}_i"
    return symbol + (f"({inside})" if inside else "") + times


def smooth_lines(formula: ir.FormulaRecord) -> Iterator[str]:
    """Write what curves are: what is not penalised, and functions of a basis with normal coefficients."""
    for number, smooth in enumerate(smooths_of(formula), 1):
        symbol, index = f"f_{{{number}}}", f"{{f_{{{number}}},k}}"
        is_effect = smooth.bases == ("re",)
        first = "" if smooth.is_grouped else rf"\beta_{{f_{{{number}}}}}^\top \mathbf{{x}} + "
        sums = "" if is_effect else rf"{first}\sum_k b_{index} B_{{{number},k}}, \quad "
        which = rf"b_{{f_{{{number}}},j}}" if is_effect else rf"b_{index}"
        left = which if is_effect else symbol
        drawn = rf"\mathcal{{N}}(0, \sigma_{{f_{{{number}}}}}^2)"
        yield rf"{left} &\sim {drawn}" if is_effect else rf"{left} &= {sums}{which} \sim {drawn}"


def level(group: ir.GroupingFactor) -> str:
    """Write the level of a grouping factor in row i."""
    if group.members:
        return text(group.label) + "[i,m]"
    names = (expression_text(group.reserved),) if group.reserved else map(name_text, group.names)
    return text(":".join(names)) + "[i]"


def shares(group: ir.GroupingFactor) -> str:
    """Write what the levels of a row count for, before their effects; "" where there is one."""
    count = len(group.names)
    total = rf"\sum_{{m=1}}^{{{count}}} "
    if not group.members:
        return ""
    return total + r"w_{im}\," if group.weights else rf"\tfrac{{1}}{{{count}}}{total}"


def random_addends(term: ir.RandomTerm, number: int) -> Iterator[str]:
    """Yield the addends of a random-effects term; `number` counts the terms from 1."""
    where = level(term.group)
    kind = KINDS.get(term.covariance.kind)
    if kind is not None and kind.has_positions:
        inside = ", ".join(map(product, term.columns.terms))
        yield rf"{shares(term.group)}b_{{{number},{where}}}({inside})"
        return
    products = [""] if term.columns.intercept else []
    products += (r"\," + product(columns) for columns in term.columns.terms)
    for position, factor in enumerate(products, 1):
        index = f"{number}" if len(products) == 1 else f"{number}{position}"
        yield f"{shares(term.group)}b_{{{index},{where}}}{factor}"


def distributions(terms: Sequence[ir.RandomTerm]) -> Iterator[str]:
    """Write how the coefficients of each term are distributed; those of one |label| together."""
    numbered = list(enumerate(terms, 1))
    for number, term in numbered:
        members = [n for n, other in numbered if term.block and other.block == term.block]
        if not members or number == members[0]:
            yield distribution(term, members or [number])


def distribution(term: ir.RandomTerm, numbers: Sequence[int]) -> str:
    """Write the distribution of a random-effects term's coefficients, or of several terms' with one label."""
    index = str(numbers[0]) + (f",{text(term.group.by)}[j]" if term.group.by else "")
    is_student = term.group.distribution == "student"
    family = rf"\mathrm{{t}}_{{\nu_{{{index}}}}}" if is_student else r"\mathcal{N}"
    is_plain = term.covariance.kind == UNSTRUCTURED and not term.block
    if term.group.cov:
        return related(term, index, is_plain)
    if term.columns.intercept + len(term.columns.terms) == 1 and is_plain:
        return rf"b_{{{index},j}} &\sim {family}(0, \sigma_{{{index}}}^2)"
    index = text(term.block) if term.block else index
    vectors = ", ".join(rf"\mathbf{{b}}_{{{number},j}}" for number in numbers)
    joint = f"({vectors})" if len(numbers) > 1 else vectors
    drawn = rf"{joint} &\sim {family}(\mathbf{{0}}, \Sigma_{{{index}}})"
    pattern = covariance(term.covariance, index)
    return drawn + (rf", \quad {pattern}" if pattern else "")


def related(term: ir.RandomTerm, index: str, is_plain: bool) -> str:
    """Write the distribution of the effects of all levels, between which a covariance is known."""
    known = rf"\mathbf{{{text(term.group.cov)}}}"
    if term.columns.intercept + len(term.columns.terms) == 1 and is_plain:
        return rf"\mathbf{{b}}_{{{index}}} &\sim \mathcal{{N}}(\mathbf{{0}}, \sigma_{{{index}}}^2\,{known})"
    drawn = rf"\mathbf{{b}}_{{{index}}} &\sim \mathcal{{N}}(\mathbf{{0}}, {known} \otimes \Sigma_{{{index}}})"
    pattern = covariance(term.covariance, index)
    return drawn + (rf", \quad {pattern}" if pattern else "")


def covariance(structure: ir.Covariance, index: str) -> str:
    """Write a covariance matrix by its standard deviations and its correlation; "" where it has no pattern.

    Args:
      structure: of a term.
      index: of its symbols.
    Example:
      >>> print(covariance(ir.Covariance("ar1", True), "1"))
      (\\Sigma_{1})_{rs} = \\sigma_{1}^2\\,\\rho_{1}^{|r - s|}
    """
    matrix, kind = rf"\Sigma_{{{index}}}", KINDS[structure.kind]
    if kind.takes_rank:
        loadings, count = rf"\Lambda_{{{index}}}", structure.rank
        columns = rf"\quad {loadings} \text{{ with }} {count} \text{{ column{'s' * (count > 1)}}}"
        return rf"{matrix} = {loadings} {loadings}', {columns}"
    shared, first, second, row, column = (
        rf"\sigma_{{{index}{place}}}" for place in ("", ",1", ",2", ",r", ",s")
    )
    if kind.takes_matrix:
        scale = "" if kind.num_params(False, 1) == 0 else rf"{shared}^2\,"
        return rf"{matrix} = {scale}\mathbf{{{text(structure.matrix or 'A')}}}"
    variance = rf"{shared}^2" if structure.homogeneous else rf"{row}^2"
    if kind.num_correlations(2) == 0:
        every = rf"\operatorname{{diag}}({first}^2, {second}^2, \dots)"
        return rf"{matrix} = " + (rf"{variance}\,I" if structure.homogeneous else every)
    correlation = kind.correlation(index)
    if not correlation:
        return ""
    product = variance if structure.homogeneous else rf"{row}\,{column}"
    element = rf"({matrix})_{{rs}} = {product}\,{correlation}"
    if kind.is_over_time or kind.has_positions:
        return element
    return rf"({matrix})_{{rr}} = {variance}, \quad {element} \; (r \neq s)"
