"""The algebra of grouping factors: g/h, g:h, g*h, g + h over sets of names."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from functools import reduce
from typing import TypeAlias, TypeGuard

from lmeformula.formula import ir
from lmeformula.formula.expression import is_number, values
from lmeformula.formula.mistakes import Report
from lmeformula.formula.show import expression_text, name_text
from lmeformula.formula.written import Bar, Separated

MAX_FACTORS = 1000  # in one random-effects term, and names in one factor

# What a known covariance of the levels is called elsewhere.
OTHER_WORDS = ("covariance", "cov_ranef", "covar", "vcov", "K")

JOINING = ("+", "*", "/", ":")

Factor: TypeAlias = tuple[ir.Column, ...]  # its columns, as displayed


def expand_groups(model: Separated, report: Report) -> Separated:
    """Rewrite (e | g/h) as (e | g) + (e | h:g): one grouping factor for each term."""
    expanded: list[Bar] = []
    for bar in model.random:
        assert not isinstance(bar.group, ir.GroupingFactor)
        if is_reserved_call(bar.group):
            expanded.append(replace(bar, group=reserved_group(bar.group, report)))
            continue
        for columns in groups_of(bar.group, report):
            names = tuple(column.name for column in columns)
            group = ir.GroupingFactor(names, span=ir.around(columns[0], columns[-1]))
            expanded.append(replace(bar, group=group))
    return replace(model, random=tuple(expanded))


def is_reserved_call(node: ir.Expression | ir.GroupingFactor) -> TypeGuard[ir.Call]:
    """Whether a group is gr(g, by = a) or mm(g, h), as brms has them; gr(g) alone is g."""
    if not isinstance(node, ir.Call):
        return False
    positional = [argument.value for argument in node.arguments if not argument.name]
    if not all(isinstance(value, ir.Column) for value in positional):
        return False
    if node.function == "gr":
        return len(positional) == 1 and len(node.arguments) > 1
    return node.function == "mm" and len(positional) > 1


def reserved_group(call: ir.Call, report: Report) -> ir.GroupingFactor:
    """Return the grouping factor of a call; of what is brms's alone named by its text after an "@".

    Of brms's arguments of gr() the distribution of the effects is ours as well, what covariances differ by, and
    a known covariance of the levels; of mm() the weights, and whether they are scaled.
    """
    values(call, report)
    for argument in call.arguments:
        if call.function == "gr" and argument.name in OTHER_WORDS:
            report.error("group_expression", call.span, cure="Write gr(g, cov = A).")
    if call.function == "mm" and (found := members_of(call, report)) is not None:
        return found
    named = {argument.name: argument.value for argument in call.arguments if argument.name}
    if call.function == "gr" and set(named) == {"by", "cov"} and len(call.arguments) == 3:
        (factor,) = (argument.value for argument in call.arguments if not argument.name)
        match factor, named["by"], named["cov"]:
            case ir.Column(name), ir.Column(by), ir.Column(cov) | ir.Text(cov):
                return ir.GroupingFactor((name,), by=by, cov=cov, span=call.span)
    # A named argument may stand before the factor, as in R.
    match tuple(sorted(call.arguments, key=lambda argument: bool(argument.name))):
        case (
            ir.Argument(ir.Column(name), ""),
            ir.Argument(ir.Text("gaussian" | "student" as distribution), "dist"),
        ) if call.function == "gr":
            return ir.GroupingFactor((name,), None, distribution, span=call.span)
        case (
            ir.Argument(ir.Column(name), ""),
            ir.Argument(ir.Column(cov) | ir.Text(cov), "cov"),
        ) if call.function == "gr":
            return ir.GroupingFactor((name,), cov=cov, span=call.span)
        case (
            ir.Argument(ir.Column(name), ""),
            ir.Argument(ir.Column(by), "by"),
        ) if call.function == "gr":
            return ir.GroupingFactor((name,), by=by, span=call.span)
    return ir.GroupingFactor(("@" + expression_text(call),), call, span=call.span)


def members_of(call: ir.Call, report: Report) -> ir.GroupingFactor | None:
    """Return the factor of mm(g, h, weights = cbind(w, v), scale = TRUE); None with other arguments of brms."""
    columns = [a.value for a in call.arguments if not a.name and isinstance(a.value, ir.Column)]
    named = {a.name: a.value for a in call.arguments if a.name}
    count = len(columns)
    if len({column.name for column in columns}) < count:
        cure = "Each member of mm(g, h) is a column of its own. Of one column write (1 | g)."
        report.error("members", call.span, cure=cure)
    if len(named) + count < len(call.arguments) or not set(named) <= {"weights", "scale"}:
        return None
    weights: tuple[ir.Expression, ...] = ()
    is_scaled = True
    match named.get("scale"):
        case None:
            pass
        case ir.Constant(bool(value)):
            is_scaled = value
        case other:
            report.error("members", other.span, cure="Write scale = TRUE or scale = FALSE.")
    match named.get("weights"):
        case None:
            is_scaled = True
        case ir.Call("cbind", arguments) if len(arguments) == count and not any(
            argument.name for argument in arguments
        ):
            weights = tuple(argument.value for argument in arguments)
        case other:
            names = ", ".join(f"w{number + 1}" for number in range(count))
            cure = f"Write weights = cbind({names}), a column for each of the {count} members."
            report.error("members", other.span, cure=cure)
    members = ", ".join(name_text(column.name) for column in columns)
    if weights:
        members += f", weights = cbind({', '.join(map(expression_text, weights))})"
    if not is_scaled:
        members += ", scale = FALSE"
    return ir.GroupingFactor(
        tuple(column.name for column in columns),
        members=f"mm({members})",
        weights=weights,
        is_scaled=is_scaled,
        span=call.span,
    )


def groups_of(node: ir.Expression, report: Report) -> list[Factor]:
    """Return the grouping factors that a group expression stands for, outermost first."""
    match node:
        case ir.Column():
            return [(node,)]
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
                if any(len(factor) > MAX_FACTORS for factor in groups):
                    report.stop("too_many_terms", node.span, limit=f"{MAX_FACTORS:,}")
            return groups
    span, cure = cure_of(node)
    is_mm = isinstance(node, ir.Call) and node.function == "mm"
    report.error("members" if is_mm else "group_expression", span, cure=cure)
    return []


def combine(left: list[Factor], operator: str, node: ir.Expression, report: Report) -> list[Factor]:
    """Apply one operator; what comes out twice is merged."""
    right = groups_of(node, report)
    if not left or not right:
        return []
    if len(left) * len(right) > MAX_FACTORS:
        report.stop("too_many_terms", node.span, limit=f"{MAX_FACTORS:,}")
    if len(left) == 1 and set(map(names_of, left)) == set(map(names_of, right)) and operator != "+":
        name = expression_text(node)
        report.warn("repeated_group", node.span, text=f"{name}{operator}{name}", name=name)
    if operator == "+":
        return distinct([*left, *right])
    if operator == "/":
        # Nested factors are displayed inner first, as lme4 does: g/h/s is g + h:g + s:h:g.
        outer = reduce(join, sorted(left, key=len, reverse=True))
        return distinct([*left, *(join(inner, outer) for inner in right)])
    crossed = [join(one, other) for one in left for other in right]
    return distinct([*left, *right, *crossed] if operator == "*" else crossed)


def names_of(factor: Factor) -> frozenset[str]:
    """Return the names of a factor's columns, which say what it is."""
    return frozenset(column.name for column in factor)


def distinct(factors: Iterable[Factor]) -> list[Factor]:
    """Leave out what is there already; the first way to write a factor is kept."""
    found: dict[frozenset[str], Factor] = {}
    for factor in factors:
        found.setdefault(names_of(factor), factor)
    return list(found.values())


def join(one: Factor, other: Factor) -> Factor:
    """Append the columns of `other` that `one` lacks."""
    known = names_of(one)
    return *one, *(column for column in other if column.name not in known)


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
        case ir.Call("mm"):
            cure = (
                "Write mm(g, h), of names of columns; what they are joined to is a term of its own."
            )
        case ir.Text():
            cure = f"Write the name without quotes: {name_text(node.value)}"
        case _:
            cure = compute
    return node.span, cure
