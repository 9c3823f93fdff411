"""A model as data: which terms, family, likelihood and method; and its formula as text."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import pandas as pd

# Structures as they are written around a bar; "us" and "||" are bars alone.
WRITTEN = ("diag", "homdiag", "cs", "homcs", "ar1", "hetar1")


@dataclass(frozen=True)
class Random:
    """A random-effects term: (columns | group).

    Attributes:
      intercept: whether the coefficients have a constant.
      columns: numeric variables, or one factor.
      group: a grouping factor, or two joined by a colon.
      kind: "us", "||", or the name of a structure.
    """

    intercept: bool
    columns: tuple[str, ...]
    group: str
    kind: str = "us"

    def __str__(self) -> str:
        left = " + ".join(("1" if self.intercept else "0", *self.columns))
        bar = "||" if self.kind == "||" else "|"
        inside = f"{left} {bar} {self.group}"
        return f"{self.kind}({inside})" if self.kind in WRITTEN else f"({inside})"

    def parts(self) -> tuple[Random, ...]:
        """The terms that a double bar stands for: one for the intercept and for each column."""
        if self.kind != "||":
            return (self,)
        first = (Random(True, (), self.group),) if self.intercept else ()
        return first + tuple(Random(False, (column,), self.group) for column in self.columns)


@dataclass(frozen=True)
class Spec:
    """A model and how it is to be fitted.

    Attributes:
      fixed: terms such as "x", "a", "a:x", "a:b".
      random: at least one term.
      family: as `lmeformula.fit` takes it.
      intercept: of the fixed part; ordered responses are written with it, and have thresholds.
      weights: whether the column w holds prior weights.
      offset: whether the column o is an offset.
      reml: of the restricted likelihood.
      sigma: the residual sd where it is fixed.
      method, solver: as `lmeformula.fit` takes them.
      response: the left-hand side.
    """

    fixed: tuple[str, ...]
    random: tuple[Random, ...]
    family: str = "gaussian"
    intercept: bool = True
    weights: bool = False
    offset: bool = False
    reml: bool = False
    sigma: float | None = None
    method: str = "exact"
    solver: str = "auto"
    response: str = "y"

    @property
    def formula(self) -> str:
        """The formula as text."""
        terms = ["1" if self.intercept else "0", *self.fixed]
        terms += ["offset(o)"] if self.offset else []
        return f"{self.response} ~ {' + '.join([*terms, *map(str, self.random)])}"

    @property
    def terms(self) -> tuple[Random, ...]:
        """The random-effects terms with one covariance matrix each."""
        return tuple(part for term in self.random for part in term.parts())

    @property
    def variables(self) -> tuple[str, ...]:
        """The columns of the data that the model uses, but for the response."""
        found = dict.fromkeys(name for term in self.fixed for name in term.split(":"))
        for term in self.random:
            found |= dict.fromkeys((*term.columns, *term.group.split(":")))
        found |= dict.fromkeys(["w"] * self.weights + ["o"] * self.offset)
        return tuple(found)

    @property
    def options(self) -> dict[str, Any]:
        """The arguments of `lmeformula.fit` besides formula and data."""
        found: dict[str, Any] = {"family": self.family, "method": self.method, "progress": False}
        if self.reml:
            found["reml"] = True
        if self.weights:
            found["weights"] = "w"
        if self.sigma is not None:
            found["sigma"] = self.sigma
        if self.solver != "auto":
            found["solver"] = self.solver
        return found

    def but(self, **changes: Any) -> Spec:
        """The same with changes."""
        return replace(self, **changes)


class Case(NamedTuple):
    """A data set and a model for it.

    Attributes:
      name: method, seed and index, from which it is made again.
      data: its rows.
      spec: its model.
      truth: what the response was drawn from, in words.
    """

    name: str
    data: pd.DataFrame
    spec: Spec
    truth: str = ""

    @property
    def call(self) -> str:
        """The call of `lmeformula.fit`, as one writes it."""
        options = ", ".join(
            f"{key}={value!r}" for key, value in self.spec.options.items() if key != "progress"
        )
        return f'lf.fit("{self.spec.formula}", data, {options})'
