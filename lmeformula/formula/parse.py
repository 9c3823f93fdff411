"""Text to Formula: the public first stage of the pipeline."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from functools import lru_cache

from lmeformula.arguments import kinds
from lmeformula.formula.formula import Formula
from lmeformula.formula.grammar import read_tree
from lmeformula.formula.lower import lower
from lmeformula.formula.mistakes import Report
from lmeformula.formula.several_formulas import join_formulas, named_formulas


@kinds.takes(double_bar=kinds.one_of("split", "diag"))
def parse(text: object, *, double_bar: str = "split") -> Formula:
    """Read a formula in the syntax of lme4; no data is needed.

    Args:
      text: the formula as a str, such as "y ~ x + (1 | g)"; a Formula is returned as it is. Of a model with
        several predictors a mapping, {"mu": "y ~ x + (1 | g)", "sigma": "~ x"}, or a tuple or list,
        ("y ~ x + (1 | g)", "sigma ~ x"); labels (1 |ID| g) link terms of all of them.
      double_bar: what (x || g) means. "split" (as in lme4): one term for each term before the bar, so
        that the levels of a factor stay correlated; "diag": independent columns, as diag(x | g).
    Returns:
      formula: what the formula means; its `diagnostics` hold warnings.
    Raises:
      FormulaSyntaxError: where the text is not a formula of the language; `.code`, `.span` and `.hint`
        say what, where, and what to write instead.
      FormulaErrors: for several independent mistakes.
    References:
      Bates, Maechler, Bolker, Walker (2015), J. Stat. Softw. 67(1), section 2.1.
    Example:
      >>> parse("y ~ a*x + (1 | g/h)")
      parse('y ~ 1 + a + x + a:x + (1 | g) + (1 | h:g)')
    """
    if isinstance(text, Formula):
        return text
    if (isinstance(text, Mapping | list) or type(text) is tuple) and text:
        return join_formulas(
            [
                (name, parse_one(value, double_bar, closed=False))
                if isinstance(value, str)
                else (name, parse(value))
                for name, value in named_formulas(text)
            ]
        )
    if not isinstance(text, str):
        report = Report(kinds.shown(text))
        report.error("not_text", (0, len(report.text)), found=type(text).__name__)
        raise report.errors[0]
    return parse_one(text, double_bar)


@lru_cache(maxsize=64)
def parse_one(text: str, double_bar: str = "split", *, closed: bool = True) -> Formula:
    """Read one formula; with `closed` its labels (x |ID| g) link terms of its own.

    Formulas are frozen, and a text always means the same: those of the last texts are kept.
    """
    text = unicodedata.normalize("NFC", text)
    return lower(read_tree(text), text, double_bar, closed=closed)
