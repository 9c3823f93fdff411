"""The algebra of grouping factors: g/h, g:h, g*h, g + h over sets of names."""

from __future__ import annotations

from dataclasses import replace
from typing import TypeGuard

from lmeformula.formula import ir
from lmeformula.formula.expression import is_number, values
from lmeformula.formula.mistakes import Report
from lmeformula.formula.show import expression_text, name_text
from lmeformula.formula.written import Bar, Separated

MAX_FACTORS = 1000  # in one random-effects term, and names in one factor

JOINING = ("+", "*", "/", ":")

Groups = dict[frozenset[str], tuple[ir.Column, ...]]  # each factor's columns, as displayed


def expand_groups(model: Separated, report: Report) -> Separated:
    """Rewrite (e | g/h) as (e | g) + (e | h:g): one grouping factor for each term."""
    expanded: list[Bar] = []
    for bar in model.random:
        assert not isinstance(bar.group, ir.GroupingFactor)
        if is_reserved_call(bar.group):
            expanded.append(replace(bar, group=reserved_group(bar.group, report)))
            continue
        for columns in groups_of(bar.group, report).values():
            names = tuple(column.name for column in columns)
            group = ir.GroupingFactor(names, span=ir.around(columns[0], columns[-1]))
            expanded.append(replace(bar, group=group))
    return replace(model, random=tuple(expanded))


def is_reserved_call(node: ir.Expression | ir.GroupingFactor) -> TypeGuard[ir.Call]:
    """Whether a group is gr(g, by = a) or mm(g, h) of brms; gr(g) alone is g."""
    if not isinstance(node, ir.Call):
        return False
    positional = [argument.value for argument in node.arguments if not argument.name]
    if not all(isinstance(value, ir.Column) for value in positional):
        return False
    if node.function == "gr":
        return len(positional) == 1 and len(node.arguments) > 1
    return node.function == "mm" and len(positional) > 1


def reserved_group(call: ir.Call, report: Report) -> ir.GroupingFactor:
    """Return the grouping factor of a reserved call, named by its text after an "@".

    Of brms's arguments of gr() the distribution of the effects is ours as well.
    """
    values(call, report)
    match call.arguments:
        case (
            ir.Argument(ir.Column(name), ""),
            ir.Argument(ir.Text("gaussian" | "student" as distribution), "dist"),
        ) if call.function == "gr":
            return ir.GroupingFactor((name,), None, distribution, call.span)
    return ir.GroupingFactor(("@" + expression_text(call),), call, span=call.span)


def groups_of(node: ir.Expression, report: Report) -> Groups:
    """Return the grouping factors that a group expression stands for, outermost first."""
    match node:
        case ir.Column(name):
            return {frozenset((name,)): (node,)}
        case ir.Operation("(", (inner,)) | ir.Call("gr", (ir.Argument(inner, ""),)):
            return groups_of(inner, report)
        case ir.Operation(operands=(_, _)) if all(
            step.operator in JOINING for step in node.chain()
        ):
            steps = node.chain()
            if len(steps) >= MAX_FACTORS:
                report.stop("too_many_terms", node.span, limit=f"{MAX_FACTORS:,}")
            groups = groups_of(steps[0].operands[0], report)
            for step in steps:
                groups = combine(groups, step.operator, step.operands[1], report)
                if any(len(names) > MAX_FACTORS for names in groups.values()):
                    report.stop("too_many_terms", node.span, limit=f"{MAX_FACTORS:,}")
            return groups
    span, cure = cure_of(node)
    report.error("group_expression", span, cure=cure)
    return {}


def combine(left: Groups, operator: str, node: ir.Expression, report: Report) -> Groups:
    """Apply one operator; what comes out twice is merged."""
    right = groups_of(node, report)
    if not left or not right:
        return {}
    if len(left) * len(right) > MAX_FACTORS:
        report.stop("too_many_terms", node.span, limit=f"{MAX_FACTORS:,}")
    if len(left) == 1 and left.keys() == right.keys() and operator != "+":
        name = expression_text(node)
        report.warn("repeated_group", node.span, text=f"{name}{operator}{name}", name=name)
    if operator == "+":
        return merged(left, right)
    if operator == "*":
        return merged(left, right, crossed(left, right))
    if operator == ":":
        return crossed(left, right)
    # Nested factors are displayed inner first, as lme4 does: g/h/s is g + h:g + s:h:g.
    outer = tuple(all_names(left))
    nested = (join(inner, outer) for inner in right.values())
    return merged(left, {frozenset(name.name for name in names): names for names in nested})


def merged(*parts: Groups) -> Groups:
    """Unite groups; the first way to write a factor is kept."""
    result: Groups = {}
    for part in parts:
        for key, names in part.items():
            result.setdefault(key, names)
    return result


def crossed(left: Groups, right: Groups) -> Groups:
    """Join each factor of one side with each of the other, names as written."""
    joined = (join(one, other) for one in left.values() for other in right.values())
    result: Groups = {}
    for names in joined:
        result.setdefault(frozenset(name.name for name in names), names)
    return result


def join(one: tuple[ir.Column, ...], other: tuple[ir.Column, ...]) -> tuple[ir.Column, ...]:
    """Append the names of `other` that `one` lacks."""
    known = {name.name for name in one}
    return *one, *(name for name in other if name.name not in known)


def all_names(groups: Groups) -> tuple[ir.Column, ...]:
    """Return the names of all factors, in the order of the largest one."""
    names: tuple[ir.Column, ...] = ()
    for factor in sorted(groups.values(), key=len, reverse=True):
        names = join(names, factor)
    return names


def cure_of(node: ir.Expression) -> tuple[ir.Span | None, str]:
    """Return the place of what is wrong in a group expression, and what to write instead."""
    compute = "Compute it as a column of the data first, and use the column's name."
    if ir.is_binary(node):
        step = next(step for step in node.chain() if step.operator not in JOINING)
        if step.operator == "&":
            return step.place, "Write g:h for the combinations (Julia's g & h)."
        if step.operator == "%in%":
            return step.place, "Write g:h for g within h."
        return step.place, compute
    match node:
        case ir.Number() if is_number(node):
            cure = "For one common intercept, leave the term out; it is in the fixed part."
        case ir.Dot():
            cure = "List the grouping factors, each in a term of its own."
        case ir.Text():
            cure = f"Write the name without quotes: {name_text(node.value)}"
        case _:
            cure = compute
    return node.span, cure
