"""The intermediate representation: what a formula means, before any data is seen.

Frozen, hashable records, compared by meaning: spans, source text and diagnostics take no part in equality.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import ClassVar, TypeAlias, TypeGuard

Span: TypeAlias = tuple[int, int]

# What the predictor of the formula with the response is called.
FIRST = "mu"


# ---- expressions: what the parser reads, and what is inside I(), log(), a response, an offset ----------------


@dataclass(frozen=True, slots=True)
class Column:
    """A column of the data, by its bare name (backticks removed)."""

    name: str
    span: Span | None = field(default=None, compare=False, repr=False)
    depth: ClassVar[int] = 1


@dataclass(frozen=True, slots=True)
class Number:
    """A numeric constant; 1, 1L, 1e0 and 0x1 are the same, and Inf is one."""

    value: float
    span: Span | None = field(default=None, compare=False, repr=False)
    depth: ClassVar[int] = 1


@dataclass(frozen=True, slots=True)
class Text:
    """A string constant, its escapes resolved."""

    value: str
    span: Span | None = field(default=None, compare=False, repr=False)
    depth: ClassVar[int] = 1


@dataclass(frozen=True, slots=True)
class Constant:
    """TRUE, FALSE or NULL (True, False, None); or the word NA, or one of its kin, that no value has."""

    value: bool | str | None
    span: Span | None = field(default=None, compare=False, repr=False)
    depth: ClassVar[int] = 1


@dataclass(frozen=True, slots=True)
class Dot:
    """The "." of a fixed part: all columns but the response. `expand_dot` replaces it."""

    span: Span | None = field(default=None, compare=False, repr=False)
    depth: ClassVar[int] = 1


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
    depth: int = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        depths = (argument.value.depth for argument in self.arguments)
        object.__setattr__(self, "depth", 1 + max(depths, default=0))


@dataclass(frozen=True, slots=True, eq=False)
class Operation:
    """One or two operands and an operator of R: arithmetic, a comparison, logic; the algebra of terms; a bar.

    `operator` is "(" for kept parentheses, whose span includes them. Operators of one precedence are applied
    from the left, so that a chain such as a + b - c leans to the left as far as it is long; only what stands
    on the right of an operator, in parentheses or in a call adds to its `depth`. `place` is the operator's.
    """

    operator: str
    operands: tuple[Expression, ...]
    span: Span | None = field(default=None, compare=False, repr=False)
    place: Span | None = field(default=None, compare=False, repr=False)
    depth: int = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        left, *right = self.operands
        on_the_left = left.depth + (not self._goes_on())
        object.__setattr__(self, "depth", max([on_the_left, *(1 + each.depth for each in right)]))

    def __eq__(self, other: object) -> bool:
        return self._spine() == other._spine() if isinstance(other, Operation) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._spine())

    # A chain is compared along itself: the == of nested dataclasses would exhaust the stack after some two
    # hundred operations.
    def _spine(self) -> tuple[object, ...]:
        """Return the chain's operators and right operands, outermost first, and its first operand."""
        found: list[object] = []
        node: Expression = self
        while isinstance(node, Operation):
            found += (node.operator, *node.operands[1:])
            node = node.operands[0]
        return *found, node

    def _goes_on(self) -> bool:
        """Whether the left operand is the beginning of the same chain."""
        left = self.operands[0]
        return is_binary(self) and is_binary(left) and precedence(left) == precedence(self)

    def chain(self) -> tuple[Operation, ...]:
        """Return the operations of a chain of one precedence, that of its first two operands first."""
        found = [self]
        while found[-1]._goes_on():
            found.append(found[-1].operands[0])  # type: ignore[arg-type]
        return tuple(reversed(found))

    def chained(self) -> tuple[Expression, ...]:
        """Return the operands of a whole chain, in order."""
        first, *others = self.chain()
        return *first.operands, *(step.operands[1] for step in others)


Expression: TypeAlias = "Column | Number | Text | Constant | Call | Operation | Dot"

# From loose to tight; operators of one line are applied from the left, and "^" from the right.
OPERATORS = (
    ("|", "||"),
    ("&", "&&"),
    ("!",),
    ("==", "!=", "<", "<=", ">", ">="),
    ("+", "-"),
    ("*", "/"),
    ("%in%", "%%", "%/%"),
    (":",),
    ("sign",),
    ("^",),
    ("(",),
)
PRECEDENCE = {name: level for level, names in enumerate(OPERATORS, 1) for name in names}
CALLABLE = PRECEDENCE["("]  # what needs no parentheses anywhere


def precedence(node: Expression) -> int:
    """Return the precedence of an expression's operator; the tightest where it has none."""
    if not isinstance(node, Operation):
        return CALLABLE
    if len(node.operands) == 1 and node.operator in ("+", "-"):
        return PRECEDENCE["sign"]
    # Whatever stands between two percent signs.
    return PRECEDENCE.get(node.operator, PRECEDENCE["%in%"])


def is_binary(node: Expression) -> TypeGuard[Operation]:
    """Whether an expression is an operation of two operands."""
    return isinstance(node, Operation) and len(node.operands) == 2


def is_sum(node: Expression) -> TypeGuard[Operation]:
    """Whether an expression is `left + right` or `left - right`."""
    return is_binary(node) and node.operator in ("+", "-")


def is_bar(node: Expression) -> TypeGuard[Operation]:
    """Whether an expression is `left | right` or `left || right`."""
    return isinstance(node, Operation) and node.operator in ("|", "||")


def is_sign(node: Expression) -> TypeGuard[Operation]:
    """Whether an expression is +x or -x."""
    return isinstance(node, Operation) and precedence(node) == PRECEDENCE["sign"]


def ends_in_negation(node: Expression) -> bool:
    """Whether an expression ends in a negation that is not in parentheses."""
    while isinstance(node, Operation) and node.operator not in ("(", "!"):
        node = node.operands[-1]
    return isinstance(node, Operation) and node.operator == "!"


def bare(node: Expression) -> Expression:
    """Take parentheses off."""
    while isinstance(node, Operation) and node.operator == "(":
        (node,) = node.operands
    return node


def inside(node: Expression) -> tuple[Expression, ...]:
    """Return the operands of an operation, or the arguments of a call; nothing for others."""
    if isinstance(node, Call):
        return tuple(argument.value for argument in node.arguments)
    return node.operands if isinstance(node, Operation) else ()


def walk(node: Expression) -> Iterator[Expression]:
    """Yield an expression and all that is inside it, in the order of the text; without recursion."""
    waiting = [node]
    while waiting:
        yield (found := waiting.pop())
        waiting += reversed(inside(found))


def joined(left: Expression, operator: str, right: Expression, place: Span | None) -> Operation:
    """Join two expressions by an operator at a place of the text."""
    return Operation(operator, (left, right), around(left, right), place)


def around(*nodes: Column | Expression) -> Span:
    """Return the place of several expressions together."""
    spans = [node.span or (0, 0) for node in nodes]
    return min(start for start, _ in spans), max(stop for _, stop in spans)


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

    @property
    def variables(self) -> tuple[Expression, ...]:
        """Those of all terms, each as often as it stands there."""
        return tuple(variable for term in self.terms for variable in term.variables)


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
    gr(g, id = a); `names` is then its text after an "@", and `lf.compile` refuses it by name.
    `distribution` is that of the effects: "gaussian", or "student" of gr(g, dist = "student"). `by` is the
    column of gr(g, by = a), whose levels have a covariance of their own each; "" without. `cov` names the
    known covariance between the levels of gr(g, cov = A); "" without. `members` is the text of
    mm(g, h, weights = cbind(w, v)), of whose columns, `names`, each row has a level each; "" of others. Its
    `weights` say how much each counts for; () for all alike. `is_scaled` is whether they are to add up to one.
    """

    names: tuple[str, ...]
    reserved: Call | None = None
    distribution: str = "gaussian"
    by: str = ""
    cov: str = ""
    members: str = ""
    weights: tuple[Expression, ...] = ()
    is_scaled: bool = True
    span: Span | None = field(default=None, compare=False, repr=False)

    @property
    def key(self) -> tuple[str, ...]:
        """What tells its levels from those of others: of a known covariance they are all that it has."""
        if self.members:
            return (*self.names, self.members)
        return (*self.names, f"cov = {self.cov}") if self.cov else self.names

    @property
    def label(self) -> str:
        """The displayed name, such as "g", "cask:batch" or "mm(g, h)"."""
        return f"mm({', '.join(self.names)})" if self.members else ":".join(self.names)


@dataclass(frozen=True, slots=True)
class Covariance:
    """The covariance of one random-effects term's coefficients.

    Attributes:
      kind: "us" (unstructured), "diag", "cs" (compound symmetry), "ar1", ...: see `kinds.KINDS`.
      homogeneous: one variance for all coefficients; None where the kind has no such choice ("us").
      rank: of rr(x | g, d = 2) how many factors there are; 0 of others.
      matrix: of propto(0 + a | g, A) and equalto() the name of the matrix; "" of others.
    """

    kind: str = "us"
    homogeneous: bool | None = None
    rank: int = 0
    matrix: str = ""


@dataclass(frozen=True, slots=True)
class Piece:
    """One of the terms of effects that a smooth stands for.

    Attributes:
      call: of s() or t2().
      number: which of its pieces: those of a tensor product, or the range and the null space of fs.
    """

    call: Call
    number: int = 0


@dataclass(frozen=True, slots=True)
class RandomTerm:
    """Coefficients that vary over the levels of a grouping factor: (columns | group).

    `(x || g)` has become several of these, one for each term, as lme4 splits it (`split` remembers that).
    `block` is the label of `(x |ID| g)`: terms with the same label share one covariance matrix. A term that
    stands for a smooth says for which in `smooth`; no formula holds such terms (see `smooths.effect_terms`).
    """

    columns: TermSum
    group: GroupingFactor
    covariance: Covariance = Covariance()
    block: str = ""
    split: bool = field(default=False, compare=False, repr=False)
    span: Span | None = field(default=None, compare=False, repr=False)
    smooth: Piece | None = None


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
class FormulaRecord:
    """What a parsed formula holds: response, fixed part, random-effects terms in the order written.

    `response` is None for a one-sided formula. `text` is the source as the user wrote it. `further` holds the
    formulas of further predictors by name, such as that of "sigma".
    """

    response: Response | None
    fixed: FixedPart
    random: tuple[RandomTerm, ...]
    text: str = field(default="", compare=False, repr=False)
    diagnostics: tuple[Diagnostic, ...] = field(default=(), compare=False, repr=False)
    further: tuple[tuple[str, FormulaRecord], ...] = ()
