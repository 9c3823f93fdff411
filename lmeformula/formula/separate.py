"""First pass: take the right-hand side apart into fixed addends, offsets and random-effects terms."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypeGuard

from lmeformula.formula import ir
from lmeformula.formula.bars import is_random, read_bar
from lmeformula.formula.mistakes import Report
from lmeformula.formula.show import expression_text, shortened
from lmeformula.formula.written import Addend, Bar, Separated, Sides, addends_of

JOINING = frozenset({"+", "-", "*", "/", ":", "^"})


@dataclass(slots=True)
class Found:
    """The addends found so far, in the order written."""

    report: Report
    fixed: list[Addend] = field(default_factory=list)
    offsets: list[ir.Call] = field(default_factory=list)
    random: list[Bar] = field(default_factory=list)


def separate(tree: Sides, report: Report) -> Separated:
    """Open the sums that hold random-effects terms or offsets, and sort their addends.

    Args:
      tree: the formula as written.
      report: collects mistakes: bars without parentheses, inside operators, after a minus sign.
    Returns:
      What was found; parentheses around purely fixed sums stay closed.
    """
    found = Found(report)
    if ir.is_bar(tree.right):
        note_unparenthesised(tree.right, report)
    else:
        open_sum(tree.right, found)
    if tree.semicolon is not None:
        report.warn("trailing_semicolon", tree.semicolon)
    return Separated(tree.left, tuple(found.fixed), tuple(found.offsets), tuple(found.random))


def note_unparenthesised(node: ir.Expression, report: Report) -> None:
    """Note a bar that is not in parentheses, with the term in parentheses as the cure."""
    assert ir.is_bar(node)
    steps = node.chain()
    bar, left, right = steps[0].operator, steps[0].operands[0], node.operands[1]
    cure = "(1 | g) + (x | h), each random-effects term in its own parentheses"
    if len(steps) == 1 and not (isinstance(right, ir.Operation) and right.operator != "("):
        before = ""
        *first, varying = addends_of(left)
        # In `0 + x | g` and `1 + x | g` the number belongs to what varies; in `z + x | g` only x does.
        if first and not all(isinstance(addend.node, ir.Number) for addend in first):
            before = addends_text(first) + " + "
            left = varying.node
        cure = f"{before}({expression_text(left)} {bar} {expression_text(right)})"
    report.error("bar_unparenthesised", steps[0].place, bar=bar, cure=shortened(cure))


def addends_text(addends: Sequence[Addend]) -> str:
    """Write addends as a sum, in canonical text."""
    text = "".join(
        f" {'-' if addend.is_subtracted else '+'} {expression_text(addend.node)}"
        for addend in addends
    )
    return text[3:] if text.startswith(" + ") else "-" + text[3:]


def open_sum(node: ir.Expression, found: Found) -> None:
    """Sort a sum's addends into `found`, opening the parentheses that hold more than fixed terms."""
    report = found.report
    random_before = fixed_before = False
    for addend in addends_of(node):
        num_random, num_fixed = len(found.random), len(found.fixed) + len(found.offsets)
        inner, has_minus = without_sign(addend)
        special = first_special(inner)
        if special is None:
            if addend.is_subtracted and random_before and not fixed_before:
                report.error("minus_after_random", addend.node.span)
                fixed_before = True  # one mistake, said once
            elif is_in_place(addend.node, "", report):
                found.fixed.append(addend)
        elif has_minus:
            kind = "random" if is_random(special) else "offset"
            report.error(f"{kind}_subtracted", special.span)
        elif is_random(inner):
            found.random.extend(read_bar(inner, report))
            random_before = True
        elif is_offset(call := ir.bare(inner)):
            if len(call.arguments) == 1 and not call.arguments[0].name:
                found.offsets.append(call)
            else:
                report.error("offset_arguments", call.span)
            fixed_before = True
        else:
            open_nested(ir.bare(inner), found)
        random_before |= len(found.random) > num_random
        fixed_before |= len(found.fixed) + len(found.offsets) > num_fixed


def open_nested(node: ir.Expression, found: Found) -> None:
    """Open a sum in parentheses; its fixed addends stay together, as a removal among them is theirs."""
    nested = Found(found.report, offsets=found.offsets, random=found.random)
    open_sum(node, nested)
    if len(nested.fixed) < 2 or nested.fixed[0].is_subtracted:
        found.fixed += nested.fixed
        return
    first, *rest = nested.fixed
    together = first.node
    for addend in rest:
        operator = "-" if addend.is_subtracted else "+"
        together = ir.joined(together, operator, addend.node, addend.node.span)
    found.fixed.append(Addend(ir.Operation("(", (together,), ir.around(together))))


def without_sign(addend: Addend) -> tuple[ir.Expression, bool]:
    """Take the signs off an addend: what it is, and whether a minus sign is among them."""
    node, has_minus = addend.node, addend.is_subtracted
    while ir.is_sign(node):
        has_minus |= node.operator == "-"
        (node,) = node.operands
    return node, has_minus


def first_special(node: ir.Expression) -> ir.Expression | None:
    """Return the first random-effects term or offset that is an addend of a sum, however deep; or None."""
    inner = ir.bare(node)
    if is_random(inner):
        return node if isinstance(node, ir.Operation) and node.operator == "(" else inner
    if is_offset(inner):
        return inner
    if ir.is_sign(inner):
        return first_special(inner.operands[0])
    specials = (
        (first_special(addend.node) for addend in addends_of(inner)) if ir.is_sum(inner) else ()
    )
    return next((special for special in specials if special is not None), None)


def is_offset(node: ir.Expression) -> TypeGuard[ir.Call]:
    """Whether a node is a call of offset()."""
    return isinstance(node, ir.Call) and node.function == "offset"


def is_in_place(node: ir.Expression, operator: str, report: Report) -> bool:
    """Whether no random-effects term or offset is an operand inside `node`; notes those that are.

    Args:
      node: a fixed addend or a part of it.
      operator: the operator around it, "" for none.
      report: collects mistakes.
    """
    if is_random(node):
        report.error("random_in_operator", node.span, operator=operator)
        return False
    if is_offset(ir.bare(node)):
        report.error("offset_in_operator", node.span)
        return False
    if isinstance(node, ir.Operation) and (node.operator == "(" or ir.is_sign(node)):
        return is_in_place(node.operands[0], operator, report)
    if not ir.is_binary(node):
        return True
    first = node.chain()[0].operator
    if first not in JOINING and not first.startswith("%"):
        return True  # a comparison is refused as a whole, by the algebra of terms
    around_operands = operator if ir.is_sum(node) else first
    found = [is_in_place(operand, around_operands, report) for operand in node.chained()]
    return all(found)  # every operand has been looked at
