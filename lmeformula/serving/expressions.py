"""The variables of a formula as TensorFlow functions of raw columns."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import tensorflow as tf

from lmeformula.arrays import Floats, Tensor
from lmeformula.design.evaluate import Scope, evaluate
from lmeformula.design.frame import open_frame
from lmeformula.design.grouping import Grouping
from lmeformula.design.labels import label
from lmeformula.design.recipe import Recipe
from lmeformula.design.values import Categories, Column, Logicals, Numbers
from lmeformula.formula import ir
from lmeformula.serving.inputs import LEVEL, NUMBER, TRUTH, Input, NotServed

Inputs = dict[str, Tensor]
Served = Callable[[Inputs], Tensor]

OPERATORS = {"+": "add", "-": "subtract", "*": "multiply", "/": "divide", "^": "pow"}
# Functions of one number, by their names in TensorFlow.
PLAIN = {
    name: name
    for name in (
        *("log", "log1p", "exp", "expm1", "sqrt", "abs", "floor", "ceil", "sign"),
        *("sin", "cos", "tan", "asin", "acos", "atan", "sinh", "cosh", "tanh"),
    )
} | {"ceiling": "ceil"}
BASES = ("poly", "bs", "ns", "cr")
FACTORS = ("factor", "as.factor", "ordered", "as.ordered")


@dataclass(eq=False)
class Planner:
    """Turns expressions into functions of tensors, and collects which inputs and lookup tables they need.

    Attributes:
      recipe: how the design made the columns.
      inputs: by column and kind.
      tables: lookup tables of level names, which a module must hold.
    """

    recipe: Recipe
    inputs: dict[tuple[str, str], Input] = field(default_factory=dict)
    tables: list[Any] = field(default_factory=list)

    def ask(self, column: str, kind: str) -> Served:
        """An input; numbers and truth values (n,) float64, levels (n,) strings."""
        key = column, kind
        if key not in self.inputs:
            self.inputs[key] = Input(self._free_name(column), column, kind)
        name = self.inputs[key].name
        return lambda given: given[name]

    def numbers(self, expression: ir.Expression) -> Served:
        """A numeric expression: (n,), (n, m) for a basis of m columns, or a constant."""
        match expression:
            case ir.Number():
                constant = tf.constant(expression.value, tf.float64)
                return lambda given: constant
            case ir.Column():
                known = self.recipe.memory.columns.get(expression.name)
                if not isinstance(known, Numbers):
                    raise NotServed(f"{expression.name}, which is no column of numbers")
                return self.ask(expression.name, NUMBER)
            case ir.Operation("(", (inner,)):
                return self.numbers(inner)
            case ir.Operation("-", (inner,)):
                positive = self.numbers(inner)
                return lambda given: -positive(given)
            case ir.Operation(operator, (left, right)) if operator in OPERATORS:
                apply = getattr(tf, OPERATORS[operator])
                first, second = self.numbers(left), self.numbers(right)
                return lambda given: apply(first(given), second(given))
            case ir.Call() if expression.function not in self.recipe.functions:
                return self._call(expression)
        raise NotServed(label(expression))

    def codes(self, expression: ir.Expression, levels: tuple[str, ...]) -> Served:
        """A categorical variable: (n,) int64 places among its levels, -1 for others."""
        inner = expression
        if isinstance(inner, ir.Call) and inner.function in FACTORS and len(inner.arguments) == 1:
            inner = inner.arguments[0].value
        if not isinstance(inner, ir.Column):
            raise NotServed(label(expression))
        if isinstance(self.recipe.memory.columns.get(inner.name), Logicals):
            truth = self.ask(inner.name, TRUTH)
            places = {name: place for place, name in enumerate(levels)}
            which = tf.constant([places.get(name, -1) for name in ("False", "True")], tf.int64)
            return lambda given: tf.gather(which, tf.cast(truth(given), tf.int64))
        return self._looked_up(inner.name, levels)

    def groups(self, columns: tuple[str, ...], grouping: Grouping) -> Served:
        """A grouping factor: (n,) int64 places among its levels, -1 for levels and combinations never seen."""
        parts = [
            self._looked_up(column, names)
            for column, names in zip(columns, grouping.parts, strict=True)
        ]
        keys = [tf.constant(pairs, tf.int64) for pairs in grouping.pairs]
        widths = [len(names) for names in grouping.parts]

        def served(given: Inputs) -> Tensor:
            codes = parts[0](given)
            for part, known, width in zip(parts[1:], keys, widths[1:], strict=True):
                later = part(given)
                wanted = codes * width + later
                place = tf.searchsorted(known, wanted, out_type=tf.int64)
                place = tf.minimum(place, tf.cast(tf.size(known) - 1, tf.int64))
                is_known = (codes >= 0) & (later >= 0) & (tf.gather(known, place) == wanted)
                codes = tf.where(is_known, place, -tf.ones_like(place))
            return codes

        return served

    def _looked_up(self, column: str, levels: tuple[str, ...]) -> Served:
        names = self.ask(column, LEVEL)
        places = tf.range(len(levels), dtype=tf.int64)
        content = tf.lookup.KeyValueTensorInitializer(tf.constant(levels), places)
        table = tf.lookup.StaticHashTable(content, default_value=-1)
        self.tables.append(table)
        return lambda given: table.lookup(names(given))

    def _call(self, call: ir.Call) -> Served:
        given_names = [argument.name for argument in call.arguments]
        first = call.arguments[0].value if call.arguments and not given_names[0] else None
        is_alone = len(call.arguments) == 1
        if first is None:
            raise NotServed(label(call))
        if call.function in ("I", "identity") and is_alone:
            return self.numbers(first)
        if call.function in ("log2", "log10") and is_alone:
            inner, base = self.numbers(first), np.log(float(call.function[3:]))
            return lambda given: tf.math.log(inner(given)) / base
        if call.function in PLAIN and is_alone:
            inner, apply = self.numbers(first), getattr(tf.math, PLAIN[call.function])
            return lambda given: apply(inner(given))
        learned = self.recipe.memory.calls.get(call)
        if call.function in ("scale", "standardize", "center") and learned is not None:
            inner = self.numbers(first)
            centre, divisor = (tf.constant(part, tf.float64) for part in learned)
            return lambda given: (inner(given) - centre) / divisor
        if call.function in BASES and learned is not None and isinstance(first, ir.Column):
            return self._basis(call, first, learned)
        raise NotServed(label(call))

    def _basis(self, call: ir.Call, column: ir.Column, learned: Any) -> Served:
        """A polynomial or spline basis of one column: between its knots each column is a polynomial."""
        if call.function == "poly":
            if len(learned) != 1:
                raise NotServed(label(call))
            knots = self._range(column.name)
        else:
            inner, bounds = learned
            knots = np.unique([bounds[0], *inner, bounds[1]]).astype(float)
        value = evaluate(call, self._scope({column.name: np.array([0.5, 1.5])}))
        assert isinstance(value, Numbers)
        # No power is higher than the number of columns, but in cubic splines of few.
        degree = max(3, min(value.values.shape[1] if value.values.ndim == 2 else 1, 12))
        middle, half, pieces = self._pieces(call, column.name, knots, degree)
        x = self.ask(column.name, NUMBER)
        ends, middles, halves = (tf.constant(part, tf.float64) for part in (knots, middle, half))
        powers = tf.constant(pieces, tf.float64)

        def served(given: Inputs) -> Tensor:
            place = tf.searchsorted(ends, x(given), side="right")
            local = (x(given) - tf.gather(middles, place)) / tf.gather(halves, place)
            total = tf.zeros_like(tf.gather(powers[:, 0], place))
            for power in reversed(range(degree + 1)):
                total = total * local[:, None] + tf.gather(powers[:, power], place)
            return total

        return served

    def _pieces(
        self, call: ir.Call, column: str, knots: Floats, degree: int
    ) -> tuple[Floats, Floats, Floats]:
        """Middles and half widths of the pieces, and their (pieces, powers, columns) coefficients."""
        span = knots[-1] - knots[0]
        ends = np.concatenate([[knots[0] - span], knots, [knots[-1] + span]])
        middle, half = 0.5 * (ends[1:] + ends[:-1]), 0.5 * np.diff(ends)
        # Chebyshev's points inside of each piece, where the polynomial is fitted exactly.
        points = np.cos(np.pi * (np.arange(degree + 1) + 0.5) / (degree + 1))
        solver = np.linalg.inv(np.vander(points, degree + 1, increasing=True))
        pieces = []
        for centre, width in zip(middle, half, strict=True):
            value = evaluate(call, self._scope({column: centre + width * points}))
            assert isinstance(value, Numbers)
            columns = value.values if value.values.ndim == 2 else value.values[:, None]
            pieces.append(solver @ columns)
        return middle, half, np.array(pieces)

    def _range(self, column: str) -> Floats:
        """The ends of a column in the data of the fit, between which polynomials are well determined."""
        observed = self.recipe.observed
        for one in observed.columns if observed is not None else ():
            if one.name == column and one.low < one.high:
                return np.array([one.low, one.high])
        raise NotServed(f"the range of {column}, which is kept of fixed effects only")

    def _scope(self, columns: dict[str, Any]) -> Scope:
        return Scope(open_frame(columns), self.recipe.functions, self.recipe.memory, True)

    def prototype(self, expression: ir.Expression) -> Column:
        """A variable with a few rows, for its levels or its number of columns."""
        known = self.recipe.factors.get(expression)
        if known is not None:
            return known
        value = evaluate(expression, self._scope(self._two_rows()))
        if isinstance(value, Categories | Logicals | Numbers):
            return value
        raise NotServed(label(expression))

    def _two_rows(self) -> dict[str, Any]:
        """Every column that the design read."""
        columns: dict[str, Any] = {}
        for name, column in self.recipe.memory.columns.items():
            if isinstance(column, Categories):
                columns[name] = [column.levels[0]] * 2
            elif isinstance(column, Logicals):
                columns[name] = [True, False]
            else:
                columns[name] = np.array([0.5, 1.5])
        return columns

    def _free_name(self, column: str) -> str:
        taken = {one.name for one in self.inputs.values()}
        name = re.sub(r"\W", "_", column, flags=re.ASCII)
        name = name if re.match(r"[A-Za-z]", name) else f"column_{name}"
        while name in taken:
            name += "_"
        return name
