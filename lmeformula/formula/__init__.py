"""The formula language: text to a typed description of a model, before any data is seen."""

from lmeformula.formula.dot import expand_dot
from lmeformula.formula.formula import Formula
from lmeformula.formula.parse import parse
from lmeformula.formula.read import formula_from_dict

Formula.from_dict = staticmethod(formula_from_dict)

__all__ = ["Formula", "expand_dot", "parse"]
