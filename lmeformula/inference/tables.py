"""The tables of a fit, as records."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from lmeformula.errors import ModelError
from lmeformula.fit import FittedModel
from lmeformula.inference.marginal_means import p_text
from lmeformula.inference.tidy import fixed_tests
from lmeformula.inference.wald import wald_interval
from lmeformula.prediction.intervals import cutoff
from lmeformula.prediction.parameters import Parameter, parameters
from lmeformula.prediction.thresholds import thresholds
from lmeformula.prediction.varcorr import varcorr
from lmeformula.text.table import Column, Table


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


def coefficient_table(fit: FittedModel, ddf: str | None = None) -> Table:
    """Tabulate the fixed effects.

    Args:
      fit: a fitted model.
      ddf: degrees of freedom: "satterthwaite", "kenward-roger", "auto" or "none" add them, and a p-value.
    Returns:
      table: one row a coefficient: estimate, standard error, z (their ratio), the ends of Wald's 95 % interval,
        and the Monte Carlo error where the method has one.
    """
    fixed = [p for p in parameters(fit) if p.effect == "fixed"]
    if ddf is not None:
        return _tested(fit, fixed, ddf)
    ends = [wald_interval(p, cutoff(0.95)) for p in fixed]
    columns = (
        Column("", tuple(p.term for p in fixed), "text"),
        Column("estimate", tuple(p.estimate for p in fixed)),
        Column("std error", tuple(p.std_error for p in fixed)),
        Column("z", tuple(p.statistic for p in fixed), "statistic"),
        Column("2.5 %", tuple(low for low, _ in ends)),
        Column("97.5 %", tuple(high for _, high in ends)),
    )
    return Table("Fixed effects", columns + _mc_error_column(fit, fixed))


def _tested(fit: FittedModel, fixed: list[Parameter], ddf: str) -> Table:
    tests = fixed_tests(fit, ddf)
    is_normal = bool(np.isinf(tests["df"]).all())
    found = {name: tuple(map(float, tests[name])) for name in tests}
    columns = (
        Column("", tuple(p.term for p in fixed), "text"),
        Column("estimate", tuple(p.estimate for p in fixed)),
        Column("std error", found["std_error"]),
        *(() if is_normal else (Column("df", found["df"], "statistic"),)),
        Column("z" if is_normal else "t", found["statistic"], "statistic"),
        Column("p", tuple(map(p_text, found["p_value"])), "text"),
        Column("2.5 %", found["conf_low"]),
        Column("97.5 %", found["conf_high"]),
    )
    names = {"auto": "satterthwaite"}
    note = f"Degrees of freedom: {names.get(ddf, ddf).title()}."
    return Table(
        "Fixed effects", columns + _mc_error_column(fit, fixed), () if is_normal else (note,)
    )


def family_table(fit: FittedModel) -> Table:
    """Tabulate the family's own parameters but for a residual sd: thresholds, a dispersion.

    Args:
      fit: a fitted model.
    Returns:
      table: one row a parameter: estimate, standard error, and Monte Carlo error if any; no rows for a family
        without. Of thresholds in a pattern the location and the distances, then all the thresholds.
    """
    rows = [p for p in parameters(fit) if p.effect == "family"]
    own = fit.model.space.own
    cells = [(p.term, p.estimate, p.std_error) for p in rows]
    if rows and own.values:
        others = thresholds(fit).drop(index=list(own.names), errors="ignore")
        cells += [
            (str(row.Index), float(row.estimate), float(row.std_error))
            for row in others.itertuples()
        ]
    columns = (
        Column("", tuple(name for name, _, _ in cells), "text"),
        Column("estimate", tuple(estimate for _, estimate, _ in cells)),
        Column("std error", tuple(error for _, _, error in cells)),
    )
    # Of sums of what was estimated there is no Monte Carlo error.
    empty = (None,) * (len(cells) - len(rows))
    errors = (replace(column, cells=column.cells + empty) for column in _mc_error_column(fit, rows))
    return Table(own.variable.capitalize(), (*columns, *errors))


def variance_table(fit: FittedModel) -> Table:
    """Tabulate the random effects as lme4 lays them out, with notes on what is special about them.

    Args:
      fit: a fitted model.
    Returns:
      table: one row a random coefficient, and one for the residual where the family has one.
    """
    return replace(varcorr(fit).to_table(), notes=_variance_notes(fit))


def parameter_table(fit: FittedModel) -> Table:
    """Tabulate every parameter on the reporting scale, standard deviations included.

    Args:
      fit: a fitted model.
    Returns:
      table: one row a parameter: estimate, standard error, and Monte Carlo error if any.
    """
    rows = parameters(fit)
    columns = (
        Column("", tuple(p.name for p in rows), "text"),
        Column("estimate", tuple(p.estimate for p in rows)),
        Column("std error", tuple(p.std_error for p in rows)),
    )
    return Table("Parameters", columns + _mc_error_column(fit, rows), _variance_notes(fit))


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


def _mc_error_column(fit: FittedModel, rows: Sequence[Parameter]) -> tuple[Column, ...]:
    if not (fit.param_mc_error > 0).any():
        return ()
    return (Column("MC error", tuple(p.mc_error for p in rows), "error"),)


def _variance_notes(fit: FittedModel) -> tuple[str, ...]:
    notes = []
    if fit.singular:
        notes.append(
            "A variance is estimated as zero, or a correlation as 1 or -1: there, on the boundary, "
            "no standard error exists."
        )
    if fit.model.sigma is not None:
        notes.append(f"The residual sd is fixed at {fit.model.sigma:g}.")
    return tuple(notes)
