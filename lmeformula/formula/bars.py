"""Random-effects terms as written: (left | group), us(left | group, hom = ...), (left |ID| group)."""

from __future__ import annotations

from collections.abc import Iterator

from lmeformula.formula import ir
from lmeformula.formula.expression import has_bar
from lmeformula.formula.mistakes import Report
from lmeformula.formula.reserved import STRUCTURES
from lmeformula.formula.written import Bar


def is_random(node: ir.Expression) -> bool:
    """Whether a node is a random-effects term: bars in parentheses, or a structure around bars."""
    inner = ir.bare(node)
    if isinstance(inner, ir.Call):
        return inner.function in STRUCTURES and any(map(has_bar, inner.arguments))
    return ir.is_bar(inner)


def read_bar(node: ir.Expression, report: Report) -> list[Bar]:
    """Read a random-effects term.

    Args:
      node: a node of which `is_random` holds.
      report: collects mistakes.
    Returns:
      The term as a list of one; of none when it has a mistake.
    """
    inner = ir.bare(node)
    if not isinstance(inner, ir.Call):
        return read_sides(inner, "", None, (), node.span, report)
    name, (first, *others) = inner.function, inner.arguments
    structure = STRUCTURES[name]

    def refuse(argument: ir.Argument, cure: str) -> None:
        report.error("structure_argument", argument.value.span, function=name, cure=cure)

    if not has_bar(first) or first.name:
        refuse(first, f"The random-effects term comes first: {name}(x | g)")
        return []
    if not structure.is_fitted:
        return read_sides(ir.bare(first.value), name, None, tuple(others), node.span, report)
    homogeneous: bool | None = None
    mistakes = len(report.errors)
    for argument in others:
        if structure.takes_hom and argument.name == "hom" and is_choice(argument.value):
            homogeneous = argument.value == ir.Constant(True)
        elif structure.takes_hom:
            refuse(argument, "Its only argument is hom = TRUE or hom = FALSE.")
        else:
            refuse(argument, "It takes no argument but the term itself.")
    if len(report.errors) > mistakes:
        return []
    return read_sides(ir.bare(first.value), name, homogeneous, (), node.span, report)


def is_choice(node: ir.Expression) -> bool:
    """Whether a node is TRUE or FALSE."""
    return isinstance(node, ir.Constant) and isinstance(node.value, bool)


def read_sides(
    node: ir.Expression,
    structure: str,
    homogeneous: bool | None,
    options: tuple[ir.Argument, ...],
    span: ir.Span | None,
    report: Report,
) -> list[Bar]:
    """Read what stands left and right of the bar, and the label between two bars."""
    assert ir.is_bar(node)
    first, *others = node.chain()
    left, group = first.operands[0], node.operands[1]
    operators = [step.operator for step in (first, *others)]
    label = first.operands[1] if operators == ["|", "|"] else None
    nested = next((bar for side in (left, group) for bar in bars_within(side)), None)
    if nested is not None:
        report.error("nested_bar", nested.span)
        return []
    if others and not isinstance(label, ir.Column | ir.Dot):
        report.error("nested_bar", others[0].place)
        return []
    is_double = first.operator == "||"
    if structure and is_double:
        report.error("structure_with_double_bar", first.place, function=structure)
        return []
    if structure and label is not None:
        report.error("structure_label", label.span)
        return []
    text = "" if label is None else label.name if isinstance(label, ir.Column) else "."
    structure = structure or "us"
    return [Bar(left, group, is_double, text, structure, homogeneous, options, span)]


def bars_within(node: ir.Expression) -> Iterator[ir.Expression]:
    """Yield the random-effects terms inside one side of a bar, as far as operators reach."""
    if is_random(node):
        yield node
        return
    if isinstance(node, ir.Operation):
        for operand in node.chained():
            yield from bars_within(operand)
