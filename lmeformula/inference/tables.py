"""The tables of a fit, as records."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from lmeformula.covariance.matern import ROUGHEST, SMOOTHEST
from lmeformula.design.absent import has_rows
from lmeformula.em.outcome import Outcome
from lmeformula.errors import ModelError
from lmeformula.fit import FittedModel
from lmeformula.inference.ddf import usual
from lmeformula.inference.posterior_summary import check_no_tests, posterior_table
from lmeformula.inference.smooth_tests import smooths
from lmeformula.inference.tidy import parameter_tests
from lmeformula.prediction.parameters import parameters
from lmeformula.prediction.posterior import has_normal_posterior
from lmeformula.prediction.predictor import of_population
from lmeformula.prediction.thresholds import thresholds
from lmeformula.prediction.varcorr import varcorr
from lmeformula.text.numbers import p_text
from lmeformula.text.table import Column, Kind, Table, columns_of

ESTIMATES = ("estimate", "std_error")
# What is shown of parameters, as it is headed and written.
HEADINGS: dict[str, tuple[str, Kind]] = {
    "name": ("", "text"),
    "term": ("", "text"),
    "estimate": ("estimate", "number"),
    "std_error": ("std error", "number"),
    "df": ("df", "statistic"),
    "p": ("p", "text"),
    "conf_low": ("2.5 %", "number"),
    "conf_high": ("97.5 %", "number"),
    "mc_error": ("MC error", "error"),
}


@dataclass(frozen=True, slots=True)
class Reference:
    """Published values of a model's parameters, to be shown beside a fit.

    Attributes:
      source: where they come from, such as "lme4"; heads the column.
      estimates: by parameter name, as in `fit.param_names`.
      loglik: the maximised log-likelihood.
      std_errors: by parameter name, for those that have one.
    """

    source: str
    estimates: Mapping[str, float]
    loglik: float
    std_errors: Mapping[str, float] = field(default_factory=dict)


def reference_of(fit: FittedModel, source: str) -> Reference:
    """Take a fit as the reference for another one.

    Args:
      fit: a fitted model.
      source: what to call it.
    Returns:
      reference: its estimates, standard errors and log-likelihood.
    """
    rows = parameters(fit)
    return Reference(
        source,
        {p.name: p.estimate for p in rows},
        fit.loglik.value,
        {p.name: p.std_error for p in rows},
    )


def coefficient_table(fit: FittedModel, ddf: str | None = "auto") -> Table:
    """Tabulate the fixed effects.

    Args:
      fit: a fitted model.
      ddf: degrees of freedom: "satterthwaite", "kenward-roger", "none" for the normal distribution, or "auto";
        None leaves the p-values out.
    Returns:
      table: one row a coefficient: estimate, standard error, t or z (their ratio), p-value, the ends of the
        95 % interval, and the Monte Carlo error where the method has one. Its foot says whose degrees of
        freedom these are, or why a Gaussian fit has none.
    """
    if fit.draws is not None:
        check_no_tests(ddf)
        return posterior_table(fit, "Fixed effects", "fixed")
    ddf, why = usual(fit) if ddf == "auto" else (ddf, "")
    rows = [row for row in parameter_tests(fit, ddf) if row.effect == "fixed"]
    is_normal = ddf is None or all(math.isinf(row.df) for row in rows)
    known = HEADINGS | {"statistic": ("z" if is_normal else "t", "statistic")}
    shown = ["term", *ESTIMATES, "df", "statistic", "p", "conf_low", "conf_high", *_noise(fit)]
    hidden = (["df"] if is_normal else []) + (["p"] if ddf is None else [])
    headings = {name: known[name] for name in shown if name not in hidden}
    note = why if is_normal else f"Degrees of freedom: {str(ddf).title()}."
    return Table("Fixed effects", columns_of(rows, headings), (note,) if note and rows else ())


def smooth_table(fit: FittedModel) -> Table:
    """Tabulate effective degrees of freedom and tests of the smooths.

    Args:
      fit: a fitted model.
    Returns:
      table: one row a curve; no rows for a fit without, or one whose tests need what is not there: the rows, or
        equations that can be factored.
    """
    is_there = any(of_population(fit.model.design)) and fit.outcome is not Outcome.NONFINITE
    if fit.draws is not None or not (
        is_there and has_rows(fit.model.design) and has_normal_posterior(fit)
    ):
        return Table("Smooths", ())
    try:
        frame = smooths(fit)
    except ModelError:
        # The log density is not concave where the fit ended.
        return Table("Smooths", ())
    is_f = fit.model.family.is_normal and fit.model.space.held_sd is None
    cells = {name: tuple(frame[name].tolist()) for name in frame}
    columns = (
        Column("smooth", cells["smooth"], "text"),
        Column("edf", cells["edf"], "statistic"),
        Column("df", cells["ref_df"], "statistic"),
        Column("F" if is_f else "chi-square", cells["statistic"], "statistic"),
        Column("p", tuple(map(p_text, cells["p_value"])), "text"),
    )
    return Table("Smooths", columns, ("Tests that a curve is zero, its smoothness known.",))


def family_table(fit: FittedModel) -> Table:
    """Tabulate the family's own parameters but for a residual sd: thresholds, a dispersion.

    Args:
      fit: a fitted model.
    Returns:
      table: one row a parameter: estimate, standard error, and Monte Carlo error if any; no rows for a family
        without. Of thresholds in a pattern the location and the distances, then all the thresholds.
    """
    if fit.draws is not None:
        return posterior_table(fit, fit.model.space.own.variable.capitalize(), "family")
    rows: list[Any] = [p for p in parameters(fit) if p.effect == "family"]
    own = fit.model.space.own
    if rows and own.values:
        others = thresholds(fit).drop(index=list(own.names), errors="ignore")
        # Of sums of what was estimated there is no Monte Carlo error.
        rows += others.assign(term=others.index.astype(str), mc_error=None).itertuples()
    says = fit.model.family.says if rows and not fit.model.family.is_distributional else ""
    notes = (says,) if says else ()
    return Table(own.variable.capitalize(), columns_of(rows, _headings(fit, "term")), notes)


def variance_table(fit: FittedModel) -> Table:
    """Tabulate the random effects as lme4 lays them out, with notes on what is special about them.

    Args:
      fit: a fitted model.
    Returns:
      table: one row a random coefficient, and one for the residual where the family has one.
    """
    if fit.draws is not None:
        return posterior_table(fit, "Random effects", "sd", "cor", "range", "df", "residual")
    return replace(varcorr(fit).to_table(), notes=_variance_notes(fit))


def parameter_table(fit: FittedModel) -> Table:
    """Tabulate every parameter on the reporting scale, standard deviations included.

    Args:
      fit: a fitted model.
    Returns:
      table: one row a parameter: estimate, standard error, and Monte Carlo error if any.
    """
    columns = columns_of(parameters(fit), _headings(fit, "name"))
    return Table("Parameters", columns, _variance_notes(fit))


def comparison_table(fit: FittedModel, reference: Reference) -> Table:
    """Tabulate a fit's parameters beside published values.

    Args:
      fit: a fitted model.
      reference: the published values, under this fit's parameter names.
    Returns:
      table: `parameter_table` with the published estimates and standard errors, and the distance of
        the two estimates in standard errors of this fit; empty where nothing was published. The
        log-likelihoods are in the notes.
    Raises:
      ModelError: if the reference names a parameter that the fit does not have.
    """
    unknown = [name for name in reference.estimates if name not in fit.param_names]
    if unknown:
        raise ModelError(
            f"the values of {reference.source} are for parameters that this fit does not have: "
            f"{', '.join(unknown)}",
            hint=f"Its parameters are {', '.join(fit.param_names)}.",
        )
    rows = parameters(fit)
    table = parameter_table(fit)
    published = tuple(reference.estimates.get(p.name) for p in rows)
    distances = tuple(
        None if value is None else abs(p.estimate - value) / p.std_error
        for p, value in zip(rows, published, strict=True)
    )
    beside = (
        Column(reference.source, published),
        Column("std error", tuple(reference.std_errors.get(p.name) for p in rows)),
        Column("distance", distances, "error"),
    )
    notes = (
        "distance: between the two estimates, in standard errors.",
        f"Log-likelihood {fit.loglik.value:.4f}; {reference.source}: {reference.loglik:.4f}.",
    )
    title = f"Parameters: this fit and {reference.source}"
    return Table(title, table.columns + beside, (*table.notes, *notes))


def _at_end(smoothness: float) -> str:
    """What a smoothness says that is as small or as large as any."""
    if smoothness <= ROUGHEST:
        return ", the least that is looked at: next to no correlation but of what is at one place."
    if smoothness >= SMOOTHEST:
        return ", the most that is looked at: as smooth as gau() has it."
    return "."


def _headings(fit: FittedModel, name: str) -> dict[str, tuple[str, Kind]]:
    """Of a name, the estimates and their errors."""
    return {shown: HEADINGS[shown] for shown in (name, *ESTIMATES, *_noise(fit))}


def _noise(fit: FittedModel) -> tuple[str, ...]:
    return ("mc_error",) if (fit.param_mc_error > 0).any() else ()


def _variance_notes(fit: FittedModel) -> tuple[str, ...]:
    notes = []
    if fit.singular:
        notes.append(
            "A variance is estimated as zero, or a correlation as 1 or -1: there, on the boundary, "
            "no standard error exists."
        )
    notes += [
        f"Correlations fall with distance: {each.name} is {each.estimate:.4g}."
        for each in parameters(fit)
        if each.effect == "range"
    ]
    notes += [
        f"How smoothly they fall: {each.name} is {each.estimate:.4g}" + _at_end(each.estimate)
        for each in parameters(fit)
        if each.effect == "smoothness"
    ]
    if fit.model.space.has_no_residual:
        notes.append("There is no residual: effects account for each row.")
    elif fit.model.sigma is not None:
        notes.append(f"The residual sd is fixed at {fit.model.sigma:g}.")
    return tuple(notes)
