"""Tokens to expressions: the actions of the grammar's rules, one method for each."""

from __future__ import annotations

import math
import re
import unicodedata
from typing import Any

from lark import Token, Transformer, v_args

from lmeformula.formula import ir
from lmeformula.formula.written import Sides

# The tree is walked recursively from here on, and so are the dataclasses' == and hash, formulaic and
# Python's own compiler; R stops at 50 nested parentheses.
MAX_DEPTH = 100

ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "0": "\0", "a": "\a", "b": "\b", "f": "\f", "v": "\v"}
ESCAPES |= {character: character for character in "\\\"'`\n "}
ESCAPE = re.compile(r"\\(?:x([0-9a-fA-F]{1,2})|[uU]\{?([0-9a-fA-F]{1,8})\}?|(.))", re.DOTALL)


class TreeError(Exception):
    """A token or a nesting that the grammar allows and the language does not; `label` names the mistake."""

    def __init__(self, label: str, span: ir.Span, **fields: str) -> None:
        super().__init__(label, span, fields)
        self.label = label
        self.span = span
        self.fields = fields


@v_args(inline=True)
class TreeBuilder(Transformer[Token, Any]):
    """Called by lark while it parses, innermost rules first: no recursion, whatever the nesting."""

    def two_sided(
        self, left: ir.Expression, _: Token, right: ir.Expression, semicolon: Token | None = None
    ) -> Sides:
        """Read response ~ terms."""
        return Sides(left, right, span_of(semicolon) if semicolon else None)

    def one_sided(self, _: Token, right: ir.Expression, semicolon: Token | None = None) -> Sides:
        """Read ~ terms."""
        return Sides(None, right, span_of(semicolon) if semicolon else None)

    def _chain(self, node: ir.Expression, *rest: Any) -> ir.Expression:
        for operator, operand in zip(rest[::2], rest[1::2], strict=True):
            name = "^" if operator == "**" else str(operator)
            node = ir.joined(node, name, operand, span_of(operator))
        return not_too_deep(node, rest[0])

    disjunction = conjunction = comparison = sum = product = within = interaction = power = _chain

    def unary(self, operator: Token, operand: Any) -> ir.Expression:
        """Read a sign or a negation, and its operand."""
        place = span_of(operator)
        span = (place[0], operand.span[1])
        return not_too_deep(ir.Operation(str(operator), (operand,), span, place), operator)

    def parentheses(self, opening: Token, inner: ir.Expression, closing: Token) -> ir.Expression:
        """Read ( expression )."""
        node = ir.Operation("(", (inner,), from_to(opening, closing), span_of(opening))
        return not_too_deep(node, opening)

    def call(self, name: Token, opening: Token, *rest: Any) -> ir.Expression:
        """Read function(arguments)."""
        *arguments, closing = rest
        node = ir.Call(name_of(name), tuple(arguments[::2]), from_to(name, closing))
        return not_too_deep(node, opening)

    def function(self, *tokens: Token) -> Token:
        """Read a function's name, without its package."""
        return tokens[-1]

    def argument(self, *parts: Any) -> ir.Argument:
        """Read an argument, perhaps named."""
        return ir.Argument(parts[-1], parts[0] if len(parts) > 1 else "")

    def argument_name(self, token: Token) -> str:
        """Read the name of an argument."""
        return self.string(token).value if token.type == "STRING" else name_of(token)

    def name(self, token: Token) -> ir.Column | ir.Dot:
        """Read a column, or "."."""
        return (
            ir.Dot(span_of(token))
            if str(token) == "."
            else ir.Column(name_of(token), span_of(token))
        )

    def number(self, token: Token) -> ir.Number:
        """Read a number, as R reads it."""
        digits = token.removesuffix("L")
        try:
            value = float.fromhex(digits) if digits[:2] in ("0x", "0X") else float(digits)
        except OverflowError:
            value = math.inf
        return ir.Number(value, span_of(token))

    def string(self, token: Token) -> ir.Text:
        """Read a string, its escapes resolved as R does; TreeError for an escape that R does not know."""
        start, stop = span_of(token)

        def resolve(match: re.Match[str]) -> str:
            code = match[1] or match[2]
            place = (start + 1 + match.start(), start + 1 + match.end())
            if code:
                if int(code, 16) > 0x10FFFF or 0xD800 <= int(code, 16) < 0xE000:
                    raise TreeError("bad_escape", place, escape=match[0])
                return chr(int(code, 16))
            if match[3] not in ESCAPES:
                raise TreeError("bad_escape", place, escape=match[0])
            return ESCAPES[match[3]]

        return ir.Text(ESCAPE.sub(resolve, token[1:-1]), (start, stop))

    def constant(self, token: Token) -> ir.Constant | ir.Number:
        """Read a constant of R."""
        word = str(token)
        if word == "Inf":
            return ir.Number(math.inf, span_of(token))
        known = {"TRUE": True, "FALSE": False, "NULL": None}
        return ir.Constant(known.get(word, word), span_of(token))


def span_of(token: Token) -> ir.Span:
    """Return where a token stands in the text."""
    return from_to(token, token)


def from_to(first: Token, last: Token) -> ir.Span:
    """Return the place from one token to another."""
    assert first.start_pos is not None
    assert last.end_pos is not None
    return first.start_pos, last.end_pos


def not_too_deep(node: ir.Expression, place: Token) -> ir.Expression:
    """Return a node; TreeError at `place` when it is too deep."""
    if node.depth > MAX_DEPTH:
        raise TreeError("too_deep", span_of(place), limit=str(MAX_DEPTH))
    return node


def name_of(token: Token) -> str:
    """Read a name, quoted by backticks or not; names are NFC-normalised."""
    text = str(token) if token.type == "NAME" else re.sub(r"\\([\\`])", r"\1", token[1:-1])
    return unicodedata.normalize("NFC", text)
