"""The intermediate representation: what a formula means, before any data is seen.

Frozen, hashable records, compared by meaning: spans, source text and diagnostics take no part in equality.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeAlias

Span: TypeAlias = tuple[int, int]

# What the predictor of the formula with the response is called.
FIRST = "mu"


# ---- value expressions: what is inside I(), log(), a response, an offset --------------------------------


@dataclass(frozen=True, slots=True)
class Column:
    """A column of the data, by its bare name (backticks removed)."""

    name: str
    span: Span | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Number:
    """A numeric constant inside a value expression."""

    value: float
    span: Span | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Text:
    """A string constant inside a value expression."""

    value: str
    span: Span | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Constant:
    """TRUE, FALSE or NULL inside a value expression (True, False, None)."""

    value: bool | None
    span: Span | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Argument:
    """One argument of a call; `name` is "" for a positional one."""

    value: Expression
    name: str = ""


@dataclass(frozen=True, slots=True)
class Call:
    """A function of columns, such as log(x), poly(x, 2) or I(x^2). Any `pkg::` prefix has been removed."""

    function: str
    arguments: tuple[Argument, ...]
    span: Span | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True, eq=False)
class Operation:
    """Arithmetic, comparison or logic inside a call, in R's operators: one or two operands.

    `operator` is one of + - * / ^ %% %/% %in% : == != < <= > >= & | ! and "(" for kept parentheses.
    """

    operator: str
    operands: tuple[Expression, ...]
    span: Span | None = field(default=None, compare=False, repr=False)

    def __eq__(self, other: object) -> bool:
        return self._spine() == other._spine() if isinstance(other, Operation) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._spine())

    # A chain such as a + b + ... leans to the left as far as it is long. It is compared along the chain:
    # the == of nested dataclasses would exhaust the stack after some two hundred operations.
    def _spine(self) -> tuple[object, ...]:
        """Return the chain's operators and right operands, outermost first, and its first operand."""
        parts: list[object] = []
        node: Expression = self
        while isinstance(node, Operation):
            parts += (node.operator, *node.operands[1:])
            node = node.operands[0]
        return *parts, node


@dataclass(frozen=True, slots=True)
class Dot:
    """The "." of a fixed part: all columns but the response. `expand_dot` replaces it."""

    span: Span | None = field(default=None, compare=False, repr=False)


Expression: TypeAlias = "Column | Number | Text | Constant | Call | Operation | Dot"


# ---- terms ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Term:
    """A product of distinct variables: x, a:b, log(x):a; in order of first appearance in the formula."""

    variables: tuple[Expression, ...]
    span: Span | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class TermSum:
    """An intercept, or none, and terms in R's order (lower-order terms first)."""

    intercept: bool
    terms: tuple[Term, ...]


@dataclass(frozen=True, slots=True)
class FixedPart:
    """The fixed effects and the offsets, whose sum is added to the linear predictor.

    `template` is "" unless the part uses ".". Then it is the canonical text of the part as written, and
    `sum` treats `Dot()` as if it were one variable; `expand_dot(formula, columns)` gives the real `sum`.
    """

    sum: TermSum
    offsets: tuple[Expression, ...] = ()
    template: str = ""


@dataclass(frozen=True, slots=True)
class GroupingFactor:
    """One column, or several joined by ":" whose observed combinations are the levels, as displayed.

    `reserved` is the call of a grouping syntax of brms that parses but cannot be fitted, such as
    gr(g, by = a) or mm(g, h); `names` is then its text after an "@", and `lf.compile` refuses it by name.
    `distribution` is that of the effects: "gaussian", or "student" of gr(g, dist = "student").
    """

    names: tuple[str, ...]
    reserved: Call | None = None
    distribution: str = "gaussian"
    span: Span | None = field(default=None, compare=False, repr=False)

    @property
    def label(self) -> str:
        """The displayed name, such as "g" or "cask:batch"."""
        return ":".join(self.names)


@dataclass(frozen=True, slots=True)
class Covariance:
    """The covariance of one random-effects term's coefficients.

    Attributes:
      kind: "us" (unstructured), "diag", "cs" (compound symmetry), "ar1" or "toep" (Toeplitz); or a structure of
        glmmTMB that parses but cannot be fitted, and that `lf.compile` refuses by name: "ou", "exp",
        "gau", "mat", "rr", "propto", "equalto".
      homogeneous: one variance for all coefficients; None where the kind has no such choice ("us").
      options: further arguments of a structure that cannot be fitted, such as d = 2 of rr(x | g, d = 2).
    """

    kind: str = "us"
    homogeneous: bool | None = None
    options: tuple[Argument, ...] = ()


@dataclass(frozen=True, slots=True)
class RandomTerm:
    """Coefficients that vary over the levels of a grouping factor: (columns | group).

    `(x || g)` has become several of these, one for each term, as lme4 splits it (`split` remembers that).
    `block` is the label of `(x |ID| g)`: terms with the same label share one covariance matrix.
    """

    columns: TermSum
    group: GroupingFactor
    covariance: Covariance = Covariance()
    block: str = ""
    split: bool = field(default=False, compare=False, repr=False)
    span: Span | None = field(default=None, compare=False, repr=False)


# ---- response and formula -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Response:
    """What is modelled: an expression (a column, a transform, cbind(...)), and what follows its bar.

    `reserved` holds addition terms of brms that parse but cannot be fitted, such as cens(c).
    """

    expression: Expression
    trials: Expression | None = None
    weights: Expression | None = None
    reserved: tuple[Call, ...] = ()
    span: Span | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Diagnostic:
    """A warning about a formula, found without data."""

    code: str
    message: str
    span: Span | None = None


@dataclass(frozen=True, slots=True)
class FormulaParts:
    """What a parsed formula holds: response, fixed part, random-effects terms in the order written.

    `response` is None for a one-sided formula. `text` is the source as the user wrote it. `further` holds the
    formulas of further predictors by name, such as that of "sigma".
    """

    response: Response | None
    fixed: FixedPart
    random: tuple[RandomTerm, ...]
    text: str = field(default="", compare=False, repr=False)
    diagnostics: tuple[Diagnostic, ...] = field(default=(), compare=False, repr=False)
    further: tuple[tuple[str, FormulaParts], ...] = ()
