"""The algebra of grouping factors: g/h, g:h, g*h, g + h over sets of names."""

from __future__ import annotations

from dataclasses import replace

from lmeformula.formula import ast
from lmeformula.formula.mistakes import Report
from lmeformula.formula.show import tree_text

MAX_FACTORS = 1000  # in one random-effects term, and names in one factor

Groups = dict[frozenset[str], tuple[ast.Name, ...]]  # each factor's names, as displayed


def expand_groups(model: ast.Model, report: Report) -> ast.Model:
    """Rewrite (e | g/h) as (e | g) + (e | h:g): one grouping factor for each term."""
    expanded: list[ast.Bar] = []
    for bar in model.random:
        if is_reserved_call(bar.group):
            expanded.append(bar)
            continue
        for names in groups_of(bar.group, report).values():
            group: ast.Node = names[0]
            if len(names) > 1:
                spans = (bar.group.span,) * (len(names) - 1)
                group = ast.Chain((":",) * (len(names) - 1), names, spans, 2)
            expanded.append(replace(bar, group=group))
    return replace(model, random=tuple(expanded))


def is_reserved_call(node: ast.Node) -> bool:
    """Whether a group is gr(g, by = a) or mm(g, h) of brms; gr(g) alone is g."""
    if not isinstance(node, ast.Call):
        return False
    positional = [a.value for a in node.arguments if not a.name]
    if not all(isinstance(name, ast.Name) and is_column(name) for name in positional):
        return False
    if node.function == "gr":
        return len(positional) == 1 and len(node.arguments) > 1
    return node.function == "mm" and len(positional) > 1


def is_column(node: ast.Name) -> bool:
    """Whether a name is a column's and not the "." of a fixed part."""
    return node.is_quoted or node.text != "."


def groups_of(node: ast.Node, report: Report) -> Groups:
    """Return the grouping factors that a group expression stands for, outermost first."""
    match node:
        case ast.Name() if is_column(node):
            return {frozenset((node.text,)): (node,)}
        case ast.Parentheses():
            return groups_of(node.inner, report)
        case ast.Call(function="gr", arguments=(ast.Argument(value=inner, name=""),)):
            return groups_of(inner, report)
        case ast.Chain() if all(o in ("+", "*", "/", ":") for o in node.operators):
            if len(node.operands) > MAX_FACTORS:
                report.stop("too_many_terms", node.span, limit=f"{MAX_FACTORS:,}")
            groups = groups_of(node.operands[0], report)
            for operator, operand in zip(node.operators, node.operands[1:], strict=True):
                groups = combine(groups, operator, operand, report)
                if any(len(names) > MAX_FACTORS for names in groups.values()):
                    report.stop("too_many_terms", node.span, limit=f"{MAX_FACTORS:,}")
            return groups
    span, cure = cure_of(node)
    report.error("group_expression", span, cure=cure)
    return {}


def combine(left: Groups, operator: str, node: ast.Node, report: Report) -> Groups:
    """Apply one operator; what comes out twice is merged."""
    right = groups_of(node, report)
    if not left or not right:
        return {}
    if len(left) * len(right) > MAX_FACTORS:
        report.stop("too_many_terms", node.span, limit=f"{MAX_FACTORS:,}")
    if len(left) == 1 and left.keys() == right.keys() and operator != "+":
        name = tree_text(node)
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
    return merged(left, {frozenset(name.text for name in names): names for names in nested})


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
        result.setdefault(frozenset(name.text for name in names), names)
    return result


def join(one: tuple[ast.Name, ...], other: tuple[ast.Name, ...]) -> tuple[ast.Name, ...]:
    """Append the names of `other` that `one` lacks."""
    known = {name.text for name in one}
    return *one, *(name for name in other if name.text not in known)


def all_names(groups: Groups) -> tuple[ast.Name, ...]:
    """Return the names of all factors, in the order of the largest one."""
    names: tuple[ast.Name, ...] = ()
    for factor in sorted(groups.values(), key=len, reverse=True):
        names = join(names, factor)
    return names


def cure_of(node: ast.Node) -> tuple[tuple[int, int], str]:
    """Return the place of what is wrong in a group expression, and what to write instead."""
    compute = "Compute it as a column of the data first, and use the column's name."
    if isinstance(node, ast.Chain):
        operators = zip(node.operators, node.operator_spans, strict=True)
        operator, span = next((o, s) for o, s in operators if o not in ("+", "*", "/", ":"))
        if operator == "&":
            return span, "Write g:h for the combinations (Julia's g & h)."
        if operator == "%in%":
            return span, "Write g:h for g within h."
        return span, compute
    if isinstance(node, ast.Number):
        return node.span, "For one common intercept, leave the term out; it is in the fixed part."
    if isinstance(node, ast.Name):
        return node.span, "List the grouping factors, each in a term of its own."
    if isinstance(node, ast.String):
        return node.span, f"Write the name without quotes: {tree_text(ast.Name(node.value))}"
    return node.span, compute
