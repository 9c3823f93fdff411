"""The formula language: text to a typed description of a model, before any data is seen."""

from lmeformula.formula.dot import expand_dot
from lmeformula.formula.ir import Formula
from lmeformula.formula.parse import parse

__all__ = ["Formula", "expand_dot", "parse"]
