"""Expressions and formulas to text: canonical formulas that parse back to themselves, and the golden dump."""

from __future__ import annotations

import math
import re
import unicodedata
from decimal import Decimal

from lmeformula.formula import ir
from lmeformula.formula.reserved import STRUCTURES

# As in the grammar; the circumflex letter would be taken for an operator.
PLAIN_NAME = re.compile(r"(?:[^\W\d_\u02C6]|\.(?!\d))[\w.]*")
NOT_NAMES = frozenset(
    {"TRUE", "FALSE", "NULL", "Inf", "NaN", "."}
    | {"NA", "NA_integer_", "NA_real_", "NA_complex_", "NA_character_"}
    | {"if", "else", "for", "while", "repeat", "function", "next", "break", "in"}
)
SPACED = frozenset({"+", "-", "*", "<", ">", "<=", ">=", "==", "!=", "&", "&&", "|", "||", "%in%"})
LONGEST = 72


def name_text(name: str) -> str:
    """Write a name, in backticks where it would not be read as one.

    Example:
      >>> name_text("x.1"), name_text("my var"), name_text("if")
      ('x.1', '`my var`', '`if`')
    """
    if PLAIN_NAME.fullmatch(name) and name not in NOT_NAMES:
        return name
    escaped = name.replace("\\", "\\\\").replace("`", "\\`")
    return f"`{escaped}`"


def number_text(number: float) -> str:
    """Write a number as R does, the shorter of fixed and scientific, in as many digits as it needs.

    Example:
      >>> number_text(1000.0), number_text(1e5), number_text(0.5), number_text(123456.0)
      ('1000', '1e+05', '0.5', '123456')
    """
    if math.isinf(number):
        return "Inf"
    digits = Decimal(repr(number)).normalize()
    fixed = f"{digits:f}"
    mantissa, _, exponent = f"{digits:e}".partition("e")
    scientific = f"{mantissa}e{'-' if exponent[0] == '-' else '+'}{exponent[1:].zfill(2)}"
    return fixed if len(fixed) <= len(scientific) else scientific


def string_text(value: str) -> str:
    """Write a string constant in double quotes."""
    escapes = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\t": "\\t", "\r": "\\r"}

    def escaped(character: str) -> str:
        if character in escapes:
            return escapes[character]
        is_control = unicodedata.category(character) == "Cc"
        return f"\\u{{{ord(character):x}}}" if is_control else character

    return '"' + "".join(map(escaped, value)) + '"'


def operator_text(operator: str) -> str:
    """Write a binary operator with the blanks that R puts around it."""
    return f" {operator} " if operator in SPACED else operator


def shortened(text: str) -> str:
    """Cut a text to what fits into a message."""
    return text if len(text) <= LONGEST else text[: LONGEST - 4] + " ..."


# ---- expressions ----------------------------------------------------------------------------------------


def expression_text(expression: ir.Expression) -> str:
    """Write a value expression as canonical text, in R's syntax.

    Args:
      expression: from the IR; hand-made ones get the parentheses that they need.
    Returns:
      text: parsed, it gives the expression again.
    """
    match expression:
        case ir.Column():
            return name_text(expression.name)
        case ir.Dot():
            return "."
        case ir.Number():
            return number_text(expression.value)
        case ir.Text():
            return string_text(expression.value)
        case ir.Constant(value):
            if value is None:
                return "NULL"
            return value if isinstance(value, str) else str(value).upper()
        case ir.Call():
            arguments = ", ".join(map(argument_text, expression.arguments))
            return f"{name_text(expression.function)}({arguments})"
        case ir.Operation("(", (inner,)):
            return f"({expression_text(inner)})"
        case ir.Operation(operator, (operand,)):
            return operator + operand_text(operand, ir.precedence(expression))
        case ir.Operation():
            return binary_text(expression)
    raise TypeError(f"not an expression: {expression!r}")


def argument_text(argument: ir.Argument) -> str:
    """Write an argument of a call."""
    name = f"{name_text(argument.name)} = " if argument.name else ""
    return name + expression_text(argument.value)


def binary_text(operation: ir.Operation) -> str:
    """Write an operation of two operands; along a chain such as a + b + c without recursion."""
    backwards: list[str] = []
    node: ir.Expression = operation
    limit = 0
    while ir.is_binary(node) and ir.precedence(node) >= limit:
        operator, (left, right) = node.operator, node.operands
        level = ir.precedence(node)
        is_power = operator == "^"
        # A comparison takes no other comparison on either side; "^" takes a sign on its right.
        limit = level + (is_power or level == ir.PRECEDENCE["=="])
        right_limit = ir.PRECEDENCE["sign"] if is_power else level + 1
        # A negation may stand on the right of these; it then takes everything that follows.
        if ir.precedence(right) == ir.PRECEDENCE["!"] < level < ir.PRECEDENCE[":"]:
            right_limit = 0
        if level > ir.PRECEDENCE["!"] and ir.ends_in_negation(left):
            limit = ir.CALLABLE
        backwards += operand_text(right, right_limit), operator_text(operator)
        node = left
    backwards.append(operand_text(node, limit))
    return "".join(reversed(backwards))


def operand_text(expression: ir.Expression, limit: int) -> str:
    """Write an operand, in parentheses where its operator binds looser than `limit`."""
    text = expression_text(expression)
    return text if ir.precedence(expression) >= limit else f"({text})"


# ---- formulas -------------------------------------------------------------------------------------------


def term_text(term: ir.Term) -> str:
    """Write a term, such as a:log(x)."""
    return ":".join(map(expression_text, term.variables))


def sum_text(terms: ir.TermSum) -> str:
    """Write an intercept and terms: "1 + x + a:x", "0 + x"."""
    return " + ".join(["1" if terms.intercept else "0", *map(term_text, terms.terms)])


def fixed_text(part: ir.FixedPart) -> str:
    """Write the fixed part with its offsets."""
    offsets = (f"offset({expression_text(offset)})" for offset in part.offsets)
    return " + ".join([part.template or sum_text(part.sum), *offsets])


def group_text(group: ir.GroupingFactor) -> str:
    """Write a grouping factor: "g", "`my group`:h", "gr(g, by = a)", "mm(g, h)"."""
    if group.reserved is not None:
        return expression_text(group.reserved)
    if group.members:
        return group.members
    names = ":".join(map(name_text, group.names))
    if group.distribution != "gaussian":
        return f'gr({names}, dist = "{group.distribution}")'
    by = f", by = {name_text(group.by)}" if group.by else ""
    cov = f", cov = {name_text(group.cov)}" if group.cov else ""
    return f"gr({names}{by}{cov})" if by or cov else names


def sides_text(term: ir.RandomTerm) -> str:
    """Write what stands around the bar: "1 + x | g"."""
    label = f"{name_text(term.block)} | " if term.block else ""
    return f"{sum_text(term.columns)} | {label}{group_text(term.group)}"


def random_text(term: ir.RandomTerm) -> str:
    """Write a random-effects term: "(1 + x | g)", "cs(1 + a | g, hom = TRUE)"."""
    covariance = term.covariance
    if covariance == ir.Covariance():
        return f"({sides_text(term)})"
    default = STRUCTURES[covariance.kind].homogeneous
    options = [f"d = {covariance.rank}"] if covariance.rank else []
    options += [name_text(covariance.matrix)] if covariance.matrix else []
    if covariance.homogeneous != default:
        options.append(f"hom = {'TRUE' if covariance.homogeneous else 'FALSE'}")
    return f"{covariance.kind}({', '.join([sides_text(term), *options])})"


def response_text(response: ir.Response) -> str:
    """Write the response and what follows its bar."""
    additions = [
        f"{name}({expression_text(value)})"
        for name, value in (("trials", response.trials), ("weights", response.weights))
        if value is not None
    ]
    additions += map(expression_text, response.reserved)
    text = expression_text(response.expression)
    return f"{text} | {' + '.join(additions)}" if additions else text


def formula_text(formula: ir.FormulaRecord) -> str:
    """Write a formula as canonical text, which parses to an equal formula.

    Example:
      >>> from lmeformula.formula import parse
      >>> formula_text(parse("y ~ a*x + (x || g)"))
      'y ~ 1 + a + x + a:x + (1 | g) + (0 + x | g)'
    """
    left = "" if formula.response is None else response_text(formula.response) + " "
    right = " + ".join([fixed_text(formula.fixed), *map(random_text, formula.random)])
    others = (f"; {name} {formula_text(part)}" for name, part in formula.further)
    return left + "~ " + right + "".join(others)


def formula_repr(formula: ir.FormulaRecord) -> str:
    """Write a formula for the REPL: the call that makes it, and what was noticed about it."""
    texts = formula_text(formula).split("; ") if formula.further else [formula_text(formula)]
    return f"parse({texts[0]!r})" if len(texts) == 1 else f"parse({tuple(texts)!r})"


def dump(formula: ir.FormulaRecord) -> str:
    """Write a formula as a table, one part in a line, for golden tests and for reading.

    Example:
      >>> from lmeformula.formula import parse
      >>> print(dump(parse("y ~ x + offset(log(e)) + (1 | a/b)")))
      response  y
      fixed     1 + x
      offset    log(e)
      random    1 | a
      random    1 | b:a
    """
    lines = []
    if formula.response is not None:
        lines.append(("response", response_text(formula.response)))
    lines.append(("fixed", formula.fixed.template or sum_text(formula.fixed.sum)))
    lines += (("offset", expression_text(offset)) for offset in formula.fixed.offsets)
    for term in formula.random:
        is_plain = term.covariance == ir.Covariance()
        lines.append(("random", sides_text(term) if is_plain else random_text(term)))
    lines += (("warning", f"{found.code} {found.message}") for found in formula.diagnostics)
    return "\n".join(f"{key:<9} {text}" for key, text in lines)
