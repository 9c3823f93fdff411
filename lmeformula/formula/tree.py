"""Tokens to syntax tree: the actions of the grammar's rules, one method for each."""

from __future__ import annotations

import math
import re
import unicodedata
from typing import Any

from lark import Token, Transformer

from lmeformula.formula import ast
from lmeformula.formula.ir import Span

# The tree is walked recursively from here on, and so are the dataclasses' == and hash, formulaic and
# Python's own compiler; R stops at 50 nested parentheses.
MAX_DEPTH = 100

ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "0": "\0", "a": "\a", "b": "\b", "f": "\f", "v": "\v"}
ESCAPES |= {character: character for character in "\\\"'`\n "}
ESCAPE = re.compile(r"\\(?:x([0-9a-fA-F]{1,2})|[uU]\{?([0-9a-fA-F]{1,8})\}?|(.))", re.DOTALL)


class TreeError(Exception):
    """A token or a nesting that the grammar allows and the language does not; `label` names the mistake."""

    def __init__(self, label: str, span: Span, **fields: str) -> None:
        super().__init__(label, span, fields)
        self.label = label
        self.span = span
        self.fields = fields


class TreeBuilder(Transformer[Token, Any]):
    """Called by lark while it parses, innermost rules first: no recursion, whatever the nesting."""

    def two_sided(self, children: list[Any]) -> ast.Formula:
        """Read response ~ terms."""
        left, _, right, *semicolon = children
        return ast.Formula(left, right, span_of(semicolon[0]) if semicolon else None)

    def one_sided(self, children: list[Any]) -> ast.Formula:
        """Read ~ terms."""
        _, right, *semicolon = children
        return ast.Formula(None, right, span_of(semicolon[0]) if semicolon else None)

    def _chain(self, children: list[Any]) -> ast.Chain:
        operands, operators = tuple(children[::2]), children[1::2]
        return ast.Chain(
            tuple("^" if operator == "**" else str(operator) for operator in operators),
            operands,
            tuple(span_of(operator) for operator in operators),
            deeper(operands, span_of(operators[0])),
        )

    disjunction = conjunction = comparison = sum = product = within = interaction = power = _chain

    def unary(self, children: list[Any]) -> ast.Unary:
        """Read a sign and its operand."""
        operator, operand = children
        span = (operator.start_pos, operand.span[1])
        return ast.Unary(str(operator), operand, span, deeper((operand,), span_of(operator)))

    def not_(self, children: list[Any]) -> ast.Unary:
        """Read a negation and its operand."""
        return self.unary(children)

    def parentheses(self, children: list[Any]) -> ast.Parentheses:
        """Read ( expression )."""
        opening, inner, closing = children
        span = (opening.start_pos, closing.end_pos)
        return ast.Parentheses(inner, span, deeper((inner,), span_of(opening)))

    def call(self, children: list[Any]) -> ast.Call:
        """Read function(arguments)."""
        name, opening, *rest, closing = children
        arguments = tuple(rest[::2])
        span = (name.span[0], closing.end_pos)
        return ast.Call(name.text, arguments, span, name.span, deeper(arguments, span_of(opening)))

    def empty_call(self, children: list[Any]) -> ast.Call:
        """Read function()."""
        name, _, closing = children
        return ast.Call(name.text, (), (name.span[0], closing.end_pos), name.span)

    def function(self, children: list[Any]) -> ast.Name:
        """Read a function's name, without its package."""
        return word(children[-1])

    def argument(self, children: list[Any]) -> ast.Argument:
        """Read an argument, perhaps named."""
        value = children[-1]
        name = children[0] if len(children) > 1 else ""
        return ast.Argument(value, name, value.span, value.depth)

    def argument_name(self, children: list[Any]) -> str:
        """Read the name of an argument."""
        (token,) = children
        return unquote(token).value if token.type == "STRING" else word(token).text

    def name(self, children: list[Any]) -> ast.Name:
        """Read a column, or "."."""
        return word(children[0])

    quoted_name = name

    def number(self, children: list[Any]) -> ast.Number:
        """Read a number, as R reads it."""
        (token,) = children
        digits = token.removesuffix("L")
        if digits[:2] not in ("0x", "0X"):
            return ast.Number(float(digits), span_of(token))
        try:
            return ast.Number(float.fromhex(digits), span_of(token))
        except OverflowError:
            return ast.Number(math.inf, span_of(token))

    def string(self, children: list[Any]) -> ast.String:
        """Read a string, its escapes resolved."""
        return unquote(children[0])

    def constant(self, children: list[Any]) -> ast.Constant:
        """Read a constant of R."""
        return ast.Constant(str(children[0]), span_of(children[0]))


setattr(TreeBuilder, "not", TreeBuilder.not_)  # the rule's name is a Python keyword


def span_of(token: Token) -> Span:
    """Return where a token stands in the text."""
    assert token.start_pos is not None
    assert token.end_pos is not None
    return token.start_pos, token.end_pos


def deeper(children: tuple[Any, ...], span: Span) -> int:
    """Return the depth of a node over `children`; TreeError when that is too deep."""
    depth: int = 1 + max(child.depth for child in children)
    if depth > MAX_DEPTH:
        raise TreeError("too_deep", span, limit=str(MAX_DEPTH))
    return depth


def word(token: Token) -> ast.Name:
    """Read a name, quoted by backticks or not; names are NFC-normalised."""
    if token.type == "NAME":
        return ast.Name(unicodedata.normalize("NFC", str(token)), span_of(token))
    text = re.sub(r"\\([\\`])", r"\1", token[1:-1])
    return ast.Name(unicodedata.normalize("NFC", text), span_of(token), is_quoted=True)


def unquote(token: Token) -> ast.String:
    """Resolve a string's escapes as R does; TreeError for an escape that R does not know."""
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

    return ast.String(ESCAPE.sub(resolve, token[1:-1]), (start, stop))
