"""Smooths of formulas, s(x) and t2(x, z): what a call says, and which terms of effects stand for it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from lmeformula.formula import ir
from lmeformula.formula.links import linked_terms
from lmeformula.formula.mistakes import Report
from lmeformula.formula.show import expression_text

FUNCTIONS = ("s", "t2")


@dataclass(frozen=True, slots=True)
class Basis:
    """A kind of basis of mgcv's that can be fitted.

    Attributes:
      words: what `explain` says of it.
      most_variables: of one smooth; 0 for any number.
      in_products: whether t2() takes it.
      is_grouped: whether its coefficients are those of the levels of a factor among its variables.
    """

    words: str
    most_variables: int = 1
    in_products: bool = True
    is_grouped: bool = False


BASES = {
    "tp": Basis("thin plate regression spline", 0),
    "cr": Basis("cubic regression spline"),
    "cc": Basis("cyclic cubic regression spline"),
    "re": Basis("random effects", 0, in_products=False, is_grouped=True),
    "fs": Basis("a smooth for each level, with one smoothness", 2, False, is_grouped=True),
}


@dataclass(frozen=True, slots=True)
class Smooth:
    """What a call of s() or t2() says.

    Attributes:
      call: as written.
      variables: what it is a function of; the factor of fs and re among them.
      bases: of s() one; of t2() one for each variable.
      sizes: their dimensions k; None for mgcv's default.
      by: what the smooth is multiplied by, or whose levels have one each.
    """

    call: ir.Call
    variables: tuple[ir.Expression, ...]
    bases: tuple[str, ...]
    sizes: tuple[int | None, ...]
    by: ir.Expression | None = None

    @property
    def is_product(self) -> bool:
        """Whether it is a tensor product, t2()."""
        return self.call.function == "t2"

    @property
    def basis(self) -> Basis:
        """The kind of the first of its bases."""
        return BASES[self.bases[0]]

    @property
    def is_grouped(self) -> bool:
        """Whether its coefficients vary over the levels of a factor."""
        return self.basis.is_grouped

    @property
    def group(self) -> ir.Column | None:
        """The grouping factor of fs and re: the last variable, which stands there by itself."""
        last = self.variables[-1]
        return last if self.is_grouped and isinstance(last, ir.Column) else None

    @property
    def num_pieces(self) -> int:
        """How many terms of effects stand for it."""
        if self.bases == ("fs",):
            return 2
        return 2 ** len(self.variables) - 1 if self.is_product else 1


def is_smooth(expression: ir.Expression) -> bool:
    """Whether an expression is a smooth."""
    return isinstance(expression, ir.Call) and expression.function in FUNCTIONS


def smooth_of(expression: ir.Expression) -> Smooth:
    """Read a smooth of a formula that was checked."""
    assert isinstance(expression, ir.Call)
    report = Report("")
    found = read_smooth(expression, report)
    assert found is not None, report.errors
    return found


def smooths_of(formula: ir.FormulaRecord) -> tuple[Smooth, ...]:
    """The smooths of the formula of one predictor."""
    calls = dict.fromkeys(filter(is_smooth, formula.fixed.sum.variables))
    return tuple(map(smooth_of, calls))


def effect_terms(formula: ir.FormulaRecord) -> tuple[tuple[ir.RandomTerm, ...], ...]:
    """The terms of effects of one predictor: linked random-effects terms, then those of smooths, each alone.

    Example:
      >>> from lmeformula.formula import parse
      >>> terms = effect_terms(parse("y ~ s(x) + (1 | p | g) + (0 + z | p | g)"))
      >>> [len(linked) for linked in terms], terms[1][0].smooth is not None
      ([2, 1], True)
    """
    pieces = [(piece,) for each in smooths_of(formula) for piece in _pieces(each)]
    return (*linked_terms(formula.random), *pieces)


def effect_groups(formula: ir.FormulaRecord) -> Iterator[ir.GroupingFactor]:
    """The grouping factors of all terms of effects of one predictor."""
    yield from (term.group for term in formula.random)
    for smooth in smooths_of(formula):
        if smooth.group is not None:
            yield ir.GroupingFactor((smooth.group.name,), span=smooth.call.span)


def _pieces(smooth: Smooth) -> Iterator[ir.RandomTerm]:
    names = () if smooth.group is None else (smooth.group.name,)
    group = ir.GroupingFactor(names, span=smooth.call.span)
    columns = ir.TermSum(False, (ir.Term((smooth.call,), smooth.call.span),))
    for piece in range(smooth.num_pieces):
        # Of fs the last piece is the null space, each function of which has a variance.
        homogeneous = not (smooth.bases == ("fs",) and piece == 1)
        yield ir.RandomTerm(
            columns,
            group,
            ir.Covariance("diag", homogeneous),
            smooth=ir.Piece(smooth.call, piece),
            span=smooth.call.span,
        )


def read_smooth(call: ir.Call, report: Report) -> Smooth | None:
    """Read a call of s() or t2().

    Args:
      call: the call.
      report: collects mistakes.
    Returns:
      What it says; None after a mistake.
    """
    num_errors = len(report.errors)
    variables = tuple(argument.value for argument in call.arguments if not argument.name)
    given: dict[str, ir.Expression] = {}
    for argument in call.arguments:
        if argument.name and (argument.name not in ("k", "bs", "by") or argument.name in given):
            report.error(
                "smooth_argument",
                argument.value.span or call.span,
                function=call.function,
                argument=argument.name,
            )
        given[argument.name] = argument.value
    least = 2 if call.function == "t2" else 1
    if len(variables) < least or not all(_has_column(each) for each in variables):
        report.error("smooth_variables", call.span, function=call.function, count=str(least))
    if len(report.errors) > num_errors:
        return None
    count = len(variables) if call.function == "t2" else 1
    default = "cr" if call.function == "t2" else "tp"
    bases = _each(given.get("bs"), count, ir.Text(default))
    sizes = _each(given.get("k"), count, ir.Number(-1.0))
    names = []
    for basis in bases or (given["bs"],):
        name = basis.value if isinstance(basis, ir.Text) else expression_text(basis)
        kind = BASES.get(name) if isinstance(basis, ir.Text) else None
        if kind is None or (call.function == "t2" and not kind.in_products) or not bases:
            known = [n for n, b in BASES.items() if b.in_products or call.function == "s"]
            report.error(
                "smooth_basis",
                given["bs"].span or call.span,
                function=call.function,
                found=name,
                known=", ".join(known),
            )
            return None
        names.append(name)
    numbers: list[int | None] = []
    for size in sizes or (given["k"],):
        value = size.value if isinstance(size, ir.Number) else 0.5
        if not sizes or value % 1 or (value < 2 and value != -1) or value > MOST:
            report.error(
                "smooth_size",
                given["k"].span or call.span,
                function=call.function,
                found=expression_text(given["k"]),
                most=f"{MOST:,}",
            )
            return None
        numbers.append(None if value == -1 else int(value))
    found = Smooth(call, variables, tuple(names), tuple(numbers), given.get("by"))
    _check_variables(found, report)
    return found if len(report.errors) == num_errors else None


# Columns of one smooth; a basis of more takes minutes and says no more.
MOST = 1000


def _check_variables(smooth: Smooth, report: Report) -> None:
    call, kind, count = smooth.call, smooth.basis, len(smooth.variables)
    name = smooth.bases[0]
    if smooth.is_product:
        return
    if kind.most_variables and count > kind.most_variables:
        report.error("smooth_too_many", call.span, basis=name, most=str(kind.most_variables))
    elif name == "fs" and (count < 2 or smooth.group is None):
        report.error("smooth_factor", call.span, basis=name, example='s(x, g, bs = "fs")')
    elif name == "re" and (count > 2 or smooth.group is None):
        report.error("smooth_factor", call.span, basis=name, example='s(g, bs = "re")')
    elif (kind.is_grouped and smooth.by is not None) or (name == "re" and smooth.sizes != (None,)):
        report.error("smooth_grouped_by", call.span, basis=name)


def _has_column(expression: ir.Expression) -> bool:
    return any(isinstance(node, ir.Column) for node in ir.walk(expression))


def _each(
    given: ir.Expression | None, count: int, default: ir.Expression
) -> tuple[ir.Expression, ...]:
    """One value for each of `count` bases, of one or of c(...); () where they do not fit."""
    if given is None:
        return (default,) * count
    given = _signed(given)
    if isinstance(given, ir.Call) and given.function == "c":
        found = tuple(_signed(argument.value) for argument in given.arguments)
        return found if len(found) == count else ()
    return (given,) * count


def _signed(node: ir.Expression) -> ir.Expression:
    """-1, which asks for the default, as a number."""
    if ir.is_sign(node) and node.operator == "-" and isinstance(node.operands[0], ir.Number):
        return ir.Number(-node.operands[0].value)
    return node
