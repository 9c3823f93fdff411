"""First pass: take the right-hand side apart into fixed addends, offsets and random-effects terms."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from lmeformula.formula import ast
from lmeformula.formula.bars import is_random, read_bar
from lmeformula.formula.expression import bare, is_bar
from lmeformula.formula.mistakes import Report
from lmeformula.formula.show import shortened, tree_text

JOINING = frozenset({"+", "-", "*", "/", ":", "^"})


@dataclass(slots=True)
class Parts:
    """The addends found so far, in the order written."""

    report: Report
    fixed: list[ast.Addend] = field(default_factory=list)
    offsets: list[ast.Call] = field(default_factory=list)
    random: list[ast.Bar] = field(default_factory=list)


def separate(tree: ast.Formula, report: Report) -> ast.Model:
    """Open the sums that hold random-effects terms or offsets, and sort their addends.

    Args:
      tree: the formula as written.
      report: collects mistakes: bars without parentheses, inside operators, after a minus sign.
    Returns:
      The model's parts; parentheses around purely fixed sums stay closed.
    """
    parts = Parts(report)
    if is_bar(tree.right):
        note_unparenthesised(tree.right, report)
    else:
        open_sum(tree.right, parts)
    if tree.semicolon is not None:
        report.warn("trailing_semicolon", tree.semicolon)
    return ast.Model(tree.left, tuple(parts.fixed), tuple(parts.offsets), tuple(parts.random))


def note_unparenthesised(node: ast.Node, report: Report) -> None:
    """Note a bar that is not in parentheses, with the term in parentheses as the cure."""
    assert isinstance(node, ast.Chain)
    left, right = node.operands[0], node.operands[-1]
    cure = "(1 | g) + (x | h), each random-effects term in its own parentheses"
    if len(node.operands) == 2 and not isinstance(right, ast.Chain | ast.Unary):
        bar, before = node.operators[0], ""
        *first, varying = addends_of(left)
        # In `0 + x | g` and `1 + x | g` the number belongs to what varies; in `z + x | g` only x does.
        if first and not all(isinstance(addend.node, ast.Number) for addend in first):
            before = joined(first) + " + "
            left = varying.node
        cure = f"{before}({tree_text(left)} {bar} {tree_text(right)})"
    report.error(
        "bar_unparenthesised", node.operator_spans[0], bar=node.operators[0], cure=shortened(cure)
    )


def addends_of(node: ast.Node) -> tuple[ast.Addend, ...]:
    """Return the addends of a sum, or the node as the only one."""
    if not (isinstance(node, ast.Chain) and node.operators[0] in ("+", "-")):
        return (ast.Addend(node),)
    rest = zip(node.operators, node.operands[1:], strict=True)
    return ast.Addend(node.operands[0]), *(
        ast.Addend(operand, operator == "-") for operator, operand in rest
    )


def joined(addends: Sequence[ast.Addend]) -> str:
    """Write addends as a sum, in canonical text."""
    parts: list[str] = []
    for addend in addends:
        sign = "-" if addend.is_subtracted else "+"
        parts.append(f" {sign} {tree_text(addend.node)}")
    text = "".join(parts)
    return text[3:] if text.startswith(" + ") else "-" + text[3:]


def open_sum(node: ast.Node, parts: Parts) -> None:
    """Sort a sum's addends into `parts`, opening the parentheses that hold more than fixed terms."""
    report = parts.report
    random_before = fixed_before = False
    for addend in addends_of(node):
        num_random, num_fixed = len(parts.random), len(parts.fixed) + len(parts.offsets)
        inner, has_minus = without_sign(addend)
        special = first_special(inner)
        if special is None:
            if addend.is_subtracted and random_before and not fixed_before:
                report.error("minus_after_random", addend.node.span)
                fixed_before = True  # one mistake, said once
            elif is_in_place(addend.node, "", report):
                parts.fixed.append(addend)
        elif has_minus:
            kind = "random" if is_random(special) else "offset"
            report.error(f"{kind}_subtracted", special.span)
        elif is_random(inner):
            parts.random.extend(read_bar(inner, report))
            random_before = True
        elif is_offset(inner):
            parts.offsets.extend(read_offset(inner, report))
            fixed_before = True
        else:
            open_nested(bare(inner), parts)
        random_before |= len(parts.random) > num_random
        fixed_before |= len(parts.fixed) + len(parts.offsets) > num_fixed


def open_nested(node: ast.Node, parts: Parts) -> None:
    """Open a sum in parentheses; its fixed addends stay together, as a removal among them is theirs."""
    nested = Parts(parts.report, offsets=parts.offsets, random=parts.random)
    open_sum(node, nested)
    if len(nested.fixed) < 2 or nested.fixed[0].is_subtracted:
        parts.fixed += nested.fixed
        return
    first, *rest = nested.fixed
    signs = tuple("-" if addend.is_subtracted else "+" for addend in rest)
    operands = (first.node, *(addend.node for addend in rest))
    spans = tuple(addend.node.span for addend in rest)
    together = ast.Chain(signs, operands, spans, node.depth)
    parts.fixed.append(ast.Addend(ast.Parentheses(together, together.span, node.depth)))


def without_sign(addend: ast.Addend) -> tuple[ast.Node, bool]:
    """Take the signs off an addend: what it is, and whether a minus sign is among them."""
    node, has_minus = addend.node, addend.is_subtracted
    while isinstance(node, ast.Unary) and node.operator in ("+", "-"):
        has_minus |= node.operator == "-"
        node = node.operand
    return node, has_minus


def first_special(node: ast.Node) -> ast.Node | None:
    """Return the first random-effects term or offset that is an addend of a sum, however deep; or None."""
    inner = bare(node)
    if is_random(inner):
        return node if isinstance(node, ast.Parentheses) else inner
    if is_offset(inner):
        return inner
    if isinstance(inner, ast.Unary) and inner.operator != "!":
        return first_special(inner.operand)
    if isinstance(inner, ast.Chain) and inner.operators[0] in ("+", "-"):
        for operand in inner.operands:
            found = first_special(operand)
            if found is not None:
                return found
    return None


def is_offset(node: ast.Node) -> bool:
    """Whether a node is a call of offset()."""
    inner = bare(node)
    return isinstance(inner, ast.Call) and inner.function == "offset"


def read_offset(node: ast.Node, report: Report) -> list[ast.Call]:
    """Return an offset as a list of one; of none when its arguments are wrong."""
    call = bare(node)
    assert isinstance(call, ast.Call)
    if len(call.arguments) != 1 or call.arguments[0].name:
        report.error("offset_arguments", call.span)
        return []
    return [call]


def is_in_place(node: ast.Node, operator: str, report: Report) -> bool:
    """Whether no random-effects term or offset is an operand inside `node`; notes those that are.

    Args:
      node: a fixed addend or a part of it.
      operator: the operator around it, "" for none.
      report: collects mistakes.
    """
    if is_random(node):
        report.error("random_in_operator", node.span, operator=operator)
        return False
    if is_offset(node):
        report.error("offset_in_operator", node.span)
        return False
    match node:
        case ast.Parentheses():
            return is_in_place(node.inner, operator, report)
        case ast.Unary(operator="+" | "-"):
            return is_in_place(node.operand, operator, report)
        case ast.Chain(operators=(first, *_)) if first in JOINING or first.startswith("%"):
            inside = operator if first in ("+", "-") else first
            # A list, not a generator: every operand is to be looked at.
            found = [is_in_place(operand, inside, report) for operand in node.operands]
            return all(found)
    return True  # a comparison is refused as a whole, by the algebra of terms
