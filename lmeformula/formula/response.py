"""The left-hand side: an expression, and what follows its bar."""

from __future__ import annotations

from dataclasses import replace

from lmeformula.formula import ast, ir
from lmeformula.formula.expression import bare, is_bar, value
from lmeformula.formula.mistakes import Report
from lmeformula.formula.parts import addends_of
from lmeformula.formula.reserved import RESERVED_ADDITIONS
from lmeformula.formula.show import shortened, tree_text

RESERVED_BAMBI = frozenset({"censored", "truncated", "constrained"})
BAMBI = frozenset({"p", "prop", "proportion", "weighted"}) | RESERVED_BAMBI


def read_response(node: ast.Node, report: Report) -> ir.Response | None:
    """Read the response.

    Args:
      node: what stands on the left of "~".
      report: collects mistakes.
    Returns:
      The response, without superfluous parentheses; None after a mistake.
    """
    if is_bar(node):
        return read_additions(node, report)
    inner = bare(node)
    if is_bar(inner):
        report.error("response_bar", node.span)
        return None
    if isinstance(inner, ast.Call) and inner.function in BAMBI and len(inner.arguments) > 1:
        return read_bambi(inner, report)
    if not is_response(inner):
        report.error("response", node.span, found=shortened(tree_text(inner)))
        return None
    return ir.Response(value(inner, report), span=node.span)


def is_response(node: ast.Node) -> bool:
    """Whether an expression has something of the data in it, as far as one sees without data."""
    match node:
        case ast.Name():
            return node.is_quoted or node.text != "."
        case ast.Call():
            return node.function != "offset"
        case ast.Parentheses():
            return is_response(node.inner)
        case ast.Unary():
            return is_response(node.operand)
        case ast.Chain():
            return any(map(is_response, node.operands))
    return False


def read_bambi(call: ast.Call, report: Report) -> ir.Response | None:
    """Read what bambi writes around a response: p(y, n), weighted(y, w), censored(y, status)."""
    first, second, *_ = call.arguments
    if is_bar(bare(first.value)):
        report.error("response_bar", first.span)
        return None
    response = read_response(first.value, report)
    if response is None:
        return None
    if len(call.arguments) > 2 or call.function in RESERVED_BAMBI:
        reserved = ir.Call(call.function, arguments_of(call, report), call.span)
        return replace(response, reserved=(*response.reserved, reserved), span=call.span)
    other = value(second.value, report)
    if call.function == "weighted" and response.weights is None:
        return replace(response, weights=other, span=call.span)
    if call.function != "weighted" and response.trials is None:
        return replace(response, trials=other, span=call.span)
    report.error("response_bar", call.span)
    return None


def read_additions(node: ast.Node, report: Report) -> ir.Response | None:
    """Read y | trials(n) + weights(w)."""
    assert isinstance(node, ast.Chain)
    if node.operators != ("|",):
        report.error("response_bar", node.operator_spans[0])
        return None
    response = read_response(node.operands[0], report)
    if response is None:
        return None
    found = {"trials": response.trials, "weights": response.weights}
    reserved = list(response.reserved)
    for addend in addends_of(bare(node.operands[1])):
        call = bare(addend.node)
        name = call.function if isinstance(call, ast.Call) else ""
        if addend.is_subtracted or not isinstance(call, ast.Call):
            report.error("response_bar", addend.node.span)
        elif name in found and len(call.arguments) == 1 and found[name] is None:
            found[name] = value(call.arguments[0].value, report)
        elif name in RESERVED_ADDITIONS:
            reserved.append(ir.Call(name, arguments_of(call, report), call.span))
        else:
            report.error("response_bar", call.span)
    return ir.Response(
        response.expression, found["trials"], found["weights"], tuple(reserved), node.span
    )


def arguments_of(call: ast.Call, report: Report) -> tuple[ir.Argument, ...]:
    """Read a call's arguments, of which there may be none."""
    return tuple(
        ir.Argument(value(argument.value, report, call.function), argument.name)
        for argument in call.arguments
    )
