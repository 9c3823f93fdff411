"""A formula as it was written, before it has a meaning: its two sides, and what stands in them."""

from __future__ import annotations

from dataclasses import dataclass, field

from lmeformula.formula import ir


@dataclass(frozen=True, slots=True)
class Sides:
    """`left ~ right`; `left` is None for a one-sided formula, `semicolon` marks a trailing one."""

    left: ir.Expression | None
    right: ir.Expression
    semicolon: ir.Span | None = field(compare=False, default=None)


@dataclass(frozen=True, slots=True)
class Addend:
    """One addend of a sum, added or taken away."""

    node: ir.Expression
    is_subtracted: bool = False


@dataclass(frozen=True, slots=True)
class Bar:
    """A random-effects term as written: (left | group), with the structure around it.

    Attributes:
      left: the terms before the bar; where "||" has been split, what they mean.
      group: the grouping expression; after `expand_groups` one factor.
      is_double: it is "||".
      label: the ID of (left |ID| group), or "".
      structure: the function around it, "us" where there is none.
      homogeneous: the argument `hom =`; None where it is not given.
      rank: the argument `d =`; 0 where there is none.
      matrix: the name of a known matrix, or "".
      span: the whole term.
      was_split: it comes from splitting a "||".
    """

    left: ir.Expression | ir.TermSum
    group: ir.Expression | ir.GroupingFactor
    is_double: bool
    label: str
    structure: str
    homogeneous: bool | None
    rank: int = 0
    matrix: str = ""
    span: ir.Span | None = field(compare=False, default=None)
    was_split: bool = field(compare=False, default=False)


@dataclass(frozen=True, slots=True)
class Separated:
    """A formula's response, fixed addends, offsets, and random-effects terms in the order written."""

    response: ir.Expression | None
    fixed: tuple[Addend, ...]
    offsets: tuple[ir.Call, ...]
    random: tuple[Bar, ...]


def addends_of(node: ir.Expression) -> tuple[Addend, ...]:
    """Return the addends of a sum, or the node as the only one."""
    if not ir.is_sum(node):
        return (Addend(node),)
    steps = node.chain()
    rest = (Addend(step.operands[1], step.operator == "-") for step in steps)
    return Addend(steps[0].operands[0]), *rest
