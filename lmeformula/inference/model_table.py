"""Fits side by side, as a paper prints them: estimates with standard errors, and facts of each fit below."""

from __future__ import annotations

from collections.abc import Sequence, Set
from dataclasses import dataclass

import numpy as np
import pandas as pd

from lmeformula.arguments import kinds
from lmeformula.errors import LmeFormulaError, ModelError
from lmeformula.fit import FittedModel, check_not_drawn
from lmeformula.inference.comparable import A_FIT, check_criteria
from lmeformula.inference.ratios import check_ratios
from lmeformula.inference.tidy import Estimate, parameter_tests
from lmeformula.prediction.parameters import parameters
from lmeformula.text.numbers import format_column
from lmeformula.text.render import to_html, to_latex, to_markdown, to_text
from lmeformula.text.table import Column, Table

# What is shown with standard errors, and the parts of the table that effects stand in.
WITH_ERRORS = ("fixed", "family")
PARTS = {"fixed": "fixed effects", "family": "family", "residual": "residual"}
ORDER = ("fixed effects", "family", "random effects", "residual")
STARS = ((0.001, "***"), (0.01, "**"), (0.05, "*"))
RATIOS = "Fixed effects are exponentiated, their errors by the delta method."
_LABELS = ("part", "term")


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a table of fits: a parameter or a fact, with a text for each fit; "" where it has none."""

    part: str
    term: str
    texts: tuple[str, ...]


@dataclass(frozen=True, slots=True, repr=False)
class ModelTable:
    """Fits side by side; prints as text in a terminal and as HTML in a notebook.

    Attributes:
      names: of the fits.
      rows: fixed effects, parameters of the families, random effects, residual sds, and facts of the fits.
      notes: the formulas, and what a reader should know, in sentences.
    """

    names: tuple[str, ...]
    rows: tuple[Row, ...]
    notes: tuple[str, ...]

    def to_frame(self) -> pd.DataFrame:
        """A row for each of the table, as texts: part, term, and a column for each fit.

        For the package great_tables: `GT(frame, rowname_col="term", groupname_col="part")`.
        """
        rows = [(row.part, row.term, *row.texts) for row in self.rows]
        return pd.DataFrame(rows, columns=[*_LABELS, *self.names])

    def to_table(self) -> Table:
        """The table as a record, for the renderers."""
        terms = Column("", tuple(row.term for row in self.rows), "text")
        each = (
            Column(name, tuple(row.texts[place] for row in self.rows))
            for place, name in enumerate(self.names)
        )
        return Table("", (terms, *each), self.notes)

    @kinds.takes(width=kinds.whole(1))
    def to_text(self, width: int = 80) -> str:
        """Render as plain text for a terminal of `width` columns."""
        return to_text(self.to_table(), width)

    def to_markdown(self) -> str:
        """Render as GitHub's Markdown."""
        return to_markdown(self.to_table())

    def to_latex(self) -> str:
        """Render as LaTeX with the rules of the booktabs package."""
        return to_latex(self.to_table())

    def to_html(self) -> str:
        """Render as HTML."""
        return to_html(self.to_table())

    def __repr__(self) -> str:
        return self.to_text()

    def _repr_html_(self) -> str:
        return self.to_html()


@kinds.takes(
    fits=kinds.instance(FittedModel, A_FIT),
    names=kinds.optional(kinds.names),
    exponentiate=kinds.flag,
    stars=kinds.flag,
)
def table(
    *fits: FittedModel,
    names: Sequence[str] | None = None,
    exponentiate: bool = False,
    stars: bool = False,
) -> ModelTable:
    """Lay fits out side by side, of whatever families: estimates (standard errors), and facts below.

    Args:
      fits: one or more.
      names: a heading for each fit; (1), (2), ... by default.
      exponentiate: give exponentials of the fixed effects, as `tidy` does.
      stars: mark p-values of fixed effects below 0.05, 0.01 and 0.001, those of `tidy`.
    Returns:
      The table. Standard deviations of random effects have no standard errors, and correlations are left out;
      a note says so. Where log-likelihoods, and so AIC, are not comparable with those of the first fit, a note
      says why.
    Raises:
      ModelError: for names that are not one for each fit, and exponentials where `tidy` refuses them.
    Example:
      >>> import lmeformula as lf
      >>> data = lf.datasets.load("sleepstudy")
      >>> small = lf.fit("Reaction ~ Days + (1 | Subject)", data)
      >>> table(small, lf.fit("Reaction ~ 1 + (1 | Subject)", data)).to_frame().iloc[[0, 2], 1:]
                          term              (1)              (2)
      0              Intercept  251.405 (9.506)  298.508 (8.795)
      2  sd(Subject:Intercept)           36.012           34.590
    """
    if not fits:
        raise ModelError("a table takes one fit or more", hint="Write lf.table(one, another).")
    for fit in fits:
        check_not_drawn(
            fit, "tables of estimates with their standard errors", "fit.tidy() has each."
        )
    called = _called(names, len(fits))
    tests = [_parameters(fit, exponentiate=exponentiate, stars=stars) for fit in fits]
    left_out = any(row.effect == "cor" for each in tests for row in each.values())
    every = dict.fromkeys(key for each in tests for key, row in each.items() if row.effect != "cor")
    ordered = sorted(every, key=lambda key: ORDER.index(key[0]))
    body = [
        Row(part, name, _estimates([each.get((part, name)) for each in tests], stars=stars))
        for part, name in ordered
    ]
    notes = [
        *(f"{name}: {_formula(fit)}" for name, fit in zip(called, fits, strict=True)),
        "Estimates (standard errors).",
        *([RATIOS] if exponentiate else []),
        *(["* p < 0.05, ** p < 0.01, *** p < 0.001."] if stars else []),
        *(["Correlations of random effects are left out; see fit.varcorr."] if left_out else []),
        *_warnings(called, fits),
    ]
    return ModelTable(called, (*body, *_facts(fits)), tuple(notes))


def _called(names: Sequence[str] | None, count: int) -> tuple[str, ...]:
    """The headings of the fits."""
    if names is None:
        return tuple(f"({number})" for number in range(1, count + 1))
    if isinstance(names, Set):
        raise ModelError("names is a set, which has no order", hint="Give a list of names.")
    called = (names,) if isinstance(names, str) else tuple(names)
    if len(called) != count or len({*called, *_LABELS}) != count + len(_LABELS):
        raise ModelError(
            f"names is {kinds.shown(list(called))}, for {count} fit{'s' * (count > 1)}",
            hint=f"Give a name of its own for each fit, none of them {' or '.join(_LABELS)}.",
        )
    return called


def _parameters(
    fit: FittedModel, *, exponentiate: bool, stars: bool
) -> dict[tuple[str, str], Estimate]:
    """The parameters of a fit by part and name; p-values are found where stars ask for them."""
    if exponentiate:
        check_ratios(fit)
    found: dict[tuple[str, str], Estimate] = {}
    for p, row in zip(
        parameters(fit), parameter_tests(fit, "auto" if stars else None), strict=True
    ):
        is_ratio = exponentiate and row.effect == "fixed"
        # An intercept's sd is one row, whether or not there are slopes, which its name tells.
        label = f"sd({p.group}:{p.term})" if p.effect == "sd" and p.term else p.name
        key = (_part(row), label)
        found[key if key not in found else (key[0], p.name)] = (
            row.exponentiated if is_ratio else row
        )
    return found


def _part(row: Estimate) -> str:
    return PARTS.get(row.effect, "random effects")


def _estimates(found: Sequence[Estimate | None], *, stars: bool) -> tuple[str, ...]:
    """The texts of one parameter, with one number of decimals for all estimates and their errors."""
    numbers: list[float | None] = []
    for row in found:
        numbers += [None, None] if row is None else [row.estimate, row.std_error]
    texts = format_column(Column("", tuple(numbers)))
    shown = []
    for row, estimate, error in zip(found, texts[::2], texts[1::2], strict=True):
        if row is None:
            shown.append("")
            continue
        marks = next((mark for level, mark in STARS if stars and row.p_value < level), "")
        shown.append(estimate + marks + (f" ({error})" if row.effect in WITH_ERRORS else ""))
    return tuple(shown)


def _facts(fits: Sequence[FittedModel]) -> list[Row]:
    """Rows of what is known of whole fits."""
    groups = [
        {b.group: len(b.levels) for b in fit.model.design.terms if b.role == "group"}
        for fit in fits
    ]
    facts = {"observations": [f"{fit.nobs:,}" for fit in fits]}
    for group in dict.fromkeys(group for each in groups for group in each):
        facts[f"levels of {group}"] = [f"{e[group]:,}" if group in e else "" for e in groups]
    facts["logLik"] = [f"{fit.loglik.value:.2f}" for fit in fits]
    facts["AIC"] = ["" if fit.has_priors else f"{fit.aic:.2f}" for fit in fits]
    facts["family"] = [fit.model.family.written for fit in fits]
    kinds_of = ["MAP" if fit.has_priors else "REML" if fit.reml else "ML" for fit in fits]
    facts["method"] = [f"{fit.method}, {kind}" for fit, kind in zip(fits, kinds_of, strict=True)]
    return [Row("fit", term, tuple(texts)) for term, texts in facts.items()]


def _formula(fit: FittedModel) -> str:
    return " ".join(fit.formula.written.split())


def _warnings(names: Sequence[str], fits: Sequence[FittedModel]) -> list[str]:
    """What makes numbers of the fits doubtful, or not comparable."""
    notes = []
    for name, fit in zip(names, fits, strict=True):
        if not fit.converged:
            notes.append(f"{name}: {fit.outcome.value}")
        if fit.singular:
            notes.append(f"{name}: a variance is estimated as zero, or a correlation as 1 or -1.")
        if fit.loglik.mc_error > 0:
            error = np.format_float_positional(fit.loglik.mc_error, precision=2, fractional=False)
            notes.append(f"{name}: the Monte Carlo error of logLik is {error}.")
    for name, fit in zip(names[1:], fits[1:], strict=True):
        try:
            check_criteria(fits[0], fit)
        except LmeFormulaError as error:
            notes.append(
                f"logLik and AIC of {names[0]} and {name} cannot be compared: {error.problem}."
            )
    return notes
