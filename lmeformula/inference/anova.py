"""Likelihood-ratio tests between fits, with the Monte Carlo errors of their log-likelihoods."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise

import numpy as np
import pandas as pd
import scipy.special

from lmeformula.arguments import kinds
from lmeformula.fit import OF_LOO, FittedModel, check_not_drawn
from lmeformula.formula.difference import difference
from lmeformula.history import error_of_difference
from lmeformula.inference.comparable import A_FIT, caveats, check_comparable
from lmeformula.text.render import to_html, to_text
from lmeformula.text.table import Column, Kind, Table, columns_of

# Monte Carlo errors are taken this many times, as for an interval of 95 %.
ERRORS = 1.959963984540054
# What frames call them.
CRITERIA = {"aic": "AIC", "bic": "BIC", "loglik": "logLik"}
# The columns that are printed, as they are headed and written.
WRITTEN: dict[str, tuple[str, Kind]] = {
    "npar": ("npar", "count"),
    "aic": ("AIC", "statistic"),
    "bic": ("BIC", "statistic"),
    "loglik": ("logLik", "statistic"),
    "chisq": ("Chisq", "statistic"),
    "chisq_mc_error": ("MC error", "error"),
    "df": ("Df", "count"),
    "p": ("p", "error"),
    "verdict": ("verdict", "text"),
}


@dataclass(frozen=True, slots=True)
class Compared:
    """One line of the table: a fit, and its test against the one before it.

    Attributes:
      formula: as text.
      family: of the response, by name.
      npar: number of estimated parameters.
      aic, bic, loglik, deviance: of the fit.
      mc_error: Monte Carlo standard error of the log-likelihood.
      chisq: twice the difference of the log-likelihoods; None in the first line, as all that follows.
      chisq_mc_error: its Monte Carlo standard error; of two fits by the iterative solver with one seed, by what
        each set of random signs, which they share, says of the difference.
      df: difference of the numbers of parameters.
      p: upper tail of the chi-square distribution.
      p_low, p_high: p at 1.96 Monte Carlo errors to either side of chisq.
      verdict: "significant" or "not significant" where p_low and p_high lie to one side of the level, else
        "undecided".
      change: the terms that its formula adds to that of the fit before and leaves out, "+ x - (1 | g)".
    """

    formula: str
    family: str
    npar: int
    aic: float
    bic: float
    loglik: float
    deviance: float
    mc_error: float
    chisq: float | None = None
    chisq_mc_error: float | None = None
    df: int | None = None
    p: float | None = None
    p_low: float | None = None
    p_high: float | None = None
    verdict: str = ""
    change: str = ""


@dataclass(frozen=True, slots=True, repr=False)
class Anova:
    """Likelihood-ratio tests of nested fits, each against the next smaller one.

    Attributes:
      models: by number of parameters.
      level: of significance, for the verdicts.
      notes: what a reader should know, in sentences.
    """

    models: tuple[Compared, ...]
    level: float
    notes: tuple[str, ...]

    def to_frame(self) -> pd.DataFrame:
        """A row for each fit, with the columns of R's table, Monte Carlo errors and verdicts."""
        names = CRITERIA | {name: name.capitalize() for name in ("chisq", "chisq_mc_error", "df")}
        frame = pd.DataFrame(list(self.models)).drop(columns="family").rename(columns=names)
        # Of what the first line lacks.
        kinds = dict.fromkeys(("Chisq", "Chisq_mc_error", "p", "p_low", "p_high"), "Float64")
        return frame.astype({**kinds, "Df": "Int64"})

    def to_table(self) -> Table:
        """As printed: Monte Carlo errors and the range of p only where there are any."""
        rows = self.models
        is_noisy = any(m.mc_error > 0 for m in rows)
        shown = {
            name: written
            for name, written in WRITTEN.items()
            if is_noisy or name not in ("chisq_mc_error", "verdict")
        }
        numbers = Column("", tuple(str(number) for number in range(1, len(rows) + 1)), "text")
        is_of_one = len({m.family for m in rows}) == 1
        labels = tuple(
            f"{number}: {m.formula}" + ("" if is_of_one else f", {m.family}")
            for number, m in enumerate(rows, 1)
        )
        changes = tuple(
            f"{number} against {number - 1}: {m.change}"
            for number, m in enumerate(rows, 1)
            if m.change
        )
        columns = (numbers, *columns_of(rows, shown))
        return Table("Likelihood-ratio tests", columns, labels + changes + self.notes)

    def __repr__(self) -> str:
        return to_text(self.to_table())

    def _repr_html_(self) -> str:
        return to_html(self.to_table())


@kinds.takes(fits=kinds.instance(FittedModel, A_FIT), level=kinds.significance)
def anova(*fits: FittedModel, level: float = 0.05) -> Anova:
    """Compare nested fits of the same response by likelihood-ratio tests.

    Fits are put in the order of their numbers of parameters, and each is tested against the one before. The
    log-likelihood of a Monte Carlo fit has an error: a difference is called significant, or not, only where
    that error could not have made it so.

    Args:
      fits: two or more.
      level: of significance, for the verdicts.
    Returns:
      The table.
    Raises:
      ModelError: for fits that cannot be compared: of other rows, responses, weights or kinds of likelihood, or
        with equal numbers of parameters.
    References:
      Self, Liang (1987), JASA 82, 605-610, for variances at zero.
    Example:
      >>> import lmeformula as lf
      >>> data = lf.datasets.load("sleepstudy")
      >>> small = lf.fit("Reaction ~ Days + (1 | Subject)", data)
      >>> large = lf.fit("Reaction ~ Days + (Days | Subject)", data)
      >>> row = lf.anova(small, large).models[1]
      >>> round(row.chisq, 2), row.df, row.verdict
      (42.14, 2, 'significant')
    """
    for fit in fits:
        check_not_drawn(fit, "likelihood-ratio tests", OF_LOO)
    ordered = sorted(fits, key=lambda fit: fit.loglik.df)
    check_comparable(ordered)
    models = [alone(ordered[0])]
    for smaller, larger in pairwise(ordered):
        models.append(_tested(smaller, larger, level))
    notes = [*caveats(ordered), *_undecided(models)]
    return Anova(tuple(models), level, tuple(notes))


def alone(fit: FittedModel) -> Compared:
    """The line of a fit without a test."""
    family = fit.model.family
    return Compared(
        formula=" ".join(fit.formula.written.split()),
        family=family.base.name,
        npar=fit.loglik.df,
        aic=fit.aic,
        bic=fit.bic,
        loglik=fit.loglik.value,
        deviance=fit.deviance,
        mc_error=fit.loglik.mc_error,
    )


def _tested(smaller: FittedModel, larger: FittedModel, level: float) -> Compared:
    chisq = 2.0 * (larger.loglik.value - smaller.loglik.value)
    error = 2.0 * error_of_difference(larger.loglik, smaller.loglik)
    df = larger.loglik.df - smaller.loglik.df
    p, low, high = (
        float(scipy.special.chdtrc(df, max(chisq + shift, 0.0)))
        for shift in (0.0, ERRORS * error, -ERRORS * error)
    )
    verdict = "significant" if p < level else "not significant"
    if low < level <= high:
        verdict = "undecided"
    return replace(
        alone(larger),
        chisq=chisq,
        chisq_mc_error=error,
        df=df,
        p=p,
        p_low=low,
        p_high=high,
        verdict=verdict,
        change=difference(smaller.formula, larger.formula),
    )


def _undecided(models: Sequence[Compared]) -> list[str]:
    written = partial(np.format_float_positional, precision=2, fractional=False)
    return [
        f"{number}: undecided. The Monte Carlo error of the log-likelihoods could account for the difference: "
        f"p lies between {written(model.p_low)} and {written(model.p_high)}. Fit with a smaller tolerance to "
        "decide."
        for number, model in enumerate(models, 1)
        if model.verdict == "undecided" and model.p_low is not None and model.p_high is not None
    ]
