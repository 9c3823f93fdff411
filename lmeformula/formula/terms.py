"""The algebra of terms: + - * / : ^ %in% over sets of variables, as R evaluates them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple, TypeAlias

from lmeformula.formula import ir
from lmeformula.formula.expression import is_number, value
from lmeformula.formula.mistakes import Report
from lmeformula.formula.show import expression_text
from lmeformula.formula.written import Addend

MAX_TERMS = 100_000
MAX_VARIABLES = 10_000  # in one product
MAX_WORK = 1_000_000  # variables in all products made on the way

Product: TypeAlias = frozenset[int]  # numbers of variables
Products: TypeAlias = dict[Product, ir.Span]  # in order of first appearance; where each was written


@dataclass(slots=True)
class Scope:
    """What evaluating one sum of terms needs and leaves.

    Attributes:
      report: collects mistakes.
      is_random: the sum stands before a bar.
      columns: what "." stands for; None while the data is unknown.
      variables: each variable's number, in order of appearance.
      intercept: set and cleared by 1 and 0 as they come; the last one wins.
      uses_dot: "." was met.
      work: number of variables in the products made so far.
    """

    report: Report
    is_random: bool = False
    columns: tuple[str, ...] | None = None
    variables: dict[ir.Expression, int] = field(default_factory=dict)
    intercept: bool = True
    uses_dot: bool = False
    work: int = 0


class Evaluated(NamedTuple):
    """What a sum has come to: its terms in R's order; all variables it has named; whether "." was met."""

    sum: ir.TermSum
    variables: tuple[ir.Expression, ...]
    uses_dot: bool


def evaluate(
    addends: Iterable[Addend],
    report: Report,
    is_random: bool = False,
    columns: tuple[str, ...] | None = None,
) -> Evaluated:
    """Evaluate a sum of terms from left to right.

    Args:
      addends: the addends, each with its sign; no random-effects terms, no offsets.
      report: collects mistakes.
      is_random: the sum stands before a bar, where "." is a mistake.
      columns: what "." stands for; None leaves it as one variable.
    Returns:
      The terms, those of fewer variables first, otherwise in order of first appearance.
    """
    scope = Scope(report, is_random, columns)
    products: Products = {}
    for addend in addends:
        join(products, addend.node, addend.is_subtracted, True, scope)
    ordered = sorted(products, key=len)
    # A term lists its variables in the order in which the sorted sum first names them. R takes the order of
    # the text, which a canonical text cannot keep: b:a + a would print as a + b:a and then mean a + a:b.
    rank: dict[int, int] = {}
    for product in ordered:
        for number in sorted(product):
            rank.setdefault(number, len(rank))
    variables = tuple(scope.variables)
    terms = (
        ir.Term(
            tuple(variables[number] for number in sorted(product, key=rank.__getitem__)),
            products[product],
        )
        for product in ordered
    )
    return Evaluated(ir.TermSum(scope.intercept, tuple(terms)), variables, scope.uses_dot)


def join(
    products: Products, node: ir.Expression, is_subtracted: bool, adds: bool, scope: Scope
) -> None:
    """Add a node's products to `products`, or take them away; `adds` says what a 1 in it does."""
    found = products_of(node, scope, adds != is_subtracted)
    if is_subtracted:
        for product in found:
            products.pop(product, None)
        return
    if (
        isinstance(node, ir.Column | ir.Dot | ir.Call)
        and len(found) == 1
        and next(iter(found)) in products
    ):
        scope.report.warn("duplicate_term", node.span, name=expression_text(node))
    for product, span in found.items():
        products.setdefault(product, span)
    check_size(len(products), node, scope)


def products_of(node: ir.Expression, scope: Scope, adds: bool) -> Products:
    """Return the products that a node stands for; 1 and 0 in it set the scope's intercept."""
    report = scope.report
    match node:
        case ir.Dot():
            return dot(node, scope)
        case ir.Call(function="offset"):
            report.error(f"offset_in_{'random' if scope.is_random else 'operator'}", node.span)
        case ir.Column() | ir.Call():
            return {frozenset((number_of(value(node, report), scope),)): ir.around(node)}
        case ir.Number() if node.value in (0, 1):
            scope.intercept = (node.value == 1) == adds
        case ir.Number() if is_number(node):
            report.error("number_term", node.span, number=expression_text(node))
        case ir.Text():
            report.error("string_term", node.span, text=node.value)
        case ir.Constant() | ir.Number():
            report.error("reserved_term", node.span, word=expression_text(node))
        case ir.Operation("(", (inner,)):
            return products_of(inner, scope, adds)
        case ir.Operation(operands=(_,)):
            return signed(node, scope, adds)
        case ir.Operation():
            return chained(node, scope, adds)
    return {}


def number_of(variable: ir.Expression, scope: Scope) -> int:
    """Number a variable; two spellings of one expression are the same variable."""
    return scope.variables.setdefault(variable, len(scope.variables))


def dot(node: ir.Dot, scope: Scope) -> Products:
    """Return what "." stands for: all columns, or itself as long as they are unknown."""
    scope.uses_dot = True
    if scope.is_random:
        scope.report.error("dot_in_random", node.span)
        return {}
    names = scope.columns
    found = (node,) if names is None else (ir.Column(name, node.span) for name in names)
    return {frozenset((number_of(each, scope),)): ir.around(node) for each in found}


def signed(node: ir.Operation, scope: Scope, adds: bool) -> Products:
    """Read +term, -1 and -0; a minus sign before anything else is a mistake, as it does not negate."""
    (operand,) = node.operands
    if node.operator == "!":
        scope.report.error("bare_logical", node.span, operator="!")
        return {}
    if node.operator == "+":
        return products_of(operand, scope, adds)
    innermost = ir.bare(operand)
    while ir.is_sign(innermost):
        innermost = ir.bare(innermost.operands[0])
    if not is_number(innermost):
        scope.report.error("unary_minus", node.span)
        return {}
    return products_of(operand, scope, not adds)


def chained(node: ir.Operation, scope: Scope, adds: bool) -> Products:
    """Evaluate operands joined by operators of one precedence."""
    steps = node.chain()
    start, first = steps[0].operands[0], steps[0].operator
    if ir.is_sum(node):
        products = products_of(start, scope, adds)
        for step in steps:
            join(products, step.operands[1], step.operator == "-", adds, scope)
        return products
    if first == "^":
        return power(node, scope, adds)
    products = {}
    for step in steps:
        operator, operand = step.operator, step.operands[1]
        label = refused_operator(step)
        if label:
            place = step.place if step is steps[0] else node.span
            scope.report.error(label, place, operator=operator)
            return {}
        if step is steps[0]:
            products = operand_products(start, operator, scope, adds)
        right = operand_products(operand, operator, scope, adds)
        products = combine(products, operator, right, operand, scope)
    return products


def refused_operator(node: ir.Operation) -> str:
    """Name the mistake of an operator that has no meaning between terms; "" for one that has."""
    if node.operator in ("*", "/", ":", "%in%"):
        return ""
    if ir.is_bar(node):
        return "nested_bar"
    if node.operator in ("%%", "%/%"):
        return "bare_arithmetic"
    if node.operator.startswith("%"):
        return "unknown_operator"
    return "bare_and" if node.operator == "&" else "bare_logical"


def operand_products(node: ir.Expression, operator: str, scope: Scope, adds: bool) -> Products:
    """Return the products of an operand of * / : %in%, which must not be a number."""
    inner = ir.bare(node)
    if is_number(ir.bare(inner.operands[0]) if ir.is_sign(inner) else inner):
        scope.report.error("number_operand", node.span, operator=operator)
        return {}
    return products_of(node, scope, adds)


def combine(
    left: Products, operator: str, right: Products, node: ir.Expression, scope: Scope
) -> Products:
    """Apply * / : or %in% to the products on its two sides; `node` is the right operand."""
    if operator in ("*", ":") and len(left) == 1 and left.keys() == right.keys():
        name = expression_text(node)
        text = f"{name}{operator}{name}"
        scope.report.warn("self_interaction", node.span, text=text, name=name)
    if operator == ":":
        return multiply(left, right, node, scope)
    # R crosses with ALL variables of the other side: (a + b)/c is a + b + a:b:c.
    if operator == "%in%":
        return multiply(left, united(right, node, scope), node, scope)
    crossed = united(left, node, scope) if operator == "/" else left
    made = multiply(crossed, right, node, scope)
    if operator == "*" or not left:
        made = {**right, **made}
    for product, span in made.items():
        left.setdefault(product, span)
    check_size(len(left), node, scope)
    return left


def united(products: Products, node: ir.Expression, scope: Scope) -> Products:
    """Return the one product of all variables; nothing for nothing."""
    scope.work += sum(map(len, products))
    return {frozenset[int]().union(*products): ir.around(node)} if products else {}


def multiply(left: Products, right: Products, node: ir.Expression, scope: Scope) -> Products:
    """Join each product of one side with each of the other."""
    # One product and one product make what the text spells out: a canonical text is never too much.
    is_spelled_out = len(left) == len(right) == 1
    check_size(len(left) * len(right), node, scope, MAX_WORK)
    result: Products = {}
    for one, (start, _) in left.items():
        for other, (_, stop) in right.items():
            product = one | other
            scope.work += 0 if is_spelled_out else len(product)
            check_size(len(product), node, scope, MAX_VARIABLES)
            result.setdefault(product, (min(start, stop), max(start, stop)))
        check_size(scope.work, node, scope, MAX_WORK)
    check_size(len(result), node, scope)
    return result


def power(node: ir.Operation, scope: Scope, adds: bool) -> Products:
    """Evaluate (sum)^n: all products of up to n of its terms."""
    base, exponent = node.operands
    number = ir.bare(exponent)
    if not isinstance(number, ir.Number) or number.value < 1 or number.value % 1:
        scope.report.error("power", exponent.span)
        return {}
    terms = operand_products(base, "^", scope, adds)
    if len(terms) == 1 and number.value > 1 and not scope.uses_dot:
        text = f"{expression_text(base)}^{number.value:g}"
        scope.report.warn("power_single", node.span, text=text, name=expression_text(base))
    products = terms
    remaining = number.value - 1
    while remaining > 0:
        grown = multiply(products, terms, node, scope)
        if grown.keys() == products.keys():
            break  # nothing new, however high the power
        products, remaining = grown, remaining - 1
    return products


def check_size(size: int, node: ir.Expression, scope: Scope, limit: int = MAX_TERMS) -> None:
    """Stop before an expansion exhausts memory or patience."""
    if size > limit:
        scope.report.stop("too_many_terms", node.span, limit=f"{MAX_TERMS:,}")
