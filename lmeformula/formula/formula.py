"""A parsed formula: its parts, and what it says of itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import ClassVar

from lmeformula.errors import ModelError
from lmeformula.formula.explain import Explanation, explain
from lmeformula.formula.ir import FormulaRecord
from lmeformula.formula.latex import formula_latex
from lmeformula.formula.serialize import formula_to_dict
from lmeformula.formula.show import formula_repr, formula_text


@dataclass(frozen=True, slots=True, repr=False)
class Formula(FormulaRecord):
    """A parsed formula: response, fixed part, random-effects terms in the order written.

    Its attributes are those of `lmeformula.formula.ir.FormulaRecord`.
    """

    further: tuple[tuple[str, Formula], ...] = ()
    # What `to_dict` wrote, as a formula. Reading it parses: this is read.py's, bound by the folder's front.
    from_dict: ClassVar[Callable[[Mapping[str, object]], Formula]]

    def __new__(cls, *parts: object, **others: object) -> Formula:
        """Make one of its parts; a text is parsed elsewhere.

        Raises:
          ModelError: for a text alone.
        """
        if len(parts) == 1 and not others:
            raise ModelError(
                "a Formula is made of its parts", hint="Write lf.parse(text) to have one of a text."
            )
        return object.__new__(cls)  # the class that `slots` makes is another

    def __str__(self) -> str:
        """Return the canonical text, which parses to an equal formula."""
        return formula_text(self)

    @property
    def written(self) -> str:
        """The formula as the user wrote it, those of further predictors behind their names."""
        first = self.text or str(replace(self, further=()))
        return "; ".join([first, *(f"{name} {part.written}" for name, part in self.further)])

    def __repr__(self) -> str:
        return formula_repr(self)

    def to_dict(self) -> dict[str, object]:
        """Return the formula as a dictionary that JSON can hold; `from_dict` reads it."""
        return formula_to_dict(self)

    def explain(self) -> Explanation:
        """Say in plain words what the formula means, and how many variance parameters it has."""
        return explain(self)

    def _repr_latex_(self) -> str:
        return f"$$\n{formula_latex(self)}\n$$"
