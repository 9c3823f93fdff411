"""The syntax tree: what was written, one frozen node per rule of the grammar."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeAlias

from lmeformula.formula.ir import Span


@dataclass(frozen=True, slots=True)
class Name:
    """A column name, or "." when it was not quoted by backticks."""

    text: str
    span: Span = field(compare=False, default=(0, 0))
    is_quoted: bool = False
    depth: int = field(compare=False, default=1, repr=False)


@dataclass(frozen=True, slots=True)
class Number:
    """A numeric constant; 1, 1L, 1e0 and 0x1 are the same."""

    value: float
    span: Span = field(compare=False, default=(0, 0))
    depth: int = field(compare=False, default=1, repr=False)


@dataclass(frozen=True, slots=True)
class String:
    """A string constant, its escapes resolved."""

    value: str
    span: Span = field(compare=False, default=(0, 0))
    depth: int = field(compare=False, default=1, repr=False)


@dataclass(frozen=True, slots=True)
class Constant:
    """One of R's constants: TRUE, FALSE, NULL, Inf, NaN, NA and its kin."""

    word: str
    span: Span = field(compare=False, default=(0, 0))
    depth: int = field(compare=False, default=1, repr=False)


@dataclass(frozen=True, slots=True)
class Argument:
    """One argument of a call; `name` is "" for a positional one."""

    value: Node
    name: str
    span: Span = field(compare=False, default=(0, 0))
    depth: int = field(compare=False, default=1, repr=False)


@dataclass(frozen=True, slots=True)
class Call:
    """A function applied to arguments; a `pkg::` prefix has been removed."""

    function: str
    arguments: tuple[Argument, ...]
    span: Span = field(compare=False, default=(0, 0))
    name_span: Span = field(compare=False, default=(0, 0))
    depth: int = field(compare=False, default=1, repr=False)


@dataclass(frozen=True, slots=True)
class Parentheses:
    """An expression in parentheses; the span includes them."""

    inner: Node
    span: Span = field(compare=False, default=(0, 0))
    depth: int = field(compare=False, default=1, repr=False)


@dataclass(frozen=True, slots=True)
class Unary:
    """A sign or a negation before an operand."""

    operator: str
    operand: Node
    span: Span = field(compare=False, default=(0, 0))
    depth: int = field(compare=False, default=1, repr=False)


@dataclass(frozen=True, slots=True)
class Chain:
    """Operands joined by operators of one precedence, applied from the left (`^`: one operator)."""

    operators: tuple[str, ...]
    operands: tuple[Node, ...]
    operator_spans: tuple[Span, ...] = field(compare=False, default=())
    depth: int = field(compare=False, default=1, repr=False)

    @property
    def span(self) -> Span:
        """All operands; in a nested group they stand in another order than in the text."""
        first, last = self.operands[0].span, self.operands[-1].span
        return min(first[0], last[0]), max(first[1], last[1])


Node: TypeAlias = Name | Number | String | Constant | Call | Parentheses | Unary | Chain


@dataclass(frozen=True, slots=True)
class Formula:
    """`left ~ right`; `left` is None for a one-sided formula, `semicolon` marks a trailing one."""

    left: Node | None
    right: Node
    semicolon: Span | None = field(compare=False, default=None)


# ---- what the passes make of it -------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Addend:
    """One addend of a sum, added or taken away."""

    node: Node
    is_subtracted: bool = False


@dataclass(frozen=True, slots=True)
class Bar:
    """A random-effects term as written: (left | group), with the structure around it.

    Attributes:
      left: the terms before the bar.
      group: the grouping expression; after `expand_groups` a name, a chain of names by ":", or a
        reserved call.
      is_double: it is "||".
      label: the ID of (left |ID| group), or "".
      structure: the function around it, "us" where there is none.
      homogeneous: the argument `hom =`; None where it is not given.
      options: the other arguments of a structure that cannot be fitted.
      span: the whole term.
      was_split: it comes from splitting a "||".
    """

    left: Node
    group: Node
    is_double: bool
    label: str
    structure: str
    homogeneous: bool | None
    options: tuple[Argument, ...]
    span: Span = field(compare=False, default=(0, 0))
    was_split: bool = field(compare=False, default=False)


@dataclass(frozen=True, slots=True)
class Model:
    """A formula taken apart: response, fixed addends, offsets, random-effects terms in the order written."""

    response: Node | None
    fixed: tuple[Addend, ...]
    offsets: tuple[Call, ...]
    random: tuple[Bar, ...]
