"""The left-hand side: an expression, and what follows its bar."""

from __future__ import annotations

from dataclasses import replace

from lmeformula.formula import ir
from lmeformula.formula.expression import value, values
from lmeformula.formula.mistakes import Report
from lmeformula.formula.reserved import BAMBI, RESERVED_ADDITIONS, RESERVED_BAMBI
from lmeformula.formula.show import expression_text, shortened
from lmeformula.formula.written import addends_of


def read_response(node: ir.Expression, report: Report) -> ir.Response | None:
    """Read the response.

    Args:
      node: what stands on the left of "~".
      report: collects mistakes.
    Returns:
      The response, without superfluous parentheses; None after a mistake.
    """
    if ir.is_bar(node):
        return read_additions(node, report)
    inner = ir.bare(node)
    if ir.is_bar(inner):
        report.error("response_bar", node.span)
        return None
    if isinstance(inner, ir.Call) and inner.function in BAMBI and len(inner.arguments) > 1:
        return read_bambi(inner, report)
    if not is_response(inner):
        report.error("response", node.span, found=shortened(expression_text(inner)))
        return None
    return ir.Response(value(inner, report), span=node.span)


def is_response(node: ir.Expression) -> bool:
    """Whether an expression has something of the data in it, as far as one sees without data."""
    waiting = [node]
    while waiting:
        match waiting.pop():
            case ir.Column():
                return True
            case ir.Call(function=function) if function != "offset":
                return True
            case ir.Operation(operands=operands):
                waiting += operands
    return False


def read_bambi(call: ir.Call, report: Report) -> ir.Response | None:
    """Read what bambi writes around a response: p(y, n), weighted(y, w), censored(y, status)."""
    first, second, *_ = call.arguments
    if ir.is_bar(ir.bare(first.value)):
        report.error("response_bar", first.value.span)
        return None
    response = read_response(first.value, report)
    if response is None:
        return None
    if len(call.arguments) > 2 or call.function in RESERVED_BAMBI:
        reserved = (*response.reserved, values(call, report))
        return replace(response, reserved=reserved, span=call.span)
    other = value(second.value, report)
    if call.function == "weighted" and response.weights is None:
        return replace(response, weights=other, span=call.span)
    if call.function != "weighted" and response.trials is None:
        return replace(response, trials=other, span=call.span)
    report.error("response_bar", call.span)
    return None


def read_additions(node: ir.Expression, report: Report) -> ir.Response | None:
    """Read y | trials(n) + weights(w)."""
    assert ir.is_bar(node)
    (first, *others) = node.chain()
    if others or node.operator != "|":
        report.error("response_bar", first.place)
        return None
    response = read_response(node.operands[0], report)
    if response is None:
        return None
    found = {"trials": response.trials, "weights": response.weights}
    reserved = list(response.reserved)
    for addend in addends_of(ir.bare(node.operands[1])):
        call = ir.bare(addend.node)
        name = call.function if isinstance(call, ir.Call) else ""
        if addend.is_subtracted or not isinstance(call, ir.Call):
            report.error("response_bar", addend.node.span)
        elif name in found and len(call.arguments) == 1 and found[name] is None:
            found[name] = value(call.arguments[0].value, report)
        elif name in RESERVED_ADDITIONS:
            reserved.append(values(call, report))
        else:
            report.error("response_bar", call.span)
    return ir.Response(
        response.expression, found["trials"], found["weights"], tuple(reserved), node.span
    )
