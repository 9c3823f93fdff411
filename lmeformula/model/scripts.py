"""How the symbols of a model's equation are written: in plain Unicode, and in LaTeX."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from lmeformula.covariance.structure import Structure
from lmeformula.model.symbols import Predictor


@dataclass(frozen=True, slots=True)
class Script:
    """How symbols are written.

    Attributes:
      label: (display name) -> symbol.
      indexed: (symbol, index) -> symbol with a subscript.
      effect: (variable's name, column) -> a fixed effect.
      spread: (part's name, display name, place in its vector or None) -> a standard deviation.
      function: (name, argument) -> name(argument).
      power: (symbol, exponent) -> the one to the power of the other.
      parameter: (predictor) -> the parameter that it gives.
      sum_over: (index) -> what stands before the summands of a sum.
      times, dots, squared, residual, at_most: symbols.
      own: (name) -> a family's own parameter.
      covariance: (display name) -> a covariance matrix.
      correlated: (standard deviations) -> a covariance matrix's factors in words and symbols.
      shared: (standard deviation) -> the same where one holds for all coefficients.
      matrix: (structure, part's name, display name, k) -> its matrix R of correlations.
    """

    label: Callable[[str], str]
    indexed: Callable[[str, str], str]
    effect: Callable[[str, str], str]
    spread: Callable[[str, str, int | None], str]
    function: Callable[[str, str], str]
    power: Callable[[str, str], str]
    covariance: Callable[[str], str]
    correlated: Callable[[str], str]
    shared: Callable[[str], str]
    matrix: Callable[[Structure, str, str, int], str]
    parameter: Callable[[Predictor], str]
    sum_over: Callable[[str], str]
    times: str
    dots: str
    squared: str
    residual: str
    own: Callable[[str], str]
    at_most: str


def latex_label(label: str) -> str:
    r"""Upright text in LaTeX; special characters stand outside \text, where all renderers know them.

    Example:
      >>> print(latex_label("a_b"))
      {\text{a}\_\text{b}}
      >>> print(latex_label("service"))
      \text{service}
    """
    special = {"\\": r"\backslash ", "^": r"{}^{\wedge}", "~": r"{\sim}"}
    pieces = re.split(r"([\\^~_$%&#{}])", label)
    written = [
        special.get(piece, f"\\{piece}") if place % 2 else f"\\text{{{piece}}}"
        for place, piece in enumerate(pieces)
        if piece
    ]
    return written[0] if len(written) == 1 else "{" + "".join(written) + "}"


def _latex_effect(name: str, column: str) -> str:
    return r"\beta_0" if column == "Intercept" else rf"\beta_{{{latex_label(column)}}}"


def _latex_own(name: str) -> str:
    greek = {"thresholds": "tau", "dispersion": "phi", "df": "nu"}
    letter = greek.get(name, name if name in ("mu", "eta", "sigma") else "")
    return f"\\{letter}" if letter else latex_label(name)


def _latex_function(name: str, argument: str) -> str:
    command = {"Normal": r"\mathcal{N}", "log": r"\log"}.get(name, rf"\operatorname{{{name}}}")
    return f"{command}({argument})"


TEXT = Script(
    label=str,
    indexed=lambda symbol, index: f"{symbol}_{index}",
    effect=lambda name, column: name,
    spread=lambda part, label, place: f"stddev_{part}" + ("" if place is None else f"[{place}]"),
    function=lambda name, argument: f"{name}({argument})",
    power=lambda symbol, exponent: f"{symbol}^{exponent}",
    covariance=lambda label: f"Σ_{label}",
    correlated=lambda spread: f"D R D, D = diag({spread}), ",
    shared=lambda spread: f"{spread}² R, ",
    matrix=lambda structure, part, label, k: structure.matrix_text(part, k),
    parameter=lambda predictor: predictor.symbol,
    sum_over=lambda index: f"Σ_{index} ",
    times=" · ",
    dots="…",
    squared="²",
    residual="e",
    own=str,
    at_most="≤",
)
LATEX = Script(
    label=latex_label,
    indexed=lambda symbol, index: f"{symbol}_{{{index}}}",
    effect=_latex_effect,
    spread=lambda part, label, place: rf"\sigma_{{{latex_label(label)}}}",
    function=_latex_function,
    power=lambda symbol, exponent: f"{symbol}^{{{exponent}}}",
    covariance=lambda label: rf"\Sigma_{{{latex_label(label)}}}",
    correlated=lambda spread: rf"D R D, \quad D = \operatorname{{diag}}({spread}), \quad ",
    shared=lambda spread: rf"{spread}^2 R, \quad ",
    matrix=lambda structure, part, label, k: structure.matrix_latex(latex_label(label), k),
    parameter=lambda predictor: predictor.latex or _latex_own(predictor.symbol),
    sum_over=lambda index: rf"\sum_{index} ",
    times=r"\,",
    dots=r"\dots",
    squared="^2",
    residual=r"\varepsilon",
    own=_latex_own,
    at_most=r"\le",
)
