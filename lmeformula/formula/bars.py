"""Random-effects terms as written: (left | group), us(left | group, hom = ...), (left |ID| group)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from lmeformula.formula import ir
from lmeformula.formula.expression import has_bar
from lmeformula.formula.mistakes import Report
from lmeformula.formula.reserved import STRUCTURES
from lmeformula.formula.written import Bar

# More factors than this nobody means.
MOST_FACTORS = 100


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
        return read_sides(inner, Bar(inner, inner, False, "", "", None, span=node.span), report)
    name, (first, *others) = inner.function, inner.arguments
    if not has_bar(first) or first.name:
        refuse(name, first, f"The random-effects term comes first: {name}(x | g)", report)
        return []
    mistakes = len(report.errors)
    empty = Bar(inner, inner, False, "", name, None, span=node.span)
    bar = with_arguments(empty, others, report)
    if len(report.errors) > mistakes:
        return []
    return read_sides(ir.bare(first.value), bar, report)


def refuse(name: str, argument: ir.Argument, cure: str, report: Report) -> None:
    """Note an argument that a structure does not take."""
    report.error("structure_argument", argument.value.span, function=name, cure=cure)


def with_arguments(bar: Bar, others: Sequence[ir.Argument], report: Report) -> Bar:
    """Read what follows the term in a structure's parentheses; notes what does not belong there."""
    name, structure = bar.structure, STRUCTURES[bar.structure]
    if structure.takes_matrix:
        match others:
            case [ir.Argument(ir.Column(matrix) | ir.Text(matrix), "")]:
                return replace(bar, matrix=matrix)
        wrong = [each for each in others if not isinstance(each.value, ir.Column | ir.Text)]
        for argument in (wrong or others)[-1:]:
            cure = f'Write {name}(0 + a | g, A), and covariances={{"A": ...}} beside the formula.'
            refuse(name, argument, cure, report)
        return bar
    for argument in others:
        if structure.takes_hom and argument.name == "hom" and is_choice(argument.value):
            bar = replace(bar, homogeneous=argument.value == ir.Constant(True))
        elif structure.takes_hom:
            refuse(name, argument, "Its only argument is hom = TRUE or hom = FALSE.", report)
        elif structure.takes_rank and argument.name in ("", "d") and not bar.rank:
            rank = argument.value.value if isinstance(argument.value, ir.Number) else 0
            if rank == int(rank) and 0 < rank <= MOST_FACTORS:
                bar = replace(bar, rank=int(rank))
            else:
                refuse(name, argument, "Its number of factors is whole: d = 2.", report)
        elif structure.takes_rank:
            refuse(name, argument, "Its only argument is the number of factors: d = 2.", report)
        else:
            refuse(name, argument, "It takes no argument but the term itself.", report)
    return bar


def is_choice(node: ir.Expression) -> bool:
    """Whether a node is TRUE or FALSE."""
    return isinstance(node, ir.Constant) and isinstance(node.value, bool)


def read_sides(node: ir.Expression, bar: Bar, report: Report) -> list[Bar]:
    """Read what stands left and right of the bar, and the label between two bars.

    Args:
      node: what is in the parentheses.
      bar: what is known of the term besides.
      report: collects mistakes.
    """
    assert ir.is_bar(node)
    first, *others = node.chain()
    left, group = first.operands[0], node.operands[1]
    operators = [step.operator for step in (first, *others)]
    label = first.operands[1] if operators == ["|", "|"] else None
    structure = bar.structure
    nested = next((each for side in (left, group) for each in bars_within(side)), None)
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
    whole = replace(bar, left=left, group=group, is_double=is_double, label=text)
    return [replace(whole, structure=structure or "us")]


def bars_within(node: ir.Expression) -> Iterator[ir.Expression]:
    """Yield the random-effects terms inside one side of a bar, as far as operators reach."""
    if is_random(node):
        yield node
        return
    if isinstance(node, ir.Operation):
        for operand in node.chained():
            yield from bars_within(operand)
