"""Random-effects terms as written: (left | group), us(left | group, hom = ...), (left |ID| group)."""

from __future__ import annotations

from collections.abc import Iterator

from lmeformula.formula import ast
from lmeformula.formula.expression import bare, has_bar, is_bar
from lmeformula.formula.mistakes import Report
from lmeformula.formula.reserved import STRUCTURES


def is_random(node: ast.Node) -> bool:
    """Whether a node is a random-effects term: bars in parentheses, or a structure around bars."""
    inner = bare(node)
    if isinstance(inner, ast.Call):
        return inner.function in STRUCTURES and any(map(has_bar, inner.arguments))
    return is_bar(inner)


def read_bar(node: ast.Node, report: Report) -> list[ast.Bar]:
    """Read a random-effects term.

    Args:
      node: a node of which `is_random` holds.
      report: collects mistakes.
    Returns:
      The term as a list of one; of none when it has a mistake.
    """
    inner = bare(node)
    if not isinstance(inner, ast.Call):
        return read_sides(inner, "", None, (), node.span, report)
    first, *others = inner.arguments
    if not has_bar(first) or first.name:
        cure = f"The random-effects term comes first: {inner.function}(x | g)"
        report.error("structure_argument", first.span, function=inner.function, cure=cure)
        return []
    mistakes = len(report.errors)
    homogeneous: bool | None = None
    options: list[ast.Argument] = []
    structure = STRUCTURES[inner.function]
    for argument in others:
        if not structure.is_fitted:
            options.append(argument)
        elif not (structure.takes_hom and argument.name == "hom" and is_choice(argument.value)):
            known = "Its only argument is hom = TRUE or hom = FALSE."
            cure = known if structure.takes_hom else "It takes no argument but the term itself."
            report.error("structure_argument", argument.span, function=inner.function, cure=cure)
        else:
            homogeneous = argument.value == ast.Constant("TRUE")
    if len(report.errors) > mistakes:
        return []
    return read_sides(
        bare(first.value), inner.function, homogeneous, tuple(options), node.span, report
    )


def is_choice(node: ast.Node) -> bool:
    """Whether a node is TRUE or FALSE."""
    return isinstance(node, ast.Constant) and node.word in ("TRUE", "FALSE")


def read_sides(
    node: ast.Node,
    structure: str,
    homogeneous: bool | None,
    options: tuple[ast.Argument, ...],
    span: tuple[int, int],
    report: Report,
) -> list[ast.Bar]:
    """Read what stands left and right of the bar, and the label between two bars."""
    assert isinstance(node, ast.Chain)
    left, group = node.operands[0], node.operands[-1]
    label = node.operands[1] if node.operators == ("|", "|") else None
    for side in (left, group):
        nested = next(bars_within(side), None)
        if nested is not None:
            report.error("nested_bar", nested.span)
            return []
    if len(node.operands) > 2 and not isinstance(label, ast.Name):
        report.error("nested_bar", node.operator_spans[1])
        return []
    is_double = node.operators[0] == "||"
    if structure and is_double:
        report.error("structure_with_double_bar", node.operator_spans[0], function=structure)
        return []
    if structure and label is not None:
        report.error("structure_label", label.span)
        return []
    text = label.text if isinstance(label, ast.Name) else ""
    structure = structure or "us"
    return [ast.Bar(left, group, is_double, text, structure, homogeneous, options, span)]


def bars_within(node: ast.Node) -> Iterator[ast.Node]:
    """Yield the random-effects terms inside one side of a bar, as far as operators reach."""
    if is_random(node):
        yield node
        return
    match node:
        case ast.Parentheses():
            yield from bars_within(node.inner)
        case ast.Unary():
            yield from bars_within(node.operand)
        case ast.Chain():
            for operand in node.operands:
                yield from bars_within(operand)
