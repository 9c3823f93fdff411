"""The algebra of terms: + - * / : ^ %in% over sets of variables, as R evaluates them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeAlias

from lmeformula.formula import ast, ir
from lmeformula.formula.expression import bare, is_bar, value
from lmeformula.formula.mistakes import Report
from lmeformula.formula.show import tree_text

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
      nodes: each variable's tree.
      intercept: set and cleared by 1 and 0 as they come; the last one wins.
      uses_dot: "." was met.
      work: number of variables in the products made so far.
    """

    report: Report
    is_random: bool = False
    columns: tuple[str, ...] | None = None
    variables: dict[ir.Expression, int] = field(default_factory=dict)
    nodes: list[ast.Node] = field(default_factory=list)
    intercept: bool = True
    uses_dot: bool = False
    work: int = 0


@dataclass(frozen=True, slots=True)
class Sum:
    """An evaluated sum: an intercept or none, and products in R's order, of numbered variables."""

    intercept: bool
    products: tuple[tuple[int, ...], ...]
    spans: tuple[ir.Span, ...]
    variables: tuple[ir.Expression, ...]
    nodes: tuple[ast.Node, ...]
    uses_dot: bool

    def to_ir(self) -> ir.TermSum:
        """Return the sum as the IR has it."""
        terms = (
            ir.Term(tuple(self.variables[number] for number in product), span)
            for product, span in zip(self.products, self.spans, strict=True)
        )
        return ir.TermSum(self.intercept, tuple(terms))


def evaluate(
    addends: tuple[ast.Addend, ...],
    report: Report,
    is_random: bool = False,
    columns: tuple[str, ...] | None = None,
) -> Sum:
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
    return Sum(
        scope.intercept,
        tuple(tuple(sorted(product, key=rank.__getitem__)) for product in ordered),
        tuple(products[product] for product in ordered),
        tuple(scope.variables),
        tuple(scope.nodes),
        scope.uses_dot,
    )


def join(products: Products, node: ast.Node, is_subtracted: bool, adds: bool, scope: Scope) -> None:
    """Add a node's products to `products`, or take them away; `adds` says what a 1 in it does."""
    found = products_of(node, scope, adds != is_subtracted)
    if is_subtracted:
        for product in found:
            products.pop(product, None)
        return
    if isinstance(node, ast.Name | ast.Call) and len(found) == 1 and next(iter(found)) in products:
        scope.report.warn("duplicate_term", node.span, name=tree_text(node))
    for product, span in found.items():
        products.setdefault(product, span)
    check_size(len(products), node, scope)


def products_of(node: ast.Node, scope: Scope, adds: bool) -> Products:
    """Return the products that a node stands for; 1 and 0 in it set the scope's intercept."""
    match node:
        case ast.Name(text=".", is_quoted=False):
            return dot(node, scope)
        case ast.Call(function="offset"):
            where = "random" if scope.is_random else "operator"
            scope.report.error(f"offset_in_{where}", node.span)
            return {}
        case ast.Name() | ast.Call():
            return {frozenset((number_of(node, scope),)): node.span}
        case ast.Number():
            if node.value in (0, 1):
                scope.intercept = (node.value == 1) == adds
            else:
                scope.report.error("number_term", node.span, number=tree_text(node))
            return {}
        case ast.String():
            scope.report.error("string_term", node.span, text=node.value)
            return {}
        case ast.Constant():
            scope.report.error("reserved_term", node.span, word=node.word)
            return {}
        case ast.Parentheses():
            return products_of(node.inner, scope, adds)
        case ast.Unary():
            return signed(node, scope, adds)
        case ast.Chain():
            return chained(node, scope, adds)


def number_of(node: ast.Name | ast.Call, scope: Scope) -> int:
    """Number a variable; two spellings of one expression are the same variable."""
    variable = value(node, scope.report)
    number = scope.variables.setdefault(variable, len(scope.variables))
    if number == len(scope.nodes):
        scope.nodes.append(node)
    return number


def dot(node: ast.Name, scope: Scope) -> Products:
    """Return what "." stands for: all columns, or itself as long as they are unknown."""
    scope.uses_dot = True
    if scope.is_random:
        scope.report.error("dot_in_random", node.span)
        return {}
    if scope.columns is not None:
        names = (ast.Name(name, node.span, is_quoted=True) for name in scope.columns)
        return {frozenset((number_of(name, scope),)): node.span for name in names}
    number = scope.variables.setdefault(ir.Dot(node.span), len(scope.variables))
    if number == len(scope.nodes):
        scope.nodes.append(node)
    return {frozenset((number,)): node.span}


def signed(node: ast.Unary, scope: Scope, adds: bool) -> Products:
    """Read +term, -1 and -0; a minus sign before anything else is a mistake, as it does not negate."""
    if node.operator == "!":
        scope.report.error("bare_logical", node.span, operator="!")
        return {}
    if node.operator == "+":
        return products_of(node.operand, scope, adds)
    innermost = bare(node.operand)
    while isinstance(innermost, ast.Unary) and innermost.operator in "+-":
        innermost = bare(innermost.operand)
    if not isinstance(innermost, ast.Number):
        scope.report.error("unary_minus", node.span)
        return {}
    return products_of(node.operand, scope, not adds)


def chained(node: ast.Chain, scope: Scope, adds: bool) -> Products:
    """Evaluate operands joined by operators of one precedence."""
    first = node.operators[0]
    if first in ("+", "-"):
        products = products_of(node.operands[0], scope, adds)
        for operator, operand in zip(node.operators, node.operands[1:], strict=True):
            join(products, operand, operator == "-", adds, scope)
        return products
    if first == "^":
        return power(node, scope, adds)
    label = refused_operator(first, node)
    if label:
        scope.report.error(label, node.operator_spans[0], operator=first)
        return {}
    products = operand_products(node.operands[0], first, scope, adds)
    for operator, operand in zip(node.operators, node.operands[1:], strict=True):
        label = refused_operator(operator, node)
        if label:
            scope.report.error(label, node.span, operator=operator)
            return {}
        right = operand_products(operand, operator, scope, adds)
        products = combine(products, operator, right, operand, scope)
    return products


def refused_operator(operator: str, node: ast.Chain) -> str:
    """Name the mistake of an operator that has no meaning between terms; "" for one that has."""
    if operator in ("*", "/", ":", "%in%"):
        return ""
    if operator in ("|", "||"):
        return "nested_bar" if is_bar(node) else ""
    if operator in ("%%", "%/%"):
        return "bare_arithmetic"
    if operator.startswith("%"):
        return "unknown_operator"
    return "bare_and" if operator == "&" else "bare_logical"


def operand_products(node: ast.Node, operator: str, scope: Scope, adds: bool) -> Products:
    """Return the products of an operand of * / : %in%, which must not be a number."""
    inner = bare(node)
    if isinstance(inner, ast.Unary) and inner.operator in "+-":
        inner = bare(inner.operand)
    if isinstance(inner, ast.Number):
        scope.report.error("number_operand", node.span, operator=operator)
        return {}
    return products_of(node, scope, adds)


def combine(
    left: Products, operator: str, right: Products, node: ast.Node, scope: Scope
) -> Products:
    """Apply * / : or %in% to the products on its two sides; `node` is the right operand."""
    if operator in ("*", ":") and len(left) == 1 and left.keys() == right.keys():
        name = tree_text(node)
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


def united(products: Products, node: ast.Node, scope: Scope) -> Products:
    """Return the one product of all variables; nothing for nothing."""
    scope.work += sum(map(len, products))
    return {frozenset[int]().union(*products): node.span} if products else {}


def multiply(left: Products, right: Products, node: ast.Node, scope: Scope) -> Products:
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


def power(node: ast.Chain, scope: Scope, adds: bool) -> Products:
    """Evaluate (sum)^n: all products of up to n of its terms."""
    base, exponent = node.operands
    number = bare(exponent)
    if not isinstance(number, ast.Number) or number.value < 1 or number.value % 1:
        scope.report.error("power", exponent.span)
        return {}
    terms = operand_products(base, "^", scope, adds)
    if len(terms) == 1 and number.value > 1 and not scope.uses_dot:
        text = f"{tree_text(base)}^{number.value:g}"
        scope.report.warn("power_single", node.span, text=text, name=tree_text(base))
    products = terms
    remaining = number.value - 1
    while remaining > 0:
        grown = multiply(products, terms, node, scope)
        if grown.keys() == products.keys():
            break  # nothing new, however high the power
        products, remaining = grown, remaining - 1
    return products


def check_size(size: int, node: ast.Node, scope: Scope, limit: int = MAX_TERMS) -> None:
    """Stop before an expansion exhausts memory or patience."""
    if size > limit:
        scope.report.stop("too_many_terms", node.span, limit=f"{MAX_TERMS:,}")
