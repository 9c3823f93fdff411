"""Likelihood-ratio tests between fits, with the Monte Carlo errors of their log-likelihoods."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import pandas as pd
import scipy.special

from lmeformula.arguments import kinds
from lmeformula.fit import FittedModel
from lmeformula.inference.comparable import A_FIT, caveats, check_comparable
from lmeformula.text.render import to_html, to_text
from lmeformula.text.table import Column, Table

# Monte Carlo errors are taken this many times, as for an interval of 95 %.
ERRORS = 1.959963984540054


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
      chisq_mc_error: its Monte Carlo standard error, from those of two fits taken as independent.
      df: difference of the numbers of parameters.
      p: upper tail of the chi-square distribution.
      p_low, p_high: p at 1.96 Monte Carlo errors to either side of chisq.
      verdict: "significant" or "not significant" where p_low and p_high lie to one side of the level, else
        "undecided".
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
        rows = self.models
        return pd.DataFrame(
            {
                "formula": [m.formula for m in rows],
                "npar": [m.npar for m in rows],
                "AIC": [m.aic for m in rows],
                "BIC": [m.bic for m in rows],
                "logLik": [m.loglik for m in rows],
                "deviance": [m.deviance for m in rows],
                "mc_error": [m.mc_error for m in rows],
                "Chisq": pd.array([m.chisq for m in rows], "Float64"),
                "Chisq_mc_error": pd.array([m.chisq_mc_error for m in rows], "Float64"),
                "Df": pd.array([m.df for m in rows], "Int64"),
                "p": pd.array([m.p for m in rows], "Float64"),
                "p_low": pd.array([m.p_low for m in rows], "Float64"),
                "p_high": pd.array([m.p_high for m in rows], "Float64"),
                "verdict": [m.verdict for m in rows],
            }
        )

    def to_table(self) -> Table:
        """As printed: Monte Carlo errors and the range of p only where there are any."""
        rows = self.models
        is_noisy = any(m.mc_error > 0 for m in rows)
        columns = [
            Column("", tuple(str(number) for number in range(1, len(rows) + 1)), "text"),
            Column("npar", tuple(m.npar for m in rows), "count"),
            Column("AIC", tuple(m.aic for m in rows), "statistic"),
            Column("BIC", tuple(m.bic for m in rows), "statistic"),
            Column("logLik", tuple(m.loglik for m in rows), "statistic"),
            Column("Chisq", tuple(m.chisq for m in rows), "statistic"),
        ]
        if is_noisy:
            columns.append(Column("MC error", tuple(m.chisq_mc_error for m in rows), "error"))
        columns += [
            Column("Df", tuple(m.df for m in rows), "count"),
            Column("p", tuple(m.p for m in rows), "error"),
        ]
        if is_noisy:
            columns.append(Column("verdict", tuple(m.verdict for m in rows), "text"))
        is_of_one = len({m.family for m in rows}) == 1
        labels = tuple(
            f"{number}: {m.formula}" + ("" if is_of_one else f", {m.family}")
            for number, m in enumerate(rows, 1)
        )
        return Table("Likelihood-ratio tests", tuple(columns), labels + self.notes)

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
    ordered = sorted(fits, key=lambda fit: fit.loglik.df)
    check_comparable(ordered)
    models = [_alone(ordered[0])]
    for smaller, larger in pairwise(ordered):
        models.append(_tested(smaller, larger, level))
    notes = [*caveats(ordered), *_undecided(models)]
    return Anova(tuple(models), level, tuple(notes))


def _alone(fit: FittedModel) -> Compared:
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
    alone = _alone(larger)
    chisq = 2.0 * (larger.loglik.value - smaller.loglik.value)
    error = 2.0 * math.hypot(larger.loglik.mc_error, smaller.loglik.mc_error)
    df = larger.loglik.df - smaller.loglik.df
    p, low, high = (
        float(scipy.special.chdtrc(df, max(chisq + shift, 0.0)))
        for shift in (0.0, ERRORS * error, -ERRORS * error)
    )
    verdict = "significant" if p < level else "not significant"
    if low < level <= high:
        verdict = "undecided"
    return replace(
        alone,
        chisq=chisq,
        chisq_mc_error=error,
        df=df,
        p=p,
        p_low=low,
        p_high=high,
        verdict=verdict,
    )


def _undecided(models: Sequence[Compared]) -> list[str]:
    notes = []
    for number, model in enumerate(models, 1):
        if model.verdict == "undecided":
            assert model.p_low is not None
            assert model.p_high is not None
            notes.append(
                f"{number}: undecided. The Monte Carlo error of the log-likelihoods could account for the "
                f"difference: p lies between {np.format_float_positional(model.p_low, 2, fractional=False)} "
                f"and {np.format_float_positional(model.p_high, 2, fractional=False)}. Fit with a smaller "
                "tolerance to decide."
            )
    return notes
